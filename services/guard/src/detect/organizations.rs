//! Organisations: known ones, forms of a name (`… GmbH`, `Bank of …`, `A & B`), and what is said around one.

use std::{collections::HashMap, sync::LazyLock};

use rustc_hash::FxBuildHasher;

use super::{
    name_words::{
        ORGANIZATION_AFTER, ORGANIZATION_BEFORE, ORGANIZATION_ENDS, ORGANIZATION_ENDS_OF_NAMES,
        ORGANIZATION_FORMS, ORGANIZATION_OF, ORGANIZATION_STARTS, PERSON_BEFORE, PLACE_BEFORE,
    },
    names::{Set, Word, before, ends_with, is_common, is_first, is_last, is_word, starts_sentence, word_at},
};

static KNOWN: LazyLock<Set> =
    LazyLock::new(|| include_str!("../../data/organizations.txt").lines().collect());
/// What a known organisation begins with: most words are none.
static KNOWN_STARTS: LazyLock<Set> =
    LazyLock::new(|| KNOWN.iter().filter_map(|name| name.split([' ', '&', '.', '-']).next()).collect());

/// Legal forms with points, longest first where one begins another.
#[rustfmt::skip]
const LEGAL: [&str; 32] = [
    " Sp. z o.o. Sp.k.", " Sp. z o.o.", " z o.o.", ". z o.o.", " s.c.", " Sp.k.", " Sp.j.", " sp. z o.o.", " s.r.o.", " spol. s r.o.", " a.s.", " o.s.", " v.o.s.", " k.s.", " S.A.S.", " S.A.U.", " S.A.", " S.p.A.", " S.r.l.", " S.L.N.E", " S.L.U.", " S.L.", " S.C.P",
    " S.Coop.", " A/S", " e.V.", " e.G.", " & Co. KG", " GmbH & Co. KG", " i syn s.c.", ".k.", ".j.",
];
/// Known names that are words too.
const WORDS_TOO: [&str; 13] = [
    "apple",
    "canon",
    "caterpillar",
    "chevron",
    "emirates",
    "nationwide",
    "oracle",
    "prudential",
    "puma",
    "sap",
    "stripe",
    "ups",
    "workday",
];
/// A name does not begin with one of these.
const FUNCTION: [&str; 24] = [
    "the", "a", "an", "my", "our", "your", "his", "her", "their", "this", "that", "these", "those", "i",
    "we", "you", "he", "she", "it", "they", "what", "which", "every", "some",
];

/// Bytes of the longest known name, and a few more for white space.
const LONGEST: usize = 48;

/// How many words are an organisation's name by the name itself, where it ends, and how surely.
pub(super) fn by_name(text: &str, words: &[Word<'_>]) -> Option<(usize, usize, f64)> {
    let whole = |count: usize, score| Some((count, end(text, words[count - 1].end), score));
    if let Some((count, end)) = known(text, words) {
        return Some((count, end, 0.85));
    }
    let first = words[0].lower.as_str();
    if words.len() > 1 {
        let between = text.get(words[0].end..words[1].start).unwrap_or_default();
        let of = between.starts_with(" of ")
            || between.starts_with(" for ")
            || between.starts_with(" de ")
            || between.starts_with(" du ");
        if ORGANIZATION_STARTS.contains(&first) || ORGANIZATION_OF.contains(&first) && of {
            return whole(words.len().min(4), 0.8);
        }
    }
    if FUNCTION.contains(&first) {
        return None;
    }
    if let Some(count) = by_form(words).or_else(|| by_points(text, words)) {
        return whole(count, 0.8);
    }
    if let Some(found) = joined(text, words) {
        return Some((found.0, found.1, 0.75));
    }
    // Miller, Romero and Ramirez; Miller and Sons
    let plain = words.len() == 1 && !is_common(&words[0]);
    let partners =
        partners(&text[words[0].end..]).filter(|_| plain && (!is_first(&words[0]) || is_last(&words[0])));
    partners.map(|length| (1, words[0].end + length, 0.8))
}

/// The same by what is said around it; `plain` words are no common ones.
pub(super) fn by_context(text: &str, words: &[Word<'_>], plain: usize, window: &str) -> Option<(usize, f64)> {
    let person = is_first(&words[0]) || plain == 2 && is_last(&words[1]);
    if person {
        return None;
    }
    if plain == 0 {
        // Dollar Tree: common words, but together and with capitals.
        let together = words.len() > 1 && ends_with(window, ORGANIZATION_BEFORE);
        return together.then(|| (words.len().min(4), 0.5));
    }
    let rest = &text[words[plain - 1].end..];
    let acts = ORGANIZATION_AFTER.iter().any(|after| rest.starts_with(after));
    if ends_with(window, ORGANIZATION_BEFORE) || acts && !ends_with(window, PERSON_BEFORE) {
        return Some((plain.min(4), 0.6));
    }
    None
}

/// A known name; one that is a word too (Apple, Target) needs another word around it.
fn known(text: &str, words: &[Word<'_>]) -> Option<(usize, usize)> {
    let first = &words[0];
    let start = first.lower.split(['-', '\'', '’']).next().unwrap_or_default();
    if !KNOWN_STARTS.contains(first.lower.as_str()) && !KNOWN_STARTS.contains(start) {
        return None;
    }
    let most = text.floor_char_boundary((first.start + LONGEST).min(text.len()));
    let near = text[first.start..most].to_lowercase();
    // Lower case may be longer; then nothing is said.
    if near.len() != most - first.start {
        return None;
    }
    let breaks =
        near.char_indices().filter(|(_, c)| !c.is_alphanumeric()).map(|(at, _)| at).chain([near.len()]);
    let ends: Vec<usize> = breaks.take(12).collect();
    let length = ends.into_iter().rev().find(|end| KNOWN.contains(&near[..*end]))?;
    let end = first.start + length;
    let count = words.iter().take_while(|word| word.end <= end).count().max(1);
    let alone = count == 1 && WORDS_TOO.contains(&first.lower.as_str()) && first.end >= end;
    let said = || {
        ends_with(&before(text, first.start), ORGANIZATION_BEFORE)
            || ORGANIZATION_AFTER.iter().any(|after| text[end..].starts_with(after))
    };
    let capitals = first.text.len() > 1 && first.text.chars().all(char::is_uppercase);
    (!alone || capitals || said()).then_some((count, end))
}

/// What a word at the end of a name says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Legal,
    Kind,
    KindOfNames,
}

static ENDINGS: LazyLock<HashMap<&'static str, Ending, FxBuildHasher>> = LazyLock::new(|| {
    let of = |list: &'static [&'static str], ending| list.iter().map(move |word| (*word, ending));
    let kinds =
        of(ORGANIZATION_ENDS_OF_NAMES, Ending::KindOfNames).chain(of(ORGANIZATION_ENDS, Ending::Kind));
    kinds.chain(of(ORGANIZATION_FORMS, Ending::Legal)).collect()
});
/// Words of an organisation's name, at most.
const MOST: usize = 6;

