//! What a resumable client was sent and may not have received, counted; and what it was not sent yet. Pure.

use std::collections::VecDeque;

use super::frames::Frame;

/// Kept for a client that may come back, bytes.
pub const REPLAY_LIMIT: usize = 2 << 20;
/// What an event costs beside its content.
const OVERHEAD: usize = 48;
/// Audio kept for a client that is there and takes nothing, bytes.
const UNSENT_AUDIO_LIMIT: usize = 256 * 1024;

/// The counted events of one epoch, from the first that the client has not confirmed.
#[derive(Debug, Default)]
pub struct Replay {
    events: VecDeque<Kept>,
    /// The number of the last event that was forgotten.
    forgotten: u64,
    /// The number of the last event that was handed to the socket.
    sent: u64,
    memory: usize,
    /// Audio among what was not sent yet, bytes.
    unsent_audio: usize,
}

#[derive(Debug)]
struct Kept {
    /// `None`: dropped audio, which still counts.
    frame: Option<Frame>,
    audio: bool,
}

/// What the client gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Frame(Frame),
    /// Audio that was dropped, from and to these numbers.
    Gap(u64, u64),
}

impl Replay {
    /// Counts an event; returns its number. `audio`: it may be dropped.
    pub fn push(&mut self, frame: Frame, audio: bool) -> u64 {
        self.memory += frame.len() + OVERHEAD;
        if audio {
            self.unsent_audio += frame.len();
        }
        self.events.push_back(Kept { frame: Some(frame), audio });
        if self.memory > REPLAY_LIMIT {
            self.spare();
        }
        self.last()
    }

