//! Filling the cache while the answer flows, beside the client's path.

use signalbox_mesh::{RequestContext, TaskSet};
use signalbox_proto::{
    cache::v1::{CachedEvents, FillAbort, FillCommit, FillOpen, FillRequest, Lease, fill_request::Kind},
    common::v1::GenerateEvent,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::parts::Parts;

/// Messages that may wait for a slow cache; beyond it the fill is given up, because the client must not wait for it.
const WAITING: usize = 256;

/// A fill under way. Dropped without [`Fill::commit`], the cache gets its lease back and keeps nothing.
pub(crate) struct Fill {
    to: Option<mpsc::Sender<FillRequest>>,
    entry_id: String,
}

impl Fill {
    /// Begins to fill under a lease. Without room for another task there is no fill.
    pub(crate) fn begin(parts: &Parts, tasks: &TaskSet, context: &RequestContext, lease: Lease) -> Self {
        let (to, messages) = mpsc::channel(WAITING);
        let entry_id = lease.entry_id;
        let open = FillRequest { kind: Some(Kind::Open(FillOpen { lease_id: lease.id, tags: Vec::new() })) };
        let request = context.request(tokio_stream::once(open).chain(ReceiverStream::new(messages)));
        let mut cache = parts.cache();
        let filling = async move {
            if let Err(status) = cache.fill(request).await {
                tracing::debug!(code = ?status.code(), "a fill failed");
            }
        };
        Self { to: tasks.spawn(filling).then_some(to), entry_id }
    }

    /// The id that the entry will have.
    pub(crate) fn entry_id(&self) -> &str {
        &self.entry_id
    }

    /// Hands events on in their stored form.
    pub(crate) fn push(&mut self, events: Vec<GenerateEvent>) {
        self.send(Kind::Events(CachedEvents { events }));
    }

    /// Completes the entry.
    pub(crate) fn commit(mut self, cost_nanousd: i64) {
        self.send(Kind::Commit(FillCommit { cost_nanousd }));
    }

    /// Gives the lease back.
    pub(crate) fn abort(mut self, reason: &str) {
        self.send(Kind::Abort(FillAbort { reason: reason.into() }));
    }

    fn send(&mut self, kind: Kind) {
        if let Some(to) = &self.to
            && to.try_send(FillRequest { kind: Some(kind) }).is_err()
        {
            // The stream ends without a commit, which is an abort.
            self.to = None;
        }
    }
}
