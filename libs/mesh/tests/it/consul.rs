//! Replicas found in real Consul servers, which come and go as well.

use std::{path::Path, time::Duration};

use signalbox_mesh::{Channel, Config, ConsulConfig, Discovery, Random};
use signalbox_testkit::consul::{ConsulCluster, ConsulError, ConsulServer};

use crate::{
    replicas::{Load, Replica, discovered, is_called, is_left, reached},
    tls::Authority,
};

/// A test without Consul says so.
macro_rules! or_skip {
    ($started:expr) => {
        match $started {
            Ok(started) => started,
            Err(ConsulError::Missing) => {
                println!("SKIPPED: consul: {}", ConsulError::Missing);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    };
}

fn config(address: &str) -> Config {
    let consul = ConsulConfig { address: address.to_owned(), check_ms: 200, ..ConsulConfig::default() };
    let mut config = Config { consul: Some(consul), ..Config::default() };
    config.server.drain_grace_ms = Some(1_000);
    config
}

fn tagged(config: &Config, tag: &str) -> Config {
    let mut config = config.clone();
    config.consul.as_mut().unwrap().tags = vec![tag.to_owned()];
    config
}

fn zoned(config: &Config, zone: &str) -> Config {
    Config { zone: Some(zone.to_owned()), ..config.clone() }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(f).await.unwrap()
}

async fn server(folder: &Path) -> Result<ConsulServer, ConsulError> {
    let folder = folder.join("consul");
    blocking(move || ConsulServer::start(&folder)).await
}

/// Waits until a call is answered.
async fn answers(channel: &Channel) {
    use signalbox_proto::guard::v1::{InspectRequest, guard_service_client::GuardServiceClient};
    let mut client = signalbox_mesh::client!(GuardServiceClient, channel);
    let answered = async { while client.inspect(InspectRequest::default()).await.is_err() {} };
    tokio::time::timeout(crate::replicas::PATIENCE, answered).await.expect("a replica is found");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_without_a_failed_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut consul = or_skip!(server(folder.path()).await);
    let config = config(&consul.url());
    let one = Replica::on_loopback(&config);
    let channel = discovered("consul://signalbox-guard", &config);
    answers(&channel).await;
    let load = Load::start(&channel);
    is_called(&one).await;

    let two = Replica::on_loopback(&config);
    is_called(&two).await;
    one.stop().await;
    load.goes_on(100).await;
    let listed = consul.get("/v1/health/service/signalbox-guard").unwrap();
    assert_eq!(
        listed.matches("\"Service\":\"signalbox-guard\"").count(),
        1,
        "the first left by itself: {listed}"
    );

    // The agent crashes: who is known stays. It comes back without its state: replicas enter themselves again.
    consul.kill();
    load.goes_on(100).await;
    consul = blocking(move || {
        consul.forget();
        consul.restart().unwrap();
        consul
    })
    .await;
    load.goes_on(200).await;
    reached(|| {
        let listed = consul.get("/v1/health/service/signalbox-guard?passing=true");
        listed.is_some_and(|listed| listed.contains(&two.address.port().to_string()))
    })
    .await;
    let three = Replica::on_loopback(&config);
    is_called(&three).await;
    two.stop().await;
    load.goes_on(100).await;
    let calls = load.stop().await;
    println!("{calls} calls while replicas and the agent came and went, none failed");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_unwell_is_left_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let consul = or_skip!(server(folder.path()).await);
    let config = config(&consul.url());
    let (one, two) = (Replica::on_loopback(&config), Replica::on_loopback(&config));
    let channel = discovered("consul://signalbox-guard", &config);
    answers(&channel).await;
    let load = Load::start(&channel);
    is_called(&one).await;
    is_called(&two).await;
    // What an operator may do: the service in maintenance.
    let id = format!("signalbox-guard-127.0.0.1-{}", two.address.port());
    consul.put(&format!("/v1/agent/service/maintenance/{id}?enable=true"), "").unwrap();
    is_left(&two, &load).await;
    consul.put(&format!("/v1/agent/service/maintenance/{id}?enable=false"), "").unwrap();
    is_called(&two).await;
    load.stop().await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_choose_and_the_own_zone_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let consul = or_skip!(server(folder.path()).await);
    let config = config(&consul.url());
    let blue_here = Replica::on_loopback(&zoned(&tagged(&config, "blue"), "here"));
    let blue_there = Replica::on_loopback(&zoned(&tagged(&config, "blue"), "there"));
    let green = Replica::on_loopback(&zoned(&tagged(&config, "green"), "here"));
    let everybody = "/v1/health/service/signalbox-guard?passing=true";
    reached(|| consul.get(everybody).unwrap().matches("\"Service\":{").count() == 3).await;

    let channel = discovered("consul://signalbox-guard?tag=blue", &zoned(&config, "here"));
    answers(&channel).await;
    let load = Load::start(&channel);
    load.goes_on(200).await;
    assert_eq!(
        (blue_there.answered.get(), green.answered.get()),
        (0, 0),
        "not of this zone, not of this colour"
    );
    blue_here.stop().await;
    is_called(&blue_there).await;
    load.stop().await;
    assert_eq!(green.answered.get(), 0);
}

const RULES: &str = r#"{"Name": "guard", "Rules": "service_prefix \"signalbox-\" { policy = \"write\" } node_prefix \"\" { policy = \"read\" }"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_read_from_its_file_whenever_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul");
    let consul = or_skip!(blocking(move || ConsulServer::closed(&path)).await);
    reached(|| consul.put("/v1/acl/policy", RULES).is_some()).await;
    let made = consul.put("/v1/acl/token", r#"{"Policies": [{"Name": "guard"}]}"#).expect("a token is made");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();

    let file = folder.path().join("token");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut config = config(&consul.url());
    config.consul.as_mut().unwrap().token_file = Some(file.clone());
    config.client.connect_timeout_ms = 300;
    let one = Replica::on_loopback(&config);
    let channel = discovered("consul://signalbox-guard", &config);
    let status = refused(&channel).await;
    assert!(status.message().contains("no replica of it is known"), "{status:?}");
    // Replaced as a secret store does it.
    std::fs::write(folder.path().join("new"), format!("{}\n", made["SecretID"].as_str().unwrap())).unwrap();
    std::fs::rename(folder.path().join("new"), &file).unwrap();
    answers(&channel).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_asked_over_tls_and_believed_by_its_authority() {
    let authority = Authority::new();
    authority.sign("localhost", None, |_| {});
    let folder = tempfile::tempdir().unwrap();
    let (path, keys) = (folder.path().join("consul"), authority.path().to_owned());
    let started = move || ConsulServer::secured(&path, &keys.join("localhost"), &keys.join("localhost.key"));
    let consul = or_skip!(blocking(started).await);

    let mut trusting = config(&consul.secure_url());
    trusting.consul.as_mut().unwrap().ca_file = Some(authority.path().join("ca"));
    let one = Replica::on_loopback(&trusting);
    let channel = discovered("consul://signalbox-guard", &trusting);
    answers(&channel).await;

    let (stranger, mut doubting) = (Authority::new(), trusting.clone());
    doubting.consul.as_mut().unwrap().ca_file = Some(stranger.path().join("ca"));
    doubting.client.connect_timeout_ms = 300;
    let status = refused(&discovered("consul://signalbox-guard", &doubting)).await;
    assert!(status.message().contains("no replica of it is known"), "{status:?}");
    one.stop().await;

    doubting.consul.as_mut().unwrap().ca_file = Some(folder.path().join("none"));
    let unread = Discovery::new(&doubting, &Random::seeded(1)).unwrap_err();
    assert!(unread.to_string().contains("none"), "{unread}");
}

async fn refused(channel: &Channel) -> tonic::Status {
    use signalbox_proto::guard::v1::{InspectRequest, guard_service_client::GuardServiceClient};
    signalbox_mesh::client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_three_is_killed_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let started = or_skip!(blocking(move || ConsulCluster::start(&path)).await);
    let (mut cluster, leader) = blocking(move || {
        let leader = started.leader();
        (started, leader)
    })
    .await;
    let urls: Vec<_> = cluster.servers().iter().map(ConsulServer::url).collect();
    let followers: Vec<_> = (0..3).filter(|n| *n != leader).collect();
    // One replica by each follower's agent; who calls asks a follower, or the leader that is going to die.
    let (one, two) = (
        Replica::on_loopback(&config(&urls[followers[0]])),
        Replica::on_loopback(&config(&urls[followers[1]])),
    );
    let by_follower = discovered("consul://signalbox-guard", &config(&urls[followers[0]]));
    let by_leader = discovered("consul://signalbox-guard", &config(&urls[leader]));
    answers(&by_follower).await;
    answers(&by_leader).await;
    let loads = [Load::start(&by_follower), Load::start(&by_leader)];
    is_called(&one).await;
    is_called(&two).await;

    let begin = std::time::Instant::now();
    cluster.servers()[leader].kill();
    for load in &loads {
        load.goes_on(200).await;
    }
    let survivor = followers[1];
    let (led, cluster) = blocking(move || {
        let led = cluster.servers()[survivor].has_leader();
        (led, cluster)
    })
    .await;
    led.unwrap();
    let led_after: Duration = begin.elapsed();
    // There is a new leader: what is new is found again, by who asks a server that lives.
    let three = Replica::on_loopback(&config(&urls[survivor]));
    let before = three.answered.get();
    reached(|| three.answered.get() > before + 5).await;
    one.stop().await;
    let mut calls = 0;
    let [follower, leader] = loads;
    follower.goes_on(100).await;
    calls += follower.stop().await;
    calls += leader.stop().await;
    println!("a new leader after at most {led_after:?}; {calls} calls meanwhile, none failed");
    two.stop().await;
    three.stop().await;
    drop(cluster);
}
