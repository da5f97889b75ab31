//! The money of a request under way: renewed while the answer flows, raised before anything more is spent.
//!
//! Admission reserves what one complete attempt may cost. Each further one is paid for by then: what a failed attempt cost is
//! added to the reservation before anything more of the answer is asked for, and a second attempt beside a slow one is only
//! allowed once it is covered.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, Stream},
};
use parking_lot::Mutex;
use signalbox_mesh::RequestContext;
use signalbox_proto::{
    common::v1::{Attempt, AttemptOutcome},
    executor::v1::ExecuteRequest,
    metering::v1::{ExtendRequest, Reservation},
};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    Mesh,
    parts::{self, Parts},
};

/// A reservation is renewed when this share of its life has passed, so that two tries more fit in.
const RENEWED_AFTER: u32 = 3;
/// The shortest time between two renewals: a clock that is wrong must not make a loop.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// Words that may wait for the executor. It reads them before each further attempt, so that few ever do.
const PAID: usize = 64;

/// A request's reservation.
pub(crate) struct Grant {
    parts: Parts,
    context: RequestContext,
    limit_ms: u64,
    id: String,
    /// What one attempt may cost.
    attempt_nanousd: i64,
    /// Whether a budget could refuse anything.
    bounded: bool,
    extensions: u32,
    life: Duration,
    renewal: Option<Pin<Box<Sleep>>>,
    owed: Owed,
    /// To the executor, which waits for the word that attempts are paid for.
    executor: Option<mpsc::Sender<u32>>,
    asking: Option<Asking>,
}

/// What was spent beyond the reservation.
#[derive(Default)]
struct Owed {
    nanousd: i64,
    output_tokens: u64,
    /// The newest attempt that the executor does not know to be paid for. 0: none.
    attempt: u32,
}

/// An extension that is under way.
struct Asking {
    /// Never locked: the mutex lets who borrows a request move between threads.
    call: Mutex<BoxFuture<'static, Result<Reservation, Status>>>,
    /// The attempt that is paid for by it: nothing more is asked for before. 0: it only renews.
    attempt: u32,
}

impl Grant {
    /// The reservation of an admitted request; `None` when nothing was reserved for it.
    pub(crate) fn new(mesh: &Mesh, context: &RequestContext, reservation: &Reservation) -> Option<Box<Self>> {
        if reservation.id.is_empty() {
            return None;
        }
        let left = reservation.expires_unix_ms.saturating_sub(mesh.clock.unix_ms());
        Some(Box::new(Self {
            parts: mesh.parts.clone(),
            context: context.clone(),
            limit_ms: mesh.config.load().steps.admit_ms,
            id: reservation.id.clone(),
            attempt_nanousd: reservation.amount_nanousd,
            bounded: reservation.granted_output_tokens > 0,
            extensions: 0,
            life: Duration::from_millis(u64::try_from(left).unwrap_or_default()).max(LEAST_LIFE),
            renewal: None,
            owed: Owed::default(),
            executor: None,
            asking: None,
        }))
    }

    /// Reserves another attempt. False: there is no money for it, or nobody who could say so.
    ///
    /// Cancel safe: what was reserved and is not spent returns when the request is settled.
    pub(crate) async fn covers_another(&mut self, purpose: &str) -> bool {
        self.covers(purpose, self.attempt_nanousd, 0).await
    }

    /// Reserves output tokens at the dearest price of the request, for something small beside the answer. As
    /// [`Grant::covers_another`].
    pub(crate) async fn covers_tokens(&mut self, purpose: &str, output_tokens: u64) -> bool {
        self.covers(purpose, 0, output_tokens).await
    }

    async fn covers(&mut self, purpose: &str, amount_nanousd: i64, output_tokens: u64) -> bool {
        if !self.bounded {
            return true;
        }
        match self.ask(purpose, amount_nanousd, output_tokens).await {
            Ok(_) => true,
            Err(status) => {
                tracing::debug!(code = ?status.code(), purpose, "no money for something beside the answer");
                false
            }
        }
    }

