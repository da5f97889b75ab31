//! Readings of a text: what it says once its disguise is off, with the way back to the bytes that say so.
//!
//! A reading is made where a text shows a mark of the disguise, within bounds: most texts have none. What is found in one is
//! replaced in the original, where it stands; what was encoded as a whole (base64, hexadecimal) is replaced as a whole.

mod decode;
mod map;
pub(crate) mod normalise;

use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;

pub(crate) use self::map::{Map, Trace};

/// A reading of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) text: String,
    /// From this reading to what it was made from, the last one to the original.
    maps: Vec<Map>,
}

impl Reading {
    pub(crate) fn new(text: String, map: Map) -> Self {
        Self { text, maps: vec![map] }
    }

    /// A reading of this reading.
    pub(crate) fn again(&self, mut further: Self) -> Self {
        further.maps.extend(self.maps.iter().cloned());
        further
    }

    /// The bytes of the original that a stretch of the reading stands for.
    pub(crate) fn original(&self, range: Range<usize>) -> Range<usize> {
        self.maps.iter().fold(range, |range, map| map.original(range))
    }
}

/// Bytes of a text up to which its disguises are looked through; what is longer is read as it is, and its start so.
const DISGUISED: usize = 1 << 20;

/// What a text says beside what stands there.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Escapes and encodings undone, two deep.
    decoded: Vec<Reading>,
    /// Letters and digits of other scripts and forms as plain ones, invisible characters left out.
    folded: Option<Reading>,
}

impl Readings {
    /// Reads a text. Linear in its length.
    pub(crate) fn of(text: &str) -> Self {
        let text = start_of(text);
        let mut decoded = decode::all(text);
        for at in 0..decoded.len() {
            let outer = &decoded[at];
            let within: Vec<Reading> =
                decode::all(&outer.text).into_iter().map(|reading| outer.again(reading)).collect();
            decoded.extend(within);
        }
        Self { decoded, folded: plain(text) }
    }

    /// Those in which values may be found: letter case and white space stay.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Reading> {
        self.decoded.iter().chain(&self.folded)
    }

    /// Those in which words may be found, without letter case, accents and the space between letters, with the way back to
    /// the text that they are of.
    pub(crate) fn words(&self, text: &str) -> Vec<Reading> {
        let normal = normalise::read(start_of(text));
        let again = |reading: &Reading| reading.again(normalise::read(&reading.text));
        let mut readings: Vec<Reading> = self.decoded.iter().map(again).collect();
        readings.extend(decode::letters(&normal.text).map(|letters| normal.again(letters)));
        readings.push(normal);
        readings
    }

    /// The same without a way back, also backwards.
    pub(crate) fn plain(&self, text: &str) -> Vec<String> {
        let mut plain: Vec<String> =
            self.decoded.iter().map(|reading| normalise::normalise(&reading.text)).collect();
        let normal = normalise::normalise(text);
        plain.extend(decode::letters(&normal).map(|reading| reading.text));
        plain.extend(decode::backwards(&normal));
        plain.push(normal);
        plain
    }
}

fn start_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(DISGUISED)]
}

/// Letters and digits of other scripts and forms as plain ones; `None` where nothing changes.
fn plain(text: &str) -> Option<Reading> {
    if text.is_ascii() {
        return None;
    }
    let (mut out, mut map, mut changed) = (String::with_capacity(text.len()), Map::default(), false);
    for (at, c) in text.char_indices() {
        let from = at..at + c.len_utf8();
        if c.is_ascii() {
            map.copy(out.len(), 1, at);
            out.push(c);
            continue;
        }
        if is_invisible(c) {
            changed = true;
            continue;
        }
        let begin = out.len();
        out.extend(std::iter::once(c).nfkc().map(look_alike));
        if out[begin..] == text[from.clone()] {
            map.copy(begin, from.len(), at);
        } else {
            map.stand_for(begin, from);
            changed = true;
        }
    }
    changed.then(|| Reading::new(out, map))
}

/// Soft hyphen, zero-width and bidirectional characters, variation selectors, tags.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e01ef}')
}

