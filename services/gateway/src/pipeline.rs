//! The way of one request, top to bottom.
//!
//! [`answer`] is the page to read first. Each step is a function of its own below it or in the module of its name; what a
//! missing part means is decided where the part is asked.

use std::sync::Arc;

use parking_lot::Mutex;
use signalbox_mesh::{Answers, RequestContext, error};
use signalbox_proto::{
    common::v1::{
        CacheInfo, CacheState, ChatRequest, ErrorReason, Notice, RateLimit, RouteInfo, Started, Vector,
        cache_policy, notice,
    },
    executor::v1::{DeliveredPrefix, ExecuteRequest, ExecuteResponse, PlannedTarget},
    gateway::v1::GenerateRequest,
    metering::v1::{AdmitRequest, LimitMetric, Principal, RateStatus, Settlement},
    router::v1::PlanRequest,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    Mesh,
    admission::{Admission, Drawn},
    beside::{self, Beside},
    bill::Bill,
    bill::Progress,
    deliver::{Answer, deliver},
    follow::Following,
    grant::{self, Grant},
    inspect::{self, Inspected},
    judge,
    later::{again, take_over},
    lookup::{self, Known},
    measure,
    outlet::Outlet,
    parts::{self, is_optional_loss},
    relay::Source,
    shadow,
    trail::{Step, Trail},
};

/// A request as it came in: shared by all that its way needs, because it is large.
#[derive(Clone)]
pub(crate) struct Call {
    /// Id, deadline and trace; tenant and principal are added by admission.
    pub(crate) context: RequestContext,
    pub(crate) trail: Trail,
    /// The bearer credential; empty when none was sent.
    pub(crate) credential: String,
    /// The caller's address; empty when unknown.
    pub(crate) peer_ip: String,
    /// What is asked.
    pub(crate) request: GenerateRequest,
    /// When it came in.
    pub(crate) arrived: Instant,
    /// The same by the wall clock.
    pub(crate) started_unix_ms: i64,
    /// By when it ends, whatever happens.
    pub(crate) deadline: Instant,
    /// The entry that it fills, where it is asked beside a hit.
    pub(crate) beside: Option<Beside>,
}

/// Durations of the steps before the answer, in microseconds, and what the caller is to be told.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) admit_us: u64,
    pub(crate) inspect_us: u64,
    pub(crate) lookup_us: u64,
    pub(crate) plan_us: u64,
    pub(crate) overhead_us: u64,
    pub(crate) notices: Vec<Notice>,
}

impl Log {
    /// Notes that the model is asked once more.
    pub(crate) fn retried(&mut self, why: &str) {
        self.notices.push(Notice {
            kind: notice::Kind::Retried.into(),
            part: "guard".into(),
            message: format!("{why}; the model was asked once more"),
            count: 1,
            ..Notice::default()
        });
    }

    /// Notes that the request goes on without a part.
    pub(crate) fn degraded(&mut self, part: &'static str, message: &str) {
        tracing::warn!(part, message, "degraded");
        measure::degraded(part);
        self.notices.push(Notice {
            kind: notice::Kind::Degraded.into(),
            part: part.into(),
            message: message.into(),
            ..Notice::default()
        });
    }
}

