//! The Chat Completions dialect, as OpenAI, Azure, vLLM, llama.cpp, Ollama, Groq, DeepSeek, Mistral, OpenRouter and many
//! others speak it.
//!
//! Written after OpenAI's API reference, the servers' own behaviour, and recordings of real exchanges.
//!
//! What has no field in our messages travels in `extra` at the level where it stood. A known field whose value is `null`
//! or an empty list travels there too. Of a piece (a message's part, a tool) that is not known at all, `extra` holds the whole, told by
//! its `type`. `extra` never replaces a field that is set, and cannot bring in a model, messages, or streaming of its own.

pub mod azure;
pub mod embeddings;

mod alike;
pub(crate) mod body;
mod chunk;
mod encode;
mod foreign;
mod parse;
mod part;
mod reply;
mod stream;
pub(crate) mod style;
pub(crate) mod usage;

pub use encode::{Options, encode};
pub use parse::{Parsed, parse, parse_for};
pub use reply::Reply;
pub(crate) use reply::reply;
pub use stream::{Stream, whole};
pub use style::{OutputLimit, ReasoningField, Style};
