//! One budget: what it bounds, and what of it is spent and reserved.

use std::ops::AddAssign;

pub(crate) use crate::terms::{Origin, Terms, Unit};
use crate::{period::Window, subject::Subject};

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
    /// What came over from the period before: the limit is so much higher in this one.
    pub(crate) carried: i64,
    /// Requests of this period that it would have refused, were it not in shadow mode.
    pub(crate) shadowed: i64,
    /// The highest threshold in percent that was told in this period; 0 for none.
    pub(crate) told_percent: i64,
    /// When it was told.
    pub(crate) told_unix_ms: i64,
}

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
            carried: 0,
            shadowed: 0,
            told_percent: 0,
            told_unix_ms: 0,
        }
    }

    /// Whether a request at this time counts against it.
    pub(crate) fn covers(&self, subject: &Subject, now: i64) -> bool {
        let terms = &self.terms;
        terms.tenant == subject.tenant && terms.period.applies(now) && terms.scope.covers(subject)
    }

    /// The limit of this period.
    pub(crate) fn ceiling(&self) -> i64 {
        self.terms.limit.saturating_add(self.carried)
    }

    /// Starts anew when the period is over. What is reserved stays so: it is spent in the period in which it is settled.
    /// A clock that went back changes nothing.
    pub(crate) fn roll(&mut self, now: i64) -> bool {
        if now < self.window.end {
            return false;
        }
        let next = self.terms.period.window(&self.terms.zone, now);
        if next.start < self.window.end {
            // A span that does not repeat.
            return false;
        }
        self.carried = match self.terms.carry_over {
            true if next.start == self.window.end => {
                self.ceiling().saturating_sub(self.spent).clamp(0, self.terms.limit)
            }
            // A whole period passed in which nothing was spent.
            true => self.terms.limit,
            false => 0,
        };
        self.window = next;
        (self.spent, self.shadowed, self.told_percent, self.told_unix_ms) = (0, 0, 0, 0);
        self.uncovered = self.reserved.saturating_sub(self.ceiling()).max(0);
        true
    }

    /// What is neither spent nor reserved; negative past the limit.
    pub(crate) fn room(&self) -> i64 {
        self.ceiling().saturating_sub(self.spent).saturating_sub(self.reserved)
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
        if !terms.carry_over || !self.terms.same_count(&terms) {
            self.carried = 0;
        }
        self.terms = terms;
        self.window = self.terms.period.window(&self.terms.zone, now);
        self.told_percent = 0;
        self.forgive();
    }

    /// Takes the state as it is for lawful.
    pub(crate) fn forgive(&mut self) {
        self.uncovered =
            self.uncovered.max(self.spent.saturating_add(self.reserved).saturating_sub(self.ceiling()));
    }

    /// Whether B1 holds: nothing is spent or reserved past the limit except what came uncovered.
    pub(crate) fn is_kept(&self) -> bool {
        !self.terms.refuses()
            || self.spent.saturating_add(self.reserved) <= self.ceiling().saturating_add(self.uncovered)
    }

    /// Whether so much of it, in percent, is spent.
    pub(crate) fn has_passed(&self, percent: i64) -> bool {
        self.spent > 0 && i128::from(self.spent) * 100 >= i128::from(self.ceiling()) * i128::from(percent)
    }

    /// The highest threshold that is passed, in percent; 0 for none.
    pub(crate) fn passed_percent(&self) -> i64 {
        let thresholds = self.terms.thresholds().iter().rev().map(|percent| i64::from(*percent));
        thresholds.into_iter().find(|percent| self.has_passed(*percent)).unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::{period::Period, subject::Scope};

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
            carry_over: false,
            scope: Scope::default(),
            alert_percents: Vec::new(),
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
    fn what_is_left_goes_over_once_and_never_more_than_one_limit() {
        const DAY: i64 = 86_400_000;
        let carrying = Terms { carry_over: true, ..terms("a", "b", 100) };
        let mut budget = Budget::new(1, Origin::Call, carrying, 0);
        budget.spend(money(70), money(70));
        budget.roll(DAY);
        assert_eq!((budget.carried, budget.room()), (30, 130));
        budget.roll(2 * DAY);
        assert_eq!((budget.carried, budget.room()), (100, 200), "130 were left");
        budget.spend(money(210), money(200));
        budget.roll(3 * DAY);
        assert_eq!((budget.carried, budget.room()), (0, 100));
        budget.spend(money(100), money(100));
        budget.roll(9 * DAY);
        assert_eq!(budget.room(), 200, "in between nothing was spent");
        let plain = Terms { carry_over: false, ..budget.terms.clone() };
        budget.change(plain, 9 * DAY);
        assert_eq!(budget.room(), 100);
    }

    #[test]
    fn a_span_that_does_not_repeat_counts_only_within_it_and_is_never_reset() {
        let period = Period::Span { start_unix_ms: 10, length_ms: 10, repeats: false };
        let mut budget = Budget::new(1, Origin::Call, Terms { period, ..terms("a", "b", 100) }, 0);
        let who = crate::subject::tests::subject("a", "k");
        assert_eq!([9, 10, 19, 20].map(|now| budget.covers(&who, now)), [false, true, true, false]);
        budget.spend(money(70), money(70));
        assert!(!budget.roll(500));
        assert_eq!(budget.spent, 70);
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
        budget.terms.alert_percents = vec![10, 90];
        assert_eq!(budget.passed_percent(), 90);
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
