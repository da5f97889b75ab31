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
//! | TLS with certificates on both sides, and who may call whom ([`tls`]) | over the network |
//! | tenant, principal, deadline, trace and retry budget travel as [`RequestContext`] | both sides |
//! | dropping an answer cancels the handler | both sides |
//!
//! What fails carries `google.rpc.ErrorInfo`; see [`error`].
//!
//! A service crate and its binary, in short:
//!
//! ```no_run
//! use signalbox_mesh::{Config, Environment, Part, Server, listen, server, shutdown_signal};
//! # use signalbox_proto::guard::v1::{guard_service_server::{GuardService, GuardServiceServer}, *};
//! # use tonic::{Request, Response, Status, Streaming};
//! # struct Guard;
//! # #[tonic::async_trait]
//! # impl GuardService for Guard {
//! #     type ScreenStream = tokio_stream::Pending<Result<ScreenResponse, Status>>;
//! #     async fn inspect(&self, _: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> { todo!() }
//! #     async fn screen(&self, _: Request<Streaming<ScreenRequest>>) -> Result<Response<Self::ScreenStream>, Status> { todo!() }
//! #     async fn list_detectors(&self, _: Request<ListDetectorsRequest>) -> Result<Response<ListDetectorsResponse>, Status> { todo!() }
//! # }
//!
//! fn build(_environment: &Environment) -> Part {
//!     let part = Part::new(server!(GuardServiceServer, Guard));
//!     part.health().set_detail("judge", "off: no model is configured");
//!     part
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (mesh, environment) = (Config::default(), Environment::system("/var/lib/signalbox"));
//!     let listener = listen("127.0.0.1:8081".parse()?)?;
//!     let server = Server::new(&mesh.server, &environment).part(build(&environment));
//!     server.serve(listener, shutdown_signal()).await?;
//!     Ok(())
//! }
//! ```
//!
//! And who calls it, here in the same process:
//!
//! ```no_run
//! # use signalbox_proto::guard::v1::{InspectRequest, guard_service_client::GuardServiceClient};
//! use signalbox_mesh::{Channel, Config, Environment, Part, RequestContext, client};
//!
//! # async fn call(part: Part, mesh: Config, environment: Environment) -> Result<(), tonic::Status> {
//! let channel = Channel::local(&part, &mesh, &environment);
//! let context = RequestContext::background().with_principal("acme", "key-1");
//! let mut guard = client!(GuardServiceClient, channel);
//! let answer = guard.inspect(context.request(InspectRequest::default())).await?;
//! # Ok(())
//! # }
//! ```

mod channel;
mod clock;
mod config;
mod context;
mod discovery;
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
pub mod tls;
mod trace;

pub use tokio_util::sync::CancellationToken;

pub use self::{
    channel::{Answers, Called, Channel, Connector, Io, Sent},
    clock::{Clock, ManualClock, SystemClock},
    config::{
        Balance, ClientConfig, Config, ConfigError, Limits, OutOfBounds, SECTION, ServerConfig, is_loopback,
    },
    context::RequestContext,
    discovery::{
        AddressError, AdvertiseError, Advertised, ConsulConfig, Discovery, DnsConfig, Registration,
        check_addresses,
    },
    environment::Environment,
    health::HealthHandle,
    part::Part,
    random::{Random, request_id},
    server::{ContextTrust, Http, Manner, ServeError, Server, listen},
    signal::shutdown_signal,
    tasks::{Place, Shutdown, TaskSet},
    tls::MeshTls,
    trace::TraceContext,
};

/// Makes a generated client over a clone of a [`Channel`]: `client!(GuardServiceClient, self.guard)`.
///
/// tonic's own message limits (4 MiB by default) are lifted; the channel's layers keep the one of the configuration.
#[macro_export]
macro_rules! client {
    ($($client:ident)::+, $channel:expr) => {
        $($client)::+::new($crate::Channel::for_client(&$channel))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    };
}

/// Makes a generated server for [`Part::new`]: `server!(GuardServiceServer, implementation)`, or `from` an `Arc` of one.
///
/// tonic's own message limits (4 MiB by default) are lifted; the layers of [`Server`] and [`Channel::local`] keep the
/// one of the configuration.
#[macro_export]
macro_rules! server {
    ($($server:ident)::+, from $implementation:expr) => {
        $($server)::+::from_arc($implementation)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    };
    ($($server:ident)::+, $implementation:expr) => {
        $($server)::+::new($implementation)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    };
}

/// Names a method of a part, for callers in the same process: `method!(part, path, guard, GuardService::inspect)` where `guard` is the
/// `Arc` that the part's server was made of, or with `stream` behind it where the answer is one.
#[macro_export]
macro_rules! method {
    ($part:expr, $path:expr, $service:expr, $method:path) => {{
        let service = ::std::sync::Arc::clone(&$service);
        $part.method($path, move |request| {
            let service = ::std::sync::Arc::clone(&service);
            ::std::boxed::Box::pin(async move { $method(&*service, request).await })
        })
    }};
    ($part:expr, $path:expr, $service:expr, $method:path, stream) => {{
        let service = ::std::sync::Arc::clone(&$service);
        $part.method($path, move |request| {
            let service = ::std::sync::Arc::clone(&service);
            ::std::boxed::Box::pin(async move {
                $method(&*service, request).await.map(|answer| answer.map($crate::boxed))
            })
        })
    }};
}

/// A stream of answers whatever its type, as [`method!`] needs it.
#[doc(hidden)]
pub fn boxed<S>(stream: S) -> futures_util::stream::BoxStream<'static, S::Item>
where
    S: futures_util::Stream + Send + 'static,
{
    Box::pin(stream)
}
