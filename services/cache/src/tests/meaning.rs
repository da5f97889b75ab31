use signalbox_proto::{
    cache::v1::LookupRequest,
    common::v1::{CachePolicy, CacheState, Role, Tool, Vector, cache_policy},
};

use super::world::*;

/// What the encoder to which all texts are the same gives.
fn vector() -> Vector {
    Vector { model_hash: vec![7; 32].into(), values: vec![0.6, 0.8] }
}

#[tokio::test(start_paused = true)]
async fn the_same_question_in_other_words_is_answered() {
    let world = World::blind("").await;
    let first = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!(first.result.vector, Some(vector()), "computed, so handed on");
    assert_eq!(first.result.semantic_skipped, "");
    world.fill("a", filling(&first.result.lease.unwrap().id, "Rayleigh.")).await.unwrap();

    let hit = world.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!((hit.state(), &*hit.text()), (CacheState::Semantic, "Rayleigh."));
    assert_eq!(hit.result.vector, Some(vector()));
    assert_eq!(hit.result.saved_nanousd, 1_000);
    let similarity = hit.result.cache.unwrap().similarity.unwrap();
    assert!((similarity - 1.0).abs() < 1e-6);

    let exact = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!(
        (exact.state(), exact.result.vector),
        (CacheState::Exact, None),
        "no embedding for an exact hit"
    );
    let given = LookupRequest { vector: Some(vector()), ..question("Why's the sky blue?") };
    let given = world.lookup("a", given).await.unwrap();
    assert_eq!((given.state(), given.result.vector), (CacheState::Semantic, None), "no news to who gave it");
    let stats = world.stats("a").await;
    assert_eq!((stats.semantic_hits, stats.exact_hits), (2, 1));
    assert_eq!((&*stats.semantic_state, stats.model_hash.len()), ("on", 32));
}

#[tokio::test(start_paused = true)]
async fn the_second_look_stands_before_every_hit() {
    let world = World::blind("").await;
    world.ask("a", &question("Is it safe to mix 2 liters of bleach with water?"), "yes").await;
    for other in [
        "Is it safe to mix 3 liters of bleach with water?",
        "Is it not safe to mix 2 liters of bleach with water?",
        "Is it unsafe to mix 2 liters of bleach with water?",
        "Why is it safe to mix 2 liters of bleach with water?",
        "Is it safe to mix 2 liters of water with bleach?",
    ] {
        assert_eq!(world.lookup("a", question(other)).await.unwrap().state(), CacheState::Miss, "{other}");
    }
    let same = question("Is it safe to mix two liters of bleach with water?");
    assert_eq!(world.lookup("a", same).await.unwrap().state(), CacheState::Semantic);
}

#[tokio::test(start_paused = true)]
async fn a_vector_of_another_model_is_not_used() {
    let world = World::blind("").await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    let foreign = [
        Vector { model_hash: vec![8; 32].into(), values: vec![-0.6, -0.8] },
        Vector { model_hash: vec![7; 32].into(), values: vec![60.0, 80.0] },
        Vector { model_hash: vec![7; 32].into(), values: vec![] },
    ];
    for vector in foreign {
        let request = LookupRequest { vector: Some(vector), ..question("What makes the sky blue?") };
        let hit = world.lookup("a", request).await.unwrap();
        assert_eq!(hit.state(), CacheState::Semantic, "its own vector was computed instead");
        assert!(hit.result.vector.is_some());
    }
    let far = Vector { model_hash: vec![7; 32].into(), values: vec![0.8, -0.6] };
    let request = LookupRequest { vector: Some(far), ..question("What makes the sky blue?") };
    assert_eq!(
        world.lookup("a", request).await.unwrap().state(),
        CacheState::Miss,
        "this model's is believed"
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_want_it_does_not_get_it() {
    let world = World::blind("[policies.exact]\nsemantic = false").await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    let other = "What makes the sky blue?";
    let with = |policy| LookupRequest { policy: Some(policy), ..question(other) };
    let refused = [
        LookupRequest { policy_name: "exact".into(), ..with(read()) },
        with(CachePolicy { semantic: Some(false), ..read() }),
        with(CachePolicy { max_error: Some(0.0), ..read() }),
    ];
    for request in refused {
        let looked = world.lookup("a", request).await.unwrap();
        assert_eq!((looked.state(), &*looked.result.semantic_skipped), (CacheState::Miss, "off"));
        assert_eq!(looked.result.vector, None);
    }
    let unchecked = LookupRequest { guard_digest: Default::default(), ..question(other) };
    assert_eq!(world.lookup("a", unchecked).await.unwrap().result.semantic_skipped, "no_guard_digest");
    let mut tools = question(other);
    tools.chat.as_mut().unwrap().tools.push(Tool { name: "f".into(), ..Tool::default() });
    assert_eq!(world.lookup("a", tools).await.unwrap().result.semantic_skipped, "tools");
    let mut turn = question(other);
    turn.chat.as_mut().unwrap().messages.push(said(Role::Assistant, "well"));
    assert_eq!(world.lookup("a", turn).await.unwrap().result.semantic_skipped, "no_question");
    for (bound, state) in [(0.001, CacheState::Miss), (0.5, CacheState::Semantic)] {
        let bounded = with(CachePolicy { max_error: Some(bound), ..read() });
        let looked = world.lookup("a", bounded).await.unwrap();
        assert_eq!(looked.state(), state, "{bound}");
        let error = looked.result.cache.unwrap().estimated_error;
        assert!(error.is_none_or(|error| error <= bound), "{error:?}");
    }
    let stats = world.stats("a").await;
    let (low, high) = (stats.estimated_error_low.unwrap(), stats.estimated_error_high.unwrap());
    assert!((low..=high).contains(&stats.estimated_error.unwrap()) && stats.verified_hits == 0);
}

/// Takes no lease, which others of the same question would wait for.
fn read() -> CachePolicy {
    CachePolicy { mode: cache_policy::Mode::Read.into(), ..CachePolicy::default() }
}

#[tokio::test]
async fn the_real_model_answers_the_same_question_in_other_words() {
    let Some(embedding) = real_model("the real model answers the same question in other words") else {
        return;
    };
    let world = World::with("", embedding).await;
    world.ask("a", &question("How do I boil an egg?"), "Eight minutes.").await;
    let hit = world.lookup("a", question("What is the best way to boil an egg?")).await.unwrap();
    println!("similarity {:?}", hit.result.cache.as_ref().unwrap().similarity);
    assert_eq!((hit.state(), &*hit.text()), (CacheState::Semantic, "Eight minutes."));
    for other in [
        "How do I peel an egg?",
        "How do I not boil an egg?",
        "Why do I boil an egg?",
        "How do I boil two eggs?",
    ] {
        assert_eq!(world.lookup("a", question(other)).await.unwrap().state(), CacheState::Miss, "{other}");
    }
    assert_eq!(
        world.lookup("b", question("What is the best way to boil an egg?")).await.unwrap().state(),
        CacheState::Miss
    );
}
