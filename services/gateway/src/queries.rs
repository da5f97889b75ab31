//! The smaller calls of the public door: each asks one or two parts.

use signalbox_mesh::error;
use signalbox_proto::{
    cache::v1::FeedbackRequest as CacheFeedback,
    common::v1::{CacheState, ChatRequest, ErrorReason, Message, Part, Role, Sampling, Text, part},
    executor::v1::{EmbedRequest as ExecutorEmbed, PlannedTarget},
    gateway::v1::{
        CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, Embedding, FeedbackRequest,
        FeedbackResponse, GenerateRequest, ListModelsResponse, Model,
    },
    metering::v1::{CountTokensRequest as MeteringCount, RequestOutcome, ScoreRequest},
    router::v1::{ListModelsRequest as RouterList, ModelInfo, PlanRequest, Report, ReportRequest},
};
use tonic::{Code, Status};

use crate::{
    Mesh, Remembered,
    caller::Caller,
    inspect::Inspected,
    parts::{self, is_optional_loss},
    pipeline::{self, Entry, Log},
    trail::Step,
    validate,
};

/// Counts the input of a request.
pub(crate) async fn count_tokens(
    mesh: &Mesh,
    caller: Caller,
    request: CountTokensRequest,
) -> Result<CountTokensResponse, Status> {
    let chat = request.chat.unwrap_or_default();
    validate::chat_request(&chat)?;
    let principal = caller.identify(mesh, false).await?;
    let context = caller.context.with_principal(&principal.tenant, &principal.id);
    let request = context.request(MeteringCount { chat: Some(chat) });
    let counted = mesh.parts.metering().count_tokens(request).await?.into_inner();
    Ok(CountTokensResponse {
        input_tokens: counted.input_tokens,
        exact: counted.exact,
        margin_tokens: counted.margin_tokens,
    })
}

/// Lists the models that the caller may ask for.
pub(crate) async fn list_models(mesh: &Mesh, caller: Caller) -> Result<ListModelsResponse, Status> {
    let principal = caller.identify(mesh, false).await?;
    let context = caller.context.with_principal(&principal.tenant, &principal.id);
    let request = context.request(RouterList { allowed_models: principal.allowed_models });
    let listed = mesh.parts.router().list_models(request).await?.into_inner();
    Ok(ListModelsResponse { models: listed.models.into_iter().map(model).collect() })
}

fn model(info: ModelInfo) -> Model {
    let mut capabilities: Vec<String> =
        info.targets.iter().flat_map(|t| t.capabilities.iter().cloned()).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    Model {
        name: info.name,
        capabilities,
        context_window_tokens: info.targets.iter().map(|t| t.context_window_tokens).max().unwrap_or(0),
        simulated: info.targets.iter().any(|t| t.simulated),
        input_nanousd_per_mtok: info.targets.iter().filter_map(|t| t.input_nanousd_per_mtok).min(),
        output_nanousd_per_mtok: info.targets.iter().filter_map(|t| t.output_nanousd_per_mtok).min(),
        targets: info.targets.into_iter().map(|t| t.target_id).collect(),
    }
}

/// Hands a score to the ledger, to the cache (for a hit) and to the router.
pub(crate) async fn feedback(
    mesh: &Mesh,
    caller: Caller,
    request: FeedbackRequest,
) -> Result<FeedbackResponse, Status> {
    validate::feedback(&request)?;
    let principal = caller.identify(mesh, false).await?;
    let remembered = mesh.recall(&request.request_id, &principal.tenant);
    let context = caller.context.with_principal(&principal.tenant, &principal.id);
    let FeedbackRequest { request_id, score, kind, entry_id } = request;
    let on_record = ScoreRequest { request_id: request_id.clone(), score, kind };
    let on_record = mesh.parts.metering().score(context.request(on_record)).await;
    on_record.map(drop).or_else(|status| unrecorded(status, remembered.is_some()))?;
    // The caller's word counts only where nothing is known of the answer.
    let Remembered { entry_id, estimated_error, requested_model, .. } =
        remembered.unwrap_or(Remembered { entry_id, ..Remembered::default() });
    if let Some(entry_id) = entry_id {
        let request_id = request_id.clone();
        let feedback = context.request(CacheFeedback { entry_id, request_id, score, estimated_error });
        match mesh.parts.cache().feedback(feedback).await {
            // The entry may have gone in the meantime.
            Err(status) if status.code() != Code::NotFound => return Err(status),
            _ => {}
        }
    }
    let report = Report {
        request_id,
        requested_model,
        quality: Some(score),
        tenant: principal.tenant,
        ..Report::default()
    };
    mesh.parts.report(context.request(ReportRequest { reports: vec![report] })).await?;
    Ok(FeedbackResponse {})
}

/// What it means that the ledger did not take a score. `remembered`: its request was answered here.
fn unrecorded(status: Status, remembered: bool) -> Result<(), Status> {
    match status.code() {
        // It was admitted while metering was away, and its settlement still waits to be delivered.
        Code::NotFound if remembered => {
            Err(parts::away("metering", "the request is not on record yet; score it again soon"))
        }
        // A release that keeps no scores; the others learn of it.
        Code::Unimplemented if remembered => Ok(()),
        Code::Unimplemented => {
            Err(parts::away("metering", "this release of metering keeps no scores; score the answer later"))
        }
        Code::NotFound => {
            let message =
                "no such request of this tenant is open or on record; `request_id` is the one in the answer";
            Err(error::status(Code::NotFound, ErrorReason::NotFound, message).into())
        }
        _ => Err(status),
    }
}

