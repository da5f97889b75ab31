//! What every backend must do, on each of them, with two replicas; where it is shared, on real servers.

use std::{any::Any, time::Duration};

use futures_util::future::join_all;
use signalbox_config::Redis;
use signalbox_mesh::error::reason_of;
use signalbox_proto::{
    cache::v1::{FeedbackRequest, FollowCountRequest, LookupRequest, invalidate_request::By},
    common::v1::{CachePolicy, CacheState, ErrorReason, FinishReason},
};
use signalbox_testkit::redis::{RedisCluster, RedisError, RedisServer};

use super::{flights::*, world::*};

/// Two replicas: `one` and `two` are the same where nothing is shared.
struct Stand {
    worlds: Vec<World>,
    cluster: bool,
    /// Held until the test is over.
    _server: Box<dyn Any>,
}

impl Stand {
    fn one(&self) -> &World {
        &self.worlds[0]
    }

    fn two(&self) -> &World {
        self.worlds.last().unwrap()
    }
}

/// Starts Redis, or says why the test is skipped.
pub(super) fn redis(test: &str, cluster: bool) -> Option<(RedisServer, Redis)> {
    let folder = tempfile::tempdir().unwrap().keep();
    let started = if cluster { RedisServer::start_cluster(&folder) } else { RedisServer::start(&folder) };
    match started {
        Ok(server) => {
            let redis = Redis { url: Some(server.url()), ..Redis::default() };
            Some((server, redis))
        }
        Err(RedisError::Missing) => {
            println!("SKIPPED: {test}: {}", RedisError::Missing);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The same for a cluster of three servers.
fn nodes(test: &str) -> Option<(RedisCluster, Redis)> {
    let folder = tempfile::tempdir().unwrap().keep();
    match RedisCluster::start(&folder) {
        Ok(nodes) => {
            let redis = Redis { url: Some(nodes.url()), ..Redis::default() };
            Some((nodes, redis))
        }
        Err(RedisError::Missing) => {
            println!("SKIPPED: {test}: {}", RedisError::Missing);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

async fn stand(backend: &str, config: &str) -> Option<Stand> {
    // A busy machine is no reason for a miss here; that deadlines are kept is tested elsewhere.
    let config = format!("{config}\n[shared]\ndeadline_ms = 600000\npatience_ms = 600000");
    if backend == "embedded" {
        let worlds = vec![World::exact(&config).await];
        return Some(Stand { worlds, cluster: false, _server: Box::new(()) });
    }
    let (server, redis): (Box<dyn Any>, Redis) = if backend == "nodes" {
        let (nodes, redis) = nodes(backend)?;
        (Box::new(nodes), redis)
    } else {
        let (server, redis) = redis(backend, backend == "cluster")?;
        (Box::new(server), redis)
    };
    let mut worlds = Vec::new();
    for seed in [1, 2] {
        worlds.push(World::replica(&config, no_model(), Some(redis.clone()), seed).await);
    }
    Some(Stand { worlds, cluster: backend != "redis", _server: server })
}

/// Runs each of the contract's tests on each backend.
macro_rules! contract {
    ($($name:ident($config:literal);)*) => {
        mod embedded {
            $(#[tokio::test] async fn $name() {
                if let Some(stand) = super::stand("embedded", $config).await { super::$name(&stand).await; }
            })*
        }
        mod redis_server {
            $(#[tokio::test] async fn $name() {
                if let Some(stand) = super::stand("redis", $config).await { super::$name(&stand).await; }
            })*
        }
        mod redis_cluster {
            $(#[tokio::test] async fn $name() {
                if let Some(stand) = super::stand("cluster", $config).await { super::$name(&stand).await; }
            })*
        }
    };
}

contract! {
    what_one_keeps_all_find("");
    a_lease_is_filled_at_any_replica("");
    all_follow_one("");
    when_the_leader_fails_one_follower_anywhere_goes_on("");
    a_silent_leader_is_given_up_and_can_write_no_more("[lease]\nttl_ms = 400");
    what_cannot_be_kept_leaves_each_alone("[exact]\nmax_entry_bytes = 200");
    removed_is_gone_everywhere("");
    a_fill_that_an_invalidation_overtook_is_not_kept("");
    invalidations_and_fills_race_without_harm("");
    a_judgement_counts_at_any_replica("");
    clock_steps_are_harmless("");
    one_tenants_entries_are_bounded("[exact]\nmax_entries_per_tenant = 10");
    many_who_ask_at_once_cause_one_fill("[lease]\nttl_ms = 600000");
    a_refresh_replaces_the_entry("");
}

/// On three servers that share the slots, what one server that is a cluster cannot show: each entry elsewhere, word across the nodes.
macro_rules! nodes {
    ($($name:ident;)*) => {
        mod redis_nodes {
            $(#[tokio::test] async fn $name() {
                if let Some(stand) = super::stand("nodes", "").await { super::$name(&stand).await; }
            })*
        }
    };
}

nodes! {
    what_one_keeps_all_find;
    all_follow_one;
    when_the_leader_fails_one_follower_anywhere_goes_on;
    removed_is_gone_everywhere;
}

async fn state(world: &World, tenant: &str, request: &LookupRequest) -> CacheState {
    world.lookup(tenant, request.clone()).await.unwrap().state()
}

fn reading_only(text: &str) -> LookupRequest {
    use signalbox_proto::common::v1::cache_policy::Mode;
    let policy = CachePolicy { mode: Mode::Read.into(), ..CachePolicy::default() };
    LookupRequest { policy: Some(policy), ..question(text) }
}

async fn what_one_keeps_all_find(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let long: String = (0..200).map(|n| format!("{n} ")).collect();
    one.ask("a", &question(ASKED), &long).await;
    let looked = two.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), looked.text()), (CacheState::Exact, long));
    assert_eq!(looked.result.saved_nanousd, 1_000);
    assert_eq!(state(two, "b", &reading_only(ASKED)).await, CacheState::Miss, "another tenant");
    let stats = two.stats("a").await;
    assert_eq!((stats.entries, stats.bytes > 0), (1, true));
    assert_eq!(two.stats("b").await.entries, 0);
}

