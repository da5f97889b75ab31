//! JSON that no provider and no client should send.

use bytes::Bytes;
use proptest::prelude::*;
use signalbox_wire::Limits;
use signalbox_wire::anthropic::{self, Options};

/// JSON of any shape, made mostly of the names that the dialect knows.
fn any_json() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "type",
        "text",
        "content",
        "role",
        "id",
        "name",
        "input",
        "source",
        "data",
        "media_type",
        "url",
        "title",
        "tool_use_id",
        "is_error",
        "signature",
        "thinking",
        "citations",
        "citation",
        "cache_control",
        "delta",
        "content_block",
        "index",
        "message",
        "usage",
        "iterations",
        "output_tokens",
        "stop_reason",
        "stop_details",
        "explanation",
        "error",
        "partial_json",
        "to",
        "model",
        "budget_tokens",
        "effort",
        "format",
        "schema",
        "x",
    ]);
    let word = prop::sample::select(vec![
        "user",
        "assistant",
        "system",
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "custom",
        "base64",
        "url",
        "file",
        "enabled",
        "tool",
        "auto",
        "json_schema",
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "text_delta",
        "thinking_delta",
        "signature_delta",
        "input_json_delta",
        "citations_delta",
        "end_turn",
        "refusal",
        "compaction",
        "fallback",
        "é\\u0000",
        "AAAA",
        "image/png",
        "text/plain",
    ]);
    let leaf = prop_oneof![
        1 => Just("null".to_owned()),
        1 => any::<bool>().prop_map(|b| b.to_string()),
        1 => (0..9i64).prop_map(|n| n.to_string()),
        // Few digits: serde_json may be off by one in the last of seventeen.
        1 => any::<i16>().prop_map(|n| (f32::from(n) / 8.0).to_string()),
        4 => word.prop_map(|w| format!("\"{w}\"")),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|fields| {
                let fields: Vec<String> = fields.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_without_harm(lines in prop::collection::vec(any_json(), 1..8), cut in any::<usize>()) {
        let body: String = lines.iter().map(|line| format!("data: {line}\n\n")).collect();
        let mut stream = anthropic::Stream::new(Limits { event_bytes: 512, malformed_chunks: 3 });
        let (one, two) = body.as_bytes().split_at(cut % (body.len() + 1));
        for piece in [one, two] {
            stream.push(Bytes::copy_from_slice(piece));
            while let Ok(Some(_)) = stream.next_delta() {}
        }
        while let Ok(Some(_)) = stream.end() {}
        prop_assert!(stream.summary().malformed <= 4);
        for line in &lines {
            let _ = anthropic::whole(line.as_bytes());
        }
    }

    #[test]
    fn what_is_taken_in_can_be_written_and_is_then_the_same(
        content in any_json(), system in any_json(), tools in any_json(), thinking in any_json(), config in any_json(), choice in any_json(),
    ) {
        let fields = format!(r#""system":{system},"tools":[{tools}],"thinking":{thinking},"output_config":{config},"tool_choice":{choice}"#);
        for body in [
            format!(r#"{{"model":"claude-opus-4-8","messages":[{{"role":"user","content":{content}}}]}}"#),
            format!(r#"{{"model":"claude-opus-4-8","messages":[{{"role":"assistant","content":[{content}]}}]}}"#),
            format!(r#"{{"model":"claude-opus-4-8","messages":[{{"role":"user","content":"a"}}],{fields}}}"#),
        ] {
            let Ok(parsed) = anthropic::parse(body.as_bytes(), Some("p")) else { continue };
            let options = Options { model: "claude-opus-4-8", provider: "p", stream: parsed.stream, max_tokens: None };
            // What another dialect's words make of it is refused, never broken.
            let Ok(written) = anthropic::encode(&parsed.chat, &options) else { continue };
            let Ok(again) = anthropic::parse(&written, Some("p")) else { continue };
            prop_assert_eq!(anthropic::encode(&again.chat, &options).unwrap(), written);
        }
    }
}
