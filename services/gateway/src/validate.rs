//! What a request must be before anything is spent on it. Each refusal names the field and what to change.

use std::collections::HashSet;

use signalbox_mesh::error;
use signalbox_proto::{
    common::v1::{
        Attribution, CachePolicy, ChatRequest, ErrorReason, Media, Message, Part, Role, media, part,
    },
    gateway::v1::{EmbedRequest, FeedbackRequest, GenerateRequest},
};
use tonic::{Code, Status};

const MESSAGES: usize = 10_000;
const PARTS: usize = 100_000;
const TOOLS: usize = 512;
const STOPS: usize = 16;
const INPUTS: usize = 2_048;

type Checked = Result<(), Status>;

fn refuse(field: impl Into<String>, what: impl Into<String>) -> Status {
    let (field, what) = (field.into(), what.into());
    error::status(Code::InvalidArgument, ErrorReason::InvalidRequest, format!("{field}: {what}"))
        .with_bad_request(field, what)
        .into()
}

fn at_most(field: &str, length: usize, bound: usize) -> Checked {
    if length > bound {
        return Err(refuse(field, format!("has {length} bytes or entries; at most {bound} are allowed")));
    }
    Ok(())
}

/// Checks a request for an answer.
pub(crate) fn generate(request: &GenerateRequest) -> Checked {
    let Some(chat) = &request.chat else { return Err(refuse("chat", "is missing; say what is asked")) };
    chat_request(chat)?;
    if let Some(attribution) = &request.attribution {
        self::attribution(attribution)?;
    }
    if let Some(cache) = request.policies.as_ref().and_then(|p| p.cache.as_ref()) {
        cache_policy(cache)?;
    }
    at_most("client_request_id", request.client_request_id.as_ref().map_or(0, String::len), 128)?;
    at_most("idempotency_key", request.idempotency_key.as_ref().map_or(0, String::len), 128)
}

/// Checks a chat.
pub(crate) fn chat_request(chat: &ChatRequest) -> Checked {
    model("chat.model", &chat.model)?;
    if chat.messages.is_empty() {
        return Err(refuse("chat.messages", "is empty; at least one message is needed"));
    }
    at_most("chat.messages", chat.messages.len(), MESSAGES)?;
    at_most("chat.messages.parts", chat.messages.iter().map(|m| m.parts.len()).sum(), PARTS)?;
    for (index, message) in chat.messages.iter().enumerate() {
        self::message(&format!("chat.messages[{index}]"), message)?;
    }
    tools(chat)?;
    sampling(chat)
}

fn model(field: &str, model: &str) -> Checked {
    if model.is_empty() {
        return Err(refuse(field, "is empty; name an alias, `provider/model`, or `auto`"));
    }
    at_most(field, model.len(), 256)
}

fn message(field: &str, message: &Message) -> Checked {
    let role = Role::try_from(message.role).unwrap_or_default();
    if role == Role::Unspecified {
        return Err(refuse(format!("{field}.role"), "is missing or unknown; say who speaks"));
    }
    if message.parts.is_empty() && role != Role::Assistant {
        return Err(refuse(format!("{field}.parts"), "is empty; at least one part is needed"));
    }
    at_most(&format!("{field}.name"), message.name.as_ref().map_or(0, String::len), 64)?;
    for (index, part) in message.parts.iter().enumerate() {
        self::part(&format!("{field}.parts[{index}]"), part)?;
    }
    Ok(())
}

fn part(field: &str, part: &Part) -> Checked {
    match &part.kind {
        None => {
            Err(refuse(field, "holds nothing; set one of text, image, audio, file, tool_call, tool_result"))
        }
        Some(part::Kind::Image(media) | part::Kind::Audio(media) | part::Kind::File(media)) => {
            self::media(field, media)
        }
        Some(part::Kind::ToolCall(call)) if call.id.is_empty() || call.name.is_empty() => {
            Err(refuse(format!("{field}.tool_call"), "needs the call's id and the tool's name"))
        }
        Some(part::Kind::ToolResult(result)) if result.call_id.is_empty() => {
            Err(refuse(format!("{field}.tool_result.call_id"), "is empty; name the call that is answered"))
        }
        Some(_) => Ok(()),
    }
}

fn media(field: &str, media: &Media) -> Checked {
    match &media.content {
        None => Err(refuse(field, "has no content; set url, data or file_id")),
        Some(media::Content::Url(url)) => at_most(&format!("{field}.url"), url.len(), 8 << 10),
        Some(media::Content::Data(_)) if media.media_type.is_empty() => {
            Err(refuse(format!("{field}.media_type"), "is empty; needed with data, for example `image/png`"))
        }
        Some(_) => Ok(()),
    }
}

fn tools(chat: &ChatRequest) -> Checked {
    at_most("chat.tools", chat.tools.len(), TOOLS)?;
    let mut names = HashSet::new();
    for (index, tool) in chat.tools.iter().enumerate() {
        // A provider's built-in tool is all in `extra`.
        if tool.name.is_empty() && tool.extra.is_none() {
            return Err(refuse(format!("chat.tools[{index}].name"), "is empty"));
        }
        if !tool.name.is_empty() && !names.insert(tool.name.as_str()) {
            return Err(refuse(format!("chat.tools[{index}].name"), "is used twice; names are unique"));
        }
    }
    Ok(())
}

