//! What every store of vectors must do, on each of them.

use std::{sync::Arc, time::Duration};

use signalbox_embed::Vector;
use signalbox_mesh::{ManualClock, Shutdown};

use super::{qdrant_server::QdrantServer, world::*};
#[cfg(feature = "qdrant-edge")]
use crate::vectors::Edge;
use crate::{
    Embedding, QdrantConfig,
    backend::Named,
    canonical::Digest,
    entry::EntryId,
    vectors::{ExactScan, Point, Qdrant, Scope, VectorStore},
};

const WIDTH: usize = 96;

/// A store, and what must outlive it.
struct Stand {
    store: Arc<dyn VectorStore>,
    shutdown: Shutdown,
    _server: Option<QdrantServer>,
    _folder: Option<tempfile::TempDir>,
}

fn settings(url: &str) -> QdrantConfig {
    QdrantConfig {
        url: Some(url.into()),
        // A busy machine is no reason for a miss here; that deadlines are kept is tested elsewhere.
        deadline_ms: 20_000,
        patience_ms: 20_000,
        open_ms: 10,
        ..QdrantConfig::default()
    }
}

/// A collection of its own, when it is there.
async fn qdrant(settings: &QdrantConfig, model: u8, shutdown: &Shutdown) -> Qdrant {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Qdrant::new(settings, &[model; 32], WIDTH, clock, shutdown).unwrap();
    store.prepared().await;
    store
}

async fn stand(kind: &str) -> Option<Stand> {
    let shutdown = Shutdown::new();
    Some(match kind {
        "scan" => {
            Stand { store: Arc::new(ExactScan::new(1_000, 1_000)), shutdown, _server: None, _folder: None }
        }
        #[cfg(feature = "qdrant-edge")]
        "edge" => {
            let folder = tempfile::tempdir().unwrap();
            let store = Edge::open(&folder.path().join("edge"), WIDTH, 1_000, 1_000, NOW).unwrap();
            Stand { store: Arc::new(store), shutdown, _server: None, _folder: Some(folder) }
        }
        "stubs" | "engine" => {
            #[cfg(feature = "qdrant-edge")]
            let server = match kind {
                "engine" => QdrantServer::on_its_own_engine().await,
                _ => QdrantServer::start().await,
            };
            #[cfg(not(feature = "qdrant-edge"))]
            let server = QdrantServer::start().await;
            let store = Arc::new(qdrant(&settings(&server.url), 1, &shutdown).await);
            Stand { store, shutdown, _server: Some(server), _folder: None }
        }
        _ => {
            let Ok(url) = std::env::var("QDRANT_URL") else {
                println!("SKIPPED: a real Qdrant: QDRANT_URL is not set");
                return None;
            };
            let own = format!("test-{:016x}", signalbox_mesh::Random::system().u64());
            let settings = QdrantConfig { collection: own, ..settings(&url) };
            Stand {
                store: Arc::new(qdrant(&settings, 1, &shutdown).await),
                shutdown,
                _server: None,
                _folder: None,
            }
        }
    })
}

macro_rules! contract {
    ($($name:ident;)*) => {
        $(mod $name {
            #[tokio::test] async fn scan() { super::on("scan", super::$name).await; }
            #[tokio::test] async fn qdrants_own_grpc() { super::on("stubs", super::$name).await; }
            #[cfg(feature = "qdrant-edge")]
            #[tokio::test] async fn the_embedded_engine() { super::on("edge", super::$name).await; }
            #[cfg(feature = "qdrant-edge")]
            #[tokio::test] async fn qdrants_own_grpc_on_its_own_engine() { super::on("engine", super::$name).await; }
            #[tokio::test] async fn a_real_qdrant() { super::on("real", super::$name).await; }
        })*
    };
}

contract! {
    the_closest_comes_first_and_only_from_its_own_scope;
    an_id_that_is_inserted_again_moves;
    removal_is_of_the_tenants_own;
    it_gives_what_a_plain_list_would;
}

