"""What the HTTP checks share: who calls, what is asked, what goes wrong at the provider, and the report."""

import json
import os
import sys
import traceback
import urllib.request

SERVER = os.environ["LIVETRANSLATE_SERVER"].rstrip("/")
# The provider's stand-in.
SIMULATOR = os.environ["LIVETRANSLATE_SIMULATOR"].rstrip("/")
# May call everything, as often as it likes.
LICENSE = os.environ["LIVETRANSLATE_LICENSE"]
# May use MODEL alone.
NARROW_LICENSE = os.environ["LIVETRANSLATE_NARROW_LICENSE"]
# May make one call a minute.
SLOW_LICENSE = os.environ["LIVETRANSLATE_SLOW_LICENSE"]
# May make one call in all.
SMALL_LICENSE = os.environ["LIVETRANSLATE_SMALL_LICENSE"]
NO_LICENSE = "no-such-license"

MODEL = "qwen-plus"
# The stand-in doesn't know models whose names begin with "bad".
UNKNOWN_MODEL = "bad-model"
PATIENCE_SECONDS = 30
# More than a request's body may have.
TOO_LONG = "x" * (12 << 20)

# The stand-in says back what was said, and calls the tools that are named.
GREETING = "Good morning"
ECHO = "You said: Good morning"
TOOL_WISH = "the weather and the tides in Oslo"
TOOL_NAMES = ["weather", "tides"]
TOOL_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL_ARGUMENTS = {"text": TOOL_WISH}

checks = []


def check(function):
    """Makes a function one of the checks, in the order of the file."""
    checks.append(function)
    return function


def user(text):
    """A list of one message."""
    return [{"role": "user", "content": text}]


def fault(**switches):
    """The next call goes wrong so at the provider."""
    body = json.dumps(switches).encode()
    request = urllib.request.Request(f"{SIMULATOR}/simulator/http-faults", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        assert json.load(answer)["queued"] == 1, "an earlier fault has befallen nobody"


def calls():
    """How many calls the provider has seen."""
    with urllib.request.urlopen(f"{SIMULATOR}/simulator/calls", timeout=PATIENCE_SECONDS) as answer:
        return len(json.load(answer)["calls"])


def raised(kind, function, *arguments, of_any_kind=False, **named):
    """The error that a call ends by, which must be exactly of this kind, or `of_any_kind` of it."""
    try:
        answer = function(*arguments, **named)
    except kind as error:
        assert of_any_kind or type(error) is kind, f"{type(error)} is not {kind}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__} but {answer!r}")


def same(seen, expected):
    """Compares, and says what was seen."""
    assert seen == expected, f"{seen!r} is not {expected!r}"


def run():
    """Runs every check, prints one JSON line and ends with 0 if all went well."""
    passed, problems = [], []
    for function in checks:
        try:
            function()
            passed.append(function.__name__)
        except Exception as error:  # a report is wanted whatever happens
            traceback.print_exc(file=sys.stderr)
            problems.append(f"{function.__name__}: {error!r}")
    line = {"ok": not problems, "passed": passed, "problem": "; ".join(problems) or None}
    print(json.dumps(line, ensure_ascii=False))
    sys.exit(1 if problems else 0)
