//! Questions about usage: from where they are answered, and the sums of their groups.

use std::collections::HashMap;

use signalbox_proto::{common::v1::CacheState, metering::v1::RequestOutcome};

use crate::{
    refusal::Refusal,
    rollup::{Cell, CellKey, DAY_MS, Grain, HOUR_MS},
};

/// Something that usage can be grouped or filtered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dimension {
    Tenant,
    Principal,
    Model,
    Target,
    Feature,
    User,
    Team,
    Tag(String),
    Cache,
    Outcome,
}

/// A question about the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// Inclusive.
    pub(crate) from_unix_ms: i64,
    /// Exclusive.
    pub(crate) to_unix_ms: i64,
    pub(crate) group_by: Vec<Dimension>,
    /// All must hold. Values of cache and outcome are their labels.
    pub(crate) filters: Vec<(Dimension, String)>,
    /// 0: no steps.
    pub(crate) step_ms: i64,
    pub(crate) limit: usize,
}

/// A stretch of time and what answers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from_unix_ms: i64,
    pub(crate) to_unix_ms: i64,
    /// `None`: the ledger itself.
    pub(crate) grain: Option<Grain>,
}

/// The usage of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) values: Vec<String>,
    pub(crate) step_unix_ms: i64,
    pub(crate) succeeded: i64,
    pub(crate) cached: i64,
    pub(crate) sum: Cell,
}

impl Group {
    /// A percentile of the requests' durations; 0 without any.
    pub(crate) fn duration_ms(&self, percent: i64) -> u64 {
        self.sum.durations.percentile(percent).unwrap_or(0)
    }

    /// A percentile of the time to first output.
    pub(crate) fn first_output_ms(&self, percent: i64) -> Option<u64> {
        self.sum.first_outputs.percentile(percent)
    }

    /// Mean duration; 0 without any.
    pub(crate) fn mean_ms(&self) -> u64 {
        u64::try_from(self.sum.total_ms / self.sum.durations.count().max(1)).unwrap_or(0)
    }
}

impl Question {
    /// Whether users or tags are asked for.
    fn is_fine(&self) -> bool {
        let asked = self.group_by.iter().chain(self.filters.iter().map(|(dimension, _)| dimension));
        asked.into_iter().any(|dimension| matches!(dimension, Dimension::User | Dimension::Tag(_)))
    }

    /// What answers for which time: days where whole ones are asked for, then hours, and the ledger for the rest.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let fine = self.is_fine();
        let (from, to) = (self.from_unix_ms, self.to_unix_ms);
        let aligned = |ms: i64| self.step_ms % ms == 0;
        let up = |at: i64, ms: i64| at.saturating_add(ms - 1).div_euclid(ms) * ms;
        let down = |at: i64, ms: i64| at.div_euclid(ms) * ms;
        let (mut inner, mut segments) = ((from, to), Vec::new());
        let mut marks = Vec::new();
        for (daily, ms) in [(false, HOUR_MS), (true, DAY_MS)] {
            let next = (up(inner.0, ms), down(inner.1, ms));
            if !aligned(ms) || next.0 >= next.1 {
                break;
            }
            marks.push((inner, next));
            inner = next;
            segments = vec![Segment {
                from_unix_ms: inner.0,
                to_unix_ms: inner.1,
                grain: Some(Grain { daily, fine }),
            }];
        }
        if marks.is_empty() {
            return vec![Segment { from_unix_ms: from, to_unix_ms: to, grain: None }];
        }
        for (depth, (outer, inner)) in marks.iter().enumerate() {
            let grain = (depth > 0).then_some(Grain { daily: false, fine });
            for (from_unix_ms, to_unix_ms) in [(outer.0, inner.0), (inner.1, outer.1)] {
                if from_unix_ms < to_unix_ms {
                    segments.push(Segment { from_unix_ms, to_unix_ms, grain });
                }
            }
        }
        segments
    }
}

/// The groups of a question, as they are summed.
pub(crate) struct Sums<'a> {
    question: &'a Question,
    groups: HashMap<(Vec<String>, i64), Group>,
    max_groups: usize,
}

impl<'a> Sums<'a> {
    /// Begins to sum; more groups than that are refused.
    pub(crate) fn new(question: &'a Question, max_groups: usize) -> Self {
        Self { question, groups: HashMap::new(), max_groups }
    }

