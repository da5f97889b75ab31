//! The figures of a row of usage, under the names that all formats share.

use serde_json::Value;
use signalbox_proto::{common::v1::Usage, metering::v1::UsageRow};

use crate::cost::dollars;

/// A figure.
pub(super) struct Column {
    /// Its name in CSV and JSON.
    pub(super) key: &'static str,
    /// Its name in the table; `None`: it is not in there.
    pub(super) title: Option<&'static str>,
    /// The figure; null where there is none.
    pub(super) value: fn(&UsageRow) -> Value,
}

const fn shown(key: &'static str, title: &'static str, value: fn(&UsageRow) -> Value) -> Column {
    Column { key, title: Some(title), value }
}

const fn more(key: &'static str, value: fn(&UsageRow) -> Value) -> Column {
    Column { key, title: None, value }
}

/// All figures.
pub(super) const ALL: [Column; 25] = [
    shown("requests", "requests", |r| r.requests.into()),
    more("succeeded", |r| r.succeeded.into()),
    shown("success_rate", "ok", |r| share(r.succeeded, r.requests)),
    shown("cached", "cached", |r| r.cached.into()),
    more("attempts", |r| r.attempts.into()),
    more("estimated_attempts", |r| r.estimated_attempts.into()),
    shown("unpriced_attempts", "unpriced", |r| r.unpriced_attempts.into()),
    shown("input_tokens", "tokens in", |r| used(r).input_tokens.into()),
    shown("cached_input_tokens", "from cache", |r| used(r).cached_input_tokens.into()),
    more("cache_write_tokens", |r| used(r).cache_write_tokens.into()),
    shown("output_tokens", "tokens out", |r| used(r).output_tokens.into()),
    more("reasoning_tokens", |r| used(r).reasoning_tokens.into()),
    more("audio_input_tokens", |r| used(r).audio_input_tokens.into()),
    more("audio_output_tokens", |r| used(r).audio_output_tokens.into()),
    shown("cost_nanousd", "cost", |r| r.cost_nanousd.into()),
    shown("saved_nanousd", "saved", |r| r.saved_nanousd.into()),
    shown("mean_ms", "mean ms", |r| time(r, r.mean_ms)),
    shown("p50_ms", "p50 ms", |r| time(r, r.p50_ms)),
    shown("p95_ms", "p95 ms", |r| time(r, r.p95_ms)),
    shown("p99_ms", "p99 ms", |r| time(r, r.p99_ms)),
    shown("first_output_p50_ms", "first ms", |r| r.first_output_p50_ms.into()),
    more("first_output_p95_ms", |r| r.first_output_p95_ms.into()),
    more("cost_usd", |r| Value::String(usd(r.cost_nanousd))),
    more("saved_usd", |r| Value::String(usd(r.saved_nanousd))),
    more("cost_per_request_nanousd", |r| {
        i64::try_from(r.requests).ok().and_then(|requests| r.cost_nanousd.checked_div(requests)).into()
    }),
];

impl Column {
    /// The figure for people; empty where there is none.
    pub(super) fn text(&self, row: &UsageRow) -> String {
        match (self.value)(row) {
            Value::Null => String::new(),
            value if self.key.ends_with("_nanousd") => dollars(value.as_i64().unwrap_or(0)),
            value if self.key.ends_with("_rate") => format!("{:.1}%", value.as_f64().unwrap_or(0.0) * 100.0),
            value => value.to_string(),
        }
    }
}

/// Sums what can be summed; percentiles cannot.
pub(super) fn total(rows: &[UsageRow]) -> UsageRow {
    let mut total = UsageRow::default();
    let mut usage = Usage::default();
    for row in rows {
        total.requests += row.requests;
        total.succeeded += row.succeeded;
        total.cached += row.cached;
        total.attempts += row.attempts;
        total.unpriced_attempts += row.unpriced_attempts;
        total.cost_nanousd = total.cost_nanousd.saturating_add(row.cost_nanousd);
        total.saved_nanousd = total.saved_nanousd.saturating_add(row.saved_nanousd);
        usage += &used(row);
    }
    total.usage = Some(usage);
    total
}

fn used(row: &UsageRow) -> Usage {
    row.usage.unwrap_or_default()
}

/// A time of a row that has times: a sum of others has none.
fn time(row: &UsageRow, ms: u64) -> Value {
    let timed = row.mean_ms > 0 || row.p99_ms > 0 || row.first_output_p50_ms.is_some();
    timed.then_some(ms).into()
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, of: u64) -> Value {
    if of == 0 { Value::Null } else { (part as f64 / of as f64).into() }
}

fn usd(nanousd: i64) -> String {
    dollars(nanousd).replace('$', "")
}
