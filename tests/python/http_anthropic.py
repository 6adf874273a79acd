"""Calls with Anthropic's SDK, through the gateway: only `base_url` and the key are ours."""

import asyncio

import anthropic
from anthropic import Anthropic, AsyncAnthropic

from http_checks import (
    ECHO,
    GREETING,
    LICENSE,
    MODEL,
    NARROW_LICENSE,
    NO_LICENSE,
    PATIENCE_SECONDS,
    SERVER,
    SLOW_LICENSE,
    SMALL_LICENSE,
    TOO_LONG,
    TOOL_ARGUMENTS,
    TOOL_NAMES,
    TOOL_SCHEMA,
    TOOL_WISH,
    UNKNOWN_MODEL,
    calls,
    check,
    fault,
    raised,
    run,
    same,
    user,
)

THINKING = {"type": "enabled", "budget_tokens": 1024}
TOOLS = [{"name": name, "description": name, "input_schema": TOOL_SCHEMA} for name in TOOL_NAMES]


def client(license=LICENSE, **options):
    return Anthropic(base_url=SERVER, api_key=license, timeout=PATIENCE_SECONDS, **options)


def asked(**options):
    return {"model": MODEL, "max_tokens": 2000, "messages": user(GREETING)} | options


def ask(license=LICENSE, max_retries=0, **options):
    return client(license, max_retries=max_retries).messages.create(**asked(**options))


def stream(license=LICENSE, **options):
    return client(license, max_retries=0).messages.stream(**asked(**options))


def judge(error, status, kind):
    """An error as the SDK reads it: status, the body's type, and the id of the request."""
    same((error.status_code, error.type, error.body["type"]), (status, kind, "error"))
    assert error.body["error"]["message"] and error.request_id, error
    same((error.body["request_id"], error.response.headers["x-request-id"]), (error.request_id, error.request_id))


# --- messages -----------------------------------------------------------------------------------------------------


@check
def message():
    answer = ask()
    same((answer.type, answer.role, answer.model, answer.stop_reason), ("message", "assistant", MODEL, "end_turn"))
    same([(block.type, block.text) for block in answer.content], [("text", ECHO)])
    same(answer.usage.output_tokens, len(ECHO.split()))
    assert answer._request_id, "no request id"


@check
def message_with_a_bearer():
    bearer = Anthropic(base_url=SERVER, auth_token=LICENSE, timeout=PATIENCE_SECONDS)
    same(bearer.messages.create(**asked()).content[0].text, ECHO)


@check
def message_under_the_providers_path():
    other = Anthropic(base_url=SERVER + "/apps/anthropic", api_key=LICENSE)
    same(other.messages.create(**asked()).content[0].text, ECHO)


@check
def message_async():
    async def both():
        async with AsyncAnthropic(base_url=SERVER, api_key=LICENSE) as caller:
            answer = await caller.messages.create(**asked())
            async with caller.messages.stream(**asked()) as events:
                return answer.content[0].text, "".join([text async for text in events.text_stream])

    same(asyncio.run(both()), (ECHO, ECHO))


@check
def message_cut_short():
    answer = ask(max_tokens=2, system="Be brief.")
    same((answer.content[0].text, answer.stop_reason), ("You said:", "max_tokens"))


@check
def message_with_thoughts():
    answer = ask(thinking=THINKING)
    same([block.type for block in answer.content], ["thinking", "text"])
    assert answer.content[0].thinking, answer
    same(answer.content[1].text, ECHO)


@check
def message_from_the_cache():
    system = [{"type": "text", "text": "A long text of six words.", "cache_control": {"type": "ephemeral"}}]
    fresh, cached = ask().usage, ask(system=system).usage
    same((fresh.cache_read_input_tokens, cached.cache_read_input_tokens), (0, 6))
    same((cached.cache_creation_input_tokens, cached.input_tokens), (0, fresh.input_tokens))
    with stream(system=system) as events:
        same(events.get_final_message().usage.cache_read_input_tokens, 6)


@check
def tokens():
    counted = client().messages.count_tokens(model=MODEL, messages=user(GREETING))
    same(counted.input_tokens, ask().usage.input_tokens)


@check
def beta():
    answer = client().beta.messages.create(**asked(), betas=["interleaved-thinking-2025-05-14"])
    same(answer.content[0].text, ECHO)
    with client().beta.messages.stream(**asked()) as events:
        same(events.get_final_text(), ECHO)
    counted = client().beta.messages.count_tokens(model=MODEL, messages=user(GREETING))
    same(counted.input_tokens, answer.usage.input_tokens)


# --- streams ------------------------------------------------------------------------------------------------------


@check
def message_streamed():
    with stream() as events:
        assert events.request_id, "no request id"
        kinds = [event.type for event in events]
        answer = events.get_final_message()
    same((kinds[0], kinds[-1], "message_delta" in kinds), ("message_start", "message_stop", True))
    assert kinds.count("content_block_delta") > 1, "it came in one piece"
    same((answer.content[0].text, answer.stop_reason), (ECHO, "end_turn"))
    same(answer.usage.output_tokens, len(ECHO.split()))


@check
def message_streamed_without_the_helper():
    events = list(client().messages.create(**asked(stream=True)))
    words = [event.delta.text for event in events if event.type == "content_block_delta"]
    same(("".join(words), events[-1].type), (ECHO, "message_stop"))


