//! The check of an answer while it flows.
//!
//! Each output item and kind of text is a lane. A lane holds back only its last, unfinished segment (see [`crate::segment`]): what is
//! released can no longer become part of a finding. Each piece is released in two forms: restored for the client, redacted
//! for storing.

use signalbox_proto::{
    common::v1::{
        BlockedBy, Delta, FinishReason, GenerateEvent, ReasoningText, Source, ToolCallDelta, delta::Content,
        generate_event::Kind,
    },
    guard::v1::{Action, Finding, ScreenClosed, ScreenedEvent, Verdict},
};

use crate::{
    detect::{self, DETECTORS},
    policy::Policy,
    seal::Values,
    segment,
};

/// Findings that are told; the contract's bound.
const FINDINGS: usize = 1_000;
/// Pieces whose other fields (log probabilities) wait for the end of their lane.
const WAITING: usize = 4_096;

/// A screen of one answer.
pub(crate) struct Screen {
    policy: Policy,
    values: Values,
    lanes: Vec<Lane>,
    findings: Vec<Finding>,
    restored: u32,
    blocked: Option<&'static str>,
    complete: bool,
    redacted: bool,
    unredacted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneKind {
    Text,
    Reasoning,
    Refusal,
    Tool,
}

struct Lane {
    index: u32,
    kind: LaneKind,
    held: String,
    /// What was checked last: the words that say what comes next.
    before: String,
    offset: u64,
    clean: bool,
    /// Log probabilities and unknown fields: they repeat the text, so they wait until all of it was found clean.
    waiting: Vec<Delta>,
}

impl Lane {
    /// Remembers a segment that was checked.
    fn pass(&mut self, mut before: String, text: &str) {
        before.push_str(text);
        // Cut now and then: all that is ever looked at is the end.
        if before.len() > 8 * detect::REACH {
            before.drain(..before.floor_char_boundary(before.len() - detect::REACH));
        }
        self.before = before;
        self.offset += text.len() as u64;
    }
}

/// A released piece of text.
#[derive(Default)]
struct Piece {
    client: String,
    /// Present where it differs.
    stored: Option<String>,
}

impl Piece {
    fn push(&mut self, client: &str, stored: &str) {
        if self.stored.is_none() && client != stored {
            self.stored = Some(self.client.clone());
        }
        self.client.push_str(client);
        if let Some(so_far) = &mut self.stored {
            so_far.push_str(stored);
        }
    }
}

impl Screen {
    /// Begins a screen; `values` are the caller's own, to be put back.
    pub(crate) fn new(policy: Policy, values: Values) -> Self {
        Self {
            policy,
            values,
            lanes: Vec::new(),
            findings: Vec::new(),
            restored: 0,
            blocked: None,
            complete: false,
            redacted: false,
            unredacted: false,
        }
    }

    /// Whether something was blocked: nothing more is released.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Takes an event; what may leave is added to `out`.
    pub(crate) fn take(&mut self, event: GenerateEvent, out: &mut Vec<ScreenedEvent>) {
        if self.is_blocked() {
            return;
        }
        if self.policy.ignores_output() && self.values.is_empty() {
            if let Some(Kind::Finished(finished)) = &event.kind {
                self.complete = is_complete(finished.finish_reason());
            }
            return out.push(ScreenedEvent { client: Some(event), stored: None });
        }
        match event.kind {
            Some(Kind::Delta(delta)) => self.delta(event.sequence, delta, out),
            Some(Kind::Finished(finished)) => {
                self.flush(out);
                if !self.is_blocked() {
                    self.complete = is_complete(finished.finish_reason());
                    pass(event.sequence, Kind::Finished(finished), out);
                }
            }
            Some(Kind::Seam(seam)) => {
                self.flush(out);
                if !self.is_blocked() {
                    pass(event.sequence, Kind::Seam(seam), out);
                }
            }
            Some(kind) => pass(event.sequence, kind, out),
            None => {}
        }
    }

