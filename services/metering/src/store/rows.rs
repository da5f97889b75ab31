//! Rows of keys, budgets and reservations.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, Result, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    alerts::Alert,
    audit::{Change, Look},
    budget::{Amount, Budget, Origin, Terms},
    credential::Hash,
    keys::{Key, KeyScope, OldSecret},
    limit::{Bucket, Level, Limit, LimitTerms},
    period::Window,
    reservation::{Purpose, Reservation},
    subject::Subject,
};

/// Writes a key, over the one of that id.
pub(super) fn put_key(connection: &Connection, key: &Key) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO keys (id, tenant, name, admin, salt, digest, models, features, networks, guard_policy, \
         cache_policy, route_policy, team, created_unix_ms, expires_unix_ms, revoked_unix_ms, old_salt, old_digest, \
         old_until_unix_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let scope = &key.scope;
    let old = key.old.as_ref();
    statement.execute(params![
        &*key.id,
        &*key.tenant,
        key.name,
        key.admin,
        key.hash.salt,
        key.hash.digest,
        json(&scope.models)?,
        json(&scope.features)?,
        json(&scope.networks)?,
        scope.guard_policy,
        scope.cache_policy,
        scope.route_policy,
        scope.team.as_deref(),
        key.created_unix_ms,
        key.expires_unix_ms,
        key.revoked_unix_ms,
        old.map(|old| old.hash.salt),
        old.map(|old| old.hash.digest),
        old.map(|old| old.until_unix_ms),
    ])?;
    Ok(())
}

/// Reads all keys.
pub(super) fn keys(connection: &Connection) -> Result<Vec<Key>> {
    let mut statement = connection.prepare("SELECT * FROM keys")?;
    let rows = statement.query_map([], |row| {
        let old = match row.get::<_, Option<i64>>("old_until_unix_ms")? {
            Some(until_unix_ms) => {
                let hash = Hash { salt: row.get("old_salt")?, digest: row.get("old_digest")? };
                Some(OldSecret { hash, until_unix_ms })
            }
            None => None,
        };
        Ok(Key {
            id: row.get::<_, String>("id")?.into(),
            tenant: row.get::<_, String>("tenant")?.into(),
            name: row.get("name")?,
            admin: row.get("admin")?,
            hash: Hash { salt: row.get("salt")?, digest: row.get("digest")? },
            old,
            scope: KeyScope {
                models: parsed(row, "models")?,
                features: parsed(row, "features")?,
                networks: parsed(row, "networks")?,
                guard_policy: row.get("guard_policy")?,
                cache_policy: row.get("cache_policy")?,
                route_policy: row.get("route_policy")?,
                team: shared(row, "team")?,
            },
            created_unix_ms: row.get("created_unix_ms")?,
            expires_unix_ms: row.get("expires_unix_ms")?,
            revoked_unix_ms: row.get("revoked_unix_ms")?,
        })
    })?;
    rows.collect()
}

/// Writes a budget with its state: a new one where `id` is `None`. Returns its id.
pub(super) fn put_budget(connection: &Connection, id: Option<i64>, budget: &Budget) -> Result<i64> {
    let terms = &budget.terms;
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO budgets (id, tenant, name, configured, terms, window_start, window_end, spent, uncovered, \
         carried, shadowed, told_percent, told_unix_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.insert(params![
        id,
        &*terms.tenant,
        terms.name,
        budget.origin == Origin::Configuration,
        terms.to_json().map_err(unwritable)?,
        budget.window.start,
        budget.window.end,
        budget.spent,
        budget.uncovered,
        budget.carried,
        budget.shadowed,
        budget.told_percent,
        budget.told_unix_ms,
    ])
}

/// Writes what of a budget changes with every request.
pub(super) fn update_budget(connection: &Connection, budget: &Budget) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE budgets SET window_start = ?, window_end = ?, spent = ?, uncovered = ?, carried = ?, shadowed = ?, \
         told_percent = ?, told_unix_ms = ? WHERE id = ?",
    )?;
    statement.execute(params![
        budget.window.start,
        budget.window.end,
        budget.spent,
        budget.uncovered,
        budget.carried,
        budget.shadowed,
        budget.told_percent,
        budget.told_unix_ms,
        budget.id,
    ])?;
    Ok(())
}

/// Removes a budget.
pub(super) fn delete_budget(connection: &Connection, id: i64) -> Result<()> {
    connection.execute("DELETE FROM budgets WHERE id = ?", [id])?;
    Ok(())
}

