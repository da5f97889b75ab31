//! What a part gets from the outside besides its configuration.

use std::{path::PathBuf, sync::Arc};

use crate::{Clock, ManualClock, Random, SystemClock};

/// Time, randomness and a place for state, injected so that tests control all three.
#[derive(Clone)]
pub struct Environment {
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub random: Random,
    /// The folder for state that outlives the process. Parts make it when they need it.
    pub data_dir: PathBuf,
}

impl Environment {
    /// Creates the environment of a real process.
    #[must_use]
    pub fn system(data_dir: impl Into<PathBuf>) -> Self {
        Self { clock: Arc::new(SystemClock), random: Random::system(), data_dir: data_dir.into() }
    }

    /// Creates an environment whose clock stands at `clock` and whose random numbers follow from `seed`.
    #[must_use]
    pub fn manual(clock: ManualClock, seed: u64, data_dir: impl Into<PathBuf>) -> Self {
        Self { clock: Arc::new(clock), random: Random::seeded(seed), data_dir: data_dir.into() }
    }

    /// Mints a request id.
    #[must_use]
    pub fn request_id(&self) -> String {
        crate::request_id(&*self.clock, &self.random)
    }
}
