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
//! Where replicas share their breakers (`fleet.rs`), an opened one is told to the others, theirs are heard, and a probe needs
//! the right that only one replica has.
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

/// How long another replica's probe is waited for before the right to probe is asked for again.
const ELSEWHERE: Duration = Duration::from_secs(1);

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
    /// Opened or closed since the others were told.
    changed: bool,
    /// The right to probe is to be given back.
    release: bool,
    /// Whether the others know that it is open: then their word closes it too.
    shared: bool,
}

/// Is what other replicas know of an open breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Until a probe may be made.
    pub(crate) left: Duration,
    /// Why it opened.
    pub(crate) reason: String,
}

/// Is what other replicas do not know yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// It opened, or (`None`) closed.
    pub(crate) changed: Option<Option<Word>>,
    /// The right to probe is given back.
    pub(crate) release: bool,
}

/// Says that a target is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Why the breaker opened.
    pub(crate) reason: String,
    /// How long until a probe may be made.
    pub(crate) retry_in: Duration,
}

impl Open {
    /// What the caller is told that failed: the reason names the last failure, also where another replica saw it.
    pub(crate) fn class(&self) -> ErrorClass {
        match self.reason.ends_with(ErrorClass::RateLimited.label()) {
            true => ErrorClass::RateLimited,
            false => ErrorClass::Overloaded,
        }
    }
}

/// Is the right to ask. Dropped without a result, as by a cancelled request, it tells nothing and frees the probe.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    settings: config::Breaker,
    probe: bool,
    /// The right to probe was taken from the other replicas.
    claimed: bool,
}

impl Breaker {
    /// Takes what the other replicas are to be told.
    pub(crate) fn news(&self, now: Instant) -> Option<News> {
        let mut state = self.state.lock();
        if !state.changed && !state.release {
            return None;
        }
        let changed = std::mem::take(&mut state.changed).then(|| {
            let until = state.open_until?;
            Some(Word { left: until.saturating_duration_since(now), reason: state.reason.clone() })
        });
        Some(News { changed, release: std::mem::take(&mut state.release) })
    }

    /// Takes back news that nobody heard.
    pub(crate) fn untold(&self, news: &News) {
        let mut state = self.state.lock();
        state.changed |= news.changed.is_some();
        state.release |= news.release;
    }

    /// Hears what the other replicas know: the breaker is open, or (`None`) closed.
    pub(crate) fn hear(&self, word: Option<Word>, now: Instant) {
        let mut state = self.state.lock();
        if state.changed {
            // Ours is newer.
            return;
        }
        match word {
            Some(Word { left, reason }) => {
                let until = now + left;
                if state.open_until.is_none_or(|ours| ours < until && !left.is_zero()) {
                    state.open_until = Some(until);
                    state.reason = reason;
                }
                state.shared = true;
            }
            None if state.shared => {
                state.close("another replica's probe was answered");
                state.shared = false;
            }
            None => {}
        }
    }

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
        Ok(Permit { breaker: Arc::clone(self), settings, probe, claimed: false })
    }

    /// Notes that the target did not speak in time, for an attempt whose permit is gone.
    pub(crate) fn late(self: &Arc<Self>, settings: config::Breaker, now: Instant) {
        let probe = self.state.lock().open_until.is_some();
        Permit { breaker: Arc::clone(self), settings, probe, claimed: false }.failed(
            ErrorClass::Timeout,
            None,
            now,
        );
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
    fn close(&mut self, reason: &str) {
        self.open_until = None;
        self.failures = 0;
        self.rate_limits = 0;
        // What was before says nothing any more.
        self.known = 0;
        reason.clone_into(&mut self.reason);
    }

    fn probed(&mut self, claimed: bool) {
        self.probing = false;
        self.release |= claimed;
    }

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
            state.close("a probe was answered");
            state.changed = true;
            state.shared = false;
            state.probed(self.claimed);
            self.probe = false;
        }
    }

    /// Whether this is a probe, for which the right is needed where replicas share their breakers.
    pub(crate) const fn is_probe(&self) -> bool {
        self.probe
    }

    /// Notes that this replica has the right to probe.
    pub(crate) fn claimed(&mut self) {
        self.claimed = true;
    }

    /// Gives the permit up: another replica probes. Its word is waited for.
    pub(crate) fn elsewhere(mut self, now: Instant) -> Open {
        let mut state = self.breaker.state.lock();
        state.probing = false;
        state.open_until = Some(now + ELSEWHERE);
        self.probe = false;
        Open { reason: state.reason.clone(), retry_in: ELSEWHERE }
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
            state.changed = true;
            if self.probe {
                state.probed(self.claimed);
                self.probe = false;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state.lock().probed(self.claimed);
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
        assert_eq!(open.class(), ErrorClass::Overloaded);

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
        let open = breaker.admit(SETTINGS, Instant::now()).unwrap_err();
        assert_eq!((open.retry_in, open.class()), (Duration::from_secs(60), ErrorClass::RateLimited));
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
