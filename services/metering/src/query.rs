//! Questions about usage: from where they are answered, and the sums of their groups.

use std::collections::HashMap;

use signalbox_proto::{common::v1::CacheState, metering::v1::RequestOutcome};

use crate::{
    refusal::Refusal,
    rollup::{Cell, CellKey, DAY_MS, Detail, Grain, HOUR_MS},
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
    /// Counts requests of a cell by how they ended.
    fn count(&mut self, key: &CellKey<'_>, requests: i64) {
        self.succeeded += if key.outcome == RequestOutcome::Ok { requests } else { 0 };
        let cached = matches!(key.cache, CacheState::Exact | CacheState::Semantic | CacheState::Follow);
        self.cached += if cached { requests } else { 0 };
    }

    /// Mean duration; 0 without any.
    pub(crate) fn mean_ms(&self) -> u64 {
        u64::try_from(self.sum.total_ms / self.sum.durations.count().max(1)).unwrap_or(0)
    }
}

impl Question {
    fn asks(&self, which: fn(&Dimension) -> bool) -> bool {
        self.group_by.iter().chain(self.filters.iter().map(|(dimension, _)| dimension)).any(which)
    }

    /// What cells of an hour must tell apart.
    fn detail(&self) -> Detail {
        let fine = self.asks(|dimension| matches!(dimension, Dimension::User | Dimension::Tag(_)));
        if fine { Detail::Fine } else { Detail::Coarse }
    }

    /// What cells of a day must tell apart.
    pub(crate) fn daily_detail(&self) -> Detail {
        use Dimension::{Cache, Outcome, Tenant, User};
        match self.detail() {
            Detail::Fine if !self.asks(|d| matches!(d, User)) => Detail::Tags,
            Detail::Fine if !self.asks(|d| !matches!(d, Tenant | User | Cache | Outcome)) => Detail::Users,
            detail => detail,
        }
    }

    /// What answers for which time: days where whole ones are asked for, then hours, and the ledger for the rest. Before
    /// `whole_from_unix_ms`, where a day begins, there are no days of [`Question::daily_detail`], only the finest.
    pub(crate) fn segments(&self, whole_from_unix_ms: i64) -> Vec<Segment> {
        let detail = self.detail();
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
                grain: Some(Grain { daily, detail }),
            }];
        }
        if marks.is_empty() {
            return vec![Segment { from_unix_ms: from, to_unix_ms: to, grain: None }];
        }
        for (depth, (outer, inner)) in marks.iter().enumerate() {
            let grain = (depth > 0).then_some(Grain { daily: false, detail });
            for (from_unix_ms, to_unix_ms) in [(outer.0, inner.0), (inner.1, outer.1)] {
                if from_unix_ms < to_unix_ms {
                    segments.push(Segment { from_unix_ms, to_unix_ms, grain });
                }
            }
        }
        let daily = self.daily_detail();
        if daily != detail {
            segments =
                segments.into_iter().flat_map(|days| coarser(days, daily, whole_from_unix_ms)).collect();
        }
        segments
    }
}

/// Has days answered by cells that tell less apart, where there are such.
fn coarser(segment: Segment, detail: Detail, whole_from_unix_ms: i64) -> Vec<Segment> {
    if !segment.grain.is_some_and(|grain| grain.daily) {
        return vec![segment];
    }
    let between = whole_from_unix_ms.clamp(segment.from_unix_ms, segment.to_unix_ms);
    let parts = [
        Segment { to_unix_ms: between, ..segment },
        Segment { from_unix_ms: between, grain: Some(Grain { daily: true, detail }), ..segment },
    ];
    parts.into_iter().filter(|part| part.from_unix_ms < part.to_unix_ms).collect()
}

/// The groups of a question, as they are summed.
pub(crate) struct Sums<'a> {
    question: &'a Question,
    groups: Vec<Group>,
    /// Where in `groups` each is, by step and values.
    places: HashMap<Vec<u8>, usize>,
    max_groups: usize,
    /// Of the cell at hand; kept for its memory.
    label: Vec<u8>,
}

impl<'a> Sums<'a> {
    /// Begins to sum; more groups than that are refused.
    pub(crate) fn new(question: &'a Question, max_groups: usize) -> Self {
        Self { question, groups: Vec::new(), places: HashMap::new(), max_groups, label: Vec::new() }
    }

    /// Adds what happened at a time.
    pub(crate) fn add(&mut self, key: &CellKey<'_>, at: i64, cell: &Cell) -> Result<(), Refusal> {
        if let Some(group) = self.group(key, at)? {
            group.sum.merge(cell);
            group.count(key, cell.requests);
        }
        Ok(())
    }

