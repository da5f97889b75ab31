//! What waits for a collector: bounded, counted, and in nobody's way.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Items that are sent at once at most: the recommendation for OpenTelemetry's own processors.
const AT_ONCE: usize = 512;
/// The pauses between two tries, from the first to all later ones.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// What became of the items of a signal, for the metrics.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) signal: &'static str,
    pub(crate) sent: AtomicU64,
    /// Dropped because the queue was full.
    pub(crate) full: AtomicU64,
    /// Dropped after the collector had been tried in vain.
    pub(crate) failed: AtomicU64,
}

impl Counts {
    pub(crate) const fn new(signal: &'static str) -> Self {
        Self { signal, sent: AtomicU64::new(0), full: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }
}

/// How fast, and how patiently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) batch: Duration,
    pub(crate) timeout: Duration,
}

/// The way in.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<T>,
    counts: &'static Counts,
}

impl<T> Queue<T> {
    /// Takes an item, or drops and counts it. Never waits.
    pub(crate) fn offer(&self, item: T) {
        if self.sender.try_send(item).is_err() {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The way out.
pub(crate) struct Pipe<T> {
    items: mpsc::Receiver<T>,
    most: usize,
    pace: Pace,
    counts: &'static Counts,
}

/// Makes a queue of so many items.
pub(crate) fn new<T>(most: usize, pace: Pace, counts: &'static Counts) -> (Queue<T>, Pipe<T>) {
    let (sender, items) = mpsc::channel(most);
    (Queue { sender, counts }, Pipe { items, most, pace, counts })
}

impl<T: Clone> Pipe<T> {
    /// Sends until `ending` says so, and then what is left, each batch once.
    pub(crate) async fn run<E, F>(mut self, mut ending: watch::Receiver<bool>, mut export: E)
    where
        E: FnMut(Vec<T>) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let mut away = false;
        loop {
            let mut batch = Vec::new();
            let ended = self.collect(&mut batch, &mut ending).await;
            if batch.is_empty() {
                return;
            }
            let mut tries = 0;
            loop {
                let sent = tokio::time::timeout(self.pace.timeout, export(batch.clone())).await;
                let why = match sent.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                    Ok(()) => {
                        self.counts.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                        if std::mem::take(&mut away) {
                            tracing::info!(signal = self.counts.signal, "the collector is back");
                        }
                        break;
                    }
                    Err(why) => why,
                };
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(
                        signal = self.counts.signal,
                        why,
                        "the collector is away; what it should get waits, and is dropped beyond the queue"
                    );
                }
                // What is newest is worth more than what is oldest.
                let full = self.items.len() >= self.most;
                if full || ended || *ending.borrow() {
                    self.counts.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    break;
                }
                let pause = PAUSES[tries.min(PAUSES.len() - 1)];
                tries += 1;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = ending.changed() => {}
                }
            }
        }
    }

    /// Fills a batch, in the time that it has from its first item on. True when nothing will come any more.
    async fn collect(&mut self, batch: &mut Vec<T>, ending: &mut watch::Receiver<bool>) -> bool {
        if !*ending.borrow() {
            tokio::select! {
                biased;
                _ = ending.changed() => {}
                count = self.items.recv_many(batch, AT_ONCE) => if count == 0 { return true },
            }
        }
        let due = Instant::now() + self.pace.batch;
        while batch.len() < AT_ONCE && !*ending.borrow() {
            let room = AT_ONCE - batch.len();
            tokio::select! {
                biased;
                _ = ending.changed() => {}
                () = tokio::time::sleep_until(due) => return false,
                count = self.items.recv_many(batch, room) => if count == 0 { return true },
            }
        }
        while batch.len() < AT_ONCE
            && let Ok(item) = self.items.try_recv()
        {
            batch.push(item);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    const PACE: Pace = Pace { batch: Duration::from_secs(1), timeout: Duration::from_secs(10) };

    type Took = Arc<Mutex<Vec<Vec<u32>>>>;

    /// A collector that does what `answers` says, and keeps what it took.
    fn collector(
        answers: impl Fn(usize) -> Result<(), String> + 'static,
    ) -> (Took, impl FnMut(Vec<u32>) -> std::future::Ready<Result<(), String>>) {
        let (took, mut tries) = (Arc::new(Mutex::new(Vec::new())), 0);
        let kept = Arc::clone(&took);
        let export = move |batch: Vec<u32>| {
            tries += 1;
            let answer = answers(tries);
            if answer.is_ok() {
                kept.lock().push(batch);
            }
            std::future::ready(answer)
        };
        (took, export)
    }

    #[tokio::test(start_paused = true)]
    async fn collects_for_a_moment_and_sends_the_rest_at_the_end() {
        static COUNTS: Counts = Counts::new("test");
        let (queue, pipe) = new(2_000, PACE, &COUNTS);
        let (took, export) = collector(|_| Ok(()));
        let (end, ending) = watch::channel(false);
        (0..600).for_each(|n| queue.offer(n));
        let running = tokio::task::LocalSet::new();
        let task = running.spawn_local(pipe.run(ending, export));
        running
            .run_until(async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                assert_eq!(took.lock().iter().map(Vec::len).collect::<Vec<_>>(), [512, 88]);
                queue.offer(7);
                end.send(true).unwrap();
                task.await.unwrap();
            })
            .await;
        assert_eq!(took.lock().last().unwrap(), &[7]);
        assert_eq!(COUNTS.sent.load(Ordering::Relaxed), 601);
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_what_is_newest_while_the_collector_is_away() {
        static COUNTS: Counts = Counts::new("test");
        let (queue, pipe) = new(10, PACE, &COUNTS);
        let (took, export) = collector(|tries| if tries < 4 { Err("away".into()) } else { Ok(()) });
        let (end, ending) = watch::channel(false);
        let running = tokio::task::LocalSet::new();
        let task = running.spawn_local(pipe.run(ending, export));
        running
            .run_until(async {
                queue.offer(0);
                tokio::time::sleep(Duration::from_millis(1_200)).await;
                // The first waits for another try. Beyond the bound nothing is kept.
                (1..=15).for_each(|n| queue.offer(n));
                tokio::time::sleep(Duration::from_secs(60)).await;
                end.send(true).unwrap();
                task.await.unwrap();
            })
            .await;
        assert_eq!(*took.lock(), [(1..=10).collect::<Vec<u32>>()]);
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        assert_eq!((count(&COUNTS.sent), count(&COUNTS.full), count(&COUNTS.failed)), (10, 5, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_is_left() {
        static COUNTS: Counts = Counts::new("test");
        let (queue, pipe) = new(10, PACE, &COUNTS);
        let (end, ending) = watch::channel(false);
        queue.offer(1);
        let task = tokio::spawn(pipe.run(ending, |_: Vec<u32>| std::future::pending()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        end.send(true).unwrap();
        task.await.unwrap();
        assert_eq!(COUNTS.failed.load(Ordering::Relaxed), 1);
    }
}
