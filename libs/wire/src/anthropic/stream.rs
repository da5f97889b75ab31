//! A stream of this dialect, and a whole answer.

use std::collections::VecDeque;

use serde_json::Value;
use serde_json::value::RawValue;
use signalbox_proto::common::v1::Delta;

use super::answer::{Building, Piece};
use super::error::refine;
use crate::sse;
use crate::stream::{self, Reading};
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// Every block has its own index, the provider's, except that all text has that of the first text: it is one answer. A block
/// that our messages do not know comes as one text delta without text once it is complete, with the block in `extra`. Citations
/// come at the end of the text that they belong to. An event that cannot be read is skipped and counted, up to
/// [`Limits::malformed_chunks`]; a block that is held back may be as large as [`Limits::event_bytes`]. What comes after
/// `message_stop` is ignored; another message before it is an error, because nobody knows what becomes of the first.
pub type Stream = stream::Stream<State>;

/// Is what was read so far.
#[derive(Debug)]
pub struct State {
    building: Building,
    /// The message ended: nothing that follows counts.
    over: bool,
}

/// Decodes a whole answer.
///
/// # Errors
///
/// The body is no answer: an error object, a web page, broken JSON, or an answer without a stop reason.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let message = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) if map.get("content").is_some_and(Value::is_array) => map,
        _ => return Err(refine(ProviderError::from_success(body))),
    };
    let mut building = Building::new(usize::MAX);
    building.message(message)?;
    building.report();
    if building.summary.finish_reason.is_none() {
        return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a stop reason"));
    }
    Ok(Answer { deltas: building.queue.into(), summary: building.summary })
}

/// Is an event, as far as it is the same for all types.
#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Reading for State {
    const PIECES: &'static str = "chunks";

    fn new(limits: Limits) -> Self {
        Self { building: Building::new(limits.event_bytes), over: false }
    }

    fn read(&mut self, event: &sse::Event, data: &[u8]) -> Result<bool, ProviderError> {
        if self.over {
            return Ok(true);
        }
        if data == b"[DONE]" {
            self.building.summary.done = true;
            return Ok(true);
        }
        let read = serde_json::from_slice::<Event<'_>>(data);
        if let Ok(Event { error: Some(raw), .. }) = &read {
            return Err(refine(ProviderError::from_event(raw.get())));
        }
        if event.name == "error" {
            return Err(refine(ProviderError::from_event(&String::from_utf8_lossy(data))));
        }
        let Ok(read) = read else { return Ok(false) };
        self.take(&read, data)
    }

    fn built(&mut self) -> (&mut VecDeque<Delta>, &mut Summary) {
        (&mut self.building.queue, &mut self.building.summary)
    }

    fn summary(&self) -> &Summary {
        &self.building.summary
    }
}

impl State {
    /// Takes an event in; says whether it could be read.
    fn take(&mut self, event: &Event<'_>, data: &[u8]) -> Result<bool, ProviderError> {
        match event.kind.as_str() {
            "content_block_delta" => {
                let piece = event.delta.and_then(|raw| serde_json::from_str::<Piece>(raw.get()).ok());
                match (piece, event.delta) {
                    (Some(piece), Some(raw)) => self.building.piece(event.index, piece, raw),
                    _ => Ok(false),
                }
            }
            "content_block_start" => match object(event.content_block) {
                Some(block) => self.building.start(event.index, block).map(|()| true),
                None => Ok(false),
            },
            "content_block_stop" => {
                self.building.stop(event.index);
                Ok(true)
            }
            "message_start" => match object(event.message) {
                Some(message) => self.building.message(message).map(|()| true),
                None => Ok(false),
            },
            "message_delta" => match serde_json::from_slice(data) {
                Ok(Value::Object(all)) => self.building.message_delta(all).map(|()| true),
                _ => Ok(false),
            },
            "message_stop" => {
                self.building.stop_all();
                self.building.summary.done = true;
                self.over = true;
                Ok(true)
            }
            "" => Ok(false),
            // `ping`, and what is added later.
            _ => Ok(true),
        }
    }
}

fn object(raw: Option<&RawValue>) -> Option<serde_json::Map<String, Value>> {
    serde_json::from_str(raw?.get()).ok()
}

#[cfg(test)]
mod tests;
