//! A backend under test, with a clock of its own.

use std::{path::Path, sync::Arc};

use signalbox_config::Redis;
use signalbox_mesh::{ManualClock, Random, Shutdown};
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::{RedisError, RedisServer};
use tempfile::TempDir;

use crate::{
    Allowances, Config,
    alerts::Alerts,
    backend::Backend,
    books::{Admitted, Ask, Extension},
    budget::{Budget, Origin, Terms},
    counters::Violations,
    fleet::{Fleet, Setting as Shared},
    keys::Keys,
    ledger::{AttemptRecord, Details, Record},
    query::{Dimension, Question},
    refusal::Refusal,
    reservation::Quote,
    rollup::tests::attempt as attempt_of,
    store::{Configured, Setting as Embedded, Store},
    subject::{Subject, tests::subject},
};

/// The start of an hour, so that windows are whole hours.
pub(super) const START: i64 = 1_780_001_280_000 / 3_600_000 * 3_600_000;

/// A backend under test.
pub(super) struct World {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) keys: Keys,
    pub(super) clock: ManualClock,
    pub(super) violations: Violations,
    pub(super) shutdown: Shutdown,
    /// Held as long as the world lasts.
    pub(super) _server: Option<RedisServer>,
    pub(super) folder: Option<TempDir>,
}

fn config(allowances: bool) -> Config {
    let allowance = Allowances { enabled: allowances, ..Allowances::default() };
    Config { allowance, ..Config::default() }
}

impl World {
    /// The embedded backend in a folder.
    pub(super) fn embedded(clock: &ManualClock, allowances: bool) -> Self {
        Self::embedded_in(tempfile::tempdir().unwrap(), clock, allowances)
    }

    /// What a process would find that took over after this one was killed now: the files as they are.
    pub(super) fn after_a_kill(self) -> Self {
        let image = tempfile::tempdir().unwrap();
        let folder = self.folder.as_ref().unwrap().path();
        for file in ["metering.db", "metering.db-wal"] {
            std::fs::copy(folder.join(file), image.path().join(file)).unwrap();
        }
        Self::embedded_in(image, &self.clock, false)
    }

    fn embedded_in(folder: TempDir, clock: &ManualClock, allowances: bool) -> Self {
        let (alerts, violations) = (Alerts::new(), Violations::default());
        let setting = Embedded {
            folder: folder.path(),
            config: &config(allowances),
            configured: Configured::default(),
            admin: None,
            clock: Arc::new(clock.clone()),
            alerts,
            violations: violations.clone(),
        };
        let (store, keys) = Store::open(setting).unwrap();
        Self {
            backend: Arc::new(store),
            keys,
            clock: clock.clone(),
            violations,
            shutdown: Shutdown::new(),
            _server: None,
            folder: Some(folder),
        }
    }

    /// A replica of the shared backend over a Redis that runs.
    pub(super) async fn shared(url: &str, clock: &ManualClock, allowances: bool) -> Self {
        let (alerts, violations, shutdown) = (Alerts::new(), Violations::default(), Shutdown::new());
        let setting = Shared {
            redis: &Redis { url: Some(url.to_owned()), ..Redis::default() },
            config: &config(allowances),
            configured: Configured::default(),
            admin: None,
            clock: Arc::new(clock.clone()),
            random: &Random::system(),
            alerts,
            violations: violations.clone(),
            shutdown: &shutdown,
        };
        let (fleet, keys) = Fleet::open(setting).await.unwrap();
        Self {
            backend: Arc::new(fleet),
            keys,
            clock: clock.clone(),
            violations,
            shutdown,
            _server: None,
            folder: None,
        }
    }

    /// Both backends, each with nothing in it. Without Redis only the embedded one, and the test says so.
    pub(super) async fn both(allowances: bool) -> Vec<Self> {
        let clock = ManualClock::new(START);
        let mut worlds = vec![Self::embedded(&clock, allowances)];
        if let Some((folder, server)) = redis(RedisServer::durable) {
            let clock = ManualClock::new(START);
            let shared = Self::shared(&server.url(), &clock, allowances).await;
            worlds.push(Self { _server: Some(server), folder: Some(folder), ..shared });
        }
        worlds
    }

    pub(super) async fn budget(&self, terms: Terms) -> Budget {
        self.backend.put_budget(None, terms, Origin::Call, "admin").await.unwrap()
    }

