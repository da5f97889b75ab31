//! Own patterns and word lists, compiled: one automaton for each place with other patterns.
//!
//! Prompts are whole, so that any expression will do. Answers come in pieces: theirs is a table of states, whose open matches are
//! known at every byte (see `screen::open`).

use std::sync::Arc;

use regex_automata::{
    MatchKind,
    dfa::{StartKind, dense},
    meta,
    util::syntax,
};
use signalbox_proto::guard::v1::Action;

use super::config::{PatternConfig, SourceName, Written};

/// Patterns, and words in all lists, of one policy.
const PATTERNS: usize = 256;
const WORDS: usize = 10_000;
/// Bytes of the automaton of prompts, and of the table of answers.
const AUTOMATON: usize = 32 << 20;
const TABLE: usize = 16 << 20;

/// An own detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `own.NAME`.
    pub(crate) id: String,
    /// The word of its placeholders.
    pub(crate) word: String,
    pub(crate) action: Action,
}

/// The own detectors of one place.
#[derive(Debug)]
pub(crate) struct Own<A> {
    pub(crate) automaton: A,
    /// By pattern of the automaton.
    pub(crate) entries: Vec<Entry>,
}

/// For whole texts.
pub(crate) type Whole = Own<meta::Regex>;
/// For texts that come in pieces.
pub(crate) type Pieces = Own<dense::DFA<Vec<u32>>>;

struct Source {
    entry: Entry,
    expression: String,
    places: Vec<SourceName>,
}

/// What a policy looks for by own patterns.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// User, system, tool, retrieval.
    pub(crate) prompt: [Option<Arc<Whole>>; 4],
    pub(crate) output: Option<Arc<Pieces>>,
}

const PROMPT: [SourceName; 4] =
    [SourceName::User, SourceName::System, SourceName::Tool, SourceName::Retrieval];

impl Patterns {
    /// Compiles a policy's; an error names the pattern.
    pub(crate) fn compile(config: &Written, shadow: bool) -> Result<Self, String> {
        let sources = sources(config, shadow)?;
        let mut patterns = Self::default();
        let mut known: Vec<(Vec<usize>, Arc<Whole>)> = Vec::new();
        for (slot, place) in patterns.prompt.iter_mut().zip(PROMPT) {
            let here = of(&sources, place);
            if here.is_empty() {
                continue;
            }
            if let Some((_, compiled)) = known.iter().find(|(of, _)| *of == here) {
                *slot = Some(Arc::clone(compiled));
                continue;
            }
            let compiled = Arc::new(whole(&sources, &here)?);
            known.push((here, Arc::clone(&compiled)));
            *slot = Some(compiled);
        }
        let here = of(&sources, SourceName::Output);
        if !here.is_empty() {
            patterns.output = Some(Arc::new(pieces(&sources, &here)?));
        }
        Ok(patterns)
    }
}

fn of(sources: &[Source], place: SourceName) -> Vec<usize> {
    (0..sources.len()).filter(|at| sources[*at].places.contains(&place)).collect()
}

fn sources(config: &Written, shadow: bool) -> Result<Vec<Source>, String> {
    let words = config.deny.len() + config.patterns.iter().map(|p| p.words.len()).sum::<usize>();
    if config.patterns.len() > PATTERNS || words > WORDS {
        return Err(format!(
            "has {} patterns and {words} words; at most {PATTERNS} and {WORDS} are allowed",
            config.patterns.len()
        ));
    }
    let everywhere = || PROMPT.into_iter().chain([SourceName::Output]).collect();
    let act = |action: Action| if shadow { action.min(Action::Flag) } else { action };
    let mut sources = Vec::new();
    if !config.deny.is_empty() {
        let entry = Entry { id: "own.deny".into(), word: "DENIED".into(), action: act(Action::Block) };
        let expression = list(&config.deny, false)
            .ok_or_else(|| "deny has an empty entry; write at least one character".to_owned())?;
        sources.push(Source { entry, expression, places: everywhere() });
    }
    for pattern in &config.patterns {
        if pattern.action == super::ActionName::Allow {
            continue;
        }
        let id = format!("own.{}", pattern.name.0);
        if sources.iter().any(|source| source.entry.id == id) {
            return Err(format!("has two patterns of the name `{}`; names are unique", pattern.name.0));
        }
        let entry = Entry { id, word: placeholder(pattern)?, action: act(pattern.action.into()) };
        let places =
            if pattern.sources.is_empty() { everywhere() } else { pattern.sources.iter().copied().collect() };
        sources.push(Source { entry, expression: expression(pattern)?, places });
    }
    Ok(sources)
}

