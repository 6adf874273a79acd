"""Calls with OpenAI's SDK, through the gateway: only `base_url` and the key are ours."""

import asyncio
import json

import openai
from openai import AsyncOpenAI, OpenAI

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

THINKING = {"enable_thinking": True}
TOOLS = [
    {"type": "function", "function": {"name": name, "strict": True, "parameters": TOOL_SCHEMA}} for name in TOOL_NAMES
]


def client(license=LICENSE, **options):
    return OpenAI(base_url=SERVER + "/v1", api_key=license, timeout=PATIENCE_SECONDS, **options)


def ask(license=LICENSE, max_retries=0, **options):
    options = {"model": MODEL, "messages": user(GREETING)} | options
    return client(license, max_retries=max_retries).chat.completions.create(**options)


def counted(license, retries=2):
    """A client that retries as it pleases, and the list of its requests."""
    requests = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [requests.append]})
    return client(license, max_retries=retries, http_client=http), requests


def text(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def thought(chunks):
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    return "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)


# --- chat ---------------------------------------------------------------------------------------------------------


@check
def chat():
    answer = ask()
    same((answer.object, answer.model), ("chat.completion", MODEL))
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), (ECHO, "stop"))
    same(answer.usage.completion_tokens, len(ECHO.split()))
    same(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
    assert answer._request_id, "no request id"


@check
def chat_under_the_providers_path():
    other = OpenAI(base_url=SERVER + "/compatible-mode/v1/", api_key=LICENSE)
    answer = other.chat.completions.create(model=MODEL, messages=user(GREETING))
    same(answer.choices[0].message.content, ECHO)


@check
def chat_async():
    async def both():
        async with AsyncOpenAI(base_url=SERVER + "/v1", api_key=LICENSE) as asked:
            answer = await asked.chat.completions.create(model=MODEL, messages=user(GREETING))
            stream = await asked.chat.completions.create(model=MODEL, messages=user(GREETING), stream=True)
            return answer, [chunk async for chunk in stream]

    answer, chunks = asyncio.run(both())
    same((answer.choices[0].message.content, text(chunks)), (ECHO, ECHO))


@check
def chat_at_once():
    async def many():
        async with AsyncOpenAI(base_url=SERVER + "/v1", api_key=LICENSE) as asked:
            return await asyncio.gather(
                *(asked.chat.completions.create(model=MODEL, messages=user(f"number {n}")) for n in range(20))
            )

    answers = asyncio.run(many())
    same([answer.choices[0].message.content for answer in answers], [f"You said: number {n}" for n in range(20)])
    same(len({answer._request_id for answer in answers}), 20)


@check
def chat_cut_short():
    answer = ask(max_tokens=2)
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), ("You said:", "length"))


@check
def chat_with_thoughts():
    answer = ask(extra_body=THINKING)
    assert answer.choices[0].message.reasoning_content, answer
    same(answer.choices[0].message.content, ECHO)
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0, answer.usage


@check
def chat_with_a_picture():
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "text", "text": GREETING},
    ]
    answer = ask(model="qwen-vl-plus", messages=[{"role": "user", "content": parts}])
    same(answer.choices[0].message.content, ECHO)


@check
def translation():
    options = {"source_lang": "auto", "target_lang": "English", "terms": [{"source": "Morgen", "target": "morning"}]}
    answer = ask(model="qwen-mt-plus", extra_body={"translation_options": options})
    same(answer.choices[0].message.content, ECHO)
    # The provider wants a target: so it did get the options.
    error = raised(
        openai.BadRequestError, ask, model="qwen-mt-plus", extra_body={"translation_options": {"source_lang": "auto"}}
    )
    assert "target_lang" in error.message, error
    chunks = list(ask(model="qwen-mt-plus", stream=True, extra_body={"translation_options": options}))
    same(text(chunks), ECHO)


# --- streams ------------------------------------------------------------------------------------------------------


@check
def stream():
    chunks = list(ask(stream=True))
    same(text(chunks), ECHO)
    assert len(chunks) > 3, "it came in one piece"
    same(chunks[0].choices[0].delta.role, "assistant")
    same({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
    same(len({chunk.id for chunk in chunks}), 1)
    # Nobody asked for usage.
    same([chunk.usage for chunk in chunks if chunk.usage], [])
    assert all(chunk.choices for chunk in chunks), chunks
    same(chunks[-1].choices[0].finish_reason, "stop")


@check
def stream_with_usage():
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    same(text(chunks), ECHO)
    same((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], len(ECHO.split())))
    same([chunk.usage for chunk in chunks[:-1] if chunk.usage], [])
    same(chunks[-2].choices[0].finish_reason, "stop")


@check
def stream_without_usage_said_so():
    chunks = list(ask(stream=True, stream_options={"include_usage": False}))
    assert all(chunk.choices and not chunk.usage for chunk in chunks), chunks


@check
def stream_with_thoughts():
    chunks = list(ask(stream=True, extra_body=THINKING))
    assert len(thought(chunks).split()) > 2, chunks
    same(text(chunks), ECHO)
    first_word = next(place for place, chunk in enumerate(chunks) if chunk.choices[0].delta.content)
    same(thought(chunks[first_word:]), "")


@check
def stream_helper():
    with client().chat.completions.stream(model=MODEL, messages=user(GREETING)) as events:
        kinds = [event.type for event in events]
        answer = events.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds, kinds
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), (ECHO, "stop"))