async fn a_lease_is_filled_at_any_replica(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let lease = one.lookup("a", question(ASKED)).await.unwrap().result.lease.unwrap();
    for (tenant, id) in [("b", &*lease.id), ("a", &"0".repeat(96))] {
        let refused = two.fill(tenant, filling(id, "stolen")).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    }
    let filled = two.fill("a", filling(&lease.id, "Rayleigh.")).await.unwrap();
    assert_eq!((filled.stored, &filled.entry_id), (true, &lease.entry_id));
    let twice = one.fill("a", filling(&lease.id, "again")).await.unwrap_err();
    assert_eq!(reason_of(&twice), Some(ErrorReason::NotFound));
    assert_eq!(one.ask("a", &question(ASKED), "").await, (CacheState::Exact, "Rayleigh.".into()));
    assert_eq!((one.stats("a").await.leases, two.stats("a").await.leases), (0, 0));
}

async fn all_follow_one(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let (leader, first) = begun(one).await;
    let mut readers = [Reader::ask(one, "a").await, Reader::ask(two, "a").await];
    assert!(readers.iter().all(|reader| reader.state() == CacheState::Follow));
    leader.says("Because ").await;
    for reader in &mut readers {
        reader.reads("Because ").await;
    }
    let request = || context("a").request(FollowCountRequest { lease_id: first.lease() });
    for world in [one, two] {
        let count = world.client().follow_count(request()).await.unwrap().into_inner().followers;
        assert_eq!(count, 2);
    }
    let mut late = Reader::ask(two, "a").await;
    late.reads("Because ").await;
    let mut whole = "Because ".to_owned();
    for n in 0..150 {
        whole.push_str(&format!("{n} "));
        leader.says(&format!("{n} ")).await;
    }
    assert_eq!(Reader::ask(two, "b").await.state(), CacheState::Miss, "another tenant follows nobody");
    assert_eq!(leader.ends().await, "");
    for reader in readers.into_iter().chain([late]) {
        assert_eq!(reader.rest().await, whole);
    }
    assert_eq!(state(two, "a", &question(ASKED)).await, CacheState::Exact);
}

