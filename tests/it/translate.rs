//! The customer's client against a real gateway: what it collects, and what it says when things go wrong.

use std::io::Cursor;

use livetranslate::client::captions::Side;
use livetranslate::client::dialect::Wish;
use livetranslate::client::failure::Failure;
use livetranslate::client::input::Input;
use livetranslate::client::outcome::{Ending, Outcome, Update};
use livetranslate::client::server::Server;
use livetranslate::client::subtitles;
use livetranslate::client::translate::{Options, translate};
use livetranslate::config::settings::Secret;
use livetranslate::simulator::faults::{CloseFault, ErrorFault, Faults};
use serde_json::json;

use crate::support::app::{TestApp, on_sqlite};
use crate::support::customer::{Customer, MODEL};
use crate::support::scissors;

const SPEECH: &[u8] = include_bytes!("../../static/samples/zh.wav");
const SPEECH_SAMPLES: u64 = 115_490;

fn options(app: &TestApp, customer: &Customer, model: &str) -> Options {
    Options {
        server: Server::parse(&app.url()).unwrap(),
        license: Secret::new(customer.token.clone()),
        model: model.to_owned(),
        wish: Wish { target: "en".to_owned(), source: None, text_only: false },
        fast: true,
        resume: true,
    }
}

async fn translated(options: &Options) -> Result<Outcome, Failure> {
    translate(options, Input::wav("the sample", SPEECH).unwrap(), |_| {}).await
}

#[test]
fn speech_becomes_captions_speech_and_usage_in_both_dialects() {
    on_sqlite(async |app| {
        for model in [MODEL, "qwen3.8-livetranslate-flash-realtime"] {
            let alice = app.licensee(60.0).await;
            let (mut sent, mut finals) = (0, Vec::new());
            let input = Input::wav("the sample", SPEECH).unwrap();
            let options = options(app, &alice, model);
            let watched = translate(&options, input, |update| match update {
                Update::Sent(samples) => sent = samples,
                Update::Caption(segment, side) if segment.caption(side).is_final => finals.push(side),
                _ => {}
            });
            let outcome = watched.await.unwrap();
            assert_eq!(
                (outcome.ending, outcome.samples_sent, sent),
                (Ending::Finished, SPEECH_SAMPLES, SPEECH_SAMPLES)
            );
            assert!(outcome.provider_session.unwrap().starts_with("sess_"));
            let complete = |segment: &livetranslate::client::captions::Segment| {
                segment.source.is_final && segment.translation.is_final && !segment.translation.text.is_empty()
            };
            assert!(!outcome.segments.is_empty() && outcome.segments.iter().all(complete), "{:?}", outcome.segments);
            let sides = |wanted: Side| finals.iter().filter(|side| **side == wanted).count();
            assert_eq!(
                (sides(Side::Source), sides(Side::Translation)),
                (outcome.segments.len(), outcome.segments.len())
            );
            assert!(subtitles::cues(&outcome.segments).len() >= outcome.segments.len());
            assert!(outcome.audio.iter().any(|sample| sample.unsigned_abs() > 500), "the translation is not silent");
            assert!(outcome.tokens.input_tokens > 0 && outcome.tokens.output_tokens > 0);
            app.settled().await;
            assert_eq!((alice.audio_used().await * 16_000.0).round() as u64, SPEECH_SAMPLES);
        }
    });
}

#[test]
fn raw_speech_from_a_pipe_and_captions_alone() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let mut options = options(app, &alice, MODEL);
        options.wish.text_only = true;
        let outcome = translate(&options, Input::raw(Cursor::new(&SPEECH[44..])), |_| {}).await.unwrap();
        assert_eq!((outcome.ending, outcome.samples_sent), (Ending::Finished, SPEECH_SAMPLES));
        assert!(outcome.audio.is_empty() && !outcome.segments.is_empty());
    });
}

#[test]
fn a_quota_that_ends_is_told_and_what_was_translated_is_kept() {
    on_sqlite(async |app| {
        let alice = app.licensee(4.5).await;
        let outcome = translated(&options(app, &alice, MODEL)).await.unwrap();
        let Ending::Error { code, close, .. } = &outcome.ending else { panic!("{:?}", outcome.ending) };
        assert_eq!((code.as_str(), *close), ("insufficient_quota", Some(4029)));
        assert!(outcome.segments.iter().any(|segment| segment.translation.is_final), "{:?}", outcome.segments);
        let refused = translated(&options(app, &alice, MODEL)).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused { status: 429, .. }), "{refused}");
    });
}

