//! Tells what a recording is: by its path, and where that is a proxy's own, by the shape of what was said.

use serde_json::Value;

use super::recordings::{body, events, is_stream, json};

/// What a recording is.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    OpenAi,
    OpenAiEmbeddings,
    Responses {
        /// Asked for by its id, after it was given in the background.
        fetched: bool,
    },
    Anthropic {
        counts: bool,
        /// Vertex AI: the model stands in the path.
        raw: bool,
    },
    Google,
    GoogleEmbeddings,
    /// The model's id.
    Bedrock(String),
    BedrockEmbeddings(String),
    Cohere,
    CohereEmbeddings,
    /// Something else, and what.
    Other(&'static str),
}

/// Doors of providers where nobody talks to a model, or in no dialect of ours. Ends of paths, then pieces of paths.
const ENDS: [(&str, &str); 17] = [
    (":countTokens", "a count of tokens"),
    ("/responses/input_tokens", "a count of tokens"),
    ("/responses/compact", "a conversation made shorter"),
    ("/completions", "text completions, without messages"),
    ("/complete", "text completions, without messages"),
    ("/v1/chat", "Cohere's first version"),
    ("/v1/generate", "Cohere's first version"),
    ("/v1/embed", "Cohere's first version"),
    ("/api/chat", "Ollama's own dialect"),
    ("/api/generate", "Ollama's own dialect"),
    ("/api/embed", "Ollama's own dialect"),
    ("/api/embeddings", "Ollama's own dialect"),
    ("/rerank", "reranking"),
    ("/predictLongRunning", "another model than one of language"),
    ("/moderations", "moderation"),
    ("/converse/count-tokens", "a count of tokens"),
    ("/count-tokens", "a count of tokens"),
];
const PIECES: [(&str, &str); 26] = [
    ("/threads", "assistants and threads"),
    ("/assistants", "assistants and threads"),
    ("/files", "files"),
    ("/uploads", "files"),
    ("/upload/", "files"),
    ("/batches", "batches"),
    ("/images", "images"),
    ("/videos", "videos"),
    ("/audio/", "sound"),
    ("/realtime", "sound"),
    ("/vector_stores", "stored documents"),
    ("/fileSearchStores", "stored documents"),
    ("/cachedContents", "stored prompts"),
    ("/conversations", "stored conversations"),
    ("/containers", "containers"),
    ("/skills", "skills"),
    ("/fine_tuning", "training"),
    ("/token", "credentials"),
    ("/oauth", "credentials"),
    ("/operations", "long operations"),
    ("/guardrail/", "guardrails"),
    ("/agents", "agents at the provider"),
    ("/conversations", "agents at the provider"),
    ("/retrieve", "retrieval"),
    ("/invoke", "Bedrock's older InvokeModel"),
    ("/async-invoke", "Bedrock's older InvokeModel"),
];

