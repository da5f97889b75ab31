//! Sends requests, in a closed or an open loop, and keeps what came of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    latency::{Latencies, Quantiles},
    workload::{Amount, Load, Prompts, Schedule},
};

/// How long an answer may take until its request counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many kinds of errors are told apart.
const ERROR_KINDS: usize = 16;

/// One asker, with a connection of its own or a share of one.
pub(super) trait Ask: Send + 'static {
    /// Asks, and takes the whole answer.
    ///
    /// # Errors
    /// What failed. The first line names the kind.
    fn ask(&mut self, prompt: String) -> impl Future<Output = Result<Answered, String>> + Send;
}

/// An answer that came whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answered {
    /// When its first piece of text came. `None` when it was not streamed.
    pub(super) first: Option<Instant>,
    /// Pieces of text.
    pub(super) chunks: u64,
    /// Whether it came from a cache.
    pub(super) cached: bool,
    /// Whether the mesh went without one of its parts.
    pub(super) degraded: bool,
}

/// What came of all requests.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) cached: u64,
    pub(super) degraded: u64,
    pub(super) chunks: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    pub(super) latency: Option<Quantiles>,
    /// To the first piece of text; `None` when answers were whole.
    pub(super) first: Option<Quantiles>,
    /// How often each kind of error came; no prompt and no answer stands in them.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Outcome {
    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        float(self.answered) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The error that came most often.
    pub(super) fn usual_error(&self) -> Option<&str> {
        self.errors.iter().max_by_key(|(_, count)| **count).map(|(error, _)| error.as_str())
    }
}

/// A count as a number to calculate with; exact up to 2^53.
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Has the askers send requests until the amount is reached and every answer is there.
///
/// In an open loop, requests that are due wait while all askers are busy, and their wait counts.
///
/// Dropping the future abandons the open requests.
///
/// # Errors
/// A thread that cannot be started.
pub(super) async fn drive<A: Ask>(
    askers: Vec<A>,
    load: Load,
    amount: Amount,
    prompts: &Arc<Prompts>,
) -> Result<Outcome, String> {
    let course = Arc::new(Course::new(Instant::now(), load, amount, Arc::clone(prompts))?);
    let _pacer = Pacer::start(&course)?;
    let mut running = JoinSet::new();
    for asker in askers {
        running.spawn(attend(asker, Arc::clone(&course)));
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| format!("an asker ended early: {error}"))?;
    }
    let elapsed = course.begun.elapsed();
    let tally = course.tally();
    Ok(Outcome {
        answered: tally.answered,
        failed: tally.errors.values().sum(),
        cached: tally.cached,
        degraded: tally.degraded,
        chunks: tally.chunks,
        elapsed,
        latency: tally.latency.quantiles(),
        first: tally.first.quantiles(),
        errors: tally.errors.clone(),
    })
}

