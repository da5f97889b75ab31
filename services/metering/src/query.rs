//! Questions about usage: the SQL of a question, and the sums of its groups.

use std::collections::HashMap;

use rusqlite::{Row, types::Value};
use signalbox_proto::common::v1::{CacheState, UsageSource};
use signalbox_proto::metering::v1::RequestOutcome;

use crate::ledger::Tokens;

/// Something that usage can be grouped or filtered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dimension {
    Tenant,
    Principal,
    Model,
    Target,
    Feature,
    User,
    Team,
    Tag(String),
    Cache,
    Outcome,
}

/// A question about the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// Inclusive.
    pub(crate) from_unix_ms: i64,
    /// Exclusive.
    pub(crate) to_unix_ms: i64,
    pub(crate) group_by: Vec<Dimension>,
    /// All must hold. Values of cache and outcome are their labels.
    pub(crate) filters: Vec<(Dimension, String)>,
    /// 0: no steps.
    pub(crate) step_ms: i64,
    pub(crate) limit: usize,
}

/// The usage of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) values: Vec<String>,
    pub(crate) step_unix_ms: i64,
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) cached: u64,
    pub(crate) tokens: Tokens,
    pub(crate) cost_nanousd: i64,
    pub(crate) saved_nanousd: i64,
    pub(crate) attempts: u64,
    pub(crate) estimated: u64,
    pub(crate) unpriced: u64,
    /// Sorted once the group is complete.
    durations_ms: Vec<i64>,
    first_outputs_ms: Vec<i64>,
}

/// A duration of which a share of all is at most as long.
fn percentile(sorted: &[i64], percent: usize) -> Option<u64> {
    // The nearest rank: the smallest value that `percent` of all do not exceed.
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|ms| u64::try_from(*ms).unwrap_or(0))
}

impl Group {
    /// Exact percentile of the requests' durations, by nearest rank; 0 without any.
    pub(crate) fn duration_ms(&self, percent: usize) -> u64 {
        percentile(&self.durations_ms, percent).unwrap_or(0)
    }

    /// Median time to first output.
    pub(crate) fn first_output_ms(&self) -> Option<u64> {
        percentile(&self.first_outputs_ms, 50)
    }

    /// Mean duration; 0 without any.
    pub(crate) fn mean_ms(&self) -> u64 {
        let sum: i128 = self.durations_ms.iter().map(|ms| i128::from(*ms)).sum();
        let count = i128::try_from(self.durations_ms.len()).unwrap_or(1).max(1);
        u64::try_from(sum / count).unwrap_or(0)
    }

    fn add_request(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let outcome: i32 = row.get("outcome")?;
        let cache: i32 = row.get("cache")?;
        self.requests += 1;
        self.succeeded += u64::from(outcome == i32::from(RequestOutcome::Ok));
        self.cached += u64::from(
            [CacheState::Exact, CacheState::Semantic, CacheState::Follow]
                .into_iter()
                .any(|c| i32::from(c) == cache),
        );
        self.saved_nanousd = self.saved_nanousd.saturating_add(row.get("saved_nanousd")?);
        // Nobody knows how long an open or abandoned request took.
        if outcome != i32::from(RequestOutcome::Unspecified)
            && outcome != i32::from(RequestOutcome::Abandoned)
        {
            self.durations_ms.push(row.get("total_ms")?);
        }
        self.first_outputs_ms.extend(row.get::<_, Option<i64>>("first_output_ms")?);
        Ok(())
    }

    fn add_attempt(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let Some(source) = row.get::<_, Option<i32>>("source")? else { return Ok(()) };
        let guessed =
            [UsageSource::Estimated, UsageSource::Partial].into_iter().any(|s| i32::from(s) == source);
        self.attempts += 1;
        self.estimated += u64::from(guessed);
        self.unpriced += u64::from(row.get::<_, bool>("price_unknown")?);
        self.cost_nanousd = self.cost_nanousd.saturating_add(row.get("cost_nanousd")?);
        let sum = &mut self.tokens;
        for (total, column) in [
            (&mut sum.input, "input_tokens"),
            (&mut sum.output, "output_tokens"),
            (&mut sum.cached_input, "cached_input_tokens"),
            (&mut sum.cache_write, "cache_write_tokens"),
            (&mut sum.reasoning, "reasoning_tokens"),
            (&mut sum.audio_input, "audio_input_tokens"),
            (&mut sum.audio_output, "audio_output_tokens"),
        ] {
            *total = total.saturating_add(row.get(column)?);
        }
        Ok(())
    }
}

