//! What Azure does differently: addresses, and what its content filter says.

use serde_json::Value;

use crate::redact::{self, MAX_WORDS};
use crate::{ErrorClass, ProviderError};

/// The version of the deployments' API that requests name: the last stable one. What is newer is at the versionless door.
pub const API_VERSION: &str = "2024-10-21";

/// Returns the path of a deployment's door, such as `chat/completions`.
#[must_use]
pub fn path(deployment: &str, door: &str) -> String {
    let mut name = String::with_capacity(deployment.len());
    for byte in deployment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("/openai/deployments/{name}/{door}?api-version={API_VERSION}")
}

/// Reads what the content filter found, which stands deep inside the error, and adds it to the words.
#[must_use]
pub fn refine(mut error: ProviderError, body: &[u8]) -> ProviderError {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return error };
    let outer = &body["error"];
    let inner = [&outer["innererror"], &outer["inner_error"]].into_iter().find(|inner| inner.is_object());
    let inner = inner.unwrap_or(&Value::Null);
    if inner["code"] == "ResponsibleAIPolicyViolation" {
        error.class = ErrorClass::ContentFilter;
    }
    if error.class != ErrorClass::ContentFilter {
        return error;
    }
    let found =
        [&inner["content_filter_result"], &inner["content_filter_results"], &outer["content_filter_result"]];
    let found = found.into_iter().find_map(Value::as_object);
    let mut names = Vec::new();
    for (name, verdict) in found.into_iter().flatten() {
        if verdict["filtered"] == true {
            match verdict["severity"].as_str() {
                Some(severity) => names.push(format!("{name} {severity}")),
                None => names.push(name.clone()),
            }
        }
    }
    if !names.is_empty() {
        error.message =
            redact::bounded(&format!("{} (filtered: {})", error.message, names.join(", ")), MAX_WORDS);
    }
    error
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::HeaderMap;

    use super::*;
    use crate::{Dialect, Limits, Target};

    #[test]
    fn a_deployment_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            path("gpt-4o", "embeddings"),
            "/openai/deployments/gpt-4o/embeddings?api-version=2024-10-21"
        );
        assert!(path("../x?y", "z").starts_with("/openai/deployments/..%2Fx%3Fy/z?"));
    }

    #[test]
    fn the_filter_says_what_it_found() {
        let body = br#"{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"},"jailbreak":{"filtered":true,"detected":true},"violence":{"filtered":false,"severity":"safe"}}}}}"#;
        let read = |dialect: Dialect, body: &[u8]| {
            dialect.error(400, &HeaderMap::new(), body, SystemTime::UNIX_EPOCH)
        };
        for dialect in [Dialect::Azure, Dialect::AzureV1, Dialect::AzureResponses] {
            let error = read(dialect, body);
            assert_eq!(error.class, ErrorClass::ContentFilter);
            assert_eq!(error.message, "The response was filtered (filtered: hate high, jailbreak)");
        }
        let unnamed = br#"{"error":{"message":"no","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
        assert_eq!(read(Dialect::Azure, unnamed).class, ErrorClass::ContentFilter);
        assert_eq!(read(Dialect::Azure, br#"{"error":{"message":"no"}}"#).class, ErrorClass::Rejected);
        assert_eq!(read(Dialect::Azure, b"<html>").class, ErrorClass::Rejected);
    }

    #[test]
    fn doors_and_keys() {
        let part = signalbox_proto::common::v1::Part {
            kind: Some(signalbox_proto::common::v1::part::Kind::Text(Default::default())),
            ..Default::default()
        };
        let message =
            signalbox_proto::common::v1::Message { role: 2, parts: vec![part], ..Default::default() };
        let request =
            signalbox_proto::common::v1::ChatRequest { messages: vec![message], ..Default::default() };
        let target = Target { provider: "mine", model: "gpt-4o", streams: true };
        for (name, path) in [
            ("azure", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
            ("azure-v1", "/openai/v1/chat/completions"),
            ("azure-responses", "/openai/v1/responses"),
        ] {
            let dialect: Dialect = name.parse().unwrap();
            assert_eq!(dialect.to_string(), name);
            assert_eq!(dialect.chat(&request, target).unwrap().path, path);
            let (header, value) = dialect.credential("secret").unwrap();
            assert_eq!((header.as_str(), value.is_sensitive()), ("api-key", true));
            assert_eq!(value.to_str().unwrap(), "secret");
        }
    }

    #[test]
    fn a_filtered_stream_says_so() {
        let mut decoder = Dialect::Azure.decoder(Limits::default());
        decoder.push(
            concat!(
                "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n",
            )
            .into(),
        );
        while decoder.next_delta().unwrap().is_some() {}
        let reason = decoder.summary().finish_reason;
        assert_eq!(reason, Some(signalbox_proto::common::v1::FinishReason::ContentFilter));
    }
}
