//! What a person is told of, once.

use signalbox_proto::metering::v1::RequestOutcome;

use super::world::{START, World, attempt, done, record};
use crate::{
    alerts::{Alerts, Kind},
    budget::tests::terms,
    config::Alerting,
    measure::Standing,
    rollup::DAY_MS,
    watchman::Watchman,
};

fn watchman(world: &World, alerts: &Alerts) -> Watchman {
    let clock = std::sync::Arc::new(world.clock.clone());
    let config = Alerting::default();
    Watchman {
        backend: world.backend.clone(),
        alerts: alerts.clone(),
        standing: Standing::default(),
        clock,
        config,
    }
}

/// Settles requests that began at a time: so many in all, of them failed and slow.
async fn traffic(world: &World, at: i64, all: usize, failed: usize, slow: usize) {
    for n in 0..all {
        let outcome = if n < failed { RequestOutcome::Failed } else { RequestOutcome::Ok };
        let mut record = record(&format!("{at}-{n}"), None, vec![attempt(1, 10)], Some(outcome));
        record.details.started_unix_ms = at;
        record.details.total_ms = if n < slow { 40_000 } else { 100 };
        world.settle(record).await.unwrap();
    }
}

#[tokio::test]
async fn each_thing_is_told_once_in_its_period_whoever_looks() {
    for world in World::both(false).await {
        world.clock.set(START + 60_000);
        traffic(&world, START - DAY_MS - 1, 25, 0, 0).await;
        traffic(&world, START - 1, 80, 7, 0).await;
        traffic(&world, START, 40, 4, 2).await;
        let alerts = Alerts::new();
        let mut news = alerts.watch();
        let one = watchman(&world, &alerts);
        one.look().await.unwrap();
        let mut told: Vec<_> =
            std::iter::from_fn(|| news.try_recv().ok()).map(|alert| (alert.id, alert.kind)).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            (format!("error-rate-acme-{START}"), Kind::ErrorRate),
            (format!("slow-calls-acme-{START}"), Kind::Slow),
            (format!("sudden-change-acme-{}", START - 3_600_000), Kind::Change),
        ];
        assert_eq!(told, expected, "7 of 80 are less than a tenth");
        one.look().await.unwrap();
        watchman(&world, &alerts).look().await.unwrap();
        assert!(news.try_recv().is_err(), "nothing twice");
        assert_eq!(world.backend.active().await.unwrap().len(), 3);
        world.clock.set(START + 10 * 3_600_000);
        world.backend.tick().await;
        assert_eq!(world.backend.active().await.unwrap(), []);
        world.end().await;
    }
}

#[tokio::test]
async fn a_budget_tells_its_thresholds_and_what_it_will_come_to() {
    for world in World::both(false).await {
        let mut month = terms("acme", "b", 1_000);
        month.alert_percents = vec![10, 90];
        let budget = world.budget(month).await;
        let admitted = world.admit("r1", 150).await.unwrap();
        world.settle(done("r1", &admitted, 150)).await.unwrap();
        let budgets = world.budgets("acme").await;
        assert_eq!(budgets[0].told_percent, 10);
        // An eighth of the day: 150 become 1,200.
        world.clock.set(budget.window.start + DAY_MS / 8);
        let alerts = Alerts::new();
        let mut news = alerts.watch();
        for _ in 0..2 {
            watchman(&world, &alerts).look().await.unwrap();
        }
        let alert = news.try_recv().unwrap();
        assert_eq!((alert.kind, alert.subject.as_str()), (Kind::Forecast, "b"));
        assert!(alert.message.contains("1200 of 1000"), "{}", alert.message);
        assert!(news.try_recv().is_err());
        world.end().await;
    }
}
