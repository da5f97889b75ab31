//! Many at once, and Redis killed in the middle of it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use signalbox_mesh::ManualClock;
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, attempt, done, record, redis};
use crate::{
    budget::Origin,
    budget::tests::terms,
    limit::{Metric, Per, tests::limit},
    refusal::Refusal,
};

const LIMIT: i64 = 50_000;

/// Admits and settles until the budget is empty; whatever is refused because Redis is away is asked again. Returns what was spent.
async fn spend(world: Arc<World>, worker: u32, requests: u32) -> i64 {
    let mut spent = 0;
    for n in 0..requests {
        let id = format!("{worker}-{n}");
        let admitted = loop {
            match world.admit(&id, 200).await {
                Err(Refusal::StoreAway) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        let Ok(admitted) = admitted else { continue };
        let cost = (admitted.reservation.granted_output_tokens - i64::from(n % 3)).max(0);
        while world.settle(done(&id, &admitted, cost)).await == Err(Refusal::StoreAway) {
            tokio::task::yield_now().await;
        }
        spent += cost;
    }
    spent
}

async fn check(worlds: &[Arc<World>], spent: i64) {
    for world in worlds {
        let budget = &world.budgets("acme").await[0];
        assert_eq!((budget.spent, budget.reserved, budget.uncovered), (spent, 0, 0), "B1, L1");
        let cost: i64 = world.ledger("acme").await.iter().map(|row| row.3).sum();
        assert_eq!(cost, spent, "M1: the ledger says what was reported");
        assert_eq!((world.violations.m1(), world.violations.m2(), world.violations.b1()), (0, 0, 0));
    }
    assert!(spent <= LIMIT && spent > LIMIT - 64 - 2 * 32, "only less than the least grant is left: {spent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_pass_the_budget_with_any_number_of_replicas() {
    let mut groups: Vec<Vec<Arc<World>>> =
        vec![vec![Arc::new(World::embedded(&ManualClock::new(START), false))]];
    let kept = redis(RedisServer::start);
    if let Some((_, server)) = &kept {
        let clock = ManualClock::new(START);
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(Arc::new(World::shared(&server.url(), &clock, false).await));
        }
        groups.push(replicas);
    }
    for worlds in groups {
        worlds[0].budget(terms("acme", "b", LIMIT)).await;
        let idle = limit(0, Metric::Concurrent, 40, Per::Call).terms;
        worlds[0].backend.put_limit(None, idle, Origin::Call, "admin").await.unwrap();
        let tasks: Vec<_> = (0..32)
            .map(|worker| {
                tokio::spawn(spend(Arc::clone(&worlds[worker as usize % worlds.len()]), worker, 25))
            })
            .collect();
        let mut spent = 0;
        for task in tasks {
            spent += task.await.unwrap();
        }
        check(&worlds, spent).await;
        for world in &worlds {
            world.shutdown.complete().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_again_and_again_loses_nothing_counts_nothing_twice_and_leaks_nothing() {
    let Some((_folder, mut server)) = redis(RedisServer::durable) else { return };
    let clock = ManualClock::new(START);
    let worlds = [
        Arc::new(World::shared(&server.url(), &clock, false).await),
        Arc::new(World::shared(&server.url(), &clock, false).await),
    ];
    worlds[0].budget(terms("acme", "b", LIMIT)).await;
    let tasks: Vec<_> = (0..16)
        .map(|worker| tokio::spawn(spend(Arc::clone(&worlds[worker as usize % 2]), worker, 25)))
        .collect();
    for kill in 1..=3 {
        // In the middle of the work: when so much was spent, whatever else is under way.
        while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            match worlds[0].backend.budgets("acme").await {
                Ok(budgets) if budgets[0].spent >= kill * LIMIT / 5 => break,
                _ => tokio::task::yield_now().await,
            }
        }
        server = tokio::task::spawn_blocking(move || {
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
    }
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    check(&worlds, spent).await;
    clock.advance(Duration::from_secs(600));
    for world in &worlds {
        world.shutdown.complete().await;
    }
}

#[tokio::test]
async fn a_record_that_finds_no_room_is_not_at_fault() {
    let Some((_folder, server)) = redis(RedisServer::start) else { return };
    let world = World::shared(&server.url(), &ManualClock::new(START), false).await;
    let records = (0..9_000).map(|n| {
        let record = record(&format!("r{n}"), None, vec![attempt(1, 1)], Some(RequestOutcome::Ok));
        world.backend.settle(vec![record])
    });
    let (mut kept, mut told) = (0, 0);
    for answer in join_all(records).await {
        match answer {
            Ok((settled, refused)) => {
                assert_eq!(refused, [], "whoever reads that forgets the record");
                kept += i64::from(settled.recorded);
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Overloaded);
                told += 1;
            }
        }
    }
    assert!(told > 0 && kept + told == 9_000, "{kept} kept, {told} told to come again");
    assert_eq!(world.ledger("acme").await.iter().map(|row| row.1).sum::<i64>(), kept);
    world.end().await;
}
