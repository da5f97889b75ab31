//! Bytes that no provider and no client should send.

use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use signalbox_wire::openai::{self, Options, embeddings};
use signalbox_wire::{Limits, ProviderError};

/// JSON of any shape, made mostly of the names that the dialect knows.
pub(crate) fn json() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "id",
        "model",
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "index",
        "usage",
        "prompt_tokens",
        "finish_reason",
        "error",
        "code",
        "logprobs",
        "annotations",
        "url_citation",
        "images",
        "messages",
        "role",
        "type",
        "text",
        "tools",
        "stop",
        "n",
        "stream_options",
        "response_format",
        "json_schema",
        "reasoning",
        "x",
    ]);
    let word = prop::sample::select(vec![
        "user",
        "assistant",
        "tool",
        "text",
        "function",
        "stop",
        "é\\u0000",
        "data:a;base64,AA",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        // Few digits: serde_json may be off by one in the last of seventeen.
        any::<i16>().prop_map(|n| (f32::from(n) / 8.0).to_string()),
        word.prop_map(|w| format!("\"{w}\"")),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|fields| {
                let fields: Vec<String> = fields.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Reads a stream cut in two, to its end or its error; how much came of it does not matter.
fn stream(body: &[u8], cut: usize) {
    let mut stream = openai::Stream::new(Limits { event_bytes: 512, malformed_chunks: 3 });
    let (one, two) = body.split_at(cut % (body.len() + 1));
    for piece in [one, two] {
        stream.push(Bytes::copy_from_slice(piece));
        while let Ok(Some(_)) = stream.next_delta() {}
    }
    while let Ok(Some(_)) = stream.end() {}
    assert!(stream.summary().malformed <= 4);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..600), cut in any::<usize>()) {
        stream(&body, cut);
        let _ = openai::whole(&body);
        let _ = openai::parse(&body, None);
        let _ = embeddings::decode(&body, 3);
        let error = ProviderError::from_response(500, &HeaderMap::new(), &body, SystemTime::UNIX_EPOCH);
        prop_assert!(error.message.len() <= 2048);
    }

    #[test]
    fn any_json_is_read_without_harm(lines in prop::collection::vec(json(), 1..4), cut in any::<usize>()) {
        for line in &lines {
            let _ = openai::whole(line.as_bytes());
            let _ = embeddings::decode(line.as_bytes(), 1);
            let _ = ProviderError::from_success(line.as_bytes());
        }
        let body: String = lines.iter().map(|line| format!("data: {line}\r\n\r\n")).collect();
        stream(body.as_bytes(), cut);
    }

    #[test]
    fn what_is_taken_in_can_be_written_and_is_then_the_same(extra in json(), content in json(), tools in json()) {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}],"x":{extra},"tools":{tools}}}"#);
        if let Ok(parsed) = openai::parse(body.as_bytes(), Some("p")) {
            let style = parsed.style;
            let options =
                Options { model: "m", provider: "p", style, stream: parsed.stream, include_usage: parsed.include_usage };
            let written = openai::encode(&parsed.chat, &options).unwrap();
            let again = openai::parse(&written, Some("p")).unwrap();
            prop_assert_eq!(openai::encode(&again.chat, &options).unwrap(), written);
        }
    }
}
