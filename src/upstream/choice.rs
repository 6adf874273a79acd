//! Which account takes a call: by model, then priority, then weight among the healthy ones, the same conversation
//! staying where it was. Pure.

use std::time::{Duration, Instant};

use super::account::{Account, Kind, State};
use super::cooling::Standing;

/// A place of an account's `max_concurrency` comes free when somebody's call ends: soon.
const BUSY: Duration = Duration::from_secs(1);

/// What an account is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose API.
    pub kinds: &'a [Kind],
    /// A model id.
    pub model: &'a str,
    /// What calls of one conversation have in common, so that the provider's prompt cache holds.
    pub sticky: Option<u64>,
    /// Whose call it is, a hash; 0: nobody knows, and all such calls are one caller's.
    pub caller: u64,
    /// Ids of accounts that have failed this call.
    pub tried: &'a [String],
}

/// Why there is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAccount {
    /// There are accounts of these kinds, but none serves the model.
    UnknownModel,
    /// There is no account of these kinds, or none that is enabled and serves the model.
    None,
    /// Every one has failed this call.
    AllTried,
    /// Those that serve the model cool down, or have as many calls as they take.
    Busy {
        /// When the first of them may be free.
        retry_after: Duration,
    },
}

/// An account as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The account.
    pub account: &'a Account,
    /// Whether it may be asked.
    pub standing: Standing,
    /// Whether it has as many calls as it takes.
    pub full: bool,
}

/// The account that takes the call. `lot`: what is the same for calls that should stay together, else a number that
/// was not used before.
///
/// # Errors
/// Why there is none.
pub fn choose<'a>(
    candidates: &[Candidate<'a>],
    wanted: &Wanted<'_>,
    lot: u64,
    now: Instant,
) -> Result<&'a Account, NoAccount> {
    let serving = serving(candidates, wanted)?;
    let enabled = among(&serving, |candidate| candidate.account.state == State::Enabled);
    if enabled.is_empty() {
        return Err(NoAccount::None);
    }
    let untried = among(&enabled, |candidate| !wanted.tried.contains(&candidate.account.id));
    if untried.is_empty() {
        return Err(NoAccount::AllTried);
    }
    let ready = among(&untried, |candidate| !candidate.full && candidate.standing == Standing::Ready);
    let spared = among(&untried, |candidate| !candidate.full && matches!(candidate.standing, Standing::Spared(_)));
    let available = if ready.is_empty() { spared } else { ready };
    let first = available.iter().map(|candidate| candidate.account.priority).min();
    let equals = available.into_iter().filter(|candidate| Some(candidate.account.priority) == first);
    let drawn = equals.map(|candidate| (score(candidate.account, lot), candidate.account));
    drawn
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, account)| account)
        .ok_or_else(|| NoAccount::Busy { retry_after: soonest(&untried, now) })
}

/// Those that serve the model; where none is meant for it, those that name no models.
fn serving<'a>(candidates: &[Candidate<'a>], wanted: &Wanted<'_>) -> Result<Vec<Candidate<'a>>, NoAccount> {
    let of_kind = among(candidates, |candidate| wanted.kinds.contains(&candidate.account.kind));
    if of_kind.is_empty() {
        return Err(NoAccount::None);
    }
    let meant = among(&of_kind, |candidate| candidate.account.serves(wanted.model));
    let serving =
        if meant.is_empty() { among(&of_kind, |candidate| candidate.account.serves_anything()) } else { meant };
    if serving.is_empty() { Err(NoAccount::UnknownModel) } else { Ok(serving) }
}

