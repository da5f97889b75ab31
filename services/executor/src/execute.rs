//! `Execute`: one answer from a plan.
//!
//! One execution is one stream, without a task or a channel of its own: it does its work when it is polled. So a slow
//! reader slows the provider, and dropping the stream drops the provider's connection at that instant, with everything that
//! was held for it.
//!
//! `asking.rs` is the way to the first piece of output, `relaying.rs` the way from there to the end, or to a rescue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use signalbox_mesh::TraceContext;
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, Delta, GenerateEvent, Notice, RescuePolicy, Seam, Started,
    TimeLimits, Usage, UsageSource, generate_event, notice, seam,
};
use signalbox_proto::executor::v1::{ExecuteResponse, execute_response};
use tokio::time::Instant;
use tonic::Status;

use crate::account::{Record, Tally, Written};
use crate::answer::Answer;
use crate::breaker::Permit;
use crate::core::{Core, Held};
use crate::course::{Course, Step};
use crate::failure::{self, Failure};
use crate::payer::Payer;
use crate::rescue::{Delivered, Rescue};
use crate::target::Target;
use crate::watch::Watch;

/// How long to wait for the last bytes behind the end marker, so that the connection can be used again.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// Is one request under way.
pub(crate) struct Execution {
    pub(crate) core: Arc<Core>,
    pub(crate) chat: Arc<ChatRequest>,
    request_id: String,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) input_tokens: u64,
    pub(crate) limits: TimeLimits,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    pub(crate) course: Course,
    pub(crate) policy: RescuePolicy,
    pub(crate) hedge: bool,
    state: State,
    queue: VecDeque<ExecuteResponse>,
    sequence: u64,
    pub(crate) tally: Tally,
    pub(crate) number: u32,
    pub(crate) overhead: Option<Duration>,
    pub(crate) delivered: Delivered,
    pub(crate) rescue: Option<Rescue>,
    pub(crate) rescues: u32,
    /// Chunks left out of what was delivered, because they could not be read.
    pub(crate) skipped: u32,
    /// The first break after output: no later error hides it.
    pub(crate) broke: Option<Broke>,
    payer: Option<Payer>,
}

pub(crate) enum State {
    Ask(Step),
    Relay(Box<Live>),
    /// The answer is complete; its connection is tidied up.
    Drain(Box<Live>),
    Failed(Box<Status>),
    Done,
}

/// Is an attempt that has an answer. Dropping it ends the connection and gives back what was held.
pub(crate) struct Live {
    pub(crate) answer: Answer,
    pub(crate) record: Record,
    pub(crate) written: Written,
    pub(crate) idle: Duration,
    /// How long keep-alives may stand in for output.
    pub(crate) alive: Duration,
    pub(crate) permit: Permit,
    pub(crate) pace: Pace,
    pub(crate) watch: Watch,
    /// Tool calls held back until complete.
    pub(crate) calls: Vec<Delta>,
    pub(crate) _held: Held,
}

/// Is how much came in how much waiting: a stream that drips is as good as one that stalls.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) waited: Duration,
    pub(crate) bytes: u64,
}

/// Is a stream that broke after output.
pub(crate) struct Broke {
    pub(crate) failed: Failure,
    pub(crate) target_id: String,
    pub(crate) bytes: u64,
}

/// Is a request, checked.
pub(crate) struct Checked {
    pub(crate) chat: ChatRequest,
    pub(crate) request_id: String,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) input_tokens: u64,
    pub(crate) limits: TimeLimits,
    pub(crate) policy: RescuePolicy,
    pub(crate) hedge: bool,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// What another execution delivered, and its rescue.
    pub(crate) prefix: Option<(Delivered, Rescue)>,
    pub(crate) payer: Option<Payer>,
}

impl Execution {
    /// Begins an execution; nothing happens before it is polled.
    pub(crate) fn new(core: Arc<Core>, request: Checked, course: Course) -> Self {
        let state = match course.first() {
            Some(step) => State::Ask(step),
            None => State::Done,
        };
        let Checked {
            chat,
            request_id,
            trace,
            input_tokens,
            limits,
            policy,
            hedge,
            arrived,
            deadline,
            prefix,
            payer,
        } = request;
        let (delivered, rescue) = match prefix {
            Some((delivered, rescue)) => (delivered, Some(rescue)),
            None => (Delivered::new(core.config.bounds.delivered_bytes), None),
        };
        Self {
            core,
            chat: Arc::new(chat),
            request_id,
            trace,
            input_tokens,
            limits,
            arrived,
            deadline,
            course,
            policy,
            hedge,
            state,
            queue: VecDeque::new(),
            sequence: 0,
            tally: Tally::default(),
            number: 0,
            overhead: None,
            delivered,
            rescue,
            rescues: 0,
            skipped: 0,
            broke: None,
            payer,
        }
    }