    fn delta(&mut self, sequence: u64, mut delta: Delta, out: &mut Vec<ScreenedEvent>) {
        let Some(content) = delta.content.take() else { return self.wait(LaneKind::Text, delta) };
        let (kind, text) = match &content {
            Content::Text(text) => (LaneKind::Text, text),
            Content::Refusal(text) => (LaneKind::Refusal, text),
            Content::Reasoning(reasoning) => (LaneKind::Reasoning, &reasoning.text),
            Content::ToolCall(call) => (LaneKind::Tool, &call.arguments),
            Content::Citation(_) | Content::Media(_) => {
                delta.content = Some(content);
                return pass(sequence, Kind::Delta(delta), out);
            }
        };
        let lane = self.lane(delta.index, kind);
        let mut piece = Piece::default();
        self.lanes[lane].held.push_str(text);
        self.release(lane, false, &mut piece);
        // The head of a tool call, and a signature, leave with the first piece even if it is empty.
        let head = match &content {
            Content::ToolCall(call) => call.id.is_some() || call.name.is_some(),
            Content::Reasoning(reasoning) => reasoning.signature.is_some(),
            _ => false,
        };
        let index = delta.index;
        self.wait(kind, delta);
        if head || !piece.client.is_empty() {
            let with = |text: String| match &content {
                Content::ToolCall(call) => {
                    Content::ToolCall(ToolCallDelta { arguments: text, ..call.clone() })
                }
                Content::Reasoning(reasoning) => {
                    Content::Reasoning(ReasoningText { text, ..reasoning.clone() })
                }
                _ => content_of(kind, text),
            };
            emit(sequence, index, piece, with, out);
        }
    }

    fn lane(&mut self, index: u32, kind: LaneKind) -> usize {
        if let Some(at) = self.lanes.iter().position(|lane| lane.index == index && lane.kind == kind) {
            return at;
        }
        self.lanes.push(Lane {
            index,
            kind,
            held: String::new(),
            before: String::new(),
            offset: 0,
            clean: true,
            waiting: Vec::new(),
        });
        self.lanes.len() - 1
    }

    /// Keeps what a delta carries besides its content.
    fn wait(&mut self, kind: LaneKind, rest: Delta) {
        if rest.logprobs.is_none() && rest.extra.is_none() {
            return;
        }
        let lane = self.lane(rest.index, kind);
        if self.lanes[lane].waiting.len() < WAITING {
            self.lanes[lane].waiting.push(rest);
        }
    }

    /// Releases whole segments; with `all`, the unfinished one too.
    fn release(&mut self, lane: usize, all: bool, piece: &mut Piece) {
        let mut held = std::mem::take(&mut self.lanes[lane].held);
        let mut from = 0;
        while !self.is_blocked() && from < held.len() {
            let rest = &held[from..];
            let length = match segment::first(rest).filter(|length| *length > 0) {
                Some(length) => length,
                None if all => rest.len(),
                None => break,
            };
            self.segment(lane, &rest[..length], piece);
            from += length;
        }
        held.drain(..from);
        self.lanes[lane].held = held;
    }

    /// Checks one segment and adds what may leave of it.
    fn segment(&mut self, lane: usize, text: &str, piece: &mut Piece) {
        let mut from = 0;
        let before = std::mem::take(&mut self.lanes[lane].before);
        for one in detect::in_segment(&before, text) {
            let (detector, action) = (&DETECTORS[one.detector], self.policy.output[one.detector]);
            if action == Action::Allow {
                continue;
            }
            self.found(lane, detector.id, action, &one.range);
            match action {
                Action::Redact => {
                    self.restore(lane, &text[from..one.range.start], piece);
                    let mask = format!("<{}>", detector.word);
                    piece.push(&mask, &mask);
                    self.redacted = true;
                    from = one.range.end;
                }
                Action::Block => {
                    self.restore(lane, &text[from..one.range.start], piece);
                    self.blocked = Some(detector.id);
                    return;
                }
                _ => self.unredacted = true,
            }
        }
        self.restore(lane, &text[from..], piece);
        self.lanes[lane].pass(before, text);
    }

