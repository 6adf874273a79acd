"""Calls with DashScope's SDK, through the gateway: only the base URL and the key are ours."""

import asyncio
import json
from http import HTTPStatus

import dashscope
from dashscope import AioGeneration, Generation, ImageSynthesis, MultiModalConversation, TextEmbedding
from dashscope.v2.client import Client
from dashscope.v2.errors import AuthenticationError

from http_checks import (
    ECHO,
    GREETING,
    LICENSE,
    MODEL,
    NARROW_LICENSE,
    NO_LICENSE,
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

dashscope.base_http_api_url = SERVER + "/api/v1"

VISION_MODEL = "qwen-vl-plus"
IMAGE_MODEL = "wan2.2-t2i-flash"
TOOLS = [{"type": "function", "function": {"name": name, "parameters": TOOL_SCHEMA}} for name in TOOL_NAMES]


def ask(license=LICENSE, **options):
    options = {"model": MODEL, "messages": user(GREETING), "result_format": "message"} | options
    return Generation.call(api_key=license, **options)


def good(answer):
    """The output of an answer that is one."""
    assert answer.status_code == HTTPStatus.OK, answer
    assert answer.request_id and not answer.code, answer
    return answer.output


def judge(answer, status, code):
    """An error as the SDK reads it."""
    same((answer.status_code, answer.code), (status, code))
    assert answer.message and answer.request_id and answer.output is None, answer
    return answer


def content(answers):
    return [answer.output.choices[0].message.content for answer in answers]


# --- generation ---------------------------------------------------------------------------------------------------


@check
def generation():
    answer = ask()
    choice = good(answer).choices[0]
    same((choice.message.role, choice.message.content, choice.finish_reason), ("assistant", ECHO, "stop"))
    same(answer.usage.output_tokens, len(ECHO.split()))
    same(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens)


@check
def generation_as_text():
    same(good(Generation.call(MODEL, prompt=GREETING, api_key=LICENSE, result_format="text")).text, ECHO)


@check
def generation_with_thoughts():
    assert good(ask(enable_thinking=True)).choices[0].message.reasoning_content
    came = list(ask(enable_thinking=True, stream=True, incremental_output=True))
    thoughts = "".join(answer.output.choices[0].message.get("reasoning_content") or "" for answer in came)
    same((len(thoughts.split()) > 2, "".join(content(came))), (True, ECHO))


@check
def generation_async():
    async def both():
        answer = await AioGeneration.call(MODEL, messages=user(GREETING), api_key=LICENSE, result_format="message")
        pieces = await AioGeneration.call(
            MODEL,
            messages=user(GREETING),
            api_key=LICENSE,
            result_format="message",
            stream=True,
            incremental_output=True,
        )
        return answer, [piece async for piece in pieces]

    answer, pieces = asyncio.run(both())
    same((content([answer]), "".join(content(pieces))), ([ECHO], ECHO))


@check
def stream():
    came = list(ask(stream=True, incremental_output=True))
    assert len(came) > 2 and all(good(answer) for answer in came), came
    same("".join(content(came)), ECHO)
    same({answer.output.choices[0].finish_reason for answer in came[:-1]}, {"null"})
    same((came[-1].output.choices[0].finish_reason, came[-1].usage.output_tokens), ("stop", len(ECHO.split())))
    same(len({answer.request_id for answer in came}), 1)


@check
def stream_that_repeats():
    for said, whole in [(content(ask(stream=True)), ECHO), (content(ask(stream=True, incremental_output=False)), ECHO)]:
        same((len(said) > 2, said[-1]), (True, whole))
        assert all(later.startswith(earlier) for earlier, later in zip(said, said[1:])), said


@check
def stream_as_text():
    came = list(Generation.call(MODEL, prompt=GREETING, api_key=LICENSE, stream=True, result_format="text"))
    same(came[-1].output.text, ECHO)


# --- tools --------------------------------------------------------------------------------------------------------


def judge_calls(tool_calls):
    """Two calls at once, each whole."""
    same([call["function"]["name"] for call in tool_calls], TOOL_NAMES)
    same([json.loads(call["function"]["arguments"]) for call in tool_calls], [TOOL_ARGUMENTS] * 2)
    same(len({call["id"] for call in tool_calls}), 2)


@check
def tools():
    choice = good(ask(messages=user(TOOL_WISH), tools=TOOLS)).choices[0]
    same(choice.finish_reason, "tool_calls")
    judge_calls(choice.message.tool_calls)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in choice.message.tool_calls]
    said = {"role": "assistant", "content": "", "tool_calls": choice.message.tool_calls}
    choice = good(ask(messages=[*user(TOOL_WISH), said, *results], tools=TOOLS)).choices[0]
    same((choice.finish_reason, choice.message.get("tool_calls")), ("stop", None))


