//! The bytes of answers, written by hand after recordings of the provider: order of fields, white space, line
//! ends. No serializer stands between this text and the wire.

use std::fmt::Write as _;

use bytes::Bytes;

use super::answer::{Answer, Content};
use super::dice::{ALPHANUMERIC, Dice, HEX};
use super::record::Usage;

/// What identifies an answer.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) fingerprint: String,
}

/// When every simulated answer was created: 2025-01-01T00:00:00Z, so that bytes do not depend on the day.
pub(super) const CREATED: u64 = 1_735_689_600;

/// The end of a stream.
pub(super) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What a proxy in front of the provider says when it is at its wits' end.
pub(super) const HTML: Bytes = Bytes::from_static(
    b"<!DOCTYPE html>\n<html>\n<head><title>Please wait</title></head>\n<body>\n<h1>Please wait</h1>\n\
      <p>We are checking your connection.</p>\n</body>\n</html>\n",
);

impl Identity {
    pub(super) fn roll(model: String, dice: &mut Dice) -> Self {
        Self {
            id: format!("chatcmpl-{}", dice.text(ALPHANUMERIC, 29)),
            fingerprint: format!("fp_{}", dice.text(HEX, 10)),
            model,
        }
    }
}

/// Writes `text` as a JSON string (RFC 8259 §7), escaping only what must be.
pub(super) fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Renders the events of one stream.
#[derive(Debug)]
pub(super) struct Events {
    /// From `data:` up to the choices.
    head: String,
    /// `,"usage":null` where usage was asked for.
    no_usage: &'static str,
    /// Rolls the padding that hides the length of chunks; `None` where it was declined.
    padding: Option<Dice>,
}

