//! What was used, summed up: the same as the ledger's rows in every time zone, however long ago; and paged.

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use livetranslate::api::admin::span;
use livetranslate::clock;
use livetranslate::config::Config;
use livetranslate::retention;
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::Store;
use livetranslate::store::page::Page;
use livetranslate::store::schema::{sessions, usage_events, usage_sums};
use livetranslate::store::usage::{self, Filter, Place, UsageEvent};
use livetranslate::store::usage_report::{self, Only, Question};
use livetranslate::store::usage_sums::{DAY_US, QUARTER_US};
use serde_json::json;

use crate::support::app::on_both_stores;
use crate::support::ledger::{execute, on_both_ledgers};
use crate::support::usage::{DAYS, Dice, FIRST, Noted, at, fill};

type Groups = BTreeMap<(String, String, String, String), [i64; 7]>;

/// What a reader of the rows would say.
fn by_hand(noted: &[Noted], question: &Question, zone: &TimeZone) -> Groups {
    let mut groups = Groups::new();
    let only = &question.only;
    let wanted = |row: &&Noted| {
        (question.start_us..question.end_us).contains(&row.at_us)
            && only.license_id.as_ref().is_none_or(|id| *id == row.license_id)
            && only.key_id.as_ref().is_none_or(|id| *id == row.key_id.clone().unwrap_or_default())
            && only.model.as_ref().is_none_or(|model| *model == row.model)
    };
    for row in noted.iter().filter(wanted) {
        let given = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
        let day = clock::at(row.at_us).to_zoned(zone.clone()).date().to_string();
        let group = (
            given(!question.offsets.is_empty(), &day),
            given(question.by_model, &row.model),
            given(question.by_license, &row.license_id),
            given(question.by_key, row.key_id.as_deref().unwrap_or_default()),
        );
        let sums = groups.entry(group).or_default();
        sums.iter_mut().zip(row.counts).for_each(|(sum, count)| *sum += count);
    }
    groups.retain(|_, counts| counts.iter().any(|count| *count > 0));
    groups
}

