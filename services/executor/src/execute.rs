//! `Execute`: one answer from a plan.
//!
//! One execution is one stream, without a task or a channel of its own: it does its work when it is polled. So a slow
//! reader slows the provider, and dropping the stream drops the provider's connection at that instant, with everything that
//! was held for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, Delta, Finished, GenerateEvent, Notice, Started, TimeLimits,
    Timings, Usage, UsageSource, generate_event, notice,
};
use signalbox_proto::executor::v1::{ExecuteResponse, execute_response};
use signalbox_wire::{ErrorClass, ProviderError};
use tokio::time::Instant;
use tonic::Status;

use crate::account::{Record, Tally, Written, millis};
use crate::answer::{Answer, Next};
use crate::attempt::{Missed, Spoken, Wish, attempt};
use crate::breaker::Permit;
use crate::core::{Core, Held};
use crate::course::{Course, Step};
use crate::failure::{self, Failure};
use crate::target::Target;
use crate::watch::Watch;

/// How long to wait for the last bytes behind the end marker, so that the connection can be used again.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// Is one request under way.
pub(crate) struct Execution {
    core: Arc<Core>,
    chat: ChatRequest,
    request_id: String,
    input_tokens: u64,
    limits: TimeLimits,
    arrived: Instant,
    deadline: Instant,
    course: Course,
    around_filter: bool,
    watch: Watch,
    state: State,
    queue: VecDeque<ExecuteResponse>,
    sequence: u64,
    tally: Tally,
    number: u32,
    overhead: Option<Duration>,
}

enum State {
    Ask(Step),
    Relay(Box<Live>),
    /// The answer is complete; its connection is tidied up.
    Drain(Box<Live>),
    Failed(Box<Status>),
    Done,
}

/// Is an attempt that has an answer. Dropping it ends the connection and gives back what was held.
struct Live {
    answer: Answer,
    record: Record,
    written: Written,
    idle: Duration,
    permit: Permit,
    _held: Held,
}

/// Is a request, checked.
pub(crate) struct Checked {
    pub(crate) chat: ChatRequest,
    pub(crate) request_id: String,
    pub(crate) input_tokens: u64,
    pub(crate) limits: TimeLimits,
    pub(crate) around_filter: bool,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
}

impl Execution {
    /// Begins an execution; nothing happens before it is polled.
    pub(crate) fn new(core: Arc<Core>, request: Checked, course: Course) -> Self {
        let state = match course.first() {
            Some(step) => State::Ask(step),
            None => State::Done,
        };
        let Checked { chat, request_id, input_tokens, limits, around_filter, arrived, deadline } = request;
        Self {
            core,
            chat,
            request_id,
            input_tokens,
            limits,
            arrived,
            deadline,
            course,
            around_filter,
            watch: Watch::default(),
            state,
            queue: VecDeque::with_capacity(4),
            sequence: 0,
            tally: Tally::default(),
            number: 0,
            overhead: None,
        }
    }

    /// Turns the execution into its messages.
    pub(crate) fn into_stream(mut self) -> impl Stream<Item = Result<ExecuteResponse, Status>> + Send {
        async_stream::stream! {
            while let Some(message) = self.next().await {
                yield message;
            }
        }
    }

