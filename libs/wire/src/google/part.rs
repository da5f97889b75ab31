//! Parts of a conversation as JSON.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Part, ToolCall, ToolResult, part};

use super::encode::Options;
use super::{media, model, own};
use crate::RequestError;
use crate::json::nested;

/// Stands in for the signature of a call that another provider's model made, as Google's documentation of thought signatures
/// says.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Writes parts, in the order of the conversation: results name the function that was called.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    options: &'a Options<'a>,
    /// The calls so far, by their ids.
    calls: HashMap<String, Called>,
}

#[derive(Debug)]
struct Called {
    name: String,
    /// Whether Google knows the call's id.
    identified: bool,
}

impl<'a> Parts<'a> {
    pub(super) fn new(options: &'a Options<'a>) -> Self {
        Self { options, calls: HashMap::new() }
    }

    /// Writes a part. A result's images and files may follow it as parts of their own; what must not be sent is nothing.
    ///
    /// `first` tells whether no call stands before this one in its turn.
    pub(super) fn write(
        &mut self,
        part: &Part,
        first: bool,
        field: &str,
    ) -> Result<Vec<Value>, RequestError> {
        let extra = part.extra.as_ref();
        // A part of this dialect's that has no place of its own is in `extra`, whole.
        if let (Some(part::Kind::Text(words)), Some(whole)) = (&part.kind, nested(extra, "part"))
            && words.text.is_empty()
        {
            return Ok(vec![Value::Object(own::object(whole)?)]);
        }
        let over = own::fields(extra)?;
        let mut beside = Vec::new();
        let written = match &part.kind {
            None => return Err(RequestError::new(field, "give the part a kind")),
            Some(part::Kind::Text(words) | part::Kind::Refusal(words)) => {
                if words.text.is_empty() && over.is_empty() {
                    // Google refuses an empty text.
                    return Ok(Vec::new());
                }
                Map::from_iter([("text".to_owned(), Value::from(words.text.as_str()))])
            }
            Some(part::Kind::Image(media) | part::Kind::Audio(media) | part::Kind::File(media)) => {
                media::write(media, &over, field)?
            }
            Some(part::Kind::ToolCall(call)) => self.call(call, &over, first),
            Some(part::Kind::ToolResult(result)) => self.result(result, &over, &mut beside, field)?,
            Some(part::Kind::Reasoning(thought)) => {
                if thought.provider.as_deref() != Some(self.options.provider) {
                    return Ok(Vec::new());
                }
                let mut out = json!({ "text": thought.text, "thought": true });
                if let (Some(signature), Some(out)) = (&thought.signature, out.as_object_mut()) {
                    out.insert("thoughtSignature".to_owned(), Value::from(signature.as_str()));
                }
                match out {
                    Value::Object(out) => out,
                    _ => Map::new(),
                }
            }
        };
        let mut out = vec![Value::Object(own::lay_over(written, over))];
        out.append(&mut beside);
        Ok(out)
    }

    fn call(&mut self, call: &ToolCall, over: &Map<String, Value>, first: bool) -> Map<String, Value> {
        let mark = own::get(over, "functionCall").and_then(Value::as_object);
        let identified = mark.is_some_and(|mark| mark.contains_key("id"));
        self.calls.insert(call.id.clone(), Called { name: call.name.clone(), identified });
        let mut inner = Map::new();
        if identified {
            inner.insert("id".to_owned(), Value::from(call.id.as_str()));
        }
        inner.insert("name".to_owned(), Value::from(call.name.as_str()));
        match serde_json::from_str::<Value>(&call.arguments) {
            Ok(args @ Value::Object(_)) => {
                inner.insert("args".to_owned(), args);
            }
            _ if call.arguments.trim().is_empty() => {}
            // What is no JSON object cannot be said; the model may still see what it wrote.
            _ => {
                inner.insert("args".to_owned(), json!({ "invalid_json": call.arguments }));
            }
        }
        let mut out = Map::from_iter([("functionCall".to_owned(), Value::Object(inner))]);
        // Gemini 3 refuses a first call without one, unless it wrote the call itself.
        let signed = mark.is_some() || own::get(over, "thoughtSignature").is_some();
        if first && !signed && model::is_third(self.options.model) {
            out.insert("thoughtSignature".to_owned(), Value::from(NO_SIGNATURE));
        }
        out
    }

    fn result(
        &mut self,
        result: &ToolResult,
        over: &Map<String, Value>,
        beside: &mut Vec<Value>,
        field: &str,
    ) -> Result<Map<String, Value>, RequestError> {
        let mark = own::get(over, "functionResponse").and_then(Value::as_object);
        let called = self.calls.get(&result.call_id);
        let named = || mark.and_then(|mark| mark.get("name")?.as_str()).filter(|name| !name.is_empty());
        let name = called.map(|called| called.name.as_str()).or_else(named).ok_or_else(|| {
            let message = "no earlier message holds the call that is answered";
            RequestError::new(format!("{field}.call_id"), message)
        })?;
        let mut inner = Map::from_iter([("name".to_owned(), Value::from(name))]);
        let identified = match mark {
            Some(mark) => mark.contains_key("id"),
            None => called.is_some_and(|called| called.identified),
        };
        if identified {
            inner.insert("id".to_owned(), Value::from(result.call_id.as_str()));
        }
        let (mut words, mut others) = (String::new(), Vec::new());
        for (i, part) in result.parts.iter().enumerate() {
            match &part.kind {
                Some(part::Kind::Text(text)) if nested(part.extra.as_ref(), "part").is_none() => {
                    words.push_str(&text.text);
                }
                Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_)) => {
                    return Err(RequestError::new(field, "a tool result holds text, images and files only"));
                }
                _ => others.extend(self.write(part, false, &format!("{field}.parts[{i}]"))?),
            }
        }
        inner.insert("response".to_owned(), response(&words, result.is_error()));
        // Only later models take media inside a result.
        let inside = mark.is_some_and(|mark| own::get(mark, "parts").is_some());
        if inside || (model::is_third(self.options.model) && !others.is_empty()) {
            inner.insert("parts".to_owned(), Value::Array(others));
        } else {
            beside.append(&mut others);
        }
        Ok(Map::from_iter([("functionResponse".to_owned(), Value::Object(inner))]))
    }
}

/// Google takes an object, in which it knows `output` and `error`.
fn response(words: &str, failed: bool) -> Value {
    match serde_json::from_str::<Value>(words) {
        Ok(Value::Object(map)) if failed && !map.contains_key("error") => json!({ "error": map }),
        Ok(object @ Value::Object(_)) => object,
        _ if failed => json!({ "error": words }),
        _ => json!({ "output": words }),
    }
}
