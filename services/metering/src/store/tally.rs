//! Roll-ups in the embedded database: summed in memory over many commits, then added to what is stored.
//!
//! Adding to a stored cell reads, decodes and writes it, which costs more than the records themselves. So what a commit adds is
//! only noted beside the records (`unsummed`), and written once for all: at the latest with the next tick, after
//! [`MOST`] requests, before a question is answered, and with any correction. What a crash leaves noted is counted again.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use signalbox_proto::metering::v1::RequestOutcome;

use super::{reader, rows};
use crate::{
    ledger::{AttemptRecord, Details, Row},
    query::{Question, Segment, Sums},
    refusal::Refusal,
    rollup::{Cell, CellKey, Detail, Grain},
    subject::Subject,
};

/// Requests that are summed in memory at most.
const MOST: usize = 4_096;
/// What is summed in memory.
const FINEST: Grain = Grain { daily: false, detail: Detail::Fine };

/// What is to be added to roll-ups.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// The finest, by when their hour begins and by key; the coarser follow from them.
    cells: HashMap<(i64, String), Cell>,
    /// The requests that are in it.
    requests: Vec<String>,
    /// Whether it must be written now: something else than new requests is in it, or somebody wants to read.
    due: bool,
}

impl Tally {
    /// Adds a request that is new, with its attempts.
    pub(super) fn add<'a>(
        &mut self,
        request_id: &str,
        subject: &Subject,
        target: Option<&str>,
        details: &Details,
        outcome: RequestOutcome,
        attempts: impl Iterator<Item = &'a AttemptRecord>,
    ) {
        let key = CellKey::of(subject, target, details.cache, outcome);
        let mut cell = Cell::default();
        cell.add_request(details, outcome, 1);
        attempts.for_each(|attempt| cell.add_attempt(attempt, 1));
        self.put(&key, details.started_unix_ms, &cell);
        self.requests.push(request_id.to_owned());
    }

    /// Adds what the ledger has of a request, or takes it out where `times` is -1.
    pub(super) fn fold(&mut self, connection: &Connection, request_id: &str, times: i64) -> Result<()> {
        // A request that is noted must be in the ledger as it was summed.
        self.due = true;
        let found = reader::request(connection, request_id)?;
        let Some(first) = found.first() else { return Ok(()) };
        let key = key(first);
        let mut cell = Cell::default();
        cell.add_request(&first.details, first.outcome, times);
        found
            .iter()
            .filter_map(|row| row.attempt.as_ref())
            .for_each(|attempt| cell.add_attempt(attempt, times));
        self.put(&key, first.details.started_unix_ms, &cell);
        Ok(())
    }

    /// Adds what was noted and not written when the process ended.
    pub(super) fn recount(&mut self, connection: &Connection) -> Result<()> {
        let mut noted = connection.prepare("SELECT requests FROM unsummed")?;
        let noted: Vec<String> = noted.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
        for requests in noted {
            let requests: Vec<String> = serde_json::from_str(&requests)
                .map_err(|_| rows::damaged("the list of requests that are not summed is unreadable"))?;
            requests.iter().try_for_each(|id| self.fold(connection, id, 1))?;
        }
        Ok(())
    }

    /// Has it written with this commit.
    pub(super) fn hurry(&mut self) {
        self.due = true;
    }

    /// Closes a commit, where `self` is what it adds to what is `pending`: writes both, or notes what is added and gives it back.
    pub(super) fn close(self, pending: &Self, connection: &Connection) -> Result<Option<Self>> {
        if self.due || pending.requests.len() + self.requests.len() > MOST {
            let mut all = pending.clone();
            all.merge(self);
            all.write(connection)?;
            return Ok(None);
        }
        if !self.requests.is_empty() {
            let requests = serde_json::to_string(&self.requests)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            connection.prepare_cached("INSERT INTO unsummed (requests) VALUES (?)")?.execute([requests])?;
        }
        Ok(Some(self))
    }

    /// Adds another.
    pub(super) fn merge(&mut self, other: Self) {
        for (place, cell) in other.cells {
            self.cells.entry(place).or_default().merge(&cell);
        }
        self.requests.extend(other.requests);
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    fn put(&mut self, key: &CellKey, started_unix_ms: i64, cell: &Cell) {
        let place = (FINEST.start(started_unix_ms), key.text(FINEST.detail));
        self.cells.entry(place).or_default().merge(cell);
    }

    /// The cells of all grains.
    fn all(&self) -> Result<HashMap<(i64, i64, String), Cell>> {
        let mut all = HashMap::<_, Cell>::new();
        for ((at, key), cell) in &self.cells {
            let key =
                CellKey::read(key).ok_or_else(|| rows::damaged("the key of a roll-up is unreadable"))?;
            for (grain, start, key) in key.places(*at) {
                all.entry((grain.number(), start, key)).or_default().merge(cell);
            }
        }
        Ok(all)
    }

    /// Adds all of it to what is stored.
    fn write(self, connection: &Connection) -> Result<()> {
        let mut read =
            connection.prepare_cached("SELECT cell FROM rollups WHERE grain = ? AND at = ? AND key = ?")?;
        let mut write = connection
            .prepare_cached("INSERT OR REPLACE INTO rollups (grain, at, key, cell) VALUES (?, ?, ?, ?)")?;
        for ((grain, at, key), mut cell) in self.all()? {
            let stored =
                read.query_row(params![grain, at, key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            if let Some(stored) = stored {
                cell.merge(&Cell::read(&stored).ok_or_else(|| rows::damaged("a roll-up is unreadable"))?);
            }
            write.execute(params![grain, at, key, cell.to_bytes()])?;
        }
        connection.prepare_cached("DELETE FROM unsummed")?.execute([])?;
        Ok(())
    }
}

pub(super) fn key(row: &Row) -> CellKey<'_> {
    CellKey::of(&row.subject, row.target.as_deref(), row.details.cache, row.outcome)
}

/// Answers a question from roll-ups and, where they are too coarse, from the ledger.
pub(super) fn answer(
    connection: &Connection,
    question: &Question,
    sums: &mut Sums<'_>,
) -> Result<std::result::Result<(), Refusal>> {
    let whole_from = match question.daily_detail().mark() {
        Some(mark) => connection
            .prepare_cached("SELECT at FROM marks WHERE name = ? || '_from'")?
            .query_row([mark], |row| row.get(0))?,
        None => 0,
    };
    for segment in question.segments(whole_from) {
        let answered = match segment.grain {
            Some(_) => from_cells(connection, &segment, sums)?,
            None => from_ledger(connection, &segment, sums)?,
        };
        if let Err(refusal) = answered {
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(()))
}

fn from_cells(
    connection: &Connection,
    segment: &Segment,
    sums: &mut Sums<'_>,
) -> Result<std::result::Result<(), Refusal>> {
    let grain = segment.grain.map_or(0, Grain::number);
    let mut statement = connection
        .prepare_cached("SELECT at, key, cell FROM rollups WHERE grain = ? AND at >= ? AND at < ?")?;
    let mut found = statement.query(params![grain, segment.from_unix_ms, segment.to_unix_ms])?;
    while let Some(row) = found.next()? {
        let key = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let cell = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        match sums.add_stored(key, row.get(0)?, cell) {
            Ok(true) => {}
            Ok(false) => return Err(rows::damaged("a roll-up is unreadable")),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(()))
}

fn from_ledger(
    connection: &Connection,
    segment: &Segment,
    sums: &mut Sums<'_>,
) -> Result<std::result::Result<(), Refusal>> {
    let mut last = String::new();
    let mut answered = Ok(());
    reader::each_row(connection, (segment.from_unix_ms, segment.to_unix_ms), |row| {
        let mut cell = Cell::default();
        if row.request_id != last {
            cell.add_request(&row.details, row.outcome, 1);
            last.clone_from(&row.request_id);
        }
        row.attempt.iter().for_each(|attempt| cell.add_attempt(attempt, 1));
        answered = sums.add(&key(&row), row.details.started_unix_ms, &cell);
        answered.is_ok()
    })?;
    Ok(answered)
}
