//! An answer's items as they grow.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Citation, Media, ReasoningText, ToolCallDelta, media};

use super::foreign::object;
use crate::door::{Balance, extras, offset};
use crate::json::{Any, nested, text};

/// Tells ids of ours from a provider's, which means nothing to it when it comes back.
pub(super) const OURS: &str = "sb";

/// The type of an event, and its fields.
type Told = (&'static str, Value);

/// Is an item.
#[derive(Debug)]
pub(super) enum Item {
    Message(Message),
    Thought(Thought),
    Call(Call),
    /// One of the provider's own tools, or the like.
    Whole(Map<String, Value>),
}

impl Item {
    /// Returns the item as it begins.
    pub(super) fn begun(&self) -> Value {
        let mut map = match self {
            Self::Message(message) => message.value(&[]),
            Self::Thought(thought) => {
                return json!({ "id": thought.id, "type": "reasoning", "status": "in_progress", "summary": [] });
            }
            Self::Call(call) => call.item.clone(),
            Self::Whole(map) => map.clone(),
        };
        if !matches!(self, Self::Whole(_)) {
            map.insert("status".to_owned(), "in_progress".into());
        }
        map.into()
    }

    /// Returns the item once it is complete.
    pub(super) fn done(&self) -> Value {
        match self {
            Self::Message(message) => message.value(&message.parts).into(),
            Self::Thought(thought) => thought.value().into(),
            Self::Call(call) => call.item.clone().into(),
            Self::Whole(map) => map.clone().into(),
        }
    }

    /// Returns the events that repeat the texts in it; `at` is its place.
    pub(super) fn last(&self, at: usize) -> Vec<Told> {
        match self {
            Self::Message(message) => message.last(at),
            Self::Thought(thought) => thought.last(at),
            Self::Call(call) => call.last(at),
            Self::Whole(_) => Vec::new(),
        }
    }
}

/// Is a message.
#[derive(Debug)]
pub(super) struct Message {
    id: String,
    rest: Map<String, Value>,
    parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) struct Part {
    refuses: bool,
    words: String,
    annotations: Vec<Value>,
    logprobs: Vec<Value>,
    /// Where it begins in the answer's text.
    start: u64,
}

impl Part {
    fn value(&self) -> Value {
        if self.refuses {
            return json!({ "type": "refusal", "refusal": self.words });
        }
        json!({ "type": "output_text", "text": self.words, "annotations": self.annotations, "logprobs": self.logprobs })
    }
}

impl Message {
    pub(super) fn new(id: String, extra: Option<&Struct>) -> Self {
        let phase = text(extra, "phase").map(|phase| ("phase".to_owned(), phase.into()));
        Self { id, rest: phase.into_iter().collect(), parts: Vec::new() }
    }

    fn value(&self, parts: &[Part]) -> Map<String, Value> {
        let mut map = Map::from_iter([("id".to_owned(), Value::from(self.id.as_str()))]);
        map.insert("type".to_owned(), "message".into());
        map.insert("status".to_owned(), "completed".into());
        map.insert("role".to_owned(), "assistant".into());
        map.insert("content".to_owned(), parts.iter().map(Part::value).collect::<Vec<_>>().into());
        map.extend(self.rest.clone());
        map
    }

    /// Adds words, `said` bytes into the answer's text.
    pub(super) fn add(
        &mut self,
        refuses: bool,
        words: &str,
        logprobs: Option<&Struct>,
        said: u64,
        at: usize,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        if self.parts.last().is_none_or(|part| part.refuses != refuses) {
            told.extend(self.parts.len().checked_sub(1).into_iter().flat_map(|last| self.repeated(last, at)));
            self.parts.push(Part {
                refuses,
                words: String::new(),
                annotations: Vec::new(),
                logprobs: Vec::new(),
                start: said,
            });
            let part = self.parts.last().map(Part::value);
            told.push(("response.content_part.added", self.about(at, self.parts.len() - 1, "part", part)));
        }
        let index = self.parts.len() - 1;
        let mut fields = self.about(at, index, "delta", words);
        if let Some(part) = self.parts.get_mut(index) {
            part.words.push_str(words);
            if !refuses {
                let list = tokens(logprobs);
                fields["logprobs"] = list.clone().into();
                part.logprobs.extend(list);
            }
        }
        told.push((if refuses { "response.refusal.delta" } else { "response.output_text.delta" }, fields));
        told
    }

    /// Adds a citation that ends at byte `end` of the answer's text; `None` if its text is not here.
    pub(super) fn cite(&mut self, citation: &Citation, end: u64, at: usize) -> Option<Told> {
        let holds = |part: &Part| !part.refuses && (part.start < end || end == 0);
        let index = self.parts.iter().rposition(holds)?;
        let part = self.parts.get_mut(index)?;
        let value = annotation(citation, &part.words, part.start);
        part.annotations.push(value.clone());
        let place = part.annotations.len() - 1;
        let mut fields = self.about(at, index, "annotation", value);
        fields["annotation_index"] = place.into();
        Some(("response.output_text.annotation.added", fields))
    }

    fn last(&self, at: usize) -> Vec<Told> {
        self.parts.len().checked_sub(1).map(|last| self.repeated(last, at)).unwrap_or_default()
    }

    fn repeated(&self, index: usize, at: usize) -> Vec<Told> {
        let Some(part) = self.parts.get(index) else { return Vec::new() };
        let (kind, key) = if part.refuses {
            ("response.refusal.done", "refusal")
        } else {
            ("response.output_text.done", "text")
        };
        let mut done = self.about(at, index, key, part.words.as_str());
        if !part.refuses {
            done["logprobs"] = part.logprobs.clone().into();
        }
        vec![(kind, done), ("response.content_part.done", self.about(at, index, "part", part.value()))]
    }

    fn about(&self, at: usize, index: usize, key: &str, value: impl Into<Value>) -> Value {
        let value: Value = value.into();
        json!({ "item_id": self.id, "output_index": at, "content_index": index, key: value })
    }
}

/// Is reasoning: what can be read of it as its summary.
#[derive(Debug)]
pub(super) struct Thought {
    id: String,
    words: String,
    sealed: Option<String>,
    rest: Map<String, Value>,
}

impl Thought {
    pub(super) fn new(id: String) -> Self {
        Self { id, words: String::new(), sealed: None, rest: Map::new() }
    }

    /// Whether its encrypted form came, which is its end.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    pub(super) fn add(&mut self, thought: ReasoningText, extra: Option<&Struct>, at: usize) -> Vec<Told> {
        extras(&mut self.rest, extra, &["id", "type", "summary", "content", "encrypted_content", "status"]);
        self.sealed = thought.signature.or(self.sealed.take());
        let mut told = Vec::new();
        if thought.text.is_empty() {
            return told;
        }
        if self.words.is_empty() {
            let part = json!({ "type": "summary_text", "text": "" });
            told.push(("response.reasoning_summary_part.added", self.about(at, "part", part)));
        }
        self.words.push_str(&thought.text);
        told.push(("response.reasoning_summary_text.delta", self.about(at, "delta", thought.text)));
        told
    }

    fn last(&self, at: usize) -> Vec<Told> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let part = json!({ "type": "summary_text", "text": self.words });
        vec![
            ("response.reasoning_summary_text.done", self.about(at, "text", self.words.as_str())),
            ("response.reasoning_summary_part.done", self.about(at, "part", part)),
        ]
    }

    fn about(&self, at: usize, key: &str, value: impl Into<Value>) -> Value {
        let value: Value = value.into();
        json!({ "item_id": self.id, "output_index": at, "summary_index": 0, key: value })
    }

    fn value(&self) -> Map<String, Value> {
        let mut summary = Vec::new();
        if !self.words.is_empty() {
            summary.push(json!({ "type": "summary_text", "text": self.words }));
        }
        let mut map = Map::from_iter([("id".to_owned(), Value::from(self.id.as_str()))]);
        map.insert("type".to_owned(), "reasoning".into());
        map.insert("summary".to_owned(), summary.into());
        if let Some(sealed) = &self.sealed {
            map.insert("encrypted_content".to_owned(), sealed.as_str().into());
        }
        map.extend(self.rest.clone());
        map
    }
}

