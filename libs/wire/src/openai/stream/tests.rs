use bytes::Bytes;
use proptest::prelude::*;
use signalbox_proto::common::v1::media;

use super::*;

/// Reads events, one per text, and returns deltas, summary and the error that ended the stream.
fn read(events: &[&str]) -> (Vec<Delta>, Summary, Option<ProviderError>) {
    let mut stream = Stream::new(Limits { event_bytes: 4096, malformed_chunks: 2 });
    let mut deltas = Vec::new();
    for event in events {
        stream.push(Bytes::from(format!("{event}\n\n")));
        loop {
            match stream.next_delta() {
                Ok(Some(delta)) => deltas.push(delta),
                Ok(None) => break,
                Err(error) => return (deltas, stream.into_summary(), Some(error)),
            }
        }
    }
    (deltas, stream.into_summary(), None)
}

fn texts(deltas: &[Delta]) -> String {
    let text = |d: &Delta| match &d.content {
        Some(Out::Text(text)) => text.clone(),
        _ => String::new(),
    };
    deltas.iter().map(text).collect()
}

fn calls(deltas: &[Delta]) -> Vec<(u32, ToolCallDelta)> {
    let call = |d: &Delta| match &d.content {
        Some(Out::ToolCall(call)) => Some((d.index, call.clone())),
        _ => None,
    };
    deltas.iter().filter_map(call).collect()
}

#[test]
fn a_stream_of_llama_cpp_reads() {
    let (deltas, summary, error) = read(&[
        r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"id":"c-1","model":"m","object":"chat.completion.chunk"}"#,
        r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hé"}}],"id":"c-1"}"#,
        r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"\u00e9\n"}}],"id":"c-1"}"#,
        r#"data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"id":"c-1"}"#,
        r#"data: {"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":31,"total_tokens":33},"timings":{"prompt_n":31}}"#,
        "data: [DONE]",
    ]);
    assert_eq!((texts(&deltas).as_str(), deltas.len(), error), ("Héé\n", 2, None));
    assert_eq!((summary.finish_reason, summary.done), (Some(FinishReason::Stop), true));
    assert_eq!(summary.usage.unwrap().input_tokens, 31);
    assert!(summary.extra.unwrap().fields.contains_key("timings"));
}

#[test]
fn parallel_calls_stay_apart_however_they_are_numbered() {
    let by_index = [
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}"#,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]}}]}"#,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"","function":{"arguments":"1"}},{"index":1,"function":{"arguments":"}"}}]}}]}"#,
    ];
    let all_zero = [
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}}]}}]}"#,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#,
    ];
    let unnumbered = [
        r#"data: {"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"1"}},{"id":"b","function":{"name":"g","arguments":"{"}}]}}]}"#,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"}"}}]}}]}"#,
    ];
    for events in [&by_index[..], &all_zero, &unnumbered] {
        let (deltas, ..) = read(events);
        let calls = calls(&deltas);
        for (index, id, name, arguments) in [(1, "a", "f", "1"), (2, "b", "g", "{}")] {
            let mine: Vec<_> = calls.iter().filter(|(i, _)| *i == index).map(|(_, c)| c).collect();
            assert_eq!(mine[0].id.as_deref(), Some(id), "{events:?}");
            assert_eq!(mine[0].name.as_deref(), Some(name), "{events:?}");
            assert!(mine[1..].iter().all(|c| c.id.is_none() && c.name.is_none()), "{events:?}");
            assert_eq!(
                mine.iter().map(|c| c.arguments.as_str()).collect::<String>(),
                arguments,
                "{events:?}"
            );
        }
    }
}

