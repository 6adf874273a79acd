//! Many customers at once: licensed, let in one after the other, watched to their end, judged and billed.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use livetranslate::simulator::ledger::SessionRecord as Leg;
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Customer, HANGOVER_MS, Manner};
use crate::http;
use crate::judge::{Verdict, assign, judge};
use crate::program;
use crate::stage::Stage;
use crate::story::{Story, name};

/// Between one customer's coming and the next one's.
const APART: Duration = Duration::from_millis(4);
/// Beyond the audio's own length.
const GRACE: Duration = Duration::from_secs(60);
/// A bill is final by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Requests to the admin API at a time.
const ASKED_AT_ONCE: usize = 8;

/// Who comes, and how they behave.
#[derive(Debug, Clone)]
pub(crate) struct Guests {
    /// How many.
    pub(crate) count: u32,
    /// Sentences that each speaks, 2 s each.
    pub(crate) sentences: u64,
    /// The first one's stream.
    pub(crate) first: u32,
    /// Each n-th wants the translation spoken; 0: none.
    pub(crate) spoken_each: u32,
    /// With the continuity extension.
    pub(crate) resumable: bool,
    /// When a silent connection is given up.
    pub(crate) patience: Duration,
    /// Seeds their jitter.
    pub(crate) seed: u64,
}

impl Guests {
    /// Resumable ones who want text.
    pub(crate) fn new(count: u32, sentences: u64, seed: u64) -> Self {
        let patience = Duration::from_secs(18);
        Self { count, sentences, first: 1, spoken_each: 0, resumable: true, patience, seed }
    }
}

/// Customers, each with a license of its own.
#[derive(Clone)]
pub(crate) struct Crowd {
    /// In the order of their streams.
    pub(crate) customers: Vec<Rc<Customer>>,
    sentences: u64,
}

/// What came of a crowd.
pub(crate) struct Outcome {
    /// All of them together.
    pub(crate) verdict: Verdict,
    /// Billed and not accepted, samples, the worst session of those that came to their end.
    pub(crate) overbilled: u64,
    /// Accepted and not billed, likewise.
    pub(crate) unbilled: u64,
    /// From the end of a sentence (and the pause by which it is known) to its final translation, ms.
    pub(crate) captions_ms: Vec<f64>,
    /// From the last dial to `gateway.resumed`, ms.
    pub(crate) resumes_ms: Vec<f64>,
    /// From the loss to `gateway.resumed`, ms.
    pub(crate) away_ms: Vec<f64>,
}

impl Crowd {
    /// Issues a license to each; they will come in by `door`.
    pub(crate) async fn invite(admin: SocketAddr, door: SocketAddr, guests: &Guests) -> io::Result<Self> {
        let fields = json!({
            "label": "chaos", "max_sessions": 2,
            "budgets": [{ "unit": "audio_seconds", "limit": 1_000_000, "window": "lifetime" }],
        });
        let licenses = stream::iter(0..guests.count).map(|_| program::issue(admin, &fields));
        let licenses: Vec<_> = licenses.buffered(ASKED_AT_ONCE).collect().await;
        let mut customers = Vec::new();
        for (place, license) in (0..).zip(licenses) {
            let manner = Manner {
                license: license?.1,
                resumable: guests.resumable,
                spoken: guests.spoken_each > 0 && place % guests.spoken_each == 0,
                patience: guests.patience,
                seed: guests.seed,
            };
            customers.push(Customer::new(door, Story::new(guests.first + place, guests.sentences), manner));
        }
        Ok(Self { customers, sentences: guests.sentences })
    }

    /// Lets them speak to the end, and `trouble` go on beside to its own.
    pub(crate) async fn speak(&self, trouble: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let longest = Duration::from_secs(2 * (self.sentences + 1)) + GRACE;
        let (through, troubled) = tokio::join!(timeout(longest, self.all()), trouble);
        troubled?;
        if through.is_err() {
            println!("  some customers did not come to their end in {} s", longest.as_secs());
        }
        Ok(())
    }

    /// Lets them speak to the end.
    pub(crate) async fn all(&self) {
        let mut running = Vec::new();
        for customer in &self.customers {
            running.push(Ended(spawn_local(customer.clone().run())));
            sleep(APART).await;
        }
        while self.customers.iter().any(|customer| !customer.is_over()) {
            sleep(Duration::from_millis(20)).await;
        }
        drop(running);
    }

