//! The session's ear: base64 in, 20 ms windows through the detector, and the few samples still needed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::events::Refusal;
use super::numbered::{Heard as Numbers, Reader};
use super::tuning::Tuning;
use super::vad::{Heard, Vad, WINDOW_MS};
use super::view::View;

/// In manual mode, audio beyond this is counted but not spoken.
const LONGEST_HELD_MS: usize = 60_000;

/// What the detector made of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A sentence began; its samples so far are held.
    Started {
        /// On the session's audio clock.
        from_ms: u64,
    },
    /// The sentence goes on; its samples since the last change are held.
    Voiced {
        /// End of the last loud window.
        until_ms: u64,
    },
    /// The sentence ended.
    Stopped {
        /// End of the last loud window.
        until_ms: u64,
    },
}

/// How far the windows of one append were heard.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    at: usize,
}

/// Audio on its way in.
#[derive(Debug)]
pub struct Hearing {
    vad: Vad,
    /// Decoded bytes, less than a window between two appends.
    raw: Vec<u8>,
    window: Vec<i16>,
    held: Vec<i16>,
    speaking: bool,
    /// All audio and that of the uncommitted buffer, in 1/16000 s.
    heard: u64,
    uncommitted: u64,
    /// Reads numbered audio, and how far its sentences were told.
    numbers: Option<Reader>,
    told: u64,
}

impl Hearing {
    /// An ear for a new session.
    #[must_use]
    pub fn new(tuning: &Tuning, view: &View) -> Self {
        let turn = view.turn;
        let (silence_ms, padding_ms) = turn.map_or((1000, 0), |turn| (turn.silence_ms, turn.padding_ms));
        Self {
            vad: Vad::new(tuning.threshold_dbfs, silence_ms, padding_ms),
            raw: Vec::new(),
            window: Vec::new(),
            held: Vec::new(),
            speaking: false,
            heard: 0,
            uncommitted: 0,
            numbers: tuning.numbered.then(Reader::default),
            told: 0,
        }
    }

    /// All audio accepted so far.
    #[must_use]
    pub fn heard_ms(&self) -> u64 {
        self.heard / 16
    }

    /// The length of the buffer that a commit would take; `None` when it is empty.
    #[must_use]
    pub fn uncommitted_ms(&self) -> Option<u64> {
        (self.uncommitted > 0).then_some(self.uncommitted / 16)
    }

    /// The detector's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.vad.now_ms()
    }

    /// Samples that belong to the sentence and weren't taken yet.
    #[must_use]
    pub fn held(&self) -> &[i16] {
        &self.held
    }

    /// Forgets the held samples: they were taken.
    pub fn release(&mut self) {
        self.held.clear();
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.held.clear();
        self.uncommitted = 0;
    }

    /// Ends a sentence that goes on; returns the end of its last loud window.
    pub fn stop(&mut self) -> Option<u64> {
        self.held.clear();
        self.speaking = false;
        self.vad.stop()
    }

    /// Obeys changed settings.
    pub fn tune(&mut self, view: &View) {
        self.clear();
        if let Some(turn) = view.turn {
            self.vad.tune(turn.silence_ms, turn.padding_ms);
        }
    }

    /// Decodes an append; returns its bytes.
    ///
    /// # Errors
    /// When it is no base64; nothing is taken then.
    pub fn append(&mut self, audio: &str, view: &View) -> Result<usize, Refusal> {
        let before = self.raw.len();
        if STANDARD.decode_vec(audio, &mut self.raw).is_err() {
            self.raw.truncate(before);
            return Err(Refusal::value("audio", "Invalid audio: it is not base64."));
        }
        let bytes = self.raw.len() - before;
        if view.compressed {
            self.raw.clear();
        } else {
            let units = u64::try_from(bytes / 2).unwrap_or(0) * (16_000 / u64::from(view.rate));
            self.heard += units;
            self.uncommitted += units;
            if let Some(reader) = &mut self.numbers {
                let samples: Vec<i16> =
                    self.raw.get(before..).unwrap_or_default().chunks_exact(2).map(sample).collect();
                reader.hear(&samples);
            }
        }
        Ok(bytes)
    }

    /// What was read of numbered audio, where it is expected.
    #[must_use]
    pub fn numbers(&self) -> Option<&Numbers> {
        self.numbers.as_ref().map(Reader::heard)
    }

    /// The first number of the sentence that was just heard to begin.
    #[must_use]
    pub fn spoken_from(&self, windows: &Windows) -> Option<u64> {
        let spoken = self.numbers.as_ref()?.spoken(self.told..self.position(windows));
        spoken.first().map(|part| part.start)
    }

    /// The numbers of the sentence that ended in these windows, as text: `s8000-27200`, the last one exclusive.
    pub fn tell(&mut self, windows: &Windows) -> Option<String> {
        let until = self.position(windows);
        let spoken = self.numbers.as_ref()?.spoken(self.told..until);
        self.told = until;
        let parts: Vec<String> = spoken.iter().map(|part| format!("s{}-{}", part.start, part.end)).collect();
        Some(parts.join(" "))
    }

    /// Samples of the connection before the first that these windows didn't take.
    fn position(&self, windows: &Windows) -> u64 {
        let ahead = self.raw.len().saturating_sub(windows.at) / 2;
        self.heard.saturating_sub(u64::try_from(ahead).unwrap_or(0))
    }

    /// A mark at the first window that wasn't heard.
    #[must_use]
    pub fn windows(&self) -> Windows {
        Windows { at: 0 }
    }

    /// Hears on until something changes; `None` when less than a window is left.
    pub fn next(&mut self, windows: &mut Windows, view: &View) -> Option<Change> {
        let per_second = usize::try_from(view.rate).unwrap_or(16_000);
        let samples = per_second / 50;
        loop {
            let end = windows.at + samples * 2;
            let Some(bytes) = self.raw.get(windows.at..end) else {
                self.raw.drain(..windows.at.min(self.raw.len()));
                windows.at = 0;
                return None;
            };
            windows.at = end;
            self.window.clear();
            self.window.extend(bytes.chunks_exact(2).map(sample));
            if view.spoken && self.held.len() < LONGEST_HELD_MS * per_second / 1000 {
                self.held.extend_from_slice(&self.window);
            }
            if view.turn.is_none() {
                continue;
            }
            if let Some(change) = self.judge(per_second, view) {
                return Some(change);
            }
        }
    }

    fn judge(&mut self, per_second: usize, view: &View) -> Option<Change> {
        match self.vad.window(&self.window) {
            Heard::Nothing => {
                if !self.speaking {
                    let padding_ms = view.turn.map_or(0, |turn| turn.padding_ms) + 2 * WINDOW_MS;
                    self.keep(padding_ms, per_second);
                }
                None
            }
            Heard::Started { from_ms } => {
                self.speaking = true;
                self.keep(self.vad.now_ms() - from_ms, per_second);
                Some(Change::Started { from_ms })
            }
            Heard::Voiced { until_ms } => Some(Change::Voiced { until_ms }),
            Heard::Stopped { until_ms } => {
                self.speaking = false;
                self.held.clear();
                Some(Change::Stopped { until_ms })
            }
        }
    }

    /// Forgets all but the last `ms` of what is held.
    fn keep(&mut self, ms: u64, per_second: usize) {
        let count = usize::try_from(ms).unwrap_or(usize::MAX).saturating_mul(per_second) / 1000;
        let surplus = self.held.len().saturating_sub(count);
        self.held.drain(..surplus);
    }
}

fn sample(pair: &[u8]) -> i16 {
    <[u8; 2]>::try_from(pair).map_or(0, i16::from_le_bytes)
}
