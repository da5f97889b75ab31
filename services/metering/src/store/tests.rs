use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use signalbox_mesh::{ManualClock, Random};
use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome, UsageSource};
use signalbox_proto::metering::v1::RequestOutcome;
use tempfile::TempDir;

use super::*;
use crate::{
    audit::Look,
    backend::Backend as _,
    books::Ask,
    budget::{Budget, Origin, Terms, tests::terms},
    credential::{self, Credential},
    keys::{Caller, Key, KeyChange, KeyScope},
    ledger::{AttemptRecord, Details, Record, Tokens},
    limit::{Metric, Per, tests::limit},
    query::{Dimension, Question},
    reservation::Quote,
    subject::{Facet, Scope, tests::subject},
};

const START: i64 = 1_780_000_000_000;

struct World {
    folder: PathBuf,
    clock: ManualClock,
    store: Store,
    keys: Keys,
    alerts: Alerts,
    violations: Violations,
}

impl World {
    fn open(folder: &Path, clock: &ManualClock, budgets: Vec<Terms>) -> Self {
        let (alerts, violations) = (Alerts::new(), Violations::default());
        let setting = Setting {
            folder,
            config: &Config {
                allowance: crate::Allowances { enabled: false, ..Default::default() },
                ..Config::default()
            },
            configured: Configured { budgets, limits: Vec::new() },
            admin: None,
            clock: Arc::new(clock.clone()),
            alerts: alerts.clone(),
            violations: violations.clone(),
        };
        let (store, keys) = Store::open(setting).unwrap();
        Self { folder: folder.to_owned(), clock: clock.clone(), store, keys, alerts, violations }
    }

    fn new(budgets: Vec<Terms>) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Self::open(folder.path(), &ManualClock::new(START), budgets), folder)
    }

    /// What a process would find that took over after this one was killed now: the files as they are.
    fn after_a_kill(&self) -> (Self, TempDir) {
        let image = tempfile::tempdir().unwrap();
        for file in ["metering.db", "metering.db-wal"] {
            std::fs::copy(self.folder.join(file), image.path().join(file)).unwrap();
        }
        (Self::open(image.path(), &self.clock, vec![terms("acme", "b", 1_000)]), image)
    }

    async fn admit(&self, id: &str, output_tokens: i64) -> Result<i64, Refusal> {
        let ask = Ask {
            request_id: id.into(),
            gateway_id: "".into(),
            subject: Arc::new(subject("acme", "k1")),
            quote: Quote { input_tokens: 0, output_tokens, fixed_nanousd: 0, output_picousd: 1_000 },
            slice_tokens: None,
        };
        Ok(self.store.ask(move |desk| desk.admit(&ask)).await?.reservation.granted_output_tokens)
    }

    async fn settle(&self, record: Record) -> (u32, u32) {
        let (settled, refused) = self.store.ask(move |desk| desk.settle(&[record])).await.unwrap();
        assert_eq!(refused, []);
        (settled.recorded, settled.duplicates)
    }

    async fn budget(&self) -> Budget {
        let mut budgets = self.store.budgets("acme").await.unwrap();
        assert_eq!(budgets.len(), 1);
        budgets.remove(0)
    }

    /// Requests and cost by outcome.
    async fn ledger(&self) -> BTreeMap<String, (u64, i64)> {
        let group_by = vec![Dimension::Outcome];
        let question = Question { to_unix_ms: i64::MAX, group_by, limit: 100, ..Question::default() };
        let (groups, truncated) = self.store.answer(question).await.unwrap();
        assert!(!truncated);
        groups
            .into_iter()
            .map(|g| (g.values[0].clone(), (u64::try_from(g.sum.requests).unwrap(), g.sum.cost_nanousd)))
            .collect()
    }
}

fn attempt(number: u32, cost_nanousd: i64) -> AttemptRecord {
    AttemptRecord {
        number,
        target_id: "lab/small".to_owned(),
        outcome: AttemptOutcome::Ok,
        kind: AttemptKind::First,
        tokens: Tokens { output: cost_nanousd, ..Tokens::default() },
        source: UsageSource::Reported,
        cost_nanousd,
        price_unknown: false,
        price_version: "1".into(),
        started_unix_ms: START,
        duration_ms: 5,
        first_output_ms: None,
        http_status: Some(200),
        error: None,
        provider_request_id: None,
    }
}