async fn when_the_leader_fails_one_follower_anywhere_goes_on(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let (leader, _first) = begun(one).await;
    let mut readers = Vec::new();
    for world in [one, two, one, two, two] {
        readers.push(Reader::ask(world, "a").await);
    }
    leader.says("Because of ").await;
    for reader in &mut readers {
        reader.reads("Because of ").await;
    }
    leader.fails().await;
    // Who gets the lease is open; nobody else gets anything.
    let (handover, taker, _) =
        futures_util::future::select_all(readers.iter_mut().map(|reader| Box::pin(reader.handed()))).await;
    assert_eq!((handover.delivered_bytes, &*handover.reason), (11, "incomplete"));
    readers.remove(taker);
    let leader = Leader::begin(two, &handover.lease.unwrap().id).await;
    let late = Reader::ask(one, "a").await;
    assert_eq!(late.state(), CacheState::Follow, "nobody else gets a lease");
    leader.to.send(events(vec![started()])).await.unwrap();
    leader.says("scattering.").await;
    assert_eq!(leader.ends().await, "");
    for reader in readers.into_iter().chain([late]) {
        assert_eq!(reader.rest().await, "Because of scattering.");
    }
    assert_eq!(
        one.ask("a", &question(ASKED), "").await,
        (CacheState::Exact, "Because of scattering.".into())
    );
}

async fn a_silent_leader_is_given_up_and_can_write_no_more(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let first = Reader::ask(one, "a").await;
    let mut follower = Reader::ask(two, "a").await;
    let handover = follower.handed().await;
    assert_eq!((handover.delivered_bytes, &*handover.reason), (0, "expired"));
    let refused = one.fill("a", filling(&first.lease(), "too late")).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    assert!(one.fill("a", filling(&handover.lease.unwrap().id, "in time")).await.unwrap().stored);
    assert_eq!(two.ask("a", &question(ASKED), "").await, (CacheState::Exact, "in time".into()));
}

async fn what_cannot_be_kept_leaves_each_alone(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let (leader, _first) = begun(one).await;
    let mut readers = [Reader::ask(one, "a").await, Reader::ask(two, "a").await];
    leader.says("short ").await;
    for reader in &mut readers {
        reader.reads("short ").await;
    }
    leader.says(&"long ".repeat(100)).await;
    for reader in &mut readers {
        let handover = reader.handed().await;
        assert!(handover.lease.is_none());
        assert_eq!((handover.delivered_bytes, &*handover.reason), (6, "too_large"));
    }
    assert_eq!(leader.filled.await.unwrap().unwrap(), "too_large");
    assert!(two.lookup("a", question(ASKED)).await.unwrap().result.lease.is_some());
}

async fn removed_is_gone_everywhere(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let tags = |tag: &str| CachePolicy { tags: vec![tag.into()], ..CachePolicy::default() };
    let news = LookupRequest { policy: Some(tags("news")), ..question(ASKED) };
    let other = LookupRequest { policy: Some(tags("new")), ..question("What is the sea?") };
    let ways: [fn(String) -> By; 4] =
        [By::EntryId, |_| By::Tag("news".into()), |_| By::Model("p/m".into()), |_| By::All(true)];
    for way in ways {
        for tenant in ["a", "b"] {
            one.ask(tenant, &news, "Rayleigh.").await;
            one.ask(tenant, &other, "Water.").await;
        }
        let id = two.lookup("a", news.clone()).await.unwrap().result.cache.unwrap().entry_id.unwrap();
        let by = way(id);
        let both = matches!(by, By::All(_) | By::Model(_));
        assert_eq!(two.invalidate("c", by.clone()).await.unwrap(), 0, "{by:?}");
        assert_eq!(two.invalidate("a", by.clone()).await.unwrap(), 1 + u64::from(both), "{by:?}");
        assert_eq!(two.invalidate("a", by.clone()).await.unwrap(), 0, "{by:?}");
        for world in [one, two] {
            assert_eq!(state(world, "a", &reading_only(ASKED)).await, CacheState::Miss);
            let expected = if both { CacheState::Miss } else { CacheState::Exact };
            assert_eq!(state(world, "a", &reading_only("What is the sea?")).await, expected);
            assert_eq!(state(world, "b", &reading_only(ASKED)).await, CacheState::Exact);
            assert_eq!(world.stats("a").await.entries, u64::from(!both));
        }
        two.invalidate("a", By::All(true)).await.unwrap();
        two.invalidate("b", By::All(true)).await.unwrap();
    }
    assert_eq!(two.stats("a").await.bytes, 0);
}

