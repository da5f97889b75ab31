//! The gRPC face: decode, validate, call, encode. No decisions.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use signalbox_mesh::{RequestContext, error};
use signalbox_proto::common::v1::{ChatRequest, ErrorReason, RescuePolicy, Sampling, TimeLimits};
use signalbox_proto::executor::v1::executor_service_server::ExecutorService;
use signalbox_proto::executor::v1::{
    DeliveredPrefix, EmbedRequest, EmbedResponse, ExecuteRequest, ExecuteResponse, ListTargetsRequest,
    ListTargetsResponse, PlannedTarget, Target as Listed,
};
use signalbox_wire::redact;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::core::Core;
use crate::course::{Candidate, Course, Means};
use crate::embed;
use crate::execute::{Checked, Execution};
use crate::payer::Payer;
use crate::rescue::{Delivered, Rescue, Way};
use crate::target::{Credential, Target};

/// The most candidates of a plan.
const CANDIDATES: usize = 32;
/// The most texts of one request for vectors.
const TEXTS: usize = 2_048;
/// How many known targets an error names.
const NAMED: usize = 10;
/// How much of a delivered prefix's reason and model is kept, in bytes.
const REASON: usize = 64;
const MODEL: usize = 256;

/// The service.
pub(crate) struct Executor(pub(crate) Arc<Core>);

type Messages = Pin<Box<dyn Stream<Item = Result<ExecuteResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExecutorService for Executor {
    type ExecuteStream = Messages;

    async fn execute(
        &self,
        request: Request<Streaming<ExecuteRequest>>,
    ) -> Result<Response<Messages>, Status> {
        let arrived = Instant::now();
        let context = RequestContext::from_request(&request);
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let request = first.ok_or_else(|| error::invalid("chat", "is missing; the first message asks"))?;
        let chat = within_grant(chat(request.chat)?, request.granted_output_tokens);
        let prefix = request.delivered.map(|prefix| self.prefix(prefix)).transpose()?;
        let plan = self.plan(&request.plan)?;
        let limits = request.limits.unwrap_or_default();
        let rescue = request.rescue.unwrap_or_default();
        let (request_id, trace) = (context.request_id().to_owned(), context.trace().cloned());
        let (course, deadline) = self.course(plan, context, &limits, &rescue, arrived);
        let checked = Checked {
            chat,
            request_id,
            trace,
            input_tokens: request.input_tokens,
            limits,
            policy: rescue,
            hedge: request.hedge,
            arrived,
            deadline,
            prefix,
            payer: request.pay_attempts.then(|| Payer::new(messages)),
        };
        let execution = Execution::new(Arc::clone(&self.0), checked, course);
        Ok(Response::new(Box::pin(execution.into_stream())))
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let arrived = Instant::now();
        let context = RequestContext::from_request(&request);
        let request = request.into_inner();
        if !(1..=TEXTS).contains(&request.inputs.len()) {
            return Err(error::invalid(
                "inputs",
                format!("give 1 to {TEXTS} texts, not {}", request.inputs.len()),
            ));
        }
        let plan = self.plan(&request.plan)?;
        let trace = context.trace().cloned();
        let (course, deadline) =
            self.course(plan, context, &TimeLimits::default(), &RescuePolicy::default(), arrived);
        embed::embed(&self.0, &request, course, deadline, trace.as_ref()).await.map(Response::new)
    }

    async fn list_targets(
        &self,
        _request: Request<ListTargetsRequest>,
    ) -> Result<Response<ListTargetsResponse>, Status> {
        let now = Instant::now();
        let targets = self.0.targets.all().values().flatten().map(|target| listed(target, now)).collect();
        Ok(Response::new(ListTargetsResponse { targets }))
    }
}

/// Caps the output at what metering granted: the provider itself then keeps the budget.
fn within_grant(mut chat: ChatRequest, granted: u64) -> ChatRequest {
    if granted > 0 {
        let granted = u32::try_from(granted).unwrap_or(u32::MAX);
        let sampling = chat.sampling.get_or_insert_with(Sampling::default);
        sampling.max_output_tokens =
            Some(sampling.max_output_tokens.map_or(granted, |asked| asked.min(granted)));
    }
    chat
}

