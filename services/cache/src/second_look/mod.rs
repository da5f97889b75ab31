//! The second look before a hit by meaning.
//!
//! To an encoder a question and its opposite are neighbours: at cosine 0.83 to 0.99, and a word problem with one number changed
//! is above 0.95 in 96 of 100 cases. So no threshold helps, and what an encoder does not see is compared word by word: numbers
//! and units, placeholders of redacted values, quotes, code, names, negations, opposites, the kind of question, and the order of
//! the words that both have ("convert JSON to YAML" is not "convert YAML to JSON"). Rules only: microseconds. In doubt they
//! refuse; a miss costs a model call, a wrong hit costs trust. What passes is given a probability of being right by a small
//! calibrated model.

mod alignment;
mod bounds;
mod direction;
mod exchange;
mod features;
mod joined;
mod lexicon;
#[cfg(test)]
mod near_misses;
mod order;
mod phrases;
mod right;
#[cfg(test)]
mod tests;
mod word_table;
mod wording;
mod words;

use std::collections::HashSet;

pub(crate) use self::features::Features;
use self::{features::Kind, words::REVERSING};

/// What two questions differ in; bounded words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Difference {
    Numbers = 1,
    Placeholders,
    Quotes,
    Identifiers,
    Names,
    Negation,
    Opposites,
    Kind,
    Order,
    Extent,
    /// One of them is about something that was not sent.
    Pointing,
    /// A word stands in for another, and is not known to mean the same.
    Exchange,
}

/// Decides whether the answer to one question may answer the other.
///
/// # Errors
/// The first difference found.
pub(crate) fn agree(a: &Features, b: &Features) -> Result<(), Difference> {
    let same = |same: bool, difference| if same { Ok(()) } else { Err(difference) };
    same(a.numbers == b.numbers, Difference::Numbers)?;
    same(a.placeholders == b.placeholders, Difference::Placeholders)?;
    same(a.quotes == b.quotes, Difference::Quotes)?;
    same(a.identifiers == b.identifiers, Difference::Identifiers)?;
    same(a.negations == b.negations, Difference::Negation)?;
    same(a.sides.agree(&b.sides), Difference::Opposites)?;
    same(kinds_agree(&a.kinds, &b.kinds), Difference::Kind)?;
    same(questions_agree(a.wording.questions, b.wording.questions), Difference::Kind)?;
    same(a.wording.asks_alike(&b.wording), Difference::Kind)?;
    same(a.wording.extents_agree(&b.wording), Difference::Extent)?;
    same(a.wording.bounds == b.wording.bounds, Difference::Extent)?;
    same(a.wording.superlatives_agree(&b.wording), Difference::Opposites)?;
    let (in_a, in_b) = (known(a), known(b));
    let names = |of: &Features, there: &HashSet<&str>| of.names.iter().all(|name| there.contains(&**name));
    same(names(a, &in_b) && names(b, &in_a), Difference::Names)?;
    same(!alignment::opposed(&a.wording, &b.wording), Difference::Opposites)?;
    same(!reversed(&in_a, &in_b) && !reversed(&in_b, &in_a), Difference::Opposites)?;
    same(!turned(&in_a, &in_b) && !turned(&in_b, &in_a), Difference::Opposites)?;
    same(order::agrees(&a.wording, &b.wording), Difference::Order)?;
    same(direction::agrees(&a.wording, &b.wording), Difference::Order)?;
    same(joined::agrees(&a.wording, &b.wording), Difference::Extent)?;
    same(exchange::agrees(&a.wording, &b.wording), Difference::Exchange)?;
    same(extent_agrees(a.words.len(), b.words.len()), Difference::Extent)?;
    same(!a.wording.pointing && !b.wording.pointing, Difference::Pointing)?;
    same(a.wording.shows == b.wording.shows, Difference::Pointing)
}

/// The probability that the answer to one question is right for the other; `None` if a rule refuses.
pub(crate) fn right(similarity: f32, a: &Features, b: &Features) -> Option<f64> {
    agree(a, b).ok()?;
    Some(probability(similarity, a, b))
}

