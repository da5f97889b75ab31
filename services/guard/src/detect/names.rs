//! People, organisations and places: lists of common names, and the words around.
//!
//! A capitalised word is what its list says, what a word before it says, or, in a pair that is in no list of common words, a name.

use std::{collections::HashSet, ops::Range, sync::LazyLock};

use rustc_hash::FxBuildHasher;

use super::{
    Detected,
    addresses::WAYS,
    kinds::Kind,
    name_words::{
        DOUBTFUL, PARTICLES, PERSON_BEFORE, PLACE_BEFORE, PLACE_ENDS, PLACE_STARTS, TITLES, WAY_ENDS,
    },
    organizations,
};

/// The lists are fixed and small: no need of a hash that withstands an attacker.
pub(super) type Set = HashSet<&'static str, FxBuildHasher>;
type List = LazyLock<Set>;

/// First names, by hand and by the census; see `scripts/build_names.py`.
static FIRST: List = LazyLock::new(|| {
    let census = include_str!("../../data/first_names_census.txt").lines();
    include_str!("../../data/first_names.txt").split_whitespace().chain(census).collect()
});
/// Surnames that are a name even alone.
static LAST: List = LazyLock::new(|| include_str!("../../data/surnames.txt").split_whitespace().collect());
/// Surnames that are one beside another name.
static LAST_TOO: List = LazyLock::new(|| include_str!("../../data/surnames_census.txt").lines().collect());
static PLACES: List = LazyLock::new(|| include_str!("../../data/places.txt").split_whitespace().collect());
/// Cities, of up to four words; GeoNames.
static CITIES: List = LazyLock::new(|| include_str!("../../data/cities.txt").lines().collect());
/// What cities of several words begin with.
static CITY_STARTS: List =
    LazyLock::new(|| CITIES.iter().filter_map(|city| Some(city.split_once([' ', '-'])?.0)).collect());
/// Cities that are called like people.
static CITIES_LIKE_PEOPLE: List =
    LazyLock::new(|| include_str!("../../data/cities_like_people.txt").lines().collect());
/// Words that are no names, by hand and counted.
static COMMON: List = LazyLock::new(|| {
    let counted = include_str!("../../data/common_words_counted.txt").lines();
    include_str!("../../data/common_words.txt").split_whitespace().chain(counted).collect()
});
static WAY: List = LazyLock::new(|| WAYS.split('|').collect());

/// A capitalised word.
#[derive(Debug, Clone)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) lower: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Adds the names of a whole text.
pub(super) fn find(text: &str, found: &mut Vec<Detected>) {
    let mut at = 0;
    while let Some(first) = next_capital(text, at) {
        let mut words = vec![first];
        while let Some(word) = words.last().and_then(|last| follower(text, last.end)) {
            if words.len() == 8 {
                break;
            }
            words.push(word);
        }
        at = words.last().map_or(text.len(), |last| last.end);
        chunk(text, &words, found);
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

/// The next word with a capital letter first.
fn next_capital(text: &str, mut at: usize) -> Option<Word<'_>> {
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let b = bytes[at];
        let capital = b.is_ascii_uppercase()
            || (b >= 0xc3 && text[at..].chars().next().is_some_and(char::is_uppercase));
        if capital
            && starts_word(text, at)
            && let Some(word) = word_at(text, at)
        {
            return Some(word);
        }
        // The bytes inside a character are below 0xc3.
        at += 1;
    }
    None
}

/// Whether nothing that belongs to a word stands before a place.
fn starts_word(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before
        .is_some_and(|c| c.is_alphanumeric() && !escaped(text.as_bytes(), at) || matches!(c, '_' | '@' | '/'))
}

/// Whether the letter before is the end of an escape: `\n`.
fn escaped(bytes: &[u8], at: usize) -> bool {
    at >= 2 && bytes[at - 2] == b'\\' && matches!(bytes[at - 1], b'n' | b't' | b'r')
}

/// The word at a place; none when it is an address of the web, or code.
pub(super) fn word_at(text: &str, start: usize) -> Option<Word<'_>> {
    let rest = &text[start..];
    let mut end = 0;
    for (at, c) in rest.char_indices() {
        let inner =
            matches!(c, '\'' | '’' | '-') && rest[at + c.len_utf8()..].chars().next().is_some_and(is_letter);
        if !(is_letter(c) || inner) {
            break;
        }
        end = at + c.len_utf8();
    }
    let after = rest[end..].chars().next();
    if matches!(after, Some('_' | '@' | '/' | '(' | '\\')) && !rest[end..].starts_with("\\n")
        || after.is_some_and(|c| c.is_ascii_digit())
    {
        return None;
    }
    let bare = rest[..end].trim_end_matches("'s").trim_end_matches("’s");
    (!bare.is_empty()).then(|| Word {
        text: &rest[..bare.len()],
        lower: bare.to_lowercase(),
        start,
        end: start + bare.len(),
    })
}

