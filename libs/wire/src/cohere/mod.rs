//! Cohere's own dialect: `/v2/chat` and `/v2/embed`. The base URL ends in `/v2`.
//!
//! Written after Cohere's API reference and recordings of real exchanges.
//!
//! - The plan that a model makes before it calls tools is reasoning here, marked with `"type": "tool_plan"` in `extra`.
//! - `documents`, `citation_options`, `safety_mode`, … travel in a request's `extra`; fields that are known to be of
//!   another dialect are left out, as are logit bias, parallel calls and top log probabilities, which Cohere has not.
//! - The choice of one tool becomes "some tool must be called" with only that tool.
//! - Documents of a tool's result are text; their form stays in `extra`.
//! - Usage is what the model read and wrote. Cohere bills less, because it does not count its own preamble: what it has beyond
//!   `billed_units` is `unbilled_…_tokens`, which cost nothing.

pub mod embeddings;

mod encode;
mod error;
mod parse;
mod stream;
mod turn;

pub use encode::{Options, encode};
pub use error::error;
pub use parse::{Parsed, parse};
pub use stream::{Stream, whole};
