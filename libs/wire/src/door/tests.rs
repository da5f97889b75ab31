//! What is written is read again by the dialect's own decoder to the same answer, however it is cut.

use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{
    CacheInfo, CacheState, Citation, Delta, ErrorReason, FinishReason, Finished, Message, Notice, Part,
    ReasoningText, Role, Seam, Started, Text, ToolCall, ToolCallDelta, Usage, UsageSource, notice, part,
    seam,
};

use super::*;
use crate::{Answer, Dialect, Limits, Summary};

const DOORS: [(Door, Dialect); 3] = [
    (Door::Chat, Dialect::OpenAi),
    (Door::Responses, Dialect::Responses),
    (Door::Messages, Dialect::Anthropic),
];

fn head() -> Head {
    Head {
        request_id: "0198c0de".to_owned(),
        created: 1_790_000_000,
        include_usage: true,
        echo: responses::Echo::of(b"{}"),
    }
}

fn started() -> Kind {
    let cache = CacheInfo { state: CacheState::Miss.into(), ..CacheInfo::default() };
    Kind::Started(Box::new(Started {
        request_id: "0198c0de".into(),
        model: "p/m".into(),
        cache: Some(cache),
        route: None,
        ..Started::default()
    }))
}

fn delta(index: u32, content: Content) -> Kind {
    Kind::Delta(Delta { index, content: Some(content), ..Delta::default() })
}

fn stream(door: Door, events: &[Kind]) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(door, head()), Vec::new());
    for event in events {
        writer.event(event.clone(), &mut out);
    }
    out
}

fn read(dialect: Dialect, bytes: &[u8], size: usize) -> Answer {
    let mut decoder = dialect.decoder(Limits { event_bytes: 1 << 20, malformed_chunks: 0 });
    let mut deltas = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(delta) = decoder.next_delta().unwrap() {
            deltas.push(delta);
        }
    }
    while let Some(delta) = decoder.end().unwrap() {
        deltas.push(delta);
    }
    Answer { deltas, summary: decoder.summary().clone() }
}

/// Address, title, first byte, byte after the last.
type Cited = (Option<String>, Option<String>, Option<u64>, Option<u64>);

/// What of an answer must not change.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    refusal: String,
    thoughts: String,
    signatures: Vec<String>,
    /// Id, name, arguments.
    calls: Vec<(String, String, String)>,
    citations: Vec<Cited>,
    logprobs: Vec<Value>,
    usage: Usage,
    finish: FinishReason,
}

fn said(deltas: &[Delta], usage: Usage, finish: FinishReason) -> Said {
    let mut said = Said { usage, finish, ..Said::default() };
    let mut calls: Vec<(u32, ToolCall)> = Vec::new();
    for delta in deltas {
        if let Some(logprobs) = &delta.logprobs {
            let list = json!(crate::json::Object(logprobs))["content"].as_array().cloned();
            said.logprobs.extend(list.unwrap_or_default());
        }
        match delta.content.clone().unwrap() {
            Content::Text(more) => said.text.push_str(&more),
            Content::Refusal(more) => said.refusal.push_str(&more),
            Content::Reasoning(thought) => {
                said.thoughts.push_str(&thought.text);
                said.signatures.extend(thought.signature);
            }
            Content::ToolCall(more) => {
                if !calls.iter().any(|(index, _)| *index == delta.index) {
                    calls.push((delta.index, ToolCall::default()));
                }
                let (_, call) = calls.iter_mut().find(|(index, _)| *index == delta.index).unwrap();
                call.id.push_str(&more.id.unwrap_or_default());
                call.name.push_str(&more.name.unwrap_or_default());
                call.arguments.push_str(&more.arguments);
            }
            Content::Citation(c) => said.citations.push((c.url, c.title, c.start_byte, c.end_byte)),
            Content::Media(_) => {}
        }
    }
    said.calls = calls.into_iter().map(|(_, call)| (call.id, call.name, call.arguments)).collect();
    said
}

/// What a door has no place for.
fn without(door: Door, whole: bool, mut said: Said) -> Said {
    match door {
        Door::Chat => {
            said.signatures.clear();
            if !whole {
                said.citations.iter_mut().for_each(|c| (c.2, c.3) = (None, None));
            }
        }
        Door::Responses => {}
        Door::Messages => {
            said.logprobs.clear();
            (said.usage.audio_input_tokens, said.usage.audio_output_tokens) = (0, 0);
            if !whole {
                // In a stream nobody knows beforehand where a stretch that will be cited begins.
                said.citations.iter_mut().for_each(|c| (c.2, c.3) = (None, None));
            }
        }
    }
    said
}

