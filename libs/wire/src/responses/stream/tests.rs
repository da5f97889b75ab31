use crate::ErrorClass;
use bytes::Bytes;
use proptest::prelude::*;
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{FinishReason, ToolCallDelta};

use super::*;

/// Reads a body cut at the given places, and returns deltas, summary and the error that ended the stream.
fn cut(body: &[u8], cuts: &[usize], limits: Limits) -> (Vec<Delta>, Summary, Option<ProviderError>) {
    let mut places: Vec<usize> = cuts.iter().map(|c| c % (body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    let mut stream = Stream::new(limits);
    let mut deltas = Vec::new();
    for pair in places.windows(2) {
        stream.push(Bytes::copy_from_slice(&body[pair[0]..pair[1]]));
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

fn read(events: &[&str]) -> (Vec<Delta>, Summary, Option<ProviderError>) {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    cut(body.as_bytes(), &[], Limits { event_bytes: 4096, malformed_chunks: 2 })
}

fn texts(deltas: &[Delta]) -> String {
    let text = |d: &Delta| match &d.content {
        Some(Out::Text(text)) => text.clone(),
        _ => String::new(),
    };
    deltas.iter().map(text).collect()
}

const HEAD: &str =
    r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress","output":[]}}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"id":"r","model":"m","status":"completed","output":[],"service_tier":"default","usage":{"input_tokens":3,"input_tokens_details":null,"output_tokens":2.0,"output_tokens_details":{"reasoning_tokens":1}}}}"#;

#[test]
fn text_is_given_once_whether_it_comes_in_pieces_or_at_the_end() {
    let piece = r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hé"}"#;
    let whole = r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"Hé!"}"#;
    let part = r#"{"type":"response.content_part.done","output_index":1,"content_index":0,"part":{"type":"output_text","text":"Hé!","annotations":[]}}"#;
    let item = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"Hé!"}]}}"#;
    for events in [
        &[HEAD, piece, whole, part, item, DONE][..],
        &[HEAD, item, DONE],
        &[piece, item, item, DONE],
        &[part, DONE],
    ] {
        let (deltas, summary, error) = read(events);
        assert_eq!((texts(&deltas).as_str(), error), ("Hé!", None), "{events:?}");
        assert!(deltas.iter().all(|d| d.index == 1));
        assert_eq!((summary.finish_reason, summary.done), (Some(FinishReason::Stop), true));
        assert_eq!(summary.extra.unwrap().fields.keys().collect::<Vec<_>>(), ["service_tier"]);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.reasoning_tokens), (3, 2, 1));
    }
}

#[test]
fn a_whole_that_is_another_text_adds_nothing() {
    let piece = r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hello."}"#;
    let whole = r#"{"type":"response.output_text.done","output_index":0,"text":"Hello, you there"}"#;
    assert_eq!(texts(&read(&[piece, whole, DONE]).0), "Hello.");
}

#[test]
fn only_the_last_event_says_what_was_given_nowhere_else() {
    let last = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"output_text","text":"cut of"}]}]}}"#;
    let (deltas, summary, _) = read(&[HEAD, last]);
    assert_eq!((texts(&deltas).as_str(), summary.finish_reason), ("cut of", Some(FinishReason::Length)));
    assert_eq!(summary.provider_finish_reason.as_deref(), Some("max_output_tokens"));
    let filtered = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}}"#;
    assert_eq!(read(&[filtered]).1.finish_reason, Some(FinishReason::ContentFilter));
    let new = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":null,"output":[]}}"#;
    assert_eq!(read(&[new]).1.finish_reason, Some(FinishReason::Unspecified));
}

#[test]
fn parallel_calls_stay_apart() {
    let (deltas, summary, _) = read(&[
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"a","name":"f","arguments":"","status":"in_progress"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"b","name":"g","input":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"x\""}"#,
        r#"{"type":"response.custom_tool_call_input.delta","output_index":1,"delta":"SELECT"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":":1"}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"x\":1}"}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"custom_tool_call","call_id":"b","name":"g","input":"SELECT 1"}}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"a","name":"f","arguments":"{\"x\":1}"}}"#,
        DONE,
    ]);
    let of = |index| -> Vec<ToolCallDelta> {
        let mine = deltas.iter().filter(|d| d.index == index);
        mine.filter_map(
            |d| if let Some(Out::ToolCall(call)) = &d.content { Some(call.clone()) } else { None },
        )
        .collect()
    };
    for (index, id, name, arguments) in [(0, "a", "f", "{\"x\":1}"), (1, "b", "g", "SELECT 1")] {
        let calls = of(index);
        assert_eq!((calls[0].id.as_deref(), calls[0].name.as_deref()), (Some(id), Some(name)));
        assert!(calls[1..].iter().all(|call| call.id.is_none() && call.name.is_none()));
        assert_eq!(calls.iter().map(|call| call.arguments.as_str()).collect::<String>(), arguments);
    }
    assert_eq!(crate::json::text(deltas[0].extra.as_ref(), "id"), Some("fc_1"));
    assert_eq!(summary.finish_reason, Some(FinishReason::ToolCalls));
}

