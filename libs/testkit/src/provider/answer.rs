//! What is answered, and in which pieces.

use serde_json::json;

use super::dice::{ALPHANUMERIC, Dice};
use super::fault::Fault;
use super::model::{Base, Model, Shape};
use super::request::{Chat, Format, Tool, ToolChoice};
use super::schema;
use super::token;

/// An answer before it is put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) content: Content,
    /// Why it ends; `None` where no chunk is to say so.
    pub(super) finish: Option<&'static str>,
    pub(super) pieces: Vec<Piece>,
    /// Tokens of a tool's name, which the opening chunk carries.
    pub(super) opening_tokens: u64,
}

/// The one choice.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Text(String),
    ToolCall { id: String, name: String, arguments: String },
}

/// One content chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Where it ends in the text; it begins where the one before ends.
    pub(super) end: usize,
    /// Tokens of the text up to there.
    pub(super) tokens: u64,
}

/// Bytes of a question that a generated answer restates.
const RESTATED_BYTES: usize = 400;
/// Addresses and placeholders that a generated answer repeats at most.
const MENTIONED: usize = 16;
/// What generated text goes on with when it must have more words.
const FILLER: [&str; 8] = ["and", "so", "the", "signal", "stays", "green", "for", "now"];

impl Answer {
    /// Composes the answer to `chat` by `model`. The same dice give the same answer.
    pub(super) fn compose(chat: &Chat, model: &Model, dice: &mut Dice) -> Self {
        let shape = Shaping::of(model);
        let mut answer = match tool_to_call(chat, &shape) {
            Some(tool) => call(chat, tool, dice),
            None => text(chat, model, &shape, dice),
        };
        if model.faults.contains(&Fault::NoFinish) {
            answer.finish = None;
        }
        answer
    }

    /// Returns the text that the pieces divide.
    pub(super) fn text(&self) -> &str {
        match &self.content {
            Content::Text(text) => text,
            Content::ToolCall { arguments, .. } => arguments,
        }
    }

    /// Returns the tokens of the whole answer.
    pub(super) fn tokens(&self) -> u64 {
        self.opening_tokens + token::count_tokens(self.text())
    }

    /// Returns the text of one piece.
    pub(super) fn piece(&self, index: usize) -> &str {
        let start =
            index.checked_sub(1).and_then(|before| self.pieces.get(before)).map_or(0, |piece| piece.end);
        let end = self.pieces.get(index).map_or(start, |piece| piece.end);
        self.text().get(start..end).unwrap_or_default()
    }
}

/// A model's shapes, by kind.
#[derive(Default)]
struct Shaping<'a> {
    chunks: Option<usize>,
    answer: Option<&'a str>,
    tools: bool,
    json: bool,
    overlap: usize,
    again: bool,
}

impl<'a> Shaping<'a> {
    fn of(model: &'a Model) -> Self {
        let mut shaping = Self::default();
        for shape in &model.shapes {
            match shape {
                Shape::Chunks(count) => shaping.chunks = usize::try_from(*count).ok(),
                Shape::Answer(text) => shaping.answer = Some(text),
                Shape::Tools => shaping.tools = true,
                Shape::Json => shaping.json = true,
                Shape::Overlap(bytes) => shaping.overlap = usize::try_from(*bytes).unwrap_or(usize::MAX),
                Shape::Again => shaping.again = true,
                Shape::Cached(_) | Shape::Reasoning(_) | Shape::Tag(_) => {}
            }
        }
        shaping
    }
}

fn tool_to_call<'a>(chat: &'a Chat, shape: &Shaping<'_>) -> Option<&'a Tool> {
    match &chat.choice {
        ToolChoice::Named(name) => chat.tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Required => chat.tools.first(),
        // A tool's result is answered in words, or an agent would loop.
        ToolChoice::Auto if shape.tools && chat.tool_result.is_none() => chat.tools.first(),
        ToolChoice::Auto | ToolChoice::None => None,
    }
}

fn call(chat: &Chat, tool: &Tool, dice: &mut Dice) -> Answer {
    let id = format!("call_{}", dice.text(ALPHANUMERIC, 24));
    let arguments = match schema::instance(&tool.parameters, "simulated") {
        object @ serde_json::Value::Object(_) => object.to_string(),
        _ => "{}".to_owned(),
    };
    let opening_tokens = token::count_tokens(&tool.name);
    // The provider says `stop`, not `tool_calls`, where the caller named the function.
    let natural = if matches!(chat.choice, ToolChoice::Named(_)) { "stop" } else { "tool_calls" };
    let limit = chat.max_tokens.map(|limit| limit.saturating_sub(opening_tokens));
    let (arguments, finish) = limited(arguments, limit, natural);
    let ends = token_ends(&arguments);
    let pieces = pieces(&arguments, &ends);
    let content = Content::ToolCall { id, name: tool.name.clone(), arguments };
    Answer { content, finish: Some(finish), pieces, opening_tokens }
}

