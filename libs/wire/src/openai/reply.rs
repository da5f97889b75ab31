//! Answers of this dialect, as clients read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_types::Struct;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::generate_event::Kind;
use signalbox_proto::common::v1::{
    Citation, Delta, FinishReason, Finished, Media, Started, ToolCallDelta, media,
};
use signalbox_proto::gateway::v1::CompleteResponse;

use super::usage;
use crate::door::{Extension, Head, Owned, data, extras, offset, pieces, typed};
use crate::json::{Object, nested, text};

/// What a choice's delta or message says in fields of its own.
const SAID: [&str; 8] =
    ["role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "annotations", "type"];
/// What a chunk or an answer says in fields of its own.
const TOLD: [&str; 8] = ["id", "object", "created", "model", "choices", "usage", "error", "type"];

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Reply {
    head: Head,
    extension: Extension,
    /// The beginning of every chunk, to its choice's delta.
    prefix: Vec<u8>,
    calls: Vec<u32>,
    refused: bool,
}

impl Reply {
    pub(crate) fn new(head: Head) -> Self {
        Self { head, extension: Extension::default(), prefix: Vec::new(), calls: Vec::new(), refused: false }
    }

    pub(crate) fn event(&mut self, event: Kind, out: &mut Vec<u8>) {
        match event {
            Kind::Started(started) => self.begin(*started, out),
            Kind::Delta(delta) => self.delta(delta, out),
            Kind::Notice(notice) => self.extension.notice(&notice, out),
            Kind::Seam(seam) => self.extension.seam(&seam, out),
            Kind::Finished(finished) => self.finish(&finished, out),
        }
    }

    fn begin(&mut self, started: Started, out: &mut Vec<u8>) {
        self.extension.started(started);
        let nothing: [(); 0] = [];
        // Text and numbers are always written.
        let mut prefix =
            serde_json::to_string(&self.told("chat.completion.chunk", nothing)).unwrap_or_default();
        prefix.truncate(prefix.len().saturating_sub("]}".len()));
        self.prefix = format!("data: {prefix}{{\"index\":0,\"delta\":").into_bytes();
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
        out.extend_from_slice(REST);
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        let logprobs = delta.logprobs.as_ref();
        if let (Some(Content::Text(words)), None) = (&delta.content, &delta.extra) {
            return self.chunk(&Said { content: words }, logprobs, out);
        }
        let mut map = Map::new();
        self.say(&mut map, delta.index, delta.content, delta.extra.as_ref(), false);
        if !map.is_empty() || logprobs.is_some() {
            self.chunk(&map, logprobs, out);
        }
    }

    fn chunk(&self, said: &impl Serialize, logprobs: Option<&Struct>, out: &mut Vec<u8>) {
        let before = out.len();
        out.extend_from_slice(&self.prefix);
        let written = serde_json::to_writer(&mut *out, said).and_then(|()| match logprobs {
            None => Ok(()),
            Some(logprobs) => {
                out.extend_from_slice(b",\"logprobs\":");
                serde_json::to_writer(&mut *out, &Object(logprobs))
            }
        });
        match written {
            Ok(()) => out.extend_from_slice(REST),
            Err(_) => out.truncate(before),
        }
    }

    /// Adds a piece to a delta, or to the message of a whole answer.
    fn say(
        &mut self,
        map: &mut Map<String, Value>,
        index: u32,
        content: Option<Content>,
        extra: Option<&Struct>,
        whole: bool,
    ) {
        match content {
            // Another dialect's block has no place here.
            Some(Content::Text(words)) if typed(&words, extra).is_some() => return,
            Some(Content::Text(words)) => match extra.and_then(|extra| extra.fields.get("content")) {
                Some(piece) if words.is_empty() && !whole => {
                    map.insert("content".to_owned(), json!([crate::json::Any(piece)]));
                }
                _ => append(map, "content", words),
            },
            Some(Content::Refusal(words)) => {
                self.refused = true;
                append(map, "refusal", words);
            }
            Some(Content::Reasoning(thought)) if thought.text.is_empty() => {}
            Some(Content::Reasoning(thought)) => append(map, "reasoning_content", thought.text),
            Some(Content::ToolCall(call)) => {
                return push(map, "tool_calls", self.call(index, call, extra, whole));
            }
            Some(Content::Citation(citation)) => {
                let words = map.get("content").and_then(Value::as_str).unwrap_or_default();
                let annotation = annotation(*citation, words);
                push(map, "annotations", annotation);
            }
            Some(Content::Media(media)) => push(map, "images", image(&media)),
            None => {}
        }
        if text(extra, "type").is_none() {
            extras(map, extra, &SAID);
        }
    }

    fn call(&mut self, index: u32, call: ToolCallDelta, extra: Option<&Struct>, whole: bool) -> Value {
        // A new id under an old index is a new call.
        let known = self
            .calls
            .iter()
            .rposition(|known| *known == index)
            .filter(|_| call.id.is_none() || call.name.is_none());
        let place = known.unwrap_or_else(|| {
            self.calls.push(index);
            self.calls.len() - 1
        });
        let mut map = Map::new();
        if !whole {
            map.insert("index".to_owned(), place.into());
        }
        let mut function = Map::new();
        if known.is_none() {
            let id = call.id.filter(|id| !id.is_empty());
            map.insert(
                "id".to_owned(),
                id.unwrap_or_else(|| format!("call_{}_{place}", self.head.request_id)).into(),
            );
            map.insert("type".to_owned(), "function".into());
        } else if let Some(id) = call.id {
            map.insert("id".to_owned(), id.into());
        }
        if let Some(name) = call.name {
            function.insert("name".to_owned(), name.into());
        }
        function.insert("arguments".to_owned(), call.arguments.into());
        map.insert("function".to_owned(), function.into());
        extras(&mut map, extra, &["index", "id", "type", "function"]);
        map.into()
    }

    fn finish(&mut self, finished: &Finished, out: &mut Vec<u8>) {
        let ended = Ended { index: 0, delta: Map::new(), logprobs: (), finish_reason: self.word(finished) };
        let mut last = self.told("chat.completion.chunk", [ended]);
        extras(&mut last.rest, finished.extra.as_ref(), &TOLD);
        last.signalbox = Some(self.extension.told(finished));
        data(out, "", &last);
        if self.head.include_usage {
            let nothing: [(); 0] = [];
            let mut last = self.told("chat.completion.chunk", nothing);
            last.usage = Some(finished.usage.unwrap_or_default().into());
            data(out, "", &last);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn told<C>(&self, object: &'static str, choices: C) -> Told<'_, C> {
        Told {
            id: Id(&self.head),
            object,
            created: self.head.created,
            model: self.extension.model(),
            choices,
            usage: None,
            rest: Map::new(),
            signalbox: None,
        }
    }

    fn word<'a>(&self, finished: &'a Finished) -> &'a str {
        match finished.finish_reason() {
            FinishReason::Stop => "stop",
            FinishReason::Refusal if self.refused => "stop",
            FinishReason::Length | FinishReason::Budget => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter | FinishReason::Guard | FinishReason::Refusal => "content_filter",
            FinishReason::Unspecified => {
                let own = finished.provider_finish_reason.as_deref().filter(|word| !word.is_empty());
                own.unwrap_or(if self.calls.is_empty() { "stop" } else { "tool_calls" })
            }
        }
    }
}

/// Writes a whole answer.
pub(crate) fn reply(head: Head, answer: CompleteResponse) -> Bytes {
    let mut reply = Reply::new(head);
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), Value::Null);
    message.insert("refusal".to_owned(), Value::Null);
    let (mut logprobs, mut last, mut unread) = (Value::Null, Finished::default(), Vec::new());
    for event in pieces(answer) {
        match event {
            Kind::Delta(delta) => {
                if let Some(given) = &delta.logprobs {
                    logprobs = json!(Object(given));
                }
                reply.say(&mut message, delta.index, delta.content, delta.extra.as_ref(), true);
            }
            Kind::Started(started) => reply.extension.started(*started),
            Kind::Finished(finished) => last = *finished,
            event => reply.event(event, &mut unread),
        }
    }
    let choice = Chosen { index: 0, message, logprobs, finish_reason: reply.word(&last) };
    let mut all = reply.told("chat.completion", [choice]);
    all.usage = Some(last.usage.unwrap_or_default().into());
    extras(&mut all.rest, last.extra.as_ref(), &TOLD);
    all.signalbox = Some(reply.extension.told(&last));
    // Writing into memory fails for no value that is written here.
    Bytes::from(serde_json::to_vec(&all).unwrap_or_default())
}