fn among<'a>(candidates: &[Candidate<'a>], fits: impl Fn(&Candidate<'a>) -> bool) -> Vec<Candidate<'a>> {
    candidates.iter().filter(|candidate| fits(candidate)).copied().collect()
}

fn soonest(candidates: &[Candidate<'_>], now: Instant) -> Duration {
    let waits = candidates.iter().map(|candidate| match candidate.standing {
        Standing::Barred(until) if candidate.full => until.saturating_duration_since(now).max(BUSY),
        Standing::Barred(until) => until.saturating_duration_since(now),
        Standing::Ready | Standing::Spared(_) => BUSY,
    });
    waits.min().unwrap_or(BUSY)
}

/// Weighted rendezvous: the highest score takes the lot. Shares follow the weights, and when an account goes away or
/// comes, only its own lots move.
fn score(account: &Account, lot: u64) -> f64 {
    const STEPS: f64 = 9_007_199_254_740_992.0;
    let fraction = ((mixed(hash(&account.id) ^ mixed(lot)) >> 11) as f64 + 0.5) / STEPS;
    -f64::from(account.weight.max(1)) / fraction.ln()
}

/// FNV-1a: the same on every instance, now and later.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finisher of splitmix64: numbers that are near each other end far apart.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::Secret;
    use crate::upstream::account::Mode;

    fn account(id: &str, kind: Kind, models: &[&str]) -> Account {
        Account {
            id: id.to_owned(),
            name: id.to_owned(),
            kind,
            base_url: "https://upstream.example".to_owned(),
            credential: Secret::new("sk-x"),
            mode: Mode::Compatible,
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            weight: 1,
            priority: 0,
            max_concurrency: None,
            state: State::Enabled,
        }
    }

    fn ready(account: &Account) -> Candidate<'_> {
        Candidate { account, standing: Standing::Ready, full: false }
    }

    fn wanted<'a>(kinds: &'a [Kind], model: &'a str) -> Wanted<'a> {
        Wanted { kinds, model, sticky: None, caller: 0, tried: &[] }
    }

    fn ids(accounts: &[Account], kinds: &[Kind], model: &str) -> Vec<String> {
        let candidates: Vec<_> = accounts.iter().map(ready).collect();
        let found = serving(&candidates, &wanted(kinds, model)).unwrap();
        found.iter().map(|candidate| candidate.account.id.clone()).collect()
    }

    #[test]
    fn models_find_their_accounts() {
        let accounts = [
            account("d", Kind::Dashscope, &[]),
            account("a", Kind::Anthropic, &[]),
            account("o", Kind::Openai, &["gpt-*", "qwen-max"]),
        ];
        assert_eq!(ids(&accounts, &Kind::ALL, "qwen-plus"), ["d"]);
        assert_eq!(ids(&accounts, &Kind::ALL, "qwen-max"), ["d", "o"]);
        assert_eq!(ids(&accounts, &Kind::ALL, "claude-x"), ["a"]);
        assert_eq!(ids(&accounts, &[Kind::Anthropic], "qwen3-coder"), ["a"], "a mirror names models as it likes");
        assert_eq!(ids(&accounts, &[Kind::Dashscope, Kind::Openai], "claude-x"), ["d"]);
        let candidates = [ready(&accounts[2])];
        let now = Instant::now();
        assert_eq!(choose(&candidates, &wanted(&Kind::ALL, "qwen-plus"), 0, now), Err(NoAccount::UnknownModel));
        assert_eq!(choose(&candidates, &wanted(&[Kind::Anthropic], "gpt-5"), 0, now), Err(NoAccount::None));
        let away = Account { state: State::Draining, ..accounts[2].clone() };
        assert_eq!(choose(&[ready(&away)], &wanted(&Kind::ALL, "gpt-5"), 0, now), Err(NoAccount::None));
    }

    #[test]
    fn priority_goes_before_weight_and_health_before_priority() {
        let now = Instant::now();
        let first = account("first", Kind::Openai, &[]);
        let second = Account { priority: 1, weight: 1_000, ..account("second", Kind::Openai, &[]) };
        let (until, wanted) = (now + Duration::from_secs(7), wanted(&Kind::ALL, "m"));
        let chosen = |standing, full| {
            let candidates = [Candidate { account: &first, standing, full }, ready(&second)];
            choose(&candidates, &wanted, 5, now).unwrap().id.clone()
        };
        assert_eq!(chosen(Standing::Ready, false), "first");
        assert_eq!(chosen(Standing::Ready, true), "second");
        assert_eq!(chosen(Standing::Spared(until), false), "second");
        assert_eq!(chosen(Standing::Barred(until), false), "second");
    }

    #[test]
    fn who_is_spared_is_asked_where_nobody_else_is_ready() {
        let now = Instant::now();
        let (one, other) = (account("one", Kind::Openai, &[]), account("other", Kind::Openai, &[]));
        let until = now + Duration::from_secs(7);
        let (spared, barred) = (
            Candidate { account: &one, standing: Standing::Spared(until), full: false },
            Candidate { account: &other, standing: Standing::Barred(until), full: false },
        );
        let tried = ["one".to_owned(), "other".to_owned()];
        let wanted = |tried| Wanted { kinds: &Kind::ALL, model: "m", sticky: None, caller: 0, tried };
        assert_eq!(choose(&[spared, barred], &wanted(&[]), 5, now).unwrap().id, "one");
        let busy = |seconds| Err(NoAccount::Busy { retry_after: Duration::from_secs(seconds) });
        assert_eq!(choose(&[spared, barred], &wanted(&tried[..1]), 5, now), busy(7));
        assert_eq!(choose(&[Candidate { full: true, ..spared }, barred], &wanted(&[]), 5, now), busy(1));
        assert_eq!(choose(&[spared, barred], &wanted(&tried), 5, now), Err(NoAccount::AllTried));
    }

    #[test]
    fn shares_follow_weights() {
        let weighted = |id, weight| Account { weight, ..account(id, Kind::Openai, &[]) };
        let accounts = [weighted("a", 1), weighted("b", 2), weighted("c", 5)];
        let candidates: Vec<_> = accounts.iter().map(ready).collect();
        let mut shares = BTreeMap::new();
        for lot in 0..40_000 {
            let chosen = choose(&candidates, &wanted(&Kind::ALL, "m"), lot, Instant::now()).unwrap();
            *shares.entry(chosen.id.as_str()).or_insert(0) += 1;
        }
        for (id, due) in [("a", 5_000_i32), ("b", 10_000), ("c", 25_000)] {
            assert!((due - shares[id]).abs() < 500, "{shares:?}");
        }
    }

    proptest! {
        #[test]
        fn only_the_lots_of_the_one_that_goes_move(
            weights in prop::collection::vec(1_u32..1_000, 2..8), gone in any::<prop::sample::Index>(), lots in any::<[u64; 32]>()
        ) {
            let named = |(index, weight): (usize, &u32)| {
                Account { weight: *weight, ..account(&format!("acc_{index}"), Kind::Openai, &[]) }
            };
            let accounts: Vec<Account> = weights.iter().enumerate().map(named).collect();
            let all: Vec<_> = accounts.iter().map(ready).collect();
            let mut fewer = all.clone();
            let gone = fewer.remove(gone.index(all.len())).account;
            for lot in lots {
                let before = choose(&all, &wanted(&Kind::ALL, "m"), lot, Instant::now()).unwrap();
                let after = choose(&fewer, &wanted(&Kind::ALL, "m"), lot, Instant::now()).unwrap();
                prop_assert!(before.id == after.id || before.id == gone.id);
            }
        }
    }
}
