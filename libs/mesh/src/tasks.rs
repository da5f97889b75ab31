//! Work beside the way of a request: bounded, and waited for at the end.

use std::{future::Future, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// The end of a part: the signal for it, and the tasks that are waited for. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Creates one that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells every task to end. Those that do not listen are waited for all the same.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end begins. Cancel safe.
    pub fn started(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Runs a task that the end waits for. For a fixed number of tasks of a part; a task per request belongs in a
    /// [`TaskSet`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Begins the end and waits until every task is done. Cancel safe; give it a bound.
    pub async fn complete(&self) {
        self.begin();
        self.tasks.wait().await;
    }
}

/// A bounded set of tasks, each of which ends with its own work; the end of the part waits for them.
#[derive(Debug, Clone)]
pub struct TaskSet {
    room: Arc<Semaphore>,
    capacity: usize,
    shutdown: Shutdown,
}

impl TaskSet {
    /// Creates a set of at most `capacity` tasks at a time.
    #[must_use]
    pub fn new(capacity: usize, shutdown: &Shutdown) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(capacity)), capacity, shutdown: shutdown.clone() }
    }

    /// Runs a task; false, and the task is dropped, when the set is full.
    #[must_use]
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        self.reserve().map(|place| place.spawn(task)).is_some()
    }

    /// Takes a place for a task that may run later; `None` when the set is full. Dropping it gives it back.
    #[must_use]
    pub fn reserve(&self) -> Option<Place> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Place { room, shutdown: self.shutdown.clone() })
    }

    /// How many tasks run, reserved places included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.capacity - self.room.available_permits()
    }

    /// Whether no task runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A place in a [`TaskSet`].
#[derive(Debug)]
pub struct Place {
    room: OwnedSemaphorePermit,
    shutdown: Shutdown,
}

impl Place {
    /// Runs a task in this place.
    pub fn spawn(self, task: impl Future<Output = ()> + Send + 'static) {
        let Self { room, shutdown } = self;
        shutdown.spawn(async move {
            task.await;
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_full_set_refuses_and_a_finished_task_makes_room() {
        let shutdown = Shutdown::new();
        let set = TaskSet::new(1, &shutdown);
        let (release, released) = oneshot::channel::<()>();
        assert!(set.spawn(async move { drop(released.await) }));
        assert!(!set.spawn(async {}), "full");
        assert_eq!(set.len(), 1);
        release.send(()).unwrap();
        shutdown.complete().await;
        assert!(set.is_empty());
    }

    #[tokio::test]
    async fn a_panicking_task_gives_its_place_back() {
        let shutdown = Shutdown::new();
        let set = TaskSet::new(1, &shutdown);
        assert!(set.spawn(async { panic!("on purpose") }));
        shutdown.complete().await;
        assert!(set.is_empty());
    }

    #[tokio::test]
    async fn the_end_waits_for_what_listens_to_it() {
        let shutdown = Shutdown::new();
        let (done, finished) = oneshot::channel();
        let started = shutdown.started();
        shutdown.spawn(async move {
            started.await;
            let _heard = done.send("flushed");
        });
        shutdown.complete().await;
        assert_eq!(finished.await.unwrap(), "flushed");
    }
}
