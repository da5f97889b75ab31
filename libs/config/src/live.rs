//! Configuration that can be replaced while the process runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

/// A snapshot of configuration that is replaced as a whole. Clones show the same value.
#[derive(Debug)]
pub struct Live<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: ArcSwap<T>,
    version: AtomicU64,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    /// Creates version 1.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value: ArcSwap::from_pointee(value), version: AtomicU64::new(1) }))
    }

    /// Returns the present snapshot; whoever holds it keeps it for as long as one request takes.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    /// Replaces the value; requests that run keep what they loaded.
    pub fn swap(&self, value: T) {
        self.0.value.store(Arc::new(value));
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often the value was set, from 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_snapshot_keeps_it() {
        let live = Live::new(1);
        let (other, held) = (live.clone(), live.load());
        live.swap(2);
        assert_eq!((*held, *other.load(), other.version()), (1, 2, 2));
    }
}
