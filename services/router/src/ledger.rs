//! Reads requests back from the ledger's export: who asked for what, what was tried, and what the choice was made from.

use std::collections::BTreeMap;

use serde::Deserialize;
use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome, RouteRecord};

/// A request of the ledger. It holds nothing of what was said.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The mesh's id of the request.
    pub request_id: String,
    /// The organisation.
    pub tenant: String,
    /// The end user. Absent: none.
    pub user: Option<String>,
    /// What the call was for. Absent: nothing was said.
    pub feature: Option<String>,
    /// Free labels.
    pub tags: BTreeMap<String, String>,
    /// What was asked for.
    pub model: String,
    /// When it came in, Unix time in milliseconds.
    pub started_unix_ms: i64,
    /// How it ended, as the ledger names it: `OK`, `FAILED`, …
    pub outcome: String,
    /// The cache's part, as the ledger names it: `MISS`, `EXACT`, …
    pub cache: String,
    /// From its arrival to its end, in milliseconds.
    pub total_ms: i64,
    /// From its arrival to the first output, in milliseconds. Absent: there was none.
    pub first_output_ms: Option<i64>,
    /// How good the answer was, -1 to 1. Absent: nobody said.
    pub score: Option<f64>,
    /// What was tried, in order.
    pub attempts: Vec<Tried>,
    /// What its model was chosen by. Absent: none was chosen, or nobody recorded it.
    pub route: Option<RouteRecord>,
}

/// An attempt at a provider.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// The target.
    pub target_id: String,
    /// Why it was made.
    pub kind: AttemptKind,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// From its start to its end, in milliseconds.
    pub duration_ms: i64,
    /// From its start to the first output, in milliseconds. Absent: there was none.
    pub first_output_ms: Option<i64>,
    /// All input tokens.
    pub input_tokens: u64,
    /// Input read from the provider's cache.
    pub cached_input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// What it cost, in nano-dollars.
    pub cost_nanousd: i64,
}

impl Tried {
    /// Whether it was made for the answer itself: no judge, and no copy beside it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !matches!(self.kind, AttemptKind::Shadow | AttemptKind::Judge)
    }
}

impl Recorded {
    /// The attempts that were made for the answer itself.
    pub fn own(&self) -> impl DoubleEndedIterator<Item = &Tried> {
        self.attempts.iter().filter(|attempt| attempt.is_own())
    }

    /// The attempt whose answer the client got. `None`: there is none.
    #[must_use]
    pub fn answered(&self) -> Option<&Tried> {
        self.own().rfind(|attempt| attempt.outcome == AttemptOutcome::Ok)
    }

    /// Whether the cache answered.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        matches!(&*self.cache, "EXACT" | "SEMANTIC" | "FOLLOW")
    }
}

/// A line of the export: an attempt with its request.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Line {
    request_id: String,
    started_unix_ms: i64,
    tenant: String,
    user: Option<String>,
    feature: Option<String>,
    tags: BTreeMap<String, String>,
    requested_model: String,
    outcome: String,
    cache: String,
    total_ms: i64,
    first_output_ms: Option<i64>,
    score: Option<f64>,
    route: Option<RouteRecord>,
    attempt: Option<u32>,
    attempt_kind: String,
    attempt_outcome: String,
    target_id: String,
    attempt_duration_ms: i64,
    attempt_first_output_ms: Option<i64>,
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    cost_nanousd: i64,
}

/// Puts the lines of an export together to requests.
#[derive(Debug, Default)]
pub struct Reader {
    open: Option<Recorded>,
    odd: u64,
}

impl Reader {
    /// Takes a line in; returns the request before it, when that is complete. Lines of a request follow each other.
    pub fn line(&mut self, line: &str) -> Option<Recorded> {
        if line.trim().is_empty() {
            return None;
        }
        let Some(line) = serde_json::from_str::<Line>(line).ok().filter(|line| !line.request_id.is_empty())
        else {
            self.odd += 1;
            return None;
        };
        let same = self.open.as_ref().is_some_and(|open| open.request_id == line.request_id);
        let done = if same { None } else { self.open.take() };
        let tried = line.attempt.map(|_| Tried {
            kind: AttemptKind::from_str_name(&format!("ATTEMPT_KIND_{}", line.attempt_kind))
                .unwrap_or_default(),
            outcome: AttemptOutcome::from_str_name(&format!("ATTEMPT_OUTCOME_{}", line.attempt_outcome))
                .unwrap_or_default(),
            target_id: line.target_id,
            duration_ms: line.attempt_duration_ms,
            first_output_ms: line.attempt_first_output_ms,
            input_tokens: line.input_tokens,
            cached_input_tokens: line.cached_input_tokens,
            output_tokens: line.output_tokens,
            cost_nanousd: line.cost_nanousd,
        });
        let open = self.open.get_or_insert_with(|| Recorded {
            request_id: line.request_id,
            tenant: line.tenant,
            user: line.user,
            feature: line.feature,
            tags: line.tags,
            model: line.requested_model,
            started_unix_ms: line.started_unix_ms,
            outcome: line.outcome,
            cache: line.cache,
            total_ms: line.total_ms,
            first_output_ms: line.first_output_ms,
            score: line.score,
            attempts: Vec::new(),
            route: line.route,
        });
        open.attempts.extend(tried);
        done
    }

    /// The last request, once there are no more lines.
    pub fn end(&mut self) -> Option<Recorded> {
        self.open.take()
    }

    /// Lines that are no records.
    #[must_use]
    pub fn odd(&self) -> u64 {
        self.odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_a_request_come_together() {
        let lines = [
            r#"{"request_id":"a","tenant":"t","requested_model":"m","cache":"MISS","tags":{"k":"v"},"route":{"policy":"fixed","needs":["tools"],"input_tokens":7},"attempt":1,"attempt_kind":"FIRST","attempt_outcome":"OVERLOADED","target_id":"p/x"}"#,
            r#"{"request_id":"a","attempt":2,"attempt_kind":"FALLBACK","attempt_outcome":"OK","target_id":"p/y","output_tokens":5,"cost_nanousd":9}"#,
            r#"{"request_id":"a","attempt":3,"attempt_kind":"SHADOW","attempt_outcome":"OK","target_id":"p/z"}"#,
            "no json",
            r#"{"request_id":"b","cache":"EXACT","score":-0.5}"#,
        ];
        let mut reader = Reader::default();
        let mut all: Vec<Recorded> = lines.iter().filter_map(|line| reader.line(line)).collect();
        all.extend(reader.end());
        assert_eq!((all.len(), reader.odd()), (2, 1));
        assert_eq!((all[0].attempts.len(), all[0].own().count(), all[1].attempts.len()), (3, 2, 0));
        let answered = all[0].answered().unwrap();
        assert_eq!((&*answered.target_id, answered.output_tokens), ("p/y", 5));
        let route = all[0].route.as_ref().unwrap();
        assert_eq!((&*route.policy, route.needs.len(), route.input_tokens), ("fixed", 1, 7));
        assert_eq!((all[0].score, all[1].score), (None, Some(-0.5)));
        assert!(all[1].is_hit() && !all[0].is_hit() && all[0].tags["k"] == "v");
    }
}