@check
def thoughts_streamed():
    with stream(thinking=THINKING) as events:
        thought = "".join(event.thinking for event in events if event.type == "thinking")
        answer = events.get_final_message()
    same([block.type for block in answer.content], ["thinking", "text"])
    same((answer.content[0].thinking, answer.content[1].text), (thought, ECHO))
    assert len(thought.split()) > 2, thought


# --- tools --------------------------------------------------------------------------------------------------------


def judge_uses(answer):
    """Two uses at once, each whole."""
    uses = [(block.type, block.name, block.input) for block in answer.content]
    same(uses, [("tool_use", name, TOOL_ARGUMENTS) for name in TOOL_NAMES])
    same((answer.stop_reason, len({block.id for block in answer.content})), ("tool_use", 2))


@check
def tools():
    answer = ask(messages=user(TOOL_WISH), tools=TOOLS)
    judge_uses(answer)
    # What the tools said goes back.
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "fine"} for use in answer.content]
    said = {"role": "assistant", "content": answer.content}
    answer = ask(messages=[*user(TOOL_WISH), said, {"role": "user", "content": results}], tools=TOOLS)
    same((answer.content[0].type, answer.stop_reason), ("text", "end_turn"))


@check
def tools_streamed():
    with stream(messages=user(TOOL_WISH), tools=TOOLS) as events:
        pieces = [event.partial_json for event in events if event.type == "input_json"]
        judge_uses(events.get_final_message())
    assert len(pieces) > len(TOOLS), "the input came in one piece"


# --- models -------------------------------------------------------------------------------------------------------


@check
def models():
    listed = list(client().models.list())
    assert MODEL in [model.id for model in listed], listed
    same({model.type for model in listed}, {"model"})
    assert all(model.display_name and model.created_at for model in listed), listed
    same(client().models.retrieve(MODEL).id, MODEL)
    same([model.id for model in client(NARROW_LICENSE).models.list(limit=5)], [MODEL])
    judge(raised(anthropic.NotFoundError, client().models.retrieve, "no-such-model"), 404, "not_found_error")


# --- errors -------------------------------------------------------------------------------------------------------


@check
def unknown_license():
    judge(raised(anthropic.AuthenticationError, ask, NO_LICENSE), 401, "authentication_error")
    judge(raised(anthropic.AuthenticationError, client(NO_LICENSE).models.list), 401, "authentication_error")


@check
def model_not_included():
    error = raised(anthropic.PermissionDeniedError, ask, NARROW_LICENSE, model="qwen-turbo")
    judge(error, 403, "permission_error")
    assert "qwen-turbo" in error.message, error


@check
def unknown_model():
    error = raised(anthropic.NotFoundError, ask, model=UNKNOWN_MODEL)
    same((error.status_code, error.type), (404, "not_found_error"))
    assert error.request_id, error


@check
def unknown_route():
    judge(raised(anthropic.NotFoundError, client(max_retries=0).messages.batches.list), 404, "not_found_error")


@check
def bad_requests():
    error = raised(anthropic.BadRequestError, ask, messages=[])
    same((error.status_code, error.type), (400, "invalid_request_error"))
    judge(raised(anthropic.BadRequestError, ask, model=""), 400, "invalid_request_error")
    judge(raised(anthropic.BadRequestError, ask, extra_body={"stream": "yes"}), 400, "invalid_request_error")
    error = raised(anthropic.BadRequestError, stream(messages=[]).__enter__)
    same(error.type, "invalid_request_error")


@check
def too_long():
    error = raised(anthropic.APIStatusError, ask, of_any_kind=True, messages=user(TOO_LONG))
    judge(error, 413, "request_too_large")


@check
def rate():
    answer = client(SLOW_LICENSE).messages.with_raw_response.create(**asked())
    same(answer.headers["x-ratelimit-remaining-requests"], "0")
    same(answer.parse().content[0].text, ECHO)
    error = raised(anthropic.RateLimitError, ask, SLOW_LICENSE)
    judge(error, 429, "rate_limit_error")
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


@check
def budget():
    requests = []
    http = anthropic.DefaultHttpxClient(event_hooks={"request": [requests.append]})
    eager = client(SMALL_LICENSE, max_retries=2, http_client=http)
    eager.messages.create(**asked())
    before = calls()
    error = raised(anthropic.RateLimitError, eager.messages.create, **asked())
    same((error.status_code, error.response.headers["x-should-retry"]), (429, "false"))
    same((len(requests), calls()), (2, before))


@check
def provider_fails():
    fault(status=500)
    error = raised(anthropic.InternalServerError, ask)
    judge(error, 502, "api_error")
    assert "Internal service error" not in error.message, error
    # The SDK asks again by itself.
    fault(status=500)
    same(ask(max_retries=2).content[0].text, ECHO)


def read(events):
    with events as opened:
        return opened.get_final_message()


@check
def provider_breaks_off():
    fault(error_after_chunks=3)
    error = raised(anthropic.APIStatusError, read, stream())
    same((error.type, error.body["type"]), ("api_error", "error"))
    same(error.body["request_id"], error.request_id)
    same(ask().content[0].text, ECHO)
    fault(drop_after_chunks=3)
    error = raised(anthropic.APIStatusError, read, stream())
    same((error.type, error.body["type"]), ("api_error", "error"))
    same(ask().content[0].text, ECHO)


@check
def provider_limits():
    # The last check: the account has to cool down.
    fault(status=429, retry_after=1)
    error = raised(anthropic.APIStatusError, ask, of_any_kind=True)
    judge(error, 503, "overloaded_error")
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


run()
