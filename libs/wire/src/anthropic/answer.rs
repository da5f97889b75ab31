//! An answer put together from blocks.

use std::collections::VecDeque;

use prost_types::Struct;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{Citation, Delta, FinishReason, ReasoningText, ToolCallDelta};

use super::usage::Reported;
use crate::{ErrorClass, ProviderError, Summary, json};

/// How many blocks may be under way at once. The API writes one after the other.
const OPEN: usize = 64;

/// Is the state of an answer under way.
#[derive(Debug)]
pub(super) struct Building {
    pub(super) queue: VecDeque<Delta>,
    pub(super) summary: Summary,
    usage: Reported,
    open: Vec<Open>,
    /// The bytes that open blocks hold back, and how many they may.
    held: usize,
    limit: usize,
    /// The index of all text: that of the first text block.
    text_index: Option<u32>,
    text_bytes: u64,
    started: bool,
    /// Whether any content came.
    begun: bool,
}

/// Is a block under way.
#[derive(Debug)]
struct Open {
    index: u32,
    holds: Holds,
}

/// Is what a block holds back until it is complete.
#[derive(Debug)]
enum Holds {
    /// Its citations, and where it began in the answer's text.
    Text {
        citations: Vec<Value>,
        start: u64,
    },
    Thinking,
    /// The arguments that stood in the call's beginning, until others come.
    Call {
        input: Option<Value>,
    },
    /// All of it, and the `input` that comes as text.
    Whole {
        block: Map<String, Value>,
        input: String,
    },
}

/// Is a delta of a block, as far as it is known.
#[derive(serde::Deserialize)]
pub(super) struct Piece {
    #[serde(rename = "type", default)]
    kind: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
}

