//! Own patterns over a text that comes in pieces: what matches, and what may still become a match.
//!
//! From every character a thread runs through the automaton's table until it is dead. What is held back begins where the first
//! thread that lives began: the open match itself, not a window. Threads that reach the same state have the same future, so that
//! the earlier one stands for both; there are never more of them than states.

use std::ops::Range;

use regex_automata::{
    Anchored,
    dfa::Automaton as _,
    util::{primitives::StateID, start},
};

use crate::policy::own::Pieces;

/// Bytes of the longest match.
pub(crate) const LONGEST: usize = 4_096;
/// Threads at most; an expression that keeps more alive is cut to the earliest.
const THREADS: usize = 1_024;

struct Thread {
    start: usize,
    state: StateID,
    /// The best match so far: its end and its pattern.
    matched: Option<(usize, usize)>,
    alive: bool,
}

/// The open matches of one text.
#[derive(Default)]
pub(crate) struct Open {
    threads: Vec<Thread>,
    /// Bytes seen.
    at: usize,
    before: Option<u8>,
    /// Behind the last match: no other begins before it.
    taken: usize,
}

impl Open {
    /// Reads on; matches that can become no other are added with their pattern, in order.
    pub(crate) fn read(&mut self, own: &Pieces, text: &str, found: &mut Vec<(Range<usize>, usize)>) {
        for byte in text.bytes() {
            self.byte(own, byte, found);
        }
    }

    fn byte(&mut self, own: &Pieces, byte: u8, found: &mut Vec<(Range<usize>, usize)>) {
        let at = self.at;
        if byte & 0xc0 != 0x80 && at >= self.taken && self.threads.len() < THREADS {
            let begin = start::Config::new().anchored(Anchored::Yes).look_behind(self.before);
            if let Ok(state) = own.automaton.start_state(&begin) {
                self.threads.push(Thread { start: at, state, matched: None, alive: true });
            }
        }
        let mut settled = false;
        for thread in self.threads.iter_mut().filter(|thread| thread.alive) {
            thread.state = own.automaton.next_state(thread.state, byte);
            if own.automaton.is_special_state(thread.state) {
                if own.automaton.is_match_state(thread.state) {
                    thread.matched = Some((at, own.automaton.match_pattern(thread.state, 0).as_usize()));
                }
                thread.alive =
                    !own.automaton.is_dead_state(thread.state) && !own.automaton.is_quit_state(thread.state);
            }
            thread.alive &= at + 1 - thread.start < LONGEST;
            settled |= !thread.alive;
        }
        self.at = at + 1;
        self.before = Some(byte);
        if settled {
            self.settle(found);
        }
        if self.threads.len() > 1 {
            self.unite();
        }
    }

    /// Takes the threads that ended from the front: the earliest start wins, and what it covers is gone.
    fn settle(&mut self, found: &mut Vec<(Range<usize>, usize)>) {
        // A thread that ended with nothing stands in nobody's way.
        self.threads.retain(|thread| thread.alive || thread.matched.is_some());
        while let Some(first) = self.threads.first().filter(|thread| !thread.alive) {
            let (start, matched) = (first.start, first.matched);
            if let Some((end, pattern)) = matched {
                found.push((start..end, pattern));
                self.taken = end;
            }
            let taken = self.taken;
            self.threads.retain(|thread| thread.start > start && thread.start >= taken);
        }
    }

    /// Drops threads whose future an earlier one has.
    fn unite(&mut self) {
        let mut kept = 0;
        for at in 0..self.threads.len() {
            let thread = &self.threads[at];
            let same = |other: &Thread| other.alive && other.state == thread.state;
            let doubled = thread.alive && thread.matched.is_none() && self.threads[..kept].iter().any(same);
            if !doubled {
                self.threads.swap(kept, at);
                kept += 1;
            }
        }
        self.threads.truncate(kept);
    }

    /// Where the first match begins that is still open.
    pub(crate) fn begins(&self) -> Option<usize> {
        self.threads.first().map(|thread| thread.start)
    }

