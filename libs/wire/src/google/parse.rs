//! A JSON body as a `ChatRequest`: what was written for Google, in our messages.

use std::collections::HashSet;

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    ChatRequest, JsonObjectFormat, JsonSchemaFormat, Message, Part, ReasoningText, ResponseFormat, Role,
    Sampling, Text, ToolCall, ToolResult, part, response_format,
};

use super::encode::{self, Options};
use super::part::Parts;
use super::{media, model, own, schema, tool};
use crate::openai::body::Fields;
use crate::{RequestError, json};

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked.
    pub chat: ChatRequest,
    /// Whether the two sides take turns: see [`super::Options::alternate`].
    pub alternate: bool,
}

/// Reads a request for a model, which stands in the path. `provider` is the provider for which the conversation's
/// thoughts were written, if it is known; without it, thoughts are kept but never sent on.
///
/// Takes `camelCase` and `snake_case`, mixed, bytes in either alphabet of base64, and a single object for a list of one.
///
/// # Errors
///
/// The body is no JSON object, or a known field has the wrong form; the error names the field.
pub fn parse(body: &[u8], model: &str, provider: Option<&str>) -> Result<Parsed, RequestError> {
    let mut root = json::root(body)?;
    let mut over = Map::new();
    let mut take = |name: &str| -> Option<(String, Value)> {
        let key = own::key_of(&root, name)?.clone();
        root.remove(&key).map(|value| (key, value))
    };
    let options = Options { model, provider: provider.unwrap_or_default(), alternate: false };
    let mut turns = Turns {
        parts: Parts::new(&options),
        options: &options,
        open: Vec::new(),
        ids: HashSet::new(),
        made: 0,
    };
    let mut messages = Vec::new();
    match take("systemInstruction") {
        Some((key, Value::Object(content))) => {
            messages.push(turns.message(content, Some(Role::System), "systemInstruction")?);
            if key != "systemInstruction" {
                over.insert(key, Value::from(""));
            }
        }
        Some((_, Value::Null)) | None => {}
        Some(_) => return Err(RequestError::new("systemInstruction", "give an object with parts")),
    }
    let list = match take("contents") {
        Some((_, Value::Array(list))) if !list.is_empty() => list,
        Some((key, one @ Value::Object(_))) => {
            over.insert(key, Value::Object(Map::new()));
            vec![one]
        }
        _ => return Err(RequestError::new("contents", "give a list of at least one turn")),
    };
    for (i, value) in list.into_iter().enumerate() {
        let at = format!("contents[{i}]");
        let Value::Object(content) = value else { return Err(RequestError::new(at, "give an object")) };
        messages.push(turns.message(content, None, &at)?);
    }
    let mut chat = ChatRequest { model: model.to_owned(), messages, ..Default::default() };
    let mut layout = None;
    if let Some((_, raw)) = take("tools").filter(|(_, raw)| !raw.is_null()) {
        let (tools, arranged) = tool::read(&raw)?;
        let plain = !tools.is_empty() && own::same(&tool::write(&tools, None)?, &raw);
        layout = (!plain).then_some(arranged);
        chat.tools = tools;
    }
    tool_config(&mut chat, &mut root, &mut over);
    settings(&mut chat, &mut root, &mut over)?;
    over.extend(root);
    chat.extra = own::extra(over, "")?;
    if let Some(layout) = layout {
        let layout = json::value(layout).map_err(|e| RequestError::new("tools", e.to_string()))?;
        chat.extra.get_or_insert_default().fields.insert("tools".to_owned(), layout);
    }
    let alternate = alternates(&chat.messages);
    Ok(Parsed { chat, alternate })
}

fn alternates(messages: &[Message]) -> bool {
    let turns = || messages.iter().filter(|m| m.role() != Role::System);
    let assistant = |message: &Message| message.role() == Role::Assistant;
    turns().all(|m| !m.parts.is_empty())
        && turns().zip(turns().skip(1)).all(|(a, b)| assistant(a) != assistant(b))
}