@check
def stream_left_early():
    with client().chat.completions.create(model=MODEL, messages=user(GREETING), stream=True) as chunks:
        next(iter(chunks))
    same(ask().choices[0].message.content, ECHO)


# --- tools --------------------------------------------------------------------------------------------------------


def judge_calls(tool_calls):
    """Two calls at once, each whole."""
    same([call.function.name for call in tool_calls], TOOL_NAMES)
    same([json.loads(call.function.arguments) for call in tool_calls], [TOOL_ARGUMENTS] * 2)
    same([call.type for call in tool_calls], ["function"] * 2)
    assert all(call.id for call in tool_calls) and tool_calls[0].id != tool_calls[1].id, tool_calls


@check
def tools():
    answer = ask(messages=user(TOOL_WISH), tools=TOOLS)
    same(answer.choices[0].finish_reason, "tool_calls")
    judge_calls(answer.choices[0].message.tool_calls)
    # What the tools said goes back.
    said = answer.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in said.tool_calls]
    answer = ask(messages=[*user(TOOL_WISH), said, *results], tools=TOOLS)
    same((answer.choices[0].finish_reason, answer.choices[0].message.tool_calls), ("stop", None))


@check
def tools_streamed():
    ids, names, arguments = {}, {}, {}
    for chunk in ask(messages=user(TOOL_WISH), tools=TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            ids.setdefault(call.index, set()).update([call.id] if call.id else [])
            names[call.index] = names.get(call.index, "") + (call.function.name or "")
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        reason = chunk.choices[0].finish_reason
    same((list(names.values()), reason), (TOOL_NAMES, "tool_calls"))
    same({index: json.loads(said) for index, said in arguments.items()}, {0: TOOL_ARGUMENTS, 1: TOOL_ARGUMENTS})
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0] != ids[1], ids


@check
def tools_gathered_by_the_sdk():
    with client().chat.completions.stream(model=MODEL, messages=user(TOOL_WISH), tools=TOOLS) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        answer = events.get_final_completion()
    same([(event.index, event.name) for event in done], list(enumerate(TOOL_NAMES)))
    same(done[0].parsed_arguments, TOOL_ARGUMENTS)
    judge_calls(answer.choices[0].message.tool_calls)


# --- embeddings, models, responses --------------------------------------------------------------------------------


@check
def embeddings():
    made = client().embeddings
    # As base64 unless told otherwise.
    packed = made.create(model="text-embedding-v4", input=["one two", "three"])
    same([row.index for row in packed.data], [0, 1])
    same([len(row.embedding) for row in packed.data], [1024, 1024])
    same(packed.usage.prompt_tokens, 3)
    listed = made.create(model="text-embedding-v4", input=["one two", "three"], encoding_format="float")
    for one, other in zip(packed.data, listed.data):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6
    short = made.create(model="text-embedding-v4", input="one two", dimensions=64)
    same(len(short.data[0].embedding), 64)
    error = raised(openai.BadRequestError, made.create, model="text-embedding-v4", input=["x"] * 11)
    assert error.request_id, error


@check
def models():
    listed = client().models.list()
    assert MODEL in [model.id for model in listed], listed
    same({model.object for model in listed}, {"model"})
    same(client().models.retrieve(MODEL).id, MODEL)
    same([model.id for model in client(NARROW_LICENSE).models.list()], [MODEL])
    error = raised(openai.NotFoundError, client().models.retrieve, "no-such-model")
    same(error.code, "model_not_found")


@check
def responses():
    answer = client().responses.create(model=MODEL, input=GREETING)
    same((answer.status, answer.output_text), ("completed", ECHO))
    same(answer.usage.output_tokens, len(ECHO.split()))
    assert answer._request_id, "no request id"


@check
def responses_streamed():
    events = list(client().responses.create(model=MODEL, input=GREETING, stream=True))
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), ECHO)
    same([event.sequence_number for event in events], list(range(len(events))))
    same(events[-1].response.usage.output_tokens, len(ECHO.split()))
    with client().responses.stream(model=MODEL, input=GREETING) as events:
        events.until_done()
        same(events.get_final_response().output_text, ECHO)


