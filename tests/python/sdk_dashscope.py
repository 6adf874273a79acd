"""A whole session with DashScope's own SDK, through the gateway: only `url` and the key are ours."""

import threading

from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranslationParams

from speech import LICENSE, MODEL, PATIENCE_SECONDS, SERVER, TARGET, VOICE, Report, chunks

report = Report()
updated, closed = threading.Event(), threading.Event()


class Callback(OmniRealtimeCallback):
    def on_event(self, message):
        report.saw(message)
        if message["type"] == "session.updated":
            updated.set()

    def on_close(self, close_status_code, close_msg):
        report.close_code = close_status_code
        closed.set()


def run():
    conversation = OmniRealtimeConversation(
        model=MODEL,
        callback=Callback(),
        url=SERVER.replace("http", "ws", 1) + "/api-ws/v1/realtime",
        api_key=LICENSE,
    )
    conversation.connect()
    conversation.update_session(
        output_modalities=[MultiModality.TEXT, MultiModality.AUDIO],
        voice=VOICE,
        translation_params=TranslationParams(language=TARGET),
    )
    assert updated.wait(PATIENCE_SECONDS), "no session.updated"
    for chunk in chunks():
        conversation.append_audio(chunk)
    conversation.end_session(timeout=PATIENCE_SECONDS)
    conversation.close()
    assert closed.wait(PATIENCE_SECONDS), "the socket did not close"


try:
    run()
except Exception as error:  # a report is wanted whatever happens
    report.end(problem=repr(error))
report.end()
