//! Google's dialect: `generateContent` of Gemini and of Vertex AI, which differ in address and credential only.
//!
//! Written after Google's API reference and recordings of real exchanges.
//!
//! - The base URL ends before `/models`: `https://generativelanguage.googleapis.com/v1beta`, or
//!   `https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION/publishers/google`.
//! - Requests are read too, in any of Google's spellings; how a caller spelled them stays in `extra`, so that what is written
//!   back is the same JSON. Fields of Google's travel in `extra` under their own names, at the level where they stood
//!   (`safetySettings`, `cachedContent`, `generationConfig.responseModalities`, `toolConfig.retrievalConfig`, …); those
//!   of other dialects are left out, because Google refuses them.
//! - Google's own tools are tools with nothing but `extra`: `{"googleSearch": {}}`.
//! - Thinking is asked for by budget or by level, as the model's generation wants it, and shown to who asks for a summary.
//! - Calls have ids of our own where Google gives none. A call's `thoughtSignature` stays in its `extra`, and must come
//!   back with it; so does `functionCall.id` where Google gave one.
//! - Code that the provider ran, and what else has no place of its own, is an empty text with the `part` in `extra`.
//! - A stream is read as server-sent events or as a JSON list, which is what comes without `alt=sse`.
//! - Models of other makers at Vertex AI speak their makers' dialects and are refused here by name.

pub mod embeddings;

mod arguments;
mod citation;
mod encode;
mod error;
mod leave;
mod media;
mod model;
mod own;
mod parse;
mod part;
mod schema;
mod stream;
mod tool;

pub use encode::{Options, encode};
pub use error::error;
pub(crate) use leave::leave;
pub use model::path;
pub use parse::{Parsed, parse};
pub use stream::{Stream, whole};
