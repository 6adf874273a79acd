//! Shows a translation as it happens: a progress bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::screen;
use crate::client::announcement::Announcement;
use crate::client::captions::{Segment, Side};
use crate::client::dialect::INPUT_RATE;
use crate::client::outcome::Update;

/// Without a terminal, a line after so much speech.
const PLAIN_EVERY: u64 = 10 * INPUT_RATE as u64;

/// A view of one translation.
pub struct CaptionView {
    bar: Option<ProgressBar>,
    target: String,
    samples: Option<u64>,
    told: u64,
}

impl CaptionView {
    /// A view of speech into `target`, of so many samples where that is known.
    #[must_use]
    pub fn new(target: &str, samples: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(samples));
        Self { bar, target: target.to_owned(), samples, told: 0 }
    }

    /// Shows an update.
    pub fn show(&mut self, update: &Update<'_>) {
        match update {
            Update::Open | Update::Audio(_) => {}
            Update::Sent(samples) => self.sent(*samples),
            Update::Notice(message) => self.print(screen::note, &format!("the provider says: {message}")),
            Update::Caption(segment, side) => self.caption(segment, *side),
            Update::Announced(announcement) => {
                if let Some(words) = words(announcement) {
                    self.print(screen::note, &words);
                }
            }
            Update::Lost(cause) => self.print(screen::note, &format!("connection lost ({cause}), resuming…")),
            Update::Resumed { after, missing } => self.print(screen::note, &resumed(*after, *missing)),
            Update::Forgetting => {
                let words = "over 60 s of speech wait to be acknowledged; the oldest can't be sent again after a loss";
                self.print(screen::note, words);
            }
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn sent(&mut self, samples: u64) {
        let progress = || match self.samples {
            Some(all) => format!("{} of {} s", tenths(samples), tenths(all)),
            None => format!("{} s", tenths(samples)),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_position(samples);
                bar.set_prefix(progress());
            }
            None if samples >= self.told + PLAIN_EVERY => {
                self.told = samples;
                screen::note(&format!("sent {}", progress()));
            }
            None => {}
        }
    }

    fn caption(&self, segment: &Segment, side: Side) {
        let caption = segment.caption(side);
        let speaker = match side {
            Side::Source => "heard",
            Side::Translation => &self.target,
        };
        if caption.is_final {
            self.print(screen::line, &format!("{:>8}  {speaker:<5}  {}", clock(segment.start_ms), caption.text));
        }
        if let Some(bar) = &self.bar {
            bar.set_message(if caption.is_final { String::new() } else { tail(&caption.text) });
        }
    }

    fn print(&self, to: fn(&str), text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| to(text)),
            None => to(text),
        }
    }
}

/// What people should know of an announcement.
fn words(announcement: &Announcement) -> Option<String> {
    let words = match announcement {
        Announcement::Session { .. } | Announcement::Resumed { .. } | Announcement::Ack { .. } => return None,
        Announcement::Gap { from_seq, to_seq } => {
            format!(
                "{} pieces of translated speech were dropped on a slow connection",
                to_seq + 1 - from_seq.min(to_seq)
            )
        }
        Announcement::Reconnecting => "the gateway reconnects to the provider…".to_owned(),
        Announcement::Reconnected => "the provider is there again; nothing was lost".to_owned(),
        Announcement::Quota { unit, remaining } => {
            format!("the quota is nearly used up: {remaining:.0} {} left", unit.replace('_', " "))
        }
        Announcement::Degraded { mode } => format!("the connection is slow: {mode} only from now on"),
        Announcement::GoingAway { .. } => "this gateway instance goes away, moving to another…".to_owned(),
    };
    Some(words)
}

fn resumed(after: Duration, missing: u64) -> String {
    let lost = if missing == 0 { "nothing was lost".to_owned() } else { lost_speech(missing) };
    format!("resumed after {:.1} s; {lost}", after.as_secs_f64())
}

fn lost_speech(samples: u64) -> String {
    format!("{} s of speech were kept no longer and are lost", tenths(samples))
}

fn bar(samples: Option<u64>) -> ProgressBar {
    let (bar, template) = match samples {
        Some(samples) => (ProgressBar::new(samples), "  {bar:24} {prefix}  {wide_msg}"),
        None => (ProgressBar::new_spinner(), "  {spinner} {prefix}  {wide_msg}"),
    };
    // A template that can't be read is a defect; the plain bar serves as well.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The end of a line, where the news is.
fn tail(text: &str) -> String {
    const LONGEST: usize = 36;
    match text.char_indices().rev().nth(LONGEST - 1) {
        Some((start, _)) if start > 0 => format!("…{}", text.get(start..).unwrap_or_default()),
        _ => text.to_owned(),
    }
}

/// Seconds of 16 kHz samples, to a tenth.
fn tenths(samples: u64) -> String {
    let tenths = samples * 10 / u64::from(INPUT_RATE);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    format!("{}:{:02}.{}", seconds / 60, seconds % 60, milliseconds % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_shows_its_end() {
        assert_eq!(tail("short"), "short");
        assert_eq!(tail(&"天".repeat(36)), "天".repeat(36));
        assert_eq!(tail(&format!("{}end", "天".repeat(36))), format!("…{}end", "天".repeat(33)));
    }

    #[test]
    fn times_for_people() {
        assert_eq!((clock(61_250).as_str(), clock(3_600_000).as_str()), ("1:01.2", "60:00.0"));
        assert_eq!(tenths(125_328), "7.8");
        assert_eq!(resumed(Duration::from_millis(1_234), 0), "resumed after 1.2 s; nothing was lost");
        let lost = "resumed after 70.0 s; 10.0 s of speech were kept no longer and are lost";
        assert_eq!(resumed(Duration::from_secs(70), 160_000), lost);
    }
}
