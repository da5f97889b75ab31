//! What a request asks for, checked as strictly as the provider checks it.

use serde_json::{Map, Value};

use super::problem::Problem;
use super::token::count_tokens;

/// A chat completion request, reduced to what decides the answer.
#[derive(Debug, Clone)]
pub(super) struct Chat {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) obfuscation: bool,
    /// Text of the last message of role `user`.
    pub(super) last_user: String,
    /// Text of the last message where its role is `tool`.
    pub(super) tool_result: Option<String>,
    /// An answer that may be meant to be gone on with.
    pub(super) unfinished: Option<Unfinished>,
    pub(super) prompt_tokens: u64,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) max_tokens: Option<u64>,
    pub(super) stop: Vec<String>,
    pub(super) format: Format,
}

/// A last message of role `assistant`, or one that a single message follows.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    /// Text of the message of role `user` before it.
    pub(super) question: String,
    pub(super) answer: String,
}

/// A function that may be called.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    /// JSON schema of its arguments.
    pub(super) parameters: Value,
}

/// Whether a tool must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// What the answer's text must be.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Text,
    Object,
    Schema(Value),
}

type Checked<T> = Result<T, Problem>;

impl Chat {
    /// Reads and checks the body of a request.
    ///
    /// # Errors
    ///
    /// The provider's own answer, which names the parameter at fault.
    pub(super) fn read(body: &Value) -> Checked<Self> {
        let body = body.as_object().ok_or_else(Problem::unreadable)?;
        let Messages { last_user, tool_result, unfinished, tokens: message_tokens } = messages(body)?;
        let (tools, tool_tokens) = tools(body)?;
        let stream = boolean(body, "stream")?.unwrap_or(false);
        let options = body.get("stream_options").filter(|options| !options.is_null());
        if options.is_some() && !stream {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(Problem::invalid(message).about("stream_options"));
        }
        let option = |name| options.and_then(|options| options.get(name)).and_then(Value::as_bool);
        in_range(body, "temperature", 0.0, 2.0)?;
        in_range(body, "top_p", 0.0, 1.0)?;
        if body.get("n").is_some_and(|n| !n.is_null() && n.as_u64() != Some(1)) {
            return Err(Problem::wrong_value("n", "this simulator gives one choice, n must be 1"));
        }
        Ok(Self {
            stream,
            include_usage: option("include_usage").unwrap_or(false),
            obfuscation: option("include_obfuscation").unwrap_or(true),
            last_user,
            tool_result,
            unfinished,
            prompt_tokens: message_tokens + tool_tokens,
            choice: tool_choice(body, &tools)?,
            tools,
            max_tokens: max_tokens(body)?,
            stop: stop(body)?,
            format: format(body)?,
        })
    }
}

fn present<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn boolean(body: &Map<String, Value>, name: &str) -> Checked<Option<bool>> {
    let read = |value: &Value| value.as_bool().ok_or_else(|| Problem::wrong_type(name, "a boolean"));
    present(body, name).map(read).transpose()
}

fn in_range(body: &Map<String, Value>, name: &str, low: f64, high: f64) -> Checked<()> {
    let Some(value) = present(body, name) else { return Ok(()) };
    let number = value.as_f64().ok_or_else(|| Problem::wrong_type(name, "a decimal"))?;
    if (low..=high).contains(&number) {
        return Ok(());
    }
    Err(Problem::wrong_value(name, &format!("expected a decimal from {low} to {high}")))
}

/// What the messages of a request say.
#[derive(Default)]
struct Messages {
    last_user: String,
    tool_result: Option<String>,
    unfinished: Option<Unfinished>,
    tokens: u64,
}

fn messages(body: &Map<String, Value>) -> Checked<Messages> {
    let messages = body.get("messages").ok_or_else(|| Problem::missing("messages"))?;
    let messages =
        messages.as_array().ok_or_else(|| Problem::wrong_type("messages", "an array of objects"))?;
    if messages.is_empty() {
        let wanted = "expected an array with minimum length 1, but got an empty array instead";
        return Err(Problem::wrong_value("messages", wanted));
    }
    let mut read = Messages { tokens: 3, ..Messages::default() };
    let mut tools_called = false;
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let message = message.as_object().ok_or_else(|| Problem::wrong_type(&*at, "an object"))?;
        let role = present(message, "role").ok_or_else(|| Problem::missing(format!("{at}.role")))?;
        let role = role.as_str().unwrap_or_default();
        let calls = present(message, "tool_calls").and_then(Value::as_array);
        if role == "tool" && !tools_called {
            let message = "Invalid parameter: messages with role 'tool' must be a response to a preceding \
                           message with 'tool_calls'.";
            return Err(Problem::invalid(message).about(format!("{at}.role")));
        }
        // Results of parallel calls follow one another.
        tools_called = calls.is_some() || (role == "tool" && tools_called);
        let (text, parts) = content(message, &at, role == "assistant")?;
        read.tokens += 3 + count_tokens(&text) + 85 * parts;
        for call in calls.into_iter().flatten() {
            let function = call.get("function").and_then(Value::as_object);
            let function =
                function.ok_or_else(|| Problem::missing(format!("{at}.tool_calls[0].function")))?;
            read.tokens += ["name", "arguments"]
                .into_iter()
                .filter_map(|name| function.get(name)?.as_str())
                .map(count_tokens)
                .sum::<u64>();
        }
        read.tool_result = None;
        // What the last answer was, if nothing but one question follows it.
        let last = index + 2 >= messages.len();
        match role {
            "user" => read.last_user = text,
            "tool" => read.tool_result = Some(text),
            "assistant" if last && calls.is_none() && !text.is_empty() => {
                read.unfinished = Some(Unfinished { question: read.last_user.clone(), answer: text });
            }
            "system" | "developer" | "assistant" | "function" => {}
            _ => {
                let wanted = "supported values are: 'system', 'developer', 'assistant', 'user', 'function' \
                              and 'tool'";
                return Err(Problem::wrong_value(format!("{at}.role"), wanted));
            }
        }
    }
    Ok(read)
}