fn record(id: &str, attempts: Vec<AttemptRecord>, closing: Option<RequestOutcome>) -> Record {
    Record {
        request_id: id.into(),
        reservation_id: Some(id.to_owned()),
        subject: Some(Arc::new(subject("acme", "k1"))),
        attempts,
        closing,
        details: Details { started_unix_ms: START, ..Details::default() },
    }
}

fn done(id: &str, cost: i64) -> Record {
    record(id, vec![attempt(1, cost)], Some(RequestOutcome::Ok))
}

fn entry(requests: u64, cost: i64) -> (u64, i64) {
    (requests, cost)
}

#[tokio::test]
async fn what_was_answered_survives_a_kill_and_nothing_leaks() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.admit("settled", 300).await.unwrap();
    world.admit("running", 200).await.unwrap();
    world.admit("dead", 100).await.unwrap();
    assert_eq!(world.settle(done("settled", 120)).await, (1, 0));
    assert_eq!(world.settle(record("running", vec![attempt(1, 50)], None)).await, (1, 0));

    let (next, _image) = world.after_a_kill();
    let budget = next.budget().await;
    assert_eq!((budget.spent, budget.reserved), (170, 250), "exactly what had been answered");
    assert_eq!(
        next.settle(done("settled", 120)).await,
        (0, 1),
        "delivered once more by a gateway that saw no answer"
    );
    assert_eq!(next.settle(record("running", vec![attempt(1, 50)], None)).await, (0, 1));
    assert_eq!(next.settle(record("running", vec![attempt(2, 70)], Some(RequestOutcome::Ok))).await, (1, 0));

    next.clock.advance(Duration::from_secs(121));
    let budget = next.budget().await;
    assert_eq!((budget.spent, budget.reserved), (240, 0));
    let expected = [("ABANDONED".to_owned(), entry(1, 0)), ("OK".to_owned(), entry(2, 240))];
    assert_eq!(next.ledger().await, BTreeMap::from(expected));
    let seen = &next.violations;
    assert_eq!((seen.m1(), seen.m2(), seen.b1()), (0, 0, 0));
}

#[tokio::test]
async fn sums_wait_in_memory_and_are_counted_again_after_a_kill() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    let written = |world: &World| {
        let path = world.folder.join("metering.db");
        let count = "SELECT (SELECT count(*) FROM rollups), (SELECT count(*) FROM unsummed)";
        let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        Connection::open(path).unwrap().query_row(count, [], pair).unwrap()
    };
    for (id, cost) in [("a", 10), ("b", 20)] {
        assert_eq!(world.settle(done(id, cost)).await, (1, 0));
    }
    assert_eq!(written(&world), (0, 2), "noted, not written");
    let (killed, _image) = world.after_a_kill();
    assert_eq!(
        written(&killed),
        (6, 0),
        "an hour and a day, coarse and fine, a day by user, and one by all but the user"
    );
    let both = BTreeMap::from([("OK".to_owned(), entry(2, 30))]);
    assert_eq!(killed.ledger().await, both);

    assert_eq!(world.ledger().await, both, "a question has them written");
    assert_eq!(written(&world), (6, 0));
    assert_eq!(world.settle(done("c", 5)).await, (1, 0));
    // A commit that fails takes nothing of what is pending with it.
    let failed = world.store.ask(|desk| -> Answer<()> {
        desk.settle(&[done("lost", 500)])?.unwrap();
        desk.connection.execute_batch("THIS IS NOT SQL").map(Ok)
    });
    assert_eq!(failed.await, Err(Refusal::StoreAway));
    // Nor is one counted twice that is corrected while it is pending.
    assert_eq!(world.settle(record("c", vec![attempt(2, 7)], None)).await, (1, 0));
    assert_eq!(written(&world), (6, 0), "a correction is written at once");
    let all = BTreeMap::from([("OK".to_owned(), entry(3, 42))]);
    assert_eq!((world.ledger().await, world.after_a_kill().0.ledger().await), (all.clone(), all));
    assert_eq!(world.settle(done("d", 1)).await, (1, 0));
    world.store.tick().await;
    assert_eq!(written(&world), (6, 0), "nor do they wait for ever");
}