/// One asker's way through the course.
async fn attend<A: Ask>(mut asker: A, course: Arc<Course>) {
    while let Some(due) = course.next().await {
        let prompt = course.prompts.next();
        let answer = tokio::time::timeout(PATIENCE, asker.ask(prompt)).await;
        let ended = Instant::now();
        let mut tally = course.tally();
        match answer {
            Ok(Ok(answered)) => tally.answered(due, ended, answered),
            Ok(Err(error)) => tally.failed(error),
            Err(_) => tally.failed(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// What all askers share.
#[derive(Debug)]
struct Course {
    begun: Instant,
    pace: Pace,
    prompts: Arc<Prompts>,
    tally: Mutex<Tally>,
}

#[derive(Debug)]
enum Pace {
    Closed {
        until: Option<Instant>,
        left: AtomicU64,
    },
    /// `due` has a permit for each request that is due and not yet sent.
    Open {
        schedule: Schedule,
        due: Semaphore,
        sent: AtomicU64,
    },
}

impl Course {
    fn new(begun: Instant, load: Load, amount: Amount, prompts: Arc<Prompts>) -> Result<Self, String> {
        let pace = match (load, amount) {
            (Load::Closed, Amount::Requests(requests)) => {
                Pace::Closed { until: None, left: AtomicU64::new(requests) }
            }
            (Load::Closed, Amount::Time(time)) => {
                Pace::Closed { until: begun.checked_add(time), left: AtomicU64::new(u64::MAX) }
            }
            (Load::Open(per_second), amount) => Pace::Open {
                schedule: Schedule::new(per_second, amount),
                due: Semaphore::new(0),
                sent: AtomicU64::new(0),
            },
        };
        Ok(Self { begun, pace, prompts, tally: Mutex::new(Tally::empty()?) })
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent, and says when it was due; `None` when all were sent.
    async fn next(&self) -> Option<Instant> {
        match &self.pace {
            Pace::Closed { until, left } => {
                let now = Instant::now();
                let left =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                (left.is_ok() && until.is_none_or(|until| now < until)).then_some(now)
            }
            Pace::Open { schedule, due, sent } => {
                // Refused when the last request was sent.
                due.acquire().await.ok()?.forget();
                let number = sent.fetch_add(1, Ordering::Relaxed);
                if number + 1 == schedule.total() {
                    due.close();
                }
                self.begun.checked_add(schedule.at(number))
            }
        }
    }

    /// Releases requests when they are due, until all are or the course is abandoned.
    fn release(&self, schedule: &Schedule, gate: &Semaphore) {
        let mut released = 0;
        while released < schedule.total() && !gate.is_closed() {
            let due = schedule.due(self.begun.elapsed());
            gate.add_permits(usize::try_from(due.saturating_sub(released)).unwrap_or_default());
            released = released.max(due);
            thread::park_timeout(schedule.at(released).saturating_sub(self.begun.elapsed()));
        }
    }
}

/// Releases the requests of an open loop, on a thread of its own: the runtime's timers round up to the millisecond, which is
/// more than what is measured. Ends when it is dropped.
struct Pacer {
    course: Arc<Course>,
    thread: Option<thread::Thread>,
}

impl Pacer {
    fn start(course: &Arc<Course>) -> Result<Self, String> {
        let released = Arc::clone(course);
        let release = move || {
            if let Pace::Open { schedule, due, .. } = &released.pace {
                released.release(schedule, due);
            }
        };
        let thread = match &course.pace {
            Pace::Closed { .. } => None,
            Pace::Open { .. } => {
                let started = thread::Builder::new().name("pacer".to_owned()).spawn(release);
                Some(
                    started.map_err(|error| format!("a thread cannot be started: {error}"))?.thread().clone(),
                )
            }
        };
        Ok(Self { course: Arc::clone(course), thread })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        if let Pace::Open { due, .. } = &self.course.pace {
            due.close();
        }
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

#[derive(Debug)]
struct Tally {
    answered: u64,
    cached: u64,
    degraded: u64,
    chunks: u64,
    latency: Latencies,
    first: Latencies,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn empty() -> Result<Self, String> {
        Ok(Self {
            answered: 0,
            cached: 0,
            degraded: 0,
            chunks: 0,
            latency: Latencies::new()?,
            first: Latencies::new()?,
            errors: BTreeMap::new(),
        })
    }

    fn answered(&mut self, due: Instant, ended: Instant, answer: Answered) {
        self.answered += 1;
        self.cached += u64::from(answer.cached);
        self.degraded += u64::from(answer.degraded);
        self.chunks += answer.chunks;
        self.latency.record(ended.saturating_duration_since(due));
        if let Some(first) = answer.first {
            self.first.record(first.saturating_duration_since(due));
        }
    }

    fn failed(&mut self, error: String) {
        let known = self.errors.contains_key(&error) || self.errors.len() < ERROR_KINDS;
        *self.errors.entry(if known { error } else { "other errors".to_owned() }).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once; every `fails`th request fails, each with an error of its own.
    struct Instantly {
        asked: Arc<AtomicU64>,
        fails: u64,
    }

    impl Ask for Instantly {
        async fn ask(&mut self, _prompt: String) -> Result<Answered, String> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            if number.is_multiple_of(self.fails) {
                return Err(format!("error {number}"));
            }
            Ok(Answered { first: Some(Instant::now()), chunks: 16, cached: number == 1, degraded: false })
        }
    }

    async fn outcome(load: Load, requests: u64, fails: u64) -> Outcome {
        let asked = Arc::new(AtomicU64::new(0));
        let askers = (0..4).map(|_| Instantly { asked: Arc::clone(&asked), fails }).collect();
        let prompts = Arc::new(Prompts::new(0));
        drive(askers, load, Amount::Requests(requests), &prompts).await.unwrap()
    }

    #[tokio::test]
    async fn each_request_is_sent_once_in_either_loop() {
        for load in [Load::Closed, Load::Open(100_000.0)] {
            let outcome = outcome(load, 1_000, u64::MAX).await;
            assert_eq!((outcome.answered, outcome.failed, outcome.cached), (1_000, 0, 1), "{load:?}");
            assert_eq!(outcome.chunks, 16_000);
            assert!(outcome.latency.is_some() && outcome.first.is_some());
            assert!(outcome.rate() > 0.0);
        }
    }

    #[tokio::test]
    async fn errors_are_counted_and_few_kinds_are_kept() {
        let outcome = outcome(Load::Closed, 1_000, 10).await;
        assert_eq!((outcome.answered, outcome.failed), (900, 100));
        assert_eq!(outcome.errors.len(), ERROR_KINDS + 1);
        assert_eq!(outcome.usual_error(), Some("other errors"));
    }

    #[tokio::test]
    async fn a_request_that_is_sent_late_is_measured_from_when_it_was_due() {
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let prompts = Arc::new(Prompts::new(0));
        let course = Course::new(begun, Load::Open(10.0), Amount::Requests(50), prompts).unwrap();
        let Pace::Open { schedule, due, .. } = &course.pace else { panic!() };
        course.release(schedule, due);
        assert_eq!(course.next().await, Some(begun));
        assert_eq!(course.next().await, begun.checked_add(Duration::from_millis(100)));
        let course = Arc::new(course);
        attend(Instantly { asked: Arc::default(), fails: u64::MAX }, Arc::clone(&course)).await;
        let tally = course.tally();
        assert_eq!(tally.answered, 48);
        // Due between 10 and 5 seconds ago, half of them before 7.5.
        assert!(tally.latency.quantiles().unwrap().p50_us >= 7e6);
    }

    #[tokio::test]
    async fn an_abandoned_course_ends() {
        let prompts = Arc::new(Prompts::new(0));
        let course = Course::new(Instant::now(), Load::Open(0.001), Amount::Requests(9), prompts).unwrap();
        let course = Arc::new(course);
        drop(Pacer { course: Arc::clone(&course), thread: None });
        let Pace::Open { schedule, due, .. } = &course.pace else { panic!() };
        course.release(schedule, due);
        assert_eq!(course.next().await, None);
    }
}
