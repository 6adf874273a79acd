//! What a session decides, event by event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use livetranslate::config::Config;
use livetranslate::config::settings::{Protocol, UsageReport};
use livetranslate::error::Error;
use livetranslate::session::frames::Frame;
use livetranslate::session::relay::Relay;
use livetranslate::session::rules::Rules;
use livetranslate::session::sides::Pressure;
use livetranslate::session::step::{Action, Event, LeaseView};
use livetranslate::wire::realtime::Usage;

fn rules(protocol: Protocol) -> Rules {
    Rules {
        protocol,
        usage: UsageReport::PerResponse,
        allowed_models: Vec::new(),
        config: Arc::new(Config::defaults().unwrap()),
        longest: None,
        ping_phase: Duration::ZERO,
        replaceable: false,
        rollover_after: Duration::from_secs(1_500),
        rollover_tokens: 40_000,
        expires_at: None,
        key_expires_at: None,
    }
}

/// A relay with a lease that never ends, on a clock of its own.
struct Stage {
    relay: Relay,
    now: Instant,
}

impl Stage {
    fn new(protocol: Protocol) -> Self {
        Self::under(rules(protocol))
    }

    fn under(rules: Rules) -> Self {
        let now = Instant::now();
        Self { relay: Relay::new(rules, None, now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let lease =
            LeaseView { room: u64::MAX / 2, forwarded: 16_000, used_up: None, acknowledged: 0, client_takes: true };
        self.relay.on(event, lease, self.now, &mut actions);
        actions
    }

    /// Seconds pass, a tick each; what was decided in them.
    fn seconds(&mut self, seconds: u64, pressure: Pressure, each: Option<&str>) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            actions.extend(each.into_iter().flat_map(|text| self.client(text)));
            actions.extend(self.on(Event::Tick(pressure)));
        }
        actions
    }

    fn client(&mut self, text: &str) -> Vec<Action> {
        self.on(Event::Client(Frame::Text(text.into())))
    }

    fn upstream(&mut self, text: &str) -> Vec<Action> {
        self.on(Event::Upstream(1, Frame::Text(text.into())))
    }
}

#[test]
fn a_response_that_runs_when_an_omni_client_leaves_is_booked() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.upstream(r#"{"type":"response.created"}"#);
    assert_eq!(stage.on(Event::ClientGone(false)), [Action::LeaveSeat]);
    let done = r#"{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":9}}}"#;
    let usage = Usage { input_tokens: 7, output_tokens: 9 };
    assert_eq!(stage.upstream(done), [Action::Tokens(usage), Action::Finish("client_left")]);
    let mut quiet = Stage::new(Protocol::Omni);
    assert_eq!(quiet.on(Event::ClientGone(false)), [Action::Finish("client_left")]);
}

#[test]
fn a_last_sentence_that_takes_too_long_is_cut_off_and_booked() {
    let mut stage = Stage::new(Protocol::Omni);
    stage.upstream(r#"{"type":"response.created"}"#);
    stage.on(Event::Answered(Err(Error::InsufficientQuota { resets_at: None })));
    let cut = stage.seconds(11, Pressure::default(), None);
    assert!(cut.iter().any(|action| matches!(action, Action::CloseClient(4029, _))), "{cut:?}");
    assert!(!cut.iter().any(|action| matches!(action, Action::Finish(_))), "{cut:?}");
    let done = r#"{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":9}}}"#;
    let usage = Usage { input_tokens: 7, output_tokens: 9 };
    assert_eq!(stage.upstream(done), [Action::Tokens(usage), Action::Finish("insufficient_quota")]);
}

#[test]
fn a_customer_who_takes_data_again_is_not_dead() {
    let mut stage = Stage::new(Protocol::Omni);
    let stalled = Pressure { downlink: Duration::from_secs(20), uplink: Duration::ZERO };
    stage.seconds(25, stalled, None);
    let after = stage.seconds(5, Pressure::default(), None);
    assert!(!after.contains(&Action::CutClient), "{after:?}");
    let gone = stage.seconds(20, Pressure::default(), None);
    assert!(gone.contains(&Action::CutClient), "{gone:?}");
}

#[test]
fn a_long_speech_to_an_omni_model_is_not_a_silent_provider() {
    let ends = |protocol| {
        let mut stage = Stage::new(protocol);
        stage.upstream(r#"{"type":"input_audio_buffer.speech_started"}"#);
        let speech = crate::support::customer::append(100, 9_000);
        let actions = stage.seconds(15, Pressure::default(), Some(&speech));
        actions.iter().any(|action| matches!(action, Action::CloseClient(1011, _)))
    };
    assert!(!ends(Protocol::Omni));
    assert!(ends(Protocol::Livetranslate));
}

#[test]
fn a_compressed_input_that_the_provider_reports_ends_the_session() {
    let mut stage = Stage::new(Protocol::Livetranslate);
    let lenient = r#"{"type":"session.update","x":NaN,"session":{"input_audio_format":"opus"}}"#;
    assert!(matches!(stage.client(lenient).as_slice(), [Action::ToUpstream(..)]));
    let updated =
        |format: &str| format!(r#"{{"type":"session.updated","session":{{"input_audio_format":"{format}"}}}}"#);
    assert!(matches!(stage.upstream(&updated("pcm")).as_slice(), [Action::ToClient(_)]));
    let actions = stage.upstream(&updated("opus"));
    assert!(actions.contains(&Action::CloseClient(1008, "invalid_request".into())), "{actions:?}");
}

#[test]
fn the_end_that_was_told_last_counts() {
    let past = livetranslate::clock::now();
    let mut stage = Stage::under(Rules { key_expires_at: Some(past), ..rules(Protocol::Livetranslate) });
    stage.on(Event::ExpiresAt(None));
    let ended = Action::CloseClient(1008, "license_expired".into());
    let actions = stage.on(Event::Tick(Pressure::default()));
    assert!(!actions.contains(&ended), "its key was given more time: {actions:?}");
    stage.on(Event::ExpiresAt(Some(past)));
    let actions = stage.on(Event::Tick(Pressure::default()));
    assert!(actions.contains(&ended), "{actions:?}");
}