#[tokio::test]
async fn an_abandoned_request_that_is_settled_late_has_one_row_and_is_paid() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.admit("r", 300).await.unwrap();
    world.clock.advance(Duration::from_secs(121));
    world.store.tick().await;
    assert_eq!(world.ledger().await, BTreeMap::from([("ABANDONED".to_owned(), entry(1, 0))]));
    assert_eq!(world.settle(done("r", 200)).await, (1, 0));
    assert_eq!(world.ledger().await, BTreeMap::from([("OK".to_owned(), entry(1, 200))]));
    let budget = world.budget().await;
    assert_eq!((budget.spent, budget.reserved, budget.uncovered), (200, 0, 200));
}

#[tokio::test]
async fn contradictions_are_counted_and_change_nothing() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.settle(done("r", 100)).await;
    world.settle(done("r", 101)).await;
    assert_eq!((world.violations.m1(), world.violations.m2()), (1, 0));
    world.settle(record("r", vec![], Some(RequestOutcome::Failed))).await;
    assert_eq!((world.violations.m1(), world.violations.m2()), (1, 1));
    assert_eq!(world.ledger().await, BTreeMap::from([("OK".to_owned(), entry(1, 100))]));
    assert_eq!(world.budget().await.spent, 100);
}

#[tokio::test]
async fn a_record_on_another_requests_reservation_is_refused_and_the_others_are_kept() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.admit("r1", 100).await.unwrap();
    let thief = Record { reservation_id: Some("r1".to_owned()), ..done("r2", 10) };
    let nobody = Record { subject: None, ..done("r3", 10) };
    let records = [thief, nobody, done("r1", 10)];
    let (settled, refused) = world.store.ask(move |desk| desk.settle(&records)).await.unwrap();
    assert_eq!(settled.recorded, 1);
    let faults: Vec<_> = refused.into_iter().map(|(index, refusal)| (index, refusal.to_string())).collect();
    assert_eq!(faults.len(), 2);
    assert!(faults[0].1.starts_with("reservation_id") && faults[1].1.starts_with("principal"), "{faults:?}");
    assert_eq!(world.budget().await.reserved, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_pass_the_budget() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 100_000)]);
    let world = Arc::new(world);
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut spent = 0;
                for n in 0..50 {
                    let id = format!("{task}-{n}");
                    let Ok(granted) = world.admit(&id, 200).await else { continue };
                    let cost = granted - i64::from(n % 3);
                    let budget = world.budget().await;
                    assert!(budget.spent + budget.reserved <= 100_000, "{budget:?}");
                    world.settle(done(&id, cost)).await;
                    spent += cost;
                }
                spent
            })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    let budget = world.budget().await;
    assert_eq!((budget.spent, budget.reserved, budget.uncovered), (spent, 0, 0));
    assert!(spent > 100_000 - 64, "only less than the least grant is left: {spent}");
    assert_eq!(world.violations.b1(), 0);
}

