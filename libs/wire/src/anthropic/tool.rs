//! Tools and their choice as JSON.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::tool_choice::Mode;
use signalbox_proto::common::v1::{ChatRequest, Tool};

use super::encode::{put, whole};
use super::foreign::{self, is_foreign_type, object};
use crate::RequestError;
use crate::json::text;

pub(super) fn tools(tools: &[Tool]) -> Result<Vec<Value>, RequestError> {
    tools.iter().enumerate().map(|(i, one)| tool(one, i)).collect()
}

fn tool(tool: &Tool, i: usize) -> Result<Value, RequestError> {
    let extra = tool.extra.as_ref();
    let kind =
        whole(extra, "function").filter(|(kind, all)| *kind != "custom" || all.fields.contains_key("custom"));
    if let Some((kind, all)) = kind {
        if is_foreign_type(kind) || kind == "custom" {
            let field = format!("tools[{i}]");
            return Err(RequestError::new(field, "this is another provider's own tool; describe a function"));
        }
        return Ok(object(all).into());
    }
    let mut map = Map::new();
    put(&mut map, "type", text(extra, "type").filter(|kind| *kind == "custom"));
    map.insert("name".to_owned(), tool.name.as_str().into());
    put(&mut map, "description", tool.description.as_deref());
    let mut schema = tool.parameters.as_ref().map(object).unwrap_or_default();
    if !schema.contains_key("type") {
        // Required here; in other dialects an absent schema says that there are no arguments.
        schema.insert("type".to_owned(), "object".into());
    }
    map.insert("input_schema".to_owned(), schema.into());
    put(&mut map, "strict", tool.strict);
    foreign::rest(&mut map, extra);
    Ok(map.into())
}

/// Writes `tool_choice`, which is also where it stands that only one tool may be called at once.
pub(super) fn choice(request: &ChatRequest) -> Option<Value> {
    let parallel = request.parallel_tool_calls;
    let Some(choice) = &request.tool_choice else {
        let one = parallel == Some(false) && !request.tools.is_empty();
        let foreign = request.extra.as_ref().is_some_and(|e| e.fields.contains_key("tool_choice"));
        return (one && !foreign)
            .then(|| serde_json::json!({"type": "auto", "disable_parallel_tool_use": true}));
    };
    let mut map = Map::new();
    let kind = match choice.mode() {
        Mode::Unspecified | Mode::Auto => "auto",
        Mode::None => "none",
        Mode::Required => "any",
        Mode::Named => "tool",
    };
    map.insert("type".to_owned(), kind.into());
    if choice.mode() == Mode::Named {
        map.insert("name".to_owned(), choice.name().into());
    }
    if choice.mode() != Mode::None {
        put(&mut map, "disable_parallel_tool_use", parallel.map(|parallel| !parallel));
    }
    Some(map.into())
}
