//! Tools and their choice as JSON.

use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Tool, ToolChoice, tool_choice};

use super::{own, schema};
use crate::RequestError;
use crate::json::{Any, nested, text};

/// Is a tool as it is written.
enum Written {
    Function(Value),
    /// One of Google's own, under its name.
    Own(Map<String, Value>),
}

/// Writes `tools`; `layout` says how a caller had arranged them, and is followed where it fits.
pub(super) fn write(tools: &[Tool], layout: Option<&prost_types::Value>) -> Result<Value, RequestError> {
    let mut written = Vec::with_capacity(tools.len());
    for (i, tool) in tools.iter().enumerate() {
        written.extend(one(tool, i)?);
    }
    let layout = layout.and_then(|layout| serde_json::to_value(Any(layout)).ok());
    if let Some(arranged) = layout.and_then(|layout| arrange(&layout, &written)) {
        return Ok(arranged);
    }
    let (mut functions, mut out) = (Vec::new(), Vec::new());
    for tool in written {
        match tool {
            Written::Function(declaration) => functions.push(declaration),
            Written::Own(tool) => out.push(Value::Object(tool)),
        }
    }
    if !functions.is_empty() {
        out.insert(0, json!({ "functionDeclarations": functions }));
    }
    Ok(Value::Array(out))
}

fn one(tool: &Tool, i: usize) -> Result<Option<Written>, RequestError> {
    let extra = tool.extra.as_ref();
    if text(extra, "type").is_some_and(|kind| !matches!(kind, "function" | "custom")) {
        let message = "a built-in tool of another provider; describe a function, or use one of Google's, such as `googleSearch`";
        return Err(RequestError::new(format!("tools[{i}]"), message));
    }
    let has = |key: &str| extra.is_some_and(|extra| extra.fields.contains_key(key));
    let bare = tool.parameters.is_none() && tool.description.is_none() && !has("functionDeclaration");
    if bare && has("cachePoint") {
        return Ok(None);
    }
    if bare && has("systemTool") {
        return Err(RequestError::new(format!("tools[{i}]"), "a built-in tool of another provider"));
    }
    let own = own::fields(extra)?;
    if bare && !own.is_empty() && own::get(&own, &own::camel(&tool.name)).is_some() {
        return Ok(Some(Written::Own(own)));
    }
    declaration(tool).map(|declaration| Some(Written::Function(declaration)))
}

fn declaration(tool: &Tool) -> Result<Value, RequestError> {
    let over = nested(tool.extra.as_ref(), "functionDeclaration").map(own::object).transpose()?;
    let mut over = over.unwrap_or_default();
    let mut out = Map::from_iter([("name".to_owned(), Value::from(tool.name.as_str()))]);
    if let Some(description) = &tool.description {
        out.insert("description".to_owned(), Value::from(description.as_str()));
    }
    if let Some(parameters) = &tool.parameters {
        // The field that takes JSON Schema as it is; `parameters` takes a dialect of it.
        schema::write(&mut out, &mut over, "parameters", "parametersJsonSchema", own::object(parameters)?);
    }
    Ok(Value::Object(own::lay_over(out, over)))
}

/// Arranges tools as a caller had done; `None` if they are no longer the same.
fn arrange(layout: &Value, written: &[Written]) -> Option<Value> {
    let mut rest = written.iter();
    let mut fill = |object: &Value| -> Option<Value> {
        let mut out = Map::new();
        let mut keys: Vec<_> = object.as_object()?.iter().collect();
        keys.sort_by_key(|(key, _)| key.as_str());
        for (key, place) in keys {
            let mut function = || match rest.next()? {
                Written::Function(declaration) => Some(declaration.clone()),
                Written::Own(_) => None,
            };
            let value = match (own::camel(key).as_str(), place.as_u64()) {
                ("functionDeclarations", Some(n)) => {
                    Value::Array((0..n.min(10_000)).map(|_| function()).collect::<Option<_>>()?)
                }
                ("functionDeclarations", None) => function()?,
                _ => match rest.next()? {
                    Written::Own(tool) => tool.get(key)?.clone(),
                    Written::Function(_) => return None,
                },
            };
            out.insert(key.clone(), value);
        }
        Some(Value::Object(out))
    };
    let arranged = match layout {
        Value::Array(list) => Value::Array(list.iter().map(&mut fill).collect::<Option<_>>()?),
        object => fill(object)?,
    };
    rest.next().is_none().then_some(arranged)
}

