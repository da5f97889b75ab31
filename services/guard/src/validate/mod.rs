//! The form of an answer: JSON, JSON of a schema, arguments that fit a tool. Nothing is ever executed.
//!
//! Whether a text can still become JSON is known at every byte; whether it fits a schema, at its end. What the client gets is what
//! is checked. Where the policy mends or asks again, the answer is held back until it is whole.

mod repair;
mod scan;
mod schema;

use prost_types::Struct;
use serde_json::Value;
use signalbox_proto::{
    common::v1::{
        ChatRequest, Delta, FinishReason, GenerateEvent, Message, Part, ResponseFormat, Role, Text, Tool,
        ToolCall, ToolResult, delta::Content, generate_event::Kind, part, response_format,
    },
    guard::v1::ScreenedEvent,
};

use self::{scan::Scan, schema::Schema};
use crate::policy::{OnInvalid, Validation};

/// Calls of one answer that are checked.
const CALLS: usize = 128;
/// Faults that are told.
const FAULTS: usize = 16;
/// Bytes of a fault's description for the model.
const MESSAGE: usize = 1_000;

/// What is wrong with the form of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `form.json`, `form.schema` or `form.arguments`.
    pub(crate) detector: &'static str,
    /// The declared tool whose arguments are meant.
    tool: Option<String>,
    /// For the caller, without a word of the answer.
    what: String,
    /// For the model that wrote it.
    message: String,
    /// Whether asking again may help.
    correctable: bool,
}

impl Fault {
    fn new(detector: &'static str, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { detector, tool: None, message: what.clone(), what, correctable: true }
    }

    /// A sentence for the caller: which part is wrong, and where in the caller's own schema.
    pub(crate) fn told(&self) -> String {
        match &self.tool {
            Some(tool) => format!("the arguments for the tool `{tool}` {}", self.what),
            None if self.detector == "form.arguments" => {
                format!("the arguments of a tool call {}", self.what)
            }
            None => format!("the answer {}", self.what),
        }
    }
}

/// A text that is checked, in both of its forms.
struct Checked {
    index: u32,
    client: String,
    stored: String,
    scan: Scan,
    /// Whether it cannot become JSON any more.
    broken: bool,
    long: bool,
}

impl Checked {
    fn new(index: u32, object: bool) -> Self {
        let scan = Scan::new(object);
        Self { index, client: String::new(), stored: String::new(), scan, broken: false, long: false }
    }

    fn read(&mut self, client: &str, stored: &str, most: usize) {
        self.broken |= !self.broken && self.scan.read(client).is_err();
        if self.client.len() + client.len() > most {
            self.long = true;
        }
        if !self.long {
            self.client.push_str(client);
            self.stored.push_str(stored);
        }
    }
}

struct Call {
    text: Checked,
    id: String,
    name: String,
    done: bool,
}

/// The form that an answer must have, and what it has so far.
pub(crate) struct Form {
    policy: Validation,
    wants_json: bool,
    object: bool,
    schema: Option<Struct>,
    tools: Vec<Tool>,
    declared: Vec<String>,
    /// Whether the model was asked once more already.
    corrected: bool,
    texts: Vec<Checked>,
    calls: Vec<Call>,
    refused: bool,
    flags: Vec<Fault>,
    failed: Option<Fault>,
    /// Index, whether it is of a tool call, and the mended forms for the client and for storing.
    mended: Vec<(u32, bool, String, String)>,
}

impl Form {
    /// The form that a request asks for. `corrected`: this is the answer to a correction.
    pub(crate) fn new(
        policy: Validation,
        format: Option<ResponseFormat>,
        tools: Vec<Tool>,
        declared: Vec<String>,
        corrected: bool,
    ) -> Self {
        let (wants_json, object, schema) = match format.and_then(|format| format.kind) {
            Some(response_format::Kind::JsonObject(_)) => (true, true, None),
            Some(response_format::Kind::JsonSchema(format)) => (true, false, format.schema),
            _ => (false, false, None),
        };
        let wants_json = wants_json && policy.structured != OnInvalid::Off;
        Self {
            policy,
            wants_json,
            object,
            schema,
            tools,
            declared,
            corrected,
            texts: Vec::new(),
            calls: Vec::new(),
            refused: false,
            flags: Vec::new(),
            failed: None,
            mended: Vec::new(),
        }
    }

