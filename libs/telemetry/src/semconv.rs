//! The names that logs, spans and metrics use. Those that begin with `gen_ai` are OpenTelemetry's.

/// The version of what tells.
pub const SERVICE_VERSION: &str = "service.version";
/// Which process tells.
pub const SERVICE_INSTANCE: &str = "service.instance.id";
/// The system of a call: `grpc`.
pub const RPC_SYSTEM: &str = "rpc.system";
/// The service that is called, with its package.
pub const RPC_SERVICE: &str = "rpc.service";
/// The method that is called.
pub const RPC_METHOD: &str = "rpc.method";
/// How a gRPC call ended, as a number.
pub const RPC_GRPC_STATUS: &str = "rpc.grpc.status_code";
/// The method of a request over HTTP.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// How a request over HTTP ended.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// The path of a request over HTTP.
pub const URL_PATH: &str = "url.path";
/// The host that is asked.
pub const SERVER_ADDRESS: &str = "server.address";
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
/// Whether a request is for a stream, as in the GenAI conventions' extensions.
pub const GEN_AI_REQUEST_STREAM: &str = "gen_ai.request.stream";
/// Most tokens that were asked for.
pub const GEN_AI_REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// Why a model stopped: a list with one name.
pub const GEN_AI_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// The provider's id of an answer.
pub const GEN_AI_RESPONSE_ID: &str = "gen_ai.response.id";
/// To the first token, in seconds.
pub const GEN_AI_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// The conversation.
pub const GEN_AI_CONVERSATION_ID: &str = "gen_ai.conversation.id";
/// Input tokens that the provider read from its own cache.
pub const GEN_AI_USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
/// What was asked, redacted; only where content is captured.
pub const GEN_AI_INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// What was answered, redacted; only where content is captured.
pub const GEN_AI_OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// The principal's id.
pub const PRINCIPAL: &str = "signalbox.principal";
/// An attempt's number within its execution.
pub const ATTEMPT_NUMBER: &str = "signalbox.attempt.number";
/// What it cost, in dollars.
pub const COST_USD: &str = "signalbox.cost.usd";
/// What the cache saved, in dollars.
pub const SAVED_USD: &str = "signalbox.saved.usd";
/// What the mesh took before a model was asked, in seconds.
pub const OVERHEAD: &str = "signalbox.overhead";
/// Attempts that were made for a request.
pub const ATTEMPTS: &str = "signalbox.attempts";
/// What a request is for, as its caller says.
pub const FEATURE: &str = "signalbox.feature";
/// By what way a model was chosen.
pub const ROUTE_WAY: &str = "signalbox.route.way";
/// The policy, of whichever service.
pub const POLICY: &str = "signalbox.policy";
/// The event of a stream that goes on with another model.
pub const EVENT_SEAM: &str = "signalbox.seam";
/// The event of something that a client is told: a redaction, a part that is away, a model that was asked again.
pub const EVENT_NOTICE: &str = "signalbox.notice";
/// What a client is told.
pub const NOTICE_KIND: &str = "signalbox.notice.kind";
/// The target before a seam.
pub const SEAM_FROM: &str = "signalbox.seam.from";
/// The target after a seam.
pub const SEAM_TO: &str = "signalbox.seam.to";
/// How the two are joined.
pub const SEAM_KIND: &str = "signalbox.seam.kind";
/// Bytes of answer text before a seam.
pub const SEAM_AT_BYTE: &str = "signalbox.seam.at_byte";
/// The event of an attempt's first output.
pub const EVENT_FIRST_OUTPUT: &str = "signalbox.first_output";
/// Why.
pub const REASON: &str = "signalbox.reason";
/// What is thought of a replica: `near`, `far` or `ejected`.
pub const REPLICA_STATE: &str = "signalbox.replica.state";
/// A part of the mesh.
pub const PART: &str = "signalbox.part";
/// What telemetry is of: traces or logs.
pub const SIGNAL: &str = "signalbox.signal";
/// A detector of the guard.
pub const DETECTOR: &str = "signalbox.detector";
/// What the guard did with a finding.
pub const ACTION: &str = "signalbox.action";
/// What the guard decided.
pub const VERDICT: &str = "signalbox.verdict";
/// Prompt or answer.
pub const DIRECTION: &str = "signalbox.direction";
/// A budget.
pub const BUDGET: &str = "signalbox.budget";
/// Who named a policy of the router.
pub const NAMED_BY: &str = "signalbox.named_by";
/// A tier of the guard: `patterns`, or `learned` behind them.
pub const TIER: &str = "signalbox.tier";
/// Whether a record was new.
pub const RECORD: &str = "signalbox.record";
/// What an alert of metering is about.
pub const ALERT_KIND: &str = "signalbox.alert.kind";

/// A configured provider's name as the GenAI conventions have it, where they know the provider; any other stays as it is.
///
/// Source: the values of `gen_ai.provider.name` in OpenTelemetry's semantic conventions for generative AI.
#[must_use]
pub fn provider(name: &str) -> &str {
    match name {
        "azure" | "azure_openai" | "azure-openai" => "azure.ai.openai",
        "azure_ai" | "azure-ai" => "azure.ai.inference",
        "bedrock" | "amazon" | "aws" => "aws.bedrock",
        "gemini" | "google" => "gcp.gemini",
        "vertex" | "vertex_ai" | "vertex-ai" => "gcp.vertex_ai",
        "mistral" | "mistralai" => "mistral_ai",
        "watsonx" => "ibm.watsonx.ai",
        "xai" => "x_ai",
        other => other,
    }
}
