//! The messages of a follow: what the leader writes, as it comes, to its end or to a handover.

use std::sync::Arc;

use futures_util::stream;
use signalbox_proto::{
    cache::v1::{CachedEvents, Handover, LookupResponse, LookupResult, lookup_response::Kind},
    common::v1::{CacheInfo, CacheState, GenerateEvent, Started, generate_event},
};
use tokio::time::Instant;

use crate::{
    cache::{Cache, Granted},
    flight::{Follower, Next},
    service::Messages,
};

struct Following {
    cache: Arc<Cache>,
    /// Absent: the last message was given.
    follower: Option<Follower>,
    result: Option<Kind>,
    /// Goes before the first events, when the model is known.
    started: Option<Started>,
    /// The lease that it took over, and why; told when all that was delivered is read.
    taken: Option<(Granted, &'static str)>,
}

/// Follows to the end. Dropping the stream leaves the others alone.
pub(crate) fn stream(cache: Arc<Cache>, follower: Follower, request_id: String) -> Messages {
    let about = CacheInfo {
        state: CacheState::Follow.into(),
        entry_id: Some(follower.flight.entry_id.to_string()),
        ..CacheInfo::default()
    };
    let started = Started { request_id, cache: Some(about.clone()), ..Started::default() };
    let result = Kind::Result(LookupResult { cache: Some(about), ..LookupResult::default() });
    let following = Following {
        cache,
        follower: Some(follower),
        result: Some(result),
        started: Some(started),
        taken: None,
    };
    Box::pin(stream::unfold(following, |mut following| async move {
        let kind = following.next().await?;
        Some((Ok(LookupResponse { kind: Some(kind) }), following))
    }))
}

impl Following {
    async fn next(&mut self) -> Option<Kind> {
        if let Some(result) = self.result.take() {
            return Some(result);
        }
        loop {
            let follower = self.follower.as_mut()?;
            let (lease, reason) = match follower.next() {
                Next::Events(mut events) => {
                    if let Some(started) = self.started.take() {
                        let started = Started { model: follower.flight.model(), ..started };
                        let kind = Some(generate_event::Kind::Started(started.into()));
                        events.insert(0, GenerateEvent { sequence: 1, kind });
                    }
                    return Some(Kind::Events(CachedEvents { events, ..CachedEvents::default() }));
                }
                Next::End => {
                    self.follower = None;
                    return None;
                }
                Next::Wait(_) | Next::Orphaned(_) if let Some((lease, reason)) = self.taken.take() => {
                    (Some(lease), reason)
                }
                Next::Wait(expires) => {
                    follower.wait(expires).await;
                    continue;
                }
                Next::Orphaned(reason) => {
                    match self.cache.take_over(&follower.flight).await {
                        (Some(lease), _) => self.taken = Some((lease, reason)),
                        // The flight says what became of it.
                        (None, true) => {}
                        // Another one goes on, or the leader is about to be given up.
                        (None, false) => follower.wait(Instant::now() + self.cache.lease_ttl()).await,
                    }
                    continue;
                }
                Next::Lost(reason) => (None, reason),
            };
            let handover = Handover {
                lease: lease.map(Into::into),
                delivered_bytes: follower.bytes,
                reason: reason.into(),
            };
            self.follower = None;
            return Some(Kind::Handover(handover));
        }
    }
}
