//! One leg for another, step by step: what the relay decides when a provider misbehaves in ways of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use livetranslate::config::Config;
use livetranslate::config::settings::{Protocol, UsageReport};
use livetranslate::error::Error;
use livetranslate::session::customer::Identity;
use livetranslate::session::frames::Frame;
use livetranslate::session::relay::Relay;
use livetranslate::session::rules::Rules;
use livetranslate::session::sides::{Pressure, Side};
use livetranslate::session::step::{Action, Event, LeaseView};

use crate::support::customer::append;

/// A resumable session on paper.
struct Stage {
    relay: Relay,
    forwarded: u64,
    room: u64,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self::of(Protocol::Livetranslate);
        stage.hears(1, r#"{"type":"session.created"}"#);
        stage.says(r#"{"type":"session.update","session":{"voice":"Tina"}}"#);
        stage.hears(1, r#"{"type":"session.updated","session":{}}"#);
        stage
    }

    /// A session whose client is there, and nothing said yet. Only LiveTranslate's legs are replaced.
    fn of(protocol: Protocol) -> Self {
        let rules = Rules {
            protocol,
            usage: UsageReport::Cumulative,
            allowed_models: Vec::new(),
            config: Arc::new(Config::defaults().unwrap()),
            longest: None,
            ping_phase: Duration::ZERO,
            replaceable: protocol == Protocol::Livetranslate,
            rollover_after: Duration::from_secs(1_500),
            rollover_tokens: 40_000,
            expires_at: None,
            key_expires_at: None,
        };
        let window = Duration::from_secs(120);
        let identity = Identity { session_id: "gws_1".into(), token: "t".into(), epoch: 1, window };
        let now = Instant::now();
        let mut stage = Self { relay: Relay::new(rules, Some(identity), now), forwarded: 0, room: u64::MAX / 4, now };
        stage.on(Event::ClientBack(0));
        stage
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
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
            if let Action::ToUpstream(_, _, samples) = action {
                self.forwarded += samples;
            }
        }
        if actions.iter().any(|action| matches!(action, Action::Demand(_))) {
            actions.extend(self.on(Event::Answered(Ok(()))));
        }
        actions
    }

    fn says(&mut self, text: &str) -> Vec<Action> {
        self.on(Event::Client(Frame::Text(text.into())))
    }

    fn speaks(&mut self) -> Vec<Action> {
        self.says(&append(100, 9_000))
    }

    fn hears(&mut self, leg: u32, text: &str) -> Vec<Action> {
        self.on(Event::Upstream(leg, Frame::Text(text.into())))
    }

    /// A second passes; both sides answer pings.
    fn second(&mut self) -> Vec<Action> {
        self.now += Duration::from_secs(1);
        self.relay.heard(Side::Client, self.now);
        for leg in 1..9 {
            self.relay.upstream_lives(leg, self.now);
        }
        self.on(Event::Tick(Pressure::default()))
    }

    fn loses(&mut self, leg: u32) -> Vec<Action> {
        self.on(Event::UpstreamGone(leg, None))
    }
}

fn dials(actions: &[Action]) -> Vec<u32> {
    actions.iter().filter_map(|action| if let Action::Dial(leg, _) = action { Some(*leg) } else { None }).collect()
}

fn forwarded(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::ToUpstream(..) | Action::Inject(..))).count()
}

fn closes(actions: &[Action], with: u16) -> bool {
    actions.iter().any(|action| matches!(action, Action::CloseClient(code, _) if *code == with))
}

fn finished(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Finish(_)))
}

#[test]
fn a_leg_that_never_greets_is_given_up() {
    let mut stage = Stage::new();
    assert_eq!(dials(&stage.loses(1)), [2]);
    stage.on(Event::Dialled(2, Ok(())));
    let redials: Vec<u32> = (0..6).flat_map(|_| dials(&stage.second())).collect();
    assert_eq!(redials, [3]);
}

