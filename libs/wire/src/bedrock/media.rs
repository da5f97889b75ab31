//! Images, documents and sounds: a format and a source.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{Media, media, part};

use crate::RequestError;
use crate::json::Object;
use crate::openai::body::{canonical, others};

/// Document formats and their media types.
const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];

/// Names a format's media type, if the format can be told from it again.
fn media_type(block: &str, format: &str) -> Option<String> {
    let kind = match block {
        "image" | "audio" => format!("{block}/{format}"),
        _ => DOCUMENTS.iter().find(|(name, _)| *name == format).map(|(_, kind)| (*kind).to_owned())?,
    };
    (self::format(block, &kind) == Some(format)).then_some(kind)
}

fn format<'a>(block: &str, media_type: &'a str) -> Option<&'a str> {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match (block, bare) {
        ("image", "image/jpg") => Some("jpeg"),
        ("audio", "audio/mpeg") => Some("mp3"),
        ("image" | "audio", _) => bare.strip_prefix(block)?.strip_prefix('/').filter(|f| !f.is_empty()),
        _ => DOCUMENTS.iter().find(|(_, kind)| *kind == bare).map(|(name, _)| *name),
    }
}

/// Reads a block's inside. `None`: something in it has no place in our messages.
pub(super) fn read(block: &str, inner: &Map<String, Value>) -> Option<(part::Kind, Map<String, Value>)> {
    let media_type = media_type(block, inner.get("format")?.as_str()?)?;
    let source = inner.get("source")?.as_object().filter(|source| source.len() == 1)?;
    let content = if let Some(data) = source.get("bytes") {
        media::Content::Data(canonical(data.as_str()?)?)
    } else {
        let location = source.get("s3Location")?.as_object().filter(|location| location.len() == 1)?;
        media::Content::Url(location.get("uri")?.as_str()?.to_owned())
    };
    let mut media = Media { content: Some(content), media_type, ..Default::default() };
    let kind = match block {
        "image" => part::Kind::Image,
        "audio" => part::Kind::Audio,
        _ => {
            media.name = Some(inner.get("name")?.as_str()?.to_owned());
            part::Kind::File
        }
    };
    if media.name.as_deref().is_some_and(|given| name(Some(given), 0) != given) {
        return None;
    }
    Some((kind(media), others(inner, &["format", "source", if block == "document" { "name" } else { "" }])))
}

/// Writes a block's inside. `number` tells documents without a name apart.
pub(super) fn write(
    block: &str,
    media: &Media,
    extra: Option<&Struct>,
    number: usize,
    field: &str,
) -> Result<Value, RequestError> {
    let wrong = |message: &str| RequestError::new(field, message);
    let by_end = || media.name.as_deref()?.rsplit_once('.').map(|(_, end)| end);
    let format =
        match format(block, &media.media_type) {
            Some(format) => format,
            None if block == "document" => by_end()
                .filter(|end| DOCUMENTS.iter().any(|(name, _)| name == end))
                .ok_or_else(|| wrong("give the media_type of a document that Bedrock takes"))?,
            None => return Err(wrong(&format!("give a media_type that begins with `{block}/`"))),
        };
    let source = match &media.content {
        Some(media::Content::Data(data)) => serde_json::json!({ "bytes": STANDARD.encode(data) }),
        Some(media::Content::Url(url)) if url.starts_with("s3://") => {
            serde_json::json!({ "s3Location": { "uri": url } })
        }
        _ => return Err(wrong("this provider takes the bytes themselves, or an s3:// address")),
    };
    let mut out = Map::new();
    out.insert("format".to_owned(), Value::from(format));
    if block == "document" {
        out.insert("name".to_owned(), Value::String(name(media.name.as_deref(), number)));
    }
    out.insert("source".to_owned(), source);
    if let Some(extra) = extra {
        let rest = serde_json::to_value(Object(extra)).map_err(|e| wrong(&e.to_string()))?;
        for (key, value) in rest.as_object().into_iter().flatten() {
            out.entry(key).or_insert_with(|| value.clone());
        }
    }
    Ok(Value::Object(out))
}

/// Makes a name of the characters that Bedrock allows, without runs of spaces.
fn name(given: Option<&str>, number: usize) -> String {
    let stem = given.map(|name| match name.rsplit_once('.') {
        Some((stem, end)) if DOCUMENTS.iter().any(|(format, _)| *format == end) => stem,
        _ => name,
    });
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
    let mut out = String::new();
    for c in stem.unwrap_or_default().chars().take(200) {
        let c = if allowed(c) { c } else { '-' };
        if !(c == ' ' && out.ends_with(' ')) {
            out.push(c);
        }
    }
    if out.trim().is_empty() { format!("Document {number}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_fit() {
        assert_eq!(name(Some("Bericht_2024.pdf"), 1), "Bericht-2024");
        assert_eq!(name(Some("a  b"), 1), "a b");
        assert_eq!(name(None, 3), "Document 3");
        assert_eq!(name(Some("Document 1"), 9), "Document 1");
    }

    #[test]
    fn web_addresses_are_refused_with_a_reason() {
        let media = Media {
            content: Some(media::Content::Url("https://example.com/a.png".into())),
            media_type: "image/png".into(),
            ..Default::default()
        };
        assert!(write("image", &media, None, 1, "x").unwrap_err().message.contains("s3://"));
    }
}
