//! Copies of a request beside its answer: asked of another target, paid for, recorded, and seen by nobody.
//!
//! A copy is part of its request's bill: that is settled when both have ended. It costs the client no time, because even its money is
//! asked for beside the answer; without money, without room, or where metering is away there is none. It ends with the request's
//! deadline, and at once when the client goes away.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use signalbox_proto::{
    common::v1::{Attempt, AttemptKind, RescuePolicy, rescue_policy::Mode},
    executor::v1::{ExecuteRequest, PlannedTarget, execute_response},
    metering::v1::Settlement,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};
use tonic::{Code, Status};

use crate::{
    Mesh,
    bill::{Bill, Progress},
    grant::Grant,
    ledger::Ledger,
    pipeline::{Ask, Plan},
    trail::Step,
};

/// A bill that copies add to; settled when the last who adds to it has let go.
pub(crate) struct Joint {
    /// What the request itself used; absent while it runs.
    record: Mutex<Option<Settlement>>,
    /// What the copies used.
    copies: Mutex<Vec<Attempt>>,
    gone: CancellationToken,
    ledger: Ledger,
    /// Dropped behind everything else.
    _open: TaskTrackerToken,
}

impl Joint {
    pub(crate) fn new(ledger: &Ledger) -> Arc<Self> {
        Arc::new(Self {
            record: Mutex::new(None),
            copies: Mutex::new(Vec::new()),
            gone: CancellationToken::new(),
            _open: ledger.opened(),
            ledger: ledger.clone(),
        })
    }

    /// The request's own word. `gone`: its client went away, and nobody compares anything.
    pub(crate) fn ended(&self, record: Settlement, gone: bool) {
        *self.record.lock() = Some(record);
        if gone {
            self.gone.cancel();
        }
    }
}

impl Drop for Joint {
    fn drop(&mut self) {
        let Some(mut record) = self.record.get_mut().take() else { return };
        let mut last = record.attempts.iter().map(|attempt| attempt.number).max().unwrap_or(0);
        for mut copy in std::mem::take(self.copies.get_mut()) {
            last = last.saturating_add(1);
            copy.number = last;
            copy.set_kind(AttemptKind::Shadow);
            record.attempts.push(copy);
        }
        self.ledger.settle(record);
    }
}

/// A copy that runs; dropped, it is recorded as far as it came.
struct Shadow {
    progress: Mutex<Progress>,
    joint: Arc<Joint>,
    mesh: Arc<Mesh>,
}

impl Drop for Shadow {
    fn drop(&mut self) {
        let attempts = self.progress.get_mut().close(self.mesh.clock.unix_ms(), AttemptKind::Shadow);
        self.joint.copies.lock().extend(attempts);
    }
}

/// Sends the copies that the plan asks for.
pub(crate) fn begin(
    mesh: &Arc<Mesh>,
    ask: &Ask<'_>,
    plan: &Plan,
    grant: &mut Option<Box<Grant>>,
    bill: &Bill,
) {
    for target_id in &plan.shadows {
        // On an allowance there is no grant.
        let Some(grant) = grant else { return };
        let Some(place) = mesh.shadows.reserve() else {
            return tracing::debug!("no room for another copy of a request");
        };
        // Input is no dearer than output.
        let tokens = ask.granted_output_tokens.saturating_add(ask.input_tokens);
        let paid = grant.reserve("shadow", target_id, tokens);
        let limit = Duration::from_millis(mesh.config.load().shadow.limit_ms).min(grant.life() / 2);
        let copy = Shadow {
            progress: Mutex::new(Progress::of(ask.input_tokens)),
            joint: bill.joint(),
            mesh: Arc::clone(mesh),
        };
        let mut context = ask.call.trail.within(Step::Execute, ask.context).into_owned();
        // A copy that fails is a result.
        context.set_retry_budget(0);
        let request = ExecuteRequest {
            chat: Some(ask.chat.clone()),
            plan: vec![PlannedTarget { target_id: target_id.clone(), prefill: false }],
            rescue: Some(RescuePolicy { mode: Mode::None.into(), ..RescuePolicy::default() }),
            granted_output_tokens: ask.granted_output_tokens,
            input_tokens: ask.input_tokens,
            ..ExecuteRequest::default()
        };
        let target_id = target_id.clone();
        let (gone, ending) = (copy.joint.gone.clone(), mesh.shutdown.clone());
        place.spawn(async move {
            if !paid.await {
                return;
            }
            copy.progress.lock().begin(target_id, copy.mesh.clock.unix_ms());
            let asked = copy.ask(context.request(tokio_stream::once(request)));
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = ending.started() => {}
                asked = tokio::time::timeout(limit, Box::pin(asked)) => {
                    if let Ok(Err(status)) = asked {
                        tracing::debug!(code = ?status.code(), "a copy of a request failed");
                    }
                }
            }
        });
    }
}

impl Shadow {
    async fn ask(
        &self,
        request: tonic::Request<impl tokio_stream::Stream<Item = ExecuteRequest> + Send + 'static>,
    ) -> Result<(), Status> {
        let mut stream = match self.mesh.parts.execute(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                // A deadline that strikes here struck while the provider was being asked.
                if status.code() != Code::DeadlineExceeded {
                    self.progress.lock().refuse();
                }
                return Err(status);
            }
        };
        let ended = async {
            while let Some(message) = stream.message().await? {
                match message.kind {
                    Some(execute_response::Kind::Event(event)) => self.progress.lock().event(&event),
                    Some(execute_response::Kind::Attempt(attempt)) => self.progress.lock().attempt(*attempt),
                    None => {}
                }
            }
            Ok(())
        }
        .await;
        let mut progress = self.progress.lock();
        match &ended {
            Ok(()) => progress.end(),
            Err(status) => progress.fail(Status::clone(status)),
        }
        ended
    }
}