    /// Adds a stored cell that begins at a time; false: it is unreadable, and the sums are of no use.
    pub(crate) fn add_stored(&mut self, key: &str, at: i64, cell: &[u8]) -> Result<bool, Refusal> {
        let Some(key) = CellKey::read(key) else { return Ok(false) };
        let Some(group) = self.group(&key, at)? else { return Ok(true) };
        let Some(requests) = group.sum.merge_stored(cell) else { return Ok(false) };
        group.count(&key, requests);
        Ok(true)
    }

    /// The group of a cell; `None`: it is not asked for.
    fn group(&mut self, key: &CellKey<'_>, at: i64) -> Result<Option<&mut Group>, Refusal> {
        let question = self.question;
        if !question.filters.iter().all(|(dimension, value)| key.value(dimension) == value) {
            return Ok(None);
        }
        let step = if question.step_ms > 0 { at.div_euclid(question.step_ms) * question.step_ms } else { 0 };
        self.label.clear();
        self.label.extend_from_slice(&step.to_le_bytes());
        for dimension in &question.group_by {
            let value = key.value(dimension);
            // Its length first: no two lists of values look alike.
            self.label.extend_from_slice(&value.len().to_le_bytes());
            self.label.extend_from_slice(value.as_bytes());
        }
        let at = match self.places.get(&self.label) {
            Some(at) => *at,
            None if self.groups.len() >= self.max_groups => {
                let max = self.max_groups;
                let what = format!("the answer has more than {max} groups; ask for fewer, or a shorter time");
                return Err(Refusal::invalid("group_by", what));
            }
            None => {
                let values = question.group_by.iter().map(|d| key.value(d).to_owned()).collect();
                self.groups.push(Group { values, step_unix_ms: step, ..Group::default() });
                self.places.insert(self.label.clone(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        Ok(self.groups.get_mut(at))
    }

    /// The groups, dearest first, and whether some were left out.
    pub(crate) fn ranked(self) -> (Vec<Group>, bool) {
        let mut ranked: Vec<Group> = self.groups.into_iter().filter(|g| !g.sum.is_empty()).collect();
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
        let segments = question(from, 33 * DAY_MS + 7, 0).segments(0);
        let found: Vec<_> =
            segments.iter().map(|s| (s.from_unix_ms, s.to_unix_ms, s.grain.map(|g| g.daily))).collect();
        let expected = [
            (3 * DAY_MS, 33 * DAY_MS, Some(true)),
            (from, from + 5, None),
            (33 * DAY_MS, 33 * DAY_MS + 7, None),
            (from + 5, 3 * DAY_MS, Some(false)),
        ];
        assert_eq!(found, expected);
        let minutes = question(0, DAY_MS, 60_000).segments(0);
        assert_eq!(minutes, [Segment { from_unix_ms: 0, to_unix_ms: DAY_MS, grain: None }]);
        let mut by_user = question(0, DAY_MS, HOUR_MS);
        by_user.filters = vec![(Dimension::User, "u".to_owned())];
        assert_eq!(by_user.segments(0)[0].grain, Some(Grain { daily: false, detail: Detail::Fine }));
        by_user.step_ms = 0;
        by_user.to_unix_ms = 9 * DAY_MS;
        let grains = |question: &Question| -> Vec<_> {
            let segments = question.segments(4 * DAY_MS);
            segments.iter().map(|s| (s.to_unix_ms / DAY_MS, s.grain.unwrap().detail)).collect()
        };
        assert_eq!(grains(&by_user), [(4, Detail::Fine), (9, Detail::Users)]);
        by_user.group_by = vec![Dimension::Model];
        assert_eq!(grains(&by_user), [(9, Detail::Fine)], "of whom and which model only the finest tells");
        by_user.group_by = vec![Dimension::Tag("env".to_owned())];
        assert_eq!(grains(&by_user), [(9, Detail::Fine)]);
        let mut by_tag = Question { filters: Vec::new(), ..by_user };
        by_tag.group_by.push(Dimension::Model);
        assert_eq!(grains(&by_tag), [(4, Detail::Fine), (9, Detail::Tags)]);
    }

    proptest! {
        #[test]
        fn segments_cover_every_moment_once(
            from in 0..5 * DAY_MS, length in 0..9 * DAY_MS, users in any::<bool>(), tags in any::<bool>(), step in prop_oneof![Just(0), Just(60_000), Just(HOUR_MS), Just(DAY_MS)]
        ) {
            let mut question = question(from, from + length, step);
            question.group_by.extend(users.then_some(Dimension::User));
            question.group_by.extend(tags.then(|| Dimension::Tag("env".to_owned())));
            let mut segments = question.segments(3 * DAY_MS);
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
