//! Rows of the ledger.

use rusqlite::{Connection, OptionalExtension as _, Result, params, types::Value};
use signalbox_proto::metering::v1::RequestOutcome;

use super::rows;
use crate::{
    budget::{Terms, Unit},
    ledger::{AttemptRecord, Details, Score},
    subject::{Facet, Subject},
};

/// What became of a record that was offered to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    New,
    /// It was there, with the same content.
    Again,
    /// It was there with other content, which stays.
    Differs,
}

/// Records an attempt, once.
pub(super) fn insert_attempt(
    connection: &Connection,
    request: &str,
    attempt: &AttemptRecord,
    now: i64,
) -> Result<Entered> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO attempts (request_id, number, target_id, outcome, kind, source, input_tokens, output_tokens, \
         cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, cost_nanousd, \
         price_unknown, price_version, started_unix_ms, duration_ms, first_output_ms, http_status, error, \
         provider_request_id, recorded_unix_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let tokens = &attempt.tokens;
    let new = statement.execute(params![
        request,
        attempt.number,
        attempt.target_id,
        i32::from(attempt.outcome),
        i32::from(attempt.kind),
        i32::from(attempt.source),
        tokens.input,
        tokens.output,
        tokens.cached_input,
        tokens.cache_write,
        tokens.cache_write_1h,
        tokens.reasoning,
        tokens.audio_input,
        tokens.audio_output,
        attempt.cost_nanousd,
        attempt.price_unknown,
        &*attempt.price_version,
        attempt.started_unix_ms,
        attempt.duration_ms,
        attempt.first_output_ms,
        attempt.http_status,
        attempt.error,
        attempt.provider_request_id,
        now,
    ])?;
    if new > 0 {
        return Ok(Entered::New);
    }
    let mut statement = connection.prepare_cached(
        "SELECT target_id = ? AND input_tokens = ? AND output_tokens = ? AND source = ? \
         FROM attempts WHERE request_id = ? AND number = ?",
    )?;
    let source = i32::from(attempt.source);
    let same = statement.query_row(
        params![attempt.target_id, tokens.input, tokens.output, source, request, attempt.number],
        |row| row.get::<_, bool>(0),
    )?;
    Ok(if same { Entered::Again } else { Entered::Differs })
}

/// One request as it is entered.
pub(super) struct RequestRow<'a> {
    pub(super) id: &'a str,
    pub(super) subject: &'a Subject,
    pub(super) target: Option<&'a str>,
    pub(super) details: &'a Details,
    /// `None` while the request is open.
    pub(super) outcome: Option<RequestOutcome>,
}

const INSERT_REQUEST: &str = "\
    INSERT OR IGNORE INTO requests (request_id, tenant, principal, team, user, feature, tags, requested_model, target_id, \
    outcome, cache, saved_nanousd, hit_input_tokens, hit_output_tokens, started_unix_ms, settled_unix_ms, total_ms, \
    first_output_ms, overhead_us, error_reason, client_request_id, on_allowance, route) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A row that is open (0) or abandoned (8) gives way.
const REPLACE_REQUEST: &str = "\
    UPDATE requests SET target_id = coalesce(?2, target_id), outcome = ?3, cache = ?4, saved_nanousd = ?5, \
    hit_input_tokens = ?6, hit_output_tokens = ?7, started_unix_ms = ?8, settled_unix_ms = ?9, total_ms = ?10, \
    first_output_ms = ?11, overhead_us = ?12, error_reason = ?13, client_request_id = ?14, on_allowance = ?15, route = ?17 \
    WHERE request_id = ?1 AND outcome IN (0, ?16) AND ?3 != 0 AND outcome != ?3";

/// Records a request that is new; false: there is one of that id.
pub(super) fn insert_request(connection: &Connection, request: &RequestRow<'_>, now: i64) -> Result<bool> {
    let (subject, details) = (request.subject, request.details);
    let inserted = connection.prepare_cached(INSERT_REQUEST)?.execute(params![
        request.id,
        &*subject.tenant,
        &*subject.principal,
        subject.team.as_deref(),
        subject.user,
        subject.feature,
        rows::tags(subject)?,
        subject.model,
        request.target,
        request.outcome.map_or(0, i32::from),
        i32::from(details.cache),
        details.saved_nanousd,
        details.hit_tokens.0,
        details.hit_tokens.1,
        details.started_unix_ms,
        now,
        details.total_ms,
        details.first_output_ms,
        details.overhead_us,
        details.error_reason,
        details.client_request_id,
        details.on_allowance,
        details.route,
    ])?;
    Ok(inserted > 0)
}

