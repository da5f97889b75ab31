use futures_util::stream;
use signalbox_mesh::error::reason_of;
use signalbox_proto::{
    cache::v1::{FeedbackRequest, FillRequest, LikeText, LookupRequest, invalidate_request::By},
    common::v1::{CachePolicy, CacheState, ErrorReason, FinishReason},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::world::*;

const FIRST: &str = "Why is the sky blue?";
const SIMILAR: &str = "What makes the sky blue?";

fn tagged(text: &str, tag: &str) -> LookupRequest {
    let policy = CachePolicy { tags: vec![tag.into()], ..CachePolicy::default() };
    LookupRequest { policy: Some(policy), ..question(text) }
}

async fn state(world: &World, text: &str) -> CacheState {
    world.lookup("a", question(text)).await.unwrap().state()
}

async fn judge(world: &World, tenant: &str, entry: &str, request: &str, score: f64) -> Result<(), Status> {
    let request = FeedbackRequest {
        entry_id: entry.into(),
        request_id: request.into(),
        score,
        ..FeedbackRequest::default()
    };
    world.client().feedback(context(tenant).request(request)).await.map(drop)
}

async fn entry(world: &World) -> String {
    world.lookup("a", question(FIRST)).await.unwrap().result.cache.unwrap().entry_id.unwrap()
}

#[tokio::test(start_paused = true)]
async fn entries_are_removed_by_what_names_them() {
    let world = World::blind("").await;
    let ways: Vec<fn(String) -> By> =
        vec![By::EntryId, |_| By::Tag("news".into()), |_| By::Model("p/m".into()), |_| By::All(true), |_| {
            By::Like(LikeText { text: "anything".into(), min_similarity: None })
        }];
    for way in ways {
        world.ask("a", &tagged(FIRST, "news"), "Rayleigh.").await;
        world.ask("b", &tagged(FIRST, "news"), "Theirs.").await;
        let by = way(entry(&world).await);
        assert_eq!(world.invalidate("c", by.clone()).await.unwrap(), 0, "{by:?}");
        assert_eq!(state(&world, FIRST).await, CacheState::Exact);
        assert_eq!(world.invalidate("a", by.clone()).await.unwrap(), 1, "{by:?}");
        assert_eq!(world.invalidate("a", by.clone()).await.unwrap(), 0, "{by:?}");
        let gone = world.stats("a").await;
        assert_eq!((gone.entries, gone.bytes), (0, 0));
        assert_eq!(
            (state(&world, FIRST).await, state(&world, SIMILAR).await),
            (CacheState::Miss, CacheState::Miss)
        );
        let theirs = world.lookup("b", question(FIRST)).await.unwrap();
        assert_eq!((theirs.state(), &*theirs.text()), (CacheState::Exact, "Theirs."));
        // The leases that the checks took.
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
    }
    for other in [By::Tag("olds".into()), By::Model("p/n".into()), By::EntryId("0".repeat(32))] {
        world.ask("a", &tagged(FIRST, "news"), "Rayleigh.").await;
        assert_eq!(world.invalidate("a", other).await.unwrap(), 0);
        assert_eq!(state(&world, FIRST).await, CacheState::Exact);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_removal_is_named() {
    let world = World::exact("").await;
    let wrong = [
        By::All(false),
        By::Tag(String::new()),
        By::EntryId("no id".into()),
        By::Model("x/".repeat(300)),
        By::Model("m".into()),
    ];
    for by in wrong {
        let status = world.invalidate("a", by).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::InvalidRequest));
    }
    let like = By::Like(LikeText { text: "x".into(), min_similarity: None });
    let status = world.invalidate("a", like).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(ErrorReason::NotSupported));
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_a_removal_is_not_kept() {
    let world = World::blind("").await;
    let like = |text: &str| By::Like(LikeText { text: text.into(), min_similarity: Some(0.5) });
    let covering = |entry: &str| {
        [By::All(true), By::Tag("news".into()), By::Model("p/m".into()), By::EntryId(entry.into()), like("x")]
    };
    for way in 0..5 {
        let lease = world.lookup("a", tagged(FIRST, "news")).await.unwrap().result.lease.unwrap();
        let (to, mut messages) = mpsc::channel::<FillRequest>(8);
        let mut client = world.client();
        let messages = stream::poll_fn(move |cx| messages.poll_recv(cx));
        let filling = tokio::spawn(async move { client.fill(context("a").request(messages)).await });
        to.send(open(&lease.id)).await.unwrap();
        to.send(events(vec![started(), text("old"), finished(FinishReason::Stop)])).await.unwrap();
        tokio::task::yield_now().await;
        world.invalidate("b", By::All(true)).await.unwrap();
        world.invalidate("a", By::Tag("olds".into())).await.unwrap();
        world.invalidate("a", covering(&lease.entry_id)[way].clone()).await.unwrap();
        to.send(commit()).await.unwrap();
        let filled = filling.await.unwrap().unwrap().into_inner();
        assert_eq!((filled.stored, &*filled.reason), (false, "invalidated"), "{way}");
        assert_eq!(state(&world, FIRST).await, CacheState::Miss);
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
    }
    let lease = world.lookup("a", tagged(FIRST, "news")).await.unwrap().result.lease.unwrap();
    world.invalidate("a", By::Tag("olds".into())).await.unwrap();
    assert!(world.fill("a", filling(&lease.id, "kept")).await.unwrap().stored, "not covered");

    let lease = world.lookup("a", question("Another one?")).await.unwrap().result.lease.unwrap();
    for _ in 0..200 {
        world.invalidate("a", By::Tag("olds".into())).await.unwrap();
    }
    let filled = world.fill("a", filling(&lease.id, "doubtful")).await.unwrap();
    assert_eq!(filled.reason, "invalidated", "more removals than are remembered: in doubt it is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_hit_is_not_given_again() {
    let world = World::blind("").await;
    world.ask("a", &question(FIRST), "Rayleigh.").await;
    let id = entry(&world).await;
    assert_eq!(state(&world, SIMILAR).await, CacheState::Semantic);
    judge(&world, "a", &id, "r1", 1.0).await.unwrap();
    assert_eq!(world.stats("a").await.wrong_hits, 0);
    assert_eq!(
        reason_of(&judge(&world, "b", &id, "r1", -1.0).await.unwrap_err()),
        Some(ErrorReason::NotFound)
    );

    judge(&world, "a", &id, "r1", -0.5).await.unwrap();
    judge(&world, "a", &id, "r1", -0.5).await.unwrap();
    assert_eq!(world.stats("a").await.wrong_hits, 1, "said twice, counted once");
    assert_eq!(
        (state(&world, SIMILAR).await, state(&world, FIRST).await),
        (CacheState::Miss, CacheState::Exact)
    );
    judge(&world, "a", &id, "r1", 0.5).await.unwrap();
    assert_eq!(world.stats("a").await.wrong_hits, 0, "the last word counts");

    judge(&world, "a", &id, "r2", -1.0).await.unwrap();
    assert_eq!((world.stats("a").await.wrong_hits, state(&world, FIRST).await), (1, CacheState::Miss));
    for score in [f64::NAN, -1.1, 2.0] {
        let status = judge(&world, "a", &id, "r1", score).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::InvalidRequest));
    }
}

#[tokio::test(start_paused = true)]
async fn a_judgement_on_the_first_answer_is_none_on_a_hit() {
    let world = World::blind("").await;
    world.ask("a", &question(FIRST), "Rayleigh.").await;
    judge(&world, "a", &entry(&world).await, "request-1", -0.5).await.unwrap();
    assert_eq!(world.stats("a").await.wrong_hits, 0);
    assert_eq!(state(&world, SIMILAR).await, CacheState::Miss, "but nobody else gets it by meaning");
}
