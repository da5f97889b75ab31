//! One text of an answer: what of it is held back, what was found in it, what may leave.
//!
//! Three readers look at it: the detectors of values by segments (see [`crate::segment`]), own patterns by their automaton, and the
//! runs of the system prompt. Each says from where on it is not sure yet; what stands before all of these is settled, and leaves.
//! What is settled depends on the text alone, not on the pieces in which it came.

use std::{collections::HashSet, ops::Range};

use aho_corasick::AhoCorasick;
use signalbox_proto::{common::v1::Delta, guard::v1::Action};

use super::{leak, links::Links, open::Open};
use crate::{
    contents::{self, Values},
    detect::{self, DETECTORS},
    naming,
    policy::{
        Policy, WholeAnswers,
        catalog::{self, CATALOG},
    },
    reading::Readings,
    segment,
};

/// Bytes of a text that are looked through for what only the whole of it shows.
pub(super) const WHOLE: usize = 1 << 20;

/// The kinds of text that an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    Text,
    Reasoning,
    Refusal,
    Tool,
}

/// What all texts of an answer are screened by.
pub(super) struct By {
    pub(super) policy: std::sync::Arc<Policy>,
    /// The caller's own values, by stand-in.
    pub(super) values: Values,
    /// Stand-ins without the form of a placeholder.
    pub(super) masks: Option<(AhoCorasick, Vec<String>)>,
    /// Hashes of values that the prompt held.
    pub(super) known: HashSet<u64>,
    /// Triples of the system prompt's words; empty: it is not looked for.
    pub(super) triples: HashSet<u32>,
    /// The mark in the system prompt; empty: none.
    pub(super) canary: String,
}

impl By {
    /// Whether a value is personal data that the prompt held.
    fn knows(&self, detector: usize, value: &str) -> bool {
        DETECTORS[detector].id.starts_with("pii.") && self.known.contains(&contents::of_value(value))
    }
}

/// Something in a text, by its place in it.
#[derive(Debug, Clone)]
pub(super) struct Find {
    pub(super) range: Range<usize>,
    pub(super) what: What,
    pub(super) action: Action,
    pub(super) score: f64,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// By index into [`CATALOG`].
    Known(usize),
    /// By index into the policy's own entries for answers.
    Own(usize),
    /// A stand-in of one of the caller's values.
    StandIn,
}

impl Find {
    fn rank(&self) -> u8 {
        match (self.action, &self.what) {
            (Action::Block, _) => 0,
            (_, What::Own(_)) => 1,
            (_, What::Known(_)) => 2,
            (_, What::StandIn) => 3,
        }
    }

    /// Whether it takes the place of the text.
    fn replaces(&self) -> bool {
        matches!(self.action, Action::Redact | Action::Block) || matches!(self.what, What::StandIn)
    }
}

/// One text.
pub(super) struct Lane {
    pub(super) index: u32,
    pub(super) kind: LaneKind,
    /// What is held back.
    pub(super) held: String,
    /// Where it begins in the text.
    pub(super) base: usize,
    /// What was read since the last end, where only the whole shows something and the text streams; at most [`WHOLE`] bytes.
    pub(super) whole: String,
    /// Where it begins in the text.
    begun: usize,
    /// Up to where segments were looked at.
    segmented: usize,
    /// What stood before that: the words that say what comes next.
    before: String,
    open: Open,
    run: leak::Run,
    links: Links,
    /// What was found in what is held.
    finds: Vec<Find>,
    /// Whether nothing was found and nothing put back.
    pub(super) clean: bool,
    /// Log probabilities and unknown fields: they repeat the text, so they wait until all of it was found clean.
    pub(super) waiting: Vec<Delta>,
}

impl Lane {
    pub(super) fn new(index: u32, kind: LaneKind) -> Self {
        Self {
            index,
            kind,
            held: String::new(),
            base: 0,
            whole: String::new(),
            begun: 0,
            segmented: 0,
            before: String::new(),
            open: Open::default(),
            run: leak::Run::default(),
            links: Links::default(),
            finds: Vec::new(),
            clean: true,
            waiting: Vec::new(),
        }
    }

    /// Reads more of the text.
    pub(super) fn read(&mut self, by: &By, text: &str) {
        self.held.push_str(text);
        if by.policy.whole_answers == WholeAnswers::Flag {
            let room = WHOLE.saturating_sub(self.whole.len());
            self.whole.push_str(&text[..text.floor_char_boundary(room)]);
        }
        if let Some(own) = by.policy.own_output() {
            let mut hits = Vec::new();
            self.open.read(own, text, &mut hits);
            self.own(by, hits);
        }
        loop {
            let rest = &self.held[self.segmented - self.base..];
            let Some(length) = segment::first(rest).filter(|length| *length > 0) else { break };
            self.segment(by, length);
        }
    }