fn of_summary(deltas: &[Delta], summary: &Summary) -> Said {
    said(deltas, summary.usage.unwrap(), summary.finish_reason.unwrap())
}

/// The same answer as the gateway puts it together.
fn complete(events: &[Kind]) -> CompleteResponse {
    let mut answer = CompleteResponse::default();
    let mut parts: Vec<(u32, part::Kind)> = Vec::new();
    for event in events.iter().cloned() {
        match event {
            Kind::Started(started) => answer.started = Some(started),
            Kind::Finished(finished) => answer.finished = Some(finished),
            Kind::Notice(notice) => answer.notices.push(notice),
            Kind::Seam(seam) => answer.seams.push(seam),
            Kind::Delta(Delta { index, content, logprobs, .. }) => {
                answer.logprobs.extend(logprobs);
                let open = parts.iter_mut().rev().find(|(of, _)| *of == index).map(|(_, kind)| kind);
                match (open, content.unwrap()) {
                    (_, Content::Citation(citation)) => answer.citations.push(*citation),
                    (Some(part::Kind::Text(text)), Content::Text(more)) => text.text.push_str(&more),
                    (Some(part::Kind::Refusal(text)), Content::Refusal(more)) => text.text.push_str(&more),
                    (Some(part::Kind::Reasoning(known)), Content::Reasoning(more)) => {
                        known.text.push_str(&more.text);
                        known.signature = more.signature;
                    }
                    (Some(part::Kind::ToolCall(call)), Content::ToolCall(more)) => {
                        call.arguments.push_str(&more.arguments);
                    }
                    (_, Content::Text(text)) => parts.push((index, part::Kind::Text(Text { text }))),
                    (_, Content::Refusal(text)) => parts.push((index, part::Kind::Refusal(Text { text }))),
                    (_, Content::Reasoning(thought)) => parts.push((index, part::Kind::Reasoning(thought))),
                    (_, Content::ToolCall(call)) => {
                        let (id, name) = (call.id.unwrap(), call.name.unwrap());
                        parts.push((
                            index,
                            part::Kind::ToolCall(ToolCall { id, name, arguments: call.arguments }),
                        ));
                    }
                    (_, Content::Media(_)) => {}
                }
            }
        }
    }
    let parts = parts.into_iter().map(|(_, kind)| Part { kind: Some(kind), ..Part::default() }).collect();
    answer.message = Some(Message { role: Role::Assistant.into(), parts, ..Message::default() });
    answer
}

fn logprobs(words: &str) -> prost_types::Struct {
    let list = json!({"content": [{"token": words, "logprob": -0.5, "bytes": null, "top_logprobs": []}]});
    let Value::Object(map) = list else { unreachable!() };
    crate::json::fields(map).unwrap().unwrap()
}

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof!["[a-z ]{1,6}", Just("ü\u{1F600}".to_owned()), Just("\n\"\\\u{0}".to_owned())],
        1..5,
    )
    .prop_map(|all| all.concat())
}

