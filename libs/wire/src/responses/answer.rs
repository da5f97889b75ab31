//! What an answer's events and items amount to.

use std::collections::{BTreeMap, VecDeque};

use prost_types::Struct;
use serde::Deserialize;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{Delta, FinishReason, Media, ReasoningText, ToolCallDelta, media};

use super::output::{KNOWN, citation, fields, list, text, unfinished, waits};
use super::usage::Reported;
use crate::openai::body::{canonical, others};
use crate::{ErrorClass, ProviderError, Summary};

/// The most items of one answer, parts of one item, and citations held back.
const MANY: usize = 4096;

/// Is what a piece of text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Text,
    Refusal,
    Summary,
    Reasoning,
    Arguments,
}

/// Is how much of a text was handed out.
#[derive(Debug)]
struct Piece {
    field: Field,
    index: u64,
    sent: usize,
    /// Tells whether what was handed out is the beginning of what is later said to be the whole.
    mark: Mark,
    /// Where it begins in the answer's text, in bytes.
    start: u64,
    cited: bool,
}

/// Is a text's FNV-1a hash, as it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64);

impl Default for Mark {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Mark {
    fn of(text: &str) -> Self {
        let mut mark = Self::default();
        mark.add(text);
        mark
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Is an item under way.
#[derive(Debug, Default)]
struct Slot {
    pieces: Vec<Piece>,
    /// Citations whose text is not complete yet, with their part's index.
    citations: Vec<(u64, Map<String, Value>)>,
    named: bool,
    done: bool,
    phase: Option<String>,
}

/// Is what was read so far.
#[derive(Debug, Default)]
pub struct State {
    pub(super) queue: VecDeque<Delta>,
    pub(super) summary: Summary,
    slots: BTreeMap<u64, Slot>,
    /// Bytes of answer text handed out.
    text: u64,
    called: bool,
    refused: bool,
}

fn too_many(what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Protocol, &format!("an answer of more than {MANY} {what}"))
}

impl State {
    pub(super) fn head(&mut self, id: Option<String>, model: Option<String>) {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if self.summary.response_id.is_none() {
            self.summary.response_id = some(id);
        }
        if self.summary.model.is_none() {
            self.summary.model = some(model);
        }
    }

    fn push(&mut self, at: u64, content: Out, extra: Option<Struct>) {
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra });
    }

    fn slot(&mut self, at: u64) -> Result<&mut Slot, ProviderError> {
        if self.slots.len() >= MANY && !self.slots.contains_key(&at) {
            return Err(too_many("items"));
        }
        Ok(self.slots.entry(at).or_default())
    }

    /// Hands out more of a text.
    pub(super) fn add(
        &mut self,
        at: u64,
        field: Field,
        index: u64,
        more: String,
        logprobs: Option<Value>,
    ) -> Result<(), ProviderError> {
        if more.is_empty() {
            return Ok(());
        }
        let start = self.text;
        let slot = self.slot(at)?;
        let thought = matches!(field, Field::Summary | Field::Reasoning);
        let found = slot.pieces.iter().position(|p| p.field == field && p.index == index);
        let fresh = found.is_none();
        // The parts of a thought are paragraphs of one text.
        let apart = thought && fresh && slot.pieces.iter().any(|p| p.sent > 0);
        let place = match found {
            Some(place) => place,
            None if slot.pieces.len() >= MANY => return Err(too_many("parts")),
            None => {
                slot.pieces.push(Piece { field, index, sent: 0, mark: Mark::default(), start, cited: false });
                slot.pieces.len() - 1
            }
        };
        if let Some(piece) = slot.pieces.get_mut(place) {
            piece.sent += more.len();
            piece.mark.add(&more);
        }
        let phase = slot.phase.take_if(|_| field == Field::Text);
        let extra =
            phase.and_then(|phase| fields(Map::from_iter([("phase".to_owned(), Value::from(phase))])));
        let content = match field {
            Field::Text => {
                self.text += more.len() as u64;
                Out::Text(more)
            }
            Field::Refusal => {
                self.refused = true;
                Out::Refusal(more)
            }
            Field::Summary | Field::Reasoning => {
                let text = if apart { format!("\n\n{more}") } else { more };
                Out::Reasoning(ReasoningText { text, ..Default::default() })
            }
            Field::Arguments => Out::ToolCall(ToolCallDelta { arguments: more, ..Default::default() }),
        };
        self.push(at, content, extra);
        if let (Some(logprobs), Some(last)) = (logprobs, self.queue.back_mut()) {
            last.logprobs = fields(Map::from_iter([("content".to_owned(), logprobs)]));
        }
        Ok(())
    }

