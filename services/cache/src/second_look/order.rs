//! Whether two questions say what they share in an order that means the same.
//!
//! "From Paris to London" is not "from London to Paris", but "Paris or London" is "London or Paris", and a phrase may stand at the front or at
//! the end. Two words that changed places are compared by what governs them: the same preposition before one of them on both sides, an
//! `and` between them, a compound taken apart (`Unix shell`, `shell in Unix`).

use super::{
    wording::Wording,
    words::{ARTICLES, JOINTS, LIGHT_WORDS, PREPOSITIONS, is},
};

/// Words over which things and phrases may move.
const LONGEST: usize = 24;
/// What may stand before or behind what it belongs to: "why is it late", "why it is late".
const HELPING: &str = "be am is are was were do does did have has had can could will would should may might must i you we they it he she";
/// Words between two that are told side by side.
const BESIDE: &str = "and or versus vs the a an between";
/// Prepositions that join the parts of a compound.
const JOINING: &str = "of in for on about with by";
/// What makes the two sides of an `or` unequal.
const POINTING: &str = "to from into onto by for than over after before until through against with without of not is are was were do does";
/// Prepositions of place and means, which often stand for each other.
const LOOSE: &str = "in on at using with by via for within inside";

pub(super) fn agrees(a: &Wording, b: &Wording) -> bool {
    if rearranged(a, b) {
        return false;
    }
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

/// Whether both say the very same words in another order that is neither two things beside each other nor a phrase put elsewhere: "the Greek
/// theatre was older than the Roman walls".
fn rearranged(a: &Wording, b: &Wording) -> bool {
    let (in_a, in_b) = (without_articles(a), without_articles(b));
    let (mut sorted_a, mut sorted_b) = (in_a.clone(), in_b.clone());
    sorted_a.sort_unstable();
    sorted_b.sort_unstable();
    if sorted_a != sorted_b {
        return false;
    }
    let alike = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let front = in_a.iter().zip(&in_b).take_while(alike).count();
    let back = in_a[front..].iter().rev().zip(in_b[front..].iter().rev()).take_while(alike).count();
    let until = in_a.len() - back;
    let (here, there) = (&in_a[front..until], &in_b[front..until]);
    let moved = Moved { front: &in_a[..front], here, there, back: &in_a[until..] };
    here.len() > LONGEST
        || here.iter().any(|word| !is(HELPING, word)) && !moved.is_swapped_beside() && !moved.is_phrase()
}

fn without_articles(wording: &Wording) -> Vec<&str> {
    wording.words.iter().map(|word| &**word).filter(|word| !matches!(*word, "a" | "an" | "the")).collect()
}

/// The stretch of two texts that is not the same, and what stands around it.
struct Moved<'a> {
    front: &'a [&'a str],
    here: &'a [&'a str],
    there: &'a [&'a str],
    back: &'a [&'a str],
}

impl Moved<'_> {
    /// Whether two things changed places around an `and`, with the same words behind or before each: "East Coast or West Coast".
    fn is_swapped_beside(&self) -> bool {
        let all = self.here.len();
        (1..all).flat_map(|x| (1..all - x).map(move |y| (x, y))).any(|(x, y)| {
            let (first, rest) = self.here.split_at(x);
            let (between, second) = rest.split_at(all - x - y);
            let Some(joint) = between.iter().position(|word| JOINTS.contains(word)) else {
                return false;
            };
            let (behind, before) = (&between[..joint], &between[joint + 1..]);
            self.there == [second, between, first].concat()
                && self.back.starts_with(behind)
                && self.front.ends_with(before)
        })
    }

    /// Whether a phrase was put elsewhere: one that a preposition begins, or little words.
    fn is_phrase(&self) -> bool {
        (1..self.here.len()).any(|at| {
            let (first, second) = self.here.split_at(at);
            let stands_alone = |phrase: &[&str], over: &[&str]| match phrase {
                // "Isn't the sky blue", "is the sky not blue".
                ["not"] => !over.iter().any(|word| is_preposition(word)),
                [first, ..] => {
                    is_preposition(first) && !matches!(*first, "of" | "than" | "to") || is(HELPING, first)
                }
                [] => false,
            };
            let turned = self.there == [second, first].concat();
            turned && (stands_alone(first, second) || stands_alone(second, first))
        })
    }
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
        let joined = between.iter().any(|word| JOINTS.contains(word));
        joined && between.len() <= 3 && between.iter().all(|word| is(BESIDE, word))
    }

    /// Whether two places lie in two things to choose from or to tell apart: `Ruby on Rails or Node`. Nothing that points from one to the
    /// other stands between.
    fn alternatives(&self, from: usize, to: usize) -> bool {
        let between = self.words.get(from + 1..to).unwrap_or_default();
        let joints = between.iter().filter(|word| JOINTS.contains(word)).count();
        joints == 1 && between.len() <= 4 && !between.iter().any(|word| is(POINTING, word))
    }

    /// The preposition before a word and its article.
    fn governor(&self, at: usize) -> Option<&'a str> {
        let before = self.words[..at].iter().rev().find(|word| !is(ARTICLES, word))?;
        is_preposition(before).then_some(*before)
    }
}
