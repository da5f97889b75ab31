//! The Messages dialect of Anthropic, as its own API, its clouds, and servers with an Anthropic door speak it.
//!
//! Written after Anthropic's API reference and recordings of real exchanges.
//!
//! - **Blocks.** Text, images, documents, tool calls and results, and (signed or redacted) thinking have a part of their own. Any other
//!   block (a server's tool call, its result, a compaction, …) is a text part without text whose `extra` is the whole block,
//!   told by its `type`; an answer gives it as one delta of the same form, once it is complete.
//! - **Instructions** stand in `system`. Those that come later stay in their place where the model takes them there.
//! - **What stands elsewhere only in another spelling** (one text as a list, a document's source) is marked in `extra` by `type` or
//!   `source`, so that a request read and written again is equal.
//! - **Other dialects' fields** are left out ([`encode`]); what no known dialect uses is passed through.
//! - **Thinking** goes back only to the provider that wrote it, and only with its signature.
//! - **Counts.** `input_tokens` is the sum of what Anthropic counts apart: uncached, read from and written to the cache. The tokens of a
//!   compaction are added, because they are billed beside; an advisor's are not, because they have another price. They stand in
//!   `extra.usage.iterations`.

mod answer;
mod block;
mod body;
mod encode;
mod error;
mod foreign;
mod forget;
mod headers;
mod model;
mod parse;
mod reply;
mod said;
mod stream;
mod thinking;
mod tool;
mod turn;
mod usage;

pub use encode::{Options, encode};
pub use error::refine;
pub use forget::forget;
pub use headers::headers;
pub use model::default_max_tokens;
pub use parse::{Parsed, parse};
pub use reply::Reply;
pub(crate) use reply::reply;
pub use stream::{Stream, whole};
