//! An answer put together from events.

use std::collections::VecDeque;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::Delta;

use super::answer::{Field, State};
use super::error::failed;
use super::event::{Event, Head};
use crate::sse;
use crate::stream::{self, Reading};
use crate::{Answer, Limits, ProviderError, Summary};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// An event that is not JSON is skipped and counted, up to [`Limits::malformed_chunks`]; one of an unknown type is skipped.
pub type Stream = stream::Stream<State>;

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

impl Reading for State {
    const PIECES: &'static str = "chunks";

    fn new(_: Limits) -> Self {
        Self::default()
    }

    fn read(&mut self, event: &sse::Event, data: &[u8]) -> Result<bool, ProviderError> {
        if data == b"[DONE]" {
            self.summary.done = true;
            return Ok(true);
        }
        let Ok(mut read) = serde_json::from_slice::<Event<'_>>(data) else { return Ok(false) };
        if read.kind.is_empty() {
            read.kind = String::from_utf8_lossy(&event.name);
        }
        if read.kind.is_empty() && read.error.is_none() {
            return Ok(false);
        }
        self.take(&read, data).map_or(Ok(false), |taken| taken.map(|()| true))
    }

    fn built(&mut self) -> (&mut VecDeque<Delta>, &mut Summary) {
        (&mut self.queue, &mut self.summary)
    }

    fn summary(&self) -> &Summary {
        &self.summary
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
