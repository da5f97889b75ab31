//! Whether two questions say what they share in an order that means the same.
//!
//! "From Paris to London" is not "from London to Paris", but "Paris or London" is "London or Paris", and a phrase may stand at the front or at
//! the end. Two words that changed places are compared by what governs them: the same preposition before one of them on both sides, an
//! `and` between them, a compound taken apart (`Unix shell`, `shell in Unix`).

use super::{
    wording::Wording,
    words::{LIGHT_WORDS, PREPOSITIONS},
};

/// Words between two that are told side by side.
const BESIDE: &str = "and or versus vs the a an between";
/// What may stand before a word and its preposition, and does not change its part.
const ARTICLES: &str = "a an the my your his her its our their this that these those some any";
/// Prepositions that join the parts of a compound.
const JOINING: &str = "of in for on about with by";
/// What makes the two sides of an `or` unequal.
const POINTING: &str = "to from into onto by for than over after before until through against with without of not is are was were do does";
/// Prepositions of place and means, which often stand for each other.
const LOOSE: &str = "in on at using with by via for within inside";

pub(super) fn agrees(a: &Wording, b: &Wording) -> bool {
    let (in_a, in_b) = (Places::of(a), Places::of(b));
    let mut shared: Vec<(usize, usize)> = Vec::new();
    for (word, at) in &in_a.first {
        shared.extend(in_b.at(word).map(|there| (*at, there)));
    }
    shared.sort_unstable();
    shared.iter().enumerate().all(|(here, x)| {
        let behind = shared[here + 1..].iter().filter(|y| x.1 > y.1);
        behind.into_iter().all(|y| safe(&in_a, &in_b, *x, *y))
    })
}

/// Whether two words may change places: each with its place in either text.
fn safe(a: &Places<'_>, b: &Places<'_>, x: (usize, usize), y: (usize, usize)) -> bool {
    let light = |at: usize| LIGHT_WORDS.contains(a.words[at]);
    let beside =
        (a.beside(x.0, y.0) && b.beside(y.1, x.1)) || (a.alternatives(x.0, y.0) && b.alternatives(y.1, x.1));
    // "On X with Y" is not "on Y with X": one loose preposition for another counts where the other word has none.
    let keeps_part = |one: (usize, usize), other: (usize, usize)| match (a.governor(one.0), b.governor(one.1))
    {
        // "Older than X but younger than Y": the same before both tells them not apart.
        (Some(here), Some(there)) if here == there => a.governor(other.0) != Some(here),
        (Some(here), Some(there)) => {
            is(LOOSE, here)
                && is(LOOSE, there)
                && a.governor(other.0).is_none()
                && b.governor(other.1).is_none()
        }
        _ => false,
    };
    // `x y` here, `y of x` there, or the other way round.
    let compound = |own: &Places<'_>, other: &Places<'_>, x: (usize, usize), y: (usize, usize)| {
        let joined = |list: &str| other.governor(x.1).is_some_and(|governor| is(list, governor));
        // `India's national language`, `the national language of India`.
        let taken_apart = y.0 == x.0 + 1 && joined(JOINING)
            || (y.0 - x.0 <= 3
                && joined("of in for")
                && own.words[x.0 + 1..y.0].iter().all(|word| !is_preposition(word)));
        taken_apart && x.1 > y.1 && x.1 - y.1 <= 4
    };
    let swapped = |(here, there): (usize, usize)| (there, here);
    light(x.0)
        || light(y.0)
        || beside
        || keeps_part(x, y)
        || keeps_part(y, x)
        || compound(a, b, x, y)
        || compound(b, a, swapped(y), swapped(x))
}

/// What governs the word behind it.
fn is_preposition(word: &str) -> bool {
    (PREPOSITIONS.contains_key(word) || is(LOOSE, word)) && !matches!(word, "and" | "or" | "but" | "if")
}

fn is(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// A text's words, and where those about the subject stand that are said once.
struct Places<'a> {
    words: Vec<&'a str>,
    first: Vec<(&'a str, usize)>,
}

impl<'a> Places<'a> {
    fn of(wording: &'a Wording) -> Self {
        let words = wording.words.iter().map(|word| &**word).collect();
        // What is said twice has no one place: "assembly language and machine language".
        let once = wording.content.iter().filter(|one| one.count == 1);
        let first = once.map(|one| (&*one.word, usize::from(one.at))).collect();
        Self { words, first }
    }

    fn at(&self, word: &str) -> Option<usize> {
        self.first.iter().find(|(known, _)| *known == word).map(|(_, at)| *at)
    }

    /// Whether nothing but an `and` and articles stands between two places.
    fn beside(&self, from: usize, to: usize) -> bool {
        let between = self.words.get(from + 1..to).unwrap_or_default();
        let joined = between.iter().any(|word| matches!(*word, "and" | "or" | "versus" | "vs"));
        joined && between.len() <= 3 && between.iter().all(|word| is(BESIDE, word))
    }

    /// Whether two places lie in two things to choose from or to tell apart: `Ruby on Rails or Node`. Nothing that points from one to the
    /// other stands between.
    fn alternatives(&self, from: usize, to: usize) -> bool {
        let between = self.words.get(from + 1..to).unwrap_or_default();
        let joints = between.iter().filter(|word| matches!(**word, "and" | "or" | "versus" | "vs")).count();
        joints == 1 && between.len() <= 4 && !between.iter().any(|word| is(POINTING, word))
    }

    /// The preposition before a word and its article.
    fn governor(&self, at: usize) -> Option<&'a str> {
        let before = self.words[..at].iter().rev().find(|word| !is(ARTICLES, word))?;
        is_preposition(before).then_some(*before)
    }
}
