//! How much a model may think.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::tool_choice::Mode;
use signalbox_proto::common::v1::{ChatRequest, Role, ToolChoice, part};

use super::block::signed;
use super::encode::Options;
use super::foreign::{json, object};
use super::model::Model;
use crate::json::nested;

/// The smallest budget that the API takes.
const LEAST: u32 = 1024;

/// What an answer may need besides its thinking, if the request sets no limit.
const BESIDE: u32 = 4096;

/// Returns `max_tokens` for a request without a limit: with room for the answer besides the thinking that is asked for.
pub(super) fn room(default: u32, request: &ChatRequest) -> Option<u32> {
    let budget = request.reasoning.as_ref().and_then(|r| r.max_tokens);
    Some(budget.map_or(default, |budget| default.max(budget.saturating_add(BESIDE))))
}

/// Writes `thinking`: as asked for in tokens, or as a word of effort where the model knows tokens only.
pub(super) fn write(request: &ChatRequest, options: &Options<'_>, model: Model) -> Option<Value> {
    let own = request.extra.as_ref().and_then(|e| e.fields.get("thinking"));
    let reasoning = request.reasoning.as_ref();
    let budget = match reasoning.and_then(|r| r.max_tokens) {
        Some(budget) => budget,
        None if own.is_some() => return own.map(json),
        None => by_effort(request, options, model)?,
    };
    let mut map = Map::new();
    map.insert("type".to_owned(), "enabled".into());
    map.insert("budget_tokens".to_owned(), budget.into());
    for (key, value) in nested(request.extra.as_ref(), "thinking").map(object).unwrap_or_default() {
        map.entry(key).or_insert(value);
    }
    Some(map.into())
}

fn by_effort(request: &ChatRequest, options: &Options<'_>, model: Model) -> Option<u32> {
    let effort = request.reasoning.as_ref()?.effort.as_deref()?;
    if model.takes_effort() || !model.thinks() || !may_think(request, options) {
        return None;
    }
    let wanted = match effort {
        "none" | "minimal" => return None,
        "low" => LEAST,
        "medium" => 8 * LEAST,
        _ => 16 * LEAST,
    };
    let limit = request.sampling.as_ref().and_then(|s| s.max_output_tokens).or(options.max_tokens)?;
    let budget = wanted.min(limit.saturating_sub(1));
    (budget >= LEAST).then_some(budget)
}

/// Tells whether the API takes thinking together with what else is asked for: no forced tool, no sampling of one's own, no begun
/// answer, and no calls of tools under way that were made without thinking.
fn may_think(request: &ChatRequest, options: &Options<'_>) -> bool {
    let mode = request.tool_choice.as_ref().map(ToolChoice::mode);
    let sampling = request.sampling.as_ref();
    if matches!(mode, Some(Mode::Required | Mode::Named))
        || sampling.is_some_and(|s| s.temperature.is_some_and(|t| t < 1.0) || s.top_k.is_some())
    {
        return false;
    }
    match request.messages.iter().rposition(|message| message.role() == Role::Assistant) {
        None => true,
        Some(last) if last + 1 == request.messages.len() => false,
        Some(last) => {
            let kinds =
                || request.messages[last].parts.iter().filter_map(|part| Some((part, part.kind.as_ref()?)));
            let calls = kinds().any(|(_, kind)| matches!(kind, part::Kind::ToolCall(_)));
            !calls
                || kinds().any(|(part, kind)| match kind {
                    part::Kind::Reasoning(thought) => signed(part, thought, options.provider),
                    _ => false,
                })
        }
    }
}
