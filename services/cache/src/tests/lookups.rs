use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::poll;
use signalbox_mesh::error::reason_of;
use signalbox_proto::common::v1::{
    Attribution, CachePolicy, CacheState, ErrorReason, UsageSource, cache_policy::Mode, generate_event::Kind,
};
use tokio::sync::Semaphore;

use super::world::*;
use crate::Embedding;

fn with(text: &str, policy: CachePolicy) -> signalbox_proto::cache::v1::LookupRequest {
    signalbox_proto::cache::v1::LookupRequest { policy: Some(policy), ..question(text) }
}

fn mode(mode: Mode) -> CachePolicy {
    CachePolicy { mode: mode.into(), ..CachePolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn the_same_request_is_answered_from_the_first_answer() {
    let world = World::exact("").await;
    let long = "word ".repeat(200);
    assert_eq!(world.ask("a", &question("why?"), &long).await.0, CacheState::Miss);
    pass(&world.clock, Duration::from_secs(5)).await;
    let hit = world.lookup("a", question("why?")).await.unwrap();
    assert_eq!((hit.state(), hit.text()), (CacheState::Exact, long));
    assert_eq!(hit.messages, 4);
    assert!(hit.events.iter().map(|event| event.sequence).eq(1..=202));
    assert_eq!((hit.result.saved_nanousd, hit.result.lease.is_none()), (1_000, true));
    let cache = hit.result.cache.unwrap();
    assert_eq!((cache.age_ms, cache.similarity), (Some(5_000), None));
    let Some(Kind::Started(started)) = &hit.events[0].kind else { panic!() };
    assert_eq!((&*started.request_id, &*started.model), ("request-1", "p/m"));
    assert_eq!(started.cache.as_ref(), Some(&cache));
    let Some(Kind::Finished(finished)) = &hit.events[201].kind else { panic!() };
    assert_eq!((finished.cost_nanousd, finished.saved_nanousd, finished.attempts), (0, 1_000, 0));
    assert_eq!(finished.usage.unwrap().source(), UsageSource::Cached);

    let stats = world.stats("a").await;
    assert_eq!((stats.entries, stats.lookups, stats.exact_hits, stats.stored), (1, 2, 1, 1));
    assert_eq!((stats.saved_nanousd, stats.leases, stats.refused), (1_000, 0, 0));
    assert!(stats.bytes > 1_000);
    assert_eq!(world.stats("b").await.entries, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_kept_during_a_lookup_is_the_same_requests_own() {
    let gate = Arc::new(Semaphore::new(1));
    let world = World::with("", Embedding::behind(Arc::clone(&gate))).await;
    let lease = world.lookup("a", question("why?")).await.unwrap().result.lease.unwrap();
    let closed = gate.acquire().await.unwrap();
    let mut again = pin!(world.lookup("a", question("why?")));
    while world.stats("a").await.lookups < 2 {
        assert!(poll!(&mut again).is_pending());
    }
    assert!(world.fill("a", filling(&lease.id, "because")).await.unwrap().stored);
    drop(closed);
    let again = again.await.unwrap();
    assert_eq!((again.state(), again.text()), (CacheState::Exact, "because".to_owned()));
    let stats = world.stats("a").await;
    assert_eq!((stats.exact_hits, stats.semantic_hits), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn modes_do_what_they_say() {
    let world = World::exact("").await;
    let off = world.lookup("a", with("q", mode(Mode::Off))).await.unwrap();
    assert_eq!((off.state(), off.result.lease), (CacheState::Bypass, None));
    let read = world.lookup("a", with("q", mode(Mode::Read))).await.unwrap();
    assert_eq!((read.state(), read.result.lease), (CacheState::Miss, None));
    let only = world.lookup("a", with("q", mode(Mode::OnlyIfCached))).await.unwrap_err();
    assert_eq!(reason_of(&only), Some(ErrorReason::NotCached));

    assert_eq!(world.ask("a", &with("q", mode(Mode::Write)), "one").await.0, CacheState::Miss);
    assert_eq!(
        world.ask("a", &with("q", mode(Mode::OnlyIfCached)), "").await,
        (CacheState::Exact, "one".into())
    );
    assert_eq!(world.ask("a", &with("q", mode(Mode::Write)), "two").await.0, CacheState::Miss);
    assert_eq!(world.ask("a", &with("q", mode(Mode::Refresh)), "three").await.0, CacheState::Miss);
    assert_eq!(world.ask("a", &with("q", mode(Mode::Read)), "").await, (CacheState::Exact, "three".into()));
    assert_eq!(world.stats("a").await.entries, 1, "a refreshed entry is replaced");
}

#[tokio::test(start_paused = true)]
async fn entries_age_by_the_clock() {
    let world = World::exact("").await;
    let short = CachePolicy { ttl_ms: Some(10_000), ..CachePolicy::default() };
    world.ask("a", &with("q", short.clone()), "one").await;
    pass(&world.clock, Duration::from_millis(9_999)).await;
    assert_eq!(world.ask("a", &question("q"), "").await.0, CacheState::Exact);
    let young = |max_age_ms| CachePolicy { max_age_ms: Some(max_age_ms), ..mode(Mode::Read) };
    let state = async |policy| world.lookup("a", with("q", policy)).await.unwrap().state();
    assert_eq!(state(young(9_999)).await, CacheState::Exact);
    assert_eq!(state(young(9_998)).await, CacheState::Miss);
    // A clock that is set back makes nothing older.
    world.clock.set(NOW - 1_000_000);
    assert_eq!(state(young(0)).await, CacheState::Exact);
    world.clock.set(NOW + 10_000);
    assert_eq!(state(mode(Mode::Read)).await, CacheState::Miss);

    let never = CachePolicy { ttl_ms: Some(0), ..CachePolicy::default() };
    assert!(world.lookup("a", with("other", never)).await.unwrap().result.lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_lease_at_a_time() {
    let world = World::exact("[lease]\nttl_ms = 1000").await;
    let first = world.lookup("a", question("q")).await.unwrap().result.lease.unwrap();
    assert_eq!(first.expires_unix_ms, NOW + 1_000);
    assert_eq!((world.stats("a").await.leases, world.stats("b").await.leases), (1, 0));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(world.stats("a").await.leases, 0);
    assert!(world.lookup("a", question("q")).await.unwrap().result.lease.is_some());
}

#[tokio::test(start_paused = true)]
async fn users_are_kept_apart_where_the_policy_says() {
    let world = World::exact("[policies.private]\nper_user = true").await;
    let of = |user: Option<&str>| signalbox_proto::cache::v1::LookupRequest {
        policy_name: "private".into(),
        attribution: Some(Attribution { user: user.map(Into::into), ..Attribution::default() }),
        ..question("q")
    };
    assert_eq!(world.ask("a", &of(Some("ada")), "one").await.0, CacheState::Miss);
    assert_eq!(world.ask("a", &of(Some("ada")), "").await, (CacheState::Exact, "one".into()));
    assert_eq!(world.ask("a", &of(Some("bob")), "two").await.0, CacheState::Miss);
    for nobody in [None, Some("")] {
        let looked = world.lookup("a", of(nobody)).await.unwrap();
        assert_eq!((looked.state(), &*looked.result.semantic_skipped), (CacheState::Bypass, "no_user"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_request_is_named() {
    let world = World::exact("").await;
    let mut unnamed = question("q");
    unnamed.chat.as_mut().unwrap().model.clear();
    let mut empty = question("q");
    empty.chat.as_mut().unwrap().messages.clear();
    let mut nobody = question("q");
    nobody.chat.as_mut().unwrap().messages[0].role = 0;
    let mut policy = question("q");
    policy.policy_name = "gold".into();
    let wrong = [
        ("", question("q"), "tenant"),
        ("a", Default::default(), "chat"),
        ("a", unnamed, "chat.model"),
        ("a", empty, "chat.messages"),
        ("a", nobody, "chat.messages.role"),
        ("a", policy, "policy_name"),
    ];
    for (tenant, request, field) in wrong {
        let status = world.lookup(tenant, request).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::InvalidRequest));
        assert!(status.message().starts_with(&format!("{field}: ")), "{}", status.message());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_model_it_says_so_and_goes_on() {
    let world = World::exact("").await;
    let looked = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!((looked.state(), &*looked.result.semantic_skipped), (CacheState::Miss, "unavailable"));
    let stats = world.stats("a").await;
    assert!(stats.semantic_state.starts_with("off: ") && stats.model_hash.is_empty());
    let details = world.part.health().details();
    assert_eq!(details.len(), 1);
    assert!(details[0].starts_with("semantic: off: ") && !details[0].contains("/secret"), "{details:?}");
    assert!(world.part.health().is_serving());

    let off = World::exact("[semantic]\nenabled = false").await;
    assert!(off.part.health().details().is_empty(), "as configured");
    assert_eq!(off.lookup("a", question("q")).await.unwrap().result.semantic_skipped, "off");
}
