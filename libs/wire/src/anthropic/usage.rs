//! Token counts.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{Usage, UsageSource};

/// The counts that have a field in our messages.
const COUNTED: [&str; 4] =
    ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

/// Is a `usage` object, put together from those of several events.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported(Map<String, Value>);

impl Reported {
    /// Takes an event's counts in. They are totals and replace the earlier ones, but a zero replaces no count: some servers
    /// fill in what they do not know.
    pub(super) fn update(&mut self, update: Map<String, Value>) {
        for (key, value) in update {
            let unknown = value.is_null() || (value == 0 && self.0.contains_key(&key));
            if !unknown {
                self.0.insert(key, value);
            }
        }
    }

    /// Converts to our counts.
    pub(super) fn usage(&self) -> Usage {
        let compactions = self.0.get("iterations").and_then(Value::as_array).into_iter().flatten();
        let compactions =
            compactions.filter(|turn| turn["type"] == "compaction").filter_map(Value::as_object);
        let sum = |key: &str| {
            compactions.clone().map(|turn| count(turn, key)).fold(count(&self.0, key), u64::saturating_add)
        };
        let [input, output, read, written] = COUNTED.map(sum);
        let kept = self.0.get("cache_creation").and_then(Value::as_object);
        let details = self.0.get("output_tokens_details").and_then(Value::as_object);
        Usage {
            input_tokens: input.saturating_add(read).saturating_add(written),
            output_tokens: output,
            cached_input_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: kept
                .map_or(0, |kept| count(kept, "ephemeral_1h_input_tokens"))
                .min(written),
            reasoning_tokens: details.map_or(0, |details| count(details, "thinking_tokens")),
            source: UsageSource::Reported.into(),
            ..Usage::default()
        }
    }

    /// Returns what else is told: the service's tier, tools that the server ran, how long cache entries live.
    pub(super) fn rest(&self) -> Map<String, Value> {
        let rest = self.0.iter().filter(|(key, _)| !COUNTED.contains(&key.as_str()));
        rest.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and counts are small"
)]
fn count(map: &Map<String, Value>, key: &str) -> u64 {
    map.get(key).and_then(Value::as_f64).unwrap_or_default().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reported(updates: &[Value]) -> Reported {
        let mut out = Reported::default();
        for update in updates {
            out.update(update.as_object().unwrap().clone());
        }
        out
    }

    #[test]
    fn input_is_the_sum_and_the_last_total_holds() {
        let start = json!({"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2},
            "output_tokens": 1, "service_tier": "standard"});
        let end = json!({"input_tokens": 0, "cache_read_input_tokens": null, "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4}});
        let all = reported(&[start, end]);
        let usage = all.usage();
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens), (18, 10, 5));
        assert_eq!(usage.cache_write_1h_tokens, 2, "for an hour, which costs more");
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (9, 4));
        assert_eq!(all.rest()["service_tier"], "standard");
    }

    #[test]
    fn a_compaction_is_billed_beside_and_an_advisor_is_not_ours() {
        let usage = reported(&[json!({"input_tokens": 612, "output_tokens": 2819, "iterations": [
            {"type": "compaction", "input_tokens": 60385, "output_tokens": 522},
            {"type": "advisor_message", "input_tokens": 7, "output_tokens": 7},
            {"type": "message", "input_tokens": 612, "output_tokens": 2819}]})])
        .usage();
        assert_eq!((usage.input_tokens, usage.output_tokens), (60997, 3341));
    }
}
