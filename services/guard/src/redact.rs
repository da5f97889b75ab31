//! Replacing values in a prompt by placeholders.

use std::collections::HashMap;

use signalbox_proto::{
    common::v1::{ChatRequest, Message, Part, Role, Source, part},
    guard::v1::{Action, Finding},
};

use crate::{
    detect::{self, DETECTORS},
    injection::{self, Channel, FAMILIES},
    policy::Policy,
    seal::Values,
};

/// Findings that are told; the contract's bound.
const FINDINGS: usize = 1_000;

/// What was found in a prompt.
#[derive(Default)]
pub(crate) struct Inspection {
    pub(crate) findings: Vec<Finding>,
    pub(crate) dropped: u32,
    /// Placeholders and their values.
    pub(crate) values: Values,
    /// The detector that blocks.
    pub(crate) blocked: Option<&'static str>,
    placeholders: HashMap<String, String>,
    counts: HashMap<&'static str, u32>,
}

/// A text that may hold an attack which no pattern knows.
#[derive(Debug, Clone)]
pub(crate) struct Suspect {
    place: Place,
    pub(crate) text: String,
    pub(crate) channel: Channel,
}

/// Texts for the learned tier: the last ones that users, tools and files brought. Earlier ones were checked when they were new.
const SUSPECTS: usize = 4;

/// What of a prompt the learned tier looks at.
pub(crate) fn suspects(chat: &ChatRequest) -> Vec<Suspect> {
    let mut found = Vec::new();
    for (index, message) in chat.messages.iter().enumerate().rev() {
        for (at, part) in message.parts.iter().enumerate().rev() {
            let inner = match &part.kind {
                Some(part::Kind::ToolResult(result)) => result.parts.iter().rev().collect(),
                _ => vec![part],
            };
            let role = if matches!(part.kind, Some(part::Kind::ToolResult(_))) {
                Role::Tool
            } else {
                message.role()
            };
            for piece in inner {
                let source = source_of(piece.source(), role);
                let (Some(part::Kind::Text(text)), false) =
                    (&piece.kind, matches!(source, Source::System | Source::Output))
                else {
                    continue;
                };
                let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let place = Place { message: number(index), part: number(at), source };
                let channel = if source == Source::User { Channel::Direct } else { Channel::Indirect };
                found.push(Suspect { place, text: text.text.clone(), channel });
                if found.len() == SUSPECTS {
                    return found;
                }
            }
        }
    }
    found
}

/// Checks a prompt and replaces in place what the policy says. Linear in the prompt's length.
pub(crate) fn inspect(chat: &mut ChatRequest, policy: &Policy) -> Inspection {
    let mut inspection = Inspection::default();
    inspection.avoid(chat);
    for (index, message) in chat.messages.iter_mut().enumerate() {
        inspection.message(u32::try_from(index).unwrap_or(u32::MAX), message, policy);
    }
    inspection
}

impl Inspection {
    /// Numbers that the prompt itself uses as placeholders are not given out: what was there is not ours to restore.
    fn avoid(&mut self, chat: &ChatRequest) {
        let highest = |text: &str, word: &str| -> u32 {
            let open = format!("<{word}_");
            text.match_indices(&open)
                .filter_map(|(at, _)| text[at + open.len()..].split_once('>')?.0.parse().ok())
                .max()
                .unwrap_or(0)
        };
        for text in
            chat.messages.iter().flat_map(|m| &m.parts).filter_map(text_of).filter(|t| t.contains('<'))
        {
            for detector in &DETECTORS {
                let count = self.counts.entry(detector.word).or_default();
                *count = (*count).max(highest(text, detector.word).min(1_000_000));
            }
        }
    }

    fn message(&mut self, index: u32, message: &mut Message, policy: &Policy) {
        let role = message.role();
        for (at, part) in message.parts.iter_mut().enumerate() {
            self.part(index, u32::try_from(at).unwrap_or(u32::MAX), role, part, policy);
        }
    }