/// `Acme Widgets Ltd`, `Riverside Medical Center`: a legal form, or a word for a kind of organisation, at the end.
fn by_form(words: &[Word<'_>]) -> Option<usize> {
    if words.len() < 2 {
        return None;
    }
    let endings: Vec<Option<Ending>> =
        words.iter().take(MOST).map(|word| ENDINGS.get(word.lower.as_str()).copied()).collect();
    let last = |ending| endings.iter().rposition(|one| *one == Some(ending)).filter(|end| *end > 0);
    let legal = endings.iter().position(|one| *one == Some(Ending::Legal)).filter(|end| *end > 0);
    let shouted = words.len() > 2 && words.iter().all(|word| word.text.chars().all(|c| !c.is_lowercase()));
    let kind = last(Ending::Kind).filter(|end| *end > 1 || !is_word(&words[0]));
    let named = |end: &usize| {
        words[..*end].iter().any(|word| !is_word(word) && !is_first(word) && word.text.len() > 1)
    };
    let of_names = last(Ending::KindOfNames).filter(named);
    let end = legal.or_else(|| kind.max(of_names).filter(|_| !shouted))?;
    let more = endings[end + 1..].iter().take_while(|one| **one == Some(Ending::Legal)).count();
    Some(end + 1 + more)
}

/// `Hrubý s.r.o.`, `Andresen A/S`: a legal form with points or a stroke behind a word.
fn by_points(text: &str, words: &[Word<'_>]) -> Option<usize> {
    let follows = |word: &Word<'_>| {
        let rest = &text[word.end..];
        if rest.starts_with(" plc") {
            return true;
        }
        let pointed = rest.starts_with(' ') && rest.bytes().take(8).any(|b| matches!(b, b'.' | b'/'));
        pointed && LEGAL.iter().any(|form| rest.starts_with(*form))
    };
    words.iter().take(5).position(follows).map(|at| at + 1)
}

/// `Procter & Gamble`.
fn joined(text: &str, words: &[Word<'_>]) -> Option<(usize, usize)> {
    let count = words.len().min(3);
    let last = &words[count - 1];
    let rest = text[last.end..].strip_prefix(" & ")?;
    let other = word_at(rest, 0).filter(|word| word.text.chars().next().is_some_and(char::is_uppercase))?;
    (!is_common(last) || !is_common(&other)).then_some((count, last.end + 3 + other.end))
}

/// The length of `, B and C` or ` and Sons`.
fn partners(rest: &str) -> Option<usize> {
    let name = |rest: &str| -> Option<usize> {
        word_at(rest, 0)
            .filter(|w| w.text.chars().next().is_some_and(char::is_uppercase) && !is_common(w))
            .map(|w| w.end)
    };
    if let Some(tail) = rest.strip_prefix(" and Sons").or_else(|| rest.strip_prefix(" & Sons")) {
        return Some(rest.len() - tail.len());
    }
    let second = name(rest.strip_prefix(", ")?)? + 2;
    let third =
        rest.get(second..)?.strip_prefix(" and ").or_else(|| rest.get(second..)?.strip_prefix(" & "))?;
    let end = name(third)?;
    let other = word_at(third, 0)?;
    let middle = word_at(rest, 2)?;
    (is_last(&other) && is_last(&middle) || !is_first(&other) && !is_first(&middle))
        .then_some(second + (rest[second..].len() - third.len()) + end)
}

/// Where an organisation's name ends: behind its partners, or the rest of its legal form.
pub(super) fn end(text: &str, end: usize) -> usize {
    let rest = &text[end..];
    let form = LEGAL.iter().find(|form| rest.starts_with(*form)).map(|form| form.len());
    end + partners(rest).or(form).unwrap_or(0)
}

/// `Gentry-Carlson` in the place of an organisation: two surnames with nothing before them.
pub(super) fn double(word: &Word<'_>, window: &str) -> bool {
    let parts = || word.text.split('-');
    parts().count() == 2
        && parts().all(|part| part.len() > 2 && part.chars().next().is_some_and(char::is_uppercase))
        && !ends_with(window, PERSON_BEFORE)
        && !ends_with(window, PLACE_BEFORE)
        && !(starts_sentence(window) && window.trim().is_empty() && is_first(word))
}
