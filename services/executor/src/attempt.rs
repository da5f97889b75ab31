//! One attempt at one target, up to its first piece of output.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use signalbox_mesh::TraceContext;
use signalbox_proto::common::v1::{ChatRequest, Delta, FinishReason};
use signalbox_wire::{ErrorClass, ProviderError};
use tokio::time::Instant;
use tonic::Status;

use crate::account::Seen;
use crate::answer::{Answer, Next, NoAnswer, Patience};
use crate::breaker::Permit;
use crate::core::{Core, Held};
use crate::failure::Failure;
use crate::target::Target;
use crate::watch::Watch;

/// Is what an attempt asks for, and of whom.
pub(crate) struct Wish {
    pub(crate) core: Arc<Core>,
    pub(crate) target: Arc<Target>,
    pub(crate) chat: Arc<ChatRequest>,
    /// The request's end; how long to wait for the first piece is decided outside.
    pub(crate) deadline: Instant,
    /// Whether an answer that a content filter emptied counts as a failure.
    pub(crate) around_filter: bool,
    /// To be filled in as soon as the provider's headers come.
    pub(crate) seen: Arc<OnceLock<Seen>>,
    /// What the provider is told of the request's trace.
    pub(crate) trace: Option<TraceContext>,
}

/// Is an attempt that has spoken.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) answer: Answer,
    /// The first piece. `None`: the answer is complete, and empty.
    pub(crate) first: Option<Delta>,
    pub(crate) permit: Permit,
    pub(crate) held: Held,
    pub(crate) watch: Watch,
}

/// Is why an attempt has nothing to say.
#[derive(Debug)]
pub(crate) enum Missed {
    /// The target was not asked.
    Unasked(Box<Failure>),
    Failed(Permit, Box<Failure>),
    /// The request's time is up.
    Late,
    /// The request cannot be said in the target's dialect.
    Unsayable(Status),
}

/// Asks a target and waits for its first output. Dropping the future ends the exchange.
pub(crate) async fn attempt(wish: Wish) -> Result<Spoken, Missed> {
    let Wish { core, target, chat, deadline, around_filter, seen, trace } = wish;
    let (permit, held) = core.admit(&target, Instant::now()).await.map_err(Missed::Unasked)?;
    let mut request = request(&target, &chat, core.now()).map_err(Missed::Unsayable)?;
    if let Some(trace) = &trace {
        trace.write(request.headers_mut());
    }
    drop(chat);
    let mut watch = Watch::default();
    let opened = core.ask(&target, deadline, &seen).answer(request, &mut watch).await;
    let mut answer = match opened {
        Ok(answer) => answer,
        Err(NoAnswer::Failed(failed)) => return Err(Missed::Failed(permit, failed)),
        Err(NoAnswer::Elapsed) => return Err(Missed::Late),
    };
    let first = answer.next(&mut watch, Patience::until(deadline)).await;
    let complete = answer.summary().finish_reason;
    let spoken = |answer, first| Spoken { answer, first, permit, held, watch };
    let failed = match first {
        Next::Delta(delta) => return Ok(spoken(answer, Some(delta))),
        Next::Error(error) => Failure::new(error.without(target.credential.secret())),
        // An empty answer is one, unless the filter emptied it and the request wants it elsewhere.
        _ if around_filter && complete == Some(FinishReason::ContentFilter) => {
            Failure::seen(ErrorClass::ContentFilter, "the content filter left nothing of the answer")
        }
        _ if complete.is_some() => return Ok(spoken(answer, None)),
        Next::Elapsed => return Err(Missed::Late),
        Next::Cut(error) => Failure::new(error),
        Next::End => Failure::new(ended_early(&answer)),
    };
    Err(Missed::Failed(spoken(answer, None).permit, Box::new(failed.accepted())))
}

fn request(target: &Target, chat: &ChatRequest, now: SystemTime) -> Result<Request<Full<Bytes>>, Status> {
    let encoded = target
        .dialect
        .chat(chat, target.wire())
        .map_err(|e| signalbox_mesh::error::invalid(&format!("chat.{}", e.field), e.message))?;
    target.request(encoded, now).map_err(|words| signalbox_mesh::error::invalid("plan", words))
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