/// Is a call of a function or of a custom tool.
#[derive(Debug)]
pub(super) struct Call {
    /// The index of its deltas.
    pub(super) index: u32,
    pub(super) balance: Balance,
    pub(super) item: Map<String, Value>,
}

/// Begins a call.
pub(super) fn call(call: &ToolCallDelta, extra: Option<&Struct>, id: String) -> Map<String, Value> {
    let custom = text(extra, "type") == Some("custom_tool_call");
    let mut map = Map::new();
    let call_id =
        call.id.as_deref().filter(|id| !id.is_empty()).map_or_else(|| format!("call_{id}"), str::to_owned);
    map.insert("id".to_owned(), text(extra, "id").map_or(id, str::to_owned).into());
    map.insert("type".to_owned(), if custom { "custom_tool_call" } else { "function_call" }.into());
    map.insert("status".to_owned(), "completed".into());
    map.insert("call_id".to_owned(), call_id.into());
    map.insert("name".to_owned(), call.name.clone().unwrap_or_default().into());
    map.insert(if custom { "input" } else { "arguments" }.to_owned(), "".into());
    extras(&mut map, extra, &["function"]);
    map
}

impl Call {
    /// Returns the argument's field, and the events' name for it.
    fn spelling(&self) -> (&'static str, &'static str, &'static str) {
        if self.item.contains_key("input") {
            ("input", "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done")
        } else {
            ("arguments", "response.function_call_arguments.delta", "response.function_call_arguments.done")
        }
    }