    fn found(&mut self, lane: usize, id: &str, action: Action, range: &std::ops::Range<usize>) {
        let lane = &mut self.lanes[lane];
        lane.clean = false;
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding {
                detector: id.to_owned(),
                score: 1.0,
                action: action.into(),
                source: Source::Output.into(),
                message_index: lane.index,
                start_byte: lane.offset + range.start as u64,
                end_byte: lane.offset + range.end as u64,
                ..Finding::default()
            });
        }
    }

    /// Adds text; placeholders of the caller's own values are put back in the client's form.
    fn restore(&mut self, lane: usize, text: &str, piece: &mut Piece) {
        let mut rest = text;
        while let Some(open) = rest.find('<').filter(|_| !self.values.is_empty()) {
            let close = rest[open..].find('>').map(|close| open + close + 1);
            let Some((close, value)) =
                close.and_then(|close| Some((close, self.values.get(&rest[open..close])?)))
            else {
                let (before, after) = rest.split_at(open + 1);
                piece.push(before, before);
                rest = after;
                continue;
            };
            piece.push(&rest[..open], &rest[..open]);
            let lane = &mut self.lanes[lane];
            let value = if lane.kind == LaneKind::Tool { json_escaped(value) } else { value.clone() };
            piece.push(&value, &rest[open..close]);
            lane.clean = false;
            self.restored += 1;
            rest = &rest[close..];
        }
        piece.push(rest, rest);
    }

    /// Releases all that is held; before the end, and before a seam.
    pub(crate) fn flush(&mut self, out: &mut Vec<ScreenedEvent>) {
        for lane in 0..self.lanes.len() {
            let mut piece = Piece::default();
            self.release(lane, true, &mut piece);
            let (index, kind) = (self.lanes[lane].index, self.lanes[lane].kind);
            if !piece.client.is_empty() {
                emit(0, index, piece, |text| content_of(kind, text), out);
            }
            if self.is_blocked() {
                return;
            }
            let waiting = std::mem::take(&mut self.lanes[lane].waiting);
            if self.lanes[lane].clean {
                for rest in waiting {
                    pass(
                        0,
                        Kind::Delta(Delta { content: Some(content_of(kind, String::new())), ..rest }),
                        out,
                    );
                }
            }
        }
    }

    /// The last word.
    pub(crate) fn close(self) -> ScreenClosed {
        let verdict = match (self.blocked, self.redacted) {
            (Some(_), _) => Verdict::Block,
            (None, true) => Verdict::Redact,
            (None, false) => Verdict::Allow,
        };
        let policy = self.policy.name;
        ScreenClosed {
            verdict: verdict.into(),
            blocked_by: self.blocked.map(|detector| BlockedBy { policy, detector: detector.to_owned() }),
            findings: self.findings,
            storable: self.complete && self.blocked.is_none() && !self.unredacted,
            restored: self.restored,
        }
    }
}

fn is_complete(reason: FinishReason) -> bool {
    matches!(reason, FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length)
}

fn content_of(kind: LaneKind, text: String) -> Content {
    match kind {
        LaneKind::Text => Content::Text(text),
        LaneKind::Refusal => Content::Refusal(text),
        LaneKind::Reasoning => Content::Reasoning(ReasoningText { text, ..ReasoningText::default() }),
        LaneKind::Tool => Content::ToolCall(ToolCallDelta { arguments: text, ..ToolCallDelta::default() }),
    }
}

fn pass(sequence: u64, kind: Kind, out: &mut Vec<ScreenedEvent>) {
    out.push(ScreenedEvent { client: Some(GenerateEvent { sequence, kind: Some(kind) }), stored: None });
}

fn emit(
    sequence: u64,
    index: u32,
    piece: Piece,
    with: impl Fn(String) -> Content,
    out: &mut Vec<ScreenedEvent>,
) {
    let event = |text: String| {
        let delta = Delta { index, content: Some(with(text)), ..Delta::default() };
        GenerateEvent { sequence, kind: Some(Kind::Delta(delta)) }
    };
    out.push(ScreenedEvent { client: Some(event(piece.client)), stored: piece.stored.map(event) });
}

