//! Which part of a task asks to be polled again.
//!
//! A request is one task, from the provider's connection to the client's. Whenever it is woken, each of its layers asks the one
//! below for more until there is none, and so the lowest would be asked once for every layer above it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Rings when a part of a task wants to be polled, and wakes the task.
pub(crate) struct Bell {
    wire: Arc<Wire>,
    /// The same, as the part has it.
    waker: Waker,
}

#[derive(Default)]
struct Wire {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// Makes one that has not rung.
    pub(crate) fn new() -> Self {
        let wire = Arc::<Wire>::default();
        Self { waker: Waker::from(Arc::clone(&wire)), wire }
    }

    /// From now on wakes the task that asks here.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.wire.task.register(cx.waker());
    }

    /// Whether it rang since this was asked last.
    pub(crate) fn rang(&self) -> bool {
        self.wire.rung.swap(false, Ordering::AcqRel)
    }

    /// What the part is polled with.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn rings_once_and_wakes_whoever_listens() {
        let (task, bell) = (Arc::<Task>::default(), Bell::new());
        bell.context().waker().wake_by_ref();
        assert!(bell.rang() && !bell.rang(), "also while nobody listens");
        let waker = Waker::from(Arc::clone(&task));
        bell.listen(&Context::from_waker(&waker));
        assert!(!bell.rang());
        bell.context().waker().wake_by_ref();
        assert!(task.0.load(Ordering::Relaxed) && bell.rang());
    }
}
