//! What tools and schemas cost: the text that providers make of them, or their own figures.
//!
//! OpenAI shows functions to its models as TypeScript, the makers of open models as JSON with a paragraph of instructions from
//! their chat template, Anthropic as JSON with a system prompt whose length it documents per model (its figures are those of
//! <https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview>, raised to what recorded calls were billed).

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Model, TOOLS_ERROR,
    family::Family,
    prompt::{Prompt, Tool},
};

/// Text that is counted, and tokens beside it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) tokens: u64,
    /// How much of the text's tokens counts, in percent, less than 100 where the provider's own form is shorter.
    pub(super) percent: u64,
    /// The answer's schema.
    pub(super) answer: String,
    /// The share by which that is misjudged at most, nine times of ten.
    pub(super) answer_error: f64,
}

/// How much may come into the prompt from elsewhere, nine times of ten, by what recorded calls were billed.
pub(super) fn found(family: Family, kind: &str) -> u64 {
    match family {
        // Google bills what its tools find apart.
        Family::Gemini2 | Family::Gemini if kind != "cachedContent" => 500,
        _ if kind.contains("web") => 40_000,
        _ => 8_000,
    }
}

/// Renders a prompt's tools and its answer's schema as a family is shown them.
pub(super) fn shown(family: Family, model: &Model<'_>, prompt: &Prompt<'_>) -> Shown {
    let mut shown = Shown { percent: 100, ..Shown::default() };
    if !prompt.tools.is_empty() {
        tools(family, model, prompt, &mut shown);
    }
    if let Some(schema) = &prompt.schema {
        answer(family, schema, &mut shown);
    }
    shown
}

fn tools(family: Family, model: &Model<'_>, prompt: &Prompt<'_>, shown: &mut Shown) {
    let tools = &prompt.tools;
    let count = tools.len() as u64;
    match family {
        Family::Gpt4 | Family::Gpt4o | Family::GptSearch | Family::GptReasoning | Family::GptOss => {
            shown.text = typescript(tools);
            let around = match (family, model.responses) {
                (Family::GptReasoning, false) => 90,
                (Family::GptReasoning, true) => 8,
                (Family::GptOss, _) => 20,
                (_, true) => 3,
                // It joins a system message, or makes one.
                (_, false) => {
                    if prompt.has_system() {
                        5
                    } else {
                        9
                    }
                }
            };
            let plain = tools.iter().filter(|tool| !first_is_described(&tool.parameters)).count() as u64;
            shown.tokens = (around as u64).saturating_sub(if family == Family::GptReasoning {
                count - 1
            } else {
                plain.min(4)
            });
        }
        Family::Gemini2 => shown.text = words(tools),
        Family::Gemini if !matches!(model.provider, "gemini" | "google") => {
            shown.text = words(tools);
        }
        Family::Gemini => {
            // From version 3 on a tool without arguments has an empty schema, whatever was sent.
            let bare = |tool: &Tool<'_>| match properties(&tool.parameters).next() {
                None if !model.name.contains("2.5") => Value::Object(serde_json::Map::new()),
                _ => tool.parameters.clone(),
            };
            let tools: Vec<_> =
                tools.iter().map(|tool| Tool { parameters: bare(tool), ..tool.clone() }).collect();
            (shown.text, shown.percent) = (json(&tools, false), 90);
        }
        Family::Claude | Family::ClaudeNew => {
            shown.text = json(tools, false);
            shown.tokens = claude(model, prompt.must_call);
        }
        _ => {
            shown.text = json(tools, true);
            shown.tokens =
                instructions(family, model) + if family == Family::Mistral { 2 + 3 * count } else { 0 };
        }
    }
}

/// What stands around the tools in a chat template, in tokens.
fn instructions(family: Family, model: &Model<'_>) -> u64 {
    match family {
        Family::Llama3 | Family::Llama31 | Family::DistilledLlama => 80,
        Family::Llama4 => 500,
        Family::Qwen | Family::Qwen3 => 90,
        Family::Qwen35 => 200,
        Family::DeepSeek | Family::DeepSeekR1 => 200,
        Family::Glm4 | Family::Glm5 => 90,
        Family::Nova if model.name.contains("nova-2") => 850,
        Family::Nova => 340,
        Family::Command => 890,
        _ => 0,
    }
}

