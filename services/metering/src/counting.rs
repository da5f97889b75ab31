//! Counting the input tokens of a chat, never long on a thread that serves requests.

use std::sync::Arc;

pub(crate) use signalbox_catalog::tokens::Count;
use signalbox_catalog::tokens::{self, Loaded};
use signalbox_proto::common::v1::ChatRequest;
use tokio::sync::Semaphore;

use crate::{prompt, refusal::Refusal};

const MESSAGES: usize = 10_000;

/// By whose rules a request is counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) responses: bool,
    /// The vocabulary that the configuration names.
    pub(crate) vocabulary: Option<Arc<Loaded>>,
}

/// Counts chats; long ones on a bounded number of threads of their own.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    inline_bytes: usize,
    room: Arc<Semaphore>,
}

impl Counted {
    fn model(&self) -> tokens::Model<'_> {
        tokens::Model {
            provider: &self.provider,
            name: &self.model,
            responses: self.responses,
            vocabulary: self.vocabulary.as_ref(),
        }
    }
}

impl Counting {
    /// Creates it. Texts up to `inline_bytes` are counted at once, longer ones on at most `threads` threads.
    pub(crate) fn new(inline_bytes: usize, threads: usize) -> Self {
        Self { inline_bytes, room: Arc::new(Semaphore::new(threads)) }
    }

    /// Counts a chat as a model's provider would.
    pub(crate) async fn count(&self, counted: &Counted, chat: ChatRequest) -> Result<Count, Refusal> {
        if chat.messages.is_empty() {
            return Err(Refusal::invalid("chat.messages", "add at least one message"));
        }
        if chat.messages.len() > MESSAGES {
            return Err(Refusal::invalid(
                "chat.messages",
                format!("at most {MESSAGES} messages are allowed"),
            ));
        }
        let prompt = prompt::of(&chat);
        if prompt.bytes() <= self.inline_bytes {
            return Ok(tokens::count(&counted.model(), &prompt));
        }
        drop(prompt);
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Refusal::Overloaded)?;
        let counted = counted.clone();
        let count = tokio::task::spawn_blocking(move || {
            let count = tokens::count(&counted.model(), &prompt::of(&chat));
            drop(place);
            count
        });
        count.await.map_err(|_ended| Refusal::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Media, Message, Part, Text, Tool, ToolResult, media, part};

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

    fn gpt_4o() -> Counted {
        Counted { model: "gpt-4o".to_owned(), ..Counted::default() }
    }

    async fn count(chat: ChatRequest) -> Count {
        Counting::new(1 << 20, 1).count(&gpt_4o(), chat).await.unwrap()
    }

    #[tokio::test]
    async fn counts_as_the_provider_does_where_that_is_known() {
        let plain = count(chat(vec![says("What is the capital of France?")])).await;
        assert_eq!(plain, Count { tokens: 14, exact: true, margin: 0 });
        let split = count(chat(vec![says("What is the capital"), says(" of France?")])).await;
        assert_eq!(split, plain, "parts of one message are one text");
    }

    #[tokio::test]
    async fn media_tools_and_nested_results_are_counted_but_not_exactly() {
        let image = part(part::Kind::Image(Media::default()));
        let result =
            ToolResult { parts: vec![says("four words of text"), image.clone()], ..ToolResult::default() };
        let nested = count(chat(vec![part(part::Kind::ToolResult(result))])).await;
        assert!(nested.tokens > 500 && !nested.exact && nested.margin > 100, "{nested:?}");
        let mut tools = chat(vec![says("Hi")]);
        let bare = count(tools.clone()).await;
        tools.tools = vec![Tool { name: "get_weather".to_owned(), ..Tool::default() }];
        let more = count(tools).await;
        assert!(more.tokens > bare.tokens && !more.exact);
    }

    #[tokio::test]
    async fn long_texts_are_counted_elsewhere_with_the_same_result() {
        let long = chat(vec![says(&"some words and more ".repeat(2_000))]);
        let elsewhere = Counting::new(16, 1).count(&gpt_4o(), long.clone()).await.unwrap();
        assert_eq!(elsewhere, count(long).await);
        assert!(elsewhere.tokens > 8_000);
    }

    #[tokio::test]
    async fn an_image_is_measured() {
        // The first bytes of a PNG of 64 by 32 pixels.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 64, 0, 0, 0, 32, 8, 2, 0, 0, 0]);
        let image = Media { content: Some(media::Content::Data(png.into())), ..Media::default() };
        let seen = count(chat(vec![says("Hi"), part(part::Kind::Image(image))])).await;
        // 8 for the text in its format, and one tile: 85 + 170.
        assert_eq!(seen.tokens, 8 + 255);
    }

    /// A long prompt is counted beside the thread that serves requests: others are answered while it is.
    #[tokio::test]
    async fn counting_never_blocks_the_thread_that_serves() {
        let counting = Counting::new(1 << 10, 1);
        let long = chat(vec![says(&"a word and ".repeat(200_000))]);
        let (mine, counted) = (counting.clone(), gpt_4o());
        let counted = tokio::spawn(async move { mine.count(&counted, long).await.unwrap() });
        // The runtime has one thread: that this is counted first shows that it was free.
        let mut short = 0;
        while !counted.is_finished() {
            count(chat(vec![says("Hi")])).await;
            short += 1;
            tokio::task::yield_now().await;
        }
        assert!(short > 3, "{short} short ones meanwhile");
        assert!(counted.await.unwrap().tokens > 500_000);
        assert_eq!(counting.room.available_permits(), 1, "the place is free again");
    }

    #[tokio::test]
    async fn a_chat_without_messages_is_refused() {
        let refused = Counting::new(16, 1).count(&gpt_4o(), ChatRequest::default()).await;
        assert!(matches!(refused, Err(Refusal::Invalid { .. })));
    }
}
