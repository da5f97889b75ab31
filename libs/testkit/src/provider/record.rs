//! What the simulator remembers: every request, how it ended, and what it cost.

use std::collections::{HashMap, VecDeque};
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Tokens, as the provider counts and bills them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens that came from the provider's cache.
    pub cached_tokens: u64,
    /// Completion tokens spent on reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Returns prompt and completion together.
    #[must_use]
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cached_tokens += other.cached_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended.
    InFlight,
    /// The whole answer was handed to the socket.
    Completed,
    /// An error status was answered, or a 200 that is no answer (`html`, `error-200`, `error-event`).
    Error,
    /// The simulator closed the connection in mid-answer.
    Cut,
    /// The simulator reset the connection before any header.
    Reset,
    /// The caller went away first.
    ClientGone,
    /// The simulator was shut down first.
    Shutdown,
}

/// One request, as it came and as it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Number of the request since the start, from 0; never used twice.
    pub ordinal: u64,
    /// Milliseconds since the simulator started.
    pub at_ms: u64,
    /// The model's name as asked for; empty where the body could not be read.
    pub model: String,
    /// The path.
    pub path: String,
    /// Headers in the order of arrival, without `authorization`.
    pub headers: Vec<(String, String)>,
    /// Whether an `authorization` header was there.
    pub authorization_present: bool,
    /// The body; a string where it is no JSON, null where it is empty.
    pub body: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status; `None` where no header was sent, and while in flight.
    pub status: Option<u16>,
    /// Content chunks handed to the socket; 1 for a whole answer.
    pub delivered_chunks: u32,
    /// The usage that was told to the caller.
    pub usage_reported: Option<Usage>,
    /// The usage that would be billed: the prompt of each accepted request, and the tokens delivered.
    pub usage_actual: Usage,
}

/// Counts over all requests since the start or the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that arrived.
    pub received: u64,
    /// Requests that have not ended.
    pub in_flight: u64,
    /// Requests that ended as [`Outcome::Completed`].
    pub completed: u64,
    /// Requests that ended as [`Outcome::Error`].
    pub error: u64,
    /// Requests that ended as [`Outcome::Cut`].
    pub cut: u64,
    /// Requests that ended as [`Outcome::Reset`].
    pub reset: u64,
    /// Requests that ended as [`Outcome::ClientGone`].
    pub client_gone: u64,
    /// Requests that ended as [`Outcome::Shutdown`].
    pub shutdown: u64,
    /// Content chunks handed to sockets, those of requests in flight included (also across a reset).
    pub delivered_chunks: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// Sum of the usage told to callers.
    pub reported: Usage,
    /// Sum of the usage that would be billed.
    pub actual: Usage,
}

/// Most bytes of request bodies kept; the oldest records go first.
const KEPT_BYTES: usize = 64 << 20;
/// Most model names with counters of their own; beyond, all counters start anew.
const COUNTED_NAMES: usize = 10_000;

/// Keeps the records. Shared by all connections.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    kept_records: usize,
    inner: Mutex<Inner>,
    changed: Notify,
    delivered: AtomicU64,
    connections: AtomicU64,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
    next_ordinal: u64,
    /// Grows with each reset, so that requests from before do not count after.
    epoch: u64,
    totals: Totals,
    seen: HashMap<String, u32>,
}

#[derive(Debug)]
struct Entry {
    ordinal: u64,
    at_ms: u64,
    model: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    progress: Arc<AtomicU32>,
    outcome: Outcome,
    status: Option<u16>,
    reported: Option<Usage>,
    actual: Usage,
}

impl Entry {
    fn recorded(&self) -> Recorded {
        let headers = self.headers.iter().filter(|(name, _)| **name != AUTHORIZATION);
        let body = match serde_json::from_slice(&self.body) {
            Ok(body) => body,
            Err(_) if self.body.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&self.body).into_owned()),
        };
        Recorded {
            ordinal: self.ordinal,
            at_ms: self.at_ms,
            model: self.model.clone(),
            path: self.path.clone(),
            headers: headers
                .map(|(name, value)| {
                    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect(),
            authorization_present: self.headers.contains_key(AUTHORIZATION),
            body,
            outcome: self.outcome,
            status: self.status,
            delivered_chunks: self.progress.load(Ordering::Relaxed),
            usage_reported: self.reported,
            usage_actual: self.actual,
        }
    }
}

