//! The customer's client loses its connection, everywhere: nothing is lost, nothing comes twice.

use std::io::Cursor;

use futures_util::future::join_all;
use livetranslate::client::dialect::Wish;
use livetranslate::client::input::Input;
use livetranslate::client::outcome::{Ending, Outcome, Update};
use livetranslate::client::server::Server;
use livetranslate::client::translate::{Options, translate};
use livetranslate::config::settings::Secret;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use crate::support::fake_gateway::{FakeGateway, Fault, SENTENCE, TOKEN};

const WINDOW_MS: u64 = 120_000;
/// Two sentences and a half.
const SPEECH: usize = SENTENCE * 5 / 2;

fn speech() -> Vec<i16> {
    (0..SPEECH).map(|sample| i16::try_from(sample).unwrap()).collect()
}

fn options(gateway: &FakeGateway) -> Options {
    Options {
        server: Server::parse(gateway.address()).unwrap(),
        license: Secret::new("license"),
        model: "qwen3.8-livetranslate-flash-realtime".to_owned(),
        wish: Wish { target: "en".to_owned(), source: None, text_only: false },
        fast: true,
        resume: true,
    }
}

async fn translated(gateway: &FakeGateway, options: &Options, watcher: impl FnMut(Update<'_>)) -> Outcome {
    let bytes: Vec<u8> = speech().iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let outcome = translate(options, Input::raw(Cursor::new(bytes)), watcher).await.unwrap();
    assert!(!format!("{outcome:?}").contains(TOKEN), "{:?}", gateway.paths());
    outcome
}

/// Captions with their times, and the translated speech.
type Result = (Vec<(u64, Option<u64>, String, String)>, Vec<i16>);

fn result(outcome: &Outcome) -> Result {
    let lines = outcome.segments.iter().map(|segment| {
        assert!(segment.source.is_final && segment.translation.is_final, "{segment:?}");
        (segment.start_ms, segment.end_ms, segment.source.text.clone(), segment.translation.text.clone())
    });
    (lines.collect(), outcome.audio.clone())
}

/// Translates over a gateway with these faults; the outcome must be as without.
async fn survives(faults: &[Fault], expected: &Result) -> u32 {
    let gateway = FakeGateway::start(faults, WINDOW_MS).await;
    let outcome = translated(&gateway, &options(&gateway), |_| {}).await;
    assert_eq!(outcome.ending, Ending::Finished, "{faults:?} {:?}", gateway.paths());
    assert_eq!((outcome.samples_sent, outcome.samples_missing), (SPEECH as u64, 0), "{faults:?}");
    assert_eq!(gateway.accepted(), speech(), "{faults:?}");
    assert_eq!(&result(&outcome), expected, "{faults:?} {:?}", gateway.paths());
    outcome.resumes
}

async fn uncut() -> Result {
    let gateway = FakeGateway::start(&[], WINDOW_MS).await;
    let outcome = translated(&gateway, &options(&gateway), |_| {}).await;
    assert_eq!((outcome.ending.clone(), outcome.resumes), (Ending::Finished, 0));
    let result = result(&outcome);
    assert_eq!((result.0.len(), result.1.len()), (3, 18));
    assert_eq!(result.0[1], (312, Some(625), "heard 5000…9999".to_owned(), "said 5000…9999".to_owned()));
    result
}

/// Frames of an undisturbed session, and some more.
const FRAMES: std::ops::Range<usize> = 0..40;

#[test]
fn a_cut_anywhere_changes_nothing() {
    actix_web::rt::System::new().block_on(async {
        let expected = uncut().await;
        for fault in [Fault::Cut, Fault::Crash, Fault::GoAway] {
            let runs: Vec<[Fault; 1]> = FRAMES.map(|frames| [fault(frames)]).collect();
            let resumes = join_all(runs.iter().map(|faults| survives(faults, &expected))).await;
            assert!(resumes.iter().sum::<u32>() > 30, "{resumes:?}");
        }
        let closes = [1001, 1006, 1011, 1012, 1013, 4008].map(|code| [Fault::Close(20, code)]);
        // 1006 can't be sent: the fake then cuts.
        let resumes = join_all(closes.iter().map(|faults| survives(faults, &expected))).await;
        assert_eq!(resumes, [1; 6]);
    });
}

#[test]
fn many_losses_in_a_row_change_nothing() {
    let fault = (0_usize..25, 0..5).prop_map(|(frames, kind)| match kind {
        0 | 1 => Fault::Cut(frames),
        2 | 3 => Fault::Crash(frames),
        _ => Fault::Refuse(503),
    });
    let first = (1_usize..25).prop_map(Fault::Cut);
    let faults = (first, prop::collection::vec(fault, 0..4))
        .prop_map(|(first, more)| [first].into_iter().chain(more).collect::<Vec<_>>());
    actix_web::rt::System::new().block_on(async {
        let expected = uncut().await;
        let mut runner = TestRunner::new(Config::default());
        let runs: Vec<_> = (0..100).map(|_| faults.new_tree(&mut runner).unwrap().current()).collect();
        join_all(runs.iter().map(|faults| survives(faults, &expected))).await;
    });
}

#[test]
fn a_gateway_that_is_away_for_a_moment_is_asked_again_and_one_that_refuses_is_not() {
    actix_web::rt::System::new().block_on(async {
        let expected = uncut().await;
        let passing = [429, 500, 502, 503, 504].map(|status| [Fault::Cut(15), Fault::Refuse(status)]);
        assert_eq!(join_all(passing.iter().map(|faults| survives(faults, &expected))).await, [1; 5]);
        for (status, words) in [(410, "can't be resumed any more"), (401, "not valid"), (403, "does not include")] {
            let gateway = FakeGateway::start(&[Fault::Cut(15), Fault::Refuse(status)], WINDOW_MS).await;
            let mut told = Vec::new();
            let outcome = translated(&gateway, &options(&gateway), |update| told.push(format!("{update:?}"))).await;
            let Ending::Dropped(cause) = &outcome.ending else { panic!("{:?}", outcome.ending) };
            assert!(cause.contains(words) && cause.contains(&status.to_string()), "{cause}");
            assert!(!told.concat().contains(TOKEN) && told.iter().any(|update| update.starts_with("Lost")), "{told:?}");
            assert_eq!((gateway.paths().len(), outcome.segments.len()), (2, 1));
        }
    });
}

#[test]
fn after_the_window_and_without_the_wish_a_loss_is_the_end() {
    actix_web::rt::System::new().block_on(async {
        let gateway = FakeGateway::start(&[Fault::Cut(15)], 0).await;
        let outcome = translated(&gateway, &options(&gateway), |_| {}).await;
        assert!(
            matches!(&outcome.ending, Ending::Dropped(cause) if cause.contains("within 0 s")),
            "{:?}",
            outcome.ending
        );
        let gateway = FakeGateway::start(&[Fault::Cut(15)], WINDOW_MS).await;
        let alone = Options { resume: false, ..options(&gateway) };
        let outcome = translated(&gateway, &alone, |_| {}).await;
        assert!(matches!(outcome.ending, Ending::Dropped(_)), "{:?}", outcome.ending);
        assert_eq!(gateway.paths(), ["/v1/realtime?model=qwen3.8-livetranslate-flash-realtime"]);
    });
}