/// Is a text, and what it is made of.
struct Written {
    text: String,
    generated: bool,
    is_json: bool,
}

fn write(chat: &Chat, model: &Model, shape: &Shaping<'_>, dice: &mut Dice) -> Written {
    let structured = match &chat.format {
        Format::Schema(schema) => Some(schema::instance(schema, "simulated").to_string()),
        Format::Object => Some(object(chat, model)),
        Format::Text if shape.json => Some(object(chat, model)),
        Format::Text => None,
    };
    let exact = shape.answer.is_some() || matches!(model.base, Base::Echo);
    let generated = structured.is_none() && !exact;
    let is_json = structured.is_some() && shape.answer.is_none();
    let mut text = match (shape.answer, structured) {
        (Some(given), _) => given.to_owned(),
        (None, Some(json)) => json,
        (None, None) => prose(chat, &model.base, dice),
    };
    match shape.chunks {
        Some(0) => text.clear(),
        Some(count) if generated => text = of_words(&text, count),
        _ => {}
    }
    Written { text, generated, is_json }
}

/// Goes on with an answer that is the beginning of what this model would say; `None`: it is not.
fn go_on(chat: &Chat, model: &Model, shape: &Shaping<'_>, dice: &mut Dice) -> Option<Written> {
    let unfinished = chat.unfinished.as_ref()?;
    let before = Chat { last_user: unfinished.question.clone(), unfinished: None, ..chat.clone() };
    let whole = write(&before, model, shape, dice);
    if !whole.text.starts_with(&unfinished.answer) {
        return None;
    }
    let from = unfinished.answer.len().saturating_sub(shape.overlap);
    let from = if shape.again { 0 } else { whole.text.floor_char_boundary(from) };
    Some(Written { text: whole.text[from..].to_owned(), ..whole })
}

fn text(chat: &Chat, model: &Model, shape: &Shaping<'_>, dice: &mut Dice) -> Answer {
    let written = go_on(chat, model, shape, dice).unwrap_or_else(|| write(chat, model, shape, dice));
    let Written { mut text, generated, is_json } = written;
    if let Some(at) =
        chat.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min()
    {
        text.truncate(at);
    }
    let (text, finish) = limited(text, chat.max_tokens, "stop");
    let ends = match shape.chunks {
        Some(count) if !generated => even_ends(&text, count),
        _ if is_json => token_ends(&text),
        _ => word_ends(&text),
    };
    Answer {
        pieces: pieces(&text, &ends),
        content: Content::Text(text),
        finish: Some(finish),
        opening_tokens: 0,
    }
}

fn object(chat: &Chat, model: &Model) -> String {
    json!({"simulated_by": model.base.to_string(), "answer": chat.last_user}).to_string()
}

/// Writes the labelled text of the models that generate.
fn prose(chat: &Chat, base: &Base, dice: &mut Dice) -> String {
    let question = chat.last_user.as_str();
    match base {
        Base::Echo => return question.to_owned(),
        Base::Bench => {
            return "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
                    sixteen"
                .to_owned();
        }
        Base::Small | Base::Large | Base::Embed | Base::Named(_) => {}
    }
    let mut text = format!("[simulated {base}] ");
    match &chat.tool_result {
        Some(result) => text.push_str(&format!("The tool answered: {}.", clipped(result))),
        None => text.push_str(&format!("You asked: \"{}\".", clipped(question))),
    }
    let mentioned = mentions(question);
    if !mentioned.is_empty() {
        text.push_str(&format!(" It mentions {}.", mentioned.join(", ")));
    }
    let closings = [
        " No model was called: this text is made from your prompt.",
        " This is not a model's answer, only your prompt in other words.",
        " A real model would answer here.",
    ];
    text.push_str(closings[dice.below(closings.len())]);
    if matches!(base, Base::Large) {
        text.push_str(
            " The larger of the simulated models says more of the same, so that routes can be told apart by \
             length. It adds a second sentence, and ends with a third.",
        );
    }
    text
}

fn clipped(text: &str) -> String {
    if text.len() <= RESTATED_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(RESTATED_BYTES)])
}

