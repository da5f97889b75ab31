//! What an `and` or an `or` adds: "the bad effects" are not "the good and bad effects".

use std::collections::HashSet;

use super::{
    alignment::closeness,
    wording::{Content, Wording},
    words::LIGHT_WORDS,
};

/// How far a joined word may stand from its `and`.
const REACH: usize = 3;
/// From how close on two words are the same thing.
const SAME: f32 = 0.6;

/// Whether neither side joins something to what both say.
pub(super) fn agrees(a: &Wording, b: &Wording) -> bool {
    !adds(a, b) && !adds(b, a)
}

/// Only a joint more can add something: with as many one word of two may be said in another way.
fn adds(here: &Wording, there: &Wording) -> bool {
    if joints(here).count() <= joints(there).count() {
        return false;
    }
    let own: HashSet<&str> = here.content.iter().map(|one| &*one.word).collect();
    let (both, new): (Vec<&Content>, Vec<&Content>) =
        there.content.iter().partition(|other| own.contains(&*other.word));
    let both: HashSet<&str> = both.into_iter().map(|one| &*one.word).collect();
    let said =
        |one: &Content| both.contains(&*one.word) || new.iter().any(|other| closeness(one, other).0 >= SAME);
    joints(here).any(|at| {
        let before = here.words[..at].iter().rev().take(REACH).find_map(|word| content(here, word));
        let behind = here.words[at + 1..].iter().take(REACH).find_map(|word| content(here, word));
        before.zip(behind).is_some_and(|(before, behind)| said(before) != said(behind))
    })
}

/// Where an `and` or an `or` stands.
fn joints(wording: &Wording) -> impl Iterator<Item = usize> {
    (0..wording.words.len()).filter(|at| matches!(&*wording.words[*at], "and" | "or"))
}

/// What says something about the subject.
fn content<'a>(wording: &'a Wording, word: &str) -> Option<&'a Content> {
    wording.content.iter().find(|one| *one.word == *word && !LIGHT_WORDS.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(a: &str, b: &str) -> bool {
        agrees(&Wording::of(a), &Wording::of(b))
    }

    #[test]
    fn what_is_joined_asks_for_more() {
        for (a, b) in [
            ("What are biased facts about smoking?", "What are the biased and unbiased facts about smoking?"),
            ("How many jobs were not in farming?", "How many jobs were not in farming and construction?"),
            ("Who caught the pass?", "Who threw and caught the pass?"),
            ("Do I need a visa for Peru?", "Do I need a visa for Peru or Chile?"),
        ] {
            assert!(!agree(a, b) && !agree(b, a), "{a} / {b}");
        }
        for (a, b) in [
            ("What do gold and silver cost?", "What is the price of silver and gold?"),
            ("How do I fix and paint a door?", "How can I repair and paint a door?"),
            ("What is the best and cheapest phone?", "What is the best cheapest phone?"),
        ] {
            assert!(agree(a, b), "{a} / {b}");
        }
    }
}