    /// Hands out what is still missing of a text that is now known in full.
    pub(super) fn settle(
        &mut self,
        at: u64,
        field: Field,
        index: u64,
        full: &str,
    ) -> Result<(), ProviderError> {
        self.settle_with(at, field, index, full, None)
    }

    fn settle_with(
        &mut self,
        at: u64,
        field: Field,
        index: u64,
        full: &str,
        logprobs: Option<&Value>,
    ) -> Result<(), ProviderError> {
        let piece = self
            .slots
            .get(&at)
            .and_then(|slot| slot.pieces.iter().find(|p| p.field == field && p.index == index));
        let sent = piece.map_or(0, |piece| piece.sent);
        let Some((known, missing)) = full.split_at_checked(sent) else { return Ok(()) };
        if piece.is_some_and(|piece| piece.mark != Mark::of(known)) {
            // The two disagree; what was handed out stands.
            return Ok(());
        }
        let logprobs = logprobs.filter(|list| sent == 0 && list.as_array().is_some_and(|l| !l.is_empty()));
        self.add(at, field, index, missing.to_owned(), logprobs.cloned())
    }

    /// Takes an item that begins.
    pub(super) fn begin(&mut self, at: u64, item: &Map<String, Value>) -> Result<(), ProviderError> {
        match text(item, "type").unwrap_or_default() {
            "message" => {
                let phase = text(item, "phase").map(str::to_owned);
                self.slot(at)?.phase = phase;
                Ok(())
            }
            "function_call" => self.name(at, item, "arguments"),
            "custom_tool_call" => self.name(at, item, "input"),
            _ => self.slot(at).map(|_| ()),
        }
    }

    /// Hands out a call's id and name, once.
    fn name(&mut self, at: u64, item: &Map<String, Value>, key: &str) -> Result<(), ProviderError> {
        self.called = true;
        let slot = self.slot(at)?;
        if std::mem::replace(&mut slot.named, true) {
            return Ok(());
        }
        let mut rest = others(item, &["call_id", "name", "status", key]);
        if key == "arguments" {
            rest.remove("type");
        }
        let delta = ToolCallDelta {
            id: text(item, "call_id").or(text(item, "id")).map(str::to_owned),
            name: text(item, "name").map(str::to_owned),
            arguments: String::new(),
        };
        self.push(at, Out::ToolCall(delta), fields(rest));
        match item.get(key) {
            Some(Value::String(arguments)) => self.settle(at, Field::Arguments, 0, arguments),
            Some(Value::Object(arguments)) if !arguments.is_empty() => {
                self.settle(at, Field::Arguments, 0, &Value::Object(arguments.clone()).to_string())
            }
            _ => Ok(()),
        }
    }

