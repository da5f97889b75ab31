//! A stream of server-sent events as an answer: what is the same in every dialect that speaks so.

use std::collections::VecDeque;

use bytes::Bytes;
use signalbox_proto::common::v1::Delta;

use crate::elements::Elements;
use crate::{ErrorClass, Limits, ProviderError, Summary, sse};

/// Is a dialect's reader of events: it builds the answer.
pub trait Reading {
    /// What the dialect calls a piece of a stream, in errors.
    const PIECES: &'static str;
    /// Whether the events may also come as a JSON list, as from doors that know no server-sent events.
    const LISTS: bool = false;

    /// Makes a reader that has read nothing.
    fn new(limits: Limits) -> Self;

    /// Reads an event, whose `data` is trimmed and not empty; says whether it could be read.
    ///
    /// # Errors
    ///
    /// The provider sent an error.
    fn read(&mut self, event: &sse::Event, data: &[u8]) -> Result<bool, ProviderError>;

    /// Returns what the answer is made of: the deltas not yet given, and what was said about it.
    fn built(&mut self) -> (&mut VecDeque<Delta>, &mut Summary);

    /// Returns what the provider said about its answer so far.
    fn summary(&self) -> &Summary;
}

/// Decodes a stream, bytes in, deltas out.
///
/// An event that cannot be read is skipped and counted, up to [`Limits::malformed_chunks`].
#[derive(Debug)]
pub struct Stream<R> {
    events: sse::Parser,
    /// In place of `events`, where the first byte says that a list comes.
    list: Option<Elements>,
    /// Whether it is known which of the two comes.
    framed: bool,
    limits: Limits,
    reader: R,
    failed: Failed,
}

/// Is whether the stream has failed. What was read before the error is given before it, and nothing after it.
#[derive(Debug, Default)]
pub(crate) enum Failed {
    #[default]
    No,
    /// The error is still to be given.
    With(ProviderError),
    Given,
}

impl Failed {
    /// Gives the error, once.
    pub(crate) fn give(&mut self) -> Result<(), ProviderError> {
        match std::mem::replace(self, Self::Given) {
            Self::With(error) => Err(error),
            Self::No => {
                *self = Self::No;
                Ok(())
            }
            Self::Given => Ok(()),
        }
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::No)
    }
}

impl<R: Reading> Stream<R> {
    /// Makes a decoder.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            events: sse::Parser::new(limits.event_bytes),
            list: None,
            framed: !R::LISTS,
            limits,
            reader: R::new(limits),
            failed: Failed::No,
        }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: Bytes) {
        if !self.framed {
            let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xEF | 0xBB | 0xBF);
            if let Some(first) = bytes.iter().find(|byte| !blank(byte)) {
                self.framed = true;
                self.list = matches!(first, b'[' | b'{').then(|| Elements::new(self.limits.event_bytes));
            }
        }
        match &mut self.list {
            Some(list) => list.push(&bytes),
            None => self.events.push(bytes),
        }
    }

    /// Gives the next delta, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The provider sent an error, or too much that cannot be read. Nothing follows an error.
    pub fn next_delta(&mut self) -> Result<Option<Delta>, ProviderError> {
        loop {
            if let Some(delta) = self.reader.built().0.pop_front() {
                return Ok(Some(delta));
            }
            if self.failed.is_some() {
                return self.failed.give().map(|()| None);
            }
            let next = match &mut self.list {
                Some(list) => list.next_element().map(|data| data.map(in_list)),
                None => self.events.next_event(),
            };
            match next {
                Ok(Some(event)) => self.event(&event),
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.failed = Failed::With(ProviderError::new(ErrorClass::Protocol, &error.to_string()));
                }
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
        if self.failed.is_some() {
            return Ok(None);
        }
        let last = match &mut self.list {
            Some(list) => list.end().map(|data| data.map(in_list)),
            None => self.events.end(),
        };
        match last {
            Ok(Some(event)) => self.event(&event),
            Ok(None) => {}
            Err(error) => {
                self.failed = Failed::With(ProviderError::new(ErrorClass::Protocol, &error.to_string()));
            }
        }
        match self.reader.built().0.pop_front() {
            Some(delta) => Ok(Some(delta)),
            None => self.failed.give().map(|()| None),
        }
    }

    /// Returns what the provider said about its answer so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        self.reader.summary()
    }

    /// Returns what the provider said about its answer.
    #[must_use]
    pub fn into_summary(mut self) -> Summary {
        std::mem::take(self.reader.built().1)
    }

    /// Returns the beginning of what came instead of events, to explain a stream that held no answer.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        self.events.stray()
    }

    fn event(&mut self, event: &sse::Event) {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return;
        }
        let read = match self.reader.read(event, data) {
            Ok(true) => Ok(()),
            Ok(false) => unreadable(self.reader.built().1, self.limits, R::PIECES),
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            self.failed = Failed::With(error);
        }
    }
}

/// Is an object of a list as an event without a name.
fn in_list(data: Bytes) -> sse::Event {
    sse::Event { data, ..sse::Event::default() }
}

/// Counts a piece of a stream that could not be read.
///
/// # Errors
///
/// There were more than the limits allow.
pub(crate) fn unreadable(summary: &mut Summary, limits: Limits, pieces: &str) -> Result<(), ProviderError> {
    summary.malformed += 1;
    if summary.malformed <= limits.malformed_chunks {
        return Ok(());
    }
    let message = format!("{} unreadable {pieces} in one stream", summary.malformed);
    Err(ProviderError::new(ErrorClass::Protocol, &message))
}