fn sampling(chat: &ChatRequest) -> Checked {
    let Some(sampling) = &chat.sampling else { return Ok(()) };
    let ranges = [
        ("temperature", sampling.temperature, 0.0, 2.0),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("presence_penalty", sampling.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0),
    ];
    for (name, value, low, high) in ranges {
        if value.is_some_and(|v| !(low..=high).contains(&v)) {
            return Err(refuse(format!("chat.sampling.{name}"), format!("must be between {low} and {high}")));
        }
    }
    if sampling.max_output_tokens == Some(0) {
        return Err(refuse("chat.sampling.max_output_tokens", "is 0; leave it out or allow at least 1"));
    }
    at_most("chat.sampling.stop", sampling.stop.len(), STOPS)?;
    at_most("chat.sampling.logit_bias", sampling.logit_bias.len(), 1_024)
}

fn attribution(attribution: &Attribution) -> Checked {
    at_most("attribution.user", attribution.user.as_ref().map_or(0, String::len), 256)?;
    at_most("attribution.conversation_id", attribution.conversation_id.as_ref().map_or(0, String::len), 128)?;
    if let Some(feature) = &attribution.feature {
        word("attribution.feature", feature)?;
    }
    at_most("attribution.tags", attribution.tags.len(), 16)?;
    for (key, value) in &attribution.tags {
        at_most("attribution.tags (key)", key.len(), 64)?;
        at_most("attribution.tags (value)", value.len(), 256)?;
    }
    Ok(())
}

fn word(field: &str, text: &str) -> Checked {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
        return Err(refuse(field, "must have 1 to 64 of the characters a-z A-Z 0-9 . _ -"));
    }
    Ok(())
}

fn cache_policy(policy: &CachePolicy) -> Checked {
    for (name, value) in [("max_error", policy.max_error), ("min_similarity", policy.min_similarity)] {
        if value.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            return Err(refuse(format!("policies.cache.{name}"), "must be between 0 and 1"));
        }
    }
    at_most("policies.cache.tags", policy.tags.len(), 16)
}

/// Checks a request for vectors.
pub(crate) fn embed(request: &EmbedRequest) -> Checked {
    model("model", &request.model)?;
    if request.inputs.is_empty() {
        return Err(refuse("inputs", "is empty; at least one text is needed"));
    }
    at_most("inputs", request.inputs.len(), INPUTS)?;
    request.attribution.as_ref().map_or(Ok(()), attribution)
}

/// Checks a score.
pub(crate) fn feedback(request: &FeedbackRequest) -> Checked {
    if request.request_id.is_empty() {
        return Err(refuse("request_id", "is empty; name the request that is scored"));
    }
    if !(-1.0..=1.0).contains(&request.score) {
        return Err(refuse("score", "must be between -1 and 1"));
    }
    if request
        .entry_id
        .as_ref()
        .is_some_and(|id| id.len() != 32 || !id.bytes().all(|c| c.is_ascii_hexdigit()))
    {
        return Err(refuse("entry_id", "is not the id of an entry; give that of the answer, or none"));
    }
    request.kind.as_ref().map_or(Ok(()), |kind| word("kind", kind))
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Sampling, Text, Tool};

    use super::*;

    fn valid() -> GenerateRequest {
        let text = Part { kind: Some(part::Kind::Text(Text { text: "Hi".into() })), ..Part::default() };
        let message = Message { role: Role::User.into(), parts: vec![text], ..Message::default() };
        let chat = ChatRequest { model: "auto".into(), messages: vec![message], ..ChatRequest::default() };
        GenerateRequest { chat: Some(chat), ..GenerateRequest::default() }
    }

    #[test]
    fn accepts_a_plain_request() {
        generate(&valid()).unwrap();
    }

    #[test]
    fn a_score_is_bounded_and_its_kind_is_a_word() {
        let of = |score, kind: &str| {
            let kind = Some(kind.to_owned());
            feedback(&FeedbackRequest { request_id: "r".into(), score, kind, entry_id: None })
        };
        of(-1.0, "asked_again").unwrap();
        let long = "x".repeat(65);
        for (score, kind, field) in [
            (1.5, "thumbs", "score"),
            (f64::NAN, "thumbs", "score"),
            (1.0, "two words", "kind"),
            (1.0, &long, "kind"),
        ] {
            let status = of(score, kind).unwrap_err();
            assert!(status.message().starts_with(&format!("{field}: ")), "{}", status.message());
        }
        let entry = |id: &str| {
            feedback(&FeedbackRequest {
                request_id: "r".into(),
                entry_id: Some(id.into()),
                ..FeedbackRequest::default()
            })
        };
        entry(&"0a".repeat(16)).unwrap();
        assert!(entry("0a").unwrap_err().message().starts_with("entry_id: "));
    }

    #[test]
    fn names_the_field_at_fault() {
        type Break = fn(&mut ChatRequest);
        let cases: [(&str, Break); 8] = [
            ("chat.model", |c| c.model.clear()),
            ("chat.messages", |c| c.messages.clear()),
            ("chat.messages[0].role", |c| c.messages[0].role = 99),
            ("chat.messages[0].parts", |c| c.messages[0].parts.clear()),
            ("chat.messages[0].parts[0]", |c| c.messages[0].parts[0].kind = None),
            ("chat.tools[1].name", |c| {
                c.tools = vec![Tool { name: "a".into(), ..Tool::default() }; 2];
            }),
            ("chat.sampling.temperature", |c| {
                c.sampling = Some(Sampling { temperature: Some(f64::NAN), ..Sampling::default() });
            }),
            ("chat.sampling.max_output_tokens", |c| {
                c.sampling = Some(Sampling { max_output_tokens: Some(0), ..Sampling::default() });
            }),
        ];
        for (field, spoil) in cases {
            let mut request = valid();
            spoil(request.chat.as_mut().unwrap());
            let status = generate(&request).unwrap_err();
            assert_eq!(error::reason_of(&status), Some(ErrorReason::InvalidRequest));
            assert!(status.message().starts_with(&format!("{field}: ")), "{field}: {}", status.message());
        }
    }
}
