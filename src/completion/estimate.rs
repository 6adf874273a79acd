//! Tokens guessed from text, where nobody has counted them. Pure.

use memchr::memmem;

/// An image or a recording costs about so much, whatever its size.
const MEDIA: u64 = 1_300;
const DATA_URL: &[u8] = b";base64,";

/// About how many tokens a JSON text is: a quarter of its ASCII characters, all others, so much for each image.
#[must_use]
pub fn tokens(json: &[u8]) -> u64 {
    let (mut rest, mut sum) = (json, 0);
    while let Some(at) = memmem::find(rest, DATA_URL) {
        sum += words(rest.get(..at).unwrap_or_default()) + MEDIA;
        let data = rest.get(at + DATA_URL.len()..).unwrap_or_default();
        let length = memchr::memchr(b'"', data).unwrap_or(data.len());
        rest = data.get(length..).unwrap_or_default();
    }
    sum + words(rest)
}

fn words(text: &[u8]) -> u64 {
    let ascii = text.iter().filter(|byte| byte.is_ascii()).count() as u64;
    // The first byte of each other character.
    let others = text.iter().filter(|byte| **byte >= 0xC0).count() as u64;
    ascii.div_ceil(4) + others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_cost_the_same_whatever_their_size() {
        assert_eq!(tokens(b"abcdefgh"), 2);
        assert_eq!(tokens("翻译".as_bytes()), 2);
        let image = |size: usize| format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "A".repeat(size));
        assert_eq!(tokens(image(10).as_bytes()), tokens(image(100_000).as_bytes()));
    }
}
