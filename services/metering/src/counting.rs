//! Counting the input tokens of a chat, never long on a thread that serves requests.

use std::{borrow::Cow, sync::Arc};

use prost_types::{Struct, Value, value::Kind};
use signalbox_catalog::tokens;
use signalbox_proto::common::v1::{ChatRequest, Part, part, response_format};
use tokio::sync::Semaphore;

use crate::refusal::Refusal;

/// Tokens assumed for an image, a sound or a document, whose own size nobody here can tell.
const MEDIA_TOKENS: u64 = 1_000;
const MESSAGES: usize = 10_000;

/// Input tokens of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) tokens: u64,
    pub(crate) exact: bool,
}

/// Counts chats; long ones on a bounded number of threads of their own.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    inline_bytes: usize,
    room: Arc<Semaphore>,
}

/// The text of a chat.
struct Texts<'a> {
    messages: Vec<Cow<'a, str>>,
    /// Tools and schemas, in a form near to the one that providers use.
    beside: String,
    media: u64,
}

impl Counting {
    /// Creates it. Texts up to `inline_bytes` are counted at once, longer ones on at most `threads` threads.
    pub(crate) fn new(inline_bytes: usize, threads: usize) -> Self {
        Self { inline_bytes, room: Arc::new(Semaphore::new(threads)) }
    }

    /// Counts a chat with the vocabulary of a model.
    pub(crate) async fn count(&self, vocabulary: &str, chat: ChatRequest) -> Result<Count, Refusal> {
        if chat.messages.is_empty() {
            return Err(Refusal::invalid("chat.messages", "add at least one message"));
        }
        if chat.messages.len() > MESSAGES {
            return Err(Refusal::invalid(
                "chat.messages",
                format!("at most {MESSAGES} messages are allowed"),
            ));
        }
        let texts = Texts::of(&chat);
        if texts.bytes() <= self.inline_bytes {
            return Ok(texts.count(vocabulary));
        }
        drop(texts);
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Refusal::Overloaded)?;
        let vocabulary = vocabulary.to_owned();
        let counted = tokio::task::spawn_blocking(move || {
            let count = Texts::of(&chat).count(&vocabulary);
            drop(place);
            count
        });
        counted.await.map_err(|_ended| Refusal::Overloaded)
    }
}

impl<'a> Texts<'a> {
    fn of(chat: &'a ChatRequest) -> Self {
        let mut media = 0;
        let messages = chat.messages.iter().map(|message| text(&message.parts, &mut media)).collect();
        let mut beside = String::new();
        for tool in &chat.tools {
            for part in [&tool.name, tool.description.as_deref().unwrap_or_default()] {
                beside.push_str(part);
                beside.push('\n');
            }
            for schema in [&tool.parameters, &tool.extra].into_iter().flatten() {
                render_struct(schema, &mut beside);
            }
        }
        if let Some(response_format::Kind::JsonSchema(format)) =
            chat.response_format.as_ref().and_then(|f| f.kind.as_ref())
        {
            format.schema.iter().for_each(|schema| render_struct(schema, &mut beside));
        }
        Self { messages, beside, media }
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.len()).sum::<usize>() + self.beside.len()
    }

    fn count(&self, vocabulary: &str) -> Count {
        let counted = tokens::count_chat(vocabulary, self.messages.iter().map(AsRef::as_ref));
        let beside =
            if self.beside.is_empty() { 0 } else { tokens::count_text(vocabulary, &self.beside).tokens };
        Count {
            tokens: counted.tokens.saturating_add(beside).saturating_add(self.media * MEDIA_TOKENS),
            exact: counted.exact && self.beside.is_empty() && self.media == 0,
        }
    }
}

