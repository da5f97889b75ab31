//! One budget: what it bounds, and what of it is spent and reserved.

use std::{ops::AddAssign, sync::Arc};

use jiff::tz::TimeZone;

use crate::{
    period::{Period, Window},
    subject::{Scope, Subject},
};

/// An amount in both units that budgets count in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) nanousd: i64,
    /// Input and output together.
    pub(crate) tokens: i64,
}

impl Amount {
    /// What a budget in this unit sees.
    pub(crate) fn of(self, unit: Unit) -> i64 {
        match unit {
            Unit::Nanousd => self.nanousd,
            Unit::Tokens => self.tokens,
        }
    }

    /// The smaller of two, unit by unit.
    pub(crate) fn least(self, other: Self) -> Self {
        Self { nanousd: self.nanousd.min(other.nanousd), tokens: self.tokens.min(other.tokens) }
    }

    /// What is left of it, unit by unit.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            nanousd: self.nanousd.saturating_sub(other.nanousd),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.nanousd = self.nanousd.saturating_add(other.nanousd);
        self.tokens = self.tokens.saturating_add(other.tokens);
    }
}

/// What a budget counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanousd,
    Tokens,
}

/// Where a budget comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file, which has the last word at every start.
    Configuration,
    /// An administrator's call.
    Call,
}

/// What a budget bounds.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) tenant: Arc<str>,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) limit: i64,
    pub(crate) period: Period,
    /// IANA name; empty is UTC.
    pub(crate) zone_name: String,
    pub(crate) zone: TimeZone,
    pub(crate) hard: bool,
    pub(crate) shadow: bool,
    pub(crate) scope: Scope,
}

impl Terms {
    /// Whether it may refuse.
    pub(crate) fn refuses(&self) -> bool {
        self.hard && !self.shadow
    }

    /// Whether what is spent so far stays comparable: the same money of the same requests.
    pub(crate) fn same_count(&self, other: &Self) -> bool {
        let of = |t: &Self| (t.unit, t.period, t.zone_name.clone(), t.scope.clone());
        of(self) == of(other)
    }
}

/// A budget and its state.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) id: i64,
    pub(crate) origin: Origin,
    pub(crate) terms: Terms,
    /// The current period.
    pub(crate) window: Window,
    /// Spent in the current period.
    pub(crate) spent: i64,
    /// Reserved, standing allowances included.
    pub(crate) reserved: i64,
    /// The part of `reserved` that stands for times when metering is away.
    pub(crate) standing: i64,
    /// What was spent in this period beyond what had been reserved for it. Nothing here could have prevented it, so it
    /// is what B1 allows above the limit.
    pub(crate) uncovered: i64,
    /// The highest threshold in percent that was told in this period; 0 for none.
    pub(crate) told_percent: i64,
    /// When it was told.
    pub(crate) told_unix_ms: i64,
}

/// Shares of a budget whose passing is told, in percent.
pub(crate) const THRESHOLDS: [i64; 3] = [100, 80, 50];

impl Budget {
    /// A budget with nothing spent in the period that holds `now`.
    pub(crate) fn new(id: i64, origin: Origin, terms: Terms, now: i64) -> Self {
        let window = terms.period.window(&terms.zone, now);
        Self {
            id,
            origin,
            terms,
            window,
            spent: 0,
            reserved: 0,
            standing: 0,
            uncovered: 0,
            told_percent: 0,
            told_unix_ms: 0,
        }
    }

    /// Whether a request counts against it.
    pub(crate) fn covers(&self, subject: &Subject) -> bool {
        self.terms.tenant == subject.tenant && self.terms.scope.covers(subject)
    }

    /// Starts anew when the period is over. What is reserved stays so: it is spent in the period in which it is settled.
    /// A clock that went back changes nothing.
    pub(crate) fn roll(&mut self, now: i64) -> bool {
        if now < self.window.end {
            return false;
        }
        self.window = self.terms.period.window(&self.terms.zone, now);
        (self.spent, self.told_percent, self.told_unix_ms) = (0, 0, 0);
        self.uncovered = (self.reserved - self.terms.limit).max(0);
        true
    }

    /// What is neither spent nor reserved; negative past the limit.
    pub(crate) fn room(&self) -> i64 {
        self.terms.limit.saturating_sub(self.spent).saturating_sub(self.reserved)
    }

