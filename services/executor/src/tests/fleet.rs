//! Breakers in step over replicas, through a real Redis.

use std::sync::Arc;
use std::time::Duration;

use signalbox_config::{Live, Redis};
use signalbox_mesh::{ManualClock, Random};
use signalbox_proto::executor::v1::{BreakerState, ListTargetsRequest};
use signalbox_testkit::redis::{RedisCluster, RedisError, RedisServer};
use signalbox_wire::ErrorClass;
use tokio::time::Instant;

use super::world::{executor, models, quick, request, run};
use crate::client::Connector;
use crate::config::{Breaker, Tls};
use crate::fleet::Fleet;
use crate::target::Target;
use crate::targets::Targets;

const SETTINGS: Breaker = Breaker { failures: 2, failure_percent: 0, window: 20, open_ms: 0 };

/// Starts Redis, or says why the test is skipped.
fn redis(test: &str) -> Option<(RedisServer, Redis)> {
    let folder = tempfile::tempdir().unwrap().keep();
    match RedisServer::start(&folder) {
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

/// Is one of several replicas, without its own time: each beat is asked for.
struct Replica {
    fleet: Fleet,
    targets: Targets,
}

impl Replica {
    fn new(redis: &Redis, number: u64) -> Self {
        let clock = Arc::new(ManualClock::new(784_111_777_000));
        let long = Duration::from_secs(60);
        let fleet = Fleet::waiting(redis, clock, &Random::seeded(number), long, long).unwrap();
        let targets = Targets::new(Live::new(models("http://provider.test/v1", &["a", "b"], None))).unwrap();
        Self { fleet, targets }
    }

    async fn beat(&self) {
        self.fleet.beat(&self.targets.all()).await.unwrap();
    }

    fn target(&self) -> Arc<Target> {
        Arc::clone(&self.targets.all()["sim/a"][0])
    }

    fn state(&self) -> BreakerState {
        self.target().memory.breaker.read(Instant::now()).0
    }

    fn fail(&self, wait: Duration) {
        let now = Instant::now();
        let mut permit = self.target().memory.breaker.admit(SETTINGS, now).unwrap();
        permit.failed(ErrorClass::Overloaded, Some(wait), now);
    }
}

#[tokio::test]
async fn one_replica_opens_all_stop_one_probes_and_all_go_on() {
    let Some((_server, redis)) = redis("shared breakers") else { return };
    in_step(&redis).await;
}

#[tokio::test]
async fn a_cluster_keeps_them_in_step_as_well() {
    let folder = tempfile::tempdir().unwrap().keep();
    let cluster = match RedisCluster::start(&folder) {
        Err(RedisError::Missing) => {
            return println!("SKIPPED: breakers in a cluster: {}", RedisError::Missing);
        }
        started => started.unwrap(),
    };
    in_step(&Redis { url: Some(cluster.url()), ..Redis::default() }).await;
}

async fn in_step(redis: &Redis) {
    let (one, other) = (Replica::new(redis, 1), Replica::new(redis, 2));
    let late = Replica::new(redis, 3);
    one.fail(Duration::ZERO);
    one.beat().await;
    other.beat().await;
    assert_eq!(other.state(), BreakerState::Closed, "one failure of two");

    one.fail(Duration::from_secs(60));
    one.beat().await;
    other.beat().await;
    assert_eq!((one.state(), other.state()), (BreakerState::Open, BreakerState::Open));
    let (_, reason) = other.target().memory.breaker.read(Instant::now());
    assert_eq!(reason, "2 failures in a row, the last: overloaded");
    assert_eq!(other.targets.all()["sim/b"][0].memory.breaker.read(Instant::now()).0, BreakerState::Closed);

    // A replica that starts later knows it too; and that time has passed is known to all.
    late.beat().await;
    assert_eq!(late.state(), BreakerState::Open);
    let passed = Instant::now() + Duration::from_secs(61);
    let mut probe = one.target().memory.breaker.admit(SETTINGS, passed).unwrap();
    let refused = other.target().memory.breaker.admit(SETTINGS, passed).unwrap();
    assert!(probe.is_probe() && refused.is_probe());
    let lasting = Duration::from_secs(60);
    assert!(one.fleet.claim(&one.target(), lasting).await);
    probe.claimed();
    assert!(!other.fleet.claim(&other.target(), lasting).await, "one prober in the fleet");
    let _open = refused.elsewhere(passed);

    probe.succeeded();
    one.beat().await;
    other.beat().await;
    late.beat().await;
    let states = [&one, &other, &late].map(Replica::state);
    assert_eq!(states, [BreakerState::Closed; 3]);
    assert!(other.fleet.claim(&other.target(), lasting).await, "the right was given back");
}

#[tokio::test]
async fn a_probe_that_is_dropped_gives_the_right_back() {
    let Some((_server, redis)) = redis("the right to probe") else { return };
    let (one, other) = (Replica::new(&redis, 1), Replica::new(&redis, 2));
    one.fail(Duration::ZERO);
    one.fail(Duration::ZERO);
    one.beat().await;
    let mut probe = one.target().memory.breaker.admit(SETTINGS, Instant::now()).unwrap();
    assert!(one.fleet.claim(&one.target(), Duration::from_secs(60)).await);
    probe.claimed();
    drop(probe);
    one.beat().await;
    other.beat().await;
    assert_eq!(other.state(), BreakerState::HalfOpen);
    assert!(other.fleet.claim(&other.target(), Duration::from_secs(60)).await);
}

#[tokio::test]
async fn without_redis_each_replica_keeps_its_own() {
    let Some((mut server, redis)) = redis("Redis gone") else { return };
    let one = Replica::new(&redis, 1);
    one.beat().await;
    server.kill();
    one.fail(Duration::from_secs(60));
    one.fail(Duration::from_secs(60));
    assert_eq!(one.fleet.beat(&one.targets.all()).await, Err(()));
    assert_eq!(one.state(), BreakerState::Open);
    assert!(one.fleet.claim(&one.target(), Duration::from_secs(60)).await, "it probes for itself");
    assert!(one.target().memory.breaker.news(Instant::now()).is_some(), "it is told when Redis is back");
}

#[tokio::test]
async fn an_executor_stops_asking_what_another_found_broken() {
    let Some((_server, redis)) = redis("two executors") else { return };
    let provider = signalbox_testkit::provider::Provider::start(Default::default()).await.unwrap();
    let mut config = quick();
    config.breaker = Breaker { failures: 1, open_ms: 600_000, ..Breaker::default() };
    let mut shared = models(&provider.base_url(), &["sim-small+status=503"], None);
    shared.redis = Some(redis);
    let replica = || {
        let connector = Connector::system(Duration::from_secs(5), &Tls::default()).unwrap();
        executor(config.clone(), connector, shared.clone())
    };
    let (one, other) = (replica(), replica());
    let ran = run(&one, request(&["sim-small+status=503"])).await;
    assert!(ran.status.is_some());
    let heard = async {
        loop {
            let listed = other.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
            if listed.targets[0].breaker() == BreakerState::Open {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    let before = provider.totals().received;
    assert!(run(&other, request(&["sim-small+status=503"])).await.status.is_some());
    assert_eq!(provider.totals().received, before, "it is not asked");
}