    pub(super) async fn budgets(&self, tenant: &str) -> Vec<Budget> {
        self.backend.budgets(tenant).await.unwrap()
    }

    pub(super) async fn admit(&self, id: &str, output_tokens: i64) -> Result<Admitted, Refusal> {
        self.backend.admit(ask(subject("acme", "k1"), id, output_tokens)).await
    }

    pub(super) async fn extend(&self, id: &str, number: u32, output_tokens: i64) -> Result<i64, Refusal> {
        let extension = Extension {
            reservation_id: id.into(),
            number,
            nanousd: 0,
            output_tokens,
            output_picousd: None,
            another_attempt: false,
        };
        Ok(self.backend.extend(extension).await?.amount_nanousd)
    }

    /// Settles one record: how many were new and known.
    pub(super) async fn settle(&self, record: Record) -> Result<(u32, u32), Refusal> {
        let (settled, refused) = self.backend.settle(vec![record]).await?;
        match refused.into_iter().next() {
            Some((_, refusal)) => Err(refusal),
            None => Ok((settled.recorded, settled.duplicates)),
        }
    }

    /// Requests, attempts and cost by outcome.
    pub(super) async fn ledger(&self, tenant: &str) -> Vec<(String, i64, i64, i64)> {
        let question = Question {
            to_unix_ms: i64::MAX,
            group_by: vec![Dimension::Outcome],
            filters: vec![(Dimension::Tenant, tenant.to_owned())],
            limit: 100,
            ..Question::default()
        };
        let (groups, _) = self.backend.answer(question).await.unwrap();
        let mut rows: Vec<_> = groups
            .into_iter()
            .map(|g| (g.values[0].clone(), g.sum.requests, g.sum.attempts, g.sum.cost_nanousd))
            .collect();
        rows.sort();
        rows
    }

    /// Whatever was open has expired: nothing leaks, and nothing happened that must not.
    pub(super) async fn end(self) {
        self.clock.advance(std::time::Duration::from_secs(600));
        self.backend.tick().await;
        for budget in self.backend.budgets("").await.unwrap() {
            assert_eq!((budget.reserved, budget.standing), (0, 0), "L1: {budget:?}");
        }
        let seen = &self.violations;
        assert_eq!((seen.m1(), seen.m2(), seen.b1()), (0, 0, 0));
        self.shutdown.complete().await;
        self.backend.close().await;
    }
}

/// Starts a Redis of a test's own. `None`: it is not installed, and the test says so.
pub(super) fn redis(
    start: impl FnOnce(&Path) -> Result<RedisServer, RedisError>,
) -> Option<(TempDir, RedisServer)> {
    let folder = tempfile::tempdir().unwrap();
    match start(&folder.path().join("redis")) {
        Ok(server) => Some((folder, server)),
        Err(RedisError::Missing) => {
            println!("SKIPPED: no redis-server; run scripts/setup.sh redis");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Asks for so many output tokens at a nano-dollar each; the input is free.
pub(super) fn ask(subject: Subject, id: &str, output_tokens: i64) -> Ask {
    Ask {
        request_id: id.into(),
        gateway_id: "gw".into(),
        subject: Arc::new(subject),
        quote: Quote { input_tokens: 0, output_tokens, fixed_nanousd: 0, output_picousd: 1_000 },
        slice_tokens: None,
    }
}

/// The id by which a reservation is named outside.
pub(super) fn reservation(admitted: &Admitted) -> String {
    admitted.reservation.id.as_ref().to_owned()
}

pub(super) fn attempt(number: u32, cost: i64) -> AttemptRecord {
    let mut attempt = attempt_of(number, cost);
    (attempt.tokens.input, attempt.started_unix_ms) = (0, START);
    attempt
}

/// A record of a request of `acme`.
pub(super) fn record(
    id: &str,
    reservation_id: Option<String>,
    attempts: Vec<AttemptRecord>,
    closing: Option<RequestOutcome>,
) -> Record {
    Record {
        request_id: id.into(),
        reservation_id,
        subject: Some(Arc::new(subject("acme", "k1"))),
        attempts,
        closing,
        details: Details { started_unix_ms: START, total_ms: 5, ..Details::default() },
    }
}

/// The only record of a request that went well.
pub(super) fn done(id: &str, admitted: &Admitted, cost: i64) -> Record {
    record(id, Some(reservation(admitted)), vec![attempt(1, cost)], Some(RequestOutcome::Ok))
}
