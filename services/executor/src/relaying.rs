//! From the first piece of output to the end, or to a rescue.

use std::sync::Arc;

use futures_util::FutureExt as _;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{
    AttemptOutcome, Delta, Finished, Notice, Timings, UsageSource, generate_event, notice,
};
use signalbox_wire::{ErrorClass, ProviderError};
use tokio::time::Instant;

use crate::account::millis;
use crate::answer::{Next, Patience};
use crate::config::ms;
use crate::execute::{Broke, Execution, Live, Pace, State};
use crate::failure::{self, Failure};
use crate::rescue::{Forward, Rescue, way};

/// What a model is recorded with that did not go on from what was delivered.
const STARTED_OVER: &str = "the model started over instead of going on";
/// The most pieces that are passed on in one go: the reader of the answer decides when it wants more.
const AT_ONCE: usize = 32;
/// The most tool-call pieces that are held back; with more they are sent, and no rescue is possible any more.
const HELD_CALLS: usize = 4_096;

impl Execution {
    /// Passes on what came, or waits for more.
    pub(crate) async fn relay(&mut self, mut live: Box<Live>) -> State {
        // Counted from here: while the reader is slow nobody asks the provider for more, so it cannot be late.
        let began = Instant::now();
        let patience = Patience {
            until: (began + live.idle).min(self.deadline),
            idle: live.idle,
            last: (began + live.alive).min(self.deadline),
        };
        match live.answer.next(&mut live.watch, patience).await {
            Next::Delta(delta) => {
                live.pace.waited += began.elapsed().min(live.idle);
                self.deliver(live, delta)
            }
            // Nothing of the answer can follow the finish reason, whatever becomes of the connection.
            Next::End | Next::Elapsed | Next::Cut(_) if live.answer.summary().finish_reason.is_some() => {
                self.finish(live)
            }
            Next::Error(error) => {
                let outcome = crate::policy::row(error.class).outcome;
                let error = error.without(live.record.target.credential.secret());
                self.broken(live, Failure::broken(outcome, error))
            }
            Next::Cut(error) => self.broken(live, Failure::broken(AttemptOutcome::Cut, error)),
            Next::End => {
                let error =
                    ProviderError::new(ErrorClass::Protocol, "the stream ended without a finish reason");
                self.broken(live, Failure::broken(AttemptOutcome::Cut, error))
            }
            Next::Elapsed => {
                let words = format!("no output for {} ms", millis(began.elapsed()));
                let error = ProviderError::new(ErrorClass::Timeout, &words);
                self.broken(live, Failure::broken(AttemptOutcome::Stalled, error))
            }
        }
    }

    /// Passes on a piece, and what else has come by now.
    pub(crate) fn deliver(&mut self, mut live: Box<Live>, delta: Delta) -> State {
        let (mut next, mut left) = (Some(delta), AT_ONCE);
        while let Some(delta) = next {
            if !self.pass(&mut live, delta) {
                return self.started_over(live);
            }
            left -= 1;
            next = if left > 0 { live.answer.ready() } else { None };
        }
        if self.drips(&mut live) {
            let limits = self.core.config.limits;
            let words = format!("less than {} bytes in {} ms of waiting", limits.drip_bytes, limits.drip_ms);
            let error = ProviderError::new(ErrorClass::Timeout, &words);
            return self.broken(live, Failure::broken(AttemptOutcome::Stalled, error));
        }
        State::Relay(live)
    }

    /// False: the model started over, and its text is of no use.
    fn pass(&mut self, live: &mut Live, mut delta: Delta) -> bool {
        live.pace.bytes += live.written.note(&delta);
        match &mut delta.content {
            // So that it can be handed back to whom it belongs, and to nobody else.
            Some(Content::Reasoning(reasoning)) => {
                reasoning.provider = Some(live.record.target.provider.clone());
            }
            Some(Content::ToolCall(_)) if self.policy.hold_tool_calls => {
                live.calls.push(delta);
                return live.calls.len() < HELD_CALLS || self.release(live);
            }
            _ => {}
        }
        self.join(live, Some(delta))
    }

    /// Joins a piece to what was delivered; `None`: nothing more comes.
    fn join(&mut self, live: &Live, delta: Option<Delta>) -> bool {
        let Some(rescue) = &mut self.rescue else {
            if let Some(delta) = delta {
                self.forward(delta);
            }
            return true;
        };
        let (target, at) = (&live.record.target, self.delivered.bytes);
        let forward = match delta {
            Some(delta) => rescue.take(delta, target, at),
            None => rescue.end(target, at),
        };
        match forward {
            Forward::StartedOver => false,
            Forward::Send(seam, deltas) => {
                if let Some(seam) = seam {
                    self.seam(seam);
                }
                for delta in deltas {
                    self.forward(delta);
                }
                true
            }
        }
    }

    /// Sends the tool calls that were held back.
    fn release(&mut self, live: &mut Live) -> bool {
        std::mem::take(&mut live.calls).into_iter().all(|delta| self.join(live, Some(delta)))
    }

