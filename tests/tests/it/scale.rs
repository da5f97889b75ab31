//! One, two and three replicas behind one gateway: how evenly they are called, and what happens as they die.

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::RequestContext;
use signalbox_proto::{
    cache::v1::{StatsRequest, cache_service_client::CacheServiceClient},
    executor::v1::{ListTargetsRequest, executor_service_client::ExecutorServiceClient},
};
use signalbox_tests::{
    ask::{Seen, question},
    fleet::{Fleet, Lacking, Registry},
    invariants,
};

use crate::{complete, rolling::skipped};

/// Requests of one measurement. Where all are equally free, chance decides: with so many, a fifth off the mean is four standard deviations.
const REQUESTS: usize = 900;
const AT_ONCE: usize = 16;
const STREAMED: &str = "sim-echo+drip=50";
const QUICK: &str = "sim-echo+drip=2";

/// A machine that is busy with other tests must not decide who is slow. Nor is an older cache to be slower because it has more vectors to
/// look through: then it would rightly get fewer calls.
const CONFIG: &str = "[cache.semantic]\nenabled = false\n[mesh.client.balance]\nfloor_ms = 1000\n[mesh.server]\ndrain_grace_ms = 500\n";

async fn fleet(executors: usize, caches: usize) -> Option<Fleet> {
    let counts = [("executor", executors), ("cache", caches)];
    match Fleet::start(Registry::Consul, 1, &counts, &[STREAMED, QUICK], CONFIG).await {
        Ok(fleet) => {
            fleet.registered().await;
            Some(fleet)
        }
        Err(Lacking(what)) => {
            skipped("replicas", &what);
            None
        }
    }
}

fn request<T>(message: T) -> tonic::Request<T> {
    RequestContext::background().with_principal("local", "test").request(message)
}

/// What each executor has been asked for.
async fn attempts(fleet: &Fleet) -> Vec<u64> {
    let mut all = Vec::new();
    for n in 0..fleet.addresses("executor").len() {
        let mut client = signalbox_mesh::client!(ExecutorServiceClient, fleet.channel("executor", n));
        let targets = client.list_targets(request(ListTargetsRequest {})).await.unwrap().into_inner().targets;
        all.push(targets.iter().map(|target| target.attempts).sum());
    }
    all
}

/// What each cache has been asked for.
async fn lookups(fleet: &Fleet) -> Vec<u64> {
    let mut all = Vec::new();
    for n in 0..fleet.addresses("cache").len() {
        let mut client = signalbox_mesh::client!(CacheServiceClient, fleet.channel("cache", n));
        all.push(client.stats(request(StatsRequest {})).await.unwrap().into_inner().lookups);
    }
    all
}

async fn ask(fleet: &Fleet, model: &str, text: &str) -> Seen {
    match fleet.gateways().generate(question(model, text)).await {
        Ok(answer) => Seen::read(answer.into_inner()).await,
        Err(status) => Seen::refused(status),
    }
}

fn since(before: &[u64], after: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}

