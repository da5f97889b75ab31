//! Who pays: an attempt that cost something is paid for before the next one begins.

use signalbox_mesh::error;
use signalbox_proto::common::v1::{Attempt, AttemptOutcome, ErrorReason};
use signalbox_proto::executor::v1::ExecuteRequest;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::failure;

/// Listens to the caller's further messages, which say up to which attempt is paid.
pub(crate) struct Payer {
    messages: Streaming<ExecuteRequest>,
    paid: u32,
    owing: u32,
}

impl Payer {
    /// Makes one that owes nothing.
    pub(crate) const fn new(messages: Streaming<ExecuteRequest>) -> Self {
        Self { messages, paid: 0, owing: 0 }
    }

    /// Notes an attempt that ended. The one that succeeds was paid for beforehand.
    pub(crate) fn note(&mut self, attempt: &Attempt) {
        let output = attempt.usage.is_some_and(|usage| usage.output_tokens > 0);
        if attempt.outcome() != AttemptOutcome::Ok && (attempt.cost_nanousd > 0 || output) {
            self.owing = self.owing.max(attempt.number);
        }
    }

    /// Waits until all is paid that was reported.
    ///
    /// Cancel safe: what was said is kept.
    ///
    /// # Errors
    /// The request's time is up, or the caller says no more.
    pub(crate) async fn settled(&mut self, deadline: Instant, summary: &str) -> Result<(), Status> {
        while self.paid < self.owing {
            let message = tokio::time::timeout_at(deadline, self.messages.message()).await;
            match message.map_err(|_| failure::late(summary))?? {
                Some(message) => self.paid = self.paid.max(message.paid_attempt),
                None => {
                    let words = "no further attempt was paid for";
                    return Err(
                        error::status(Code::ResourceExhausted, ErrorReason::BudgetExhausted, words).into()
                    );
                }
            }
        }
        Ok(())
    }
}