impl Building {
    /// Makes the state of an answer, of which at most `limit` bytes are held back.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            summary: Summary::default(),
            usage: Reported::default(),
            open: Vec::new(),
            held: 0,
            limit,
            text_index: None,
            text_bytes: 0,
            started: false,
            begun: false,
        }
    }

    /// Takes a message in: a stream's first event, usually without content, or a whole answer.
    pub(super) fn message(&mut self, mut message: Map<String, Value>) -> Result<(), ProviderError> {
        let id = text(&mut message, "id");
        if std::mem::replace(&mut self.started, true) {
            // Proxies that retry inside a stream send the beginning twice.
            if id == self.summary.response_id && !self.begun {
                return Ok(());
            }
            return Err(fault("another message began before the first one ended"));
        }
        self.summary.response_id = id;
        self.summary.model = text(&mut message, "model");
        if let Some(Value::Object(usage)) = message.remove("usage") {
            self.usage.update(usage);
        }
        let reason = text(&mut message, "stop_reason");
        if let Some(Value::Array(content)) = message.remove("content") {
            for (index, block) in (0..).zip(content) {
                if let Value::Object(block) = block {
                    self.start(index, block)?;
                    self.stop(index);
                }
            }
        }
        message.remove("type");
        message.remove("role");
        self.finish(reason, message.get("stop_details"))?;
        self.remember(message);
        Ok(())
    }

    /// Takes in what changes at a message's end.
    pub(super) fn message_delta(&mut self, mut all: Map<String, Value>) -> Result<(), ProviderError> {
        all.remove("type");
        if let Some(Value::Object(usage)) = all.remove("usage") {
            self.usage.update(usage);
            self.report();
        }
        if let Some(Value::Object(mut delta)) = all.remove("delta") {
            let reason = text(&mut delta, "stop_reason");
            self.finish(reason, delta.get("stop_details"))?;
            self.remember(delta);
        }
        self.remember(all);
        Ok(())
    }

    /// Publishes the counts: before a message's end they are no totals.
    pub(super) fn report(&mut self) {
        self.summary.usage = Some(self.usage.usage());
        let rest = self.usage.rest();
        if !rest.is_empty() {
            self.remember(Map::from_iter([("usage".to_owned(), rest.into())]));
        }
    }

    /// Begins a block.
    pub(super) fn start(&mut self, index: u32, mut block: Map<String, Value>) -> Result<(), ProviderError> {
        self.stop(index);
        self.begun = true;
        let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
        let holds = match kind {
            "text" => self.start_text(index, block),
            "thinking" => {
                let thought = text(&mut block, "thinking").unwrap_or_default();
                let signature = text(&mut block, "signature");
                block.remove("type");
                if !thought.is_empty() || signature.is_some() {
                    self.think(index, thought, signature, extra(block));
                }
                Holds::Thinking
            }
            "redacted_thinking" => {
                let data = text(&mut block, "data");
                self.think(index, String::new(), data, extra(block));
                Holds::Thinking
            }
            "tool_use" => {
                let call = ToolCallDelta {
                    id: text(&mut block, "id"),
                    name: text(&mut block, "name"),
                    arguments: String::new(),
                };
                let input = Some(block.remove("input").unwrap_or_default());
                block.remove("type");
                self.push(index, Out::ToolCall(call), extra(block));
                Holds::Call { input }
            }
            _ => {
                if let Some(model) =
                    block.get("to").and_then(|to| to["model"].as_str()).filter(|_| kind == "fallback")
                {
                    // The provider itself went on with another model.
                    self.summary.model = Some(model.to_owned());
                }
                Holds::Whole { block, input: String::new() }
            }
        };
        if self.open.len() >= OPEN {
            return Err(fault("too many content blocks at once"));
        }
        self.open.push(Open { index, holds });
        Ok(())
    }

    fn start_text(&mut self, index: u32, mut block: Map<String, Value>) -> Holds {
        let citations = match block.remove("citations") {
            Some(Value::Array(citations)) => citations,
            _ => Vec::new(),
        };
        let said = text(&mut block, "text").unwrap_or_default();
        block.remove("type");
        let start = self.text_bytes;
        self.say(index, said, extra(block));
        Holds::Text { citations, start }
    }

    /// Takes in a piece of a block; says whether it could be read.
    pub(super) fn piece(&mut self, index: u32, piece: Piece, raw: &RawValue) -> Result<bool, ProviderError> {
        let Some(at) = self.open.iter().position(|open| open.index == index) else {
            return self.begin(index, piece, raw);
        };
        let held = self.open.get_mut(at).map(|open| &mut open.holds);
        match (held, piece.kind.as_str()) {
            (Some(Holds::Whole { block, input }), kind) => {
                self.held += raw.get().len();
                if self.held > self.limit {
                    return Err(fault(&format!("a content block is larger than {} bytes", self.limit)));
                }
                match (kind, piece.partial_json) {
                    ("input_json_delta", Some(more)) => input.push_str(&more),
                    _ => return Ok(append(block, raw)),
                }
            }
            (Some(Holds::Text { .. }), "text_delta") => match piece.text {
                Some(text) => self.say(index, text, None),
                None => return Ok(false),
            },
            (Some(Holds::Text { citations, .. }), "citations_delta") => {
                self.held += raw.get().len();
                if self.held > self.limit {
                    return Err(fault(&format!("citations are larger than {} bytes", self.limit)));
                }
                match serde_json::from_str::<Map<String, Value>>(raw.get())
                    .ok()
                    .and_then(|mut m| m.remove("citation"))
                {
                    Some(citation) => citations.push(citation),
                    None => return Ok(false),
                }
            }
            (Some(Holds::Thinking), "thinking_delta") => match piece.thinking {
                Some(text) if !text.is_empty() => self.think(index, text, None, None),
                Some(_) => {}
                None => return Ok(false),
            },
            (Some(Holds::Thinking), "signature_delta") => match piece.signature {
                Some(signature) => self.think(index, String::new(), Some(signature), None),
                None => return Ok(false),
            },
            (Some(Holds::Call { input }), "input_json_delta") => match piece.partial_json {
                Some(more) if more.is_empty() => {}
                Some(more) => {
                    *input = None;
                    let call = ToolCallDelta { id: None, name: None, arguments: more };
                    self.push(index, Out::ToolCall(call), None);
                }
                None => return Ok(false),
            },
            // A piece of a type that is added later is no reason to give an answer up.
            (_, kind) => return Ok(!kind.is_empty()),
        }
        Ok(true)
    }

    /// Begins the block that a piece belongs to, for servers that leave its beginning out.
    fn begin(&mut self, index: u32, piece: Piece, raw: &RawValue) -> Result<bool, ProviderError> {
        let kind = match piece.kind.as_str() {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            _ => return Ok(false),
        };
        self.start(index, Map::from_iter([("type".to_owned(), kind.into())]))?;
        self.piece(index, piece, raw)
    }

    /// Ends a block.
    pub(super) fn stop(&mut self, index: u32) {
        let Some(at) = self.open.iter().position(|open| open.index == index) else { return };
        match self.open.remove(at).holds {
            Holds::Thinking | Holds::Call { input: None } => {}
            Holds::Text { citations, start } => self.cite(index, citations, start),
            Holds::Call { input: Some(input) } => {
                let arguments = if input.is_null() { "{}".to_owned() } else { input.to_string() };
                self.push(index, Out::ToolCall(ToolCallDelta { id: None, name: None, arguments }), None);
            }
            Holds::Whole { mut block, input } => {
                if !input.is_empty() {
                    let input = serde_json::from_str(&input).unwrap_or(Value::String(input));
                    block.insert("input".to_owned(), input);
                }
                // One that is nested too deep for a `Struct` is left out.
                if let Ok(Some(whole)) = json::fields(block) {
                    self.push(index, Out::Text(String::new()), Some(whole));
                }
            }
        }
        if self.open.is_empty() {
            self.held = 0;
        }
    }

    /// Ends every block.
    pub(super) fn stop_all(&mut self) {
        while let Some(open) = self.open.first() {
            self.stop(open.index);
        }
    }

    fn cite(&mut self, index: u32, citations: Vec<Value>, start: u64) {
        let index = *self.text_index.get_or_insert(index);
        let end = self.text_bytes;
        for citation in citations {
            let text = |key: &str| citation[key].as_str().map(str::to_owned);
            let cites = |at: u64| (start < end).then_some(at);
            let (url, title) =
                (text("url").or_else(|| text("source")), text("title").or_else(|| text("document_title")));
            let extra = match citation {
                Value::Object(map) => extra(map),
                _ => None,
            };
            let citation = Citation { url, title, start_byte: cites(start), end_byte: cites(end), extra };
            self.push(index, Out::Citation(citation.into()), None);
        }
    }

    fn say(&mut self, index: u32, text: String, extra: Option<Struct>) {
        let index = *self.text_index.get_or_insert(index);
        self.text_bytes += text.len() as u64;
        if !text.is_empty() || extra.is_some() {
            self.push(index, Out::Text(text), extra);
        }
    }

    fn think(&mut self, index: u32, text: String, signature: Option<String>, extra: Option<Struct>) {
        self.push(index, Out::Reasoning(ReasoningText { text, signature, provider: None }), extra);
    }

    fn push(&mut self, index: u32, content: Out, extra: Option<Struct>) {
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra });
    }

    fn finish(&mut self, word: Option<String>, details: Option<&Value>) -> Result<(), ProviderError> {
        let Some(word) = word else { return Ok(()) };
        if let Some(known) = self.summary.provider_finish_reason.as_deref() {
            if known == word {
                return Ok(());
            }
            return Err(fault(&format!("two stop reasons, `{known}` and `{word}`")));
        }
        let reason = match word.as_str() {
            "end_turn" | "stop_sequence" => FinishReason::Stop,
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "refusal" => FinishReason::Refusal,
            // `pause_turn` and `compaction`: to be sent back and gone on with.
            _ => FinishReason::Unspecified,
        };
        if reason == FinishReason::Refusal
            && let Some(words) = details.and_then(|details| details["explanation"].as_str())
        {
            let index = *self.text_index.get_or_insert(0);
            self.push(index, Out::Refusal(words.to_owned()), None);
        }
        self.summary.finish_reason = Some(reason);
        self.summary.provider_finish_reason = Some(word);
        Ok(())
    }

    /// Takes over fields that have no place elsewhere.
    fn remember(&mut self, rest: Map<String, Value>) {
        for (key, value) in rest {
            if !value.is_null()
                && let Ok(value) = json::value(value)
            {
                self.summary.extra.get_or_insert_default().fields.insert(key, value);
            }
        }
    }
}

fn fault(words: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Protocol, words)
}

/// Takes a text out; an empty one is none.
fn text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Takes over what of a block has no place elsewhere.
fn extra(mut rest: Map<String, Value>) -> Option<Struct> {
    rest.retain(|_, value| !value.is_null());
    json::fields(rest).ok().flatten()
}

/// Adds a piece to a block that is not known: texts go on, lists grow, everything else is replaced.
fn append(block: &mut Map<String, Value>, raw: &RawValue) -> bool {
    let Ok(piece) = serde_json::from_str::<Map<String, Value>>(raw.get()) else { return false };
    for (key, value) in piece {
        match (block.get_mut(&key), value) {
            _ if key == "type" => {}
            (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => {
                block.insert(key, value);
            }
        }
    }
    true
}
