//! The money of a request under way: renewed while the answer flows, raised before anything more is spent.
//!
//! Admission reserves what one complete attempt may cost, or, of a feature whose answers are known, a first slice of it that is
//! extended while the answer flows ([`Slice`]). Each further attempt is paid for by then: what a failed one cost is added to the
//! reservation before anything more of the answer is asked for, and a second attempt beside a slow one is only allowed once it
//! is covered. While metering is away, output past the slice is paid from the allowance that was set aside for that.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, Stream},
};
use parking_lot::Mutex;
use signalbox_mesh::{Clock, RequestContext};
use signalbox_proto::{
    common::v1::{Attempt, AttemptOutcome, GenerateEvent},
    executor::v1::ExecuteRequest,
    metering::v1::{ExtendRequest, ExtendResponse, Reservation},
    paths,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    Mesh,
    admission::{Allowance, allowance_exhausted},
    bill::Progress,
    parts::{self, is_away},
    slice::Slice,
};

/// A reservation is renewed when this share of its life has passed, so that two tries more fit in.
const RENEWED_AFTER: u32 = 3;
/// The shortest time between two renewals: a clock that is wrong must not make a loop.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// Words that may wait for the executor. It reads them before each further attempt, so that few ever do.
const PAID: usize = 64;

/// A question to metering, under way.
type Call = BoxFuture<'static, Result<Reservation, Status>>;

/// A request's reservation.
pub(crate) struct Grant {
    metering: Box<dyn Fn(ExtendRequest) -> Call + Send + Sync>,
    id: String,
    /// What one attempt may cost, with so much output as was reserved for it.
    attempt_nanousd: i64,
    attempt_output_tokens: u64,
    /// What an output token costs.
    output_picousd: i64,
    /// Absent: all of the output is paid for, or nothing bounds it.
    slice: Option<Slice>,
    /// For output while metering is away.
    allowance: Option<Arc<Allowance>>,
    clock: Arc<dyn Clock>,
    /// Whether a budget could refuse anything.
    bounded: bool,
    extensions: u32,
    life: Duration,
    renewal: Option<Pin<Box<Sleep>>>,
    owed: Owed,
    /// To the executor, which waits for the word that attempts are paid for.
    executor: Option<mpsc::Sender<u32>>,
    asking: Option<Asking>,
    /// What is still to be asked for, beside the answer.
    beside: VecDeque<Beside>,
}

/// Money for something beside the answer.
struct Beside {
    purpose: &'static str,
    target_id: String,
    output_tokens: u64,
    tell: oneshot::Sender<Paid>,
}

/// Whether something is paid for.
enum Paid {
    Told(bool),
    /// The answer ended before metering had said so.
    Asking(Call),
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
    call: Mutex<Call>,
    /// The attempt that is paid for by it: nothing more is asked for before. 0: none.
    attempt: u32,
    /// Output tokens that are paid for by it.
    output_tokens: u64,
    /// Who waits for it beside the answer; it pays for nothing else then.
    beside: Option<oneshot::Sender<Paid>>,
}

impl Drop for Grant {
    /// Nothing more is asked for by this grant, so what is under way, or would be next, goes on by itself.
    fn drop(&mut self) {
        let under_way =
            self.asking.take().and_then(|asking| Some((asking.beside?, asking.call.into_inner())));
        let next = under_way.or_else(|| {
            let beside = self.beside.pop_front()?;
            let call = self.ask_for(beside.purpose, 0, beside.output_tokens, &beside.target_id);
            Some((beside.tell, call))
        });
        if let Some((tell, call)) = next {
            let _gone = tell.send(Paid::Asking(call));
        }
    }
}

impl Grant {
    /// The reservation of an admitted request; `None` when nothing was reserved for it.
    pub(crate) fn new(
        mesh: &Mesh,
        context: &RequestContext,
        reservation: &Reservation,
        allowance: Option<Arc<Allowance>>,
    ) -> Option<Box<Self>> {
        if reservation.id.is_empty() {
            return None;
        }
        let (metering, context) = (mesh.parts.metering.clone(), context.clone());
        let limit_ms = mesh.config.load().steps.admit_ms;
        let metering = Box::new(move |request| -> Call {
            let extended = metering.unary(paths::EXTEND, context.request(request));
            Box::pin(async move {
                let answer: ExtendResponse = parts::step("metering", limit_ms, extended).await?;
                Ok(answer.reservation.unwrap_or_default())
            })
        });
        Some(Box::new(Self::over(metering, Arc::clone(&mesh.clock), reservation, allowance)))
    }