    /// Reserves.
    pub(crate) fn hold(&mut self, amount: Amount, standing: bool) {
        let amount = amount.of(self.terms.unit);
        self.reserved = self.reserved.saturating_add(amount);
        if standing {
            self.standing = self.standing.saturating_add(amount);
        }
    }

    /// Gives back what was reserved.
    pub(crate) fn release(&mut self, amount: Amount, standing: bool) {
        let amount = amount.of(self.terms.unit);
        self.reserved = self.reserved.saturating_sub(amount);
        if standing {
            self.standing = self.standing.saturating_sub(amount);
        }
    }

    /// Spends; `covered` of it had been reserved and was given back for this.
    pub(crate) fn spend(&mut self, amount: Amount, covered: Amount) {
        let (amount, covered) = (amount.of(self.terms.unit), covered.of(self.terms.unit));
        self.spent = self.spent.saturating_add(amount);
        self.uncovered = self.uncovered.saturating_add(amount.saturating_sub(covered).max(0));
    }

    /// Changes what it bounds. What is spent beyond a new limit was lawful when it was spent.
    pub(crate) fn change(&mut self, terms: Terms, now: i64) {
        self.terms = terms;
        self.window = self.terms.period.window(&self.terms.zone, now);
        self.told_percent = 0;
        self.forgive();
    }

    /// Takes the state as it is for lawful.
    pub(crate) fn forgive(&mut self) {
        self.uncovered =
            self.uncovered.max(self.spent.saturating_add(self.reserved).saturating_sub(self.terms.limit));
    }

    /// Whether B1 holds: nothing is spent or reserved past the limit except what came uncovered.
    pub(crate) fn is_kept(&self) -> bool {
        !self.terms.refuses()
            || self.spent.saturating_add(self.reserved) <= self.terms.limit.saturating_add(self.uncovered)
    }

    /// The highest threshold that is passed, in percent; 0 for none.
    pub(crate) fn passed_percent(&self) -> i64 {
        let passed =
            |percent: i64| i128::from(self.spent) * 100 >= i128::from(self.terms.limit) * i128::from(percent);
        THRESHOLDS.into_iter().find(|&percent| self.spent > 0 && passed(percent)).unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Terms for tests: a hard budget in money over all of the tenant.
    pub(crate) fn terms(tenant: &str, name: &str, limit: i64) -> Terms {
        Terms {
            tenant: tenant.into(),
            name: name.to_owned(),
            unit: Unit::Nanousd,
            limit,
            period: Period::Day,
            zone_name: String::new(),
            zone: TimeZone::UTC,
            hard: true,
            shadow: false,
            scope: Scope::All,
        }
    }

    fn money(nanousd: i64) -> Amount {
        Amount { nanousd, tokens: 0 }
    }

    #[test]
    fn a_new_period_keeps_what_is_reserved() {
        let mut budget = Budget::new(1, Origin::Call, terms("a", "b", 100), 0);
        budget.hold(money(40), false);
        budget.spend(money(30), money(30));
        assert_eq!(budget.room(), 30);
        assert!(!budget.roll(86_399_999));
        assert!(budget.roll(86_400_000));
        assert_eq!((budget.spent, budget.reserved, budget.room()), (0, 40, 60));
        assert!(!budget.roll(0), "a clock that goes back does not refill a budget");
    }

    #[test]
    fn thresholds_are_passed_at_their_share() {
        let mut budget = Budget::new(1, Origin::Call, terms("a", "b", 200), 0);
        let mut at = |spent| {
            budget.spent = spent;
            budget.passed_percent()
        };
        assert_eq!(
            [at(0), at(99), at(100), at(159), at(160), at(200), at(999)],
            [0, 0, 50, 50, 80, 100, 100]
        );
    }

    #[test]
    fn only_uncovered_spending_may_pass_the_limit() {
        let mut budget = Budget::new(1, Origin::Call, terms("a", "b", 100), 0);
        budget.hold(money(100), false);
        budget.release(money(100), false);
        budget.spend(money(110), money(100));
        assert_eq!((budget.uncovered, budget.is_kept()), (10, true));
        budget.hold(money(1), false);
        assert!(!budget.is_kept(), "reserving past the limit is a violation");
    }
}
