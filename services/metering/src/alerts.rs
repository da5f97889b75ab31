//! Alerts: told once when they arise, and to whoever begins to watch while they last.

use tokio::sync::broadcast;

use crate::budget::{Budget, Unit};

/// Alerts that a slow watcher may lag behind; it then hears again of what is still active.
const BACKLOG: usize = 256;

/// A threshold of a budget that was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    /// The same for the same budget, period and threshold.
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) budget: String,
    pub(crate) message: String,
    pub(crate) raised_unix_ms: i64,
    pub(crate) percent: i64,
}

impl Alert {
    /// The alert that a budget has told of in its period, if any.
    pub(crate) fn of(budget: &Budget) -> Option<Self> {
        let (terms, percent) = (&budget.terms, budget.told_percent);
        let unit = match terms.unit {
            Unit::Nanousd => "nano-dollars",
            Unit::Tokens => "tokens",
        };
        (percent > 0).then(|| Self {
            id: format!("budget-{}-{}-{percent}", budget.id, budget.window.start),
            tenant: terms.tenant.as_ref().to_owned(),
            budget: terms.name.clone(),
            message: format!(
                "budget {} of {} has passed {percent} %: {} of {} {unit} are spent",
                terms.name, terms.tenant, budget.spent, terms.limit
            ),
            raised_unix_ms: budget.told_unix_ms,
            percent,
        })
    }
}

/// Where alerts are told. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Alerts(broadcast::Sender<Alert>);

impl Alerts {
    /// Creates it; nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// Tells all watchers, and the log.
    pub(crate) fn tell(&self, alert: Alert) {
        tracing::warn!(
            tenant = alert.tenant,
            budget = alert.budget,
            percent = alert.percent,
            "a budget passed a threshold"
        );
        // Nobody watching is no fault.
        let _watchers = self.0.send(alert);
    }

    /// Begins to watch.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Alert> {
        self.0.subscribe()
    }
}
