//! Limits, places in a row and rates, which a word or two say: "at least", "or more", "under two", "the second", "per year".

use super::{
    lexicon,
    phrases::Token,
    word_table,
    words::{NUMBER_WORDS, bits},
};

/// Comparatives by the end of a scale that they point to.
const MORE: &str =
    "more over above greater larger bigger higher longer taller older later after newer faster wider heavier";
const LESS: &str =
    "less fewer under below lower smaller shorter younger earlier before slower narrower lighter";
/// What `second` stands behind where it is a time.
const TIMED: &str = "per every each one few split a half";

/// Which of them a text says, each with a bit.
pub(super) fn of(tokens: &[Token]) -> u32 {
    let word = |at: usize| tokens.get(at).map_or("", |token| &*token.word);
    let before = |at: usize, back: usize| at.checked_sub(back).map_or("", word);
    let any = |says: &dyn Fn(usize) -> bool| (0..tokens.len()).any(says);
    let compared = |list: &'static str| move |word: &str| list.split_whitespace().any(|known| known == word);
    let (more, less) = (compared(MORE), compared(LESS));
    // "Before or after", "more or less" leave it open.
    let or = |at: usize, fits: &dyn Fn(&str) -> bool| {
        let open = more(before(at, 1)) || less(before(at, 1)) || is_comparative(before(at, 1));
        word(at) == "or" && fits(word(at + 1)) && (!open || word(at + 1) == before(at, 1))
    };
    let beside_number = |at: usize, fits: &dyn Fn(&str) -> bool| {
        let near = fits(word(at)) && is_number(word(at + 1));
        near || (word(at + 1) == "than" && fits(word(at)) && is_number(word(at + 2)))
    };
    let other = |word: &str| !more(word) && !less(word) && is_comparative(word);
    let ordinal = |at: usize| {
        let timed = is_number(before(at, 1)) || TIMED.split_whitespace().any(|t| t == before(at, 1));
        // "A second chance", but "wait a second".
        word(at) == "second" && (!timed || (before(at, 1) == "a" && at + 1 < tokens.len()))
    };
    bits(
        [
            any(&|at| (word(at) == "at" && word(at + 1) == "least") || or(at, &more)),
            any(&|at| (word(at) == "at" && word(at + 1) == "most") || or(at, &less)),
            any(&|at| or(at, &other) || or(at, &|word| word == "equal")),
            any(&|at| beside_number(at, &more)),
            any(&|at| beside_number(at, &less)),
            any(&ordinal),
            any(&|at| word(at) == "per"),
        ]
        .into_iter(),
    )
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || NUMBER_WORDS.contains_key(word)
}

/// Whether a word is a quality in the comparative: `longer`.
fn is_comparative(word: &str) -> bool {
    let Some(stem) = word.strip_suffix("er").filter(|stem| stem.len() > 2) else { return false };
    let quality = |form: &str| {
        word_table::find(form).is_some_and(|at| lexicon::class(Some(at)) == lexicon::Class::Quality)
    };
    let single = stem.strip_suffix(|c: char| stem[..stem.len() - 1].ends_with(c));
    let y = stem.strip_suffix('i').map(|stem| format!("{stem}y"));
    quality(stem)
        || quality(&format!("{stem}e"))
        || single.is_some_and(quality)
        || y.is_some_and(|form| quality(&form))
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
        for text in ["or", "second", "é or er", "a or öer", "than than", "or more or", "at least"] {
            let _ = Wording::of(text);
        }
    }
}
