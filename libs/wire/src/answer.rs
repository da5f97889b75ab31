//! What a provider's answer amounts to, whichever dialect it came in.

use prost_types::Struct;
use signalbox_proto::common::v1::{Delta, FinishReason, Usage};

/// Bounds what a stream decoder keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line and the largest event, in bytes.
    pub event_bytes: usize,
    /// How many chunks of one stream may be unreadable before the stream is given up.
    pub malformed_chunks: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { event_bytes: 1 << 20, malformed_chunks: 16 }
    }
}

/// Collects what a provider says about its answer besides the answer itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The model that the provider says it used.
    pub model: Option<String>,
    /// Why the answer ended. `None`: the provider has not said so, and the answer is not complete.
    pub finish_reason: Option<FinishReason>,
    /// The provider's own word for it.
    pub provider_finish_reason: Option<String>,
    /// Token counts as reported. `None`: none came.
    pub usage: Option<Usage>,
    /// Fields of the last messages that have no place elsewhere.
    pub extra: Option<Struct>,
    /// Whether the stream's own end marker came (`[DONE]`).
    pub done: bool,
    /// Chunks that could not be read and were skipped.
    pub malformed: u32,
}

/// Holds a whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its pieces, in order.
    pub deltas: Vec<Delta>,
    /// What was said about it.
    pub summary: Summary,
}
