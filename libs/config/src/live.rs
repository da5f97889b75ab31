//! Configuration that can be replaced while the process runs.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{Document, Shared};

/// A snapshot of configuration that is replaced as a whole. Clones show the same value.
pub struct Live<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: ArcSwap<T>,
    version: AtomicU64,
    checks: Mutex<Vec<Check>>,
}

type Check = Arc<dyn Fn(Arc<Next>) -> Checking + Send + Sync>;
type Checking = Pin<Box<dyn Future<Output = Result<Ready, String>> + Send>>;

/// A configuration that is about to take over.
#[derive(Debug)]
pub struct Next {
    /// All of it.
    pub document: Document,
    /// Models, tenants, prices, telemetry.
    pub shared: Shared,
}

/// A part's share of a configuration, checked and ready to take over.
#[derive(Default)]
pub struct Ready {
    apply: Option<Box<dyn FnOnce() + Send>>,
    warnings: Vec<String>,
}

impl Ready {
    /// What takes it over. It cannot fail: whatever could was done before.
    #[must_use]
    pub fn with(apply: impl FnOnce() + Send + 'static) -> Self {
        Self { apply: Some(Box::new(apply)), warnings: Vec::new() }
    }

    /// Says what is allowed, and hardly meant.
    #[must_use]
    pub fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Takes it over, and returns the warnings.
    pub fn take_over(self) -> Vec<String> {
        if let Some(apply) = self.apply {
            apply();
        }
        self.warnings
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("value", &self.0.value)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl<T> Live<T> {
    /// Creates version 1.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner {
            value: ArcSwap::from_pointee(value),
            version: AtomicU64::new(1),
            checks: Mutex::new(Vec::new()),
        }))
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

impl Live<Shared> {
    /// Takes part in changes: `check` is asked before any, and says what takes it over. An error keeps all of the present configuration,
    /// in all parts of the process.
    pub fn join<F>(&self, check: impl Fn(Arc<Next>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Ready, String>> + Send + 'static,
    {
        let check = Arc::new(move |next| -> Checking { Box::pin(check(next)) });
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// Has all parts check a configuration, and if none objects, all of them take it over; returns their warnings.
    ///
    /// # Errors
    /// The first objection; nothing was changed.
    pub(crate) async fn take_over(&self, next: Next) -> Result<Vec<String>, String> {
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let next = Arc::new(next);
        let mut ready = Vec::new();
        for check in checks {
            ready.push(check(Arc::clone(&next)).await?);
        }
        self.swap(next.shared.clone());
        Ok(ready.into_iter().flat_map(Ready::take_over).collect())
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

    #[tokio::test]
    async fn all_take_over_or_none() {
        let live = Live::new(Shared::default());
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        live.join(move |_| {
            let count = Arc::clone(&count);
            let apply = move || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            std::future::ready(Ok(Ready::with(apply).warn(["hm".to_owned()])))
        });
        live.join(
            async |next| if next.shared.models.is_empty() { Ok(Ready::default()) } else { Err("no".into()) },
        );
        let next = |text: &str| {
            let document = Document::parse(text, "f").unwrap();
            Next { shared: document.shared().unwrap(), document }
        };
        let model = "[models.m]\ntargets = [{ base_url = 'http://b/v1', model = 'm' }]";
        assert_eq!(live.take_over(next(model)).await, Err("no".to_owned()));
        assert_eq!((taken.load(Ordering::Relaxed), live.version()), (0, 1));
        assert_eq!(live.take_over(next("")).await, Ok(vec!["hm".to_owned()]));
        assert_eq!((taken.load(Ordering::Relaxed), live.version()), (1, 2));
    }
}
