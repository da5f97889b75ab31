//! A leader whose own client leaves: it runs on for those who follow it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use signalbox_mesh::RequestContext;
use signalbox_proto::cache::v1::FollowCountRequest;

use crate::Mesh;

/// Tells the pipeline's side and the client's side of a request of each other.
#[derive(Default)]
pub(crate) struct Leading(Mutex<State>);

#[derive(Default)]
struct State {
    /// The context and the lease of the fill that runs.
    lease: Option<(RequestContext, String)>,
    /// The client left; what it would get goes nowhere.
    alone: bool,
}

impl Leading {
    /// Notes that the request fills an entry.
    pub(crate) fn leads(&self, context: &RequestContext, lease_id: &str) {
        self.0.lock().lease = Some((context.clone(), lease_id.to_owned()));
    }

    /// Whether the client left and others follow.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.lock().alone
    }

    fn leave(&self) -> Option<(RequestContext, String)> {
        let mut state = self.0.lock();
        let lease = state.lease.take();
        state.alone = lease.is_some();
        lease
    }
}

/// A running request. Dropped before its end it is cancelled, unless others follow it.
pub(crate) struct Running<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    mesh: Arc<Mesh>,
    leading: Arc<Leading>,
}

impl<T: Send + 'static> Running<T> {
    pub(crate) fn new(
        mesh: Arc<Mesh>,
        leading: Arc<Leading>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self { work: Some(Box::pin(work)), mesh, leading }
    }
}

impl<T: Send + 'static> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let ended = work.as_mut().poll(cx);
        if ended.is_ready() {
            self.work = None;
        }
        ended
    }
}

impl<T: Send + 'static> Drop for Running<T> {
    fn drop(&mut self) {
        let (Some(work), Some((context, lease_id))) = (self.work.take(), self.leading.leave()) else {
            return;
        };
        let mut cache = self.mesh.parts.cache();
        let limit = std::time::Duration::from_millis(self.mesh.config.load().steps.lookup_ms);
        let runs_on = async move {
            let request = context.request(FollowCountRequest { lease_id });
            let asked = tokio::time::timeout(limit, cache.follow_count(request)).await;
            if matches!(asked, Ok(Ok(count)) if count.get_ref().followers > 0) {
                // To its own deadline, which is part of the work.
                drop(work.await);
            }
        };
        // Without room for another task it is cancelled, and a follower goes on.
        let _has_room = self.mesh.tasks.spawn(runs_on);
    }
}
