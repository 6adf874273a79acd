//! Numbered audio: speech for measurements, in which every sample tells its number and whose it is.
//!
//! PCM16 at 16 kHz, in blocks of 10 ms. A block begins with a head of [`HEAD`] samples, a byte each (−128…127): two
//! of check sum, four of the stream's number, four of the block's, two of magic, all little endian. The other samples
//! are a ramp, `number % 251 − 125`: −53 dBFS, a pause. While the stream speaks, a square wave of 500 Hz and −21 dBFS
//! is added. Each stream speaks for 1.2 s in every 2 s, shifted by its number, so that all of it is a pure function
//! of stream and sample number: whoever reads it compares.

use std::ops::Range;

/// Samples of a block.
pub const BLOCK: u64 = 160;
/// Samples of a block's head.
pub const HEAD: usize = 12;
/// Samples from one sentence's beginning to the next one's.
pub const CYCLE: u64 = 200 * BLOCK;

const MAGIC: [u8; 2] = [0x5a, 0xc3];
const SPEECH: Range<u64> = 40 * BLOCK..160 * BLOCK;
/// Shifts between streams are multiples of 100 ms.
const SHIFT: u64 = 10 * BLOCK;
const SHIFTS: u64 = 20;
const SWING: i16 = 3_072;
const HALF_WAVE: u64 = 16;
/// Without a head in so many samples, they are no numbered audio.
const PATIENCE: usize = 2 * 160;

/// Where the stream's first cycle begins; it is silent before.
#[must_use]
pub fn shift(stream: u32) -> u64 {
    u64::from(stream) * 7 % SHIFTS * SHIFT
}

/// The sentences among the first `total` samples, whole ones alone.
pub fn sentences(stream: u32, total: u64) -> impl Iterator<Item = Range<u64>> {
    let begin = shift(stream);
    (0..)
        .map(move |cycle| begin + cycle * CYCLE)
        .map(|at| at + SPEECH.start..at + SPEECH.end)
        .take_while(move |sentence| sentence.end <= total)
}

/// Appends the samples from `from` on, as PCM16LE, so many.
pub fn write(stream: u32, from: u64, count: u64, out: &mut Vec<u8>) {
    let (mut at, end) = (from, from + count);
    while at < end {
        let number = at / BLOCK;
        let block = block(stream, number);
        let until = end.min((number + 1) * BLOCK);
        let part = block.get(offset(at)..offset(at) + offset_of(until - at)).unwrap_or_default();
        out.extend(part.iter().flat_map(|sample| sample.to_le_bytes()));
        at = until;
    }
}

/// One block's samples.
#[must_use]
pub fn block(stream: u32, number: u64) -> [i16; 160] {
    let first = number * BLOCK;
    let spoken = speaks(stream, first);
    let mut block = [0; 160];
    for (sample, number) in block.iter_mut().zip(first..) {
        let ramp = i16::try_from(number % 251).unwrap_or_default() - 125;
        let swing = if (number / HALF_WAVE).is_multiple_of(2) { SWING } else { -SWING };
        *sample = if spoken { swing + ramp } else { ramp };
    }
    for (sample, byte) in block.iter_mut().zip(head(stream, number)) {
        *sample = i16::from(i8::from_le_bytes([byte]));
    }
    block
}

fn speaks(stream: u32, number: u64) -> bool {
    number.checked_sub(shift(stream)).is_some_and(|since| SPEECH.contains(&(since % CYCLE)))
}

fn head(stream: u32, number: u64) -> [u8; HEAD] {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut head = [0; HEAD];
    let sum = check(stream, number).to_le_bytes();
    // The sum first: two heads shall differ from their first sample on.
    let bytes = sum.into_iter().chain(stream.to_le_bytes()).chain(number.to_le_bytes()).chain(MAGIC);
    head.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    head
}