#[test]
fn a_refusal_says_why() {
    on_sqlite(async |app| {
        let refusal = async |customer: &Customer, model: &str| match translated(&options(app, customer, model)).await {
            Err(Failure::Refused { status, code, .. }) => (status, code),
            other => panic!("{other:?}"),
        };
        let stranger = Customer::new(app.url(), "lic_none", "not-a-license");
        assert_eq!(refusal(&stranger, MODEL).await, (401, "invalid_api_key".to_owned()));
        let alice = app.licensee(60.0).await;
        assert_eq!(refusal(&alice, "no-such-model").await, (404, "model_not_found".to_owned()));
        let suspended = app.operator().post(&format!("/admin/licenses/{}/suspend", alice.license_id), &json!({})).await;
        assert_eq!(suspended.status, 200, "{:?}", suspended.body);
        assert_eq!(refusal(&alice, MODEL).await, (403, "license_suspended".to_owned()));
    });
    let nobody = Options {
        server: Server::parse("127.0.0.1:1").unwrap(),
        license: Secret::new("x"),
        model: MODEL.to_owned(),
        wish: Wish { target: "en".to_owned(), source: None, text_only: true },
        fast: true,
        resume: true,
    };
    let unreachable = actix_web::rt::System::new().block_on(translated(&nobody)).unwrap_err();
    assert!(matches!(unreachable, Failure::Unreachable { .. }), "{unreachable}");
}

#[test]
fn an_upstream_that_fails_is_replaced_and_one_that_fails_always_ends_the_session_with_a_sentence() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let mut options = options(app, &alice, MODEL);
        options.fast = false;
        let error = ErrorFault {
            code: Some("InternalError".to_owned()),
            message: "Internal service error: null".to_owned(),
            kind: Some("server_error".to_owned()),
            after_ms: 500,
            close: Some(CloseFault { code: 1011, ..CloseFault::default() }),
        };
        let fault = || Faults { error: Some(error.clone()), ..Faults::default() };
        app.next_faults(fault());
        let outcome = translated(&options).await.unwrap();
        assert_eq!((&outcome.ending, outcome.samples_sent), (&Ending::Finished, SPEECH_SAMPLES));
        assert!(outcome.segments.iter().all(|segment| segment.translation.is_final), "{:?}", outcome.segments);
        (0..20).for_each(|_| app.next_faults(fault()));
        let outcome = translated(&options).await.unwrap();
        let Ending::Error { code, close, .. } = &outcome.ending else { panic!("{:?}", outcome.ending) };
        assert_eq!((code.as_str(), *close), ("upstream_unavailable", Some(1011)));
        assert!(outcome.samples_sent < SPEECH_SAMPLES);
    });
}

#[test]
fn a_connection_that_is_cut_again_and_again_changes_neither_captions_nor_usage() {
    on_sqlite(async |app| {
        let lines = |outcome: &Outcome| -> Vec<(u64, String, String)> {
            let line = |segment: &livetranslate::client::captions::Segment| {
                (segment.start_ms, segment.source.text.clone(), segment.translation.text.clone())
            };
            outcome.segments.iter().map(line).collect()
        };
        for model in [MODEL, "qwen3.8-livetranslate-flash-realtime"] {
            let alice = app.licensee(60.0).await;
            let whole = translated(&options(app, &alice, model)).await.unwrap();
            app.settled().await;
            let before = app.upstream_samples();
            // The head of the answer alone is some 200 bytes, the first events 2,000.
            let cuts = [1_000, 3_000, 30_000, 4_000, 60_000, 100_000];
            let address = scissors::cutting(app.url().strip_prefix("http://").unwrap(), &cuts).await;
            let through = Options { server: Server::parse(&address).unwrap(), ..options(app, &alice, model) };
            let outcome = translated(&through).await.unwrap();
            assert_eq!((&outcome.ending, outcome.samples_missing), (&Ending::Finished, 0));
            assert!(outcome.resumes >= 4, "{}", outcome.resumes);
            assert_eq!(lines(&outcome), lines(&whole));
            assert_eq!(outcome.audio.len(), whole.audio.len());
            app.settled().await;
            assert_eq!(app.upstream_samples() - before, SPEECH_SAMPLES);
            assert_eq!((alice.audio_used().await * 16_000.0).round() as u64, 2 * SPEECH_SAMPLES);
        }
    });
}