/// Answers one request: who and what, known already, which model, execute, screen; settled when `bill` is dropped.
///
/// Cancel safe: dropping the future cancels everything upstream, and the bill is settled with what was used.
///
/// # Errors
/// The status that the client gets; nothing of the answer is complete then.
pub(crate) async fn answer(mesh: &Arc<Mesh>, call: Arc<Call>, outlet: &mut Outlet) -> Result<(), Status> {
    let mut log = Log::default();

    // 1  Who calls, may they, and what is in the prompt.
    let entered = Box::pin(enter(mesh, &call, &mut log)).await;
    let (mut entry, inspected) = entered.inspect_err(|status| call.trail.refused(status))?;
    let context = call.context.clone().with_principal(&entry.principal.tenant, &entry.principal.id);

    let ended = async {
        let mut inspected = inspected?;
        if inspected.question.is_some() {
            inspected =
                Box::pin(judge::decide(mesh, &context, &call, &mut entry, inspected, &mut log)).await?;
        }
        if !inspected.unguarded {
            call.trail.content(|content| content.asked(&inspected.chat));
        }

        // 2  Known already?
        let known = Box::pin(lookup::known(mesh, &context, &call, &mut entry, &inspected, &mut log)).await?;

        let answer = Box::new(match known {
            Known::Hit { stream, cache, saved_nanousd, lease } => {
                entry.bill.cache(cache.state(), saved_nanousd);
                if let Some(lease) = lease {
                    let beside = Beside { lease, policy_digest: inspected.policy_digest.clone() };
                    // Without room for another task the lease expires.
                    let _has_room = mesh.tasks.spawn(beside::ask(mesh, &call, beside));
                }
                let source = if cache.state() == CacheState::Follow {
                    Source::Follow(Box::new(Following::new(
                        stream,
                        take_over(mesh, &call, &context, &entry, &inspected),
                    )))
                } else {
                    Source::Cache(stream)
                };
                Answer {
                    source,
                    started: started(&call, &entry, cache, None),
                    fill: None,
                    again: None,
                    saved_nanousd,
                }
            }
            Known::Miss { cache, lease, vector } => {
                entry.bill.cache(cache.state(), 0);
                // From here on a request that fails gives its lease back.
                let fill = lease.map(|lease| outlet.lead(mesh, &context, lease));
                let mut grant = entry.grant.take();
                let ask = Ask::of(&context, &call, &entry, &inspected.chat);
                // 3  Which models, in which order.
                let plan = plan(mesh, &ask, vector, &mut log).await?;
                // 4  One answer from that plan.
                let stream = execute(mesh, &ask, &plan, None, &mut grant).await?;
                shadow::begin(mesh, &ask, &plan, &mut grant, &entry.bill);
                entry.grant = grant;
                let again = again(mesh, &call, &context, &entry, &inspected, plan.clone());
                Answer {
                    source: Source::Executor(stream),
                    started: started(&call, &entry, cache, Some(plan.route)),
                    fill,
                    again: Some(again),
                    saved_nanousd: 0,
                }
            }
        });
        log.overhead_us = micros(outlet.arrived());

        // 5  Every piece is checked before it leaves.  6  The lease is filled as it flows.
        deliver(mesh, &context, answer, &inspected, &mut entry, &call, log, outlet).await
    }
    .await;

    if let Err(status) = &ended {
        entry.bill.failed(status);
    }
    ended
}

/// An admitted request.
pub(crate) struct Entry {
    pub(crate) principal: Principal,
    pub(crate) bill: Bill,
    /// Output tokens that the reservation covers, or may be extended to; 0: no bound.
    pub(crate) granted_output_tokens: u64,
    /// The output limit that the request itself set.
    pub(crate) asked_output_tokens: Option<u64>,
    /// Held while metering is away.
    pub(crate) allowance: Option<Drawn>,
    /// Rate limits after this request.
    pub(crate) rates: Vec<RateStatus>,
    /// What was reserved; taken by the answer's source, which pays for further attempts from it.
    pub(crate) grant: Option<Box<Grant>>,
}

/// Admits and inspects, side by side where the principal was seen a moment ago. The inspection's failure comes apart, so
/// that what was admitted is settled.
pub(crate) async fn enter(
    mesh: &Mesh,
    call: &Call,
    log: &mut Log,
) -> Result<(Entry, Result<Box<Inspected>, Status>), Status> {
    if mesh.ledger.is_full() {
        return Err(parts::away("metering", "metering is away and the spool is full; retry when it is back"));
    }
    let begun = Instant::now();
    let (entry, inspected) = match mesh.admissions.remembered(&call.credential) {
        Some(principal) => {
            let admit = async { (admit(mesh, call).await, micros(begun)) };
            let inspect = async { (inspect::inspect(mesh, call, &principal).await, micros(begun)) };
            let ((entry, admit_us), (inspected, inspect_us)) = tokio::join!(admit, inspect);
            (log.admit_us, log.inspect_us) = (admit_us, inspect_us);
            let entry = entry?;
            // Policies may have changed within that moment: then what was inspected does not count.
            let inspected = if same_policies(&entry.0.principal, &principal) {
                inspected
            } else {
                inspect::inspect(mesh, call, &entry.0.principal).await
            };
            (entry, inspected)
        }
        None => {
            let entry = admit(mesh, call).await?;
            log.admit_us = micros(begun);
            let inspected = inspect::inspect(mesh, call, &entry.0.principal).await;
            log.inspect_us = micros(begun) - log.admit_us;
            (entry, inspected)
        }
    };
    let (entry, notices) = entry;
    log.notices.extend(notices);
    if entry.allowance.is_some() {
        log.degraded("metering", "metering is away; the request runs on an allowance");
    }
    let inspected = inspected.inspect(|inspected| inspected.tell(log));
    Ok((entry, inspected))
}

fn same_policies(a: &Principal, b: &Principal) -> bool {
    a.tenant == b.tenant && a.guard_policy == b.guard_policy && a.guard_fail_open == b.guard_fail_open
}

