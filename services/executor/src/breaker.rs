//! The breaker of one target.
//!
//! ```text
//! closed ──(n failures in a row, n rate limits in a row, or a share of failures)──▶ open
//! open ──(its time has passed)──▶ half open: exactly one probe
//! half open ──(the probe gets output)──▶ closed
//! half open ──(the probe fails)──▶ open again
//! half open ──(the probe is cancelled)──▶ half open, the next one probes
//! ```
//!
//! Rate limits are counted apart: a provider that says "slower" is not broken, and says itself how long to wait. Only what
//! speaks against the *target* is counted: a request that is itself at fault is a sign of life.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use signalbox_proto::executor::v1::BreakerState;
use signalbox_wire::ErrorClass;
use tokio::time::Instant;

use crate::config::{self, ms};

/// Says whether a target is asked.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rate_limits: u32,
    /// The last attempts, a bit each, the youngest lowest: set where it failed.
    recent: u64,
    /// How many of them there are, at most 64.
    known: u32,
    /// When a probe may be made. `None`: closed.
    open_until: Option<Instant>,
    probing: bool,
    reason: String,
}

/// Says that a target is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Why the breaker opened.
    pub(crate) reason: String,
    /// How long until a probe may be made.
    pub(crate) retry_in: Duration,
}

/// Is the right to ask. Dropped without a result, as by a cancelled request, it tells nothing and frees the probe.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    settings: config::Breaker,
    probe: bool,
}

impl Breaker {
    /// Asks whether the target may be asked.
    pub(crate) fn admit(self: &Arc<Self>, settings: config::Breaker, now: Instant) -> Result<Permit, Open> {
        let mut state = self.state.lock();
        let probe = match state.open_until {
            None => false,
            Some(until) if until > now => {
                return Err(Open { reason: state.reason.clone(), retry_in: until - now });
            }
            Some(_) if state.probing => {
                // The probe may take as long as an answer takes; nobody waits for it.
                return Err(Open { reason: state.reason.clone(), retry_in: ms(settings.open_ms) });
            }
            Some(_) => {
                state.probing = true;
                true
            }
        };
        Ok(Permit { breaker: Arc::clone(self), settings, probe })
    }

    /// Notes that the target did not speak in time, for an attempt whose permit is gone.
    pub(crate) fn late(self: &Arc<Self>, settings: config::Breaker, now: Instant) {
        let probe = self.state.lock().open_until.is_some();
        Permit { breaker: Arc::clone(self), settings, probe }.failed(ErrorClass::Timeout, None, now);
    }

    /// Tells the state and why it is so.
    pub(crate) fn read(&self, now: Instant) -> (BreakerState, String) {
        let state = self.state.lock();
        let shown = match state.open_until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        };
        (shown, state.reason.clone())
    }
}

impl State {
    fn note(&mut self, failed: bool) {
        self.recent = self.recent << 1 | u64::from(failed);
        self.known = (self.known + 1).min(u64::BITS);
    }

    /// Counts the failures among the last attempts; `None` while too few are known.
    fn failed_of(&self, window: u32) -> Option<u32> {
        let window = window.clamp(1, u64::BITS);
        (self.known >= window).then(|| (self.recent << (u64::BITS - window)).count_ones())
    }
}

impl Permit {
    /// Notes that the target spoke.
    pub(crate) fn succeeded(&mut self) {
        let mut state = self.breaker.state.lock();
        state.failures = 0;
        state.rate_limits = 0;
        state.note(false);
        if self.probe {
            state.open_until = None;
            // What was before says nothing any more.
            state.known = 0;
            "a probe was answered".clone_into(&mut state.reason);
            state.probing = false;
            self.probe = false;
        }
    }

