//! Where a text can be cut without cutting a finding in two.
//!
//! Detection works on segments. Where one ends depends only on what stands before in it, so a text that arrives in pieces has
//! the same segments, hence the same findings, as the whole: that is what makes streaming safe.

/// Longest segment in bytes; a longer run without a place to cut is cut here. No detector matches more, but key blocks.
const LONGEST: usize = 4_096;
/// Longest key block in bytes.
const LONGEST_BLOCK: usize = 16_384;
/// Longest address with other letters in bytes.
const LONGEST_ADDRESS: usize = 1_024;
const BLOCK: &str = "-----BEGIN ";
const BLOCK_END: &str = "-----END ";

/// Returns the length of the first segment; `None` while it may still grow.
///
/// A segment ends behind white space, unless the word before it has a digit: card numbers, phone numbers and account numbers
/// are written in groups. It ends behind any character that is not ASCII: no detector's match holds one, but addresses of the web
/// do, up to [`LONGEST_ADDRESS`]. A key block stays whole.
pub(crate) fn first(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if text.starts_with(BLOCK) {
        return block(text);
    }
    let mut digit = false;
    // Where a `//` stands in the present word.
    let mut address = None;
    for (at, &byte) in bytes.iter().enumerate() {
        let next = at + 1;
        match byte {
            b'/' if at > 0 && bytes[at - 1] == b'/' => address = address.or(Some(at)),
            b'0'..=b'9' => digit = true,
            b'-' if at > 0 && bytes[at - 1] != b'-' && text[at..].starts_with(BLOCK) => return Some(at),
            // What follows decides whether a key block begins here.
            b'-' if at > 0 && bytes[at - 1] != b'-' && BLOCK.starts_with(&text[at..]) => return None,
            128..
                if text.is_char_boundary(next)
                    && (address.is_none_or(|from| next - from > LONGEST_ADDRESS)
                        || ends_address(&text[..next])) =>
            {
                return Some(next);
            }
            byte if byte.is_ascii_whitespace() => {
                address = None;
                if !digit {
                    return Some(next);
                }
                // The next word decides for itself; line ends always separate.
                if byte == b'\n' {
                    return Some(next);
                }
                digit = false;
                let rest = &bytes[next..];
                let grouped = |b: &u8| {
                    b.is_ascii_digit() || matches!(b, b'(' | b'+' | b'-' | b'.') || b.is_ascii_uppercase()
                };
                match rest.first() {
                    Some(b) if grouped(b) => {}
                    Some(_) => return Some(next),
                    None => return None,
                }
            }
            _ => {}
        }
        if next >= LONGEST && text.is_char_boundary(next) {
            return Some(next);
        }
    }
    None
}

/// Whether a text ends in a mark of a script without spaces, which no address holds.
fn ends_address(text: &str) -> bool {
    text.ends_with(|c: char| matches!(c, '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff0f}'))
}

fn block(text: &str) -> Option<usize> {
    // Only so far as every piece-wise reader has seen when it must cut.
    let window = &text[..text.floor_char_boundary(LONGEST_BLOCK)];
    let end = window.find(BLOCK_END).map(|at| at + BLOCK_END.len());
    let close = end.and_then(|end| window[end..].find("-----").map(|close| end + close + 5));
    close.or_else(|| (text.len() >= LONGEST_BLOCK).then_some(window.len()))
}

/// The segments of a whole text, each with its offset.
#[cfg(test)]
pub(crate) fn all(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let length = first(rest).filter(|length| *length > 0).unwrap_or(rest.len());
        let found = (at, &rest[..length]);
        at += length;
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Vec<&str> {
        all(text).map(|(_, segment)| segment).collect()
    }

    #[test]
    fn words_stand_alone_and_groups_of_digits_together() {
        assert_eq!(of("Hello big world"), ["Hello ", "big ", "world"]);
        assert_eq!(of("card 4111 1111 1111 1111 please"), ["card ", "4111 1111 1111 1111 ", "please"]);
        assert_eq!(of("a 5 apples"), ["a ", "5 ", "apples"]);
        assert_eq!(of("größe"), ["grö", "ß", "e"]);
        assert_eq!(of("see https://x.test/größe?q=ü ok"), ["see ", "https://x.test/größe?q=ü ", "ok"]);
        assert_eq!(of("https://x.test/a。好"), ["https://x.test/a。", "好"]);
    }

    #[test]
    fn a_key_block_stays_whole() {
        let block = "-----BEGIN RSA PRIVATE KEY-----\nMIIE 123\nabc\n-----END RSA PRIVATE KEY-----";
        assert_eq!(of(&format!("key: {block} ok")), ["key: ", block, " ", "ok"]);
    }

    proptest! {
        /// What arrives in pieces has the segments of the whole.
        #[test]
        fn pieces_have_the_segments_of_the_whole(
            text in "([a-z]{1,6}[ ,]|//|[0-9]{1,4}[ -]|é|\\(|\\n|-----BEGIN |-----END A-----|@){0,40}",
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| text.floor_char_boundary(c.min(text.len()))).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut held, mut pieces) = (String::new(), Vec::new());
            for pair in cuts.windows(2) {
                held.push_str(&text[pair[0]..pair[1]]);
                while let Some(length) = first(&held).filter(|l| *l > 0) {
                    pieces.push(held.drain(..length).collect::<String>());
                }
            }
            pieces.extend(all(&held).map(|(_, s)| s.to_owned()));
            prop_assert_eq!(pieces, of(&text));
        }
    }
}
