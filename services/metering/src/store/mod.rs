//! The embedded store: SQLite behind one writer.
//!
//! One thread owns the connection and the [`Books`]. It takes what is queued, does it in one transaction, commits, and only
//! then answers: whoever got an answer will find it after kill -9. When a commit fails, nobody gets an answer, and the books
//! are read again from the disk. Questions about usage read beside it.

mod access;
mod administration;
mod checkpoint;
mod desk;
mod entries;
mod reader;
mod rows;
mod schema;
mod tally;

use std::{fs::File, path::Path, sync::Arc};

use rusqlite::Connection;
use signalbox_mesh::Clock;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::{
    administration::Configured,
    desk::{Answer, Desk},
    reader::Reader,
};
use self::{checkpoint::Checkpoints, desk::News, schema::Database, tally::Tally};
use crate::{
    Error, alerts::Alerts, books::Books, config::Config, counters::Violations, credential::Hash, keys::Keys,
    refusal::Refusal,
};

type Done = Box<dyn FnOnce() + Send>;
type Job = Box<dyn FnOnce(&mut Desk<'_>) -> rusqlite::Result<Done> + Send>;

enum Item {
    Job(Job),
    Close(oneshot::Sender<()>),
}

/// What a store is opened with.
pub(crate) struct Setting<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) config: &'a Config,
    /// What the configuration file says.
    pub(crate) configured: Configured,
    /// The first admin credential.
    pub(crate) admin: Option<Hash>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alerts: Alerts,
    pub(crate) violations: Violations,
}

/// A handle of the writer. Clones are the same. The writer ends when all are gone.
#[derive(Clone)]
pub(crate) struct Store {
    queue: mpsc::Sender<Item>,
    reader: Reader,
}

impl Store {
    /// Opens the database and starts its writer.
    pub(crate) fn open(setting: Setting<'_>) -> Result<(Self, Keys), Error> {
        let Database { connection, path, lock } = Database::open(setting.folder)?;
        let unreadable = |source: rusqlite::Error| match source {
            rusqlite::Error::FromSqlConversionFailure(_, _, what) => {
                Error::Damaged { path: path.clone(), what: what.to_string() }
            }
            source => Error::Database { path: path.clone(), source },
        };
        let keys = Keys::new(rows::keys(&connection).map_err(unreadable)?, setting.admin);
        let books = load(&connection, setting.config).map_err(unreadable)?;
        let (queue, jobs) = mpsc::channel(setting.config.store.queue);
        let mut writer = Writer {
            connection,
            books: Some(books),
            jobs,
            config: setting.config.clone(),
            keys: keys.clone(),
            clock: setting.clock,
            alerts: setting.alerts,
            violations: setting.violations,
            pending: Tally::default(),
            _checkpoints: Checkpoints::start(&path).map_err(Error::Thread)?,
            _lock: lock,
        };
        let configure = |desk: &mut Desk<'_>| {
            desk.recount()?;
            desk.configure(setting.configured)
        };
        writer.once(configure).map_err(unreadable)?.map_err(|refusal| Error::Config(refusal.to_string()))?;
        let reader = Reader::open(&path, setting.config.store.max_groups).map_err(unreadable)?;
        let thread = std::thread::Builder::new().name("metering-store".to_owned());
        thread.spawn(move || writer.run()).map_err(Error::Thread)?;
        Ok((Self { queue, reader }, keys))
    }

    /// Does something at the desk and waits until it is written. Once queued it is done, also when the caller goes away.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Answer<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (job, answer) = job(work);
        self.queue.send(Item::Job(job)).await.map_err(|_| Refusal::StoreAway)?;
        answer.await.unwrap_or(Err(Refusal::StoreAway))
    }

    /// As [`Store::ask`], but refuses at once when the queue is full.
    pub(crate) async fn ask_now<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Answer<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (job, answer) = job(work);
        self.queue.try_send(Item::Job(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Refusal::StoreAway,
        })?;
        answer.await.unwrap_or(Err(Refusal::StoreAway))
    }

    /// Ends the writer behind what is queued, and waits for it.
    pub(crate) async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        if self.queue.send(Item::Close(closed)).await.is_ok() {
            let _gone = wait.await;
        }
    }
}

