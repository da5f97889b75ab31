//! Windows of sentences: a long text around an attack must not dilute it.

/// Bytes of a window of a direct prompt: what the embedding model reads well.
const DIRECT: usize = 420;
/// Bytes of a window of what tools and files bring: an injected sentence stands alone.
const INDIRECT: usize = 160;
/// Windows that are looked at; of a longer text, the first and the last.
pub(crate) const MOST: usize = 1_024;

/// Cuts a text into windows of whole sentences. Linear in its length.
pub(crate) fn of(text: &str, indirect: bool) -> Vec<&str> {
    let size = if indirect { INDIRECT } else { DIRECT };
    let text = text.trim();
    if text.len() <= size {
        return vec![text];
    }
    let mut windows = Vec::new();
    let mut start = 0;
    let mut end = 0;
    for sentence in sentences(text) {
        if end > start && sentence.end - start > size {
            windows.push(text[start..end].trim());
            start = end;
        }
        end = sentence.end;
        // A sentence longer than a window is cut.
        while end - start > 2 * size {
            let cut = text.floor_char_boundary(start + size);
            windows.push(text[start..cut].trim());
            start = cut;
        }
    }
    windows.push(text[start..].trim());
    windows.retain(|window| window.len() > 2);
    if windows.len() > MOST {
        let last = windows.split_off(windows.len() - MOST / 3);
        windows.truncate(MOST - MOST / 3);
        windows.extend(last);
    }
    windows
}

/// Where sentences end: behind a mark and white space, or a line's end.
fn sentences(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        let ends = |at: &usize| {
            bytes[*at] == b'\n'
                || matches!(bytes[*at], b'.' | b'!' | b'?' | b'|')
                    && bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace)
                || bytes[*at..].starts_with("。".as_bytes())
        };
        let end = (start..bytes.len()).find(ends).map_or(bytes.len(), |at| text.ceil_char_boundary(at + 1));
        let sentence = start..end;
        start = end;
        Some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_one_window_and_long_ones_keep_their_sentences() {
        assert_eq!(of(" Hello there. ", false), ["Hello there."]);
        let long = "One sentence of words. ".repeat(40);
        let windows = of(&long, false);
        assert!(windows.len() > 1 && windows.iter().all(|w| w.len() <= 2 * DIRECT && w.ends_with('.')));
        assert!(of(&"x".repeat(1_000_000), false).len() == MOST);
        assert!(of(&"größe ".repeat(100_000), true).len() == MOST);
    }
}
