use std::sync::Arc;

use signalbox_mesh::{Environment, ManualClock};
use signalbox_proto::{cache::v1::FeedbackRequest, common::v1::CacheState};

use super::world::*;
use crate::{Config, Embedding, backend::embedded::Embedded, cache::Cache, vectors::ExactScan};

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_figures_follow_evictions() {
    let world = World::blind("[exact]\nmax_bytes = 50_000\n[semantic]\nmax_entries = 10").await;
    for number in 0..300 {
        let request = question(&format!("What is item {number}?"));
        let lease = world.lookup("a", request).await.unwrap().result.lease.unwrap();
        assert!(world.fill("a", filling(&lease.id, &"word ".repeat(40))).await.unwrap().stored);
    }
    let stats = world.stats("a").await;
    // moka evicts in batches: a little more than its bound may be there for a moment.
    assert!(stats.entries < 100 && stats.bytes < 250_000, "{stats:?}");
    assert!(stats.entries > 0);
}

#[tokio::test]
async fn nothing_is_left_of_an_evicted_entry() {
    let config: Config = toml::from_str("[exact]\nmax_bytes = 1").unwrap();
    let environment = Environment::manual(ManualClock::new(NOW), 1, "");
    let vault = Arc::new(crate::vault::Vault::open_to_all(environment.random.clone()));
    let backend = Arc::new(Embedded::new(&config, &environment.random, vault));
    let vectors = Arc::new(ExactScan::new(10, 10));
    let moka = Arc::clone(&backend);
    let cache = Arc::new(Cache::new(config, Embedding::constant(), backend, vectors, &environment));
    let part = signalbox_mesh::Part::new(signalbox_mesh::server!(
        signalbox_proto::cache::v1::cache_service_server::CacheServiceServer,
        crate::service::Service(Arc::clone(&cache))
    ));
    let channel = signalbox_mesh::Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
    let world = World::over(part, channel, ManualClock::new(NOW));
    let lease = world.lookup("a", question("Why is the sky blue?")).await.unwrap().result.lease.unwrap();
    world.fill("a", filling(&lease.id, "Rayleigh.")).await.unwrap();
    moka.settle();
    let stats = world.stats("a").await;
    assert_eq!((stats.entries, stats.bytes), (0, 0));
    let looked = world.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!(looked.state(), CacheState::Miss);
}

#[tokio::test]
async fn entries_and_removals_race_without_harm() {
    let world = Arc::new(World::blind("").await);
    let tasks = (0..8).map(|task| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for round in 0..50 {
                let request = question(&format!("What is item {}?", (task + round) % 4));
                let looked = world.lookup("a", request).await.unwrap();
                if let Some(lease) = looked.result.lease {
                    world.fill("a", filling(&lease.id, "An answer.")).await.unwrap();
                }
                if round % 7 == task % 7 {
                    let all = signalbox_proto::cache::v1::invalidate_request::By::All(true);
                    world.invalidate("a", all).await.unwrap();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let all = signalbox_proto::cache::v1::invalidate_request::By::All(true);
    world.invalidate("a", all).await.unwrap();
    let stats = world.stats("a").await;
    assert_eq!((stats.entries, stats.bytes, stats.leases), (0, 0, 0));
}

#[tokio::test]
async fn entries_and_vectors_survive_a_restart_and_what_was_removed_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let start = || World::at(folder.path(), "", Embedding::constant(), None, 1);
    let world = start().await;
    world.ask("a", &question("Why is the sky blue?"), "Rayleigh.").await;
    world.ask("a", &question("How many legs have 3 cats?"), "Twelve.").await;
    let cats = world.lookup("a", question("How many legs have 3 cats?")).await.unwrap();
    let id = cats.result.cache.unwrap().entry_id.unwrap();
    let by_id = signalbox_proto::cache::v1::invalidate_request::By::EntryId(id);
    assert_eq!(world.invalidate("a", by_id).await.unwrap(), 1);
    let second = start().await;
    assert_eq!(second.stats("a").await.entries, 0, "one process has the folder");
    second.end().await;
    let before = world.stats("a").await;
    world.end().await;

    let world = start().await;
    let after = world.stats("a").await;
    assert_eq!((after.entries, after.bytes), (before.entries, before.bytes));
    let hit = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!((hit.state(), &*hit.text()), (CacheState::Exact, "Rayleigh."));
    let hit = world.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!((hit.state(), &*hit.text()), (CacheState::Semantic, "Rayleigh."));
    let gone = world.lookup("a", question("How many legs have 3 cats?")).await.unwrap();
    assert_eq!(gone.state(), CacheState::Miss);

    let entry_id = hit.result.cache.unwrap().entry_id.unwrap();
    let wrong =
        FeedbackRequest { entry_id, request_id: "r9".into(), score: -0.5, ..FeedbackRequest::default() };
    world.client().feedback(context("a").request(wrong)).await.unwrap();
    world.end().await;
    let world = start().await;
    let doubted = world.lookup("a", question("What makes the sky blue?")).await.unwrap();
    assert_eq!(doubted.state(), CacheState::Miss, "what was judged is known");
    let hit = world.lookup("a", question("Why is the sky blue?")).await.unwrap();
    assert_eq!(hit.state(), CacheState::Exact);
    world.end().await;
}