impl Executor {
    fn plan(&self, plan: &[PlannedTarget]) -> Result<Vec<Candidate>, Status> {
        if !(1..=CANDIDATES).contains(&plan.len()) {
            return Err(error::invalid(
                "plan",
                format!("give 1 to {CANDIDATES} targets, not {}", plan.len()),
            ));
        }
        let mut seen = HashSet::new();
        let mut found = Vec::with_capacity(plan.len());
        for planned in plan {
            match self.0.targets.choose(&planned.target_id, &self.0.random, Instant::now()) {
                Some(targets) if seen.insert(planned.target_id.as_str()) => {
                    let prefill = planned.prefill;
                    found.extend(targets.into_iter().map(|target| Candidate { target, prefill }));
                }
                Some(_) => {}
                // A plan may be older than the configuration: the others may do.
                None => tracing::warn!("a plan names a target that is not configured"),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let asked = redact::bounded(&plan[0].target_id, 256);
        let known: Vec<String> = self.0.targets.all().keys().take(NAMED).cloned().collect();
        let words = format!("`{asked}` is not configured; use one of the configured targets");
        Err(error::status(Code::NotFound, ErrorReason::ModelUnknown, words)
            .with_metadata("model", asked)
            .with_metadata("known", known.join(", "))
            .into())
    }

    /// Takes over an answer that another execution began.
    fn prefix(&self, prefix: DeliveredPrefix) -> Result<(Delivered, Rescue), Status> {
        let DeliveredPrefix { text, model, reason } = prefix;
        let most = self.0.config.bounds.delivered_bytes;
        let Some(delivered) = Delivered::from_prefix(text, most) else {
            let words = format!("an answer of more than {most} bytes cannot be gone on from");
            return Err(error::invalid("delivered.text", words));
        };
        let reason = redact::bounded(&reason, REASON);
        Ok((delivered, Rescue::after(Way::Continue, redact::bounded(&model, MODEL), reason)))
    }

    fn course(
        &self,
        plan: Vec<Candidate>,
        context: RequestContext,
        limits: &TimeLimits,
        rescue: &RescuePolicy,
        now: Instant,
    ) -> (Course, Instant) {
        let core = &self.0;
        core.budget.offered();
        let deadline = match plan.first() {
            Some(first) => core.deadline(&first.target, limits, context.deadline(), now),
            None => now,
        };
        let means = Means {
            retry: core.config.retry,
            around_filter: rescue.route_around_content_filter,
            deadline,
            context,
            budget: Arc::clone(&core.budget),
            random: core.random.clone(),
        };
        (Course::new(plan, means), deadline)
    }
}

fn chat(chat: Option<ChatRequest>) -> Result<ChatRequest, Status> {
    let chat = chat.ok_or_else(|| error::invalid("chat", "give the request"))?;
    if chat.messages.is_empty() {
        return Err(error::invalid("chat.messages", "add at least one message"));
    }
    Ok(chat)
}

fn listed(target: &Target, now: Instant) -> Listed {
    let counts = target.memory.stats.read();
    let (breaker, breaker_reason) = target.memory.breaker.read(now);
    Listed {
        target_id: target.id.clone(),
        provider: target.provider.clone(),
        model: target.model.clone(),
        host: target.base.host.clone(),
        breaker: breaker.into(),
        breaker_reason,
        in_flight: counts.in_flight,
        attempts: counts.attempts,
        failures: counts.failures,
        first_output_ms: counts.first_output_ms,
        remaining_requests: counts.remaining_requests,
        remaining_tokens: counts.remaining_tokens,
        has_credential: !matches!(target.credential, Credential::Missing(_)),
        credential_source: target.credential_source.clone(),
        weight: target.weight,
        skipped_chunks: counts.skipped_chunks,
        unkept_streams: counts.unkept_streams,
    }
}