    /// Free text without tools.
    pub(crate) fn none() -> Self {
        Self::new(Validation::default(), None, Vec::new(), Vec::new(), false)
    }

    /// Whether nothing can be wrong.
    pub(crate) fn is_off(&self) -> bool {
        !self.wants_json && !self.checks_calls()
    }

    fn checks_calls(&self) -> bool {
        self.policy.tools != OnInvalid::Off && !self.declared.is_empty()
    }

    /// Whether the answer waits until it is whole.
    pub(crate) fn holds_back(&self) -> bool {
        let waits = |on| on == OnInvalid::Retry || self.policy.repair && on != OnInvalid::Off;
        self.wants_json && waits(self.policy.structured) || self.checks_calls() && waits(self.policy.tools)
    }

    /// Tools of the request.
    pub(crate) fn declared(&self) -> &[String] {
        &self.declared
    }

    /// More of the answer's text.
    pub(crate) fn text(&mut self, index: u32, client: &str, stored: &str) {
        if !self.wants_json || self.refused {
            return;
        }
        let at = self.texts.iter().position(|text| text.index == index).unwrap_or_else(|| {
            self.texts.push(Checked::new(index, self.object));
            self.texts.len() - 1
        });
        self.texts[at].read(client, stored, self.policy.max_bytes);
        if self.texts[at].broken && self.policy.structured != OnInvalid::Flag && !self.policy.repair {
            self.fault(self.policy.structured, Fault::new("form.json", "is no JSON"));
        }
    }

    /// A tool call begins under an index.
    pub(crate) fn call(&mut self, index: u32, id: &str, name: &str) {
        if !self.checks_calls() || self.calls.len() == CALLS {
            return;
        }
        self.finish_call(index);
        let (id, name) = (id.to_owned(), name.to_owned());
        self.calls.push(Call { text: Checked::new(index, true), id, name, done: false });
    }

    /// More of a tool call's arguments.
    pub(crate) fn arguments(&mut self, index: u32, client: &str, stored: &str) {
        let most = self.policy.max_bytes;
        let Some(call) = self.calls.iter_mut().rev().find(|call| call.text.index == index && !call.done)
        else {
            return;
        };
        call.text.read(client, stored, most);
        if call.text.broken && self.policy.tools != OnInvalid::Flag && !self.policy.repair {
            let name = call.name.clone();
            let fault = self.of_call(&name, "is no JSON object");
            self.fault(self.policy.tools, fault);
        }
    }

    /// The model refused: that has no form.
    pub(crate) fn refused(&mut self) {
        self.refused = true;
    }

    /// The answer is whole.
    pub(crate) fn finish(&mut self, reason: FinishReason) {
        if !matches!(reason, FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls)
            || self.failed.is_some()
        {
            return;
        }
        let cut = reason == FinishReason::Length;
        let open: Vec<u32> =
            self.calls.iter().filter(|call| !call.done).map(|call| call.text.index).collect();
        open.into_iter().for_each(|index| self.finish_call(index));
        if !self.wants_json || self.refused || reason == FinishReason::ToolCalls || !self.calls.is_empty() {
            return;
        }
        let texts = std::mem::take(&mut self.texts);
        let schema = self.schema.as_ref().map(schema::json);
        if texts.iter().all(|text| text.client.trim().is_empty() && !text.long) {
            self.fault(self.policy.structured, Fault::new("form.json", "is empty"));
        }
        for text in &texts {
            if text.client.trim().is_empty() && !text.long {
                continue;
            }
            match self.judge(text, schema.as_ref(), cut) {
                Ok(Some((client, stored))) => self.mended.push((text.index, false, client, stored)),
                Ok(None) => {}
                Err(mut fault) => {
                    fault.correctable &= !cut;
                    self.fault(self.policy.structured, fault);
                }
            }
        }
        self.texts = texts;
    }