#[track_caller]
fn even(what: &str, counts: &[u64]) {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let most_off = counts.iter().map(|count| (*count as f64 - mean).abs() / mean).fold(0.0, f64::max);
    crate::rolling::say(&format!("{what}: {counts:?}, at most {:.1} % off the mean", most_off * 100.0));
    assert!(most_off <= 0.2, "{what}: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_evenly_over_one_two_and_three() {
    let Some(mut fleet) = fleet(1, 1).await else { return };
    let mut asked = 0;
    for replicas in 1..=3 {
        if replicas > 1 {
            fleet.add("executor", 1).await;
            fleet.add("cache", 1).await;
            fleet.registered().await;
            // The gateway hears of it a moment later than the registry itself.
            while attempts(&fleet).await.contains(&0) || lookups(&fleet).await.contains(&0) {
                complete(ask(&fleet, QUICK, &format!("Is number {replicas} there? {asked}")).await);
                asked += 1;
            }
        }
        let before = (attempts(&fleet).await, lookups(&fleet).await);
        let numbers = stream::iter(0..REQUESTS);
        let shared = &fleet;
        numbers
            .map(async |n| {
                complete(ask(shared, QUICK, &format!("{replicas}: number {n} of many, in some words.")).await)
            })
            .buffer_unordered(AT_ONCE)
            .for_each(async |seen| assert!(seen.notices.is_empty(), "{:?}", seen.notices))
            .await;
        asked += REQUESTS as u64;
        even(&format!("{replicas} executors"), &since(&before.0, &attempts(&fleet).await));
        even(&format!("{replicas} caches"), &since(&before.1, &lookups(&fleet).await));
    }
    fleet
        .finish(async |behind| {
            let row = invariants::usage(&behind).await;
            assert_eq!((row.requests, row.attempts), (asked, asked), "M2: each is settled once");
        })
        .await;
}

/// Begins so many streams, waits until all have said something, does something, and reads them to their ends.
async fn in_mid_stream(fleet: &mut Fleet, text: &str, then: impl AsyncFnOnce(&mut Fleet)) -> Vec<Seen> {
    let mut open = Vec::new();
    for n in 0..12 {
        let mut gateways = fleet.gateways();
        let answer =
            gateways.generate(question(STREAMED, &format!("{n} {text}"))).await.unwrap().into_inner();
        open.push((Seen::default(), answer));
    }
    for (seen, answer) in &mut open {
        while seen.deltas == 0 {
            assert!(seen.next(answer).await, "{:?}", seen.error);
        }
    }
    then(fleet).await;
    let mut all = Vec::new();
    for (mut seen, mut answer) in open {
        while seen.next(&mut answer).await {}
        all.push(seen);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_in_mid_stream_is_rescued_or_said() {
    let Some(mut fleet) = fleet(3, 1).await else { return };
    let text = vec!["word"; 60].join(" ");
    let mut asked = 0;
    for victim in 0..2 {
        let seen = in_mid_stream(&mut fleet, &text, async |fleet| fleet.kill("executor", victim).await).await;
        asked += seen.len() as u64;
        let (mut whole, mut rescued, mut failed) = (0, 0, 0);
        for (n, seen) in seen.iter().enumerate() {
            match (&seen.finished, &seen.error) {
                (Some(_), None) => {
                    assert_eq!(seen.text, format!("{n} {text}"), "what is called complete is complete");
                    if seen.seams.is_empty() { whole += 1 } else { rescued += 1 }
                }
                (None, Some(status)) => {
                    let reason = seen.reason();
                    assert!(reason.is_some() && !status.message().is_empty(), "a clear error: {status:?}");
                    failed += 1;
                }
                other => panic!("neither whole nor failed: {other:?}"),
            }
        }
        crate::rolling::say(&format!(
            "executor {victim} of 3 is killed: of {} streams {whole} were whole, {rescued} rescued, {failed} ended with a clear error",
            seen.len()
        ));
        assert!(rescued + failed > 0, "some were with the one that died");
        assert!(whole > 0, "and some were not");
        for n in 0..20 {
            complete(ask(&fleet, QUICK, &format!("After the death of {victim}: {n}")).await);
            asked += 1;
        }
    }
    fleet.revive("executor", 0).await;
    fleet.revive("executor", 1).await;
    fleet.registered().await;
    fleet
        .finish(async |behind| {
            assert_eq!(invariants::usage(&behind).await.requests, asked, "M2: each is settled once");
            assert_eq!(invariants::reserved(&behind).await, 0, "L1: what was reserved is back");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_killed_in_mid_stream_costs_no_answer() {
    let Some(mut fleet) = fleet(1, 2).await else { return };
    let text = vec!["word"; 40].join(" ");
    let seen = in_mid_stream(&mut fleet, &text, async |fleet| fleet.kill("cache", 0).await).await;
    let mut asked = seen.len() as u64;
    for (n, seen) in seen.into_iter().enumerate() {
        assert_eq!(complete(seen).text, format!("{n} {text}"));
    }
    for n in 0..20 {
        complete(ask(&fleet, QUICK, &format!("After the death of a cache: {n}")).await);
        asked += 1;
    }
    fleet.revive("cache", 0).await;
    fleet.registered().await;
    fleet
        .finish(async |behind| {
            assert_eq!(invariants::usage(&behind).await.requests, asked, "M2: each is settled once");
        })
        .await;
}
