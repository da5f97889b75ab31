//! Finding in a prompt what its policy speaks of, and replacing what is to be replaced.

use std::{collections::HashSet, ops::Range};

use signalbox_proto::{
    common::v1::{ChatRequest, Message, Part, Role, Source, part},
    guard::v1::{Action, Finding},
};

use crate::{
    contents::{self, Values},
    detect,
    injection::{self, Channel},
    naming::Naming,
    policy::{
        Policy,
        catalog::{CATALOG, family},
    },
    reading::Readings,
};

/// Findings that are told; the contract's bound.
const FINDINGS: usize = 1_000;
/// Values that the prompt holds as they are and that are remembered.
const KNOWN: usize = 4_096;

/// What was found in a prompt.
pub(crate) struct Inspection {
    pub(crate) findings: Vec<Finding>,
    pub(crate) dropped: u32,
    /// The detector that blocks.
    pub(crate) blocked: Option<String>,
    /// Hashes of values that stay in the prompt as they are.
    pub(crate) known: HashSet<u64>,
    /// Texts about which patterns have settled that they are attacks: their place, and their length before values were replaced.
    settled: Vec<(Place, usize)>,
    naming: Naming,
}

/// A text that may hold an attack which no pattern knows.
#[derive(Debug, Clone)]
pub(crate) struct Suspect {
    pub(crate) place: Place,
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
            let (inner, role) = match &part.kind {
                Some(part::Kind::ToolResult(result)) => (result.parts.iter().rev().collect(), Role::Tool),
                _ => (vec![part], message.role()),
            };
            for piece in inner {
                let source = source_of(piece.source(), role);
                let (Some(part::Kind::Text(text)), false) =
                    (&piece.kind, matches!(source, Source::System | Source::Output))
                else {
                    continue;
                };
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

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Checks a prompt and replaces in place what the policy says. Linear in the prompt's length.
pub(crate) fn inspect(chat: &mut ChatRequest, policy: &Policy, mut naming: Naming) -> Inspection {
    for message in &chat.messages {
        message.parts.iter().for_each(|part| avoid(part, &mut naming));
    }
    let mut inspection = Inspection {
        findings: Vec::new(),
        dropped: 0,
        blocked: None,
        known: HashSet::new(),
        settled: Vec::new(),
        naming,
    };
    for (index, message) in chat.messages.iter_mut().enumerate() {
        inspection.message(number(index), message, policy);
    }
    inspection
}

fn avoid(part: &Part, naming: &mut Naming) {
    match &part.kind {
        Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => naming.avoid(&text.text),
        Some(part::Kind::ToolCall(call)) => naming.avoid(&call.arguments),
        Some(part::Kind::ToolResult(result)) => result.parts.iter().for_each(|part| avoid(part, naming)),
        _ => {}
    }
}

/// What a stretch of text was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// By index into [`CATALOG`].
    Known(usize),
    /// An own detector, by index into its place's entries.
    Own(usize),
}

struct Found {
    what: What,
    range: Range<usize>,
    score: f64,
}

impl Inspection {
    /// Whether patterns have settled that a text is an attack.
    pub(crate) fn is_settled(&self, suspect: &Suspect) -> bool {
        self.settled.contains(&(suspect.place, suspect.text.len()))
    }

    /// Stand-ins and their values.
    pub(crate) fn values(&self) -> &Values {
        &self.naming.values
    }

    fn message(&mut self, index: u32, message: &mut Message, policy: &Policy) {
        let role = message.role();
        for (at, part) in message.parts.iter_mut().enumerate() {
            self.part(index, number(at), role, part, policy);
        }
    }

