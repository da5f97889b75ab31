//! Looks at budgets and at the traffic of the last hours, and tells what a person should know.
//!
//! Each rule looks at a period and names its alert after it, and the backend lets each name be told once: so nothing flaps,
//! and neither another replica nor a restart tells it again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use signalbox_mesh::{Clock, Shutdown};

use crate::{
    alerts::{Alert, Alerts, Kind},
    backend::Backend,
    config::Alerting,
    measure::Standing,
    query::{Dimension, Question},
    refusal::Refusal,
    rollup::{Cell, DAY_MS, HOUR_MS},
};

/// Tenants that are looked at.
const TENANTS: usize = 10_000;

/// Looks again and again.
pub(crate) struct Watchman {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) alerts: Alerts,
    pub(crate) standing: Standing,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Alerting,
}

/// The traffic of a tenant in one hour.
#[derive(Debug, Clone, Default)]
struct Hour {
    sum: Cell,
    failed: i64,
}

impl Watchman {
    /// Looks until the end.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let every = Duration::from_millis(self.config.every_ms);
        loop {
            if let Err(refusal) = self.look().await {
                tracing::warn!(%refusal, "budgets and traffic could not be looked at");
            }
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Looks once.
    pub(crate) async fn look(&self) -> Result<(), Refusal> {
        let now = self.clock.unix_ms();
        let mut found: Vec<Alert> = Vec::new();
        let budgets = self.backend.budgets("").await?;
        self.standing.look(&budgets, now);
        for budget in &budgets {
            found.extend(Alert::forecast(budget, now));
        }
        // The hour before this one is over; the same one of yesterday is what it is compared with.
        let start = now.div_euclid(HOUR_MS) * HOUR_MS - HOUR_MS;
        let (last, before) = (self.hour(start).await?, self.hour(start - DAY_MS).await?);
        let present = self.hour(start + HOUR_MS).await?;
        for (tenant, hour) in &present {
            found.extend(self.errors(tenant, hour, start + HOUR_MS));
            found.extend(self.slow(tenant, hour, start + HOUR_MS));
        }
        for (tenant, hour) in &last {
            found.extend(self.errors(tenant, hour, start));
            found.extend(self.slow(tenant, hour, start));
        }
        let none = Hour::default();
        for tenant in last.keys().chain(before.keys().filter(|tenant| !last.contains_key(*tenant))) {
            let hours = (last.get(tenant).unwrap_or(&none), before.get(tenant).unwrap_or(&none));
            found.extend(self.change(tenant, hours, start));
        }
        for mut alert in found {
            alert.raised_unix_ms = now;
            if self.backend.tell_once(&alert).await? {
                self.alerts.tell(alert);
            }
        }
        Ok(())
    }

    async fn hour(&self, start: i64) -> Result<BTreeMap<String, Hour>, Refusal> {
        let question = Question {
            from_unix_ms: start,
            to_unix_ms: start + HOUR_MS,
            group_by: vec![Dimension::Tenant, Dimension::Outcome],
            limit: TENANTS,
            ..Question::default()
        };
        let (groups, _) = self.backend.answer(question).await?;
        let mut hours = BTreeMap::<String, Hour>::new();
        for group in groups {
            let [tenant, outcome] = &group.values[..] else { continue };
            let hour = hours.entry(tenant.clone()).or_default();
            hour.sum.merge(&group.sum);
            if matches!(outcome.as_str(), "FAILED" | "DEADLINE") {
                hour.failed += group.sum.requests;
            }
        }
        Ok(hours)
    }

    fn errors(&self, tenant: &str, hour: &Hour, start: i64) -> Option<Alert> {
        let config = &self.config;
        let (failed, all) = (hour.failed, hour.sum.requests);
        let passed = all >= config.least_requests && failed * 100 >= all * config.error_percent;
        passed.then(|| Alert {
            message: format!("{failed} of {all} requests of {tenant} failed within an hour"),
            ..alert(Kind::ErrorRate, tenant, "error rate", start, config.error_percent)
        })
    }

    fn slow(&self, tenant: &str, hour: &Hour, start: i64) -> Option<Alert> {
        let config = &self.config;
        let (slow, all) = (hour.sum.durations.above(config.slow_ms), hour.sum.durations.count());
        (slow > 0 && slow * 100 >= all * config.slow_percent).then(|| Alert {
            message: format!(
                "{slow} of {all} requests of {tenant} took longer than {} ms within an hour",
                config.slow_ms
            ),
            ..alert(Kind::Slow, tenant, "slow calls", start, config.slow_percent)
        })
    }

    fn change(&self, tenant: &str, (last, before): (&Hour, &Hour), start: i64) -> Option<Alert> {
        let config = &self.config;
        let (now, then) = (last.sum.requests, before.sum.requests);
        let (cost, cost_then) = (last.sum.cost_nanousd, before.sum.cost_nanousd);
        // Without a yesterday there is nothing to compare with.
        if then == 0 || now.max(then) < config.least_requests {
            return None;
        }
        let differs = |a: i64, b: i64| {
            let (more, less) = (i128::from(a.max(b)), i128::from(a.min(b)));
            more > 0 && more >= less * i128::from(config.change_factor)
        };
        (differs(now, then) || differs(cost, cost_then)).then(|| Alert {
            message: format!(
                "{tenant} made {now} requests for {cost} nano-dollars in an hour, and {then} for {cost_then} in the same hour of the day before"
            ),
            ..alert(Kind::Change, tenant, "sudden change", start, config.change_factor * 100)
        })
    }
}

fn alert(kind: Kind, tenant: &str, subject: &str, start: i64, percent: i64) -> Alert {
    Alert {
        id: format!("{}-{tenant}-{start}", subject.replace(' ', "-")),
        kind,
        tenant: tenant.to_owned(),
        subject: subject.to_owned(),
        message: String::new(),
        raised_unix_ms: start,
        // It is still worth knowing in the hour after.
        until_unix_ms: start + 2 * HOUR_MS,
        percent,
    }
}
