use proptest::prelude::*;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind as Json};
use signalbox_proto::common::v1::{Role, tool_choice};

use super::*;

const WHO: Identity<'static> = Identity { tenant: "acme", user: None, guard_digest: b"g", redacted: false };

fn object(fields: &[(&str, Json)]) -> Struct {
    let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), Value { kind: Some(kind.clone()) }));
    Struct { fields: fields.collect() }
}

fn said(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Part::default() }
}

fn text(text: &str) -> Part {
    said(part::Kind::Text(Text { text: text.into() }))
}

fn turn(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, ..Message::default() }
}

/// A request that has one of everything.
fn full() -> ChatRequest {
    let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: r#"{"a":1,"b":2}"#.into() };
    let result = ToolResult { call_id: "c1".into(), parts: vec![text("r")], is_error: Some(false) };
    let image = Media {
        content: Some(media::Content::Url("u".into())),
        media_type: "image/png".into(),
        ..Media::default()
    };
    let thought = ReasoningText { text: "t".into(), signature: Some("s".into()), provider: Some("p".into()) };
    let extra = Some(object(&[("k", Json::StringValue("v".into())), ("n", Json::NumberValue(1.0))]));
    let schema = Some(object(&[("type", Json::StringValue("object".into()))]));
    ChatRequest {
        model: "fast".into(),
        messages: vec![
            turn(Role::System, vec![text("be brief")]),
            turn(Role::User, vec![text("hello"), said(part::Kind::Image(image))]),
            turn(
                Role::Assistant,
                vec![said(part::Kind::Reasoning(thought)), said(part::Kind::ToolCall(call))],
            ),
            turn(Role::Tool, vec![said(part::Kind::ToolResult(result))]),
            Message {
                name: Some("ada".into()),
                extra: extra.clone(),
                ..turn(Role::User, vec![text("why?")])
            },
        ],
        tools: vec![Tool {
            name: "f".into(),
            description: Some("d".into()),
            parameters: schema.clone(),
            strict: Some(true),
            extra: extra.clone(),
        }],
        tool_choice: Some(ToolChoice { mode: tool_choice::Mode::Named.into(), name: Some("f".into()) }),
        response_format: Some(ResponseFormat {
            kind: Some(response_format::Kind::JsonSchema(JsonSchemaFormat {
                name: "n".into(),
                schema,
                strict: Some(true),
                description: Some("d".into()),
            })),
        }),
        sampling: Some(Sampling {
            temperature: Some(0.5),
            top_p: Some(0.5),
            top_k: Some(5),
            max_output_tokens: Some(5),
            stop: vec!["a".into(), "b".into()],
            seed: Some(5),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.5),
            logit_bias: [("1".to_owned(), 1.0), ("2".to_owned(), 2.0)].into(),
            logprobs: Some(true),
            top_logprobs: Some(5),
        }),
        extra,
        parallel_tool_calls: Some(true),
        reasoning: Some(Reasoning {
            effort: Some("low".into()),
            max_tokens: Some(5),
            summary: Some("auto".into()),
        }),
    }
}

type Change = fn(&mut ChatRequest);

