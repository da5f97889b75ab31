//! The choice of a dialect, so that callers need not know which one they speak.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost_types::Struct;
use signalbox_proto::common::v1::{ChatRequest, Delta};

use crate::anthropic;
use crate::bedrock;
use crate::cohere;
use crate::google;
use crate::openai::{self, Style, azure, embeddings};
use crate::responses;
use crate::{Answer, ErrorClass, Limits, ProviderError, RequestError, Summary};

/// Is a provider's way of speaking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI Chat Completions and everything compatible with it.
    #[default]
    OpenAi,
    /// AWS Bedrock's Converse.
    Bedrock,
    /// Cohere's v2.
    Cohere,
    /// Anthropic Messages.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// The same at Vertex AI.
    Vertex,
    /// Chat Completions at Azure, one address per deployment: the model is the deployment's name.
    Azure,
    /// Chat Completions at Azure's versionless door, `/openai/v1`.
    AzureV1,
    /// OpenAI Responses and everything compatible with it.
    Responses,
    /// Responses at Azure's versionless door.
    AzureResponses,
}

/// Says that no dialect has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "dialect `{0}` is unknown; known: openai, openai-responses, azure, azure-v1, azure-responses, anthropic, gemini, vertex, bedrock, cohere"
)]
pub struct UnknownDialect(pub String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        match name {
            "openai" => Ok(Self::OpenAi),
            "bedrock" => Ok(Self::Bedrock),
            "cohere" => Ok(Self::Cohere),
            "anthropic" => Ok(Self::Anthropic),
            "gemini" => Ok(Self::Gemini),
            "vertex" => Ok(Self::Vertex),
            "azure" => Ok(Self::Azure),
            "azure-v1" => Ok(Self::AzureV1),
            "openai-responses" => Ok(Self::Responses),
            "azure-responses" => Ok(Self::AzureResponses),
            other => Err(UnknownDialect(crate::redact::bounded(other, 64))),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Azure => "azure",
            Self::AzureV1 => "azure-v1",
            Self::Responses => "openai-responses",
            Self::AzureResponses => "azure-responses",
        })
    }
}

/// Is whom a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider's name, the first half of a target's id.
    pub provider: &'a str,
    /// The model as the provider calls it.
    pub model: &'a str,
    /// Whether the answer is to be a stream, not a whole.
    pub streams: bool,
}

