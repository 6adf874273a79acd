//! Sessions that outlive their sockets: resumed, replaced, moved. Over real connections.

use livetranslate::simulator::faults::{CloseFault, ErrorFault, Faults};
use serde_json::{Value, json};

use crate::support::app::{Backend, TestApp, on_both_stores, on_sqlite, on_sqlite_with};
use crate::support::customer::{Call, Customer, MODEL};

/// A resumable session's client: what it has and counts.
struct Traveller {
    call: Call,
    token: String,
    seq: u64,
    events: Vec<Value>,
}

impl Traveller {
    async fn start(customer: &Customer) -> Self {
        let mut call = customer.dial_at(&format!("/v1/realtime?model={MODEL}&resumable=1")).await.unwrap();
        let hello = call.next_event().await;
        assert_eq!((&hello["type"], &hello["epoch"]), (&json!("gateway.session"), &json!(1)), "{hello}");
        assert_eq!(hello["window_ms"], 120_000);
        let token = hello["resume_token"].as_str().unwrap().to_owned();
        let mut traveller = Self { call, token, seq: 0, events: Vec::new() };
        traveller.until("session.created").await;
        traveller.call.event(json!({"type": "session.update", "session": {"translation": {"language": "fr"}}})).await;
        traveller.until("session.updated").await;
        traveller
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.call.next_event().await;
            let (name, id) = (event["type"].as_str().unwrap(), event["event_id"].as_str().unwrap_or_default());
            if livetranslate::wire::continuity::counts(name, id) {
                self.seq += 1;
                self.events.push(event.clone());
            }
            if name == kind {
                return event;
            }
        }
    }

    async fn received(&mut self) {
        let word = json!({"type": "gateway.received", "seq": self.seq});
        self.call.event(word).await;
    }

    /// Cuts the line and comes back; returns `gateway.resumed`.
    async fn resume(&mut self, at: &str) -> Value {
        let path = format!("/v1/realtime?resume={}&last_seq={}", self.token, self.seq);
        self.call = Customer::new(at.to_owned(), "", "").dial_at(&path).await.unwrap();
        let resumed = self.call.next_event().await;
        assert_eq!(resumed["type"], "gateway.resumed", "{resumed}");
        if resumed["epoch"] != 1 {
            self.seq = 0;
        }
        resumed
    }

    async fn speaks(&mut self, tenths: usize) {
        for _ in 0..tenths {
            self.call.audio(100, 9_000).await;
        }
    }

    async fn pauses(&mut self, tenths: usize) {
        for _ in 0..tenths {
            self.call.audio(100, 0).await;
        }
    }

    async fn finish(&mut self) {
        self.call.event(json!({"type": "session.finish"})).await;
        self.until("session.finished").await;
    }

    fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event["type"] == kind).count()
    }
}

#[test]
fn a_dropped_customer_goes_on_where_he_was() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut traveller = Traveller::start(&alice).await;
        traveller.speaks(10).await;
        traveller.until("response.created").await;
        traveller.received().await;
        let missed_from = traveller.seq;
        let resumed = traveller.resume(&app.url()).await;
        assert_eq!(resumed["seq"], missed_from, "the missed events follow");
        let samples = resumed["samples"].as_u64().unwrap();
        assert!(samples <= 16_000, "{resumed}");
        // What the cut took with it is said again.
        traveller.speaks(usize::try_from(10 - samples / 1_600).unwrap()).await;
        traveller.pauses(15).await;
        traveller.until("response.done").await;
        traveller.finish().await;
        assert_eq!(traveller.count("response.done"), 1);
        assert_eq!(traveller.count("input_audio_buffer.speech_started"), 1);
        traveller.call.hang_up().await;
        app.settled().await;
        assert_eq!(app.upstream_samples(), 25 * 1_600, "each sample once");
        assert!((alice.audio_used().await - 2.5).abs() < 1e-9);
        assert_eq!(app.upstream_sessions().len(), 1);
    });
}

#[test]
fn what_was_heard_is_acknowledged_when_it_is_written_and_delivered() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut traveller = Traveller::start(&alice).await;
        traveller.speaks(10).await;
        traveller.pauses(15).await;
        traveller.until("response.done").await;
        let first = traveller.until("gateway.ack").await["samples"].as_u64().unwrap();
        assert!(first <= 16_000, "its captions may not have been received: {first}");
        loop {
            traveller.received().await;
            traveller.pauses(1).await;
            let acked = traveller.until("gateway.ack").await["samples"].as_u64().unwrap();
            if acked >= 15_000 {
                break;
            }
        }
        traveller.finish().await;
        traveller.call.hang_up().await;
        app.settled().await;
    });
}

#[test]
fn a_finished_translation_waits_for_its_customer() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let mut traveller = Traveller::start(&alice).await;
        traveller.speaks(10).await;
        traveller.call.event(json!({"type": "session.finish"})).await;
        traveller.until("response.created").await;
        traveller.resume(&app.url()).await;
        traveller.until("session.finished").await;
        assert_eq!(traveller.count("response.done"), 1);
        traveller.call.hang_up().await;
        app.settled().await;
        assert_eq!(app.upstream_samples(), 16_000);
    });
}

