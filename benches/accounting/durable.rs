//! S7: how many calls are booked in a second, durably, and how long each waits for it.
//!
//! 64 customers in a loop: each takes a call's share of its license's budgets, settles the call (a line in the
//! journal, as always), and waits until the keeper has it in PostgreSQL: the row of usage, its sums, and the budgets
//! of its license, committed. All this is the gateway's own code. Beside it, in turn, 64 connections do the obvious
//! thing, a transaction for each call on the one row that all of them need: take from the budget, add a row, commit.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use livetranslate::clock;
use livetranslate::error::Error;
use livetranslate::ids;
use livetranslate::metrics::Metrics;
use livetranslate::quota::heartbeat;
use livetranslate::quota::instance::Instance;
use livetranslate::quota::keeper::Quota;
use livetranslate::quota::purse::Amounts;
use livetranslate::store::calls::CallRow;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::journal::Journal;
use livetranslate::store::migrate;

use crate::Plan;
use crate::load::execute;
use crate::postgres::Postgres;
use crate::spread::{median, share};
use crate::table::Better::{Less, More};
use crate::table::{Row, Table};

const WAITERS: usize = 64;
const TOKENS: i64 = 150;
const RATE: Row =
    Row { id: "S7", what: "calls booked durably a second", unit: "", better: More, must: 20_000.0, goal: 50_000.0 };
const WAIT: Row = Row { id: "S7", what: "wait for it, p50", unit: "ms", better: Less, must: 5.0, goal: 2.0 };

