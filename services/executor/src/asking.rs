//! From a plan to the first piece of output.

use std::sync::Arc;
use std::time::Duration;

use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome};
use signalbox_wire::ErrorClass;
use tokio::time::Instant;
use tonic::Status;

use crate::account::{Record, Written, millis};
use crate::attempt::{Missed, Spoken, Wish, attempt};
use crate::course::Step;
use crate::execute::{Execution, Live, Pace, State};
use crate::failure::{self, Failure};
use crate::race::{ABREAST, Contender, first};
use crate::rescue::Way;
use crate::trail::Trail;
use crate::watch::Watch;

/// What is due when nobody spoke in time.
enum Due {
    /// The newest has had its time.
    Late,
    /// The only one is slower than its target mostly is.
    Slow,
}

impl Execution {
    /// Asks down the plan until somebody speaks, or nobody is left.
    pub(crate) async fn ask(&mut self, step: Step) -> State {
        let mut field = Vec::with_capacity(1);
        let mut timer = Watch::default();
        // The end of patience with the newest; those before it may still speak until then.
        let mut patience = self.enter(&mut field, step);
        let mut slow = self.slow(&field);
        let mut verdict: Option<Status> = None;
        loop {
            let (at, due) = match slow {
                Some(slow) if slow < patience => (slow, Due::Slow),
                _ => (patience, Due::Late),
            };
            match first(&mut field, &mut timer, at.min(self.deadline)).await {
                Some((record, Ok(spoken))) => return self.spoken(record, spoken, field),
                Some((record, Err(missed))) => match self.missed(&record, missed) {
                    // The report leaves before the next attempt begins, so that who pays can refuse it.
                    Ok(step) if field.is_empty() => return State::Ask(step),
                    Ok(step) => patience = self.enter(&mut field, step),
                    Err(status) => verdict = verdict.or(Some(status)),
                },
                None if Instant::now() >= self.deadline => return self.out_of_time(field),
                None if matches!(due, Due::Slow) => {
                    slow = None;
                    if let Some(step) = self.course.hedge() {
                        patience = self.enter(&mut field, step);
                    }
                }
                None => match self.late(&mut field, verdict.take()) {
                    Ok(step) => patience = self.enter(&mut field, step),
                    Err(status) => return self.silence(field, status),
                },
            }
            if field.is_empty() {
                let status = verdict.unwrap_or_else(|| failure::late(self.course.summary()));
                return self.give_up(status);
            }
        }
    }

    /// Starts an attempt, and returns until when it should have spoken.
    fn enter(&mut self, field: &mut Vec<Contender>, step: Step) -> Instant {
        if field.len() >= ABREAST {
            let oldest = field.remove(0);
            self.lost(oldest);
        }
        let Step { target, kind, wait, prefill } = step;
        let begins = Instant::now() + wait;
        self.number += 1;
        self.overhead.get_or_insert_with(|| begins - self.arrived);
        let (chat, kind) = match &mut self.rescue {
            None => (Arc::clone(&self.chat), kind),
            Some(rescue) => {
                let spent = target.tokens(&self.delivered.text);
                let chat = rescue.ask(&self.chat, &self.delivered, prefill, spent);
                (Arc::new(chat), AttemptKind::Rescue)
            }
        };
        let record = Record {
            target: Arc::clone(&target),
            number: self.number,
            kind,
            embeds: false,
            began: begins,
            unix_ms: self.core.clock.unix_ms().saturating_add_unsigned(millis(wait)),
            first_output: None,
            seen: Arc::default(),
            trail: Trail::of(self.trace.as_ref(), &self.core.random),
        };
        let patience = begins + self.core.first_output(&target, &self.limits);
        let wish = Wish {
            core: Arc::clone(&self.core),
            target,
            chat,
            deadline: self.deadline,
            around_filter: self.policy.route_around_content_filter,
            seen: Arc::clone(&record.seen),
            trace: record.trail.headers(),
        };
        field.push(Contender::new(record, async move {
            if !wait.is_zero() {
                tokio::time::sleep_until(begins).await;
            }
            attempt(wish).await
        }));
        patience
    }

    /// Returns when a second attempt is due beside the first, where that is asked for.
    fn slow(&self, field: &[Contender]) -> Option<Instant> {
        if !self.hedge || self.rescue.is_some() {
            return None;
        }
        let record = &field.first()?.record;
        Some(record.began + record.target.memory.stats.slow_first_output()?)
    }

