//! Prompt injection, in tiers: patterns on normalised text, then a learned head over embeddings of windows of sentences.
//!
//! Without an embedding model the patterns stand alone.

mod disguises;
mod head;
pub(crate) mod normalise;
mod patterns;
mod signals;
mod windows;

use signalbox_embed::Embedder;

pub(crate) use self::patterns::FAMILIES;

/// The family of what only the learned head sees.
pub(crate) const LEARNED: usize = FAMILIES.len() - 1;

/// The way by which a text comes; what users write themselves is trusted more than what is brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// From the user.
    Direct,
    /// From tools, files and retrieval.
    Indirect,
}

impl Channel {
    /// The channel by its name in data.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "tool" | "retrieval" | "document" | "file" | "web" | "email" | "indirect" => Self::Indirect,
            _ => Self::Direct,
        }
    }
}

/// What was found about a text as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    /// From 0 to 1; above one half it counts as an attack.
    pub(crate) score: f64,
    /// Whether it counts as an attack at the built-in threshold.
    pub(crate) flagged: bool,
    /// Whether the learned tier was asked.
    pub(crate) learned: bool,
}

/// Returns the families of attacks that a text shows by its patterns, each once, also through disguises. Linear in the text's length.
pub(crate) fn families(text: &str) -> Vec<usize> {
    let plain = normalise::normalise(text);
    let mut found = patterns::families(&plain);
    for reading in disguises::readings(text, &plain) {
        found.extend(patterns::families(&reading));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a text has words that attacks are made of; harmless texts are full of them.
pub(crate) fn has_trigger(text: &str) -> bool {
    patterns::has_trigger(&normalise::normalise(text))
}

/// The windows of a text, with their signals: what the learned tier looks at.
pub(crate) fn windows(text: &str, channel: Channel) -> Vec<(&str, [f32; signals::COUNT])> {
    let cut = windows::of(text, channel == Channel::Indirect);
    cut.into_iter().map(|window| (window, signals::of(window, &normalise::normalise(window)))).collect()
}

/// The learned head's inputs, a row for each window; for training.
pub(crate) async fn inputs(text: &str, channel: Channel, embedder: &Embedder) -> Option<Vec<Vec<f32>>> {
    let windows = windows(text, channel);
    let texts: Vec<String> = windows.iter().map(|(window, _)| (*window).to_owned()).collect();
    let vectors = embedder.embed_all(texts).await.ok()?;
    let join = |(vector, (_, signals)): (&signalbox_embed::Vector, &(&str, [f32; signals::COUNT]))| {
        [&vector[..], &signals[..]].concat()
    };
    Some(vectors.iter().zip(&windows).map(join).collect())
}

/// Judges a text: by patterns, and where they do not settle it, by the learned head. Cancel safe.
pub(crate) async fn judge(text: &str, channel: Channel, embedder: Option<&Embedder>) -> Judgement {
    let patterns = !families(text).is_empty();
    let by_patterns =
        Judgement { score: if patterns { 0.97 } else { 0.0 }, flagged: patterns, learned: false };
    let head = match channel {
        Channel::Direct => &*head::DIRECT,
        Channel::Indirect => &*head::INDIRECT,
    };
    let (Some(embedder), Some(head)) = (embedder.filter(|_| !patterns), head) else { return by_patterns };
    match learned(text, channel, embedder, head).await {
        Some(score) => Judgement { score, flagged: score > 0.5, learned: true },
        None => by_patterns,
    }
}

/// Of many windows one is high by chance; as in `scripts/train_guard.py`.
const WINDOWS: f32 = 0.5;

/// The highest score of a text's windows; one half at the head's threshold.
async fn learned(text: &str, channel: Channel, embedder: &Embedder, head: &head::Head) -> Option<f64> {
    let windows = windows(text, channel);
    let texts: Vec<String> = windows.iter().map(|(window, _)| (*window).to_owned()).collect();
    let vectors = embedder.embed_all(texts).await.ok()?;
    let logits = vectors.iter().zip(&windows).map(|(vector, (_, signals))| head.logit(vector, signals));
    let highest = logits.fold(f32::NEG_INFINITY, f32::max) - WINDOWS * (windows.len().max(1) as f32).ln();
    Some(1.0 / (1.0 + f64::from(head.threshold - highest).exp()))
}