async fn a_fill_that_an_invalidation_overtook_is_not_kept(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let (leader, _first) = begun(one).await;
    let follower = Reader::ask(two, "a").await;
    leader.says("Rayleigh.").await;
    two.invalidate("a", By::Tag("olds".into())).await.unwrap();
    two.invalidate("a", By::All(true)).await.unwrap();
    two.invalidate("a", By::Model("p/n".into())).await.unwrap();
    assert_eq!(leader.ends().await, "invalidated");
    assert_eq!(follower.rest().await, "Rayleigh.", "who asked before gets it");
    let lease = two.lookup("a", question(ASKED)).await.unwrap().result.lease.unwrap();
    one.invalidate("a", By::Tag("olds".into())).await.unwrap();
    one.invalidate("b", By::All(true)).await.unwrap();
    assert!(one.fill("a", filling(&lease.id, "kept")).await.unwrap().stored, "not covered");

    let lease = two.lookup("a", question("Another one?")).await.unwrap().result.lease.unwrap();
    for _ in 0..130 {
        one.invalidate("a", By::Tag("olds".into())).await.unwrap();
    }
    let filled = one.fill("a", filling(&lease.id, "doubtful")).await.unwrap();
    assert_eq!(filled.reason, "invalidated", "more removals than are remembered: in doubt it is not kept");
}

async fn invalidations_and_fills_race_without_harm(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let tasks = (0..8).map(|task| async move {
        for round in 0..25 {
            let (world, other) = if task % 2 == 0 { (one, two) } else { (two, one) };
            let request = question(&format!("What is item {}?", (task + round) % 4));
            let mut stream = world.client().lookup(context("a").request(request)).await.unwrap().into_inner();
            let first = stream.message().await.unwrap().unwrap();
            if let Some(signalbox_proto::cache::v1::lookup_response::Kind::Result(result)) = first.kind
                && let Some(lease) = result.lease
            {
                other.fill("a", filling(&lease.id, "An answer.")).await.unwrap();
            }
            if round % 7 == task % 7 {
                other.invalidate("a", By::All(true)).await.unwrap();
            }
        }
    });
    join_all(tasks).await;
    one.invalidate("a", By::All(true)).await.unwrap();
    for world in [one, two] {
        for item in 0..4 {
            let request = reading_only(&format!("What is item {item}?"));
            assert_eq!(state(world, "a", &request).await, CacheState::Miss);
        }
        let stats = world.stats("a").await;
        assert_eq!((stats.entries, stats.bytes, stats.leases), (0, 0, 0));
    }
}

async fn a_judgement_counts_at_any_replica(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    one.ask("a", &question(ASKED), "Rayleigh.").await;
    let id = one.lookup("a", question(ASKED)).await.unwrap().result.cache.unwrap().entry_id.unwrap();
    let judge = |tenant: &str, score| {
        let message = FeedbackRequest {
            entry_id: id.clone(),
            request_id: "r1".into(),
            score,
            ..FeedbackRequest::default()
        };
        context(tenant).request(message)
    };
    let refused = two.client().feedback(judge("b", -1.0)).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    two.client().feedback(judge("a", -1.0)).await.unwrap();
    assert_eq!(state(one, "a", &reading_only(ASKED)).await, CacheState::Miss);
}

