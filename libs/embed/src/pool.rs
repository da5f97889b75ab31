//! Worker threads behind a bounded queue. Knows nothing of models.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::EmbedError;

/// Texts that one call may bring: bounds what the queue can hold.
pub const MAX_TEXTS: usize = 128;

/// What a worker runs for each text.
pub(crate) type Model<T> = Box<dyn FnMut(&str) -> Result<T, EmbedError> + Send>;

type Reply<T> = oneshot::Sender<Result<Vec<T>, EmbedError>>;

struct Job<T> {
    texts: Vec<String>,
    reply: Reply<T>,
}

/// Owns the queue and the workers.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    /// `None` only while dropping.
    jobs: Option<SyncSender<Job<T>>>,
    workers: Vec<JoinHandle<()>>,
}

impl<T> Drop for Pool<T> {
    /// Closes the queue and waits for the text that each worker is at: a process that exits under a running inference
    /// takes the runtime's library away from it. What is still queued has lost its callers and is skipped.
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has ended too.
            let _ = worker.join();
        }
    }
}

impl<T: Send + 'static> Pool<T> {
    /// Starts one thread per model.
    pub(crate) fn start(models: Vec<Model<T>>, queue: NonZeroU16) -> Result<Self, EmbedError> {
        let (jobs, waiting) = sync_channel(usize::from(queue.get()));
        let waiting = Arc::new(Mutex::new(waiting));
        let mut pool = Self { jobs: Some(jobs), workers: Vec::with_capacity(models.len()) };
        for (number, model) in models.into_iter().enumerate() {
            let waiting = Arc::clone(&waiting);
            let worker = thread::Builder::new()
                .name(format!("embed-{number}"))
                .spawn(move || work(model, &waiting))
                .map_err(|error| EmbedError::Broken {
                    what: "a worker thread for embedding".to_owned(),
                    reason: error.to_string(),
                })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Queues the texts as one job and waits for it. Dropping the future cancels what has not begun.
    pub(crate) async fn run(&self, texts: Vec<String>) -> Result<Vec<T>, EmbedError> {
        if texts.len() > MAX_TEXTS {
            return Err(EmbedError::TooManyTexts { given: texts.len() });
        }
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(EmbedError::Stopped)?;
        jobs.try_send(Job { texts, reply }).map_err(|error| match error {
            TrySendError::Full(_) => EmbedError::Busy,
            TrySendError::Disconnected(_) => EmbedError::Stopped,
        })?;
        answer.await.unwrap_or(Err(EmbedError::Stopped))
    }
}

/// Takes jobs until the queue is closed.
fn work<T>(mut model: Model<T>, waiting: &Mutex<Receiver<Job<T>>>) {
    loop {
        // An idle worker holds the lock while it waits; the others queue behind it, and none of them is needed.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { texts, reply }) = next else { return };
        // A caught panic leaves the session as it was before the text: inference keeps no state between texts.
        let answer = catch_unwind(AssertUnwindSafe(|| run_job(&mut model, &texts, &reply)));
        let answer = answer.unwrap_or(Some(Err(EmbedError::Panicked)));
        if let Some(answer) = answer {
            // Nobody waits any more if this fails.
            let _ = reply.send(answer);
        }
    }
}

/// Runs the texts one by one; `None` when the caller has gone.
fn run_job<T>(
    model: &mut Model<T>,
    texts: &[String],
    reply: &Reply<T>,
) -> Option<Result<Vec<T>, EmbedError>> {
    let mut vectors = Vec::with_capacity(texts.len());
    for text in texts {
        if reply.is_closed() {
            return None;
        }
        match model(text) {
            Ok(vector) => vectors.push(vector),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(vectors))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{MAX_TEXTS, Pool};
    use crate::{EmbedError, Vector};

    /// Starts a worker that says which text it begins and then waits for leave to go on.
    fn gated(queue: u16) -> (Pool<Vector>, Receiver<String>, Sender<()>) {
        let (begun, seen) = channel();
        let (go, gate) = channel();
        let model = move |text: &str| {
            begun.send(text.to_owned()).unwrap();
            gate.recv().unwrap();
            assert_ne!(text, "panic", "as the test asked");
            Vector::from_unit(vec![1.0])
        };
        (Pool::start(vec![Box::new(model)], NonZeroU16::new(queue).unwrap()).unwrap(), seen, go)
    }

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Polls a future once, so that its job is queued.
    macro_rules! queue {
        ($future:expr) => {
            tokio::select! { biased; _ = &mut $future => unreachable!("gated"), () = std::future::ready(()) => {} }
        };
    }

    #[tokio::test]
    async fn a_dropped_request_is_skipped_before_it_runs() {
        let (pool, seen, go) = gated(4);
        let mut first = Box::pin(pool.run(texts(&["first"])));
        queue!(first);
        assert_eq!(seen.recv().unwrap(), "first");
        let mut dropped = Box::pin(pool.run(texts(&["dropped"])));
        queue!(dropped);
        let mut third = Box::pin(pool.run(texts(&["third"])));
        queue!(third);
        drop(dropped);
        go.send(()).unwrap();
        go.send(()).unwrap();
        first.await.unwrap();
        third.await.unwrap();
        assert_eq!(seen.recv().unwrap(), "third");
    }

    #[tokio::test]
    async fn the_rest_of_a_dropped_job_is_skipped() {
        let (pool, seen, go) = gated(4);
        let mut many = Box::pin(pool.run(texts(&["one", "two"])));
        queue!(many);
        assert_eq!(seen.recv().unwrap(), "one");
        drop(many);
        go.send(()).unwrap();
        go.send(()).unwrap();
        pool.run(texts(&["next"])).await.unwrap();
        assert_eq!(seen.recv().unwrap(), "next");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (pool, seen, go) = gated(1);
        let mut running = Box::pin(pool.run(texts(&["running"])));
        queue!(running);
        assert_eq!(seen.recv().unwrap(), "running");
        let mut waiting = Box::pin(pool.run(texts(&["waiting"])));
        queue!(waiting);
        assert_eq!(pool.run(texts(&["refused"])).await, Err(EmbedError::Busy));
        go.send(()).unwrap();
        go.send(()).unwrap();
        running.await.unwrap();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_worker_goes_on() {
        let (pool, _seen, go) = gated(4);
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!(pool.run(texts(&["panic"])).await, Err(EmbedError::Panicked));
        assert_eq!(pool.run(texts(&["fine"])).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn dropping_the_pool_waits_for_the_running_text() {
        let (begun, seen) = channel();
        let finished = Arc::new(AtomicBool::new(false));
        let model = {
            let finished = Arc::clone(&finished);
            move |_: &str| {
                begun.send(()).unwrap();
                (0..1000).for_each(|_| std::thread::yield_now());
                finished.store(true, Ordering::SeqCst);
                Vector::from_unit(vec![1.0])
            }
        };
        let pool = Pool::start(vec![Box::new(model)], NonZeroU16::MIN).unwrap();
        let mut running = Box::pin(pool.run(texts(&["running"])));
        queue!(running);
        seen.recv().unwrap();
        drop(running);
        drop(pool);
        assert!(finished.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn too_many_texts_are_refused() {
        let (pool, _seen, _go) = gated(1);
        let given = MAX_TEXTS + 1;
        assert_eq!(pool.run(vec![String::new(); given]).await, Err(EmbedError::TooManyTexts { given }));
    }
}
