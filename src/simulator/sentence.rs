//! A task's sentences: audio in, `result-generated` out.

use serde_json::{Value, json};

use super::caption::Caption;
use super::events::{Output, message, set, with};
use super::phrases;
use super::tuning::Tuning;
use super::vad::{Heard, Vad};

/// An interim result comes once in this much audio.
const STEP_MS: u64 = 400;
/// Compressed audio can't be heard: a sentence is taken to last so long.
const BLIND_SENTENCE_MS: u64 = 5000;
/// The shortest header of a wave file.
const WAVE_HEADER: usize = 44;

/// How the audio comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pcm,
    /// PCM after a header that isn't over yet.
    Wave,
    /// mp3, opus, speex, aac, amr: measured by the wall clock.
    Compressed,
}

/// The sentences of one task.
#[derive(Debug)]
pub struct Sentences {
    format: Format,
    rate: usize,
    one_only: bool,
    source: Option<String>,
    target: Option<String>,
    vad: Vad,
    longest_ms: u64,
    raw: Vec<u8>,
    window: Vec<i16>,
    bytes: u64,
    started_ms: u64,
    last_ms: u64,
    count: usize,
    current: Option<Sentence>,
}

#[derive(Debug)]
struct Sentence {
    begin_ms: u64,
    shown_ms: u64,
    source: Option<Caption>,
    target: Option<Caption>,
}

impl Sentences {
    /// Reads the `parameters` of a run-task.
    ///
    /// # Errors
    /// A sentence about the parameter that doesn't fit.
    pub fn new(model: &str, parameters: &Value, tuning: &Tuning, now_ms: u64) -> Result<Self, String> {
        let text = |name: &str| parameters.get(name).and_then(Value::as_str);
        let flag = |name: &str, default: bool| parameters.get(name).map_or(default, |value| value == true);
        let format = match text("format").unwrap_or("pcm") {
            "pcm" => Format::Pcm,
            "wav" => Format::Wave,
            "mp3" | "opus" | "speex" | "aac" | "amr" => Format::Compressed,
            other => return Err(format!("unsupported format: {other}")),
        };
        let rate = parameters.get("sample_rate").map_or(Some(16_000), Value::as_u64);
        let chat = model.starts_with("gummy-chat");
        let Some(rate) = rate.filter(|rate| (16_000..=48_000).contains(rate) && (!chat || *rate == 16_000)) else {
            return Err("unsupported sample_rate".to_owned());
        };
        let targets = parameters.get("translation_target_languages").and_then(Value::as_array);
        if targets.is_some_and(|targets| targets.len() > 1) {
            return Err("only one target language is supported".to_owned());
        }
        let target = targets.and_then(|targets| targets.first()).and_then(Value::as_str).unwrap_or("en").to_owned();
        let silence = parameters.get("max_end_silence").map_or(Some(700), Value::as_u64);
        let Some(silence_ms) = silence.filter(|value| (200..=6000).contains(value)) else {
            return Err("max_end_silence must be from 200 to 6000".to_owned());
        };
        let spoken = text("source_language").filter(|code| *code != "auto").unwrap_or(phrases::assumed_source(&target));
        Ok(Self {
            format,
            rate: usize::try_from(rate).unwrap_or(16_000),
            one_only: chat,
            source: flag("transcription_enabled", true).then(|| spoken.to_owned()),
            target: flag("translation_enabled", targets.is_some()).then_some(target),
            vad: Vad::new(tuning.threshold_dbfs, silence_ms, 0),
            longest_ms: tuning.longest_segment_ms,
            raw: Vec::new(),
            window: Vec::new(),
            bytes: 0,
            started_ms: now_ms,
            last_ms: now_ms,
            count: 0,
            current: None,
        })
    }

    /// Takes a binary frame in.
    pub fn hear(&mut self, bytes: &[u8], now_ms: u64, task: &str, out: &mut Vec<Output>) {
        self.last_ms = now_ms;
        if self.format == Format::Compressed {
            return self.blind(now_ms - self.started_ms, task, out);
        }
        self.raw.extend_from_slice(bytes);
        if self.format == Format::Wave {
            if self.raw.len() < WAVE_HEADER {
                return;
            }
            let data = self.raw.windows(4).position(|word| word == b"data").map_or(0, |at| at + 8);
            self.raw.drain(..data.min(self.raw.len()));
            self.bytes = u64::try_from(self.raw.len()).unwrap_or(0);
            self.format = Format::Pcm;
        } else {
            self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        }
        let raw = std::mem::take(&mut self.raw);
        let chunks = raw.chunks_exact(self.rate / 50 * 2);
        let rest = chunks.remainder();
        for chunk in chunks {
            self.window.clear();
            self.window
                .extend(chunk.chunks_exact(2).map(|pair| <[u8; 2]>::try_from(pair).map_or(0, i16::from_le_bytes)));
            match self.vad.window(&self.window) {
                Heard::Nothing => {}
                Heard::Started { from_ms } => self.begin(from_ms),
                Heard::Voiced { until_ms } => {
                    self.go_on(until_ms, task, out);
                    let begin_ms = self.current.as_ref().map_or(until_ms, |sentence| sentence.begin_ms);
                    if until_ms - begin_ms >= self.longest_ms {
                        self.vad.stop();
                        self.end(until_ms, task, out);
                    }
                }
                Heard::Stopped { until_ms } => self.end(until_ms, task, out),
            }
        }
        self.raw.extend_from_slice(rest);
    }