async fn clock_steps_are_harmless(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    one.ask("a", &question(ASKED), "Rayleigh.").await;
    two.clock.set(NOW - 86_400_000 * 365);
    let looked = two.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), looked.result.cache.unwrap().age_ms), (CacheState::Exact, Some(0)));
    two.clock.set(NOW + 86_399_999);
    assert_eq!(state(two, "a", &question(ASKED)).await, CacheState::Exact);
    two.clock.set(NOW + 86_400_000);
    let looked = two.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!(looked.state(), CacheState::Miss, "as old as it may get");
    // It can be filled again, by a clock that is ahead, and is there for the others.
    two.fill("a", filling(&looked.result.lease.unwrap().id, "Anew.")).await.unwrap();
    assert_eq!(two.ask("a", &question(ASKED), "").await, (CacheState::Exact, "Anew.".into()));
    one.clock.set(NOW);
    assert_eq!(one.ask("a", &question(ASKED), "").await, (CacheState::Exact, "Anew.".into()));
}

async fn one_tenants_entries_are_bounded(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    one.ask("quiet", &question(ASKED), "Rayleigh.").await;
    for number in 0..40 {
        let request = question(&format!("What is item {number}?"));
        one.ask("flood", &request, "An answer.").await;
        state(two, "flood", &reading_only("What is item 0?")).await;
    }
    assert!(two.stats("flood").await.entries <= 10);
    let hits = join_all((0..40).map(|number| async move {
        state(two, "flood", &reading_only(&format!("What is item {number}?"))).await == CacheState::Exact
    }));
    let hits = hits.await.into_iter().filter(|hit| *hit).count();
    assert!((1..=10).contains(&hits), "{hits}");
    assert_eq!(state(two, "quiet", &reading_only(ASKED)).await, CacheState::Exact);
}

async fn many_who_ask_at_once_cause_one_fill(stand: &Stand) {
    let (one, two) = (stand.one(), stand.two());
    let mut readers = Vec::new();
    let many = if stand.cluster { 1_000 } else { 10_000 };
    let asked = (0..many).map(|n| Reader::ask(if n % 2 == 0 { one } else { two }, "a"));
    readers.extend(join_all(asked).await);
    let leading: Vec<usize> =
        (0..readers.len()).filter(|n| readers[*n].state() == CacheState::Miss).collect();
    let [first] = leading[..] else { panic!("{} leaders", leading.len()) };
    let first = readers.remove(first);
    assert!(readers.iter().all(|reader| reader.state() == CacheState::Follow));
    let leader = Leader::begin(two, &first.lease()).await;
    leader.to.send(events(vec![started()])).await.unwrap();
    leader.says("Ray").await;
    leader.says("leigh.").await;
    assert_eq!(leader.ends().await, "");
    for text in join_all(readers.into_iter().map(Reader::rest)).await {
        assert_eq!(text, "Rayleigh.");
    }
    assert_eq!(
        one.stats("a").await.stored + if stand.worlds.len() > 1 { two.stats("a").await.stored } else { 0 },
        1
    );
}

async fn a_refresh_replaces_the_entry(stand: &Stand) {
    use signalbox_proto::common::v1::cache_policy::Mode;
    let (one, two) = (stand.one(), stand.two());
    one.ask("a", &question(ASKED), "Old.").await;
    let policy = CachePolicy { mode: Mode::Refresh.into(), ..CachePolicy::default() };
    let refresh = LookupRequest { policy: Some(policy), ..question(ASKED) };
    let lease = two.lookup("a", refresh.clone()).await.unwrap().result.lease.unwrap();
    let second = two.lookup("a", refresh).await.unwrap();
    assert_eq!((second.state(), second.result.lease), (CacheState::Miss, None), "one at a time");
    assert_eq!(one.ask("a", &question(ASKED), "").await, (CacheState::Exact, "Old.".into()), "until then");
    let half =
        vec![open(&lease.id), events(vec![started(), text("New."), finished(FinishReason::Stop)]), commit()];
    assert!(two.fill("a", half).await.unwrap().stored);
    assert_eq!(one.ask("a", &question(ASKED), "").await, (CacheState::Exact, "New.".into()));
    let stats = one.stats("a").await;
    assert_eq!(stats.entries, 1, "{stats:?}");
}

