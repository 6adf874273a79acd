"""A whole session with OpenAI's SDK, through the gateway: only `base_url` and the key are ours."""

import threading

from openai import OpenAI

from speech import LICENSE, MODEL, PATIENCE_SECONDS, SERVER, TARGET, Report, chunks

report = Report()


def run():
    client = OpenAI(base_url=SERVER + "/v1", api_key=LICENSE)
    options = {"open_timeout": PATIENCE_SECONDS}
    with client.realtime.connect(model=MODEL, websocket_connection_options=options) as connection:
        # A stuck session ends by closing the socket, which ends the loop below.
        alarm = threading.Timer(2 * PATIENCE_SECONDS, connection.close)
        alarm.daemon = True
        alarm.start()
        for event in connection:
            report.saw(event.to_dict(warnings=False))
            if event.type == "session.created":
                session = {"modalities": ["text", "audio"], "translation": {"language": TARGET}}
                connection.send({"type": "session.update", "session": session})
            elif event.type == "session.updated":
                for chunk in chunks():
                    connection.input_audio_buffer.append(audio=chunk)
                connection.send({"type": "session.finish"})
            elif event.type == "session.finished":
                break
        alarm.cancel()
    report.close_code = connection._connection.close_code


try:
    run()
except Exception as error:  # a report is wanted whatever happens
    report.end(problem=repr(error))
report.end()
