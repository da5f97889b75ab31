//! `Embed`: vectors from a plan.

use std::sync::Arc;

use signalbox_mesh::TraceContext;
use signalbox_proto::common::v1::{Attempt, AttemptOutcome, Usage, UsageSource};
use signalbox_proto::executor::v1::{EmbedRequest, EmbedResponse, EmbeddedText};
use signalbox_wire::openai::embeddings::Vectors;
use signalbox_wire::{ErrorClass, RequestError};
use tokio::time::Instant;
use tonic::Status;

use crate::account::{Record, Tally, millis};
use crate::answer::NoAnswer;
use crate::core::Core;
use crate::course::{Course, Step};
use crate::failure::{self, Failure};
use crate::trail::Trail;
use crate::watch::Watch;

/// Why one attempt gave no vectors.
enum Missed {
    Failed(Failure),
    Request(RequestError),
}

/// Asks for vectors until a candidate gives them. Cancel safe: dropping the future ends the exchange.
pub(crate) async fn embed(
    core: &Core,
    request: &EmbedRequest,
    mut course: Course,
    deadline: Instant,
    trace: Option<&TraceContext>,
) -> Result<EmbedResponse, Status> {
    let mut tally = Tally::default();
    let mut attempts = Vec::new();
    let mut step = course.first();
    while let Some(next) = step.take() {
        if !next.wait.is_zero() {
            tokio::time::sleep(next.wait).await;
        }
        if Instant::now() >= deadline {
            return Err(failure::late(course.summary()));
        }
        let mut record = record(core, &next, attempts.len(), trace);
        match attempt(core, request, &mut record, deadline).await {
            Ok(vectors) => {
                if tally.attempts > 0 {
                    core.budget.paid_off();
                }
                let usage = vectors.usage.unwrap_or_else(|| counted(&record, &request.inputs));
                close(&mut tally, &mut attempts, record.end(AttemptOutcome::Ok, usage, String::new()), true);
                let embeddings = vectors.vectors.into_iter().map(|values| EmbeddedText { values }).collect();
                let model = next.target.id.clone();
                return Ok(EmbedResponse { embeddings, attempts, model, usage: Some(tally.usage) });
            }
            Err(Missed::Request(error)) => {
                return Err(signalbox_mesh::error::invalid(&error.field, error.message));
            }
            Err(Missed::Failed(failed)) => {
                let usage = Usage { source: UsageSource::Partial.into(), ..Usage::default() };
                let ended = record.end(failed.outcome, usage, failed.error.message.clone());
                close(&mut tally, &mut attempts, ended, failed.sent);
                step = Some(course.after(&next.target, &failed)?);
            }
        }
    }
    Err(failure::late(course.summary()))
}

fn record(core: &Core, step: &Step, before: usize, trace: Option<&TraceContext>) -> Record {
    Record {
        target: Arc::clone(&step.target),
        number: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1),
        kind: step.kind,
        embeds: true,
        began: Instant::now(),
        unix_ms: core.clock.unix_ms(),
        first_output: None,
        seen: Arc::default(),
        trail: Trail::of(trace, &core.random),
    }
}

fn close(tally: &mut Tally, attempts: &mut Vec<Attempt>, attempt: Attempt, made: bool) {
    tally.add(&attempt, made);
    attempts.push(attempt);
}

/// Counts the tokens that the provider did not report.
fn counted(record: &Record, inputs: &[String]) -> Usage {
    let input_tokens = inputs.iter().map(|text| record.target.tokens(text)).sum();
    Usage { input_tokens, source: UsageSource::Estimated.into(), ..Usage::default() }
}

async fn attempt(
    core: &Core,
    request: &EmbedRequest,
    record: &mut Record,
    deadline: Instant,
) -> Result<Vectors, Missed> {
    let target = Arc::clone(&record.target);
    let (mut permit, _held) =
        core.admit(&target, record.began).await.map_err(|failed| Missed::Failed(*failed))?;
    let encoded = target
        .dialect
        .embed(&request.inputs, request.dimensions, request.extra.as_ref(), target.wire())
        .map_err(Missed::Request)?;
    let mut sent = target
        .request(encoded, core.now())
        .map_err(|words| Missed::Request(RequestError::new("plan", words)))?;
    if let Some(trace) = record.trail.headers() {
        trace.write(sent.headers_mut());
    }
    let patience = core.first_output(&target, &Default::default());
    let ask = core.ask(&target, (record.began + patience).min(deadline), &record.seen);
    let mut watch = Watch::default();
    let answered = async {
        let response = ask.send(sent, &mut watch).await?;
        let body = ask.whole(response, &mut Watch::default()).await?;
        let vectors = target.dialect.vectors(&body, request.inputs.len());
        vectors.map_err(|error| {
            NoAnswer::from(Failure::new(error.without(target.credential.secret())).accepted())
        })
    }
    .await;
    let failed = match answered {
        Ok(vectors) => {
            permit.succeeded();
            let took = record.began.elapsed();
            target.memory.stats.first_output(took);
            record.first_output = Some(took);
            return Ok(vectors);
        }
        Err(NoAnswer::Failed(failed)) => *failed,
        Err(NoAnswer::Elapsed) => Failure::seen(
            ErrorClass::Timeout,
            &format!("no vectors within {} ms", millis(record.began.elapsed())),
        ),
    };
    permit.failed(failed.error.class, failed.error.retry_after, Instant::now());
    target.memory.stats.failed();
    Err(Missed::Failed(failed))
}