    /// Takes an item that is complete.
    pub(super) fn complete(&mut self, at: u64, item: Map<String, Value>) -> Result<(), ProviderError> {
        if self.slot(at)?.done {
            return Ok(());
        }
        match text(&item, "type").unwrap_or_default() {
            "message" => {
                if self.slot(at)?.pieces.is_empty() {
                    self.begin(at, &item)?;
                }
                // Some servers (Bedrock's) count the parts of a message from another beginning in events than here.
                let spoken = |p: &&Piece| matches!(p.field, Field::Text | Field::Refusal);
                let seen: Vec<u64> = self.slot(at)?.pieces.iter().filter(spoken).map(|p| p.index).collect();
                let same = seen.len() == list(&item, "content").count();
                for (i, part) in list(&item, "content").enumerate() {
                    let index = seen.get(i).filter(|_| same).copied().unwrap_or(i as u64);
                    self.part(at, index, part)?;
                }
            }
            "function_call" => {
                self.name(at, &item, "arguments")?;
                self.settle(at, Field::Arguments, 0, text(&item, "arguments").unwrap_or_default())?;
            }
            "custom_tool_call" => {
                self.name(at, &item, "input")?;
                self.settle(at, Field::Arguments, 0, text(&item, "input").unwrap_or_default())?;
            }
            "reasoning" => self.thought(at, &item)?,
            "image_generation_call" => self.image(at, item),
            "" => {}
            _ => {
                self.called |= waits(&item);
                if let Some(whole) = fields(item) {
                    self.push(at, Out::Text(String::new()), Some(whole));
                }
            }
        }
        self.slot(at)?.done = true;
        Ok(())
    }

    fn thought(&mut self, at: u64, item: &Map<String, Value>) -> Result<(), ProviderError> {
        for (key, field) in [("summary", Field::Summary), ("content", Field::Reasoning)] {
            for (index, part) in list(item, key).enumerate() {
                self.settle(at, field, index as u64, text(part, "text").unwrap_or_default())?;
            }
        }
        // What is needed to hand the thought back.
        let mut rest = others(item, &["type", "summary", "content", "encrypted_content", "status"]);
        let slot = self.slot(at)?;
        let only = slot.pieces.iter().all(|p| p.field == Field::Reasoning) && !slot.pieces.is_empty();
        if only {
            rest.insert("type".to_owned(), Value::from("reasoning_text"));
        }
        let signature = text(item, "encrypted_content").map(str::to_owned);
        if signature.is_some() || !rest.is_empty() {
            let thought = ReasoningText { text: String::new(), signature, provider: None };
            self.push(at, Out::Reasoning(thought), fields(rest));
        }
        Ok(())
    }

    fn image(&mut self, at: u64, item: Map<String, Value>) {
        let data = text(&item, "result").and_then(canonical);
        match data {
            Some(data) if !data.is_empty() => {
                let format = text(&item, "output_format").unwrap_or("png");
                let media = Media {
                    content: Some(media::Content::Data(data)),
                    media_type: format!("image/{format}"),
                    ..Default::default()
                };
                self.push(at, Out::Media(media.into()), fields(others(&item, &["result"])));
            }
            // xAI gives an address.
            _ => {
                let url = text(&item, "result").filter(|url| url.starts_with("http")).map(str::to_owned);
                match url {
                    Some(url) => {
                        let media = Media { content: Some(media::Content::Url(url)), ..Default::default() };
                        self.push(at, Out::Media(media.into()), fields(others(&item, &["result"])));
                    }
                    None => self.push(at, Out::Text(String::new()), fields(item)),
                }
            }
        }
    }