async fn on(kind: &str, test: impl AsyncFnOnce(&dyn VectorStore)) {
    let Some(Stand { store, shutdown, _server, _folder }) = stand(kind).await else { return };
    test(&*store).await;
    store.flush().await;
    store.close().await;
    shutdown.complete().await;
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and 3")]
fn turn(random: &signalbox_mesh::Random) -> f32 {
    random.f64() as f32 * 3.0
}

/// A vector at that angle from the first axis.
fn at(angle: f32) -> Vector {
    let mut values = vec![0.0; WIDTH];
    (values[0], values[70]) = (angle.cos(), angle.sin());
    Vector::from_unit(values).unwrap()
}

fn point(id: u128, tenant: &str, partition: u8, angle: f32) -> Point {
    let named = Named { id: EntryId(id << 64 | id), key: Digest([byte(id); 32]) };
    let partition = Digest([partition; 32]);
    Point { named, tenant: tenant.into(), partition, vector: at(angle), ends_unix_ms: NOW + 1_000 }
}

fn byte(number: u128) -> u8 {
    number.to_le_bytes()[0]
}

fn partition(tenant: &str, partition: u8) -> Scope<'_> {
    Scope::Partition { tenant, partition: Digest([partition; 32]) }
}

async fn found(store: &dyn VectorStore, scope: Scope<'_>, angle: f32, limit: usize) -> Vec<u128> {
    let found = store.search(scope, &at(angle), 0.9, limit).await;
    for neighbour in &found {
        assert_eq!(neighbour.named.key, Digest([byte(neighbour.named.id.0); 32]));
    }
    found.into_iter().map(|neighbour| neighbour.named.id.0 >> 64).collect()
}

async fn the_closest_comes_first_and_only_from_its_own_scope(store: &dyn VectorStore) {
    for point in [
        point(1, "a", 1, 0.2),
        point(2, "a", 1, 0.1),
        point(3, "a", 1, 3.0),
        point(4, "a", 2, 0.0),
        point(5, "b", 1, 0.0),
    ] {
        assert!(store.insert(point).await);
    }
    assert_eq!(found(store, partition("a", 1), 0.0, 8).await, [2, 1]);
    assert_eq!(found(store, partition("a", 1), 0.0, 1).await, [2]);
    assert_eq!(found(store, partition("a", 3), 0.0, 8).await, [0u128; 0]);
    assert_eq!(found(store, partition("c", 1), 0.0, 8).await, [0u128; 0]);
    assert_eq!(found(store, Scope::Tenant("a"), 0.0, 8).await, [4, 2, 1]);
    let near = store.search(partition("a", 1), &at(0.0), 0.9, 8).await;
    assert!((near[0].similarity - 0.1f32.cos()).abs() < 0.005, "{near:?}");
}

async fn an_id_that_is_inserted_again_moves(store: &dyn VectorStore) {
    store.insert(point(1, "a", 1, 0.0)).await;
    store.insert(point(1, "a", 2, 0.1)).await;
    assert_eq!(found(store, partition("a", 1), 0.0, 8).await, [0u128; 0]);
    assert_eq!(found(store, partition("a", 2), 0.0, 8).await, [1]);
}

async fn removal_is_of_the_tenants_own(store: &dyn VectorStore) {
    store.insert(point(1, "a", 1, 0.0)).await;
    store.insert(point(2, "a", 1, 0.0)).await;
    let ids = [point(1, "a", 1, 0.0).named.id, EntryId(77)];
    store.remove("b", &ids).await;
    store.remove("a", &[]).await;
    assert_eq!(found(store, partition("a", 1), 0.0, 8).await.len(), 2);
    store.remove("a", &ids).await;
    assert_eq!(found(store, partition("a", 1), 0.0, 8).await, [2]);
}

