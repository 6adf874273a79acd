//! The relay's decisions as transcripts: what happens, and what is done about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use livetranslate::config::Config;
use livetranslate::config::settings::{Protocol, UsageReport};
use livetranslate::error::Error;
use livetranslate::session::frames::Frame;
use livetranslate::session::relay::Relay;
use livetranslate::session::rules::Rules;
use livetranslate::session::sides::{Pressure, Side};
use livetranslate::session::step::{Action, Event, LeaseView};
use serde_json::Value;

use crate::support::customer::append;

/// A session on paper: a relay, a lease and a clock.
struct Stage {
    relay: Relay,
    room: u64,
    forwarded: u64,
    now: Instant,
}

impl Stage {
    fn new(protocol: Protocol) -> Self {
        Self::with(protocol, |_| {})
    }

    fn with(protocol: Protocol, adjust: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules {
            protocol,
            usage: UsageReport::Cumulative,
            allowed_models: Vec::new(),
            config: Arc::new(Config::defaults().unwrap()),
            longest: None,
            ping_phase: Duration::ZERO,
            replaceable: false,
            rollover_after: Duration::from_secs(1_500),
            rollover_tokens: 40_000,
            expires_at: None,
            key_expires_at: None,
        };
        adjust(&mut rules);
        let now = Instant::now();
        Self { relay: Relay::new(rules, None, now), room: 16_000, forwarded: 0, now }
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        let mut actions = Vec::new();
        let lease = LeaseView {
            room: self.room,
            forwarded: self.forwarded,
            used_up: None,
            acknowledged: 0,
            client_takes: true,
        };
        self.relay.on(event, lease, self.now, &mut actions);
        for action in &actions {
            if let Action::ToUpstream(_, _, samples) | Action::Count(samples) = action {
                self.forwarded += samples;
                self.room = self.room.saturating_sub(*samples);
            }
        }
        actions.iter().map(word).collect()
    }

    fn says(&mut self, text: &str) -> Vec<String> {
        self.on(Event::Client(Frame::Text(text.into())))
    }

    fn speaks(&mut self, milliseconds: usize) -> Vec<String> {
        self.says(&append(milliseconds, 8_000))
    }

    fn hears(&mut self, text: &str) -> Vec<String> {
        self.on(Event::Upstream(1, Frame::Text(text.into())))
    }

    fn hears_type(&mut self, kind: &str) -> Vec<String> {
        self.hears(&format!(r#"{{"type":"{kind}"}}"#))
    }

    /// Seconds pass, both peers answering pings.
    fn seconds(&mut self, seconds: u64) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.relay.heard(Side::Client, self.now);
            self.relay.heard(Side::Upstream, self.now);
            words.extend(self.on(Event::Tick(Pressure::default())));
        }
        words.retain(|word| !word.starts_with("ping"));
        words
    }
}

fn word(action: &Action) -> String {
    let kind = |frame: &Frame| match frame {
        Frame::Text(text) => {
            let event: Value = serde_json::from_str(text).unwrap_or_default();
            let code = event["error"]["code"].as_str().or(event["header"]["error_code"].as_str());
            let name = event["type"].as_str().or(event["header"]["event"].as_str());
            code.or(name).or(event["header"]["action"].as_str()).unwrap_or("text").to_owned()
        }
        Frame::Binary(_) => "binary".to_owned(),
    };
    match action {
        Action::ToUpstream(_, frame, samples) => format!("up {} {samples}", kind(frame)),
        Action::Count(samples) => format!("count {samples}"),
        Action::Drop(frame) => format!("drop {}", kind(frame)),
        Action::Inject(_, frame) => format!("inject {}", kind(frame)),
        Action::Dial(leg, _) => format!("dial {leg}"),
        Action::HangUp(leg) => format!("hang up {leg}"),
        Action::Notice(event) => format!("notice {}", kind(&Frame::Text(event.frame()))),
        Action::Configure(_) => "configure".to_owned(),
        Action::FinishThrough(ack) => format!("finished {}", ack.samples),
        Action::Away(away) => format!("away {away}"),
        Action::Release(reason) => format!("release {reason}"),
        Action::ToClient(frame) => format!("down {}", kind(frame)),
        Action::Demand(samples) => format!("demand {samples}"),
        Action::Tokens(usage) => format!("tokens {}/{}", usage.input_tokens, usage.output_tokens),
        Action::Ping(side) => format!("ping {side:?}"),
        Action::CloseClient(code, reason) => format!("close {code} {reason}"),
        Action::LastWord(frame) => format!("last word {}", kind(frame)),
        Action::CutClient => "cut".to_owned(),
        Action::LeaveSeat => "leave".to_owned(),
        Action::Finish(reason) => format!("finish {reason}"),
    }
}

const APPEND: &str = "input_audio_buffer.append";

fn used_up() -> Event {
    Event::Answered(Err(Error::InsufficientQuota { resets_at: None }))
}

