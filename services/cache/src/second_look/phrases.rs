//! Ways to say the same: how a question begins, contractions, spellings.

use std::{collections::HashMap, sync::LazyLock};

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// In lower case, without marks.
    pub(super) word: Box<str>,
    /// Written like a name.
    pub(super) name: bool,
}

/// What "how do I" and "what is the best way to" become.
pub(super) const HOW_TO: &str = "howto";

/// Phrases and what stands for them. `a|b`: one of these words; in brackets: if it is there.
const PHRASES: &[(&str, &str)] = &[
    (
        "how can|do|should|could|would|does|did|might|may|to|shall i|you|we|one|someone|somebody|people|anyone",
        HOW_TO,
    ),
    ("how to", HOW_TO),
    (
        "what is|are|was|were [the|some|a|an|your|my] [of] [the] [most] \
         [best|easiest|good|better|simplest|right|proper|easy|simple|effective|efficient|possible|different|various|correct|ideal|top|great] \
         way|ways|method|methods|step|steps|trick|tricks|technique|techniques|procedure|procedures|process|strategy|strategies \
         to|of|for [which|that] [i|you|we|one] [can|could|should]",
        HOW_TO,
    ),
    ("what can|should|do|could|must|shall i|you|we|one [have|need] [to] do [in] [order] to", HOW_TO),
    (
        "is|are there [any|a|some] [good|easy|better|best|possible] way|ways to|of|for|that [i|you|we|one] [can|could|should]",
        HOW_TO,
    ),
    ("which is|are [the|some|a] [best|easiest|good|better] way|ways to|of|for", HOW_TO),
    ("what is|are [the|some] [best|good|useful|great] tip|tips to|for|on", HOW_TO),
    ("can|could|would|will you|someone|anyone|somebody|anybody [please] tell|help|give|show me", ""),
    (
        "can|could|would|will you|someone|anyone|somebody|anybody [please] explain|describe|suggest|recommend",
        "",
    ),
    ("do you know", ""),
    ("does anyone know", ""),
    ("i want|need to know", ""),
    ("i would like to know", ""),
    ("i was wondering", ""),
    ("tell|explain [to] me", ""),
    ("please|hi|hello|thanks", ""),
    ("in order to", "to"),
    ("because of", "because"),
    ("due|owing to", "because"),
    ("as well as", "and"),
    ("a lot of", "many"),
    ("lots|plenty of", "many"),
    ("such as", "like"),
    ("get|getting rid of", "remove"),
    ("as soon as possible", "quickly"),
    ("what is|are [the] meaning|meanings|definition|definitions of", "what is"),
    ("what is|are [the] reason|reasons for|why|that|behind|of", "why"),
    ("how come", "why"),
    ("what makes|causes", "why"),
    ("[for] what reason", "why"),
    ("difference|differences between", "versus"),
    ("different|differs|differ from", "versus"),
    // Whoever is compared stands first.
    ("compare|compared to|with", "than"),
    ("which is|are", "what is"),
    ("what are", "what is"),
    ("vs", "versus"),
];

/// One place of a phrase: any of these words, and whether it may be left out.
type Place = (Vec<&'static str>, bool);

static RULES: LazyLock<Vec<(Vec<Place>, &str)>> = LazyLock::new(|| {
    let place = |word: &'static str| {
        let inside = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        (inside.unwrap_or(word).split('|').collect(), inside.is_some())
    };
    PHRASES
        .iter()
        .map(|(phrase, instead)| (phrase.split_whitespace().map(place).collect(), *instead))
        .collect()
});

/// Replaces phrases, one rule after the other, each from the left.
pub(super) fn rewrite(tokens: &mut Vec<Token>) {
    for (phrase, instead) in RULES.iter() {
        let mut at = 0;
        while at < tokens.len() {
            let Some(length) = matched(phrase, &tokens[at..]).filter(|length| *length > 0) else {
                at += 1;
                continue;
            };
            let new = instead.split_whitespace().map(|word| Token { word: word.into(), name: false });
            let new: Vec<Token> = new.collect();
            let behind = at + new.len().max(1);
            tokens.splice(at..at + length, new);
            at = if instead.is_empty() { at } else { behind };
        }
    }
    meaning(tokens);
}

/// How many words a phrase takes at the front. As much as it can, place by place.
fn matched(phrase: &[Place], tokens: &[Token]) -> Option<usize> {
    let Some(((words, optional), rest)) = phrase.split_first() else { return Some(0) };
    let fits = tokens.first().is_some_and(|token| words.contains(&&*token.word));
    let taken = fits.then(|| matched(rest, &tokens[1..])).flatten().map(|length| length + 1);
    taken.or_else(|| if *optional { matched(rest, tokens) } else { None })
}

