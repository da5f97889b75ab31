//! How a question is worded, for the calibrated model: what each side says in base forms, and the little words that shade it.

use std::collections::BTreeMap;

use super::{
    bounds, direction, lexicon, phrases,
    phrases::{HOW_TO, Token},
    word_table,
    words::{LIGHT_WORDS, NIL_WORDS, PREPOSITIONS, QUANTITY_WORDS, UNIT_WORDS, bits},
};

/// What is asked for, by its first question word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Asked {
    HowTo,
    How,
    HowMuch,
    What,
    Who,
    When,
    Where,
    Why,
    YesOrNo,
    #[default]
    Other,
}

/// A word that says something about the subject.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Its base form.
    pub(super) word: Box<str>,
    pub(super) name: bool,
    pub(super) count: u16,
    /// Where it first stands.
    pub(super) at: u16,
    /// Its place in the table of words.
    pub(super) index: Option<usize>,
    pub(super) weight: f32,
}

/// A question's wording. A few hundred bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wording {
    /// Base forms of all words, in order.
    pub(super) words: Vec<Box<str>>,
    pub(super) content: Vec<Content>,
    pub(super) asked: Asked,
    /// Which question words ask: who, when, where, why, how.
    pub(super) questions: u32,
    /// Which groups of pronouns occur.
    pub(super) persons: u32,
    /// Which groups of auxiliaries occur.
    pub(super) modals: u32,
    pub(super) prepositions: u64,
    /// Words such as `only`, `every`, `more`, with their number.
    pub(super) quantities: BTreeMap<&'static str, u16>,
    /// Which limits, places in a row and rates it says.
    pub(super) bounds: u32,
    pub(super) sentences: u16,
    /// Whether it points at something that is not in it: "this picture".
    pub(super) pointing: bool,
    /// Whether `this` stands for something that is not in it.
    pub(super) shows: bool,
    /// Base forms of what is said in the superlative: `cheapest`.
    superlatives: Vec<Box<str>>,
    /// Who does something and to whom it is done, by pronouns.
    pub(super) roles: u16,
}

const PERSONS: [&str; 6] = [
    "i me my mine we us our myself ourselves",
    "you your yours yourself",
    "he him his",
    "she her hers",
    "they them their theirs",
    "someone somebody anyone anybody else",
];
pub(super) const FIRST_AND_SECOND: u32 = 0b11;

const MODALS: [&str; 4] = [
    "was were did had been",
    "will going gonna shall",
    "should must ought",
    "can could may might able would",
];

/// What `this` points at when it stands for something that was not sent.
const POINTED_AT: &str = "picture image video code question text link photo error sentence song problem integral equation puzzle riddle \
    program function movie book word passage page answer situation girl guy man woman animal plant bug insect actor actress font logo symbol";

impl Wording {
    pub(crate) fn of(text: &str) -> Self {
        let (mut tokens, sentences) = tokens(text);
        let pointing = points(&tokens);
        let plain: Vec<&str> = tokens.iter().map(|token| &*token.word).collect();
        let mut wording = Self {
            persons: groups(&PERSONS, &plain),
            modals: groups(&MODALS, &plain),
            bounds: bounds::of(&tokens),
            sentences,
            pointing,
            ..Self::default()
        };
        phrases::rewrite(&mut tokens);
        wording.shows = direction::shows(&tokens);
        wording.roles = direction::roles(&tokens);
        wording.asked = asked(&tokens);
        wording.questions = questions(&tokens);
        for (at, token) in tokens.iter().enumerate() {
            let last = at + 1 == tokens.len();
            wording.take(token, last);
        }
        wording
    }

    fn take(&mut self, token: &Token, last: bool) {
        let word = &*token.word;
        // A short name is no form of another word: `IT`, `US`, `R`.
        let base = if word == HOW_TO || (token.name && word.len() <= 4) {
            word
        } else {
            let unit = UNIT_WORDS.get(word).copied().filter(|_| word.len() > 1);
            phrases::spelled(word).or(unit).unwrap_or_else(|| {
                let base = lexicon::base_of(word);
                phrases::spelled(base).unwrap_or(base)
            })
        };
        let at = u16::try_from(self.words.len()).unwrap_or(u16::MAX);
        self.words.push(base.into());
        if let Some(bit) = PREPOSITIONS.get(word) {
            self.prepositions |= 1 << bit;
        }
        if word == HOW_TO {
            return;
        }
        if let Some(quality) = lexicon::quality_of(word, "est")
            .filter(|quality| !token.name && !LIGHT_WORDS.contains(&**quality))
        {
            self.superlatives.push(quality.into());
        }
        if !token.name {
            let main_verb = last && matches!(base, "do" | "mean" | "like" | "have");
            if !main_verb && (NIL_WORDS.contains(word) || NIL_WORDS.contains(base)) {
                return;
            }
            if let Some(quantity) = QUANTITY_WORDS.get(word) {
                *self.quantities.entry(quantity).or_default() += 1;
                return;
            }
        }
        if let Some(known) = self.content.iter_mut().find(|known| *known.word == *base) {
            known.count = known.count.saturating_add(1);
            known.name |= token.name;
            known.weight = weight(base, known.index, known.name);
            return;
        }
        let index = word_table::find(base);
        let weight = weight(base, index, token.name);
        self.content.push(Content { word: base.into(), name: token.name, count: 1, at, index, weight });
    }

