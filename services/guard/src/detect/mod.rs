//! Personal data and secrets: one pass over the words of a text, validators for what they look like.
//!
//! A word is looked at by what it is made of: digits begin a run of numbers, an at sign an address, sixteen mixed characters may be
//! a key. Each is read a bounded way ahead and back, so the whole is linear in the text's length.

mod addresses;
mod checks;
mod context;
mod forms;
mod kinds;
mod locales;
mod name_words;
mod names;
mod national;
mod numbers;
mod organizations;
mod secrets;
mod tokens;

use std::ops::Range;

use self::context::Context;
pub(crate) use self::{
    context::REACH,
    kinds::{DETECTORS, needs_words},
    locales::{CODES, Locales},
};

/// A detection in a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Detected {
    /// Index into [`DETECTORS`].
    pub(crate) detector: usize,
    /// Bytes of the text.
    pub(crate) range: Range<usize>,
    /// How sure it is, from 0 to 1.
    pub(crate) score: f64,
}

impl Detected {
    /// The detector's id.
    pub(crate) fn id(&self) -> &'static str {
        DETECTORS[self.detector].id
    }
}

const DIGIT: u8 = 1;
const UPPER: u8 = 2;
const LOWER: u8 = 4;
const AT: u8 = 8;
const COLON: u8 = 16;
const MARK: u8 = 32;
const SPACE: u8 = 64;

/// What each byte says about its word.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'@' => AT,
            b':' => COLON,
            b'=' | b'~' | b'_' | b'!' | b'#' | b'$' | b'"' | b'\'' => MARK,
            b' ' | b'\n' | b'\t' | b'\r' | b'\\' | 12 => SPACE,
            _ => 0,
        };
        if byte == 255 {
            break classes;
        }
        byte += 1;
    }
};

/// Finds everything in a whole text, in order, without overlaps.
pub(crate) fn all(text: &str, locales: Locales) -> Vec<Detected> {
    let mut found = Vec::new();
    // Line ends inside JSON, made real: as long, and easier to read.
    let unescaped = text.contains("\\n").then(|| text.replace("\\n", " \n"));
    let text = unescaped.as_deref().unwrap_or(text);
    words(Context { before: "", text, locales }, &mut found);
    addresses::find(text, &mut found);
    names::find(text, &mut found);
    apart(found)
}

/// Finds what has a form of its own in a whole text: all but names, places and addresses, at a tenth of the cost.
pub(crate) fn structured(text: &str, locales: Locales) -> Vec<Detected> {
    in_segment("", text, locales)
}

/// Finds everything of bounded context in one segment; `before` is what stood before it, at least [`REACH`] bytes where there are
/// as many.
pub(crate) fn in_segment(before: &str, text: &str, locales: Locales) -> Vec<Detected> {
    let mut found = Vec::new();
    words(Context { before, text, locales }, &mut found);
    apart(found)
}

/// Looks at each word.
fn words(context: Context<'_>, found: &mut Vec<Detected>) {
    let bytes = context.text.as_bytes();
    let mut at = 0;
    // Behind what a look ahead has read already.
    let mut read = 0;
    while at < bytes.len() {
        let mut kinds = 0;
        let start = at;
        while at < bytes.len() && CLASSES[usize::from(bytes[at])] != SPACE {
            kinds |= CLASSES[usize::from(bytes[at])];
            at += 1;
        }
        if at > start && start >= read {
            if bytes[start..].starts_with(b"-----BEGIN")
                || (at - start > 10 && kinds & UPPER != 0 && context.text[start..at].contains("-----BEGIN"))
            {
                let begin = start + context.text[start..at].find("-----BEGIN").unwrap_or(0);
                if let Some(end) = secrets::private_key(context, begin, found) {
                    (read, at) = (end, end);
                    continue;
                }
            }
            word(context, start..at, kinds, &mut read, found);
        }
        at += 1;
        // `\\n` is how a line ends inside JSON.
        if bytes.get(at - 1) == Some(&b'\\') && bytes.get(at).is_some_and(|b| matches!(b, b'n' | b't' | b'r'))
        {
            at += 1;
        }
    }
}

fn word(context: Context<'_>, range: Range<usize>, kinds: u8, read: &mut usize, found: &mut Vec<Detected>) {
    let length = range.len();
    if kinds & AT != 0 && length > 5 {
        tokens::email(context, range.clone(), found);
    }
    if kinds & COLON != 0 && length > 8 && context.text[range.clone()].contains("://") {
        tokens::connection(context, range.clone(), found);
    }
    if length > 4 && kinds & (DIGIT | MARK | AT | COLON) != 0 && (kinds & DIGIT != 0 || kinds & MARK != 0) {
        secrets::assigned(context, range.clone(), found);
    }
    if length >= 15 {
        secrets::by_prefix(context, range.clone(), found);
    }
    if kinds & (DIGIT | COLON) == COLON && length >= 8 {
        tokens::machine(context, range, found);
        return;
    }
    if kinds & DIGIT == 0 {
        return;
    }
    if length >= 8 {
        tokens::machine(context, range.clone(), found);
    }
    if kinds & (UPPER | LOWER) != 0 && length >= 4 {
        tokens::letters_and_digits(context, range.clone(), found);
    }
    numbers(context, range, read, found);
}

/// Runs of numbers that begin in a word; one may go on into the next words.
fn numbers(context: Context<'_>, range: Range<usize>, read: &mut usize, found: &mut Vec<Detected>) {
    let bytes = context.text.as_bytes();
    let mut at = range.start;
    while at < range.end {
        let b = bytes[at];
        if !b.is_ascii_digit() {
            at += 1;
            continue;
        }
        let alone = !context.byte_before(at).is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        if alone {
            at = numbers::run(context, at, found);
            *read = at;
        }
        while bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
            at += 1;
        }
    }
}

/// Where findings overlap, the surer wins, then the longer, then the earlier in the list of detectors.
fn apart(mut found: Vec<Detected>) -> Vec<Detected> {
    if found.len() < 2 {
        return found;
    }
    found.sort_by(|a, b| {
        let strong = |d: &Detected| (d.score >= 0.9, d.range.len());
        strong(b).cmp(&strong(a)).then(a.detector.cmp(&b.detector)).then(a.range.start.cmp(&b.range.start))
    });
    // Sorted by place, the last that was kept is the only one that the next can meet; so mark by order of strength first.
    let mut kept: std::collections::BTreeMap<usize, (usize, usize)> = std::collections::BTreeMap::new();
    let mut out = Vec::with_capacity(found.len());
    for one in found {
        let before = kept.range(..one.range.end).next_back().map(|(_, (_, end))| *end);
        if before.is_none_or(|end| end <= one.range.start) {
            kept.insert(one.range.start, (one.range.start, one.range.end));
            out.push(one);
        }
    }
    out.sort_by_key(|d| d.range.start);
    out
}

#[cfg(test)]
mod tests;
