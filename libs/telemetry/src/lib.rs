//! Logs and metrics, with one set of names.
//!
//! Log lines go to standard error, metrics to whoever asks `/metrics`. Both hold ids, codes, counts and durations; nothing of a
//! prompt, an answer or a key.

mod logs;
pub mod metrics;
pub mod semconv;

pub use self::logs::init;
