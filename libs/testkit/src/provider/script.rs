//! What happens on the wire after the headers, step by step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::fault::Fault;
use super::problem::Problem;
use super::record::{Outcome, Usage};
use super::render::{DONE, Events};

/// One step of an answer.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Write bytes.
    Send(Bytes, Mark),
    /// Wait.
    Pause(Duration),
    /// Say nothing more, and stay.
    Stall,
    /// Close the connection, once all before is written.
    Cut,
}

/// What a write means for the record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Nothing,
    /// A content chunk; the completion's tokens up to there.
    Content(u64),
    /// The caller is told the usage.
    Usage(Usage),
    /// A whole answer, usage included.
    Whole(u64, Usage),
}

/// Faults that strike after the headers, by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Mishaps {
    pub(super) slow_first: Option<Duration>,
    pub(super) split: Option<usize>,
    drip: Option<Duration>,
    cut: Option<usize>,
    stall: Option<usize>,
    error_event: Option<usize>,
    malformed: Option<usize>,
    no_done: bool,
}

impl Mishaps {
    pub(super) fn of(faults: &[Fault]) -> Self {
        let mut all = Self::default();
        let count = |chunks: u32| usize::try_from(chunks).ok();
        let delay = |ms: u32| Some(Duration::from_millis(u64::from(ms)));
        for fault in faults {
            match *fault {
                Fault::SlowFirst { delay_ms } => all.slow_first = delay(delay_ms),
                Fault::Drip { delay_ms } => all.drip = delay(delay_ms),
                Fault::Cut { after_chunks } => all.cut = count(after_chunks),
                Fault::Stall { after_chunks } => all.stall = count(after_chunks),
                Fault::ErrorEvent { after_chunks } => all.error_event = count(after_chunks),
                Fault::Malformed { chunk } => all.malformed = count(chunk),
                Fault::NoDone => all.no_done = true,
                Fault::Split { bytes } => all.split = count(bytes),
                _ => {}
            }
        }
        all
    }
}

/// The steps of one answer.
#[derive(Debug)]
pub(super) enum Script {
    Whole(VecDeque<Step>),
    Stream(Box<Stream>),
    /// Chunks rendered beforehand, the next one's index, and the usage where it is told.
    Prepared(Arc<[Step]>, usize),
}

impl Script {
    /// One write and nothing else.
    pub(super) fn plain(body: Bytes) -> Self {
        Self::Whole(VecDeque::from([Step::Send(body, Mark::Nothing)]))
    }

    /// A whole answer; returns its announced length, too.
    pub(super) fn whole(body: Bytes, tokens: u64, usage: Usage, mishaps: &Mishaps) -> (Self, u64) {
        let mut steps = VecDeque::new();
        let mark = Mark::Whole(tokens, usage);
        let half = body.len() / 2;
        let mut length = body.len();
        steps.extend(mishaps.drip.map(Step::Pause));
        match (mishaps.cut, mishaps.stall) {
            (Some(0), _) => steps.push_back(Step::Cut),
            (None, Some(0)) => steps.push_back(Step::Stall),
            (Some(_), _) => steps.extend([Step::Send(body.slice(..half), Mark::Nothing), Step::Cut]),
            (None, Some(_)) => steps.extend([Step::Send(body.slice(..half), Mark::Nothing), Step::Stall]),
            (None, None) if mishaps.malformed.is_some() => {
                length = half;
                steps.push_back(Step::Send(body.slice(..half), mark));
            }
            (None, None) => steps.push_back(Step::Send(body, mark)),
        }
        (Self::Whole(steps), length as u64)
    }

