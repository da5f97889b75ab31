//! When a call has taken too long. Asked only while it waits, so that what is ready costs no timer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{Limits, config::limit};

/// Which limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lapse {
    Deadline,
    Total(Duration),
    FirstMessage(Duration),
    Idle(Duration),
}

/// The limits of one call and how far it has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The caller's deadline, or the total limit, whichever is nearer.
    end: Option<Instant>,
    total: Option<(Instant, Duration)>,
    first: Option<Duration>,
    idle: Option<Duration>,
    begin: Instant,
    /// When the last message came; `None` before the first.
    last: Option<Instant>,
    /// A message came since the clock was last read.
    touched: bool,
}

impl Patience {
    pub(crate) fn new(begin: Instant, deadline: Option<Instant>, limits: Limits) -> Self {
        let total = limit(limits.total_ms).map(|total| (begin + total, total));
        let end = match (deadline, total) {
            (Some(deadline), Some((total, _))) => Some(deadline.min(total)),
            (deadline, total) => deadline.or(total.map(|(at, _)| at)),
        };
        Self {
            end,
            total,
            first: limit(limits.first_message_ms),
            idle: limit(limits.idle_ms),
            begin,
            last: None,
            touched: false,
        }
    }

    /// Only a deadline: all that the serving side has to keep.
    pub(crate) fn until(deadline: Option<Instant>) -> Self {
        let begin = deadline.unwrap_or_else(Instant::now);
        Self { end: deadline, total: None, first: None, idle: None, begin, last: None, touched: false }
    }

    /// Notes a message. The clock is read later, and only if the next one is not there yet.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether the end has been reached before anything was begun.
    pub(crate) fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    fn limitless(&self) -> bool {
        self.end.is_none() && self.first.is_none() && self.idle.is_none()
    }

    /// Finds the limit that has passed, or else the time of the next one. `owed_since` is when the caller had said all
    /// it had to say; `None` while it still speaks, when only the end counts.
    fn check(&self, now: Instant, owed_since: Option<Instant>) -> Result<Option<Instant>, Lapse> {
        if let Some(end) = self.end
            && end <= now
        {
            return Err(match self.total {
                Some((at, total)) if at == end => Lapse::Total(total),
                _ => Lapse::Deadline,
            });
        }
        let (span, since) = match self.last {
            None => (self.first, self.begin),
            Some(last) => (self.idle, last),
        };
        let Some(span) = span else { return Ok(self.end) };
        let next = match owed_since {
            None => now + span,
            Some(owed) => {
                let next = owed.max(since) + span;
                if next <= now {
                    let lapse = if self.last.is_none() { Lapse::FirstMessage } else { Lapse::Idle };
                    return Err(lapse(span));
                }
                next
            }
        };
        Ok(Some(self.end.map_or(next, |end| end.min(next))))
    }
}

pin_project! {
    /// One timer for all limits of a call. It is armed when the call first has to wait, and moved only when it fires:
    /// a message costs a clock reading, not a timer operation.
    pub(crate) struct Timer {
        patience: Patience,
        armed: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Timer {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, armed: None, sleep: None }
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn touch(self: Pin<&mut Self>) {
        self.project().patience.touch();
    }

    /// Waits for a limit to pass; to be polled after the call itself turned out to be pending.
    pub(crate) fn poll_lapse(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        owed_since: impl Fn() -> Option<Instant>,
    ) -> Poll<Lapse> {
        let mut this = self.project();
        if this.patience.limitless() {
            return Poll::Pending;
        }
        if this.armed.is_none() || this.patience.touched {
            let now = Instant::now();
            if std::mem::take(&mut this.patience.touched) {
                this.patience.last = Some(now);
            }
            match this.patience.check(now, owed_since()) {
                Err(lapse) => return Poll::Ready(lapse),
                Ok(None) => return Poll::Pending,
                Ok(Some(next)) if this.armed.is_none_or(|armed| next < armed) => {
                    *this.armed = Some(next);
                    this.sleep.set(Some(tokio::time::sleep_until(next)));
                }
                // Later than armed: found out when the timer fires.
                Ok(Some(_)) => {}
            }
        }
        loop {
            let Some(sleep) = this.sleep.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(sleep.poll(cx));
            match this.patience.check(Instant::now(), owed_since()) {
                Err(lapse) => return Poll::Ready(lapse),
                Ok(None) => this.sleep.set(None),
                Ok(Some(next)) => {
                    *this.armed = Some(next);
                    if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                        sleep.reset(next);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits { first_message_ms: 3_000, idle_ms: 2_000, total_ms: 60_000 };

    #[test]
    fn the_nearest_limit_decides() {
        let begin = Instant::now();
        let patience = Patience::new(begin, Some(begin + 10 * SECOND), LIMITS);
        assert_eq!(patience.check(begin, Some(begin)), Ok(Some(begin + 3 * SECOND)));
        assert_eq!(patience.check(begin + 3 * SECOND, Some(begin)), Err(Lapse::FirstMessage(3 * SECOND)));
        let started = Patience { last: Some(begin + 9 * SECOND), ..patience };
        assert_eq!(started.check(begin + 9 * SECOND, Some(begin)), Ok(Some(begin + 10 * SECOND)));
        assert_eq!(started.check(begin + 10 * SECOND, Some(begin)), Err(Lapse::Deadline));
    }

    #[test]
    fn the_total_limit_is_told_from_the_deadline() {
        let begin = Instant::now();
        let patience = Patience::new(begin, Some(begin + 90 * SECOND), LIMITS);
        assert_eq!(patience.check(begin + 60 * SECOND, None), Err(Lapse::Total(60 * SECOND)));
    }

    #[test]
    fn nothing_is_owed_while_the_caller_speaks() {
        let begin = Instant::now();
        let patience = Patience::new(begin, None, LIMITS);
        assert_eq!(patience.check(begin + 50 * SECOND, None), Ok(Some(begin + 53 * SECOND)));
        let closed = Some(begin + 51 * SECOND);
        assert_eq!(patience.check(begin + 53 * SECOND, closed), Ok(Some(begin + 54 * SECOND)));
        assert_eq!(patience.check(begin + 54 * SECOND, closed), Err(Lapse::FirstMessage(3 * SECOND)));
    }
}
