//! What is done about a failure: the one table.

use std::time::Duration;

use signalbox_mesh::Random;
use signalbox_proto::common::v1::{AttemptOutcome, ErrorReason};
use signalbox_wire::ErrorClass;
use tonic::Code;

use crate::config::{Retry, ms};

/// Is what to do after an attempt that failed before any output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The same target again after a wait, then the next candidate.
    RetryHere,
    /// The next candidate; the same target again, after the wait that it asked for, only if there is none.
    NextElseWait,
    /// The next candidate; this one not again.
    Next,
    /// The next candidate with a larger window.
    Larger,
    /// Nothing: it would fail everywhere, or must not be tried elsewhere.
    Stop,
}

/// Is a line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) remedy: Remedy,
    /// How the attempt is recorded.
    pub(crate) outcome: AttemptOutcome,
    /// What the caller is told if nothing helps.
    pub(crate) reason: ErrorReason,
    pub(crate) code: Code,
}

/// Decides by the failure's class.
pub(crate) fn row(class: ErrorClass) -> Row {
    use AttemptOutcome as O;
    use ErrorReason as R;
    let (remedy, outcome, reason, code) = match class {
        // Another credential may do; this one will not.
        ErrorClass::Credential => {
            (Remedy::Next, O::Credential, R::ProviderCredential, Code::FailedPrecondition)
        }
        ErrorClass::RateLimited => {
            (Remedy::NextElseWait, O::RateLimited, R::ProviderRateLimited, Code::ResourceExhausted)
        }
        ErrorClass::Overloaded => {
            (Remedy::RetryHere, O::Overloaded, R::ProviderUnavailable, Code::Unavailable)
        }
        ErrorClass::Transport => (Remedy::RetryHere, O::Transport, R::ProviderConnection, Code::Unavailable),
        // Who stayed silent is not asked again: the time is spent, and it may still be working.
        ErrorClass::Timeout => (Remedy::Next, O::Timeout, R::ProviderTimeout, Code::Unavailable),
        ErrorClass::Rejected => (Remedy::Stop, O::Rejected, R::ProviderRejected, Code::InvalidArgument),
        // The target is misconfigured, not the request.
        ErrorClass::ModelMissing => (Remedy::Next, O::Rejected, R::ProviderRejected, Code::InvalidArgument),
        ErrorClass::ContextTooLong => {
            (Remedy::Larger, O::ContextTooLong, R::ContextTooLong, Code::InvalidArgument)
        }
        ErrorClass::ContentFilter => {
            (Remedy::Stop, O::ContentFilter, R::ProviderContentFilter, Code::FailedPrecondition)
        }
        ErrorClass::Protocol => (Remedy::RetryHere, O::Protocol, R::ProviderProtocol, Code::Unavailable),
    };
    Row { remedy, outcome, reason, code }
}

/// Decides how long to wait before a retry: as the provider said, else drawn evenly from 0 to a bound that doubles (full
/// jitter). `None`: the provider asks for longer than it gets.
pub(crate) fn wait(retry: Retry, told: Option<Duration>, retries: u32, random: &Random) -> Option<Duration> {
    match told {
        Some(told) => (told <= ms(retry.max_wait_ms)).then_some(told),
        None => {
            let most = retry.base_ms.saturating_mul(1 << retries.min(20)).min(retry.cap_ms);
            Some(random.jitter(ms(most)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_as_told_or_drawn_below_a_doubling_bound() {
        let (retry, random) = (Retry::default(), Random::seeded(1));
        assert_eq!(wait(retry, Some(ms(3_000)), 0, &random), Some(ms(3_000)));
        assert_eq!(wait(retry, Some(ms(60_000)), 0, &random), None);
        for (retries, bound) in [(0, 250), (1, 500), (2, 1_000), (60, 8_000)] {
            let drawn: Vec<_> = (0..200).filter_map(|_| wait(retry, None, retries, &random)).collect();
            assert!(drawn.iter().all(|d| *d < ms(bound)));
            assert!(drawn.iter().any(|d| *d > ms(bound * 3 / 4)), "spread over the whole range");
        }
    }
}