    /// Returns whether no step is left; may say so one step late.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Whole(steps) => steps.is_empty(),
            Self::Stream(stream) => stream.phase == Phase::Done && stream.ready.is_empty(),
            Self::Prepared(steps, next) => *next >= steps.len(),
        }
    }

    /// Returns how the request ends where no step says otherwise.
    pub(super) fn natural_end(&self) -> Outcome {
        match self {
            Self::Stream(stream) if stream.failed => Outcome::Error,
            _ => Outcome::Completed,
        }
    }

    /// Returns the next step.
    pub(super) fn step(&mut self) -> Option<Step> {
        match self {
            Self::Whole(steps) => steps.pop_front(),
            Self::Stream(stream) => stream.step(),
            Self::Prepared(steps, next) => {
                let step = steps.get(*next).cloned();
                *next += 1;
                step
            }
        }
    }
}

/// A streamed answer, rendered chunk by chunk as it is written.
#[derive(Debug)]
pub(super) struct Stream {
    answer: Answer,
    events: Events,
    mishaps: Mishaps,
    usage: Option<Usage>,
    phase: Phase,
    ready: VecDeque<Step>,
    failed: bool,
}

/// Which part of a stream comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    /// The content chunk of this index.
    Content(usize),
    Finish,
    Usage,
    End,
    Done,
}

impl Stream {
    /// Prepares a stream; `usage` is told at its end where there is one.
    pub(super) fn new(answer: Answer, events: Events, usage: Option<Usage>, mishaps: Mishaps) -> Self {
        let (ready, failed) = (VecDeque::new(), false);
        Self { answer, events, mishaps, usage, phase: Phase::Opening, ready, failed }
    }

    fn step(&mut self) -> Option<Step> {
        while self.ready.is_empty() && self.phase != Phase::Done {
            self.advance();
        }
        self.ready.pop_front()
    }

    fn advance(&mut self) {
        self.phase = match self.phase {
            Phase::Opening => {
                self.ready.extend(self.mishaps.slow_first.map(Step::Pause));
                let opening = self.events.opening(&self.answer.content);
                self.ready.push_back(Step::Send(opening, Mark::Nothing));
                Phase::Content(0)
            }
            Phase::Content(index) => self.content(index),
            Phase::Finish => {
                let finish = self.answer.finish.map(|reason| self.events.finish(reason));
                self.ready.extend(finish.map(|event| Step::Send(event, Mark::Nothing)));
                Phase::Usage
            }
            Phase::Usage => {
                let usage = self.usage.map(|usage| Step::Send(self.events.usage(&usage), Mark::Usage(usage)));
                self.ready.extend(usage);
                if self.mishaps.no_done { Phase::Done } else { Phase::End }
            }
            Phase::End => {
                self.ready.push_back(Step::Send(DONE, Mark::Nothing));
                Phase::Done
            }
            Phase::Done => Phase::Done,
        };
    }

    /// Queues content chunk `index`, or the fault that strikes before it.
    fn content(&mut self, index: usize) -> Phase {
        let last = self.answer.pieces.len();
        let strikes = |after: Option<usize>| after.is_some_and(|after| after.min(last) == index);
        if strikes(self.mishaps.cut) {
            self.ready.push_back(Step::Cut);
            return Phase::Done;
        }
        if strikes(self.mishaps.stall) {
            self.ready.push_back(Step::Stall);
            return Phase::Done;
        }
        if strikes(self.mishaps.error_event) {
            self.ready.push_back(Step::Send(Problem::of_status(500).event(), Mark::Nothing));
            self.failed = true;
            return Phase::Done;
        }
        let Some(piece) = self.answer.pieces.get(index) else { return Phase::Finish };
        self.ready.extend(self.mishaps.drip.map(Step::Pause));
        let mut event = self.events.piece(&self.answer.content, self.answer.piece(index));
        if self.mishaps.malformed.is_some_and(|nth| nth.min(last) == index + 1) {
            event = broken(&event);
        }
        let mark = Mark::Content(self.answer.opening_tokens + piece.tokens);
        self.ready.push_back(Step::Send(event, mark));
        Phase::Content(index + 1)
    }
}

/// Breaks the JSON of an event off in its middle; the event still ends as events do.
fn broken(event: &Bytes) -> Bytes {
    let mut half = event.slice(..event.len() / 2).to_vec();
    half.extend_from_slice(b"\n\n");
    half.into()
}
