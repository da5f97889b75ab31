//! Runs from seeds, with crashes between any two calls: no overspending, no leak, nothing lost, nothing twice.
//!
//! `SIGNALBOX_RUNS` says how many; a failure names its seed. In a run on the embedded backend a crash is what kill -9 leaves:
//! the files as they are, opened by another process. In one over Redis the server is killed and started again.

use std::{collections::BTreeMap, time::Duration};

use signalbox_mesh::{ManualClock, Random};
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, done, redis};
use crate::{
    books::Admitted,
    budget::{Origin, Terms, tests::terms},
    limit::{Metric, Per, tests::limit},
    period::Period,
    refusal::Refusal,
};

const LIMIT: i64 = 6_000;
const CALLS: usize = 60;

fn runs(usual: u64) -> u64 {
    std::env::var("SIGNALBOX_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What the calls of a run should have come to.
#[derive(Default)]
struct Expected {
    open: BTreeMap<String, Admitted>,
    settled: BTreeMap<String, (Admitted, i64)>,
    requests: usize,
}

impl Expected {
    fn spent(&self) -> i64 {
        self.settled.values().map(|(_, cost)| cost).sum()
    }
}

async fn set_up(world: &World) {
    world.budget(Terms { period: Period::Total, ..terms("acme", "total", LIMIT) }).await;
    world.budget(Terms { period: Period::Hour, ..terms("acme", "hour", LIMIT / 2) }).await;
    let under_way = limit(0, Metric::Concurrent, 8, Per::Call).terms;
    world.backend.put_limit(None, under_way, Origin::Call, "admin").await.unwrap();
}

async fn admit(world: &World, id: &str, output: i64) -> Result<Admitted, Refusal> {
    loop {
        match world.admit(id, output).await {
            Err(Refusal::StoreAway) => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

async fn settle(world: &World, id: &str, admitted: &Admitted, cost: i64) -> (u32, u32) {
    loop {
        match world.settle(done(id, admitted, cost)).await {
            Err(Refusal::StoreAway) => tokio::task::yield_now().await,
            answer => return answer.unwrap(),
        }
    }
}

/// One call, chosen by chance.
async fn call(world: &World, random: &Random, expected: &mut Expected) {
    match random.below(10) {
        0..=4 => {
            let id = format!("r{}", expected.requests);
            expected.requests += 1;
            let output = i64::try_from(random.below(900)).unwrap();
            if let Ok(admitted) = admit(world, &id, output).await {
                if random.below(3) == 0 {
                    let again = admit(world, &id, output).await.unwrap();
                    assert_eq!(again.reservation, admitted.reservation, "a retry");
                }
                expected.open.insert(id, admitted);
            }
        }
        5..=7 => {
            let chosen = random.below(expected.open.len().max(1));
            let Some(id) = expected.open.keys().nth(chosen).cloned() else { return };
            let Some(admitted) = expected.open.remove(&id) else { return };
            let most = usize::try_from(admitted.reservation.granted_output_tokens).unwrap();
            let cost = i64::try_from(random.below(most + 1)).unwrap();
            // Zero: it may have expired and be on record as abandoned.
            assert_eq!(settle(world, &id, &admitted, cost).await, (1, 0), "{id}");
            expected.settled.insert(id, (admitted, cost));
        }
        8 => {
            let chosen = random.below(expected.settled.len().max(1));
            if let Some((id, (admitted, cost))) = expected.settled.iter().nth(chosen) {
                assert_eq!(settle(world, id, admitted, *cost).await, (0, 1), "delivered once more: {id}");
            }
        }
        _ => {
            // Now and then so long that reservations expire: they are dead, and nobody settles them.
            let ms = random.below(70_000);
            world.clock.advance(Duration::from_millis(ms as u64));
            let now = signalbox_mesh::Clock::unix_ms(&world.clock);
            expected.open.retain(|_, admitted| admitted.reservation.expires_unix_ms > now);
        }
    }
}

async fn check(world: &World, expected: &Expected, seed: u64) {
    world.clock.advance(Duration::from_secs(600));
    world.backend.tick().await;
    for budget in world.budgets("acme").await {
        assert_eq!((budget.reserved, budget.standing), (0, 0), "L1, seed {seed}");
        if budget.terms.name == "total" {
            assert_eq!((budget.spent, budget.uncovered), (expected.spent(), 0), "seed {seed}");
            assert!(budget.spent <= LIMIT, "B1, seed {seed}");
        }
    }
    let found = world.ledger("acme").await;
    let cost: i64 = found.iter().map(|row| row.3).sum();
    let ok = found.iter().find(|row| row.0 == "OK").map_or(0, |row| row.1);
    assert_eq!(
        (cost, ok),
        (expected.spent(), i64::try_from(expected.settled.len()).unwrap()),
        "M1, M2, seed {seed}"
    );
    let seen = &world.violations;
    assert_eq!((seen.m1(), seen.m2(), seen.b1()), (0, 0, 0), "seed {seed}");
}

#[tokio::test]
async fn embedded_runs_with_crashes_neither_overspend_nor_leak() {
    for seed in 0..runs(25) {
        let (random, mut expected) = (Random::seeded(seed), Expected::default());
        let mut world = World::embedded(&ManualClock::new(START), false);
        set_up(&world).await;
        for _ in 0..CALLS {
            if random.below(12) == 0 {
                world = world.after_a_kill();
            }
            call(&world, &random, &mut expected).await;
        }
        check(&world, &expected, seed).await;
    }
}

#[tokio::test]
async fn runs_over_redis_with_crashes_neither_overspend_nor_leak() {
    let Some((folder, mut server)) = redis(RedisServer::durable) else { return };
    for seed in 0..runs(25).div_ceil(5) {
        let (random, mut expected) = (Random::seeded(seed), Expected::default());
        let clock = ManualClock::new(START);
        let mut world = World::shared(&server.url(), &clock, false).await;
        set_up(&world).await;
        for _ in 0..CALLS {
            if random.below(20) == 0 {
                server.restart().unwrap();
                let next = World::shared(&server.url(), &clock, false).await;
                std::mem::replace(&mut world, next).shutdown.complete().await;
            }
            call(&world, &random, &mut expected).await;
        }
        check(&world, &expected, seed).await;
        world.shutdown.complete().await;
        let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    }
    drop(folder);
}