/// The end of a chunk without a finish reason.
const REST: &[u8] = b",\"finish_reason\":null}]}\n\n";

#[derive(Serialize)]
struct Said<'a> {
    content: &'a str,
}

/// Is a chunk, or an answer.
#[derive(Serialize)]
struct Told<'a, C> {
    id: Id<'a>,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: C,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<usage::Written>,
    #[serde(flatten)]
    rest: Map<String, Value>,
    /// Under the name of [`FIELD`](crate::door::FIELD).
    #[serde(skip_serializing_if = "Option::is_none")]
    signalbox: Option<Owned<'a>>,
}

#[derive(Serialize)]
struct Ended<'a> {
    index: u32,
    delta: Map<String, Value>,
    logprobs: (),
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct Chosen<'a> {
    index: u32,
    message: Map<String, Value>,
    logprobs: Value,
    finish_reason: &'a str,
}

struct Id<'a>(&'a Head);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("chatcmpl-{}", self.0.request_id))
    }
}

/// Adds words to a text that may be there already.
fn append(map: &mut Map<String, Value>, key: &str, words: String) {
    match map.get_mut(key) {
        Some(Value::String(text)) => text.push_str(&words),
        _ => {
            map.insert(key.to_owned(), words.into());
        }
    }
}

fn push(map: &mut Map<String, Value>, key: &str, value: Value) {
    match map.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            map.insert(key.to_owned(), vec![value].into());
        }
    }
}

/// Writes a citation; in a stream, where the text is not at hand, without its place.
fn annotation(citation: Citation, words: &str) -> Value {
    let own = nested(citation.extra.as_ref(), "url_citation");
    if let (Some(_), Some(extra)) = (own, &citation.extra) {
        return json!(Object(extra));
    }
    let mut inner = Map::new();
    let place = |byte: Option<u64>| byte.filter(|_| !words.is_empty()).and_then(|byte| offset(words, byte));
    if let (Some(start), Some(end)) = (place(citation.start_byte), place(citation.end_byte)) {
        inner.insert("start_index".to_owned(), start.into());
        inner.insert("end_index".to_owned(), end.into());
    }
    for (key, value) in [("url", citation.url), ("title", citation.title)] {
        inner.insert(key.to_owned(), value.unwrap_or_default().into());
    }
    json!({ "type": "url_citation", "url_citation": inner })
}

/// Writes an image as servers of this dialect do that make some.
fn image(media: &Media) -> Value {
    let url = match &media.content {
        Some(media::Content::Url(url)) => url.clone(),
        Some(media::Content::Data(bytes)) => {
            format!("data:{};base64,{}", media.media_type, STANDARD.encode(bytes))
        }
        Some(media::Content::FileId(_)) | None => String::new(),
    };
    json!({ "type": "image_url", "image_url": { "url": url } })
}