/// Whether two short answers give the same numbers and deny as much.
pub(crate) fn facts_agree(a: &Features, b: &Features) -> bool {
    let values = |of: &Features| {
        let mut values: Vec<&str> = of.numbers.iter().map(|number| &*number.value).collect();
        values.sort_unstable();
        values.dedup();
        values.join(" ")
    };
    values(a) == values(b) && (a.negations > 0) == (b.negations > 0)
}

/// What the calibrated model sees of a pair beside its cosine.
pub(crate) fn numbers(a: &Features, b: &Features) -> [f32; alignment::COUNT] {
    alignment::numbers(&a.wording, &b.wording)
}

/// The same whatever the rules say.
pub(crate) fn probability(similarity: f32, a: &Features, b: &Features) -> f64 {
    right::probability(similarity, &numbers(a, b))
}

fn known(features: &Features) -> HashSet<&str> {
    features.words.iter().map(|word| &**word).collect()
}

/// The last question of a text is the one to be answered; "what is" and "how does" are often the same one.
fn kinds_agree(a: &[Kind], b: &[Kind]) -> bool {
    let (a, b) = (a.last().copied().unwrap_or(Kind::General), b.last().copied().unwrap_or(Kind::General));
    let loose = |kind| matches!(kind, Kind::General | Kind::Manner);
    // "Which" and "what" are often the same question, too.
    let one_of = |a, b| a == Kind::Choice && b == Kind::General;
    a == b || (loose(a) && loose(b)) || one_of(a, b) || one_of(b, a)
}

/// "Where and how" asks more than "where". A way and a fact are often the same question, so `how` counts beside another only.
fn questions_agree(a: u32, b: u32) -> bool {
    a & !wording::HOW == b & !wording::HOW && (a == b || a & !wording::HOW == 0)
}

/// Beginnings of words that are each other's opposite.
const TURNED: [(&str, &str); 12] = [
    ("in", "ex"),
    ("inter", "intra"),
    ("pre", "post"),
    ("hyper", "hypo"),
    ("under", "over"),
    ("up", "down"),
    ("micro", "macro"),
    ("homo", "hetero"),
    ("infra", "ultra"),
    ("endo", "exo"),
    ("intro", "extro"),
    ("mono", "poly"),
];

/// Whether one side has a word that another beginning or end would make one of the other side: `inhale`, `exhale`; `trainer`, `trainee`.
fn turned(a: &HashSet<&str>, b: &HashSet<&str>) -> bool {
    let only = |here: &str| !b.contains(here);
    let there = |other: &str| b.contains(other) && !a.contains(other);
    a.iter().filter(|word| word.len() > 4 && only(word)).any(|word| {
        let by_beginning = TURNED.iter().any(|(one, other)| {
            let rest = |from: &str| word.strip_prefix(from).filter(|rest| rest.len() > 2);
            rest(one).is_some_and(|rest| there(&format!("{other}{rest}")))
                || rest(other).is_some_and(|rest| there(&format!("{one}{rest}")))
        });
        let receiver = word.strip_suffix("ee");
        by_beginning
            || receiver.is_some_and(|stem| there(&format!("{stem}er")) || there(&format!("{stem}or")))
    })
}

/// Whether one side has a word whose opposite by prefix or ending is on the other side only.
fn reversed(a: &HashSet<&str>, b: &HashSet<&str>) -> bool {
    let opposite = |word: &str| {
        let by_prefix =
            REVERSING.iter().filter_map(|prefix| word.strip_prefix(prefix)).filter(|base| base.len() > 2);
        let by_ending = word.strip_suffix("less").filter(|base| base.len() > 2);
        by_prefix.chain(by_ending).any(|base| {
            let full =
                |there: &str| there.strip_prefix(base).is_some_and(|ending| matches!(ending, "" | "ful"));
            b.iter().any(|there| full(there)) && !a.iter().any(|there| full(there))
        })
    };
    a.iter().any(|word| !b.contains(word) && opposite(word))
}

/// A question that is much longer asks for more.
fn extent_agrees(a: usize, b: usize) -> bool {
    a.abs_diff(b) <= 6 + a.min(b)
}
