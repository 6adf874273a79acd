//! One spoken sentence on its way out: captions that grow, the voice that follows, the closing events.

use serde_json::{Value, json};

use super::caption::Caption;
use super::dialect::Dialect;
use super::events::{Output, audio_delta, event, id, obfuscation, set, with};
use super::settings::Settings;
use super::tuning::Tuning;
use super::usage::Usage;
use super::voice::{CHUNK, RATE, Voice};

/// Captions move once in this much audio.
const STEP_MS: u64 = 400;
/// The response begins after this much audio, while the speaker still talks.
const RESPONSE_MS: u64 = 800;

/// A sentence from its first word to `response.done`.
#[derive(Debug)]
pub struct Segment {
    dialect: Dialect,
    /// The item of what is heard.
    pub speech_item: String,
    /// The item of what is said.
    pub item: String,
    response: String,
    before: Option<String>,
    voice_name: String,
    source: Option<Caption>,
    target: Caption,
    voice: Option<Voice>,
    lag_ms: u64,
    step_ms: u64,
    /// What the closing events say instead of the captions.
    named: Option<String>,
    open: bool,
    chunks: u64,
    spoken_bytes: usize,
    pcm: Vec<u8>,
}

impl Segment {
    /// Sentence `number` (from 1); `before` is the item that precedes it in the conversation.
    #[must_use]
    pub fn new(settings: &Settings, tuning: &Tuning, number: usize, before: Option<String>) -> Self {
        let view = &settings.view;
        Self {
            dialect: settings.dialect(),
            speech_item: id("item_"),
            item: id("item_"),
            response: id("resp_"),
            before,
            voice_name: settings.voice().to_owned(),
            source: view.source.as_deref().map(|language| Caption::new(language, number)),
            target: Caption::new(&view.target, number),
            voice: view.spoken.then(|| Voice::new(view.rate)),
            lag_ms: tuning.voice_lag_ms,
            step_ms: 0,
            named: None,
            open: false,
            chunks: 0,
            spoken_bytes: 0,
            pcm: Vec::new(),
        }
    }

    /// Announces the item of what is heard.
    pub fn announce(&self, out: &mut Vec<Output>) {
        let role = if self.dialect == Dialect::G2 { "assistant" } else { "user" };
        let item = json!({
            "id": self.speech_item, "object": "realtime.item", "type": "message", "status": "in_progress",
            "role": role, "content": [{"type": "input_audio"}],
        });
        out.push(item_created(&item, self.before.as_deref()));
    }

    /// Takes the sentence's samples in, without the silence at its end.
    pub fn push(&mut self, samples: &[i16]) {
        if let Some(voice) = &mut self.voice {
            voice.push(samples);
        }
    }

    /// Lets the closing events say this, in both languages.
    pub fn name(&mut self, text: Option<String>) {
        self.named = text;
    }

    /// Lets captions and voice go on to `ms` after the sentence's start.
    pub fn heard(&mut self, ms: u64, out: &mut Vec<Output>) {
        while self.step_ms + STEP_MS <= ms {
            self.step_ms += STEP_MS;
            self.transcribe(out);
            if self.dialect.translates() && self.step_ms >= RESPONSE_MS {
                self.translate(self.step_ms - STEP_MS, out);
                self.speak(self.step_ms, out);
            }
        }
        if self.open {
            self.speak(ms, out);
        }
    }

