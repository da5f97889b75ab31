//! Settling, off the client's path: records are collected into batches, sent to metering, and spooled while it is away.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use signalbox_mesh::{RequestContext, Shutdown};
use signalbox_proto::{
    metering::v1::{SettleRequest, Settlement},
    router::v1::{Report, ReportRequest},
};
use signalbox_telemetry::metrics::{self, Invariant};
use tokio::sync::mpsc;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::Code;

use crate::{config, measure, parts::Parts, spool::Spool};

const BATCH: usize = 500;
/// How long the end waits for records of requests that were cut. Later ones go to the spool.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// The way into the ledger; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Settlement>,
    spool: Arc<Mutex<Spool>>,
    /// Requests that are not settled yet.
    open: TaskTracker,
}

impl Ledger {
    /// Starts the task that delivers; it ends with the part, with everything delivered or spooled. Records that come later
    /// go to the spool.
    pub(crate) fn start(parts: Parts, spool: Spool, config: &config::Spool, shutdown: &Shutdown) -> Self {
        let (queue, records) = mpsc::channel(config.queue);
        let spool = Arc::new(Mutex::new(spool));
        let open = TaskTracker::new();
        let delivery = Delivery {
            open: open.clone(),
            parts,
            spool: Arc::clone(&spool),
            batch: Duration::from_millis(config.batch_ms),
            retry: Duration::from_millis(config.retry_ms),
        };
        shutdown.spawn(delivery.run(records, shutdown.clone()));
        measure::tell(&spool, &queue);
        Self { queue, spool, open }
    }

    /// Whether records could no longer be kept, so that nothing new may be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.spool.lock().is_full()
    }

    /// Marks a request as open; the end waits for it for a moment.
    pub(crate) fn opened(&self) -> TaskTrackerToken {
        self.open.token()
    }

    /// Takes a record. Called from destructors too, so it never waits: a full queue goes to disk at once.
    pub(crate) fn settle(&self, record: Settlement) {
        measure::ended(&record);
        if let Err(error) = self.queue.try_send(record) {
            let (mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record)) = error;
            keep(&self.spool, &[record]);
        }
    }
}

/// Spools records; if even that fails, says so with the ids, which is all that is left of them.
fn keep(spool: &Mutex<Spool>, records: &[Settlement]) {
    if let Err(error) = spool.lock().append(records) {
        for record in records {
            metrics::violated(
                Invariant::M2,
                &format!("the settlement of {} is lost: {error}", record.request_id),
            );
        }
    }
}

struct Delivery {
    open: TaskTracker,
    parts: Parts,
    spool: Arc<Mutex<Spool>>,
    batch: Duration,
    retry: Duration,
}

impl Delivery {
    async fn run(self, mut records: mpsc::Receiver<Settlement>, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let waiting = !self.spool.lock().is_empty();
            tokio::select! {
                biased;
                () = shutdown.started() => break,
                count = records.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    // One round trip carries what else finishes within a moment.
                    tokio::time::sleep(self.batch).await;
                    while batch.len() < BATCH && let Ok(record) = records.try_recv() {
                        batch.push(record);
                    }
                    self.deliver(std::mem::take(&mut batch)).await;
                }
                () = tokio::time::sleep(self.retry), if waiting => self.drain_spool().await,
            }
        }
        // Calls were cut or are done, but what they dropped may still be on its way here.
        self.open.close();
        let _late = tokio::time::timeout(LAST_RECORDS, self.open.wait()).await;
        records.close();
        while records.recv_many(&mut batch, BATCH).await > 0 {
            self.deliver(std::mem::take(&mut batch)).await;
        }
    }

    /// Sends a batch, or spools it. While older records wait, new ones queue behind them.
    async fn deliver(&self, batch: Vec<Settlement>) {
        if !self.spool.lock().is_empty() {
            keep(&self.spool, &batch);
            self.drain_spool().await;
        } else if !self.settle(batch.clone()).await {
            keep(&self.spool, &batch);
        }
        self.report(batch.into_iter().map(report).collect()).await;
    }

    async fn drain_spool(&self) {
        loop {
            let peeked = self.spool.lock().peek(BATCH);
            let (batch, until) = match peeked {
                Ok(peeked) => peeked,
                Err(error) => return tracing::error!(%error, "the spool cannot be read"),
            };
            if !batch.is_empty() && !self.settle(batch).await {
                return;
            }
            let mut spool = self.spool.lock();
            if let Err(error) = spool.delivered(until) {
                return tracing::error!(%error, "the spool cannot be emptied");
            }
            if spool.is_empty() {
                return;
            }
        }
    }

    /// Sends a batch to metering; false: it is away.
    async fn settle(&self, settlements: Vec<Settlement>) -> bool {
        let records = settlements.len();
        let request = RequestContext::background().request(SettleRequest { settlements });
        match self.parts.settle(request).await {
            Ok(_) => true,
            // Metering keeps the good ones of such a batch and names the bad: sending it again would change nothing.
            Err(status) if status.code() == Code::InvalidArgument => {
                tracing::error!(error = status.message(), "metering refused a settlement");
                true
            }
            Err(status) => {
                tracing::warn!(code = ?status.code(), records, "metering is away; settlements are spooled");
                false
            }
        }
    }

    /// Tells the router what happened. Its statistics may miss a batch; money may not.
    async fn report(&self, reports: Vec<Report>) {
        let request = RequestContext::background().request(ReportRequest { reports });
        if let Err(status) = self.parts.report(request).await {
            tracing::debug!(code = ?status.code(), "the router is away; reports are dropped");
        }
    }
}

fn report(record: Settlement) -> Report {
    let Settlement { request_id, attempts, requested_model, principal, route, .. } = record;
    let tenant = principal.map(|principal| principal.tenant).unwrap_or_default();
    let learning = route.and_then(|route| route.learning);
    Report { request_id, attempts, requested_model, quality: None, tenant, learning }
}
