//! Roll-ups in the embedded database: summed in memory for one commit, then added to what is stored.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use signalbox_proto::metering::v1::RequestOutcome;

use super::{reader, rows};
use crate::{
    ledger::{AttemptRecord, Details, Row},
    query::{Question, Segment, Sums},
    refusal::Refusal,
    rollup::{Cell, CellKey, GRAINS, Grain},
    subject::Subject,
};

/// What a commit adds to roll-ups.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<(i64, i64, String), Cell>);

impl Tally {
    /// Adds a request that is new, with its attempts.
    pub(super) fn add<'a>(
        &mut self,
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
    }

    /// Adds what the ledger has of a request, or takes it out where `times` is -1.
    pub(super) fn fold(&mut self, connection: &Connection, request_id: &str, times: i64) -> Result<()> {
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

    fn put(&mut self, key: &CellKey, started_unix_ms: i64, cell: &Cell) {
        for grain in GRAINS {
            let place = (grain.number(), grain.start(started_unix_ms), key.text(grain));
            self.0.entry(place).or_default().merge(cell);
        }
    }

    /// Adds all of it to what is stored.
    pub(super) fn write(self, connection: &Connection) -> Result<()> {
        let mut read =
            connection.prepare_cached("SELECT cell FROM rollups WHERE grain = ? AND at = ? AND key = ?")?;
        let mut write = connection
            .prepare_cached("INSERT OR REPLACE INTO rollups (grain, at, key, cell) VALUES (?, ?, ?, ?)")?;
        for ((grain, at, key), mut cell) in self.0 {
            let stored =
                read.query_row(params![grain, at, key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            if let Some(stored) = stored {
                cell.merge(&Cell::read(&stored).ok_or_else(|| rows::damaged("a roll-up is unreadable"))?);
            }
            write.execute(params![grain, at, key, cell.to_bytes()])?;
        }
        Ok(())
    }
}

pub(super) fn key(row: &Row) -> CellKey {
    CellKey::of(&row.subject, row.target.as_deref(), row.details.cache, row.outcome)
}

/// Answers a question from roll-ups and, where they are too coarse, from the ledger.
pub(super) fn answer(
    connection: &Connection,
    question: &Question,
    sums: &mut Sums<'_>,
) -> Result<std::result::Result<(), Refusal>> {
    for segment in question.segments() {
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
        let key = CellKey::read(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
        let cell = Cell::read(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?);
        let (Some(key), Some(cell)) = (key, cell) else {
            return Err(rows::damaged("a roll-up is unreadable"));
        };
        if let Err(refusal) = sums.add(&key, row.get(0)?, &cell) {
            return Ok(Err(refusal));
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
