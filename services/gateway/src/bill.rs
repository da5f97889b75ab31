//! One request's bill: what was tried, used and delivered. It is settled exactly once, also when the request is dropped
//! in the middle.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use signalbox_mesh::Clock;
use signalbox_proto::{
    common::v1::{
        Attempt, AttemptKind, AttemptOutcome, CacheState, ErrorReason, FinishReason, Finished, RouteRecord,
        Timings, Usage, UsageSource, generate_event::Kind,
    },
    common::v1::{GenerateEvent, delta::Content},
    metering::v1::{RequestOutcome, Settlement},
};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Status};

use crate::{
    follow::Turn, ledger::Ledger, measure, parts::is_away, pipeline::Call, shadow::Joint, trail::Trail,
};

/// What is known of the attempt that is under way.
#[derive(Default)]
struct Running {
    target: Option<String>,
    pieces: u64,
    output_bytes: u64,
    started_unix_ms: i64,
    /// Whether nothing was reported of it yet: true until an attempt's report, and again from the next output on.
    unreported: bool,
}

/// What the answer's source saw. Shared, because the source runs inside the guard's call.
#[derive(Default)]
pub(crate) struct Progress {
    attempts: Vec<Attempt>,
    /// Input tokens of the request, for attempts that nobody reported.
    input_tokens: u64,
    /// Attempts of earlier executions of this request (a judge, an answer that was asked for again): the present one counts on
    /// from there.
    earlier: usize,
    /// The highest number among those.
    base: u32,
    running: Option<Running>,
    error: Option<Status>,
    /// Whether any output was seen.
    delivered: bool,
    /// The number of the newest event.
    sequence: u64,
    /// A follow that became this request's own execution.
    turn: Option<Turn>,
    /// What the model was chosen by.
    route: Option<Box<RouteRecord>>,
}

impl Progress {
    /// Of a request with so many input tokens, before its first attempt.
    pub(crate) fn of(input_tokens: u64) -> Self {
        Self { input_tokens, ..Self::default() }
    }

    /// Notes what the model was chosen by.
    pub(crate) fn routed(&mut self, record: Option<RouteRecord>) {
        self.route = record.map(Box::new);
    }

    /// Ends it: all attempts, the one under way cut.
    pub(crate) fn close(&mut self, now_unix_ms: i64, kind: AttemptKind) -> Vec<Attempt> {
        self.cut(now_unix_ms, kind);
        std::mem::take(&mut self.attempts)
    }

    /// Notes that an execution begins; `target` is the plan's first. An earlier one that was given up counts as cut.
    pub(crate) fn begin(&mut self, target: String, now_unix_ms: i64) {
        self.delivered = false;
        self.cut(now_unix_ms, AttemptKind::First);
        self.set_aside();
        self.running = Some(Running {
            target: Some(target),
            started_unix_ms: now_unix_ms,
            unreported: true,
            ..Running::default()
        });
    }

    /// Notes that all attempts so far were of earlier executions: whatever answers now is none of them.
    pub(crate) fn set_aside(&mut self) {
        self.earlier = self.attempts.len();
        self.base = self.attempts.iter().map(|attempt| attempt.number).max().unwrap_or(0);
    }

    /// Notes an attempt that ended.
    pub(crate) fn attempt(&mut self, mut attempt: Attempt) {
        attempt.number = attempt.number.saturating_add(self.base);
        if attempt.outcome() == AttemptOutcome::Ok {
            self.running = None;
        } else if let Some(running) = &mut self.running {
            (running.pieces, running.output_bytes) = (0, 0);
            running.unreported = false;
            running.started_unix_ms = attempt.started_unix_ms.saturating_add_unsigned(attempt.duration_ms);
        }
        self.attempts.push(attempt);
    }

    /// Notes an event of the answer.
    pub(crate) fn event(&mut self, event: &GenerateEvent) {
        self.sequence = event.sequence;
        self.delivered |= matches!(event.kind, Some(Kind::Delta(_)));
        let Some(running) = &mut self.running else { return };
        running.unreported = true;
        match &event.kind {
            Some(Kind::Started(started)) => running.target = Some(started.model.clone()),
            Some(Kind::Seam(seam)) => running.target = Some(seam.to_model.clone()),
            Some(Kind::Delta(delta)) => {
                running.pieces += 1;
                running.output_bytes += delta.content.as_ref().map_or(0, output_bytes);
            }
            Some(Kind::Finished(_)) => self.running = None,
            _ => {}
        }
    }