#[test]
fn what_cannot_be_continued_is_refused() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut traveller = Traveller::start(&alice).await;
        let gone = |path: String| {
            let url = app.url();
            async move { crate::support::customer::refusal(&url, &path, &[]).await }
        };
        let answer = gone("/v1/realtime?resume=rsm_unknown&last_seq=0".to_owned()).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (410, &json!("session_gone")));
        let answer = gone(format!("/v1/realtime?resume={}&last_seq=1000", traveller.token)).await;
        assert_eq!(answer.status, 410, "{:?}", answer.body);
        let answer = gone(format!("/v1/realtime?resume={}&last_seq=x", traveller.token)).await;
        assert_eq!((answer.status, &answer.body["error"]["param"]), (400, &json!("last_seq")));
        traveller.received().await;
        traveller.speaks(1).await;
        traveller.until("gateway.ack").await;
        let answer = gone(format!("/v1/realtime?resume={}&last_seq=0", traveller.token)).await;
        assert_eq!(answer.status, 410, "the replay was freed");
        app.operator().post(&format!("/admin/licenses/{}/suspend", alice.license_id), &json!({})).await;
        let answer = gone(format!("/v1/realtime?resume={}&last_seq=2", traveller.token)).await;
        assert!(matches!(answer.status, 403 | 410), "{:?}", answer.body);
        app.settled().await;
    });
}

#[test]
fn a_dropped_provider_is_replaced_for_everyone() {
    on_both_stores(async |app| {
        for faults in [
            Faults { drop_mid_delta: true, ..Faults::default() },
            Faults {
                close: Some(CloseFault { code: 1011, after_events: Some(6), ..CloseFault::default() }),
                ..Faults::default()
            },
        ] {
            let before = app.upstream_sessions().len();
            app.next_faults(faults);
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial().await;
            call.until("session.created").await;
            call.event(json!({"type": "session.update", "session": {"translation": {"language": "fr"}}})).await;
            call.until("session.updated").await;
            for tenth in 0..60 {
                call.audio(100, if tenth % 30 < 15 { 9_000 } else { 0 }).await;
            }
            let events = call.finish().await;
            let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
            assert_eq!(count("response.audio_transcript.done"), 2, "each sentence once: {events:#?}");
            assert_eq!(count("conversation.item.input_audio_transcription.completed"), 2);
            assert_eq!(count("session.created") + count("session.updated"), 0, "the new leg's are withheld");
            assert!(!events.iter().any(|event| event["type"].as_str().unwrap().starts_with("gateway.")));
            app.settled().await;
            let legs = &app.upstream_sessions()[before..];
            assert_eq!(legs.len(), 2, "{legs:?}");
            assert!((alice.audio_used().await - 6.0).abs() < 1e-9, "billed once");
        }
    });
}

#[test]
fn one_leg_only_on_request() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let close = CloseFault { code: 1011, reason: "gone".to_owned(), after_events: Some(1), after_ms: None };
        app.next_faults(Faults { close: Some(close), ..Faults::default() });
        let mut call = alice.dial_at(&format!("/v1/realtime?model={MODEL}&legs=1")).await.unwrap();
        let ending = call.ending().await;
        assert_eq!(ending.close, Some((1011, "gone".to_owned())), "the provider's own close");
        app.settled().await;
    });
}

#[test]
fn a_provider_that_keeps_dying_ends_the_session() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        for _ in 0..3 {
            let error = ErrorFault { message: "no".to_owned(), after_ms: 0, ..ErrorFault::default() };
            let close = CloseFault { code: 1011, after_ms: Some(10), ..CloseFault::default() };
            app.next_faults(Faults { error: Some(error), close: Some(close), ..Faults::default() });
        }
        let mut call = alice.dial().await;
        let ending = call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (1011, "upstream_unavailable"));
        let alice = app.licensee(60.0).await;
        let close = CloseFault { code: 1007, reason: "Access denied".to_owned(), ..CloseFault::default() };
        app.next_faults(Faults { close: Some(close), ..Faults::default() });
        let ending = alice.dial().await.ending().await;
        assert_eq!(ending.code(), 1011, "some endings are for good");
        app.settled().await;
    });
}

#[test]
fn a_resumable_customer_is_told_of_a_new_leg() {
    on_sqlite(async |app| {
        let alice = app.licensee(60.0).await;
        let close = CloseFault { code: 1011, after_events: Some(8), ..CloseFault::default() };
        app.next_faults(Faults { close: Some(close), ..Faults::default() });
        let mut traveller = Traveller::start(&alice).await;
        traveller.speaks(20).await;
        traveller.until("gateway.reconnecting").await;
        traveller.until("gateway.reconnected").await;
        traveller.pauses(15).await;
        traveller.finish().await;
        assert_eq!(traveller.count("response.audio_transcript.done"), 1);
        let cut = traveller.events.iter().find(|event| event["response"]["status"] == "incomplete");
        assert_eq!(traveller.count("response.created") > 1, cut.is_some(), "a response cut short is ended");
        traveller.call.hang_up().await;
        app.settled().await;
    });
}