fn placeholder(pattern: &PatternConfig) -> Result<String, String> {
    let word = pattern.placeholder.clone().unwrap_or_else(|| pattern.name.0.to_uppercase());
    let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if word.is_empty() || word.len() > 48 || !word.bytes().all(legal) {
        return Err(format!(
            "patterns.{}.placeholder must have 1 to 48 of the characters A-Z 0-9 _",
            pattern.name.0
        ));
    }
    Ok(word)
}

fn expression(pattern: &PatternConfig) -> Result<String, String> {
    let name = &pattern.name.0;
    let given = match (&pattern.pattern, pattern.words.is_empty()) {
        (Some(expression), true) => bounded_words(&expression.0),
        (None, false) => list(&pattern.words, true).ok_or_else(|| {
            format!("patterns.{name}.words has an empty entry; write at least one character")
        })?,
        _ => return Err(format!("patterns.{name} needs either pattern or words")),
    };
    Ok(if pattern.case_sensitive { format!("(?:{given})") } else { format!("(?i:{given})") })
}

/// A list of words as an expression: longer ones first, whole words, any white space between their parts.
fn list(words: &[String], keep_case: bool) -> Option<String> {
    let mut words: Vec<&str> = words.iter().map(|word| word.trim()).collect();
    if words.iter().any(|word| word.is_empty()) {
        return None;
    }
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let edge = |b: Option<u8>| if b.is_some_and(|b| b.is_ascii_alphanumeric()) { r"(?-u:\b)" } else { "" };
    let one = |word: &&str| {
        let parts: Vec<String> = word.split_whitespace().map(regex::escape).collect();
        format!("{}{}{}", edge(word.bytes().next()), parts.join(r"\s+"), edge(word.bytes().next_back()))
    };
    let all = words.iter().map(one).collect::<Vec<_>>().join("|");
    Some(if keep_case { all } else { format!("(?i:{all})") })
}

/// `\b` by ASCII letters: the edges of Unicode words are not known from one byte, which is all that a stream's automaton sees.
fn bounded_words(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') if chars.peek() != Some(&'{') => out.push_str(r"(?-u:\b)"),
            Some(next) => out.extend(['\\', next]),
            None => out.push('\\'),
        }
    }
    out
}

fn entries(sources: &[Source], here: &[usize]) -> Vec<Entry> {
    here.iter().map(|at| sources[*at].entry.clone()).collect()
}

fn expressions<'a>(sources: &'a [Source], here: &[usize]) -> Vec<&'a str> {
    here.iter().map(|at| sources[*at].expression.as_str()).collect()
}

fn whole(sources: &[Source], here: &[usize]) -> Result<Whole, String> {
    let config = meta::Config::new().nfa_size_limit(Some(AUTOMATON)).onepass_size_limit(Some(AUTOMATON));
    let automaton = meta::Regex::builder()
        .configure(config)
        .build_many(&expressions(sources, here))
        .map_err(|error| format!("its patterns cannot be used together: {error}"))?;
    Ok(Own { automaton, entries: entries(sources, here) })
}

fn pieces(sources: &[Source], here: &[usize]) -> Result<Pieces, String> {
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::LeftmostFirst)
        .dfa_size_limit(Some(TABLE))
        .determinize_size_limit(Some(TABLE));
    let build = |expressions: &[&str]| {
        let mut builder = dense::Builder::new();
        builder.configure(config.clone()).syntax(syntax::Config::new()).build_many(expressions).ok()
    };
    let automaton = build(&expressions(sources, here)).ok_or_else(|| {
        let alone = here.iter().find(|at| build(&[&sources[**at].expression]).is_none());
        let which = alone.map_or_else(|| "its patterns together".into(), |at| sources[*at].entry.id.clone());
        format!(
            "{which}: too large, or of a kind (Unicode word edges), for answers that stream; shorten it, write [a-z] for \\w and \
             [0-9] for \\d, or leave `output` out of its sources"
        )
    })?;
    Ok(Own { automaton, entries: entries(sources, here) })
}
