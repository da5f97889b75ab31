//! Rate limits: how much may come in a time, and how much at the same time.
//!
//! A limit is a bucket that drains steadily (the generic cell rate algorithm, ITU-T I.371 Annex A, as a meter): each unit adds
//! to it, time takes away, and what would make it overflow is refused. So nothing is let in twice around the end of a
//! period, and after a refusal it is known to the millisecond when to come again. All is integer arithmetic: a level
//! counts units times the milliseconds of the period.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    refusal::Refusal,
    subject::{Facet, Scope, Subject},
    terms::Origin,
};

/// The most that a limit may name: its level must fit 64 bits with a day's milliseconds.
pub(crate) const MOST: i64 = 10_000_000_000;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    Requests,
    /// Input and output together.
    Tokens,
    /// Requests under way.
    Concurrent,
}

/// In which time a limit refills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Per {
    /// Never by itself: what is under way ends.
    Call,
    Second,
    Minute,
    Day,
}

/// What a limit bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitTerms {
    pub(crate) tenant: Arc<str>,
    pub(crate) name: String,
    pub(crate) rate: Rate,
}

/// The stored form of a limit's terms, but for tenant and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) metric: Metric,
    pub(crate) amount: i64,
    pub(crate) per: Per,
    /// What may come at once.
    pub(crate) burst: i64,
    pub(crate) scope: Scope,
    /// Each value has the limit for itself.
    pub(crate) each: Option<Facet>,
    pub(crate) shadow: bool,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) id: i64,
    pub(crate) origin: Origin,
    pub(crate) terms: LimitTerms,
}

/// How full a bucket is, and when that was so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Level {
    /// Units times milliseconds.
    pub(crate) level: i64,
    pub(crate) at_unix_ms: i64,
}

/// The bucket of a limit that a request goes through: the limit's id, and the value that has it for itself.
pub(crate) type Bucket = (i64, Arc<str>);

impl Rate {
    /// The period in milliseconds; 1 where nothing drains.
    pub(crate) const fn per_ms(&self) -> i64 {
        match self.per {
            Per::Call => 1,
            Per::Second => 1_000,
            Per::Minute => 60_000,
            Per::Day => 86_400_000,
        }
    }

    /// What drains in a millisecond, in levels.
    pub(crate) const fn drain(&self) -> i64 {
        match self.per {
            Per::Call => 0,
            _ => self.amount,
        }
    }

    /// The value that has the limit for itself; empty where all share it. `None`: the request does not count.
    pub(crate) fn value<'a>(&self, subject: &'a Subject) -> Option<&'a str> {
        if !self.scope.covers(subject) {
            return None;
        }
        match &self.each {
            None => Some(""),
            Some(facet) => facet.of(subject),
        }
    }

    fn full(&self) -> i64 {
        self.burst.saturating_mul(self.per_ms())
    }

    /// The level now. A clock that went back drains nothing.
    pub(crate) fn drained(&self, level: Level, now: i64) -> i64 {
        let passed = i128::from(now.saturating_sub(level.at_unix_ms).max(0));
        let left = i128::from(level.level) - passed * i128::from(self.drain());
        i64::try_from(left.max(0)).unwrap_or(i64::MAX)
    }

    /// Adds units, negative ones too, whether they fit or not.
    pub(crate) fn add(&self, level: Level, units: i64, now: i64) -> Level {
        let added = units.clamp(-MOST, MOST).saturating_mul(self.per_ms());
        Level {
            level: self.drained(level, now).saturating_add(added).max(0),
            at_unix_ms: level.at_unix_ms.max(now),
        }
    }

    /// How many milliseconds until so many units fit: 0 now, `None` never by itself.
    pub(crate) fn wait_ms(&self, level: Level, units: i64, now: i64) -> Option<i64> {
        let wanted = units.saturating_mul(self.per_ms());
        let over = self.drained(level, now).saturating_add(wanted).saturating_sub(self.full());
        match over {
            over if over <= 0 => Some(0),
            _ if wanted > self.full() || self.drain() == 0 => None,
            over => Some(ceil(over, self.drain())),
        }
    }

    /// What still fits, in units.
    pub(crate) fn remaining(&self, level: Level, now: i64) -> i64 {
        self.full().saturating_sub(self.drained(level, now)).max(0) / self.per_ms()
    }

    /// How many milliseconds until the bucket is empty; 0 where it does not drain.
    pub(crate) fn reset_ms(&self, level: Level, now: i64) -> i64 {
        if self.drain() == 0 { 0 } else { ceil(self.drained(level, now), self.drain()) }
    }
}

