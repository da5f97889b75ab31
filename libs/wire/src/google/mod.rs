//! Google's dialect: `generateContent` of Gemini and of Vertex AI, which differ in address and credential only.
//!
//! Written after Google's API reference and recordings of real exchanges.
//!
//! - The base URL ends before `/models`: `https://generativelanguage.googleapis.com/v1beta`, or
//!   `https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION/publishers/google`.
//! - `safetySettings`, `cachedContent`, `labels`, … travel in a request's `extra` under their own names; fields that Google
//!   does not know are left out, because it refuses them.
//! - Calls have ids of our own where Google gives none. A call's `thoughtSignature` stays in its `extra`, and must come
//!   back with it.
//! - Code that the provider ran, and what else has no place of its own, is an empty text with the part in `extra`.

mod encode;
mod error;
mod stream;

pub use encode::{Options, embed, encode, path};
pub use error::error;
pub use stream::{Stream, vectors, whole};
