use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn framed(events: &[Value]) -> String {
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| format!("event: {}\r\ndata: {event}\r\n\r\n", name(event))).collect()
}

fn answer() -> Vec<Value> {
    let content =
        |block: Value| json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": block}}});
    let call = |kind: &str, index: u32, call: Value| json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}});
    let begun = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
    let cited = json!({"start": 0, "end": 2, "text": "hé", "sources": [{"type": "document", "document": {"title": "t"}}]});
    vec![
        json!({"id": "r", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": ""}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will"}}}),
        content(json!({"thinking": "hm"})),
        content(json!({"text": "héllo"})),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": cited}}}),
        call("tool-call-start", 0, begun("a")),
        call("tool-call-delta", 0, json!({"function": {"arguments": "{}"}})),
        call("tool-call-start", 1, begun("b")),
        json!({"type": "something-new", "index": 0}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {
            "billed_units": {"input_tokens": 2, "output_tokens": 1}, "cached_tokens": 3,
            "tokens": {"input_tokens": 9, "output_tokens": 4}}}}),
    ]
}

fn read(body: &[u8], cuts: &[usize]) -> (Vec<Delta>, Summary, Option<ProviderError>) {
    let mut stream = Stream::new(Limits { event_bytes: 4096, malformed_chunks: 2 });
    let mut deltas = Vec::new();
    let mut rest = body;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, tail) = rest.split_at(cut.min(rest.len()));
        rest = tail;
        stream.push(Bytes::copy_from_slice(piece));
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

#[test]
fn an_answer_of_all_kinds_is_read() {
    let (deltas, summary, error) = read(framed(&answer()).as_bytes(), &[]);
    assert_eq!((deltas.len(), error), (7, None));
    assert_eq!(deltas.iter().map(|d| d.index).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 2]);
    assert_eq!(json::text(deltas[0].extra.as_ref(), "type"), Some("tool_plan"));
    assert!(matches!(&deltas[3].content, Some(Out::Citation(c)) if c.title.as_deref() == Some("t")));
    assert_eq!((summary.finish_reason, summary.done), (Some(FinishReason::ToolCalls), true));
    let usage = summary.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_input_tokens), (9, 4, 3));
    let billed = json::nested(json::nested(summary.extra.as_ref(), "usage"), "billed_units");
    assert!(billed.unwrap().fields.contains_key("input_tokens"));
    let usage = summary.usage.unwrap();
    assert_eq!(usage.input_tokens - usage.unbilled_input_tokens, 2, "what is billed");
    assert_eq!(usage.output_tokens - usage.unbilled_output_tokens, 1);
}

#[test]
fn a_cut_stream_is_not_complete() {
    let (deltas, summary, error) = read(framed(&answer()[..4]).as_bytes(), &[]);
    assert_eq!((deltas.len(), summary.finish_reason, summary.done, error), (3, None, false, None));
}

#[test]
fn an_answer_that_broke_off_is_an_error_with_its_words() {
    let end = json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "out of luck"}});
    let error = read(framed(&[end]).as_bytes(), &[]).2.unwrap();
    assert!(error.class == ErrorClass::Overloaded && error.message.contains("out of luck"));
    let error = read(b"data: {\"message\":\"rate limited\",\"id\":\"x\"}\n\n", &[]).2.unwrap();
    assert!(error.message.contains("rate limited"));
}

#[test]
fn broken_events_are_counted_and_bounded() {
    let broken = "data: {broken\n\n";
    let (_, summary, error) = read(broken.repeat(2).as_bytes(), &[]);
    assert_eq!((summary.malformed, error), (2, None));
    assert!(read(broken.repeat(3).as_bytes(), &[]).2.is_some());
    assert!(read(format!("data: {}", "x".repeat(10_000)).as_bytes(), &[]).2.is_some());
}

#[test]
fn citations_point_at_bytes() {
    let citation = json!({"start": 1, "end": 3, "text": "él", "sources": []});
    let body = json!({"id": "i", "finish_reason": "COMPLETE", "message": {
        "role": "assistant", "content": [{"type": "text", "text": "hélas"}], "citations": [citation]}});
    let answer = whole(body.to_string().as_bytes()).unwrap();
    let Some(Out::Citation(cited)) = &answer.deltas[1].content else { unreachable!() };
    assert_eq!((cited.start_byte, cited.end_byte), (Some(1), Some(4)));
    assert!(whole(br#"{"message":"no such thing","id":"x"}"#).unwrap_err().message.contains("no such thing"));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_deltas(cuts in prop::collection::vec(0usize..40, 0..80)) {
        let body = framed(&answer());
        prop_assert_eq!(read(body.as_bytes(), &cuts), read(body.as_bytes(), &[]));
    }

    #[test]
    fn any_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        let _ = read(&body, &[cut]);
        let _ = whole(&body);
        let _ = super::super::parse(&body, None);
        let _ = super::super::embeddings::decode(&body, 1);
    }
}