impl Events {
    pub(super) fn new(identity: &Identity, include_usage: bool, padding: Option<Dice>) -> Self {
        let mut head = "data: {\"id\":".to_owned();
        push_json(&mut head, &identity.id);
        let _ = write!(head, ",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":");
        push_json(&mut head, &identity.model);
        head.push_str(",\"service_tier\":\"default\",\"system_fingerprint\":");
        push_json(&mut head, &identity.fingerprint);
        head.push_str(",\"choices\":[");
        Self { head, no_usage: if include_usage { ",\"usage\":null" } else { "" }, padding }
    }

    /// Renders the first event: the role, and for a tool call its name.
    pub(super) fn opening(&mut self, content: &Content) -> Bytes {
        let mut delta = "{\"role\":\"assistant\",\"content\":".to_owned();
        match content {
            Content::Text(_) => delta.push_str("\"\""),
            Content::ToolCall { id, name, .. } => {
                delta.push_str("null,\"tool_calls\":[{\"index\":0,\"id\":");
                push_json(&mut delta, id);
                delta.push_str(",\"type\":\"function\",\"function\":{\"name\":");
                push_json(&mut delta, name);
                delta.push_str(",\"arguments\":\"\"}}]");
            }
        }
        delta.push_str(",\"refusal\":null}");
        self.choice(&delta, None)
    }

    /// Renders a piece of the text, or of a tool call's arguments.
    pub(super) fn piece(&mut self, content: &Content, piece: &str) -> Bytes {
        let mut delta = String::with_capacity(piece.len() + 64);
        match content {
            Content::Text(_) => {
                delta.push_str("{\"content\":");
                push_json(&mut delta, piece);
                delta.push('}');
            }
            Content::ToolCall { .. } => {
                delta.push_str("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
                push_json(&mut delta, piece);
                delta.push_str("}}]}");
            }
        }
        self.choice(&delta, None)
    }

    /// Renders the event that says why the answer ends.
    pub(super) fn finish(&mut self, reason: &str) -> Bytes {
        self.choice("{}", Some(reason))
    }

    /// Renders the last event, which has no choices.
    pub(super) fn usage(&mut self, usage: &Usage) -> Bytes {
        let mut out = self.head.clone();
        let _ = write!(
            out,
            "],\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},\
             \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
             \"completion_tokens_details\":{{\"reasoning_tokens\":{},\"audio_tokens\":0,\
             \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens(),
            usage.cached_tokens,
            usage.reasoning_tokens,
        );
        self.end(out)
    }

    fn choice(&mut self, delta: &str, finish: Option<&str>) -> Bytes {
        let mut out = String::with_capacity(self.head.len() + delta.len() + 128);
        out.push_str(&self.head);
        out.push_str("{\"index\":0,\"delta\":");
        out.push_str(delta);
        out.push_str(",\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(reason) => push_json(&mut out, reason),
            None => out.push_str("null"),
        }
        out.push_str("}]");
        out.push_str(self.no_usage);
        self.end(out)
    }

    fn end(&mut self, mut out: String) -> Bytes {
        if let Some(dice) = &mut self.padding {
            let length = 1 + dice.below(16);
            let _ = write!(out, ",\"obfuscation\":\"{}\"", dice.text(ALPHANUMERIC, length));
        }
        out.push_str("}\n\n");
        out.into()
    }
}

/// Renders a whole answer, indented by two as the provider does.
pub(super) fn completion(identity: &Identity, answer: &Answer, usage: &Usage) -> Bytes {
    let mut out = "{\n  \"id\": ".to_owned();
    push_json(&mut out, &identity.id);
    let _ = write!(out, ",\n  \"object\": \"chat.completion\",\n  \"created\": {CREATED},\n  \"model\": ");
    push_json(&mut out, &identity.model);
    out.push_str(",\n  \"choices\": [\n    {\n      \"index\": 0,\n      \"message\": {\n");
    out.push_str("        \"role\": \"assistant\",\n        \"content\": ");
    match &answer.content {
        Content::Text(text) => push_json(&mut out, text),
        Content::ToolCall { id, name, arguments } => {
            out.push_str("null,\n        \"tool_calls\": [\n          {\n            \"id\": ");
            push_json(&mut out, id);
            out.push_str(",\n            \"type\": \"function\",\n            \"function\": {\n");
            out.push_str("              \"name\": ");
            push_json(&mut out, name);
            out.push_str(",\n              \"arguments\": ");
            push_json(&mut out, arguments);
            out.push_str("\n            }\n          }\n        ]");
        }
    }
    out.push_str(",\n        \"refusal\": null,\n        \"annotations\": []\n      },\n");
    out.push_str("      \"logprobs\": null,\n      \"finish_reason\": ");
    match answer.finish {
        Some(reason) => push_json(&mut out, reason),
        None => out.push_str("null"),
    }
    let _ = write!(
        out,
        "\n    }}\n  ],\n  \"usage\": {{\n    \"prompt_tokens\": {},\n    \"completion_tokens\": {},\n    \
         \"total_tokens\": {},\n    \"prompt_tokens_details\": {{\n      \"cached_tokens\": {},\n      \
         \"audio_tokens\": 0\n    }},\n    \"completion_tokens_details\": {{\n      \"reasoning_tokens\": {},\n      \
         \"audio_tokens\": 0,\n      \"accepted_prediction_tokens\": 0,\n      \"rejected_prediction_tokens\": 0\n    \
         }}\n  }},\n  \"service_tier\": \"default\",\n  \"system_fingerprint\": ",
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens(),
        usage.cached_tokens,
        usage.reasoning_tokens,
    );
    push_json(&mut out, &identity.fingerprint);
    out.push_str("\n}\n");
    out.into()
}

/// Renders one entry of the list of models.
fn push_model(out: &mut String, name: &str, indent: &str) {
    let _ = write!(out, "{indent}{{\n{indent}  \"id\": ");
    push_json(out, name);
    let _ = write!(
        out,
        ",\n{indent}  \"object\": \"model\",\n{indent}  \"created\": {CREATED},\n{indent}  \"owned_by\": \
         \"simulated\"\n{indent}}}"
    );
}

/// Renders one model.
pub(super) fn model(name: &str) -> Bytes {
    let mut out = String::new();
    push_model(&mut out, name, "");
    out.push('\n');
    out.into()
}

/// Renders the list of models.
pub(super) fn models<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
    let mut out = "{\n  \"object\": \"list\",\n  \"data\": [".to_owned();
    for (index, name) in names.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        push_model(&mut out, name, "    ");
    }
    out.push_str("\n  ]\n}\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_written_as_valid_json(text in any::<String>()) {
            let mut out = String::new();
            push_json(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