    fn finish_call(&mut self, index: u32) {
        let Some(at) = self.calls.iter().position(|call| call.text.index == index && !call.done) else {
            return;
        };
        self.calls[at].done = true;
        let call = &self.calls[at];
        let declared = self.tools.iter().find(|tool| tool.name == call.name);
        let schema = declared.and_then(|tool| tool.parameters.as_ref()).map(schema::json);
        // Without arguments is as with none.
        let empty = call.text.client.trim().is_empty() && !call.text.long;
        let mut none = Checked::new(index, true);
        none.read("{}", "{}", 2);
        let judged = self.judge(if empty { &none } else { &call.text }, schema.as_ref(), false);
        match judged {
            Ok(Some((client, stored))) => self.mended.push((index, true, client, stored)),
            Ok(None) => {}
            Err(fault) => {
                let mut named = self.of_call(&self.calls[at].name, &fault.what);
                named.message = fault.message;
                self.fault(self.policy.tools, named);
            }
        }
    }

    fn of_call(&self, name: &str, what: &str) -> Fault {
        let tool = self.declared.iter().find(|tool| *tool == name).cloned();
        Fault { tool, ..Fault::new("form.arguments", what) }
    }

    /// Compares a whole text; its mended forms where it had to be mended.
    fn judge(
        &self,
        text: &Checked,
        schema: Option<&Value>,
        cut: bool,
    ) -> Result<Option<(String, String)>, Fault> {
        if text.long {
            return Err(Fault::new(
                "form.json",
                format!("is longer than {} bytes, which is not checked", self.policy.max_bytes),
            ));
        }
        let compiled = schema.map(Schema::compile).transpose().map_err(|why| Fault {
            correctable: false,
            ..Fault::new("form.schema", format!("cannot be checked: its schema {why}"))
        })?;
        if compiled.is_none() && !text.broken && text.scan.may_end() {
            return Ok(None);
        }
        let first = self.fits(&text.client, compiled.as_ref());
        // What was cut off is not made to look whole.
        if first.is_ok() || !self.policy.repair || cut {
            return first.map(|()| None);
        }
        let mended = repair::repair(&text.client).zip(repair::repair(&text.stored));
        match mended {
            Some((client, stored)) if self.fits(&client, compiled.as_ref()).is_ok() => {
                Ok(Some((client, stored)))
            }
            _ => first.map(|()| None),
        }
    }

    fn fits(&self, text: &str, schema: Option<&Schema>) -> Result<(), Fault> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let what = format!("is no JSON (line {}, column {})", error.line(), error.column());
            Fault::new("form.json", what)
        })?;
        if self.object && !value.is_object() {
            return Err(Fault::new("form.json", "is no JSON object"));
        }
        let Some(schema) = schema else { return Ok(()) };
        schema.check(&value).map_err(|misfit| {
            let what = format!("does not fit its schema at `{}`", misfit.schema_path);
            let mut message = format!("does not fit its schema: {}", misfit.message);
            message.truncate(message.floor_char_boundary(MESSAGE));
            Fault { message, ..Fault::new("form.schema", what) }
        })
    }

    fn fault(&mut self, on: OnInvalid, fault: Fault) {
        match on {
            OnInvalid::Off => {}
            OnInvalid::Flag if self.flags.len() < FAULTS => self.flags.push(fault),
            OnInvalid::Flag => {}
            OnInvalid::Error | OnInvalid::Retry => drop(self.failed.get_or_insert(fault)),
        }
    }

    /// What passes with a notice.
    pub(crate) fn flagged(&self) -> impl Iterator<Item = &Fault> {
        self.flags.iter()
    }

    /// Why the answer does not pass.
    pub(crate) fn failed(&self) -> Option<&Fault> {
        self.failed.as_ref()
    }

    /// Puts the mended texts in the place of what the events carry.
    pub(crate) fn mend(&mut self, events: &mut Vec<ScreenedEvent>) {
        for (index, call, client, stored) in std::mem::take(&mut self.mended) {
            // Two calls under one index cannot be told apart here: they stay as they are.
            if call && self.calls.iter().filter(|call| call.text.index == index).count() > 1 {
                continue;
            }
            let mut first = true;
            events.retain_mut(|event| {
                let text = event.client.as_mut().and_then(|event| text_of(event, index, call));
                let Some(text) = text else { return true };
                let keep = std::mem::take(&mut first);
                *text = if keep { client.clone() } else { String::new() };
                if keep {
                    event.stored.clone_from(&event.client);
                    if let Some(text) = event.stored.as_mut().and_then(|event| text_of(event, index, call)) {
                        text.clone_from(&stored);
                    }
                }
                keep
            });
        }
    }

    /// What the model is told, for one more try: empty where that is not wanted, was done already, or is of no use.
    pub(crate) fn correction(&self) -> Vec<Message> {
        let Some(fault) = self.failed.as_ref().filter(|fault| fault.correctable && !self.corrected) else {
            return Vec::new();
        };
        let on = if fault.detector == "form.arguments" { self.policy.tools } else { self.policy.structured };
        if on != OnInvalid::Retry {
            return Vec::new();
        }
        if fault.detector == "form.arguments" {
            return self.of_calls(fault);
        }
        let wrote: String = self.texts.iter().map(|text| text.stored.as_str()).collect();
        let ask = format!(
            "Your answer {}. Answer again with the corrected JSON alone, without code fences or any other words.",
            fault.message
        );
        vec![message(Role::Assistant, vec![text(wrote)]), message(Role::User, vec![text(ask)])]
    }

    /// The calls as the model made them, and what came of them.
    fn of_calls(&self, fault: &Fault) -> Vec<Message> {
        let calls = self.calls.iter().map(|call| {
            let (id, name, arguments) = (call.id.clone(), call.name.clone(), call.text.stored.clone());
            Part { kind: Some(part::Kind::ToolCall(ToolCall { id, name, arguments })), ..Part::default() }
        });
        let results = self.calls.iter().map(|call| {
            let wrong = fault.tool.as_ref().is_none_or(|tool| *tool == call.name);
            let said = if wrong {
                format!(
                    "The call was not made: its arguments object {}. Call again with corrected arguments.",
                    fault.message
                )
            } else {
                "The call was not made, because another one was wrong. Call again.".to_owned()
            };
            let parts = vec![text(said)];
            let result = ToolResult { call_id: call.id.clone(), parts, is_error: Some(true) };
            message(Role::Tool, vec![Part { kind: Some(part::Kind::ToolResult(result)), ..Part::default() }])
        });
        std::iter::once(message(Role::Assistant, calls.collect())).chain(results).collect()
    }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role.into(), parts, ..Message::default() }
}