fn tool_config(chat: &mut ChatRequest, root: &mut Map<String, Value>, over: &mut Map<String, Value>) {
    let Some(key) = own::key_of(root, "toolConfig").cloned() else { return };
    let Some(Value::Object(raw)) = root.get(&key) else { return };
    let Some(choice) = tool::choice(raw) else { return };
    let Some(rest) = own::remains(raw, &tool::choose(&choice)) else { return };
    chat.tool_choice = Some(choice);
    if key != "toolConfig" || !rest.is_empty() {
        over.insert(key.clone(), Value::Object(rest));
    }
    root.remove(&key);
}

/// Takes what our messages can say out of `generationConfig`; the rest stays in `extra`.
fn settings(
    chat: &mut ChatRequest,
    root: &mut Map<String, Value>,
    over: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    let Some(key) = own::key_of(root, "generationConfig").cloned() else { return Ok(()) };
    let raw = match root.remove(&key) {
        Some(Value::Object(raw)) => raw,
        other => {
            over.extend(other.map(|other| (key, other)));
            return Ok(());
        }
    };
    let named: Map<String, Value> = raw.iter().map(|(key, value)| (own::camel(key), value.clone())).collect();
    let mut fields = Fields::new(named, key.clone());
    let stop = fields.take("stopSequences").map(serde_json::from_value).transpose();
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("topP")?,
        // Google's own SDK once sent it as a float.
        top_k: fields.get("topK").and_then(Value::as_u64).and_then(|k| u32::try_from(k).ok()),
        max_output_tokens: fields.small("maxOutputTokens")?,
        stop: stop
            .map_err(|_| RequestError::new(format!("{key}.stopSequences"), "give a list of texts"))?
            .unwrap_or_default(),
        seed: fields.integer("seed")?,
        presence_penalty: fields.number("presencePenalty")?,
        frequency_penalty: fields.number("frequencyPenalty")?,
        logprobs: fields.boolean("responseLogprobs")?,
        top_logprobs: fields.small("logprobs")?,
        ..Default::default()
    };
    chat.sampling = (sampling != Sampling::default()).then_some(sampling);
    let mut marks = Map::new();
    if own::get(&raw, "responseMimeType").is_some_and(|kind| kind == "application/json") {
        let schema = schema::read(&raw, "responseSchema", "responseJsonSchema", &key)?;
        marks = schema::marks(&raw, "responseSchema", "responseJsonSchema");
        chat.response_format = Some(ResponseFormat {
            kind: Some(match schema {
                Some(schema) => response_format::Kind::JsonSchema(JsonSchemaFormat {
                    // Google has no name for it, other dialects want one.
                    name: "response".to_owned(),
                    schema: Some(schema),
                    ..Default::default()
                }),
                None => response_format::Kind::JsonObject(JsonObjectFormat {}),
            }),
        });
    }
    if let Some(config) = own::get(&raw, "thinkingConfig").and_then(Value::as_object) {
        chat.reasoning = model::reasoning(config)
            .filter(|reasoning| own::remains(config, &model::thinking(reasoning, &chat.model)).is_some());
    }
    let written = encode::settings(chat, &chat.model, &mut marks.clone())?;
    let rest = match own::remains(&raw, &written) {
        Some(mut rest) => {
            rest.extend(marks);
            rest
        }
        None => {
            // Said in a way that is not ours: all of it is the caller's own.
            (chat.sampling, chat.response_format, chat.reasoning) = (None, None, None);
            raw
        }
    };
    if key != "generationConfig" || !rest.is_empty() || written.is_empty() {
        over.insert(key, Value::Object(rest));
    }
    Ok(())
}

/// Is what a part may mean, with the marks that it needs to be written back.
type Meaning = (part::Kind, Map<String, Value>);

/// Reads the conversation, in its order.
struct Turns<'a> {
    parts: Parts<'a>,
    options: &'a Options<'a>,
    /// Calls that no result has answered yet: ids and names.
    open: Vec<(String, String)>,
    ids: HashSet<String>,
    made: usize,
}

