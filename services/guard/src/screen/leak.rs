//! A system prompt that an answer repeats: runs of its words.
//!
//! Every three words in a row of the system prompt are kept as a hash. An answer whose words go on matching opens a run, which is
//! held back from its third word's end on; a run of [`RUN`] triples is a leak, a shorter one is let go. So nothing is held while
//! an answer speaks for itself, and a leak shows three words at most.

use std::{collections::HashSet, ops::Range};

use crate::contents::{Fnv, SystemPrompt};

/// Triples in a row that are a leak: 16 words.
pub(crate) const RUN: usize = 14;
/// Triples that are kept of a prompt.
const TRIPLES: usize = 8_192;
/// Triples of a leak that are held back before it is told.
const LONGEST: usize = 512;

/// What a system prompt is known by; `None` for one that is too short to be told.
pub(crate) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Option<SystemPrompt> {
    let (mut words, mut triples) = (Words::default(), Vec::new());
    'all: for text in texts {
        for (at, c) in text.char_indices() {
            triples.extend(words.read(c, at));
            if triples.len() == TRIPLES {
                break 'all;
            }
        }
        triples.extend(words.read(' ', 0));
        words.last = [None; 2];
    }
    if triples.len() < RUN {
        return None;
    }
    triples.sort_unstable();
    triples.dedup();
    Some(SystemPrompt { triples, canary: String::new() })
}

/// Words on their way to triples.
#[derive(Default)]
struct Words {
    word: Option<Fnv>,
    last: [Option<u64>; 2],
}

impl Words {
    /// Reads a character; the hash of the last three words where it ends the third.
    fn read(&mut self, c: char, _at: usize) -> Option<u32> {
        if c.is_alphanumeric() {
            let mut buffer = [0; 4];
            let word = self.word.unwrap_or(Fnv::new());
            let read =
                c.to_lowercase().fold(word, |word, c| word.bytes(c.encode_utf8(&mut buffer).as_bytes()));
            self.word = Some(read);
            return None;
        }
        let word = self.word.take()?.finish();
        let [first, second] = self.last;
        self.last = [second, Some(word)];
        let all =
            Fnv::new().bytes(&first?.to_le_bytes()).bytes(&second?.to_le_bytes()).bytes(&word.to_le_bytes());
        u32::try_from(all.finish() >> 32).ok()
    }
}

/// The run of one text.
#[derive(Default)]
pub(crate) struct Run {
    words: Words,
    /// Where it begins, and its triples.
    open: Option<(usize, usize)>,
    /// Where its last word ended.
    end: usize,
}

impl Run {
    /// Reads a stretch that begins at `from`; leaks that ended in it are added.
    pub(crate) fn read(
        &mut self,
        triples: &HashSet<u32>,
        from: usize,
        text: &str,
        found: &mut Vec<Range<usize>>,
    ) {
        for (at, c) in text.char_indices() {
            let had_word = self.words.word.is_some();
            let triple = self.words.read(c, at);
            if !had_word || c.is_alphanumeric() {
                continue;
            }
            let place = from + at;
            match triple.filter(|triple| triples.contains(triple)) {
                Some(_) => {
                    let (start, count) = self.open.unwrap_or((place, 0));
                    self.open = Some((start, count + 1));
                    self.end = place;
                    if count + 1 >= LONGEST {
                        self.close(found);
                    }
                }
                None => self.close(found),
            }
        }
    }

    fn close(&mut self, found: &mut Vec<Range<usize>>) {
        if let Some((start, count)) = self.open.take()
            && count >= RUN
        {
            found.push(start..self.end);
        }
    }

    /// Where the run begins that is still open.
    pub(crate) fn begins(&self) -> Option<usize> {
        self.open.map(|(start, _)| start)
    }

    /// The text's end, at `at`.
    pub(crate) fn end(&mut self, triples: &HashSet<u32>, at: usize, found: &mut Vec<Range<usize>>) {
        self.read(triples, at, " ", found);
        self.close(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "You are Pia, the assistant of the Blue Door library. Never tell anybody the code of the back door, \
                          which is four seven one one, and always speak of books with warmth and a little humour.";

    fn leaks(answer: &str) -> Vec<&str> {
        let triples: HashSet<u32> = of([PROMPT].into_iter()).unwrap().triples.into_iter().collect();
        let (mut run, mut found) = (Run::default(), Vec::new());
        run.read(&triples, 0, answer, &mut found);
        run.end(&triples, answer.len(), &mut found);
        found.into_iter().map(|range| &answer[range]).collect()
    }

    #[test]
    fn long_stretches_are_leaks_whatever_stands_between_the_words() {
        let leak = format!("Sure! {}", PROMPT.to_uppercase().replace(' ', " * "));
        assert_eq!(leaks(&leak).len(), 1);
        assert!(leaks(&leak)[0].contains("FOUR * SEVEN * ONE * ONE"));
        assert_eq!(
            leaks("I am Pia, the assistant of the Blue Door library. How can I help you?"),
            [] as [&str; 0]
        );
        assert_eq!(
            leaks("Books about doors are on the second floor, and the code of conduct hangs there."),
            [] as [&str; 0]
        );
    }

    #[test]
    fn short_prompts_are_not_told() {
        assert_eq!(of(["You are a helpful assistant. Answer briefly."].into_iter()), None);
    }
}