    /// Adds what happened at a time, or in the cell that begins then.
    pub(crate) fn add(&mut self, key: &CellKey, at: i64, cell: &Cell) -> Result<(), Refusal> {
        let question = self.question;
        if !question.filters.iter().all(|(dimension, value)| key.value(dimension) == value) {
            return Ok(());
        }
        let values: Vec<String> = question.group_by.iter().map(|d| key.value(d).to_owned()).collect();
        let step = if question.step_ms > 0 { at.div_euclid(question.step_ms) * question.step_ms } else { 0 };
        let (known, max) = (self.groups.len(), self.max_groups);
        let group = match self.groups.entry((values, step)) {
            std::collections::hash_map::Entry::Occupied(group) => group.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if known >= max => {
                let what = format!("the answer has more than {max} groups; ask for fewer, or a shorter time");
                return Err(Refusal::invalid("group_by", what));
            }
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Group::default()),
        };
        group.sum.merge(cell);
        group.succeeded += if key.outcome == RequestOutcome::Ok { cell.requests } else { 0 };
        let cached = matches!(key.cache, CacheState::Exact | CacheState::Semantic | CacheState::Follow);
        group.cached += if cached { cell.requests } else { 0 };
        Ok(())
    }

    /// The groups, dearest first, and whether some were left out.
    pub(crate) fn ranked(self) -> (Vec<Group>, bool) {
        let named = |((values, step_unix_ms), group)| Group { values, step_unix_ms, ..group };
        let mut ranked: Vec<Group> =
            self.groups.into_iter().map(named).filter(|g| !g.sum.is_empty()).collect();
        let rank = |g: &Group| (std::cmp::Reverse(g.sum.cost_nanousd), g.step_unix_ms, g.values.clone());
        ranked.sort_by_cached_key(rank);
        let truncated = ranked.len() > self.question.limit;
        ranked.truncate(self.question.limit);
        (ranked, truncated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(from_unix_ms: i64, to_unix_ms: i64, step_ms: i64) -> Question {
        Question { from_unix_ms, to_unix_ms, step_ms, limit: 10, ..Question::default() }
    }

    #[test]
    fn a_month_is_read_from_days_and_its_edges_from_hours_and_the_ledger() {
        let from = 3 * DAY_MS - HOUR_MS - 5;
        let segments = question(from, 33 * DAY_MS + 7, 0).segments();
        let found: Vec<_> =
            segments.iter().map(|s| (s.from_unix_ms, s.to_unix_ms, s.grain.map(|g| g.daily))).collect();
        let expected = [
            (3 * DAY_MS, 33 * DAY_MS, Some(true)),
            (from, from + 5, None),
            (33 * DAY_MS, 33 * DAY_MS + 7, None),
            (from + 5, 3 * DAY_MS, Some(false)),
        ];
        assert_eq!(found, expected);
        let minutes = question(0, DAY_MS, 60_000).segments();
        assert_eq!(minutes, [Segment { from_unix_ms: 0, to_unix_ms: DAY_MS, grain: None }]);
        let mut by_user = question(0, DAY_MS, HOUR_MS);
        by_user.filters = vec![(Dimension::User, "u".to_owned())];
        assert_eq!(by_user.segments()[0].grain, Some(Grain { daily: false, fine: true }));
    }

    proptest! {
        #[test]
        fn segments_cover_every_moment_once(
            from in 0..5 * DAY_MS, length in 0..9 * DAY_MS, step in prop_oneof![Just(0), Just(60_000), Just(HOUR_MS), Just(DAY_MS)]
        ) {
            let mut segments = question(from, from + length, step).segments();
            segments.sort_by_key(|segment| segment.from_unix_ms);
            let mut at = from;
            for segment in segments {
                prop_assert_eq!(segment.from_unix_ms, at);
                if let Some(grain) = segment.grain {
                    prop_assert!(at % grain.ms() == 0 && segment.to_unix_ms % grain.ms() == 0);
                    prop_assert!(step % grain.ms() == 0);
                }
                at = segment.to_unix_ms;
            }
            prop_assert_eq!(at, from + length);
        }
    }
}
