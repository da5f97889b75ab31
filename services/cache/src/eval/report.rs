//! The figures of pairs and of logs.

use std::collections::BTreeSet;

use signalbox_report::{Metrics, Report};

use super::{
    measure::{Judged, Outcome, share},
    replay::Replayed,
};

/// What the names mean.
pub(super) const HEAD: &str = "\
hit_rate: share of the pairs with one answer that hit; wrong_hits: share of the hits that are wrong;\n\
false_hits: share of the pairs with two answers that hit\n";

/// Bounds on the error that a caller may state.
const BOUNDS: [f64; 6] = [0.02, 0.05, 0.06, 0.08, 0.1, 0.2];

/// Fixed thresholds: what others use, and what is left when they are raised.
const THRESHOLDS: [f32; 7] = [0.70, 0.80, 0.85, 0.90, 0.92, 0.95, 0.98];

/// Adds the figures of pairs: at the default, at fixed thresholds and at stated bounds.
pub(super) fn pairs(report: &mut Report, name: &str, judged: &[Judged]) {
    if judged.is_empty() {
        return;
    }
    let mut metrics = Metrics::default();
    metrics.put("pairs.admitted", share(count(judged, |j| j.admitted), judged.len()));
    outcome(&mut metrics, "default", Outcome::of(judged.iter(), |pair| pair.hit));
    for least in THRESHOLDS {
        let above = move |pair: &Judged| pair.similarity >= least;
        outcome(&mut metrics, &format!("threshold_{least:.2}.bare"), Outcome::of(judged.iter(), above));
        let looked = move |pair: &Judged| above(pair) && pair.agreed;
        outcome(
            &mut metrics,
            &format!("threshold_{least:.2}.second_look"),
            Outcome::of(judged.iter(), looked),
        );
    }
    for bound in BOUNDS {
        let sure = move |pair: &Judged| pair.admitted && pair.right >= 1.0 - bound;
        let looked = move |pair: &Judged| sure(pair) && pair.agreed;
        outcome(&mut metrics, &format!("bound_{bound:.3}.model_alone"), Outcome::of(judged.iter(), sure));
        outcome(&mut metrics, &format!("bound_{bound:.3}.second_look"), Outcome::of(judged.iter(), looked));
    }
    group(&mut metrics, "kind", judged, |pair| &pair.kind);
    group(&mut metrics, "source", judged, |pair| &pair.source);
    report.add(name, metrics);
}

/// Adds the figures of a log.
pub(super) fn replay(report: &mut Report, name: &str, replayed: &Replayed) {
    let mut metrics = Metrics::default();
    let Replayed { requests, exact, semantic, wrong_exact, wrong_semantic, .. } = *replayed;
    metrics.put("replay.exact_hit_rate", share(exact, requests));
    metrics.put("replay.semantic_hit_rate", share(semantic, requests));
    metrics.put("replay.hit_rate", share(exact + semantic, requests));
    metrics.put("replay.wrong_hits", share(wrong_exact + wrong_semantic, exact + semantic));
    metrics.put("replay.semantic_wrong_hits", share(wrong_semantic, semantic));
    metrics.put("replay.repeated", share(replayed.repeated, requests));
    metrics.put("replay.saved_cost_nanousd", Some((replayed.saved_nanousd as f64, exact + semantic)));
    metrics.put("replay.cost_nanousd", Some((replayed.cost_nanousd as f64, requests)));
    report.add(name, metrics);
}

fn count(judged: &[Judged], holds: impl Fn(&Judged) -> bool) -> usize {
    judged.iter().filter(|one| holds(one)).count()
}

fn outcome(metrics: &mut Metrics, name: &str, outcome: Outcome) {
    metrics.put(format!("{name}.hit_rate"), outcome.hit_rate());
    metrics.put(format!("{name}.wrong_hits"), outcome.wrong_hits());
    metrics.put(format!("{name}.false_hits"), outcome.false_hits());
}

/// The figures of each group by itself.
fn group(metrics: &mut Metrics, what: &str, judged: &[Judged], name: impl Fn(&Judged) -> &str) {
    let names: BTreeSet<&str> = judged.iter().map(&name).filter(|name| !name.is_empty()).collect();
    for one in names {
        let of = || judged.iter().filter(|pair| name(pair) == one);
        outcome(metrics, &format!("{what}.{one}.default"), Outcome::of(of(), |pair| pair.hit));
        let fixed = Outcome::of(of(), |pair| pair.similarity >= 0.9);
        outcome(metrics, &format!("{what}.{one}.threshold_0.90.bare"), fixed);
    }
}
