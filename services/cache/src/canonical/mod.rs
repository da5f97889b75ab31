//! What makes two requests the same: a hash over a canonical form of everything that shapes the answer.
//!
//! The conversation is split before its last message. What stands before it, with the settings and with who asks, is the
//! *setting*; with the last message it is the *key* of the exact tier, and with the encoder's name the *partition* of
//! the semantic tier. So a long conversation is hashed once for both.
//!
//! Messages are taken apart field by field: a field that is added to the contract does not compile until it counts.

mod json;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;

use signalbox_proto::common::v1::{
    ChatRequest, JsonObjectFormat, JsonSchemaFormat, Media, Message, Part, Reasoning, ReasoningText,
    ResponseFormat, Sampling, Text, TextFormat, Tool, ToolCall, ToolChoice, ToolResult, media, part,
    response_format,
};

pub(crate) use self::writer::Digest;
use self::writer::Writer;
use crate::language::Language;

const SETTING: &str = "signalbox cache 2026-11 setting";
const KEY: &str = "signalbox cache 2026-11 key";
const FRAME: &str = "signalbox cache 2026-11 frame";
const PARTITION: &str = "signalbox cache 2026-11 partition";

/// Who asks, and under which rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) tenant: &'a str,
    /// Present where the policy keeps users apart.
    pub(crate) user: Option<&'a str>,
    pub(crate) guard_digest: &'a [u8],
    pub(crate) redacted: bool,
}

/// A request, reduced to hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Everything that shapes the answer.
    pub(crate) key: Digest,
    setting: Digest,
    /// The last message without its text: its role, name and marks.
    frame: Digest,
}

impl Canonical {
    pub(crate) fn of(identity: Identity<'_>, chat: &ChatRequest) -> Self {
        let (last, history) = match chat.messages.split_last() {
            Some((last, history)) => (Some(last), history),
            None => (None, &[][..]),
        };
        let mut out = Writer::new();
        who(&mut out, identity);
        settings(&mut out, chat);
        out.list(history.iter(), |out, turn| message(out, turn, Words::Count));
        let setting = out.digest(SETTING);

        let mut out = Writer::new();
        out.digest_of(setting);
        out.option(last, |out, turn| message(out, turn, Words::Count));
        let key = out.digest(KEY);

        let mut out = Writer::new();
        out.option(last, |out, turn| message(out, turn, Words::LeftOut));
        Self { key, setting, frame: out.digest(FRAME) }
    }

    /// Within which the last user turn's text may be compared by meaning, for vectors of one model and answers in one language.
    pub(crate) fn partition(&self, model_hash: &[u8; 32], language: Language) -> Digest {
        let mut out = Writer::new();
        out.digest_of(self.setting);
        out.digest_of(self.frame);
        out.bytes(model_hash);
        out.text(language);
        out.digest(PARTITION)
    }
}

/// Whether the text parts of a message count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Count,
    LeftOut,
}

fn who(out: &mut Writer, identity: Identity<'_>) {
    let Identity { tenant, user, guard_digest, redacted } = identity;
    out.text(tenant);
    out.option(user, Writer::text);
    out.bytes(guard_digest);
    out.flag(redacted);
}

fn settings(out: &mut Writer, chat: &ChatRequest) {
    let ChatRequest {
        model,
        messages: _,
        tools,
        tool_choice,
        response_format,
        sampling,
        extra,
        parallel_tool_calls,
        reasoning,
    } = chat;
    out.text(model);
    out.list(tools.iter(), tool);
    out.option(tool_choice.as_ref(), |out, choice| {
        let ToolChoice { mode, name } = choice;
        out.integer((*mode).into());
        out.option(name.as_deref(), Writer::text);
    });
    out.option(response_format.as_ref(), format);
    out.option(sampling.as_ref(), drawing);
    out.option(extra.as_ref(), json::object);
    out.option(*parallel_tool_calls, Writer::flag);
    out.option(reasoning.as_ref(), |out, reasoning| {
        let Reasoning { effort, max_tokens, summary } = reasoning;
        out.option(effort.as_deref(), Writer::text);
        out.option(max_tokens.map(u64::from), Writer::number);
        out.option(summary.as_deref(), Writer::text);
    });
}

