//! What chat formats add to the texts of a prompt.
//!
//! Sources: OpenAI's cookbook ("How to count tokens with tiktoken") and the harmony format's guide; the chat templates that the
//! makers of open models publish with the weights; for Claude, Nova and Command the counts that the providers bill, from
//! recorded calls. Each mark of a format (`<|im_start|>`) is one token.

use super::{
    Model,
    family::Family,
    prompt::{Prompt, Speaker},
};

/// Tokens that a format adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Format {
    /// Before the first message and after the last, where the answer begins.
    around: u64,
    system: u64,
    user: u64,
    assistant: u64,
    tool: u64,
    /// Instructions that are added where the prompt has none.
    without_system: u64,
}

const fn each(around: u64, message: u64) -> Format {
    Format { around, system: message, user: message, assistant: message, tool: message, without_system: 0 }
}

/// The harmony format's own system message: identity, dates, effort, channels.
const HARMONY_SYSTEM: u64 = 61;
/// "# Instructions", before the instructions of a harmony prompt.
const HARMONY_DEVELOPER: u64 = 3;
/// "Cutting Knowledge Date: December 2023", "Today Date: …" and line ends.
const LLAMA_DATES: u64 = 20;
/// What Cohere's Command says to itself first, and where the prompt has no instructions.
const COMMAND_PREAMBLE: u64 = 495;

fn format(family: Family, model: &Model<'_>) -> Format {
    match family {
        Family::OpenAiOld | Family::Embedding | Family::GptSearch | Family::Nova => each(0, 0),
        Family::Gpt4 | Family::Gpt4o | Family::Unknown => each(3, 4),
        Family::GptReasoning => each(2, 4),
        Family::GptOss => {
            Format { system: 4 + HARMONY_DEVELOPER, assistant: 6, ..each(2 + HARMONY_SYSTEM, 4) }
        }
        Family::Llama3 => each(1 + 4, 5),
        // The dates stand in a system message that is there in any case.
        Family::Llama31 => Format { without_system: 5, ..each(1 + 4 + LLAMA_DATES, 5) },
        Family::Llama4 => each(1 + 4, 4),
        Family::Mistral => Format { assistant: 1, tool: 2, ..each(1, 2) },
        Family::Gemma => Format { system: 2, ..each(1 + 3, 5) },
        Family::Gemini2 => each(0, 0),
        // Google's own door counts a token for each content; Vertex AI's does not.
        Family::Gemini => each(0, u64::from(matches!(model.provider, "gemini" | "google"))),
        Family::Qwen => each(3, 5),
        Family::Qwen3 => each(3 + 4, 5),
        Family::Qwen35 => each(3 + 2, 5),
        Family::DeepSeekPlain | Family::DistilledLlama => {
            Format { system: 0, assistant: 2, ..each(1 + 1, 1) }
        }
        Family::DeepSeek => Format { system: 0, assistant: 2, ..each(1 + 1, 1) },
        Family::DeepSeekR1 => Format { system: 0, assistant: 2, ..each(1 + 3, 1) },
        Family::Glm4 => each(2 + 2, 1),
        Family::Glm5 => Format { without_system: 0, ..each(2 + 9, 1) },
        Family::Kimi => each(3, 4),
        Family::Claude => Format { system: 0, ..each(4, 3) },
        Family::ClaudeNew => Format { system: 0, ..each(6, 3) },
        Family::Command => Format { system: 28, without_system: 0, ..each(COMMAND_PREAMBLE - 1, 4) },
    }
}

/// Counts what the format adds.
pub(super) fn overhead(family: Family, model: &Model<'_>, prompt: &Prompt<'_>) -> u64 {
    let format = format(family, model);
    let turns = prompt.turns.iter().map(|turn| match turn.speaker {
        Speaker::System => format.system,
        Speaker::User => format.user,
        Speaker::Assistant => format.assistant,
        Speaker::Tool => format.tool,
    });
    let system = if prompt.has_system() { 0 } else { format.without_system };
    format.around + turns.sum::<u64>() + system + thinking(family, model, prompt)
}

/// What asking for thoughts adds to Claude's prompt.
fn thinking(family: Family, model: &Model<'_>, prompt: &Prompt<'_>) -> u64 {
    match family {
        // OpenRouter has names for it.
        Family::Claude | Family::ClaudeNew if prompt.thinks || model.name.ends_with(":thinking") => 28,
        _ => 0,
    }
}

/// What asking for thoughts adds at most, where nobody knows whether they were asked for.
const UNTOLD: u64 = 30;

/// What a template that is not known here may add: instructions of a few sentences.
const UNKNOWN_TEMPLATE: u64 = 90;

/// How far the format may be off, in tokens, nine times of ten. 0: it is known to the token, which is so of instructions and a
/// question to OpenAI's chat models, to Gemini and to embeddings. Earlier answers and results of tools are framed by rules that
/// makers change without notice; whoever serves an open model may choose another template, or add a date or a system message.
pub(super) fn slack(family: Family, model: &Model<'_>, prompt: &Prompt<'_>) -> u64 {
    let later = prompt.turns.iter().filter(|turn| matches!(turn.speaker, Speaker::Assistant | Speaker::Tool));
    let (later, turns) = (later.count() as u64, prompt.turns.len() as u64);
    // Speakers' own names are framed by rules that nobody published for the present models.
    let later = later + prompt.turns.iter().filter(|turn| turn.name.is_some()).count() as u64;
    match family {
        Family::OpenAiOld | Family::Embedding | Family::Gpt4 | Family::Gpt4o | Family::GptSearch => 3 * later,
        Family::Gemini2 | Family::Gemini if matches!(model.provider, "" | "gemini" | "google" | "vertex") => {
            3 * later
        }
        Family::Gemini2 | Family::Gemini => 4 + 3 * later,
        // Its template is not known here: that of version 3 is used.
        Family::DeepSeek if model.name.contains("v4") => UNKNOWN_TEMPLATE + 4 * later,
        Family::Claude | Family::ClaudeNew if prompt.untold => UNTOLD,
        Family::Claude | Family::ClaudeNew | Family::Nova => turns,
        Family::GptReasoning | Family::Mistral => 4 + 3 * later,
        _ => 12 + 4 * later,
    }
}
