//! Distributions of durations.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Durations from 0.1 µs to 2 minutes, each kept to three digits. Takes 160 KiB however many there are.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// # Errors
    /// Never, as long as its bounds are sound.
    pub(super) fn new() -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(100, 120_000_000_000, 3);
        histogram.map(Self).map_err(|error| format!("the histogram cannot be made: {error}"))
    }

    /// Longer than the bound counts as the bound.
    pub(super) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// `None` when nothing was recorded.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Quantiles {
            mean_us: self.0.mean() / 1_000.0,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(self.0.max()),
        })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

/// What is reported of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) mean_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
}

/// What stands between the same quantiles of two distributions, in microseconds. This is not the distribution of the
/// differences, which nobody can measure: no request goes both ways.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Added {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
}

impl Quantiles {
    /// Of nothing that takes time.
    pub(super) const ZERO: Self = Self { mean_us: 0.0, p50_us: 0.0, p99_us: 0.0, p999_us: 0.0, max_us: 0.0 };

    /// What this one adds over another.
    pub(super) fn over(&self, other: &Self) -> Added {
        Added {
            p50_us: self.p50_us - other.p50_us,
            p99_us: self.p99_us - other.p99_us,
            p999_us: self.p999_us - other.p999_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: impl IntoIterator<Item = Duration>) -> Quantiles {
        let mut latencies = Latencies::new().unwrap();
        durations.into_iter().for_each(|duration| latencies.record(duration));
        latencies.quantiles().unwrap()
    }

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() <= expected * 0.001, "{value} instead of {expected}");
    }

    #[test]
    fn quantiles_hold_to_three_digits() {
        let quantiles = of((1..=10_000).map(Duration::from_micros));
        close(quantiles.p50_us, 5_000.0);
        close(quantiles.p99_us, 9_900.0);
        close(quantiles.p999_us, 9_990.0);
        close(quantiles.mean_us, 5_000.5);
        close(quantiles.max_us, 10_000.0);
    }

    #[test]
    fn nothing_has_no_quantiles_and_too_much_is_the_most() {
        assert_eq!(Latencies::new().unwrap().quantiles(), None);
        assert!(of([Duration::MAX]).max_us >= 120e6);
    }

    #[test]
    fn what_is_added_may_be_negative() {
        let (fast, slow) = (of([Duration::from_micros(10)]), of([Duration::from_micros(30)]));
        assert!((slow.over(&fast).p50_us - 20.0).abs() < 0.1);
        assert!((fast.over(&slow).p999_us + 20.0).abs() < 0.1);
    }
}
