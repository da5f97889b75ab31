//! What reports said of each target: how slow it was lately, and how often it failed.

use std::collections::HashMap;

use parking_lot::RwLock;
use signalbox_proto::common::v1::{Attempt, AttemptOutcome};

use crate::config::Latency;

/// How fast old times are forgotten, in milliseconds.
const MEMORY_MS: f64 = 30_000.0;
/// How much the last attempt counts in the share of failures.
const ERROR_SHARE: f64 = 0.1;
/// How long a breaker that was reported open counts as open, in milliseconds: about as long as the executor's first pause.
const OPEN_MS: i64 = 10_000;
/// More targets than any configuration has.
const TARGETS: usize = 10_000;

/// A peak-sensitive average: it rises to a slower time at once and forgets it slowly, so that a target that has become slow is
/// avoided before its average says so (as in Finagle's peak-EWMA).
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    value_ms: f64,
    at_ms: i64,
}

impl Peak {
    fn add(&mut self, sample_ms: f64, now_ms: i64) {
        let passed = (now_ms - self.at_ms).max(0) as f64;
        let kept = (-passed / MEMORY_MS).exp();
        self.value_ms = if sample_ms > self.value_ms {
            sample_ms
        } else {
            self.value_ms * kept + sample_ms * (1.0 - kept)
        };
        self.at_ms = now_ms;
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    first_output: Option<Peak>,
    total: Option<Peak>,
    errors: f64,
    open_until_ms: i64,
}

/// Statistics by target. Bounded by the number of targets.
#[derive(Debug, Default)]
pub(crate) struct Stats(RwLock<HashMap<String, Seen>>);

impl Stats {
    /// Takes an attempt in. What the caller ended or the request itself caused says nothing of the target.
    pub(crate) fn record(&self, attempt: &Attempt, now_ms: i64) {
        use AttemptOutcome as Outcome;
        let outcome = attempt.outcome();
        let (failed, timed_out) = match outcome {
            Outcome::Ok => (false, false),
            Outcome::Timeout | Outcome::Stalled => (true, true),
            Outcome::Credential
            | Outcome::RateLimited
            | Outcome::Overloaded
            | Outcome::Transport
            | Outcome::Protocol
            | Outcome::Cut => (true, false),
            Outcome::BreakerOpen => (true, false),
            Outcome::Unspecified
            | Outcome::Rejected
            | Outcome::ContextTooLong
            | Outcome::ContentFilter
            | Outcome::Cancelled => return,
        };
        let mut all = self.0.write();
        if all.len() >= TARGETS && !all.contains_key(&attempt.target_id) {
            return;
        }
        let seen = all.entry(attempt.target_id.clone()).or_default();
        if outcome == Outcome::BreakerOpen {
            seen.open_until_ms = now_ms.saturating_add(OPEN_MS);
            return;
        }
        seen.open_until_ms = 0;
        seen.errors += ERROR_SHARE * (f64::from(u8::from(failed)) - seen.errors);
        let first = attempt.first_output_ms.or(timed_out.then_some(attempt.duration_ms));
        if let Some(first) = first {
            seen.first_output.get_or_insert_default().add(first as f64, now_ms);
        }
        if !failed || timed_out {
            seen.total.get_or_insert_default().add(attempt.duration_ms as f64, now_ms);
        }
    }

    /// How long a target takes, in milliseconds; `None`: never reported.
    pub(crate) fn latency_ms(&self, target_id: &str, latency: Latency) -> Option<f64> {
        let all = self.0.read();
        let seen = all.get(target_id)?;
        let peak = match latency {
            Latency::FirstOutput => seen.first_output,
            Latency::Total => seen.total,
        };
        Some(peak?.value_ms)
    }

    /// The share of recent attempts that failed, 0 to 1.
    pub(crate) fn errors(&self, target_id: &str) -> f64 {
        self.0.read().get(target_id).map_or(0.0, |seen| seen.errors)
    }

    /// Whether its breaker was reported open a moment ago.
    pub(crate) fn is_open(&self, target_id: &str, now_ms: i64) -> bool {
        self.0.read().get(target_id).is_some_and(|seen| seen.open_until_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: AttemptOutcome, first_output_ms: Option<u64>, duration_ms: u64) -> Attempt {
        Attempt {
            target_id: "a/b".into(),
            outcome: outcome.into(),
            first_output_ms,
            duration_ms,
            ..Attempt::default()
        }
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let stats = Stats::default();
        let ok = |first| attempt(AttemptOutcome::Ok, Some(first), 2 * first);
        let latency = |latency| stats.latency_ms("a/b", latency).unwrap();
        stats.record(&ok(100), 0);
        stats.record(&ok(900), 1_000);
        assert_eq!((latency(Latency::FirstOutput), latency(Latency::Total)), (900.0, 1_800.0));
        stats.record(&ok(100), 2_000);
        assert!(latency(Latency::FirstOutput) > 850.0, "a second later");
        stats.record(&ok(100), 302_000);
        assert!(latency(Latency::FirstOutput) < 101.0, "five minutes later");
        assert_eq!(stats.latency_ms("a/c", Latency::Total), None);
    }

    #[test]
    fn failures_of_the_target_count_and_others_do_not() {
        let stats = Stats::default();
        stats.record(&attempt(AttemptOutcome::Rejected, None, 5), 0);
        stats.record(&attempt(AttemptOutcome::Cancelled, None, 5), 0);
        assert_eq!((stats.errors("a/b"), stats.latency_ms("a/b", Latency::Total)), (0.0, None));
        stats.record(&attempt(AttemptOutcome::Timeout, None, 5_000), 0);
        assert_eq!(
            (stats.errors("a/b"), stats.latency_ms("a/b", Latency::FirstOutput)),
            (0.1, Some(5_000.0))
        );
    }

    #[test]
    fn an_open_breaker_closes_with_time_or_success() {
        let stats = Stats::default();
        stats.record(&attempt(AttemptOutcome::BreakerOpen, None, 0), 1_000);
        assert!(stats.is_open("a/b", 10_999) && !stats.is_open("a/b", 11_000));
        stats.record(&attempt(AttemptOutcome::Ok, Some(1), 1), 1_001);
        assert!(!stats.is_open("a/b", 1_002));
    }
}
