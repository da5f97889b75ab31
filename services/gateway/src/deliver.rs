//! The answer's way to the client: screened, stored, timed, accounted for.

use std::{future::poll_fn, pin::pin, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use signalbox_mesh::{Answers, RequestContext, error};
use signalbox_proto::{
    common::v1::{
        BlockedBy, CacheState, Delta, ErrorReason, FinishReason, Finished, GenerateEvent, Message, Notice,
        RouteInfo, Started, Timings, Usage, UsageSource, delta::Content, generate_event::Kind, notice,
    },
    executor::v1::ExecuteResponse,
    guard::v1::{ScreenClosed, ScreenOpen, ScreenResponse, ScreenedEvent, Verdict, screen_response},
    metering::v1::RequestOutcome,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::{
    Mesh,
    bill::Progress,
    fill::Fill,
    follow::Turn,
    grant::Grant,
    inspect::Inspected,
    outlet::Outlet,
    pipeline::{Call, Entry, Log},
    relay::{Events, Screened, Source},
};

/// A model's stream, and what is left of the money.
type Executing = (Answers<ExecuteResponse>, Option<Box<Grant>>);

/// Asks the model once more, with messages that say what was wrong with its answer. `None`: that is not paid for.
pub(crate) type Again = Box<
    dyn FnOnce(Vec<Message>, Option<Box<Grant>>) -> BoxFuture<'static, Result<Option<Executing>, Status>>
        + Send,
>;

/// An answer that begins.
pub(crate) struct Answer {
    pub(crate) source: Source,
    /// What the client is told first; the source fills in the model.
    pub(crate) started: Started,
    /// Keeps the answer, where the cache gave the right to.
    pub(crate) fill: Option<Fill>,
    /// How the model is asked once more. Absent: it cannot be.
    pub(crate) again: Option<Again>,
    /// What a hit saves.
    pub(crate) saved_nanousd: i64,
}

/// Where released events come from.
enum Released {
    Screened(Answers<ScreenResponse>, Option<ScreenClosed>),
    /// Only while the guard is away and the tenant's policy is open.
    Unguarded(Events),
}

impl Released {
    async fn open(
        mesh: &Mesh,
        context: &RequestContext,
        events: Events,
        inspected: &Inspected,
        entry: &Entry,
        call: &Call,
        corrected: bool,
    ) -> Result<Self, Status> {
        if inspected.unguarded {
            return Ok(Self::Unguarded(events));
        }
        let open = ScreenOpen {
            policy: entry.principal.guard_policy.clone(),
            seal: inspected.seal.clone(),
            system_digest: inspected.system_digest.clone(),
            wishes: call.request.policies.as_ref().and_then(|p| p.guard.clone()),
            response_format: inspected.chat.response_format.clone(),
            tools: inspected
                .chat
                .tools
                .iter()
                .map(|t| t.name.clone())
                .filter(|name| !name.is_empty())
                .collect(),
            declared_tools: inspected.chat.tools.clone(),
            corrected,
        };
        let request = context.request(Screened::new(open, events));
        let screened = mesh.parts.screen(request).await?;
        Ok(Self::Screened(screened.into_inner(), None))
    }

    async fn next(&mut self) -> Result<Option<Vec<ScreenedEvent>>, Status> {
        match self {
            Self::Screened(stream, closed) => loop {
                match stream.message().await?.and_then(|message| message.kind) {
                    Some(screen_response::Kind::Events(released)) => return Ok(Some(released.events)),
                    Some(screen_response::Kind::Closed(end)) => *closed = Some(end),
                    None => return Ok(None),
                }
            },
            Self::Unguarded(events) => Ok(events.next().await.map(|events| {
                events
                    .into_iter()
                    .map(|event| ScreenedEvent { client: Some(event), ..ScreenedEvent::default() })
                    .collect()
            })),
        }
    }

    /// The screen's last word, once everything was released. A screen that ends without one has failed.
    fn closed(self) -> Result<ScreenClosed, Status> {
        match self {
            Self::Screened(_, Some(closed)) => Ok(closed),
            Self::Screened(_, None) => Err(broken("the guard's screen ended without a verdict")),
            Self::Unguarded(_) => {
                Ok(ScreenClosed { verdict: Verdict::Allow.into(), ..ScreenClosed::default() })
            }
        }
    }
}

/// What an answer's delivery holds, over several answers where the model is asked once more. On the heap, because a stream's
/// memory is what its future has room for.
struct Delivery {
    fill: Option<Fill>,
    again: Option<Again>,
    /// Whether the guard screens it.
    guarded: bool,
    resume: Resume,
    teller: Teller,
    /// The entry that the answer came from, or goes into.
    entry_id: Option<String>,
    /// Of a hit by meaning.
    estimated_error: Option<f64>,
}

impl Delivery {
    fn begin(
        answer: Box<Answer>,
        log: Log,
        entry: &mut Entry,
        guarded: bool,
        whole: bool,
    ) -> (Events, Box<Self>) {
        let Answer { source, started, fill, again, saved_nanousd } = *answer;
        let hit = started.cache.as_ref().and_then(|c| c.entry_id.clone());
        let delivery = Self {
            estimated_error: started.cache.as_ref().and_then(|cache| cache.estimated_error),
            entry_id: hit.or_else(|| fill.as_ref().map(|fill| fill.entry_id().to_owned())),
            fill,
            again,
            guarded,
            resume: Resume { follows: matches!(source, Source::Follow(_)), ..Resume::default() },
            teller: Teller {
                started: Some(started),
                log,
                saved_nanousd,
                cost_nanousd: 0,
                finished: false,
                capped: false,
            },
        };
        (Events::new(source, entry.bill.progress(), entry.grant.take(), whole), Box::new(delivery))
    }

    /// Passes an event on, to the client and into what is kept.
    fn pass(
        &mut self,
        event: ScreenedEvent,
        route: Option<&RouteInfo>,
        kept: &mut Vec<GenerateEvent>,
        entry: &mut Entry,
        outlet: &mut Outlet,
    ) {
        let ScreenedEvent { client, stored, client_only } = event;
        let Some(client) = client else { return };
        if self.guarded && !client_only {
            entry.bill.trail.content(|content| content.answered(stored.as_ref().unwrap_or(&client)));
        }
        // What a budget cut short is nobody else's answer.
        let cut = matches!(&client.kind, Some(Kind::Finished(finished)) if entry.is_cut(finished));
        if !client_only && !cut && (self.fill.is_some() || self.resume.follows) {
            let mut stored = stored.unwrap_or_else(|| client.clone());
            if let Some(Kind::Started(started)) = &mut stored.kind {
                started.route = route.cloned();
            }
            kept.extend(self.resume.new_part(stored, self.fill.is_some()));
        }
        self.teller.tell(client, entry, outlet);
    }
}

/// Delivers an answer to its end.
///
/// # Errors
/// The source's error where it broke; `STREAM_BROKEN` where it ended without being complete.
#[expect(clippy::too_many_arguments, reason = "the one place where all that the steps found comes together")]
pub(crate) async fn deliver(
    mesh: &Mesh,
    context: &RequestContext,
    answer: Box<Answer>,
    inspected: &Inspected,
    entry: &mut Entry,
    call: &Call,
    log: Log,
    outlet: &mut Outlet,
) -> Result<(), Status> {
    let progress = entry.bill.progress();
    let (mut events, mut delivery) =
        Delivery::begin(answer, log, entry, !inspected.unguarded, outlet.is_whole());
    let mut corrected = false;

    let closed = loop {
        let purse = events.purse();
        let mut released = Released::open(mesh, context, events, inspected, entry, call, corrected).await?;
        pass(mesh, context, &mut released, &mut delivery, entry, outlet).await?;
        if let Some(status) = progress.lock().take_error() {
            if let Some(lease) = delivery.resume.turned(&progress).and_then(|turn| turn.lease) {
                // Nothing came of it: the next follower's turn.
                outlet.lead(mesh, context, lease).abort("failed");
            }
            return Err(status);
        }
        let closed = released.closed()?;
        let Some(invalid) = &closed.invalid else { break closed };
        let unheard = !invalid.correction.is_empty() && delivery.teller.started.is_some();
        let again = delivery.again.take().filter(|_| unheard);
        let Some(again) = again else { return Err(invalid_output(&invalid.message)) };
        // Nothing of the answer has left: the model is told what is wrong with it, once.
        let grant = purse.lock().close();
        let Some((stream, grant)) = again(invalid.correction.clone(), grant).await? else {
            return Err(invalid_output(&format!("{}, and no money is left to ask again", invalid.message)));
        };
        delivery.teller.log.retried(&invalid.message);
        events = Events::new(Source::Executor(stream), progress.clone(), grant, outlet.is_whole());
        corrected = true;
    };
    let Delivery { fill, mut teller, entry_id, estimated_error, .. } = *delivery;
    if closed.verdict() == Verdict::Block {
        if let Some(fill) = fill {
            fill.abort("finding");
        }
        teller.blocked(closed.blocked_by.unwrap_or_default(), entry, outlet);
        return Ok(());
    }
    if teller.capped {
        // Without a commit the entry is given back, and whoever followed goes on for itself.
        return Err(capped(entry));
    }
    if !teller.finished {
        return Err(broken("the answer ended without a finish reason; what was delivered is incomplete"));
    }
    if let Some(fill) = fill {
        if closed.storable {
            fill.commit(teller.cost_nanousd);
        } else {
            fill.abort("incomplete");
        }
    }
    mesh.remember(call, entry, (entry_id, estimated_error));
    Ok(())
}

/// The next released events. Meanwhile the fill goes on where it asks for that.
async fn next(
    released: &mut Released,
    mut fill: Option<&mut Fill>,
) -> Result<Option<Vec<ScreenedEvent>>, Status> {
    let mut next = pin!(released.next());
    poll_fn(|cx| {
        if let Some(fill) = &mut fill {
            fill.poll(cx);
        }
        next.as_mut().poll(cx)
    })
    .await
}

/// Passes on what is released, to the client and into the entry.
async fn pass(
    mesh: &Mesh,
    context: &RequestContext,
    released: &mut Released,
    delivery: &mut Delivery,
    entry: &mut Entry,
    outlet: &mut Outlet,
) -> Result<(), Status> {
    let progress = entry.bill.progress();
    // The entry keeps how its model was chosen.
    let route = delivery.teller.started.as_ref().and_then(|started| started.route.clone());
    while let Some(batch) = next(released, delivery.fill.as_mut())
        .await
        .map_err(|status| progress.lock().take_error().unwrap_or(status))?
    {
        if let Some(turn) = delivery.resume.turned(&progress) {
            delivery.fill = turn.lease.map(|lease| outlet.lead(mesh, context, lease));
            delivery.resume.delivered = turn.delivered_bytes;
            // From here on it is this request's own answer, with a bill of its own.
            entry.bill.cache(CacheState::Miss, 0);
        }
        let (mut batch, mut kept) = (batch.into_iter(), Vec::new());
        loop {
            outlet.room().await;
            let Some(event) = batch.next() else { break };
            delivery.pass(event, route.as_ref(), &mut kept, entry, outlet);
        }
        if let Some(fill) = delivery.fill.as_mut().filter(|_| !kept.is_empty()) {
            fill.push(kept);
        }
    }
    Ok(())
}

/// Where a follower that became the leader goes on: what was stored before it took over is not stored again.
#[derive(Default)]
struct Resume {
    follows: bool,
    /// Bytes of answer text that were stored before.
    delivered: u64,
    /// Bytes of answer text seen here.
    seen: u64,
}

impl Resume {
    fn turned(&self, progress: &Mutex<Progress>) -> Option<Turn> {
        if self.follows { progress.lock().take_turn() } else { None }
    }

    /// The part of an event that is new to the entry; `None` if there is none.
    fn new_part(&mut self, mut event: GenerateEvent, leads: bool) -> Option<GenerateEvent> {
        if !self.follows {
            return Some(event);
        }
        let Some(Kind::Delta(Delta { content: Some(Content::Text(text)), .. })) = &mut event.kind else {
            return (leads && self.seen >= self.delivered).then_some(event);
        };
        let old = usize::try_from(self.delivered.saturating_sub(self.seen)).unwrap_or(usize::MAX);
        self.seen += text.len() as u64;
        if !leads || old >= text.len() {
            return None;
        }
        // Both are the same text, so this is no middle of a character; if it were, nothing would be kept.
        text.is_char_boundary(old).then(|| drop(text.drain(..old)))?;
        Some(event)
    }
}

/// Tells the client: adds what only the gateway knows to the first and the last event.
struct Teller {
    started: Option<Started>,
    log: Log,
    saved_nanousd: i64,
    cost_nanousd: i64,
    finished: bool,
    /// Whether the provider ended it at the output limit that the budget had set.
    capped: bool,
}

impl Teller {
    fn tell(&mut self, event: GenerateEvent, entry: &mut Entry, outlet: &mut Outlet) {
        match event.kind {
            Some(Kind::Started(source)) => {
                if entry.bill.is_hit()
                    && let (Some(started), Some(route)) = (&mut self.started, source.route)
                {
                    started.route = Some(route);
                }
                self.begin(source.model, entry, outlet);
            }
            Some(Kind::Finished(finished)) => {
                self.begin(finished.model.clone(), entry, outlet);
                self.finish(finished, entry, outlet);
            }
            Some(kind) => {
                match &kind {
                    Kind::Seam(seam) => entry.bill.trail.seam(seam),
                    Kind::Notice(notice) => entry.bill.trail.notice(notice),
                    _ => {}
                }
                self.begin(String::new(), entry, outlet);
                outlet.send(kind);
            }
            None => {}
        }
    }

    /// Sends `started` and what was noticed before it, once.
    fn begin(&mut self, model: String, entry: &Entry, outlet: &mut Outlet) {
        let Some(started) = self.started.take() else { return };
        outlet.send(Kind::Started(Box::new(Started { model, ..started })));
        for notice in self.log.notices.drain(..) {
            entry.bill.trail.notice(&notice);
            outlet.send(Kind::Notice(notice));
        }
    }

    fn finish(&mut self, mut finished: Box<Finished>, entry: &mut Entry, outlet: &mut Outlet) {
        let hit = entry.bill.is_hit();
        if hit {
            let usage = Usage { source: UsageSource::Cached.into(), ..finished.usage.unwrap_or_default() };
            entry.bill.cached_usage(usage);
            finished.usage = Some(usage);
            finished.cost_nanousd = 0;
            finished.attempts = 0;
            // Of a follow it is known only now.
            self.saved_nanousd = self.saved_nanousd.max(finished.saved_nanousd);
            finished.saved_nanousd = self.saved_nanousd;
            entry.bill.saved(self.saved_nanousd);
        } else if entry.is_cut(&finished) {
            self.capped = finished.finish_reason() == FinishReason::Length;
            finished.set_finish_reason(FinishReason::Budget);
            entry.bill.outcome(RequestOutcome::Budget);
        }
        self.cost_nanousd = finished.cost_nanousd;
        // A judge, and an answer that was asked for again, were attempts of this request too.
        for attempt in entry.bill.progress().lock().earlier() {
            finished.attempts += 1;
            finished.cost_nanousd = finished.cost_nanousd.saturating_add(attempt.cost_nanousd);
            finished.price_unknown |= attempt.price_unknown;
            if let (Some(usage), Some(more)) = (&mut finished.usage, &attempt.usage) {
                *usage += more;
            }
        }
        if let Some(allowance) = &mut entry.allowance {
            allowance.spend(finished.cost_nanousd);
        }
        let timings = self.timings(outlet, finished.timings.filter(|_| !hit));
        finished.timings = Some(timings);
        entry.bill.timings(timings);
        self.finished = true;
        entry.bill.trail.finished(&finished);
        // Before the last event leaves: a client that hangs up right after it has had its answer.
        entry.bill.outcome(RequestOutcome::Ok);
        outlet.send(Kind::Finished(finished));
    }

    /// Ends an answer that the guard stopped: a notice that names the policy, and a finish reason that is no success.
    fn blocked(&mut self, by: BlockedBy, entry: &mut Entry, outlet: &mut Outlet) {
        self.begin(String::new(), entry, outlet);
        entry.bill.outcome(RequestOutcome::OutputBlocked);
        let message = format!("the answer was stopped by the guard policy `{}` ({})", by.policy, by.detector);
        outlet.send(Kind::Notice(Notice {
            kind: notice::Kind::Flagged.into(),
            part: "guard".into(),
            message,
            count: 1,
            r#type: by.detector,
        }));
        let timings = self.timings(outlet, None);
        entry.bill.timings(timings);
        let finished = Finished {
            finish_reason: FinishReason::Guard.into(),
            timings: Some(timings),
            ..Finished::default()
        };
        outlet.send(Kind::Finished(finished.into()));
    }

    fn timings(&self, outlet: &Outlet, provider: Option<Timings>) -> Timings {
        Timings {
            total_ms: millis(outlet.arrived().elapsed()),
            first_output_ms: outlet.first_output().map(millis),
            overhead_us: self.log.overhead_us,
            provider_first_output_ms: provider.and_then(|t| t.provider_first_output_ms),
            admit_us: self.log.admit_us,
            inspect_us: self.log.inspect_us,
            lookup_us: self.log.lookup_us,
            plan_us: self.log.plan_us,
        }
    }
}

impl Entry {
    /// Whether the budget ended the answer: on its way, or because the reservation, not the request, set the output limit that was
    /// reached.
    fn is_cut(&self, finished: &Finished) -> bool {
        match finished.finish_reason() {
            FinishReason::Budget => return true,
            FinishReason::Length if !self.bill.is_hit() => {}
            _ => return false,
        }
        let used = finished.usage.map_or(0, |u| u.output_tokens);
        let granted = self.granted_output_tokens;
        granted > 0 && used >= granted && self.asked_output_tokens.is_none_or(|asked| granted < asked)
    }
}

/// The status behind an answer that ended at the output limit which its budgets and limits allowed.
fn capped(entry: &Entry) -> Status {
    let (tenant, granted) = (&entry.principal.tenant, entry.granted_output_tokens);
    let message = format!(
        "the answer ended at {granted} output tokens, which is what the budgets and limits of {tenant} left for it"
    );
    error::status(Code::ResourceExhausted, ErrorReason::BudgetExhausted, message.clone())
        .with_quota(format!("tenant:{tenant}/output_tokens"), message)
        .into()
}

fn invalid_output(message: &str) -> Status {
    error::status(Code::FailedPrecondition, ErrorReason::OutputInvalid, message).into()
}

fn broken(message: &str) -> Status {
    error::status(Code::Unavailable, ErrorReason::StreamBroken, message).into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
