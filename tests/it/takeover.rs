//! Sessions that move from one instance to another, over one store: what moves with them, and what stays behind.

use std::time::Duration;

use livetranslate::clock;
use livetranslate::error::Error;
use livetranslate::metrics::Metrics;
use livetranslate::quota::batch::Opening;
use livetranslate::quota::healing;
use livetranslate::quota::instance::Instance;
use livetranslate::quota::keeper::Quota;
use livetranslate::quota::lease::Lease;
use livetranslate::quota::resumption::Resumed;
use livetranslate::quota::tally::Ack;
use livetranslate::store::connection::Store;
use livetranslate::store::instances;

use crate::support::ledger::{
    execute, hash, instance, on_both_ledgers, recorded, resumable, sessions_stored, used_and_reserved,
};

const SECOND: u64 = 16_000;
const LIMIT: i64 = 100 * SECOND as i64;

/// Two instances on the store.
fn two(store: &Store) -> (Quota, Quota) {
    let start = |name: &str| started(store, instance(name));
    (start("a"), start("b"))
}

fn started(store: &Store, instance: Instance) -> Quota {
    store.run_blocking(|connection| instances::see(connection, &instance.id, 1)).unwrap();
    Quota::start(store.clone(), instance, Metrics::new("test").unwrap())
}

/// Waits for what must come, however long it takes.
async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}

async fn speak(lease: &Lease, samples: u64) {
    lease.demand(samples).await.unwrap();
    lease.forward(samples);
}

fn refusal(resumed: Result<Resumed, Error>) -> &'static str {
    resumed.err().map_or("", |error| error.row().code)
}

#[test]
fn a_session_moves_with_all_it_has() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        let old = a.open(resumable("s1")).await.unwrap();
        speak(&old, 2 * SECOND).await;
        old.report_tokens(70, 7);
        let ack = Ack { samples: 3 * SECOND, metered: 2 * SECOND };
        old.finish_through(ack);
        old.configure(r#"{"voice":"A"}"#.into());
        old.configure(r#"{"voice":"B"}"#.into());
        until("the ack", async || old.acknowledged() == ack).await;
        until("a new lease", async || used_and_reserved(store).1 > 0).await;

        let new = b.resume(hash("s1")).await.unwrap();
        assert_eq!((new.epoch, new.ack, new.lease.acknowledged()), (2, ack, ack));
        assert_eq!(new.settings.as_deref(), Some(r#"{"voice":"B"}"#));
        assert_eq!((new.opening.session_id.as_str(), new.opening.license_id.as_str()), ("s1", "lic"));
        assert_eq!((new.lease.forwarded(), new.lease.room()), (2 * SECOND, 0));
        assert_eq!(used_and_reserved(store), (2 * SECOND as i64, 0), "the old lease is given back");

        // The old owner goes on until it finds out, and is not charged for it.
        assert!(!old.lost());
        old.forward(1_600);
        until("the old owner's finding out", async || old.lost()).await;
        assert_eq!(old.room(), 0);
        assert!(matches!(old.demand(1_600).await, Err(Error::SessionGone)));
        old.settle("gone").await;
        assert_eq!(a.open_accounts(), 0);

        speak(&new.lease, SECOND).await;
        new.lease.report_tokens(30, 3);
        new.lease.settle("finished").await;
        assert_eq!(used_and_reserved(store), (3 * SECOND as i64, 0));
        assert_eq!(recorded(store), 3 * SECOND as i64);
        let tokens = livetranslate::store::schema::sessions::table;
        let columns = (
            livetranslate::store::schema::sessions::booked_input_tokens,
            livetranslate::store::schema::sessions::booked_output_tokens,
        );
        let read = |connection: &mut _| {
            use diesel::prelude::*;
            Ok(tokens.select(columns).first::<(i64, i64)>(connection)?)
        };
        assert_eq!(store.run_blocking(read).unwrap(), (100, 10), "tokens add up over instances");
        assert_eq!(refusal(a.resume(hash("s1")).await), "session_gone");
    });
}

#[test]
fn one_lost_session_does_not_hold_the_others_up() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        let (lost, kept) = (a.open(resumable("s1")).await.unwrap(), a.open(resumable("s2")).await.unwrap());
        speak(&lost, SECOND).await;
        speak(&kept, SECOND).await;
        until("the booking", async || used_and_reserved(store).0 == 2 * SECOND as i64).await;
        let moved = b.resume(hash("s1")).await.unwrap();
        lost.forward(1_600);
        kept.forward(1_600);
        until("the fence", async || lost.lost()).await;
        assert!(!kept.lost());
        // The first transaction that meets the fence books the other one.
        kept.settle("finished").await;
        moved.lease.settle("finished").await;
        assert_eq!(used_and_reserved(store), (2 * SECOND as i64 + 1_600, 0));
        assert_eq!(recorded(store), 2 * SECOND as i64 + 1_600);
        assert!(a.healthy() && b.healthy());
    });
}

