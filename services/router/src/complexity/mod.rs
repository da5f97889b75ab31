//! How much a prompt needs the large model: a small learned model, see `models/README.md`.
//!
//! Two parts. *Demand* adds up twelve cheap features of the text, each in units of its own spread. *Kind* is one direction in the
//! embedding's space: on one side what is worked out step by step, on the other what is known or told. Both together, calibrated,
//! give the probability that the large model's answer is better. Without a vector demand decides alone.

mod features;

use std::sync::LazyLock;

use serde::Deserialize;

use self::features::COUNT;

/// The model that the binary carries.
pub(crate) static MODEL: LazyLock<Model> = LazyLock::new(|| {
    // A test reads the same bytes and would fail; a model without weights takes every prompt for an average one.
    serde_json::from_str(include_str!("../../models/complexity.json")).unwrap_or_default()
});

/// Weights, written by `scripts/train_router.py`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The embedding model's hash, hexadecimal: vectors of others are not understood.
    embedding: String,
    /// The features' names, for who reads the file.
    #[cfg_attr(not(test), expect(dead_code, reason = "checked by a test"))]
    features: Vec<String>,
    /// The average and the spread of each feature.
    mean: [f64; COUNT],
    spread: [f64; COUNT],
    /// The average and the spread of the sum.
    demand: (f64, f64),
    /// The direction in the embedding's space, and where it is neither.
    kind: Vec<f32>,
    kind_offset: f64,
    /// How much kind counts beside demand.
    kind_weight: f64,
    /// With a vector, and without: the logit is `slope · score + intercept`.
    calibration: (f64, f64),
    calibration_without: (f64, f64),
    /// Probabilities from which on the large model is asked, by the share of its quality that is kept.
    thresholds: Vec<Threshold>,
}

/// A point of the knob.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    /// Share of the large model's quality, 0 to 1.
    quality: f64,
    /// Probability that the large model is better.
    probability: f64,
}

/// Features count as far as this many spreads from the average.
const FEATURE_BOUND: f64 = 2.0;
/// And the kind this many.
const KIND_BOUND: f64 = 2.5;

impl Model {
    /// The probability that the large model's answer is better, 0 to 1; `vector` has length 1 and is of the model that
    /// [`Self::understands`].
    pub(crate) fn needs_large(&self, text: &str, vector: Option<&[f32]>) -> f64 {
        let (slope, intercept) = match vector {
            Some(_) => self.calibration,
            None => self.calibration_without,
        };
        logistic(slope * self.score(text, vector) + intercept)
    }

    fn score(&self, text: &str, vector: Option<&[f32]>) -> f64 {
        let features = features::of(text);
        let each = features.iter().zip(&self.mean).zip(&self.spread);
        let sum: f64 = each
            .map(|((value, mean), spread)| {
                ((value - mean) / spread.max(1e-9)).clamp(-FEATURE_BOUND, FEATURE_BOUND)
            })
            .sum();
        let demand = (sum - self.demand.0) / self.demand.1.max(1e-9);
        let kind = vector.map_or(0.0, |vector| {
            let along: f32 = vector.iter().zip(&self.kind).map(|(a, b)| a * b).sum();
            (f64::from(along) + self.kind_offset).clamp(-KIND_BOUND, KIND_BOUND)
        });
        demand + self.kind_weight * kind
    }

    /// Whether vectors of an embedding model mean something here.
    pub(crate) fn understands(&self, model_hash: &[u8]) -> bool {
        blake3::Hash::from_slice(model_hash).is_ok_and(|hash| *hash.to_hex() == *self.embedding)
    }

    /// The probability from which on the large model is asked, so that about this share of its quality is kept. Interpolated;
    /// 1 always asks it, 0 never.
    pub(crate) fn threshold(&self, quality: f64) -> f64 {
        let ends =
            [Threshold { quality: 0.0, probability: 1.0 }, Threshold { quality: 1.0, probability: 0.0 }];
        let mut points: Vec<Threshold> = self.thresholds.iter().copied().chain(ends).collect();
        points.sort_by(|a, b| a.quality.total_cmp(&b.quality));
        for pair in points.windows(2) {
            if let [low, high] = pair
                && quality <= high.quality
            {
                let share = (quality - low.quality) / (high.quality - low.quality).max(1e-9);
                return low.probability + share.clamp(0.0, 1.0) * (high.probability - low.probability);
            }
        }
        0.0
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What the model sees of a text; what `scripts/train_router.py` trains on.
#[must_use]
pub fn inputs(text: &str) -> Vec<f64> {
    features::of(text).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_read_and_order_what_everybody_would() {
        let model: Model = serde_json::from_str(include_str!("../../models/complexity.json")).unwrap();
        assert_eq!(model.features, features::NAMES);
        assert!(
            model.kind.len() == 384 && model.calibration.0 > 0.0 && model.spread.iter().all(|s| *s > 0.0)
        );
        let needs = |text| model.needs_large(text, None);
        let (small, large) = (
            "Name the capital of France.",
            "If 3 machines make 3 parts in 3 minutes, how many minutes do 100 machines need for 250 parts, given that each breaks \
             after 40 parts and then takes 2 minutes to repair? Calculate the total.",
        );
        assert!(needs(small) < needs(large));
        assert!((0.0..=1.0).contains(&needs("")));
    }

    #[test]
    fn more_quality_asks_the_large_model_more_often() {
        let steps: Vec<f64> = (0..=20).map(|step| MODEL.threshold(f64::from(step) / 20.0)).collect();
        assert!(steps.is_sorted_by(|a, b| a >= b), "{steps:?}");
        assert_eq!((steps[0], steps[20]), (1.0, 0.0));
    }

    #[test]
    fn vectors_of_other_models_are_not_understood() {
        assert!(!MODEL.understands(&[7; 32]) && !MODEL.understands(b"short"));
    }
}