/// Returns the text of a message and how many of its parts are not text.
fn content(message: &Map<String, Value>, at: &str, may_lack: bool) -> Checked<(String, u64)> {
    let at = format!("{at}.content");
    let parts = match message.get("content") {
        Some(Value::String(text)) => return Ok((text.clone(), 0)),
        Some(Value::Array(parts)) => parts,
        None | Some(Value::Null) if may_lack => return Ok((String::new(), 0)),
        None => return Err(Problem::missing(at)),
        Some(_) => return Err(Problem::wrong_type(at, "a string or an array of content parts")),
    };
    let (mut texts, mut others) = (Vec::new(), 0);
    for (index, part) in parts.iter().enumerate() {
        match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                let at = || format!("{at}[{index}].text");
                texts.push(part.get("text").and_then(Value::as_str).ok_or_else(|| Problem::missing(at()))?);
            }
            Some("refusal") => {}
            Some("image_url" | "input_audio" | "file") => others += 1,
            _ => {
                let wanted = "supported values are: 'text', 'image_url', 'input_audio', 'refusal' and 'file'";
                return Err(Problem::wrong_value(format!("{at}[{index}].type"), wanted));
            }
        }
    }
    Ok((texts.join("\n"), others))
}

fn tools(body: &Map<String, Value>) -> Checked<(Vec<Tool>, u64)> {
    let Some(value) = present(body, "tools") else { return Ok((Vec::new(), 0)) };
    let list = value.as_array().ok_or_else(|| Problem::wrong_type("tools", "an array of objects"))?;
    let mut tools = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        let at = format!("tools[{index}]");
        if tool.get("type").and_then(Value::as_str) != Some("function") {
            return Err(Problem::wrong_value(format!("{at}.type"), "supported values are: 'function'"));
        }
        let function = tool.get("function").ok_or_else(|| Problem::missing(format!("{at}.function")))?;
        let name = function.get("name").and_then(Value::as_str);
        tools.push(Tool {
            name: name.ok_or_else(|| Problem::missing(format!("{at}.function.name")))?.to_owned(),
            parameters: function.get("parameters").cloned().unwrap_or_else(|| Value::Object(Map::new())),
        });
    }
    Ok((tools, count_tokens(&value.to_string())))
}

fn tool_choice(body: &Map<String, Value>, tools: &[Tool]) -> Checked<ToolChoice> {
    let Some(value) = present(body, "tool_choice") else { return Ok(ToolChoice::Auto) };
    if tools.is_empty() {
        let message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are \
                       specified.";
        return Err(Problem::invalid(message).about("tool_choice"));
    }
    match value {
        Value::String(word) if word == "auto" => Ok(ToolChoice::Auto),
        Value::String(word) if word == "none" => Ok(ToolChoice::None),
        Value::String(word) if word == "required" => Ok(ToolChoice::Required),
        Value::Object(_) => {
            let name = value.pointer("/function/name").and_then(Value::as_str);
            let name = name.ok_or_else(|| Problem::missing("tool_choice.function.name"))?;
            if tools.iter().any(|tool| tool.name == name) {
                return Ok(ToolChoice::Named(name.to_owned()));
            }
            let message = "Tool choice not found in 'tools' parameter.";
            Err(Problem::wrong_value("tool_choice", message))
        }
        _ => Err(Problem::wrong_value("tool_choice", "supported values are: 'none', 'auto' and 'required'")),
    }
}

fn max_tokens(body: &Map<String, Value>) -> Checked<Option<u64>> {
    let read = |name: &'static str| {
        let Some(value) = present(body, name) else { return Ok(None) };
        let number = value.as_u64().ok_or_else(|| Problem::wrong_type(name, "an integer"))?;
        if number == 0 {
            return Err(Problem::wrong_value(name, "expected a value >= 1, but got 0 instead"));
        }
        Ok(Some(number))
    };
    match (read("max_tokens")?, read("max_completion_tokens")?) {
        (Some(_), Some(_)) => Err(Problem::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )
        .about("max_tokens")),
        (old, new) => Ok(new.or(old)),
    }
}

fn stop(body: &Map<String, Value>) -> Checked<Vec<String>> {
    let wrong = || Problem::wrong_type("stop", "a string or an array of strings");
    match present(body, "stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) if list.len() > 4 => {
            Err(Problem::wrong_value("stop", "expected an array with maximum length 4"))
        }
        Some(Value::Array(list)) => {
            list.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn format(body: &Map<String, Value>) -> Checked<Format> {
    let Some(value) = present(body, "response_format") else { return Ok(Format::Text) };
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") => {
            let at = "response_format.json_schema";
            let schema = value.get("json_schema").ok_or_else(|| Problem::missing(at))?;
            if schema.get("name").and_then(Value::as_str).is_none() {
                return Err(Problem::missing(format!("{at}.name")));
            }
            Ok(Format::Schema(schema.get("schema").cloned().unwrap_or_else(|| Value::Object(Map::new()))))
        }
        _ => Err(Problem::wrong_value(
            "response_format.type",
            "supported values are: 'json_object', 'json_schema' and 'text'",
        )),
    }
}
