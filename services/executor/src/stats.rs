//! What is counted about a target, for `ListTargets`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Stands for "unknown" in a counter that may be unknown.
const UNKNOWN: u64 = u64::MAX;

/// Counts of one target since the start.
#[derive(Debug)]
pub(crate) struct Stats {
    in_flight: AtomicU64,
    attempts: AtomicU64,
    failures: AtomicU64,
    skipped_chunks: AtomicU64,
    unkept_streams: AtomicU64,
    /// Microseconds, smoothed.
    first_output: AtomicU64,
    recent: Mutex<Recent>,
    remaining_requests: AtomicU64,
    remaining_tokens: AtomicU64,
    /// When they were told last.
    told: Mutex<Option<Instant>>,
}

/// How long what a provider said of its limits is taken for true.
const NEWS: Duration = Duration::from_secs(30);

impl Default for Stats {
    fn default() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            skipped_chunks: AtomicU64::new(0),
            unkept_streams: AtomicU64::new(0),
            first_output: AtomicU64::new(UNKNOWN),
            recent: Mutex::default(),
            remaining_requests: AtomicU64::new(UNKNOWN),
            remaining_tokens: AtomicU64::new(UNKNOWN),
            told: Mutex::default(),
        }
    }
}

/// How many times to first output are remembered.
const RECENT: usize = 64;
/// Nothing is slow that is quicker than this: a second question would cost more than it gains.
const QUICK: Duration = Duration::from_millis(50);
/// With fewer of them nothing is said about what is slow.
const ENOUGH: usize = 20;

/// The last times to first output, in microseconds.
#[derive(Debug, Default)]
struct Recent {
    took: Vec<u32>,
    next: usize,
}

impl Recent {
    fn add(&mut self, micros: u32) {
        if self.took.len() < RECENT {
            self.took.push(micros);
        } else {
            self.took[self.next] = micros;
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// The 95th percentile.
    fn slow(&self) -> Option<u32> {
        if self.took.len() < ENOUGH {
            return None;
        }
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 95 / 100).copied()
    }
}

/// Is a copy of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) in_flight: u64,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) skipped_chunks: u64,
    pub(crate) unkept_streams: u64,
    pub(crate) first_output_ms: Option<u64>,
    pub(crate) remaining_requests: Option<u64>,
    pub(crate) remaining_tokens: Option<u64>,
}

impl Stats {
    /// Takes a place among so many, until the guard is dropped; `None`: all are taken.
    pub(crate) fn begin(self: &Arc<Self>, most: usize) -> Option<InFlight> {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let taken = self.in_flight.fetch_update(Relaxed, Relaxed, |n| (n < most).then_some(n + 1));
        taken.is_ok().then(|| InFlight(Arc::clone(self)))
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Counts chunks that could not be read.
    pub(crate) fn skipped(&self, chunks: u32) {
        self.skipped_chunks.fetch_add(chunks.into(), Relaxed);
    }

    /// Counts a stream of more text than is kept.
    pub(crate) fn unkept(&self) {
        self.unkept_streams.fetch_add(1, Relaxed);
    }

    /// Smooths the time to first output: an eighth of each new one.
    pub(crate) fn first_output(&self, took: Duration) {
        let new = u64::try_from(took.as_micros()).unwrap_or(UNKNOWN - 1);
        // Two updates at once may lose one: it is an average.
        let old = self.first_output.load(Relaxed);
        let smoothed = if old == UNKNOWN { new } else { old - old / 8 + new / 8 };
        self.first_output.store(smoothed, Relaxed);
        self.recent.lock().add(u32::try_from(new).unwrap_or(u32::MAX));
    }

    /// Returns what only one answer in twenty takes longer than to begin; `None` while too few are known.
    pub(crate) fn slow_first_output(&self) -> Option<Duration> {
        self.recent.lock().slow().map(|micros| Duration::from_micros(micros.into()).max(QUICK))
    }

    /// Reads the provider's remaining rate limits.
    pub(crate) fn headroom(&self, headers: &HeaderMap, now: Instant) {
        let pairs = [
            ("x-ratelimit-remaining-requests", &self.remaining_requests),
            ("x-ratelimit-remaining-tokens", &self.remaining_tokens),
            ("anthropic-ratelimit-requests-remaining", &self.remaining_requests),
            ("anthropic-ratelimit-tokens-remaining", &self.remaining_tokens),
        ];
        for (name, slot) in pairs {
            if let Some(n) = headers.get(name).and_then(|v| v.to_str().ok()?.parse().ok()) {
                slot.store(n, Relaxed);
                *self.told.lock() = Some(now);
            }
        }
    }

    /// Whether the provider said of late that nothing is left.
    pub(crate) fn exhausted(&self, now: Instant) -> bool {
        let (requests, tokens) = self.left(now);
        requests == Some(0) || tokens == Some(0)
    }

    /// Requests and tokens that are left, as far as the provider said so of late.
    pub(crate) fn left(&self, now: Instant) -> (Option<u64>, Option<u64>) {
        let news = self.told.lock().is_some_and(|told| now.saturating_duration_since(told) < NEWS);
        let known = |slot: &AtomicU64| Some(slot.load(Relaxed)).filter(|n| news && *n != UNKNOWN);
        (known(&self.remaining_requests), known(&self.remaining_tokens))
    }

    pub(crate) fn read(&self) -> Counts {
        let known = |n: &AtomicU64| Some(n.load(Relaxed)).filter(|n| *n != UNKNOWN);
        Counts {
            in_flight: self.in_flight.load(Relaxed),
            attempts: self.attempts.load(Relaxed),
            failures: self.failures.load(Relaxed),
            skipped_chunks: self.skipped_chunks.load(Relaxed),
            unkept_streams: self.unkept_streams.load(Relaxed),
            first_output_ms: known(&self.first_output).map(|us| us / 1_000),
            remaining_requests: known(&self.remaining_requests),
            remaining_tokens: known(&self.remaining_tokens),
        }
    }
}

/// Counts one attempt as under way for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Stats>);

impl InFlight {
    /// Notes that it becomes an attempt.
    pub(crate) fn admitted(self) -> Self {
        self.0.attempts.fetch_add(1, Relaxed);
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