/// The text of a message's parts; media are counted beside it.
fn text<'a>(parts: &'a [Part], media: &mut u64) -> Cow<'a, str> {
    if let [Part { kind: Some(part::Kind::Text(only)), .. }] = parts {
        return Cow::Borrowed(&only.text);
    }
    let mut whole = String::new();
    for part in parts {
        match &part.kind {
            Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => whole.push_str(&text.text),
            Some(part::Kind::Reasoning(reasoning)) => whole.push_str(&reasoning.text),
            Some(part::Kind::ToolCall(call)) => {
                whole.push_str(&call.name);
                whole.push_str(&call.arguments);
            }
            Some(part::Kind::ToolResult(result)) => whole.push_str(&text(&result.parts, media)),
            Some(part::Kind::Image(_) | part::Kind::Audio(_) | part::Kind::File(_)) => *media += 1,
            None => {}
        }
    }
    Cow::Owned(whole)
}

/// Writes a structure as JSON, without escapes: it is only counted.
fn render_struct(object: &Struct, out: &mut String) {
    out.push('{');
    for (key, value) in &object.fields {
        out.push('"');
        out.push_str(key);
        out.push_str("\":");
        render(value, out);
        out.push(',');
    }
    out.push('}');
}

fn render(value: &Value, out: &mut String) {
    match &value.kind {
        Some(Kind::StringValue(text)) => {
            out.push('"');
            out.push_str(text);
            out.push('"');
        }
        Some(Kind::NumberValue(number)) => out.push_str(&number.to_string()),
        Some(Kind::BoolValue(yes)) => out.push_str(if *yes { "true" } else { "false" }),
        Some(Kind::StructValue(object)) => render_struct(object, out),
        Some(Kind::ListValue(list)) => {
            out.push('[');
            for value in &list.values {
                render(value, out);
                out.push(',');
            }
            out.push(']');
        }
        Some(Kind::NullValue(_)) | None => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Media, Message, Text, Tool, ToolResult};

    use super::*;

    fn part(kind: part::Kind) -> Part {
        Part { kind: Some(kind), ..Part::default() }
    }

    fn says(text: &str) -> Part {
        part(part::Kind::Text(Text { text: text.to_owned() }))
    }

    fn chat(parts: Vec<Part>) -> ChatRequest {
        ChatRequest { messages: vec![Message { parts, ..Message::default() }], ..ChatRequest::default() }
    }

    async fn count(chat: ChatRequest) -> Count {
        Counting::new(1 << 20, 1).count("gpt-4o", chat).await.unwrap()
    }

    #[tokio::test]
    async fn counts_as_the_provider_does_where_that_is_known() {
        let plain = count(chat(vec![says("What is the capital of France?")])).await;
        assert_eq!(plain, Count { tokens: 14, exact: true });
        let split = count(chat(vec![says("What is the capital"), says(" of France?")])).await;
        assert_eq!(split, plain, "parts of one message are one text");
    }

    #[tokio::test]
    async fn media_tools_and_nested_results_are_counted_but_not_exactly() {
        let image = part(part::Kind::Image(Media::default()));
        let result =
            ToolResult { parts: vec![says("four words of text"), image.clone()], ..ToolResult::default() };
        let nested = count(chat(vec![part(part::Kind::ToolResult(result))])).await;
        assert!(nested.tokens > MEDIA_TOKENS && !nested.exact, "{nested:?}");
        let mut tools = chat(vec![says("Hi")]);
        let bare = count(tools.clone()).await;
        tools.tools = vec![Tool { name: "get_weather".to_owned(), ..Tool::default() }];
        let more = count(tools).await;
        assert!(more.tokens > bare.tokens && !more.exact);
    }

    #[tokio::test]
    async fn long_texts_are_counted_elsewhere_with_the_same_result() {
        let long = chat(vec![says(&"some words and more ".repeat(2_000))]);
        let elsewhere = Counting::new(16, 1).count("gpt-4o", long.clone()).await.unwrap();
        assert_eq!(elsewhere, count(long).await);
        assert!(elsewhere.tokens > 8_000);
    }

    #[tokio::test]
    async fn a_chat_without_messages_is_refused() {
        let refused = Counting::new(16, 1).count("gpt-4o", ChatRequest::default()).await;
        assert!(matches!(refused, Err(Refusal::Invalid { .. })));
    }
}
