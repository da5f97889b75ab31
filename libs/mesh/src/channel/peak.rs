//! How long a peer takes to answer: a moving average that follows a rise at once and forgets it slowly.
//!
//! Finagle's "peak EWMA" (<https://twitter.github.io/finagle/guide/Clients.html#power-of-two-choices-p2c-least-loaded>): a time above the
//! average replaces it, one below it is averaged in with a weight that grows with the time since the last one. What is not
//! heard of fades, so that a peer that was slow once is asked again.

use std::time::Duration;

use tokio::time::Instant;

/// The average, as of its last change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    seconds: f64,
    at: Instant,
}

impl Peak {
    pub(crate) fn new(initial: Duration, now: Instant) -> Self {
        Self { seconds: initial.as_secs_f64(), at: now }
    }

    /// Takes a time into the average.
    pub(crate) fn observe(&mut self, took: Duration, now: Instant, decay: Duration) {
        let took = took.as_secs_f64();
        let kept = self.kept(now, decay);
        self.seconds =
            if took > self.seconds * kept { took } else { self.seconds * kept + took * (1.0 - kept) };
        self.at = now;
    }

    /// Takes a time that is not over yet: it can only raise the average.
    pub(crate) fn at_least(&mut self, took: Duration, now: Instant, decay: Duration) {
        if took > self.read(now, decay) {
            *self = Self::new(took, now);
        }
    }

    /// The average now.
    pub(crate) fn read(&self, now: Instant, decay: Duration) -> Duration {
        Duration::from_secs_f64(self.seconds * self.kept(now, decay))
    }

    /// How much of the average is left.
    fn kept(&self, now: Instant, decay: Duration) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / decay.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_rise_counts_at_once_and_a_fall_with_time() {
        let begin = Instant::now();
        let mut peak = Peak::new(ms(10), begin);
        peak.observe(ms(500), begin + ms(1), DECAY);
        assert_eq!(peak.read(begin + ms(1), DECAY), ms(500));
        peak.observe(ms(10), begin + ms(2), DECAY);
        assert!(peak.read(begin + ms(2), DECAY) > ms(490), "one fast answer says little");
        for n in 0..600 {
            peak.observe(ms(10), begin + ms(100 * n), DECAY);
        }
        let settled = peak.read(begin + ms(59_900), DECAY);
        assert!(settled >= ms(10) && settled < ms(15), "{settled:?}");
    }

    #[test]
    fn what_is_not_heard_of_fades() {
        let begin = Instant::now();
        let peak = Peak::new(ms(1_000), begin);
        let after = peak.read(begin + DECAY, DECAY);
        assert!(after > ms(367) && after < ms(369), "1/e after the decay time: {after:?}");
    }

    #[test]
    fn what_is_not_over_only_raises() {
        let begin = Instant::now();
        let mut peak = Peak::new(ms(100), begin);
        peak.at_least(ms(50), begin, DECAY);
        assert_eq!(peak.read(begin, DECAY), ms(100));
        peak.at_least(ms(150), begin, DECAY);
        assert_eq!(peak.read(begin, DECAY), ms(150));
    }
}