#[test]
fn held_audio_goes_on_though_a_leg_keeps_silent_about_its_settings() {
    let mut stage = Stage::new();
    stage.loses(1);
    assert_eq!(forwarded(&stage.speaks()), 0, "nobody is there to hear it");
    stage.on(Event::Dialled(2, Ok(())));
    stage.hears(2, r#"{"type":"session.created"}"#);
    let sent: usize = (0..4).map(|_| forwarded(&stage.second())).sum();
    assert_eq!(sent, 1);
}

#[test]
fn a_leg_that_refuses_the_settings_is_not_used() {
    let mut stage = Stage::new();
    stage.loses(1);
    stage.on(Event::Dialled(2, Ok(())));
    stage.hears(2, r#"{"type":"session.created"}"#);
    let refused = stage.hears(2, r#"{"type":"error","error":{"message":"no such voice"}}"#);
    assert_eq!(dials(&refused), [3]);
    assert!(!refused.iter().any(|action| matches!(action, Action::ToClient(_))), "that is none of the client's");
}

#[test]
fn noise_that_nobody_answers_replaces_a_leg_once() {
    let mut stage = Stage::new();
    let mut dialled = Vec::new();
    for _ in 0..120 {
        let mut actions = stage.speaks();
        actions.extend(stage.second());
        for leg in dials(&actions) {
            dialled.push(leg);
            stage.on(Event::Dialled(leg, Ok(())));
            stage.hears(leg, r#"{"type":"session.created"}"#);
            stage.hears(leg, r#"{"type":"session.updated","session":{}}"#);
        }
    }
    assert_eq!(dialled, [2]);
}

#[test]
fn a_finished_session_waits_for_its_customer_to_the_end_of_the_window() {
    let mut stage = Stage::new();
    stage.speaks();
    stage.says(r#"{"type":"session.finish"}"#);
    stage.on(Event::ClientGone(false));
    stage.hears(1, r#"{"type":"session.finished"}"#);
    stage.on(Event::UpstreamGone(1, Some((1000, String::new()))));
    for second in 1..119 {
        assert!(!finished(&stage.second()), "{second}");
        assert!(stage.relay.takes_back(2), "{second}");
    }
    let back = stage.on(Event::ClientBack(2));
    assert!(closes(&back, 1000), "{back:?}");
    let mut late = Stage::new();
    late.on(Event::ClientGone(false));
    let ended = (0..125)
        .map(|_| late.second())
        .find(|actions| finished(actions) || !actions.is_empty() && late_leaves(actions));
    assert!(ended.is_some(), "nobody waits for ever");
}

fn late_leaves(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::LeaveSeat))
}

#[test]
fn a_customer_who_comes_back_asks_for_the_end_again_and_the_provider_hears_it_once() {
    let mut stage = Stage::new();
    stage.speaks();
    let finish = r#"{"type":"session.finish"}"#;
    let heard = |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::ToUpstream(..))).count();
    assert_eq!(heard(&stage.says(finish)), 1);
    stage.on(Event::ClientGone(false));
    stage.on(Event::ClientBack(2));
    assert!(matches!(stage.says(finish).as_slice(), [Action::Drop(_)]));
    let ended = stage.hears(1, r#"{"type":"session.finished"}"#);
    assert_eq!(ended.len(), 1, "his customer is there: {ended:?}");
}

#[test]
fn the_end_of_a_budget_is_kept_for_a_customer_who_is_away() {
    let mut stage = Stage::new();
    stage.speaks();
    stage.on(Event::ClientGone(false));
    stage.on(Event::Answered(Err(Error::InsufficientQuota { resets_at: None })));
    let ended = stage.hears(1, r#"{"type":"session.finished"}"#);
    assert!(!finished(&ended), "{ended:?}");
    stage.second();
    assert!(stage.relay.takes_back(2));
    for _ in 0..2 {
        let back = stage.on(Event::ClientBack(2));
        assert!(back.iter().any(|action| matches!(action, Action::LastWord(_))), "{back:?}");
        assert!(closes(&back, 4029), "{back:?}");
        // He was cut off before he had it all.
        assert!(!finished(&stage.on(Event::ClientGone(false))));
    }
    stage.on(Event::ClientBack(2));
    assert!(finished(&stage.on(Event::ClientGone(true))));
}

#[test]
fn what_the_provider_closed_is_kept_for_a_customer_who_is_away() {
    let mut stage = Stage::of(Protocol::Omni);
    stage.hears(1, r#"{"type":"session.created"}"#);
    stage.on(Event::ClientGone(false));
    stage.hears(1, r#"{"type":"response.created","response":{"id":"r1"}}"#);
    assert!(!finished(&stage.on(Event::UpstreamGone(1, Some((1000, "idle".to_owned()))))));
    stage.second();
    assert!(stage.relay.takes_back(1));
    let back = stage.on(Event::ClientBack(1));
    assert!(closes(&back, 1000), "{back:?}");
    assert!(matches!(stage.speaks().as_slice(), [Action::Drop(_)]), "nobody is there to hear it");
    assert!(finished(&stage.on(Event::ClientGone(true))));
}

#[test]
fn the_providers_close_is_told_on_each_socket_until_the_customer_has_it() {
    let mut stage = Stage::new();
    stage.speaks();
    stage.says(r#"{"type":"session.finish"}"#);
    stage.hears(1, r#"{"type":"session.finished"}"#);
    assert!(closes(&stage.on(Event::UpstreamGone(1, Some((1000, String::new())))), 1000));
    for _ in 0..2 {
        assert!(!finished(&stage.on(Event::ClientGone(false))));
        assert!(closes(&stage.on(Event::ClientBack(2)), 1000));
    }
    assert!(finished(&stage.on(Event::ClientGone(true))));
}

#[test]
fn the_last_usage_is_awaited_to_its_own_deadline() {
    let mut stage = Stage::new();
    stage.speaks();
    stage.says(r#"{"type":"session.finish"}"#);
    let left = stage.on(Event::End(Error::LicenseRevoked));
    assert!(left.contains(&Action::LeaveSeat), "{left:?}");
    assert_eq!(stage.on(Event::End(Error::LicenseRevoked)), [], "it was told twice");
    assert!(finished(&stage.loses(1)));
    let mut late = Stage::new();
    late.speaks();
    late.on(Event::ClientGone(false));
    assert_eq!(dials(&late.loses(1)), [2]);
    late.on(Event::End(Error::LicenseRevoked));
    let fatal = Err((Error::upstream("refused"), true));
    assert!(finished(&late.on(Event::Dialled(2, fatal))), "nobody can come back to it");
}

#[test]
fn a_new_leg_is_not_judged_by_the_clock_of_the_lost_one() {
    let mut stage = Stage::new();
    let mut leg = dials(&stage.loses(1))[0];
    for _ in 0..20 {
        stage.second();
        let refused = Err((Error::upstream("refused"), false));
        leg = dials(&stage.on(Event::Dialled(leg, refused)))[0];
    }
    stage.on(Event::Dialled(leg, Ok(())));
    stage.hears(leg, r#"{"type":"session.created"}"#);
    stage.hears(leg, r#"{"type":"session.updated","session":{}}"#);
    let after = stage.on(Event::Tick(Pressure::default()));
    assert!(!after.contains(&Action::HangUp(leg)), "{after:?}");
    assert_eq!(forwarded(&stage.speaks()), 1);
}

#[test]
fn a_dead_provider_is_found_while_the_customer_takes_nothing() {
    let mut stage = Stage::new();
    stage.on(Event::ClientGone(false));
    let stalled = Pressure { downlink: Duration::from_secs(20), uplink: Duration::ZERO };
    let redials = (0..20).flat_map(|_| {
        stage.now += Duration::from_secs(1);
        dials(&stage.on(Event::Tick(stalled)))
    });
    assert_eq!(redials.collect::<Vec<u32>>(), [2]);
}

#[test]
fn a_wrong_rate_breaks_nothing() {
    let mut stage = Stage::new();
    for rate in ["0", "-1", "44100", "1e300"] {
        stage.says(&format!(r#"{{"type":"session.update","session":{{"sample_rate":{rate}}}}}"#));
        assert_eq!(forwarded(&stage.speaks()), 1, "{rate}");
        stage.second();
    }
}

#[test]
fn a_coming_legs_greeting_changes_no_settings() {
    let mut stage = Stage::new();
    stage.says(r#"{"type":"session.update","session":{"sample_rate":8000}}"#);
    stage.hears(1, r#"{"type":"session.updated","session":{"sample_rate":8000}}"#);
    stage.loses(1);
    stage.on(Event::Dialled(2, Ok(())));
    stage.hears(2, r#"{"type":"session.created","session":{"sample_rate":16000}}"#);
    stage.hears(2, r#"{"type":"session.updated","session":{"sample_rate":8000}}"#);
    let before = stage.forwarded;
    stage.speaks();
    assert_eq!(stage.forwarded - before, 3_200, "1,600 samples at 8,000 a second are 3,200 of the metered ones");
}
