//! A model provider that speaks the OpenAI wire format over real sockets and misbehaves on demand.
//!
//! It serves `POST /v1/chat/completions` (whole and streamed), `POST /v1/embeddings` and `GET /v1/models`, over
//! HTTP/1.1 and HTTP/2 with prior knowledge. Bytes are those of the provider: order of fields, white space,
//! headers, error bodies. The same seed and the same request give the same bytes (only `x-request-id` and
//! `openai-processing-ms` differ). Parameters that it does not know are ignored.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use signalbox_testkit::provider::{Config, Provider};
//!
//! let provider = Provider::start(Config::default()).await?;
//! println!("point a client at {}", provider.base_url());
//! provider.wait_for(|totals| totals.in_flight == 0).await;
//! provider.shutdown().await;
//! # Ok::<(), signalbox_testkit::provider::Error>(()) }).unwrap();
//! ```
//!
//! # What was asked
//!
//! [`Provider::requests`], [`Provider::totals`] and [`Provider::wait_for`] say so in process; `GET
//! /sim/requests`, `GET /sim/usage`, `GET /sim/wait?completed=1&in_flight=0` and `POST /sim/reset` over HTTP.
//!
//! # What is answered
//!
#![doc = include_str!("grammar.md")]

mod answer;
mod args;
mod bench;
mod body;
mod connection;
mod control;
mod dice;
mod embedding;
mod fault;
mod model;
mod problem;
mod record;
mod render;
mod request;
mod schema;
mod script;
mod server;
mod service;
mod token;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

pub use args::{Args, run};
pub use fault::{Fault, OptionError};
pub use model::{Base, Model, Shape};
pub use record::{Outcome, Recorded, Totals, Usage};
pub use server::Provider;
pub use token::count_tokens;

/// The grammar of model names, as the help of the command shows it.
pub const GRAMMAR: &str = include_str!("grammar.md");

/// Returns all options of the grammar, as `+name` or `+name=VALUE`.
fn option_names() -> impl Iterator<Item = &'static str> {
    let cells = GRAMMAR.lines().filter_map(|line| line.strip_prefix("| `"));
    cells.filter_map(|rest| rest.split('`').next()).filter(|cell| cell.starts_with('+'))
}

/// How a simulator is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides all that looks random.
    pub seed: u64,
    /// The key that must come as `Authorization: Bearer KEY`; `None` asks for none.
    pub require_key: Option<Key>,
    /// Further names to serve as `sim-small` and, at `/v1/embeddings`, as `sim-embed`.
    pub models: Vec<String>,
    /// How many requests are remembered; the oldest are forgotten first.
    pub kept_records: usize,
    /// How many connections may be open; more wait in the listener's backlog.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            require_key: None,
            models: Vec::new(),
            kept_records: 10_000,
            max_connections: 10_000,
        }
    }
}

impl Config {
    /// Returns the names of all models that are served, without options.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = ["sim-small", "sim-large", "sim-echo", bench::NAME, "sim-embed"];
        own.into_iter().chain(self.models.iter().map(String::as_str))
    }
}

/// A caller's key. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    fn is(&self, given: &str) -> bool {
        self.0 == given
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {source}; choose another with --listen, port 0 takes a free one")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