    /// Whether both say of the same kind of all things: "only", "for free", "never".
    pub(super) fn extents_agree(&self, other: &Self) -> bool {
        const STRONG: &str = "only every each less fewer few both either neither none no never always half twice first last next not \
                              without except free";
        STRONG.split_whitespace().all(|word| self.quantities.get(word) == other.quantities.get(word))
    }

    /// Whether neither asks for the cheapest where the other asks for the fastest.
    pub(super) fn superlatives_agree(&self, other: &Self) -> bool {
        let more = |here: &Self, there: &Self| {
            here.superlatives.iter().any(|word| !there.superlatives.contains(word))
        };
        !(more(self, other) && more(other, self))
    }

    /// "Can I" is not "should I", nor "did it" "will it", where yes or no is the answer.
    pub(super) fn asks_alike(&self, other: &Self) -> bool {
        const FUTURE_AND_MUST: u32 = 0b110;
        // What a thing is and how one does something with it are two questions.
        let does_more = |way: &Self, fact: &Self| {
            let new = |one: &Content| !fact.words.contains(&one.word);
            way.asked == Asked::HowTo && fact.asked == Asked::What && way.content.iter().any(new)
        };
        if does_more(self, other) || does_more(other, self) {
            return false;
        }
        let both = self.asked == Asked::YesOrNo && other.asked == Asked::YesOrNo;
        !both || (self.modals ^ other.modals) & FUTURE_AND_MUST == 0
    }

    /// Roughly, in bytes.
    pub(super) fn size(&self) -> usize {
        let words: usize = self.words.iter().map(|word| word.len() + size_of::<Box<str>>()).sum();
        let content: usize = self.content.iter().map(|one| one.word.len() + size_of::<Content>()).sum();
        words + content + 32 * self.quantities.len() + 24 * self.superlatives.len()
    }
}

/// From 0 for what says little to 1 for a number or a word in no table.
fn weight(base: &str, index: Option<usize>, name: bool) -> f32 {
    if base.contains(|c: char| c.is_ascii_digit()) {
        return 1.0;
    }
    if LIGHT_WORDS.contains(base) && !name {
        return 0.25;
    }
    let rarity = index.map_or(1.0, word_table::rarity);
    rarity.max(if name { 0.85 } else { 0.35 })
}

/// The words of a text, contractions taken apart, and the number of its sentences.
fn tokens(text: &str) -> (Vec<Token>, u16) {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let shouted = text.chars().filter(|c| c.is_uppercase()).count() * 5 > letters * 3;
    let (mut tokens, mut sentences, mut in_sentence) = (Vec::new(), 0u16, 0);
    let mut starts = true;
    for chunk in text.split_whitespace() {
        for piece in chunk.split(|c: char| !(c.is_alphanumeric() || ".'’+#&_-".contains(c))) {
            let core = piece
                .trim_start_matches(['.', '\'', '’', '+', '#', '&', '_', '-'])
                .trim_end_matches(['.', '\'', '’', '&', '_', '-']);
            if core.is_empty() {
                continue;
            }
            let name = !shouted && is_name(core, starts);
            let lower = core.to_lowercase().replace('’', "'");
            let split = lower.contains('-') && !lower.contains(|c: char| c.is_numeric());
            let pieces = lower.split(|c| split && c == '-').flat_map(phrases::parts);
            let before = tokens.len();
            tokens.extend(pieces.map(|word| Token { word: word.into(), name }));
            in_sentence += tokens.len() - before;
            starts = false;
        }
        if chunk.trim_end_matches(['"', '”', ')', '\'']).ends_with(['.', '?', '!', ':']) {
            starts = true;
            if !chunk.ends_with(':') {
                sentences = sentences.saturating_add(u16::from(in_sentence > 1));
                in_sentence = 0;
            }
        }
    }
    (tokens, sentences.saturating_add(u16::from(in_sentence > 1)))
}

/// Whether a word is written like a name: a capital that the start of the sentence does not account for.
fn is_name(core: &str, starts: bool) -> bool {
    let core = core.strip_suffix("'s").or_else(|| core.strip_suffix("’s")).unwrap_or(core);
    let first_person = core == "I" || core.starts_with("I'") || core.starts_with("I’");
    let mut chars = core.chars();
    let first = chars.next().is_some_and(char::is_uppercase);
    !first_person && core.len() > 1 && ((first && !starts) || chars.any(char::is_uppercase))
}

