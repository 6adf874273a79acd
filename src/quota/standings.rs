//! What the book knows of the licenses whose sessions are here: how they stood, and what is kept for them. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::balances::signed;
use super::batch::{Line, Opening, Sharing};
use super::cushion;
use super::standing::Standing;

/// Licenses without a session here that are remembered at most.
const REMEMBERED: usize = 10_000;

/// How licenses stood after the last transaction that concerned them.
#[derive(Debug, Default)]
pub struct Standings {
    known: HashMap<String, Standing>,
    /// What the running transaction may leave of cushions.
    in_flight: HashMap<String, i64>,
}

impl Standings {
    /// How a license stood.
    #[must_use]
    pub fn get(&self, license_id: &str) -> Option<&Standing> {
        self.known.get(license_id)
    }

    /// What is certainly kept for a license, in samples.
    #[must_use]
    pub fn cushion(&self, license_id: &str) -> i64 {
        let known = self.known.get(license_id).map_or(0, |standing| standing.cushion);
        self.in_flight.get(license_id).map_or(known, |floor| known.min(*floor))
    }

    /// The licenses that a transaction with these lines and openings concerns; at a tick also those with a cushion.
    pub fn sharings(
        &mut self,
        lines: &[Line],
        openings: &[Arc<Opening>],
        sharers: &HashMap<String, u64>,
        tick: bool,
    ) -> Vec<Sharing> {
        let mut sessions: BTreeMap<&str, u64> = BTreeMap::new();
        let mut drawn: HashMap<&str, u64> = HashMap::new();
        let here = |license_id: &str| sharers.get(license_id).copied().unwrap_or(0);
        for line in lines {
            let license_id = line.opening.license_id.as_str();
            let count = sessions.entry(license_id).or_insert_with(|| here(license_id));
            *count = count.saturating_sub(u64::from(line.end.is_some()));
            // What was granted out of the cushion becomes lease and usage now.
            *drawn.entry(license_id).or_default() += line.keep.saturating_sub(line.from_leased);
        }
        for opening in openings {
            *sessions.entry(&opening.license_id).or_insert_with(|| here(&opening.license_id)) += 1;
        }
        if tick {
            for (license_id, _) in self.known.iter().filter(|(_, standing)| standing.cushion > 0) {
                sessions.entry(license_id).or_insert_with(|| here(license_id));
            }
        }
        let sharing = |(license_id, sessions): (&str, u64)| {
            let known = self.known.get(license_id);
            let drawn = drawn.get(license_id).map_or(0, |samples| signed(*samples));
            let floor = known.map_or(0, |standing| {
                let floor = cushion::floor(standing.cushion, standing.left, sessions);
                floor.min(standing.cushion - drawn).max(0)
            });
            Sharing { license_id: license_id.to_owned(), sessions, floor }
        };
        let sharings: Vec<Sharing> = sessions.into_iter().map(sharing).collect();
        self.in_flight = sharings.iter().map(|sharing| (sharing.license_id.clone(), sharing.floor)).collect();
        sharings
    }

    /// Enters what a transaction told.
    pub fn enter(&mut self, told: HashMap<String, Standing>) {
        self.in_flight.clear();
        self.known.extend(told);
    }

    /// The outcome of a transaction with these licenses is unknown.
    pub fn fall(&mut self, sharings: &[Sharing]) {
        self.in_flight.clear();
        for sharing in sharings {
            if let Some(standing) = self.known.get_mut(&sharing.license_id) {
                standing.cushion = standing.cushion.min(sharing.floor);
            }
        }
    }

    /// What is kept was read again.
    pub fn set_cushions(&mut self, cushions: &[(String, i64)]) {
        self.known.values_mut().for_each(|standing| standing.cushion = 0);
        for (license_id, units) in cushions {
            let unknown = || Standing { limits: (true, false, true), ..Standing::default() };
            self.known.entry(license_id.clone()).or_insert_with(unknown).cushion = *units;
        }
    }

    /// Forgets licenses without a session here where they have become too many.
    pub fn retain(&mut self, sharers: &HashMap<String, u64>) {
        if self.known.len() > REMEMBERED + sharers.len() {
            self.known.retain(|license_id, standing| standing.cushion > 0 || sharers.contains_key(license_id));
        }
    }
}
