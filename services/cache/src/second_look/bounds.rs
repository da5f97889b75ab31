//! Limits, places in a row and rates, which a word or two say: "at least", "or more", "under two", "the second", "per year".

use super::{lexicon, phrases::Token, words::NUMBER_WORDS};

const AT_LEAST: u32 = 1;
const AT_MOST: u32 = 1 << 1;
/// "Or equal", "or longer": which end of the scale it is, the words tell.
const OR: u32 = 1 << 2;
const MORE_THAN: u32 = 1 << 3;
const LESS_THAN: u32 = 1 << 4;
const SECOND: u32 = 1 << 5;
const PER: u32 = 1 << 6;

/// Which of them a text says, each with a bit.
pub(super) fn of(tokens: &[Token]) -> u32 {
    let word = |at: usize| tokens.get(at).map_or("", |token| &*token.word);
    let before = |at: usize| at.checked_sub(1).map_or("", word);
    (0..tokens.len()).fold(0, |said, at| {
        let (here, next) = (word(at), word(at + 1));
        said | match (here, next) {
            ("at", "least") => AT_LEAST,
            ("at", "most") => AT_MOST,
            ("per", _) => PER,
            ("second", _) if is_place(before(at), next) => SECOND,
            ("or", "equal") => OR,
            // "Before or after", "more or less" leave it open.
            ("or", _)
                if next != before(at) && (scale(before(at)).is_some() || is_comparative(before(at))) =>
            {
                0
            }
            ("or", _) => match scale(next) {
                Some(true) => AT_LEAST,
                Some(false) => AT_MOST,
                None if is_comparative(next) => OR,
                None => 0,
            },
            _ if is_number(if next == "than" { word(at + 2) } else { next }) => match scale(here) {
                Some(true) => MORE_THAN,
                Some(false) => LESS_THAN,
                None => 0,
            },
            _ => 0,
        }
    })
}

/// The end of a scale that a word points to: true for more.
fn scale(word: &str) -> Option<bool> {
    match word {
        "more" | "over" | "above" | "greater" | "larger" | "bigger" | "higher" | "longer" | "taller"
        | "older" | "later" | "after" | "newer" | "faster" | "wider" | "heavier" => Some(true),
        "less" | "fewer" | "under" | "below" | "lower" | "smaller" | "shorter" | "younger" | "earlier"
        | "before" | "slower" | "narrower" | "lighter" => Some(false),
        _ => None,
    }
}

/// Whether `second` is a place in a row between two words, not a time: "a second chance", but "wait a second".
fn is_place(before: &str, next: &str) -> bool {
    match before {
        "a" => !next.is_empty(),
        "per" | "every" | "each" | "one" | "few" | "split" | "half" => false,
        _ => !is_number(before),
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || NUMBER_WORDS.contains_key(word)
}

/// Whether a word is a quality in the comparative: `longer`.
fn is_comparative(word: &str) -> bool {
    lexicon::quality_of(word, "er").is_some()
}

#[cfg(test)]
mod tests {
    use super::super::wording::Wording;

    fn agree(a: &str, b: &str) -> bool {
        Wording::of(a).bounds == Wording::of(b).bounds
    }

    #[test]
    fn limits_places_and_rates_are_told_apart() {
        for (a, b) in [
            ("Who played 3 or more games?", "Who played more than 3 games?"),
            ("Which blocks have two neighbours?", "Which blocks have at least two neighbours?"),
            ("Which meeting is longer than mine?", "Which meeting is as long or longer than mine?"),
            ("Who wrote two articles?", "Who wrote under two articles?"),
            ("Which houses were let before May?", "Which houses were let on or before May?"),
            ("What is the second longest river?", "What is the longest river?"),
            ("How much did pay rise?", "How much per year did pay rise?"),
            ("How many 25-yard kicks were made?", "How many over 25-yard kicks were made?"),
        ] {
            assert!(!agree(a, b), "{a} / {b}");
        }
        for (a, b) in [
            ("Who played 3 or more games?", "Who played at least 3 games?"),
            ("Should I eat before or after a run?", "Should I eat after or before a run?"),
            ("Is it more or less safe?", "Is it safer?"),
            ("How far does light go in a second?", "How far does light go in one second?"),
            ("Which water or beer is best?", "Which beer or water is best?"),
        ] {
            assert!(agree(a, b), "{a} / {b}");
        }
    }

    #[test]
    fn any_words_end_well() {
        for text in ["or", "second", "é or er", "créer or faire", "a or größer", "idéer or öer", "than than"]
        {
            assert_eq!(Wording::of(text).bounds & !super::SECOND, 0, "{text}");
        }
    }
}
