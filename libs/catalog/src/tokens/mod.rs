//! Token counts before the call: exact where the vocabulary is known, an estimate with its error elsewhere.
//!
//! A count is the texts' tokens by the model's vocabulary ([`Vocabulary`]), what the chat format adds (`format.rs`), tools and
//! schemas as the model is shown them (`tools.rs`), and media by the provider's formulas (`media.rs`). Where a maker keeps its
//! vocabulary to itself (Anthropic, Cohere, Amazon) the texts are estimated (`estimate.rs`). `signalbox tokens eval` measures
//! all of it on recorded calls; `docs/prices.md` has the figures.

mod estimate;
mod family;
mod format;
mod media;
mod prompt;
mod tools;
mod vocabulary;

use std::sync::Arc;

pub use self::{
    family::Family,
    prompt::{Call, Detail, Media, Prompt, Speaker, Tool, Turn},
    vocabulary::{Loaded, Vocabulary, VocabularyError},
};

/// So many bytes of a prompt are counted; the tokens of the rest are extrapolated. Above the largest context windows.
const MOST_BYTES: usize = 6 << 20;

/// The share by which tools are misjudged at most, nine times of ten.
const TOOLS_ERROR: f64 = 0.25;
/// The same of media.
const MEDIA_ERROR: f64 = 0.30;

/// Whose prompt is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Model<'a> {
    /// Who serves it: doors differ in what they count.
    pub provider: &'a str,
    /// The model as the provider calls it.
    pub name: &'a str,
    /// Whether it is asked through OpenAI's Responses.
    pub responses: bool,
    /// A vocabulary of its own that the configuration names.
    pub vocabulary: Option<&'a Arc<Loaded>>,
}

/// A count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tokens.
    pub tokens: u64,
    /// Whether the model's own vocabulary and format were used, and nothing was estimated.
    pub exact: bool,
    /// How far the provider's count may be from it, in tokens, nine times of ten; 0 where it is exact.
    pub margin: u64,
}

/// Counts a text as a model would, without any format. Takes about 1 µs for ten bytes: long texts do not belong on
/// asynchronous threads.
#[must_use]
pub fn count_text(model: &str, text: &str) -> Count {
    Counter::of(&Model { name: model, ..Model::default() }).counted(text)
}

/// Counts a prompt as the provider would bill it. Takes about 1 µs for ten bytes, and at most what 6 MB take: what is
/// longer is extrapolated.
#[must_use]
pub fn count(model: &Model<'_>, prompt: &Prompt<'_>) -> Count {
    let counter = Counter::of(model);
    let family = counter.family;
    let (mut texts, mut room) = (0.0, MOST_BYTES);
    let (mut read, mut whole) = (0_usize, 0_usize);
    let mut add = |text: &str| {
        let part = &text[..text.floor_char_boundary(room.min(text.len()))];
        texts += counter.texts(part);
        (room, read, whole) = (room - part.len(), read + part.len(), whole + text.len());
    };
    for turn in &prompt.turns {
        add(&turn.text);
        for call in &turn.calls {
            add(call.name);
            add(&call.arguments);
        }
        turn.name.iter().for_each(|name| add(name));
    }
    if read < whole {
        texts *= whole as f64 / read.max(1) as f64;
    }
    let names = prompt.turns.iter().filter(|turn| turn.name.is_some()).count() as u64;
    let calls = prompt.turns.iter().map(|turn| turn.calls.len() as u64).sum::<u64>();
    let shown = tools::shown(family, model, prompt);
    let rendered = counter.texts(&shown.text[..shown.text.floor_char_boundary(MOST_BYTES)]);
    let tools = (rendered * shown.percent as f64).div_euclid(100.0) + shown.tokens as f64;
    let media = prompt.turns.iter().flat_map(|turn| &turn.media);
    let media: u64 =
        media.map(|medium| media::tokens(family, model.name, medium)).fold(0, u64::saturating_add);
    let beside = format::overhead(family, model, prompt) + names + calls * PER_CALL;
    let answer = counter.texts(&shown.answer);
    let error = texts * counter.error
        + tools * TOOLS_ERROR
        + answer * shown.answer_error
        + media as f64 * MEDIA_ERROR;
    let tools = tools + answer;
    let slack = format::slack(family, model, prompt);
    let found = prompt.unseen.iter().map(|kind| tools::found(family, kind)).sum::<u64>();
    let exact = counter.is_exact()
        && slack == 0
        && found == 0
        && read == whole
        && tools == 0.0
        && media == 0
        && calls == 0;
    Count {
        tokens: whole_number(texts + tools).saturating_add(media).saturating_add(beside),
        exact,
        margin: if exact { 0 } else { whole_number(error).max(2).saturating_add(slack + found) },
    }
}

/// What a call in an earlier answer adds to its name and arguments.
const PER_CALL: u64 = 4;

/// Loads the vocabularies of some models, so that no request waits for it.
pub fn warm<'a>(models: impl IntoIterator<Item = &'a str>) {
    let families: std::collections::BTreeSet<Family> = models.into_iter().map(Family::of).collect();
    for family in families {
        match family.vocabulary() {
            Some(vocabulary) => vocabulary.load(),
            None => [Vocabulary::O200k, Vocabulary::Mistral].into_iter().for_each(Vocabulary::load),
        }
    }
}

/// The way to count for one model.
struct Counter<'a> {
    family: Family,
    own: Option<&'a Arc<Loaded>>,
    estimate: estimate::Estimate,
    /// The share by which texts are misjudged.
    error: f64,
}

impl<'a> Counter<'a> {
    fn of(model: &Model<'a>) -> Self {
        let family = Family::of(model.name);
        let estimate = estimate::of(family);
        let known = model.vocabulary.is_some() || family.vocabulary().is_some();
        Self { family, own: model.vocabulary, error: if known { 0.0 } else { estimate.error }, estimate }
    }

    fn is_exact(&self) -> bool {
        self.error == 0.0
    }

    fn texts(&self, text: &str) -> f64 {
        match (self.own, self.family.vocabulary()) {
            _ if text.is_empty() => 0.0,
            (Some(own), _) => own.count(text) as f64,
            (None, Some(vocabulary)) => vocabulary.count(text) as f64,
            (None, None) => self.estimate.count(text),
        }
    }

    fn counted(&self, text: &str) -> Count {
        let tokens = self.texts(text);
        let exact = self.error == 0.0;
        Count {
            tokens: whole_number(tokens),
            exact,
            margin: if exact { 0 } else { whole_number(tokens * self.error).max(1) },
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
fn whole_number(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[cfg(test)]
mod tests;
