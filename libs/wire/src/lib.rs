//! Provider dialects and stream codecs: Signalbox's messages on one side, a provider's bytes on the other.
//!
//! What this crate promises:
//!
//! - **No byte boundary matters.** [`sse::Parser`] gives the same events however the bytes are cut, with bounded
//!   buffers ([`Limits`]).
//! - **Nothing unknown is lost.** Fields without a place of their own travel in `extra`, both ways.
//! - **A cut answer is never called complete.** [`Summary::finish_reason`] is set only if the provider gave one.
//! - **Errors keep the provider's own words**, bounded and without secrets ([`ProviderError`]), and carry one
//!   [`ErrorClass`], from which the executor decides what to do.
//!
//! The crate does no input or output and holds no clock.

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod door;
pub mod error;
pub mod google;
pub mod json;
pub mod openai;
pub mod redact;
pub mod responses;
pub mod sse;

mod answer;
mod dialect;
mod elements;
mod stream;

pub use answer::{Answer, Limits, Summary};
pub use dialect::{Decoder, Dialect, Encoded, Target, UnknownDialect};
pub use error::{ErrorClass, ProviderError, RequestError};
