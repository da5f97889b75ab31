//! Alerts: told once when they arise, and to whoever begins to watch while they last.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::{
    budget::{Budget, Unit},
    measure,
};

/// Alerts that a slow watcher may lag behind; it then hears again of what is still active.
const BACKLOG: usize = 256;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Budget,
    Forecast,
    ErrorRate,
    Slow,
    Change,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alert {
    /// The same for the same thing within one period.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) tenant: String,
    /// The budget, or what was looked at.
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) raised_unix_ms: i64,
    /// Until when it is active: the end of its period.
    pub(crate) until_unix_ms: i64,
    /// The threshold that was passed.
    pub(crate) percent: i64,
}

impl Alert {
    /// The alert that a budget has told of in its period, if any.
    pub(crate) fn of(budget: &Budget) -> Option<Self> {
        let (terms, percent) = (&budget.terms, budget.told_percent);
        (percent > 0).then(|| Self {
            id: format!("budget-{}-{}-{percent}", budget.id, budget.window.start),
            kind: Kind::Budget,
            tenant: terms.tenant.as_ref().to_owned(),
            subject: terms.name.clone(),
            message: format!(
                "budget {} of {} has passed {percent} %: {} of {} {} are spent",
                terms.name,
                terms.tenant,
                budget.spent,
                budget.ceiling(),
                unit(budget),
            ),
            raised_unix_ms: budget.told_unix_ms,
            until_unix_ms: budget.window.end,
            percent,
        })
    }

    /// The alert that a budget will be passed if spending goes on as so far in its period: straight on, once a tenth of the
    /// period has passed.
    pub(crate) fn forecast(budget: &Budget, now: i64) -> Option<Self> {
        let (terms, window) = (&budget.terms, budget.window);
        let length = window.end.checked_sub(window.start).filter(|_| window.end < i64::MAX)?;
        let passed = now.saturating_sub(window.start);
        let ceiling = budget.ceiling();
        if passed.saturating_mul(10) < length || passed > length || budget.spent >= ceiling {
            return None;
        }
        let expected = i128::from(budget.spent) * i128::from(length) / i128::from(passed.max(1));
        let expected = i64::try_from(expected).unwrap_or(i64::MAX);
        (expected > ceiling).then(|| Self {
            id: format!("forecast-{}-{}", budget.id, window.start),
            kind: Kind::Forecast,
            tenant: terms.tenant.as_ref().to_owned(),
            subject: terms.name.clone(),
            message: format!(
                "budget {} of {} will be passed: {expected} of {ceiling} {} at the end of its period if spending goes on as so far",
                terms.name,
                terms.tenant,
                unit(budget),
            ),
            raised_unix_ms: now,
            until_unix_ms: window.end,
            percent: 100,
        })
    }
}

fn unit(budget: &Budget) -> &'static str {
    match budget.terms.unit {
        Unit::Nanousd => "nano-dollars",
        Unit::Tokens => "tokens",
    }
}

/// Where alerts are told. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Alerts {
    watchers: broadcast::Sender<Alert>,
    /// To whoever delivers them elsewhere, if anybody does.
    delivery: Arc<Mutex<Option<mpsc::Sender<Alert>>>>,
}

impl Alerts {
    /// Creates it; nobody listens yet.
    pub(crate) fn new() -> Self {
        Self { watchers: broadcast::Sender::new(BACKLOG), delivery: Arc::default() }
    }

    /// Tells all watchers, the log, and whoever delivers: this replica found it.
    pub(crate) fn tell(&self, alert: Alert) {
        measure::told(&alert);
        tracing::warn!(
            id = alert.id,
            kind = ?alert.kind,
            tenant = alert.tenant,
            subject = alert.subject,
            "{}",
            alert.message
        );
        if let Some(delivery) = &*self.delivery.lock()
            && delivery.try_send(alert.clone()).is_err()
        {
            tracing::error!(
                id = alert.id,
                "too many alerts wait for their webhooks; this one is not delivered"
            );
        }
        self.hear(alert);
    }

    /// Tells the watchers here of what another replica found.
    pub(crate) fn hear(&self, alert: Alert) {
        // Nobody watching is no fault.
        let _watchers = self.watchers.send(alert);
    }

    /// Begins to watch.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Alert> {
        self.watchers.subscribe()
    }

    /// Begins to deliver: at most so many wait.
    pub(crate) fn deliver(&self, waiting: usize) -> mpsc::Receiver<Alert> {
        let (sender, receiver) = mpsc::channel(waiting);
        *self.delivery.lock() = Some(sender);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Origin, tests::terms};

    #[test]
    fn a_forecast_goes_straight_on_from_a_tenth_of_the_period() {
        const DAY: i64 = 86_400_000;
        let mut budget = Budget::new(1, Origin::Call, terms("a", "b", 100), 0);
        budget.spent = 15;
        assert_eq!(Alert::forecast(&budget, DAY / 10 - 1), None, "too early");
        let alert = Alert::forecast(&budget, DAY / 10).unwrap();
        assert!(alert.message.contains("150 of 100") && alert.until_unix_ms == DAY, "{alert:?}");
        assert_eq!(Alert::forecast(&budget, DAY / 5), None, "75 at the end");
        budget.spent = 100;
        assert_eq!(Alert::forecast(&budget, DAY / 5), None, "it is passed already");
    }
}