impl Turns<'_> {
    /// Reads a turn. What it says about itself besides role and parts stays in its `extra`.
    fn message(
        &mut self,
        mut raw: Map<String, Value>,
        role: Option<Role>,
        at: &str,
    ) -> Result<Message, RequestError> {
        let mut extra = Map::new();
        let mut mark = None;
        let given = raw.remove("role");
        let speaker = match (role, given.as_ref().and_then(Value::as_str)) {
            (Some(role), _) => role,
            (None, Some("model" | "assistant")) => Role::Assistant,
            (None, _) => Role::User,
        };
        let plain = match speaker {
            Role::System => None,
            Role::Assistant => Some("model"),
            _ => Some("user"),
        };
        match given {
            Some(given) if plain.is_none_or(|plain| given != plain) => {
                extra.insert("role".to_owned(), given);
            }
            None if plain.is_some() => {
                extra.insert("role".to_owned(), Value::Bool(false));
            }
            _ => {}
        }
        let list = match raw.remove("parts") {
            Some(Value::Array(list)) => list,
            Some(one @ Value::Object(_)) => {
                mark = Some(Value::Object(Map::new()));
                vec![one]
            }
            None | Some(Value::Null) => {
                mark = Some(Value::Bool(false));
                Vec::new()
            }
            Some(_) => return Err(RequestError::new(format!("{at}.parts"), "give a list of parts")),
        };
        let mut parts = Vec::with_capacity(list.len());
        let mut called = false;
        for (j, value) in list.into_iter().enumerate() {
            let at = format!("{at}.parts[{j}]");
            let Value::Object(map) = value else { return Err(RequestError::new(at, "give an object")) };
            let part = self.part(map, !called, &at)?;
            called |= matches!(part.kind, Some(part::Kind::ToolCall(_)));
            parts.push(part);
        }
        let result = |part: &Part| matches!(part.kind, Some(part::Kind::ToolResult(_)));
        let answers = speaker == Role::User && !parts.is_empty() && parts.iter().all(result);
        let speaker = if answers { Role::Tool } else { speaker };
        extra.extend(raw);
        let mut extra = own::extra(extra, at)?;
        if let Some(mark) = mark {
            let mark = json::value(mark).map_err(|e| RequestError::new(at, e.to_string()))?;
            extra.get_or_insert_default().fields.insert("parts".to_owned(), mark);
        }
        Ok(Message { role: speaker.into(), parts, name: None, extra })
    }

    /// Reads a part. What would not be written back the same is kept whole, as a part of Google's own.
    fn part(&mut self, raw: Map<String, Value>, first: bool, at: &str) -> Result<Part, RequestError> {
        for (kind, marks) in self.readings(&raw, at)? {
            let Ok(extra) = own::extra(marks.clone(), at) else { break };
            let mut part = Part { kind: Some(kind), source: 0, extra };
            let written = self.parts.write(&part, first, at).unwrap_or_default();
            let [Value::Object(written)] = &written[..] else { continue };
            let Some(rest) = own::remains(&raw, written) else { continue };
            part.extra = own::extra(join(marks, rest), at)?;
            if let Some(part::Kind::ToolResult(result)) = &part.kind {
                self.open.retain(|(id, _)| *id != result.call_id);
            }
            return Ok(part);
        }
        let extra = Map::from_iter([("part".to_owned(), Value::Object(raw))]);
        let extra = json::fields(extra).map_err(|e| RequestError::new(at, e.to_string()))?;
        Ok(Part { kind: Some(part::Kind::Text(Text::default())), source: 0, extra })
    }

    /// Returns what a part may mean, likeliest first, each with the marks that it needs.
    fn readings(&mut self, raw: &Map<String, Value>, at: &str) -> Result<Vec<Meaning>, RequestError> {
        if let Some(text) = raw.get("text").and_then(Value::as_str) {
            let text = text.to_owned();
            if raw.get("thought") != Some(&Value::Bool(true)) {
                // An empty text would not be written, unless something is said about it.
                let mark = text.is_empty().then(|| ("text".to_owned(), Value::from("")));
                return Ok(vec![(part::Kind::Text(Text { text }), mark.into_iter().collect())]);
            }
            let signature = own::get(raw, "thoughtSignature").and_then(Value::as_str).map(str::to_owned);
            let provider = Some(self.options.provider).filter(|p| !p.is_empty()).map(str::to_owned);
            return Ok(vec![(
                part::Kind::Reasoning(ReasoningText { text, signature, provider }),
                Map::new(),
            )]);
        }
        if let Some(key) = own::key_of(raw, "functionCall").cloned() {
            return Ok(raw
                .get(&key)
                .and_then(Value::as_object)
                .and_then(|call| self.call(&key, call))
                .into_iter()
                .collect());
        }
        if let Some(key) = own::key_of(raw, "functionResponse").cloned() {
            return match raw.get(&key).and_then(Value::as_object) {
                Some(result) => self.result(&key, result, at),
                None => Ok(Vec::new()),
            };
        }
        Ok(media::read(raw).into_iter().collect())
    }

    fn call(&mut self, key: &str, call: &Map<String, Value>) -> Option<Meaning> {
        let name = call.get("name")?.as_str()?.to_owned();
        let arguments = match call.get("args") {
            Some(args @ Value::Object(_)) => args.to_string(),
            None => String::new(),
            Some(_) => return None,
        };
        let given = call.get("id").and_then(Value::as_str).map(str::to_owned);
        let id = given.clone().unwrap_or_else(|| self.new_id());
        self.ids.insert(id.clone());
        self.open.push((id.clone(), name.clone()));
        // The mark says that Google, or its caller, wrote the call: nothing is to be added to it.
        let mark = given.map(|id| Map::from_iter([("id".to_owned(), Value::from(id))])).unwrap_or_default();
        let marks = Map::from_iter([(key.to_owned(), Value::Object(mark))]);
        Some((part::Kind::ToolCall(ToolCall { id, name, arguments }), marks))
    }

    /// Makes an id for a call that has none: results name the call that they answer.
    fn new_id(&mut self) -> String {
        loop {
            self.made += 1;
            let id = format!("call_{}", self.made);
            if !self.ids.contains(&id) {
                return id;
            }
        }
    }

    fn result(
        &mut self,
        key: &str,
        result: &Map<String, Value>,
        at: &str,
    ) -> Result<Vec<Meaning>, RequestError> {
        let Some(name) = result.get("name").and_then(Value::as_str) else { return Ok(Vec::new()) };
        let Some(response) = result.get("response") else { return Ok(Vec::new()) };
        let mut mark = Map::new();
        let given = result.get("id").and_then(Value::as_str).map(str::to_owned);
        if let Some(id) = &given {
            mark.insert("id".to_owned(), Value::from(id.as_str()));
        }
        let open = self.open.iter().find(|(_, called)| called == name).map(|(id, _)| id.clone());
        let call_id = given.or(open).unwrap_or_else(|| {
            // Nobody asked for it; so the name must be remembered here.
            mark.insert("name".to_owned(), Value::from(name));
            self.new_id()
        });
        mark.entry("name").or_insert_with(|| Value::from(name));
        let mut media = Vec::new();
        if let Some(parts) = own::key_of(result, "parts") {
            let Some(list) = result.get(parts).and_then(Value::as_array) else { return Ok(Vec::new()) };
            for (j, value) in list.iter().enumerate() {
                let at = format!("{at}.{key}.parts[{j}]");
                let Value::Object(map) = value else { return Err(RequestError::new(at, "give an object")) };
                media.push(self.part(map.clone(), false, &at)?);
            }
            mark.insert(parts.clone(), Value::from(""));
        }
        let marks = Map::from_iter([(key.to_owned(), Value::Object(mark))]);
        let reading = |text: String, is_error: Option<bool>| {
            let text = Part { kind: Some(part::Kind::Text(Text { text })), ..Part::default() };
            let parts = std::iter::once(text).chain(media.clone()).collect();
            let result = ToolResult { call_id: call_id.clone(), parts, is_error };
            (part::Kind::ToolResult(result), marks.clone())
        };
        let word = |key: &str| response.get(key).and_then(Value::as_str).map(str::to_owned);
        let whole = [
            word("output").map(|text| reading(text, None)),
            word("error").map(|text| reading(text, Some(true))),
        ];
        let json = reading(response.to_string(), None);
        Ok(whole.into_iter().flatten().chain([json]).collect())
    }
}

/// Joins marks with what remains of a part.
fn join(mut marks: Map<String, Value>, rest: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in rest {
        match (marks.get_mut(&key), value) {
            (Some(Value::Object(marks)), Value::Object(value)) => {
                let inner = join(std::mem::take(marks), value);
                *marks = inner;
            }
            (Some(_), _) => {}
            (None, value) => {
                marks.insert(key, value);
            }
        }
    }
    marks
}

#[cfg(test)]
mod tests;
