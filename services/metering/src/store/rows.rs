//! Rows of keys, budgets and reservations.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, Result, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    budget::{Amount, Budget, Origin, Terms, Unit},
    credential::Hash,
    keys::{Key, KeyScope},
    period::{self, Period, Window},
    reservation::{Purpose, Reservation},
    subject::{Scope, Subject},
};

/// Writes a key, over the one of that id.
pub(super) fn put_key(connection: &Connection, key: &Key) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO keys (id, tenant, name, admin, salt, digest, models, features, networks, guard_policy, \
         cache_policy, route_policy, team, created_unix_ms, expires_unix_ms, revoked_unix_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let scope = &key.scope;
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
    ])?;
    Ok(())
}

/// Reads all keys.
pub(super) fn keys(connection: &Connection) -> Result<Vec<Key>> {
    let mut statement = connection.prepare("SELECT * FROM keys")?;
    let rows = statement.query_map([], |row| {
        Ok(Key {
            id: row.get::<_, String>("id")?.into(),
            tenant: row.get::<_, String>("tenant")?.into(),
            name: row.get("name")?,
            admin: row.get("admin")?,
            hash: Hash { salt: row.get("salt")?, digest: row.get("digest")? },
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
    let (dimension, value, key) = terms.scope.parts();
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO budgets (id, tenant, name, configured, unit, amount, period, time_zone, hard, shadow, \
         scope_dimension, scope_value, scope_key, window_start, window_end, spent, uncovered, told_percent, told_unix_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.insert(params![
        id,
        &*terms.tenant,
        terms.name,
        budget.origin == Origin::Configuration,
        unit_name(terms.unit),
        terms.limit,
        terms.period.name(),
        terms.zone_name,
        terms.hard,
        terms.shadow,
        dimension,
        value,
        key,
        budget.window.start,
        budget.window.end,
        budget.spent,
        budget.uncovered,
        budget.told_percent,
        budget.told_unix_ms,
    ])
}

/// Writes what of a budget changes with every request.
pub(super) fn update_budget(connection: &Connection, budget: &Budget) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE budgets SET window_start = ?, window_end = ?, spent = ?, uncovered = ?, told_percent = ?, told_unix_ms = ? \
         WHERE id = ?",
    )?;
    statement.execute(params![
        budget.window.start,
        budget.window.end,
        budget.spent,
        budget.uncovered,
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
        let zone_name: String = row.get("time_zone")?;
        let terms = Terms {
            tenant: row.get::<_, String>("tenant")?.into(),
            name: row.get("name")?,
            unit: known(row, "unit", |name| match name {
                "nanousd" => Some(Unit::Nanousd),
                "tokens" => Some(Unit::Tokens),
                _ => None,
            })?,
            limit: row.get("amount")?,
            period: known(row, "period", Period::named)?,
            zone: known(row, "time_zone", period::zone)?,
            zone_name,
            hard: row.get("hard")?,
            shadow: row.get("shadow")?,
            scope: {
                let (value, key): (String, String) = (row.get("scope_value")?, row.get("scope_key")?);
                known(row, "scope_dimension", |dimension| Scope::of(dimension, value, key))?
            },
        };
        let configured: bool = row.get("configured")?;
        Ok(Budget {
            id: row.get("id")?,
            origin: if configured { Origin::Configuration } else { Origin::Call },
            terms,
            window: Window { start: row.get("window_start")?, end: row.get("window_end")? },
            spent: row.get("spent")?,
            reserved: 0,
            standing: 0,
            uncovered: row.get("uncovered")?,
            told_percent: row.get("told_percent")?,
            told_unix_ms: row.get("told_unix_ms")?,
        })
    })?;
    rows.collect()
}

/// Writes a new reservation.
pub(super) fn insert_reservation(connection: &Connection, reservation: &Reservation) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO reservations (id, gateway, tenant, principal, team, user, feature, tags, requested_model, \
         made_unix_ms, held_nanousd, held_tokens, input_tokens, granted_output_tokens, output_picousd, budgets, extension, \
         expires_unix_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        reservation.extension,
        reservation.expires_unix_ms,
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
            output_picousd: row.get("output_picousd")?,
            budgets: parsed(row, "budgets")?,
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

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanousd => "nanousd",
        Unit::Tokens => "tokens",
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(damaged)
}

fn shared(row: &Row<'_>, column: &str) -> Result<Option<Arc<str>>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Arc::from))
}

fn known<T>(row: &Row<'_>, column: &str, find: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let name: String = row.get(column)?;
    find(&name).ok_or_else(|| damaged(format!("{column} is `{name}`, which this build does not know")))
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
}