prop_compose! {
    /// An answer of all that there is, in the order in which providers give it.
    fn answer()(
        thoughts in prop::collection::vec(words(), 0..3), signature in prop::option::of("[a-z]{4,9}"),
        texts in prop::collection::vec(words(), 0..6), cites in any::<bool>(), likely in any::<bool>(),
        refusal in prop::option::of(words()), calls in prop::collection::vec(prop::collection::vec(words(), 0..3), 0..3),
        interleaved in any::<bool>(), length in any::<bool>(), counts in prop::array::uniform6(0u64..1000),
    ) -> Vec<Kind> {
        let mut events = vec![started()];
        let thinks = !thoughts.is_empty();
        for text in thoughts {
            events.push(delta(0, Content::Reasoning(ReasoningText { text, ..Default::default() })));
        }
        if let (true, Some(signature)) = (thinks, signature) {
            let thought = ReasoningText { signature: Some(signature), ..Default::default() };
            events.push(delta(0, Content::Reasoning(thought)));
        }
        let mut said = 0u64;
        for text in &texts {
            let content = Some(Content::Text(text.clone()));
            let logprobs = likely.then(|| logprobs(text));
            events.push(Kind::Delta(Delta { index: 1, content, logprobs, extra: None }));
            said += text.len() as u64;
        }
        if cites && said > 0 {
            let citation = Citation {
                url: Some("https://example.org/é".into()), title: Some("T".into()),
                start_byte: Some(0), end_byte: Some(said), extra: None,
            };
            events.push(delta(1, Content::Citation(citation.into())));
        }
        let refused = refusal.is_some();
        if let Some(refusal) = refusal {
            events.push(delta(2, Content::Refusal(refusal)));
        }
        let mut pieces = Vec::new();
        let calls = if refused { Vec::new() } else { calls };
        let called = !calls.is_empty();
        for (i, texts) in (0u32..).zip(calls) {
            let begin = ToolCallDelta { id: Some(format!("call_{i}")), name: Some("look_up".into()), arguments: String::new() };
            let arguments = json!({ "texts": texts }).to_string();
            let (one, two) = arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
            let more = |arguments: &str| ToolCallDelta { arguments: arguments.into(), ..Default::default() };
            for (turn, call) in [begin, more(one), more(two)].into_iter().enumerate() {
                let order = if interleaved { (turn, i) } else { (0, 0) };
                pieces.push((order, delta(3 + i, Content::ToolCall(call))));
            }
        }
        pieces.sort_by_key(|(order, _)| *order);
        events.extend(pieces.into_iter().map(|(_, event)| event));
        let [cached, written, fresh, output, reasoning, audio] = counts;
        let usage = Usage {
            input_tokens: cached + written + fresh + audio, output_tokens: output + reasoning, cached_input_tokens: cached,
            cache_write_tokens: written, reasoning_tokens: reasoning, audio_input_tokens: audio,
            source: UsageSource::Reported.into(), ..Usage::default()
        };
        let finish = match (refused, called, length) {
            (true, ..) => FinishReason::Refusal,
            (_, true, _) => FinishReason::ToolCalls,
            (.., true) => FinishReason::Length,
            _ => FinishReason::Stop,
        };
        events.push(Kind::Finished(Box::new(Finished {
            finish_reason: finish.into(), usage: Some(usage), model: "p/m".into(), attempts: 1, ..Finished::default()
        })));
        events
    }
}

fn expected(events: &[Kind]) -> Said {
    let deltas: Vec<Delta> = events
        .iter()
        .filter_map(|event| if let Kind::Delta(delta) = event { Some(delta.clone()) } else { None })
        .collect();
    let Some(Kind::Finished(finished)) = events.last() else { panic!("an answer ends") };
    said(&deltas, finished.usage.unwrap(), finished.finish_reason())
}

proptest! {
    #[test]
    fn a_stream_is_read_again_to_the_same_answer(events in answer(), size in 1usize..200) {
        for (door, dialect) in DOORS {
            let bytes = stream(door, &events);
            let Answer { deltas, summary } = read(dialect, &bytes, size);
            let want = without(door, false, expected(&events));
            prop_assert_eq!(without(door, false, of_summary(&deltas, &summary)), want, "{:?}", door);
            prop_assert!(summary.done);
        }
    }

    #[test]
    fn a_whole_answer_is_read_again_to_the_same_answer(events in answer()) {
        for (door, dialect) in DOORS {
            let body = whole(door, head(), complete(&events));
            let Answer { deltas, summary } = dialect.whole(&body).unwrap();
            let want = without(door, true, expected(&events));
            prop_assert_eq!(without(door, true, of_summary(&deltas, &summary)), want, "{:?}", door);
        }
    }

    #[test]
    fn a_stream_that_fails_anywhere_is_never_complete(events in answer(), at in any::<prop::sample::Index>()) {
        let failure = Failure {
            reason: ErrorReason::StreamBroken, message: "the provider's stream broke", field: None, request_id: "r",
        };
        for (door, dialect) in DOORS {
            let (mut writer, mut out) = (Writer::new(door, head()), Vec::new());
            for event in &events[..at.index(events.len() - 1) + 1] {
                writer.event(event.clone(), &mut out);
            }
            writer.fail(&failure, &mut out);
            let mut decoder = dialect.decoder(Limits::default());
            decoder.push(Bytes::from(out));
            let error = loop {
                match decoder.end() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{door:?} says nothing of the failure"),
                    Err(error) => break error,
                }
            };
            prop_assert_eq!(&error.message, "the provider's stream broke");
            prop_assert_eq!(decoder.summary().finish_reason, None);
        }
    }
}

