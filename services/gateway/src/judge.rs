//! The questions that guard and cache have for a judge model: asked here, because services do not call each other.

use std::time::Duration;

use signalbox_mesh::RequestContext;
use signalbox_proto::{
    common::v1::{AttemptKind, ChatRequest, Delta, delta::Content, generate_event::Kind, part},
    executor::v1::{ExecuteRequest, PlannedTarget, execute_response},
    guard::v1::{JudgeAnswer, JudgeQuestion},
};
use tonic::Status;

use crate::{
    Mesh,
    inspect::{self, Inspected},
    pipeline::{Call, Entry, Log, micros},
    trail::Step,
};

/// Bytes of an answer that are read.
const ANSWER: usize = 1_024;

/// Asks the judge and hands its answer to the guard, which decides. A judge that cannot be asked, or paid for, has no opinion; what
/// that means is the policy's.
///
/// # Errors
/// As [`inspect::inspect`].
pub(crate) async fn decide(
    mesh: &Mesh,
    context: &RequestContext,
    call: &Call,
    entry: &mut Entry,
    inspected: Box<Inspected>,
    log: &mut Log,
) -> Result<Box<Inspected>, Status> {
    let Some(question) = inspected.question else { return Ok(inspected) };
    let begun = tokio::time::Instant::now();
    let JudgeQuestion { model, chat, token } = *question;
    let text = match chat {
        Some(chat) => ask(mesh, context, entry, &model, chat).await,
        None => String::new(),
    };
    let answer = JudgeAnswer { token, text };
    let mut decided = inspect::inspect_with(mesh, call, &entry.principal, Some(answer)).await?;
    // One question is asked, not a series.
    decided.question = None;
    log.inspect_us += micros(begun);
    log.notices.retain(|notice| notice.part != "guard");
    decided.tell(log);
    Ok(decided)
}

/// The judge's words; empty where there are none: it could not be asked, or paid for.
pub(crate) async fn ask(
    mesh: &Mesh,
    context: &RequestContext,
    entry: &mut Entry,
    model: &str,
    chat: ChatRequest,
) -> String {
    let Some(targets) = mesh.configured_targets(model, context.tenant()) else { return String::new() };
    // Input is no dearer than output, and a token has a byte at least; most have four.
    let output = chat.sampling.as_ref().and_then(|sampling| sampling.max_output_tokens).unwrap_or(16);
    let tokens = u64::from(output) + bytes_of(&chat).div_ceil(3);
    let paid = match &mut entry.grant {
        Some(grant) => grant.covers_tokens("judge", tokens).await,
        None => false,
    };
    if !paid {
        return String::new();
    }
    let progress = entry.bill.progress();
    progress.lock().begin(targets.first().cloned().unwrap_or_default(), mesh.clock.unix_ms());
    let request = ExecuteRequest {
        chat: Some(chat),
        plan: targets.into_iter().map(|target_id| PlannedTarget { target_id, prefill: false }).collect(),
        granted_output_tokens: u64::from(output),
        ..ExecuteRequest::default()
    };
    let request = entry.bill.trail.within(Step::Execute, context).request(tokio_stream::once(request));
    let mut text = String::new();
    let asked = async {
        let mut stream = mesh.parts.execute(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            match message.kind {
                Some(execute_response::Kind::Event(event)) => {
                    progress.lock().event(&event);
                    if let Some(Kind::Delta(Delta { content: Some(Content::Text(piece)), .. })) = event.kind
                        && text.len() < ANSWER
                    {
                        text.push_str(&piece);
                    }
                }
                Some(execute_response::Kind::Attempt(mut attempt)) => {
                    attempt.set_kind(AttemptKind::Judge);
                    progress.lock().attempt(*attempt);
                }
                None => {}
            }
        }
        Ok::<_, Status>(())
    };
    let limit = Duration::from_millis(mesh.config.load().steps.judge_ms);
    let ended = tokio::time::timeout(limit, Box::pin(asked)).await;
    let mut progress = progress.lock();
    match ended {
        Ok(Ok(())) => progress.end(),
        Ok(Err(status)) => {
            tracing::warn!(code = ?status.code(), "the judge could not be asked");
            progress.fail(status);
            // It is the judge that failed, not the request.
            drop(progress.take_error());
            text.clear();
        }
        Err(_) => {
            tracing::warn!("the judge did not answer in time");
            text.clear();
        }
    }
    progress.cut(mesh.clock.unix_ms(), AttemptKind::Judge);
    progress.set_aside();
    text
}

fn bytes_of(chat: &ChatRequest) -> u64 {
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let text = parts.filter_map(|part| match &part.kind {
        Some(part::Kind::Text(text)) => Some(text.text.len() as u64),
        _ => None,
    });
    text.sum()
}