/// Turns texts into vectors: admitted, inspected, planned and settled like an answer.
pub(crate) async fn embed(
    mesh: &Mesh,
    caller: Caller,
    request: EmbedRequest,
) -> Result<EmbedResponse, Status> {
    let asked = GenerateRequest {
        chat: Some(as_chat(&request)),
        attribution: request.attribution.clone(),
        ..GenerateRequest::default()
    };
    let call = caller.call(asked, mesh);
    let (deadline, context) = (call.deadline, call.context.clone());
    let (mut entry, inspected) = pipeline::enter(mesh, &call, &mut Log::default()).await?;
    entry.bill.embeds();
    let context = context.with_principal(&entry.principal.tenant, &entry.principal.id);
    let asked = async {
        let ask = embed_admitted(mesh, &context, &mut entry, *inspected?, request);
        tokio::time::timeout_at(deadline, ask).await.unwrap_or_else(|_| Err(pipeline::deadline_exceeded()))
    };
    match asked.await {
        Ok(mut answer) => {
            answer.request_id = context.request_id().to_owned();
            entry.bill.outcome(RequestOutcome::Ok);
            Ok(answer)
        }
        Err(status) => {
            entry.bill.failed(&status);
            Err(status)
        }
    }
}

async fn embed_admitted(
    mesh: &Mesh,
    context: &signalbox_mesh::RequestContext,
    entry: &mut Entry,
    inspected: Inspected,
    request: EmbedRequest,
) -> Result<EmbedResponse, Status> {
    entry.bill.cache(CacheState::Bypass, 0);
    let trail = entry.bill.trail.clone();
    let planned = trail.within(Step::Plan, context).request(PlanRequest {
        chat: Some(inspected.chat.clone()),
        input_tokens: entry.bill.input_tokens(),
        policy_name: entry.principal.route_policy.clone(),
        allowed_models: entry.principal.allowed_models.clone(),
        ..PlanRequest::default()
    });
    let planned = mesh.parts.plan(planned).await;
    trail.ends(Step::Plan);
    let plan = match planned {
        Ok(plan) => plan.into_inner().candidates.into_iter().map(|c| c.target_id).collect(),
        Err(status) if is_optional_loss(&status) => {
            mesh.configured_targets(&request.model, context.tenant()).ok_or(status)?
        }
        Err(status) => return Err(status),
    };
    let plan = plan.into_iter().map(|target_id| PlannedTarget { target_id, prefill: false }).collect();
    let inputs = inspected.chat.messages.into_iter().map(first_text).collect();
    let ask = trail.within(Step::Execute, context).request(ExecutorEmbed {
        plan,
        inputs,
        dimensions: request.dimensions,
        extra: request.extra,
    });
    let answer = mesh.parts.executor().embed(ask).await?.into_inner();
    let cost_nanousd = answer.attempts.iter().map(|a| a.cost_nanousd).sum();
    let progress = entry.bill.progress();
    answer.attempts.into_iter().for_each(|attempt| progress.lock().attempt(attempt));
    if let Some(allowance) = &mut entry.allowance {
        allowance.spend(cost_nanousd);
    }
    Ok(EmbedResponse {
        embeddings: answer.embeddings.into_iter().map(|e| Embedding { values: e.values }).collect(),
        model: answer.model,
        usage: answer.usage,
        cost_nanousd,
        request_id: String::new(),
    })
}

/// The texts as a chat, so that admission, guard and router see them like any other prompt.
fn as_chat(request: &EmbedRequest) -> ChatRequest {
    let message = |text: &String| Message {
        role: Role::User.into(),
        parts: vec![Part { kind: Some(part::Kind::Text(Text { text: text.clone() })), ..Part::default() }],
        ..Message::default()
    };
    ChatRequest {
        model: request.model.clone(),
        messages: request.inputs.iter().map(message).collect(),
        // Vectors are not output tokens: nothing is reserved for them.
        sampling: Some(Sampling { max_output_tokens: Some(1), ..Sampling::default() }),
        ..ChatRequest::default()
    }
}

fn first_text(message: Message) -> String {
    message
        .parts
        .into_iter()
        .find_map(|p| match p.kind {
            Some(part::Kind::Text(text)) => Some(text.text),
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_waits_for_its_requests_settlement() {
        let said = |code, remembered| unrecorded(Status::new(code, "no"), remembered);
        let waits = said(Code::NotFound, true).unwrap_err();
        assert_eq!(error::reason_of(&waits), Some(ErrorReason::ServiceUnavailable));
        assert!(error::retry_after(&waits).is_some(), "it says when to come again");
        assert!(said(Code::Unimplemented, true).is_ok(), "a release that keeps none");
        let unknown = said(Code::NotFound, false).unwrap_err();
        assert_eq!(error::reason_of(&unknown), Some(ErrorReason::NotFound));
        let old = said(Code::Unimplemented, false).unwrap_err();
        assert_eq!(error::reason_of(&old), Some(ErrorReason::ServiceUnavailable));
        assert_eq!(said(Code::Unavailable, true).unwrap_err().message(), "no");
    }
}
