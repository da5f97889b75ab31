//! Images, sound and documents as parts.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Media, media, part};

use super::own;
use crate::RequestError;

/// The alphabets in which Google takes bytes, with the marks that tell which one a caller used.
const ALPHABETS: [(&str, GeneralPurpose); 4] =
    [("", STANDARD), ("url", URL_SAFE), ("bare", STANDARD_NO_PAD), ("url-bare", URL_SAFE_NO_PAD)];

/// Media types by the ending of a URL's path: what Google's models take. It wants the type of what it fetches.
const ENDINGS: [(&str, &str); 30] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("bmp", "image/bmp"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("xml", "text/xml"),
    ("json", "application/json"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("aac", "audio/aac"),
    ("m4a", "audio/mp4"),
    ("aiff", "audio/aiff"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("avi", "video/x-msvideo"),
];

/// Writes media. `over` is what the caller spelled in its own way.
pub(super) fn write(
    media: &Media,
    over: &Map<String, Value>,
    field: &str,
) -> Result<Map<String, Value>, RequestError> {
    let (key, inner) = match &media.content {
        Some(media::Content::Data(_)) if media.media_type.is_empty() => {
            return Err(RequestError::new(format!("{field}.media_type"), "name the media type"));
        }
        Some(media::Content::Data(data)) => {
            let mark = own::get(over, "inlineData").and_then(|o| own::get(o.as_object()?, "data")?.as_str());
            let alphabet = ALPHABETS.iter().find(|(name, _)| Some(*name) == mark).unwrap_or(&ALPHABETS[0]);
            ("inlineData", json!({ "mimeType": media.media_type, "data": alphabet.1.encode(data) }))
        }
        Some(media::Content::Url(uri) | media::Content::FileId(uri)) => {
            let as_given = own::get(over, "fileData").is_some();
            let guess = || if as_given { None } else { by_ending(uri) };
            let known = Some(media.media_type.as_str()).filter(|kind| !kind.is_empty());
            match known.or_else(guess) {
                Some(kind) => ("fileData", json!({ "mimeType": kind, "fileUri": uri })),
                None => ("fileData", json!({ "fileUri": uri })),
            }
        }
        None => return Err(RequestError::new(field, "give its URL, its bytes or a file's id")),
    };
    Ok(Map::from_iter([(key.to_owned(), inner)]))
}

fn by_ending(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    ENDINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(ending)).map(|(_, kind)| *kind)
}

/// Reads media, with what marks the caller's spelling; `None` if the part holds none that can be read.
pub(super) fn read(raw: &Map<String, Value>) -> Option<(part::Kind, Map<String, Value>)> {
    let (key, name) =
        ["inlineData", "fileData"].iter().find_map(|name| Some((own::key_of(raw, name)?, name)))?;
    let inner = raw.get(key)?.as_object()?;
    let media_type = match own::get(inner, "mimeType") {
        None => String::new(),
        Some(kind) => kind.as_str()?.to_owned(),
    };
    let mut marks = Map::new();
    let content = if *name == "inlineData" {
        let at = own::key_of(inner, "data")?;
        let text = inner.get(at)?.as_str()?;
        let (mark, bytes) = decode(text)?;
        if !mark.is_empty() {
            marks.insert(at.clone(), Value::from(mark));
        }
        media::Content::Data(bytes.into())
    } else {
        media::Content::Url(own::get(inner, "fileUri")?.as_str()?.to_owned())
    };
    let marks = Map::from_iter([(key.clone(), Value::Object(marks))]);
    let kind = match media_type.split('/').next() {
        Some("image") => part::Kind::Image,
        Some("audio") => part::Kind::Audio,
        _ => part::Kind::File,
    };
    Some((kind(Media { content: Some(content), media_type, ..Media::default() }), marks))
}

/// Reads bytes in any alphabet in which they would be written back the same.
pub(super) fn decode(text: &str) -> Option<(&'static str, Vec<u8>)> {
    ALPHABETS.iter().find_map(|(name, alphabet)| {
        let bytes = alphabet.decode(text).ok()?;
        (alphabet.encode(&bytes) == text).then_some((*name, bytes))
    })
}
