//! Headers that the dialect requires.

use http::{HeaderMap, HeaderName, HeaderValue};
use prost_types::value::Kind;
use signalbox_proto::common::v1::{ChatRequest, Part, media, part};

use crate::RequestError;

/// The version of the API that is spoken, the only one that current models have.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The beta in which files stored at the provider are named.
const FILES: &str = "files-api-2025-04-14";

/// Makes the headers that a request needs: `anthropic-version`, and `anthropic-beta` with what `extra.betas` lists (as in
/// Anthropic's own libraries), and the files' beta where a stored file is named.
///
/// # Errors
///
/// `extra.betas` is no list of names.
pub fn headers(request: &ChatRequest) -> Result<HeaderMap, RequestError> {
    let mut headers = HeaderMap::from_iter([(HeaderName::from_static("anthropic-version"), VERSION)]);
    let wrong = || RequestError::new("extra.betas", "give a list of the betas' names");
    let mut betas = Vec::new();
    match request.extra.as_ref().and_then(|e| e.fields.get("betas")).and_then(|v| v.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => {}
        Some(Kind::ListValue(list)) => {
            for value in &list.values {
                let Some(Kind::StringValue(name)) = &value.kind else { return Err(wrong()) };
                betas.push(name.as_str());
            }
        }
        Some(_) => return Err(wrong()),
    }
    if names_files(request) && !betas.iter().any(|name| name.starts_with("files-api-")) {
        betas.push(FILES);
    }
    if !betas.is_empty() {
        let value = HeaderValue::from_str(&betas.join(",")).map_err(|_| wrong())?;
        headers.insert(HeaderName::from_static("anthropic-beta"), value);
    }
    Ok(headers)
}

fn names_files(request: &ChatRequest) -> bool {
    fn names(part: &Part) -> bool {
        match &part.kind {
            Some(part::Kind::Image(media) | part::Kind::File(media)) => {
                matches!(media.content, Some(media::Content::FileId(_)))
            }
            Some(part::Kind::ToolResult(result)) => result.parts.iter().any(names),
            _ => false,
        }
    }
    request.messages.iter().flat_map(|message| &message.parts).any(names)
}
