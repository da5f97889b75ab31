//! What reports said of each target: how slow it was lately, and how often it failed.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use signalbox_proto::common::v1::{Attempt, AttemptOutcome};

use crate::config::Latency;

/// How fast old times are forgotten, in milliseconds.
const MEMORY_MS: f64 = 30_000.0;
/// How much the last attempt counts in the share of failures.
const ERROR_SHARE: f64 = 0.1;
/// How long a breaker that was reported open counts as open, in milliseconds: about as long as the executor's first pause.
const OPEN_MS: i64 = 10_000;
/// How long word of what is left counts, in milliseconds: limits of a minute refill within it by a sixth.
const HEADROOM_MS: i64 = 10_000;
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
    headroom: Headroom,
}

/// What a provider said to be left.
#[derive(Debug, Clone, Copy, Default)]
struct Headroom {
    requests: Option<u64>,
    tokens: Option<u64>,
    until_ms: i64,
}

/// What reports said of a target in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sample {
    /// Attempts that say something of the target.
    attempts: u32,
    /// Of them failed.
    failed: u32,
    /// The slowest first output and end, in milliseconds.
    first_output_ms: Option<f64>,
    total_ms: Option<f64>,
    /// Whether its breaker was open at last.
    open: Option<bool>,
    /// Whether its provider said what is left, and that: requests and tokens.
    told: bool,
    requests: Option<u64>,
    tokens: Option<u64>,
}

impl Sample {
    /// What an attempt says. What the caller ended or the request itself caused says nothing of the target but what is left.
    fn of(attempt: &Attempt) -> Self {
        use AttemptOutcome as Outcome;
        let (requests, tokens) = (attempt.remaining_requests, attempt.remaining_tokens);
        let left = Self { told: requests.is_some() || tokens.is_some(), requests, tokens, ..Self::default() };
        let (failed, timed_out) = match attempt.outcome() {
            Outcome::Ok => (false, false),
            Outcome::Timeout | Outcome::Stalled => (true, true),
            Outcome::Credential
            | Outcome::RateLimited
            | Outcome::Overloaded
            | Outcome::Transport
            | Outcome::Protocol
            | Outcome::Cut => (true, false),
            Outcome::BreakerOpen => return Self { open: Some(true), ..left },
            Outcome::Unspecified
            | Outcome::Rejected
            | Outcome::ContextTooLong
            | Outcome::ContentFilter
            | Outcome::Cancelled => return left,
        };
        let first = attempt.first_output_ms.or(timed_out.then_some(attempt.duration_ms));
        Self {
            attempts: 1,
            failed: u32::from(failed),
            first_output_ms: first.map(|ms| ms as f64),
            total_ms: (!failed || timed_out).then_some(attempt.duration_ms as f64),
            open: Some(false),
            ..left
        }
    }

    /// Adds what was said later.
    fn add(&mut self, later: &Self) {
        let slower = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        self.attempts = self.attempts.saturating_add(later.attempts);
        self.failed = self.failed.saturating_add(later.failed);
        self.first_output_ms = slower(self.first_output_ms, later.first_output_ms);
        self.total_ms = slower(self.total_ms, later.total_ms);
        self.open = later.open.or(self.open);
        if later.told {
            (self.told, self.requests, self.tokens) = (true, later.requests, later.tokens);
        }
    }
}

/// Statistics by target. Bounded by the number of targets.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    seen: RwLock<HashMap<String, Seen>>,
    /// What the other replicas were not told yet; absent where nobody else is.
    news: Option<Mutex<BTreeMap<String, Sample>>>,
}

impl Stats {
    /// Of a replica that tells others.
    pub(crate) fn shared() -> Self {
        Self { news: Some(Mutex::default()), ..Self::default() }
    }

    /// Takes an attempt in.
    pub(crate) fn record(&self, attempt: &Attempt, now_ms: i64) {
        let sample = Sample::of(attempt);
        if sample == Sample::default() {
            return;
        }
        self.apply(&attempt.target_id, &sample, now_ms);
        if let Some(news) = &self.news {
            let mut news = news.lock();
            if news.len() < TARGETS || news.contains_key(&attempt.target_id) {
                news.entry(attempt.target_id.clone()).or_default().add(&sample);
            }
        }
    }

