//! What only the mesh knows of an answer.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};
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
    pub(crate) fn told<'a>(&'a self, finished: &'a Finished) -> Owned<'a> {
        Owned { extension: self, finished }
    }

    /// Returns the same as a value.
    pub(crate) fn value(&self, finished: &Finished) -> Value {
        json!(self.told(finished))
    }
}

/// Is the object for the end of an answer, of what only the mesh knows.
pub(crate) struct Owned<'a> {
    extension: &'a Extension,
    finished: &'a Finished,
}

impl Serialize for Owned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { extension, finished } = self;
        let Extension { started, notices, seams } = extension;
        let mut map = serializer.serialize_map(None)?;
        let mut text = |key: &str, value: Option<&str>| match value.filter(|value| !value.is_empty()) {
            Some(value) => map.serialize_entry(key, value),
            None => Ok(()),
        };
        text("request_id", Some(&started.request_id))?;
        let model = if finished.model.is_empty() { extension.model() } else { &finished.model };
        text("model", Some(model))?;
        if let Some(route) = &started.route {
            text("requested", Some(&route.requested))?;
            text("policy", Some(&route.policy))?;
            text("reason", Some(&route.reason))?;
        }
        if let Some(cache) = &started.cache {
            text("cache", Some(cache_word(cache.state())))?;
            if let Some(similarity) = cache.similarity {
                map.serialize_entry("similarity", &similarity)?;
            }
            if let Some(id) = cache.entry_id.as_deref().filter(|id| !id.is_empty()) {
                map.serialize_entry("entry_id", id)?;
            }
        }
        map.serialize_entry("cost_nanousd", &finished.cost_nanousd)?;
        if finished.saved_nanousd > 0 {
            map.serialize_entry("saved_nanousd", &finished.saved_nanousd)?;
        }
        if finished.price_unknown {
            map.serialize_entry("price_unknown", &true)?;
        }
        map.serialize_entry("attempts", &finished.attempts)?;
        let words = [
            ("usage_source", Some(source(finished))),
            ("provider_response_id", finished.provider_response_id.as_deref()),
            ("provider_finish_reason", finished.provider_finish_reason.as_deref()),
        ];
        for (key, word) in words {
            if let Some(word) = word.filter(|word| !word.is_empty()) {
                map.serialize_entry(key, word)?;
            }
        }
        if let Some(timings) = &finished.timings {
            map.serialize_entry("overhead_us", &timings.overhead_us)?;
            map.serialize_entry("total_ms", &timings.total_ms)?;
        }
        for (key, list) in [("notices", notices), ("seams", seams)] {
            if !list.is_empty() {
                map.serialize_entry(key, list)?;
            }
        }
        map.end()
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
