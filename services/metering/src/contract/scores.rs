//! How good answers were, beside the records of their requests.

use std::time::Duration;

use redis::Commands as _;
use signalbox_mesh::ManualClock;
use signalbox_proto::metering::v1::RequestOutcome;
use signalbox_testkit::redis::RedisServer;

use super::world::{START, World, attempt, done, record, redis};
use crate::{
    ledger::{Page, Score},
    refusal::Refusal,
    rollup::DAY_MS,
};

fn score(value: f64, kind: Option<&str>) -> Score {
    Score { value, kind: kind.map(str::to_owned) }
}

/// The rows of the ledger: request, attempt and score.
async fn rows(world: &World) -> Vec<(String, u32, Option<Score>)> {
    let mut page =
        Page { tenant: String::new(), from_unix_ms: 0, to_unix_ms: i64::MAX, after: String::new(), limit: 2 };
    let mut rows = Vec::new();
    loop {
        let leaf = world.backend.page(page.clone()).await.unwrap();
        rows.extend(
            leaf.rows.into_iter().map(|row| (row.request_id, row.attempt.map_or(0, |a| a.number), row.score)),
        );
        match leaf.next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    rows
}

#[tokio::test]
async fn the_last_score_of_a_request_stands_beside_all_of_its_records() {
    for world in World::both(false).await {
        let two = vec![attempt(1, 5), attempt(2, 7)];
        world.settle(record("a", None, two, Some(RequestOutcome::Ok))).await.unwrap();
        world.settle(record("b", None, Vec::new(), Some(RequestOutcome::Ok))).await.unwrap();
        world.settle(record("c", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok))).await.unwrap();
        let put = async |id: &str, one: Score| world.backend.score("acme", id, one).await;
        put("a", score(-1.0, Some("thumbs"))).await.unwrap();
        put("a", score(0.25, None)).await.unwrap();
        put("b", score(-0.5, Some("asked_again"))).await.unwrap();
        let (of_a, of_b) = (Some(score(0.25, None)), Some(score(-0.5, Some("asked_again"))));
        let expected = [("a", 1, of_a.clone()), ("a", 2, of_a), ("b", 0, of_b), ("c", 1, None)];
        assert_eq!(rows(&world).await, expected.map(|(id, n, score)| (id.to_owned(), n, score)));
        // A record that comes again, or with more, leaves the score.
        world.settle(record("c", None, vec![attempt(1, 5), attempt(2, 5)], None)).await.unwrap();
        world.settle(record("b", None, Vec::new(), Some(RequestOutcome::Ok))).await.unwrap();
        assert_eq!(rows(&world).await.iter().filter(|row| row.2.is_some()).count(), 3);
        world.end().await;
    }
}

#[tokio::test]
async fn a_request_is_scored_by_its_tenant_while_it_is_open_or_on_record() {
    for world in World::both(false).await {
        let put = async |tenant: &str, id: &str| world.backend.score(tenant, id, score(1.0, None)).await;
        let unknown = |id: &str| Err(Refusal::NotFound { kind: "request", id: id.to_owned() });
        assert_eq!(put("acme", "r1").await, unknown("r1"));
        let admitted = world.admit("r1", 10).await.unwrap();
        assert_eq!(put("other", "r1").await, unknown("r1"));
        assert_eq!(put("acme", "r1").await, Ok(()), "its settlement may still be on its way");
        world.settle(done("r1", &admitted, 5)).await.unwrap();
        assert_eq!(put("other", "r1").await, unknown("r1"));
        world.admit("r2", 10).await.unwrap();
        world.clock.advance(Duration::from_secs(600));
        world.backend.tick().await;
        assert_eq!(put("acme", "r2").await, Ok(()), "abandoned, and on record");
        let found = rows(&world).await;
        let scored: Vec<_> = found.iter().map(|(id, _, score)| (id.as_str(), score.is_some())).collect();
        assert_eq!(scored, [("r1", true), ("r2", true)]);
        world.end().await;
    }
}

#[tokio::test]
async fn embedded_scores_survive_a_kill_and_go_with_their_records() {
    let world = World::embedded(&ManualClock::new(START), false);
    world.settle(record("r1", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok))).await.unwrap();
    world.backend.score("acme", "r1", score(1.0, None)).await.unwrap();
    let world = world.after_a_kill();
    assert_eq!(rows(&world).await, [("r1".to_owned(), 1, Some(score(1.0, None)))]);
    world.clock.advance(Duration::from_secs(401 * 86_400));
    world.backend.tick().await;
    assert_eq!(rows(&world).await, []);
    world.settle(record("r1", None, vec![attempt(1, 5)], Some(RequestOutcome::Ok))).await.unwrap();
    assert_eq!(rows(&world).await, [("r1".to_owned(), 1, None)], "nothing of the former one is left");
    world.end().await;
}

#[tokio::test]
async fn shared_scores_last_as_long_as_the_ledger_and_a_broken_one_is_none() {
    let Some((_folder, server)) = redis(RedisServer::durable) else { return };
    let world = World::shared(&server.url(), &ManualClock::new(START), false).await;
    for id in ["r1", "r2", "r3"] {
        world.settle(record(id, None, vec![attempt(1, 5)], Some(RequestOutcome::Ok))).await.unwrap();
        world.backend.score("acme", id, score(1.0, Some("thumbs"))).await.unwrap();
    }
    let mut connection = ::redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let key = |id: &str| format!("signalbox:metering:{{acme}}:f:{id}");
    let left: i64 = connection.pttl(key("r1")).unwrap();
    assert!((399 * DAY_MS..=400 * DAY_MS).contains(&left), "{left}");
    let () = connection.set(key("r1"), "\u{1}").unwrap();
    let () = connection.del(key("r2")).unwrap();
    let () = connection.hset(key("r2"), "a", "hash").unwrap();
    let found = rows(&world).await;
    let scored: Vec<_> = found.iter().map(|row| row.2.is_some()).collect();
    assert_eq!(scored, [false, false, true]);
    world.end().await;
}