    async fn next(&mut self) -> Option<Result<ExecuteResponse, Status>> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Some(Ok(message));
            }
            self.state = match std::mem::replace(&mut self.state, State::Done) {
                // Boxed: asking is rare and its state is large, relaying is frequent and small.
                State::Ask(step) => Box::pin(self.ask(step)).await,
                State::Relay(live) => self.relay(live).await,
                State::Drain(mut live) => {
                    live.answer.drain(&mut self.watch, Instant::now() + LAST_BYTES).await;
                    State::Done
                }
                State::Failed(status) => return Some(Err(*status)),
                State::Done => return None,
            };
        }
    }

    /// Makes one attempt, up to its first piece of output.
    async fn ask(&mut self, step: Step) -> State {
        if !step.wait.is_zero() {
            tokio::time::sleep(step.wait).await;
        }
        let target = step.target;
        let began = Instant::now();
        if began >= self.deadline {
            return State::Failed(Box::new(failure::late(self.course.summary())));
        }
        self.number += 1;
        self.overhead.get_or_insert_with(|| began - self.arrived);
        let mut record = Record {
            target: Arc::clone(&target),
            number: self.number,
            kind: step.kind,
            began,
            unix_ms: self.core.clock.unix_ms(),
            first_output: None,
            http_status: None,
            request_id: None,
        };
        let wish = Wish {
            chat: &self.chat,
            limits: &self.limits,
            deadline: self.deadline,
            around_filter: self.around_filter,
        };
        let Spoken { answer, first, mut permit, held } =
            match attempt(&self.core, wish, &mut record, &mut self.watch).await {
                Ok(spoken) => spoken,
                Err(Missed::Unasked(failed)) => return self.failed(&record, None, &failed),
                Err(Missed::Failed(permit, failed)) => return self.failed(&record, Some(permit), &failed),
                Err(Missed::Silent { permit, patience, accepted }) => {
                    return self.silent(&record, permit, patience, accepted);
                }
                Err(Missed::Unsayable(status)) => return State::Failed(Box::new(status)),
            };
        permit.succeeded();
        let took = began.elapsed();
        target.memory.stats.first_output(took);
        record.first_output = first.is_some().then_some(took);
        self.begin(&target);
        let written = Written::new(self.core.config.bounds.delivered_bytes);
        let idle = self.core.idle(&target, &self.limits);
        let mut live = Box::new(Live { answer, record, written, idle, permit, _held: held });
        match first {
            Some(delta) => {
                self.deliver(&mut live, delta);
                State::Relay(live)
            }
            None => self.finish(live),
        }
    }

    /// Passes on what came, or waits for more.
    async fn relay(&mut self, mut live: Box<Live>) -> State {
        // Counted from here: while the reader is slow nobody asks the provider for more, so it cannot be late.
        let until = (Instant::now() + live.idle).min(self.deadline);
        match live.answer.next(&mut self.watch, until).await {
            Next::Delta(delta) => {
                self.deliver(&mut live, delta);
                // Whatever else came with the same read is passed on with it.
                while let Some(delta) = live.answer.ready() {
                    self.deliver(&mut live, delta);
                }
                State::Relay(live)
            }
            // Nothing of the answer can follow the finish reason, whatever becomes of the connection.
            Next::End | Next::Elapsed | Next::Cut(_) if live.answer.summary().finish_reason.is_some() => {
                self.finish(live)
            }
            Next::Error(error) => {
                let outcome = crate::policy::row(error.class).outcome;
                let error = error.without(live.record.target.credential.secret());
                self.broken(live, &Failure::broken(outcome, error))
            }
            Next::Cut(error) => self.broken(live, &Failure::broken(AttemptOutcome::Cut, error)),
            Next::End => {
                let error =
                    ProviderError::new(ErrorClass::Protocol, "the stream ended without a finish reason");
                self.broken(live, &Failure::broken(AttemptOutcome::Cut, error))
            }
            Next::Elapsed => {
                let words = format!("nothing for {} ms", millis(live.idle));
                let error = ProviderError::new(ErrorClass::Timeout, &words);
                self.broken(live, &Failure::broken(AttemptOutcome::Stalled, error))
            }
        }
    }

    /// Says who answers, and that others were asked before.
    fn begin(&mut self, target: &Target) {
        let started = Started {
            request_id: self.request_id.clone(),
            model: target.id.clone(),
            cache: None,
            route: None,
        };
        self.emit(generate_event::Kind::Started(started));
        let failed = self.tally.attempts;
        if failed > 0 {
            self.core.budget.paid_off();
            let notice = Notice {
                kind: notice::Kind::Retried.into(),
                part: "executor".to_owned(),
                message: format!("{} answers after {failed} failed attempts", target.id),
                count: failed,
                r#type: String::new(),
            };
            self.emit(generate_event::Kind::Notice(notice));
        }
    }

    fn deliver(&mut self, live: &mut Live, mut delta: Delta) {
        live.written.note(&delta);
        if let Some(Content::Reasoning(reasoning)) = &mut delta.content {
            // So that it can be handed back to whom it belongs, and to nobody else.
            reasoning.provider = Some(live.record.target.provider.clone());
        }
        self.emit(generate_event::Kind::Delta(delta));
    }

    fn emit(&mut self, kind: generate_event::Kind) {
        self.sequence += 1;
        let event = GenerateEvent { sequence: self.sequence, kind: Some(kind) };
        self.queue.push_back(ExecuteResponse { kind: Some(execute_response::Kind::Event(event)) });
    }

    /// Records an attempt that ended.
    fn record(&mut self, record: &Record, outcome: AttemptOutcome, usage: Usage, error: &str) {
        let attempt = record.end(outcome, usage, error.to_owned());
        self.tally.add(&attempt, true);
        self.push(attempt);
    }

    fn push(&mut self, attempt: Attempt) {
        self.queue.push_back(ExecuteResponse { kind: Some(execute_response::Kind::Attempt(attempt)) });
    }

    fn finish(&mut self, mut live: Box<Live>) -> State {
        let target = Arc::clone(&live.record.target);
        let summary = live.answer.summary();
        if summary.malformed > 0 {
            tracing::warn!(target_id = %target.id, chunks = summary.malformed, "unreadable chunks were skipped");
        }
        let usage = summary
            .usage
            .unwrap_or_else(|| live.written.usage(&target, self.input_tokens, UsageSource::Estimated));
        let finish_reason = summary.finish_reason.unwrap_or_default();
        let (word, id, extra) =
            (summary.provider_finish_reason.clone(), summary.response_id.clone(), summary.extra.clone());
        self.record(&live.record, AttemptOutcome::Ok, usage, "");
        let first = live.record.first_output;
        let timings = Timings {
            total_ms: millis(self.arrived.elapsed()),
            first_output_ms: first.map(|first| millis(live.record.began - self.arrived + first)),
            overhead_us: self.overhead.map_or(0, |o| u64::try_from(o.as_micros()).unwrap_or(u64::MAX)),
            provider_first_output_ms: first.map(millis),
            ..Timings::default()
        };
        let finished = Finished {
            finish_reason: finish_reason.into(),
            provider_finish_reason: word,
            usage: Some(self.tally.usage),
            cost_nanousd: self.tally.cost_nanousd,
            saved_nanousd: 0,
            price_unknown: self.tally.price_unknown,
            timings: Some(timings),
            model: target.id.clone(),
            attempts: self.tally.attempts,
            provider_response_id: id,
            extra,
        };
        self.emit(generate_event::Kind::Finished(finished));
        // Usually the last bytes are there already; then nothing is left to do.
        let last_bytes = live.answer.drain(&mut self.watch, Instant::now()).now_or_never();
        match last_bytes {
            Some(()) => State::Done,
            None => State::Drain(live),
        }
    }

    /// The provider said nothing within the limit, or the request's time is up.
    fn silent(&mut self, record: &Record, permit: Permit, patience: Duration, accepted: bool) -> State {
        let words = format!("no output within {} ms", millis(patience));
        let mut failed = Failure::seen(ErrorClass::Timeout, &words);
        failed.accepted = accepted;
        if Instant::now() < self.deadline {
            return self.failed(record, Some(permit), &failed);
        }
        // The caller's time was too short: that says nothing about the target.
        drop(permit);
        failed.outcome = AttemptOutcome::Cancelled;
        let usage = self.partial(accepted);
        self.record(record, failed.outcome, usage, &failed.error.message);
        self.course.note(&record.target, &failed);
        State::Failed(Box::new(failure::late(self.course.summary())))
    }

    /// An attempt failed before output: the course decides what follows.
    fn failed(&mut self, record: &Record, permit: Option<Permit>, failed: &Failure) -> State {
        if let Some(mut permit) = permit {
            permit.failed(failed.error.class, failed.error.retry_after, Instant::now());
            record.target.memory.stats.failed();
        }
        tracing::info!(
            request_id = %self.request_id, target_id = %record.target.id, class = failed.error.class.label(),
            status = failed.error.status, "an attempt failed"
        );
        let usage = self.partial(failed.accepted);
        let attempt = record.end(failed.outcome, usage, failed.error.message.clone());
        self.tally.add(&attempt, failed.sent);
        self.push(attempt);
        match self.course.after(failed) {
            Ok(step) => State::Ask(step),
            Err(status) => State::Failed(Box::new(status)),
        }
    }

    /// The stream broke after output: it ends with an error, and is never called complete.
    fn broken(&mut self, mut live: Box<Live>, failed: &Failure) -> State {
        let late = Instant::now() >= self.deadline;
        let target = Arc::clone(&live.record.target);
        if !late {
            live.permit.failed(failed.error.class, None, Instant::now());
            target.memory.stats.failed();
        }
        let reported = live.answer.summary().usage;
        let usage =
            reported.unwrap_or_else(|| live.written.usage(&target, self.input_tokens, UsageSource::Partial));
        tracing::info!(
            request_id = %self.request_id, target_id = %target.id, outcome = failed.outcome.as_str_name(),
            delivered_bytes = live.written.answer_bytes, "a stream broke"
        );
        let outcome = if late { AttemptOutcome::Cancelled } else { failed.outcome };
        self.record(&live.record, outcome, usage, &failed.error.message);
        self.course.note(&target, failed);
        let status = if late {
            failure::late(self.course.summary())
        } else {
            failure::broken(failed, &target.id, live.written.answer_bytes, self.course.summary())
        };
        State::Failed(Box::new(status))
    }

    /// Usage of an attempt without output: a provider that had begun to answer bills the input.
    fn partial(&self, accepted: bool) -> Usage {
        let input_tokens = if accepted { self.input_tokens } else { 0 };
        Usage { input_tokens, source: UsageSource::Partial.into(), ..Usage::default() }
    }
}
