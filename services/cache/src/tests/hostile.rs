//! What a caller, or a clock, may do to the cache without harming it or others.

use std::{sync::Arc, time::Duration};

use signalbox_proto::{
    cache::v1::{LookupRequest, invalidate_request::By},
    common::v1::{CacheState, FinishReason, Role},
};

use super::world::*;

#[tokio::test(start_paused = true)]
async fn a_huge_prompt_is_only_ever_the_same() {
    let world = World::blind("").await;
    let huge = question(&"Why is the sky blue? ".repeat(100_000));
    let first = world.lookup("a", huge.clone()).await.unwrap();
    assert_eq!(first.result.semantic_skipped, "too_long");
    world.fill("a", filling(&first.result.lease.unwrap().id, "Rayleigh.")).await.unwrap();
    assert_eq!(world.lookup("a", huge.clone()).await.unwrap().state(), CacheState::Exact);
    let mut other = huge;
    other.chat.as_mut().unwrap().messages.push(said(Role::User, "?"));
    assert_eq!(world.lookup("a", other).await.unwrap().state(), CacheState::Miss);
    assert!(world.stats("a").await.bytes < 100_000, "the prompt itself is not kept");
}

#[tokio::test(start_paused = true)]
async fn settings_that_never_repeat_push_out_their_own_tenants_entries_only() {
    let world = World::blind("[semantic]\nmax_entries = 500\nmax_entries_per_tenant = 200").await;
    world.ask("quiet", &question("Why is the sky blue?"), "Rayleigh.").await;
    for number in 0..1_000 {
        let mut request = question("Why is the sky blue?");
        request.chat.as_mut().unwrap().messages[0] =
            said(Role::System, &format!("Answer in style {number}."));
        assert_eq!(world.ask("flood", &request, "Rayleigh.").await.0, CacheState::Miss, "{number}");
    }
    let similar = world.lookup("quiet", question("What makes the sky blue?")).await.unwrap();
    assert_eq!(similar.state(), CacheState::Semantic);
}

#[tokio::test(start_paused = true)]
async fn what_failed_the_screen_answers_nobody() {
    let world = World::blind("").await;
    for reason in [FinishReason::Guard, FinishReason::ContentFilter] {
        let lease = world.lookup("a", question("Why is the sky blue?")).await.unwrap().result.lease.unwrap();
        let poisoned =
            vec![open(&lease.id), events(vec![started(), text("poison"), finished(reason)]), commit()];
        assert!(!world.fill("a", poisoned).await.unwrap().stored);
        for asked in ["Why is the sky blue?", "What makes the sky blue?"] {
            let looked = world.lookup("a", question(asked)).await.unwrap();
            assert_eq!((looked.state(), &*looked.text()), (CacheState::Miss, ""), "{asked}");
            let lease = looked.result.lease.unwrap();
            world.fill("a", vec![open(&lease.id), abort("failed")]).await.unwrap();
        }
    }
    assert_eq!(world.stats("a").await.entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_makes_no_entry_immortal_and_none_negative() {
    let world = World::blind("[exact]\nttl_ms = 60_000").await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    // An hour back: the entry comes from the future, and is as good as new.
    world.clock.set(NOW - 3_600_000);
    let back = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!((back.state(), back.result.cache.unwrap().age_ms), (CacheState::Exact, Some(0)));
    // A day on: it is gone for both tiers.
    world.clock.set(NOW + 86_400_000);
    for asked in ["Why is the sky blue?", "What makes the sky blue?"] {
        assert_eq!(world.lookup("a", question(asked)).await.unwrap().state(), CacheState::Miss, "{asked}");
    }
    world.clock.set(i64::MAX);
    assert_eq!(world.lookup("b", question("Why is the sky blue?")).await.unwrap().state(), CacheState::Miss);
    world.clock.set(i64::MIN);
    assert_eq!(world.lookup("c", question("Why is the sky blue?")).await.unwrap().state(), CacheState::Miss);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_while_it_is_filled_is_not_kept() {
    let world = Arc::new(World::blind("").await);
    for round in 0..50 {
        let lease = world.lookup("a", question("Why is the sky blue?")).await.unwrap().result.lease.unwrap();
        let remover = Arc::clone(&world);
        let removing = tokio::spawn(async move { remover.invalidate("a", By::All(true)).await.unwrap() });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let filled = world.fill("a", filling(&lease.id, "Rayleigh.")).await.unwrap();
        removing.await.unwrap();
        world.invalidate("a", By::All(true)).await.unwrap();
        assert_eq!(world.stats("a").await.entries, 0, "{round}: {filled:?}");
    }
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(world.stats("a").await.leases, 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_part_of_the_partition_fails_closed() {
    let world = World::blind("[policies.own]\nper_user = true").await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    let similar = question("What makes the sky blue?");
    let unguarded = LookupRequest { guard_digest: Vec::new().into(), ..similar.clone() };
    let looked = world.lookup("a", unguarded).await.unwrap();
    assert_eq!((looked.state(), &*looked.result.semantic_skipped), (CacheState::Miss, "no_guard_digest"));
    let nobody = LookupRequest { policy_name: "own".into(), ..similar };
    let looked = world.lookup("a", nobody).await.unwrap();
    assert_eq!((looked.state(), &*looked.result.semantic_skipped), (CacheState::Bypass, "no_user"));
}
