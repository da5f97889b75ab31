//! The metadata keys under which the context of a request travels between services.
//!
//! Keys that begin with `sb-` mean something only inside the mesh; the public listener strips them.

/// The request id, a UUID of version 7.
pub const REQUEST_ID: &str = "sb-request-id";
/// The tenant's name.
pub const TENANT: &str = "sb-tenant";
/// The principal's id.
pub const PRINCIPAL: &str = "sb-principal";
/// How many retries are left to the request over all layers, a decimal number.
pub const RETRY_BUDGET: &str = "sb-retry-budget";
/// A line of a health answer that says what is degraded; may occur several times.
pub const HEALTH_DETAIL: &str = "sb-health-detail";
/// W3C trace context: trace id, parent span, flags.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context: what tracing vendors pass along.
pub const TRACESTATE: &str = "tracestate";
/// The time left to the caller's deadline, in gRPC's own form.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The prefix of the keys that are never accepted from outside the mesh.
pub const PRIVATE_PREFIX: &str = "sb-";
