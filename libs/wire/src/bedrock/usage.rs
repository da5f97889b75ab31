//! Token counts.

use serde_json::Value;
use signalbox_proto::common::v1::{Usage, UsageSource};

/// Converts a `usage` object. `inputTokens` leaves out what the cache gave or took; ours has it all.
pub(super) fn usage(value: &Value) -> Usage {
    let count = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (read, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    Usage {
        input_tokens: count("inputTokens").saturating_add(read).saturating_add(written),
        output_tokens: count("outputTokens"),
        cached_input_tokens: read,
        cache_write_tokens: written,
        source: UsageSource::Reported.into(),
        ..Usage::default()
    }
}
