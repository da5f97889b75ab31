//! The one retry budget of the process.
//!
//! Every request offered earns a part of a retry (20 in a hundred), every retry costs one. A fresh process starts with a reserve,
//! so that the first failure can be retried at all; what requests earn at first only pays for that reserve. So the
//! retries among n requests never exceed the larger of the reserve and n/5: in a total outage a provider sees at most 1.2
//! times the offered load, once that load is larger than five reserves (and breakers end it well before).

use parking_lot::Mutex;

use crate::config::Retry;

/// Thousandths of a retry.
const ONE: u64 = 1_000;

/// Says how many retries are left to all requests together.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    earn: u64,
    reserve: u64,
}

#[derive(Debug)]
struct State {
    balance: u64,
    /// What was given in advance and is still to be earned.
    advance: u64,
}

impl Budget {
    pub(crate) fn new(retry: Retry) -> Self {
        let reserve = u64::from(retry.budget_reserve) * ONE;
        Self {
            state: Mutex::new(State { balance: reserve, advance: reserve }),
            earn: u64::from(retry.budget_percent) * ONE / 100,
            reserve,
        }
    }

    /// Notes a request that was offered.
    pub(crate) fn offered(&self) {
        let mut state = self.state.lock();
        let repaid = state.advance.min(self.earn);
        state.advance -= repaid;
        state.balance = (state.balance + self.earn - repaid).min(self.reserve.max(ONE));
    }

    /// Takes a retry; false when none is left.
    pub(crate) fn take(&self) -> bool {
        let mut state = self.state.lock();
        let enough = state.balance >= ONE;
        if enough {
            state.balance -= ONE;
        }
        enough
    }

    /// Notes that a retry led to an answer: this is no outage, and the reserve is there again, in advance.
    pub(crate) fn paid_off(&self) {
        let mut state = self.state.lock();
        let given = self.reserve.saturating_sub(state.balance);
        state.balance += given;
        state.advance += given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(requests: u32, reserve: u32) -> u32 {
        let budget = Budget::new(Retry { budget_reserve: reserve, ..Retry::default() });
        let mut retries = 0;
        for _ in 0..requests {
            budget.offered();
            while budget.take() {
                retries += 1;
            }
        }
        retries
    }

    #[test]
    fn an_outage_costs_a_fifth_more_at_most() {
        for requests in [50, 51, 100, 1_000, 12_345] {
            assert!(outage(requests, 10) * 5 <= requests, "{requests}: {}", outage(requests, 10));
        }
        assert_eq!(outage(1, 10), 10);
        assert_eq!(outage(1_000, 1), 200);
    }

    #[test]
    fn a_retry_that_helped_refills_the_reserve_in_advance() {
        let budget = Budget::new(Retry { budget_reserve: 2, ..Retry::default() });
        assert!(budget.take() && budget.take() && !budget.take());
        budget.paid_off();
        assert!(budget.take() && budget.take() && !budget.take());
        for _ in 0..20 {
            budget.offered();
        }
        assert!(!budget.take(), "the first twenty requests only earn what was given in advance");
    }
}
