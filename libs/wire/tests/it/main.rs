//! The dialects against recordings of real exchanges.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod again;
mod anthropic;
mod bedrock;
mod cohere;
mod detect;
mod errors;
mod google;
mod hostile;
mod reading;
mod recordings;
mod responses;