fn groups(groups: &[&str], words: &[&str]) -> u32 {
    bits(groups.iter().map(|group| group.split_whitespace().any(|word| words.contains(&word))))
}

fn points(tokens: &[Token]) -> bool {
    let at = |at: usize| tokens.get(at).map_or("", |token| &*token.word);
    (0..tokens.len()).any(|here| match at(here) {
        "following" | "below" | "above" | "attached" => true,
        "this" | "these" => [1, 2].into_iter().any(|step| {
            let pointed = lexicon::base_of(at(here + step));
            POINTED_AT.split_whitespace().any(|thing| thing == pointed)
        }),
        _ => false,
    })
}

/// The bit of `how` among the question words.
pub(super) const HOW: u32 = 1 << 4;

/// The words that ask, each with a bit: at the start, behind an `and` or a comma's clause, or before an auxiliary.
fn questions(tokens: &[Token]) -> u32 {
    const ASKING: [&[&str]; 5] =
        [&["who", "whom", "whose"], &["when"], &["where"], &["why"], &["how", HOW_TO]];
    let word = |at: usize| tokens.get(at).map_or("", |token| &*token.word);
    let asks = |at: usize| {
        let before = at.checked_sub(1).map_or("", word);
        let turned = AUXILIARIES.split_whitespace().any(|auxiliary| auxiliary == word(at + 1));
        at == 0 || matches!(before, "and" | "or") || turned || word(at) == HOW_TO
    };
    bits(ASKING.iter().map(|words| (0..tokens.len()).any(|at| words.contains(&word(at)) && asks(at))))
}

pub(super) const AUXILIARIES: &str =
    "is are was were do does did can could should would will has have am may might shall must had";

fn asked(tokens: &[Token]) -> Asked {
    let word = |at: usize| tokens.get(at).map_or("", |token| &*token.word);
    if tokens.iter().any(|token| &*token.word == HOW_TO) {
        return Asked::HowTo;
    }
    for at in 0..tokens.len() {
        return match word(at) {
            "what" | "which" if matches!(word(at + 1), "time" | "year" | "date") => Asked::When,
            "what" | "which" => Asked::What,
            "who" | "whom" | "whose" => Asked::Who,
            "when" => Asked::When,
            "where" => Asked::Where,
            "why" => Asked::Why,
            "how" => match word(at + 1) {
                "much" | "many" | "long" | "far" | "old" | "often" | "tall" | "big" | "fast" | "high" => {
                    Asked::HowMuch
                }
                _ => Asked::How,
            },
            _ => continue,
        };
    }
    if AUXILIARIES.split_whitespace().any(|auxiliary| auxiliary == word(0)) {
        Asked::YesOrNo
    } else {
        Asked::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Vec<String> {
        Wording::of(text).content.iter().map(|one| one.word.to_string()).collect()
    }

    #[test]
    fn other_words_for_the_same_have_one_form() {
        for text in [
            "How do I learn guitar chords?",
            "What's the best way to learn guitar chords",
            "Can you tell me how to learn a guitar chord, please?",
        ] {
            assert_eq!(content(text), ["learn", "guitar", "chord"], "{text}");
        }
    }

    #[test]
    fn names_and_little_words_are_told_apart() {
        assert_eq!(content("How is the IT job market in the US?"), ["it", "job", "market", "us"]);
        let only = Wording::of("Why do women only shave their legs? Who says so?");
        assert_eq!(only.quantities.keys().copied().collect::<Vec<_>>(), ["only"]);
        assert_eq!((only.sentences, only.asked), (2, Asked::Why));
        assert_eq!(only.persons, 0b1_0000);
    }

    #[test]
    fn superlatives_are_known_by_their_quality() {
        let of = |word: &str| lexicon::quality_of(word, "est");
        for (word, quality) in
            [("cheapest", "cheap"), ("largest", "large"), ("biggest", "big"), ("happiest", "happy")]
        {
            assert_eq!(of(word).as_deref(), Some(quality));
        }
        for word in ["interest", "request", "forest", "test", "est", "best"] {
            assert_eq!(of(word), None, "{word}");
        }
    }

    #[test]
    fn what_points_elsewhere_is_seen() {
        for text in ["What is this math question's answer?", "Fix the code below.", "Who is this girl?"] {
            assert!(Wording::of(text).pointing, "{text}");
        }
        assert!(!Wording::of("Who made this happen?").pointing);
    }

    #[test]
    fn any_text_ends_well() {
        for text in ["", "?", "'", "---", "I", "’s", "C++ C#", "WHAT IS THIS", "a\u{0}b", "…", "İ ß ﬁ"]
        {
            let _ = Wording::of(text);
        }
    }
}