/// The system prompt of Claude's tools.
fn claude(model: &Model<'_>, must_call: bool) -> u64 {
    let name = model.name.to_lowercase();
    let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    match () {
        () if is(&["claude-3-5-haiku", "claude-3.5-haiku"]) => {
            if must_call {
                340
            } else {
                264
            }
        }
        () if is(&["claude-3-opus"]) => {
            if must_call {
                281
            } else {
                530
            }
        }
        () if is(&["claude-3-haiku"]) => {
            if must_call {
                340
            } else {
                264
            }
        }
        () if is(&[
            "claude-3",
            "sonnet-4-0",
            "sonnet-4-2",
            "opus-4-0",
            "opus-4-1",
            "opus-4-2",
            "sonnet-4@",
            "opus-4@",
        ]) =>
        {
            if must_call {
                326
            } else {
                315
            }
        }
        () if is(&["4-5", "4.5", "4-6", "4.6"]) => {
            if must_call {
                597
            } else {
                497
            }
        }
        () => {
            if must_call {
                480
            } else {
                380
            }
        }
    }
}

/// What an answer's schema adds.
fn answer(family: Family, schema: &Value, shown: &mut Shown) {
    match family {
        // Google holds the answer to the schema without showing it.
        Family::Gemini2 | Family::Gemini | Family::Gemma | Family::Mistral => {}
        Family::Claude | Family::ClaudeNew => {
            (shown.answer, shown.answer_error) = (schema.to_string(), TOOLS_ERROR);
            shown.tokens += 180;
        }
        Family::Gpt4 | Family::Gpt4o | Family::GptSearch | Family::GptReasoning => {
            (shown.answer, shown.answer_error) = (schema.to_string(), TOOLS_ERROR);
        }
        // Whoever serves an open model shows it the schema, or holds the answer to it without.
        _ => (shown.answer, shown.answer_error) = (schema.to_string(), 1.0),
    }
}