    /// Ends the sentence that goes on.
    pub fn finish(&mut self, now_ms: u64, task: &str, out: &mut Vec<Output>) {
        self.last_ms = now_ms;
        let until_ms = if self.format == Format::Compressed { Some(self.elapsed_ms()) } else { self.vad.stop() };
        if let Some(until_ms) = until_ms {
            self.end(until_ms, task, out);
        }
    }

    fn blind(&mut self, elapsed_ms: u64, task: &str, out: &mut Vec<Output>) {
        let begin_ms = self.current.as_ref().map(|sentence| sentence.begin_ms);
        match begin_ms {
            None => self.begin(elapsed_ms),
            Some(begin_ms) if elapsed_ms - begin_ms >= BLIND_SENTENCE_MS => {
                self.end(elapsed_ms, task, out);
                self.begin(elapsed_ms);
            }
            Some(_) => self.go_on(elapsed_ms, task, out),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.last_ms - self.started_ms
    }

    /// Seconds to be paid for, so far in this task.
    fn duration(&self) -> u64 {
        if self.format == Format::Compressed {
            return self.elapsed_ms().div_ceil(1000);
        }
        (self.bytes / 2).div_ceil(u64::try_from(self.rate).unwrap_or(16_000))
    }

    fn begin(&mut self, begin_ms: u64) {
        if self.one_only && self.count > 0 {
            return;
        }
        self.count += 1;
        let caption =
            |language: &Option<String>| language.as_deref().map(|language| Caption::new(language, self.count));
        let (source, target) = (caption(&self.source), caption(&self.target));
        self.current = Some(Sentence { begin_ms, shown_ms: 0, source, target });
    }

    fn go_on(&mut self, until_ms: u64, task: &str, out: &mut Vec<Output>) {
        let Some(sentence) = &mut self.current else { return };
        let heard_ms = until_ms - sentence.begin_ms;
        if heard_ms < sentence.shown_ms + STEP_MS {
            return;
        }
        sentence.shown_ms = heard_ms;
        for caption in [&mut sentence.source, &mut sentence.target].into_iter().flatten() {
            caption.delta(heard_ms);
        }
        out.push(result(sentence, self.count, until_ms, None, task));
    }

    fn end(&mut self, until_ms: u64, task: &str, out: &mut Vec<Output>) {
        let Some(mut sentence) = self.current.take() else { return };
        for caption in [&mut sentence.source, &mut sentence.target].into_iter().flatten() {
            caption.finish();
        }
        out.push(result(&sentence, self.count, until_ms, Some(self.duration()), task));
    }
}

/// A result; with the task's seconds so far it is the sentence's last.
fn result(sentence: &Sentence, count: usize, end_ms: u64, seconds: Option<u64>, task: &str) -> Output {
    let last = seconds.is_some();
    let mut output = json!({});
    if let Some(source) = &sentence.source {
        let body = text(source, sentence.begin_ms, end_ms, last);
        let more = json!({"sentence_id": count.saturating_sub(1), "vad_pre_end": last});
        set(&mut output, "transcription", with(body, &more));
    }
    if let Some(target) = &sentence.target {
        let body = text(target, sentence.begin_ms, end_ms, last);
        let more = json!({"sentence_id": count.saturating_sub(1), "lang": target.language()});
        set(&mut output, "translations", json!([with(body, &more)]));
    }
    let usage = seconds.map(|seconds| json!({"duration": seconds}));
    message("result-generated", task, &json!({}), &json!({"output": output, "usage": usage}))
}

/// A line with its words spread over its time; the last word is fixed only when the line is.
fn text(caption: &Caption, begin_ms: u64, end_ms: u64, last: bool) -> Value {
    let words: Vec<&str> = caption.words().collect();
    let total = u64::try_from(words.len()).unwrap_or(1).max(1);
    let at = |index: u64| begin_ms + (end_ms - begin_ms) * index / total;
    let list: Vec<Value> = (0..total)
        .zip(&words)
        .map(|(index, word)| {
            json!({
                "begin_time": at(index), "end_time": at(index + 1), "text": word, "punctuation": "",
                "fixed": last || index + 1 < total, "speaker_id": null,
            })
        })
        .collect();
    json!({
        "begin_time": begin_ms, "end_time": end_ms, "text": caption.line(), "words": list, "sentence_end": last,
    })
}