#[tokio::test]
async fn configured_budgets_follow_the_file_and_keep_their_count() {
    let (world, folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.settle(done("r", 100)).await;
    let id = world.budget().await.id;
    let changed = world.store.put_budget(Some(id), terms("acme", "b", 5), Origin::Call, "admin").await;
    assert!(changed.unwrap_err().to_string().contains("configuration file"));
    assert!(world.store.delete_budget(id, "admin").await.is_err());
    world.store.close().await;

    let raised = World::open(folder.path(), &world.clock, vec![terms("acme", "b", 2_000)]);
    let budget = raised.budget().await;
    assert_eq!((budget.id, budget.terms.limit, budget.spent), (id, 2_000, 100));
    raised.store.close().await;
    let renamed = World::open(folder.path(), &world.clock, vec![terms("acme", "c", 2_000)]);
    let budget = renamed.budget().await;
    assert_eq!((budget.terms.name.as_str(), budget.spent), ("c", 100), "what was spent in its period counts");
    renamed.store.close().await;
}

#[tokio::test]
async fn a_budget_made_in_mid_period_knows_what_was_spent_in_it() {
    let (world, _folder) = World::new(vec![]);
    world.settle(done("r", 100)).await;
    let tokens = Terms { unit: crate::budget::Unit::Tokens, ..terms("acme", "b", 1_000) };
    let of = |facet, value: &str| Scope(vec![(facet, value.to_owned())]);
    let scoped = Terms { scope: of(Facet::User, "u"), ..terms("acme", "u", 1_000) };
    let tagged = Terms { scope: of(Facet::Tag("a".to_owned()), "b"), ..terms("acme", "t", 1_000) };
    let made = world.store.ask(move |desk| {
        Ok(Ok([tokens, scoped, tagged]
            .map(|terms| desk.put_budget(None, terms, Origin::Call, "admin").unwrap().unwrap().spent)))
    });
    assert_eq!(made.await.unwrap(), [100, 0, 0]);
}

#[tokio::test]
async fn a_threshold_is_told_once_in_a_period() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    let mut news = world.alerts.watch();
    world.settle(done("r1", 499)).await;
    world.settle(done("r2", 1)).await;
    world.settle(done("r3", 1)).await;
    world.settle(done("r4", 499)).await;
    let told: Vec<i64> = std::iter::from_fn(|| news.try_recv().ok()).map(|alert| alert.percent).collect();
    assert_eq!(told, [50, 100]);
    let (next, _image) = world.after_a_kill();
    assert_eq!(
        crate::alerts::Alert::of(&next.budget().await).unwrap().percent,
        100,
        "still active after a restart"
    );
    world.clock.advance(Duration::from_secs(86_400));
    world.settle(done("r5", 500)).await;
    assert_eq!(news.try_recv().unwrap().percent, 50, "a new period tells anew");
}

#[tokio::test]
async fn a_revocation_is_not_undone_by_a_change_and_survives() {
    let (world, folder) = World::new(vec![]);
    let random = Random::seeded(1);
    let (id, text) = credential::mint(&random);
    let key = Key {
        id: id.as_str().into(),
        tenant: "acme".into(),
        name: "n".to_owned(),
        admin: true,
        hash: Hash::new(Credential::parse(&text).unwrap(), &random),
        old: None,
        scope: KeyScope { models: vec!["a*".to_owned()], team: Some("t".into()), ..KeyScope::default() },
        created_unix_ms: START,
        expires_unix_ms: Some(i64::MAX),
        revoked_unix_ms: None,
    };
    let made = world.store.create_key(key, "root").await.unwrap();
    let caller = Caller { credential: &text, loopback: false, peer_ip: "" };
    assert!(world.keys.identify(caller, START).is_ok());
    let both = world.store.ask(move |desk| {
        let revoked = desk.change_key(&id, KeyChange::Revoke, "root")?;
        let other = KeyChange::Update {
            tenant: String::new(),
            name: "other".to_owned(),
            admin: true,
            expires_unix_ms: None,
            scope: KeyScope::default(),
        };
        let renamed = desk.change_key(&id, other, "ann")?;
        Ok(revoked.and(renamed))
    });
    let changed = both.await.unwrap();
    assert_eq!((changed.revoked_unix_ms, changed.name.as_str()), (Some(START), "other"));
    assert!(matches!(world.keys.identify(caller, START), Err(Refusal::CredentialRevoked(_))));
    let look = Look { tenant: "acme".to_owned(), before_unix_ms: i64::MAX, limit: 10 };
    let audit = world.store.audit(look).await.unwrap();
    let audit: Vec<_> = audit.iter().map(|change| (change.action.as_str(), change.actor.as_str())).collect();
    assert_eq!(audit, [("key.update", "ann"), ("key.revoke", "root"), ("key.create", "root")]);
    world.store.close().await;
    let next = World::open(folder.path(), &world.clock, vec![]);
    let found = next.keys.get(&made.id).unwrap();
    assert_eq!(*found, *changed);
    assert!(matches!(next.keys.identify(caller, START), Err(Refusal::CredentialRevoked(_))));
    next.store.close().await;
}

