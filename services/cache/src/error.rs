//! What may go wrong, and how it leaves the service.

use signalbox_mesh::error;
use signalbox_proto::common::v1::ErrorReason;
use tonic::{Code, Status};

use crate::backend::Away;

/// Why the cache could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration cannot work; the sentence names the key and what to change.
    #[error("{0}")]
    Config(String),
}

/// Why a call failed. Holds nothing of prompt or answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{field}: {what}")]
    Invalid { field: &'static str, what: String },
    #[error("only a cached answer was asked for, and there is none; allow a model call")]
    NotCached,
    #[error("{0}")]
    NotFound(&'static str),
    #[error("{0}")]
    NotSupported(String),
    #[error("the cache serves as many tenants as it can; retry later")]
    TooManyTenants,
    #[error("the embedding model is busy; retry later")]
    Busy,
    #[error("the store that replicas share does not answer; retry later")]
    Away,
    #[error("a stored answer cannot be read")]
    Unreadable,
}

impl Failure {
    pub(crate) fn invalid(field: &'static str, what: impl Into<String>) -> Self {
        Self::Invalid { field, what: what.into() }
    }
}

impl From<Away> for Failure {
    fn from(Away: Away) -> Self {
        Self::Away
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let words = failure.to_string();
        let (code, reason) = match failure {
            Failure::Invalid { field, what } => return error::invalid(field, what),
            Failure::Unreadable => return error::internal(words),
            Failure::NotCached => (Code::NotFound, ErrorReason::NotCached),
            Failure::NotFound(_) => (Code::NotFound, ErrorReason::NotFound),
            Failure::NotSupported(_) => (Code::Unimplemented, ErrorReason::NotSupported),
            Failure::TooManyTenants | Failure::Busy | Failure::Away => {
                return error::status(Code::Unavailable, ErrorReason::Overloaded, words)
                    .with_retry(std::time::Duration::from_secs(1))
                    .into();
            }
        };
        error::status(code, reason, words).into()
    }
}
