//! What all ways of finding replicas share: telling the channel, saying once what is wrong, and trying again later.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::Found;
use crate::Random;

/// Takes what was found; breaks when the channel is gone.
pub(crate) type Learn = Box<dyn Fn(Vec<Found>) -> ControlFlow<()> + Send + Sync>;

/// One followed address.
pub(crate) struct Follow {
    service: String,
    /// As it is configured.
    address: String,
    learn: Learn,
    /// Rung when a replica could not be reached: what is known may be old.
    pub(crate) doubt: Arc<Notify>,
    trouble: Option<String>,
}

impl Follow {
    pub(crate) fn new(service: &str, address: String, learn: Learn, doubt: Arc<Notify>) -> Self {
        Self { service: service.to_owned(), address, learn, doubt, trouble: None }
    }

    /// Tells the channel. Nobody at all is no news but trouble: the last known stay.
    pub(crate) fn found(&mut self, mut found: Vec<Found>) -> ControlFlow<()> {
        found.retain(Found::is_address);
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            self.failed("no replica is registered, or none is healthy".to_owned());
            // Whether anybody still listens.
            return (self.learn)(found);
        }
        if self.trouble.take().is_some() {
            tracing::info!(
                service = self.service,
                address = self.address,
                replicas = found.len(),
                "replicas are found again"
            );
        }
        (self.learn)(found)
    }

    /// Says what is wrong, once until it is something else.
    pub(crate) fn failed(&mut self, why: String) {
        if self.trouble.as_ref() == Some(&why) {
            return;
        }
        tracing::warn!(
            service = self.service,
            address = self.address,
            why,
            "replicas cannot be found; the last known ones stay"
        );
        self.trouble = Some(why);
    }
}

/// Growing pauses, with jitter, so that a registry that comes back is not overrun.
pub(crate) struct Backoff {
    random: Random,
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(random: Random, least: Duration, most: Duration) -> Self {
        let most = most.max(least);
        Self { random, least, most, next: least }
    }

    /// The next pause: between half of it and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause / 2 + self.random.jitter(pause / 2)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn nobody_is_not_told_and_addresses_are_checked() {
        let heard: Arc<Mutex<Vec<Vec<Found>>>> = Arc::default();
        let told = Arc::clone(&heard);
        let learn: Learn = Box::new(move |found| {
            told.lock().unwrap().push(found);
            ControlFlow::Continue(())
        });
        let mut follow = Follow::new("guard", "dns://guard:1".into(), learn, Arc::default());
        let (one, two) = (Found::at("10.0.0.1", 1), Found::at("::1", 1));
        let wrong = Found { at: "a b".into(), ..one.clone() };
        let _more = follow.found(vec![two.clone(), one.clone(), wrong, one.clone()]);
        assert_eq!(two.at, "[::1]:1");
        let _more = follow.found(Vec::new());
        assert_eq!(*heard.lock().unwrap(), [vec![one, two], Vec::new()]);
        assert!(follow.trouble.is_some());
    }

    #[test]
    fn pauses_grow_to_their_bound_and_begin_again() {
        let mut backoff =
            Backoff::new(Random::seeded(1), Duration::from_millis(100), Duration::from_millis(300));
        for most in [100, 200, 300, 300] {
            let (pause, most) = (backoff.next(), Duration::from_millis(most));
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
