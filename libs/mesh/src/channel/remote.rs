//! A service in other processes: several connections to each of its addresses, the less loaded of two chosen at random.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;
use tower::Service;

use super::{
    connection::{Connection, Load, Unreachable},
    connector::Connector,
    outbound::Outgoing,
};
use crate::{ClientConfig, Random, RequestContext, error};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("signalbox-mesh/", env!("CARGO_PKG_VERSION")));

/// The way to a service over the network.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Peers>);

struct Peers {
    label: String,
    connections: Vec<Arc<Connection>>,
    random: Random,
}

impl Remote {
    pub(crate) fn new(
        label: &str,
        peers: Vec<Uri>,
        config: &ClientConfig,
        connector: &Connector,
        random: Random,
    ) -> Self {
        let connect = |peer: Uri| Arc::new(Connection::new(peer, connector.clone(), config));
        let several = |peer: Uri| std::iter::repeat_n(peer, config.connections_per_peer.max(1));
        let connections = peers.into_iter().flat_map(several).map(connect).collect();
        Self(Arc::new(Peers { label: label.to_owned(), connections, random }))
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
        Box::pin(async move { peers.send(request).await })
    }
}

impl Peers {
    async fn send(&self, mut request: Request<Outgoing>) -> Result<Response<Received>, Status> {
        if let Some(context) = request.extensions_mut().remove::<RequestContext>() {
            context.write(request.headers_mut());
        }
        request.headers_mut().insert(USER_AGENT, AGENT);
        let path = request.uri().path_and_query().cloned();

        let mut last = Unreachable { why: "no address".into(), retry: error::RETRY_SOON };
        // Each connection once, and once more for one that turned out to be gone. Nothing was sent before, so that
        // this is no retry: what was sent is never sent again here.
        for _ in 0..=self.connections.len() {
            let connection = self.pick();
            let load = connection.begin();
            let mut sender = match connection.sender().await {
                Ok(sender) => sender,
                Err(unreachable) => {
                    last = unreachable;
                    continue;
                }
            };
            *request.uri_mut() = connection.uri(path.clone());
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => {
                    let label = self.label.clone();
                    return Ok(response.map(|body| Received { body, label, _load: load }));
                }
                Err(failed) => failed,
            };
            match failed.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(broken(&self.label, &failed.into_error())),
            }
            last = Unreachable { why: "the connection was closed".into(), retry: error::RETRY_SOON };
        }
        Err(away(&self.label, &last.why, last.retry))
    }

    /// The less loaded of two: close to the best choice, without everybody making the same one.
    fn pick(&self) -> &Arc<Connection> {
        let (count, now) = (self.connections.len(), Instant::now());
        let all = || self.connections.iter();
        if count <= 2 {
            return self.lightest(all(), now);
        }
        let one = self.random.below(count);
        let two = (one + 1 + self.random.below(count - 1)) % count;
        let chosen = self.lightest([&self.connections[one], &self.connections[two]].into_iter(), now);
        // Two that are left alone do not mean that all are.
        if chosen.weight(now) == usize::MAX { self.lightest(all(), now) } else { chosen }
    }

    fn lightest<'a>(
        &'a self,
        mut among: impl Iterator<Item = &'a Arc<Connection>>,
        now: Instant,
    ) -> &'a Arc<Connection> {
        let first = among.next().unwrap_or(&self.connections[0]);
        among.fold(first, |best, next| if next.weight(now) < best.weight(now) { next } else { best })
    }
}

/// The body of an answer from the network. It holds its place in the connection's load to its end.
pub(crate) struct Received {
    body: Incoming,
    label: String,
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
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| broken(&self.label, &error))))
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