/// A value as it stands inside a JSON string.
fn json_escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use signalbox_proto::common::v1::Finished;

    use super::*;
    use crate::policy::Policies;

    fn policy(name: &str) -> Policy {
        Policies::compile(&BTreeMap::new()).unwrap().get(name).unwrap().clone()
    }

    fn values() -> Values {
        [("<EMAIL_1>", "ada@example.com"), ("<PHONE_1>", "+1 415 555 2671")]
            .map(|(p, v)| (p.to_owned(), v.to_owned()))
            .into()
    }

    /// What client and store get of an answer that arrives in these pieces.
    fn screen(policy: Policy, pieces: &[&str]) -> (String, String, ScreenClosed) {
        let (mut screen, mut out) = (Screen::new(policy, values()), Vec::new());
        for piece in pieces {
            let delta = Delta { content: Some(Content::Text((*piece).to_owned())), ..Delta::default() };
            screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
        }
        let finished = Finished { finish_reason: FinishReason::Stop.into(), ..Finished::default() };
        screen.take(GenerateEvent { sequence: 2, kind: Some(Kind::Finished(finished)) }, &mut out);
        let text = |event: &GenerateEvent| match &event.kind {
            Some(Kind::Delta(Delta { content: Some(Content::Text(text)), .. })) => text.clone(),
            _ => String::new(),
        };
        let client: String = out.iter().filter_map(|e| e.client.as_ref()).map(text).collect();
        let stored: String =
            out.iter().filter_map(|e| e.stored.as_ref().or(e.client.as_ref())).map(text).collect();
        (client, stored, screen.close())
    }

    #[test]
    fn puts_the_callers_values_back_and_stores_placeholders() {
        let (client, stored, closed) = screen(policy("default"), &["Mail <EM", "AIL_1> or <EMAIL_2", ">."]);
        assert_eq!(client, "Mail ada@example.com or <EMAIL_2>.");
        assert_eq!(stored, "Mail <EMAIL_1> or <EMAIL_2>.");
        assert_eq!((closed.restored, closed.storable), (1, true));
    }

    #[test]
    fn secrets_are_masked_and_flagged_data_is_not_stored() {
        let (client, _, closed) = screen(policy("default"), &["key AKIAIOSFODNN", "7EXAMPLE ok"]);
        assert_eq!(client, "key <AWS_KEY> ok");
        assert_eq!((closed.verdict(), closed.storable), (Verdict::Redact, true));
        let (client, _, closed) = screen(policy("default"), &["write to eve@example.org"]);
        assert_eq!((client.as_str(), closed.storable), ("write to eve@example.org", false));
    }

    #[test]
    fn nothing_leaves_after_a_block() {
        let (client, _, closed) = screen(policy("strict"), &["the key is AKIAIOSFODNN7EXAMPLE and", " more"]);
        assert_eq!(client, "the key is ");
        assert_eq!((closed.verdict(), closed.storable), (Verdict::Block, false));
        assert_eq!(closed.blocked_by.unwrap().detector, "secret.aws_key");
    }

    #[test]
    fn plain_words_are_held_back_by_one_word_at_most() {
        let (mut screen, mut out) = (Screen::new(policy("default"), values()), Vec::new());
        let delta = Delta { content: Some(Content::Text("The sky is bl".into())), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
        assert_eq!(screen.lanes[0].held, "bl");
    }

    #[test]
    fn values_in_tool_arguments_stay_json() {
        let values = [("<EMAIL_1>".to_owned(), "a\"b\\c".to_owned())].into();
        let (mut screen, mut out) = (Screen::new(policy("default"), values), Vec::new());
        let call = ToolCallDelta {
            id: Some("1".into()),
            name: Some("t".into()),
            arguments: "{\"to\":\"<EMAIL_1>\"}".into(),
        };
        let delta = Delta { content: Some(Content::ToolCall(call)), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
        screen.flush(&mut out);
        let arguments: String = out
            .iter()
            .filter_map(|e| match &e.client.as_ref()?.kind {
                Some(Kind::Delta(Delta { content: Some(Content::ToolCall(c)), .. })) => {
                    Some(c.arguments.clone())
                }
                _ => None,
            })
            .collect();
        assert_eq!(arguments, "{\"to\":\"a\\\"b\\\\c\"}");
    }

    proptest! {
        /// G1: whatever the pieces, what leaves is the whole answer, checked, cut before the first blocking finding.
        #[test]
        fn pieces_do_not_matter(
            words in prop::collection::vec(prop_oneof![
                "[a-z]{1,8}", "[0-9]{1,6}", Just("<EMAIL_1>".to_owned()), Just("<PHONE_1>,".to_owned()),
                Just("eve@example.org".to_owned()), Just("4111 1111 1111 1111".to_owned()),
                Just("AKIAIOSFODNN7EXAMPLE".to_owned()), Just("<".to_owned()), Just("größe".to_owned()),
                Just("+1 415 555 2671".to_owned()), Just("-----BEGIN PRIVATE KEY-----\nab1\n-----END PRIVATE KEY-----".to_owned()),
            ], 0..14),
            separator in prop_oneof![Just(" "), Just("\n"), Just("-"), Just("")],
            cuts in prop::collection::vec(0usize..300, 0..20),
            name in prop_oneof![Just("default"), Just("strict")],
        ) {
            let text = words.join(separator);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| text.floor_char_boundary(c.min(text.len()))).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (whole_client, whole_stored, whole) = screen(policy(name), &[&text]);
            let (client, stored, closed) = screen(policy(name), &pieces);
            prop_assert_eq!(client, whole_client);
            prop_assert_eq!(&stored, &whole_stored);
            prop_assert_eq!((closed.verdict(), closed.storable), (whole.verdict(), whole.storable));
            // Glued to other words it is no key.
            prop_assert!(!stored.split(['\n', ' ']).any(|word| word == "AKIAIOSFODNN7EXAMPLE"));
        }
    }
}