    fn over(
        metering: Box<dyn Fn(ExtendRequest) -> Call + Send + Sync>,
        clock: Arc<dyn Clock>,
        reservation: &Reservation,
        allowance: Option<Arc<Allowance>>,
    ) -> Self {
        let left = reservation.expires_unix_ms.saturating_sub(clock.unix_ms());
        Self {
            metering,
            id: reservation.id.clone(),
            attempt_nanousd: reservation.amount_nanousd,
            attempt_output_tokens: reservation.granted_output_tokens,
            output_picousd: reservation.output_picousd,
            slice: Slice::of(reservation),
            allowance,
            clock,
            bounded: reservation.granted_output_tokens > 0,
            extensions: 0,
            life: Duration::from_millis(u64::try_from(left).unwrap_or_default()).max(LEAST_LIFE),
            renewal: None,
            owed: Owed::default(),
            executor: None,
            asking: None,
            beside: VecDeque::new(),
        }
    }

    /// Reserves another attempt. False: there is no money for it, or nobody who could say so.
    ///
    /// Cancel safe: what was reserved and is not spent returns when the request is settled.
    pub(crate) async fn covers_another(&mut self, purpose: &str) -> bool {
        self.covers(purpose, self.attempt_nanousd, self.attempt_output_tokens).await
    }

    /// Reserves another attempt in the place of one whose answer is not used. As [`Grant::covers_another`].
    pub(crate) async fn covers_again(&mut self) -> bool {
        let covered = self.covers_another("attempt").await;
        if let Some(slice) = self.slice.as_mut().filter(|_| covered) {
            slice.again(self.attempt_output_tokens);
        }
        covered
    }

    /// Reserves output tokens at the dearest price of the request, for something small beside the answer. As
    /// [`Grant::covers_another`].
    pub(crate) async fn covers_tokens(&mut self, purpose: &str, output_tokens: u64) -> bool {
        self.covers(purpose, 0, output_tokens).await
    }

