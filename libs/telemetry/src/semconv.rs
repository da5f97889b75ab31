//! The names that logs, spans and metrics use. Those that begin with `gen_ai` are OpenTelemetry's.

/// The span of one request at the gateway.
pub const SPAN_REQUEST: &str = "signalbox.request";
/// The span of one attempt at a provider.
pub const SPAN_ATTEMPT: &str = "signalbox.attempt";
/// The mesh's id of a request.
pub const REQUEST_ID: &str = "signalbox.request_id";
/// The tenant's name.
pub const TENANT: &str = "signalbox.tenant";
/// The cache's part in an answer.
pub const CACHE_STATE: &str = "signalbox.cache.state";
/// The operation, as in the GenAI conventions.
pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
/// The provider's name.
pub const GEN_AI_PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model asked for.
pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
/// The model that answered.
pub const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
/// Input tokens.
pub const GEN_AI_USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Output tokens.
pub const GEN_AI_USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// `input` or `output`.
pub const GEN_AI_TOKEN_TYPE: &str = "gen_ai.token.type";
/// How an operation failed.
pub const ERROR_TYPE: &str = "error.type";
/// How a request or an attempt ended, as the ledger calls it.
pub const OUTCOME: &str = "signalbox.outcome";
/// Why an attempt was made.
pub const ATTEMPT_KIND: &str = "signalbox.attempt.kind";
/// A step of a request.
pub const STEP: &str = "signalbox.step";
/// A target, `provider/model`.
pub const TARGET: &str = "signalbox.target";
