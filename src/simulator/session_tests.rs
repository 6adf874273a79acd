//! Transcripts of whole sessions, dialect by dialect.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::simulator::voice;

const THREE: &str = "qwen3-livetranslate-flash-realtime";
const THREE_FIVE: &str = "qwen3.5-livetranslate-flash-realtime";
const THREE_EIGHT: &str = "qwen3.8-livetranslate-flash-realtime";
const OMNI: &str = "qwen3.5-omni-plus-realtime";
const OMNI_NESTED: &str = "qwen3.8-omni-flash-realtime";

/// A client of the pure session.
struct Client {
    session: Session,
    heard: Vec<Value>,
}

impl Client {
    fn dial(model: &str) -> Self {
        let mut out = Vec::new();
        let session = Session::open(Dialect::of(model).unwrap(), model, &Tuning::default(), &mut out);
        let mut client = Self { session, heard: Vec::new() };
        client.take(out);
        client
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            let Output::Event { name, text } = output else { panic!("{output:?}") };
            let event: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(event["type"], name);
            assert!(event["event_id"].as_str().unwrap().starts_with("event_"));
            self.heard.push(event);
        }
    }

    fn raw(&mut self, text: &str) -> Seen {
        let mut out = Vec::new();
        let seen = self.session.on_text(text, &mut out);
        self.take(out);
        seen
    }

    fn send(&mut self, event: &Value) -> Seen {
        self.raw(&event.to_string())
    }

    fn say(&mut self, kind: &str) {
        self.send(&json!({"type": kind}));
    }

    fn update(&mut self, session: &Value) {
        self.send(&json!({"type": "session.update", "session": session}));
    }

    fn audio(&mut self, samples: &[i16]) {
        for chunk in samples.chunks(1600) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let seen = self.send(&json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(&bytes)}));
            assert_eq!(seen, Seen::Audio { bytes: bytes.len() });
        }
    }

    /// The types heard since the last call, repeats folded into one.
    fn names(&mut self) -> Vec<String> {
        let mut names: Vec<String> =
            self.heard.drain(..).map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        names.dedup();
        names
    }

    fn of(&self, kind: &str) -> Vec<&Value> {
        self.heard.iter().filter(|event| event["type"] == kind).collect()
    }

    fn voice(&self) -> Vec<u8> {
        let deltas = self.of("response.audio.delta");
        deltas.iter().flat_map(|event| STANDARD.decode(event["delta"].as_str().unwrap()).unwrap()).collect()
    }
}

fn tone(ms: usize) -> Vec<i16> {
    (0..ms * 16).map(|index| if index / 40 % 2 == 0 { 6000 } else { -6000 }).collect()
}

fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 16]
}

/// The order of types without the pieces that are interleaved.
fn frame(names: &[String]) -> Vec<&str> {
    let piece = |name: &str| [".text", ".delta"].iter().any(|end| name.ends_with(end));
    names.iter().map(String::as_str).filter(|name| !piece(name)).collect()
}

const OPENING: [&str; 7] = [
    "session.created",
    "input_audio_buffer.speech_started",
    "conversation.item.created",
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
];

#[test]
fn a_sentence_of_three_five_comes_in_the_recorded_order() {
    let mut client = Client::dial(THREE_FIVE);
    client.audio(&tone(4000));
    client.audio(&silence(1200));
    client.say("session.finish");
    let names = client.names();
    let closing = [
        "input_audio_buffer.speech_stopped",
        "response.audio_transcript.done",
        "conversation.item.input_audio_transcription.completed",
        "response.audio.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "session.finished",
    ];
    assert_eq!(frame(&names), [&OPENING[..], &closing].concat());
    let position = |name: &str| names.iter().position(|other| other == name).unwrap();
    assert!(position("conversation.item.input_audio_transcription.text") < position("response.created"));
    assert!(position("response.content_part.added") < position("response.audio_transcript.text"));
    let last_delta = names.iter().rposition(|name| name == "response.audio.delta").unwrap();
    assert!(last_delta < position("input_audio_buffer.speech_stopped"));
}

