use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::error::reason_of;
use signalbox_proto::{
    cache::v1::FillRequest,
    common::v1::{CacheState, ErrorReason, FinishReason, Sampling},
};
use tokio::sync::mpsc;

use super::world::*;

async fn lease(world: &World, text: &str) -> String {
    world.lookup("a", question(text)).await.unwrap().result.lease.unwrap().id
}

#[tokio::test(start_paused = true)]
async fn nothing_incomplete_is_stored_and_the_lease_is_free_again() {
    let world = World::exact("[exact]\nmax_entry_bytes = 1000").await;
    let stop = || finished(FinishReason::Stop);
    let cases: Vec<(Vec<FillRequest>, &str)> = vec![
        (vec![events(vec![started(), text("a"), stop()])], "incomplete"),
        (vec![events(vec![started(), text("a")]), commit()], "incomplete"),
        (vec![commit()], "incomplete"),
        (vec![events(vec![text("a")]), abort("finding")], "finding"),
        (vec![events(vec![text("a")]), abort("whatever else")], "failed"),
        (vec![events(vec![text("a"), finished(FinishReason::ContentFilter)]), commit()], "refused"),
        (vec![events(vec![text("a"), finished(FinishReason::Guard)]), commit()], "refused"),
        (vec![events(vec![text("a"), finished(FinishReason::Budget)]), commit()], "refused"),
        (vec![events(vec![text("a"), finished(FinishReason::Length)]), commit()], "incomplete"),
        (vec![events(vec![text("a"), stop(), text("b")]), commit()], "malformed"),
        (vec![events(vec![text(&"a".repeat(2_000)), stop()]), commit()], "too_large"),
    ];
    let number = cases.len() as u64;
    for (messages, reason) in cases {
        let id = lease(&world, "q").await;
        let filled = world.fill("a", [vec![open(&id)], messages].concat()).await.unwrap();
        assert_eq!((filled.stored, &*filled.reason, &*filled.entry_id), (false, reason, ""));
        assert_eq!(world.stats("a").await.leases, 0);
    }
    let stats = world.stats("a").await;
    assert_eq!((stats.entries, stats.stored, stats.refused), (0, 0, number));
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_by_the_requests_own_limit_is_kept_for_the_same_request_only() {
    let world = World::blind("").await;
    let mut request = question("Why is the sky blue?");
    request.chat.as_mut().unwrap().sampling =
        Some(Sampling { max_output_tokens: Some(3), ..Sampling::default() });
    let id = world.lookup("a", request.clone()).await.unwrap().result.lease.unwrap().id;
    let cut = vec![open(&id), events(vec![text("a"), finished(FinishReason::Length)]), commit()];
    assert!(world.fill("a", cut).await.unwrap().stored);
    assert_eq!(world.ask("a", &request, "").await, (CacheState::Exact, "a".into()));
    let mut similar = question("What makes the sky blue?");
    similar.chat.as_mut().unwrap().sampling = request.chat.unwrap().sampling;
    assert_eq!(world.lookup("a", similar).await.unwrap().state(), CacheState::Miss);
}

#[tokio::test(start_paused = true)]
async fn only_the_holder_fills() {
    let world = World::exact("").await;
    let id = lease(&world, "q").await;
    for (tenant, id) in [("b", id.as_str()), ("a", "0"), ("a", "")] {
        let refused = world.fill(tenant, filling(id, "stolen")).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    }
    assert!(world.fill("a", filling(&id, "own")).await.unwrap().stored);
    let again = world.fill("a", filling(&id, "twice")).await.unwrap_err();
    assert_eq!(reason_of(&again), Some(ErrorReason::NotFound));
    assert_eq!(world.ask("a", &question("q"), "").await, (CacheState::Exact, "own".into()));
    assert_eq!(world.lookup("b", question("q")).await.unwrap().state(), CacheState::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_fill_is_in_order() {
    let world = World::exact("").await;
    let unopened = world.fill("a", vec![commit()]).await.unwrap_err();
    assert_eq!(reason_of(&unopened), Some(ErrorReason::InvalidRequest));
    let id = lease(&world, "q").await;
    let twice = world.fill("a", vec![open(&id), open(&id)]).await.unwrap_err();
    assert_eq!(reason_of(&twice), Some(ErrorReason::InvalidRequest));
    let id = lease(&world, "q").await;
    let silent = world.fill("a", vec![open(&id), FillRequest::default()]).await.unwrap_err();
    assert_eq!(reason_of(&silent), Some(ErrorReason::InvalidRequest));
    assert_eq!(world.stats("a").await.leases, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_falls_silent_loses_its_lease() {
    let world = World::exact("[lease]\nttl_ms = 1000").await;
    let id = lease(&world, "q").await;
    let (to, mut messages) = mpsc::channel::<FillRequest>(8);
    let stream = stream::poll_fn(move |cx| messages.poll_recv(cx));
    let mut client = world.client();
    let filling = tokio::spawn(async move { client.fill(context("a").request(stream)).await });
    to.send(open(&id)).await.unwrap();
    for piece in ["slow ", "but ", "alive "] {
        tokio::time::sleep(Duration::from_millis(900)).await;
        to.send(events(vec![text(piece)])).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(world.stats("a").await.leases, 1, "renewed by what came");
    let lost = filling.await.unwrap().unwrap_err();
    assert_eq!(reason_of(&lost), Some(ErrorReason::NotFound));
    assert_eq!(world.stats("a").await.leases, 0);
}

#[tokio::test(start_paused = true)]
async fn a_filler_that_goes_away_leaves_nothing() {
    let world = World::exact("").await;
    let id = lease(&world, "q").await;
    let messages =
        stream::iter(vec![open(&id), events(vec![started(), text("half")])]).chain(stream::pending());
    let mut client = world.client();
    let gone =
        tokio::time::timeout(Duration::from_secs(1), client.fill(context("a").request(messages))).await;
    assert!(gone.is_err());
    let stats = world.stats("a").await;
    assert_eq!((stats.leases, stats.entries), (0, 0));
    assert!(world.lookup("a", question("q")).await.unwrap().result.lease.is_some());
}