#[test]
fn audio_waits_for_its_lease_and_order_is_kept() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    assert_eq!(stage.speaks(900), [format!("up {APPEND} 14400")]);
    assert_eq!(stage.speaks(200), ["demand 3200"], "the whole frame must fit");
    assert_eq!(stage.says(r#"{"type":"input_audio_buffer.commit"}"#), [""; 0], "what follows waits behind it");
    stage.room = 80_000;
    assert_eq!(
        stage.on(Event::Answered(Ok(()))),
        [format!("up {APPEND} 3200"), "up input_audio_buffer.commit 0".to_owned()]
    );
}

#[test]
fn a_used_up_budget_lets_the_sentence_out() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(1_000);
    stage.hears_type("input_audio_buffer.speech_started");
    assert_eq!(stage.speaks(100), ["demand 1600"]);
    assert_eq!(stage.on(used_up()), [format!("drop {APPEND}"), "inject session.finish".to_owned()]);
    assert_eq!(stage.speaks(100), [format!("drop {APPEND}")], "no more audio goes in");
    assert_eq!(stage.hears_type("response.audio.delta"), ["down response.audio.delta"]);
    assert_eq!(
        stage.hears_type("session.finished"),
        [
            "down insufficient_quota",
            "down session.finished",
            "close 4029 insufficient_quota",
            "finish insufficient_quota"
        ]
    );
}

#[test]
fn a_used_up_budget_waits_ten_seconds_at_most() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(1_000);
    stage.speaks(100);
    stage.on(used_up());
    assert_eq!(stage.seconds(9), [""; 0]);
    assert_eq!(stage.seconds(1), ["down insufficient_quota", "close 4029 insufficient_quota", "leave"]);
    assert_eq!(stage.seconds(20), ["finish insufficient_quota"], "its last usage is awaited");
}

#[test]
fn omni_is_never_sent_a_finish() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.speaks(1_000);
    stage.hears_type("response.created");
    stage.speaks(100);
    assert_eq!(stage.on(used_up()), [format!("drop {APPEND}")]);
    assert_eq!(
        stage.hears_type("response.done"),
        ["down response.done", "down insufficient_quota", "close 4029 insufficient_quota", "finish insufficient_quota"]
    );
    let mut stage = Stage::new(Protocol::Omni);
    stage.speaks(100);
    assert_eq!(stage.on(Event::ClientGone(false)), ["finish client_left"]);
}

#[test]
fn the_last_usage_of_a_client_that_left_is_awaited() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(500);
    assert_eq!(stage.on(Event::ClientGone(false)), ["inject session.finish", "leave"]);
    let done = r#"{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":3}}}"#;
    assert_eq!(stage.hears(done), ["tokens 7/3"]);
    assert_eq!(stage.hears_type("session.finished"), ["finish client_left"]);
    assert_eq!(stage.on(Event::ClientGone(false)), [""; 0]);
}

#[test]
fn a_client_that_finished_is_done() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(500);
    assert_eq!(stage.says(r#"{"type":"session.finish"}"#), ["up session.finish 0"]);
    assert_eq!(stage.hears_type("session.finished"), ["down session.finished"]);
    assert_eq!(stage.on(Event::ClientGone(false)), ["finish done"]);
}

#[test]
fn the_operators_word_is_carried_out_at_once() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(500);
    assert_eq!(
        stage.on(Event::End(Error::LicenseRevoked)),
        ["down license_revoked", "close 1008 license_revoked", "inject session.finish", "leave"]
    );
    assert_eq!(stage.hears_type("session.finished"), ["finish license_revoked"]);
}

#[test]
fn a_drain_waits_for_the_sentence() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.speaks(500);
    stage.hears_type("input_audio_buffer.speech_started");
    let deadline = stage.now + Duration::from_secs(30);
    assert_eq!(stage.on(Event::GoAway(deadline)), [""; 0]);
    assert_eq!(stage.speaks(100), [format!("up {APPEND} 1600")], "the sentence goes on");
    stage.hears_type("response.created");
    stage.hears_type("input_audio_buffer.speech_stopped");
    assert_eq!(stage.hears_type("response.done"), ["down response.done", "inject session.finish"]);
    assert_eq!(
        stage.hears_type("session.finished"),
        ["down draining", "down session.finished", "close 1001 draining", "finish draining"]
    );
}

#[test]
fn a_drain_ends_by_its_deadline() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    stage.room = 1_000_000;
    stage.speaks(500);
    stage.hears_type("input_audio_buffer.speech_started");
    stage.on(Event::GoAway(stage.now + Duration::from_secs(30)));
    let words: Vec<String> = (0..30)
        .flat_map(|_| {
            stage.speaks(100);
            stage.hears_type("response.text.delta");
            stage.seconds(1)
        })
        .collect();
    assert_eq!(words, ["inject session.finish", "demand 0", "down draining", "close 1001 draining", "finish draining"]);
}

#[test]
fn nobody_is_idle_or_live_for_ever() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    assert_eq!(stage.seconds(299), ["demand 0"], "an idle lease is given back");
    assert_eq!(stage.seconds(1), ["down session_idle", "close 1008 session_idle", "finish session_idle"]);
    let mut stage = Stage::with(Protocol::Livetranslate, |rules| rules.longest = Some(Duration::from_secs(3)));
    stage.room = 0;
    assert_eq!(stage.seconds(3), ["down session_expired", "close 1008 session_expired", "finish session_expired"]);
}

