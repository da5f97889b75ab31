use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use signalbox_proto::common::v1::FinishReason;
use signalbox_proto::common::v1::delta::Content;

use super::*;
use crate::json::{nested, text};

type Decoded = (Vec<Delta>, Summary, Option<ProviderError>);

/// Decodes `body` cut at the given places.
fn decode(body: &[u8], cuts: &[usize], limits: Limits) -> Decoded {
    let mut stream = Stream::new(limits);
    let mut deltas = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (body.len() + 1)).collect();
    ends.push(body.len());
    ends.sort_unstable();
    let mut from = 0;
    for end in ends {
        stream.push(Bytes::copy_from_slice(&body[from..end]));
        from = end;
        loop {
            match stream.next_delta() {
                Ok(Some(delta)) => deltas.push(delta),
                Ok(None) => break,
                Err(error) => return (deltas, stream.into_summary(), Some(error)),
            }
        }
    }
    loop {
        match stream.end() {
            Ok(Some(delta)) => deltas.push(delta),
            Ok(None) => return (deltas, stream.into_summary(), None),
            Err(error) => return (deltas, stream.into_summary(), Some(error)),
        }
    }
}

fn frame(events: &[Value]) -> String {
    events.iter().map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or("x"))).collect()
}

fn read(events: &[Value]) -> Decoded {
    decode(frame(events).as_bytes(), &[], Limits::default())
}

fn begin() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [], "stop_reason": null, "usage": {"input_tokens": 5, "output_tokens": 1}}})
}

fn end(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
        "usage": {"output_tokens": 7}})
}