fn text(text: String) -> Part {
    Part { kind: Some(part::Kind::Text(Text { text })), ..Part::default() }
}

/// The text of an event, if it is a piece of that output item.
fn text_of(event: &mut GenerateEvent, index: u32, call: bool) -> Option<&mut String> {
    let Some(Kind::Delta(Delta { index: at, content: Some(content), .. })) = &mut event.kind else {
        return None;
    };
    match content {
        Content::Text(text) if *at == index && !call => Some(text),
        Content::ToolCall(piece) if *at == index && call => Some(&mut piece.arguments),
        _ => None,
    }
}

/// Checks that the schemas of a request can be used, where its answer depends on that.
///
/// # Errors
/// The field, and why its schema cannot be used.
pub(crate) fn schemas(policy: &Validation, chat: &ChatRequest) -> Result<(), (String, String)> {
    let counts = |on| matches!(on, OnInvalid::Error | OnInvalid::Retry);
    let compile = |fields: &Struct| Schema::compile(&schema::json(fields)).map(|_| ());
    let format = chat.response_format.as_ref().and_then(|format| format.kind.as_ref());
    if let (Some(response_format::Kind::JsonSchema(format)), true) = (format, counts(policy.structured))
        && let Some(fields) = &format.schema
    {
        compile(fields).map_err(|why| ("chat.response_format.json_schema.schema".to_owned(), why))?;
    }
    if counts(policy.tools) {
        for (at, tool) in chat.tools.iter().enumerate() {
            if let Some(fields) = &tool.parameters {
                compile(fields).map_err(|why| (format!("chat.tools[{at}].parameters"), why))?;
            }
        }
    }
    Ok(())
}

/// For the fuzzer: compiles, compares, mends.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn try_out(schema: &str, value: &str) {
    let mut scan = Scan::new(false);
    let is_json = serde_json::from_str::<Value>(value);
    let scanned = scan.read(value).is_ok() && scan.may_end();
    assert!(is_json.is_err() || scanned, "what is JSON is taken for none");
    if let Some(mended) = repair::repair(value) {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&mended).is_ok(), "what was mended is no JSON");
    }
    if let (Ok(schema), Ok(value)) = (serde_json::from_str::<Value>(schema), is_json)
        && let Ok(schema) = Schema::compile(&schema)
    {
        let _fits = schema.check(&value);
    }
}

#[cfg(test)]
mod tests;