/// Asks until it is so: the client's own view of something that comes back by itself.
async fn until(world: &World, asked: &str, good: impl Fn(&Looked) -> bool) -> Looked {
    loop {
        let looked = world.lookup("a", question(asked)).await.unwrap();
        if good(&looked) {
            return looked;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn redis_killed_paused_and_back() {
    let Some((mut server, redis)) = redis("redis away", false) else { return };
    let config = "[shared]\ndeadline_ms = 1000\npatience_ms = 1000\nopen_ms = 1\nfailures = 2";
    let one = World::replica(config, no_model(), Some(redis.clone()), 1).await;
    let two = World::replica(config, no_model(), Some(redis), 2).await;
    // A first connection may take longer than a lookup waits.
    for (world, warm) in [(&one, "one"), (&two, "two")] {
        until(world, warm, |looked| looked.result.lease.is_some()).await;
    }
    one.ask("a", &question(ASKED), "Rayleigh.").await;
    let (leader, _first) = begun_with(&one, "Who follows?").await;
    let mut follower = Reader::ask_with(&two, "a", question("Who follows?")).await;
    assert_eq!(follower.state(), CacheState::Follow);
    leader.says("Half ").await;
    follower.reads("Half ").await;

    server.pause();
    let looked = one.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), looked.result.lease), (CacheState::Miss, None));
    let failed = one.invalidate("a", By::All(true)).await.unwrap_err();
    assert_eq!(reason_of(&failed), Some(ErrorReason::Overloaded), "nobody is told that it was removed");
    server.resume();
    until(&one, ASKED, |looked| looked.state() == CacheState::Exact).await;

    server.kill();
    let looked = two.lookup("a", question(ASKED)).await.unwrap();
    assert_eq!((looked.state(), looked.result.lease), (CacheState::Miss, None));
    // It may have been told already, by what it says in between to keep its lease.
    let _said = leader.to.send(events(vec![text("an answer.")])).await;
    drop(leader.to);
    assert_eq!(leader.filled.await.unwrap().unwrap(), "unavailable", "dropped, and the leader is told");
    let handover = follower.handed().await;
    assert!(handover.lease.is_none(), "each goes on for itself");
    assert_eq!(handover.delivered_bytes, 5);

    server.restart().unwrap();
    let lease = until(&two, ASKED, |looked| looked.result.lease.is_some()).await.result.lease.unwrap();
    two.fill("a", filling(&lease.id, "Anew.")).await.unwrap();
    until(&one, ASKED, |looked| looked.text() == "Anew.").await;
}

#[tokio::test]
async fn a_lease_is_given_back_though_its_caller_leaves_meanwhile() {
    let Some((server, redis)) = redis("a caller that leaves", false) else { return };
    let config = "[shared]\ndeadline_ms = 600000\npatience_ms = 600000\n[lease]\nttl_ms = 600000";
    let one = World::replica(config, no_model(), Some(redis.clone()), 1).await;
    let two = World::replica(config, no_model(), Some(redis), 2).await;
    let (leader, _first) = begun_with(&one, ASKED).await;
    leader.says("Half ").await;
    let mut follower = Reader::ask_with(&two, "a", question(ASKED)).await;
    follower.reads("Half ").await;
    server.pause();
    leader.to.send(abort("failed")).await.unwrap();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    leader.filled.abort();
    assert!(leader.filled.await.is_err(), "it waited for Redis");
    server.resume();
    // A bound on a hang: else it waits for the lease's end.
    let handed = tokio::time::timeout(Duration::from_secs(60), follower.handed()).await;
    assert!(handed.expect("it is handed over").lease.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_takes_calls_and_says_nothing_costs_the_deadline_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Some(format!("redis://{}", listener.local_addr().unwrap()));
    let world = World::replica("", no_model(), Some(Redis { url, ..Redis::default() }), 1).await;
    for n in 0..20 {
        let begun = tokio::time::Instant::now();
        let looked = world.lookup("a", question(ASKED)).await.unwrap();
        assert_eq!((looked.state(), looked.result.lease), (CacheState::Miss, None));
        let took = begun.elapsed();
        assert!(took <= Duration::from_millis(53), "{took:?}");
        assert!(n < 5 || took < Duration::from_millis(5), "nobody waits any more: {took:?}");
    }
    drop(listener);
}