/// Is a request ready to be sent, but for its credential.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// To be appended to the target's base URL, with a leading slash.
    pub path: String,
    /// Headers beyond `content-type: application/json`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Dialect {
    /// Writes a request for an answer.
    ///
    /// # Errors
    ///
    /// The request holds something that the dialect cannot say.
    pub fn chat(self, request: &ChatRequest, target: Target<'_>) -> Result<Encoded, RequestError> {
        let request = match self {
            Self::Gemini | Self::Vertex => Cow::Borrowed(request),
            _ => google::leave(request)?,
        };
        let request = if target.streams { request } else { of_whole(request) };
        let request = &*request;
        // The default of all doors is a whole answer.
        let stream = target.streams.then_some(true);
        match self {
            Self::OpenAi | Self::Azure | Self::AzureV1 => {
                let at_azure = self != Self::OpenAi;
                let options = openai::Options {
                    model: target.model,
                    provider: target.provider,
                    style: Style::of_provider(if at_azure { "azure" } else { target.provider }),
                    stream,
                    include_usage: stream,
                };
                let body = openai::encode(request, &options)?;
                Ok(Encoded {
                    path: self.path(target.model, "chat/completions"),
                    headers: accepted(target.streams),
                    body,
                })
            }
            Self::Responses | Self::AzureResponses => {
                let server = if self == Self::Responses { target.provider } else { "azure" };
                let options = responses::Options {
                    model: target.model,
                    provider: target.provider,
                    style: responses::Style::of_provider(server),
                    stream,
                };
                let body = responses::encode(request, &options)?;
                let headers = accepted(target.streams);
                Ok(Encoded { path: self.path(target.model, "responses"), headers, body })
            }
            Self::Bedrock => {
                let options =
                    bedrock::Options { model: target.model, provider: target.provider, alternate: true };
                let body = bedrock::encode(request, &options)?;
                let (door, form) = if target.streams {
                    ("converse-stream", "application/vnd.amazon.eventstream")
                } else {
                    ("converse", "application/json")
                };
                let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(form))]);
                Ok(Encoded { path: bedrock::path(target.model, door), headers, body })
            }
            Self::Cohere => {
                let options = cohere::Options { model: target.model, provider: target.provider, stream };
                let body = cohere::encode(request, &options)?;
                Ok(Encoded { path: "/chat".to_owned(), headers: accepted(target.streams), body })
            }
            Self::Gemini | Self::Vertex => {
                let options =
                    google::Options { model: target.model, provider: target.provider, alternate: true };
                let body = google::encode(request, &options)?;
                let door = if target.streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let path = google::path(target.model, door);
                Ok(Encoded { path, headers: accepted(target.streams), body })
            }
            Self::Anthropic => {
                let options = anthropic::Options {
                    model: target.model,
                    provider: target.provider,
                    stream,
                    max_tokens: Some(anthropic::default_max_tokens(target.model)),
                };
                let body = anthropic::encode(request, &options)?;
                let mut headers = accepted(target.streams);
                headers.extend(anthropic::headers(request)?);
                Ok(Encoded { path: "/v1/messages".to_owned(), headers, body })
            }
        }
    }

    /// Writes a request for vectors.
    ///
    /// # Errors
    ///
    /// As [`embeddings::encode`].
    pub fn embed(
        self,
        inputs: &[String],
        dimensions: Option<u32>,
        extra: Option<&Struct>,
        target: Target<'_>,
    ) -> Result<Encoded, RequestError> {
        match self {
            Self::OpenAi | Self::Azure | Self::AzureV1 | Self::Responses | Self::AzureResponses => {
                Ok(Encoded {
                    path: self.path(target.model, "embeddings"),
                    headers: HeaderMap::new(),
                    body: embeddings::encode(target.model, inputs, dimensions, extra)?,
                })
            }
            Self::Bedrock => Ok(Encoded {
                path: bedrock::path(target.model, "invoke"),
                headers: HeaderMap::new(),
                body: bedrock::embeddings::encode(target.model, inputs, dimensions, extra)?,
            }),
            Self::Cohere => Ok(Encoded {
                path: "/embed".to_owned(),
                headers: HeaderMap::new(),
                body: cohere::embeddings::encode(target.model, inputs, dimensions, extra)?,
            }),
            Self::Gemini | Self::Vertex => {
                let vertex = self == Self::Vertex;
                Ok(Encoded {
                    path: google::embeddings::path(target.model, vertex),
                    headers: HeaderMap::new(),
                    body: google::embeddings::encode(target.model, vertex, inputs, dimensions, extra)?,
                })
            }
            Self::Anthropic => {
                Err(RequestError::new("model", "Anthropic has no embeddings; use another model"))
            }
        }
    }

    /// Reads vectors.
    ///
    /// # Errors
    ///
    /// As [`embeddings::decode`].
    pub fn vectors(self, body: &[u8], count: usize) -> Result<embeddings::Vectors, ProviderError> {
        match self {
            Self::OpenAi | Self::Azure | Self::AzureV1 | Self::Responses | Self::AzureResponses => {
                embeddings::decode(body, count)
            }
            Self::Bedrock => bedrock::embeddings::decode(body, count),
            Self::Cohere => cohere::embeddings::decode(body, count),
            Self::Gemini | Self::Vertex => google::embeddings::decode(body, count),
            Self::Anthropic => Err(ProviderError::new(ErrorClass::Protocol, "Anthropic has no embeddings")),
        }
    }

    /// Makes the header that carries a credential, marked as sensitive.
    ///
    /// # Errors
    ///
    /// The credential holds characters that no header can carry. The error does not show it.
    pub fn credential(self, secret: &str) -> Result<(HeaderName, HeaderValue), RequestError> {
        let (name, value) = match self {
            // Bedrock with AWS keys instead of a bearer key: see `bedrock::sign`.
            Self::OpenAi | Self::Responses | Self::Bedrock | Self::Cohere | Self::Vertex => {
                (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}")))
            }
            Self::Azure | Self::AzureV1 | Self::AzureResponses => {
                (HeaderName::from_static("api-key"), HeaderValue::from_str(secret))
            }
            Self::Gemini => (HeaderName::from_static("x-goog-api-key"), HeaderValue::from_str(secret)),
            Self::Anthropic => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(secret)),
        };
        let mut value = value.map_err(|_| {
            RequestError::new("credential", "it holds a line break or another control character")
        })?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// Makes a decoder for a streamed answer.
    #[must_use]
    pub fn decoder(self, limits: Limits) -> Decoder {
        match self {
            Self::OpenAi | Self::Azure | Self::AzureV1 => Decoder::OpenAi(openai::Stream::new(limits)),
            Self::Responses | Self::AzureResponses => Decoder::Responses(responses::Stream::new(limits)),
            Self::Bedrock => Decoder::Bedrock(bedrock::Stream::new(limits)),
            Self::Cohere => Decoder::Cohere(cohere::Stream::new(limits)),
            Self::Gemini | Self::Vertex => Decoder::Google(google::Stream::new(limits)),
            Self::Anthropic => Decoder::Anthropic(anthropic::Stream::new(limits)),
        }
    }

    /// Reads a whole answer, from a server that does not stream.
    ///
    /// # Errors
    ///
    /// The body is no complete answer.
    pub fn whole(self, body: &[u8]) -> Result<Answer, ProviderError> {
        match self {
            Self::OpenAi | Self::Azure | Self::AzureV1 => openai::whole(body),
            Self::Responses | Self::AzureResponses => responses::whole(body),
            Self::Bedrock => bedrock::whole(body),
            Self::Cohere => cohere::whole(body),
            Self::Anthropic => anthropic::whole(body),
            Self::Gemini | Self::Vertex => google::whole(body),
        }
    }

    /// Reads an answer whose status says that it failed.
    #[must_use]
    pub fn error(self, status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> ProviderError {
        let error = ProviderError::from_response(status, headers, body, now);
        match self {
            Self::OpenAi => error,
            Self::Azure | Self::AzureV1 => azure::refine(error, body),
            Self::Responses => responses::refine(error),
            Self::AzureResponses => responses::refine(azure::refine(error, body)),
            Self::Bedrock => bedrock::error(status, headers, body, now),
            Self::Cohere => cohere::error(status, headers, body, now),
            Self::Anthropic => anthropic::refine(error),
            Self::Gemini | Self::Vertex => google::error(status, headers, body, now),
        }
    }

    /// Returns where a door of OpenAI's is.
    fn path(self, model: &str, door: &str) -> String {
        match self {
            Self::Azure => azure::path(model, door),
            Self::AzureV1 | Self::AzureResponses => format!("/openai/v1/{door}"),
            _ => format!("/{door}"),
        }
    }
}

