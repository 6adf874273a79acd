//! S9: how long the operator waits for lists and sums over a large ledger, asked over HTTP, one after the other.

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livetranslate::clock;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::migrate;

use crate::Plan;
use crate::http;
use crate::launch::Launch;
use crate::load::{self, LICENSES, ROW_TOKENS};
use crate::postgres::Postgres;
use crate::program::{ADMIN_KEY, PROGRAM, Setup};
use crate::spread::share;
use crate::table::Better::Less;
use crate::table::{Row, Table};

const LISTS: Row =
    Row { id: "S9", what: "lists of the slowest kind, p99", unit: "ms", better: Less, must: 300.0, goal: 50.0 };
const SUMS: Row = Row { what: "sums of the slowest kind, p99", ..LISTS };

/// One kind of question, and how it is put for the n-th time.
struct Kind {
    name: &'static str,
    path: Box<dyn Fn(usize) -> String>,
}

/// Fills a ledger, starts the gateway on it, and asks.
pub(crate) async fn measure(plan: &Plan, launch: &Launch, postgres: &Postgres, table: &mut Table) -> io::Result<()> {
    let url = Postgres::url(postgres.address);
    let (now_us, events) = (clock::now().as_microsecond(), plan.events);
    println!("a ledger of {events} rows");
    let location = Location::Postgres(url.clone());
    let fill = move || {
        let store = Store::open_with(location, 1, Duration::from_secs(10)).map_err(io::Error::other)?;
        store.run_blocking(migrate::run).map_err(io::Error::other)?;
        load::fill(&store, events, now_us)
    };
    actix_web::web::block(fill).await.map_err(io::Error::other)??;
    let nobody = crate::launch::free_address()?;
    let setup = Setup::new(launch, nobody)?.with("DATABASE_URL", &url);
    let (_program, _) = setup.start(launch, PROGRAM).await?;
    println!("each asked {} times", plan.asked);
    for (row, kinds) in [(LISTS, lists(events, now_us)), (SUMS, sums())] {
        let mut slowest: Option<(f64, &str)> = None;
        for kind in &kinds {
            let mut waits = Vec::with_capacity(plan.asked);
            let mut length = 0;
            for number in 0..plan.asked {
                let path = (kind.path)(number);
                let at = Instant::now();
                let answer = http::request(setup.address, &format!("GET {path}"), ADMIN_KEY, "").await?;
                waits.push(at.elapsed().as_secs_f64() * 1_000.0);
                length = answer.body.len();
                if answer.status != 200 || !answer.body.contains("\"data\":[{") && path != "/admin/stats" {
                    table.fault(format!("GET {path}: {} {:.200}", answer.status, answer.body));
                    break;
                }
            }
            waits.sort_by(f64::total_cmp);
            let (p50, p99) = (share(&waits, 0.5), share(&waits, 0.99));
            println!("  {:<44}p50 {p50:6.1} p99 {p99:6.1} ms, {:4} KiB", kind.name, length / 1_024);
            if slowest.is_none_or(|(most, _)| p99 > most) {
                slowest = Some((p99, kind.name));
            }
        }
        let note = slowest.map_or_else(String::new, |(_, name)| format!("{name}; {events} rows"));
        table.add(row, slowest.map(|(p99, _)| p99), note);
    }
    total(&setup, events, table).await
}

fn license(number: usize) -> String {
    // Large and small ones in turn.
    format!("lic_{:06}", (number as u64 * 37) % LICENSES)
}

fn lists(events: u64, now_us: i64) -> Vec<Kind> {
    let deep = move |number: usize| {
        let row = events / 10 * (1 + number as u64 % 8);
        let place = format!("{} {} 0 {ROW_TOKENS}", load::row_time_us(row, events, now_us), load::row_id(row));
        URL_SAFE_NO_PAD.encode(place)
    };
    vec![
        kind("usage rows, first page", |_| "/admin/usage/events".to_owned()),
        kind("usage rows, deep page", move |number| format!("/admin/usage/events?cursor={}", deep(number))),
        kind("usage rows, largest page, deep", move |number| {
            format!("/admin/usage/events?limit=500&sort=created_at&cursor={}", deep(number))
        }),
        kind("usage rows of a license", |number| format!("/admin/usage/events?license_id={}", license(number))),
        kind("usage rows of a license, deep page", move |number| {
            format!("/admin/usage/events?license_id={}&cursor={}", license(number), deep(number))
        }),
        kind("usage rows of a model", |number| format!("/admin/usage/events?model=model-{}", number % 10)),
        kind("usage rows of a key", |number| format!("/admin/usage/events?key_id=key{:06}", number * 2 % 100)),
        kind("licenses, first page", |_| "/admin/licenses".to_owned()),
        kind("licenses found", |number| format!("/admin/licenses?q=customer%20{}", number % 20)),
        kind("keys, first page", |_| "/admin/keys".to_owned()),
        kind("keys found", |number| format!("/admin/keys?q=key%20{}", number % 20)),
    ]
}

fn sums() -> Vec<Kind> {
    vec![
        kind("30 days by day", |_| "/admin/usage?group_by=day".to_owned()),
        kind("30 days by model", |_| "/admin/usage?group_by=model".to_owned()),
        kind("30 days by license", |_| "/admin/usage?group_by=license".to_owned()),
        kind("30 days by license, Asia/Tokyo", |_| "/admin/usage?group_by=license&tz=Asia/Tokyo".to_owned()),
        kind("30 days by day and model, Asia/Tokyo", |_| "/admin/usage?group_by=day,model&tz=Asia/Tokyo".to_owned()),
        kind("30 days by day, Asia/Kathmandu", |_| "/admin/usage?tz=Asia/Kathmandu".to_owned()),
        kind("89 days of a license by day and model", |number| {
            let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 89);
            format!("/admin/usage?group_by=day,model&license_id={}&start={start}", license(number))
        }),
        kind("89 days of a license by day, Europe/Berlin", |number| {
            let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 89);
            format!("/admin/usage?tz=Europe/Berlin&license_id={}&start={start}", license(number))
        }),
        kind("30 days of a key", |number| format!("/admin/usage?group_by=model&key_id=key{:06}", number * 2 % 100)),
        kind("the gateway at a glance", |_| "/admin/stats".to_owned()),
    ]
}

fn kind(name: &'static str, path: impl Fn(usize) -> String + 'static) -> Kind {
    Kind { name, path: Box::new(path) }
}

/// All rows are in the sums.
async fn total(setup: &Setup, events: u64, table: &mut Table) -> io::Result<()> {
    let path = "GET /admin/usage?group_by=license&start=2020-01-01&end=2021-01-01";
    let empty = http::request(setup.address, path, ADMIN_KEY, "").await?;
    let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 90);
    let path = format!("GET /admin/usage?group_by=model&start={start}");
    let all = http::request(setup.address, &path, ADMIN_KEY, "").await?;
    let tokens = |body: &str| {
        let report: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        report.pointer("/totals/output_tokens").and_then(serde_json::Value::as_u64)
    };
    if tokens(&empty.body) != Some(0) || tokens(&all.body) != Some(events * 50) {
        table.fault(format!("sums over {events} rows: {:.300}", all.body));
    }
    Ok(())
}
