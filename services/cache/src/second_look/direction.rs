//! Who does it to whom, and which way: what word order and opposites do not show.
//!
//! "Transfer to" a school is not "out of" it, a book "by" children is none "for" them, what "you did for a stranger" is not what "a stranger did
//! for you", and what birds build nests "with" is not how they build them.

use super::{
    lexicon::{self, Class},
    phrases::Token,
    word_table,
    wording::{AUXILIARIES, Asked, Wording},
    words::{ARTICLES, is},
};

/// Which way a preposition points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Toward,
    Away,
    Agent,
}

/// Prepositions that may stand alone at the end of a question, whose object is what is asked for.
const STRANDED: &str = "for with to from by against about of";
/// Prepositions that have a pronoun as their object.
const BEFORE_OBJECTS: &str = "for to by from at with on of about against";
/// Base forms of what stands between a question word and the verb that it helps.
const HELPING: &str =
    "do be is are was were does did have has had can could will would shall should may might must";
/// Adverbs between a subject and its verb.
const ADVERBS: &str =
    "ever never always usually often still actually really personally also just even already not";
/// Who helps or tells is no part of the matter: "help me", "show me".
const OFFERS: &str = "tell give show help let teach explain get find recommend suggest advise send";
/// What `this` is followed by when it points at nothing.
const PRESENT: &str = "year month week weekend day morning evening night hour season century decade time way world planet country";

/// Whether both questions point the same way.
pub(super) fn agrees(a: &Wording, b: &Wording) -> bool {
    ways_agree(a, b)
        && balance_agrees(a, b)
        && roles_agree(a.roles, b.roles)
        && stranded_agree(a, b)
        && stranded_agree(b, a)
        && ends_agree(a, b)
        && ends_agree(b, a)
        && !acts_instead(a, b)
        && !acts_instead(b, a)
}

/// Whether what something is done by here is what it is done to there: "cited by Anna", "cites Anna".
fn acts_instead(a: &Wording, b: &Wording) -> bool {
    (1..a.words.len()).filter(|by| *a.words[*by] == *"by").any(|by| {
        let (act, doer) = (&a.words[by - 1], behind(a, by));
        doer.is_some() && (0..b.words.len()).any(|at| b.words[at] == *act && behind(b, at) == doer)
    })
}

/// The word behind a place and its article.
fn behind(wording: &Wording, at: usize) -> Option<&str> {
    let mut rest = wording.words.get(at + 1..)?.iter().map(|word| &**word);
    rest.find(|word| !is(ARTICLES, word))
}

/// At which end of what happens stands who or what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// "Who owns Bentley?", "Who was Hamlet written by?"
    Doer,
    /// "Who does Bentley own?", "Who was helped by Anna?"
    Receiver,
    Unknown,
}

/// Words within which a question word has its auxiliary: "which football team did".
const TO_AUXILIARY: usize = 5;

fn end(wording: &Wording) -> End {
    let asks = |word: &str| matches!(word, "who" | "what" | "which");
    let Some(at) = wording.words.iter().position(|word| asks(word)) else { return End::Unknown };
    let behind = &wording.words[at + 1..];
    let acts = |word: &str| lexicon::class(word_table::find(word)) == Class::Verb;
    // The thing that is asked for stands between: "what books".
    let skipped = match behind.first() {
        Some(first) if *wording.words[at] != *"who" && !is(HELPING, first) && !acts(first) => {
            let found = behind.iter().take(TO_AUXILIARY).position(|word| is(HELPING, word) || acts(word));
            let Some(found) = found else { return End::Unknown };
            found
        }
        _ => 0,
    };
    match behind[skipped..].split_first().map(|(first, rest)| (&**first, rest)) {
        Some(("do" | "does" | "did", _)) => End::Receiver,
        Some(("be" | "is" | "are" | "was" | "were", rest)) => {
            match rest.iter().position(|word| **word == *"by") {
                Some(by) if by + 1 == rest.len() => End::Doer,
                // Right behind the verb: what is done by somebody is asked for.
                Some(1) => End::Receiver,
                _ => End::Unknown,
            }
        }
        Some((first, [_, ..]))
            if !is(HELPING, first) && wording.content.iter().any(|one| *one.word == *first) =>
        {
            End::Doer
        }
        _ => End::Unknown,
    }
}