pub(crate) fn kind(row: &Value) -> Kind {
    let path = path(row);
    let end = |suffix: &str| path.ends_with(suffix);
    let request = json(&row["request"]);
    if let Some((model, operation)) = path.split_once("/model/").and_then(|(_, rest)| rest.rsplit_once('/')) {
        let vectors = ["texts", "inputText", "singleEmbeddingParams", "images", "taskType"];
        return match operation {
            "converse" | "converse-stream" => Kind::Bedrock(model.to_owned()),
            "invoke" if model.contains("embed") && vectors.iter().any(|key| request.get(key).is_some()) => {
                Kind::BedrockEmbeddings(model.to_owned())
            }
            "count-tokens" => Kind::Other("a count of tokens"),
            _ => Kind::Other("Bedrock's older InvokeModel"),
        };
    }
    let spoken = request.is_object() && row["method"] != "GET";
    if end(":generateContent") || end(":streamGenerateContent") {
        return Kind::Google;
    }
    if end(":embedContent") || end(":batchEmbedContents") {
        return Kind::GoogleEmbeddings;
    }
    if end(":rawPredict") || end(":streamRawPredict") {
        let raw = path.contains("/anthropic/");
        return if raw {
            Kind::Anthropic { counts: false, raw }
        } else {
            Kind::Other("another maker's dialect at Vertex AI")
        };
    }
    if end(":predict") {
        let vectors = request["instances"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["content"].is_string()));
        return if vectors {
            Kind::GoogleEmbeddings
        } else {
            Kind::Other("another model than one of language")
        };
    }
    if end("/chat/completions")
        && (spoken || request.is_null() || request.is_string())
        && row["method"] != "GET"
    {
        return Kind::OpenAi;
    }
    if path.contains("/responses/resp_")
        && !end("/cancel")
        && !end("/input_items")
        && row["method"] != "DELETE"
    {
        return Kind::Responses { fetched: true };
    }
    if end("/responses") && row["method"] != "GET" {
        return Kind::Responses { fetched: false };
    }
    if end("/messages/count_tokens") {
        return Kind::Anthropic { counts: true, raw: false };
    }
    if end("/messages") && !path.contains("/threads/") && row["method"] != "GET" {
        return Kind::Anthropic { counts: false, raw: false };
    }
    if end("/v2/chat") {
        return Kind::Cohere;
    }
    if end("/v2/embed")
        || (end("/embed") && request["texts"].is_array() && !end("/v1/embed") && !end("/api/embed"))
    {
        return Kind::CohereEmbeddings;
    }
    if end("/embeddings") && !end("/api/embeddings") {
        return Kind::OpenAiEmbeddings;
    }
    // A door of that name may be a proxy's, for a dialect of ours.
    if let Some(kind) = by_shape(&request, &answer(row)) {
        return kind;
    }
    if let Some((_, what)) = ENDS.iter().find(|(suffix, _)| end(suffix)) {
        return Kind::Other(what);
    }
    if let Some((_, what)) = PIECES.iter().find(|(piece, _)| path.contains(piece)) {
        return Kind::Other(what);
    }
    Kind::Other("no door of a model, and nothing that looks like an answer")
}

/// The path without query and closing slash; `%3A` is a colon.
pub(crate) fn path(row: &Value) -> String {
    let given = row["path"].as_str().filter(|path| !path.is_empty());
    let url = row["url"].as_str().unwrap_or_default();
    let of_url = || {
        url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or_default()
    };
    let path = given.unwrap_or_else(of_url);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').replace("%3A", ":").replace("%3a", ":").replace("%2F", "/")
}

/// The answer, or the first event of one.
fn answer(row: &Value) -> Value {
    let body = body(row);
    if is_stream(&body) {
        events(&body).0.into_iter().next().unwrap_or_default()
    } else {
        json(&row["response"])
    }
}

fn by_shape(request: &Value, response: &Value) -> Option<Kind> {
    let object = response["object"].as_str().unwrap_or_default();
    let messages = request["messages"].is_array();
    let choice = &response["choices"][0];
    if messages
        && (object.starts_with("chat.completion")
            || choice["message"].is_object()
            || choice["delta"].is_object())
    {
        return Some(Kind::OpenAi);
    }
    if object == "response" || response["type"] == "response.created" {
        return request.get("input").map(|_| Kind::Responses { fetched: false });
    }
    let message = response["type"] == "message" && response["content"].is_array();
    if messages && (message || (response["type"] == "message_start" && response["message"].is_object())) {
        return Some(Kind::Anthropic { counts: false, raw: request.get("model").is_none() });
    }
    if request["contents"].is_array() && response["candidates"].is_array() {
        return Some(Kind::Google);
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn doors_are_told_by_their_paths() {
        let of = |path: &str| {
            kind(&json!({"path": path, "method": "POST", "request": {"messages": []}, "status": 200}))
        };
        assert_eq!(of("/openai/deployments/d/chat/completions?api-version=1"), Kind::OpenAi);
        assert_eq!(of("/api/v1/chat/completions/"), Kind::OpenAi);
        assert_eq!(of("/v1beta/models/m:streamGenerateContent?alt=sse"), Kind::Google);
        assert_eq!(of("/model/a.b-v1%3A0/converse"), Kind::Bedrock("a.b-v1:0".into()));
        assert_eq!(of("/v1/threads/t/messages"), Kind::Other("assistants and threads"));
        assert_eq!(of("/anthropic/v1/messages"), Kind::Anthropic { counts: false, raw: false });
        let proxied = json!({"path": "/serve", "method": "POST", "request": {"messages": []}, "response": "{\"object\":\"chat.completion\"}"});
        assert_eq!(kind(&proxied), Kind::OpenAi);
    }
}