async fn it_gives_what_a_plain_list_would(store: &dyn VectorStore) {
    let random = signalbox_mesh::Random::seeded(5);
    let mut list: Vec<Point> = Vec::new();
    for step in 0..150 {
        let tenant = ["a", "b"][random.below(2)];
        let (number, of) = (random.below(30) as u128, byte(random.below(2) as u128));
        list.retain(|known| known.named.id.0 >> 64 != number || (step % 3 == 0 && *known.tenant != *tenant));
        let new = point(number, tenant, of, turn(&random));
        if step % 3 == 0 {
            store.remove(tenant, &[new.named.id]).await;
        } else {
            list.push(new.clone());
            store.insert(new.clone()).await;
        }
        let angle = turn(&random);
        // What is too close to the limit may fall on either side.
        let sure = |least: f32| {
            let close = |p: &&Point| {
                *p.tenant == *tenant && p.partition == new.partition && p.vector.cosine(&at(angle)) >= least
            };
            let mut ids: Vec<u128> = list.iter().filter(close).map(|p| p.named.id.0 >> 64).collect();
            ids.sort_unstable();
            ids
        };
        let mut got = found(store, Scope::Partition { tenant, partition: new.partition }, angle, 100).await;
        got.sort_unstable();
        let (least, most) = (sure(0.904), sure(0.896));
        assert!(least.iter().all(|id| got.contains(id)) && got.iter().all(|id| most.contains(id)));
    }
}

#[tokio::test]
async fn qdrant_is_set_up_for_tenants_and_every_search_names_one() {
    let server = QdrantServer::start().await;
    let shutdown = Shutdown::new();
    let settings = QdrantConfig { shards: Some(3), replication_factor: 2, ..settings(&server.url) };
    let store = qdrant(&settings, 0xab, &shutdown).await;
    let again = qdrant(&settings, 0xab, &shutdown).await;
    let other = qdrant(&settings, 0xcd, &shutdown).await;
    let created = server.engine.created.lock().clone();
    let names: Vec<_> = created.iter().map(|wish| wish.collection_name.clone()).collect();
    assert_eq!(names, [format!("signalbox-{}", "ab".repeat(16)), format!("signalbox-{}", "cd".repeat(16))]);
    assert_eq!((created[0].shard_number, created[0].replication_factor), (Some(3), Some(2)));
    assert!(created[0].quantization_config.is_some());
    let graphs = created[0].hnsw_config.unwrap();
    assert_eq!((graphs.m, graphs.payload_m), (Some(0), Some(16)), "no graph over all tenants");
    let indexed = server.engine.indexed.lock().clone();
    let tenant = indexed.iter().find(|index| index.field_name == "tenant").unwrap();
    assert!(format!("{tenant:?}").contains("is_tenant: Some(true)"), "{tenant:?}");

    store.insert(point(1, "a", 1, 0.0)).await;
    assert_eq!(found(&again, partition("a", 1), 0.0, 8).await, [1], "replicas share it");
    assert_eq!(
        found(&other, partition("a", 1), 0.0, 8).await,
        [0u128; 0],
        "another model's are not compared"
    );
    found(&store, Scope::Tenant("a"), 0.0, 8).await;
    let filtered = server.engine.filtered.lock().clone();
    assert!(filtered.iter().all(|fields| fields.contains("tenant")));
    assert!(filtered[..2].iter().all(|fields| fields.contains("partition")));
    shutdown.complete().await;
}

#[tokio::test]
async fn qdrant_gone_and_back() {
    let mut server = QdrantServer::start().await;
    let shutdown = Shutdown::new();
    let settings = QdrantConfig { failures: 1, ..settings(&server.url) };
    let store = qdrant(&settings, 1, &shutdown).await;
    assert!(store.insert(point(1, "a", 1, 0.0)).await);
    let engine = Arc::clone(&server.engine);
    let address = server.kill().await;
    assert_eq!(found(&store, partition("a", 1), 0.0, 8).await, [0u128; 0], "a miss, no error");
    assert!(!store.insert(point(2, "a", 1, 0.0)).await, "dropped, and said so");
    let _back = QdrantServer::with(engine, &address).await;
    store.prepared().await;
    assert_eq!(found(&store, partition("a", 1), 0.0, 8).await, [1]);
    shutdown.complete().await;
}

