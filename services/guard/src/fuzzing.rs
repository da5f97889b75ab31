//! Entries for the fuzzer: what comes from outside, against what must hold of it. Only with the feature `fuzzing`.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use signalbox_mesh::Random;
use signalbox_proto::{
    common::v1::{
        Delta, FinishReason, Finished, GenerateEvent, ReasoningText, ToolCallDelta, delta::Content,
        generate_event::Kind,
    },
    guard::v1::ScreenedEvent,
};

use crate::{
    contents::{Doubt, SystemPrompt, Values, WayBack},
    injection,
    policy::{Base, Policies, Policy, PolicyConfig},
    reading::Readings,
    screen::{Screen, leak},
    seal::{self, Bound, Sealer},
    validate::{self, Form},
};

/// Every stretch of every reading comes from a stretch of the text, on characters' edges.
pub fn normaliser(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let readings = Readings::of(&text);
    injection::families_in(&text, &readings);
    for reading in readings.values().chain(&readings.words(&text)) {
        let length = reading.text.len();
        for (start, end) in [(0, length), (length / 3, length / 2), (length / 2, length)] {
            let range = reading.text.floor_char_boundary(start)..reading.text.floor_char_boundary(end);
            let original = reading.original(range);
            assert!(text.get(original).is_some(), "a reading leads out of its text");
        }
    }
}

/// G1: what leaves of an answer does not depend on its pieces. The first bytes choose policy, kind of text and pieces.
pub fn screen(data: &[u8]) {
    let Some(([choice, step, kind], rest)) = data.split_first_chunk::<3>() else { return };
    let text = String::from_utf8_lossy(rest);
    let base = if choice % 2 == 0 { Base::Default } else { Base::Strict };
    let Ok(policies) = Policies::compile(&BTreeMap::from([("own".to_owned(), PolicyConfig::from(base))]))
    else {
        return;
    };
    let Some(policy) = policies.get("own") else { return };
    let step = usize::from(*step).max(1);
    let whole = released(policy, *kind, &text, usize::MAX);
    assert!(whole == released(policy, *kind, &text, step), "the pieces matter");
}

/// What client and store get, and the verdict, of a text in pieces of so many bytes.
fn released(policy: &Arc<Policy>, kind: u8, text: &str, step: usize) -> (String, String, i32, bool) {
    let values: Values = [("<EMAIL_1>", "ada@example.com"), ("abcdef.ghij@klmn.com", "b@example.com")]
        .map(|(stand_in, value)| (stand_in.to_owned(), value.to_owned()))
        .into();
    let prompt = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen";
    let system =
        SystemPrompt { canary: "sbc01".into(), ..leak::of([prompt].into_iter()).unwrap_or_default() };
    let mut screen =
        Screen::open(Arc::clone(policy), WayBack { values, known: Vec::new() }, system, Form::none());
    let content = |text: &str| match kind % 3 {
        0 => Content::Text(text.to_owned()),
        1 => Content::Reasoning(ReasoningText { text: text.to_owned(), ..ReasoningText::default() }),
        _ => Content::ToolCall(ToolCallDelta { arguments: text.to_owned(), ..ToolCallDelta::default() }),
    };
    let mut out: Vec<ScreenedEvent> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.ceil_char_boundary(step.min(rest.len()));
        let (piece, tail) = rest.split_at(cut);
        let delta = Delta { content: Some(content(piece)), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 0, kind: Some(Kind::Delta(delta)) }, &mut out);
        rest = tail;
    }
    let finished = Finished { finish_reason: FinishReason::Stop.into(), ..Finished::default() };
    screen.take(GenerateEvent { sequence: 0, kind: Some(Kind::Finished(finished)) }, &mut out);
    let read = |event: &GenerateEvent| match &event.kind {
        Some(Kind::Delta(Delta { content: Some(content), .. })) => match content {
            Content::Text(text) => text.clone(),
            Content::Reasoning(reasoning) => reasoning.text.clone(),
            Content::ToolCall(call) => call.arguments.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let client = out.iter().filter_map(|event| event.client.as_ref()).map(read).collect();
    let stored =
        out.iter().filter_map(|event| event.stored.as_ref().or(event.client.as_ref())).map(read).collect();
    let closed = screen.close();
    (client, stored, closed.verdict, closed.storable)
}

/// Bytes that nobody sealed open nothing, and contents of any bytes are read without harm.
pub fn unseal(data: &[u8]) {
    let Ok(sealer) = Sealer::new(None, Random::seeded(1)) else { return };
    let bound = Bound { tenant: "acme", request: "r" };
    for kind in [seal::Kind::WayBack, seal::Kind::SystemPrompt, seal::Kind::Doubt] {
        assert!(sealer.open(kind, bound, 0, data).is_err(), "a seal was forged");
    }
    let _way = WayBack::decode(data).map(|way| way.known_all().len());
    let _system = SystemPrompt::decode(data);
    let _doubt = Doubt::decode(data);
}

/// A schema and a value, divided by a zero byte: each is refused or compared, and what is mended is JSON.
pub fn schema(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (schema, value) = text.split_once('\0').unwrap_or((&text, &text));
    validate::try_out(schema, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The properties hold of bytes that a generator makes; the fuzzer looks for more.
        #[test]
        fn the_properties_hold(
            data in prop::collection::vec(any::<u8>(), 0..200),
            text in "(<EMAIL_1>|sbc01|one two three |https?://a\\.b/\\?q=|%4[01]|&#6[45];|\\[|\\{\"a\":|\\PC|[a-z]{1,6} |[0-9]{3,5}[ -]){0,24}",
            head in any::<[u8; 3]>(),
        ) {
            super::normaliser(&data);
            super::unseal(&data);
            super::schema(&data);
            let text = text.as_bytes();
            super::normaliser(text);
            super::schema(text);
            super::screen(&[&head[..], text].concat());
            super::screen(&data);
        }
    }
}
