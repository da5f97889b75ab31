//! The way of one request down its plan: which target is asked next, and when to give up.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use signalbox_mesh::{Random, RequestContext};
use signalbox_proto::common::v1::AttemptKind;
use signalbox_wire::ErrorClass;
use tokio::time::Instant;
use tonic::Status;

use crate::budget::Budget;
use crate::config::Retry;
use crate::failure::{self, Failure};
use crate::policy::{Remedy, row, wait};
use crate::target::Target;

/// How much of the list of attempts goes into an error, in bytes.
const SUMMARY: usize = 400;

/// Is the next attempt.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) target: Arc<Target>,
    pub(crate) kind: AttemptKind,
    /// How long to wait before.
    pub(crate) wait: Duration,
    /// Whether the target may be given the beginning of its answer.
    pub(crate) prefill: bool,
}

/// Is a target of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) target: Arc<Target>,
    /// Whether it may be given the beginning of its answer.
    pub(crate) prefill: bool,
}

/// Walks a plan. Never goes back to a candidate that it left.
#[derive(Debug)]
pub(crate) struct Course {
    plan: Vec<Candidate>,
    at: usize,
    /// Attempts at the current candidate.
    here: u32,
    /// The candidates asked: a second question to the same origin is paid from the retry budget.
    asked: Vec<usize>,
    retry: Retry,
    around_filter: bool,
    deadline: Instant,
    context: RequestContext,
    budget: Arc<Budget>,
    random: Random,
    summary: String,
    first: Option<(Failure, Arc<Target>)>,
    refused: bool,
}

/// Is what bounds a course.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) retry: Retry,
    /// Whether a content filter's refusal may be tried elsewhere.
    pub(crate) around_filter: bool,
    /// No wait goes beyond it.
    pub(crate) deadline: Instant,
    /// Holds the request's own retry budget.
    pub(crate) context: RequestContext,
    /// The retry budget of all requests.
    pub(crate) budget: Arc<Budget>,
    pub(crate) random: Random,
}

impl Course {
    /// Starts at the first candidate.
    pub(crate) fn new(plan: Vec<Candidate>, means: Means) -> Self {
        let Means { retry, around_filter, deadline, context, budget, random } = means;
        Self {
            plan,
            at: 0,
            here: 1,
            asked: Vec::new(),
            retry,
            around_filter,
            deadline,
            context,
            budget,
            random,
            summary: String::new(),
            first: None,
            refused: false,
        }
    }

    /// Returns the first attempt.
    pub(crate) fn first(&self) -> Option<Step> {
        self.plan.first()?;
        Some(self.step(AttemptKind::First, Duration::ZERO))
    }

    /// Returns the candidate whose turn it is.
    #[cfg(test)]
    pub(crate) fn here(&self) -> Arc<Target> {
        Arc::clone(&self.plan[self.at].target)
    }

    fn step(&self, kind: AttemptKind, wait: Duration) -> Step {
        let Candidate { target, prefill } = &self.plan[self.at];
        Step { target: Arc::clone(target), kind, wait, prefill: *prefill }
    }

    /// Decides what follows a failed attempt: another one, or the error that ends the request.
    pub(crate) fn after(&mut self, target: &Arc<Target>, failed: &Failure) -> Result<Step, Status> {
        self.note(target, failed);
        let class = failed.error.class;
        let mut remedy = if failed.sent { row(class).remedy } else { Remedy::Next };
        if failed.sent {
            self.asked.push(self.at);
        }
        if class == ErrorClass::ContentFilter && self.around_filter {
            remedy = Remedy::Next;
        }
        let step = match remedy {
            Remedy::Stop => None,
            Remedy::Next => self.next_candidate(None),
            Remedy::Larger => self.next_candidate(target.window),
            Remedy::RetryHere => self.again(target, failed).or_else(|| self.next_candidate(None)),
            Remedy::NextElseWait => self.next_candidate(None).or_else(|| self.again(target, failed)),
        };
        step.ok_or_else(|| self.give_up(failed, target))
    }

