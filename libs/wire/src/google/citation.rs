//! Sources of an answer: what a search found, and what the model has by heart.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use signalbox_proto::common::v1::Citation;

use crate::json;
use crate::openai::body::others;

/// How many citations of an answer are remembered, to give each once.
const REMEMBERED: usize = 1024;

/// Knows which citations were given: events of a stream repeat those before them.
#[derive(Debug, Default)]
pub(super) struct Cited(HashSet<u64>);

impl Cited {
    pub(super) fn is_new(&mut self, citation: &Citation) -> bool {
        let mut hasher = DefaultHasher::new();
        (&citation.url, &citation.title, citation.start_byte, citation.end_byte).hash(&mut hasher);
        let hash = hasher.finish();
        if self.0.len() >= REMEMBERED {
            return !self.0.contains(&hash);
        }
        self.0.insert(hash)
    }
}

/// Reads `groundingMetadata`.
pub(super) fn of_grounding(grounding: &Value) -> Vec<Citation> {
    let mut out = Vec::new();
    let Some(chunks) = grounding.get("groundingChunks").and_then(Value::as_array) else { return out };
    let source = |chunk: &Value| {
        let inner = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(kind));
        let word = |key: &str| inner.and_then(|i| i.get(key)).and_then(Value::as_str).map(str::to_owned);
        Citation { url: word("uri"), title: word("title"), ..Citation::default() }
    };
    let mut cited = vec![false; chunks.len()];
    let supports = grounding.get("groundingSupports").and_then(Value::as_array);
    for support in supports.into_iter().flatten() {
        let indices = support.get("groundingChunkIndices").and_then(Value::as_array);
        for index in indices.into_iter().flatten().filter_map(Value::as_u64) {
            let Some(at) = usize::try_from(index).ok().filter(|at| *at < chunks.len()) else { continue };
            cited[at] = true;
            let (start_byte, end_byte) = support.get("segment").map(place).unwrap_or_default();
            out.push(Citation { start_byte, end_byte, ..source(&chunks[at]) });
        }
    }
    let uncited = chunks.iter().zip(cited).filter(|(_, cited)| !cited);
    out.extend(uncited.map(|(chunk, _)| source(chunk)));
    out
}

/// Reads `citationMetadata`, whose list has one name at Gemini and another at Vertex AI.
pub(super) fn of_recitation(metadata: &Value) -> Vec<Citation> {
    let list = ["citationSources", "citations"].iter().find_map(|key| metadata.get(key)?.as_array());
    let read = |source: &Value| {
        let map = source.as_object()?;
        let word =
            |key: &str| map.get(key).and_then(Value::as_str).filter(|w| !w.is_empty()).map(str::to_owned);
        let (start_byte, end_byte) = place(source);
        let extra = json::fields(others(map, &["uri", "title", "startIndex", "endIndex"])).ok().flatten();
        Some(Citation { url: word("uri"), title: word("title"), start_byte, end_byte, extra })
    };
    list.into_iter().flatten().filter_map(read).collect()
}

/// Google counts bytes too, and leaves a 0 out.
fn place(segment: &Value) -> (Option<u64>, Option<u64>) {
    let at = |key: &str| segment.get(key).and_then(Value::as_u64);
    let end = at("endIndex");
    (end.map(|_| at("startIndex").unwrap_or(0)), end)
}
