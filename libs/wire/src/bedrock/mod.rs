//! AWS Bedrock's Converse and ConverseStream, and InvokeModel for vectors.
//!
//! Written after the Bedrock Runtime API reference and recordings of real exchanges.
//!
//! - The model stands in the path ([`path`]), a stream is binary frames ([`Stream`]), and a request is either signed
//!   ([`sign`]) or carries a bearer key.
//! - System and developer messages are gathered in `system`, tool results stand in the user's turn, and neighbouring
//!   turns of one side are joined, because Converse wants them to alternate.
//! - `extra` holds what Converse says and our messages do not, at the level where it stood: `guardrailConfig`,
//!   `additionalModelRequestFields`, … for a request; `cachePoint`, `guardContent`, `video`, … for a part, whose text is
//!   then empty; `toolUse`, `toolResult`, `document`, … for the other fields of such a block. Fields of other dialects
//!   are left out; `cache_control` becomes a cache point.
//! - What Converse cannot say is left out where the answer is still one (seed, penalties, logit bias, log probabilities,
//!   parallel calls), and an error where it would not be (a JSON object without a schema, files by id or web address).
//! - Tool arguments are JSON objects here. Those of an earlier turn that are none are sent as `{"invalid_json": "…"}`.

pub mod embeddings;
pub mod sign;

mod encode;
mod error;
mod frames;
mod media;
mod model;
mod parse;
mod part;
mod stream;
mod usage;

pub use encode::{Options, encode};
pub use error::error;
pub use model::path;
pub use parse::{Parsed, parse};
pub use stream::{Stream, whole};