#[test]
fn reasoning_comes_in_paragraphs_and_with_what_hands_it_back() {
    let (deltas, ..) = read(&[
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"a"}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"b"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"gAAA"}}"#,
        DONE,
    ]);
    let thoughts: Vec<_> = deltas
        .iter()
        .filter_map(|d| if let Some(Out::Reasoning(thought)) = &d.content { Some(thought) } else { None })
        .collect();
    assert_eq!(thoughts.iter().map(|t| t.text.as_str()).collect::<String>(), "a\n\nb");
    assert_eq!(thoughts[2].signature.as_deref(), Some("gAAA"));
    assert_eq!(crate::json::text(deltas[2].extra.as_ref(), "id"), Some("rs_1"));
}

#[test]
fn a_refusal_is_one_and_a_waiting_item_is_a_call() {
    let refusal = r#"{"type":"response.refusal.delta","output_index":0,"content_index":0,"delta":"No."}"#;
    let (deltas, summary, _) = read(&[refusal, DONE]);
    assert_eq!(deltas[0].content, Some(Out::Refusal("No.".into())));
    assert_eq!(summary.finish_reason, Some(FinishReason::Refusal));
    let shell = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"local_shell_call","call_id":"c","action":{"command":["ls"]}}}"#;
    let (deltas, summary, _) = read(&[shell, DONE]);
    assert_eq!(crate::json::text(deltas[0].extra.as_ref(), "call_id"), Some("c"));
    assert_eq!(summary.finish_reason, Some(FinishReason::ToolCalls));
}