fn start(index: u32, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn over() -> Value {
    json!({"type": "message_stop"})
}

fn rich() -> Vec<Value> {
    vec![
        begin(),
        json!({"type": "ping"}),
        start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, &json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        start(1, &json!({"type": "redacted_thinking", "data": "opaque"})),
        stop(1),
        start(2, &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(2, &json!({"type": "input_json_delta", "partial_json": "{\"query\":"})),
        delta(2, &json!({"type": "input_json_delta", "partial_json": "\"ü\"}"})),
        stop(2),
        start(3, &json!({"type": "text", "text": "", "citations": []})),
        delta(3, &json!({"type": "text_delta", "text": "Grüße, "})),
        stop(3),
        start(4, &json!({"type": "text", "text": "", "citations": []})),
        delta(
            4,
            &json!({"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "u", "title": "t"}}),
        ),
        delta(4, &json!({"type": "text_delta", "text": "Welt"})),
        stop(4),
        start(
            5,
            &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}),
        ),
        delta(5, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, &json!({"type": "input_json_delta", "partial_json": "{\"x\": 1}"})),
        stop(5),
        start(6, &json!({"type": "tool_use", "id": "b", "name": "g", "input": {}})),
        stop(6),
        end("tool_use"),
        over(),
    ]
}

#[test]
fn every_kind_of_block_finds_its_place() {
    let (deltas, summary, error) = read(&rich());
    assert_eq!(error, None);
    let mut seen: Vec<String> = Vec::new();
    for delta in &deltas {
        let words = match delta.content.as_ref().unwrap() {
            Content::Text(said) if said.is_empty() => {
                let whole = delta.extra.as_ref();
                format!("whole {:?} {:?}", text(whole, "type"), text(nested(whole, "input"), "query"))
            }
            Content::Text(said) => format!("text {said}"),
            Content::Reasoning(thought) => format!("thought {:?} {:?}", thought.text, thought.signature),
            Content::ToolCall(call) => format!("call {:?} {:?} {}", call.id, call.name, call.arguments),
            Content::Citation(c) => format!("cites {:?} {:?} {:?}", c.url, c.start_byte, c.end_byte),
            other => format!("{other:?}"),
        };
        seen.push(format!("{} {words}", delta.index));
    }
    assert_eq!(
        seen,
        [
            "0 thought \"hm\" None",
            "0 thought \"\" Some(\"sig\")",
            "1 thought \"\" Some(\"opaque\")",
            "2 whole Some(\"server_tool_use\") Some(\"ü\")",
            "3 text Grüße, ",
            "3 text Welt",
            "3 cites Some(\"u\") Some(9) Some(13)",
            "5 call Some(\"a\") Some(\"f\") ",
            "5 call None None {\"x\": 1}",
            "6 call Some(\"b\") Some(\"g\") ",
            "6 call None None {}",
        ]
    );
    assert_eq!(text(deltas[2].extra.as_ref(), "type"), Some("redacted_thinking"));
    assert_eq!(text(nested(deltas[7].extra.as_ref(), "caller"), "type"), Some("direct"));
    assert_eq!((summary.finish_reason, summary.done), (Some(FinishReason::ToolCalls), true));
    assert_eq!(summary.usage.as_ref().map(|u| (u.input_tokens, u.output_tokens)), Some((5, 7)));
    assert_eq!((summary.response_id.as_deref(), summary.model.as_deref()), (Some("msg_1"), Some("m")));
}

#[test]
fn a_cut_stream_is_never_complete() {
    let events = rich();
    for length in 0..events.len() {
        let (_, summary, error) = read(&events[..length]);
        assert_eq!(error, None);
        assert_eq!(summary.finish_reason.is_some(), length >= events.len() - 1, "after {length} events");
        assert_eq!(summary.usage.is_some(), length >= events.len() - 1, "the first counts are no totals");
        assert!(!summary.done);
    }
}

#[test]
fn an_error_event_ends_the_stream_with_its_words() {
    let failed = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let said = [begin(), start(0, &json!({"type": "text", "text": "Hi"})), failed, end("end_turn")];
    let (deltas, summary, error) = read(&said);
    let error = error.unwrap();
    assert_eq!((error.class, &*error.message), (ErrorClass::Overloaded, "Overloaded"));
    assert_eq!((deltas.len(), summary.finish_reason), (1, None));
    let bare = b"event: error\ndata: {\"type\":\"rate_limit_error\",\"message\":\"slow down\"}\n\n";
    assert_eq!(decode(bare, &[], Limits::default()).2.unwrap().class, ErrorClass::RateLimited);
}

#[test]
fn nothing_follows_an_error_or_the_end() {
    let mut stream = Stream::new(Limits::default());
    let failed = json!({"type": "error", "error": {"type": "api_error", "message": "boom"}});
    let more = [start(0, &json!({"type": "text", "text": "late"})), end("end_turn")];
    stream.push(Bytes::from(frame(&[failed]) + &frame(&more)));
    assert!(stream.next_delta().is_err());
    assert_eq!(stream.next_delta().unwrap(), None);
    assert_eq!(stream.summary().finish_reason, None);
    let mut all = rich();
    let (deltas, summary, _) = read(&all);
    all.extend([begin(), start(0, &json!({"type": "text", "text": "again"})), end("end_turn"), over()]);
    assert_eq!(read(&all), (deltas, summary, None));
}

#[test]
fn malformed_events_are_counted_and_bounded() {
    let bad = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":5}}\n\ndata: {oops\n\ndata: {}\n\n";
    let body = format!(
        "{}{bad}{}",
        frame(&[begin(), start(0, &json!({"type": "text", "text": "Hi"}))]),
        frame(&[stop(0), end("end_turn"), over()])
    );
    let (deltas, summary, error) = decode(body.as_bytes(), &[], Limits::default());
    assert_eq!((deltas.len(), summary.malformed, error), (1, 3, None));
    assert_eq!(summary.finish_reason, Some(FinishReason::Stop));
    let limits = Limits { malformed_chunks: 2, ..Limits::default() };
    let (_, _, error) = decode(body.as_bytes(), &[], limits);
    assert_eq!(error.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn what_is_held_back_is_bounded() {
    let limits = Limits { event_bytes: 1000, ..Limits::default() };
    let line = format!("data: {}", "x".repeat(2000));
    assert_eq!(decode(line.as_bytes(), &[], limits).2.unwrap().class, ErrorClass::Protocol);
    let more = || delta(0, &json!({"type": "input_json_delta", "partial_json": "x".repeat(300)}));
    let whole = start(0, &json!({"type": "server_tool_use", "input": {}}));
    let (_, _, error) = decode(frame(&[whole, more(), more(), more()]).as_bytes(), &[], limits);
    assert!(error.unwrap().message.contains("larger than 1000 bytes"));
    let cites = || delta(0, &json!({"type": "citations_delta", "citation": {"cited_text": "x".repeat(300)}}));
    let said = start(0, &json!({"type": "text", "text": ""}));
    assert!(decode(frame(&[said, cites(), cites(), cites()]).as_bytes(), &[], limits).2.is_some());
    let open: Vec<Value> = (0..100).map(|i| start(i, &json!({"type": "text", "text": ""}))).collect();
    assert!(read(&open).2.unwrap().message.contains("too many"));
    // A text itself is handed on, not held.
    let says = |_| delta(0, &json!({"type": "text_delta", "text": "x".repeat(300)}));
    let body: Vec<Value> = (0..100).map(says).collect();
    assert_eq!(decode(frame(&body).as_bytes(), &[], limits).2, None);
}

#[test]
fn unknown_blocks_events_and_pieces_are_no_reason_to_stop() {
    let events = [
        begin(),
        json!({"type": "something_new", "index": 9}),
        start(0, &json!({"type": "compaction", "content": null, "parts": [1]})),
        delta(0, &json!({"type": "compaction_delta", "content": "sum", "parts": [2]})),
        delta(0, &json!({"type": "compaction_delta", "content": "mary"})),
        stop(0),
        delta(1, &json!({"type": "text_delta", "text": "no start"})),
        delta(1, &json!({"type": "sparkle_delta", "sparkle": true})),
        stop(1),
        json!({"type": "message_delta", "delta": {"stop_reason": "pause_turn", "container": {"id": "c"}},
            "usage": {"output_tokens": 1, "server_tool_use": {"web_search_requests": 2}}, "context_management": {"applied_edits": []}}),
    ];
    let (deltas, summary, error) = read(&events);
    assert_eq!((error, summary.malformed), (None, 0));
    let whole = deltas[0].extra.as_ref().unwrap();
    assert_eq!(text(Some(whole), "content"), Some("summary"));
    assert_eq!(deltas[1].content, Some(Content::Text("no start".into())));
    assert_eq!(summary.finish_reason, Some(FinishReason::Unspecified));
    assert_eq!(summary.provider_finish_reason.as_deref(), Some("pause_turn"));
    let extra = summary.extra.unwrap();
    assert!(["container", "usage", "context_management"].iter().all(|key| extra.fields.contains_key(*key)));
}

#[test]
fn a_refusal_says_why() {
    let refused = json!({"type": "message_delta", "usage": {"output_tokens": 1},
        "delta": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "not this"}}});
    let (deltas, summary, _) = read(&[begin(), refused, over()]);
    assert_eq!(deltas[0].content, Some(Content::Refusal("not this".into())));
    assert_eq!(summary.finish_reason, Some(FinishReason::Refusal));
}

#[test]
fn two_reasons_or_two_messages_are_an_error() {
    assert!(read(&[begin(), end("end_turn"), end("end_turn")]).2.is_none());
    assert!(
        read(&[begin(), end("end_turn"), end("max_tokens")]).2.unwrap().message.contains("two stop reasons")
    );
    assert!(read(&[begin(), begin(), end("end_turn")]).2.is_none());
    let mut other = begin();
    other["message"]["id"] = "msg_2".into();
    assert_eq!(read(&[begin(), other]).2.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn a_whole_answer_needs_its_end() {
    let message = |reason: Value| {
        json!({"id": "i", "type": "message", "model": "m", "content": [{"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1, null]}}],
            "stop_reason": reason, "stop_sequence": "END", "usage": {"input_tokens": 1, "output_tokens": 2}})
        .to_string()
    };
    let answer = whole(message(json!("stop_sequence")).as_bytes()).unwrap();
    assert_eq!(answer.summary.finish_reason, Some(FinishReason::Stop));
    assert_eq!(text(answer.summary.extra.as_ref(), "stop_sequence"), Some("END"));
    let Some(Content::ToolCall(last)) = answer.deltas.last().and_then(|d| d.content.clone()) else {
        unreachable!()
    };
    assert_eq!(last.arguments, r#"{"x":[1,null]}"#);
    assert_eq!(whole(message(json!(null)).as_bytes()).unwrap_err().class, ErrorClass::Protocol);
    for (body, class) in [
        ("", ErrorClass::Protocol),
        ("<html>busy</html>", ErrorClass::Protocol),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, ErrorClass::Overloaded),
        (r#"{"object":"chat.completion","choices":[]}"#, ErrorClass::Protocol),
    ] {
        assert_eq!(whole(body.as_bytes()).unwrap_err().class, class, "{body}");
    }
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_deltas(
        cuts in prop::collection::vec(any::<usize>(), 0..60),
        noise in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize), 0..4),
        limit in 40usize..400,
    ) {
        const NOISE: [&str; 4] = [": keep-alive\n\n", "event: ping\ndata: {\"type\": \"ping\"}\n\n", "data: {broken\n\n", "\u{feff}"];
        let mut pieces: Vec<String> = rich().iter().map(|event| frame(std::slice::from_ref(event))).collect();
        for (at, which) in noise {
            pieces.insert(at.index(pieces.len()), NOISE[which].to_owned());
        }
        let body = pieces.concat().replace('\n', if limit % 2 == 0 { "\n" } else { "\r\n" });
        for limits in [Limits::default(), Limits { event_bytes: limit, malformed_chunks: 1 }] {
            prop_assert_eq!(decode(body.as_bytes(), &[], limits), decode(body.as_bytes(), &cuts, limits));
        }
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
        let mut framed = b"data: ".to_vec();
        framed.extend(body);
        prop_assert_eq!(decode(&framed, &[], Limits::default()), decode(&framed, &cuts, Limits::default()));
        let _ = whole(&framed[6..]);
    }
}
