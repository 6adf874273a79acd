//! Breaks a caption into lines of a bounded width; wide (East Asian) characters count twice.

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Lines of at most `longest` columns, broken at spaces and between wide characters.
pub(super) fn lines(text: &str, longest: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for piece in pieces(text, longest) {
        let glued = piece.trim_start();
        if line.is_empty() {
            line.push_str(glued);
        } else if width(&line) + width(&piece) <= longest {
            line.push_str(&piece);
        } else {
            lines.push(std::mem::replace(&mut line, glued.to_owned()));
        }
    }
    lines.extend(Some(line).filter(|line| !line.is_empty()));
    lines
}

/// What must not be torn: words with one space before, wide characters with the punctuation behind them.
fn pieces(text: &str, longest: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut before = None;
        let mut piece = String::from(" ");
        for character in word.chars() {
            let apart = before.is_some_and(|last| is_wide(last) || is_wide(character)) && !closes(character);
            if apart || width(piece.trim_start()) + columns(character) > longest {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.push(character);
            before = Some(character);
        }
        pieces.push(piece);
    }
    pieces
}

fn columns(character: char) -> usize {
    if is_wide(character) { 2 } else { 1 }
}

/// Chinese, Japanese and Korean characters and their punctuation, and emoji.
fn is_wide(character: char) -> bool {
    matches!(u32::from(character),
        0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE4F
        | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
}

/// Punctuation that must not begin a line.
fn closes(character: char) -> bool {
    "。，、！？；：）」』】》…,.!?;:)]}".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_grow_too_long() {
        assert_eq!(lines("  The  weather is\nnice ", 11), ["The weather", "is nice"]);
        assert_eq!(lines("", 11), Vec::<String>::new());
        assert_eq!(lines("abcdefghijkl mn", 5), ["abcde", "fghij", "kl mn"]);
    }

    #[test]
    fn wide_characters_count_twice_and_keep_their_punctuation() {
        assert_eq!(lines("今天天气很好。", 12), ["今天天气很", "好。"]);
        assert_eq!(lines("今天 OK 好", 7), ["今天 OK", "好"]);
        assert_eq!(width("天a"), 3);
    }
}