    /// Lets out all that is pending; only closing events are left then.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        if self.dialect.translates() {
            self.open(out);
        } else {
            let heard = self.step_ms;
            self.open(out);
            (1..=heard / STEP_MS).for_each(|step| self.translate(step * STEP_MS, out));
        }
        let rest = self.target.finish();
        let (line, response) = (self.line().to_owned(), self.place());
        if self.dialect.refreshes() {
            let name = if self.spoken() { "response.audio_transcript.text" } else { "response.text.text" };
            out.push(event(name, &with(response, &json!({"text": line, "stash": ""}))));
        } else if !rest.is_empty() {
            out.push(event(self.delta_name(), &with(response, &json!({"delta": rest}))));
        }
        loop {
            self.pcm.clear();
            if !self.voice.as_mut().is_some_and(|voice| voice.rest(&mut self.pcm)) {
                break;
            }
            self.say(out);
        }
    }

    /// The closing events, `response.done` last. `heard_ms`: all audio of the session so far.
    pub fn done(&mut self, usage: &mut Usage, heard_ms: u64, conversation: &str, out: &mut Vec<Output>) {
        let tail = if self.dialect.refreshes() { "  " } else { "" };
        let text = format!("{}{tail}", self.line());
        let (place, spoken) = (self.place(), self.spoken());
        let text_done = if spoken {
            event("response.audio_transcript.done", &with(place.clone(), &json!({"transcript": text})))
        } else {
            event("response.text.done", &with(place.clone(), &json!({"text": text})))
        };
        if self.dialect.refreshes() {
            out.push(text_done);
            self.transcribed(out);
        } else {
            self.transcribed(out);
            out.push(text_done);
        }
        if spoken {
            out.push(event("response.audio.done", &place));
        }
        let kind = if spoken { "audio" } else { "text" };
        let part = json!({"type": kind, "text": text});
        out.push(event("response.content_part.done", &with(place, &json!({"part": part}))));
        let item = |content: Value| {
            json!({
                "id": self.item, "object": "realtime.item", "type": "message", "status": "completed",
                "role": "assistant", "content": [content],
            })
        };
        let fields = json!({"response_id": self.response, "output_index": 0, "item": item(part)});
        out.push(event("response.output_item.done", &fields));
        let spoken_ms = milliseconds(self.spoken_bytes);
        let tokens = usage.respond(heard_ms, spoken_ms, &text);
        let content =
            if spoken { json!({"type": kind, "transcript": text}) } else { json!({"type": kind, "text": text}) };
        let more = json!({"output": [item(content)], "usage": tokens.body(spoken)});
        let body = with(self.body("completed", conversation), &more);
        out.push(event("response.done", &json!({"response": body})));
    }

    fn transcribe(&mut self, out: &mut Vec<Output>) {
        let Some(source) = &mut self.source else { return };
        let place = json!({"item_id": self.speech_item, "content_index": 0});
        if matches!(self.dialect, Dialect::G2 | Dialect::OmniNested) {
            let delta = source.delta(self.step_ms);
            if !delta.is_empty() {
                let more = json!({"delta": delta, "obfuscation": obfuscation()});
                out.push(event("conversation.item.input_audio_transcription.delta", &with(place, &more)));
            }
            return;
        }
        let refresh = source.refresh(self.step_ms);
        let name = if self.dialect.refreshes() {
            "conversation.item.input_audio_transcription.text"
        } else {
            "conversation.item.input_audio_transcription.delta"
        };
        let more = json!({
            "text": refresh.text, "stash": refresh.stash, "language": source.language(), "emotion": "neutral",
        });
        out.push(event(name, &with(place, &more)));
    }

    fn transcribed(&mut self, out: &mut Vec<Output>) {
        let Some(source) = &mut self.source else { return };
        source.finish();
        let line = self.named.as_deref().unwrap_or(source.line());
        let mut fields = json!({"item_id": self.speech_item, "content_index": 0, "transcript": line});
        if self.dialect != Dialect::G2 {
            set(&mut fields, "language", source.language());
            set(&mut fields, "emotion", "neutral");
        }
        out.push(event("conversation.item.input_audio_transcription.completed", &fields));
    }

    fn translate(&mut self, ms: u64, out: &mut Vec<Output>) {
        self.open(out);
        let place = self.place();
        if self.dialect.refreshes() {
            let refresh = self.target.refresh(ms);
            let name = if self.spoken() { "response.audio_transcript.text" } else { "response.text.text" };
            out.push(event(name, &with(place, &json!({"text": refresh.text, "stash": refresh.stash}))));
            return;
        }
        let delta = self.target.delta(ms);
        if !delta.is_empty() {
            out.push(event(self.delta_name(), &with(place, &json!({"delta": delta}))));
        }
    }

    fn speak(&mut self, ms: u64, out: &mut Vec<Output>) {
        let chunk_ms = milliseconds(CHUNK * 2);
        while ms >= self.lag_ms + self.chunks * chunk_ms {
            self.pcm.clear();
            if !self.voice.as_mut().is_some_and(|voice| voice.chunk(&mut self.pcm)) {
                return;
            }
            self.say(out);
        }
    }

    fn say(&mut self, out: &mut Vec<Output>) {
        out.push(audio_delta(&self.response, &self.item, &self.pcm));
        self.chunks += 1;
        self.spoken_bytes += self.pcm.len();
    }

    fn open(&mut self, out: &mut Vec<Output>) {
        if self.open {
            return;
        }
        self.open = true;
        let body = with(self.body("in_progress", ""), &json!({"output": []}));
        out.push(event("response.created", &json!({"response": body})));
        let item = json!({
            "id": self.item, "object": "realtime.item", "type": "message", "status": "in_progress",
            "role": "assistant", "content": [],
        });
        let fields = json!({"response_id": self.response, "output_index": 0, "item": item});
        out.push(event("response.output_item.added", &fields));
        out.push(item_created(&item, Some(&self.speech_item)));
        let kind = if self.spoken() { "audio" } else { "text" };
        let part = json!({"part": {"type": kind, "text": ""}});
        out.push(event("response.content_part.added", &with(self.place(), &part)));
    }

    fn body(&self, status: &str, conversation: &str) -> Value {
        let modalities = if self.spoken() { json!(["text", "audio"]) } else { json!(["text"]) };
        let mut body = json!({
            "id": self.response, "object": "realtime.response", "conversation_id": conversation, "status": status,
            "modalities": modalities, "output_audio_format": "pcm",
        });
        if self.dialect != Dialect::G2 {
            set(&mut body, "voice", self.voice_name.as_str());
        }
        body
    }

    /// The whole translation.
    fn line(&self) -> &str {
        self.named.as_deref().unwrap_or(self.target.line())
    }

    fn place(&self) -> Value {
        json!({"response_id": self.response, "item_id": self.item, "output_index": 0, "content_index": 0})
    }

    fn spoken(&self) -> bool {
        self.voice.is_some()
    }

    fn delta_name(&self) -> &'static str {
        if self.spoken() { "response.audio_transcript.delta" } else { "response.text.delta" }
    }
}

fn item_created(item: &Value, before: Option<&str>) -> Output {
    let mut fields = json!({"item": item});
    if let Some(before) = before {
        set(&mut fields, "previous_item_id", before);
    }
    event("conversation.item.created", &fields)
}

/// The length of PCM16 at the voice's rate.
fn milliseconds(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX) * 500 / u64::from(RATE)
}
