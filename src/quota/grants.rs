//! What a transaction grants: leases to those who ask, and to each payer what is kept for an absence of the store.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::allot::{self, Share};
use super::balances::{AUDIO, Balances, Sums, TOKENS, signed, token_sum};
use super::batch::{Line, Sharing, Verdict};
use super::cushion;
use super::instance::Instance;
use super::standing::Standing;
use crate::error::Error;
use crate::payer;
use crate::store::backend::AnyConnection;
use crate::store::{charging, cushions};

/// Cushions that grow in one transaction at most: where many sessions begin at once, they come first.
const GROWING: usize = 100;

/// Whether a line books tokens.
fn spends_tokens(line: &Line) -> bool {
    token_sum(line.to) > token_sum(line.from)
}

/// Grants in one transaction.
pub struct Grants<'a> {
    balances: &'a mut Balances,
    instance: &'a Instance,
    now: Timestamp,
    kept: HashMap<String, i64>,
    growing: usize,
}

impl<'a> Grants<'a> {
    /// Reads what this instance keeps.
    ///
    /// # Errors
    /// The store's.
    pub fn new(
        connection: &mut AnyConnection,
        balances: &'a mut Balances,
        (instance, now): (&'a Instance, Timestamp),
    ) -> Result<Self, Error> {
        let kept = cushions::of_instance(connection, &instance.id)?.into_iter().collect();
        Ok(Self { balances, instance, now, kept, growing: 0 })
    }

    /// Answers every line, payer by payer; tells how each stands then.
    ///
    /// # Errors
    /// The store's.
    pub fn give(
        mut self,
        connection: &mut AnyConnection,
        lines: &[&Line],
        sharings: &[Sharing],
    ) -> Result<(Vec<Verdict>, HashMap<String, Standing>), Error> {
        let unasked = |line: &&Line| {
            let spends = spends_tokens(line);
            let ended = spends.then(|| self.balances.used_up(&line.opening.payer(), &[TOKENS])).flatten();
            ended.map_or(Verdict::Granted(0), Verdict::UsedUp)
        };
        let mut verdicts: Vec<Verdict> = lines.iter().map(unasked).collect();
        let mut asking: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.want > 0) {
            asking.entry(line.opening.payer()).or_default().push(index);
        }
        let mut standings = HashMap::with_capacity(sharings.len());
        for sharing in sharings {
            let indices = asking.remove(&sharing.payer).unwrap_or_default();
            let asks: Vec<&Line> = indices.iter().filter_map(|index| lines.get(*index).copied()).collect();
            let (answers, standing) = self.serve(connection, &asks, sharing)?;
            for (index, answer) in indices.into_iter().zip(answers) {
                if let Some(verdict) = verdicts.get_mut(index) {
                    *verdict = answer;
                }
            }
            standings.insert(sharing.payer.clone(), standing);
        }
        Ok((verdicts, standings))
    }

    fn serve(
        &mut self,
        connection: &mut AnyConnection,
        lines: &[&Line],
        sharing: &Sharing,
    ) -> Result<(Vec<Verdict>, Standing), Error> {
        let payer = sharing.payer.as_str();
        let audio = self.balances.of(payer).filter(|row| row.unit == AUDIO);
        let (count, held) = (audio.clone().count(), audio.clone().map(|row| row.reserved_units).max().unwrap_or(0));
        let kept = self.kept.get(payer).copied().unwrap_or(0);
        let left = audio.map(|row| row.limit_units - row.used_units - row.reserved_units).min();
        // A session was counted as a request when it was opened: it may go on when it was the last one.
        let used_up = self.balances.used_up(payer, &[AUDIO, TOKENS]);
        let floor = sharing.floor.min(kept);
        let available = left.unwrap_or(0) + kept - floor;
        let mut verdicts = match (used_up, left) {
            (Some(resets_at), _) => self.refuse(lines, payer, resets_at),
            (None, None) => lines.iter().map(|line| Verdict::Granted(line.want.max(line.need))).collect(),
            (None, Some(_)) => self.share(lines, payer, (available, held - kept + floor)),
        };
        if left.is_none() {
            self.keep(connection, payer, kept, 0)?;
            return Ok((verdicts, self.balances.standing(payer, 0)));
        }
        let total: i64 = verdicts.iter().map(granted).sum();
        let free = available + floor - total;
        let mut keep = cushion::next(kept, cushion::target(free, sharing.sessions, self.instance.grace_seconds), floor);
        if keep > kept {
            self.growing += 1;
            keep = if self.growing > GROWING { kept } else { keep };
        }
        if keep < kept {
            let mut back = Sums::default();
            back.add(AUDIO, (payer::license(payer), Some(payer::key(payer))), (0, keep - kept));
            back.book(connection, self.now)?;
            self.balances.hold(payer, AUDIO, keep - kept);
        }
        let take = total + (keep - kept).max(0);
        let overshoot = (total - available).max(0);
        let owners = (payer::license(payer), payer::key(payer));
        if take > 0 && charging::reserve(connection, owners, take, overshoot, count)? {
            self.balances.hold(payer, AUDIO, take);
        } else if take > 0 {
            // The budget changed under us: everyone asks again.
            let again = |line: &&Line| if line.need > 0 { Verdict::Wait(None) } else { Verdict::Granted(0) };
            verdicts = lines.iter().map(again).collect();
            keep = keep.min(kept);
        }
        self.keep(connection, payer, kept, keep)?;
        Ok((verdicts, self.balances.standing(payer, keep)))
    }

    fn refuse(&self, lines: &[&Line], payer: &str, resets_at: Option<jiff::Timestamp>) -> Vec<Verdict> {
        let tokens = self.balances.used_up(payer, &[TOKENS]).is_some();
        let told = |line: &Line| line.need > 0 || tokens && spends_tokens(line);
        let verdict = |line: &&Line| if told(line) { Verdict::UsedUp(resets_at) } else { Verdict::Granted(0) };
        lines.iter().map(verdict).collect()
    }

    fn share(&self, lines: &[&Line], payer: &str, (available, held): (i64, i64)) -> Vec<Verdict> {
        let ask = |line: &&Line| allot::Ask {
            need: signed(line.need),
            want: signed(line.want),
            sharers: signed(line.sharers),
        };
        let asks: Vec<allot::Ask> = lines.iter().map(ask).collect();
        let shares = allot::allot(available, held, &asks).into_iter();
        shares
            .zip(&asks)
            .map(|(share, ask)| match share {
                Share::Granted(amount) => Verdict::Granted(amount.unsigned_abs()),
                Share::Wait => Verdict::Wait(self.balances.comes_back(payer, AUDIO, ask.need)),
                Share::UsedUp => Verdict::UsedUp(self.balances.comes_back(payer, AUDIO, ask.need)),
            })
            .collect()
    }

    fn keep(&self, connection: &mut AnyConnection, payer: &str, kept: i64, keep: i64) -> Result<(), Error> {
        if keep == kept { Ok(()) } else { cushions::set(connection, &self.instance.id, payer, keep) }
    }
}

fn granted(verdict: &Verdict) -> i64 {
    match verdict {
        Verdict::Granted(samples) => signed(*samples),
        Verdict::Wait(_) | Verdict::UsedUp(_) | Verdict::Lost => 0,
    }
}
