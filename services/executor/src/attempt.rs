//! One attempt at one target, up to its first piece of output.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use signalbox_proto::common::v1::{ChatRequest, FinishReason, TimeLimits};
use signalbox_wire::{ErrorClass, ProviderError};
use tokio::time::Instant;
use tonic::Status;

use crate::account::Record;
use crate::answer::{Answer, Head, Next, NoAnswer};
use crate::breaker::Permit;
use crate::core::{Core, Held};
use crate::failure::Failure;
use crate::target::Target;
use crate::watch::Watch;

/// Is what an attempt asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) chat: &'a ChatRequest,
    pub(crate) limits: &'a TimeLimits,
    pub(crate) deadline: Instant,
    /// Whether an answer that a content filter emptied counts as a failure.
    pub(crate) around_filter: bool,
}

/// Is an attempt that has spoken.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) answer: Answer,
    /// The first piece. `None`: the answer is complete, and empty.
    pub(crate) first: Option<signalbox_proto::common::v1::Delta>,
    pub(crate) permit: Permit,
    pub(crate) held: Held,
}

/// Is why an attempt has nothing to say.
#[derive(Debug)]
pub(crate) enum Missed {
    /// The target was not asked.
    Unasked(Box<Failure>),
    Failed(Permit, Box<Failure>),
    /// Nothing came within the time given. `accepted`: the provider had begun to answer.
    Silent {
        permit: Permit,
        patience: Duration,
        accepted: bool,
    },
    /// The request cannot be said in the target's dialect.
    Unsayable(Status),
}

/// Asks a target and waits for its first output. Fills `record` as it goes.
pub(crate) async fn attempt(
    core: &Core,
    wish: Wish<'_>,
    record: &mut Record,
    watch: &mut Watch,
) -> Result<Spoken, Missed> {
    let target = Arc::clone(&record.target);
    let (permit, held) = core.admit(&target, record.began).map_err(Missed::Unasked)?;
    let request = request(&target, wish.chat).map_err(Missed::Unsayable)?;
    let patience = core.first_output(&target, wish.limits);
    let until = (record.began + patience).min(wish.deadline);
    let mut head = Head::default();
    let opened = core.ask(&target, until).answer(request, watch, &mut head).await;
    target.memory.stats.headroom(&head.headers);
    record.http_status = head.status;
    record.request_id = head.request_id;
    let mut answer = match opened {
        Ok(answer) => answer,
        Err(NoAnswer::Failed(failed)) => return Err(Missed::Failed(permit, failed)),
        Err(NoAnswer::Elapsed) => {
            let accepted = head.status.is_some_and(|s| (200..300).contains(&s));
            return Err(Missed::Silent { permit, patience, accepted });
        }
    };
    let first = answer.next(watch, until).await;
    let complete = answer.summary().finish_reason;
    let failed = match first {
        Next::Delta(delta) => return Ok(Spoken { answer, first: Some(delta), permit, held }),
        Next::Error(error) => Failure::new(error.without(target.credential.secret())),
        // An empty answer is one, unless the filter emptied it and the request wants it elsewhere.
        _ if wish.around_filter && complete == Some(FinishReason::ContentFilter) => {
            Failure::seen(ErrorClass::ContentFilter, "the content filter left nothing of the answer")
        }
        _ if complete.is_some() => return Ok(Spoken { answer, first: None, permit, held }),
        Next::Elapsed => return Err(Missed::Silent { permit, patience, accepted: true }),
        Next::Cut(error) => Failure::new(error),
        Next::End => Failure::new(ended_early(&answer)),
    };
    Err(Missed::Failed(permit, Box::new(failed.accepted())))
}

fn request(target: &Target, chat: &ChatRequest) -> Result<Request<Full<Bytes>>, Status> {
    let encoded = target
        .dialect
        .chat(chat, target.wire())
        .map_err(|e| signalbox_mesh::error::invalid(&format!("chat.{}", e.field), e.message))?;
    target.request(encoded).map_err(|words| signalbox_mesh::error::invalid("plan", words))
}

/// Says what came instead of an answer.
fn ended_early(answer: &Answer) -> ProviderError {
    let stray = answer.stray();
    if stray.is_empty() {
        return ProviderError::new(ErrorClass::Protocol, "an empty stream, without a finish reason");
    }
    let mut error = ProviderError::from_success(stray);
    error.class = ErrorClass::Protocol;
    error
}
