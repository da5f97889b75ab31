//! Records of the ledger: what was used, by whom, at what price.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome, CacheState, UsageSource};
use signalbox_proto::metering::v1::RequestOutcome;

use crate::{budget::Amount, subject::Subject};

/// What one request, or a part of it, used.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) request_id: Arc<str>,
    /// The reservation that it is paid from; `None` when none was made.
    pub(crate) reservation_id: Option<String>,
    /// Who asked. A reservation's own subject goes before it. `None`: only the reservation knows.
    pub(crate) subject: Option<Arc<Subject>>,
    pub(crate) attempts: Vec<AttemptRecord>,
    /// How the request ended; present on the last record of a request.
    pub(crate) closing: Option<RequestOutcome>,
    pub(crate) details: Details,
}

/// What the ledger keeps of a request beside its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    #[serde(with = "number", skip_serializing_if = "is_default")]
    pub(crate) cache: CacheState,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) saved_nanousd: i64,
    /// Tokens of a cache hit: input and output.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) hit_tokens: (i64, i64),
    pub(crate) started_unix_ms: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) total_ms: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) first_output_ms: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) overhead_us: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) error_reason: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) client_request_id: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) on_allowance: bool,
    /// What its model was chosen by, as a JSON object; not read here.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) route: Option<String>,
}

/// Tokens by kind; the later ones are parts of the first two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tokens {
    pub(crate) input: i64,
    pub(crate) output: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cached_input: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cache_write: i64,
    /// Of that, what is kept for an hour. Not part of the sums of hours and days.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cache_write_1h: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) reasoning: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) audio_input: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) audio_output: i64,
}

/// One attempt at a provider. Immutable once written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttemptRecord {
    pub(crate) number: u32,
    pub(crate) target_id: String,
    #[serde(with = "number")]
    pub(crate) outcome: AttemptOutcome,
    #[serde(with = "number")]
    pub(crate) kind: AttemptKind,
    pub(crate) tokens: Tokens,
    #[serde(with = "number")]
    pub(crate) source: UsageSource,
    pub(crate) cost_nanousd: i64,
    /// Whether the cost is by rule because no price is known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) price_unknown: bool,
    /// The version of the price that was used.
    #[serde(with = "text")]
    pub(crate) price_version: Arc<str>,
    pub(crate) started_unix_ms: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) duration_ms: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) first_output_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) http_status: Option<u32>,
    /// The provider's words on a failure, bounded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) error: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) provider_request_id: Option<String>,
}

impl AttemptRecord {
    /// Whether it was made for the answer itself: no judge, and no copy beside it.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self.kind, AttemptKind::Shadow | AttemptKind::Judge)
    }

    /// What it takes from budgets.
    pub(crate) fn amount(&self) -> Amount {
        Amount { nanousd: self.cost_nanousd, tokens: self.tokens.input.saturating_add(self.tokens.output) }
    }
}

impl Record {
    /// The target that answered, else the last one that was tried. A judge and a copy beside the answer are neither, unless nothing
    /// else was asked.
    pub(crate) fn target(&self) -> Option<&str> {
        let own = || self.attempts.iter().rev().filter(|a| a.is_own());
        let answered = own().find(|a| a.outcome == AttemptOutcome::Ok);
        let tried = || own().next();
        answered.or_else(tried).or(self.attempts.last()).map(|a| a.target_id.as_str())
    }
}

/// How many records of a batch were new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) recorded: u32,
    pub(crate) duplicates: u32,
}

/// How good an answer was, by those who got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// From -1 to 1.
    pub(crate) value: f64,
    /// The kind of signal, in a word.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) kind: Option<String>,
}

/// Asks for a piece of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Empty: all.
    pub(crate) tenant: String,
    /// Inclusive.
    pub(crate) from_unix_ms: i64,
    /// Exclusive.
    pub(crate) to_unix_ms: i64,
    /// Where the page before ended; empty at the beginning.
    pub(crate) after: String,
    /// Requests at most.
    pub(crate) limit: usize,
}

/// A piece of the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaf {
    pub(crate) rows: Vec<Row>,
    /// Where the next one begins; `None` at the end.
    pub(crate) next: Option<String>,
}

/// One record of the ledger: an attempt with its request, or a request without attempts.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) request_id: String,
    pub(crate) subject: Subject,
    /// The target that answered, else the last that was tried.
    pub(crate) target: Option<String>,
    pub(crate) outcome: RequestOutcome,
    pub(crate) details: Details,
    /// How good the answer was; read with a [`Page`] alone.
    pub(crate) score: Option<Score>,
    pub(crate) attempt: Option<AttemptRecord>,
}

/// What says nothing is not written: most of a record is empty.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Enumerations of the contract as their numbers.
mod number {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Copy + Into<i32>, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32((*value).into())
    }

    pub(super) fn deserialize<'de, T: TryFrom<i32> + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        // A newer replica may know more.
        Ok(T::try_from(i32::deserialize(deserializer)?).unwrap_or_default())
    }
}

/// Shared text.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}