#[test]
fn what_can_be_resumed_and_what_not() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        assert_eq!(refusal(b.resume(hash("nobody")).await), "session_gone");
        a.open(resumable("s1")).await.unwrap().settle("finished").await;
        assert_eq!(refusal(b.resume(hash("s1")).await), "session_gone");
        // What was released, or dropped, waits for its window.
        a.open(resumable("s2")).await.unwrap().release("moves").await;
        assert_eq!(sessions_stored(store)[1].1, "parked");
        execute(store, "UPDATE licenses SET status = 'suspended'");
        assert_eq!(refusal(b.resume(hash("s2")).await), "license_suspended");
        execute(store, "UPDATE licenses SET status = 'active', expires_at_us = 1");
        assert_eq!(refusal(b.resume(hash("s2")).await), "license_expired");
        execute(store, "UPDATE licenses SET expires_at_us = NULL");
        let moved = b.resume(hash("s2")).await.unwrap();
        assert_eq!(moved.epoch, 2);
        drop(moved);
        until("its parking", async || b.open_accounts() == 0).await;
        assert_eq!(a.resume(hash("s2")).await.unwrap().epoch, 3);
        // Without a window it is over at once.
        let short = Instance { resume_window: jiff::SignedDuration::ZERO, ..instance("c") };
        let c = started(store, short);
        c.open(resumable("s3")).await.unwrap().release("moves").await;
        assert_eq!(refusal(b.resume(hash("s3")).await), "session_gone");
        // One that has no token ends for good, however it is let go.
        a.open(Opening { resume_hash: None, ..resumable("s4") }).await.unwrap().release("moves").await;
        let statuses: Vec<String> = sessions_stored(store).into_iter().map(|(_, status, ..)| status).collect();
        assert!(statuses.contains(&"ended".to_owned()) && statuses[3] == "ended", "{statuses:?}");
    });
}

#[test]
fn a_session_comes_back_to_its_own_instance() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, _) = two(store);
        let old = a.open(resumable("s1")).await.unwrap();
        speak(&old, SECOND).await;
        let (first, second) = futures_util::future::join(a.resume(hash("s1")), a.resume(hash("s1"))).await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.epoch, second.epoch), (2, 3), "who asks later has it");
        assert!(old.lost() && first.lease.lost() && !second.lease.lost());
        // The last words of those before don't touch it.
        old.settle("gone").await;
        drop(first);
        speak(&second.lease, SECOND).await;
        assert_eq!(second.lease.forwarded(), 2 * SECOND);
        second.lease.settle("finished").await;
        assert_eq!((used_and_reserved(store), recorded(store)), ((2 * SECOND as i64, 0), 2 * SECOND as i64));
    });
}

#[test]
fn who_leaves_while_resuming_can_resume_again() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        a.open(resumable("s1")).await.unwrap().release("moves").await;
        let impatient = tokio::time::timeout(Duration::ZERO, b.resume(hash("s1"))).await;
        assert!(impatient.is_err());
        until("its end here", async || b.open_accounts() == 0).await;
        let resumed = a.resume(hash("s1")).await.unwrap();
        assert!(resumed.epoch >= 2);
        resumed.lease.settle("finished").await;
    });
}

