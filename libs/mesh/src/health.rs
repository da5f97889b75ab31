//! Whether a part serves, and what it serves less well than it could.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, metadata::MetadataValue};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as HealthService,
};

use crate::metadata::HEALTH_DETAIL;

/// Details kept per part.
const DETAILS_MOST: usize = 16;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    stopped: bool,
    details: BTreeMap<&'static str, String>,
}

/// The health of one part. Clones are the same; a new part serves and has no details.
#[derive(Debug, Clone)]
pub struct HealthHandle(Arc<watch::Sender<State>>);

impl Default for HealthHandle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl HealthHandle {
    /// Creates the health of a part that serves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether the part serves.
    pub fn set_serving(&self, serving: bool) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.stopped, !serving) == serving);
    }

    /// Whether the part serves.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.0.borrow().stopped
    }

    /// Says what is degraded: `name` is the topic (`"semantic"`), `line` one line for an operator. Shown with every
    /// health answer, so it holds no path and nothing secret. At most 16 topics are kept.
    pub fn set_detail(&self, name: &'static str, line: impl Into<String>) {
        self.0.send_modify(|state| {
            if state.details.len() < DETAILS_MOST || state.details.contains_key(name) {
                state.details.insert(name, line.into());
            }
        });
    }

    /// Withdraws a detail.
    pub fn clear_detail(&self, name: &'static str) {
        self.0.send_if_modified(|state| state.details.remove(name).is_some());
    }

    /// The details as `name: line`.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        self.0.borrow().details.iter().map(|(name, line)| format!("{name}: {line}")).collect()
    }

    fn changes(&self) -> WatchStream<State> {
        WatchStream::new(self.0.subscribe())
    }
}

/// `grpc.health.v1.Health` over the parts of a server. The empty name stands for all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    parts: Arc<[(&'static str, HealthHandle)]>,
    server: HealthHandle,
}

impl Health {
    /// `server` is the process itself, which stops serving when it drains.
    pub(crate) fn new(parts: Vec<(&'static str, HealthHandle)>, server: HealthHandle) -> Self {
        Self { parts: parts.into(), server }
    }

    /// Whether all of it serves, and what is degraded.
    pub(crate) fn overall(&self) -> (bool, Vec<String>) {
        let handles = self.handles("").unwrap_or_default();
        (
            handles.iter().all(HealthHandle::is_serving),
            handles.iter().flat_map(HealthHandle::details).collect(),
        )
    }

    /// The handles that decide about a name; `None` when no part has it.
    fn handles(&self, name: &str) -> Option<Vec<HealthHandle>> {
        let of_name = self.parts.iter().filter(|(part, _)| name.is_empty() || *part == name);
        let mut handles: Vec<_> = of_name.map(|(_, handle)| handle.clone()).collect();
        if handles.is_empty() && !name.is_empty() {
            return None;
        }
        handles.push(self.server.clone());
        Some(handles)
    }
}

fn judge(handles: &[HealthHandle]) -> HealthCheckResponse {
    let serving = handles.iter().all(HealthHandle::is_serving);
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

/// The answers of one watch.
pub(crate) type Watching = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl HealthService for Health {
    type WatchStream = Watching;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        let Some(handles) = self.handles(name) else {
            return Err(Status::not_found("no service of that name is served here"));
        };
        let mut response = Response::new(judge(&handles));
        for line in handles.iter().flat_map(HealthHandle::details) {
            if let Ok(value) = MetadataValue::try_from(line) {
                response.metadata_mut().append(HEALTH_DETAIL, value);
            }
        }
        Ok(response)
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watching>, Status> {
        let Some(handles) = self.handles(&request.get_ref().service) else {
            // The protocol: a name that may appear later is unknown, not an error.
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            return Ok(Response::new(Box::pin(stream::iter([Ok(unknown)]).chain(stream::pending()))));
        };
        let changes = stream::select_all(handles.iter().map(HealthHandle::changes));
        Ok(Response::new(Box::pin(Changes { changes, handles, told: None }.map(Ok))))
    }
}

/// Answers only when the verdict changes, not with every detail.
struct Changes {
    changes: stream::SelectAll<WatchStream<State>>,
    handles: Vec<HealthHandle>,
    told: Option<HealthCheckResponse>,
}

impl Stream for Changes {
    type Item = HealthCheckResponse;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<HealthCheckResponse>> {
        loop {
            match self.changes.poll_next_unpin(cx) {
                Poll::Ready(Some(_)) => {
                    let verdict = judge(&self.handles);
                    if self.told != Some(verdict) {
                        self.told = Some(verdict);
                        return Poll::Ready(Some(verdict));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: name.into() })
    }

    #[tokio::test]
    async fn one_part_that_stops_stops_the_whole_but_not_its_neighbour() {
        let (one, two) = (HealthHandle::new(), HealthHandle::new());
        let health = Health::new(vec![("one", one.clone()), ("two", two)], HealthHandle::new());
        one.set_serving(false);
        one.set_detail("disk", "the ledger's disk is full");
        let status = async |name: &str| health.check(ask(name)).await.unwrap().into_inner().status();
        assert_eq!(status("").await, ServingStatus::NotServing);
        assert_eq!(status("one").await, ServingStatus::NotServing);
        assert_eq!(status("two").await, ServingStatus::Serving);
        assert_eq!(health.check(ask("three")).await.unwrap_err().code(), tonic::Code::NotFound);
        let answer = health.check(ask("")).await.unwrap();
        assert_eq!(answer.metadata().get(HEALTH_DETAIL).unwrap(), "disk: the ledger's disk is full");
    }

    #[tokio::test]
    async fn a_watch_tells_changes_of_the_verdict_only() {
        let one = HealthHandle::new();
        let health = Health::new(vec![("one", one.clone())], HealthHandle::new());
        let mut watch = health.watch(ask("one")).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        one.set_detail("semantic", "off: no model");
        one.set_serving(false);
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    }

    #[test]
    fn details_are_bounded_and_can_be_withdrawn() {
        let health = HealthHandle::new();
        health.set_detail("semantic", "off");
        health.set_detail("semantic", "off: no model");
        assert_eq!(health.details(), ["semantic: off: no model"]);
        health.clear_detail("semantic");
        assert!(health.details().is_empty());
    }
}