async fn admit(mesh: &Mesh, call: &Call) -> Result<(Entry, Vec<Notice>), Status> {
    let request = call.trail.within(Step::Admit, &call.context).request(AdmitRequest {
        credential: call.credential.clone(),
        chat: call.request.chat.clone(),
        attribution: call.request.attribution.clone(),
        request_id: call.context.request_id().to_owned(),
        gateway_id: mesh.replica.to_string(),
        peer_ip: call.peer_ip.clone(),
        loopback: mesh.loopback,
        ..AdmitRequest::default()
    });
    let admission = mesh.admissions.admit(&mesh.parts, request).await;
    call.trail.ends(Step::Admit);
    Ok(open(mesh, call, admission?))
}

/// Opens the bill at once, so that whatever happens next is settled.
fn open(mesh: &Mesh, call: &Call, admission: Admission) -> (Entry, Vec<Notice>) {
    let Admission { principal, reservation, input_tokens, low_budgets, allowance, standby, rates } =
        admission;
    let context = call.context.clone().with_principal(&principal.tenant, &principal.id);
    let grant = Grant::new(mesh, &context, &reservation, standby);
    let record = Settlement {
        request_id: call.context.request_id().to_owned(),
        reservation_id: allowance.as_ref().map_or(reservation.id, |a| a.reservation_id().to_owned()),
        principal: Some(principal.clone()),
        attribution: call.request.attribution.clone(),
        requested_model: call.request.chat.as_ref().map(|c| c.model.clone()).unwrap_or_default(),
        started_unix_ms: call.started_unix_ms,
        client_request_id: call.request.client_request_id.clone(),
        on_allowance: allowance.is_some(),
        ..Settlement::default()
    };
    let notices = low_budgets
        .into_iter()
        .map(|budget| Notice {
            kind: notice::Kind::Budget.into(),
            part: "metering".into(),
            message: format!("the budget {budget} is nearly used up"),
            r#type: budget,
            ..Notice::default()
        })
        .collect();
    let bill = Bill::open(record, input_tokens, mesh.ledger.clone(), Arc::clone(&mesh.clock), call);
    let sampling = call.request.chat.as_ref().and_then(|c| c.sampling.as_ref());
    let entry = Entry {
        principal,
        bill,
        granted_output_tokens: reservation.granted_output_tokens.max(reservation.most_output_tokens),
        asked_output_tokens: sampling.and_then(|s| s.max_output_tokens).map(u64::from),
        allowance,
        rates,
        grant,
    };
    (entry, notices)
}

/// Targets in order, and why.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<PlannedTarget>,
    /// Where copies go whose answers are only recorded.
    pub(crate) shadows: Vec<String>,
    pub(crate) route: RouteInfo,
}

/// What asking a model takes.
pub(crate) struct Ask<'a> {
    pub(crate) context: &'a RequestContext,
    pub(crate) call: &'a Call,
    pub(crate) principal: &'a Principal,
    pub(crate) chat: &'a ChatRequest,
    pub(crate) input_tokens: u64,
    pub(crate) granted_output_tokens: u64,
    pub(crate) progress: Arc<Mutex<Progress>>,
}

impl<'a> Ask<'a> {
    fn of(context: &'a RequestContext, call: &'a Call, entry: &'a Entry, chat: &'a ChatRequest) -> Self {
        Self {
            context,
            call,
            principal: &entry.principal,
            chat,
            input_tokens: entry.bill.input_tokens(),
            granted_output_tokens: entry.granted_output_tokens,
            progress: entry.bill.progress(),
        }
    }
}

/// Asks the router; without it, the model that was asked for.
pub(crate) async fn plan(
    mesh: &Mesh,
    ask: &Ask<'_>,
    vector: Option<Vector>,
    log: &mut Log,
) -> Result<Plan, Status> {
    let begun = Instant::now();
    let Ask { context, call, principal, chat, .. } = ask;
    let policies = call.request.policies.as_ref();
    let request = call.trail.within(Step::Plan, context).request(PlanRequest {
        chat: Some(ChatRequest::clone(chat)),
        input_tokens: ask.input_tokens,
        policy: policies.and_then(|p| p.route.clone()),
        policy_name: principal.route_policy.clone(),
        allowed_models: principal.allowed_models.clone(),
        attribution: call.request.attribution.clone(),
        vector,
        dry_run: false,
    });
    let limit_ms = mesh.config.load().steps.plan_ms;
    let planned = parts::step("router", limit_ms, mesh.parts.plan(request)).await;
    log.plan_us = micros(begun);
    call.trail.ends(Step::Plan);
    match planned {
        Ok(plan) => {
            ask.progress.lock().routed(plan.record);
            Ok(Plan {
                shadows: plan.shadows.into_iter().map(|c| c.target_id).collect(),
                targets: plan
                    .candidates
                    .into_iter()
                    .map(|c| PlannedTarget { target_id: c.target_id, prefill: c.prefill })
                    .collect(),
                route: RouteInfo { requested: chat.model.clone(), policy: plan.policy, reason: plan.reason },
            })
        }
        Err(status) if is_optional_loss(&status) => {
            let targets = mesh.configured_targets(&chat.model, context.tenant()).ok_or(status)?;
            log.degraded("router", "the router is away; the model that was asked for is used");
            Ok(Plan {
                shadows: Vec::new(),
                targets: targets
                    .into_iter()
                    .map(|id| PlannedTarget { target_id: id, prefill: false })
                    .collect(),
                route: RouteInfo {
                    requested: chat.model.clone(),
                    policy: String::new(),
                    reason: "the router is away".into(),
                },
            })
        }
        Err(status) => Err(status),
    }
}