    /// The number of the last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.forgotten + self.events.len() as u64
    }

    /// The number of the last event that was handed to the socket.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether something was not handed to the socket yet.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.sent < self.last()
    }

    /// What it holds, bytes of memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Takes what the client gets next; [`Replay::sent`] moves on.
    pub fn take_next(&mut self) -> Option<Next> {
        let first = self.place(self.sent + 1)?;
        let Some(frame) = &self.events.get(first)?.frame else {
            let dropped = self.events.iter().skip(first).take_while(|kept| kept.frame.is_none()).count() as u64;
            let from = self.sent + 1;
            self.sent += dropped;
            return Some(Next::Gap(from, self.sent));
        };
        let frame = frame.clone();
        if self.events.get(first).is_some_and(|kept| kept.audio) {
            self.unsent_audio = self.unsent_audio.saturating_sub(frame.len());
        }
        self.sent += 1;
        Some(Next::Frame(frame))
    }

    /// The client has everything up to this number.
    pub fn received(&mut self, number: u64) {
        while self.forgotten < number.min(self.sent) {
            self.forget_first();
        }
    }

    /// Whether a client that has everything up to this number can go on.
    #[must_use]
    pub fn reaches(&self, number: u64) -> bool {
        (self.forgotten..=self.last()).contains(&number)
    }

    /// A client that has everything up to this number is sent the rest again.
    pub fn rewind(&mut self, number: u64) {
        self.received(number);
        self.sent = number.clamp(self.forgotten, self.last());
        let waiting = self.place(self.sent + 1).map_or(self.events.len(), |first| first);
        let audio = self.events.iter().skip(waiting).filter(|kept| kept.audio);
        self.unsent_audio = audio.filter_map(|kept| kept.frame.as_ref()).map(Frame::len).sum();
    }

    /// The client is there and takes nothing: the oldest audio that it was not sent goes, beyond a limit,
    /// or all of it.
    pub fn shed(&mut self, all: bool) {
        let limit = if all { 0 } else { UNSENT_AUDIO_LIMIT };
        if self.unsent_audio > limit {
            let first = self.place(self.sent + 1).unwrap_or(self.events.len());
            self.drop_audio_within(self.unsent_audio - limit, first..self.events.len());
        }
    }

    /// The client takes nothing: what it was sent waits in its socket, and audio needs no second copy.
    pub fn drop_sent_audio(&mut self) {
        let unsent = self.place(self.sent + 1).unwrap_or(self.events.len());
        self.drop_audio_within(usize::MAX, 0..unsent);
    }

    /// Memory is short: all audio goes.
    pub fn drop_all_audio(&mut self) {
        self.drop_audio_within(usize::MAX, 0..self.events.len());
    }

    fn place(&self, number: u64) -> Option<usize> {
        let index = number.checked_sub(self.forgotten + 1).and_then(|index| usize::try_from(index).ok())?;
        (index < self.events.len()).then_some(index)
    }

    /// Drops the oldest audio within these places, `bytes` of it at least.
    fn drop_audio_within(&mut self, bytes: usize, places: std::ops::Range<usize>) {
        let unsent = self.place(self.sent + 1).unwrap_or(self.events.len());
        let mut dropped = 0;
        let within = self.events.iter_mut().enumerate().take(places.end).skip(places.start);
        for (index, kept) in within.filter(|(_, kept)| kept.audio) {
            if dropped >= bytes {
                break;
            }
            let length = kept.frame.take().map_or(0, |frame| frame.len());
            dropped += length;
            if index >= unsent {
                self.unsent_audio = self.unsent_audio.saturating_sub(length);
            }
        }
        self.memory -= dropped;
    }

    /// Beyond the limit: audio goes that was sent, then all that was sent and that a client never confirmed, then
    /// audio that waits. More than needed at a time, so that it isn't looked for with every event.
    fn spare(&mut self) {
        let target = REPLAY_LIMIT / 8 * 7;
        let unsent = self.place(self.sent + 1).unwrap_or(self.events.len());
        self.drop_audio_within(self.memory.saturating_sub(target), 0..unsent);
        if self.memory <= REPLAY_LIMIT {
            return;
        }
        while self.memory > target && self.forgotten < self.sent {
            self.forget_first();
        }
        if self.memory > REPLAY_LIMIT {
            self.drop_audio_within(self.memory - target, 0..self.events.len());
        }
    }

    fn forget_first(&mut self) {
        if let Some(kept) = self.events.pop_front() {
            self.forgotten += 1;
            self.memory -= OVERHEAD + kept.frame.map_or(0, |frame| frame.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize) -> Frame {
        Frame::Text("x".repeat(length).into())
    }

    fn drain(replay: &mut Replay) -> Vec<Next> {
        std::iter::from_fn(|| replay.take_next()).collect()
    }

    #[test]
    fn who_comes_back_gets_the_rest() {
        let mut replay = Replay::default();
        for length in 1..=5 {
            replay.push(frame(length), false);
        }
        assert_eq!(drain(&mut replay).len(), 5);
        replay.received(2);
        assert!(replay.reaches(2) && replay.reaches(5) && !replay.reaches(1) && !replay.reaches(6));
        replay.rewind(3);
        assert_eq!(drain(&mut replay), [Next::Frame(frame(4)), Next::Frame(frame(5))]);
        replay.received(100);
        assert_eq!((replay.memory(), replay.last()), (0, 5));
    }

    #[test]
    fn text_is_never_dropped_for_a_slow_client() {
        let mut replay = Replay::default();
        for _ in 0..40 {
            replay.push(frame(10_000), true);
            replay.push(frame(10), false);
            replay.shed(false);
        }
        assert!(replay.memory() <= UNSENT_AUDIO_LIMIT + 400 + 80 * OVERHEAD, "{}", replay.memory());
        let all = drain(&mut replay);
        assert_eq!(all.first(), Some(&Next::Gap(1, 1)));
        assert_eq!(all.iter().filter(|next| **next == Next::Frame(frame(10))).count(), 40);
    }

    #[test]
    fn a_client_that_never_confirms_loses_its_oldest_audio_first() {
        let mut replay = Replay::default();
        for _ in 0..300 {
            replay.push(frame(10_000), true);
            replay.push(frame(100), false);
            drain(&mut replay);
        }
        assert!(replay.memory() <= REPLAY_LIMIT);
        assert!(replay.reaches(0), "text is still there");
        replay.rewind(0);
        assert_eq!(drain(&mut replay).iter().filter(|next| **next == Next::Frame(frame(100))).count(), 300);
    }

    #[test]
    fn a_client_that_never_confirms_text_still_hears() {
        let mut replay = Replay::default();
        for _ in 0..300 {
            replay.push(frame(10_000), false);
            drain(&mut replay);
        }
        replay.push(frame(4_000), true);
        assert_eq!(drain(&mut replay), [Next::Frame(frame(4_000))]);
    }

    proptest! {
        #[test]
        fn every_number_comes_once(steps in prop::collection::vec((0_u8..6, 1_usize..60_000), 1..300)) {
            let mut replay = Replay::default();
            let (mut client, mut received) = (0, 0);
            for (kind, size) in steps {
                match kind {
                    0 | 1 => drop(replay.push(frame(size), kind == 0)),
                    2 => replay.shed(size % 2 == 0),
                    3 => {
                        received = client;
                        replay.received(received);
                    }
                    4 if replay.reaches(received) => {
                        client = received;
                        replay.rewind(client);
                    }
                    _ => {
                        match replay.take_next() {
                            Some(Next::Frame(_)) => client += 1,
                            Some(Next::Gap(from, to)) => {
                                prop_assert_eq!(from, client + 1);
                                client = to;
                            }
                            None => prop_assert_eq!(client, replay.last()),
                        }
                    }
                }
                prop_assert_eq!(replay.sent(), client);
                let frames = replay.events.iter().filter_map(|kept| kept.frame.as_ref());
                let content: usize = frames.map(Frame::len).sum();
                prop_assert_eq!(content + replay.events.len() * OVERHEAD, replay.memory());
                prop_assert!(replay.memory() <= REPLAY_LIMIT + 60_000 * 300);
            }
        }
    }
}