#[test]
fn a_sentence_of_three_eight_comes_in_the_recorded_order() {
    let mut client = Client::dial(THREE_EIGHT);
    client.audio(&tone(4000));
    client.audio(&silence(2600));
    let names = client.names();
    let closing = [
        "input_audio_buffer.speech_stopped",
        "conversation.item.input_audio_transcription.completed",
        "response.audio_transcript.done",
        "response.audio.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ];
    assert_eq!(frame(&names), [&OPENING[..], &closing].concat());
}

#[test]
fn three_eight_has_deltas_speakers_and_chained_items() {
    let mut client = Client::dial(THREE_EIGHT);
    for _ in 0..2 {
        client.audio(&tone(3000));
        client.audio(&silence(2600));
    }
    assert_eq!(client.of("input_audio_buffer.speech_started")[0]["speaker_id"], 1);
    let items = client.of("conversation.item.created");
    assert_eq!(items.len(), 4);
    assert!(items[0].get("previous_item_id").is_none());
    assert_eq!(items[0]["item"]["role"], "assistant");
    assert_eq!(items[1]["previous_item_id"], items[0]["item"]["id"]);
    assert_eq!(items[2]["previous_item_id"], items[1]["item"]["id"]);
    let source = client.of("conversation.item.input_audio_transcription.delta");
    assert_eq!(source[0]["obfuscation"].as_str().unwrap().len(), 14);
    let created = client.of("response.created");
    assert!(created[0]["response"].get("voice").is_none());
    assert_eq!(created[0]["response"]["conversation_id"], "");
    let first = &client.of("response.done")[0]["response"];
    assert!(first["conversation_id"].as_str().unwrap().starts_with("conv_"));
    let deltas: String = client
        .of("response.audio_transcript.delta")
        .iter()
        .filter(|event| event["response_id"] == first["id"])
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, client.of("response.audio_transcript.done")[0]["transcript"].as_str().unwrap());
}

#[test]
fn guesses_are_taken_back_and_finals_end_in_two_blanks() {
    let mut client = Client::dial(THREE_FIVE);
    client.update(&json!({"modalities": ["text"]}));
    client.audio(&tone(3000));
    client.audio(&silence(1200));
    for kind in ["response.text.text", "conversation.item.input_audio_transcription.text"] {
        let shown: Vec<String> = client
            .of(kind)
            .iter()
            .map(|event| format!("{}{}", event["text"].as_str().unwrap(), event["stash"].as_str().unwrap()))
            .collect();
        let retracted = shown.windows(2).any(|pair| !pair[1].starts_with(&pair[0]));
        assert!(retracted, "{kind}: {shown:?}");
    }
    let done = client.of("response.text.done")[0]["text"].as_str().unwrap();
    assert!(done.ends_with(".  "), "{done:?}");
    let output = &client.of("response.done")[0]["response"]["output"][0];
    assert_eq!(output["content"][0], json!({"type": "text", "text": done}));
    assert!(client.of("response.audio.delta").is_empty());
}