    fn part(&mut self, message: u32, at: u32, role: Role, part: &mut Part, policy: &Policy) {
        let source = source_of(part.source(), role);
        let place = Place { message, part: at, source };
        match &mut part.kind {
            Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => {
                self.text(&mut text.text, place, policy);
            }
            Some(part::Kind::ToolCall(call)) => self.text(&mut call.arguments, place, policy),
            Some(part::Kind::ToolResult(result)) => {
                for inner in &mut result.parts {
                    if inner.source() == Source::Unspecified {
                        inner.set_source(Source::Tool);
                        self.part(message, at, Role::Tool, inner, policy);
                        inner.set_source(Source::Unspecified);
                    } else {
                        self.part(message, at, Role::Tool, inner, policy);
                    }
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &mut String, place: Place, policy: &Policy) {
        // What the application or a model wrote is no attack on the application.
        if !matches!(place.source, Source::System | Source::Output) {
            for family in injection::families(text) {
                let action = policy.injection[family];
                self.found(FAMILIES[family].id, action, place, 0..text.len(), None);
            }
        }
        let detected = if policy.reads_names() { detect::all(text) } else { detect::structured(text) };
        if detected.is_empty() {
            return;
        }
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for one in detected {
            let (detector, action) = (&DETECTORS[one.detector], policy.prompt[one.detector]);
            let placeholder =
                (action == Action::Redact).then(|| self.placeholder(detector.word, &text[one.range.clone()]));
            if let Some(placeholder) = &placeholder {
                redacted.push_str(&text[from..one.range.start]);
                redacted.push_str(placeholder);
                from = one.range.end;
            }
            self.found_scored(detector.id, action, place, one.range, placeholder, one.score);
        }
        redacted.push_str(&text[from..]);
        *text = redacted;
    }

    /// Notes what the learned tier said of a text.
    pub(crate) fn learned(&mut self, suspect: &Suspect, score: f64, policy: &Policy) {
        let family = &FAMILIES[injection::LEARNED];
        let range = 0..suspect.text.len();
        self.found(family.id, policy.injection[injection::LEARNED], suspect.place, range, None);
        if let Some(finding) = self.findings.last_mut().filter(|finding| finding.detector == family.id) {
            finding.score = score;
        }
    }

    /// The same value has the same placeholder.
    fn placeholder(&mut self, word: &'static str, value: &str) -> String {
        if let Some(known) = self.placeholders.get(value) {
            return known.clone();
        }
        let count = self.counts.entry(word).or_default();
        *count += 1;
        let placeholder = format!("<{word}_{count}>");
        self.placeholders.insert(value.to_owned(), placeholder.clone());
        self.values.insert(placeholder.clone(), value.to_owned());
        placeholder
    }

    fn found(
        &mut self,
        id: &'static str,
        action: Action,
        place: Place,
        range: std::ops::Range<usize>,
        placeholder: Option<String>,
    ) {
        self.found_scored(id, action, place, range, placeholder, 1.0);
    }

    fn found_scored(
        &mut self,
        id: &'static str,
        action: Action,
        place: Place,
        range: std::ops::Range<usize>,
        placeholder: Option<String>,
        score: f64,
    ) {
        if action == Action::Allow {
            return;
        }
        if action == Action::Block {
            self.blocked.get_or_insert(id);
        }
        if self.findings.len() == FINDINGS {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.findings.push(Finding {
            detector: id.to_owned(),
            score,
            action: action.into(),
            source: place.source.into(),
            message_index: place.message,
            part_index: place.part,
            start_byte: range.start as u64,
            end_byte: range.end as u64,
            placeholder,
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    message: u32,
    part: u32,
    source: Source,
}

fn source_of(given: Source, role: Role) -> Source {
    match (given, role) {
        (Source::Unspecified, Role::System | Role::Developer) => Source::System,
        (Source::Unspecified, Role::Assistant) => Source::Output,
        (Source::Unspecified, Role::Tool) => Source::Tool,
        (Source::Unspecified, _) => Source::User,
        (given, _) => given,
    }
}

fn text_of(part: &Part) -> Option<&str> {
    match &part.kind {
        Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => Some(&text.text),
        Some(part::Kind::ToolCall(call)) => Some(&call.arguments),
        _ => None,
    }
}