    /// Notes that the source broke. A living executor has reported its attempts by then; one that died, or that the deadline
    /// cut off, could not, so that attempt stays open and is billed as cut.
    pub(crate) fn fail(&mut self, status: Status) {
        if !is_away(&status) && status.code() != Code::DeadlineExceeded {
            self.running = None;
        }
        self.running.take_if(|running| !running.unreported);
        self.error = Some(status);
    }

    /// Ends the answer where the money does: the attempt under way is cut, and its client is told so by a last event. `None` where
    /// nothing of it was delivered.
    pub(crate) fn spent(
        &mut self,
        why: Status,
        now_unix_ms: i64,
        cost_nanousd: i64,
    ) -> Option<GenerateEvent> {
        self.running.take_if(|running| !running.unreported);
        let target = self.running.as_ref().and_then(|running| running.target.clone());
        let cut = self.running.is_some();
        self.cut(now_unix_ms, AttemptKind::First);
        if let Some(attempt) = self.attempts.last_mut().filter(|_| cut) {
            attempt.cost_nanousd = cost_nanousd;
        }
        self.error = Some(why);
        if !self.delivered {
            return None;
        }
        let attempts = &self.attempts[self.earlier.min(self.attempts.len())..];
        let mut finished = Finished {
            finish_reason: FinishReason::Budget.into(),
            model: target
                .or_else(|| attempts.last().map(|attempt| attempt.target_id.clone()))
                .unwrap_or_default(),
            attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            ..Finished::default()
        };
        let mut used = Usage::default();
        for attempt in attempts {
            finished.cost_nanousd = finished.cost_nanousd.saturating_add(attempt.cost_nanousd);
            finished.price_unknown |= attempt.price_unknown;
            if let Some(usage) = &attempt.usage {
                used += usage;
            }
        }
        used.set_source(UsageSource::Partial);
        finished.usage = Some(used);
        Some(GenerateEvent { sequence: self.sequence + 1, kind: Some(Kind::Finished(finished.into())) })
    }

    /// Notes that the execution was refused: there is no attempt that nobody reported.
    pub(crate) fn refuse(&mut self) {
        self.running = None;
    }

    /// Notes that the source ended by itself.
    pub(crate) fn end(&mut self) {
        self.running = None;
    }

    /// Attempts of earlier executions.
    pub(crate) fn earlier(&self) -> &[Attempt] {
        &self.attempts[..self.earlier.min(self.attempts.len())]
    }

    /// An attempt that is under way and that nobody will report: the provider bills it, so it is counted from what was seen
    /// ([`tokens`]) and marked partial.
    pub(crate) fn cut(&mut self, now_unix_ms: i64, kind: AttemptKind) {
        let Some(running) = self.running.take() else { return };
        let target = running.target.unwrap_or_default();
        let (provider, model) = target.split_once('/').unwrap_or(("", &target));
        let attempt = Attempt {
            number: self.attempts.last().map_or(1, |a| a.number + 1),
            provider: provider.to_owned(),
            model: model.to_owned(),
            outcome: AttemptOutcome::Cancelled.into(),
            usage: Some(Usage {
                input_tokens: self.input_tokens,
                output_tokens: tokens(running.pieces, running.output_bytes),
                source: UsageSource::Partial.into(),
                ..Usage::default()
            }),
            started_unix_ms: running.started_unix_ms,
            duration_ms: now_unix_ms.saturating_sub(running.started_unix_ms).try_into().unwrap_or(0),
            kind: kind.into(),
            target_id: target,
            ..Attempt::default()
        };
        self.attempts.push(attempt);
    }

