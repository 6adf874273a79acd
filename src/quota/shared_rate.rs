//! How fast licenses and keys may call over all instances, as Redis counts it: by its own clock, each question in one
//! step.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue as _, Script, Value};

use super::rate::{Amount, Subject, whole_seconds};
use super::redis::{Greeting, Redis, Standing};
use crate::config::settings::Secret;
use crate::error::Error;
use crate::ids;
use crate::metrics::Metrics;

/// What begins the name of everything that is kept in Redis.
const PREFIX: &str = "livetranslate";
/// A call whose instance says nothing of it for so long has ended.
pub const LEASE: Duration = Duration::from_secs(30);
/// Calls whose leases are renewed by one command.
const AT_ONCE: usize = 1_000;
/// Ends kept at most while Redis is away; the leases of those that ended first end by themselves.
const ENDED: usize = 10_000;

/// The pace that all instances on one Redis keep together; cheap to clone, shared by all threads.
#[derive(Clone, Debug)]
pub struct SharedRates {
    redis: Redis,
    scripts: Arc<Scripts>,
    leases: Arc<Leases>,
}

#[derive(Debug)]
struct Scripts {
    take: Script,
    give_back: Script,
    renew: Script,
}

/// The calls of this process that count as running in Redis.
#[derive(Debug)]
struct Leases {
    span: Duration,
    /// By call, where it is counted.
    held: Mutex<HashMap<String, Vec<String>>>,
    /// Where calls were counted, and which, that ended while Redis was away. Locked after `held`.
    ended: Mutex<VecDeque<(String, String)>>,
}

/// What Redis said.
#[derive(Debug)]
pub struct Told<T> {
    /// What became of it; `RateLimited` with the wait, `ConcurrencyLimit`.
    pub outcome: Result<T, Error>,
    /// Each subject's requests and tokens since.
    pub levels: Vec<[f64; 2]>,
}

impl SharedRates {
    /// Finds Redis, or goes on looking for it. Whoever doesn't answer within `patience` is away; leases that are not
    /// renewed end after `lease`.
    ///
    /// # Errors
    /// `InvalidRequest` for a URL that says nowhere to connect to.
    pub async fn start(url: &Secret, (patience, lease): (Duration, Duration), metrics: Metrics) -> Result<Self, Error> {
        let texts = [include_str!("lua/take.lua"), include_str!("lua/give_back.lua"), include_str!("lua/renew.lua")];
        let [take, give_back, renewal] = texts.map(Script::new);
        let scripts = Scripts { take, give_back, renew: renewal };
        let commands = texts.map(|text| redis::cmd("SCRIPT").arg("LOAD").arg(text).to_owned()).to_vec();
        // Nobody's request: does Redis run scripts, and may they write?
        let key = format!("{PREFIX}:probe");
        let probe = evalsha(&scripts.take, &[&key, &key]).arg(("", 0, 0, 0, 0, 0, 1, -1, -1)).to_owned();
        let redis = Redis::start(url, patience, Greeting { commands, probe }, metrics).await?;
        let leases = Arc::new(Leases { span: lease, held: Mutex::default(), ended: Mutex::default() });
        let shared = Self { redis, scripts: Arc::new(scripts), leases };
        tokio::spawn(renew(Arc::downgrade(&shared.leases), shared.redis.clone(), shared.scripts.clone()));
        Ok(shared)
    }

    /// Whether Redis is there.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.redis.standing()
    }

    /// Lets a call begin. None when Redis is away.
    pub async fn begin(&self, subjects: &[Subject]) -> Option<Told<Option<Lease>>> {
        let counted = subjects.iter().filter(|subject| subject.limits.max_parallel_requests.is_some());
        let counted: Vec<String> = counted.map(|subject| calls_key(subjects, subject)).collect();
        // It is there before the answer: who leaves meanwhile ends it.
        let mut lease =
            (!counted.is_empty()).then(|| Lease { call: ids::random(20), counted, shared: self.clone(), began: true });
        let call = lease.as_ref().map_or("", |lease| lease.call.as_str());
        let told = self.take(subjects, Amount::Begin, call).await?;
        if let Some(lease) = &mut lease {
            match told.outcome {
                Ok(()) => drop(self.leases.held().insert(lease.call.clone(), lease.counted.clone())),
                Err(_) => lease.began = false,
            }
        }
        Some(Told { outcome: told.outcome.map(|()| lease), levels: told.levels })
    }

    /// Takes tokens for a call that runs. None when Redis is away.
    pub async fn set_aside(&self, subjects: &[Subject], tokens: u64) -> Option<Told<()>> {
        self.take(subjects, Amount::Tokens(tokens), "").await
    }

    /// Gives tokens back; below nothing, takes them.
    pub fn give_back(&self, subjects: &[Subject], tokens: i64) {
        let limited = |subject: &Subject| Some((bucket_key(subjects, subject), subject.limits.tpm_limit?));
        let (buckets, limits): (Vec<String>, Vec<u64>) = subjects.iter().filter_map(limited).unzip();
        if tokens != 0 && !buckets.is_empty() {
            self.redis.tell(evalsha(&self.scripts.give_back, &buckets).arg(tokens).arg(limits).to_owned());
        }
    }

    async fn take(&self, subjects: &[Subject], amount: Amount, call: &str) -> Option<Told<()>> {
        let keys: Vec<String> =
            subjects.iter().flat_map(|subject| [bucket_key(subjects, subject), calls_key(subjects, subject)]).collect();
        let mut command = evalsha(&self.scripts.take, &keys);
        command.arg(call).arg(milliseconds(self.leases.span)).arg(&amount.wanted()).arg(&amount.taken());
        for Subject { limits, .. } in subjects {
            for limit in [limits.rpm_limit, limits.tpm_limit, limits.max_parallel_requests] {
                match limit {
                    Some(limit) => command.arg(limit),
                    None => command.arg(-1),
                };
            }
        }
        let told = told(self.redis.ask(command).await?);
        if told.is_none() {
            log::error!("what Redis said of rate limits can't be read");
        }
        told
    }
}

