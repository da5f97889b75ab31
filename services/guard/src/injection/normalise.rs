//! Text as the patterns read it.

use unicode_normalization::UnicodeNormalization as _;

/// Folds what attackers vary: letter case, compatibility forms, accents, invisible characters, look-alikes, white space,
/// letters spaced out.
pub(crate) fn normalise(text: &str) -> String {
    if text.is_ascii() {
        return join_spaced(plain_ascii(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut space = true;
    for c in text.nfkd() {
        let c = match c {
            // Combining marks, soft hyphen, zero-width and bidirectional characters, variation selectors, tags.
            '\u{300}'..='\u{36f}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}' => continue,
            c => look_alike(c),
        };
        if c.is_whitespace() {
            if !space {
                plain.push(' ');
            }
            space = true;
        } else {
            plain.extend(c.to_lowercase());
            space = false;
        }
    }
    join_spaced(plain)
}

/// The same for a text that has nothing to fold but case and white space.
fn plain_ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut space = true;
    for b in text.bytes() {
        if b.is_ascii_whitespace() {
            if !space {
                plain.push(' ');
            }
            space = true;
        } else {
            plain.push(char::from(b.to_ascii_lowercase()));
            space = false;
        }
    }
    plain
}

/// Letters of other scripts that look like Latin ones.
const fn look_alike(c: char) -> char {
    match c {
        'а' | 'А' | 'α' | 'Α' => 'a',
        'е' | 'Е' | 'ε' | 'Ε' => 'e',
        'о' | 'О' | 'ο' | 'Ο' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'с' | 'С' | 'ϲ' => 'c',
        'у' | 'У' | 'υ' => 'y',
        'х' | 'Х' | 'χ' => 'x',
        'і' | 'І' | 'ι' | 'ı' => 'i',
        'ѕ' | 'Ѕ' => 's',
        'ј' => 'j',
        'һ' => 'h',
        'ԁ' => 'd',
        'ո' => 'n',
        'ѵ' | 'ν' => 'v',
        other => other,
    }
}

/// Joins runs of four and more single letters (`i g n o r e`); two spaces were a word's end and are one by now, so joined
/// words stand together, which the patterns do not need to see apart.
fn join_spaced(text: String) -> String {
    if !has_spaced(&text) {
        return text;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let single = |word: &&str| word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    let mut joined = String::with_capacity(text.len());
    let mut at = 0;
    while at < words.len() {
        let run = words[at..].iter().take_while(|w| single(w)).count();
        if !joined.is_empty() || at > 0 {
            joined.push(' ');
        }
        if run >= 4 {
            joined.extend(words[at..at + run].iter().copied());
            at += run;
        } else {
            joined.push_str(words[at]);
            at += 1;
        }
    }
    joined
}

/// Whether four letters stand apart in a row.
fn has_spaced(text: &str) -> bool {
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
