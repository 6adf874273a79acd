//! What the book knows of those who pay for sessions here: how they stood, and what is kept for them. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::balances::signed;
use super::batch::{Line, Opening, Sharing};
use super::cushion;
use super::standing::Standing;

/// Payers without a session here that are remembered at most.
const REMEMBERED: usize = 10_000;

/// How payers stood after the last transaction that concerned them.
#[derive(Debug, Default)]
pub struct Standings {
    known: HashMap<String, Standing>,
    /// What the running transaction may leave of cushions.
    in_flight: HashMap<String, i64>,
}

impl Standings {
    /// How a payer stood.
    #[must_use]
    pub fn get(&self, payer: &str) -> Option<&Standing> {
        self.known.get(payer)
    }

    /// What is certainly kept for a payer, in samples.
    #[must_use]
    pub fn cushion(&self, payer: &str) -> i64 {
        let known = self.known.get(payer).map_or(0, |standing| standing.cushion);
        self.in_flight.get(payer).map_or(known, |floor| known.min(*floor))
    }

    /// The payers that a transaction with these lines and openings concerns; at a tick also those with a cushion.
    pub fn sharings(
        &mut self,
        lines: &[Line],
        openings: &[Arc<Opening>],
        sharers: &HashMap<String, u64>,
        tick: bool,
    ) -> Vec<Sharing> {
        let mut sessions: BTreeMap<String, u64> = BTreeMap::new();
        let mut drawn: HashMap<String, u64> = HashMap::new();
        let here = |payer: &str| sharers.get(payer).copied().unwrap_or(0);
        for line in lines {
            let payer = line.opening.payer();
            let present = here(&payer);
            let count = sessions.entry(payer.clone()).or_insert(present);
            *count = count.saturating_sub(u64::from(line.end.is_some()));
            // What was granted out of the cushion becomes lease and usage now.
            *drawn.entry(payer).or_default() += line.keep.saturating_sub(line.from_leased);
        }
        for payer in openings.iter().map(|opening| opening.payer()) {
            let present = here(&payer);
            *sessions.entry(payer).or_insert(present) += 1;
        }
        if tick {
            for (payer, _) in self.known.iter().filter(|(_, standing)| standing.cushion > 0) {
                sessions.entry(payer.clone()).or_insert_with(|| here(payer));
            }
        }
        let sharing = |(payer, sessions): (String, u64)| {
            let known = self.known.get(&payer);
            let drawn = drawn.get(&payer).map_or(0, |samples| signed(*samples));
            let floor = known.map_or(0, |standing| {
                let floor = cushion::floor(standing.cushion, standing.left, sessions);
                floor.min(standing.cushion - drawn).max(0)
            });
            Sharing { payer, sessions, floor }
        };
        let sharings: Vec<Sharing> = sessions.into_iter().map(sharing).collect();
        self.in_flight = sharings.iter().map(|sharing| (sharing.payer.clone(), sharing.floor)).collect();
        sharings
    }

    /// Enters what a transaction told.
    pub fn enter(&mut self, told: HashMap<String, Standing>) {
        self.in_flight.clear();
        self.known.extend(told);
    }

    /// The outcome of a transaction with these payers is unknown.
    pub fn fall(&mut self, sharings: &[Sharing]) {
        self.in_flight.clear();
        for sharing in sharings {
            if let Some(standing) = self.known.get_mut(&sharing.payer) {
                standing.cushion = standing.cushion.min(sharing.floor);
            }
        }
    }

    /// What is kept was read again.
    pub fn set_cushions(&mut self, cushions: &[(String, i64)]) {
        self.known.values_mut().for_each(|standing| standing.cushion = 0);
        for (payer, units) in cushions {
            let unknown = || Standing { limits: (true, false, true), ..Standing::default() };
            self.known.entry(payer.clone()).or_insert_with(unknown).cushion = *units;
        }
    }

    /// Forgets payers without a session here where they have become too many.
    pub fn retain(&mut self, sharers: &HashMap<String, u64>) {
        if self.known.len() > REMEMBERED + sharers.len() {
            self.known.retain(|payer, standing| standing.cushion > 0 || sharers.contains_key(payer));
        }
    }
}
