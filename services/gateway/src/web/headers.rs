//! What only the mesh knows of an answer, in its headers.

use std::fmt::Display;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use signalbox_proto::common::v1::{Finished, Notice, Started, notice};
use signalbox_wire::door::cache_word;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What Anthropic's libraries read.
const ANTHROPIC_ID: HeaderName = HeaderName::from_static("request-id");
const MODEL: HeaderName = HeaderName::from_static("x-signalbox-model");
const CACHE: HeaderName = HeaderName::from_static("x-signalbox-cache");
const SIMILARITY: HeaderName = HeaderName::from_static("x-signalbox-similarity");
const ROUTE: HeaderName = HeaderName::from_static("x-signalbox-route");
const GUARD: HeaderName = HeaderName::from_static("x-signalbox-guard");
const COST: HeaderName = HeaderName::from_static("x-signalbox-cost-usd");
const OVERHEAD: HeaderName = HeaderName::from_static("x-signalbox-overhead-ms");
const SEAMS: HeaderName = HeaderName::from_static("x-signalbox-seams");

/// Nano-dollars in a dollar, as digits after the point.
const DIGITS: usize = 9;

fn put(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        headers.insert(name, value);
    }
}

pub(super) fn request_id(headers: &mut HeaderMap, id: &str) {
    put(headers, REQUEST_ID, id);
    put(headers, ANTHROPIC_ID, id);
}

/// What is known when an answer begins.
pub(super) fn begun(headers: &mut HeaderMap, started: &Started, notices: &[Notice]) {
    if !started.model.is_empty() {
        put(headers, MODEL, &started.model);
    }
    if let Some(cache) = &started.cache {
        put(headers, CACHE, cache_word(cache.state()));
        if let Some(similarity) = cache.similarity {
            put(headers, SIMILARITY, format_args!("{similarity:.4}"));
        }
    }
    if let Some(route) = started.route.as_ref().filter(|route| !route.policy.is_empty()) {
        put(headers, ROUTE, &route.policy);
    }
    let guard = notices.iter().filter(|notice| notice.part == "guard").map(|notice| match notice.kind() {
        notice::Kind::Redacted => "redacted",
        notice::Kind::Flagged => "flagged",
        notice::Kind::Degraded => "away",
        _ => "noticed",
    });
    let mut words: Vec<&str> = guard.collect();
    words.dedup();
    if !words.is_empty() {
        put(headers, GUARD, words.join(", "));
    }
}

/// What is known when an answer is over.
pub(super) fn ended(headers: &mut HeaderMap, finished: &Finished, seams: usize) {
    if !finished.model.is_empty() {
        put(headers, MODEL, &finished.model);
    }
    put(headers, COST, usd(finished.cost_nanousd));
    if let Some(timings) = &finished.timings {
        put(
            headers,
            OVERHEAD,
            format_args!("{}.{:03}", timings.overhead_us / 1_000, timings.overhead_us % 1_000),
        );
    }
    if seams > 0 {
        put(headers, SEAMS, seams);
    }
}

/// Nano-dollars as a decimal number of dollars.
pub(super) fn usd(nanousd: i64) -> String {
    let digits = format!("{:010}", nanousd.unsigned_abs());
    let (whole, rest) = digits.split_at(digits.len() - DIGITS);
    format!("{}{whole}.{rest}", if nanousd < 0 { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(usd(0), "0.000000000");
        assert_eq!(usd(1_500), "0.000001500");
        assert_eq!(usd(12_000_000_001), "12.000000001");
        assert_eq!(usd(-1), "-0.000000001");
    }
}
