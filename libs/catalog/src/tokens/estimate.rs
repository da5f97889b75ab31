//! Estimates where a maker keeps the vocabulary to itself, and how far they were off.
//!
//! An estimate is a mix of counts by two known vocabularies, because what makes a text long in one makes it long in the other:
//! Tekken, which like Claude's first vocabulary has a token for each digit, and OpenAI's `o200k_base`. The weights are least
//! squares over recorded prompts and answers of several models and sources, each checked on what was left out; what is said of
//! the error is the 90th percentile there, rounded up.

use super::{family::Family, vocabulary::Vocabulary};

/// Texts up to so many tokens consist of common words, which are one token in every vocabulary.
const COMMON: f64 = 25.0;

/// How a count is estimated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    /// Tokens for one of `o200k_base`.
    o200k: f64,
    /// Tokens for one of Tekken.
    tekken: f64,
    /// Tokens for one more of Tekken past [`COMMON`].
    rare: f64,
    /// Nine of ten estimates of plain text should be nearer than this share.
    pub(super) error: f64,
}

/// The way to estimate for a family without a vocabulary of its own here.
pub(super) const fn of(family: Family) -> Estimate {
    match family {
        Family::Claude => Estimate { o200k: 0.0, tekken: 1.0, rare: 0.07, error: 0.10 },
        Family::ClaudeNew => Estimate { o200k: 1.19, tekken: 0.19, rare: 0.0, error: 0.10 },
        Family::Nova => Estimate { o200k: 1.0, tekken: 0.0, rare: 0.0, error: 0.10 },
        _ => Estimate { o200k: 1.0, tekken: 0.0, rare: 0.0, error: 0.20 },
    }
}

impl Estimate {
    /// Estimates a text's tokens.
    pub(super) fn count(&self, text: &str) -> f64 {
        let by = |weight: f64, vocabulary: Vocabulary| {
            if weight == 0.0 { 0.0 } else { vocabulary.count(text) as f64 }
        };
        let tekken = by(self.tekken, Vocabulary::Mistral);
        self.o200k * by(self.o200k, Vocabulary::O200k)
            + self.tekken * tekken
            + self.rare * (tekken - COMMON).max(0.0)
    }
}