    pub(super) fn add(&mut self, more: &str, at: usize) -> Told {
        self.balance.add(more);
        let (key, kind, _) = self.spelling();
        if let Some(Value::String(text)) = self.item.get_mut(key) {
            text.push_str(more);
        }
        (kind, json!({ "item_id": self.item.get("id"), "output_index": at, "delta": more }))
    }

    fn last(&self, at: usize) -> Vec<Told> {
        let (key, _, kind) = self.spelling();
        let fields = json!({
            "item_id": self.item.get("id"), "output_index": at, "name": self.item.get("name"), key: self.item.get(key),
        });
        vec![(kind, fields)]
    }
}

/// Returns an item that travelled whole.
pub(super) fn block(extra: Option<&Struct>) -> Map<String, Value> {
    extra.map(object).unwrap_or_default()
}

/// Writes an image as what the tool that makes them gives.
pub(super) fn image(media: &Media, extra: Option<&Struct>, id: String) -> Map<String, Value> {
    let result = match &media.content {
        Some(media::Content::Data(bytes)) => STANDARD.encode(bytes),
        Some(media::Content::Url(url)) => url.clone(),
        Some(media::Content::FileId(file)) => file.clone(),
        None => String::new(),
    };
    let mut map = block(extra);
    map.entry("id").or_insert_with(|| id.into());
    map.insert("type".to_owned(), "image_generation_call".into());
    map.entry("status").or_insert_with(|| "completed".into());
    if let Some(format) = media.media_type.strip_prefix("image/") {
        map.entry("output_format").or_insert_with(|| format.into());
    }
    map.insert("result".to_owned(), result.into());
    map
}

/// Returns the entries of log probabilities, which other dialects keep under `content`.
fn tokens(logprobs: Option<&Struct>) -> Vec<Value> {
    let content = logprobs.and_then(|all| all.fields.get("content")).map(|list| json!(Any(list)));
    match content {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Writes a citation of `words`, which begin at byte `start` of the answer's text.
fn annotation(citation: &Citation, words: &str, start: u64) -> Value {
    let own = citation.extra.as_ref().filter(|own| {
        nested(Some(own), "url_citation").is_none()
            && text(Some(own), "type").is_some_and(|kind| kind.ends_with("_citation"))
    });
    let place = |byte: Option<u64>| byte.and_then(|byte| offset(words, byte.checked_sub(start)?));
    let mut map = own.map(object).unwrap_or_else(|| {
        let (url, title) = (citation.url.as_deref(), citation.title.as_deref());
        Map::from_iter([
            ("type".to_owned(), "url_citation".into()),
            ("url".to_owned(), url.unwrap_or_default().into()),
            ("title".to_owned(), title.unwrap_or_default().into()),
        ])
    });
    // Its own are those of a part that may have been another one.
    if let (Some(from), Some(to)) = (place(citation.start_byte), place(citation.end_byte)) {
        map.insert("start_index".to_owned(), from.into());
        map.insert("end_index".to_owned(), to.into());
    } else if own.is_none() {
        map.insert("start_index".to_owned(), 0.into());
        map.insert("end_index".to_owned(), words.chars().count().into());
    }
    map.into()
}