    /// What is new since the last time.
    pub(crate) fn take_news(&self) -> BTreeMap<String, Sample> {
        self.news.as_ref().map(|news| std::mem::take(&mut *news.lock())).unwrap_or_default()
    }

    /// Takes in what was said of a target.
    pub(crate) fn apply(&self, target_id: &str, sample: &Sample, now_ms: i64) {
        let mut all = self.seen.write();
        let Some(seen) = of(&mut all, target_id) else { return };
        if sample.attempts > 0 {
            let share = (f64::from(sample.failed) / f64::from(sample.attempts)).min(1.0);
            // A hundred leave nothing of what was before.
            for _ in 0..sample.attempts.min(100) {
                seen.errors += ERROR_SHARE * (share - seen.errors);
            }
        }
        if let Some(first) = sample.first_output_ms {
            seen.first_output.get_or_insert_default().add(first, now_ms);
        }
        if let Some(total) = sample.total_ms {
            seen.total.get_or_insert_default().add(total, now_ms);
        }
        if let Some(open) = sample.open {
            seen.open_until_ms = if open { now_ms.saturating_add(OPEN_MS) } else { 0 };
        }
        if sample.told {
            let Sample { requests, tokens, .. } = *sample;
            seen.headroom = Headroom { requests, tokens, until_ms: now_ms.saturating_add(HEADROOM_MS) };
        }
    }

    /// Whether the provider said a moment ago that it would take no request of so many tokens.
    pub(crate) fn is_short(&self, target_id: &str, tokens: u64, now_ms: i64) -> bool {
        self.seen.read().get(target_id).is_some_and(|Seen { headroom, .. }| {
            headroom.until_ms > now_ms
                && (headroom.requests == Some(0) || headroom.tokens.is_some_and(|left| left < tokens.max(1)))
        })
    }

    /// How long a target takes, in milliseconds; `None`: never reported.
    pub(crate) fn latency_ms(&self, target_id: &str, latency: Latency) -> Option<f64> {
        let all = self.seen.read();
        let seen = all.get(target_id)?;
        let peak = match latency {
            Latency::FirstOutput => seen.first_output,
            Latency::Total => seen.total,
        };
        Some(peak?.value_ms)
    }

    /// The share of recent attempts that failed, 0 to 1.
    pub(crate) fn errors(&self, target_id: &str) -> f64 {
        self.seen.read().get(target_id).map_or(0.0, |seen| seen.errors)
    }

    /// Whether its breaker was reported open a moment ago.
    pub(crate) fn is_open(&self, target_id: &str, now_ms: i64) -> bool {
        self.seen.read().get(target_id).is_some_and(|seen| seen.open_until_ms > now_ms)
    }
}

fn of<'a>(all: &'a mut HashMap<String, Seen>, target_id: &str) -> Option<&'a mut Seen> {
    if all.len() >= TARGETS && !all.contains_key(target_id) {
        return None;
    }
    Some(all.entry(target_id.to_owned()).or_default())
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

    #[test]
    fn what_is_left_counts_for_a_moment() {
        let stats = Stats::default();
        let left = |requests, tokens| Attempt {
            remaining_requests: requests,
            remaining_tokens: tokens,
            ..attempt(AttemptOutcome::RateLimited, None, 5)
        };
        stats.record(&left(Some(3), Some(500)), 1_000);
        assert!(!stats.is_short("a/b", 500, 1_001) && stats.is_short("a/b", 501, 1_001));
        stats.record(&left(Some(0), None), 2_000);
        assert!(stats.is_short("a/b", 0, 11_999) && !stats.is_short("a/b", 501, 12_000));
        stats.record(&attempt(AttemptOutcome::Cancelled, None, 5), 2_001);
        assert!(stats.is_short("a/b", 1, 2_002), "who says nothing changes nothing");
        assert!(!stats.is_short("a/c", 1, 2_002));
    }
}