#[test]
fn who_is_away_gives_way_to_who_comes() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        let limited = |id: &str| Opening { max_sessions: Some(2), ..resumable(id) };
        let (first, second) = (a.open(limited("s1")).await.unwrap(), b.open(limited("s2")).await.unwrap());
        for quota in [&a, &b] {
            let refused = quota.open(limited("s3")).await;
            assert!(matches!(refused, Err(Error::SessionLimit { limit: 2 })), "over all instances");
        }
        speak(&first, SECOND).await;
        first.set_away(true);
        let third = a.open(limited("s3")).await.unwrap();
        until("the first one's finding out", async || {
            first.forward(1);
            first.lost()
        })
        .await;
        assert_eq!(refusal(b.resume(hash("s1")).await), "session_gone");
        assert!(a.open(limited("s4")).await.is_err(), "the others are not away");
        // A session between two instances counts, and gives way too.
        second.release("moves").await;
        let fourth = a.open(limited("s4")).await.unwrap();
        assert_eq!(refusal(b.resume(hash("s2")).await), "session_gone");
        // Somewhere else it is known with the next flush.
        third.set_away(true);
        until("room for another", async || b.open(limited("s5")).await.is_ok()).await;
        assert_eq!(refusal(b.resume(hash("s3")).await), "session_gone");
        for lease in [first, third, fourth] {
            lease.settle("finished").await;
        }
        until("the end of all", async || a.open_accounts() + b.open_accounts() == 0).await;
        assert_eq!((used_and_reserved(store), recorded(store)), ((SECOND as i64, 0), SECOND as i64));
    });
}

#[test]
fn who_has_left_for_good_takes_nobodys_place() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, _) = two(store);
        let limited = |id: &str| Opening { max_sessions: Some(1), ..resumable(id) };
        let first = a.open(limited("s1")).await.unwrap();
        speak(&first, SECOND).await;
        first.leave();
        first.set_away(false);
        let second = a.open(limited("s2")).await.unwrap();
        assert_eq!(refusal(a.resume(hash("s1")).await), "session_gone");
        // What the provider still says of it is booked.
        assert!(!first.lost());
        first.forward(1_600);
        first.settle("finished").await;
        second.settle("finished").await;
        assert_eq!(used_and_reserved(store), (SECOND as i64 + 1_600, 0));
    });
}

#[test]
fn who_is_taken_for_dead_goes_on_and_bills_nothing_twice() {
    on_both_ledgers(LIMIT, async |store| {
        let (a, b) = two(store);
        let old = a.open(resumable("s1")).await.unwrap();
        speak(&old, SECOND).await;
        until("the booking", async || used_and_reserved(store).0 == SECOND as i64).await;
        let heal = |connection: &mut _| healing::heal(connection, &[("a".into(), 1)], &instance("b"), clock::now());
        assert_eq!(store.run_blocking(heal).unwrap(), 1);
        old.forward(1_600);
        until("its going on", async || used_and_reserved(store).0 == SECOND as i64 + 1_600).await;
        // It says again that it is there, and goes on with others.
        store.run_blocking(|connection| instances::see(connection, "a", 2)).unwrap();
        let other = a.open(resumable("s2")).await.unwrap();
        assert_eq!(store.run_blocking(heal).unwrap(), 0, "it was seen since");
        other.settle("finished").await;
        let resumed = b.resume(hash("s1")).await.unwrap();
        assert_eq!((resumed.epoch, resumed.lease.forwarded()), (2, SECOND + 1_600));
        old.forward(1_600);
        until("its finding out", async || old.lost()).await;
        speak(&resumed.lease, 1_600).await;
        resumed.lease.settle("finished").await;
        let used = SECOND as i64 + 3_200;
        assert_eq!((used_and_reserved(store), recorded(store)), ((used, 0), used));
    });
}

#[test]
fn five_hundred_come_back_together() {
    on_both_ledgers(1_000 * LIMIT, async |store| {
        let (a, b) = two(store);
        let names: Vec<String> = (0..500).map(|number| format!("s{number}")).collect();
        let opened = futures_util::future::join_all(names.iter().map(|name| a.open(resumable(name)))).await;
        let opened: Vec<Lease> = opened.into_iter().map(Result::unwrap).collect();
        futures_util::future::join_all(opened.iter().map(|lease| speak(lease, SECOND))).await;
        let resumed = futures_util::future::join_all(names.iter().map(|name| b.resume(hash(name)))).await;
        let resumed: Vec<Resumed> = resumed.into_iter().map(Result::unwrap).collect();
        assert!(resumed.iter().all(|session| session.epoch == 2));
        futures_util::future::join_all(resumed.into_iter().map(|session| session.lease.settle("finished"))).await;
        futures_util::future::join_all(opened.into_iter().map(|lease| lease.settle("gone"))).await;
        // The first instance keeps some of the budget for the store's absence, until its next tick.
        until("the return of what is held", async || used_and_reserved(store).1 == 0).await;
        let (used, _) = used_and_reserved(store);
        assert_eq!(used, recorded(store));
        assert!(used <= 500 * SECOND as i64);
    });
}
