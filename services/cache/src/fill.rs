//! One fill: from its opening to what became of it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use signalbox_proto::cache::v1::{FillCommit, FillOpen, FillRequest, FillResponse, fill_request::Kind};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::{
    backend::{Backend, Claimed, Stop},
    cache::Cache,
    entry::EntryId,
    error::Failure,
    policy,
    recording::Flaw,
    tenant::Tenant,
};

/// Reasons with which a fill may be given up; another one counts as `failed`.
pub(crate) const REASONS: [&str; 5] = ["failed", "refused", "finding", "incomplete", "too_large"];

const EXPIRED: Failure = Failure::NotFound("the lease is unknown or has expired; look up again");

/// A lease while it is filled. Dropping it gives it back.
pub(crate) struct Held {
    backend: Arc<dyn Backend>,
    /// There until it is dropped.
    pub(crate) claimed: Option<Claimed>,
    /// Why it is given back, for whoever goes on.
    reason: &'static str,
}

impl Held {
    pub(crate) fn new(backend: Arc<dyn Backend>, claimed: Claimed) -> Self {
        Self { backend, claimed: Some(claimed), reason: "failed" }
    }

    /// Gives the lease back, unless the answer was kept.
    async fn end(mut self) {
        if let Some(claimed) = &self.claimed {
            // Its caller may leave meanwhile: then it is dropped, and given back by that.
            self.backend.give_back(claimed, self.reason).await;
            self.claimed = None;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            self.backend.drop_lease(claimed, self.reason);
        }
    }
}

/// Runs a fill. Dropping it gives the lease back and keeps nothing.
pub(crate) async fn fill(
    cache: &Cache,
    tenant: &Tenant,
    mut messages: impl Stream<Item = Result<FillRequest, Status>> + Unpin,
) -> Result<FillResponse, Status> {
    let outcome = run(cache, tenant, &mut messages).await;
    let counter = if outcome.as_ref().is_ok_and(|outcome| outcome.stored) {
        &tenant.figures.stored
    } else {
        &tenant.figures.refused
    };
    counter.fetch_add(1, Ordering::Relaxed);
    outcome
}

async fn run(
    cache: &Cache,
    tenant: &Tenant,
    messages: &mut (impl Stream<Item = Result<FillRequest, Status>> + Unpin),
) -> Result<FillResponse, Status> {
    let ttl = cache.lease_ttl();
    let mut lapse = pin!(tokio::time::sleep(ttl));
    let mut held = match next(ttl, lapse.as_mut(), messages).await? {
        Some(Kind::Open(open)) => match claim(cache, tenant, open).await? {
            Ok(held) => held,
            Err(stop) => return stopped(stop),
        },
        _ => return Err(Failure::invalid("kind", "a fill begins with `open`").into()),
    };
    let outcome = go_on(cache, &mut held, lapse.as_mut(), messages).await;
    held.end().await;
    outcome
}

async fn go_on(
    cache: &Cache,
    held: &mut Held,
    mut lapse: Pin<&mut Sleep>,
    messages: &mut (impl Stream<Item = Result<FillRequest, Status>> + Unpin),
) -> Result<FillResponse, Status> {
    loop {
        match next(cache.lease_ttl(), lapse.as_mut(), messages).await? {
            Some(Kind::Events(events)) => {
                let Some(claimed) = &held.claimed else { return Err(EXPIRED.into()) };
                if let Err(stop) = cache.backend.write(claimed, events.events).await {
                    return stopped(stop);
                }
            }
            Some(Kind::Commit(commit)) => {
                return match keep(cache, held, commit).await {
                    Ok(id) => Ok(stored(id)),
                    Err(stop) => stopped(stop),
                };
            }
            Some(Kind::Abort(abort)) => {
                let known = REASONS.into_iter().find(|reason| *reason == abort.reason);
                held.reason = known.unwrap_or("failed");
                return Ok(refused(held.reason));
            }
            Some(Kind::Open(_)) => return Err(Failure::invalid("kind", "`open` comes once and first").into()),
            // An end without `commit` is an abort.
            None => {
                held.reason = Flaw::Incomplete.as_str();
                return Ok(refused(held.reason));
            }
        }
    }
}

fn stopped(stop: Stop) -> Result<FillResponse, Status> {
    match stop {
        Stop::Expired => Err(EXPIRED.into()),
        Stop::Away => Ok(refused("unavailable")),
        Stop::Flawed(flaw) => Ok(refused(flaw.as_str())),
    }
}

/// Waits for the next message, but no longer than a lease lasts. The timer is moved only when it fires: a message costs none.
async fn next(
    ttl: Duration,
    mut lapse: Pin<&mut Sleep>,
    messages: &mut (impl Stream<Item = Result<FillRequest, Status>> + Unpin),
) -> Result<Option<Kind>, Status> {
    let mut until = None;
    let message = poll_fn(|cx| {
        if let Poll::Ready(message) = messages.poll_next_unpin(cx) {
            return Poll::Ready(Ok(message));
        }
        let until = *until.get_or_insert_with(|| Instant::now() + ttl);
        while lapse.as_mut().poll(cx).is_ready() {
            if lapse.deadline() >= until {
                return Poll::Ready(Err(EXPIRED));
            }
            // Set when an earlier message was awaited.
            lapse.as_mut().reset(until);
        }
        Poll::Pending
    });
    match message.await? {
        None => Ok(None),
        Some(message) => match message?.kind {
            Some(kind) => Ok(Some(kind)),
            None => Err(Failure::invalid("kind", "say what the message is").into()),
        },
    }
}

async fn claim(cache: &Cache, tenant: &Tenant, open: FillOpen) -> Result<Result<Held, Stop>, Failure> {
    let FillOpen { lease_id, tags } = open;
    let given = policy::merged_tags("open.tags", tags.iter(), tags.len())?;
    let mut held = match cache.claim(tenant, &lease_id).await {
        Ok(held) => held,
        Err(stop) => return Ok(Err(stop)),
    };
    if let Some(claimed) = &mut held.claimed {
        for tag in given {
            if !claimed.pending.tags.contains(&tag) {
                claimed.pending.tags.push(tag);
            }
        }
    }
    Ok(Ok(held))
}

async fn keep(cache: &Cache, held: &mut Held, commit: FillCommit) -> Result<EntryId, Stop> {
    let cost_nanousd = commit.cost_nanousd.max(0);
    let claimed = held.claimed.as_ref().ok_or(Stop::Expired)?;
    let answer = claimed.flight.complete(cost_nanousd).map_err(Stop::Flawed)?;
    cache.keep(held, answer, cost_nanousd).await
}

fn stored(id: EntryId) -> FillResponse {
    FillResponse { stored: true, entry_id: id.to_string(), reason: String::new() }
}

fn refused(reason: &str) -> FillResponse {
    FillResponse { stored: false, entry_id: String::new(), reason: reason.into() }
}
