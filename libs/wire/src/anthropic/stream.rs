//! A stream of this dialect, and a whole answer.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use signalbox_proto::common::v1::Delta;

use super::answer::{Building, Piece};
use super::error::refine;
use crate::sse;
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// Every block has its own index, the provider's, except that all text has that of the first text: it is one answer. A block
/// that our messages do not know comes as one text delta without text once it is complete, with the block in `extra`. Citations
/// come at the end of the text that they belong to. An event that cannot be read is skipped and counted, up to
/// [`Limits::malformed_chunks`]; a block that is held back may be as large as [`Limits::event_bytes`]. What comes after
/// `message_stop` is ignored; another message before it is an error, because nobody knows what becomes of the first.
#[derive(Debug)]
pub struct Stream {
    events: sse::Parser,
    limits: Limits,
    building: Building,
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

impl Stream {
    /// Makes a decoder.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            events: sse::Parser::new(limits.event_bytes),
            limits,
            building: Building::new(limits.event_bytes),
            over: false,
        }
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
            if let Some(delta) = self.building.queue.pop_front() {
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
        Ok(self.building.queue.pop_front())
    }

    /// Returns what the provider said about its answer so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.building.summary
    }

    /// Returns what the provider said about its answer.
    #[must_use]
    pub fn into_summary(self) -> Summary {
        self.building.summary
    }

    /// Returns the beginning of what came instead of events, to explain a stream that held no answer.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        self.events.stray()
    }

    fn event(&mut self, event: &sse::Event) -> Result<(), ProviderError> {
        let data = event.data.trim_ascii();
        if data.is_empty() || self.over {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.building.summary.done = true;
            return Ok(());
        }
        let read = serde_json::from_slice::<Event<'_>>(data);
        if let Ok(Event { error: Some(raw), .. }) = &read {
            self.over = true;
            return Err(refine(ProviderError::from_event(raw.get())));
        }
        if event.name == "error" {
            self.over = true;
            return Err(refine(ProviderError::from_event(&String::from_utf8_lossy(data))));
        }
        let done = match read {
            Ok(read) => self.read(&read, data),
            Err(_) => Ok(false),
        };
        match done {
            Ok(true) => Ok(()),
            Ok(false) => self.malformed(),
            Err(error) => {
                self.over = true;
                Err(error)
            }
        }
    }

    /// Takes an event in; says whether it could be read.
    fn read(&mut self, event: &Event<'_>, data: &[u8]) -> Result<bool, ProviderError> {
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

    fn malformed(&mut self) -> Result<(), ProviderError> {
        let summary = &mut self.building.summary;
        summary.malformed += 1;
        if summary.malformed <= self.limits.malformed_chunks {
            return Ok(());
        }
        self.over = true;
        let message = format!("{} unreadable chunks in one stream", summary.malformed);
        Err(ProviderError::new(ErrorClass::Protocol, &message))
    }
}

fn object(raw: Option<&RawValue>) -> Option<serde_json::Map<String, Value>> {
    serde_json::from_str(raw?.get()).ok()
}

#[cfg(test)]
mod tests;