/// Records how a known request ended. A row that is open or abandoned gives way to one that knows.
pub(super) fn replace_request(
    connection: &Connection,
    request: &RequestRow<'_>,
    now: i64,
) -> Result<Entered> {
    let details = request.details;
    let outcome = request.outcome.map_or(0, i32::from);
    let changed = connection.prepare_cached(REPLACE_REQUEST)?.execute(params![
        request.id,
        request.target,
        outcome,
        i32::from(details.cache),
        details.saved_nanousd,
        details.hit_tokens.0,
        details.hit_tokens.1,
        details.started_unix_ms,
        now,
        details.total_ms,
        details.first_output_ms,
        details.overhead_us,
        details.error_reason,
        details.client_request_id,
        details.on_allowance,
        i32::from(RequestOutcome::Abandoned),
        details.route,
    ])?;
    if changed > 0 {
        return Ok(Entered::New);
    }
    let known: i32 = connection
        .prepare_cached("SELECT outcome FROM requests WHERE request_id = ?")?
        .query_row([request.id], |row| row.get(0))?;
    // An open or abandoned one that comes late contradicts nothing.
    let differs = request.outcome.is_some_and(|o| o != RequestOutcome::Abandoned) && known != outcome;
    Ok(if differs { Entered::Differs } else { Entered::Again })
}

/// Whose a request on record is.
pub(super) fn tenant_of(connection: &Connection, request: &str) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT tenant FROM requests WHERE request_id = ?")?
        .query_row([request], |row| row.get(0))
        .optional()
}

/// Keeps a score in the place of the one before.
pub(super) fn put_score(connection: &Connection, request: &str, score: &Score) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO scores (request_id, score, kind) VALUES (?, ?, ?)")?
        .execute(params![request, score.value, score.kind])?;
    Ok(())
}

/// Requests that are forgotten with one commit at most.
const FORGOTTEN: i64 = 500;

/// Forgets the records of requests that began before a time; some of them.
pub(super) fn delete_before(connection: &Connection, time: i64) -> Result<()> {
    let old = "SELECT request_id FROM requests INDEXED BY requests_by_time WHERE started_unix_ms < ? \
               ORDER BY started_unix_ms LIMIT ?";
    // The requests last: they say what is old.
    for table in ["scores", "attempts", "requests"] {
        let delete = format!("DELETE FROM {table} WHERE request_id IN ({old})");
        connection.prepare_cached(&delete)?.execute([time, FORGOTTEN])?;
    }
    Ok(())
}

/// What the ledger knows to be spent by the requests that count against a budget, from a time on. Reads every row from
/// there, so it is for administrators' calls alone.
pub(super) fn spent(connection: &Connection, terms: &Terms, from: i64) -> Result<i64> {
    let amount = match terms.unit {
        Unit::Nanousd => "a.cost_nanousd",
        Unit::Tokens => "a.input_tokens + a.output_tokens",
    };
    let mut values: Vec<Value> = vec![from.into(), terms.tenant.as_ref().to_owned().into()];
    let mut scope = String::new();
    for (facet, value) in &terms.scope.0 {
        scope.push_str(match facet {
            Facet::Principal => " AND r.principal = ?",
            Facet::Team => " AND r.team = ?",
            Facet::User => " AND r.user = ?",
            Facet::Feature => " AND r.feature = ?",
            Facet::Model => " AND r.requested_model = ?",
            Facet::Tag(key) => {
                values.push(key.clone().into());
                " AND (SELECT value FROM json_each(r.tags) WHERE key = ?) = ?"
            }
        });
        values.push(value.clone().into());
    }
    let sql = format!(
        "SELECT sum({amount}) FROM requests r JOIN attempts a USING (request_id) \
         WHERE r.started_unix_ms >= ? AND r.tenant = ?{scope}"
    );
    let found =
        connection.query_row(&sql, rusqlite::params_from_iter(values), |row| row.get::<_, Option<i64>>(0));
    Ok(found.optional()?.flatten().unwrap_or(0))
}