    /// Notes that the request goes on with what it followed.
    pub(crate) fn turn(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// That it did, told once.
    pub(crate) fn take_turn(&mut self) -> Option<Turn> {
        self.turn.take()
    }

    /// The error with which the source broke, if it did.
    pub(crate) fn take_error(&mut self) -> Option<Status> {
        self.error.take()
    }
}

/// Output tokens by what was seen of them: a piece has at least one, and a token has four bytes as usual.
pub(crate) fn tokens(pieces: u64, bytes: u64) -> u64 {
    pieces.max(bytes.div_ceil(4))
}

pub(crate) fn output_bytes(content: &Content) -> u64 {
    let text = match content {
        Content::Text(text) | Content::Refusal(text) => text.len(),
        Content::Reasoning(reasoning) => reasoning.text.len(),
        Content::ToolCall(call) => call.arguments.len(),
        Content::Citation(_) | Content::Media(_) => 0,
    };
    text as u64
}

/// A request's bill. Dropping it settles it as cancelled, unless an outcome was set.
pub(crate) struct Bill {
    record: Settlement,
    input_tokens: u64,
    outcome: Option<RequestOutcome>,
    progress: Arc<Mutex<Progress>>,
    /// Where copies of the request add to the bill.
    joint: OnceLock<Arc<Joint>>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    pub(crate) trail: Trail,
    arrived: Instant,
    deadline: Instant,
    /// Dropped behind everything else.
    _open: TaskTrackerToken,
}

impl Bill {
    /// Opens the bill of an admitted request.
    pub(crate) fn open(
        record: Settlement,
        input_tokens: u64,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        call: &Call,
    ) -> Self {
        measure::began(&record);
        Self {
            trail: call.trail.clone(),
            arrived: call.arrived,
            deadline: call.deadline,
            record,
            input_tokens,
            outcome: None,
            progress: Arc::new(Mutex::new(Progress::of(input_tokens))),
            joint: OnceLock::new(),
            _open: ledger.opened(),
            ledger,
            clock,
        }
    }

    /// What the source reports to.
    pub(crate) fn progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    /// Where a copy of the request adds to the bill.
    pub(crate) fn joint(&self) -> Arc<Joint> {
        Arc::clone(self.joint.get_or_init(|| Joint::new(&self.ledger)))
    }

    /// Input tokens as metering counted them.
    pub(crate) fn input_tokens(&self) -> u64 {
        self.input_tokens
    }

    /// Notes the cache's part.
    pub(crate) fn cache(&mut self, state: CacheState, saved_nanousd: i64) {
        self.record.set_cache(state);
        self.record.saved_nanousd = saved_nanousd;
    }

    /// Notes what the hit saved.
    pub(crate) fn saved(&mut self, saved_nanousd: i64) {
        self.record.saved_nanousd = saved_nanousd;
    }

    /// Whether the cache answered.
    pub(crate) fn is_hit(&self) -> bool {
        matches!(self.record.cache(), CacheState::Exact | CacheState::Semantic | CacheState::Follow)
    }

    /// Notes the tokens of a cache hit.
    pub(crate) fn cached_usage(&mut self, usage: Usage) {
        self.record.cached_usage = Some(usage);
    }

    /// Notes that vectors were asked for, not an answer.
    pub(crate) fn embeds(&mut self) {
        self.record.operation = "embeddings".into();
    }

    /// Notes durations.
    pub(crate) fn timings(&mut self, timings: Timings) {
        self.record.timings = Some(timings);
    }

    /// Notes how the request ended; the first word counts.
    pub(crate) fn outcome(&mut self, outcome: RequestOutcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// Notes the error in which the request ended.
    pub(crate) fn failed(&mut self, status: &Status) {
        let reason = signalbox_mesh::error::reason_of(status);
        self.record.error_reason = reason
            .map(|r| r.as_str_name().trim_start_matches("ERROR_REASON_").to_owned())
            .unwrap_or_default();
        self.outcome(match reason {
            Some(ErrorReason::BudgetExhausted | ErrorReason::AllowanceExhausted) => RequestOutcome::Budget,
            Some(ErrorReason::PromptBlocked) => RequestOutcome::Blocked,
            Some(ErrorReason::OutputBlocked) => RequestOutcome::OutputBlocked,
            Some(ErrorReason::DeadlineExceeded) => RequestOutcome::Deadline,
            Some(ErrorReason::Cancelled) => RequestOutcome::Cancelled,
            _ => RequestOutcome::Failed,
        });
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let mut progress = self.progress.lock();
        let mut record = std::mem::take(&mut self.record);
        record.attempts = progress.close(self.clock.unix_ms(), AttemptKind::First);
        record.route = progress.route.take().map(|route| *route);
        let outcome = self.outcome.unwrap_or(RequestOutcome::Cancelled);
        record.set_outcome(outcome);
        record.r#final = true;
        if record.timings.is_none() {
            let total_ms = u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX);
            record.timings = Some(Timings { total_ms, ..Timings::default() });
        }
        self.trail.settled(&record);
        measure::check(&record, self.deadline);
        match self.joint.take() {
            Some(joint) => joint.ended(record, outcome == RequestOutcome::Cancelled),
            None => self.ledger.settle(record),
        }
    }
}
