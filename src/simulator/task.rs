//! The task protocol of `/api-ws/v1/inference` (Gummy), pure: JSON controls, binary audio, two timers.

use serde_json::{Value, json};

use super::events::{Output, message};
use super::request::Seen;
use super::sentence::Sentences;
use super::tuning::Tuning;

/// A running task without audio fails after this long.
const SILENT_SECONDS: u64 = 23;
/// A connection without a task is closed after this long.
const IDLE_SECONDS: u64 = 60;

/// What the connection is doing.
#[derive(Debug)]
enum State {
    /// Between tasks, since then.
    Idle {
        since_ms: u64,
    },
    Running(Box<Run>),
    /// Failed: the connection is of no use any more.
    Dead,
}

#[derive(Debug)]
struct Run {
    id: String,
    sentences: Sentences,
    audio_ms: u64,
}

/// One connection of the task protocol. Times are milliseconds since its upgrade.
#[derive(Debug)]
pub struct Task {
    tuning: Tuning,
    state: State,
    last_id: String,
}

/// Why a task failed.
struct Failure(&'static str, String);

impl Task {
    /// A connection without a task.
    #[must_use]
    pub fn new(tuning: &Tuning) -> Self {
        Self { tuning: tuning.clone(), state: State::Idle { since_ms: 0 }, last_id: String::new() }
    }

    /// Takes a control message.
    pub fn on_text(&mut self, text: &str, now_ms: u64, out: &mut Vec<Output>) -> Seen {
        let control: Value = serde_json::from_str(text).unwrap_or_default();
        let field = |path: &str| control.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (action, id) = (field("/header/action"), field("/header/task_id"));
        if !id.is_empty() {
            id.clone_into(&mut self.last_id);
        }
        let result = match (action, &mut self.state) {
            (_, State::Dead) => Ok(()),
            ("run-task", State::Idle { .. }) => self.run(&control, now_ms, out),
            ("finish-task", State::Running(run)) if run.id == id => {
                run.sentences.finish(now_ms, &run.id, out);
                out.push(message("task-finished", &run.id, &json!({}), &json!({"output": {}, "usage": null})));
                self.state = State::Idle { since_ms: now_ms };
                Ok(())
            }
            ("continue-task", State::Running(_)) => Ok(()),
            ("run-task" | "finish-task" | "continue-task", _) => {
                Err(Failure("InvalidParameter", format!("unexpected action: {action}")))
            }
            _ => Err(Failure("InvalidParameter", "the message could not be understood".to_owned())),
        };
        if let Err(failure) = result {
            self.fail(&failure, out);
        }
        if action == "run-task" {
            return Seen::Run { model: field("/payload/model").to_owned() };
        }
        Seen::Event(if action.is_empty() { "invalid".to_owned() } else { action.to_owned() })
    }

    /// Takes audio.
    pub fn on_binary(&mut self, bytes: &[u8], now_ms: u64, out: &mut Vec<Output>) -> Seen {
        match &mut self.state {
            State::Running(run) => {
                run.audio_ms = now_ms;
                run.sentences.hear(bytes, now_ms, &run.id, out);
                return Seen::Audio { bytes: bytes.len() };
            }
            State::Idle { .. } => {
                self.fail(&Failure("InvalidParameter", "audio was sent before run-task".to_owned()), out);
            }
            State::Dead => {}
        }
        Seen::Event("binary".to_owned())
    }

    /// When a timer runs out.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Idle { since_ms } => Some(since_ms + self.tuning.timer_ms(IDLE_SECONDS)),
            State::Running(run) => Some(run.audio_ms + self.tuning.timer_ms(SILENT_SECONDS)),
            State::Dead => None,
        }
    }

    /// Lets time pass.
    pub fn on_time(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if self.deadline_ms().is_none_or(|deadline| deadline > now_ms) {
            return;
        }
        if matches!(self.state, State::Running(_)) {
            let reason = format!("request timeout after {SILENT_SECONDS} seconds.");
            self.fail(&Failure("CLIENT_ERROR", reason), out);
        } else {
            self.state = State::Dead;
            out.push(Output::Close { code: 1000, reason: "idle".to_owned() });
        }
    }

    /// The event that reports a failure of the current task.
    #[must_use]
    pub fn failed(&self, code: &str, reason: &str) -> Output {
        let more = json!({"error_code": code, "error_message": reason});
        message("task-failed", &self.last_id, &more, &json!({}))
    }

    fn fail(&mut self, Failure(code, reason): &Failure, out: &mut Vec<Output>) {
        out.push(self.failed(code, reason));
        out.push(Output::Close { code: 1007, reason: reason.chars().take(100).collect() });
        self.state = State::Dead;
    }

    fn run(&mut self, control: &Value, now_ms: u64, out: &mut Vec<Output>) -> Result<(), Failure> {
        let invalid = |message: &str| Failure("InvalidParameter", message.to_owned());
        let payload = control.get("payload").unwrap_or(&Value::Null);
        if self.last_id.is_empty() {
            return Err(invalid("task_id can not be null"));
        }
        if payload.get("input").is_none_or(|input| !input.is_object()) {
            return Err(invalid("task can not be null"));
        }
        let model = payload.get("model").and_then(Value::as_str).unwrap_or_default();
        if !model.starts_with("gummy-") {
            return Err(Failure("ModelNotFound", "Model not exist.".to_owned()));
        }
        let parameters = payload.get("parameters").unwrap_or(&Value::Null);
        let sentences = Sentences::new(model, parameters, &self.tuning, now_ms).map_err(|message| invalid(&message))?;
        let id = self.last_id.clone();
        out.push(message("task-started", &id, &json!({}), &json!({})));
        self.state = State::Running(Box::new(Run { id, sentences, audio_ms: now_ms }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_task(id: &str, parameters: &Value) -> String {
        json!({
            "header": {"action": "run-task", "task_id": id, "streaming": "duplex"},
            "payload": {"task_group": "audio", "task": "asr", "function": "recognition", "model": "gummy-realtime-v1",
                        "parameters": parameters, "input": {}},
        })
        .to_string()
    }

    fn finish_task(id: &str) -> String {
        json!({"header": {"action": "finish-task", "task_id": id}, "payload": {"input": {}}}).to_string()
    }

    fn plain() -> Value {
        json!({"sample_rate": 16000, "format": "pcm", "translation_enabled": true, "translation_target_languages": ["en"]})
    }

    fn tone(ms: usize, level: i16) -> Vec<u8> {
        std::iter::repeat_n(level.to_le_bytes(), ms * 16).flatten().collect()
    }

    fn names(out: &[Output]) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = out.iter().map(Output::name).collect();
        names.dedup();
        names
    }

    fn results(out: &[Output]) -> Vec<Value> {
        let texts = out.iter().filter_map(|output| match output {
            Output::Event { name: "result-generated", text } => Some(text),
            _ => None,
        });
        texts.map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn a_task_runs_from_start_to_finish_and_the_socket_is_used_again() {
        let (mut task, mut out) = (Task::new(&Tuning::default()), Vec::new());
        for id in ["one", "two"] {
            out.clear();
            assert_eq!(
                task.on_text(&run_task(id, &plain()), 0, &mut out),
                Seen::Run { model: "gummy-realtime-v1".to_owned() }
            );
            for chunk in tone(2000, 5000).chunks(3200).chain(tone(1000, 0).chunks(3200)) {
                assert_eq!(task.on_binary(chunk, 0, &mut out), Seen::Audio { bytes: 3200 });
            }
            task.on_text(&finish_task(id), 0, &mut out);
            assert_eq!(names(&out), ["task-started", "result-generated", "task-finished"]);
            let results = results(&out);
            let (last, first) = (results.last().unwrap(), results.first().unwrap());
            assert_eq!(first["payload"]["usage"], Value::Null);
            assert_eq!(last["payload"]["usage"]["duration"], 3);
            let sentence = &last["payload"]["output"]["transcription"];
            assert_eq!((&sentence["sentence_end"], &sentence["end_time"]), (&json!(true), &json!(2000)));
            let words = sentence["words"].as_array().unwrap();
            assert!(words.iter().all(|word| word["fixed"] == true), "{words:?}");
            assert_eq!(last["payload"]["output"]["translations"][0]["lang"], "en");
            assert_eq!(last["header"]["task_id"], id);
            let Output::Event { text, .. } = out.last().unwrap() else { panic!() };
            assert!(text.contains(r#""output":{}"#), "{text}");
        }
    }

    #[test]
    fn timers_end_the_task_and_then_the_connection() {
        let tuning = Tuning { pace: 10.0, ..Tuning::default() };
        let (mut task, mut out) = (Task::new(&tuning), Vec::new());
        assert_eq!(task.deadline_ms(), Some(6000));
        task.on_text(&run_task("one", &plain()), 1000, &mut out);
        assert_eq!(task.deadline_ms(), Some(3300));
        task.on_binary(&tone(100, 0), 2000, &mut out);
        task.on_time(4299, &mut out);
        assert_eq!(names(&out), ["task-started"]);
        task.on_time(4300, &mut out);
        assert_eq!(names(&out), ["task-started", "task-failed", "close"]);
        assert_eq!(task.deadline_ms(), None);
        let mut idle = Task::new(&tuning);
        out.clear();
        idle.on_time(6000, &mut out);
        assert_eq!(names(&out), ["close"]);
    }

    #[test]
    fn what_is_wrong_fails_the_task() {
        let two = json!({"format": "pcm", "sample_rate": 16000, "translation_target_languages": ["en", "de"]});
        let slow = json!({"format": "pcm", "sample_rate": 8000});
        let odd = json!({"format": "flac", "sample_rate": 16000});
        let without_input = run_task("x", &plain()).replace(r#""input":{},"#, "");
        let other_model = run_task("x", &plain()).replace("gummy-realtime-v1", "qwen-plus");
        let table = [
            run_task("x", &two),
            run_task("x", &slow),
            run_task("x", &odd),
            run_task("", &plain()),
            without_input,
            other_model,
            finish_task("x"),
            "{".to_owned(),
        ];
        for text in table {
            let (mut task, mut out) = (Task::new(&Tuning::default()), Vec::new());
            task.on_text(&text, 0, &mut out);
            assert_eq!(names(&out), ["task-failed", "close"], "{text}");
        }
        let (mut task, mut out) = (Task::new(&Tuning::default()), Vec::new());
        assert_eq!(task.on_binary(&[0, 0], 0, &mut out), Seen::Event("binary".to_owned()));
        assert_eq!(names(&out), ["task-failed", "close"]);
    }

    #[test]
    fn compressed_audio_is_counted_by_the_clock() {
        let (mut task, mut out) = (Task::new(&Tuning::default()), Vec::new());
        let opus = json!({"format": "opus", "sample_rate": 16000});
        task.on_text(&run_task("one", &opus), 5000, &mut out);
        for second in 0..8 {
            task.on_binary(&[1; 50], 5000 + second * 1000, &mut out);
        }
        task.on_text(&finish_task("one"), 12_400, &mut out);
        let results = results(&out);
        assert_eq!(results.last().unwrap()["payload"]["usage"]["duration"], 8);
        assert_eq!(results.last().unwrap()["payload"]["output"]["transcription"]["sentence_id"], 1);
    }

    #[test]
    fn a_wave_files_header_is_no_audio() {
        let (mut task, mut out) = (Task::new(&Tuning::default()), Vec::new());
        let wav = json!({"format": "wav", "sample_rate": 16000, "max_end_silence": 300});
        task.on_text(&run_task("one", &wav), 0, &mut out);
        let mut file =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0".to_vec();
        file.extend(tone(1000, 5000));
        task.on_binary(&file[..20], 0, &mut out);
        task.on_binary(&file[20..], 0, &mut out);
        task.on_text(&finish_task("one"), 0, &mut out);
        let last = &results(&out).pop().unwrap()["payload"];
        assert_eq!(last["output"]["transcription"]["begin_time"], 0);
        assert_eq!(last["output"]["transcription"]["end_time"], 1000);
        assert_eq!(last["usage"]["duration"], 1);
    }
}
