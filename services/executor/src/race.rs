//! Attempts side by side: whoever speaks first wins.
//!
//! Usually one runs alone. One that is late is not given up but gets company; so does, where it is asked for, one that is
//! slower than this target mostly is.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::Instant;

use crate::account::Record;
use crate::attempt::{Missed, Spoken};
use crate::watch::Watch;

/// The most attempts side by side; a further one takes the place of the oldest.
pub(crate) const ABREAST: usize = 3;

type Run = Pin<Box<dyn Future<Output = Result<Spoken, Missed>> + Send>>;

/// Is an attempt that has not spoken yet.
pub(crate) struct Contender {
    pub(crate) record: Record,
    /// It was given its time, and company.
    pub(crate) late: bool,
    run: Run,
}

impl Contender {
    pub(crate) fn new(
        record: Record,
        run: impl Future<Output = Result<Spoken, Missed>> + Send + 'static,
    ) -> Self {
        Self { record, late: false, run: Box::pin(run) }
    }

    /// Ends it. Its connection is closed at once.
    pub(crate) fn stop(self) -> (Record, bool) {
        (self.record, self.late)
    }
}

/// Waits until one of them spoke or failed, at most until `at`. It is no longer among them then.
pub(crate) async fn first(
    field: &mut Vec<Contender>,
    timer: &mut Watch,
    at: Instant,
) -> Option<(Record, Result<Spoken, Missed>)> {
    let any = poll_fn(|cx| {
        let mut ends = field.iter_mut().enumerate();
        let end = ends.find_map(|(index, contender)| match contender.run.as_mut().poll(cx) {
            Poll::Ready(end) => Some((index, end)),
            Poll::Pending => None,
        });
        end.map_or(Poll::Pending, Poll::Ready)
    });
    let (index, end) = timer.until(at, any).await?;
    Some((field.remove(index).record, end))
}