/// A capitalised word right behind another: a space, an initial's dot, or a particle between.
fn follower(text: &str, end: usize) -> Option<Word<'_>> {
    let rest = &text[end..];
    let mut skip = if rest.starts_with(". ") && end >= 1 && initial_or_title(text, end) {
        2
    } else {
        usize::from(rest.starts_with(' '))
    };
    if skip == 0 {
        return None;
    }
    for _ in 0..2 {
        let word = rest[skip..].split([' ', ',']).next().unwrap_or_default();
        if PARTICLES.contains(&word) && rest[skip + word.len()..].starts_with(' ') {
            skip += word.len() + 1;
        }
    }
    let capital = rest[skip..].chars().next().is_some_and(char::is_uppercase);
    if capital { word_at(text, end + skip) } else { None }
}

/// Whether the word that ends here is an initial or a title, whose dot ends no sentence.
fn initial_or_title(text: &str, end: usize) -> bool {
    let word = text[..end].rsplit(|c: char| !is_letter(c)).next().unwrap_or_default();
    word.chars().count() == 1 || TITLES.contains(&word.to_lowercase().as_str())
}

fn listed(list: &List, word: &Word<'_>) -> bool {
    list.contains(word.lower.as_str())
        || word.lower.split('-').all(|part| part.len() > 1 && list.contains(part)) && word.lower.contains('-')
}

pub(super) fn is_first(word: &Word<'_>) -> bool {
    listed(&FIRST, word)
}

pub(super) fn is_last(word: &Word<'_>) -> bool {
    let bare = word.lower.strip_prefix("o'").or_else(|| word.lower.strip_prefix("mc"));
    let known = |name: &str| LAST.contains(name) || LAST_TOO.contains(name);
    known(&word.lower)
        || (word.lower.len() > 4 && bare.is_some_and(|b| b.len() > 2))
        || word.lower.contains('-') && word.lower.split('-').any(known)
}

/// Whether it is in the lists of common words; capitals alone make a word common, but no word of these.
pub(super) fn is_word(word: &Word<'_>) -> bool {
    COMMON.contains(word.lower.as_str())
}

pub(super) fn is_common(word: &Word<'_>) -> bool {
    COMMON.contains(word.lower.as_str())
        || word.text.len() == 1
        || (word.text.len() > 1 && word.text.chars().all(char::is_uppercase))
        || word.lower.split_once('\'').is_some_and(|(front, _)| COMMON.contains(front))
}

