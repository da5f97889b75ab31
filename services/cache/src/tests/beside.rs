//! What the gateway does beside an answer: asks the model again, or a judge, or the model as well for comparison.

use std::time::Duration;

use signalbox_proto::{
    cache::v1::{JudgeAnswer, LookupRequest, LookupResult, lookup_response::Kind},
    common::v1::{CachePolicy, CacheState, Part, cache_policy::Mode, part},
};

use super::world::*;

const FIRST: &str = "Why is the sky blue?";
const SIMILAR: &str = "What makes the sky blue?";
const STALE: &str = "[policies.default]\nttl_ms = 60_000\nstale_ms = 60_000";

/// Asks as another request than those that the world makes: what a request wrote itself it cannot be judged by.
async fn ask_as(world: &World, id: &str, request: LookupRequest) -> LookupResult {
    let mut context = context("a");
    context.set_request_id(id);
    let mut stream = world.client().lookup(context.request(request)).await.unwrap().into_inner();
    match stream.message().await.unwrap().unwrap().kind {
        Some(Kind::Result(result)) => result,
        other => panic!("{other:?}"),
    }
}

fn with(text: &str, policy: CachePolicy) -> LookupRequest {
    LookupRequest { policy: Some(policy), ..question(text) }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_while_one_asks_again() {
    let world = World::blind(STALE).await;
    world.ask("a", &question(FIRST), "Old.").await;
    pass(&world.clock, Duration::from_secs(61)).await;
    let stale = world.lookup("a", question(FIRST)).await.unwrap();
    assert_eq!((stale.state(), &*stale.text()), (CacheState::Exact, "Old."));
    assert!(stale.result.cache.as_ref().unwrap().stale && stale.result.revalidate);
    let lease = stale.result.lease.expect("one asks again");

    let other = world.lookup("a", question(FIRST)).await.unwrap();
    assert_eq!((other.state(), &*other.text()), (CacheState::Exact, "Old."));
    assert!(other.result.lease.is_none() && !other.result.revalidate, "one at a time");
    let similar = with(SIMILAR, CachePolicy { mode: Mode::Read.into(), ..CachePolicy::default() });
    assert_eq!(world.lookup("a", similar).await.unwrap().state(), CacheState::Miss, "stale for others");

    assert!(world.fill("a", filling(&lease.id, "New.")).await.unwrap().stored);
    let fresh = world.lookup("a", question(FIRST)).await.unwrap();
    assert_eq!((&*fresh.text(), fresh.result.cache.as_ref().unwrap().stale), ("New.", false));
    let similar = world.lookup("a", question(SIMILAR)).await.unwrap();
    assert_eq!((similar.state(), &*similar.text()), (CacheState::Semantic, "New."));
    let stats = world.stats("a").await;
    assert_eq!((stats.stale_hits, stats.exact_hits, stats.entries), (2, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_stale_answer_who_does_not_want_it() {
    let world = World::blind(STALE).await;
    world.ask("a", &question(FIRST), "Old.").await;
    pass(&world.clock, Duration::from_secs(61)).await;
    let read = || CachePolicy { mode: Mode::Read.into(), ..CachePolicy::default() };
    for policy in
        [CachePolicy { stale: Some(false), ..read() }, CachePolicy { max_age_ms: Some(60_500), ..read() }]
    {
        assert_eq!(world.lookup("a", with(FIRST, policy)).await.unwrap().state(), CacheState::Miss);
    }
    let reader = world.lookup("a", with(FIRST, read())).await.unwrap();
    assert_eq!(
        (reader.state(), reader.result.lease),
        (CacheState::Exact, None),
        "who may not write asks nobody"
    );
    pass(&world.clock, Duration::from_secs(60)).await;
    let looked = world.lookup("a", question(FIRST)).await.unwrap();
    assert_eq!(looked.state(), CacheState::Miss, "not for ever");

    let world = World::blind("[policies.default]\nttl_ms = 60_000").await;
    world.ask("a", &question(FIRST), "Old.").await;
    pass(&world.clock, Duration::from_secs(61)).await;
    assert_eq!(world.lookup("a", question(FIRST)).await.unwrap().state(), CacheState::Miss, "not by default");
}

#[tokio::test(start_paused = true)]
async fn a_hit_in_the_shadow_is_compared_with_the_models_own_answer() {
    let world = World::blind("[policies.default]\nshadow_share = 1").await;
    world.ask("a", &question("How hot is boiling water?"), "It is 100 degrees.").await;
    let asked = "How hot is boiling water, please?";
    let hit = ask_as(&world, "request-2", question(asked)).await;
    assert_eq!(hit.cache.unwrap().state(), CacheState::Semantic);
    assert!(hit.shadow && !hit.revalidate);
    let lease = hit.lease.unwrap();
    let again = world.lookup("a", question(asked)).await.unwrap();
    assert!(again.state() == CacheState::Semantic && again.result.lease.is_none(), "one at a time");
    world.fill("a", filling(&lease.id, "Water boils at 100 degrees.")).await.unwrap();
    let stats = world.stats("a").await;
    assert_eq!((stats.shadow_checks, stats.shadow_agreed, stats.shadow_differed), (1, 1, 0));
    assert_eq!((stats.verified_hits, stats.wrong_hits), (1, 0));
    assert!((stats.hit_rate.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let own = world.lookup("a", question(asked)).await.unwrap();
    assert_eq!((own.state(), &*own.text()), (CacheState::Exact, "Water boils at 100 degrees."));
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_answer_differs_is_given_no_more() {
    let world = World::blind("[policies.default]\nshadow_share = 1").await;
    world.ask("a", &question("How hot is boiling water?"), "It is 90 degrees.").await;
    let hit = ask_as(&world, "request-2", question("How hot is boiling water, please?")).await;
    let error = world.stats("a").await.estimated_error.unwrap();
    world.fill("a", filling(&hit.lease.unwrap().id, "It is 100 degrees.")).await.unwrap();
    let stats = world.stats("a").await;
    assert_eq!((stats.shadow_differed, stats.wrong_hits, stats.verified_hits), (1, 1, 1));
    assert!(stats.estimated_error.unwrap() > error);
    // The model's own answer is there for it now, and serves others too.
    let other = world.lookup("a", question("Please, how hot is boiling water?")).await.unwrap();
    assert_eq!((other.state(), &*other.text()), (CacheState::Semantic, "It is 100 degrees."));
}

#[tokio::test(start_paused = true)]
async fn without_a_share_nobody_is_asked_beside() {
    let world = World::blind("").await;
    world.ask("a", &question(FIRST), "Rayleigh.").await;
    let hit = world.lookup("a", question(SIMILAR)).await.unwrap();
    assert!(hit.state() == CacheState::Semantic && hit.result.lease.is_none() && !hit.result.shadow);
}

/// Below what the model alone can give.
fn strict(text: &str) -> LookupRequest {
    with(text, CachePolicy { max_error: Some(0.005), mode: Mode::Read.into(), ..CachePolicy::default() })
}

#[tokio::test(start_paused = true)]
async fn a_judge_opens_the_door_for_what_stands_the_second_look() {
    let world = World::blind("[policies.default]\njudge = \"small\"").await;
    world.ask("a", &question(FIRST), "Rayleigh.").await;
    let doubtful = world.lookup("a", strict(SIMILAR)).await.unwrap();
    assert_eq!((doubtful.state(), &doubtful.result.lease), (CacheState::Miss, &None));
    let asked = doubtful.result.judge_needed.unwrap();
    assert_eq!(asked.model, "small");
    let chat = asked.chat.unwrap();
    let Some(Part { kind: Some(part::Kind::Text(pair)), .. }) = chat.messages[1].parts.first() else {
        panic!()
    };
    assert!(pair.text.contains(FIRST) && pair.text.contains(SIMILAR));

    let answered = |text: &str| LookupRequest {
        judge_answer: Some(JudgeAnswer { token: asked.token.clone(), text: text.into() }),
        vector: doubtful.result.vector.clone(),
        ..strict(SIMILAR)
    };
    for no in ["no", "", "perhaps"] {
        let looked = world.lookup("a", answered(no)).await.unwrap();
        assert_eq!((looked.state(), looked.result.judge_needed), (CacheState::Miss, None), "{no}");
    }
    let hit = world.lookup("a", answered("Yes.")).await.unwrap();
    assert_eq!((hit.state(), &*hit.text()), (CacheState::Semantic, "Rayleigh."));
    assert!(hit.result.cache.unwrap().estimated_error.unwrap() <= 0.005);
    // Another tenant's entry, and another number, it cannot open.
    let token = asked.token.clone();
    let forged = JudgeAnswer { token, text: "yes".into() };
    let theirs = LookupRequest { judge_answer: Some(forged.clone()), ..strict(SIMILAR) };
    assert_eq!(world.lookup("b", theirs).await.unwrap().state(), CacheState::Miss);
    let other = LookupRequest { judge_answer: Some(forged), ..strict("Why is the sky not blue?") };
    assert_eq!(world.lookup("a", other).await.unwrap().state(), CacheState::Miss);
    let stats = world.stats("a").await;
    assert_eq!(
        (stats.judged_candidates, stats.lookups),
        (1, 6),
        "a question to a judge is no lookup of its own"
    );
}
