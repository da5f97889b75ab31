//! How an attempt failed, and what the caller is told in the end.

use std::time::Duration;

use signalbox_mesh::error;
use signalbox_proto::common::v1::{AttemptOutcome, ErrorReason};
use signalbox_wire::{ErrorClass, ProviderError};
use tonic::{Code, Status};

use crate::policy::row;

/// What callers are told to wait where nobody said anything better.
const SOON: Duration = Duration::from_secs(1);

/// Is an attempt's failure.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: ProviderError,
    pub(crate) outcome: AttemptOutcome,
    /// Whether the provider had begun to answer: then its input is billed.
    pub(crate) accepted: bool,
    /// Whether anything was sent at all.
    pub(crate) sent: bool,
}

impl Failure {
    pub(crate) fn new(error: ProviderError) -> Self {
        let outcome = row(error.class).outcome;
        Self { error, outcome, accepted: false, sent: true }
    }

    /// A failure that we saw ourselves.
    pub(crate) fn seen(class: ErrorClass, words: &str) -> Self {
        Self::new(ProviderError::new(class, words))
    }

    /// The stream broke after output.
    pub(crate) fn broken(outcome: AttemptOutcome, error: ProviderError) -> Self {
        Self { error, outcome, accepted: true, sent: true }
    }

    /// The provider was not asked.
    pub(crate) fn unsent(
        outcome: AttemptOutcome,
        class: ErrorClass,
        words: &str,
        retry_in: Option<Duration>,
    ) -> Self {
        let mut error = ProviderError::new(class, words);
        error.retry_after = retry_in;
        Self { error, outcome, accepted: false, sent: false }
    }

    pub(crate) fn accepted(mut self) -> Self {
        self.accepted = true;
        self
    }

    /// Says in one word how a stream broke.
    pub(crate) fn cause(&self) -> &'static str {
        match self.outcome {
            AttemptOutcome::Cut => "cut",
            AttemptOutcome::Stalled => "stall",
            AttemptOutcome::Protocol => "garbage",
            _ => "error",
        }
    }
}

/// The error of a request that no candidate answered.
pub(crate) fn exhausted(failure: &Failure, target: &str, summary: &str) -> Status {
    let error = &failure.error;
    let row = row(error.class);
    let words = format!("{target}: {}", error.message);
    let mut status = error::status(row.code, row.reason, words)
        .with_metadata("target", target)
        .with_metadata("class", error.class.label())
        .with_metadata("attempts", summary);
    if let Some(code) = error.status {
        status = status.with_metadata("http_status", code.to_string());
    }
    if let Some(code) = &error.code {
        status = status.with_metadata("provider_code", code.as_str());
    }
    if let Some(param) = &error.param {
        status = status.with_metadata("provider_param", param.as_str());
    }
    if matches!(row.code, Code::Unavailable | Code::ResourceExhausted) {
        status = status.with_retry(error.retry_after.unwrap_or(SOON));
    }
    status.into()
}

/// The retry budget is spent.
pub(crate) fn no_budget(failure: &Failure, target: &str, summary: &str) -> Status {
    let words = format!("the retry budget is spent; {target} last said: {}", failure.error.message);
    error::status(Code::Unavailable, ErrorReason::RetryBudgetExhausted, words)
        .with_metadata("target", target)
        .with_metadata("class", failure.error.class.label())
        .with_metadata("attempts", summary)
        .with_retry(failure.error.retry_after.unwrap_or(SOON))
        .into()
}

/// The stream broke after output and was not rescued.
pub(crate) fn broken(failure: &Failure, target: &str, delivered_bytes: u64, summary: &str) -> Status {
    let words =
        format!("the stream of {target} broke after {delivered_bytes} bytes: {}", failure.error.message);
    error::status(Code::Unavailable, ErrorReason::StreamBroken, words)
        .with_metadata("target", target)
        .with_metadata("cause", failure.cause())
        .with_metadata("delivered_bytes", delivered_bytes.to_string())
        .with_metadata("attempts", summary)
        .into()
}

/// The request's time is up.
pub(crate) fn late(summary: &str) -> Status {
    error::status(
        Code::DeadlineExceeded,
        ErrorReason::DeadlineExceeded,
        "the request's time is up; allow more, or ask for less output",
    )
    .with_metadata("attempts", summary)
    .into()
}
