//! From a reading of a text back to the text.

use std::ops::Range;

/// Where each byte of a reading comes from: runs that were copied, and pieces that stand for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map(Vec<Run>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// Where it begins in the reading.
    at: usize,
    /// Bytes of the original.
    from: Range<usize>,
    /// Whether it was copied byte by byte.
    copied: bool,
}

/// Takes note of what a reading is made from, in order; `at` is where the next bytes begin in the reading.
pub(crate) trait Trace {
    /// They are those of the original from `from` on.
    fn copy(&mut self, at: usize, length: usize, from: usize);
    /// They stand for a stretch of the original.
    fn stand_for(&mut self, at: usize, from: Range<usize>);
}

/// Nobody will ask.
impl Trace for () {
    fn copy(&mut self, _: usize, _: usize, _: usize) {}
    fn stand_for(&mut self, _: usize, _: Range<usize>) {}
}

impl Trace for Map {
    fn copy(&mut self, at: usize, length: usize, from: usize) {
        match self.0.last_mut().filter(|run| run.copied && run.from.end == from) {
            Some(run) => run.from.end += length,
            None => self.0.push(Run { at, from: from..from + length, copied: true }),
        }
    }

    fn stand_for(&mut self, at: usize, from: Range<usize>) {
        self.0.push(Run { at, from, copied: false });
    }
}

impl Map {
    /// The map of a reading that stands for a stretch as a whole.
    pub(crate) fn whole(from: Range<usize>) -> Self {
        Self(vec![Run { at: 0, from, copied: false }])
    }

    /// The bytes of the original that a stretch of the reading comes from.
    pub(crate) fn original(&self, range: Range<usize>) -> Range<usize> {
        let run = |at: usize| {
            let index = self.0.partition_point(|run| run.at <= at);
            index.checked_sub(1).and_then(|index| self.0.get(index))
        };
        let Some(first) = run(range.start) else { return 0..0 };
        let start = if first.copied { first.from.start + (range.start - first.at) } else { first.from.start };
        let last = range.end.checked_sub(1).filter(|last| *last >= range.start);
        let end = match last.and_then(run) {
            Some(run) if run.copied => (run.from.start + (range.end - run.at)).min(run.from.end),
            Some(run) => run.from.end,
            None => start,
        };
        start..end.max(start)
    }
}
