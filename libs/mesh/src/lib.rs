//! The channel between services, local or remote, and the layers on it.
//!
//! A service crate builds a [`Part`]. Its own binary serves it with a [`Server`]; the all-in-one binary makes a local
//! [`Channel`] to it instead. Both ways lead through the same layers, so that nothing that calls or is called can tell
//! which it is:
//!
//! | on both | where |
//! | --- | --- |
//! | deadline (`grpc-timeout`) over the whole call, not only to its headers | both sides |
//! | limits on the first message, on silence, and on the whole of an answer | calling side |
//! | one message limit, `INVALID_ARGUMENT` beyond it | the side that decodes |
//! | a panic ends one call with `INTERNAL` | serving side |
//! | more calls than the limit are refused with `OVERLOADED` | serving side |
//! | tenant, principal, deadline, trace and retry budget travel as [`RequestContext`] | both sides |
//! | dropping an answer cancels the handler | both sides |
//!
//! What fails carries `google.rpc.ErrorInfo`; see [`error`].

mod channel;
mod clock;
mod config;
mod context;
mod environment;
pub mod error;
mod frame;
mod health;
pub mod metadata;
mod part;
mod patience;
mod random;
mod server;
mod signal;
mod tasks;
mod timeout;
mod trace;

pub use tokio_util::sync::CancellationToken;

pub use self::{
    channel::{AddressError, Channel, Connector, Io},
    clock::{Clock, ManualClock, SystemClock},
    config::{ClientConfig, Config, Limits, OutOfBounds, SECTION, ServerConfig},
    context::RequestContext,
    environment::Environment,
    health::HealthHandle,
    part::Part,
    random::{Random, request_id},
    server::{ContextTrust, ServeError, Server, listen},
    signal::shutdown_signal,
    tasks::{Shutdown, TaskSet},
    trace::TraceContext,
};

/// Makes a generated client over a clone of a [`Channel`]: `client!(GuardServiceClient, self.guard)`.
///
/// tonic's own message limits (4 MiB by default) are lifted; the channel's layers keep the one of the configuration.
#[macro_export]
macro_rules! client {
    ($($client:ident)::+, $channel:expr) => {
        $($client)::+::new($crate::Channel::clone(&$channel))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    };
}

/// Makes a generated server for [`Part::new`]: `server!(GuardServiceServer, implementation)`.
///
/// tonic's own message limits (4 MiB by default) are lifted; the layers of [`Server`] and [`Channel::local`] keep the
/// one of the configuration.
#[macro_export]
macro_rules! server {
    ($($server:ident)::+, $implementation:expr) => {
        $($server)::+::new($implementation)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    };
}
