//! A cluster, and a master that sentinels look after.

use signalbox_mesh::ManualClock;
use signalbox_testkit::{
    free_ports,
    redis::{RedisCluster, RedisError, RedisServer},
};

use super::world::{START, World, ask, done};
use crate::{budget::tests::terms, refusal::Refusal, subject::tests::subject};

#[tokio::test]
async fn tenants_of_a_cluster_lie_on_all_of_its_servers_and_know_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = match RedisCluster::start(folder.path()) {
        Ok(cluster) => cluster,
        Err(RedisError::Missing) => return println!("SKIPPED: no redis-server; run scripts/setup.sh redis"),
        Err(error) => panic!("{error}"),
    };
    let world = World::shared(&cluster.url(), &ManualClock::new(START), true).await;
    for n in 0..12 {
        let tenant = format!("tenant-{n}");
        world.budget(terms(&tenant, "b", 1_000)).await;
        let first = world.backend.admit(ask(subject(&tenant, "k"), "r1", 600)).await.unwrap();
        assert_eq!(first.reservation.granted_output_tokens, 600);
        assert!(
            world
                .backend
                .admit(ask(subject(&tenant, "k"), "r2", 600))
                .await
                .is_ok_and(|second| { second.reservation.granted_output_tokens == 390 }),
            "ten are the allowance's"
        );
        let mut record = done("r1", &first, 70);
        record.subject = Some(std::sync::Arc::new(subject(&tenant, "k")));
        assert_eq!(world.settle(record).await, Ok((1, 0)));
        assert_eq!(world.ledger(&tenant).await, [("OK".to_owned(), 1, 1, 70)]);
    }
    assert_eq!(world.budgets("").await.len(), 12);
    world.end().await;
}

#[tokio::test]
async fn another_master_is_found_through_the_sentinels() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>().unwrap();
    let start =
        |name: &str, port: u16, more: &[&str]| RedisServer::on_port(&folder.path().join(name), port, more);
    let mut master = match start("master", ports[0], &["--appendonly", "no"]) {
        Ok(master) => master,
        Err(RedisError::Missing) => return println!("SKIPPED: no redis-server; run scripts/setup.sh redis"),
        Err(error) => panic!("{error}"),
    };
    let of = format!("127.0.0.1 {}", ports[0]);
    let replica = start("replica", ports[1], &["--replicaof", &of]).unwrap();
    let config = folder.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n",
        ports[0]
    );
    std::fs::write(&config, text).unwrap();
    let _sentinel = start("sentinel", ports[2], &[config.to_str().unwrap(), "--sentinel"]).unwrap();
    let url = format!("redis-sentinel://127.0.0.1:{}/main", ports[2]);
    let world = World::shared(&url, &ManualClock::new(START), false).await;
    world.budget(terms("acme", "b", 1_000)).await;
    world.admit("r1", 100).await.unwrap();
    // Everything must have reached the replica before its master dies.
    let mut wait = redis::cmd("WAIT");
    wait.arg(1).arg(30_000);
    let client = redis::Client::open(master.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    world.admit("r2", 100).await.unwrap();
    let mut replicas: i64 = 0;
    while replicas < 1 {
        replicas = wait.query_async(&mut direct).await.unwrap_or(0);
    }
    master.kill();
    let after = loop {
        match world.admit("r3", 100).await {
            Err(Refusal::StoreAway) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    assert_eq!(after.reservation.granted_output_tokens, 100);
    let budget = &world.budgets("acme").await[0];
    assert!(budget.reserved >= 200, "what the old master had: {budget:?}");
    drop(replica);
    world.shutdown.complete().await;
}