#[tokio::test]
async fn a_slow_qdrant_is_a_miss_within_the_deadline() {
    let server = QdrantServer::start().await;
    let shutdown = Shutdown::new();
    let settings = QdrantConfig { failures: 2, deadline_ms: 20, open_ms: 3_600_000, ..settings(&server.url) };
    let store = qdrant(&settings, 1, &shutdown).await;
    store.insert(point(1, "a", 1, 0.0)).await;
    *server.engine.delay.lock() = Duration::from_secs(3_600);
    let searched = |server: &QdrantServer| server.engine.filtered.lock().len();
    for _ in 0..10 {
        assert_eq!(found(&store, partition("a", 1), 0.0, 8).await, [0u128; 0]);
    }
    assert!(searched(&server) <= 2, "nobody waits any more after two");
    assert_eq!(store.trouble(), Some("off: qdrant does not answer"));
    drop(shutdown);
}

#[tokio::test]
async fn questions_are_found_by_meaning_at_any_replica() {
    let Some((_redis_server, redis)) = super::contract::redis("redis and qdrant", false) else { return };
    let server = QdrantServer::start().await;
    let config = format!(
        "[shared]\ndeadline_ms = 10000\npatience_ms = 20000\n[qdrant]\nurl = \"{}\"\ndeadline_ms = 10000\npatience_ms = 20000\nopen_ms = 10\n",
        server.url
    );
    let mut worlds = Vec::new();
    for seed in [1, 2] {
        let world = World::replica(&config, Embedding::constant(), Some(redis.clone()), seed).await;
        while world.stats("a").await.semantic_state != "on" {
            tokio::task::yield_now().await;
        }
        worlds.push(world);
    }
    let [one, two] = &worlds[..] else { panic!() };
    use signalbox_proto::{
        cache::v1::{FeedbackRequest, LikeText, LookupRequest, invalidate_request::By},
        common::v1::{CachePolicy, CacheState, cache_policy::Mode},
    };
    let reading = || CachePolicy { mode: Mode::Read.into(), ..CachePolicy::default() };
    one.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    let looked = two.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!((looked.state(), &*looked.text()), (CacheState::Semantic, "Rayleigh."));
    let theirs = two.lookup("b", question("What makes the sky blue?")).await.unwrap();
    assert_eq!(theirs.state(), CacheState::Miss, "another tenant");
    // What one replica is told of a hit that another one gave, all heed, and its answer to the first question stays.
    let cache = looked.result.cache.unwrap();
    let wrong = FeedbackRequest {
        entry_id: cache.entry_id.unwrap(),
        request_id: "r9".into(),
        score: -0.5,
        estimated_error: cache.estimated_error,
    };
    one.client().feedback(context("a").request(wrong)).await.unwrap();
    for world in [one, two] {
        let again = LookupRequest { policy: Some(reading()), ..question("What makes the sky blue?") };
        assert_eq!(world.lookup("a", again).await.unwrap().state(), CacheState::Miss);
        let first = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
        assert_eq!(first.state(), CacheState::Exact);
    }
    let like = By::Like(LikeText { text: "the sky".into(), min_similarity: None });
    assert_eq!(two.invalidate("a", like).await.unwrap(), 1);
    assert_eq!(
        one.lookup("a", question("What makes the sky blue?")).await.unwrap().state(),
        CacheState::Miss
    );
}

#[cfg(feature = "qdrant-edge")]
#[tokio::test]
async fn questions_are_found_by_meaning_after_a_restart_of_the_embedded_engine() {
    use signalbox_proto::common::v1::CacheState;
    let folder = tempfile::tempdir().unwrap();
    let config = "[semantic]\nengine = \"qdrant_edge\"";
    let begin = || World::at(folder.path(), config, Embedding::constant(), None, 1);
    let world = begin().await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    assert!(folder.path().join("cache/edge-0707070707070707/segments").is_dir());
    world.end().await;
    let world = begin().await;
    let looked = world.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!((looked.state(), &*looked.text()), (CacheState::Semantic, "Rayleigh."));
    let theirs = world.lookup("b", question("What makes the sky blue?")).await.unwrap();
    assert_eq!(theirs.state(), CacheState::Miss, "another tenant");
    assert_eq!(world.stats("a").await.semantic_state, "on");
    world.end().await;
}