    /// Takes a part of a message that is complete, and hands out its citations.
    pub(super) fn part(
        &mut self,
        at: u64,
        index: u64,
        part: &Map<String, Value>,
    ) -> Result<(), ProviderError> {
        match text(part, "type").unwrap_or_default() {
            "output_text" | "text" => {
                let full = text(part, "text").unwrap_or_default();
                self.settle_with(at, Field::Text, index, full, part.get("logprobs"))?;
                self.cite(at, index, full, list(part, "annotations"))
            }
            "refusal" => self.settle(at, Field::Refusal, index, text(part, "refusal").unwrap_or_default()),
            "reasoning_text" => {
                self.settle(at, Field::Reasoning, index, text(part, "text").unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn annotation(
        &mut self,
        at: u64,
        index: u64,
        annotation: Map<String, Value>,
    ) -> Result<(), ProviderError> {
        let slot = self.slot(at)?;
        if slot.citations.len() >= MANY {
            return Err(too_many("citations"));
        }
        slot.citations.push((index, annotation));
        Ok(())
    }

    fn cite<'a>(
        &mut self,
        at: u64,
        index: u64,
        full: &str,
        given: impl Iterator<Item = &'a Map<String, Value>>,
    ) -> Result<(), ProviderError> {
        let before = self.text;
        let slot = self.slot(at)?;
        let place = slot.pieces.iter_mut().find(|p| p.field == Field::Text && p.index == index);
        let start = match place {
            Some(piece) if piece.cited => return Ok(()),
            Some(piece) => {
                piece.cited = true;
                Some(piece.start)
            }
            None => {
                slot.pieces.push(Piece {
                    field: Field::Text,
                    index,
                    sent: 0,
                    mark: Mark::default(),
                    start: before,
                    cited: true,
                });
                None
            }
        };
        let (held, later) = std::mem::take(&mut slot.citations).into_iter().partition(|(of, _)| *of == index);
        slot.citations = later;
        let mut list: Vec<Map<String, Value>> = given.cloned().collect();
        if list.is_empty() {
            let held: Vec<(u64, Map<String, Value>)> = held;
            list = held.into_iter().map(|(_, annotation)| annotation).collect();
        }
        for annotation in list {
            let citation = citation(&annotation, full, start);
            self.push(at, Out::Citation(citation.into()), None);
        }
        Ok(())
    }

    /// Takes the last state of an answer: it is complete, or it failed. `named`: the status by the event's name, for servers
    /// that leave it out.
    pub(super) fn last(
        &mut self,
        mut response: Map<String, Value>,
        named: &str,
    ) -> Result<(), ProviderError> {
        self.head(text(&response, "id").map(str::to_owned), text(&response, "model").map(str::to_owned));
        if let Some(usage) = response.get("usage").and_then(|usage| Reported::deserialize(usage).ok())
            && response.get("usage").is_some_and(Value::is_object)
        {
            self.summary.usage = Some(usage.usage());
        }
        let status = text(&response, "status").unwrap_or(named).to_owned();
        let word = match status.as_str() {
            // The second spelling is that of some replays and proxies.
            "completed" | "complete" => status,
            "incomplete" => {
                let details = response.get("incomplete_details").and_then(Value::as_object);
                details.and_then(|d| text(d, "reason")).unwrap_or("incomplete").to_owned()
            }
            _ => return Err(unfinished(&status, response.get("error"))),
        };
        if let Some(Value::Array(output)) = response.remove("output") {
            // What the events gave stands; what they did not give comes now.
            let silent = self.slots.is_empty();
            for (at, item) in output.into_iter().enumerate() {
                if let (Value::Object(item), true) = (item, silent || self.slots.contains_key(&(at as u64))) {
                    self.complete(at as u64, item)?;
                }
            }
        }
        self.release();
        self.summary.extra = fields(others(&response, KNOWN));
        self.finish(&word)
    }

    /// Hands out citations whose text never became complete.
    fn release(&mut self) {
        let held: Vec<(u64, Map<String, Value>)> = self
            .slots
            .iter_mut()
            .flat_map(|(at, slot)| slot.citations.drain(..).map(move |(_, annotation)| (*at, annotation)))
            .collect();
        for (at, annotation) in held {
            self.push(at, Out::Citation(citation(&annotation, "", None).into()), None);
        }
    }

    fn finish(&mut self, word: &str) -> Result<(), ProviderError> {
        if let Some(known) = self.summary.provider_finish_reason.as_deref() {
            if known == word {
                return Ok(());
            }
            let message = format!("two finish reasons, `{known}` and `{word}`");
            return Err(ProviderError::new(ErrorClass::Protocol, &message));
        }
        let reason = match word {
            "completed" | "complete" if self.called => FinishReason::ToolCalls,
            "completed" | "complete" if self.refused => FinishReason::Refusal,
            "completed" | "complete" => FinishReason::Stop,
            "max_output_tokens" | "max_tokens" | "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            _ => FinishReason::Unspecified,
        };
        self.summary.finish_reason = Some(reason);
        self.summary.provider_finish_reason = Some(word.to_owned());
        self.summary.done = true;
        Ok(())
    }
}
