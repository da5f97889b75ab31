//! What is asked, how often, and when.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// As one message.
    Whole,
    /// As a stream.
    Stream,
    /// As a stream, of an answer that is many times as long.
    Long,
}

impl Answer {
    /// In the order in which they are measured.
    pub(super) const ALL: [Self; 3] = [Self::Whole, Self::Stream, Self::Long];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Stream => "stream",
            Self::Long => "long stream",
        }
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// Each of so many askers sends its next request when it has the answer to the one before.
    Closed,
    /// Requests are due so many times per second, whether or not earlier ones are answered.
    Open(f64),
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    /// So many requests.
    Requests(u64),
    /// As many as it takes to fill the time.
    Time(Duration),
}

/// A constant schedule of arrivals. A request that is sent late has been waiting since it was due, so latencies count from
/// there: else a slow answer would hide the wait of all who came meanwhile (coordinated omission).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Schedule {
    per_second: f64,
    total: u64,
}

impl Schedule {
    /// At least one request.
    pub(super) fn new(per_second: f64, amount: Amount) -> Self {
        let total = match amount {
            Amount::Requests(requests) => requests,
            Amount::Time(time) => whole(per_second * time.as_secs_f64()),
        };
        Self { per_second, total: total.max(1) }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// When the request of this number, from 0, is due.
    pub(super) fn at(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// How many requests are due by then.
    pub(super) fn due(&self, elapsed: Duration) -> u64 {
        whole(elapsed.as_secs_f64() * self.per_second).saturating_add(1).min(self.total)
    }
}

fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "rounds down and saturates, as meant")]
    let whole = number as u64;
    whole
}

/// Short prompts, none twice: no answer comes from an exact cache, and their words share little, so that hardly any comes from
/// a semantic one. The same seed gives the same prompts.
#[derive(Debug)]
pub(super) struct Prompts {
    words: Vec<&'static str>,
    seed: u32,
    next: AtomicU64,
}

impl Prompts {
    pub(super) fn new(seed: u32) -> Self {
        let words = include_str!("words.txt").split_whitespace().collect();
        Self { words, seed, next: AtomicU64::new(0) }
    }

    /// The next prompt, of about 16 tokens. The first 2^32 differ.
    pub(super) fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX);
        let number = u32::try_from(number).unwrap_or_default();
        let [a, b, c, d] = scatter(self.seed.wrapping_add(number)).to_be_bytes().map(|byte| {
            let word = self.words.get(usize::from(byte));
            word.copied().unwrap_or_default()
        });
        format!("How do the {a} and the {b} change a {c} near the {d}?")
    }
}

/// Scatters numbers over all 32 bits, no two to the same: the finalizer of MurmurHash3.
const fn scatter(mut number: u32) -> u32 {
    number ^= number >> 16;
    number = number.wrapping_mul(0x85eb_ca6b);
    number ^= number >> 13;
    number = number.wrapping_mul(0xc2b2_ae35);
    number ^ (number >> 16)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_prompt_comes_twice_and_a_seed_repeats_them() {
        let prompts = Prompts::new(7);
        assert_eq!(prompts.words.len(), 256);
        assert_eq!(prompts.words.iter().collect::<HashSet<_>>().len(), 256);
        let mut seen = HashSet::new();
        assert!((0..100_000).all(|_| seen.insert(prompts.next())));
        let (again, other) = (Prompts::new(7), Prompts::new(1_000_000));
        assert!(seen.contains(&again.next()));
        assert!(!seen.contains(&other.next()));
        assert!(!seen.iter().any(|prompt| prompt.contains("  ")));
    }

    #[test]
    fn requests_are_due_at_a_constant_rate() {
        let schedule = Schedule::new(1_000.0, Amount::Time(Duration::from_secs(2)));
        assert_eq!(schedule.total(), 2_000);
        assert_eq!(schedule.at(0), Duration::ZERO);
        assert_eq!(schedule.at(1_500), Duration::from_millis(1_500));
        assert_eq!(schedule.due(Duration::ZERO), 1);
        assert_eq!(schedule.due(Duration::from_micros(999)), 1);
        assert_eq!(schedule.due(Duration::from_micros(1_001)), 2);
        assert_eq!(schedule.due(Duration::from_secs(60)), 2_000);
    }

    #[test]
    fn a_request_is_due_at_its_time_and_not_before() {
        let schedule = Schedule::new(333.0, Amount::Requests(1_000));
        assert_eq!(schedule.total(), 1_000);
        for number in 0..1_000 {
            let at = schedule.at(number);
            let just_after = at + Duration::from_nanos(10);
            assert!(schedule.due(just_after) > number, "{number} is due at {at:?}");
            let before = at.saturating_sub(Duration::from_micros(1));
            assert!(number == 0 || schedule.due(before) <= number, "{number} is not due before {at:?}");
        }
    }

    #[test]
    fn a_slow_rate_still_sends_one() {
        assert_eq!(Schedule::new(0.1, Amount::Time(Duration::from_secs(1))).total(), 1);
    }
}
