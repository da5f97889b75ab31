//! Hits at the pace of their answer.

use std::time::Duration;

use signalbox_proto::{
    cache::v1::{LookupRequest, lookup_response::Kind},
    common::v1::{CachePolicy, CacheState, FinishReason, RouteInfo, Started, generate_event},
};
use tokio::time::Instant;

use super::{flights::*, world::*};

fn at(speed: f64) -> LookupRequest {
    let policy = CachePolicy { replay_speed: Some(speed), ..CachePolicy::default() };
    LookupRequest { policy: Some(policy), ..question(ASKED) }
}

/// When each word came, in milliseconds.
async fn heard(world: &World, request: LookupRequest) -> Vec<(u128, String)> {
    let begun = Instant::now();
    let mut stream = world.client().lookup(context("a").request(request)).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        let Some(Kind::Events(events)) = message.kind else { continue };
        assert!(events.offsets_ms.is_empty(), "a matter of the store");
        heard.extend(events.events.iter().map(|event| (begun.elapsed().as_millis(), words(event))));
    }
    heard.retain(|(_, words)| !words.is_empty());
    heard
}

async fn recorded(pause: Duration) -> World {
    let world = World::exact("[lease]\nttl_ms = 600_000").await;
    let lease = world.lookup("a", question(ASKED)).await.unwrap().result.lease.unwrap();
    let leader = Leader::begin(&world, &lease.id).await;
    for word in ["one ", "two ", "three"] {
        leader.says(word).await;
        tokio::time::sleep(pause).await;
    }
    assert_eq!(leader.ends().await, "");
    world
}

#[tokio::test(start_paused = true)]
async fn a_hit_comes_at_once_or_as_its_answer_came() {
    let world = recorded(Duration::from_secs(2)).await;
    let said = |times: [u128; 3]| {
        let words = ["one ", "two ", "three"].map(str::to_owned);
        times.into_iter().zip(words).collect::<Vec<_>>()
    };
    assert_eq!(heard(&world, question(ASKED)).await, said([0, 0, 0]), "by default at once");
    assert_eq!(heard(&world, at(1.0)).await, said([0, 2_000, 4_000]));
    assert_eq!(heard(&world, at(4.0)).await, said([0, 500, 1_000]));
    assert_eq!(heard(&world, at(0.0)).await, said([0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn no_replay_takes_longer_than_half_a_minute() {
    let world = recorded(Duration::from_secs(100)).await;
    let heard = heard(&world, at(0.01)).await;
    assert_eq!(heard.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 10_000, 20_000]);
}

#[tokio::test(start_paused = true)]
async fn the_route_comes_out_as_it_went_in() {
    let world = World::exact("").await;
    let lease = world.lookup("a", question(ASKED)).await.unwrap().result.lease.unwrap();
    let route = RouteInfo { requested: "auto".into(), policy: "cheap".into(), reason: "enough".into() };
    let begins = generate_event::Kind::Started(Box::new(Started {
        model: "p/m".into(),
        route: Some(route.clone()),
        ..Started::default()
    }));
    let answer = vec![event(begins), text("Rayleigh."), finished(FinishReason::Stop)];
    let filled = world.fill("a", vec![open(&lease.id), events(answer), commit()]).await.unwrap();
    assert!(filled.stored);
    let hit = world.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!(hit.state(), CacheState::Exact);
    let Some(generate_event::Kind::Started(started)) = &hit.events[0].kind else { panic!() };
    assert_eq!((started.route.as_ref(), &*started.model), (Some(&route), "p/m"));
}