/// "What does X mean" asks what X is.
fn meaning(tokens: &mut Vec<Token>) {
    const LONGEST: usize = 8;
    let asks = tokens.len() >= 4 && &*tokens[0].word == "what";
    if asks && matches!(&*tokens[1].word, "do" | "does" | "did") {
        let end = tokens.iter().take(LONGEST).position(|token| &*token.word == "mean");
        if let Some(end) = end.filter(|end| *end > 2) {
            tokens.remove(end);
            tokens[1].word = "is".into();
        }
    }
}

/// The parts of a contraction; one part for any other word.
pub(super) fn parts(word: &str) -> impl Iterator<Item = &str> {
    let whole = |word| [Some(word), None];
    let parts = match word {
        "cannot" | "can't" => [Some("can"), Some("not")],
        "won't" => [Some("will"), Some("not")],
        "shan't" => [Some("shall"), Some("not")],
        "whats" => [Some("what"), Some("is")],
        _ => match word.rsplit_once('\'') {
            Some((stem, "t")) if stem.len() > 1 && stem.ends_with('n') => {
                [Some(&stem[..stem.len() - 1]), Some("not")]
            }
            Some((stem, "s")) if ASKING.contains(&stem) => [Some(stem), Some("is")],
            Some((stem, "s" | "")) => whole(stem),
            Some((stem, "m")) => [Some(stem), Some("am")],
            Some((stem, "re")) => [Some(stem), Some("are")],
            Some((stem, "ve")) => [Some(stem), Some("have")],
            Some((stem, "ll")) => [Some(stem), Some("will")],
            Some((stem, "d")) => [Some(stem), Some("would")],
            _ => whole(word),
        },
    };
    parts.into_iter().flatten().filter(|part| !part.is_empty())
}

/// Words whose `'s` is an `is`.
const ASKING: [&str; 13] =
    ["what", "who", "where", "how", "when", "why", "it", "that", "there", "he", "she", "here", "let"];

/// Spellings and short forms, and the word that stands for them.
const SPELLINGS: &str = "colour=color favourite=favorite organisation=organization programme=program centre=center behaviour=behavior \
    cheque=check grey=gray tyre=tire maths=mathematics math=mathematics defence=defense licence=license travelling=travel \
    analyse=analyze realise=realize app=application apps=application info=information uni=university pic=picture pics=picture \
    photo=picture photos=picture photograph=picture govt=government phd=doctorate doc=document docs=document exam=examination \
    exams=examination ad=advertisement ads=advertisement advert=advertisement bike=bicycle phone=telephone phones=telephone usa=america \
    u.s=america u.s.a=america uk=britain u.k=britain ok=okay tv=television movie=film movies=film mom=mother mum=mother dad=father \
    kid=child kids=child auto=automobile car=automobile cars=automobile e-mail=email emails=email web-site=website site=website sites=website \
    lose=lose loose=loose pls=please plz=please u=you ur=your r=are cellphone=telephone mobile=telephone";

static SPELLED: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| SPELLINGS.split_whitespace().filter_map(|pair| pair.split_once('=')).collect());

/// The word that stands for a spelling.
pub(super) fn spelled(word: &str) -> Option<&'static str> {
    SPELLED.get(word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let mut tokens: Vec<Token> =
            text.split_whitespace().map(|word| Token { word: word.into(), name: false }).collect();
        rewrite(&mut tokens);
        tokens.iter().map(|token| &*token.word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ways_to_ask_the_same_become_one() {
        for text in [
            "how do i boil an egg",
            "how to boil an egg",
            "what is the best way to boil an egg",
            "what are some good ways to boil an egg",
            "can you tell me how to boil an egg",
            "is there any way to boil an egg",
            "what should i do to boil an egg",
        ] {
            assert_eq!(rewritten(text), "howto boil an egg", "{text}");
        }
        assert_eq!(rewritten("what does entropy mean"), rewritten("what is the meaning of entropy"));
        assert_eq!(rewritten("what makes the sky blue"), "why the sky blue");
    }

    #[test]
    fn what_narrows_the_question_stays() {
        for text in ["what is the cheapest way to travel", "what is the fastest way to travel"] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn contractions_come_apart() {
        let of = |word| parts(word).collect::<Vec<_>>();
        assert_eq!(of("what's"), ["what", "is"]);
        assert_eq!(of("don't"), ["do", "not"]);
        assert_eq!(of("can't"), ["can", "not"]);
        assert_eq!(of("france's"), ["france"]);
        assert_eq!(of("'"), [""; 0]);
        assert_eq!(of("won't"), ["will", "not"]);
    }
}
