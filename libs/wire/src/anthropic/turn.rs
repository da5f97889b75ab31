//! A conversation as JSON.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{ChatRequest, Message, Part, Role, part};

use super::block::{Writer, is_plain};
use super::encode::Options;
use super::foreign;
use super::model::Model;
use crate::RequestError;

/// Is a conversation, its instructions apart.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: System,
    pub(super) messages: Vec<Value>,
}

/// Is what stands in `system`: one plain text, or blocks.
#[derive(Debug, Default)]
pub(super) struct System {
    blocks: Vec<Value>,
    /// Whether the only block may stand there as a plain text.
    plain: bool,
}

impl System {
    /// Adds an instruction.
    pub(super) fn add(&mut self, text: &str) {
        self.plain = self.blocks.is_empty();
        self.blocks.push(serde_json::json!({"type": "text", "text": text}));
    }

    pub(super) fn value(mut self) -> Option<Value> {
        match (self.plain, self.blocks.len()) {
            (_, 0) => None,
            (true, 1) => Some(self.blocks.swap_remove(0)["text"].take()),
            _ => Some(Value::Array(self.blocks)),
        }
    }
}

/// Writes a conversation.
///
/// Results of tools are the user's here; those that come one message after the other become one message, because the API wants the results
/// of parallel calls together. Where there is nothing but instructions, the last of them asks.
pub(super) fn conversation(
    request: &ChatRequest,
    options: &Options<'_>,
    model: Model,
) -> Result<Conversation, RequestError> {
    let mut out = Conversation::default();
    let count = request.messages.len();
    let instructs = |message: &Message| matches!(message.role(), Role::System | Role::Developer);
    let asks = if request.messages.iter().all(instructs) { count - 1 } else { count };
    let mut after_result = false;
    for (i, message) in request.messages.iter().enumerate() {
        let writer = Writer { provider: options.provider, at: format!("messages[{i}]") };
        let instruction = instructs(message) && i != asks;
        if instruction && (out.messages.is_empty() || !model.takes_late_instructions()) {
            instruct(&mut out.system, message, &writer)?;
            continue;
        }
        let role = match message.role() {
            Role::Assistant => "assistant",
            Role::System | Role::Developer if instruction => "system",
            _ => "user",
        };
        let content = writer.content(&message.parts)?;
        let result = message.role() == Role::Tool;
        if let (true, true, Some(Value::Array(more))) = (result, after_result, &content)
            && let Some(Value::Array(blocks)) = out.messages.last_mut().and_then(|m| m.get_mut("content"))
        {
            blocks.extend(more.iter().cloned());
            continue;
        }
        if let Some(written) = written(message, role, content, i + 1 == count) {
            out.messages.push(written);
            after_result = result;
        }
    }
    Ok(out)
}

/// Writes a message. One that has come to say nothing, such as a turn of nothing but another provider's thinking, is left out.
fn written(message: &Message, role: &str, content: Option<Value>, last: bool) -> Option<Value> {
    let own = message.extra.as_ref().and_then(|extra| extra.fields.get("content"));
    let mut map = Map::new();
    map.insert("role".to_owned(), role.into());
    match content {
        Some(Value::String(text)) if text.is_empty() && role == "assistant" && !last => return None,
        Some(content) => map.insert("content".to_owned(), content),
        None => map.insert("content".to_owned(), own.map(foreign::json)?),
    };
    foreign::rest(&mut map, message.extra.as_ref());
    Some(map.into())
}

fn instruct(system: &mut System, message: &Message, writer: &Writer<'_>) -> Result<(), RequestError> {
    let says = |part: &&Part| matches!(part.kind, Some(part::Kind::Text(_)));
    if let Some(at) = message.parts.iter().position(|part| !says(&part)) {
        return Err(RequestError::new(format!("{}.parts[{at}]", writer.at), "instructions are text only"));
    }
    match &message.parts[..] {
        [only] if is_plain(only) => {
            if let Some(part::Kind::Text(text)) = &only.kind {
                system.add(&text.text);
            }
        }
        parts => {
            system.plain = false;
            if let Some(Value::Array(blocks)) = writer.content(parts)? {
                system.blocks.extend(blocks);
            }
        }
    }
    Ok(())
}
