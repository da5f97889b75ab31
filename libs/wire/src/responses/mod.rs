//! The Responses dialect, as OpenAI, Azure, xAI, OpenRouter, DeepSeek, vLLM, LM Studio and others speak it.
//!
//! Written after OpenAI's API reference, the Open Responses specification, and recordings of real exchanges.
//!
//! - **Items.** Messages, calls of functions and custom tools, their outputs, and reasoning have a place of their own: what one turn of
//!   the assistant says (reasoning, text, calls) is one message of ours, each output of a tool another. Any other item (a built-in
//!   tool's call, a compaction, a reference, …) is a text part without text whose `extra` is the whole item, told by its `type`; an
//!   answer gives it as one delta of the same form, once it is complete.
//! - **Instructions.** A leading system message of one plain text is `instructions`; see [`Style::instructions`].
//! - **Spelling.** A text written as a list of one part is marked by the type `text` in `extra`, as in Chat Completions; one with a type that
//!   its role does not imply keeps that type there.
//! - **Reasoning** goes back only to the provider that wrote it, with its id and its encrypted form. Where it is left out, the ids of the
//!   turn's other items are too: the server would look for the reasoning that belongs to them.
//! - **Storing.** Servers keep answers by default. A request that says nothing about it is sent with `store: false`
//!   ([`Style::private`]).
//! - **Other dialects' fields** are left out ([`encode`]); what no known dialect uses is passed through. Stop texts and token biases do not
//!   exist at OpenAI and Azure: they are an error there, because an answer without them is another one.
//! - **Indices.** A delta's index is the item's place in the answer.
//! - **Citations** come with the part they belong to, once its text is complete, so that offsets can count bytes.
//! - **The end** is `response.completed` or `response.incomplete`; nothing else makes an answer complete.

mod answer;
mod echo;
mod encode;
mod error;
mod event;
mod foreign;
mod forget;
mod item;
mod output;
mod parse;
mod reply;
mod said;
mod stream;
mod style;
mod usage;
mod write;

pub use echo::Echo;
pub use encode::{Options, encode};
pub use error::refine;
pub use forget::forget;
pub(crate) use item::is_item;
pub use parse::{Parsed, parse};
pub use reply::Reply;
pub(crate) use reply::reply;
pub use stream::{Stream, whole};
pub use style::Style;
