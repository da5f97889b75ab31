//! Answers as clients of a dialect expect them: the way out at a door, whatever dialect the provider spoke.
//!
//! [`Writer`] turns events into server-sent events, [`whole`] a finished answer into a body, [`Failure::body`] an error. What is written
//! is read again by the dialect's own decoder to the same answer. What a dialect has no place for stands in one object,
//! `signalbox`, in the last message and in whole answers, and seams and notices also in comments of the stream where they
//! happen: clients skip both.

mod close;
mod extension;
mod failure;
mod head;

use bytes::Bytes;
use signalbox_proto::common::v1::generate_event::Kind;
use signalbox_proto::gateway::v1::CompleteResponse;

pub(crate) use self::{
    close::Balance,
    extension::{Extension, Owned},
    head::{data, extras, offset, pieces, typed},
};
pub use self::{extension::cache_word, failure::Failure, head::Head};
use crate::{anthropic, openai, responses};

/// The name of the object that holds what a dialect has no place for.
pub const FIELD: &str = "signalbox";

/// Is a dialect in which clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// OpenAI's Chat Completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// Writes a streamed answer.
#[derive(Debug)]
pub enum Writer {
    /// Chat Completions.
    Chat(openai::Reply),
    /// Responses.
    Responses(Box<responses::Reply>),
    /// Messages.
    Messages(anthropic::Reply),
}

impl Writer {
    /// Makes a writer.
    #[must_use]
    pub fn new(door: Door, head: Head) -> Self {
        match door {
            Door::Chat => Self::Chat(openai::Reply::new(head)),
            Door::Responses => Self::Responses(Box::new(responses::Reply::new(head))),
            Door::Messages => Self::Messages(anthropic::Reply::new(head)),
        }
    }

    /// Writes what an event amounts to, which may be nothing.
    pub fn event(&mut self, event: Kind, out: &mut Vec<u8>) {
        match self {
            Self::Chat(reply) => reply.event(event, out),
            Self::Responses(reply) => reply.event(event, out),
            Self::Messages(reply) => reply.event(event, out),
        }
    }

    /// Ends an answer that broke; nothing in it says that it is complete.
    pub fn fail(&mut self, failure: &Failure<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Chat(_) => data(out, "", &failure.value(Door::Chat)),
            Self::Responses(reply) => reply.fail(failure, out),
            Self::Messages(_) => data(out, "error", &failure.value(Door::Messages)),
        }
    }
}

/// Writes a whole answer.
#[must_use]
pub fn whole(door: Door, head: Head, answer: CompleteResponse) -> Bytes {
    match door {
        Door::Chat => openai::reply(head, answer),
        Door::Responses => responses::reply(head, answer),
        Door::Messages => anthropic::reply(head, answer),
    }
}

#[cfg(test)]
mod tests;
