//! One word for another, or two that changed places, and all the rest alike.
//!
//! The longer two such questions are the less one word weighs, to an encoder and to a count of what is left over; yet it may be the
//! one that matters: "if the seller cancels" is not "if the buyer cancels". So what stands in for a word must be known to mean the same. No list
//! of opposites has to know the pair.

use super::{
    lexicon::{self, Relation},
    phrases, word_table,
    wording::{AUXILIARIES, Wording},
    words::{JOINTS, LIGHT_WORDS, NIL_WORDS, PREPOSITIONS, QUANTITY_WORDS, UNIT_WORDS, is},
};

/// Words about the subject that stand in for others at most; of more the model makes its own mind.
const MOST: usize = 2;
/// What may stand here or there: "why is it late", "why it is late".
const MOVABLE: &str = "be do have really actually just also very still ever even please so then";
/// Ends that a preposition points to, of which one is not the other.
const WAYS: [(&str, &str); 4] =
    [("by", "to for from"), ("to", "from"), ("into", "from"), ("before", "after")];
/// Words that only join or shade, and are in no other list of those.
const LITTLE: &str = "whether during inside within through become via upon while because";

/// Whether, where two questions are the same but for a word or two, those mean the same.
pub(super) fn agrees(a: &Wording, b: &Wording) -> bool {
    if exchanged(a, b) {
        return false;
    }
    let (here, there) = (left_over(a, b), left_over(b, a));
    if here.iter().any(|x| there.iter().any(|y| relation(x, y) == Some(Relation::Opposite))) {
        return false;
    }
    let turned = |here: &[&str], there: &[&str]| {
        WAYS.iter().any(|(way, others)| here == [*way] && others.split(' ').any(|other| there == [other]))
    };
    if turned(&here, &there) || turned(&there, &here) {
        return false;
    }
    let about = |words: Vec<&str>| -> Vec<String> {
        words.into_iter().filter(|word| !is_little(word)).map(one_form).collect()
    };
    let (here, there) = (about(here), about(there));
    here.len() != there.len()
        || here.len() > MOST
        || here.iter().zip(&there).all(|(x, y)| mean_the_same(x, y))
}

/// Whether two words about the subject changed places, with nothing that joins them as equals between.
fn exchanged(a: &Wording, b: &Wording) -> bool {
    let pairs = || a.words.iter().zip(&b.words);
    let differing: Vec<usize> =
        pairs().enumerate().filter(|(_, (here, there))| here != there).map(|(at, _)| at).take(3).collect();
    let [first, second] = differing[..] else { return false };
    let turned = a.words[first] == b.words[second] && a.words[second] == b.words[first];
    let between = &a.words[first + 1..second];
    turned
        && a.words.len() == b.words.len()
        && !is_movable(&a.words[first])
        && !is_movable(&a.words[second])
        && !between.iter().any(|word| JOINTS.contains(&&**word))
}

/// Words that are said more often here than there, in order.
fn left_over<'a>(here: &'a Wording, there: &Wording) -> Vec<&'a str> {
    let mut rest: Vec<&str> = there.words.iter().map(|word| &**word).collect();
    let own = here.words.iter().map(|word| &**word);
    own.filter(|word| match rest.iter().position(|known| known == word) {
        Some(at) => {
            rest.swap_remove(at);
            false
        }
        None => true,
    })
    .collect()
}

fn is_little(word: &str) -> bool {
    NIL_WORDS.contains(word)
        || QUANTITY_WORDS.contains(word)
        || PREPOSITIONS.contains_key(word)
        || is(LITTLE, word)
}

fn is_movable(word: &str) -> bool {
    QUANTITY_WORDS.contains(word) || is(AUXILIARIES, word) || is(MOVABLE, word)
}

/// `App` and `application` are one.
fn one_form(word: &str) -> String {
    phrases::spelled(word).unwrap_or(word).to_owned()
}

fn mean_the_same(a: &str, b: &str) -> bool {
    use Relation::{Derived, KindOf, Similar, Synonym};
    let light = |word: &str| LIGHT_WORDS.contains(word);
    let units = || UNIT_WORDS.contains_key(a) && UNIT_WORDS.contains_key(b);
    // A word that is in no table may be a form or a misspelling; names are compared elsewhere.
    a == b
        || (light(a) && light(b))
        || relation(a, b).is_none_or(|known| matches!(known, Derived | Synonym | Similar | KindOf))
            && !units()
}

fn relation(a: &str, b: &str) -> Option<Relation> {
    let base = |word: &str| word_table::find(word).map(lexicon::base);
    Some(lexicon::relation(base(a)?, base(b)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(a: &str, b: &str) -> bool {
        let of = |text| Wording::of(text);
        agrees(&of(a), &of(b)) && agrees(&of(b), &of(a))
    }

    #[test]
    fn what_stands_in_for_a_word_must_mean_the_same() {
        for (text, one, other) in [
            (
                "Who pays for the parcel if the {} cancels the order of a new phone on the same day?",
                "seller",
                "buyer",
            ),
            ("Which vaccinations are required to {} Kenya?", "enter", "leave"),
            ("May my {} read what the insurance wrote about me?", "doctor", "patient"),
            ("What do ships to the islands cost in the {} holidays?", "summer", "winter"),
            ("How do the {} of deaf parents learn their names?", "children", "parents"),
            ("Does the hotel {} cash?", "take", "give"),
            ("How long was the {} of the last queen?", "predecessor", "successor"),
        ] {
            let (a, b) = (text.replace("{}", one), text.replace("{}", other));
            assert!(!agree(&a, &b), "{a} / {b}");
        }
        for (text, one, other) in [
            ("How do I {} a broken lamp?", "fix", "repair"),
            ("Where can I {} cheap shoes?", "buy", "purchase"),
            ("What is the {} way to learn chess?", "best", "easiest"),
            ("Which {} should I take to Oslo?", "clothes", "clothing"),
            ("Where is the {} of our school?", "principle", "princpal"),
        ] {
            let (a, b) = (text.replace("{}", one), text.replace("{}", other));
            assert!(agree(&a, &b), "{a} / {b}");
        }
    }

    #[test]
    fn two_words_change_places_only_side_by_side() {
        assert!(!agree(
            "How does yeast react with sugar in bread?",
            "How does sugar react with yeast in bread?"
        ));
        assert!(!agree("Is it safe to take this while driving?", "Is it take to safe this while driving?"));
        assert!(agree("What do gold and silver cost?", "What do silver and gold cost?"));
        assert!(agree("Why is creativity important?", "Why creativity is important?"));
    }
}