/// Of what both say, not the doer is asked for here and the receiver there.
fn ends_agree(a: &Wording, b: &Wording) -> bool {
    let form = |one: &str, other: &str| {
        let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
        short == long || (short.len() > 3 && long.starts_with(short) && long.len() - short.len() <= 3)
    };
    let within = |few: &Wording, many: &Wording| {
        few.content.iter().all(|one| many.words.iter().any(|word| form(&one.word, word)))
    };
    (end(a), end(b)) != (End::Doer, End::Receiver) || !(within(a, b) || within(b, a))
}

/// No word that both have stands behind `to` here and behind `from` or `by` there.
fn ways_agree(a: &Wording, b: &Wording) -> bool {
    a.content.iter().all(|one| {
        let other = b.content.iter().find(|other| other.word == one.word);
        let ways = other.and_then(|other| Some((way(a, one.at.into())?, way(b, other.at.into())?)));
        ways.is_none_or(|(here, there)| here == there || (here != Way::Toward && there != Way::Toward))
    })
}

fn way(wording: &Wording, at: usize) -> Option<Way> {
    let mut before =
        wording.words.get(..at)?.iter().rev().map(|word| &**word).skip_while(|word| is(ARTICLES, word));
    match (before.next()?, before.next()) {
        ("to" | "into" | "onto" | "toward" | "towards" | "for", _) => Some(Way::Toward),
        ("from" | "off", _) | ("of", Some("out" | "off")) => Some(Way::Away),
        ("by", _) => Some(Way::Agent),
        _ => None,
    }
}

/// Not one `from` here where there is one `to` more, whatever stands behind it; nor is `against` on one side alone.
fn balance_agrees(a: &Wording, b: &Wording) -> bool {
    let count = |of: &Wording, list: &str| of.words.iter().filter(|word| is(list, word)).count();
    let (toward, away) = ("to into onto toward towards", "from off out");
    let (to, from) = ((count(a, toward), count(b, toward)), (count(a, away), count(b, away)));
    let turned = (from.0 > from.1 && to.0 < to.1) || (from.0 < from.1 && to.0 > to.1);
    !turned && count(a, "against") == count(b, "against")
}

/// Nobody is only doer here and only receiver there.
fn roles_agree(a: u16, b: u16) -> bool {
    (0..PERSONS.len()).all(|person| {
        let (here, there) = ((a >> (2 * person)) & 3, (b >> (2 * person)) & 3);
        here == 0 || there == 0 || here & there != 0
    })
}

/// What a question ends in is said by the other, too.
fn stranded_agree(here: &Wording, there: &Wording) -> bool {
    let Some(last) = here.words.last().filter(|_| here.words.len() > 2) else { return true };
    // "How long do dogs live for?"
    let of_time = &**last == "for" && here.asked == Asked::HowMuch;
    !is(STRANDED, last) || of_time || there.words.contains(last)
}

/// Pronouns by person: as doer, as receiver. `you` is both.
const PERSONS: [(&str, &str); 4] = [("i we", "me us"), ("you", "you"), ("he", "him"), ("they", "them")];

/// Who does something and to whom it is done: two bits for each person.
pub(super) fn roles(tokens: &[Token]) -> u16 {
    let word = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| &*token.word);
    let mut roles = 0;
    for (person, (doer, receiver)) in PERSONS.iter().enumerate() {
        for at in 0..tokens.len() {
            let (before, here, behind) = (word(at.checked_sub(1)), word(Some(at)), word(Some(at + 1)));
            let both = doer == receiver && is(doer, here);
            let acts = if both {
                let verb = lexicon::class(word_table::find(behind)) == Class::Verb;
                let turned = is(AUXILIARIES, before) || is(AUXILIARIES, behind);
                !is(BEFORE_OBJECTS, before) && (turned || is(ADVERBS, behind) || verb)
            } else {
                is(doer, here)
            };
            let receives = if both {
                is(BEFORE_OBJECTS, before)
            } else {
                is(receiver, here) && !is(OFFERS, lexicon::base_of(before))
            };
            roles |= (u16::from(acts) | u16::from(receives) << 1) << (2 * person);
        }
    }
    roles
}

/// Whether `this` or `these` stands for something that is not in the text.
pub(super) fn shows(tokens: &[Token]) -> bool {
    let next = |at: usize| tokens.get(at + 1).map_or("", |token| &*token.word);
    (0..tokens.len())
        .any(|at| matches!(&*tokens[at].word, "this" | "these") && !is(PRESENT, lexicon::base_of(next(at))))
}