fn tool(out: &mut Writer, tool: &Tool) {
    let Tool { name, description, parameters, strict, extra } = tool;
    out.text(name);
    out.option(description.as_deref(), Writer::text);
    out.option(parameters.as_ref(), json::object);
    out.option(*strict, Writer::flag);
    out.option(extra.as_ref(), json::object);
}

fn format(out: &mut Writer, format: &ResponseFormat) {
    use response_format::Kind;
    match &format.kind {
        None => out.tag(0),
        Some(Kind::Text(TextFormat {})) => out.tag(1),
        Some(Kind::JsonObject(JsonObjectFormat {})) => out.tag(2),
        Some(Kind::JsonSchema(JsonSchemaFormat { name, schema, strict, description })) => {
            out.tag(3);
            out.text(name);
            out.option(schema.as_ref(), json::object);
            out.option(*strict, Writer::flag);
            out.option(description.as_deref(), Writer::text);
        }
    }
}

fn drawing(out: &mut Writer, sampling: &Sampling) {
    let Sampling {
        temperature,
        top_p,
        top_k,
        max_output_tokens,
        stop,
        seed,
        presence_penalty,
        frequency_penalty,
        logit_bias,
        logprobs,
        top_logprobs,
    } = sampling;
    out.option(*temperature, Writer::float);
    out.option(*top_p, Writer::float);
    out.option(top_k.map(u64::from), Writer::number);
    out.option(max_output_tokens.map(u64::from), Writer::number);
    out.list(stop.iter(), |out, stop| out.text(stop));
    out.option(*seed, Writer::integer);
    out.option(*presence_penalty, Writer::float);
    out.option(*frequency_penalty, Writer::float);
    out.list(sorted(logit_bias).into_iter(), |out, (token, bias)| {
        out.text(token);
        out.float(*bias);
    });
    out.option(*logprobs, Writer::flag);
    out.option(top_logprobs.map(u64::from), Writer::number);
}

fn sorted(map: &HashMap<String, f64>) -> Vec<(&String, &f64)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    pairs
}

fn message(out: &mut Writer, message: &Message, words: Words) {
    let Message { role, parts, name, extra } = message;
    out.integer((*role).into());
    out.list(parts.iter(), |out, part| piece(out, part, words));
    out.option(name.as_deref(), Writer::text);
    out.option(extra.as_ref(), json::object);
}

fn piece(out: &mut Writer, piece: &Part, words: Words) {
    use part::Kind;
    let Part { kind, source, extra } = piece;
    match kind {
        None => out.tag(0),
        Some(Kind::Text(Text { text })) => {
            out.tag(1);
            if words == Words::Count {
                out.text(text);
            }
        }
        Some(Kind::Image(image)) => {
            out.tag(2);
            media(out, image);
        }
        Some(Kind::Audio(audio)) => {
            out.tag(3);
            media(out, audio);
        }
        Some(Kind::File(file)) => {
            out.tag(4);
            media(out, file);
        }
        Some(Kind::ToolCall(ToolCall { id, name, arguments })) => {
            out.tag(5);
            out.text(id);
            out.text(name);
            json::text(out, arguments);
        }
        Some(Kind::ToolResult(ToolResult { call_id, parts, is_error })) => {
            out.tag(6);
            out.text(call_id);
            out.list(parts.iter(), |out, part| self::piece(out, part, Words::Count));
            out.option(*is_error, Writer::flag);
        }
        Some(Kind::Reasoning(ReasoningText { text, signature, provider })) => {
            out.tag(7);
            out.text(text);
            out.option(signature.as_deref(), Writer::text);
            out.option(provider.as_deref(), Writer::text);
        }
        Some(Kind::Refusal(Text { text })) => {
            out.tag(8);
            out.text(text);
        }
    }
    out.integer((*source).into());
    out.option(extra.as_ref(), json::object);
}

fn media(out: &mut Writer, media: &Media) {
    use media::Content;
    let Media { content, media_type, name, detail } = media;
    match content {
        None => out.tag(0),
        Some(Content::Url(url)) => {
            out.tag(1);
            out.text(url);
        }
        Some(Content::Data(data)) => {
            out.tag(2);
            out.bytes(data);
        }
        Some(Content::FileId(id)) => {
            out.tag(3);
            out.text(id);
        }
    }
    out.text(media_type);
    out.option(name.as_deref(), Writer::text);
    out.option(detail.as_deref(), Writer::text);
}