    fn part(&mut self, message: u32, at: u32, role: Role, part: &mut Part, policy: &Policy) {
        let place = Place { message, part: at, source: source_of(part.source(), role) };
        match &mut part.kind {
            Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => {
                self.text(&mut text.text, place, policy);
            }
            Some(part::Kind::ToolCall(call)) => self.text(&mut call.arguments, place, policy),
            Some(part::Kind::ToolResult(result)) => {
                for inner in &mut result.parts {
                    self.part(message, at, Role::Tool, inner, policy);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &mut String, place: Place, policy: &Policy) {
        let readings = Readings::of(text);
        // What the application or a model wrote is no attack on the application.
        if !matches!(place.source, Source::System | Source::Output) {
            let families = injection::families_in(text, &readings);
            if !families.is_empty() {
                self.settled.push((place, text.len()));
            }
            for index in families {
                self.attack(family(index), 1.0, 0.5, place, 0..text.len(), policy);
            }
        }
        let found = find(text, &readings, place.source, policy);
        if found.is_empty() {
            return;
        }
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for one in found {
            let value = &text[one.range.clone()];
            let (id, word, action) = match one.what {
                What::Known(at) => {
                    let action = policy.prompt(place.source, at).of(one.score, 0.0);
                    (
                        CATALOG[at].id,
                        CATALOG[at].word,
                        if policy.allows(value) { Action::Allow } else { action },
                    )
                }
                What::Own(at) => match policy.own(place.source).map(|own| &own.entries[at]) {
                    Some(entry) => (entry.id.as_str(), entry.word.as_str(), entry.action),
                    None => continue,
                },
            };
            let stand_in = (action == Action::Redact).then(|| self.naming.stand_in(word, value, policy.mask));
            match &stand_in {
                Some(stand_in) => {
                    redacted.push_str(&text[from..one.range.start]);
                    redacted.push_str(stand_in);
                    from = one.range.end;
                }
                None if self.known.len() < KNOWN => drop(self.known.insert(contents::of_value(value))),
                None => {}
            }
            self.found(id, action, one.score, place, one.range, stand_in);
        }
        redacted.push_str(&text[from..]);
        *text = redacted;
    }

    /// Notes an attack that a tier saw with some score; `usual` is that tier's own threshold.
    pub(crate) fn attack(
        &mut self,
        at: usize,
        score: f64,
        usual: f64,
        place: Place,
        range: Range<usize>,
        policy: &Policy,
    ) {
        let action = policy.prompt(place.source, at).of(score, usual);
        self.found(CATALOG[at].id, action, score, place, range, None);
    }

    /// Notes a finding; one that is allowed is none.
    pub(crate) fn found(
        &mut self,
        id: &str,
        action: Action,
        score: f64,
        place: Place,
        range: Range<usize>,
        placeholder: Option<String>,
    ) {
        if action == Action::Allow {
            return;
        }
        if action == Action::Block {
            self.blocked.get_or_insert_with(|| id.to_owned());
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

/// Everything that stands in a text, in order, without overlaps: own detectors first, then what is seen as it stands, then what is
/// seen through a disguise.
fn find(text: &str, readings: &Readings, source: Source, policy: &Policy) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some(own) = policy.own(source) {
        let here = |hit: regex_automata::Match, range| Found {
            what: What::Own(hit.pattern().as_usize()),
            range,
            score: 1.0,
        };
        found.extend(own.automaton.find_iter(text).map(|hit| here(hit, hit.range())));
        for reading in readings.words(text) {
            let hits = own.automaton.find_iter(&reading.text);
            found.extend(hits.map(|hit| here(hit, reading.original(hit.range()))));
        }
    }
    let value =
        |one: detect::Detected, range| Found { what: What::Known(one.detector), range, score: one.score };
    let locales = policy.locales;
    let detected =
        if policy.reads_names() { detect::all(text, locales) } else { detect::structured(text, locales) };
    found.extend(detected.into_iter().map(|one| value(one.clone(), one.range)));
    for reading in readings.values() {
        let detected = detect::structured(&reading.text, locales);
        found.extend(detected.into_iter().map(|one| value(one.clone(), reading.original(one.range))));
    }
    apart(found)
}

/// Where findings overlap, the first in the list stays.
fn apart(found: Vec<Found>) -> Vec<Found> {
    let mut kept: std::collections::BTreeMap<usize, Found> = std::collections::BTreeMap::new();
    for one in found.into_iter().filter(|one| !one.range.is_empty()) {
        let before = kept.range(..one.range.end).next_back();
        if before.is_none_or(|(_, before)| before.range.end <= one.range.start) {
            kept.insert(one.range.start, one);
        }
    }
    kept.into_values().collect()
}

/// Where in a prompt a text stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) message: u32,
    pub(crate) part: u32,
    pub(crate) source: Source,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::DETECTORS;

    #[test]
    fn the_catalog_begins_with_the_detectors() {
        for (known, detector) in CATALOG.iter().zip(&DETECTORS) {
            assert_eq!((known.id, known.word), (detector.id, detector.word));
        }
    }
}