impl Dimension {
    fn expression(&self, values: &mut Vec<Value>) -> &'static str {
        match self {
            Self::Tenant => "r.tenant",
            Self::Principal => "r.principal",
            Self::Model => "r.requested_model",
            Self::Target => "r.target_id",
            Self::Feature => "r.feature",
            Self::User => "r.user",
            Self::Team => "r.team",
            Self::Cache => "r.cache",
            Self::Outcome => "r.outcome",
            Self::Tag(key) => {
                values.push(key.clone().into());
                "(SELECT value FROM json_each(r.tags) WHERE key = ?)"
            }
        }
    }

    /// The label of a value as it is stored; empty where there is none.
    fn label(&self, value: Value) -> String {
        match (self, value) {
            (Self::Cache, Value::Integer(number)) => cache_label(number).to_owned(),
            (Self::Outcome, Value::Integer(number)) => outcome_label(number).to_owned(),
            (_, Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// The stored form of a label; `None` when there is no such label.
    fn stored(&self, label: &str) -> Option<Value> {
        match self {
            Self::Cache => (0..=5).find(|n| cache_label(*n) == label).map(Value::Integer),
            Self::Outcome => (0..=8).find(|n| outcome_label(*n) == label).map(Value::Integer),
            _ => Some(label.to_owned().into()),
        }
    }
}

impl Question {
    /// The SQL of the question, one row per attempt, and its parameters. `None` when a filter names no value.
    fn sql(&self) -> Option<(String, Vec<Value>)> {
        let mut values = Vec::new();
        let mut columns = String::new();
        for dimension in &self.group_by {
            columns.push_str(dimension.expression(&mut values));
            columns.push_str(", ");
        }
        values.extend([self.from_unix_ms.into(), self.to_unix_ms.into()]);
        let mut conditions = String::new();
        for (dimension, label) in &self.filters {
            conditions.push_str(" AND ");
            conditions.push_str(dimension.expression(&mut values));
            conditions.push_str(" IS ?");
            values.push(if label.is_empty() { Value::Null } else { dimension.stored(label)? });
        }
        // A left join keeps the order of the left table: the attempts of a request come together.
        let sql = format!(
            "SELECT {columns} r.request_id AS id, r.outcome AS outcome, r.cache, r.saved_nanousd, r.started_unix_ms AS at, \
             r.total_ms, r.first_output_ms AS first_output_ms, a.source, a.price_unknown, a.cost_nanousd, a.input_tokens, \
             a.output_tokens, a.cached_input_tokens, a.cache_write_tokens, a.reasoning_tokens, a.audio_input_tokens, \
             a.audio_output_tokens \
             FROM requests r LEFT JOIN attempts a ON a.request_id = r.request_id \
             WHERE r.started_unix_ms >= ? AND r.started_unix_ms < ?{conditions}"
        );
        Some((sql, values))
    }

    /// Answers the question: the groups, dearest first, and whether some were left out.
    pub(crate) fn answer(
        &self,
        connection: &rusqlite::Connection,
        max_groups: usize,
    ) -> Result<(Vec<Group>, bool), Unanswered> {
        let Some((sql, values)) = self.sql() else { return Ok((Vec::new(), false)) };
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut groups: HashMap<(Vec<String>, i64), Group> = HashMap::new();
        let mut last = String::new();
        while let Some(row) = rows.next()? {
            let key = self.key(row)?;
            if !groups.contains_key(&key) && groups.len() >= max_groups {
                return Err(Unanswered::TooManyGroups);
            }
            let group = groups.entry(key).or_default();
            let id = row.get_ref("id")?.as_str().map_err(rusqlite::Error::from)?;
            if id != last {
                group.add_request(row)?;
                last.clear();
                last.push_str(id);
            }
            group.add_attempt(row)?;
        }
        Ok(self.ranked(groups))
    }

    fn key(&self, row: &Row<'_>) -> rusqlite::Result<(Vec<String>, i64)> {
        let value = |(index, dimension): (usize, &Dimension)| Ok(dimension.label(row.get(index)?));
        let values = self.group_by.iter().enumerate().map(value).collect::<rusqlite::Result<_>>()?;
        let at: i64 = row.get("at")?;
        Ok((values, if self.step_ms > 0 { at.div_euclid(self.step_ms) * self.step_ms } else { 0 }))
    }

    fn ranked(&self, groups: HashMap<(Vec<String>, i64), Group>) -> (Vec<Group>, bool) {
        let mut ranked: Vec<Group> = groups
            .into_iter()
            .map(|((values, step_unix_ms), mut group)| {
                group.durations_ms.sort_unstable();
                group.first_outputs_ms.sort_unstable();
                Group { values, step_unix_ms, ..group }
            })
            .collect();
        let rank = |g: &Group| (std::cmp::Reverse(g.cost_nanousd), g.step_unix_ms, g.values.clone());
        ranked.sort_by_cached_key(rank);
        let truncated = ranked.len() > self.limit;
        ranked.truncate(self.limit);
        (ranked, truncated)
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("the question has too many groups")]
    TooManyGroups,
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

fn cache_label(number: i64) -> &'static str {
    let state = i32::try_from(number).ok().and_then(|n| CacheState::try_from(n).ok()).unwrap_or_default();
    state.as_str_name().trim_start_matches("CACHE_STATE_")
}

fn outcome_label(number: i64) -> &'static str {
    let outcome =
        i32::try_from(number).ok().and_then(|n| RequestOutcome::try_from(n).ok()).unwrap_or_default();
    outcome.as_str_name().trim_start_matches("REQUEST_OUTCOME_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!([50, 95, 99].map(|p| percentile(&hundred, p)), [Some(50), Some(95), Some(99)]);
        assert_eq!([50, 95, 99].map(|p| percentile(&[3, 9], p)), [Some(3), Some(9), Some(9)]);
        assert_eq!(percentile(&[7], 1), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn labels_are_the_names_without_their_prefix() {
        assert_eq!(Dimension::Outcome.label(Value::Integer(1)), "OK");
        assert_eq!(Dimension::Cache.stored("EXACT"), Some(Value::Integer(2)));
        assert_eq!(Dimension::Cache.stored("WARM"), None);
    }
}
