//! The check of an answer while it flows.
//!
//! Each output item and kind of text is a lane (see [`lane`]). A lane holds back only what may still become part of a finding.
//! Each piece is released in two forms: restored for the client, redacted for storing. Where the form of the answer is to be
//! mended or asked for again, everything waits until it is whole.

mod lane;
pub(crate) mod leak;
mod links;
mod open;

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use signalbox_proto::{
    common::v1::{
        BlockedBy, Delta, FinishReason, GenerateEvent, Notice, ReasoningText, Source, ToolCallDelta,
        delta::Content, generate_event::Kind, notice,
    },
    guard::v1::{Action, Finding, InvalidOutput, ScreenClosed, ScreenedEvent, Verdict},
};

use self::lane::{By, Lane, LaneKind, What};
use crate::{
    contents::{SystemPrompt, Values, WayBack},
    naming,
    policy::{Policy, SourceName, WholeAnswers, catalog::CATALOG},
    validate::{Fault, Form},
};

/// Findings that are told; the contract's bound.
const FINDINGS: usize = 1_000;
/// Pieces whose other fields (log probabilities) wait for the end of their lane.
const WAITING: usize = 4_096;
/// Detectors that the client is told of.
const TOLD: usize = 32;

/// A screen of one answer.
pub(crate) struct Screen {
    by: By,
    lanes: Vec<Lane>,
    findings: Vec<Finding>,
    /// What passes with a notice: detector and how often.
    flagged: Vec<(String, u32)>,
    restored: u32,
    /// The detector that blocked.
    blocked: Option<String>,
    form: Form,
    /// What was said before the last seam, where subjects are looked for.
    spoken: String,
    /// What waits for the whole answer, where it is held back.
    outbox: Vec<ScreenedEvent>,
    complete: bool,
    redacted: bool,
    unredacted: bool,
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
    /// Begins a screen of free text, without a system prompt.
    pub(crate) fn new(policy: Arc<Policy>, values: Values) -> Self {
        Self::open(policy, WayBack { values, known: Vec::new() }, SystemPrompt::default(), Form::none())
    }

    /// Begins a screen: `way` leads back to the caller's own values, `system` knows the system prompt, `form` is what the answer
    /// was to be.
    pub(crate) fn open(policy: Arc<Policy>, way: WayBack, system: SystemPrompt, form: Form) -> Self {
        let known = way.known_all();
        let formed: Vec<String> =
            way.values.keys().filter(|stand_in| naming::placeholder(stand_in).is_none()).cloned().collect();
        let masks = (!formed.is_empty())
            .then(|| AhoCorasick::new(&formed).ok())
            .flatten()
            .map(|masks| (masks, formed));
        let by = By {
            policy,
            values: way.values,
            masks,
            known,
            triples: system.triples.into_iter().collect(),
            canary: system.canary,
        };
        Self {
            by,
            lanes: Vec::new(),
            findings: Vec::new(),
            flagged: Vec::new(),
            restored: 0,
            blocked: None,
            form,
            spoken: String::new(),
            outbox: Vec::new(),
            complete: false,
            redacted: false,
            unredacted: false,
        }
    }

    /// Whether it is over: something was blocked, or the answer cannot get the right form. Nothing more is released.
    pub(crate) fn is_over(&self) -> bool {
        self.blocked.is_some() || self.form.failed().is_some()
    }

