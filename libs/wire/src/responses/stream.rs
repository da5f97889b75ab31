//! An answer put together from events.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::Delta;

use super::answer::{Field, State};
use super::error::failed;
use super::event::{Event, Head};
use crate::sse;
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// An event that is not JSON is skipped and counted, up to [`Limits::malformed_chunks`]; one of an unknown type is skipped.
#[derive(Debug)]
pub struct Stream {
    events: sse::Parser,
    limits: Limits,
    state: State,
}

/// Decodes a whole answer.
///
/// # Errors
///
/// The body is no answer: an error object, a web page, broken JSON, an answer that failed, or one that is not finished.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let Ok(Value::Object(response)) = serde_json::from_slice(body) else {
        return Err(ProviderError::from_success(body));
    };
    if !response.get("output").is_some_and(Value::is_array) || !response.contains_key("status") {
        return Err(ProviderError::from_success(body));
    }
    let mut state = State::default();
    state.last(response, "")?;
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

impl Stream {
    /// Makes a decoder.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { events: sse::Parser::new(limits.event_bytes), limits, state: State::default() }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: Bytes) {
        self.events.push(bytes);
    }

    /// Gives the next delta, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The provider sent an error, or too much that cannot be read. Nothing follows an error.
    pub fn next_delta(&mut self) -> Result<Option<Delta>, ProviderError> {
        loop {
            if let Some(delta) = self.state.queue.pop_front() {
                return Ok(Some(delta));
            }
            match self.events.next_event() {
                Ok(Some(event)) => self.event(&event)?,
                Ok(None) => return Ok(None),
                Err(error) => return Err(ProviderError::new(ErrorClass::Protocol, &error.to_string())),
            }
        }
    }

    /// Says that the provider closed the stream, and gives what was still held back. To be called until it gives `None`.
    ///
    /// # Errors
    ///
    /// As [`Stream::next_delta`].
    pub fn end(&mut self) -> Result<Option<Delta>, ProviderError> {
        if let Some(delta) = self.next_delta()? {
            return Ok(Some(delta));
        }
        match self.events.end() {
            Ok(Some(event)) => self.event(&event)?,
            Ok(None) => {}
            Err(error) => return Err(ProviderError::new(ErrorClass::Protocol, &error.to_string())),
        }
        Ok(self.state.queue.pop_front())
    }

    /// Returns what the provider said about its answer so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.state.summary
    }

    /// Returns what the provider said about its answer.
    #[must_use]
    pub fn into_summary(self) -> Summary {
        self.state.summary
    }

    /// Returns the beginning of what came instead of events, to explain a stream that held no answer.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        self.events.stray()
    }

    fn event(&mut self, event: &sse::Event) -> Result<(), ProviderError> {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.state.summary.done = true;
            return Ok(());
        }
        let read = serde_json::from_slice::<Event<'_>>(data).ok().and_then(|mut read| {
            if read.kind.is_empty() {
                read.kind = String::from_utf8_lossy(&event.name);
            }
            let told = !read.kind.is_empty() || read.error.is_some();
            if told { self.state.take(&read, data) } else { None }
        });
        match read {
            Some(taken) => taken,
            None => {
                self.state.summary.malformed += 1;
                if self.state.summary.malformed > self.limits.malformed_chunks {
                    let message = format!("{} unreadable chunks in one stream", self.state.summary.malformed);
                    return Err(ProviderError::new(ErrorClass::Protocol, &message));
                }
                Ok(())
            }
        }
    }
}

/// Reads a text. `None`: it is none.
fn text(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

fn map(raw: Option<&RawValue>) -> Option<Map<String, Value>> {
    serde_json::from_str(raw?.get()).ok()
}

impl State {
    /// Takes an event. `None`: it lacks what its type promises.
    fn take(&mut self, event: &Event<'_>, raw: &[u8]) -> Option<Result<(), ProviderError>> {
        let at = event.output_index.unwrap_or_default();
        let content = event.content_index.unwrap_or_default();
        let kind = &*event.kind;
        if event.error.is_some() || kind == "error" {
            return Some(Err(failed(&String::from_utf8_lossy(raw))));
        }
        if let Some((field, done)) = text_event(kind) {
            let index = match field {
                Field::Summary => event.summary_index.unwrap_or_default(),
                Field::Arguments => 0,
                _ => content,
            };
            return Some(if done {
                let full = event.text.or(event.refusal).or(event.arguments).or(event.input);
                // Not every server repeats it.
                text(full).map_or(Ok(()), |full| self.settle(at, field, index, &full))
            } else {
                let logprobs = event.logprobs.filter(|raw| raw.get().contains('{'));
                self.add(
                    at,
                    field,
                    index,
                    text(event.delta)?,
                    logprobs.and_then(|raw| serde_json::from_str(raw.get()).ok()),
                )
            });
        }
        Some(match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                let head: Head = serde_json::from_str(event.response?.get()).ok()?;
                self.head(head.id, head.model);
                Ok(())
            }
            "response.output_item.added" => self.begin(at, &map(event.item)?),
            "response.output_item.done" => self.complete(at, map(event.item)?),
            "response.content_part.done" => self.part(at, content, &map(event.part)?),
            "response.output_text.annotation.added" => self.annotation(at, content, map(event.annotation)?),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.last(map(event.response)?, kind.trim_start_matches("response."))
            }
            _ => Ok(()),
        })
    }
}

/// Returns the field that an event adds to, and whether it repeats the whole instead.
fn text_event(kind: &str) -> Option<(Field, bool)> {
    let (rest, done) = match kind.strip_prefix("response.")?.rsplit_once('.')? {
        (rest, "delta") => (rest, false),
        (rest, "done") => (rest, true),
        _ => return None,
    };
    let field = match rest {
        "output_text" => Field::Text,
        "refusal" => Field::Refusal,
        // The second name is that of early versions.
        "reasoning_text" | "reasoning" => Field::Reasoning,
        "reasoning_summary_text" | "reasoning_summary" => Field::Summary,
        "function_call_arguments" | "custom_tool_call_input" => Field::Arguments,
        _ => return None,
    };
    Some((field, done))
}

#[cfg(test)]
mod tests;
