//! Randomness, injectable so that a run can be repeated from its seed.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::Clock;

/// A shared source of random numbers. Clones draw from the same sequence.
///
/// Both kinds use a cryptographic generator (ChaCha); only [`Random::system`] may be used for secrets.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// Creates a source seeded by the operating system.
    ///
    /// # Panics
    /// When the operating system has no entropy to give, which ends the process at its start.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// Creates a source that gives the same sequence for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Draws 64 random bits.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// Draws a number in `0..bound`; 0 when `bound` is 0. Biased by less than `bound / 2^64`.
    #[must_use]
    pub fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.u64()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws a number in `[0, 1)` with 53 random bits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    pub fn f64(&self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }

    /// Draws a duration in `[0, most)`: full jitter, which spreads retries best.
    #[must_use]
    pub fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(self.f64())
    }

    /// Splits off a source of its own sequence, so that one user's draws do not shift another's.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::seeded_from(&self.0)
    }

    fn seeded_from(parent: &Mutex<StdRng>) -> Self {
        let mut seed = [0; 32];
        parent.lock().fill_bytes(&mut seed);
        Self(Arc::new(Mutex::new(StdRng::from_seed(seed))))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// Mints a request id: a UUID of version 7, so that ids sort by time of creation to the millisecond.
#[must_use]
pub fn request_id(clock: &dyn Clock, random: &Random) -> String {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let millis = u64::try_from(clock.unix_ms()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_clones_share_it() {
        let (one, two) = (Random::seeded(7), Random::seeded(7));
        let shared = one.clone();
        assert_eq!([one.u64(), shared.u64()], [two.u64(), two.u64()]);
        assert_ne!(Random::seeded(8).u64(), Random::seeded(7).u64());
        assert_ne!(Random::system().u64(), Random::system().u64());
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let random = Random::seeded(1);
        for _ in 0..1_000 {
            assert!(random.below(3) < 3);
            assert!((0.0..1.0).contains(&random.f64()));
            assert!(random.jitter(Duration::from_millis(5)) < Duration::from_millis(5));
        }
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn request_ids_are_version_7_and_sort_by_time() {
        let (clock, random) = (ManualClock::new(1_700_000_000_000), Random::seeded(3));
        let first = request_id(&clock, &random);
        clock.advance(Duration::from_millis(1));
        let second = request_id(&clock, &random);
        assert!(first < second, "{first} {second}");
        assert_eq!(uuid::Uuid::parse_str(&first).unwrap().get_version_num(), 7);
    }
}
