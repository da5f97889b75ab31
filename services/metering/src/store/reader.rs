//! Reading the ledger beside the writer, on threads that may block.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle, params};
use signalbox_proto::{
    common::v1::{AttemptKind, AttemptOutcome, CacheState, UsageSource},
    metering::v1::RequestOutcome,
};
use tokio::sync::Semaphore;

use super::{rows, schema, tally};
use crate::{
    audit::{Change, Look},
    ledger::{AttemptRecord, Details, Leaf, Page, Row, Score, Tokens},
    query::{Group, Question, Sums},
    refusal::Refusal,
    subject::Subject,
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
        let max_groups = self.max_groups;
        let answer = self.read(move |connection| {
            let mut sums = Sums::new(&question, max_groups);
            let answered = tally::answer(connection, &question, &mut sums)?;
            Ok::<_, rusqlite::Error>(answered.map(|()| sums.ranked()))
        });
        answer.await?.map_err(|error| unreadable(&error))?
    }

    /// Reads changes, newest first.
    pub(crate) async fn changes(&self, look: Look) -> Result<Vec<Change>, Refusal> {
        self.read(move |connection| rows::changes(connection, &look))
            .await?
            .map_err(|error| unreadable(&error))
    }

    /// Reads a piece of the ledger.
    pub(crate) async fn page(&self, page: Page) -> Result<Leaf, Refusal> {
        self.read(move |connection| leaf(connection, &page)).await?.map_err(|error| unreadable(&error))
    }

    /// Reads on a thread that may block. Dropping it stops the reading.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Refusal::Unreadable)?;
        let connection = self.idle.lock().pop().ok_or(Refusal::Unreadable)?;
        let interrupt = Interrupt(Arc::new(Mutex::new(Some(connection.get_interrupt_handle()))));
        let (running, idle) = (Arc::clone(&interrupt.0), Arc::clone(&self.idle));
        let answer = tokio::task::spawn_blocking(move || {
            let answer = work(&connection);
            running.lock().take();
            idle.lock().push(connection);
            drop(place);
            answer
        });
        let answer = answer.await;
        drop(interrupt);
        answer.map_err(|_panicked| Refusal::Unreadable)
    }
}

fn unreadable(error: &rusqlite::Error) -> Refusal {
    tracing::error!(%error, "the ledger cannot be read");
    Refusal::Unreadable
}

/// The columns of a request and one of its attempts.
const COLUMNS: &str = "\
    r.*, a.number, a.target_id AS attempt_target, a.outcome AS attempt_outcome, a.kind, a.source, a.input_tokens, \
    a.output_tokens, a.cached_input_tokens, a.cache_write_tokens, a.cache_write_1h_tokens, a.reasoning_tokens, a.audio_input_tokens, \
    a.audio_output_tokens, a.cost_nanousd, a.price_unknown, a.price_version, a.started_unix_ms AS attempt_started, \
    a.duration_ms, a.first_output_ms AS attempt_first, a.http_status, a.error, a.provider_request_id";

/// A request with its attempts.
pub(super) fn request(connection: &Connection, id: &str) -> rusqlite::Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM requests r LEFT JOIN attempts a USING (request_id) WHERE r.request_id = ? ORDER BY a.number"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([id], ledger_row)?.collect()
}