    fn spoken(&mut self, mut record: Record, spoken: Spoken, losers: Vec<Contender>) -> State {
        let Spoken { answer, first, mut permit, held, watch } = spoken;
        permit.succeeded();
        let target = Arc::clone(&record.target);
        let took = record.began.elapsed();
        target.memory.stats.first_output(took);
        record.first_output = first.is_some().then_some(took);
        let late = losers.iter().map(|loser| u32::from(loser.late)).sum();
        self.begin(&target, late);
        for loser in losers {
            self.lost(loser);
        }
        let anew = self.rescue.as_ref().is_some_and(|rescue| rescue.way == Way::Restart);
        let from = if anew { 0 } else { self.delivered.text.len() };
        let written = Written::new(self.core.config.bounds.delivered_bytes, from);
        let idle = self.core.idle(&target, &self.limits);
        let live = Box::new(Live {
            answer,
            record,
            written,
            idle,
            alive: self.core.alive(&target, &self.limits),
            permit,
            pace: Pace::default(),
            watch,
            calls: Vec::new(),
            _held: held,
        });
        match first {
            Some(delta) => self.deliver(live, delta),
            None => self.finish(live),
        }
    }

    /// An attempt failed: the course decides what follows.
    fn missed(&mut self, record: &Record, missed: Missed) -> Result<Step, Status> {
        let failed = match missed {
            Missed::Unasked(failed) => *failed,
            Missed::Failed(mut permit, failed) => {
                permit.failed(failed.error.class, failed.error.retry_after, Instant::now());
                record.target.memory.stats.failed();
                *failed
            }
            Missed::Late => {
                let usage = self.partial(record.accepted());
                self.record(record, AttemptOutcome::Cancelled, usage, "the request's time is up", true);
                return Err(failure::late(self.course.summary()));
            }
            Missed::Unsayable(status) => {
                // Nothing was sent. The next candidate may speak a dialect that can say it.
                let class = ErrorClass::ModelMissing;
                let failed = Failure::unsent(AttemptOutcome::Rejected, class, status.message(), None);
                return self.course.after(&record.target, &failed).map_err(|_| status);
            }
        };
        let usage = self.partial(failed.accepted);
        self.record(record, failed.outcome, usage, &failed.error.message, failed.sent);
        self.course.after(&record.target, &failed)
    }

    /// The newest has not spoken within its time: it goes on, beside the next one.
    fn late(&mut self, field: &mut [Contender], verdict: Option<Status>) -> Result<Step, Status> {
        if let Some(status) = verdict {
            return Err(status);
        }
        let Some(newest) = field.last_mut() else { return Err(failure::late(self.course.summary())) };
        newest.late = true;
        let failed = Failure::seen(
            ErrorClass::Timeout,
            &silent(self.core.first_output(&newest.record.target, &self.limits)),
        );
        let target = Arc::clone(&newest.record.target);
        self.course.after(&target, &failed)
    }

    /// Nobody spoke and nobody is left.
    fn silence(&mut self, field: Vec<Contender>, status: Status) -> State {
        for mut contender in field {
            contender.late = true;
            self.lost(contender);
        }
        self.give_up(status)
    }

    /// The caller's time was too short: that says nothing about the targets.
    fn out_of_time(&mut self, field: Vec<Contender>) -> State {
        let words = "the request's time is up";
        for contender in field {
            let (record, _) = contender.stop();
            let failed = Failure::seen(ErrorClass::Timeout, words);
            self.course.note(&record.target, &failed);
            let usage = self.partial(record.accepted());
            self.record(&record, AttemptOutcome::Cancelled, usage, words, true);
        }
        let status = failure::late(self.course.summary());
        self.give_up(status)
    }

    /// Another spoke first.
    fn lost(&mut self, contender: Contender) {
        let (record, late) = contender.stop();
        if record.began > Instant::now() {
            // It was still waiting for its turn: nothing was sent.
            return;
        }
        let usage = self.partial(record.accepted());
        if late {
            record.target.memory.breaker.late(self.core.config.breaker, Instant::now());
            record.target.memory.stats.failed();
            let patience = self.core.first_output(&record.target, &self.limits);
            self.record(&record, AttemptOutcome::Timeout, usage, &silent(patience), true);
        } else {
            self.record(&record, AttemptOutcome::Cancelled, usage, "another attempt spoke first", true);
        }
    }
}

fn silent(patience: Duration) -> String {
    format!("no output within {} ms", millis(patience))
}