    /// Takes an event; what may leave is added to `out`.
    pub(crate) fn take(&mut self, event: GenerateEvent, out: &mut Vec<ScreenedEvent>) {
        if self.is_over() {
            return;
        }
        if self.by.policy.ignores_output && self.by.values.is_empty() && self.form.is_off() {
            if let Some(Kind::Finished(finished)) = &event.kind {
                self.complete = is_complete(finished.finish_reason());
            }
            return out.push(ScreenedEvent { client: Some(event), ..ScreenedEvent::default() });
        }
        let mut ready = Vec::new();
        match event.kind {
            Some(Kind::Delta(delta)) => self.delta(event.sequence, delta, &mut ready),
            Some(Kind::Finished(finished)) => {
                let reason = finished.finish_reason();
                self.flush(&mut ready);
                self.form.finish(reason);
                if !self.is_over() {
                    self.complete = is_complete(reason);
                    self.notices(&mut ready);
                    pass(event.sequence, Kind::Finished(finished), &mut ready);
                }
                self.hand_over(ready, true, out);
                return;
            }
            Some(Kind::Seam(seam)) => {
                self.flush(&mut ready);
                if !self.is_over() {
                    pass(event.sequence, Kind::Seam(seam), &mut ready);
                }
            }
            Some(kind) => pass(event.sequence, kind, &mut ready),
            None => {}
        }
        self.hand_over(ready, false, out);
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.by.policy
    }

    /// Whether the policy has the answer wait until it is whole.
    fn holds(&self) -> bool {
        self.by.policy.whole_answers == WholeAnswers::Hold
    }

    /// Whether the answer waits, for whatever reason: one that breaks off never leaves.
    pub(crate) fn waits(&self) -> bool {
        self.holds() || self.form.holds_back()
    }

    /// What was said, where an event ends an answer whose subjects the policy looks for.
    pub(crate) fn said(&self, event: &GenerateEvent) -> Option<String> {
        let ends = matches!(event.kind, Some(Kind::Finished(_))) && !self.is_over();
        (ends && self.looks_for_subjects()).then(|| {
            let lanes = self.lanes.iter().filter(|lane| lane.kind == LaneKind::Text);
            let texts = [self.spoken.as_str()].into_iter().chain(lanes.map(|lane| self.present(lane)));
            texts.collect::<Vec<_>>().join("\n")
        })
    }

    fn looks_for_subjects(&self) -> bool {
        self.by.policy.topics.iter().any(|topic| topic.sources.contains(&SourceName::Output))
    }