/// What the store says.
fn summed(store: &Store, question: &mut Question, now_us: i64) -> Groups {
    let sums = store.run_blocking(|connection| usage_report::sums(connection, question, now_us)).unwrap();
    let mut groups = Groups::new();
    for sum in sums {
        let day = if question.offsets.is_empty() { String::new() } else { span::date(sum.day).to_string() };
        let counts = [sum.samples, sum.input_tokens, sum.output_tokens, sum.cached_tokens, sum.reasoning_tokens];
        let counts = counts.into_iter().chain([sum.requests, sum.sessions]);
        let group = groups.entry((day, sum.model, sum.license_id, sum.key_id)).or_default();
        group.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    groups.retain(|_, counts| counts.iter().any(|count| *count > 0));
    groups
}

fn question(dice: &mut Dice, zone: &TimeZone, step: i64) -> Question {
    let first_us = at(FIRST).as_microsecond();
    let start_us = first_us + dice.roll(DAYS * DAY_US / step) * step;
    let end_us = start_us + (1 + dice.roll(DAYS * DAY_US / step)) * step;
    let by_day = dice.roll(2) == 0;
    let mut one = |values: [&str; 3]| match dice.roll(8) {
        0 => Some(values[0].to_owned()),
        1 => Some(values[1].to_owned()),
        2 => Some(values[2].to_owned()),
        _ => None,
    };
    let only =
        Only { license_id: one(["lic", "lic2", "none"]), key_id: one(["k1", "k2", ""]), model: one(["m1", "m2", "x"]) };
    Question {
        start_us,
        end_us,
        offsets: if by_day { span::offsets(zone, clock::at(start_us), clock::at(end_us)) } else { Vec::new() },
        by_model: dice.roll(2) == 0,
        by_license: dice.roll(2) == 0,
        by_key: dice.roll(2) == 0,
        only,
    }
}

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Asia/Tokyo", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];

#[test]
fn sums_say_what_the_rows_say_in_every_zone() {
    on_both_ledgers(1, async |store| {
        let noted = fill(store, 600);
        let later_us = at(FIRST).as_microsecond() + 2 * DAYS * DAY_US;
        let mut dice = Dice(11);
        for number in 0..150 {
            let zone = TimeZone::get(ZONES[number % ZONES.len()]).unwrap();
            // The present is sometimes within the span: nothing is later then.
            let mut question = question(&mut dice, &zone, 1);
            let now_us = if number % 5 == 0 { question.end_us - 1 } else { later_us };
            let known: Vec<Noted> = noted.iter().filter(|row| row.at_us <= now_us).cloned().collect();
            let asked = question.clone();
            if number % 5 == 0 {
                // Rows of the future would be counted: cut the span where they begin.
                question.end_us = question.end_us.min(now_us);
            }
            let expected = by_hand(&known, &question, &zone);
            assert_eq!(summed(store, &mut question, now_us), expected, "{asked:?}");
        }
    });
}

#[test]
fn the_present_day_is_whole_and_live_usage_is_added() {
    on_both_ledgers(1, async |store| {
        let noted = fill(store, 200);
        execute(
            store,
            "INSERT INTO sessions (id, license_id, model, instance_id, status, started_at_us, booked_samples, \
             recorded_samples, booked_input_tokens, booked_output_tokens) \
             VALUES ('live', 'lic', 'm1', 'ins', 'live', 0, 900, 400, 7, 3)",
        );
        let now_us = at(FIRST).as_microsecond() + DAYS * DAY_US + 1;
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let mut question = Question {
            start_us: at(FIRST).as_microsecond() + 5,
            end_us: now_us + 1_000_000,
            offsets: span::offsets(&berlin, at(FIRST), clock::at(now_us)),
            by_license: true,
            ..Question::default()
        };
        let mut expected = by_hand(&noted, &question, &berlin);
        let today = ("2026-11-05".to_owned(), String::new(), "lic".to_owned(), String::new());
        let sums = expected.entry(today).or_default();
        sums.iter_mut().zip([500, 7, 3]).for_each(|(sum, more)| *sum += more);
        assert_eq!(summed(store, &mut question, now_us), expected);
        question.only.license_id = Some("lic3".into());
        assert!(summed(store, &mut question, now_us).keys().all(|group| group.2 == "lic3"));
    });
}

type Stored = (String, i64, String, String, String, i64, i64, i64, i64, i64, i64, i64);

/// Every sum, in order.
fn all_sums(store: &Store) -> Vec<Stored> {
    use usage_sums::{grain, key_id, license_id, model, start_us};
    let query = usage_sums::table.order((grain, start_us, license_id, key_id, model));
    let mut rows: Vec<Stored> = store.run_blocking(|connection| Ok(query.load(connection)?)).unwrap();
    // Databases order texts each in their way.
    rows.sort();
    rows
}

#[test]
fn the_migration_makes_the_same_sums() {
    const UP: &str = include_str!("../../migrations/2026-11-21-090000_usage_sums/up.sql");
    on_both_ledgers(1, async |store| {
        fill(store, 300);
        let kept = all_sums(store);
        assert!(kept.len() > 300);
        execute(store, "DELETE FROM usage_sums");
        let (_, fill) = UP.split_once("-- sums of what is there").unwrap();
        store.run_blocking(|connection| Ok(connection.batch_execute(fill)?)).unwrap();
        assert_eq!(all_sums(store), kept);
    });
}

#[test]
fn rows_go_and_sums_stay() {
    on_both_ledgers(1, async |store| {
        let noted = fill(store, 300);
        // Sessions that began long ago and are not over stay.
        execute(store, "UPDATE sessions SET ended_at_us = started_at_us");
        execute(
            store,
            "INSERT INTO sessions (id, license_id, model, instance_id, status, started_at_us) \
             VALUES ('live', 'lic', 'm1', 'ins', 'live', 0)",
        );
        execute(
            store,
            "INSERT INTO idempotency_keys (id, body_hash, subject, created_at_us) VALUES ('old', '', '', 0)",
        );
        execute(store, "INSERT INTO tickets (secret_hash, license_id, expires_at_us) VALUES ('old', 'lic', 0)");
        execute(
            store,
            "INSERT INTO upstream_tasks (id, license_id, account, created_at_us) VALUES ('old', 'lic', 'a', 0)",
        );
        let mut config = Config::defaults().unwrap();
        config.store.usage_retention_days = 10;
        let now = at(FIRST) + SignedDuration::from_hours(24 * DAYS) + SignedDuration::from_mins(7);
        let kept_from_us = (now - SignedDuration::from_hours(240) - SignedDuration::from_mins(7)).as_microsecond();
        let older = noted.iter().filter(|row| row.at_us < kept_from_us).count();
        // The quarter of an hour that is half gone stays.
        let removed = retention::sweep(store, &config, now).await.unwrap();
        assert_eq!(removed, older + 3, "and 3 others");
        assert_eq!(retention::sweep(store, &config, now).await.unwrap(), 0);
        let rows: i64 =
            store.run_blocking(|connection| Ok(usage_events::table.count().get_result(connection)?)).unwrap();
        let live = sessions::table.filter(sessions::status.eq("live")).count();
        assert_eq!(store.run_blocking(|connection| Ok(live.get_result::<i64>(connection)?)).unwrap(), 1);
        let younger = noted.iter().filter(|row| row.at_us >= kept_from_us && row.counts[6] == 0).count();
        assert_eq!(usize::try_from(rows).unwrap(), younger);
        let (mut dice, utc) = (Dice(3), TimeZone::UTC);
        for _ in 0..40 {
            let mut question = question(&mut dice, &utc, QUARTER_US);
            let expected = by_hand(&noted, &question, &utc);
            assert_eq!(summed(store, &mut question, now.as_microsecond() + 40 * DAY_US), expected, "{question:?}");
        }
        // Within a quarter of an hour nothing is known any more: all of it is summed, and said so.
        let first_us = at(FIRST).as_microsecond();
        let mut ragged = Question { start_us: first_us + 1, end_us: first_us + DAY_US + 1, ..Question::default() };
        let sums = summed(store, &mut ragged, now.as_microsecond());
        assert_eq!((ragged.start_us, ragged.end_us), (first_us, first_us + DAY_US + QUARTER_US));
        assert_eq!(sums, by_hand(&noted, &ragged, &utc));
        // Sessions stay as long as their quarter's usage.
        for (id, began_us) in [("kept", kept_from_us), ("gone", kept_from_us - 1)] {
            execute(
                store,
                &format!(
                    "INSERT INTO sessions (id, license_id, model, instance_id, status, started_at_us, ended_at_us) \
                     VALUES ('{id}', 'lic', 'm1', 'ins', 'ended', {began_us}, {began_us})"
                ),
            );
        }
        assert_eq!(retention::sweep(store, &config, now).await.unwrap(), 1);
        let last = sessions::table.filter(sessions::id.eq_any(["kept", "gone"])).select(sessions::id);
        assert_eq!(store.run_blocking(|connection| Ok(last.load::<String>(connection)?)).unwrap(), ["kept"]);
    });
}

fn page_of(limit: i64, newest_first: bool) -> Page {
    Page { limit, after: None, newest_first }
}

fn walk(store: &Store, filter: &Filter, newest_first: bool, mut between: impl FnMut(usize)) -> Vec<(String, i64, i64)> {
    let (mut seen, mut after) = (Vec::new(), None);
    for turn in 0.. {
        let read = |connection: &mut AnyConnection| {
            usage::events(connection, filter, after.as_ref(), &page_of(3, newest_first))
        };
        let mut rows = store.run_blocking(read).unwrap();
        let more = rows.len() > 3;
        rows.truncate(3);
        after = rows.last().map(|row| Place {
            occurred_at_us: row.occurred_at_us,
            session_id: row.session_id.clone(),
            mark_samples: row.mark_samples,
            mark_tokens: row.mark_tokens,
        });
        seen.extend(rows.into_iter().map(|row| (row.session_id, row.mark_samples, row.mark_tokens)));
        if !more {
            break;
        }
        between(turn);
    }
    seen
}

#[test]
fn pages_hold_each_row_once_while_rows_are_added() {
    on_both_ledgers(1, async |store| {
        let event = |session_id: &str, mark: i64, tokens: i64, occurred_at_us: i64| UsageEvent {
            session_id: session_id.into(),
            mark_samples: mark,
            mark_tokens: tokens,
            license_id: "lic".into(),
            key_id: None,
            model: "m".into(),
            samples: 1,
            input_tokens: 0,
            output_tokens: 0,
            occurred_at_us,
        };
        let append =
            |events: &[UsageEvent]| store.run_blocking(|connection| usage::append(connection, events)).unwrap();
        // One session with several rows in one microsecond, beside others of the same time.
        let mut rows: Vec<UsageEvent> = (1..=5).map(|mark| event("s", mark, 0, 1_000)).collect();
        rows.extend((1..=3).map(|tokens| event("s", 5, tokens, 1_000)));
        rows.extend((1..=4).map(|number| event(&format!("t{number}"), 1, 0, 1_000)));
        rows.extend((1..=4).map(|number| event(&format!("u{number}"), 1, 0, 2_000 + number)));
        append(&rows);
        let all = rows.len();
        let newer = |turn: usize| append(&[event(&format!("new{turn}"), 1, 0, 5_000)]);
        let mut seen = walk(store, &Filter::default(), true, newer);
        assert_eq!(seen.len(), all, "{seen:?}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
        let newest = walk(store, &Filter::default(), true, |_| {});
        let mut oldest = walk(store, &Filter::default(), false, |_| {});
        oldest.reverse();
        assert_eq!(newest, oldest);
        let span = Filter { start_us: Some(1_000), end_us: Some(2_001), ..Filter::default() };
        assert_eq!(walk(store, &span, true, |_| {}).len(), 12);
    });
}

#[test]
fn reports_are_narrowed_and_strict() {
    on_both_stores(async |app| {
        let (alice, bob) = (app.licensee(60.0).await, app.licensee(60.0).await);
        for customer in [&alice, &bob] {
            let mut call = customer.dial().await;
            call.until("session.created").await;
            call.audio(500, 1_000).await;
            call.finish().await;
        }
        app.settled().await;
        let operator = app.operator();
        let total = async |query: &str| operator.get(&format!("/admin/usage?{query}")).await.body["totals"].clone();
        assert_eq!(total("").await["audio_seconds"], 1.0);
        assert_eq!(total(&format!("license_id={}", alice.license_id)).await["audio_seconds"], 0.5);
        assert_eq!(total(&format!("license_id={}&key_id=", alice.license_id)).await["sessions"], 1);
        assert_eq!(total("model=another").await["audio_seconds"], 0.0);
        assert_eq!(total("key_id=another").await["audio_seconds"], 0.0);
        let events = async |query: &str| {
            let answer = operator.get(&format!("/admin/usage/events?{query}")).await;
            answer.body["data"].as_array().map_or(usize::MAX, Vec::len)
        };
        assert_eq!(events("").await, 2);
        assert_eq!(events(&format!("license_id={}", bob.license_id)).await, 1);
        assert_eq!(events("key_id=another").await, 0);
        assert_eq!(events("start=2030-01-01").await, 0);
        assert_eq!(events("start=2020-01-01&end=2020-01-01&tz=Asia/Tokyo").await, 0);
        for (path, param) in [
            ("/admin/usage?colour=red", "colour"),
            ("/admin/usage?tz=Mars", "tz"),
            ("/admin/usage?start=yesterday", "start"),
            ("/admin/usage?start=2026-01-02&end=2026-01-01", "start"),
            ("/admin/usage?group_by=week", "group_by"),
            ("/admin/usage/events?colour=red", "colour"),
            ("/admin/usage/events?cursor=MTIzIGFiYw", "cursor"),
            ("/admin/usage/events?end=soon", "end"),
        ] {
            let answer = operator.get(path).await;
            assert_eq!((answer.status, &answer.body["error"]["param"]), (400, &json!(param)), "{path}");
        }
        let csv = [("accept", "text/csv")];
        let page = operator.send("GET", "/admin/usage/events?limit=1", &csv, String::new()).await;
        assert!(
            page.text.starts_with("occurred_at,session_id,license_id,") && page.text.lines().count() == 2,
            "{}",
            page.text
        );
        let next = page.header("x-next-cursor").unwrap();
        assert_eq!(events(&format!("limit=1&cursor={next}")).await, 1);
    });
}

#[test]
fn a_reset_leaves_the_ledger_and_its_sums() {
    on_both_stores(async |app| {
        let alice = app.licensee(60.0).await;
        let mut call = alice.dial().await;
        call.until("session.created").await;
        call.audio(1_000, 1_000).await;
        call.finish().await;
        app.settled().await;
        let report = "/admin/usage?group_by=license,model,key&start=2026-01-01&end=2028-01-01";
        let said = async || {
            let operator = app.operator();
            (operator.get(report).await.text, operator.get("/admin/usage/events").await.text)
        };
        let before = said().await;
        assert!(before.0.contains("\"audio_seconds\":1.0"), "{}", before.0);
        for scope in [json!({"license_id": alice.license_id}), json!({})] {
            assert_eq!(app.operator().post("/admin/usage/reset", &scope).await.status, 200);
        }
        assert_eq!(alice.audio_used().await, 0.0);
        assert_eq!(said().await, before);
    });
}