/// Reads all budgets; nothing is reserved in them yet.
pub(super) fn budgets(connection: &Connection) -> Result<Vec<Budget>> {
    let mut statement = connection.prepare("SELECT * FROM budgets ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        let (tenant, name): (String, String) = (row.get("tenant")?, row.get("name")?);
        let terms = row.get::<_, String>("terms")?;
        Ok(Budget {
            id: row.get("id")?,
            origin: origin(row.get("configured")?),
            terms: Terms::from_json(tenant.into(), name, &terms).map_err(damaged)?,
            window: Window { start: row.get("window_start")?, end: row.get("window_end")? },
            spent: row.get("spent")?,
            reserved: 0,
            standing: 0,
            uncovered: row.get("uncovered")?,
            carried: row.get("carried")?,
            shadowed: row.get("shadowed")?,
            told_percent: row.get("told_percent")?,
            told_unix_ms: row.get("told_unix_ms")?,
        })
    })?;
    rows.collect()
}

/// Writes a limit: a new one where `id` is `None`. Returns its id.
pub(super) fn put_limit(
    connection: &Connection,
    id: Option<i64>,
    origin: Origin,
    terms: &LimitTerms,
) -> Result<i64> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO limits (id, tenant, name, configured, rate) VALUES (?, ?, ?, ?, ?)",
    )?;
    statement.insert(params![
        id,
        &*terms.tenant,
        terms.name,
        origin == Origin::Configuration,
        json(&terms.rate)?
    ])
}

/// Removes a limit with its buckets.
pub(super) fn delete_limit(connection: &Connection, id: i64) -> Result<()> {
    connection.execute("DELETE FROM limits WHERE id = ?", [id])?;
    connection.execute("DELETE FROM buckets WHERE limit_id = ?", [id])?;
    Ok(())
}

/// Reads all limits.
pub(super) fn limits(connection: &Connection) -> Result<Vec<Limit>> {
    let mut statement = connection.prepare("SELECT * FROM limits ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        let (tenant, name): (String, String) = (row.get("tenant")?, row.get("name")?);
        let terms = LimitTerms { tenant: tenant.into(), name, rate: parsed(row, "rate")? };
        Ok(Limit { id: row.get("id")?, origin: origin(row.get("configured")?), terms })
    })?;
    rows.collect()
}

/// Writes how full a bucket is; `None`: it has drained.
pub(super) fn put_level(connection: &Connection, bucket: &Bucket, level: Option<Level>) -> Result<()> {
    let (id, value) = (bucket.0, &*bucket.1);
    match level {
        Some(level) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO buckets (limit_id, value, level, at_unix_ms) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![id, value, level.level, level.at_unix_ms])?,
        None => connection
            .prepare_cached("DELETE FROM buckets WHERE limit_id = ? AND value = ?")?
            .execute(params![id, value])?,
    };
    Ok(())
}

/// Reads how full the buckets are.
pub(super) fn levels(connection: &Connection) -> Result<Vec<(Bucket, Level)>> {
    let mut statement = connection.prepare("SELECT * FROM buckets")?;
    let rows = statement.query_map([], |row| {
        let bucket = (row.get("limit_id")?, row.get::<_, String>("value")?.into());
        Ok((bucket, Level { level: row.get("level")?, at_unix_ms: row.get("at_unix_ms")? }))
    })?;
    rows.collect()
}

/// Notes an alert; false: it was noted before.
pub(super) fn insert_alert(connection: &Connection, alert: &Alert) -> Result<bool> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO alerts (id, until_unix_ms, alert) VALUES (?, ?, ?)")?;
    Ok(statement.execute(params![alert.id, alert.until_unix_ms, json(alert)?])? > 0)
}

/// Reads the alerts that are active.
pub(super) fn alerts(connection: &Connection, now: i64) -> Result<Vec<Alert>> {
    let mut statement =
        connection.prepare_cached("SELECT alert FROM alerts WHERE until_unix_ms > ? ORDER BY id")?;
    statement.query_map([now], |row| parsed(row, "alert"))?.collect()
}

/// Forgets the alerts that are over.
pub(super) fn delete_alerts(connection: &Connection, now: i64) -> Result<()> {
    connection.prepare_cached("DELETE FROM alerts WHERE until_unix_ms <= ?")?.execute([now])?;
    Ok(())
}

/// Adds a change to the audit log.
pub(super) fn insert_change(connection: &Connection, change: &Change) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO audit (at_unix_ms, tenant, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    let Change { at_unix_ms, tenant, actor, action, subject, detail } = change;
    statement.execute(params![at_unix_ms, tenant, actor, action, subject, detail])?;
    Ok(())
}

/// Reads changes, newest first.
pub(super) fn changes(connection: &Connection, look: &Look) -> Result<Vec<Change>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM audit WHERE at_unix_ms < ? AND (? = '' OR tenant = ?) ORDER BY id DESC LIMIT ?",
    )?;
    let limit = i64::try_from(look.limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![look.before_unix_ms, look.tenant, look.tenant, limit], |row| {
        Ok(Change {
            at_unix_ms: row.get("at_unix_ms")?,
            tenant: row.get("tenant")?,
            actor: row.get("actor")?,
            action: row.get("action")?,
            subject: row.get("subject")?,
            detail: row.get("detail")?,
        })
    })?;
    rows.collect()
}