    /// The text's end, for now: nothing is open any more.
    pub(super) fn end(&mut self, by: &By) {
        if let Some(own) = by.policy.own_output() {
            let mut hits = Vec::new();
            self.open.end(own, &mut hits);
            self.own(by, hits);
        }
        let rest = self.base + self.held.len() - self.segmented;
        if rest > 0 {
            self.segment(by, rest);
        }
        let mut leaks = Vec::new();
        if !by.triples.is_empty() {
            self.run.end(&by.triples, self.segmented, &mut leaks);
        }
        self.leaks(by, leaks);
        if by.policy.whole_answers == WholeAnswers::Hold {
            let text = &self.held[..self.held.floor_char_boundary(WHOLE)];
            let found = whole(by, text, self.base);
            self.finds.extend(found);
        }
    }

    /// What only the whole of a text shows that has left already: it can be reported, and nothing else.
    pub(super) fn reported(&mut self, by: &By) -> Vec<Find> {
        let text = std::mem::take(&mut self.whole);
        let begun = std::mem::replace(&mut self.begun, self.base + self.held.len());
        let mut found = if text.is_empty() { Vec::new() } else { whole(by, &text, begun) };
        found.iter_mut().for_each(|find| find.action = Action::Flag);
        found
    }

    fn own(&mut self, by: &By, hits: Vec<(Range<usize>, usize)>) {
        let Some(own) = by.policy.own_output() else { return };
        for (range, pattern) in hits {
            let action = own.entries[pattern].action;
            self.finds.push(Find { range, what: What::Own(pattern), action, score: 1.0 });
        }
    }

    fn leaks(&mut self, by: &By, leaks: Vec<Range<usize>>) {
        let rule = by.policy.output(catalog::SYSTEM_PROMPT);
        for range in leaks {
            self.known(catalog::SYSTEM_PROMPT, range, rule.of(1.0, 0.0), 1.0);
        }
    }

    fn known(&mut self, at: usize, range: Range<usize>, action: Action, score: f64) {
        if action != Action::Allow {
            self.finds.push(Find { range, what: What::Known(at), action, score });
        }
    }

    /// Looks at the next segment, of so many bytes.
    fn segment(&mut self, by: &By, length: usize) {
        let (base, start) = (self.base, self.segmented);
        let held = std::mem::take(&mut self.held);
        let text = &held[start - base..start - base + length];
        let mut before = std::mem::take(&mut self.before);
        let here = self.finds.len();
        for one in detect::in_segment(&before, text, by.policy.locales) {
            let value = &text[one.range.clone()];
            let action = by.policy.output(one.detector).of(one.score, 0.0);
            if action != Action::Allow && !by.policy.allows(value) && !by.knows(one.detector, value) {
                self.known(one.detector, start + one.range.start..start + one.range.end, action, one.score);
            }
        }
        if text.contains("//") || text.contains(['!', '[', ')']) {
            let mut hits = Vec::new();
            self.links.read(&before, text, &by.policy.links, &mut hits);
            for (range, at) in hits {
                self.known(
                    at,
                    start + range.start..start + range.end,
                    by.policy.output(at).of(1.0, 0.0),
                    1.0,
                );
            }
        }
        self.stand_ins(by, start, text, here);
        if !by.canary.is_empty() {
            for (at, mark) in text.match_indices(by.canary.as_str()) {
                let action = by.policy.output(catalog::CANARY).of(1.0, 0.0);
                self.known(catalog::CANARY, start + at..start + at + mark.len(), action, 1.0);
            }
        }
        if !by.triples.is_empty() {
            let mut leaks = Vec::new();
            self.run.read(&by.triples, start, text, &mut leaks);
            self.leaks(by, leaks);
        }
        before.push_str(text);
        // Cut now and then: all that is ever looked at is the end.
        if before.len() > 8 * detect::REACH {
            before.drain(..before.floor_char_boundary(before.len() - detect::REACH));
        }
        (self.held, self.before, self.segmented) = (held, before, start + length);
    }

