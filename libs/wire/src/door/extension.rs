//! What only the mesh knows of an answer.

use serde::Serialize;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{
    CacheState, Finished, Notice, Seam, Started, Usage, UsageSource, notice, seam,
};

/// Notices and seams that are kept for the end, each.
const KEPT: usize = 64;

/// Gathers what happened besides the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extension {
    started: Started,
    notices: Vec<Value>,
    seams: Vec<Value>,
}

impl Extension {
    pub(crate) fn started(&mut self, started: Started) {
        self.started = started;
    }

    /// Returns the target that answers.
    pub(crate) fn model(&self) -> &str {
        if self.started.model.is_empty() {
            self.started.route.as_ref().map_or("", |route| &route.requested)
        } else {
            &self.started.model
        }
    }

    /// Keeps a notice; told at once as a comment of the stream.
    pub(crate) fn notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        let value = told(notice);
        comment(out, "notice", &value);
        keep(&mut self.notices, value);
    }

    /// Keeps a seam; told at once as a comment of the stream.
    pub(crate) fn seam(&mut self, seam: &Seam, out: &mut Vec<u8>) {
        let value = json!({
            "kind": if seam.kind() == seam::Kind::Restarted { "restarted" } else { "continued" },
            "reason": seam.reason, "from_model": seam.from_model, "to_model": seam.to_model, "at_byte": seam.at_byte,
        });
        comment(out, "seam", &value);
        keep(&mut self.seams, value);
    }

    /// Returns the object for the end of an answer.
    pub(crate) fn value(&self, finished: &Finished) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            if !matches!(&value, Value::Null) && value != "" {
                map.insert(key.to_owned(), value);
            }
        };
        put("request_id", self.started.request_id.as_str().into());
        put("model", if finished.model.is_empty() { self.model() } else { &finished.model }.into());
        if let Some(route) = &self.started.route {
            put("requested", route.requested.as_str().into());
            put("policy", route.policy.as_str().into());
            put("reason", route.reason.as_str().into());
        }
        if let Some(cache) = &self.started.cache {
            put("cache", cache_word(cache.state()).into());
            put("similarity", cache.similarity.into());
            put("entry_id", cache.entry_id.as_deref().into());
        }
        put("cost_nanousd", finished.cost_nanousd.into());
        if finished.saved_nanousd > 0 {
            put("saved_nanousd", finished.saved_nanousd.into());
        }
        if finished.price_unknown {
            put("price_unknown", true.into());
        }
        put("attempts", finished.attempts.into());
        put("usage_source", source(finished).into());
        put("provider_response_id", finished.provider_response_id.as_deref().into());
        put("provider_finish_reason", finished.provider_finish_reason.as_deref().into());
        if let Some(timings) = &finished.timings {
            put("overhead_us", timings.overhead_us.into());
            put("total_ms", timings.total_ms.into());
        }
        for (key, list) in [("notices", &self.notices), ("seams", &self.seams)] {
            if !list.is_empty() {
                put(key, list.clone().into());
            }
        }
        Value::Object(map)
    }
}

fn keep(list: &mut Vec<Value>, value: Value) {
    if list.len() < KEPT {
        list.push(value);
    }
}

fn told(notice: &Notice) -> Value {
    let kind = match notice.kind() {
        notice::Kind::Unspecified => "",
        notice::Kind::Redacted => "redacted",
        notice::Kind::Degraded => "degraded",
        notice::Kind::Flagged => "flagged",
        notice::Kind::Retried => "retried",
        notice::Kind::Budget => "budget",
        notice::Kind::Incomplete => "incomplete",
    };
    json!({ "kind": kind, "part": notice.part, "message": notice.message, "type": notice.r#type, "count": notice.count })
}

/// Returns a cache's part in a word.
#[must_use]
pub fn cache_word(state: CacheState) -> &'static str {
    match state {
        CacheState::Unspecified => "off",
        CacheState::Miss => "miss",
        CacheState::Exact => "exact",
        CacheState::Semantic => "semantic",
        CacheState::Follow => "follow",
        CacheState::Bypass => "bypass",
    }
}

fn source(finished: &Finished) -> &'static str {
    match finished.usage.as_ref().map(Usage::source).unwrap_or_default() {
        UsageSource::Reported => "reported",
        UsageSource::Partial => "partial",
        UsageSource::Cached => "cached",
        UsageSource::Estimated | UsageSource::Unspecified => "estimated",
    }
}

/// Appends a comment, which clients skip: `: signalbox {"seam":{…}}`.
fn comment(out: &mut Vec<u8>, key: &str, value: &impl Serialize) {
    // Line breaks are escaped in JSON, so that it stays one line.
    if let Ok(text) = serde_json::to_string(value) {
        out.extend_from_slice(format!(": {} {{\"{key}\":{text}}}\n\n", super::FIELD).as_bytes());
    }
}
