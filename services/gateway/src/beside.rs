//! A model that is asked in the background although the cache has answered: the answer is stale, or the hit is to be checked.
//!
//! It is a request of its own, of the same caller: admitted, inspected, screened, settled. Only its answer goes to the cache alone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use signalbox_proto::cache::v1::Lease;
use tokio::time::Instant;

use crate::{
    Mesh,
    outlet::Outlet,
    pipeline::{self, Call},
    trail::Trail,
};

/// The right to fill an entry, given beside a hit.
#[derive(Clone)]
pub(crate) struct Beside {
    pub(crate) lease: Lease,
    /// Under which policy of the guard: what was redacted under another one does not belong into that entry.
    pub(crate) policy_digest: Bytes,
}

/// Asks the model what `call` asked. Its type is written out because the pipeline both begins it and is run by it.
pub(crate) fn ask(mesh: &Arc<Mesh>, call: &Call, beside: Beside) -> BoxFuture<'static, ()> {
    let (mesh, mut call) = (Arc::clone(mesh), Call::clone(call));
    Box::pin(async move {
        let now = Instant::now();
        call.context.set_request_id(mesh.new_request_id());
        call.arrived = now;
        call.started_unix_ms = mesh.clock.unix_ms();
        call.deadline = now + Duration::from_millis(mesh.config.load().deadline_ms);
        call.context.set_deadline(call.deadline);
        // The client's own names are for the request that it sent.
        call.request.client_request_id = None;
        call.request.idempotency_key = None;
        call.beside = Some(beside);
        // A span beside the one of the request that was answered.
        call.trail = Trail::begin(&mut call.context, &mesh.random, now);
        let deadline = call.deadline;
        let mut outlet = Outlet::whole(now);
        let answered =
            tokio::time::timeout_at(deadline, pipeline::answer(&mesh, Arc::new(call), &mut outlet)).await;
        if let Ok(Err(status)) = answered {
            tracing::debug!(code = ?status.code(), "nothing came of asking the model beside a hit");
        }
    })
}