fn job<T: Send + 'static>(
    work: impl FnOnce(&mut Desk<'_>) -> Answer<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, Refusal>>) {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |desk| {
        let value = work(desk)?;
        Ok(Box::new(move || drop(reply.send(value))))
    });
    (job, answer)
}

fn load(connection: &Connection, config: &Config) -> rusqlite::Result<Books> {
    let mut books = Books::new(config.grants.clone(), config.allowance.clone());
    for budget in rows::budgets(connection)? {
        books.put_budget(budget);
    }
    for limit in rows::limits(connection)? {
        books.meters.put(limit);
    }
    for (bucket, level) in rows::levels(connection)? {
        books.meters.put_level(bucket, level);
    }
    for reservation in rows::reservations(connection)? {
        books.insert(reservation);
    }
    books.take_changed();
    books.meters.take_changed();
    Ok(books)
}

struct Writer {
    connection: Connection,
    /// Absent after a failed commit, until they are read again.
    books: Option<Books>,
    jobs: mpsc::Receiver<Item>,
    config: Config,
    keys: Keys,
    clock: Arc<dyn Clock>,
    alerts: Alerts,
    violations: Violations,
    /// What is in the ledger and not in roll-ups.
    pending: Tally,
    _checkpoints: Checkpoints,
    /// Unlocked after the connection is closed, as fields are dropped in their order.
    _lock: File,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(self.config.store.batch);
        let mut closing = None;
        while closing.is_none()
            && let Some(item) = self.jobs.blocking_recv()
        {
            let mut next = Some(item);
            while let Some(item) = next.take() {
                match item {
                    Item::Job(job) => batch.push(job),
                    Item::Close(closed) => closing = Some(closed),
                }
                if batch.len() < self.config.store.batch && closing.is_none() {
                    next = self.jobs.try_recv().ok();
                }
            }
            match self.commit(batch.drain(..)) {
                Ok(answers) => answers.into_iter().for_each(|answer| answer()),
                // The answers are dropped: their callers learn that nothing was written.
                Err(error) => tracing::error!(%error, "a commit failed and was undone"),
            }
        }
        drop(self);
        if let Some(closed) = closing {
            let _gone = closed.send(());
        }
    }

    /// Does a batch in one transaction, or nothing of it.
    fn commit(&mut self, jobs: impl Iterator<Item = Job>) -> rusqlite::Result<Vec<Done>> {
        self.transact(|desk| jobs.map(|job| job(desk)).collect())
    }

    /// Does one thing in a transaction of its own.
    fn once<T>(&mut self, work: impl FnOnce(&mut Desk<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.transact(work)
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Desk<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut books = match self.books.take() {
            Some(books) => books,
            None => load(&self.connection, &self.config)?,
        };
        let transaction = Transaction::begin(&self.connection)?;
        let mut desk = Desk {
            connection: &self.connection,
            books: &mut books,
            keys: &self.keys,
            bounds: &self.config.store,
            violations: &self.violations,
            ledger_days: self.config.retention.ledger_days,
            now: self.clock.unix_ms(),
            news: News::default(),
            tally: Tally::default(),
            pending: &self.pending,
        };
        desk.expire()?;
        let done = work(&mut desk)?;
        let tally = desk.close_day()?;
        let news = desk.news;
        transaction.commit()?;
        self.books = Some(books);
        match tally {
            Some(tally) => self.pending.merge(tally),
            None => self.pending = Tally::default(),
        }
        news.keys.into_iter().for_each(|key| self.keys.put(key));
        news.alerts.into_iter().for_each(|alert| self.alerts.tell(alert));
        Ok(done)
    }
}

/// A transaction, undone unless it is committed. Its statements are prepared once: rusqlite's own are read anew each time.
struct Transaction<'a> {
    connection: &'a Connection,
    open: bool,
}

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self { connection, open: true })
    }

    fn commit(mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SQLite has undone it by itself after some errors.
        if self.open
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be undone");
        }
    }
}

#[cfg(test)]
mod tests;