fn check(stream: u32, number: u32) -> u16 {
    let mixed = (u64::from(stream) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u16::try_from(mixed >> 48).unwrap_or_default()
}

/// Stream and block of a head at the front of these samples.
fn read_head(samples: &[i16]) -> Option<(u32, u64)> {
    let mut head = [0; HEAD];
    for (byte, sample) in head.iter_mut().zip(samples.get(..HEAD)?) {
        let [low] = i8::try_from(*sample).ok()?.to_le_bytes();
        *byte = low;
    }
    let [c0, c1, s0, s1, s2, s3, n0, n1, n2, n3, first, second] = head;
    let (stream, number) = (u32::from_le_bytes([s0, s1, s2, s3]), u32::from_le_bytes([n0, n1, n2, n3]));
    let sound = [first, second] == MAGIC && u16::from_le_bytes([c0, c1]) == check(stream, number);
    sound.then_some((stream, u64::from(number)))
}

fn offset(number: u64) -> usize {
    offset_of(number % BLOCK)
}

fn offset_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Samples that came one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How many samples of the connection came before, whatever they were.
    pub position: u64,
    /// Their numbers.
    pub numbers: Range<u64>,
}

/// What was heard of numbered audio on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whose audio it is; the first stream's that is heard.
    pub stream: Option<u32>,
    /// In the order of their coming. One run alone: nothing was missing or came twice.
    pub runs: Vec<Run>,
    /// Samples that are of no stream, or of another one.
    pub strange: u64,
}

/// Reads the numbers out of a connection's audio.
#[derive(Debug, Default)]
pub struct Reader {
    heard: Heard,
    /// Samples read so far.
    position: u64,
    next: Option<u64>,
    /// Samples without a number yet: a head will tell.
    unread: Vec<i16>,
}

impl Reader {
    /// What was heard so far.
    #[must_use]
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Takes samples.
    pub fn hear(&mut self, mut samples: &[i16]) {
        while !samples.is_empty() {
            let Some((stream, next)) = self.heard.stream.zip(self.next) else {
                self.unread.extend_from_slice(samples);
                self.find();
                return;
            };
            let block = block(stream, next / BLOCK);
            let expected = block.get(offset(next)..).unwrap_or_default();
            let same = expected.iter().zip(samples).take_while(|(expected, sample)| expected == sample).count();
            let compared = expected.len().min(samples.len());
            self.count(next, same);
            samples = samples.get(same..).unwrap_or_default();
            self.next = (same == compared).then_some(next + length(same));
        }
    }

    /// The numbers between two positions that belong to speech, sentence by sentence.
    #[must_use]
    pub fn spoken(&self, positions: Range<u64>) -> Vec<Range<u64>> {
        let Some(stream) = self.heard.stream else { return Vec::new() };
        let mut spoken = Vec::new();
        for run in &self.heard.runs {
            let ahead = positions.start.saturating_sub(run.position);
            let until = positions.end.saturating_sub(run.position);
            let from = run.numbers.start + ahead;
            let end = run.numbers.end.min(run.numbers.start + until);
            let near = sentences(stream, end + CYCLE).skip_while(|sentence| sentence.end <= from);
            let parts = near.map(|sentence| sentence.start.max(from)..sentence.end.min(end));
            spoken.extend(parts.filter(|part| !part.is_empty()));
        }
        spoken
    }

    fn find(&mut self) {
        let found = (0..self.unread.len()).find_map(|at| {
            read_head(self.unread.get(at..).unwrap_or_default()).map(|(stream, block)| (at, stream, block))
        });
        let Some((at, stream, number)) = found else {
            let surplus = self.unread.len().saturating_sub(PATIENCE);
            self.unread.drain(..surplus);
            self.position += length(surplus);
            self.heard.strange += length(surplus);
            return;
        };
        let mut unread = std::mem::take(&mut self.unread);
        let ours = *self.heard.stream.get_or_insert(stream) == stream;
        if !ours {
            // Another stream's: all up to behind its head is strange, and the search goes on.
            let strange = at + HEAD;
            self.position += length(strange);
            self.heard.strange += length(strange);
            return self.hear(&unread.split_off(strange));
        }
        let first = number * BLOCK;
        let before = (1..=at).take_while(|back| {
            let expected = first.checked_sub(length(*back)).map(|number| sample(stream, number));
            expected.is_some() && expected == unread.get(at - back).copied()
        });
        let known = before.count();
        self.position += length(at - known);
        self.heard.strange += length(at - known);
        self.next = Some(first - length(known));
        self.hear(&unread.split_off(at - known));
    }