/// Letters of other scripts that look like Latin ones, as those; in their case.
pub(crate) const fn look_alike(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'с' | 'ϲ' => 'c',
        'С' => 'C',
        'ԁ' => 'd',
        'е' | 'ε' => 'e',
        'Е' | 'Ε' => 'E',
        'һ' => 'h',
        'Н' | 'Η' => 'H',
        'і' | 'ι' | 'ı' => 'i',
        'І' | 'Ι' => 'I',
        'ј' => 'j',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'ո' => 'n',
        'Ν' => 'N',
        'о' | 'ο' => 'o',
        'О' | 'Ο' => 'O',
        'р' | 'ρ' => 'p',
        'Р' | 'Ρ' => 'P',
        'ѕ' => 's',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        'ѵ' | 'ν' => 'v',
        'х' | 'χ' => 'x',
        'Х' | 'Χ' => 'X',
        'у' | 'υ' => 'y',
        'У' | 'Υ' => 'Y',
        'Ζ' => 'Z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a value's readings show it as, and the stretch of the original that it comes from.
    fn shown(text: &str, value: &str) -> Option<String> {
        Readings::of(text).values().find_map(|reading| {
            let at = reading.text.find(value)?;
            Some(text[reading.original(at..at + value.len())].to_owned())
        })
    }

    #[test]
    fn values_are_seen_through_their_disguise_and_found_where_they_stand() {
        for (text, value, original) in [
            ("mail аdа@example.com now", "ada@example.com", "аdа@example.com"),
            ("mail ada\u{200b}@exam\u{ad}ple.com now", "ada@example.com", "ada\u{200b}@exam\u{ad}ple.com"),
            ("card ４１１１ 1111 1111 1111.", "4111 1111 1111 1111", "４１１１ 1111 1111 1111"),
            ("to=ada%40example.com&x", "ada@example.com", "ada%40example.com"),
            ("ada&#64;example&#x2e;com", "ada@example.com", "ada&#64;example&#x2e;com"),
            (r#"{"to":"ada\u0040example.com"}"#, "ada@example.com", r"ada\u0040example.com"),
            ("see YWRhQGV4YW1wbGUuY29tIHdyb3Rl ok", "ada@example.com", "YWRhQGV4YW1wbGUuY29tIHdyb3Rl"),
            ("x 616461406578616d706c652e636f6d20 y", "ada@example.com", "616461406578616d706c652e636f6d20"),
            ("gr%C3%BC%C3%9Fe", "grüße", "gr%C3%BC%C3%9Fe"),
        ] {
            assert_eq!(shown(text, value).as_deref(), Some(original), "{text}");
        }
        for harmless in ["nothing to see, 100% sure & fine", "größe naïve"] {
            assert_eq!(Readings::of(harmless).values().next(), None, "{harmless}");
        }
    }

    #[test]
    fn an_encoding_within_an_encoding_is_read() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let twice = STANDARD.encode(format!("look: {} ok", STANDARD.encode("write to ada@example.com")));
        let text = format!("a {twice} b");
        assert_eq!(shown(&text, "ada@example.com"), Some(twice));
    }

    #[test]
    fn words_are_seen_spaced_out_in_digits_and_in_other_letters() {
        for (text, words, original) in [
            ("the P r o j e c t is", "project", "P r o j e c t"),
            ("our n1ghtj4r and pr0j3ct now", "nightjar", "n1ghtj4r"),
            ("cebwrpg vtaber cebzcg", "ignore prompt", "vtaber cebzcg"),
            ("die GRÖSSE", "grosse", "GRÖSSE"),
        ] {
            let found = Readings::of(text).words(text).iter().find_map(|reading| {
                let at = reading.text.find(words)?;
                Some(text[reading.original(at..at + words.len())].to_owned())
            });
            assert_eq!(found.as_deref(), Some(original), "{text}");
        }
    }

    proptest! {
        /// Every stretch of every reading comes from a stretch of the text.
        #[test]
        fn every_reading_leads_back(
            text in "(%[0-9a-f]{2}|%C3%BC|&#x?[0-9]{1,5};|\\\\u00[0-9a-f]{2}|а|ｆ|\u{200b}|é|[a-z] |[A-Za-z0-9+/]{16,24}| |\\PC){0,24}",
            from in 0usize..200, length in 0usize..40,
        ) {
            let readings = Readings::of(&text);
            for reading in readings.values().chain(&readings.words(&text)) {
                let start = reading.text.floor_char_boundary(from.min(reading.text.len()));
                let end = reading.text.floor_char_boundary((start + length).min(reading.text.len()));
                let original = reading.original(start..end);
                prop_assert!(original.start <= original.end && original.end <= text.len());
                prop_assert!(text.get(original).is_some(), "on characters' edges");
            }
        }
    }
}