#[test]
fn unknown_items_are_kept_and_unknown_events_are_none() {
    let odd = r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"oracle_call","id":"x","deep":{"a":[1]}}}"#;
    let (deltas, summary, error) = read(&[r#"{"type":"response.oracle.delta","delta":{"a":1}}"#, odd, DONE]);
    assert_eq!((summary.malformed, error, summary.finish_reason), (0, None, Some(FinishReason::Stop)));
    assert_eq!(crate::json::text(deltas[0].extra.as_ref(), "type"), Some("oracle_call"));
}

#[test]
fn an_end_may_leave_its_status_to_its_name() {
    let end = r#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":1}}}"#;
    assert_eq!(read(&[end]).1.finish_reason, Some(FinishReason::Stop));
    let end =
        r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}"#;
    assert_eq!(read(&[end]).1.finish_reason, Some(FinishReason::Length));
    assert_eq!(
        read(&[r#"{"type":"response.failed","response":{}}"#]).2.unwrap().class,
        ErrorClass::Overloaded
    );
}

#[test]
fn a_stream_that_is_cut_is_not_complete() {
    let piece = r#"{"type":"response.output_text.delta","output_index":0,"delta":"a"}"#;
    let item = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","status":"completed","content":[]}}"#;
    for events in [&[HEAD, piece][..], &[HEAD, piece, item], &[HEAD, piece, "[DONE]"]] {
        let (_, summary, error) = read(events);
        assert_eq!((summary.finish_reason, error), (None, None));
    }
}

#[test]
fn errors_inside_a_stream_keep_the_providers_words() {
    for (event, class, words) in [
        (
            r#"{"type":"error","code":"server_error","message":"boom","param":null}"#,
            ErrorClass::Overloaded,
            "boom",
        ),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"x","message":"no"}}"#,
            ErrorClass::Rejected,
            "no",
        ),
        (r#"{"error":{"message":"slow","code":429}}"#, ErrorClass::RateLimited, "slow"),
        (
            r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"wait"}}}"#,
            ErrorClass::RateLimited,
            "wait",
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":null}}"#,
            ErrorClass::Overloaded,
            "the provider ended the answer with the status `failed`",
        ),
        (
            r#"{"type":"response.completed","response":{"status":"queued"}}"#,
            ErrorClass::Protocol,
            "the provider ended the answer with the status `queued`",
        ),
    ] {
        let (_, summary, error) = read(&[HEAD, event, DONE]);
        let error = error.unwrap();
        assert_eq!((error.class, error.message.as_str()), (class, words));
        assert_eq!(summary.finish_reason, None);
    }
    let other = r#"{"type":"response.incomplete","response":{"status":"incomplete","output":[]}}"#;
    assert_eq!(read(&[DONE, DONE]).2, None);
    assert_eq!(read(&[DONE, other]).2.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn unreadable_events_are_skipped_counted_and_bounded() {
    let good = r#"{"type":"response.output_text.delta","output_index":0,"delta":"a"}"#;
    let odd = r#"{"type":"response.output_text.delta","output_index":0,"delta":{"a":1}}"#;
    let (deltas, summary, error) = read(&[good, "{\"type", odd, good]);
    assert_eq!((texts(&deltas).as_str(), summary.malformed, error), ("aa", 2, None));
    assert_eq!(read(&["{", "[]", "nonsense"]).2.unwrap().class, ErrorClass::Protocol);
    let huge = format!(r#"{{"type":"response.output_text.delta","delta":"{}"}}"#, "x".repeat(5000));
    assert_eq!(read(&[&huge]).2.unwrap().class, ErrorClass::Protocol);
    let many: Vec<String> = (0..5000)
        .map(|i| format!(r#"{{"type":"response.output_text.delta","output_index":{i},"delta":"a"}}"#))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(read(&many).2.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn citations_count_in_bytes_of_the_whole_answer() {
    let first = r#"{"type":"response.output_text.delta","output_index":0,"delta":"é. "}"#;
    let piece = r#"{"type":"response.output_text.delta","output_index":1,"delta":"né là"}"#;
    let note = r#"{"type":"response.output_text.annotation.added","output_index":1,"content_index":0,"annotation":{"type":"url_citation","url":"u","title":"t","start_index":3,"end_index":5}}"#;
    let item = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"né là"}]}}"#;
    let repeated = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"né là","annotations":[{"type":"url_citation","url":"u","title":"t","start_index":3,"end_index":5}]}]}}"#;
    for (item, bytes) in [(Some(item), Some((8, 11))), (Some(repeated), Some((8, 11))), (None, None)] {
        let events: Vec<&str> = [first, piece, note].into_iter().chain(item).chain([DONE]).collect();
        let (deltas, ..) = read(&events);
        let found: Vec<_> = deltas
            .iter()
            .filter_map(
                |d| if let Some(Out::Citation(citation)) = &d.content { Some(citation) } else { None },
            )
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].url.as_deref(), found[0].title.as_deref()), (Some("u"), Some("t")));
        assert_eq!(found[0].start_byte.zip(found[0].end_byte), bytes);
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    for (body, class) in [
        ("", ErrorClass::Protocol),
        ("<html>Login</html>", ErrorClass::Protocol),
        (r#"{"error":{"message":"x","code":429}}"#, ErrorClass::RateLimited),
        (r#"{"output":[]}"#, ErrorClass::Protocol),
        (r#"{"status":"queued","output":[]}"#, ErrorClass::Protocol),
        (r#"{"status":"cancelled","output":[]}"#, ErrorClass::Overloaded),
        (
            r#"{"status":"failed","output":[],"error":{"code":"server_error","message":"x"}}"#,
            ErrorClass::Overloaded,
        ),
    ] {
        assert_eq!(whole(body.as_bytes()).unwrap_err().class, class, "{body}");
    }
    let media = r#"{"status":"completed","output":[{"type":"image_generation_call","result":"AAAA","output_format":"webp"}]}"#;
    let answer = whole(media.as_bytes()).unwrap();
    let Some(Out::Media(image)) = &answer.deltas[0].content else { unreachable!() };
    assert_eq!(image.media_type, "image/webp");
}

fn event() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.done",
        "response.output_text.annotation.added",
        "response.completed",
        "response.incomplete",
        "error",
        "odd",
    ]);
    let item = prop::sample::select(vec![
        r#"{"type":"message","phase":"p","content":[{"type":"output_text","text":"añ","annotations":[{"start_index":0,"end_index":1}]}]}"#,
        r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#,
        r#"{"type":"reasoning","id":"r","summary":[{"text":"s"}],"encrypted_content":"e"}"#,
        r#"{"type":"x_call","a":null}"#,
        r#"{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"n"}]}]}"#,
        "null",
        "7",
    ]);
    (name, 0u8..3, item, "[a-zé\n\"]{0,6}").prop_map(|(name, at, item, text)| {
        let text = serde_json::to_string(&text).unwrap_or_default();
        format!(
            r#"{{"type":"{name}","output_index":{at},"item":{item},"part":{item},"annotation":{item},"response":{item},"delta":{text},"text":{text}}}"#
        )
    })
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_deltas(
        events in prop::collection::vec((event(), prop::sample::select(vec!["\n\n", "\r\n\r\n", "\r\r", "\n:\n\n"])), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let body: String = events.iter().map(|(event, end)| format!("data: {event}{end}")).collect();
        let limits = Limits { event_bytes: 2048, malformed_chunks: 3 };
        let want = cut(body.as_bytes(), &[], limits);
        prop_assert_eq!(cut(body.as_bytes(), &cuts, limits), want);
    }

    #[test]
    fn any_bytes_are_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(any::<usize>(), 0..3)) {
        let _ = cut(&body, &cuts, Limits { event_bytes: 256, malformed_chunks: 1 });
        let _ = whole(&body);
        let _ = crate::responses::parse(&body, None);
    }
}

#[test]
fn parts_that_events_count_from_another_beginning_are_given_once() {
    let (deltas, summary, error) = read(&[
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message","content":[]}}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":1,"delta":"one"}"#,
        r#"{"type":"response.content_part.done","output_index":1,"content_index":1,"part":{"type":"output_text","text":"one"}}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"one"}]}}"#,
        r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#,
    ]);
    assert_eq!((deltas.len(), error), (1, None));
    assert_eq!(summary.finish_reason, Some(FinishReason::Stop));
}