/// One change for each field. All lead to different requests.
const CHANGES: &[Change] = &[
    |_| {},
    |c| c.model = "slow".into(),
    |c| c.tools.clear(),
    |c| c.tools[0].name = "g".into(),
    |c| c.tools[0].description = None,
    |c| c.tools[0].description = Some(String::new()),
    |c| c.tools[0].parameters = Some(object(&[("type", Json::StringValue("array".into()))])),
    |c| c.tools[0].parameters = Some(Struct::default()),
    |c| c.tools[0].parameters = None,
    |c| c.tools[0].strict = None,
    |c| c.tools[0].strict = Some(false),
    |c| c.tools[0].extra = None,
    |c| c.tool_choice = None,
    |c| c.tool_choice = Some(ToolChoice { name: None, ..c.tool_choice.clone().unwrap() }),
    |c| c.tool_choice.as_mut().unwrap().set_mode(tool_choice::Mode::Auto),
    |c| c.response_format = None,
    |c| c.response_format = Some(ResponseFormat { kind: None }),
    |c| c.response_format = Some(ResponseFormat { kind: Some(response_format::Kind::Text(TextFormat {})) }),
    |c| {
        c.response_format =
            Some(ResponseFormat { kind: Some(response_format::Kind::JsonObject(JsonObjectFormat {})) });
    },
    |c| schema(c).name = "m".into(),
    |c| schema(c).schema = None,
    |c| schema(c).strict = Some(false),
    |c| schema(c).description = None,
    |c| c.sampling = None,
    |c| drawing(c).temperature = Some(0.6),
    |c| drawing(c).temperature = None,
    |c| drawing(c).top_p = Some(0.6),
    |c| drawing(c).top_k = Some(6),
    |c| drawing(c).max_output_tokens = Some(6),
    |c| drawing(c).stop = vec!["b".into(), "a".into()],
    |c| drawing(c).stop = vec!["ab".into()],
    |c| drawing(c).stop = vec!["a".into(), "b".into(), String::new()],
    |c| drawing(c).seed = Some(-5),
    |c| drawing(c).presence_penalty = Some(0.6),
    |c| drawing(c).frequency_penalty = Some(0.6),
    |c| drawing(c).logit_bias = [("1".to_owned(), 2.0), ("2".to_owned(), 1.0)].into(),
    |c| drawing(c).logprobs = Some(false),
    |c| drawing(c).top_logprobs = None,
    |c| c.extra = None,
    |c| c.extra = Some(object(&[("k", Json::StringValue("w".into())), ("n", Json::NumberValue(1.0))])),
    |c| c.extra = Some(object(&[("k", Json::StringValue("v".into())), ("n", Json::StringValue("1".into()))])),
    |c| c.extra = Some(object(&[("k", Json::BoolValue(true))])),
    |c| c.extra = Some(object(&[("k", Json::NullValue(0))])),
    |c| c.extra = Some(object(&[("k", Json::ListValue(ListValue::default()))])),
    |c| c.extra = Some(object(&[("k", Json::StructValue(Struct::default()))])),
    |c| c.parallel_tool_calls = None,
    |c| c.parallel_tool_calls = Some(false),
    |c| c.reasoning = None,
    |c| c.reasoning = Some(Reasoning::default()),
    |c| c.reasoning.as_mut().unwrap().effort = Some("high".into()),
    |c| c.reasoning.as_mut().unwrap().max_tokens = None,
    |c| c.reasoning.as_mut().unwrap().summary = None,
    |c| c.messages[0].parts[0] = text("be long"),
    |c| c.messages[0].set_role(Role::Developer),
    |c| c.messages[0].parts[0].set_source(signalbox_proto::common::v1::Source::Retrieval),
    |c| c.messages[0].parts[0].extra = Some(Struct::default()),
    |c| drop(c.messages.remove(0)),
    |c| c.messages.swap(0, 1),
    |c| c.messages[1].parts.swap(0, 1),
    |c| image(c).content = None,
    |c| image(c).content = Some(media::Content::FileId("u".into())),
    |c| image(c).content = Some(media::Content::Data("u".into())),
    |c| image(c).media_type = "image/gif".into(),
    |c| image(c).name = Some("n".into()),
    |c| image(c).detail = Some("low".into()),
    |c| {
        let image = image(c).clone();
        c.messages[1].parts[1] = said(part::Kind::File(image));
    },
    |c| {
        let image = image(c).clone();
        c.messages[1].parts[1] = said(part::Kind::Audio(image));
    },
    |c| c.messages[1].parts[1] = Part::default(),
    |c| c.messages[1].parts[1] = said(part::Kind::Refusal(Text { text: "hello".into() })),
    |c| c.messages[2].parts[0] = said(part::Kind::Reasoning(ReasoningText::default())),
    |c| call(c).id = "c2".into(),
    |c| call(c).name = "g".into(),
    |c| call(c).arguments = r#"{"a":1,"b":3}"#.into(),
    |c| call(c).arguments = r#"{"a":1,"b":2"#.into(),
    |c| result(c).call_id = "c2".into(),
    |c| result(c).parts = vec![text("s")],
    |c| result(c).is_error = None,
    |c| c.messages[4].name = None,
    |c| c.messages[4].extra = None,
    |c| c.messages[4].parts[0] = text("how?"),
    |c| c.messages[4].parts = vec![text("wh"), text("y?")],
    |c| c.messages.push(turn(Role::User, vec![])),
];

fn schema(c: &mut ChatRequest) -> &mut JsonSchemaFormat {
    match &mut c.response_format.as_mut().unwrap().kind {
        Some(response_format::Kind::JsonSchema(schema)) => schema,
        _ => panic!(),
    }
}

fn drawing(c: &mut ChatRequest) -> &mut Sampling {
    c.sampling.as_mut().unwrap()
}

fn image(c: &mut ChatRequest) -> &mut Media {
    match &mut c.messages[1].parts[1].kind {
        Some(part::Kind::Image(image)) => image,
        _ => panic!(),
    }
}

fn call(c: &mut ChatRequest) -> &mut ToolCall {
    match &mut c.messages[2].parts[1].kind {
        Some(part::Kind::ToolCall(call)) => call,
        _ => panic!(),
    }
}