    /// Has the executor wait for the word that its attempts are paid for.
    pub(crate) fn pays(&mut self, request: &mut ExecuteRequest) -> mpsc::Receiver<u32> {
        request.pay_attempts = self.bounded;
        let (executor, words) = mpsc::channel(PAID);
        self.executor = self.bounded.then_some(executor);
        words
    }

    /// Notes an attempt that ended. The one that succeeds is what was reserved.
    pub(crate) fn ended(&mut self, attempt: &Attempt) {
        if self.bounded && attempt.outcome() != AttemptOutcome::Ok {
            self.owed.attempt = attempt.number;
            let tokens = attempt.usage.map_or(0, |usage| usage.output_tokens);
            self.owed.nanousd = self.owed.nanousd.saturating_add(attempt.cost_nanousd.max(0));
            self.owed.output_tokens = self.owed.output_tokens.saturating_add(tokens);
        }
    }

    /// Ready when the answer may go on. An error is metering's refusal. Metering that is away stops nothing: what was
    /// spent is settled from the spool.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if let Some(asking) = &mut self.asking {
                let answer = match asking.call.get_mut().as_mut().poll(cx) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending if asking.attempt > 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(())),
                };
                let attempt = asking.attempt;
                self.asking = None;
                match answer {
                    Err(status) if status.code() == Code::ResourceExhausted => {
                        return Poll::Ready(Err(status));
                    }
                    Err(status) => {
                        tracing::warn!(code = ?status.code(), "a reservation could not be extended");
                    }
                    Ok(_) => {}
                }
                self.paid(attempt);
            }
            let Owed { nanousd, output_tokens, attempt } = std::mem::take(&mut self.owed);
            let call = if nanousd > 0 || output_tokens > 0 {
                self.ask("attempt", nanousd, output_tokens)
            } else {
                self.paid(attempt);
                if !self.renewal_is_due(cx) {
                    return Poll::Ready(Ok(()));
                }
                self.ask("output", 0, 0)
            };
            self.asking = Some(Asking { call: Mutex::new(call), attempt });
        }
    }

    /// Tells the executor that it may go on.
    fn paid(&mut self, attempt: u32) {
        if attempt > 0
            && let Some(executor) = &self.executor
        {
            // One that is gone waits for nothing.
            let _told = executor.try_send(attempt);
        }
    }

    fn renewal_is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let pause = self.life / RENEWED_AFTER;
        let renewal = self.renewal.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        let due = renewal.as_mut().poll(cx).is_ready();
        if due {
            renewal.as_mut().reset(Instant::now() + pause);
        }
        due
    }

    fn ask(
        &mut self,
        purpose: &str,
        amount_nanousd: i64,
        output_tokens: u64,
    ) -> BoxFuture<'static, Result<Reservation, Status>> {
        // Counted even if the answer is lost: a number that was used may not ask for another amount.
        self.extensions += 1;
        let request = self.context.request(ExtendRequest {
            reservation_id: self.id.clone(),
            extension: self.extensions,
            amount_nanousd,
            output_tokens,
            target_id: String::new(),
            purpose: purpose.to_owned(),
        });
        let (mut metering, limit_ms) = (self.parts.metering(), self.limit_ms);
        Box::pin(async move {
            let answer = parts::step("metering", limit_ms, metering.extend(request)).await?;
            Ok(answer.reservation.unwrap_or_default())
        })
    }
}

/// Waits for a grant, where there is one.
pub(crate) fn poll(grant: &mut Option<Box<Grant>>, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
    Poll::Ready(match grant {
        Some(grant) => ready!(grant.poll(cx)),
        None => Ok(()),
    })
}

/// What the executor is sent: the request, and later up to which attempt is paid.
pub(crate) fn messages(
    mut request: ExecuteRequest,
    grant: Option<&mut Box<Grant>>,
) -> impl Stream<Item = ExecuteRequest> + Send + 'static {
    let words = grant.map_or_else(|| mpsc::channel(1).1, |grant| grant.pays(&mut request));
    let word = |paid_attempt| ExecuteRequest { paid_attempt, ..ExecuteRequest::default() };
    stream::iter([request]).chain(ReceiverStream::new(words).map(word))
}