    /// Waits until so many of them are in the midst of speaking.
    pub(crate) async fn speaking(&self, count: usize) {
        let speaks = |customer: &&Rc<Customer>| customer.story().sent > 0 || customer.is_over();
        let begun = Instant::now();
        while self.customers.iter().filter(speaks).count() < count && begun.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Compares what they lived through with the upstream's ledger and with the bill.
    pub(crate) async fn outcome(&self, stage: &Stage<'_>, admin: SocketAddr) -> io::Result<Outcome> {
        let legs = stage.legs();
        let stories: Vec<_> = self.customers.iter().map(|customer| customer.story()).collect();
        let stories: Vec<&Story> = stories.iter().map(|story| &**story).collect();
        let mut outcome = Outcome {
            verdict: Verdict::default(),
            overbilled: 0,
            unbilled: 0,
            captions_ms: Vec::new(),
            resumes_ms: Vec::new(),
            away_ms: Vec::new(),
        };
        let mut accepted = Vec::new();
        let mut shown = 0;
        for ((story, legs), customer) in stories.iter().zip(assign(&stories, &legs)).zip(&self.customers) {
            let verdict = judge(story, &legs);
            if !verdict.is_clean() && shown < 3 {
                shown += 1;
                explain(story, &legs, &verdict);
            }
            outcome.verdict += &verdict;
            // What went into a line that was dead is made up for by its replay alone.
            accepted.push((verdict.failed == 0).then_some(verdict.accepted));
            outcome.captions_ms.extend(caption_delays(story, customer));
            outcome.resumes_ms.extend(story.returns.iter().map(|back| milliseconds(back.took)));
            outcome.away_ms.extend(story.returns.iter().map(|back| milliseconds(back.away)));
        }
        let billed = self.billed(admin, &accepted).await;
        for (accepted, billed) in accepted.iter().zip(billed) {
            let Some(accepted) = accepted else { continue };
            outcome.overbilled = outcome.overbilled.max(billed.saturating_sub(*accepted));
            outcome.unbilled = outcome.unbilled.max(accepted.saturating_sub(billed));
        }
        Ok(outcome)
    }

    /// From the upstream's socket to the customer's, ms, every event that came at a time that counts.
    pub(crate) fn transits_ms(&self, legs: &[Leg], counts: impl Fn(std::time::Instant) -> bool) -> Vec<f64> {
        let sent = legs.iter().flat_map(|leg| &leg.sent).map(|sent| (sent.id.as_str(), sent.at));
        let sent: HashMap<&str, std::time::Instant> = sent.collect();
        let mut transits = Vec::new();
        for customer in &self.customers {
            let story = customer.story();
            let told = story.told.iter().filter(|told| counts(told.at));
            let came = told.filter_map(|told| Some(told.at.duration_since(*sent.get(told.id.as_str())?)));
            transits.extend(came.map(milliseconds));
        }
        transits
    }

    /// What each license's bill says, samples.
    async fn billed(&self, admin: SocketAddr, accepted: &[Option<u64>]) -> Vec<u64> {
        let until = Instant::now() + SETTLES_WITHIN;
        let bills = self.customers.iter().zip(accepted);
        let bills = bills.map(|(customer, accepted)| settled(admin, &customer.manner().license, *accepted, until));
        stream::iter(bills).buffered(ASKED_AT_ONCE).collect().await
    }
}

/// What a license's bill says; asked again for a while where it is not what is due yet.
async fn settled(admin: SocketAddr, license: &str, due: Option<u64>, until: Instant) -> u64 {
    loop {
        let used = used(admin, license).await;
        let settled = used.is_some_and(|(used, reserved)| Some(used) == due && reserved == 0);
        if settled || due.is_none() || Instant::now() >= until {
            return used.map_or(0, |(used, _)| used);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// A task that ends with its owner.
struct Ended(tokio::task::JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Samples that a license used, and that are reserved for it.
pub(crate) async fn used(gateway: SocketAddr, license: &str) -> Option<(u64, u64)> {
    let answer = http::request(gateway, "GET /v1/license", license, "").await.ok()?;
    let shown: Value = serde_json::from_str(&answer.body).ok()?;
    let samples = |field: &str| {
        let seconds = shown.pointer(&format!("/budgets/0/{field}"))?.as_f64()?;
        Some((seconds * 16_000.0).round() as u64)
    };
    samples("used").zip(samples("reserved"))
}

fn caption_delays(story: &Story, customer: &Customer) -> Vec<f64> {
    let due: HashMap<String, _> =
        story.sentences().map(|part| (name(&part), customer.due(part.end + HANGOVER_MS * 16))).collect();
    let finals = story.finals.iter().filter(|caption| !caption.source);
    let delays = finals.filter_map(|caption| {
        let due = (*due.get(&caption.text)?)?;
        Some(milliseconds(caption.at.saturating_duration_since(due.into_std())))
    });
    delays.collect()
}

/// What a session that went wrong lived through, and what its connections to the upstream did.
fn explain(story: &Story, legs: &[&Leg], verdict: &Verdict) {
    println!(
        "  stream {}: {}; {:?} {:?} {:?} closed {:?}, {} of {} samples sent, {} returns",
        story.stream,
        verdict.describe(),
        story.failed,
        story.breaches.iter().take(3).collect::<Vec<_>>(),
        story.errors,
        story.closed,
        story.sent,
        story.total,
        story.returns.len()
    );
    for (at, blow) in &story.blows {
        println!("    {:.3} s into its speech: {blow}", at.as_secs_f64());
    }
    let began = legs.first().and_then(|leg| leg.opened);
    let since = |at: Option<std::time::Instant>| Some(at?.duration_since(began?).as_secs_f64());
    for leg in legs {
        let runs: Vec<String> = leg.numbers.runs.iter().map(|run| name(&run.numbers)).collect();
        println!(
            "    leg {:.3?} to {:.3?} s: {}, {} events sent, closed {:?}{}{}",
            since(leg.opened).unwrap_or_default(),
            since(leg.ended).unwrap_or_default(),
            runs.join(" "),
            leg.events_sent,
            leg.closed,
            if leg.closed_by_client { " by the gateway" } else { "" },
            if leg.finished { ", finished" } else { "" },
        );
    }
}

/// A span in milliseconds.
pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