pub(crate) async fn execute(
    mesh: &Mesh,
    ask: &Ask<'_>,
    plan: &Plan,
    delivered: Option<DeliveredPrefix>,
    grant: &mut Option<Box<Grant>>,
) -> Result<Answers<ExecuteResponse>, Status> {
    let policies = ask.call.request.policies.as_ref();
    let hedge = hedge(mesh, ask, plan, grant).await;
    let request = ExecuteRequest {
        hedge,
        chat: Some(ask.chat.clone()),
        delivered,
        plan: plan.targets.clone(),
        rescue: policies.and_then(|p| p.rescue),
        limits: policies.and_then(|p| p.limits),
        granted_output_tokens: ask.granted_output_tokens,
        input_tokens: ask.input_tokens,
        ..ExecuteRequest::default()
    };
    let request = grant::messages(request, grant.as_mut());
    let request = ask.call.trail.within(Step::Execute, ask.context).request(request);
    let first = plan.targets.first().map(|t| t.target_id.clone()).unwrap_or_default();
    // From here on a dropped request may have cost something.
    let progress = &ask.progress;
    progress.lock().begin(first, mesh.clock.unix_ms());
    match mesh.parts.execute(request).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(status) => {
            parts::missed("executor", &status);
            // A deadline that strikes here struck while a provider was being asked.
            if status.code() != Code::DeadlineExceeded {
                progress.lock().refuse();
            }
            Err(status)
        }
    }
}

/// Whether a second attempt may be made beside a slow one: where that is wanted, and paid for.
async fn hedge(mesh: &Mesh, ask: &Ask<'_>, plan: &Plan, grant: &mut Option<Box<Grant>>) -> bool {
    let wished = ask.call.request.policies.as_ref().and_then(|p| p.hedge);
    if plan.targets.len() < 2 || !wished.unwrap_or_else(|| mesh.hedges(&plan.route.requested)) {
        return false;
    }
    match grant {
        Some(grant) => grant.covers_another("hedge").await,
        None => false,
    }
}

fn started(call: &Call, entry: &Entry, cache: CacheInfo, route: Option<RouteInfo>) -> Started {
    Started {
        rate_limits: entry.rates.iter().map(rate_limit).collect(),
        request_id: call.context.request_id().to_owned(),
        model: String::new(),
        cache: Some(cache),
        route: route.or_else(|| {
            Some(RouteInfo {
                requested: call.request.chat.as_ref().map(|c| c.model.clone()).unwrap_or_default(),
                ..RouteInfo::default()
            })
        }),
    }
}

fn rate_limit(rate: &RateStatus) -> RateLimit {
    let counts = match rate.metric() {
        LimitMetric::Tokens => "tokens",
        LimitMetric::Concurrent => "concurrent",
        LimitMetric::Requests | LimitMetric::Unspecified => "requests",
    };
    RateLimit {
        name: rate.name.clone(),
        counts: counts.into(),
        limit: rate.limit,
        remaining: rate.remaining,
        reset_ms: rate.reset_ms,
    }
}

/// Whether the request asks for an answer from the cache alone.
pub(crate) fn only_if_cached(call: &Call) -> bool {
    let policy = call.request.policies.as_ref().and_then(|p| p.cache.as_ref());
    policy.is_some_and(|p| p.mode() == cache_policy::Mode::OnlyIfCached)
}

/// The cache's part when it was not asked or is away.
pub(crate) fn no_cache(state: CacheState) -> CacheInfo {
    CacheInfo { state: state.into(), ..CacheInfo::default() }
}

/// Microseconds since an instant.
pub(crate) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The status of a request whose deadline passed.
pub(crate) fn deadline_exceeded() -> Status {
    error::status(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, "the request's deadline passed")
        .into()
}
