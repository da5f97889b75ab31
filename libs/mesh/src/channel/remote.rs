//! A call to a service in other processes: to one of its replicas, and to another as long as none has processed it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;
use tower::Service;

use super::{
    connection::{Load, Unreachable},
    endpoint::Endpoint,
    outbound::Outgoing,
    peers::Peers,
    replay::{Replay, is_unprocessed},
};
use crate::{RequestContext, error};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("signalbox-mesh/", env!("CARGO_PKG_VERSION")));

/// The way to a service over the network.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Peers>);

impl Remote {
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        Self(peers)
    }
}

impl Service<Request<Outgoing>> for Remote {
    type Response = Response<Received>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Received>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Connecting is part of the call, so that its deadline covers it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        let peers = Arc::clone(&self.0);
        Box::pin(async move { send(&peers, request).await })
    }
}

async fn send(peers: &Arc<Peers>, mut request: Request<Outgoing>) -> Result<Response<Received>, Status> {
    if let Some(context) = request.extensions_mut().remove::<RequestContext>() {
        context.write(request.headers_mut());
    }
    request.headers_mut().insert(USER_AGENT, AGENT);
    let path = request.uri().path_and_query().cloned();

    let replay = Replay::new(request);
    let (mut last, mut gone, begun) = (Unreachable::unknown(), None, Instant::now());
    let mut set = peers.known().await;
    // Each connection once, and once more for one that turned out to be gone. What a peer has not processed is sent to another; what it
    // may have is never sent again here, so that this is no retry.
    for _ in 0..=set.connections() {
        let Some(endpoint) = peers.pick_other(&set, Instant::now(), gone.as_ref().map(|gone| (gone, begun)))
        else {
            break;
        };
        let connection = Arc::clone(endpoint.connection(Instant::now()));
        let load = connection.begin();
        let mut sender = match connection.sender().await {
            Ok(sender) => sender,
            Err(unreachable) => {
                if unreachable.is_new {
                    peers.failed(&endpoint);
                }
                // By this call, or by one whose connecting it waited for.
                if unreachable.refused.is_some_and(|refused| refused >= begun) {
                    gone = Some(endpoint);
                }
                last = unreachable;
                // Who was found meanwhile may answer.
                set = peers.known().await;
                continue;
            }
        };
        let Some(request) = replay.attempt(connection.uri(path.clone())) else { break };
        let waiting = Waiting { peers, endpoint: &endpoint, replay: &replay, over: false };
        let mut failed = match sender.try_send_request(request).await {
            Ok(response) => {
                waiting.answered();
                replay.answered();
                let (peers, endpoint) = (Arc::clone(peers), Arc::clone(&endpoint));
                return Ok(response.map(|body| Received { body, peers, endpoint, _load: load }));
            }
            Err(failed) => failed,
        };
        waiting.failed();
        let is_unsent = failed.take_message().is_some();
        let failed = failed.into_error();
        if !is_unsent && !is_unprocessed(&failed) {
            peers.failed(&endpoint);
            return Err(broken(peers.label(), &failed));
        }
        (last, gone) = (Unreachable::closed(), Some(endpoint));
        set = peers.known().await;
    }
    Err(away(peers.label(), &last.why, last.retry))
}

/// The time until an answer begins, from the caller's last word on. Whoever leaves before has waited at least that long.
struct Waiting<'a> {
    peers: &'a Peers,
    endpoint: &'a Endpoint,
    replay: &'a Replay,
    over: bool,
}

impl Waiting<'_> {
    fn answered(mut self) {
        self.over = true;
        self.endpoint.answered(self.replay.silence(), Instant::now(), &self.peers.config().balance);
    }

    fn failed(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.endpoint.waited(self.replay.silence(), Instant::now(), &self.peers.config().balance);
        }
    }
}

/// The body of an answer from the network. It holds its place in the connection's load to its end.
pub(crate) struct Received {
    body: Incoming,
    peers: Arc<Peers>,
    endpoint: Arc<Endpoint>,
    _load: Load,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map_err(|error| {
                    self.peers.failed(&self.endpoint);
                    broken(self.peers.label(), &error)
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn broken(label: &str, error: &hyper::Error) -> Status {
    error::unreachable(label, format!("the connection to {label} broke: {error}"), error::RETRY_SOON)
}

fn away(label: &str, why: &str, retry: Duration) -> Status {
    error::unreachable(
        label,
        format!("{label} cannot be reached ({why})"),
        retry.max(Duration::from_millis(1)),
    )
}