    fn count(&mut self, from: u64, count: usize) {
        let count = length(count);
        match self.heard.runs.last_mut().filter(|run| run.numbers.end == from) {
            Some(run) if run.position + (run.numbers.end - run.numbers.start) == self.position => {
                run.numbers.end += count;
            }
            _ if count > 0 => self.heard.runs.push(Run { position: self.position, numbers: from..from + count }),
            _ => {}
        }
        self.position += count;
    }
}

fn sample(stream: u32, number: u64) -> i16 {
    block(stream, number / BLOCK).get(offset(number)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcm(stream: u32, numbers: Range<u64>) -> Vec<i16> {
        let mut bytes = Vec::new();
        write(stream, numbers.start, numbers.end - numbers.start, &mut bytes);
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    fn heard(parts: &[Vec<i16>], chunk: usize) -> Heard {
        let mut reader = Reader::default();
        parts.concat().chunks(chunk).for_each(|samples| reader.hear(samples));
        reader.heard().clone()
    }

    fn numbers(heard: &Heard) -> Vec<(u64, u64)> {
        heard.runs.iter().map(|run| (run.numbers.start, run.numbers.end)).collect()
    }

    #[test]
    fn whatever_the_cuts_every_number_is_read() {
        for chunk in [1, 7, 160, 1_600, 4_001] {
            let all = heard(&[pcm(9, 0..1_037), pcm(9, 1_037..50_000)], chunk);
            assert_eq!((all.stream, numbers(&all), all.strange), (Some(9), vec![(0, 50_000)], 0), "{chunk}");
        }
        assert_eq!(numbers(&heard(&[pcm(3, 33_333..70_001)], 1_600)), [(33_333, 70_001)]);
    }

    #[test]
    fn what_is_missing_and_what_comes_twice_shows() {
        for (cut, back) in [(16_000, 17_600), (16_001, 16_002), (16_000, 14_400), (20_011, 4_999)] {
            let found = heard(&[pcm(1, 0..cut), pcm(1, back..40_000)], 1_600);
            assert_eq!((numbers(&found), found.strange), (vec![(0, cut), (back, 40_000)], 0), "{cut} {back}");
        }
    }

    #[test]
    fn what_is_of_nobody_or_of_another_is_strange() {
        let noise = vec![77; 1_000];
        let found = heard(&[pcm(1, 0..3_200), noise, pcm(1, 3_200..6_400)], 800);
        assert_eq!((numbers(&found), found.strange), (vec![(0, 3_200), (3_200, 6_400)], 1_000));
        let found = heard(&[pcm(1, 0..3_200), pcm(2, 3_200..6_400), pcm(1, 3_200..6_400)], 800);
        assert_eq!((numbers(&found), found.strange), (vec![(0, 3_200), (3_200, 6_400)], 3_200));
    }

    #[test]
    fn speech_is_told_by_its_numbers_where_it_was_heard() {
        let mut reader = Reader::default();
        let total = shift(4) + 3 * CYCLE;
        let all: Vec<_> = sentences(4, total).collect();
        assert_eq!(all.len(), 3);
        reader.hear(&pcm(4, 5..total));
        assert_eq!(reader.spoken(0..total), all);
        let second = all[1].clone();
        let told =
            |until| reader.spoken(all[0].end..until).iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!(told(second.end), [(second.start, second.end)]);
        assert_eq!(told(second.start + 95), [(second.start, second.start + 100)]);
    }

    #[test]
    fn pauses_are_quiet_and_sentences_loud() {
        let level = |numbers: Range<u64>| {
            let samples = pcm(6, numbers);
            let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            20.0 * ((sum / samples.len() as f64).sqrt() / f64::from(i16::MAX)).log10()
        };
        let sentence = sentences(6, u64::MAX).next().unwrap();
        assert!(level(0..sentence.start) < -50.0 && level(sentence) > -25.0);
    }
}
