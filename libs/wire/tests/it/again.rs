//! Recorded answers, written for clients at every door and read again: nothing that the door has a place for may be lost.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::generate_event::Kind;
use signalbox_proto::common::v1::{Delta, FinishReason, Finished, Started};
use signalbox_wire::door::{Door, Head, Writer};
use signalbox_wire::json::Object;
use signalbox_wire::{Answer, Dialect, Limits};

use super::recordings::{Verdict, body, is_stream};

const DOORS: [(Door, Dialect); 3] = [
    (Door::Chat, Dialect::OpenAi),
    (Door::Responses, Dialect::Responses),
    (Door::Messages, Dialect::Anthropic),
];

/// What an answer says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    refusal: String,
    thoughts: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, Value)>,
    citations: usize,
    finish: FinishReason,
    /// Input, output, cached, reasoning.
    usage: [u64; 4],
}

/// Writes a recorded answer at every door, and reads what was written.
pub(crate) fn again(dialect: Dialect, row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    let Some(answer) = recorded(dialect, &body) else { return Ok(Verdict::Aside("no complete answer")) };
    if answer.summary.usage.is_none() {
        return Ok(Verdict::Aside("without usage"));
    }
    let want = said(&answer);
    for (door, own) in DOORS {
        let bytes = written(door, &answer);
        let read = read(own, &bytes).ok_or_else(|| format!("{door:?} writes what cannot be read"))?;
        let (mut want, mut got) = (fitting(door, &want), fitting(door, &said(&read)));
        if want.finish == FinishReason::Unspecified {
            // A provider that gave no reason for the end; clients get one.
            got.finish = want.finish;
        }
        if own != dialect {
            // Where an answer goes from one dialect to another, some ends have no word of their own.
            for said in [&mut want, &mut got] {
                said.finish = FinishReason::Unspecified;
                said.citations = said.citations.min(1);
            }
        }
        if want != got {
            return Err(format!("at {door:?}: {}", difference(&want, &got)));
        }
        if own == dialect {
            let (before, after) = (beside(&answer), beside(&read));
            if let Some(lost) = before.difference(&after).next() {
                return Err(format!("at its own door {lost} is lost"));
            }
        }
    }
    Ok(Verdict::Passed)
}

fn recorded(dialect: Dialect, body: &str) -> Option<Answer> {
    if is_stream(body) { read(dialect, body.as_bytes()) } else { dialect.whole(body.as_bytes()).ok() }
}

/// Reads a stream that is a complete answer.
fn read(dialect: Dialect, bytes: &[u8]) -> Option<Answer> {
    let mut decoder = dialect.decoder(Limits { event_bytes: 64 << 20, ..Limits::default() });
    decoder.push(Bytes::copy_from_slice(bytes));
    let mut deltas = Vec::new();
    while let Some(delta) = decoder.end().ok()? {
        deltas.push(delta);
    }
    let summary = decoder.summary().clone();
    summary.finish_reason?;
    Some(Answer { deltas, summary })
}

fn written(door: Door, answer: &Answer) -> Vec<u8> {
    let head = Head { request_id: "r".into(), include_usage: true, ..Head::default() };
    let (mut writer, mut out) = (Writer::new(door, head), Vec::new());
    let summary = answer.summary.clone();
    writer.event(Kind::Started(Box::new(Started { model: "p/m".into(), ..Started::default() })), &mut out);
    for delta in answer.deltas.clone() {
        writer.event(Kind::Delta(delta), &mut out);
    }
    let finished = Finished {
        finish_reason: summary.finish_reason.unwrap_or_default().into(),
        provider_finish_reason: summary.provider_finish_reason,
        usage: summary.usage,
        extra: summary.extra,
        ..Finished::default()
    };
    writer.event(Kind::Finished(finished.into()), &mut out);
    out
}

fn said(answer: &Answer) -> Said {
    let usage = answer.summary.usage.unwrap_or_default();
    let mut said = Said {
        finish: answer.summary.finish_reason.unwrap_or_default(),
        usage: [usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens],
        ..Said::default()
    };
    let mut calls: Vec<(u32, String, String, String)> = Vec::new();
    for Delta { index, content, .. } in &answer.deltas {
        match content.as_ref().unwrap() {
            Content::Text(more) => said.text.push_str(more),
            Content::Refusal(more) => said.refusal.push_str(more),
            Content::Reasoning(thought) => said.thoughts.push_str(&thought.text),
            Content::ToolCall(more) => {
                if !calls.iter().any(|call| call.0 == *index) {
                    calls.push((*index, String::new(), String::new(), String::new()));
                }
                let call = calls.iter_mut().find(|call| call.0 == *index).unwrap();
                call.1.push_str(more.id.as_deref().unwrap_or_default());
                call.2.push_str(more.name.as_deref().unwrap_or_default());
                call.3.push_str(&more.arguments);
            }
            Content::Citation(_) => said.citations += 1,
            Content::Media(_) => {}
        }
    }
    said.calls = calls
        .into_iter()
        .map(|(_, id, name, arguments)| {
            // A call without arguments is one with none.
            let arguments = if arguments.trim().is_empty() { "{}" } else { &arguments };
            let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
            (id, name, arguments)
        })
        .collect();
    said
}

/// Leaves out what a door has no place for.
fn fitting(door: Door, said: &Said) -> Said {
    let mut out = Said {
        text: said.text.clone(),
        refusal: said.refusal.clone(),
        thoughts: said.thoughts.clone(),
        ..Said::default()
    };
    (out.calls, out.citations, out.finish, out.usage) =
        (said.calls.clone(), said.citations, said.finish, said.usage);
    // Some servers give their calls no ids; a door does.
    out.calls.iter_mut().for_each(|call| call.0.clear());
    // A model's own paragraphs of thought are joined differently.
    out.thoughts.retain(|c| !c.is_whitespace());
    if door == Door::Messages && said.finish != FinishReason::Refusal {
        out.refusal.clear();
    }
    out
}

fn difference(want: &Said, got: &Said) -> String {
    let (want, got) = (format!("{want:?}"), format!("{got:?}"));
    let at = want.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
    let show = |text: &str| {
        text[text.floor_char_boundary(at.saturating_sub(60))..].chars().take(160).collect::<String>()
    };
    format!("{} became {}", show(&want), show(&got))
}

/// The names of all fields that have no place of their own.
fn beside(answer: &Answer) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let extras =
        answer.deltas.iter().map(|delta| delta.extra.as_ref()).chain([answer.summary.extra.as_ref()]);
    for extra in extras.flatten() {
        let json = serde_json::to_value(Object(extra)).unwrap();
        if json["type"] == "reasoning_text" {
            // Marks in which of two forms reasoning came; clients get it in one.
            continue;
        }
        out.extend(json.as_object().into_iter().flatten().map(|(key, _)| key.clone()));
    }
    out.remove("signalbox");
    out
}