/// Reads `tools`, a list or a single object, and how they are arranged.
pub(super) fn read(raw: &Value) -> Result<(Vec<Tool>, Value), RequestError> {
    let mut tools = Vec::new();
    let mut object = |value: &Value, at: String| -> Result<Value, RequestError> {
        let Value::Object(map) = value else { return Err(RequestError::new(at, "give an object")) };
        let mut layout = Map::new();
        let mut keys: Vec<_> = map.iter().collect();
        keys.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in keys {
            let is_functions = own::camel(key) == "functionDeclarations";
            let place = match value {
                Value::Array(list) if is_functions => {
                    for (j, value) in list.iter().enumerate() {
                        tools.push(function(value, &format!("{at}.{key}[{j}]"))?);
                    }
                    Value::from(list.len())
                }
                Value::Object(_) if is_functions => {
                    tools.push(function(value, &format!("{at}.{key}"))?);
                    Value::from("")
                }
                _ => {
                    // Google's own: kept whole, named after its kind.
                    let extra = own::extra(Map::from_iter([(key.clone(), value.clone())]), &at)?;
                    tools.push(Tool { name: key.clone(), extra, ..Tool::default() });
                    Value::from("")
                }
            };
            layout.insert(key.clone(), place);
        }
        Ok(Value::Object(layout))
    };
    let layout = match raw {
        Value::Array(list) => {
            let each = list.iter().enumerate().map(|(i, value)| object(value, format!("tools[{i}]")));
            Value::Array(each.collect::<Result<_, _>>()?)
        }
        one => object(one, "tools".to_owned())?,
    };
    Ok((tools, layout))
}

fn function(value: &Value, at: &str) -> Result<Tool, RequestError> {
    let Value::Object(raw) = value else { return Err(RequestError::new(at, "give an object")) };
    let word = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = word("name").ok_or_else(|| RequestError::new(format!("{at}.name"), "name the function"))?;
    let found = schema::read(raw, "parameters", "parametersJsonSchema", at)?;
    let mut tool = Tool { name, description: word("description"), parameters: found, ..Tool::default() };
    // What a schema said in Google's own dialect is kept beside it.
    let mut marks = schema::marks(raw, "parameters", "parametersJsonSchema");
    let extra = |marks: &Map<String, Value>| -> Result<Option<Struct>, RequestError> {
        let inner = Map::from_iter([("functionDeclaration".to_owned(), Value::Object(marks.clone()))]);
        crate::json::fields(inner).map_err(|e| RequestError::new(at, e.to_string()))
    };
    tool.extra = if marks.is_empty() { None } else { extra(&marks)? };
    let Value::Object(written) = declaration(&tool)? else { return Ok(tool) };
    match own::remains(raw, &written) {
        Some(over) => {
            for (key, value) in over {
                marks.entry(key).or_insert(value);
            }
        }
        // Nothing of ours fits: all of it is the caller's own.
        None => {
            tool = Tool { name: tool.name, description: tool.description, ..Tool::default() };
            marks = raw.clone();
        }
    }
    tool.extra = if marks.is_empty() { None } else { extra(&marks)? };
    Ok(tool)
}

/// Writes the choice among tools.
pub(super) fn choose(choice: &ToolChoice) -> Map<String, Value> {
    let mode = match choice.mode() {
        tool_choice::Mode::None => "NONE",
        tool_choice::Mode::Required | tool_choice::Mode::Named => "ANY",
        tool_choice::Mode::Auto | tool_choice::Mode::Unspecified => "AUTO",
    };
    let mut config = Map::from_iter([("mode".to_owned(), Value::from(mode))]);
    if let (tool_choice::Mode::Named, Some(name)) = (choice.mode(), &choice.name) {
        config.insert("allowedFunctionNames".to_owned(), json!([name]));
    }
    Map::from_iter([("functionCallingConfig".to_owned(), Value::Object(config))])
}

/// Reads a choice; one that says more than ours is `None`.
pub(super) fn choice(config: &Map<String, Value>) -> Option<ToolChoice> {
    let config = own::get(config, "functionCallingConfig")?.as_object()?;
    let names = match own::get(config, "allowedFunctionNames") {
        None => None,
        Some(names) => Some(names.as_array()?),
    };
    let (mode, name) = match (config.get("mode")?.as_str()?, names.map(Vec::as_slice)) {
        ("AUTO", None) => (tool_choice::Mode::Auto, None),
        ("NONE", None) => (tool_choice::Mode::None, None),
        ("ANY", None) => (tool_choice::Mode::Required, None),
        ("ANY", Some([name])) => (tool_choice::Mode::Named, Some(name.as_str()?.to_owned())),
        _ => return None,
    };
    Some(ToolChoice { mode: mode.into(), name })
}
