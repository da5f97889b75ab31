//! Calls of one tenant on their way to Redis: those that come while others are under way go together. Nobody waits for a batch to
//! fill: a call that finds the lane free goes at once.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Calls that go together at most: Redis serves nobody else in the few milliseconds that they take.
const TOGETHER: usize = 64;
/// Batches under way: one in Redis, and one on its way there or back.
const UNDER_WAY: usize = 2;
/// As many if full ones wait: Redis writes down all of them at once.
const FULL_UNDER_WAY: usize = 16;
/// Calls that wait at most.
const WAITING: usize = 8_192;

/// The lane of a tenant.
#[derive(Debug)]
pub(super) struct Lane<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    workers: usize,
}

/// What becomes of a call that was put on a lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// Somebody takes it along.
    Waits,
    /// The caller starts a worker.
    Start,
    /// Too many wait.
    Full,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: VecDeque::new(), workers: 0 }))
    }
}

impl<T> Lane<T> {
    /// Puts a call on the lane.
    pub(super) fn put(&self, call: T) -> Put {
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITING {
            return Put::Full;
        }
        state.waiting.push_back(call);
        let full = state.waiting.len().is_multiple_of(TOGETHER);
        if state.workers >= if full { FULL_UNDER_WAY } else { UNDER_WAY } {
            return Put::Waits;
        }
        state.workers += 1;
        Put::Start
    }

    /// What a worker takes next, in the order in which it came. Nothing: the worker is done.
    pub(super) fn take(&self) -> Vec<T> {
        let mut state = self.0.lock();
        let together = state.waiting.len().min(TOGETHER);
        if together == 0 {
            state.workers = state.workers.saturating_sub(1);
        }
        state.waiting.drain(..together).collect()
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().workers == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_lane_waits_for_nobody_and_a_busy_one_gathers() {
        let lane = Lane::default();
        assert_eq!([1, 2, 3, 4].map(|call| lane.put(call)), [Put::Start, Put::Start, Put::Waits, Put::Waits]);
        assert_eq!(lane.take(), [1, 2, 3, 4]);
        assert!(lane.take().is_empty(), "the second worker found nothing left");
        assert_eq!((lane.put(5), lane.is_idle()), (Put::Start, false));
        assert_eq!(lane.take(), [5]);
        assert!(lane.take().is_empty() && lane.take().is_empty());
        assert!(lane.is_idle());
    }

    #[test]
    fn a_lane_is_bounded_and_so_is_what_goes_together() {
        let lane = Lane::default();
        let puts: Vec<_> = (0..=WAITING).map(|call| lane.put(call)).collect();
        let count = |put| puts.iter().filter(|other| **other == put).count();
        assert_eq!((count(Put::Full), count(Put::Start)), (1, FULL_UNDER_WAY));
        assert_eq!(
            puts.iter().rposition(|put| *put == Put::Start),
            Some((FULL_UNDER_WAY - 2) * TOGETHER - 1)
        );
        assert_eq!(lane.take().len(), TOGETHER);
        assert_eq!(lane.put(0), Put::Waits);
    }
}