#[test]
fn a_leg_is_replaced_before_its_cap() {
    on_sqlite_with(
        |config| config.realtime.rollover_seconds = 3,
        async |app| {
            let alice = app.licensee(60.0).await;
            let mut call = alice.dial().await;
            call.until("session.created").await;
            let mut expected = 0;
            while app.upstream_sessions().len() < 3 {
                for _ in 0..8 {
                    call.audio(100, 9_000).await;
                }
                for _ in 0..12 {
                    call.audio(100, 0).await;
                }
                expected += 1;
                let done = call.until("response.done").await;
                assert_eq!(done["response"]["status"], "completed");
                tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            }
            let events = call.finish().await;
            assert!(events.iter().all(|event| event["type"] != "error"), "{events:?}");
            app.settled().await;
            assert!((alice.audio_used().await - f64::from(expected) * 2.0).abs() < 1e-9);
        },
    );
}

#[test]
fn a_session_goes_on_at_another_instance() {
    actix_web::rt::System::new().block_on(async {
        let first = TestApp::start(Backend::Postgres, |_| {}).await;
        let second = first.start_beside(|_| {}).await;
        let alice = first.licensee(60.0).await;
        let mut traveller = Traveller::start(&alice).await;
        traveller.speaks(10).await;
        traveller.pauses(15).await;
        traveller.until("response.done").await;
        traveller.received().await;
        traveller.pauses(1).await;
        let mut acked = 0;
        while acked < 15_000 {
            acked = traveller.until("gateway.ack").await["samples"].as_u64().unwrap();
        }
        let stopping = actix_web::rt::spawn(first.stop());
        traveller.until("gateway.going_away").await;
        let resumed = traveller.resume(&second.url()).await;
        assert_eq!((&resumed["epoch"], &resumed["seq"]), (&json!(2), &json!(0)), "{resumed}");
        let samples = resumed["samples"].as_u64().unwrap();
        assert!((acked..=26 * 1_600).contains(&samples), "{samples}");
        traveller.events.clear();
        // What was not acknowledged is said again, and what is new.
        traveller.pauses(usize::try_from(26 - samples / 1_600).unwrap()).await;
        traveller.speaks(10).await;
        traveller.pauses(15).await;
        let started = traveller.until("input_audio_buffer.speech_started").await["audio_start_ms"].as_u64().unwrap();
        assert!((2_200..=2_700).contains(&started), "on the session's line: {started}");
        traveller.finish().await;
        assert_eq!(traveller.count("response.audio_transcript.done"), 1);
        assert_eq!(traveller.count("session.created"), 0);
        let french = second.upstream_sessions();
        assert!(french.iter().any(|leg| leg.events.iter().any(|event| event == "session.update")), "{french:?}");
        traveller.call.hang_up().await;
        stopping.await.unwrap();
        second.settled().await;
        let used = second.customer(&alice).audio_used().await;
        assert!((used - 5.1).abs() < 0.11, "{used}");
        second.stop().await;
    });
}

#[test]
fn a_resumable_customer_is_told_when_his_budget_runs_out() {
    on_both_stores(async |app| {
        let alice = app.licensee(15.0).await;
        let mut traveller = Traveller::start(&alice).await;
        let mut told = Vec::new();
        for tenths in [60, 70] {
            traveller.pauses(tenths).await;
            told.push(traveller.until("gateway.quota").await);
        }
        assert_eq!(told[0]["unit"], "audio_seconds", "{told:?}");
        let left: Vec<f64> = told.iter().map(|event| event["remaining"].as_f64().unwrap()).collect();
        assert!(left[0] <= 10.0 && left[1] <= 3.0 && left[1] < left[0], "{left:?}");
        traveller.pauses(30).await;
        let ending = traveller.call.ending().await;
        assert_eq!((ending.code(), ending.error_code()), (4029, "insufficient_quota"));
        app.settled().await;
    });
}

#[test]
fn who_is_away_gives_way_to_a_new_session() {
    on_both_stores(async |app| {
        let budgets = json!([{ "unit": "audio_seconds", "limit": 60, "window": "lifetime" }]);
        let alice = app.licensee_with(json!({ "max_sessions": 1, "budgets": budgets })).await;
        let traveller = Traveller::start(&alice).await;
        let path = format!("/v1/realtime?model={MODEL}");
        assert_eq!(alice.refusal(&path).await.status, 429, "he is there");
        let (token, seq) = (traveller.token, traveller.seq);
        drop(traveller.call);
        let mut call = loop {
            match alice.dial_at(&path).await {
                Ok(call) => break call,
                Err(status) => assert_eq!(status, 429, "until it is known that he left"),
            }
        };
        let path = format!("/v1/realtime?resume={token}&last_seq={seq}");
        let answer = crate::support::customer::refusal(&app.url(), &path, &[]).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (410, &json!("session_gone")));
        call.until("session.created").await;
        call.hang_up().await;
        app.settled().await;
    });
}
