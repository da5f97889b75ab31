//! First slices of grants: how long the answers to a feature usually are, learned from what was settled.
//!
//! A request reserves somewhat more than nine of ten answers to its feature need, not its whole output limit, so that many fit into a
//! budget at the same time; the tenth is extended while it flows. Learned by each replica for itself, and anew after a start.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use signalbox_proto::{common::v1::AttemptOutcome, slice};

use crate::{ledger::AttemptRecord, subject::Subject};

/// Answers from which on something is known of a feature.
const LEAST: u32 = 20;
/// Answers that count: what is older fades, as all counts are halved when there are so many.
const MOST: u32 = 1_000;
/// Features that are remembered, about 200 bytes each.
const FEATURES: usize = 10_000;
/// Lengths fall into buckets as wide as a quarter of their power of two; the last one has all from a million tokens on.
const BUCKETS: usize = 80;

/// Tenant and feature.
type Feature = (Arc<str>, Option<String>);

/// What is known of the features.
#[derive(Debug)]
pub(crate) struct Slices {
    percent: u32,
    known: Mutex<HashMap<Feature, Lengths>>,
}

/// How long answers were.
#[derive(Debug)]
struct Lengths {
    counts: [u16; BUCKETS],
    total: u32,
    /// Answers of which not all could be seen on their way: whoever counts what passes would count too little.
    unseen: u32,
}

impl Default for Lengths {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, unseen: 0 }
    }
}

impl Slices {
    /// Makes an empty memory. A slice is what `percent` of all answers never extend; 0: there are no slices.
    pub(crate) fn new(percent: i64) -> Self {
        Self { percent: u32::try_from(percent).unwrap_or(0), known: Mutex::default() }
    }

    /// The first slice for a request, in output tokens; `None`: nothing is known, or its answers cannot be seen whole.
    pub(crate) fn first(&self, subject: &Subject) -> Option<i64> {
        if self.percent == 0 {
            return None;
        }
        let known = self.known.lock();
        let lengths = known.get(&feature(subject)).filter(|lengths| lengths.total >= LEAST)?;
        let usual = u64::try_from(lengths.percentile(self.percent)).unwrap_or(0);
        (lengths.unseen == 0).then(|| i64::try_from(slice::with_room(usual)).unwrap_or(i64::MAX))
    }

    /// Learns from attempts that were settled: whole answers to the request itself.
    pub(crate) fn learn(&self, subject: &Subject, attempts: &[AttemptRecord]) {
        let mut whole = attempts.iter().filter(|a| a.outcome == AttemptOutcome::Ok && a.is_own()).peekable();
        if self.percent == 0 || whole.peek().is_none() {
            return;
        }
        let (feature, mut known) = (feature(subject), self.known.lock());
        if known.len() >= FEATURES && !known.contains_key(&feature) {
            // Whoever is there again soon is learned again soon.
            known.retain(|_, lengths| lengths.total >= LEAST);
            if known.len() >= FEATURES {
                known.clear();
            }
        }
        let lengths = known.entry(feature).or_default();
        for attempt in whole {
            lengths.add(attempt.tokens.output, attempt.tokens.reasoning > 0);
        }
    }
}

impl Lengths {
    fn add(&mut self, tokens: i64, unseen: bool) {
        if self.total >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
            self.unseen /= 2;
        }
        if let Some(count) = self.counts.get_mut(bucket(tokens)) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.unseen += u32::from(unseen);
    }

    /// The length that so many percent of all answers do not exceed: the upper end of its bucket.
    fn percentile(&self, percent: u32) -> i64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen >= rank
        });
        upper_end(found.unwrap_or(BUCKETS - 1))
    }
}

fn feature(subject: &Subject) -> Feature {
    (Arc::clone(&subject.tenant), subject.feature.clone())
}

/// Lengths below four have a bucket each.
fn bucket(tokens: i64) -> usize {
    let tokens = usize::try_from(tokens).unwrap_or(0);
    let shift = (usize::BITS - tokens.leading_zeros()).saturating_sub(3);
    (((shift as usize) << 2) + (tokens >> shift)).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> i64 {
    let shift = (bucket >> 2).saturating_sub(1);
    let mantissa = bucket - (shift << 2);
    i64::try_from(((mantissa + 1) << shift) - 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signalbox_proto::common::v1::AttemptKind;

    use super::*;
    use crate::{rollup::tests::attempt, subject::tests::subject};

    fn of(feature: &str) -> Subject {
        Subject { feature: Some(feature.to_owned()), ..subject("acme", "k") }
    }

    fn answers(slices: &Slices, feature: &str, lengths: impl IntoIterator<Item = i64>) {
        for tokens in lengths {
            let mut attempt = attempt(1, 0);
            attempt.tokens.output = tokens;
            slices.learn(&of(feature), &[attempt]);
        }
    }

    #[test]
    fn a_slice_is_what_most_answers_of_the_feature_need() {
        let slices = Slices::new(90);
        answers(&slices, "chat", (1..=19).map(|_| 100));
        assert_eq!(slices.first(&of("chat")), None, "too few to know");
        answers(&slices, "chat", [900]);
        let slice = slices.first(&of("chat")).unwrap();
        assert!((130..160).contains(&slice), "{slice}");
        answers(&slices, "chat", (0..5).map(|_| 900));
        let slice = slices.first(&of("chat")).unwrap();
        assert!((1_150..1_400).contains(&slice), "{slice}: five of 25 are longer than one in ten");
        assert_eq!(slices.first(&of("other")), None, "each feature has its own");
        assert_eq!(slices.first(&Subject { tenant: "else".into(), ..of("chat") }), None);
    }

    #[test]
    fn what_is_old_fades() {
        let slices = Slices::new(90);
        answers(&slices, "chat", (0..1_000).map(|_| 5_000));
        answers(&slices, "chat", (0..10_000).map(|_| 10));
        assert_eq!(slices.first(&of("chat")), Some(11 + 17 + 1));
    }

    #[test]
    fn answers_with_hidden_thoughts_are_reserved_whole() {
        let slices = Slices::new(90);
        answers(&slices, "chat", (0..30).map(|_| 100));
        let mut thought = attempt(1, 0);
        (thought.tokens.output, thought.tokens.reasoning) = (500, 400);
        slices.learn(&of("chat"), &[thought]);
        assert_eq!(slices.first(&of("chat")), None);
    }

    #[test]
    fn only_whole_answers_to_the_request_itself_count() {
        let slices = Slices::new(90);
        for (outcome, kind) in [
            (AttemptOutcome::Cancelled, AttemptKind::First),
            (AttemptOutcome::Ok, AttemptKind::Judge),
            (AttemptOutcome::Ok, AttemptKind::Shadow),
        ] {
            for _ in 0..30 {
                slices.learn(&of("chat"), &[AttemptRecord { outcome, kind, ..attempt(1, 5) }]);
            }
        }
        assert_eq!(slices.first(&of("chat")), None);
        let off = Slices::new(0);
        answers(&off, "chat", (0..50).map(|_| 100));
        assert_eq!(off.first(&of("chat")), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let slices = Slices::new(90);
        for n in 0..FEATURES + 10 {
            answers(&slices, &n.to_string(), [1]);
        }
        assert!(slices.known.lock().len() <= FEATURES);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_lengths_and_is_at_most_a_quarter_wide(tokens in 0i64..1_000_000) {
            let end = upper_end(bucket(tokens));
            prop_assert!(tokens <= end && end <= tokens + tokens / 4, "{} in {}", tokens, end);
        }
    }
}