    /// Decides who goes on after a stream that broke: the next candidate, else the same one again unless it fell silent.
    pub(crate) fn rescue(&mut self, target: &Arc<Target>, failed: &Failure) -> Option<Step> {
        self.note(target, failed);
        self.asked.push(self.at);
        match row(failed.error.class).remedy {
            Remedy::Stop => None,
            Remedy::Larger => self.next_candidate(target.window),
            Remedy::Next => self.next_candidate(None),
            Remedy::RetryHere | Remedy::NextElseWait => {
                self.next_candidate(None).or_else(|| self.again(target, failed))
            }
        }
    }

    /// Chooses whom to ask beside one that is slow; paid from the retry budget.
    pub(crate) fn hedge(&mut self) -> Option<Step> {
        if self.at + 1 >= self.plan.len() || !self.pay() {
            return None;
        }
        self.asked.push(self.at);
        self.at += 1;
        self.here = 1;
        Some(self.step(AttemptKind::Hedge, Duration::ZERO))
    }

    /// Returns the attempts so far in few words: `a/b overloaded 503; a/b timeout`.
    pub(crate) fn summary(&self) -> &str {
        &self.summary
    }

    /// Notes a failure that nothing follows.
    pub(crate) fn note(&mut self, target: &Arc<Target>, failed: &Failure) {
        if self.summary.len() < SUMMARY {
            let gap = if self.summary.is_empty() { "" } else { "; " };
            let _infallible = write!(self.summary, "{gap}{} {}", target.id, failed.error.class.label());
            if let Some(status) = failed.error.status {
                let _infallible = write!(self.summary, " {status}");
            }
        }
        if self.first.is_none() {
            self.first = Some((failed.clone(), Arc::clone(target)));
        }
    }

    fn again(&mut self, target: &Arc<Target>, failed: &Failure) -> Option<Step> {
        // Another was asked beside it: it is no longer the one whose turn it is.
        let left = self.plan.get(self.at).is_none_or(|here| !Arc::ptr_eq(&here.target, target));
        if left || self.here >= self.retry.attempts_per_target {
            return None;
        }
        let wait = wait(self.retry, failed.error.retry_after, self.here - 1, &self.random)?;
        if Instant::now() + wait >= self.deadline || !self.pay() {
            return None;
        }
        self.here += 1;
        Some(self.step(AttemptKind::Retry, wait))
    }

    /// Goes on to the next candidate; beyond `window`, to one that is known to take more, or of which nothing is known.
    fn next_candidate(&mut self, window: Option<u64>) -> Option<Step> {
        for next in self.at + 1..self.plan.len() {
            let target = &self.plan[next].target;
            let larger = match (window, target.window) {
                (Some(before), Some(after)) => after > before,
                _ => true,
            };
            if !larger {
                continue;
            }
            let known = self.asked.iter().any(|i| self.plan[*i].target.base.origin == target.base.origin);
            if known && !self.pay() {
                continue;
            }
            self.at = next;
            self.here = 1;
            return Some(self.step(AttemptKind::Fallback, Duration::ZERO));
        }
        None
    }

    /// Pays for asking a provider again, from the request's own budget and from that of the process.
    fn pay(&mut self) -> bool {
        let paid = self.context.retry_budget() != Some(0) && self.budget.take();
        if paid {
            self.context.take_retry();
        }
        self.refused |= !paid;
        paid
    }

    /// Chooses the error: one that says what is wrong with the request, else the first one, which is nearest to the cause.
    fn give_up(&mut self, last: &Failure, target: &Arc<Target>) -> Status {
        let telling = matches!(row(last.error.class).remedy, Remedy::Stop | Remedy::Larger);
        let (failed, target) = match self.first.take() {
            Some(first) if !telling => first,
            _ => (last.clone(), Arc::clone(target)),
        };
        if self.refused && !telling {
            return failure::no_budget(&failed, &target.id, &self.summary);
        }
        failure::exhausted(&failed, &target.id, &self.summary)
    }
}
