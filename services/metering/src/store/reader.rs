//! Reading the ledger beside the writer, on threads that may block.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::Semaphore;

use super::schema;
use crate::{
    query::{Group, Question, Unanswered},
    refusal::Refusal,
};

/// Questions that are answered at a time; each has a connection of its own.
const CONNECTIONS: usize = 2;

/// Answers questions about usage. Clones are the same.
#[derive(Clone)]
pub(crate) struct Reader {
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<Semaphore>,
    max_groups: usize,
}

/// Stops a question that nobody waits for any more. Emptied before its connection serves somebody else.
struct Interrupt(Arc<Mutex<Option<InterruptHandle>>>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(running) = &*self.0.lock() {
            running.interrupt();
        }
    }
}

impl Reader {
    /// Opens the connections.
    pub(super) fn open(path: &Path, max_groups: usize) -> rusqlite::Result<Self> {
        let idle = (0..CONNECTIONS).map(|_| schema::read_only(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), room: Arc::new(Semaphore::new(CONNECTIONS)), max_groups })
    }

    /// Answers a question: the groups, dearest first, and whether some were left out. Dropping it stops it.
    pub(crate) async fn answer(&self, question: Question) -> Result<(Vec<Group>, bool), Refusal> {
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Refusal::Unreadable)?;
        let connection = self.idle.lock().pop().ok_or(Refusal::Unreadable)?;
        let interrupt = Interrupt(Arc::new(Mutex::new(Some(connection.get_interrupt_handle()))));
        let (running, idle, max_groups) = (Arc::clone(&interrupt.0), Arc::clone(&self.idle), self.max_groups);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question.answer(&connection, max_groups);
            running.lock().take();
            idle.lock().push(connection);
            drop(place);
            answer
        });
        let answer = answer.await;
        drop(interrupt);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Unanswered::TooManyGroups)) => {
                let what =
                    format!("the answer has more than {max_groups} groups; ask for fewer, or a shorter time");
                Err(Refusal::invalid("group_by", what))
            }
            Ok(Err(Unanswered::Database(error))) => {
                tracing::error!(%error, "a question about usage failed");
                Err(Refusal::Unreadable)
            }
            Err(_panicked) => Err(Refusal::Unreadable),
        }
    }
}