/// Finds placeholders like `<EMAIL_1>` and e-mail addresses, each once, in order.
fn mentions(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let breaks = |c: char| c.is_whitespace() || ",;:\"'()[]{}".contains(c);
    for word in text.split(breaks) {
        let candidate = match (word.find('<'), word.find('>')) {
            (Some(open), Some(close)) if open < close => {
                let name = &word[open + 1..close];
                let placeholder = name.contains('_')
                    && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
                if placeholder { Some(&word[open..=close]) } else { address(name) }
            }
            _ => address(word),
        };
        if let Some(candidate) = candidate.filter(|candidate| !found.contains(candidate)) {
            found.push(candidate);
        }
        if found.len() == MENTIONED {
            break;
        }
    }
    found
}

fn address(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| ".!?<>".contains(c));
    let (local, domain) = word.split_once('@')?;
    (!local.is_empty() && domain.contains('.')).then_some(word)
}

/// Cuts or fills generated text to exactly `count` words.
fn of_words(text: &str, count: usize) -> String {
    let words = text.split_whitespace().chain(FILLER.into_iter().cycle()).take(count);
    words.collect::<Vec<_>>().join(" ")
}

/// Cuts `text` after `limit` tokens.
fn limited(mut text: String, limit: Option<u64>, natural: &'static str) -> (String, &'static str) {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    match limit.and_then(|limit| token::starts(&text).nth(limit)) {
        Some(start) => {
            text.truncate(text[..start].trim_end().len());
            (text, "length")
        }
        None => (text, natural),
    }
}

fn pieces(text: &str, ends: &[usize]) -> Vec<Piece> {
    let starts: Vec<usize> = token::starts(text).collect();
    let tokens_before = |end: usize| starts.partition_point(|&start| start < end) as u64;
    ends.iter().map(|&end| Piece { end, tokens: tokens_before(end) }).collect()
}

/// A piece is a word with the white space before it.
fn word_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut in_word = false;
    for (at, character) in text.char_indices() {
        if in_word && character.is_whitespace() {
            ends.push(at);
        }
        in_word = !character.is_whitespace();
    }
    ends.extend((!text.is_empty()).then_some(text.len()));
    ends
}

/// A piece is a token, with the white space behind it.
fn token_ends(text: &str) -> Vec<usize> {
    let end = (!text.is_empty()).then_some(text.len());
    token::starts(text).skip(1).chain(end).collect()
}

/// Exactly `count` pieces of as many characters each as can be; empty ones at the end of a short text.
fn even_ends(text: &str, count: usize) -> Vec<usize> {
    let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    offsets.push(text.len());
    let characters = offsets.len() - 1;
    let at = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    match characters.checked_div(count) {
        Some(0) => (1..=count).map(at).collect(),
        Some(_) => (1..=count).map(|index| at(index * characters / count)).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &str, ends: &[usize]) -> String {
        let answer = Answer {
            content: Content::Text(text.to_owned()),
            finish: None,
            pieces: pieces(text, ends),
            opening_tokens: 0,
        };
        (0..ends.len()).map(|index| answer.piece(index)).collect()
    }

    proptest! {
        #[test]
        fn pieces_lose_and_double_nothing(text in "\\PC{0,60}", count in 1..40usize) {
            prop_assert_eq!(joined(&text, &word_ends(&text)), text.as_str());
            prop_assert_eq!(joined(&text, &token_ends(&text)), text.as_str());
            let even = even_ends(&text, count);
            prop_assert_eq!(even.len(), count);
            prop_assert_eq!(joined(&text, &even), text.as_str());
        }

        #[test]
        fn tokens_of_pieces_add_up(text in "\\PC{0,60}", count in 1..40usize) {
            let pieces = pieces(&text, &even_ends(&text, count));
            prop_assert_eq!(pieces.last().unwrap().tokens, token::count_tokens(&text));
        }

        #[test]
        fn a_limit_is_kept_exactly(text in "\\PC{0,60}", limit in 1..20u64) {
            let total = token::count_tokens(&text);
            let (cut, finish) = limited(text, Some(limit), "stop");
            prop_assert_eq!(token::count_tokens(&cut), total.min(limit));
            prop_assert_eq!(finish, if total > limit { "length" } else { "stop" });
        }
    }

    #[test]
    fn mentions_are_found_in_order_and_once() {
        let text = "Write to <EMAIL_1>, then <bob@example.com>. Not a<b>c, x@y or <EMAIL_1>; ann@site.org!";
        assert_eq!(mentions(text), ["<EMAIL_1>", "bob@example.com", "ann@site.org"]);
    }

    #[test]
    fn words_keep_the_space_before_them() {
        assert_eq!(word_ends("a  bc\nd "), [1, 5, 7, 8]);
    }
}
