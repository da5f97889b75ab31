//! All rate limits with their buckets, in memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    limit::{Bucket, Level, Limit, Metric, RateTold},
    refusal::Excess,
    subject::Subject,
};

/// What a request adds to its buckets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) requests: i64,
    pub(crate) concurrent: i64,
    pub(crate) tokens: i64,
}

/// Limits and buckets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    limits: BTreeMap<i64, Limit>,
    by_tenant: HashMap<Arc<str>, Vec<i64>>,
    levels: HashMap<Bucket, Level>,
    /// Buckets that changed and are written down, since [`Meters::take_changed`]. How many requests are under way is not: it
    /// follows from the reservations.
    changed: HashSet<Bucket>,
    /// Requests that limits in shadow mode would have refused.
    shadowed: HashMap<i64, u64>,
}

impl Load {
    fn of(self, metric: Metric) -> i64 {
        match metric {
            Metric::Requests => self.requests,
            Metric::Concurrent => self.concurrent,
            Metric::Tokens => self.tokens,
        }
    }
}

impl Meters {
    /// The buckets that a request goes through.
    pub(crate) fn through(&self, subject: &Subject) -> Vec<Bucket> {
        let ids = self.by_tenant.get(&subject.tenant).map_or(&[][..], Vec::as_slice);
        let bucket = |limit: &Limit| Some((limit.id, Arc::from(limit.terms.rate.value(subject)?)));
        ids.iter().filter_map(|id| bucket(self.limits.get(id)?)).collect()
    }

    /// The most tokens that one request may take at once; `None` for no bound.
    pub(crate) fn most_tokens(&self, buckets: &[Bucket]) -> Option<i64> {
        let rates = buckets.iter().filter_map(|(id, _)| self.limits.get(id)).map(|limit| &limit.terms.rate);
        rates.filter(|rate| rate.metric == Metric::Tokens && !rate.shadow).map(|rate| rate.burst).min()
    }

    /// The limits that a load passes. Shadows are counted and left out.
    pub(crate) fn check(&mut self, buckets: &[Bucket], load: Load, now: i64) -> Vec<Excess> {
        let mut passed = Vec::new();
        for bucket in buckets {
            let Some(limit) = self.limits.get(&bucket.0) else { continue };
            let rate = &limit.terms.rate;
            let level = self.levels.get(bucket).copied().unwrap_or_default();
            let wait = rate.wait_ms(level, load.of(rate.metric), now);
            match wait {
                Some(0) => {}
                _ if rate.shadow => *self.shadowed.entry(limit.id).or_default() += 1,
                wait => passed.push(Excess::of(limit, level, wait, now)),
            }
        }
        passed
    }

    /// Adds a load, or takes one back.
    pub(crate) fn add(&mut self, buckets: &[Bucket], load: Load, now: i64) {
        for bucket in buckets {
            let Some(limit) = self.limits.get(&bucket.0) else { continue };
            let rate = &limit.terms.rate;
            let units = load.of(rate.metric);
            if units == 0 {
                continue;
            }
            let level = self.levels.entry(bucket.clone()).or_default();
            *level = rate.add(*level, units, now);
            if level.level == 0 {
                self.levels.remove(bucket);
            }
            if rate.metric != Metric::Concurrent {
                self.changed.insert(bucket.clone());
            }
        }
    }

    /// What callers are told of their buckets.
    pub(crate) fn told(&self, buckets: &[Bucket], now: i64) -> Vec<RateTold> {
        let told = |bucket: &Bucket| {
            let level = self.levels.get(bucket).copied().unwrap_or_default();
            Some(self.limits.get(&bucket.0)?.told(level, now))
        };
        buckets.iter().filter_map(told).collect()
    }

    /// How many buckets hold something.
    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    /// Forgets buckets that have drained. Their rows are told as changed.
    pub(crate) fn sweep(&mut self, now: i64) {
        let (limits, changed) = (&self.limits, &mut self.changed);
        self.levels.retain(|bucket, level| {
            let kept = limits.get(&bucket.0).is_some_and(|limit| limit.terms.rate.drained(*level, now) > 0);
            if !kept {
                changed.insert(bucket.clone());
            }
            kept
        });
    }

    /// Adds or replaces a limit.
    pub(crate) fn put(&mut self, limit: Limit) {
        let ids = self.by_tenant.entry(Arc::clone(&limit.terms.tenant)).or_default();
        if !ids.contains(&limit.id) {
            ids.push(limit.id);
        }
        self.limits.insert(limit.id, limit);
    }

    /// Puts back how full a bucket was.
    pub(crate) fn put_level(&mut self, bucket: Bucket, level: Level) {
        self.levels.insert(bucket, level);
    }

    /// Removes a limit with its buckets.
    pub(crate) fn remove(&mut self, id: i64) -> Option<Limit> {
        let limit = self.limits.remove(&id)?;
        if let Some(ids) = self.by_tenant.get_mut(&limit.terms.tenant) {
            ids.retain(|other| *other != id);
        }
        self.levels.retain(|bucket, _| bucket.0 != id);
        self.changed.retain(|bucket| bucket.0 != id);
        self.shadowed.remove(&id);
        Some(limit)
    }

    /// A limit.
    pub(crate) fn get(&self, id: i64) -> Option<&Limit> {
        self.limits.get(&id)
    }

    /// All limits, with how many requests each would have refused since the start, were it not in shadow mode.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Limit, u64)> {
        self.limits.values().map(|limit| (limit, self.shadowed.get(&limit.id).copied().unwrap_or(0)))
    }

    /// The buckets that changed since the last call; `None` is one that has drained.
    pub(crate) fn take_changed(&mut self) -> Vec<(Bucket, Option<Level>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|bucket| (bucket.clone(), self.levels.get(&bucket).copied())).collect()
    }

    /// Whether no request is under way.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let concurrent =
            |id: &i64| self.limits.get(id).is_some_and(|l| l.terms.rate.metric == Metric::Concurrent);
        !self.levels.keys().any(|(id, _)| concurrent(id))
    }
}
