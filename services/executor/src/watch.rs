//! One timer for all limits of a request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep};

/// Bounds waiting. The timer is moved only when it fires or must fire earlier: a chunk that came in time costs none.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// Waits for `future` until `at` and returns `None` after that. What is ready is taken even if it is late.
    pub(crate) async fn until<F: Future>(&mut self, at: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.deadline() > at {
                sleep.as_mut().reset(at);
            }
            while sleep.as_mut().poll(cx).is_ready() {
                if sleep.deadline() >= at {
                    return Poll::Ready(None);
                }
                // Set for an earlier limit that has been met since.
                sleep.as_mut().reset(at);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_at_its_time_whatever_it_was_set_to_before() {
        let begin = Instant::now();
        let mut watch = Watch::default();
        let after = |s| begin + Duration::from_secs(s);
        assert_eq!(watch.until(after(5), tokio::time::sleep_until(after(1))).await, Some(()));
        assert_eq!(watch.until(after(9), std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now(), after(9));
        assert_eq!(watch.until(after(20), tokio::time::sleep_until(after(10))).await, Some(()));
        assert_eq!(watch.until(after(12), std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now(), after(12));
        assert_eq!(watch.until(after(3), std::future::ready(1)).await, Some(1), "what is ready is taken");
        assert_eq!(watch.until(after(3), std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now(), after(12));
    }
}
