//! Replicas on real sockets, and a load that counts what each of them answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{
    Advertised, CancellationToken, Channel, Config, Connector, Discovery, Environment, Registration, Server,
    client, listen,
};
use signalbox_proto::guard::v1::{InspectRequest, InspectResponse, guard_service_client::GuardServiceClient};
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;

use crate::{
    scripted::{Scripted, ask, number, said},
    world::{Counter, environment},
};

/// Bounds a hang, not the work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of a stream, and the pause between them: long enough to be cut by an end that does not wait for it.
const MESSAGES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// A replica that can be ended as an operator would.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) answered: Counter,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    registration: Option<Registration>,
}

impl Replica {
    /// Serves at an address; registered as `signalbox-guard` where the configuration has a registry.
    pub(crate) fn start(listener: TcpIncoming, config: &Config) -> Self {
        let address = listener.local_addr().unwrap();
        let answered = Counter::default();
        let counted = answered.clone();
        let script = Scripted::default()
            .inspect(move |_| {
                counted.up();
                async { Ok(InspectResponse::default()) }
            })
            .screen(|_| {
                stream::iter(1..=MESSAGES).then(async |n| {
                    tokio::time::sleep(PAUSE).await;
                    Ok(said(n))
                })
            });
        let server = Server::new(&config.server, &environment()).part(script.part());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move { server.serve(listener, stop).await.unwrap() });
        let discovery = Discovery::new(config, &environment().random).unwrap();
        let at = Advertised::new(config.advertise.as_deref(), address).unwrap();
        let registration = Registration::start(&discovery, "signalbox-guard", &at);
        Self { address, answered, shutdown, serving, registration }
    }

    pub(crate) fn on_loopback(config: &Config) -> Self {
        Self::start(listen("127.0.0.1:0".parse().unwrap()).unwrap(), config)
    }

    /// Leaves the registry, if it is in one, and drains, both at once as a process does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        if let Some(registration) = self.registration {
            registration.leave().await;
        }
        self.serving.await.unwrap();
    }
}

pub(crate) fn discovered(address: &str, config: &Config) -> Channel {
    let environment = Environment::system("");
    let discovery = Discovery::new(config, &environment.random).unwrap();
    let connector = Connector::tcp();
    Channel::discovered("guard", &[address], &config.client, &environment, &connector, &discovery).unwrap()
}

/// Calls without a pause, of both kinds, until it is stopped.
pub(crate) struct Load {
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins; a call that fails fails the test when the load is stopped.
    pub(crate) fn start(channel: &Channel) -> Self {
        let (calls, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let mut tasks = Vec::new();
        for n in 0..8 {
            let (channel, calls, stop) = (channel.clone(), Arc::clone(&calls), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if n % 2 == 0 {
                        unary(&channel).await;
                    } else {
                        streamed(&channel).await;
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { calls, stop, tasks }
    }

    /// Waits for so many more calls.
    pub(crate) async fn goes_on(&self, more: usize) {
        let until = self.calls.load(Ordering::Relaxed) + more;
        reached(|| {
            self.calls.load(Ordering::Relaxed) >= until || self.tasks.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// Ends it; how many calls there were, none of which failed.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.calls.load(Ordering::Relaxed)
    }
}

pub(crate) async fn unary(channel: &Channel) {
    client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn streamed(channel: &Channel) {
    let mut answer =
        client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap().into_inner();
    for n in 1..=MESSAGES {
        assert_eq!(number(&answer.message().await.unwrap().expect("it is not cut")), n);
    }
    assert!(answer.message().await.unwrap().is_none());
}

/// Waits until something is so.
pub(crate) async fn reached(mut so: impl FnMut() -> bool) {
    let reached = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("it comes to be so");
}

/// Waits until a replica answers more calls.
pub(crate) async fn is_called(replica: &Replica) {
    let before = replica.answered.get();
    reached(|| replica.answered.get() > before + 5).await;
}

/// Waits until a replica is not called any more: others answer many calls and it none.
pub(crate) async fn is_left(replica: &Replica, load: &Load) {
    let left = async {
        loop {
            let before = replica.answered.get();
            load.goes_on(100).await;
            if replica.answered.get() == before {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("it is left");
}
