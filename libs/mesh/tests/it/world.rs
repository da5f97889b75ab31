//! One part behind one channel, in either topology.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use signalbox_mesh::{
    Answers, Called, CancellationToken, Channel, Config, Connector, ContextTrust, Environment, ManualClock,
    Part, ServeError, Server,
};
use signalbox_proto::{
    guard::v1::{
        InspectRequest, InspectResponse, ListDetectorsRequest, ListDetectorsResponse, ScreenRequest,
        ScreenResponse,
    },
    paths,
};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{IntoRequest, IntoStreamingRequest};

use crate::scripted::{LIST, Scripted};

/// Runs a test body once in each topology, and within a process with gRPC and without, with time standing still.
macro_rules! on_both {
    ($(async fn $name:ident($topology:ident) $body:block)+) => {
        $(mod $name {
            use super::*;
            async fn run($topology: crate::world::Topology) $body

            #[tokio::test(start_paused = true)]
            async fn local() {
                run(crate::world::Topology::Local).await;
            }

            #[tokio::test(start_paused = true)]
            async fn direct() {
                run(crate::world::Topology::Direct).await;
            }

            #[tokio::test(start_paused = true)]
            async fn remote() {
                run(crate::world::Topology::Remote).await;
            }
        })+
    };
}
pub(crate) use on_both;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// In process, over gRPC.
    Local,
    /// In process, as functions.
    Direct,
    /// Over HTTP/2.
    Remote,
}

impl Topology {
    pub(crate) fn is_in_process(self) -> bool {
        self != Self::Remote
    }
}

/// A client whose calls choose their way themselves.
#[derive(Clone)]
pub(crate) struct Client(Channel);

impl Client {
    pub(crate) async fn inspect(
        &mut self,
        request: impl IntoRequest<InspectRequest>,
    ) -> Called<InspectResponse> {
        self.0.unary(paths::INSPECT, request.into_request()).await
    }

    pub(crate) async fn screen(
        &mut self,
        request: impl IntoStreamingRequest<Message = ScreenRequest>,
    ) -> Called<Answers<ScreenResponse>> {
        self.0.streaming(paths::SCREEN, request.into_streaming_request()).await
    }

    pub(crate) async fn list_detectors(
        &mut self,
        request: impl IntoRequest<ListDetectorsRequest>,
    ) -> Called<ListDetectorsResponse> {
        self.0.unary(LIST, request.into_request()).await
    }
}

pub(crate) fn environment() -> Environment {
    Environment::manual(ManualClock::new(1_700_000_000_000), 1, "")
}

/// The addresses of a network of in-memory connections, each with a server or without.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<Vec<Address>>>);

type Address = (String, mpsc::Sender<io::Result<DuplexStream>>);

impl Network {
    /// Serves a part at an address until the token is cancelled.
    pub(crate) fn serve(&self, address: &str, server: Server) -> Serving {
        let (to, incoming) = mpsc::channel(16);
        self.0.lock().unwrap().push((address.into(), to));
        let (network, address, shutdown) = (self.clone(), address.to_owned(), CancellationToken::new());
        let stop = shutdown.clone();
        let closed = async move {
            stop.cancelled().await;
            network.0.lock().unwrap().retain(|(at, _)| *at != address);
        };
        tokio::spawn(closed);
        let stop = shutdown.clone();
        let incoming = ReceiverStream::new(incoming);
        Serving { shutdown, task: tokio::spawn(async move { server.serve(incoming, stop).await }) }
    }

    pub(crate) fn connector(&self) -> Connector {
        let network = self.clone();
        Connector::new(move |peer| {
            let peers = network.0.lock().unwrap();
            let to = peers
                .iter()
                .find(|(at, _)| Some(at.as_str()) == peer.authority().map(http::uri::Authority::as_str));
            let to = to.map(|(_, to)| to.clone());
            async move {
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let (ours, theirs) = tokio::io::duplex(64 << 10);
                to.ok_or_else(refused)?.send(Ok(theirs)).await.map_err(|_| refused())?;
                Ok(ours)
            }
        })
    }
}

pub(crate) struct Serving {
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), ServeError>>,
}

impl Serving {
    /// Ends the server and waits for it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A channel to one scripted part.
pub(crate) struct World {
    pub(crate) channel: Channel,
    _serving: Option<Serving>,
    // In process, the channel works only as long as the part is there in real use too.
    _part: Option<Part>,
}

impl World {
    pub(crate) fn new(topology: Topology, scripted: Scripted) -> Self {
        Self::with(topology, &Config::default(), scripted)
    }

    pub(crate) fn with(topology: Topology, config: &Config, scripted: Scripted) -> Self {
        let part = if topology == Topology::Direct { scripted.direct() } else { scripted.part() };
        let environment = environment();
        if topology.is_in_process() {
            let channel = Channel::local(&part, config, &environment);
            return Self { channel, _serving: None, _part: Some(part) };
        }
        let network = Network::default();
        let server = Server::new(&config.server, &environment).trust(ContextTrust::Mesh).part(part);
        let serving = network.serve("guard:1", server);
        let channel = remote(&network, &["guard:1"], config);
        Self { channel, _serving: Some(serving), _part: None }
    }

    pub(crate) fn client(&self) -> Client {
        Client(self.channel.clone())
    }
}

pub(crate) fn remote(network: &Network, addresses: &[&str], config: &Config) -> Channel {
    Channel::remote("guard", addresses, &config.client, &environment(), &network.connector()).unwrap()
}

/// Counts up when asked.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn up(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Says that it was dropped.
pub(crate) struct Dropped(CancellationToken);

/// A value, and a token that is cancelled when it is dropped.
pub(crate) fn dropped() -> (Arc<Mutex<Option<Dropped>>>, CancellationToken) {
    let token = CancellationToken::new();
    (Arc::new(Mutex::new(Some(Dropped(token.clone())))), token)
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Takes the value out, for the one call that is made.
pub(crate) fn take(value: &Arc<Mutex<Option<Dropped>>>) -> Dropped {
    value.lock().unwrap().take().expect("one call only")
}

/// Waits for something that must come without any time passing but what timers need.
pub(crate) async fn soon(token: &CancellationToken) {
    tokio::time::timeout(Duration::from_secs(1), token.cancelled())
        .await
        .expect("it should have been dropped");
}
