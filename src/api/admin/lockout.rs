//! Who guesses at the admin key is shut out for a while, address by address. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So many failures within [`WINDOW`] shut an address out, whatever they were.
const FAILURES: usize = 20;
/// So many different keys do: whoever guesses tries another each time, a forgotten program the same.
const GUESSES: usize = 10;
/// See [`FAILURES`].
const WINDOW: Duration = Duration::from_secs(60);
/// For how long the first time; each further time for twice as long.
const SHORTEST: Duration = Duration::from_secs(60);
/// And never for longer.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// What an address did is forgotten when it was quiet for so long.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Addresses that are remembered; beyond it the one that was quiet for longest is forgotten.
const MOST: usize = 4_096;

/// What addresses have tried.
#[derive(Default)]
pub struct Lockout {
    origins: HashMap<IpAddr, Record>,
    hasher: RandomState,
}

/// What one address has tried.
struct Record {
    /// Its failures since it was last shut out, at most [`FAILURES`], the oldest first: when, and a hash of the key.
    failures: VecDeque<(Instant, u64)>,
    /// How often it was shut out.
    locks: u32,
    /// Until when it is.
    until: Option<Instant>,
    last: Instant,
}

impl Lockout {
    /// For how much longer an address is shut out.
    #[must_use]
    pub fn remaining(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.origins.get(&origin(address))?.until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a wrong key, of which a hash is kept; tells for how long the address is shut out, if this was one too many.
    pub fn failed(&mut self, address: IpAddr, key: &str, now: Instant) -> Option<Duration> {
        let (origin, key_hash) = (origin(address), self.hasher.hash_one(key));
        self.make_room(origin, now);
        let fresh = || Record { failures: VecDeque::new(), locks: 0, until: None, last: now };
        let record = self.origins.entry(origin).or_insert_with(fresh);
        record.last = now;
        record.failures.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        record.failures.push_back((now, key_hash));
        let guesses: HashSet<u64> = record.failures.iter().map(|(_, hash)| *hash).collect();
        if record.failures.len() < FAILURES && guesses.len() < GUESSES {
            return None;
        }
        let span = SHORTEST.saturating_mul(1 << record.locks.min(16)).min(LONGEST);
        record.failures.clear();
        record.locks += 1;
        record.until = Some(now + span);
        Some(span)
    }

    /// The right key came: what was counted is forgotten.
    pub fn succeeded(&mut self, address: IpAddr) {
        self.origins.remove(&origin(address));
    }

    fn make_room(&mut self, origin: IpAddr, now: Instant) {
        let spent = |record: &Record| now.duration_since(record.last) >= MEMORY;
        if self.origins.get(&origin).is_some_and(spent) {
            self.origins.remove(&origin);
        }
        if self.origins.len() < MOST || self.origins.contains_key(&origin) {
            return;
        }
        self.origins.retain(|_, record| !spent(record));
        if self.origins.len() >= MOST {
            let quietest = self.origins.iter().min_by_key(|(_, record)| record.last).map(|(origin, _)| *origin);
            quietest.and_then(|origin| self.origins.remove(&origin));
        }
    }
}

/// Whom an address stands for: whoever has one of IPv6 has its /64.
#[must_use]
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Fails as often as it takes, all at once.
    fn lock(lockout: &mut Lockout, who: IpAddr, now: Instant) -> Option<Duration> {
        (0..GUESSES).map(|guess| lockout.failed(who, &guess.to_string(), now)).last().unwrap()
    }

    #[test]
    fn the_tenth_failure_within_a_minute_locks() {
        let (mut lockout, start, who) = (Lockout::default(), Instant::now(), address("203.0.113.7"));
        for second in 0..9 {
            assert_eq!(lockout.failed(who, &second.to_string(), start + Duration::from_secs(second)), None);
        }
        // The first three are a minute old by now.
        let later = start + Duration::from_secs(62);
        assert_eq!(lockout.failed(who, "9", later), None);
        assert_eq!(lockout.remaining(who, later), None);
        let locks: Vec<_> = (10..13).map(|guess| lockout.failed(who, &guess.to_string(), later)).collect();
        assert_eq!(locks, [None, None, Some(SHORTEST)]);
        assert_eq!(lockout.remaining(who, later + Duration::from_secs(59)), Some(Duration::from_secs(1)));
        assert_eq!(lockout.remaining(who, later + SHORTEST), None);
        assert_eq!(lockout.remaining(address("203.0.113.8"), later), None, "its neighbour");
    }

    #[test]
    fn a_program_with_an_old_key_has_more_patience() {
        let (mut lockout, now, who) = (Lockout::default(), Instant::now(), address("203.0.113.7"));
        (1..FAILURES).for_each(|_| assert_eq!(lockout.failed(who, "old", now), None));
        assert_eq!(lockout.failed(who, "old", now), Some(SHORTEST));
    }

    #[test]
    fn each_time_lasts_longer_up_to_a_quarter_of_an_hour() {
        let (mut lockout, mut now, who) = (Lockout::default(), Instant::now(), address("203.0.113.7"));
        let mut minutes = Vec::new();
        for _ in 0..6 {
            let span = lock(&mut lockout, who, now).unwrap();
            minutes.push(span.as_secs() / 60);
            now += span;
        }
        assert_eq!(minutes, [1, 2, 4, 8, 15, 15]);
        now += MEMORY;
        assert_eq!(lock(&mut lockout, who, now), Some(SHORTEST), "an hour of quiet is forgiven");
    }

    #[test]
    fn the_right_key_clears_the_count() {
        let (mut lockout, now, who) = (Lockout::default(), Instant::now(), address("203.0.113.7"));
        for _ in 0..3 {
            (1..GUESSES).for_each(|guess| assert_eq!(lockout.failed(who, &guess.to_string(), now), None));
            lockout.succeeded(who);
        }
        assert!(lockout.origins.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_mapped_ipv4_is_itself() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        for host in 0..GUESSES {
            lockout.failed(address(&format!("2001:db8:1:2::{host:x}")), &host.to_string(), now);
        }
        assert!(lockout.remaining(address("2001:db8:1:2:ffff::1"), now).is_some());
        assert!(lockout.remaining(address("2001:db8:1:3::1"), now).is_none());
        lock(&mut lockout, address("::ffff:203.0.113.7"), now);
        assert!(lockout.remaining(address("203.0.113.7"), now).is_some());
        assert!(lockout.remaining(address("203.0.113.8"), now).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quietest() {
        let (mut lockout, start) = (Lockout::default(), Instant::now());
        let nth = |index: usize| IpAddr::from(u32::try_from(index).unwrap().to_be_bytes());
        for index in 0..MOST {
            lockout.failed(nth(index), "k", start + Duration::from_micros(index as u64));
        }
        let last = start + Duration::from_secs(1);
        lockout.failed(nth(0), "k", last);
        lockout.failed(nth(MOST), "k", last);
        assert_eq!(lockout.origins.len(), MOST);
        assert!(lockout.origins.contains_key(&nth(0)), "it was heard again");
        assert!(!lockout.origins.contains_key(&nth(1)));
    }
}