    /// The text's end: what can match there does. Reading may go on, as if the text began anew.
    pub(crate) fn end(&mut self, own: &Pieces, found: &mut Vec<(Range<usize>, usize)>) {
        for thread in self.threads.iter_mut().filter(|thread| thread.alive) {
            let state = own.automaton.next_eoi_state(thread.state);
            if own.automaton.is_match_state(state) {
                thread.matched = Some((self.at, own.automaton.match_pattern(state, 0).as_usize()));
            }
            thread.alive = false;
        }
        self.settle(found);
        self.threads.clear();
        self.before = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Policies, PolicyConfig};

    fn pieces(patterns: &str) -> std::sync::Arc<Pieces> {
        let text = format!("[guard.policies.own]\npatterns = [{patterns}]");
        let config: crate::Config =
            signalbox_config::Document::parse(&text, "t").unwrap().section("guard").unwrap();
        let own: &PolicyConfig = &config.policies["own"];
        let policies = Policies::compile(&[("own".to_owned(), own.clone())].into()).unwrap();
        std::sync::Arc::clone(policies.get("own").unwrap().own_output().unwrap())
    }

    fn all(own: &Pieces, parts: &[&str]) -> Vec<(Range<usize>, usize)> {
        let (mut open, mut found) = (Open::default(), Vec::new());
        parts.iter().for_each(|part| open.read(own, part, &mut found));
        open.end(own, &mut found);
        found
    }

    #[test]
    fn what_may_become_a_match_is_open_and_nothing_else() {
        let own =
            pieces("{ name = 'x', words = ['secret plan', 'plan b'] }, { name = 'y', pattern = 'ab+c' }");
        let mut found = Vec::new();
        let mut open = Open::default();
        for (text, begins) in [("the se", Some(4)), ("at. ", None), ("secret ", Some(10)), ("pl", Some(10))] {
            open.read(&own, text, &mut found);
            assert_eq!(open.begins(), begins, "{text}");
        }
        open.read(&own, "an b.", &mut found);
        assert_eq!(found, [(10..21, 0)], "the earlier one wins, and the other begins in it");
        assert_eq!(open.begins(), None);
        assert_eq!(all(&own, &["xabbb", "bc"]), [(1..7, 1)]);
    }

    #[test]
    fn a_pattern_without_end_is_cut() {
        let own = pieces("{ name = 'x', pattern = '(?s)a.*z' }");
        let mut open = Open::default();
        open.read(&own, &"a".repeat(3 * LONGEST), &mut Vec::new());
        assert!(open.begins().unwrap() >= 2 * LONGEST && open.threads.len() < 8, "{:?}", open.begins());
    }

    proptest! {
        /// Pieces have the matches of the whole, and those are the expression's own.
        #[test]
        fn pieces_have_the_matches_of_the_whole(
            text in "(ab{0,3}c|secret |plan|b|TK-[0-9]{0,6}| |é|x){0,24}",
            cuts in prop::collection::vec(0usize..120, 0..8),
        ) {
            let own = pieces(
                "{ name = 'x', words = ['secret plan', 'plan b'] }, { name = 'y', pattern = 'ab+c' }, \
                 { name = 'z', pattern = '\\bTK-[0-9]{2,4}\\b' }",
            );
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| text.floor_char_boundary(c.min(text.len()))).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let found = all(&own, &parts);
            prop_assert_eq!(&found, &all(&own, &[&text]));
            let whole = regex::Regex::new(
                r"(?i:(?-u:\b)secret\s+plan(?-u:\b)|(?-u:\b)plan\s+b(?-u:\b))|(?i:ab+c)|(?i:(?-u:\b)TK-[0-9]{2,4}(?-u:\b))",
            )
            .unwrap();
            let ranges: Vec<Range<usize>> = found.into_iter().map(|(range, _)| range).collect();
            let expected: Vec<Range<usize>> = whole.find_iter(&text).map(|hit| hit.range()).collect();
            prop_assert_eq!(ranges, expected);
        }
    }
}