#[test]
fn an_end_without_a_reason_is_no_end() {
    let (_, summary, error) = read(&[r#"data: {"choices":[{"delta":{"content":"a"}}]}"#, "data: [DONE]"]);
    assert_eq!((summary.finish_reason, summary.done, error), (None, true, None));
}

#[test]
fn two_different_reasons_and_a_broken_off_answer_are_errors() {
    let stop = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let length = r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#;
    assert_eq!(read(&[stop, stop]).2, None);
    assert_eq!(read(&[stop, length]).2.unwrap().class, ErrorClass::Protocol);
    let broken = r#"data: {"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#;
    let (_, summary, error) = read(&[broken]);
    assert_eq!((summary.finish_reason, error.unwrap().class), (None, ErrorClass::Overloaded));
}

#[test]
fn errors_inside_a_stream_keep_the_providers_words() {
    let inside = r#"data: {"id":"x","error":{"code":429,"message":"upstream busy"},"choices":[]}"#;
    let named = "event: error\ndata: {\"message\":\"boom\",\"type\":\"server_error\"}";
    let odd = r#"data: {"error":"nope"}"#;
    for (event, class, words) in [
        (inside, ErrorClass::RateLimited, "upstream busy"),
        (named, ErrorClass::Overloaded, "boom"),
        (odd, ErrorClass::Protocol, "nope"),
    ] {
        let error = read(&[event]).2.unwrap();
        assert_eq!((error.class, error.message.as_str()), (class, words));
    }
}

#[test]
fn unreadable_chunks_are_skipped_counted_and_bounded() {
    let good = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
    let (deltas, summary, error) = read(&[good, "data: {\"choi", good]);
    assert_eq!((texts(&deltas).as_str(), summary.malformed, error), ("aa", 1, None));
    assert_eq!(read(&["data: {", "data: [", "data: nonsense"]).2.unwrap().class, ErrorClass::Protocol);
}

#[test]
fn a_refusal_with_a_stop_is_a_refusal() {
    let (deltas, summary, _) =
        read(&[r#"data: {"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}"#]);
    assert_eq!(deltas[0].content, Some(Out::Refusal("No.".into())));
    assert_eq!(summary.finish_reason, Some(FinishReason::Refusal));
    assert_eq!(summary.provider_finish_reason.as_deref(), Some("stop"));
}

#[test]
fn unknown_fields_are_kept_and_noise_is_not() {
    let (deltas, ..) = read(&[
        r#"data: {"created":1,"obfuscation":"xx","choices":[{"index":0,"delta":{"content":"a","channel":"final","none":null},"content_filter_results":{"hate":{}}}]}"#,
    ]);
    let extra = deltas[0].extra.clone().unwrap();
    assert_eq!(extra.fields.keys().collect::<Vec<_>>(), ["channel", "content_filter_results"]);
}

#[test]
fn citations_count_in_bytes_where_the_text_is_known() {
    let body = r#"{"choices":[{"message":{"content":"né là","annotations":[{"type":"url_citation","url_citation":{"url":"u","start_index":3,"end_index":5}}]},"finish_reason":"stop"}]}"#;
    let answer = whole(body.as_bytes()).unwrap();
    let Some(Out::Citation(citation)) = &answer.deltas[1].content else { unreachable!() };
    assert_eq!((citation.start_byte, citation.end_byte), (Some(4), Some(7)));
}

#[test]
fn a_whole_answer_must_be_one() {
    for body in [
        "",
        "{}",
        "<html>",
        r#"{"choices":[]}"#,
        r#"{"choices":[{"message":{"content":"a"},"finish_reason":null}]}"#,
    ] {
        assert_eq!(whole(body.as_bytes()).unwrap_err().class, ErrorClass::Protocol, "{body}");
    }
}

#[test]
fn generated_images_come_with_their_bytes() {
    let body = r#"{"choices":[{"message":{"content":null,"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAEC"}}]},"finish_reason":"stop"}]}"#;
    let answer = whole(body.as_bytes()).unwrap();
    let Some(Out::Media(media)) = &answer.deltas[0].content else { unreachable!() };
    assert_eq!(media.media_type, "image/png");
    assert_eq!(media.content, Some(media::Content::Data(Bytes::from_static(&[0, 1, 2]))));
}

#[test]
fn a_stream_that_repeats_all_so_far_is_read_once() {
    let chunk = |all: &str, piece: &str, end: &str| {
        format!(
            r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{piece}"}},"message":{{"content":"{all}"}},"finish_reason":{end}}}]}}"#
        )
    };
    let body = format!("{}\n\n{}\n\n", chunk("a", "a", "null"), chunk("ab", "b", "\"stop\""));
    let mut stream = Stream::new(Limits::default());
    stream.push(body.into());
    let mut text = String::new();
    while let Some(delta) = stream.next_delta().unwrap() {
        if let Some(Out::Text(more)) = delta.content {
            text.push_str(&more);
        }
    }
    assert_eq!(text, "ab");
    let answer =
        whole(br#"{"choices":[{"message":{"content":"ab"},"delta":{"content":""},"finish_reason":"stop"}]}"#);
    assert_eq!(answer.unwrap().deltas.len(), 1);
}

/// A chunk around words that are JSON already.
fn chunk(frame: usize, words: &str) -> String {
    let (before, after) = [
        (r#"{"id":"c","choices":[{"index":0,"delta":{"content":""#, r#""},"finish_reason":null}]}"#),
        (r#"{"id":"c","choices":[{"index":0,"delta":{"content":""#, r#""},"finish_reason":"stop"}]}"#),
        (r#"{"id":"c","choices":[{"index":0,"delta":{"content":""#, r#""},"logprobs":{"content":[]}}]}"#),
        (r#"{"id":"d","choices":[{"index":0,"delta":{"content":""#, r#"","tool_calls":[{"id":"t"}]}}]}"#),
        (r#"{"id":"d","choices":[{"index":0,"delta":{"content":"","reasoning":""#, r#""}}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#"","odd":1}}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#""}}],"usage":{"prompt_tokens":1}}"#),
        (r#"{"choices":[{"index":1,"delta":{"content":""#, r#""}}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#""}}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#""}}],"obfuscation":"x1","usage":null}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#""}}],"obfuscation":"Y","usage":null}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":""#, r#""}}],"obfuscation":"\"z","usage":null}"#),
        (
            r#"{"choices":[{"index":0,"delta":{"content":""#,
            r#""}}],"obfuscation":"z","odd":"\"","usage":null}"#,
        ),
    ][frame];
    format!("{before}{words}{after}")
}

proptest! {
    /// What is not read again because it is like the chunk before says the same as if it were.
    #[test]
    fn alike_chunks_say_what_they_say_alone(
        chunks in prop::collection::vec((0usize..13, "(|a|b c|é|\\\\n|\\\\\"|\"|\t|\",\"x\":\"y)"), 1..30),
    ) {
        let (mut one, mut other) = (State::default(), State::default());
        for (frame, words) in chunks {
            let text = chunk(frame, &words);
            let event = sse::Event { data: Bytes::from(text), ..sse::Event::default() };
            other.alike = Alike::default();
            let (read, again) = (one.read(&event, &event.data), other.read(&event, &event.data));
            prop_assert_eq!(format!("{read:?}"), format!("{again:?}"));
            prop_assert_eq!(&one.queue, &other.queue);
            prop_assert_eq!(format!("{:?}", one.summary), format!("{:?}", other.summary));
        }
    }
}

#[test]
fn chunks_that_are_alike_are_read_once() {
    let mut state = State::default();
    for words in ["a", "b", ""] {
        let event = sse::Event { data: Bytes::from(chunk(0, words)), ..sse::Event::default() };
        assert!(state.read(&event, &event.data).unwrap());
        let next = chunk(0, "more of it");
        assert_eq!(state.alike.words(&next), Some("more of it"));
        assert_eq!(state.alike.words(&chunk(1, "more of it")), None);
    }
    assert_eq!(state.queue.len(), 2);
}

#[test]
fn padding_makes_no_difference() {
    let mut state = State::default();
    let event = sse::Event { data: Bytes::from(chunk(9, "a")), ..sse::Event::default() };
    assert!(state.read(&event, &event.data).unwrap());
    assert_eq!(state.alike.words(&chunk(10, "more of it")), Some("more of it"));
    for other in [0, 11, 12] {
        assert_eq!(state.alike.words(&chunk(other, "more of it")), None, "{other}");
    }
}