impl Ledger {
    pub(super) fn new(kept_records: usize) -> Self {
        Self {
            started: Instant::now(),
            kept_records,
            inner: Mutex::default(),
            changed: Notify::new(),
            delivered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Writes down a request that arrived.
    pub(super) fn open(
        self: &Arc<Self>,
        model: &str,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Exchange {
        let progress = Arc::new(AtomicU32::new(0));
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.inner.lock();
        let ordinal = inner.next_ordinal;
        let epoch = inner.epoch;
        inner.next_ordinal += 1;
        inner.totals.received += 1;
        inner.totals.in_flight += 1;
        inner.bytes += body.len();
        inner.entries.push_back(Entry {
            ordinal,
            at_ms,
            model: model.to_owned(),
            path: path.to_owned(),
            headers,
            body,
            progress: Arc::clone(&progress),
            outcome: Outcome::InFlight,
            status: None,
            reported: None,
            actual: Usage::default(),
        });
        while inner.entries.len() > self.kept_records || inner.bytes > KEPT_BYTES {
            let Some(oldest) = inner.entries.pop_front() else { break };
            inner.bytes -= oldest.body.len();
        }
        drop(inner);
        self.changed.notify_waiters();
        let ledger = Arc::clone(self);
        Exchange { ledger, ordinal, epoch, progress, status: None, bill: None, reported: None, ended: false }
    }

    /// Counts one more request to a model's name, and returns how many came before.
    pub(super) fn count(&self, model: &str) -> u32 {
        let mut inner = self.inner.lock();
        if inner.seen.len() >= COUNTED_NAMES && !inner.seen.contains_key(model) {
            inner.seen.clear();
        }
        let seen = inner.seen.entry(model.to_owned()).or_insert(0);
        let before = *seen;
        *seen = seen.saturating_add(1);
        before
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.inner.lock().totals;
        totals.delivered_chunks = self.delivered.load(Ordering::Acquire);
        totals.open_connections = self.connections.load(Ordering::Acquire);
        totals
    }

    /// Returns the records kept, oldest first.
    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.inner.lock().entries.iter().map(Entry::recorded).collect()
    }

    /// Forgets records and counts; requests in flight go on and stay counted as such.
    pub(super) fn reset(&self) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.bytes = 0;
        inner.seen.clear();
        inner.epoch += 1;
        inner.totals = Totals { in_flight: inner.totals.in_flight, ..Totals::default() };
        self.delivered.store(0, Ordering::Release);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Waits until `holds`. Cancel safe.
    pub(super) async fn wait_for(&self, mut holds: impl FnMut(&Totals) -> bool) -> Totals {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let totals = self.totals();
            if holds(&totals) {
                return totals;
            }
            changed.await;
        }
    }

    /// Makes requests that are cut off from now on count as [`Outcome::Shutdown`].
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn connection(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        Connected(Arc::clone(self))
    }
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub(super) struct Connected(Arc<Ledger>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// One request in flight. Dropped before it ended, it counts as a caller gone.
#[derive(Debug)]
pub(super) struct Exchange {
    ledger: Arc<Ledger>,
    pub(super) ordinal: u64,
    epoch: u64,
    progress: Arc<AtomicU32>,
    status: Option<u16>,
    bill: Option<Usage>,
    reported: Option<Usage>,
    ended: bool,
}

impl Exchange {
    /// Notes that headers of this status go out.
    pub(super) fn answered(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
    }

    /// Notes that work has begun: the prompt is billed, and what was reasoned.
    pub(super) fn accepted(&mut self, bill: Usage) {
        self.bill = Some(bill);
    }

    /// Notes that a content chunk went out; `tokens` is the completion up to there, without reasoning.
    pub(super) fn delivered(&mut self, tokens: u64) {
        self.progress.fetch_add(1, Ordering::Relaxed);
        if let Some(bill) = &mut self.bill {
            bill.completion_tokens = bill.reasoning_tokens + tokens;
        }
        self.ledger.delivered.fetch_add(1, Ordering::AcqRel);
        self.ledger.changed.notify_waiters();
    }

    /// Notes that the caller was told this usage.
    pub(super) fn reported(&mut self, usage: Usage) {
        self.reported = Some(usage);
    }

    /// Ends the request; only the first end counts.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let actual = self.bill.unwrap_or_default();
        let mut inner = self.ledger.inner.lock();
        inner.totals.in_flight -= 1;
        if inner.epoch == self.epoch {
            let totals = &mut inner.totals;
            let counter = match outcome {
                Outcome::InFlight | Outcome::Completed => &mut totals.completed,
                Outcome::Error => &mut totals.error,
                Outcome::Cut => &mut totals.cut,
                Outcome::Reset => &mut totals.reset,
                Outcome::ClientGone => &mut totals.client_gone,
                Outcome::Shutdown => &mut totals.shutdown,
            };
            *counter += 1;
            totals.actual += actual;
            totals.reported += self.reported.unwrap_or_default();
        }
        let first = inner.entries.front().map_or(0, |entry| entry.ordinal);
        let index = self.ordinal.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| inner.entries.get_mut(index)) {
            entry.outcome = outcome;
            entry.status = self.status;
            entry.reported = self.reported;
            entry.actual = actual;
        }
        drop(inner);
        self.ledger.changed.notify_waiters();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let closing = self.ledger.closing.load(Ordering::Acquire);
        self.end(if closing { Outcome::Shutdown } else { Outcome::ClientGone });
    }
}