/// Writes a new reservation.
pub(super) fn insert_reservation(connection: &Connection, reservation: &Reservation) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO reservations (id, gateway, tenant, principal, team, user, feature, tags, requested_model, \
         made_unix_ms, held_nanousd, held_tokens, input_tokens, granted_output_tokens, output_picousd, budgets, buckets, \
         extension, expires_unix_ms, most_output_tokens) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let subject = &reservation.subject;
    let gateway = match &reservation.purpose {
        Purpose::Request => None,
        Purpose::Standing(gateway) => Some(&**gateway),
    };
    statement.execute(params![
        &*reservation.id,
        gateway,
        &*subject.tenant,
        &*subject.principal,
        subject.team.as_deref(),
        subject.user,
        subject.feature,
        tags(subject)?,
        subject.model,
        reservation.made_unix_ms,
        reservation.held.nanousd,
        reservation.held.tokens,
        reservation.input_tokens,
        reservation.granted_output_tokens,
        reservation.output_picousd,
        json(&reservation.budgets)?,
        buckets(&reservation.buckets)?,
        reservation.extension,
        reservation.expires_unix_ms,
        reservation.most_output_tokens,
    ])?;
    Ok(())
}

/// Writes what extending and spending change of a reservation.
pub(super) fn update_reservation(connection: &Connection, reservation: &Reservation) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE reservations SET held_nanousd = ?, held_tokens = ?, granted_output_tokens = ?, extension = ?, \
         expires_unix_ms = ? WHERE id = ?",
    )?;
    statement.execute(params![
        reservation.held.nanousd,
        reservation.held.tokens,
        reservation.granted_output_tokens,
        reservation.extension,
        reservation.expires_unix_ms,
        &*reservation.id,
    ])?;
    Ok(())
}

/// Removes a reservation.
pub(super) fn delete_reservation(connection: &Connection, id: &str) -> Result<()> {
    connection.prepare_cached("DELETE FROM reservations WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Reads all reservations.
pub(super) fn reservations(connection: &Connection) -> Result<Vec<Reservation>> {
    let mut statement = connection.prepare("SELECT * FROM reservations")?;
    let rows = statement.query_map([], |row| {
        let gateway = shared(row, "gateway")?;
        let tags: Option<String> = row.get("tags")?;
        let tags =
            tags.map_or_else(|| Ok(BTreeMap::new()), |text| serde_json::from_str(&text).map_err(damaged))?;
        Ok(Reservation {
            id: row.get::<_, String>("id")?.into(),
            purpose: gateway.map_or(Purpose::Request, Purpose::Standing),
            subject: Arc::new(Subject {
                tenant: row.get::<_, String>("tenant")?.into(),
                principal: row.get::<_, String>("principal")?.into(),
                team: shared(row, "team")?,
                user: row.get("user")?,
                feature: row.get("feature")?,
                tags,
                model: row.get("requested_model")?,
            }),
            made_unix_ms: row.get("made_unix_ms")?,
            held: Amount { nanousd: row.get("held_nanousd")?, tokens: row.get("held_tokens")? },
            input_tokens: row.get("input_tokens")?,
            granted_output_tokens: row.get("granted_output_tokens")?,
            most_output_tokens: row.get("most_output_tokens")?,
            output_picousd: row.get("output_picousd")?,
            budgets: parsed(row, "budgets")?,
            buckets: parsed::<Vec<(i64, String)>>(row, "buckets")?
                .into_iter()
                .map(|(id, value)| (id, value.into()))
                .collect(),
            extension: row.get("extension")?,
            expires_unix_ms: row.get("expires_unix_ms")?,
        })
    })?;
    rows.collect()
}

/// Tags as a JSON object; `None` for none.
pub(super) fn tags(subject: &Subject) -> Result<Option<String>> {
    if subject.tags.is_empty() { Ok(None) } else { json(&subject.tags).map(Some) }
}

fn origin(configured: bool) -> Origin {
    if configured { Origin::Configuration } else { Origin::Call }
}

fn buckets(buckets: &[Bucket]) -> Result<String> {
    if buckets.is_empty() {
        return Ok("[]".to_owned());
    }
    json(&buckets.iter().map(|(id, value)| (*id, &**value)).collect::<Vec<_>>())
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(damaged)
}

fn shared(row: &Row<'_>, column: &str) -> Result<Option<Arc<str>>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Arc::from))
}

/// The database holds what this build cannot read.
pub(super) fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
}