fn result(c: &mut ChatRequest) -> &mut ToolResult {
    match &mut c.messages[3].parts[0].kind {
        Some(part::Kind::ToolResult(result)) => result,
        _ => panic!(),
    }
}

#[test]
fn every_field_counts() {
    let mut seen = HashMap::new();
    for (number, change) in CHANGES.iter().enumerate() {
        let mut chat = full();
        change(&mut chat);
        let canonical = Canonical::of(WHO, &chat);
        if let Some(other) = seen.insert(canonical.key, number) {
            panic!("changes {other} and {number} give the same key");
        }
        // Only the words of the last turn may be compared by meaning.
        let only_words = number == 0 || chat.messages.last().unwrap().parts.first() == Some(&text("how?"));
        let same = canonical.partition(&[0; 32], "") == Canonical::of(WHO, &full()).partition(&[0; 32], "");
        assert_eq!(same, only_words, "change {number}");
    }
}

#[test]
fn who_asks_counts_in_key_and_partition() {
    let others = [
        Identity { tenant: "other", ..WHO },
        Identity { user: Some("ada"), ..WHO },
        Identity { user: Some(""), ..WHO },
        Identity { guard_digest: b"h", ..WHO },
        Identity { guard_digest: b"", ..WHO },
        Identity { redacted: true, ..WHO },
        // What moves from one field into the next is not the same.
        Identity { tenant: "acm", guard_digest: b"eg", ..WHO },
        WHO,
    ];
    let all: Vec<_> = others.iter().map(|who| Canonical::of(*who, &full())).collect();
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            assert_ne!(a.key, b.key);
            assert_ne!(a.partition(&[0; 32], ""), b.partition(&[0; 32], ""));
        }
    }
    assert_ne!(all[0].partition(&[0; 32], ""), all[0].partition(&[1; 32], ""), "the encoder");
    assert_ne!(all[0].partition(&[0; 32], ""), all[0].partition(&[0; 32], "fr"), "the answer's language");
}

#[test]
fn spelling_does_not_count() {
    let mut other = full();
    call(&mut other).arguments = " {\n \"b\" : 2, \"a\" : 1 } ".into();
    drawing(&mut other).logit_bias = [("2".to_owned(), 2.0), ("1".to_owned(), 1.0)].into();
    drawing(&mut other).stop = full().sampling.unwrap().stop;
    assert_eq!(Canonical::of(WHO, &other), Canonical::of(WHO, &full()));
    let zero = |zero: f64| {
        let mut chat = full();
        drawing(&mut chat).temperature = Some(zero);
        Canonical::of(WHO, &chat)
    };
    assert_eq!(zero(0.0), zero(-0.0));
}

/// A `google.protobuf.Struct` on the wire with its members in the given order.
fn wire(members: &[(String, f64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, number) in members {
        let value = Value { kind: Some(Json::NumberValue(*number)) }.encode_to_vec();
        let mut entry = vec![0x0a, u8::try_from(name.len()).unwrap()];
        entry.extend_from_slice(name.as_bytes());
        entry.extend([0x12, u8::try_from(value.len()).unwrap()]);
        entry.extend(value);
        bytes.extend([0x0a, u8::try_from(entry.len()).unwrap()]);
        bytes.extend(entry);
    }
    bytes
}

proptest! {
    #[test]
    fn the_order_of_members_does_not_count(
        members in prop::collection::btree_map("[a-z]{1,4}", -9.0..9.0f64, 0..8),
        seed in any::<prop::sample::Index>(),
    ) {
        let sorted: Vec<_> = members.into_iter().collect();
        let mut shuffled = sorted.clone();
        if !shuffled.is_empty() {
            let at = seed.index(shuffled.len());
            shuffled.rotate_left(at);
            shuffled.reverse();
        }
        let of = |members: &[(String, f64)]| {
            let extra = Some(Struct::decode(&*wire(members)).unwrap());
            Canonical::of(WHO, &ChatRequest { extra, ..full() })
        };
        prop_assert_eq!(of(&sorted), of(&shuffled));
    }

    #[test]
    fn keys_are_equal_only_for_equal_texts(
        a in prop::collection::vec(prop::collection::vec("[ab\0]{0,3}", 0..3), 1..4),
        b in prop::collection::vec(prop::collection::vec("[ab\0]{0,3}", 0..3), 1..4),
    ) {
        let of = |turns: &[Vec<String>]| {
            let messages = turns.iter().map(|parts| turn(Role::User, parts.iter().map(|t| text(t)).collect()));
            Canonical::of(WHO, &ChatRequest { messages: messages.collect(), ..ChatRequest::default() }).key
        };
        prop_assert_eq!(of(&a) == of(&b), a == b);
    }
}
