//! The messages of a hit: at once, or as its answer came.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::stream;
use signalbox_proto::{
    cache::v1::{CachedEvents, LookupResponse, LookupResult, lookup_response::Kind},
    common::v1::{CacheInfo, GenerateEvent},
};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{entry::Entry, error::Failure, service::Messages};

/// The longest that a replay takes, in milliseconds: a hit is not to reach a deadline that its answer kept to.
const LONGEST_MS: f64 = 30_000.0;

/// Gives a hit's messages: `speed` times as fast as its answer came, or at once if that is 0. Events are decoded as they are read.
pub(crate) fn stream(entry: Arc<Entry>, result: LookupResult, request_id: String, speed: f64) -> Messages {
    let cache = result.cache.clone().unwrap_or_default();
    let first = Ok(LookupResponse { kind: Some(Kind::Result(result)) });
    if speed > 0.0 {
        let paced = Paced::new(entry, cache, request_id, speed);
        let rest = stream::unfold(paced, |mut paced| async move { Some((paced.next().await?, paced)) });
        return Box::pin(futures_util::StreamExt::chain(stream::iter([first]), rest));
    }
    let batches = (0..entry.answer.batches()).map(move |index| {
        let batch = entry.answer.batch(index, || (request_id.clone(), cache.clone()));
        let CachedEvents { events, .. } = batch.ok_or(Failure::Unreadable)?;
        Ok(LookupResponse { kind: Some(Kind::Events(CachedEvents { events, ..CachedEvents::default() })) })
    });
    Box::pin(stream::iter(std::iter::once(first).chain(batches)))
}

struct Paced {
    entry: Arc<Entry>,
    cache: CacheInfo,
    request_id: String,
    speed: f64,
    began: Instant,
    next_batch: usize,
    waiting: VecDeque<(u32, GenerateEvent)>,
    failed: bool,
}

impl Paced {
    fn new(entry: Arc<Entry>, cache: CacheInfo, request_id: String, speed: f64) -> Self {
        let speed = speed.max(f64::from(entry.answer.length_ms()) / LONGEST_MS);
        let (began, waiting) = (Instant::now(), VecDeque::new());
        Self { entry, cache, request_id, speed, began, next_batch: 0, waiting, failed: false }
    }

    /// The next events, when it is their time; cancel safe.
    async fn next(&mut self) -> Option<Result<LookupResponse, Status>> {
        if self.waiting.is_empty() && !self.failed && self.next_batch < self.entry.answer.batches() {
            let opening = || (self.request_id.clone(), self.cache.clone());
            let Some(batch) = self.entry.answer.batch(self.next_batch, opening) else {
                self.failed = true;
                return Some(Err(Failure::Unreadable.into()));
            };
            self.next_batch += 1;
            let times = batch.offsets_ms.into_iter().chain(std::iter::repeat(0));
            self.waiting.extend(times.zip(batch.events));
        }
        let due = self.due(self.waiting.front()?.0);
        sleep_until(due).await;
        let now = Instant::now();
        let ready = self.waiting.iter().take_while(|(offset, _)| self.due(*offset) <= now).count();
        let events = self.waiting.drain(..ready.max(1)).map(|(_, event)| event).collect();
        Some(Ok(LookupResponse {
            kind: Some(Kind::Events(CachedEvents { events, ..CachedEvents::default() })),
        }))
    }

    fn due(&self, offset_ms: u32) -> Instant {
        self.began + Duration::from_secs_f64(f64::from(offset_ms) / self.speed / 1_000.0)
    }
}