/// Each attempt, and each request without one, of the requests that began in a time; those of a request come together.
/// Ends early when `take` says false.
pub(super) fn each_row(
    connection: &Connection,
    time: (i64, i64),
    mut take: impl FnMut(Row) -> bool,
) -> rusqlite::Result<()> {
    // A left join keeps the order of the left table.
    let sql = format!(
        "SELECT {COLUMNS} FROM requests r INDEXED BY requests_by_time LEFT JOIN attempts a USING (request_id) \
         WHERE r.started_unix_ms >= ? AND r.started_unix_ms < ?"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([time.0, time.1])?;
    while let Some(row) = found.next()? {
        if !take(ledger_row(row)?) {
            break;
        }
    }
    Ok(())
}

/// The piece that a page asks for. Its mark is `started_unix_ms request_id` of the last request.
fn leaf(connection: &Connection, page: &Page) -> rusqlite::Result<Leaf> {
    let (time, id) = page.after.split_once(' ').unwrap_or(("", ""));
    let after = time.parse().unwrap_or(i64::MIN);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {COLUMNS}, s.score, s.kind AS score_kind FROM (SELECT * FROM requests INDEXED BY requests_by_time \
         WHERE started_unix_ms >= ?1 AND started_unix_ms < ?2 AND (?3 = '' OR tenant = ?3) \
         AND (started_unix_ms, request_id) > (?4, ?5) ORDER BY started_unix_ms, request_id LIMIT ?6) r \
         LEFT JOIN attempts a USING (request_id) LEFT JOIN scores s USING (request_id) \
         ORDER BY r.started_unix_ms, r.request_id, a.number"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params![
        page.from_unix_ms.max(after),
        page.to_unix_ms,
        page.tenant,
        after,
        id,
        limit
    ])?;
    let (mut leaf, mut requests, mut last) = (Leaf::default(), 0, String::new());
    while let Some(row) = found.next()? {
        let score = match row.get::<_, Option<f64>>("score")? {
            Some(value) => Some(Score { value, kind: row.get("score_kind")? }),
            None => None,
        };
        let row = Row { score, ..ledger_row(row)? };
        if row.request_id != last {
            requests += 1;
            last.clone_from(&row.request_id);
        }
        leaf.rows.push(row);
    }
    let next = leaf.rows.last().filter(|_| requests >= page.limit);
    leaf.next = next.map(|row| format!("{} {}", row.details.started_unix_ms, row.request_id));
    Ok(leaf)
}

fn ledger_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let text = |column: &str| row.get::<_, Option<String>>(column);
    let attempt = match row.get::<_, Option<u32>>("number")? {
        Some(number) => Some(attempt(row, number)?),
        None => None,
    };
    let tags = text("tags")?.and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default();
    Ok(Row {
        request_id: row.get("request_id")?,
        subject: Subject {
            tenant: row.get::<_, String>("tenant")?.into(),
            principal: row.get::<_, String>("principal")?.into(),
            team: text("team")?.map(Arc::from),
            user: text("user")?,
            feature: text("feature")?,
            tags,
            model: row.get("requested_model")?,
        },
        target: text("target_id")?,
        outcome: RequestOutcome::try_from(row.get::<_, i32>("outcome")?).unwrap_or_default(),
        details: Details {
            cache: CacheState::try_from(row.get::<_, i32>("cache")?).unwrap_or_default(),
            saved_nanousd: row.get("saved_nanousd")?,
            hit_tokens: (row.get("hit_input_tokens")?, row.get("hit_output_tokens")?),
            started_unix_ms: row.get("started_unix_ms")?,
            total_ms: row.get("total_ms")?,
            first_output_ms: row.get("first_output_ms")?,
            overhead_us: row.get("overhead_us")?,
            error_reason: row.get("error_reason")?,
            client_request_id: row.get("client_request_id")?,
            on_allowance: row.get("on_allowance")?,
            route: text("route")?,
        },
        score: None,
        attempt,
    })
}

fn attempt(row: &rusqlite::Row<'_>, number: u32) -> rusqlite::Result<AttemptRecord> {
    Ok(AttemptRecord {
        number,
        target_id: row.get("attempt_target")?,
        outcome: AttemptOutcome::try_from(row.get::<_, i32>("attempt_outcome")?).unwrap_or_default(),
        kind: AttemptKind::try_from(row.get::<_, i32>("kind")?).unwrap_or_default(),
        tokens: Tokens {
            input: row.get("input_tokens")?,
            output: row.get("output_tokens")?,
            cached_input: row.get("cached_input_tokens")?,
            cache_write: row.get("cache_write_tokens")?,
            cache_write_1h: row.get("cache_write_1h_tokens")?,
            reasoning: row.get("reasoning_tokens")?,
            audio_input: row.get("audio_input_tokens")?,
            audio_output: row.get("audio_output_tokens")?,
        },
        source: UsageSource::try_from(row.get::<_, i32>("source")?).unwrap_or_default(),
        cost_nanousd: row.get("cost_nanousd")?,
        price_unknown: row.get("price_unknown")?,
        price_version: row.get::<_, String>("price_version")?.into(),
        started_unix_ms: row.get("attempt_started")?,
        duration_ms: row.get("duration_ms")?,
        first_output_ms: row.get("attempt_first")?,
        http_status: row.get("http_status")?,
        error: row.get("error")?,
        provider_request_id: row.get("provider_request_id")?,
    })
}