    /// Turns the execution into its messages.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<ExecuteResponse, Status>> + Send {
        // Boxed: it is handed on with each message.
        stream::unfold(Box::new(self), |mut execution| async move {
            let message = execution.next().await?;
            Some((message, execution))
        })
    }

    async fn next(&mut self) -> Option<Result<ExecuteResponse, Status>> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Some(Ok(message));
            }
            self.state = match std::mem::replace(&mut self.state, State::Done) {
                // Boxed: asking is rare and its state is large, relaying is frequent and small.
                State::Ask(step) => match self.paid().await {
                    Ok(()) => Box::pin(self.ask(step)).await,
                    Err(status) => State::Failed(Box::new(status)),
                },
                State::Relay(live) => self.relay(live).await,
                State::Drain(mut live) => {
                    live.answer.drain(&mut live.watch, Instant::now() + LAST_BYTES).await;
                    State::Done
                }
                State::Failed(status) => return Some(Err(*status)),
                State::Done => return None,
            };
        }
    }

    /// Waits until somebody has paid for the attempts before.
    async fn paid(&mut self) -> Result<(), Status> {
        match &mut self.payer {
            Some(payer) => payer.settled(self.deadline, self.course.summary()).await,
            None => Ok(()),
        }
    }

    /// Says who answers, and that others were asked before: `late` are those that are not recorded yet.
    pub(crate) fn begin(&mut self, target: &Target, late: u32) {
        if self.sequence > 0 {
            return;
        }
        let started =
            Started { request_id: self.request_id.clone(), model: target.id.clone(), ..Started::default() };
        self.emit(generate_event::Kind::Started(started.into()));
        let failed = self.tally.attempts + late;
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

    /// Sends a piece to the client.
    pub(crate) fn forward(&mut self, delta: Delta) {
        self.delivered.note(&delta);
        self.emit(generate_event::Kind::Delta(delta));
    }

    /// Tells the client where another model goes on.
    pub(crate) fn seam(&mut self, seam: Seam) {
        tracing::info!(
            request_id = %self.request_id, from = %seam.from_model, to = %seam.to_model, reason = %seam.reason,
            at_byte = seam.at_byte, "a broken stream goes on"
        );
        if seam.kind() == seam::Kind::Restarted {
            self.delivered = Delivered::new(self.core.config.bounds.delivered_bytes);
        }
        self.core.budget.paid_off();
        self.emit(generate_event::Kind::Seam(seam));
    }

    pub(crate) fn emit(&mut self, kind: generate_event::Kind) {
        self.sequence += 1;
        let event = GenerateEvent { sequence: self.sequence, kind: Some(kind) };
        self.queue.push_back(ExecuteResponse { kind: Some(execute_response::Kind::Event(event)) });
    }

    /// Records an attempt that ended; `made`: something was sent.
    pub(crate) fn record(
        &mut self,
        record: &Record,
        outcome: AttemptOutcome,
        usage: Usage,
        error: &str,
        made: bool,
    ) {
        if outcome != AttemptOutcome::Ok {
            tracing::info!(
                request_id = %self.request_id, target_id = %record.target.id, outcome = outcome.as_str_name(),
                delivered_bytes = self.delivered.bytes, "an attempt failed"
            );
        }
        let attempt: Attempt = record.end(outcome, usage, error.to_owned());
        if let Some(payer) = &mut self.payer {
            payer.note(&attempt);
        }
        self.tally.add(&attempt, made);
        self.queue.push_back(ExecuteResponse { kind: Some(execute_response::Kind::Attempt(attempt.into())) });
    }

    /// Usage of an attempt without output: a provider that had begun to answer bills the input.
    pub(crate) fn partial(&self, accepted: bool) -> Usage {
        let input_tokens = if accepted { self.input_tokens } else { 0 };
        Usage { input_tokens, source: UsageSource::Partial.into(), ..Usage::default() }
    }

    /// Ends the request in an error; in the first one that the client noticed, if its stream broke before.
    pub(crate) fn give_up(&mut self, status: Status) -> State {
        let status = match &self.broke {
            Some(Broke { failed, target_id, bytes }) => {
                failure::broken(failed, target_id, *bytes, self.course.summary())
            }
            None => status,
        };
        State::Failed(Box::new(status))
    }
}
