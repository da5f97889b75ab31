//! When to stop asking somebody who does not answer.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Opens after failures in a row; then one call at a time finds out whether it works again.
#[derive(Debug)]
pub(crate) struct Fuse {
    name: &'static str,
    failures: u32,
    open: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failed: u32,
    /// While it is open.
    until: Option<Instant>,
    trying: bool,
}

/// The right to one call. Dropping it unused says nothing of the other side.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    fuse: &'a Fuse,
    trial: bool,
}

impl Fuse {
    pub(crate) fn new(name: &'static str, failures: u32, open: Duration) -> Self {
        Self { name, failures, open, state: Mutex::default() }
    }

    /// Asks for the right to a call; `None` while it is open.
    pub(crate) fn admit(&self) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        let trial = match state.until {
            None => false,
            Some(until) if until > Instant::now() || state.trying => return None,
            Some(_) => true,
        };
        state.trying |= trial;
        Some(Permit { fuse: self, trial })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().until.is_some()
    }
}

impl Permit<'_> {
    pub(crate) fn worked(self) {
        let mut state = self.fuse.state.lock();
        state.failed = 0;
        if state.until.take().is_some() {
            tracing::info!("{} answers again", self.fuse.name);
        }
    }

    /// Gives whether it opened just now.
    pub(crate) fn failed(self) -> bool {
        let mut state = self.fuse.state.lock();
        state.failed = state.failed.saturating_add(1);
        if state.failed < self.fuse.failures {
            return false;
        }
        let before = state.until.replace(Instant::now() + self.fuse.open);
        if before.is_none() {
            tracing::warn!("{} does not answer; the cache goes on without it", self.fuse.name);
        }
        before.is_none() || self.trial
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.fuse.state.lock().trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_try() {
        let open = Duration::from_secs(1);
        let fuse = Fuse::new("test", 2, open);
        assert!(!fuse.admit().unwrap().failed());
        fuse.admit().unwrap().worked();
        assert!(!fuse.admit().unwrap().failed(), "not in a row");
        assert!(fuse.admit().unwrap().failed());
        assert!(fuse.admit().is_none() && fuse.is_open());
        tokio::time::advance(open).await;
        let trial = fuse.admit().unwrap();
        assert!(fuse.admit().is_none(), "one at a time");
        drop(trial);
        assert!(fuse.admit().unwrap().failed(), "given up, tried again");
        assert!(fuse.admit().is_none());
        tokio::time::advance(open).await;
        fuse.admit().unwrap().worked();
        let both = (fuse.admit(), fuse.admit());
        assert!(both.0.is_some() && both.1.is_some() && !fuse.is_open());
    }
}