    /// Reserves tokens at a target's output price, for something beside the answer; true: they are paid for. It is asked for in its turn
    /// while the answer flows, because metering takes extensions in the order of their numbers alone, and costs the answer no time.
    pub(crate) fn reserve(
        &mut self,
        purpose: &'static str,
        target_id: &str,
        output_tokens: u64,
    ) -> impl Future<Output = bool> + Send + 'static + use<> {
        let (tell, told) = oneshot::channel();
        let beside = Beside { purpose, target_id: target_id.to_owned(), output_tokens, tell };
        if self.bounded {
            self.beside.push_back(beside);
        } else {
            let _gone = beside.tell.send(Paid::Told(true));
        }
        async move {
            match told.await {
                Ok(Paid::Told(paid)) => paid,
                Ok(Paid::Asking(call)) => call.await.is_ok(),
                Err(_gone) => false,
            }
        }
    }

    /// How long the reservation lasts that nobody renews.
    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    async fn covers(&mut self, purpose: &str, amount_nanousd: i64, output_tokens: u64) -> bool {
        if !self.bounded {
            return true;
        }
        // Metering takes extensions in the order of their numbers: one that overtakes another would be granted in the other's place.
        let mut asked = poll_fn(|cx| self.poll_asked(cx)).await;
        if asked.is_ok() {
            asked = self.ask(purpose, amount_nanousd, output_tokens).await.map(drop);
        }
        asked.inspect_err(|status| refused(purpose, status)).is_ok()
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

    /// Notes what passes of the answer.
    pub(crate) fn note(&mut self, event: &GenerateEvent) {
        if let Some(slice) = &mut self.slice {
            slice.note(event);
        }
    }

    /// What the attempt under way costs so far, at the price by which it was reserved.
    pub(crate) fn cost_nanousd(&self) -> i64 {
        let input = self.attempt_nanousd.saturating_sub(self.output_nanousd(self.attempt_output_tokens));
        let passed = self.slice.as_ref().map_or(0, Slice::passed);
        input.saturating_add(self.output_nanousd(passed))
    }

    fn output_nanousd(&self, tokens: u64) -> i64 {
        let pico = i128::from(tokens) * i128::from(self.output_picousd);
        i64::try_from((pico + 999) / 1_000).unwrap_or(i64::MAX)
    }

    /// Ready when the answer may go on. An error is metering's refusal. Metering that is away stops no attempt: what was
    /// spent is settled from the spool.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            match self.poll_asked(cx) {
                Poll::Ready(asked) => asked?,
                Poll::Pending if self.asks_for_an_attempt() || self.is_used_up() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
            }
            let Owed { nanousd, output_tokens, attempt } = std::mem::take(&mut self.owed);
            let mut waits = None;
            let (call, output_tokens) = if nanousd > 0 || output_tokens > 0 {
                (self.ask("attempt", nanousd, output_tokens), 0)
            } else {
                self.paid(attempt);
                if let Some(beside) = self.beside.pop_front() {
                    waits = Some(beside.tell);
                    (self.ask_for(beside.purpose, 0, beside.output_tokens, &beside.target_id), 0)
                } else if let Some(tokens) = self.slice.as_ref().and_then(Slice::wants) {
                    (self.ask("output", 0, tokens), tokens)
                } else if let Some(refused) = self.slice.as_mut().and_then(Slice::end) {
                    return Poll::Ready(Err(refused));
                } else if self.renewal_is_due(cx) {
                    (self.ask("output", 0, 0), 0)
                } else {
                    return Poll::Ready(Ok(()));
                }
            };
            // Nothing of the answer waits for what is beside it.
            let attempt = if waits.is_some() { 0 } else { attempt };
            self.asking = Some(Asking { call: Mutex::new(call), attempt, output_tokens, beside: waits });
        }
    }

    /// Ready when nothing is being asked for; what was is taken into account. An error as of [`Grant::poll`].
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Some(asking) = &mut self.asking else { return Poll::Ready(Ok(())) };
        let answer = ready!(asking.call.get_mut().as_mut().poll(cx));
        let (attempt, output_tokens, beside) = (asking.attempt, asking.output_tokens, asking.beside.take());
        self.asking = None;
        match answer {
            answer if beside.is_some() => {
                let paid = answer.inspect_err(|status| refused("shadow", status)).is_ok();
                let _gone = beside.map(|tell| tell.send(Paid::Told(paid)));
            }
            Ok(_) if output_tokens > 0 => self.extended(output_tokens),
            Ok(_) => {}
            Err(status) if output_tokens > 0 => self.not_extended(output_tokens, status),
            Err(status) if status.code() == Code::ResourceExhausted => return Poll::Ready(Err(status)),
            Err(status) => tracing::warn!(code = ?status.code(), "a reservation could not be extended"),
        }
        self.paid(attempt);
        Poll::Ready(Ok(()))
    }

    fn asks_for_an_attempt(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.attempt > 0)
    }

    fn is_used_up(&self) -> bool {
        self.slice.as_ref().is_some_and(Slice::is_used_up)
    }

    fn extended(&mut self, tokens: u64) {
        if let Some(slice) = &mut self.slice {
            slice.granted(tokens);
        }
    }

    /// Output that metering does not pay for. Of one that is away the allowance does, as long as it lasts.
    fn not_extended(&mut self, tokens: u64, status: Status) {
        let away = is_away(&status) || status.code() == Code::DeadlineExceeded;
        if away {
            let price = self.output_nanousd(tokens);
            if self.allowance.as_ref().is_some_and(|a| a.spend(price, self.clock.unix_ms())) {
                return self.extended(tokens);
            }
        }
        let exhausted = status.code() == Code::ResourceExhausted;
        let status = if away { allowance_exhausted() } else { status };
        if let Some(slice) = &mut self.slice {
            slice.refused(tokens, status, !exhausted);
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

    fn ask(&mut self, purpose: &str, amount_nanousd: i64, output_tokens: u64) -> Call {
        self.ask_for(purpose, amount_nanousd, output_tokens, "")
    }

    /// `target_id` says whose price applies; empty: the dearest of the request.
    fn ask_for(&mut self, purpose: &str, amount_nanousd: i64, output_tokens: u64, target_id: &str) -> Call {
        // Counted even if the answer is lost: a number that was used may not ask for another amount.
        self.extensions += 1;
        (self.metering)(ExtendRequest {
            reservation_id: self.id.clone(),
            extension: self.extensions,
            amount_nanousd,
            output_tokens,
            target_id: target_id.to_owned(),
            purpose: purpose.to_owned(),
        })
    }
}

fn refused(purpose: &str, status: &Status) {
    tracing::debug!(code = ?status.code(), purpose, "no money for something beside the answer");
}

/// Waits for a grant, where there is one.
pub(crate) fn poll(grant: &mut Option<Box<Grant>>, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
    Poll::Ready(match grant {
        Some(grant) => ready!(grant.poll(cx)),
        None => Ok(()),
    })
}

/// Ends an answer for which there is no more money.
pub(crate) fn end(
    grant: &Option<Box<Grant>>,
    progress: &Mutex<Progress>,
    why: Status,
) -> Option<GenerateEvent> {
    let grant = grant.as_ref()?;
    progress.lock().spent(why, grant.clock.unix_ms(), grant.cost_nanousd())
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

#[cfg(test)]
mod tests {
    use signalbox_mesh::ManualClock;

    use super::*;

    type Asks = mpsc::Receiver<(ExtendRequest, oneshot::Sender<Result<Reservation, Status>>)>;

    /// A grant, and what metering is asked, with the way to answer it.
    fn grant() -> (Grant, Asks) {
        let (asked, asks) = mpsc::channel(4);
        let metering = Box::new(move |request| -> Call {
            let (answer, answered) = oneshot::channel();
            asked.try_send((request, answer)).unwrap();
            Box::pin(async move { answered.await.unwrap() })
        });
        let reservation = Reservation {
            id: "r".into(),
            amount_nanousd: 1_000,
            granted_output_tokens: 10,
            expires_unix_ms: 60_000,
            ..Reservation::default()
        };
        (Grant::over(metering, Arc::new(ManualClock::new(0)), &reservation, None), asks)
    }

    fn failed(number: u32, cost_nanousd: i64) -> Attempt {
        Attempt { number, cost_nanousd, outcome: AttemptOutcome::Timeout.into(), ..Attempt::default() }
    }

    #[tokio::test]
    async fn what_is_asked_for_does_not_overtake_what_is_under_way() {
        let (mut grant, mut asks) = grant();
        grant.ended(&failed(1, 700));
        let waiting = poll_fn(|cx| Poll::Ready(grant.poll(cx))).await;
        assert!(waiting.is_pending(), "the attempt is to be paid for first");
        let (first, answer) = asks.try_recv().unwrap();
        assert_eq!((first.extension, first.amount_nanousd), (1, 700));

        let again = tokio::spawn(async move { (grant.covers_again().await, grant) });
        tokio::task::yield_now().await;
        assert!(asks.try_recv().is_err(), "the first is under way");
        answer.send(Ok(Reservation::default())).unwrap();
        let (second, answer) = asks.recv().await.unwrap();
        assert_eq!((second.extension, second.amount_nanousd, second.output_tokens), (2, 1_000, 10));
        answer.send(Ok(Reservation::default())).unwrap();
        assert!(again.await.unwrap().0);
    }

    #[tokio::test]
    async fn nothing_more_is_asked_for_when_what_is_under_way_is_refused() {
        let (mut grant, mut asks) = grant();
        grant.ended(&failed(1, 700));
        let _waiting = poll_fn(|cx| Poll::Ready(grant.poll(cx))).await;
        let (_, answer) = asks.try_recv().unwrap();
        answer.send(Err(Status::resource_exhausted("no money"))).unwrap();
        assert!(!grant.covers_again().await);
        assert!(asks.try_recv().is_err());
    }
}
