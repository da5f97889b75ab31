//! Escapes and encodings undone, within bounds.

use base64::{Engine as _, engine::general_purpose};

use super::{Map, Reading, Trace as _};

/// Encoded runs that are looked at, that are read, and bytes of each.
const LOOKED_AT: usize = 256;
const READ: usize = 8;
const SHORTEST: usize = 16;
const LONGEST: usize = 8_192;

/// Every reading of a text by its escapes and encodings.
pub(super) fn all(text: &str) -> Vec<Reading> {
    let mut readings = Vec::new();
    let escapes = |b: u8| matches!(b, b'%' | b'&' | b'\\');
    if text.bytes().any(escapes) {
        readings.extend(unescape(text));
    }
    readings.extend(encoded(text));
    readings
}

/// Base64 and hexadecimal runs that are text once decoded, each as a whole.
fn encoded(text: &str) -> impl Iterator<Item = Reading> {
    let in_run = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'_' | b'-');
    let bytes = text.as_bytes();
    let mut at = 0;
    let runs = std::iter::from_fn(move || {
        while at < bytes.len() && !in_run(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && in_run(bytes[at]) {
            at += 1;
        }
        (start < at).then_some(start..at)
    });
    let long = runs.filter(|run| (SHORTEST..=LONGEST).contains(&run.len()));
    long.take(LOOKED_AT)
        .filter_map(|run| decoded(&text[run.clone()]).map(|read| Reading::new(read, Map::whole(run))))
        .take(READ)
}

fn decoded(run: &str) -> Option<String> {
    let bare = run.trim_end_matches('=');
    let bytes = hexadecimal(run)
        .or_else(|| general_purpose::STANDARD_NO_PAD.decode(bare).ok())
        .or_else(|| general_purpose::URL_SAFE_NO_PAD.decode(bare).ok())?;
    let read = String::from_utf8(bytes).ok()?;
    let is_text = read.chars().all(|c| !c.is_control() || c.is_whitespace());
    // Random bytes are seldom UTF-8 of 12 and more; where they are, they are hardly letters and marks.
    let letters =
        read.chars().filter(|c| c.is_alphanumeric() || c.is_ascii_punctuation() || *c == ' ').count();
    (is_text && letters * 10 >= read.chars().count() * 9).then_some(read)
}

fn hexadecimal(run: &str) -> Option<Vec<u8>> {
    let value = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    run.as_bytes().chunks(2).map(|pair| Some(value(*pair.first()?)? * 16 + value(*pair.get(1)?)?)).collect()
}

/// `%41`, `&#65;`, `&amp;`, `\u0041` as what they stand for; `None` where there are none.
fn unescape(text: &str) -> Option<Reading> {
    let (mut out, mut map, mut changed) = (String::with_capacity(text.len()), Map::default(), false);
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let verbatim = rest.find(['%', '&', '\\']).unwrap_or(rest.len());
        if verbatim > 0 {
            map.copy(out.len(), verbatim, at);
            out.push_str(&rest[..verbatim]);
            at += verbatim;
            continue;
        }
        match escape(rest) {
            Some((c, length)) => {
                map.stand_for(out.len(), at..at + length);
                out.push(c);
                at += length;
                changed = true;
            }
            None => {
                map.copy(out.len(), 1, at);
                out.push_str(&rest[..1]);
                at += 1;
            }
        }
    }
    changed.then(|| Reading::new(out, map))
}

/// The character that an escape at a text's beginning stands for, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'%' => percent(bytes),
        b'&' => entity(text),
        b'\\' if bytes.get(1) == Some(&b'u') => {
            let digits = text.get(2..6).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            char::from_u32(u32::from_str_radix(digits, 16).ok()?).map(|c| (c, 6))
        }
        _ => None,
    }
}

/// One character of one to four `%XX`.
fn percent(bytes: &[u8]) -> Option<(char, usize)> {
    let byte = |index: usize| {
        let escape = bytes.get(index * 3..index * 3 + 3)?;
        let digits =
            std::str::from_utf8(&escape[1..]).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        (escape[0] == b'%').then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    let first = byte(0)?;
    let count = match first {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => return None,
    };
    let all: Vec<u8> = (0..count).map(byte).collect::<Option<_>>()?;
    let c = std::str::from_utf8(&all).ok()?.chars().next()?;
    Some((c, count * 3))
}

/// An HTML entity by number, or one of the few that stand in for marks.
fn entity(text: &str) -> Option<(char, usize)> {
    const NAMES: [(&str, char); 8] = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&apos;", '\''),
        ("&nbsp;", ' '),
        ("&commat;", '@'),
        ("&period;", '.'),
    ];
    let Some(number) = text.strip_prefix("&#") else {
        return NAMES.iter().find(|(name, _)| text.starts_with(name)).map(|(name, c)| (*c, name.len()));
    };
    let (digits, radix, before) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16, 3),
        None => (number, 10, 2),
    };
    let count = digits.bytes().take(7).take_while(|b| char::from(*b).is_digit(radix)).count();
    let c = char::from_u32(u32::from_str_radix(&digits[..count], radix).ok()?).filter(|c| *c != '\0')?;
    let end = usize::from(digits.as_bytes().get(count) == Some(&b';'));
    Some((c, before + count + end))
}

/// Digits for letters, or rot13, of a normalised text; `None` where it shows no mark of either.
pub(super) fn letters(plain: &str) -> Option<Reading> {
    const ROTATED: [&str; 5] = ["vtaber", "vafgehpgvba", "cebzcg", "cerivbhf", "qvfertneq"];
    let read: fn(u8) -> u8 = if ROTATED.iter().any(|mark| plain.contains(mark)) {
        rotate
    } else if has_digits_for_letters(plain) {
        letter_for
    } else {
        return None;
    };
    let text = plain.bytes().map(|b| if b.is_ascii() { read(b) } else { b }).collect();
    let mut map = Map::default();
    map.copy(0, plain.len(), 0);
    Some(Reading::new(String::from_utf8(text).ok()?, map))
}

/// A normalised text from its end to its start, where it shows the mark of one written backwards.
pub(super) fn backwards(plain: &str) -> Option<String> {
    const MARKS: [&str; 5] = ["erongi", "snoitcurtsni", "tpmorp", "suoiverp", "dragersid"];
    MARKS.iter().any(|mark| plain.contains(mark)).then(|| plain.chars().rev().collect())
}

/// Two words or more in which digits stand between letters: one is a name, two are a habit.
fn has_digits_for_letters(plain: &str) -> bool {
    let mixed = |word: &&str| {
        let letters = word.bytes().filter(u8::is_ascii_lowercase).count();
        let stands_in = word.bytes().filter(|b| letter_for(*b) != *b).count();
        letters >= 1 && stands_in >= 1 && letters + stands_in == word.len() && word.len() >= 3
    };
    plain.split([' ', ',', '.', '!', '?', '"']).filter(mixed).nth(1).is_some()
}

const fn letter_for(b: u8) -> u8 {
    match b {
        b'0' => b'o',
        b'1' | b'!' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' => b't',
        other => other,
    }
}

const fn rotate(b: u8) -> u8 {
    match b {
        b'a'..=b'm' => b + 13,
        b'n'..=b'z' => b - 13,
        other => other,
    }
}
