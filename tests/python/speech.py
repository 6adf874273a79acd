"""What both session checks share: the speech to send, and the report of what came back."""

import base64
import json
import os
import sys
import wave

SERVER = os.environ.get("LIVETRANSLATE_SERVER", "http://127.0.0.1:8000").rstrip("/")
LICENSE = os.environ["LIVETRANSLATE_LICENSE"]
MODEL = os.environ.get("LIVETRANSLATE_MODEL", "qwen3.5-livetranslate-flash-realtime")
TARGET = os.environ.get("LIVETRANSLATE_TARGET", "en")
VOICE = os.environ.get("LIVETRANSLATE_VOICE", "Tina")
PATIENCE_SECONDS = 30


def chunks():
    """100 ms chunks of the WAV file (16 kHz, mono, 16 bit), base64, then two seconds of silence."""
    with wave.open(os.environ["SPEECH_WAV"], "rb") as speech:
        shape = (speech.getframerate(), speech.getnchannels(), speech.getsampwidth())
        assert shape == (16000, 1, 2), f"SPEECH_WAV must be 16 kHz mono 16 bit, not {shape}"
        while frames := speech.readframes(1600):
            yield base64.b64encode(frames).decode()
    for _ in range(20):
        yield base64.b64encode(bytes(3200)).decode()


class Report:
    """The events seen, in order, and what they brought."""

    def __init__(self):
        self.events, self.caption, self.audio_bytes, self.close_code = [], "", 0, None

    def saw(self, event):
        """Notes one server event, a dict."""
        kind = event["type"]
        self.events.append(kind)
        if kind in ("response.text.done", "response.output_text.done"):
            self.caption = event["text"]
        elif kind in ("response.audio_transcript.done", "response.output_audio_transcript.done"):
            self.caption = event["transcript"]
        elif kind in ("response.audio.delta", "response.output_audio.delta"):
            self.audio_bytes += len(base64.b64decode(event["delta"]))
        elif kind == "error":
            print(json.dumps(event), file=sys.stderr)

    def end(self, problem=None):
        """Prints one JSON line and ends with 0 if a whole session went through."""
        seen = set(self.events)
        whole = {"session.created", "session.updated", "response.done", "session.finished"} <= seen
        ok = problem is None and whole and "error" not in seen and bool(self.caption) and self.audio_bytes > 0
        line = {"ok": ok, "events": self.events, "caption": self.caption, "audio_bytes": self.audio_bytes}
        print(json.dumps(line | {"close_code": self.close_code, "problem": problem}, ensure_ascii=False))
        sys.exit(0 if ok else 1)