/// The request without what says how its answer is streamed.
fn of_whole(mut request: Cow<'_, ChatRequest>) -> Cow<'_, ChatRequest> {
    const OPTIONS: &str = "stream_options";
    if request.extra.as_ref().is_some_and(|extra| extra.fields.contains_key(OPTIONS))
        && let Some(extra) = &mut request.to_mut().extra
    {
        extra.fields.remove(OPTIONS);
    }
    request
}

fn accepted(streams: bool) -> HeaderMap {
    let forms = if streams { "text/event-stream, application/json" } else { "application/json" };
    HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(forms))])
}

/// Decodes a stream in its dialect: see [`openai::Stream`].
#[derive(Debug)]
pub enum Decoder {
    /// Chat Completions.
    OpenAi(openai::Stream),
    /// ConverseStream.
    Bedrock(bedrock::Stream),
    /// Cohere's v2.
    Cohere(cohere::Stream),
    /// Messages.
    Anthropic(anthropic::Stream),
    /// Gemini and Vertex AI.
    Google(google::Stream),
    /// Responses.
    Responses(responses::Stream),
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: Bytes) {
        match self {
            Self::OpenAi(stream) => stream.push(bytes),
            Self::Bedrock(stream) => stream.push(&bytes),
            Self::Cohere(stream) => stream.push(bytes),
            Self::Anthropic(stream) => stream.push(bytes),
            Self::Google(stream) => stream.push(bytes),
            Self::Responses(stream) => stream.push(bytes),
        }
    }

    /// Gives the next delta, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The provider sent an error, or too much that cannot be read. Nothing follows an error.
    pub fn next_delta(&mut self) -> Result<Option<Delta>, ProviderError> {
        match self {
            Self::OpenAi(stream) => stream.next_delta(),
            Self::Bedrock(stream) => stream.next_delta(),
            Self::Cohere(stream) => stream.next_delta(),
            Self::Anthropic(stream) => stream.next_delta(),
            Self::Google(stream) => stream.next_delta(),
            Self::Responses(stream) => stream.next_delta(),
        }
    }

    /// Says that the provider closed the stream, and gives what was still held back. To be called until it gives `None`.
    ///
    /// # Errors
    ///
    /// As [`Decoder::next_delta`].
    pub fn end(&mut self) -> Result<Option<Delta>, ProviderError> {
        match self {
            Self::OpenAi(stream) => stream.end(),
            Self::Bedrock(stream) => stream.end(),
            Self::Cohere(stream) => stream.end(),
            Self::Anthropic(stream) => stream.end(),
            Self::Google(stream) => stream.end(),
            Self::Responses(stream) => stream.end(),
        }
    }

    /// Returns what the provider said about its answer so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        match self {
            Self::OpenAi(stream) => stream.summary(),
            Self::Bedrock(stream) => stream.summary(),
            Self::Cohere(stream) => stream.summary(),
            Self::Anthropic(stream) => stream.summary(),
            Self::Google(stream) => stream.summary(),
            Self::Responses(stream) => stream.summary(),
        }
    }

    /// Returns the beginning of what came instead of events.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        match self {
            Self::OpenAi(stream) => stream.stray(),
            Self::Bedrock(stream) => stream.stray(),
            Self::Cohere(stream) => stream.stray(),
            Self::Anthropic(stream) => stream.stray(),
            Self::Google(stream) => stream.stray(),
            Self::Responses(stream) => stream.stray(),
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Message, Part, Role, Text, part};

    use super::*;

    #[test]
    fn a_whole_answer_is_asked_for_at_another_door_or_by_saying_nothing_of_a_stream() {
        let text = part::Kind::Text(Text { text: "hi".into() });
        let parts = vec![Part { kind: Some(text), ..Part::default() }];
        let message = Message { role: Role::User.into(), parts, ..Message::default() };
        let mut chat = ChatRequest { model: "m".into(), messages: vec![message], ..ChatRequest::default() };
        let options =
            prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(Struct::default())) };
        chat.extra.get_or_insert_default().fields.insert("stream_options".into(), options);
        let dialects =
            ["openai", "openai-responses", "azure", "anthropic", "cohere", "gemini", "vertex", "bedrock"];
        for name in dialects {
            let dialect: Dialect = name.parse().unwrap();
            let asked = |streams| dialect.chat(&chat, Target { provider: "p", model: "m", streams }).unwrap();
            let (stream, whole) = (asked(true), asked(false));
            let says = |encoded: &Encoded| {
                let body = std::str::from_utf8(&encoded.body).unwrap();
                body.contains("stream") || encoded.path.to_lowercase().contains("stream")
            };
            assert!(says(&stream) && !says(&whole), "{name}: {whole:?}");
            assert_eq!(whole.headers[header::ACCEPT], "application/json", "{name}");
        }
    }
}