#[tokio::test]
async fn a_failed_commit_answers_nobody_and_leaves_books_and_disk_agreed() {
    let (world, _folder) = World::new(vec![terms("acme", "b", 1_000)]);
    world.admit("r1", 100).await.unwrap();
    let failed = world.store.ask(|desk| -> Answer<()> {
        let refused = desk.put_budget(None, terms("acme", "lost", 1), Origin::Call, "admin")?;
        assert!(refused.is_ok());
        desk.connection.execute_batch("THIS IS NOT SQL").map(Ok)
    });
    assert_eq!(failed.await, Err(Refusal::StoreAway));
    let budget = world.budget().await;
    assert_eq!((budget.terms.name.as_str(), budget.reserved), ("b", 100));
    assert_eq!(world.settle(done("r1", 10)).await, (1, 0));
}

#[tokio::test]
async fn a_full_queue_sheds_and_a_closed_store_says_so() {
    let (world, _folder) = World::new(vec![]);
    world.store.close().await;
    assert_eq!(world.admit("r", 1).await, Err(Refusal::StoreAway));
    let (queue, _jobs) = mpsc::channel(1);
    let stuck = Store { queue, reader: world.store.reader.clone() };
    let waiting = stuck.ask_now(|_| Ok(Ok(())));
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    assert_eq!(stuck.ask_now(|_| Ok(Ok(()))).await, Err(Refusal::Overloaded));
}

#[tokio::test]
async fn limits_survive_a_kill_as_full_as_they_were() {
    let (world, _folder) = World::new(vec![]);
    for (metric, per) in [(Metric::Requests, Per::Day), (Metric::Concurrent, Per::Call)] {
        let mut terms = limit(0, metric, 3, per).terms;
        terms.name = format!("{metric:?}");
        world.store.put_limit(None, terms, Origin::Call, "admin").await.unwrap();
    }
    for id in ["r1", "r2"] {
        world.admit(id, 1).await.unwrap();
    }
    world.settle(done("r1", 1)).await;
    let (next, _image) = world.after_a_kill();
    let remaining = next.store.ask(|desk| {
        let buckets = [(1, Arc::from("")), (2, Arc::from(""))];
        Ok(Ok(desk
            .books
            .meters
            .told(&buckets, desk.now)
            .iter()
            .map(|rate| rate.remaining)
            .collect::<Vec<_>>()))
    });
    assert_eq!(remaining.await.unwrap(), [1, 2], "two requests today, one under way");
    next.clock.advance(Duration::from_secs(121));
    next.store.tick().await;
    next.admit("r3", 1).await.unwrap();
    assert!(matches!(next.admit("r4", 1).await, Err(Refusal::RateLimited(_))));
}

#[tokio::test]
async fn the_ledger_is_read_in_pages_without_gap_or_repetition() {
    let (world, _folder) = World::new(vec![]);
    for n in 0..25 {
        let attempts = (0..n % 3).map(|number| attempt(number + 1, 1)).collect();
        world.settle(record(&format!("r{n:02}"), attempts, Some(RequestOutcome::Ok))).await;
    }
    let mut page = crate::ledger::Page {
        tenant: "acme".to_owned(),
        from_unix_ms: 0,
        to_unix_ms: i64::MAX,
        after: String::new(),
        limit: 4,
    };
    let mut found = Vec::new();
    loop {
        let leaf = world.store.page(page.clone()).await.unwrap();
        found.extend(leaf.rows.into_iter().map(|row| (row.request_id, row.attempt.map_or(0, |a| a.number))));
        match leaf.next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    let expected: Vec<_> = (0..25_u32)
        .flat_map(|n| {
            (0..(n % 3).max(1)).map(move |k| (format!("r{n:02}"), if n % 3 == 0 { 0 } else { k + 1 }))
        })
        .collect();
    assert_eq!(found, expected);
}