    /// Whether less comes than a reader can use.
    fn drips(&self, live: &mut Live) -> bool {
        let limits = self.core.config.limits;
        if limits.drip_ms == 0 || live.pace.waited < ms(limits.drip_ms) {
            return false;
        }
        std::mem::take::<Pace>(&mut live.pace).bytes < limits.drip_bytes
    }

    /// Ends the answer: it is complete.
    pub(crate) fn finish(&mut self, mut live: Box<Live>) -> State {
        if !self.release(&mut live) || !self.join(&live, None) {
            return self.started_over(live);
        }
        let target = Arc::clone(&live.record.target);
        self.tidy(&live);
        if self.skipped > 0 {
            self.incomplete();
        }
        let summary = live.answer.summary();
        let usage = summary.usage.unwrap_or_else(|| self.counted(&live, UsageSource::Estimated));
        let finish_reason = summary.finish_reason.unwrap_or_default();
        let (word, id, extra) =
            (summary.provider_finish_reason.clone(), summary.response_id.clone(), summary.extra.clone());
        self.record(&live.record, AttemptOutcome::Ok, usage, "", true);
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
            skipped_chunks: self.skipped,
        };
        self.emit(generate_event::Kind::Finished(finished.into()));
        // Usually the last bytes are there already; then nothing is left to do.
        let last_bytes = live.answer.drain(&mut live.watch, Instant::now()).now_or_never();
        match last_bytes {
            Some(()) => State::Done,
            None => State::Drain(live),
        }
    }

    /// Counts what was odd about an answer.
    fn tidy(&mut self, live: &Live) {
        let stats = &live.record.target.memory.stats;
        let skipped = live.answer.summary().malformed;
        if skipped > 0 {
            tracing::warn!(target_id = %live.record.target.id, chunks = skipped, "unreadable chunks were skipped");
            stats.skipped(skipped);
            self.skipped += skipped;
        }
        if self.delivered.beyond() {
            stats.unkept();
        }
    }

    /// Tells the client that the answer may have gaps.
    fn incomplete(&mut self) {
        let notice = Notice {
            kind: notice::Kind::Incomplete.into(),
            part: "executor".to_owned(),
            message: "parts of the provider's stream could not be read; the answer may have gaps".to_owned(),
            count: self.skipped,
            r#type: String::new(),
        };
        self.emit(generate_event::Kind::Notice(notice));
    }

    /// The stream broke after output: another goes on, or it ends with an error. It is never called complete.
    fn broken(&mut self, mut live: Box<Live>, failed: Failure) -> State {
        let late = Instant::now() >= self.deadline;
        let target = Arc::clone(&live.record.target);
        if !late {
            live.permit.failed(failed.error.class, None, Instant::now());
            target.memory.stats.failed();
        }
        self.tidy(&live);
        let reported = live.answer.summary().usage;
        let usage = reported.unwrap_or_else(|| self.counted(&live, UsageSource::Partial));
        let outcome = if late { AttemptOutcome::Cancelled } else { failed.outcome };
        self.record(&live.record, outcome, usage, &failed.error.message, true);
        if late {
            self.course.note(&target, &failed);
            let status = failure::late(self.course.summary());
            return self.give_up(status);
        }
        // A rescuer that broke before its text was passed on changed nothing for the client.
        let noticed = self.rescue.as_ref().is_none_or(Rescue::joined);
        drop(live);
        self.go_on(&target, failed, noticed)
    }

    /// A rescuer's text is of no use; the target itself did nothing wrong.
    fn started_over(&mut self, live: Box<Live>) -> State {
        let target = Arc::clone(&live.record.target);
        let reported = live.answer.summary().usage;
        let usage = reported.unwrap_or_else(|| self.counted(&live, UsageSource::Partial));
        self.record(&live.record, AttemptOutcome::Protocol, usage, STARTED_OVER, true);
        drop(live);
        // As after silence: the same model would do the same again.
        let error = ProviderError::new(ErrorClass::Timeout, STARTED_OVER);
        self.go_on(&target, Failure::broken(AttemptOutcome::Protocol, error), false)
    }

    fn go_on(&mut self, target: &Arc<crate::target::Target>, failed: Failure, noticed: bool) -> State {
        let way = way(&self.policy, &self.chat, &self.delivered);
        let step = match way {
            Some(_) if self.rescues < self.core.config.rescue.attempts => self.course.rescue(target, &failed),
            _ => {
                self.course.note(target, &failed);
                None
            }
        };
        if self.delivered.beyond() {
            tracing::info!(target_id = %target.id, "too much was delivered for a rescue");
        }
        if let (Some(way), true) = (way, noticed) {
            self.rescue = Some(Rescue::new(way, &target.id, &failed));
        }
        let bytes = self.delivered.bytes;
        let broke = Broke { failed, target_id: target.id.clone(), bytes };
        let status = failure::broken(&broke.failed, &broke.target_id, bytes, self.course.summary());
        self.broke.get_or_insert(broke);
        match step {
            Some(step) => {
                self.rescues += 1;
                State::Ask(step)
            }
            None => self.give_up(status),
        }
    }

    /// Counts what the provider did not report.
    fn counted(&self, live: &Live, source: UsageSource) -> signalbox_proto::common::v1::Usage {
        live.written.usage(&live.record.target, &self.delivered.text, self.input_tokens, source)
    }
}
