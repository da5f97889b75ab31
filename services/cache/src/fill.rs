//! One fill: from its opening to what became of it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::Poll,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use signalbox_proto::cache::v1::{FillCommit, FillOpen, FillRequest, FillResponse, fill_request::Kind};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::{
    cache::Cache, entry::EntryId, error::Failure, lease::Held, policy, recording::Flaw, tenant::Tenant,
};

/// Reasons with which a fill may be given up; another one counts as `failed`.
const REASONS: [&str; 5] = ["failed", "refused", "finding", "incomplete", "too_large"];

const EXPIRED: Failure = Failure::NotFound("the lease is unknown or has expired; look up again");

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
    let ttl = cache.leases.ttl();
    let mut lapse = pin!(tokio::time::sleep(ttl));
    let mut held = match next(ttl, lapse.as_mut(), messages).await? {
        Some(Kind::Open(open)) => claim(cache, tenant, open)?,
        _ => return Err(Failure::invalid("kind", "a fill begins with `open`").into()),
    };
    loop {
        let message = next(ttl, lapse.as_mut(), messages).await?;
        if !held.renew() {
            return Err(EXPIRED.into());
        }
        match message {
            Some(Kind::Events(events)) => {
                for event in events.events {
                    if let Err(flaw) = held.flight.push(event) {
                        return Ok(refused(flaw.as_str()));
                    }
                }
            }
            Some(Kind::Commit(commit)) => return Ok(keep(cache, &mut held, commit).await),
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

fn claim(cache: &Cache, tenant: &Tenant, open: FillOpen) -> Result<Held, Failure> {
    let FillOpen { lease_id, tags } = open;
    let given = policy::merged_tags("open.tags", tags.iter(), tags.len())?;
    let mut held = cache.leases.claim(&tenant.name, &lease_id).ok_or(EXPIRED)?;
    if let Some(pending) = held.pending() {
        for tag in given {
            if !pending.tags.contains(&tag) {
                pending.tags.push(tag);
            }
        }
    }
    Ok(held)
}

async fn keep(cache: &Cache, held: &mut Held, commit: FillCommit) -> FillResponse {
    let cost_nanousd = commit.cost_nanousd.max(0);
    let answer = match held.flight.complete(cost_nanousd) {
        Ok(answer) => answer,
        Err(flaw) => return refused(flaw.as_str()),
    };
    match cache.keep(held, answer, cost_nanousd).await {
        Ok(id) => stored(id),
        Err(flaw) => refused(flaw.as_str()),
    }
}

fn stored(id: EntryId) -> FillResponse {
    FillResponse { stored: true, entry_id: id.to_string(), reason: String::new() }
}

fn refused(reason: &str) -> FillResponse {
    FillResponse { stored: false, entry_id: String::new(), reason: reason.into() }
}