#[test]
fn seams_and_notices_are_comments_where_they_happen_and_stand_in_the_end() {
    let notice = Notice {
        kind: notice::Kind::Redacted.into(),
        part: "guard".into(),
        message: "1 value\nwas replaced".into(),
        count: 1,
        r#type: "email".into(),
    };
    let seam = Seam {
        kind: seam::Kind::Continued.into(),
        reason: "cut".into(),
        from_model: "p/a".into(),
        to_model: "p/b".into(),
        at_byte: 3,
    };
    let events = [
        started(),
        Kind::Notice(notice),
        delta(0, Content::Text("abc".into())),
        Kind::Seam(seam),
        delta(0, Content::Text("def".into())),
        Kind::Finished(Box::new(Finished {
            finish_reason: FinishReason::Stop.into(),
            usage: Some(Usage::default()),
            cost_nanousd: 1_500,
            ..Finished::default()
        })),
    ];
    for (door, dialect) in DOORS {
        let text = String::from_utf8(stream(door, &events)).unwrap();
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{door:?}: no {what} in {text}"));
        assert!(place("abc") < place(": signalbox {\"seam\":"), "{text}");
        assert!(place(": signalbox {\"seam\":") < place("def"), "{text}");
        assert!(place(": signalbox {\"notice\":") < place("abc"), "{text}");
        let answer = read(dialect, text.as_bytes(), usize::MAX);
        let extra = json!(crate::json::Object(&answer.summary.extra.unwrap()));
        assert_eq!(extra["signalbox"]["seams"][0]["to_model"], "p/b", "{door:?}");
        assert_eq!(extra["signalbox"]["notices"][0]["kind"], "redacted", "{door:?}");
        assert_eq!(extra["signalbox"]["cost_nanousd"], 1_500, "{door:?}");
        let body: Value = serde_json::from_slice(&whole(door, head(), complete(&events))).unwrap();
        assert_eq!(body["signalbox"]["seams"][0]["reason"], "cut", "{door:?}");
    }
}

#[test]
fn usage_comes_in_a_chat_only_where_it_was_asked_for() {
    let events = [
        started(),
        delta(0, Content::Text("a".into())),
        Kind::Finished(Box::new(Finished {
            finish_reason: FinishReason::Stop.into(),
            ..Finished::default()
        })),
    ];
    let mut writer = Writer::new(Door::Chat, Head { include_usage: false, ..head() });
    let mut out = Vec::new();
    for event in events {
        writer.event(event, &mut out);
    }
    let answer = read(Dialect::OpenAi, &out, usize::MAX);
    assert_eq!(answer.summary.usage, None);
    assert!(answer.summary.done);
}

#[test]
fn another_dialects_block_is_whole_at_its_own_door_and_left_out_of_chats() {
    let Value::Object(block) =
        json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}})
    else {
        unreachable!()
    };
    let extra = crate::json::fields(block).unwrap();
    let events = [
        started(),
        Kind::Delta(Delta { index: 0, content: Some(Content::Text(String::new())), logprobs: None, extra }),
        delta(1, Content::Text("found".into())),
        Kind::Finished(Box::new(Finished {
            finish_reason: FinishReason::Stop.into(),
            usage: Some(Usage::default()),
            ..Finished::default()
        })),
    ];
    let read_at = |door, dialect| {
        let answer = read(dialect, &stream(door, &events), usize::MAX);
        answer
            .deltas
            .iter()
            .any(|delta| crate::json::text(delta.extra.as_ref(), "name") == Some("web_search"))
    };
    assert!(read_at(Door::Messages, Dialect::Anthropic));
    assert!(read_at(Door::Responses, Dialect::Responses));
    assert!(!read_at(Door::Chat, Dialect::OpenAi));
}

#[test]
fn every_reason_has_a_status_and_both_dialects_words() {
    for number in 0..100 {
        let Ok(reason) = ErrorReason::try_from(number) else { continue };
        let failure = Failure { reason, message: "m", field: Some("f"), request_id: "r" };
        for door in [Door::Chat, Door::Messages] {
            assert!((400..=599).contains(&failure.status(door)), "{reason:?}");
        }
        let chat: Value = serde_json::from_slice(&failure.body(Door::Chat)).unwrap();
        assert!(chat["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "{chat}");
        assert_eq!(chat["error"]["param"], "f");
        let messages: Value = serde_json::from_slice(&failure.body(Door::Messages)).unwrap();
        assert_eq!((&messages["type"], &messages["request_id"]), (&json!("error"), &json!("r")));
    }
    let at = |reason, door| Failure { reason, message: "", field: None, request_id: "" }.status(door);
    assert_eq!(at(ErrorReason::BudgetExhausted, Door::Messages), 402);
    assert_eq!(at(ErrorReason::Overloaded, Door::Messages), 529);
    assert_eq!(at(ErrorReason::Overloaded, Door::Chat), 503);
    assert_eq!(at(ErrorReason::MessageTooLarge, Door::Chat), 413);
}
