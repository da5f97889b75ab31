//! A prompt as far as its tokens go.

use std::borrow::Cow;

use serde_json::Value;

/// Who says something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions.
    System,
    /// The user.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// A prompt.
#[derive(Debug, Clone, Default)]
pub struct Prompt<'a> {
    /// What was said.
    pub turns: Vec<Turn<'a>>,
    /// What may be called.
    pub tools: Vec<Tool<'a>>,
    /// What the provider puts into the prompt from elsewhere, by the provider's word for it: finds of tools that it runs itself, such
    /// as a search of the web, and what it kept of an earlier call. It is billed, and nobody knows it before.
    pub unseen: Vec<&'a str>,
    /// The schema that the answer keeps to.
    pub schema: Option<Value>,
    /// Whether a tool must be called.
    pub must_call: bool,
    /// Whether the model is asked to think first.
    pub thinks: bool,
    /// Whether only the texts are known, and nothing of what else was asked for.
    pub untold: bool,
}

/// A message.
#[derive(Debug, Clone, Default)]
pub struct Turn<'a> {
    /// Who says it.
    pub speaker: Speaker,
    /// The speaker's own name.
    pub name: Option<&'a str>,
    /// All its texts. Reasoning of earlier turns is not sent on by providers and belongs not here.
    pub text: Cow<'a, str>,
    /// What it calls.
    pub calls: Vec<Call<'a>>,
    /// What it shows.
    pub media: Vec<Media>,
}

/// A call of a tool.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The tool.
    pub name: &'a str,
    /// JSON.
    pub arguments: Cow<'a, str>,
}

/// A tool.
#[derive(Debug, Clone)]
pub struct Tool<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// A JSON schema.
    pub parameters: Value,
}

/// Something that is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// An image; `None`: of unknown size.
    Image {
        /// Width and height in pixels.
        size: Option<(u32, u32)>,
        /// How closely it is looked at.
        detail: Detail,
    },
    /// A sound or a video, in milliseconds; `None`: unknown.
    Audio(Option<u64>),
    /// A document, in bytes; 0: unknown.
    Document(u64),
}

/// How closely an image is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// As the provider likes.
    #[default]
    Auto,
    /// Small.
    Low,
    /// Fully.
    High,
}

impl Prompt<'_> {
    /// Returns the bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let turns = self.turns.iter().map(|turn| {
            turn.text.len()
                + turn.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>()
        });
        let tools = self.tools.iter().map(|tool| tool.description.len() + bytes(&tool.parameters));
        turns.chain(tools).chain(self.schema.iter().map(bytes)).sum()
    }

    pub(super) fn has_system(&self) -> bool {
        self.turns.iter().any(|turn| turn.speaker == Speaker::System)
    }
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(bytes).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + 4 + bytes(value)).sum(),
        _ => 4,
    }
}