    /// `here`: the first of this segment's finds.
    fn stand_ins(&mut self, by: &By, start: usize, text: &str, here: usize) {
        if by.values.is_empty() {
            return;
        }
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find('<').map(|open| at + open) {
            at = open + 1;
            if let Some(length) = naming::placeholder(&text[open..])
                && by.values.contains_key(&text[open..open + length])
            {
                found.push(open..open + length);
            }
        }
        if let Some((masks, _)) = &by.masks {
            let word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = text.as_bytes();
            let alone =
                |hit: &aho_corasick::Match| !word(bytes[..hit.start()].last()) && !word(bytes.get(hit.end()));
            found.extend(masks.find_iter(text).filter(alone).map(|hit| hit.range()));
        }
        for range in found {
            let range = start + range.start..start + range.end;
            // What a detector sees in a stand-in is the stand-in.
            let mut own = self.finds.split_off(here.min(self.finds.len()));
            own.retain(|find| {
                !matches!(find.what, What::Known(_))
                    || find.range.start < range.start
                    || find.range.end > range.end
            });
            self.finds.append(&mut own);
            self.finds.push(Find { range, what: What::StandIn, action: Action::Allow, score: 1.0 });
        }
    }

    /// Takes what is settled: the text, where it begins, and what is in it, in order and without overlaps, where it is replaced.
    /// What is only reported may overlap.
    pub(super) fn settle(&mut self) -> (String, usize, Vec<Find>) {
        let opens = [self.open.begins(), self.run.begins()].into_iter().flatten();
        let mut safe = opens.fold(self.segmented, usize::min).max(self.base);
        // Nothing is cut in two; what touches something that is not settled waits with it.
        self.finds.sort_by_key(|find| std::cmp::Reverse(find.range.start));
        for find in &self.finds {
            if find.range.start < safe && find.range.end > safe {
                safe = find.range.start.max(self.base);
            }
        }
        let begin = self.base;
        let rest = self.held.split_off(safe - begin);
        let text = std::mem::replace(&mut self.held, rest);
        self.base = safe;
        let (settled, open) =
            std::mem::take(&mut self.finds).into_iter().partition(|find| find.range.end <= safe);
        self.finds = open;
        (text, begin, apart(settled))
    }
}

/// What only the whole of a text shows: names, places and addresses, and values in a disguise; `base` is where it begins.
fn whole(by: &By, text: &str, base: usize) -> Vec<Find> {
    let locales = by.policy.locales;
    let mut found: Vec<(usize, Range<usize>, f64)> = detect::all(text, locales)
        .into_iter()
        .filter(|one| detect::needs_words(one.detector))
        .map(|one| (one.detector, one.range, one.score))
        .collect();
    for reading in Readings::of(text).values() {
        let detected = detect::structured(&reading.text, locales);
        found.extend(detected.into_iter().map(|one| (one.detector, reading.original(one.range), one.score)));
    }
    let find = |(detector, range, score): (usize, Range<usize>, f64)| {
        let action = by.policy.output(detector).of(score, 0.0);
        let value = &text[range.clone()];
        let counts = action != Action::Allow && !by.policy.allows(value) && !by.knows(detector, value);
        let range = base + range.start..base + range.end;
        counts.then_some(Find { range, what: What::Known(detector), action, score })
    };
    found.into_iter().filter_map(find).collect()
}

/// In order; of those that replace, where they overlap, the one of the higher rank, then the earlier one. A block also
/// covers what overlaps it from before: half of that would be out otherwise.
fn apart(mut found: Vec<Find>) -> Vec<Find> {
    if found.len() < 2 {
        return found;
    }
    let mut kept: std::collections::BTreeMap<usize, Find> = std::collections::BTreeMap::new();
    found.sort_by_key(|find| (find.rank(), find.range.start));
    let mut reported = Vec::new();
    for find in found {
        if !find.replaces() {
            reported.push(find);
            continue;
        }
        let meets =
            kept.range(..find.range.end).next_back().filter(|(_, other)| other.range.end > find.range.start);
        match meets {
            Some((_, other)) if other.action == Action::Block && find.range.start < other.range.start => {
                let at = other.range.start;
                if let Some(mut block) = kept.remove(&at) {
                    block.range.start = find.range.start;
                    kept.insert(find.range.start, block);
                }
            }
            Some(_) => {}
            None => drop(kept.insert(find.range.start, find)),
        }
    }
    let mut all: Vec<Find> = kept.into_values().chain(reported).collect();
    all.sort_by_key(|find| find.range.start);
    all
}

/// A value as it stands inside a JSON string.
pub(super) fn json_escaped(value: &str) -> String {
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

/// The word by which a find is replaced in an answer.
pub(super) fn word<'a>(policy: &'a Policy, what: &What) -> &'a str {
    match what {
        What::Known(at) => CATALOG[*at].word,
        What::Own(at) => policy.own_output().map_or("", |own| own.entries[*at].word.as_str()),
        What::StandIn => "",
    }
}

/// The id of a find's detector.
pub(super) fn id<'a>(policy: &'a Policy, what: &What) -> &'a str {
    match what {
        What::Known(at) => CATALOG[*at].id,
        What::Own(at) => policy.own_output().map_or("", |own| own.entries[*at].id.as_str()),
        What::StandIn => "",
    }
}