@check
def tools_streamed():
    came = list(ask(messages=user(TOOL_WISH), tools=TOOLS, stream=True))
    judge_calls(came[-1].output.choices[0].message.tool_calls)
    pieces = {}
    for answer in ask(messages=user(TOOL_WISH), tools=TOOLS, stream=True, incremental_output=True):
        for call in answer.output.choices[0].message.get("tool_calls") or []:
            pieces[call["index"]] = pieces.get(call["index"], "") + call["function"]["arguments"]
    same({index: json.loads(said) for index, said in pieces.items()}, {0: TOOL_ARGUMENTS, 1: TOOL_ARGUMENTS})


# --- pictures, embeddings, jobs -----------------------------------------------------------------------------------


@check
def multimodal():
    parts = [{"image": "https://example.com/cat.png"}, {"text": GREETING}]
    messages = [{"role": "user", "content": parts}]
    answer = MultiModalConversation.call(VISION_MODEL, messages, api_key=LICENSE)
    same(good(answer).choices[0].message.content, [{"text": ECHO}])
    assert answer.usage.image_tokens > 0, answer.usage
    came = list(
        MultiModalConversation.call(VISION_MODEL, messages, api_key=LICENSE, stream=True, incremental_output=True)
    )
    same("".join(part["text"] for parts in content(came) for part in parts), ECHO)


@check
def embeddings():
    answer = TextEmbedding.call("text-embedding-v4", ["one two", "three"], api_key=LICENSE, dimension=64)
    rows = good(answer)["embeddings"]
    same([(row["text_index"], len(row["embedding"])) for row in rows], [(0, 64), (1, 64)])
    same(answer.usage["total_tokens"], 3)


@check
def job():
    begun = ImageSynthesis.async_call(IMAGE_MODEL, prompt="a cat", api_key=LICENSE)
    same(good(begun).task_status, "PENDING")
    same(good(ImageSynthesis.fetch(begun, api_key=LICENSE)).task_status, "RUNNING")
    done = good(ImageSynthesis.wait(begun, api_key=LICENSE))
    same((done.task_id, done.task_status, len(done.results)), (begun.output.task_id, "SUCCEEDED", 1))
    # Nobody else's.
    judge(ImageSynthesis.fetch(begun, api_key=SLOW_LICENSE), 404, "not_found")


# --- the second generation of the SDK -----------------------------------------------------------------------------


@check
def second_client():
    for protocol, base in [("native", "/api/v1"), ("openai", "/compatible-mode/v1"), ("anthropic", "/apps/anthropic")]:
        options = {"base_url": SERVER + base, "protocol": protocol, "max_retries": 0}
        completions = Client(api_key=LICENSE, **options).chat.completions
        asked = {"model": MODEL, "messages": user(GREETING), "max_tokens": 100}
        same(completions.create(**asked).choices[0].message.content, ECHO)
        chunks = list(completions.create(**asked, stream=True))
        words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        same("".join(words), ECHO)
        stranger = Client(api_key=NO_LICENSE, **options).chat.completions
        same(raised(AuthenticationError, stranger.create, **asked).status_code, 401)


# --- errors -------------------------------------------------------------------------------------------------------


@check
def unknown_license():
    judge(ask(NO_LICENSE), 401, "invalid_api_key")
    came = list(ask(NO_LICENSE, stream=True))
    same(len(came), 1)
    judge(came[0], 401, "invalid_api_key")


@check
def model_not_included():
    assert "qwen-turbo" in judge(ask(NARROW_LICENSE, model="qwen-turbo"), 403, "model_not_allowed").message


@check
def unknown_model():
    judge(ask(model=UNKNOWN_MODEL), 404, "ModelNotFound")
    judge(next(ask(model=UNKNOWN_MODEL, stream=True)), 404, "ModelNotFound")


@check
def bad_requests():
    judge(ask(temperature=2.5), 400, "InvalidParameter")
    judge(next(ask(temperature=2.5, stream=True)), 400, "InvalidParameter")
    judge(TextEmbedding.call("text-embedding-v4", ["x"] * 11, api_key=LICENSE), 400, "InvalidParameter")
    judge(ask(model="x" * 201), 400, "invalid_request")


@check
def too_long():
    judge(ask(messages=user(TOO_LONG)), 413, "request_too_large")


@check
def rate():
    good(ask(SLOW_LICENSE))
    judge(ask(SLOW_LICENSE), 429, "rate_limit_exceeded")


@check
def budget():
    good(ask(SMALL_LICENSE))
    before = calls()
    judge(ask(SMALL_LICENSE), 429, "insufficient_quota")
    judge(next(ask(SMALL_LICENSE, stream=True)), 429, "insufficient_quota")
    same(calls(), before)


@check
def provider_fails():
    fault(status=500)
    judge(ask(), 502, "upstream_unavailable")
    good(ask())


@check
def provider_breaks_off():
    fault(error_after_chunks=2)
    came = list(ask(stream=True, incremental_output=True))
    judge(came[-1], 502, "upstream_unavailable")
    assert all(good(answer) for answer in came[:-1]) and len(came) > 1, came
    good(ask())
    fault(error_after_chunks=2, code="DataInspectionFailed")
    judge(list(ask(stream=True, incremental_output=True))[-1], 400, "DataInspectionFailed")


run()