    /// What was read of a lane since its last end.
    fn present<'a>(&self, lane: &'a Lane) -> &'a str {
        if self.holds() { &lane.held } else { &lane.whole }
    }

    /// Notes a subject of the answer, or that none could be judged. It blocks where nothing has left yet.
    pub(crate) fn subject(&mut self, id: &str, action: Action, score: f64) {
        let action = if action == Action::Block && !self.holds() { Action::Flag } else { action };
        let lane = self.lane(0, LaneKind::Text);
        self.found(lane, id, action, score, 0..0);
        if action == Action::Block {
            self.outbox.clear();
            self.blocked = Some(id.to_owned());
        }
    }

    /// Hands out what is ready, or keeps it until the answer is whole. Of a failed answer nothing that waits leaves.
    fn hand_over(&mut self, ready: Vec<ScreenedEvent>, whole: bool, out: &mut Vec<ScreenedEvent>) {
        if !self.form.holds_back() && !self.holds() {
            return out.extend(ready);
        }
        self.outbox.extend(ready);
        if self.form.failed().is_some() {
            self.outbox.clear();
        } else if whole || self.blocked.is_some() {
            let mut events = std::mem::take(&mut self.outbox);
            self.form.mend(&mut events);
            out.extend(events);
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
        let index = delta.index;
        if let Content::ToolCall(ToolCallDelta { id, name, .. }) = &content
            && (id.is_some() || name.is_some())
        {
            self.call(index, id.as_deref(), name.as_deref(), out);
            if self.is_over() {
                return;
            }
        }
        let lane = self.lane(index, kind);
        self.lanes[lane].read(&self.by, text);
        let mut piece = Piece::default();
        if !self.holds() {
            self.release(lane, &mut piece);
            self.check(lane, &piece);
        }
        // The head of a tool call, and a signature, leave with the first piece even if it is empty.
        let head = match &content {
            Content::ToolCall(call) => call.id.is_some() || call.name.is_some(),
            Content::Reasoning(reasoning) => reasoning.signature.is_some(),
            _ => false,
        };
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

    /// A tool call begins under an index: what the one before it left is let go, and its name is looked at.
    fn call(&mut self, index: u32, id: Option<&str>, name: Option<&str>, out: &mut Vec<ScreenedEvent>) {
        if let Some(lane) = self.lanes.iter().position(|l| l.index == index && l.kind == LaneKind::Tool) {
            self.end(lane, out);
            if self.is_over() {
                return;
            }
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else { return };
        self.form.call(index, id.unwrap_or_default(), name);
        if let Some(at) = self.by.policy.tool(name, self.form.declared()) {
            let action = self.by.policy.output(at).of(1.0, 0.0);
            let lane = self.lane(index, LaneKind::Tool);
            match action {
                Action::Allow => {}
                Action::Block => {
                    self.found(lane, CATALOG[at].id, Action::Block, 1.0, 0..0);
                    self.blocked = Some(CATALOG[at].id.to_owned());
                }
                _ => self.found(lane, CATALOG[at].id, Action::Flag, 1.0, 0..0),
            }
        }
    }

    fn lane(&mut self, index: u32, kind: LaneKind) -> usize {
        if let Some(at) = self.lanes.iter().position(|lane| lane.index == index && lane.kind == kind) {
            return at;
        }
        self.lanes.push(Lane::new(index, kind));
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

    /// Releases what is settled of a lane.
    fn release(&mut self, lane: usize, piece: &mut Piece) {
        let (text, base, finds) = self.lanes[lane].settle();
        let mut from = 0;
        for find in finds {
            let range = find.range.start.saturating_sub(base)..find.range.end.saturating_sub(base);
            if matches!(find.what, What::StandIn) {
                piece.push(&text[from..range.start], &text[from..range.start]);
                self.restore(lane, &text[range.clone()], piece);
                from = range.end;
                continue;
            }
            let id = lane::id(&self.by.policy, &find.what).to_owned();
            self.found(lane, &id, find.action, find.score, find.range.clone());
            match find.action {
                Action::Redact => {
                    piece.push(&text[from..range.start], &text[from..range.start]);
                    let mask = format!("<{}>", lane::word(&self.by.policy, &find.what));
                    piece.push(&mask, &mask);
                    self.redacted = true;
                    from = range.end;
                }
                Action::Block => {
                    let start = from.max(range.start);
                    piece.push(&text[from..start], &text[from..start]);
                    self.blocked = Some(id);
                    return;
                }
                _ => {}
            }
        }
        piece.push(&text[from..], &text[from..]);
    }

    /// Tells the form of a released piece; a fault that it sees may end the answer.
    fn check(&mut self, lane: usize, piece: &Piece) {
        let Lane { index, kind, .. } = self.lanes[lane];
        let stored = piece.stored.as_deref().unwrap_or(&piece.client);
        match kind {
            LaneKind::Text => self.form.text(index, &piece.client, stored),
            LaneKind::Tool => self.form.arguments(index, &piece.client, stored),
            LaneKind::Refusal => self.form.refused(),
            LaneKind::Reasoning => {}
        }
    }

    fn found(&mut self, lane: usize, id: &str, action: Action, score: f64, range: std::ops::Range<usize>) {
        self.lanes[lane].clean = false;
        if action == Action::Flag {
            self.unredacted = true;
            self.flag(id);
        }
        let index = self.lanes[lane].index;
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding {
                detector: id.to_owned(),
                score,
                action: action.into(),
                source: Source::Output.into(),
                message_index: index,
                start_byte: range.start as u64,
                end_byte: range.end as u64,
                ..Finding::default()
            });
        }
    }

    fn flag(&mut self, id: &str) {
        match self.flagged.iter_mut().find(|(known, _)| known == id) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.flagged.push((id.to_owned(), 1)),
        }
        self.flagged.truncate(TOLD);
    }

    /// Adds one of the caller's own values in place of its stand-in, in the client's form.
    fn restore(&mut self, lane: usize, stand_in: &str, piece: &mut Piece) {
        let Some(value) = self.by.values.get(stand_in) else { return piece.push(stand_in, stand_in) };
        let lane = &mut self.lanes[lane];
        lane.clean = false;
        if lane.kind == LaneKind::Tool {
            piece.push(&lane::json_escaped(value), stand_in);
        } else {
            piece.push(value, stand_in);
        }
        self.restored = self.restored.saturating_add(1);
    }

    /// Releases all that is held; before the end, and before a seam.
    pub(crate) fn flush(&mut self, out: &mut Vec<ScreenedEvent>) {
        for lane in 0..self.lanes.len() {
            self.end(lane, out);
            if self.is_over() {
                return;
            }
        }
    }

    /// Releases all that is held of a lane.
    fn end(&mut self, lane: usize, out: &mut Vec<ScreenedEvent>) {
        if self.looks_for_subjects() && self.lanes[lane].kind == LaneKind::Text {
            let present = self.present(&self.lanes[lane]);
            let room = lane::WHOLE.saturating_sub(self.spoken.len());
            let present = present[..present.floor_char_boundary(room)].to_owned();
            self.spoken.push_str(&present);
        }
        self.lanes[lane].end(&self.by);
        for find in self.lanes[lane].reported(&self.by) {
            let id = lane::id(&self.by.policy, &find.what).to_owned();
            self.found(lane, &id, find.action, find.score, find.range);
        }
        let mut piece = Piece::default();
        self.release(lane, &mut piece);
        self.check(lane, &piece);
        let Lane { index, kind, .. } = self.lanes[lane];
        if !piece.client.is_empty() {
            emit(0, index, piece, |text| content_of(kind, text), out);
        }
        if self.is_over() {
            return;
        }
        let waiting = std::mem::take(&mut self.lanes[lane].waiting);
        if self.lanes[lane].clean {
            for rest in waiting {
                let content = Some(content_of(kind, String::new()));
                pass(0, Kind::Delta(Delta { content, ..rest }), out);
            }
        }
    }

    /// Tells the client, once and before the end, what passed though it was noticed.
    fn notices(&mut self, out: &mut Vec<ScreenedEvent>) {
        let policy = &self.by.policy.name;
        let found = self.flagged.iter().map(|(id, count)| {
            (id.clone(), *count, format!("{id} was found in the answer; the policy `{policy}` lets it pass"))
        });
        let faults = self.form.flagged().map(|fault| {
            (fault.detector.to_owned(), 1, format!("{}; the policy `{policy}` lets it pass", fault.told()))
        });
        let told: Vec<(String, u32, String)> = found.chain(faults).collect();
        for (r#type, count, message) in told {
            let notice =
                Notice { kind: notice::Kind::Flagged.into(), part: "guard".into(), message, count, r#type };
            let event = GenerateEvent { sequence: 0, kind: Some(Kind::Notice(notice)) };
            out.push(ScreenedEvent { client: Some(event), client_only: true, ..ScreenedEvent::default() });
        }
    }

    /// The last word.
    pub(crate) fn close(self) -> ScreenClosed {
        let fault = self.form.failed();
        let verdict = match (&self.blocked, fault, self.redacted) {
            (Some(_), ..) | (None, Some(_), _) => Verdict::Block,
            (None, None, true) => Verdict::Redact,
            (None, None, false) => Verdict::Allow,
        };
        let by = self.blocked.clone().or_else(|| fault.map(|fault| fault.detector.to_owned()));
        let policy = self.by.policy.name.clone();
        ScreenClosed {
            verdict: verdict.into(),
            blocked_by: by.map(|detector| BlockedBy { policy, detector }),
            storable: self.complete
                && verdict != Verdict::Block
                && !self.unredacted
                && self.form.flagged().next().is_none(),
            invalid: fault.filter(|_| self.blocked.is_none()).map(|fault: &Fault| InvalidOutput {
                message: fault.told(),
                correction: self.form.correction(),
            }),
            findings: self.findings,
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
    let client = Some(GenerateEvent { sequence, kind: Some(kind) });
    out.push(ScreenedEvent { client, ..ScreenedEvent::default() });
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
    let client = Some(event(piece.client));
    out.push(ScreenedEvent { client, stored: piece.stored.map(event), ..ScreenedEvent::default() });
}

#[cfg(test)]
mod tests;
