//! What the cache says to the metrics, whenever they are read.

use std::sync::{Arc, Weak, atomic::Ordering};

use opentelemetry::KeyValue;
use signalbox_telemetry::{metrics, semconv};

use crate::{cache::Cache, tenant::Figures};

/// Has the figures of each tenant told as long as the cache is there.
pub(crate) fn tell(cache: &Arc<Cache>) {
    if !metrics::is_on() {
        return;
    }
    let meter = metrics::meter();
    let looked = Arc::downgrade(cache);
    meter
        .u64_observable_counter("signalbox.cache.lookups")
        .with_description("Lookups, by how they were answered")
        .with_callback(move |told| {
            each(&looked, |tenant, figures| {
                for (state, count) in answered(figures) {
                    told.observe(count, &[tenant.clone(), KeyValue::new(semconv::CACHE_STATE, state)]);
                }
            });
        })
        .build();
    let looked = Arc::downgrade(cache);
    meter
        .f64_observable_gauge("signalbox.cache.estimated_error")
        .with_description(
            "The share of wrong ones among answers by similarity, the ends of its 95 % interval, and the configured limit",
        )
        .with_callback(move |told| {
            let limit = looked.upgrade().map_or(0.0, |cache| cache.config.semantic.max_error);
            each(&looked, |tenant, figures| {
                told.observe(limit, &[tenant.clone(), KeyValue::new("bound", "limit")]);
                let Some(estimate) = figures.estimate() else { return };
                for (which, share) in
                    [("estimate", estimate.share), ("low", estimate.low), ("high", estimate.high)]
                {
                    told.observe(share, &[tenant.clone(), KeyValue::new("bound", which)]);
                }
            });
        })
        .build();
    let looked = Arc::downgrade(cache);
    meter
        .i64_observable_gauge("signalbox.cache.wrong_hits")
        .with_description("Hits that were judged wrong, by feedback or by a shadow check")
        .with_callback(move |told| {
            each(&looked, |tenant, figures| {
                told.observe(figures.wrong_hits.load(Ordering::Relaxed), std::slice::from_ref(tenant));
            });
        })
        .build();
}

fn each(cache: &Weak<Cache>, mut tell: impl FnMut(&KeyValue, &Figures)) {
    let Some(cache) = cache.upgrade() else { return };
    for tenant in cache.tenants.all() {
        tell(&KeyValue::new(semconv::TENANT, Arc::clone(&tenant.name)), &tenant.figures);
    }
}

/// Lookups by what answered them.
fn answered(figures: &Figures) -> [(&'static str, u64); 4] {
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let hits = [of(&figures.exact_hits), of(&figures.semantic_hits), of(&figures.follows)];
    let [exact, semantic, follow] = hits;
    let misses = of(&figures.lookups).saturating_sub(hits.iter().sum());
    [("EXACT", exact), ("SEMANTIC", semantic), ("FOLLOW", follow), ("MISS", misses)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_no_hit_was_a_miss() {
        let figures = Figures::default();
        figures.lookups.store(10, Ordering::Relaxed);
        figures.exact_hits.store(3, Ordering::Relaxed);
        figures.semantic_hit(0.01);
        figures.follows.store(2, Ordering::Relaxed);
        assert_eq!(answered(&figures), [("EXACT", 3), ("SEMANTIC", 1), ("FOLLOW", 2), ("MISS", 4)]);
    }
}