/// One window.
struct Figures {
    booked: u64,
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Figures {
    fn of(mut waits: Vec<f64>, elapsed: Duration) -> Self {
        waits.sort_by(f64::total_cmp);
        Self {
            booked: waits.len() as u64,
            rate: waits.len() as f64 / elapsed.as_secs_f64(),
            p50_ms: share(&waits, 0.5),
            p99_ms: share(&waits, 0.99),
        }
    }
}

/// Drives all in turn, compares, and audits the books.
pub(crate) async fn measure(plan: &Plan, postgres: &Postgres, table: &mut Table) -> io::Result<()> {
    let location = Location::Postgres(Postgres::url(postgres.address));
    let wide = Store::open_with(location.clone(), WAITERS as u32, Duration::from_secs(10)).map_err(io::Error::other)?;
    wide.run_blocking(migrate::run).map_err(io::Error::other)?;
    prepare(&wide)?;
    let keepers = Store::open_with(location, 5, Duration::from_secs(2)).map_err(io::Error::other)?;
    let journals = tempfile::tempdir()?;
    let quota = quota(&keepers, journals.path()).map_err(io::Error::other)?;
    println!("calls booked by {WAITERS} at once, windows of {} s", plan.window.as_secs());
    let (mut obvious, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    let mut booked = (0, 0);
    for _ in 0..plan.rounds {
        let store = wide.clone();
        let window = plan.window;
        let figures = actix_web::web::block(move || hot_row(&store, window)).await.map_err(io::Error::other)?;
        said("obvious transaction, one license", &figures);
        obvious.push(figures.rate);
        let figures = through_keeper(&quota, 1, plan.window).await?;
        said("keeper, one license", &figures);
        booked.0 += figures.booked;
        one.push(figures);
        let figures = through_keeper(&quota, WAITERS, plan.window).await?;
        said("keeper, a license each", &figures);
        booked.1 += figures.booked;
        many.push(figures);
    }
    let middle = |figures: &[Figures], part: fn(&Figures) -> f64| median(&figures.iter().map(part).collect::<Vec<_>>());
    let others = |part| middle(&many, part).unwrap_or(f64::NAN);
    let obvious = median(&obvious).unwrap_or(f64::NAN);
    let rate = middle(&one, |figures| figures.rate);
    let note = format!(
        "{:.1} times the obvious transaction's {obvious:.0}; with a license each {:.0}",
        rate.unwrap_or(f64::NAN) / obvious,
        others(|figures| figures.rate)
    );
    table.add(RATE, rate, note);
    let p99 = middle(&one, |figures| figures.p99_ms).unwrap_or(f64::NAN);
    let each = (others(|figures| figures.p50_ms), others(|figures| figures.p99_ms));
    let note = format!("p99 {p99:.1} ms; with a license each {:.1} and {:.1} ms", each.0, each.1);
    table.add(WAIT, middle(&one, |figures| figures.p50_ms), note);
    audit(&wide, booked.0 + booked.1, table)
}

fn said(what: &str, figures: &Figures) {
    let Figures { rate, p50_ms, p99_ms, .. } = figures;
    println!("  {what:<34}{rate:7.0} calls/s, p50 {p50_ms:6.2} p99 {p99_ms:6.2} ms");
}

/// A license for the obvious transaction, one for all, and one for each.
fn prepare(store: &Store) -> io::Result<()> {
    execute(
        store,
        "INSERT INTO licenses (id, token_id, status, scopes, models, allowed_ips, limits, metadata, created_at_us, \
         updated_at_us) SELECT 'lic_' || n, '', 'active', '[]', '[]', '[]', '{}', '{}', 0, 0 \
         FROM generate_series(-1, 64) AS n",
    )?;
    execute(
        store,
        "INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, period_start_us) \
         SELECT 'bud_' || unit || n, 'lic_' || n, unit, 'lifetime', 'fixed', 'UTC', 1000000000000000, 0 \
         FROM generate_series(-1, 64) AS n, (VALUES ('tokens'), ('requests')) AS units (unit)",
    )
}

fn quota(store: &Store, journals: &std::path::Path) -> Result<Quota, Error> {
    let instance =
        Instance { id: ids::instance(), resume_window: jiff::SignedDuration::from_secs(120), grace_seconds: 300 };
    store.run_blocking(|connection| heartbeat::begin(connection, &instance, None))?;
    let metrics = Metrics::new("bench").map_err(Error::internal)?;
    let journal = Journal::open(journals, &instance.id)?;
    let quota = Quota::start(store.clone(), instance, metrics);
    quota.calls().keep_in(journal);
    Ok(quota)
}

/// Everybody books on one of `licenses`, through the keeper.
async fn through_keeper(quota: &Quota, licenses: usize, window: Duration) -> io::Result<Figures> {
    let begun = Instant::now();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|number| {
            let (quota, license_id) = (quota.clone(), format!("lic_{}", number % licenses));
            actix_web::rt::spawn(async move {
                let mut waits = Vec::new();
                while begun.elapsed() < window {
                    let need = Amounts { tokens: 2 * TOKENS, requests: 1 };
                    let share = quota.reserve(&license_id, need).await.map_err(io::Error::other)?;
                    let at = Instant::now();
                    share.settle(row(&license_id));
                    quota.calls_booked().await;
                    waits.push(at.elapsed().as_secs_f64() * 1_000.0);
                }
                Ok::<_, io::Error>(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for waiter in waiters {
        waits.extend(waiter.await.map_err(io::Error::other)??);
    }
    Ok(Figures::of(waits, begun.elapsed()))
}

fn row(license_id: &str) -> CallRow {
    CallRow {
        id: ids::call(),
        license_id: license_id.to_owned(),
        key_id: None,
        model: "qwen-flash".to_owned(),
        route: "chat".to_owned(),
        account: Some("env-dashscope".to_owned()),
        input_tokens: TOKENS - 50,
        cached_tokens: 0,
        output_tokens: 50,
        reasoning_tokens: 0,
        usage_source: "upstream".to_owned(),
        occurred_at_us: clock::now().as_microsecond(),
    }
}

/// Everybody has a connection and the same license.
fn hot_row(store: &Store, window: Duration) -> Figures {
    let (begun, failed, counted) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let waits = std::thread::scope(|scope| {
        let book = || {
            let mut waits = Vec::new();
            while begun.elapsed() < window {
                let at = Instant::now();
                if let Err(error) = store.run_blocking(obvious) {
                    eprintln!("the obvious transaction failed: {error}");
                    failed.store(true, Ordering::Relaxed);
                    break;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                waits.push(at.elapsed().as_secs_f64() * 1_000.0);
            }
            waits
        };
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(book)).collect();
        waiters.into_iter().flat_map(|waiter| waiter.join().unwrap_or_default()).collect()
    });
    Figures::of(waits, begun.elapsed())
}

fn obvious(connection: &mut livetranslate::store::backend::AnyConnection) -> Result<(), Error> {
    livetranslate::store::accounting::transaction(connection, |connection| {
        let take = "UPDATE budgets SET used_units = used_units + $1 WHERE id = 'bud_tokens-1' \
             AND used_units + $1 <= limit_units";
        diesel::sql_query(take).bind::<BigInt, _>(TOKENS).execute(connection)?;
        let add = "INSERT INTO usage_events (session_id, mark_samples, mark_tokens, license_id, model, samples, \
             input_tokens, output_tokens, occurred_at_us, requests, route) \
             VALUES ($1, 0, 150, 'lic_-1', 'qwen-flash', 0, 100, 50, $2, 1, 'obvious')";
        let now_us = clock::now().as_microsecond();
        diesel::sql_query(add).bind::<Text, _>(ids::call()).bind::<BigInt, _>(now_us).execute(connection)?;
        Ok(())
    })
}

/// Every call is in the ledger, in the budgets and in the sums, once.
fn audit(store: &Store, booked: u64, table: &mut Table) -> io::Result<()> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let count = |statement: &str| {
        let read = |connection: &mut _| Ok(diesel::sql_query(statement).get_result::<Count>(connection)?.count);
        store.run_blocking(read).map_err(io::Error::other)
    };
    let rows = count("SELECT COUNT(*) AS count FROM usage_events WHERE route = 'chat'")?;
    let used = count("SELECT CAST(SUM(used_units) AS BIGINT) AS count FROM budgets WHERE unit = 'requests'")?;
    let sums = count("SELECT CAST(SUM(requests) AS BIGINT) AS count FROM usage_sums WHERE grain = 'day_license'")?;
    println!("  {booked} calls were booked; rows {rows}, budgets {used}, sums {sums}");
    if [rows, used, sums].iter().any(|count| u64::try_from(*count).ok() != Some(booked)) {
        table.fault(format!("{booked} calls were booked; rows {rows}, budgets {used}, sums {sums}"));
    }
    Ok(())
}