fn ceil(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b > 0)
}

/// The state of a limit after a request, as callers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateTold {
    pub(crate) name: String,
    pub(crate) metric: Metric,
    pub(crate) limit: i64,
    pub(crate) remaining: i64,
    pub(crate) reset_ms: i64,
}

impl Limit {
    /// Whether it may be changed to that.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn may_become(&self, terms: &LimitTerms, origin: Origin) -> Result<(), Refusal> {
        if self.origin == Origin::Configuration && origin == Origin::Call {
            let what = "this limit stands in the configuration file; change it there";
            return Err(Refusal::invalid("limit.id", what));
        }
        if self.terms.tenant != terms.tenant {
            let what = "a limit cannot change its tenant; make a new one";
            return Err(Refusal::invalid("limit.tenant", what));
        }
        Ok(())
    }

    /// What callers are told of a bucket.
    pub(crate) fn told(&self, level: Level, now: i64) -> RateTold {
        let rate = &self.terms.rate;
        RateTold {
            name: self.terms.name.clone(),
            metric: rate.metric,
            limit: rate.burst,
            remaining: rate.remaining(level, now),
            reset_ms: rate.reset_ms(level, now),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A limit for tests over all of a tenant.
    pub(crate) fn limit(id: i64, metric: Metric, amount: i64, per: Per) -> Limit {
        let rate =
            Rate { metric, amount, per, burst: amount, scope: Scope::default(), each: None, shadow: false };
        let terms = LimitTerms { tenant: "acme".into(), name: format!("l{id}"), rate };
        Limit { id, origin: Origin::Call, terms }
    }

    #[test]
    fn a_full_bucket_says_when_to_come_again_and_keeps_its_word() {
        let rate = limit(1, Metric::Requests, 7, Per::Second).terms.rate;
        let mut level = Level::default();
        for n in 0..7 {
            assert_eq!(rate.wait_ms(level, 1, 1_000), Some(0), "{n}");
            level = rate.add(level, 1, 1_000);
        }
        assert_eq!((rate.remaining(level, 1_000), rate.reset_ms(level, 1_000)), (0, 1_000));
        let wait = rate.wait_ms(level, 1, 1_000).unwrap();
        assert_eq!(wait, 143, "a seventh of a second, rounded up");
        assert_eq!(rate.wait_ms(level, 1, 1_000 + wait - 1), Some(1));
        assert_eq!(rate.wait_ms(level, 1, 1_000 + wait), Some(0));
        assert_eq!(rate.wait_ms(level, 8, 9_000), None, "more than ever fits");
        assert_eq!(rate.remaining(level, 2_000), 7);
    }

    #[test]
    fn what_is_under_way_does_not_drain() {
        let rate = limit(1, Metric::Concurrent, 2, Per::Call).terms.rate;
        let two = rate.add(rate.add(Level::default(), 1, 0), 1, 0);
        assert_eq!((rate.wait_ms(two, 1, i64::MAX), rate.remaining(two, i64::MAX)), (None, 0));
        assert_eq!(rate.wait_ms(rate.add(two, -1, 5), 1, 5), Some(0));
    }

    proptest! {
        #[test]
        fn no_time_lets_in_more_than_the_burst_and_what_drained(
            amount in 1i64..50, burst in 1i64..80, steps in proptest::collection::vec((0i64..900, 1i64..9), 1..200)
        ) {
            let rate = Rate { burst, ..limit(1, Metric::Tokens, amount, Per::Second).terms.rate };
            let (mut level, mut now, mut taken) = (Level::default(), 0, Vec::new());
            for (pause, units) in steps {
                now += pause;
                match rate.wait_ms(level, units, now) {
                    Some(0) => {
                        level = rate.add(level, units, now);
                        taken.push((now, units));
                    }
                    Some(wait) => {
                        prop_assert_eq!(rate.wait_ms(level, units, now + wait), Some(0));
                        prop_assert!(rate.wait_ms(level, units, now + wait - 1) != Some(0));
                    }
                    None => prop_assert!(units > burst),
                }
                for (from, _) in &taken {
                    let since: i64 = taken.iter().filter(|(at, _)| at >= from).map(|(_, units)| units).sum();
                    prop_assert!(since * 1_000 <= burst * 1_000 + (now - from) * amount);
                }
            }
        }
    }
}