#[test]
fn a_license_that_ends_ends_its_session() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.room = 0;
    assert_eq!(stage.seconds(1), [""; 0]);
    stage.on(Event::ExpiresAt(Some(livetranslate::clock::now())));
    assert_eq!(stage.seconds(1), ["down license_expired", "close 1008 license_expired", "finish license_expired"]);
}

#[test]
fn a_slow_client_is_cut() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.room = 0;
    let slow = |seconds| Event::Tick(Pressure { downlink: Duration::from_secs(seconds), uplink: Duration::ZERO });
    stage.now += Duration::from_secs(29);
    assert_eq!(stage.on(slow(29)), ["ping Upstream"], "a stalled client is neither pinged nor dead");
    stage.relay.heard(Side::Upstream, stage.now);
    assert_eq!(stage.on(slow(30)), ["down too_slow", "close 4008 too_slow", "finish too_slow"]);
}

#[test]
fn dead_legs_are_found() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.room = 0;
    stage.now += Duration::from_secs(18);
    stage.relay.heard(Side::Upstream, stage.now);
    assert_eq!(stage.on(Event::Tick(Pressure::default())), ["cut", "finish client_dead"]);
    let mut stage = Stage::new(Protocol::Omni);
    stage.room = 0;
    stage.now += Duration::from_secs(18);
    stage.relay.heard(Side::Client, stage.now);
    let words = stage.on(Event::Tick(Pressure::default()));
    assert_eq!(words, ["down upstream_timeout", "close 1011 upstream_timeout", "finish upstream_timeout"]);
}

#[test]
fn a_silent_provider_is_found_only_where_it_should_answer() {
    let silent = ["down upstream_timeout", "close 1011 upstream_timeout", "finish upstream_timeout"];
    for (settings, expected) in
        [(r#"{"turn_detection":{"type":"server_vad"}}"#, &silent[..]), (r#"{"turn_detection":null}"#, &[])]
    {
        let mut stage = Stage::new(Protocol::Livetranslate);
        stage.room = 1_000_000;
        stage.says(&format!(r#"{{"type":"session.update","session":{settings}}}"#));
        let words: Vec<String> = (0..12)
            .flat_map(|_| {
                stage.speaks(100);
                stage.seconds(1)
            })
            .collect();
        assert_eq!(words, expected, "{settings}");
    }
}

#[test]
fn the_providers_own_close_passes() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    let gone = Event::UpstreamGone(1, Some((1007, "Access denied".to_owned())));
    assert_eq!(stage.on(gone), ["close 1007 Access denied", "finish upstream_closed"]);
    let mut stage = Stage::new(Protocol::Livetranslate);
    assert_eq!(
        stage.on(Event::UpstreamGone(1, None)),
        ["down upstream_unavailable", "close 1011 upstream_unavailable", "finish upstream_unavailable"]
    );
}

#[test]
fn compressed_audio_and_binary_frames_are_refused() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    let opus = r#"{"type":"session.update","session":{"input_audio_format":"opus"}}"#;
    assert_eq!(stage.says(opus), ["drop session.update", "down invalid_request"], "and the session goes on");
    assert_eq!(
        stage.on(Event::Client(Frame::Binary(vec![0; 4].into()))),
        ["drop binary", "down invalid_request", "close 1003 invalid_request", "finish invalid_request"]
    );
}

#[test]
fn tasks_are_metered_by_their_format() {
    let run = |format: &str| {
        format!(
            r#"{{"header":{{"action":"run-task","task_id":"t"}},"payload":{{"model":"gummy-realtime-v1","parameters":{{"sample_rate":16000,"format":"{format}"}}}}}}"#
        )
    };
    let binary = || Event::Client(Frame::Binary(vec![0; 3_200].into()));
    let mut stage = Stage::new(Protocol::Task);
    assert_eq!(stage.says(&run("pcm")), ["up run-task 0"]);
    assert_eq!(stage.on(binary()), ["up binary 1600"]);
    let mut stage = Stage::new(Protocol::Task);
    stage.says(&run("opus"));
    assert_eq!(stage.on(binary()), ["up binary 0"]);
    stage.now += Duration::from_millis(500);
    assert_eq!(stage.on(binary()), ["up binary 8000"], "by the clock");
    let finished = r#"{"header":{"event":"task-finished"},"payload":{"usage":{"duration":2}}}"#;
    stage.hears(finished);
    assert_eq!(
        stage.on(Event::ClientGone(false)),
        ["count 24000", "finish client_left"],
        "settled by the provider's word"
    );
}

#[test]
fn a_task_with_an_unknown_model_fails() {
    let mut stage = Stage::new(Protocol::Task);
    let run = r#"{"header":{"action":"run-task","task_id":"t"},"payload":{"model":"nope","parameters":{}}}"#;
    assert_eq!(
        stage.says(run),
        ["drop run-task", "down model_not_found", "close 1008 model_not_found", "finish model_not_found"]
    );
}
