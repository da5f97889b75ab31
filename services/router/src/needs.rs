//! What a request needs of a model.

use signalbox_catalog::Capability;
use signalbox_proto::common::v1::{ChatRequest, Part, part, response_format};

/// Tokens assumed for an image, where nothing was counted.
const IMAGE_TOKENS: u64 = 1_000;
/// Bytes per token assumed where nothing was counted.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request needs of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// What the model must be able to do.
    pub(crate) capabilities: Vec<Capability>,
    /// Input tokens, counted or estimated.
    pub(crate) input_tokens: u64,
    /// The output limit that the request sets.
    pub(crate) output_tokens: Option<u64>,
}

impl Needs {
    /// Reads the needs of a request; `counted` is metering's count, 0 when unknown.
    pub(crate) fn of(chat: &ChatRequest, counted: u64) -> Self {
        let mut capabilities = Vec::new();
        let mut need = |capability| {
            if !capabilities.contains(&capability) {
                capabilities.push(capability);
            }
        };
        if !chat.tools.is_empty() {
            need(Capability::Tools);
        }
        let format = chat.response_format.as_ref().and_then(|f| f.kind.as_ref());
        if matches!(format, Some(response_format::Kind::JsonSchema(_))) {
            need(Capability::JsonSchema);
        }
        for part in chat.messages.iter().flat_map(|m| &m.parts) {
            match part.kind {
                Some(part::Kind::Image(_)) => need(Capability::Vision),
                Some(part::Kind::Audio(_)) => need(Capability::Audio),
                _ => {}
            }
        }
        let input_tokens = if counted > 0 { counted } else { estimate(chat) };
        let output_tokens = chat.sampling.as_ref().and_then(|s| s.max_output_tokens).map(u64::from);
        Self { capabilities, input_tokens, output_tokens }
    }
}

fn estimate(chat: &ChatRequest) -> u64 {
    chat.messages.iter().flat_map(|m| &m.parts).map(part_tokens).sum()
}

fn part_tokens(part: &Part) -> u64 {
    let text = |length: usize| (length as u64).div_ceil(BYTES_PER_TOKEN);
    match &part.kind {
        Some(part::Kind::Text(t) | part::Kind::Refusal(t)) => text(t.text.len()),
        Some(part::Kind::Reasoning(r)) => text(r.text.len()),
        Some(part::Kind::ToolCall(call)) => text(call.name.len() + call.arguments.len()),
        Some(part::Kind::ToolResult(result)) => result.parts.iter().map(part_tokens).sum(),
        Some(part::Kind::Image(_) | part::Kind::Audio(_) | part::Kind::File(_)) => IMAGE_TOKENS,
        None => 0,
    }
}
