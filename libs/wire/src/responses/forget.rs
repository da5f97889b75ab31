//! Ids that were given to a client by a door of ours.

use prost_types::Struct;
use prost_types::value::Kind;
use signalbox_proto::common::v1::ChatRequest;

use super::said::OURS;

/// Takes ids of ours out of a conversation that comes back: to the provider they are nobody's.
pub fn forget(chat: &mut ChatRequest) {
    for message in &mut chat.messages {
        strip(&mut message.extra);
        message.parts.iter_mut().for_each(|part| strip(&mut part.extra));
    }
}

fn strip(extra: &mut Option<Struct>) {
    let Some(fields) = extra.as_mut().map(|extra| &mut extra.fields) else { return };
    let ours = |kind: &Kind| match kind {
        Kind::StringValue(id) => id.split_once('_').is_some_and(|(_, rest)| rest.starts_with(OURS)),
        _ => false,
    };
    if fields.get("id").and_then(|id| id.kind.as_ref()).is_some_and(ours) {
        fields.remove("id");
    }
    if fields.is_empty() {
        *extra = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::text;

    #[test]
    fn ids_of_ours_go_and_a_providers_stay() {
        let body = r#"{"model":"m","input":[
            {"type":"reasoning","id":"rs_sb0198_0","summary":[],"encrypted_content":"x"},
            {"type":"message","role":"assistant","id":"msg_sb0198_1","content":[{"type":"output_text","text":"a"}]},
            {"type":"function_call","id":"fc_0f","call_id":"c","name":"f","arguments":"{}"}]}"#;
        let mut chat = super::super::parse(body.as_bytes(), Some("p")).unwrap().chat;
        forget(&mut chat);
        let extras = chat.messages.iter().flat_map(|message| {
            std::iter::once(&message.extra).chain(message.parts.iter().map(|part| &part.extra))
        });
        let ids: Vec<_> = extras.filter_map(|extra| text(extra.as_ref(), "id")).collect();
        assert_eq!(ids, ["fc_0f"]);
    }
}
