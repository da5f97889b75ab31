//! Text as the patterns read it.

use unicode_normalization::UnicodeNormalization as _;

use super::{Map, Reading, Trace, is_invisible, look_alike};

/// Folds what attackers vary: letter case, compatibility forms, accents, invisible characters, look-alikes, white space,
/// letters spaced out.
pub(crate) fn normalise(text: &str) -> String {
    let folded = fold(text, &mut ());
    match spaced(&folded) {
        true => join_spaced(&folded, &mut ()),
        false => folded,
    }
}

/// The same, with the way back to the text.
pub(crate) fn read(text: &str) -> Reading {
    let mut map = Map::default();
    let folded = Reading::new(fold(text, &mut map), map);
    if !spaced(&folded.text) {
        return folded;
    }
    let mut map = Map::default();
    let joined = join_spaced(&folded.text, &mut map);
    folded.again(Reading::new(joined, map))
}

fn fold(text: &str, trace: &mut impl Trace) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut space = true;
    if text.is_ascii() {
        for (at, b) in text.bytes().enumerate() {
            let is_space = b.is_ascii_whitespace();
            if !(space && is_space) {
                trace.copy(plain.len(), 1, at);
                plain.push(if is_space { ' ' } else { char::from(b.to_ascii_lowercase()) });
            }
            space = is_space;
        }
        return plain;
    }
    for (at, c) in text.char_indices() {
        let from = at..at + c.len_utf8();
        let begin = plain.len();
        for c in std::iter::once(c).nfkd() {
            // Combining marks, and what cannot be seen.
            if matches!(c, '\u{300}'..='\u{36f}') || is_invisible(c) {
                continue;
            }
            if c.is_whitespace() {
                if !space {
                    plain.push(' ');
                }
                space = true;
            } else {
                plain.extend(c.to_lowercase().map(look_alike));
                space = false;
            }
        }
        if plain.len() - begin == from.len() && c.is_ascii() {
            trace.copy(begin, 1, at);
        } else if plain.len() > begin {
            trace.stand_for(begin, from);
        }
    }
    plain
}

/// Joins runs of four and more single letters (`i g n o r e`); two spaces were a word's end and are one by now, so joined
/// words stand together, which the patterns do not need to see apart.
fn join_spaced(text: &str, trace: &mut impl Trace) -> String {
    let single = |word: &str| word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    let mut joined = String::with_capacity(text.len());
    let mut words: Vec<(usize, &str)> = Vec::new();
    let mut put = |joined: &mut String, from: usize, part: &str| {
        trace.copy(joined.len(), part.len(), from);
        joined.push_str(part);
    };
    let mut at = 0;
    for word in text.split(' ') {
        words.push((at, word));
        at += word.len() + 1;
    }
    let mut next = 0;
    while next < words.len() {
        let run = words[next..].iter().take_while(|(_, word)| single(word)).count();
        if next > 0 {
            put(&mut joined, words[next].0 - 1, " ");
        }
        let take = if run >= 4 { run } else { 1 };
        for (from, word) in &words[next..next + take] {
            put(&mut joined, *from, word);
        }
        next += take;
    }
    joined
}

/// Whether four letters stand apart in a row.
fn spaced(text: &str) -> bool {
    let mut run = 0;
    let mut length = 0;
    for b in text.bytes() {
        if b == b' ' {
            run = if length == 1 { run + 1 } else { 0 };
            length = 0;
        } else if b & 0xc0 != 0x80 {
            length += 1;
        }
        if run >= 3 {
            return true;
        }
    }
    false
}