@check
def responses_with_tools():
    tools = [{"type": "function", "name": name, "strict": True, "parameters": TOOL_SCHEMA} for name in TOOL_NAMES]
    answer = client().responses.create(model=MODEL, input=TOOL_WISH, tools=tools)
    same([(item.type, item.name) for item in answer.output], [("function_call", name) for name in TOOL_NAMES])
    same(json.loads(answer.output[0].arguments), TOOL_ARGUMENTS)


# --- errors -------------------------------------------------------------------------------------------------------


@check
def unknown_license():
    error = raised(openai.AuthenticationError, ask, NO_LICENSE)
    same((error.code, error.type), ("invalid_api_key", "authentication_error"))
    same(error.response.json()["request_id"], error.request_id)


@check
def model_not_included():
    error = raised(openai.PermissionDeniedError, ask, NARROW_LICENSE, model="qwen-turbo")
    same((error.code, error.param), ("model_not_allowed", "model"))
    same(ask(NARROW_LICENSE).choices[0].message.content, ECHO)


@check
def unknown_model():
    error = raised(openai.NotFoundError, ask, model=UNKNOWN_MODEL)
    same(error.code, "model_not_found")
    assert error.request_id, error
    error = raised(openai.NotFoundError, ask, model=UNKNOWN_MODEL, stream=True)
    same(error.code, "model_not_found")


@check
def unknown_route():
    error = raised(openai.NotFoundError, client(max_retries=0).batches.list)
    same(error.code, "not_found")


@check
def bad_requests():
    error = raised(openai.BadRequestError, ask, messages=[])
    assert error.type == "invalid_request_error" and error.message, error
    error = raised(openai.BadRequestError, ask, messages=[], stream=True)
    same(error.type, "invalid_request_error")
    error = raised(openai.BadRequestError, ask, model="")
    same((error.code, error.param), ("invalid_request", "model"))
    error = raised(openai.BadRequestError, ask, extra_body={"stream": "yes"})
    same((error.code, error.param), ("invalid_request", "stream"))
    for stream in (False, True):
        error = raised(openai.BadRequestError, ask, temperature=2.5, stream=stream)
        assert error.code == "invalid_parameter_error" and "Temperature" in error.message, error


@check
def too_long():
    error = raised(openai.APIStatusError, ask, messages=user(TOO_LONG))
    same((error.status_code, error.code), (413, "request_too_large"))


@check
def rate():
    answer = client(SLOW_LICENSE).chat.completions.with_raw_response.create(model=MODEL, messages=user(GREETING))
    same(answer.headers["x-ratelimit-limit-requests"], "1")
    same(answer.headers["x-ratelimit-remaining-requests"], "0")
    same(answer.parse().choices[0].message.content, ECHO)
    error = raised(openai.RateLimitError, ask, SLOW_LICENSE)
    same((error.code, error.type), ("rate_limit_exceeded", "rate_limit_error"))
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


@check
def budget():
    eager, requests = counted(SMALL_LICENSE)
    eager.chat.completions.create(model=MODEL, messages=user(GREETING))
    before = calls()
    error = raised(openai.RateLimitError, eager.chat.completions.create, model=MODEL, messages=user(GREETING))
    same((error.code, error.type), ("insufficient_quota", "insufficient_quota"))
    same(error.response.headers["x-should-retry"], "false")
    same((len(requests), calls()), (2, before))


@check
def provider_fails():
    fault(status=500)
    error = raised(openai.InternalServerError, ask)
    same((error.status_code, error.code, error.type), (502, "upstream_unavailable", "upstream_error"))
    assert error.request_id and "Internal service error" not in error.message, error
    # The SDK asks again by itself.
    fault(status=500)
    same(ask(max_retries=2).choices[0].message.content, ECHO)


@check
def provider_breaks_off():
    fault(error_after_chunks=3)
    came = []
    error = raised(openai.APIError, lambda: came.extend(ask(stream=True)))
    same((error.code, error.type, len(came) > 0), ("upstream_unavailable", "upstream_error", True))
    assert error.message, error
    same(ask().choices[0].message.content, ECHO)
    fault(drop_after_chunks=3)
    error = raised(openai.APIError, lambda: list(ask(stream=True)))
    same(error.code, "upstream_unavailable")
    same(ask().choices[0].message.content, ECHO)


@check
def provider_objects_midway():
    fault(error_after_chunks=3, code="data_inspection_failed")
    error = raised(openai.APIError, lambda: list(ask(stream=True)))
    same(error.code, "data_inspection_failed")


@check
def provider_breaks_off_a_response():
    fault(error_after_chunks=3)
    error = raised(openai.APIError, lambda: list(client().responses.create(model=MODEL, input=GREETING, stream=True)))
    same(error.code, "upstream_unavailable")
    same(client().responses.create(model=MODEL, input=GREETING).output_text, ECHO)


@check
def own_request_id():
    answer = ask(extra_headers={"x-request-id": "my-request-1"})
    same(answer._request_id, "my-request-1")


run()