/// Judges words that stand together.
fn chunk(text: &str, words: &[Word<'_>], found: &mut Vec<Detected>) {
    let mut at = 0;
    while at < words.len() {
        let titled = at > 0 && TITLES.contains(&words[at - 1].lower.as_str());
        if TITLES.contains(&words[at].lower.as_str()) && at + 1 < words.len() {
            at += 1;
            continue;
        }
        let rest = &words[at..];
        if !titled && let Some((count, end, score)) = organizations::by_name(text, rest) {
            push(found, Kind::Organization, rest[0].start..end, score);
            at += count;
        } else if let Some((kind, count, score)) = judge(text, rest, titled) {
            push(found, kind, rest[0].start..rest[count - 1].end, score);
            at += count;
        } else {
            at += 1;
        }
    }
}

fn push(found: &mut Vec<Detected>, kind: Kind, range: Range<usize>, score: f64) {
    found.push(Detected { detector: kind.index(), range, score });
}

/// What words begin with, how many of them it is, and how surely.
fn judge(text: &str, words: &[Word<'_>], titled: bool) -> Option<(Kind, usize, f64)> {
    let first = &words[0];
    // The first word of most sentences.
    if words.len() == 1 && !titled && is_common(first) {
        return None;
    }
    let window = before(text, first.start);
    let plain = words.iter().take_while(|w| !is_common(w)).count();
    if let Some(count) = place(text, words, &window) {
        let street = words.len() > count && WAY.contains(words[count].text);
        return Some(if street { (Kind::Address, count + 1, 0.6) } else { (Kind::Location, count, 0.75) });
    }
    // A name that is also a common word (Young, King) stays with the first name before it.
    let named = 1 + words[1..]
        .iter()
        .take(3)
        .take_while(|w| (!is_common(w) || is_last(w)) && !PLACES.contains(w.lower.as_str()))
        .count();
    if titled && (plain > 0 || is_last(first)) {
        return Some((Kind::Person, named, 0.9));
    }
    if WAY_ENDS.iter().any(|end| first.lower.len() > end.len() + 2 && first.lower.ends_with(end)) {
        return Some((Kind::Address, 1, 0.6));
    }
    let is_way = |w: &Word<'_>| WAY.contains(w.text) && !w.text.starts_with("Union");
    let way = words.iter().take(4).position(is_way).filter(|way| *way > 0);
    if let Some(way) = way.filter(|_| {
        ends_with(&window, &[" on ", " at ", " along ", " via ", " street of "])
            || text[words[way.unwrap_or(0)].end..].to_ascii_lowercase().starts_with(" st")
    }) {
        return Some((Kind::Address, way + 1, 0.6));
    }
    let doubtful = DOUBTFUL.contains(&first.lower.as_str()) || is_common(first);
    if is_first(first) && (!doubtful || (named > 1 && is_last(&words[1]))) {
        return Some((Kind::Person, named, if named > 1 { 0.85 } else { 0.65 }));
    }
    if let Some((count, score)) = organizations::by_context(text, words, plain, &window) {
        return Some((Kind::Organization, count, score));
    }
    if plain == 0 {
        return None;
    }
    if ends_with(&window, PERSON_BEFORE) && (plain > 1 || !starts_sentence(&window)) {
        return Some((Kind::Person, plain.min(3), 0.6));
    }
    if plain == 1 && organizations::double(first, &window) {
        return Some((Kind::Organization, 1, 0.5));
    }
    if (2..=3).contains(&plain) && (is_last(&words[plain - 1]) || words[..plain].iter().any(|w| is_first(w)))
    {
        return Some((Kind::Person, plain, 0.7));
    }
    if ends_with(&window, PLACE_BEFORE) {
        return Some((Kind::Location, plain.min(3), 0.5));
    }
    if listed(&LAST, first) && plain == 1 && !starts_sentence(&window) {
        return Some((Kind::Person, 1, 0.5));
    }
    let ending = PLACE_ENDS.iter().any(|end| first.lower.len() > end.len() + 3 && first.lower.ends_with(end));
    if ending && plain == 1 {
        return Some((Kind::Location, 1, 0.5));
    }
    (plain == 2 && words[..2].iter().all(|w| w.text.chars().count() > 2)).then_some((Kind::Person, 2, 0.5))
}

/// The words before, in lower case.
pub(super) fn before(text: &str, at: usize) -> String {
    let from = text.floor_char_boundary(at.saturating_sub(28));
    let near = &text[from..at];
    let mut window = String::with_capacity(near.len() + 8);
    window.push(' ');
    match near.contains('\\') {
        true => window.push_str(&near.replace("\\n", "\n")),
        false => window.push_str(near),
    }
    if window.is_ascii() {
        window.make_ascii_lowercase();
    } else {
        window = window.to_lowercase();
    }
    while window.ends_with(['"', '“', '\'', '*']) {
        window.pop();
    }
    window
}

pub(super) fn ends_with(window: &str, list: &[&str]) -> bool {
    list.iter().any(|end| {
        window.ends_with(end) && {
            let rest = &window[..window.len() - end.len()];
            end.starts_with(' ') || !rest.ends_with(is_letter)
        }
    })
}

/// Whether a word behind this begins a sentence or a line.
pub(super) fn starts_sentence(window: &str) -> bool {
    let window = window.trim_end_matches([' ', '"', '(']);
    window.is_empty() || window.ends_with(['.', '!', '?', ':', '\n', '>', '#', '*', '-', '|'])
}

/// How many words are a place's name.
fn place(text: &str, words: &[Word<'_>], window: &str) -> Option<usize> {
    let first = &words[0];
    let many = if CITY_STARTS.contains(first.lower.split('-').next().unwrap_or_default()) {
        words.len().min(4)
    } else {
        1
    };
    for count in (2..=many).rev() {
        if CITIES.contains(text[first.start..words[count - 1].end].to_lowercase().as_str()) {
            return Some(count);
        }
    }
    let start = PLACE_STARTS.contains(&first.lower.as_str());
    if start
        && words.len() > 1
        && (!is_common(&words[1])
            || is_common(first) && PLACES.contains(words[1].lower.as_str())
            || matches!(
                words[1].lower.as_str(),
                "states"
                    | "kingdom"
                    | "emirates"
                    | "republic"
                    | "city"
                    | "islands"
                    | "island"
                    | "africa"
                    | "america"
                    | "korea"
                    | "arabia"
                    | "zealand"
                    | "coast"
                    | "verde"
            ))
    {
        let more = words[2..]
            .iter()
            .take(2)
            .take_while(|w| {
                !is_common(w)
                    || matches!(w.lower.as_str(), "islands" | "island" | "virgin" | "city" | "states")
            })
            .count();
        return Some(2 + more);
    }
    let known = PLACES.contains(first.lower.as_str())
        || CITIES.contains(first.lower.as_str())
        || CITIES_LIKE_PEOPLE.contains(first.lower.as_str())
            && words.len() == 1
            && ends_with(window, PLACE_BEFORE);
    let also_name = is_first(first) && words.len() > 1 && is_last(&words[1]);
    (known && !also_name).then_some(1)
}