/// Tools as JSON, as Python writes it: the templates are Python's.
fn json(tools: &[Tool<'_>], wrapped: bool) -> String {
    let mut out = String::new();
    for tool in tools {
        if wrapped {
            out.push_str("{\"type\": \"function\", \"function\": ");
        }
        let _ = write!(
            out,
            "{{\"name\": {}, \"description\": {}, \"parameters\": ",
            quoted(tool.name),
            quoted(tool.description)
        );
        python(&tool.parameters, &mut out);
        out.push_str(if wrapped { "}}\n" } else { "}\n" });
    }
    out
}

fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn python(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                python(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (place, (key, value)) in fields.iter().enumerate() {
                let _ = write!(out, "{}{}: ", if place > 0 { ", " } else { "" }, quoted(key));
                python(value, out);
            }
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Names and descriptions alone: what Gemini's older versions count of a tool.
fn words(tools: &[Tool<'_>]) -> String {
    let mut out = String::new();
    for tool in tools {
        let _ = write!(out, "{} {} ", tool.name, tool.description);
        described(&tool.parameters, &mut out);
    }
    out
}

fn described(schema: &Value, out: &mut String) {
    for (name, property) in properties(schema) {
        let _ = write!(out, "{name} ");
        described(property, out);
    }
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        out.push_str(text);
    }
    for key in ["enum", "required"] {
        for text in schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            out.push_str(text);
        }
    }
    if let Some(items) = schema.get("items") {
        described(items, out);
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn first_is_described(schema: &Value) -> bool {
    properties(schema).next().is_none_or(|(_, property)| property.get("description").is_some())
}

/// Functions as OpenAI's models see them.
fn typescript(tools: &[Tool<'_>]) -> String {
    let mut out = String::from("namespace functions {\n\n");
    for tool in tools {
        if !tool.description.is_empty() {
            let _ = writeln!(out, "// {}", tool.description);
        }
        if properties(&tool.parameters).next().is_some() {
            let _ = writeln!(out, "type {} = (_: {{", tool.name);
            fields(&tool.parameters, &mut out, 0);
            out.push_str("}) => any;\n\n");
        } else {
            let _ = writeln!(out, "type {} = () => any;\n", tool.name);
        }
    }
    out.push_str("} // namespace functions");
    out
}

/// A schema may be nested so deep before it is only `any`.
const DEPTH: usize = 32;

fn fields(schema: &Value, out: &mut String, depth: usize) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, property) in properties(schema) {
        if let Some(text) = property.get("description").and_then(Value::as_str) {
            let _ = writeln!(out, "// {text}");
        }
        let _ = write!(out, "{name}{}: ", if required.contains(&name.as_str()) { "" } else { "?" });
        kind(property, out, depth + 1);
        out.push_str(",\n");
    }
}

fn kind(schema: &Value, out: &mut String, depth: usize) {
    if depth > DEPTH {
        return out.push_str("any");
    }
    let union = |items: &[Value], out: &mut String, each: &dyn Fn(&Value, &mut String)| {
        for (place, item) in items.iter().enumerate() {
            out.push_str(if place > 0 { " | " } else { "" });
            each(item, out);
        }
    };
    let literal = |item: &Value, out: &mut String| {
        let _ = write!(out, "{item}");
    };
    if let Some(items) = schema.get("enum").and_then(Value::as_array) {
        return union(items, out, &literal);
    }
    if let Some(items) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        return union(items, out, &|item, out| kind(item, out, depth + 1));
    }
    match schema.get("type") {
        Some(Value::Array(kinds)) => {
            union(kinds, out, &|kind, out| out.push_str(simple(kind.as_str().unwrap_or_default())));
        }
        Some(Value::String(kind_name)) => match kind_name.as_str() {
            "array" => {
                match schema.get("items") {
                    Some(items) => kind(items, out, depth + 1),
                    None => out.push_str("any"),
                }
                out.push_str("[]");
            }
            "object" if properties(schema).next().is_some() => {
                out.push_str("{\n");
                fields(schema, out, depth);
                out.push('}');
            }
            other => out.push_str(simple(other)),
        },
        _ => out.push_str("any"),
    }
}

fn simple(kind: &str) -> &'static str {
    match kind {
        "integer" | "number" => "number",
        "string" => "string",
        "boolean" => "boolean",
        "null" => "null",
        "object" => "object",
        _ => "any",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(parameters: Value) -> Tool<'static> {
        Tool { name: "get_weather", description: "Tells the weather", parameters }
    }

    #[test]
    fn functions_are_shown_as_typescript() {
        let parameters = json!({
            "type": "object", "required": ["city"],
            "properties": {
                "city": { "type": "string", "description": "Where" },
                "unit": { "enum": ["celsius", "fahrenheit"] },
                "days": { "type": "array", "items": { "type": "integer" } },
                "near": { "anyOf": [{ "type": "null" }, { "type": "object", "properties": { "km": { "type": ["number", "null"] } } }] },
            },
        });
        assert_eq!(
            typescript(&[tool(parameters), tool(json!({}))]),
            "namespace functions {\n\n// Tells the weather\ntype get_weather = (_: {\n// Where\ncity: string,\n\
             unit?: \"celsius\" | \"fahrenheit\",\ndays?: number[],\nnear?: null | {\nkm?: number | null,\n},\n}) => any;\n\n\
             // Tells the weather\ntype get_weather = () => any;\n\n} // namespace functions"
        );
    }

    #[test]
    fn a_schema_without_bottom_ends() {
        let mut schema = json!({ "type": "string" });
        for _ in 0..100 {
            schema = json!({ "type": "array", "items": schema });
        }
        let text = typescript(&[tool(json!({ "properties": { "deep": schema } }))]);
        assert!(text.contains("any[]") && text.len() < 500);
    }
}
