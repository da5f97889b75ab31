//! Prompts and answers in spans, where an operator wants them: only what the guard redacted, and only so much.
//!
//! The form is the GenAI conventions': a list of messages with a role and parts, as JSON. Of parts other than text the kind alone is
//! kept.

use serde_json::{Value, json};
use signalbox_proto::common::v1::{
    ChatRequest, Delta, GenerateEvent, Message, delta::Content as DeltaContent, generate_event::Kind, part,
};
use signalbox_telemetry::{semconv, trace::KeyValue};

/// Text that is kept of a prompt, and of an answer, in bytes.
const KEPT: usize = 8 << 10;

/// What was asked and answered, redacted.
#[derive(Default)]
pub(crate) struct Content {
    asked: Vec<Value>,
    answered: String,
}

impl Content {
    /// Notes a prompt as the guard let it through.
    pub(crate) fn asked(&mut self, redacted: &ChatRequest) {
        let mut room = KEPT;
        // What was said last tells most.
        let last_first = redacted.messages.iter().rev();
        let mut asked: Vec<Value> =
            last_first.map_while(|message| (room > 0).then(|| said(message, &mut room))).collect();
        asked.reverse();
        self.asked = asked;
    }

    /// Notes a piece of an answer, in the form in which it may be stored.
    pub(crate) fn answered(&mut self, redacted: &GenerateEvent) {
        if let Some(Kind::Delta(Delta { content: Some(DeltaContent::Text(text)), .. })) = &redacted.kind {
            let room = KEPT - self.answered.len();
            self.answered.push_str(&text[..text.floor_char_boundary(room)]);
        }
    }

    /// All of it, for the request's span.
    pub(crate) fn into_attributes(self) -> impl Iterator<Item = KeyValue> {
        let asked = (!self.asked.is_empty()).then(|| Value::Array(self.asked));
        let answered = (!self.answered.is_empty()).then(
            || json!([{ "role": "assistant", "parts": [{ "type": "text", "content": self.answered }] }]),
        );
        [(semconv::GEN_AI_INPUT_MESSAGES, asked), (semconv::GEN_AI_OUTPUT_MESSAGES, answered)]
            .into_iter()
            .filter_map(|(name, value)| Some(KeyValue::new(name, value?.to_string())))
    }
}

fn said(message: &Message, room: &mut usize) -> Value {
    let role = message.role().as_str_name().trim_start_matches("ROLE_").to_ascii_lowercase();
    let parts: Vec<Value> = message
        .parts
        .iter()
        .filter_map(|part| part.kind.as_ref())
        .map(|kind| match kind {
            part::Kind::Text(text) => {
                let kept = &text.text[..text.text.floor_char_boundary(*room)];
                // What does not fit is cut, and nothing older follows.
                *room = if kept.len() < text.text.len() { 0 } else { *room - kept.len() };
                json!({ "type": "text", "content": kept })
            }
            part::Kind::ToolCall(call) => json!({ "type": "tool_call", "name": call.name }),
            _ => json!({ "type": "other" }),
        })
        .collect();
    json!({ "role": role, "parts": parts })
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Part, Role, Text};

    use super::*;

    fn message(text: &str) -> Message {
        let kind = Some(part::Kind::Text(Text { text: text.into() }));
        Message {
            role: Role::User.into(),
            parts: vec![Part { kind, ..Part::default() }],
            ..Message::default()
        }
    }

    fn piece(text: &str) -> GenerateEvent {
        let delta = Delta { content: Some(DeltaContent::Text(text.into())), ..Delta::default() };
        GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }
    }

    #[test]
    fn messages_are_kept_in_the_conventions_form_and_within_bounds() {
        let mut content = Content::default();
        let messages = vec![message("long ago"), message(&"ä".repeat(KEPT)), message("Hello <EMAIL_1>")];
        content.asked(&ChatRequest { messages, ..ChatRequest::default() });
        (0..3_000).for_each(|_| content.answered(&piece("Hé ")));
        let told: Vec<KeyValue> = content.into_attributes().collect();
        let read = |at: usize| serde_json::from_str::<Value>(&told[at].value.as_str()).unwrap();
        assert_eq!(told[0].key.as_str(), "gen_ai.input.messages");
        let asked = read(0);
        assert_eq!(
            asked[1],
            json!({ "role": "user", "parts": [{ "type": "text", "content": "Hello <EMAIL_1>" }] })
        );
        assert_eq!(asked.as_array().unwrap().len(), 2, "there was no room for the first");
        assert!(told.iter().all(|told| told.value.as_str().len() < KEPT + 200));
        assert_eq!(told[1].key.as_str(), "gen_ai.output.messages");
        assert!(read(1)[0]["parts"][0]["content"].as_str().unwrap().starts_with("Hé Hé "));
    }

    #[test]
    fn without_content_nothing_is_told() {
        assert_eq!(Content::default().into_attributes().count(), 0);
    }
}