#[test]
fn the_voice_is_the_speakers_stretched() {
    let mut client = Client::dial(THREE_FIVE);
    let speech = tone(4000);
    client.audio(&silence(400));
    client.audio(&speech);
    assert!(client.voice().len() >= voice::CHUNK * 2 * 4, "it speaks while the speaker does");
    client.audio(&silence(400));
    client.audio(&speech);
    client.audio(&silence(1500));
    let started = client.of("input_audio_buffer.speech_started")[0];
    assert_eq!(started["audio_start_ms"], 200, "with 200 ms before the first loud window");
    assert_eq!(client.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"], 8800);
    let segment = [silence(200), tone(4000), silence(400), tone(4000)].concat();
    assert_eq!(client.voice(), voice::render(&segment, 16_000));
    assert_eq!(client.of("response.audio.delta")[0]["delta"].as_str().unwrap().len(), 20_692);
}

#[test]
fn eight_kilohertz_are_honoured() {
    let mut client = Client::dial(THREE_FIVE);
    client.update(&json!({"sample_rate": 8000}));
    let speech: Vec<i16> = tone(2000).into_iter().step_by(2).collect();
    client.audio(&speech);
    client.audio(&silence(1000));
    assert_eq!(client.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"], 2000);
    assert_eq!(client.voice(), voice::render(&speech, 8000));
}

#[test]
fn usage_adds_up_over_the_session_in_three_five() {
    let mut client = Client::dial(THREE_FIVE);
    for _ in 0..2 {
        client.audio(&tone(3000));
        client.audio(&silence(2000));
    }
    let usage =
        |index: usize, path: &str| client.of("response.done")[index].pointer(path).and_then(Value::as_u64).unwrap();
    assert_eq!(usage(0, "/response/usage/input_tokens_details/audio_tokens"), 28);
    assert_eq!(usage(1, "/response/usage/input_tokens_details/audio_tokens"), 63);
    assert_eq!(usage(0, "/response/usage/output_tokens_details/audio_tokens"), 38);
    assert_eq!(usage(0, "/response/usage/input_tokens_details/text_tokens"), 50);
}

#[test]
fn model_three_writes_down_the_source_only_when_asked() {
    let mut client = Client::dial(THREE);
    client.audio(&tone(1000));
    client.audio(&silence(1200));
    assert!(client.of("conversation.item.input_audio_transcription.completed").is_empty());
    client.update(&json!({"input_audio_transcription": {"model": "qwen3-asr-flash-realtime"}}));
    client.audio(&tone(1000));
    client.audio(&silence(1200));
    let completed = client.of("conversation.item.input_audio_transcription.completed");
    assert_eq!((completed.len(), &completed[0]["language"]), (1, &json!("en")));
}

#[test]
fn finish_lets_out_the_pending_sentence() {
    let mut client = Client::dial(THREE);
    client.audio(&tone(500));
    client.say("session.finish");
    assert!(client.session.finished());
    let names = client.names();
    assert_eq!(names[names.len() - 2..], ["response.done", "session.finished"]);
    client.say("session.update");
    assert_eq!(client.names(), ["error"]);
}

#[test]
fn in_manual_mode_a_commit_translates_by_itself() {
    let mut client = Client::dial(THREE_FIVE);
    client.update(&json!({"turn_detection": null}));
    client.names();
    client.say("input_audio_buffer.commit");
    let message = client.heard.pop().unwrap()["error"]["message"].clone();
    assert_eq!(message, "Error committing input audio buffer: buffer too small, or have no audio.");
    let speech = tone(1500);
    client.audio(&speech);
    assert_eq!(client.names(), Vec::<String>::new());
    client.say("input_audio_buffer.commit");
    assert_eq!(client.voice(), voice::render(&speech, 16_000));
    let names = client.names();
    assert_eq!(names[0], "input_audio_buffer.committed");
    assert_eq!(names.last().unwrap(), "response.done");
    client.audio(&speech);
    client.say("input_audio_buffer.clear");
    client.say("input_audio_buffer.commit");
    client.say("session.finish");
    assert_eq!(client.names(), ["input_audio_buffer.cleared", "error", "session.finished"]);
}

#[test]
fn omni_answers_after_the_turn_and_on_demand() {
    let mut client = Client::dial(OMNI);
    client.audio(&tone(1000));
    client.audio(&silence(1000));
    let names = client.names();
    let position = |name: &str| names.iter().position(|other| other == name).unwrap();
    assert!(position("input_audio_buffer.speech_stopped") < position("input_audio_buffer.committed"));
    assert!(position("input_audio_buffer.committed") < position("response.created"));
    assert_eq!(names.last().unwrap(), "response.done");
    client.update(&json!({"turn_detection": null}));
    client.audio(&tone(1000));
    client.say("input_audio_buffer.commit");
    assert!(client.of("response.created").is_empty());
    client.say("response.create");
    assert_eq!(client.names().last().unwrap(), "response.done");
    client.say("session.finish");
    client.say("response.cancel");
    assert_eq!(client.names(), ["error"]);
    let mut nested = Client::dial(OMNI_NESTED);
    nested.say("session.finish");
    assert_eq!(nested.names(), ["session.created"]);
}

#[test]
fn what_is_wrong_gets_an_error_and_the_session_goes_on() {
    let table = [
        ("{", "invalid"),
        ("[1]", "invalid"),
        (r#"{"type":7}"#, "invalid"),
        (r#"{"type":"response.create"}"#, "response.create"),
        (r#"{"type":"made.up"}"#, "made.up"),
        (r#"{"type":"session.update"}"#, "session.update"),
        (r#"{"type":"input_audio_buffer.append"}"#, "input_audio_buffer.append"),
        (r#"{"type":"input_audio_buffer.append","audio":"%%%"}"#, "input_audio_buffer.append"),
        (r#"{"type":"input_image_buffer.append","image":"aaaa"}"#, "input_image_buffer.append"),
    ];
    for (text, kind) in table {
        let mut client = Client::dial(THREE_FIVE);
        assert_eq!(client.raw(text), Seen::Event(kind.to_owned()), "{text}");
        assert_eq!(client.of("error")[0]["error"]["type"], "invalid_request_error", "{text}");
        client.audio(&tone(500));
        client.say("session.finish");
        assert_eq!(client.names().last().unwrap(), "session.finished", "{text}");
    }
    let mut client = Client::dial(THREE_FIVE);
    client.send(&json!({"type": "session.update", "event_id": "mine", "session": {"modalities": ["audio"]}}));
    assert_eq!(client.of("error")[0]["error"]["event_id"], "mine");
    assert_eq!(client.of("error")[0]["error"]["param"], "session.modalities");
}

#[test]
fn a_session_holds_little_however_long_it_runs() {
    let mut client = Client::dial(THREE_FIVE);
    for _ in 0..12 {
        client.audio(&tone(10_000));
        client.heard.clear();
    }
    assert!(client.session.hearing.held().len() < 16_000);
    assert!(client.session.number >= 4, "a sentence without end is cut");
}

#[test]
fn captions_of_numbered_audio_depend_on_the_sentence_alone() {
    use crate::simulator::numbered;
    let finals = |from: u64| {
        let mut out = Vec::new();
        let tuning = Tuning { numbered: true, ..Tuning::default() };
        let mut session = Session::open(Dialect::G1ThreeFive, THREE_FIVE, &tuning, &mut out);
        let (mut pcm, total) = (Vec::new(), numbered::shift(5) + 3 * numbered::CYCLE);
        session.on_text(
            r#"{"type":"session.update","session":{"turn_detection":{"type":"server_vad","silence_duration_ms":400}}}"#,
            &mut out,
        );
        numbered::write(5, from, total - from, &mut pcm);
        for part in pcm.chunks(3_200) {
            let append = json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(part)});
            session.on_text(&append.to_string(), &mut out);
        }
        session.on_text(r#"{"type":"session.finish"}"#, &mut out);
        assert_eq!(session.numbers().unwrap().runs.len(), 1);
        let mut client = Client { session, heard: Vec::new() };
        client.take(out);
        let done = |kind: &str, field: &str| {
            let of_kind = client.heard.iter().filter(|event| event["type"] == kind);
            of_kind.map(|event| event[field].as_str().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
        };
        let source = done("conversation.item.input_audio_transcription.completed", "transcript");
        assert_eq!(source, done("response.audio_transcript.done", "transcript"));
        source
    };
    let sentences = numbered::sentences(5, u64::MAX).take(3);
    let whole: Vec<String> = sentences.map(|part| format!("s{}-{}", part.start, part.end)).collect();
    assert_eq!(finals(0), whole);
    assert_eq!(finals(7_777), whole, "whatever the alignment");
    assert_eq!(finals(numbered::CYCLE + 24_000), whole[1..]);
}