    /// Notes a failure. `wait` is what the provider asked for, and holds the breaker open at least as long.
    pub(crate) fn failed(&mut self, class: ErrorClass, wait: Option<Duration>, now: Instant) {
        let threshold = self.settings.failures;
        if threshold == 0 {
            return;
        }
        let mut state = self.breaker.state.lock();
        let window = self.settings.window;
        let (count, mut text) = match class {
            ErrorClass::RateLimited => {
                state.rate_limits += 1;
                (state.rate_limits, format!("{} rate limits in a row", state.rate_limits))
            }
            ErrorClass::Credential
            | ErrorClass::Overloaded
            | ErrorClass::Transport
            | ErrorClass::Timeout
            | ErrorClass::ModelMissing
            | ErrorClass::Protocol => {
                state.failures += 1;
                state.note(true);
                (state.failures, format!("{} failures in a row", state.failures))
            }
            ErrorClass::Rejected | ErrorClass::ContextTooLong | ErrorClass::ContentFilter => {
                drop(state);
                return self.succeeded();
            }
        };
        let share = state.failed_of(window).filter(|failed| {
            let percent = self.settings.failure_percent;
            percent > 0 && failed * 100 >= percent * window
        });
        if let (Some(failed), true) = (share, count < threshold) {
            text = format!("{failed} failures among {window}");
        }
        if self.probe || count >= threshold || share.is_some() {
            let open = ms(self.settings.open_ms).max(wait.unwrap_or_default());
            state.open_until = Some(now + open);
            state.reason = format!("{text}, the last: {}", class.label());
            if self.probe {
                state.probing = false;
                self.probe = false;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: config::Breaker =
        config::Breaker { failures: 3, failure_percent: 50, window: 20, open_ms: 10_000 };

    fn fail(breaker: &Arc<Breaker>, class: ErrorClass) {
        breaker.admit(SETTINGS, Instant::now()).unwrap().failed(class, None, Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, ErrorClass::Overloaded);
        fail(&breaker, ErrorClass::Transport);
        breaker.admit(SETTINGS, Instant::now()).unwrap().succeeded();
        fail(&breaker, ErrorClass::Overloaded);
        fail(&breaker, ErrorClass::Timeout);
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::Closed, "not in a row");
        fail(&breaker, ErrorClass::Overloaded);
        let open = breaker.admit(SETTINGS, Instant::now()).unwrap_err();
        assert_eq!(open.retry_in, Duration::from_secs(10));
        assert_eq!(open.reason, "3 failures in a row, the last: overloaded");

        tokio::time::advance(Duration::from_secs(10)).await;
        let mut probe = breaker.admit(SETTINGS, Instant::now()).unwrap();
        assert!(breaker.admit(SETTINGS, Instant::now()).is_err(), "exactly one probe");
        probe.succeeded();
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again_and_a_cancelled_one_frees_its_place() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..3 {
            fail(&breaker, ErrorClass::Overloaded);
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(breaker.admit(SETTINGS, Instant::now()).unwrap());
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::HalfOpen);
        fail(&breaker, ErrorClass::Overloaded);
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limits_count_apart_and_hold_as_long_as_told() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, ErrorClass::RateLimited);
        fail(&breaker, ErrorClass::RateLimited);
        fail(&breaker, ErrorClass::Overloaded);
        fail(&breaker, ErrorClass::Overloaded);
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::Closed);
        let mut permit = breaker.admit(SETTINGS, Instant::now()).unwrap();
        permit.failed(ErrorClass::RateLimited, Some(Duration::from_secs(60)), Instant::now());
        assert_eq!(breaker.admit(SETTINGS, Instant::now()).unwrap_err().retry_in, Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_at_fault_does_not_speak_against_the_target() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..9 {
            fail(&breaker, ErrorClass::Rejected);
        }
        assert_eq!(breaker.read(Instant::now()).0, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_failures_opens_it_too() {
        let breaker = Arc::new(Breaker::default());
        for round in 0..10 {
            assert_eq!(breaker.read(Instant::now()).0, BreakerState::Closed, "round {round}");
            breaker.admit(SETTINGS, Instant::now()).unwrap().succeeded();
            fail(&breaker, ErrorClass::Overloaded);
        }
        let open = breaker.admit(SETTINGS, Instant::now()).unwrap_err();
        assert_eq!(open.reason, "10 failures among 20, the last: overloaded");
    }
}