/// Reads what the script answers.
fn told(answer: Value) -> Option<Told<()>> {
    let said: Vec<f64> = Vec::<String>::from_redis_value(answer).ok()?.iter().flat_map(|word| word.parse()).collect();
    let [wait, full, levels @ ..] = said.as_slice() else { return None };
    let outcome = match (*full, *wait) {
        (full, _) if full >= 0.0 => Err(Error::ConcurrencyLimit { limit: full as u64 }),
        (_, wait) if wait > 0.0 => {
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
            Err(Error::RateLimited { retry_after_seconds: whole_seconds(wait) })
        }
        _ => Ok(()),
    };
    let levels = levels.as_chunks().0.to_vec();
    Some(Told { outcome, levels })
}

fn evalsha(script: &Script, keys: &[impl AsRef<str>]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    command
}

/// In braces is what keeps one call's keys together where Redis spreads them.
fn key(subjects: &[Subject], subject: &Subject, of: &str) -> String {
    let together = subjects.first().map_or("", |first| first.id.as_str());
    format!("{PREFIX}:{of}:{{{together}}}:{}", subject.id)
}

fn bucket_key(subjects: &[Subject], subject: &Subject) -> String {
    key(subjects, subject, "rate")
}

fn calls_key(subjects: &[Subject], subject: &Subject) -> String {
    key(subjects, subject, "calls")
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Leases {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<(String, String)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that counts as running, until this is dropped or its process says nothing more.
#[derive(Debug)]
pub struct Lease {
    call: String,
    counted: Vec<String>,
    shared: SharedRates,
    /// False: it was refused.
    began: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.began {
            return;
        }
        // Held meanwhile: what is renewed is told before.
        let mut held = self.shared.leases.held();
        held.remove(&self.call);
        let redis = &self.shared.redis;
        for calls in &self.counted {
            if redis.standing() == Standing::There {
                redis.tell(end(calls, &self.call));
            } else {
                let mut ended = self.shared.leases.ended();
                ended.push_back((calls.clone(), self.call.clone()));
                if ended.len() > ENDED {
                    ended.pop_front();
                }
            }
        }
    }
}

fn end(calls: &str, call: &str) -> Cmd {
    redis::cmd("ZREM").arg(calls).arg(call).to_owned()
}

/// Renews the leases of running calls while there is somebody to hold them, and at once when Redis is back: it may have
/// forgotten them. Tells it then of those that ended meanwhile, too.
async fn renew(leases: std::sync::Weak<Leases>, redis: Redis, scripts: Arc<Scripts>) {
    let mut standing = redis.watch();
    loop {
        let Some(span) = leases.upgrade().map(|leases| leases.span) else { return };
        let _either = tokio::time::timeout(span / 3, standing.changed()).await;
        let Some(leases) = leases.upgrade() else { return };
        let held = leases.held();
        if redis.standing() == Standing::There {
            leases.ended().drain(..).for_each(|(calls, call)| redis.tell(end(&calls, &call)));
        }
        let mut running: HashMap<&str, Vec<&str>> = HashMap::new();
        for (call, counted) in held.iter() {
            counted.iter().for_each(|calls| running.entry(calls).or_default().push(call));
        }
        for (key, calls) in running {
            for calls in calls.chunks(AT_ONCE) {
                redis.tell(evalsha(&scripts.renew, &[key]).arg(milliseconds(span)).arg(calls).to_owned());
            }
        }
    }
}
