//! Subtitles of a finished transcript: SubRip (SRT) and WebVTT. Pure.

use super::captions::Segment;
use super::wrap;

/// Columns of a line at most.
const LONGEST_LINE: usize = 42;
/// Lines shown at once at most.
const LINES: usize = 2;
/// How long a column stays to be read, where the end of the speech is not known, milliseconds.
const READING_MS: u64 = 60;
/// The shortest time a text is shown, where the speech allows it, milliseconds.
const SHORTEST_MS: u64 = 1_000;

/// A text and when it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// Appears, milliseconds into the audio sent.
    pub start_ms: u64,
    /// Disappears; later than `start_ms`, no later than the next cue's start.
    pub end_ms: u64,
    /// The lines.
    pub lines: Vec<String>,
}

/// The final translations as cues: in order, never two at once, long ones in several parts.
#[must_use]
pub fn cues(segments: &[Segment]) -> Vec<Cue> {
    let mut spoken: Vec<&Segment> = segments.iter().filter(|segment| segment.translation.is_final).collect();
    spoken.sort_by_key(|segment| segment.start_ms);
    let starts: Vec<u64> = spoken.iter().map(|segment| segment.start_ms).skip(1).collect();
    let mut cues: Vec<Cue> = Vec::new();
    for (number, segment) in spoken.iter().enumerate() {
        let lines = wrap::lines(&segment.translation.text, LONGEST_LINE);
        let read_ms = SHORTEST_MS.max(READING_MS * lines.iter().map(|line| wrap::width(line) as u64).sum::<u64>());
        let start_ms = segment.start_ms.max(cues.last().map_or(0, |cue| cue.end_ms));
        let wished_ms = segment.end_ms.unwrap_or(start_ms + read_ms).max(start_ms + SHORTEST_MS);
        let next_ms = starts.get(number).copied().unwrap_or(u64::MAX);
        let parts = lines.chunks(LINES).count() as u64;
        // Each part needs a millisecond of its own, also where segments begin together.
        let end_ms = wished_ms.min(next_ms).max(start_ms + parts);
        cues.extend(parts_of(&lines, start_ms, end_ms));
    }
    cues
}

/// Parts of a few lines, each shown for its share of the time.
fn parts_of(lines: &[String], start_ms: u64, end_ms: u64) -> Vec<Cue> {
    let columns = |lines: &[String]| lines.iter().map(|line| wrap::width(line) as u64).sum::<u64>();
    let (whole, parts) = (columns(lines).max(1), lines.chunks(LINES).count() as u64);
    let spare_ms = end_ms.saturating_sub(start_ms).saturating_sub(parts);
    let (mut shown, mut cues) = (0, Vec::new());
    for (number, part) in (1..).zip(lines.chunks(LINES)) {
        let begin_ms = cues.last().map_or(start_ms, |cue: &Cue| cue.end_ms);
        shown += columns(part);
        cues.push(Cue {
            start_ms: begin_ms,
            end_ms: start_ms + number + spare_ms * shown / whole,
            lines: part.to_vec(),
        });
    }
    cues
}

/// The cues as a SubRip file.
#[must_use]
pub fn srt(cues: &[Cue]) -> String {
    let mut file = String::new();
    for (number, cue) in (1..).zip(cues) {
        let (start, end) = (time(cue.start_ms, ','), time(cue.end_ms, ','));
        // SubRip has no escapes; an arrow is all that readers could take for a time line.
        let text = cue.lines.join("\n").replace("-->", "→");
        file.push_str(&format!("{number}\n{start} --> {end}\n{text}\n\n"));
    }
    file
}

/// The cues as a WebVTT file.
#[must_use]
pub fn vtt(cues: &[Cue]) -> String {
    let mut file = String::from("WEBVTT\n\n");
    for (number, cue) in (1..).zip(cues) {
        let (start, end) = (time(cue.start_ms, '.'), time(cue.end_ms, '.'));
        let text = cue.lines.join("\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        file.push_str(&format!("{number}\n{start} --> {end}\n{text}\n\n"));
    }
    file
}

fn time(milliseconds: u64, point: char) -> String {
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    format!("{:02}:{:02}:{:02}{point}{rest:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::captions::Caption;

    fn segment(start_ms: u64, end_ms: Option<u64>, text: &str) -> Segment {
        let translation = Caption { text: text.to_owned(), is_final: true, ..Caption::default() };
        Segment { start_ms, end_ms, translation, ..Segment::default() }
    }

    #[test]
    fn a_file_of_each_kind() {
        let cues = cues(&[segment(40, Some(4_600), "Tom & <Jerry> --> walk"), segment(3_661_007, None, "Go.")]);
        assert_eq!(
            srt(&cues),
            "1\n00:00:00,040 --> 00:00:04,600\nTom & <Jerry> → walk\n\n\
             2\n01:01:01,007 --> 01:01:02,007\nGo.\n\n"
        );
        assert_eq!(
            vtt(&cues),
            "WEBVTT\n\n1\n00:00:00.040 --> 00:00:04.600\nTom &amp; &lt;Jerry&gt; --&gt; walk\n\n\
             2\n01:01:01.007 --> 01:01:02.007\nGo.\n\n"
        );
        assert_eq!(vtt(&[]), "WEBVTT\n\n");
    }

    #[test]
    fn cues_are_in_order_and_never_overlap() {
        let unfinished = Segment { translation: Caption::default(), ..segment(0, None, "") };
        let long = "word ".repeat(60);
        let segments = [
            segment(5_000, Some(9_000), "later"),
            segment(1_000, Some(7_000), "sooner"),
            unfinished,
            segment(9_000, Some(9_100), &long),
            segment(9_050, Some(9_060), &long),
            segment(9_050, None, "at once"),
            segment(20_000, Some(19_000), "ends before it begins"),
        ];
        let cues = cues(&segments);
        assert_eq!(cues[0], Cue { start_ms: 1_000, end_ms: 5_000, lines: vec!["sooner".to_owned()] });
        assert!(cues.iter().all(|cue| cue.start_ms < cue.end_ms), "{cues:?}");
        assert!(cues.windows(2).all(|pair| pair[0].end_ms <= pair[1].start_ms), "{cues:?}");
        assert!(cues.iter().all(|cue| cue.lines.len() <= 2 && cue.lines.iter().all(|line| line.len() <= 42)));
        let words: usize = cues.iter().flat_map(|cue| &cue.lines).map(|line| line.matches("word").count()).sum();
        assert_eq!((words, cues.last().unwrap().lines.as_slice()), (120, &["ends before it begins".to_owned()][..]));
    }

    #[test]
    fn a_long_segment_is_shown_in_parts_by_their_share() {
        let sentence = "one two three four five six seven eight nine ten ".repeat(4);
        let cues = cues(&[segment(0, Some(30_000), &sentence)]);
        let times: Vec<_> = cues.iter().map(|cue| (cue.start_ms, cue.end_ms)).collect();
        let columns = cues.iter().map(|cue| cue.lines.iter().map(String::len).sum::<usize>()).collect::<Vec<_>>();
        assert_eq!(columns, [81, 81, 29]);
        assert_eq!(times, [(0, 12_722), (12_722, 25_444), (25_444, 30_000)]);
    }
}
