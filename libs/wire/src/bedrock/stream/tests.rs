use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn framed(kind: &str, name: &str, payload: &str) -> Vec<u8> {
    let of = if kind == "exception" { ":exception-type" } else { ":event-type" };
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(payload.to_owned().into_bytes())
        .add_header(Header::new(":message-type", text(kind)))
        .add_header(Header::new(of, text(name)));
    let mut out = Vec::new();
    write_message_to(&message, &mut out).unwrap();
    out
}

fn event(name: &str, payload: &Value) -> Vec<u8> {
    framed("event", name, &payload.to_string())
}

fn answer() -> Vec<u8> {
    let delta = |i: u32, delta: Value| {
        event("contentBlockDelta", &json!({"contentBlockIndex": i, "delta": delta, "p": "abc"}))
    };
    let start = json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "n"}}});
    [
        event("messageStart", &json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        event("contentBlockStart", &start),
        delta(1, json!({"toolUse": {"input": "{\"a\":"}})),
        delta(1, json!({"toolUse": {"input": "1}"}})),
        delta(2, json!({"text": "héllo"})),
        delta(2, json!({"newThing": {"x": 1}})),
        event("messageStop", &json!({"stopReason": "tool_use"})),
        event(
            "metadata",
            &json!({"usage": {"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokens": 3}}),
        ),
    ]
    .concat()
}

fn read(body: &[u8], cuts: &[usize]) -> (Vec<Delta>, Summary, Option<ProviderError>) {
    let mut stream = Stream::new(Limits { event_bytes: 4096, malformed_chunks: 2 });
    let mut deltas = Vec::new();
    let mut rest = body;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, tail) = rest.split_at(cut.min(rest.len()));
        rest = tail;
        stream.push(&Bytes::copy_from_slice(piece));
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
    let (deltas, summary, error) = read(&answer(), &[]);
    assert_eq!((deltas.len(), error), (7, None));
    assert_eq!(summary.finish_reason, Some(FinishReason::ToolCalls));
    let usage = summary.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (8, 3, 2));
    assert!(summary.done && deltas[6].extra.as_ref().unwrap().fields.contains_key("newThing"));
}

#[test]
fn a_cut_stream_is_not_complete() {
    let body = answer();
    let (deltas, summary, error) = read(&body[..body.len() / 2], &[]);
    assert!(!deltas.is_empty() && summary.finish_reason.is_none() && !summary.done);
    assert_eq!(error, None);
}

#[test]
fn exceptions_end_the_stream() {
    let mut body = event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": "a"}}));
    body.extend(framed("exception", "throttlingException", r#"{"message":"Too many tokens"}"#));
    let (deltas, summary, error) = read(&body, &[]);
    let error = error.unwrap();
    assert_eq!((deltas.len(), summary.finish_reason), (1, None));
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::RateLimited, "Too many tokens"));
    assert_eq!(error.kind.as_deref(), Some("throttlingException"));
}

#[test]
fn broken_frames_are_counted_and_have_a_bound() {
    let good = event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": "a"}}));
    let mut bad = good.clone();
    let middle = bad.len() - 8;
    bad[middle] ^= 1;
    let (deltas, summary, error) = read(&[&bad[..], &good, &framed("event", "x", "no json")].concat(), &[]);
    assert_eq!((deltas.len(), summary.malformed, error), (1, 2, None));
    let (_, _, error) = read(&[&bad[..], &bad, &bad].concat(), &[]);
    assert_eq!(error.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn a_huge_frame_is_refused_before_it_is_kept() {
    let mut head = 1_000_000u32.to_be_bytes().to_vec();
    head.extend([0; 64]);
    assert!(read(&head, &[]).2.unwrap().message.contains("1000000"));
}

#[test]
fn a_page_instead_of_frames_is_kept_to_explain() {
    let mut stream = Stream::new(Limits::default());
    for _ in 0..100 {
        stream.push(&Bytes::from_static(b"<html>gateway on fire</html>"));
        assert_eq!(stream.next_delta().unwrap(), None);
    }
    assert!(stream.stray().starts_with(b"<html>") && stream.stray().len() < 5000);
    assert!(stream.summary().finish_reason.is_none());
}

#[test]
fn a_tool_that_the_provider_runs_is_no_call() {
    let tool = json!({"name": "code", "toolUseId": "t", "type": "server_tool_use"});
    let body = [
        event("contentBlockStart", &json!({"contentBlockIndex": 0, "start": {"toolUse": tool}})),
        event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}})),
    ]
    .concat();
    let (deltas, ..) = read(&body, &[]);
    assert_eq!(deltas.len(), 2);
    assert!(deltas.iter().all(|d| matches!(d.content, Some(Out::Text(_))) && d.extra.is_some()));
}

#[test]
fn two_stop_reasons_are_an_error() {
    let stop = |word: &str| event("messageStop", &json!({"stopReason": word}));
    assert!(read(&[stop("end_turn"), stop("max_tokens")].concat(), &[]).2.is_some());
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_deltas(cuts in prop::collection::vec(0usize..40, 0..60)) {
        let body = answer();
        prop_assert_eq!(read(&body, &cuts), read(&body, &[]));
    }

    #[test]
    fn any_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        let _ = read(&body, &[cut]);
        let _ = whole(&body);
        let _ = super::super::parse(&body, "m", None);
        let _ = super::super::embeddings::decode(&body, 1);
    }
}

#[test]
fn what_comes_instead_of_frames_is_told_however_it_is_cut() {
    for size in [1, 3, 100] {
        let mut stream = Stream::new(Limits::default());
        for piece in b"\r\n   <html>busy</html>".chunks(size) {
            stream.push(&Bytes::copy_from_slice(piece));
            assert_eq!(stream.next_delta().unwrap(), None);
        }
        assert_eq!(stream.stray(), b"<html>busy</html>");
    }
}

#[test]
fn nothing_follows_an_error() {
    let body = [framed("exception", "throttlingException", "{}"), answer()].concat();
    let mut stream = Stream::new(Limits::default());
    stream.push(&body.into());
    assert!(stream.next_delta().is_err());
    assert_eq!((stream.next_delta().unwrap(), stream.end().unwrap()), (None, None));
}
