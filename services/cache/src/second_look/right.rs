//! The calibrated model: how probable it is that the answer to one question is right for another that stands the rules.
//!
//! A few small networks, averaged. They are monotonic: more similarity never makes a hit less probable, and more that is left over
//! never more. Weights come from `scripts/train_cache.py`; their card is `models/README.md`.

use std::sync::LazyLock;

use serde::Deserialize;

use super::alignment::COUNT;

static MODEL: LazyLock<Option<Model>> =
    LazyLock::new(|| Model::read(include_str!("../../models/right.json")));

/// Never nearer to certain than the data it was calibrated on can show.
const MOST: f64 = 0.998;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    mean: Vec<f32>,
    scale: Vec<f32>,
    networks: Vec<Network>,
    /// What the cosine counts beside the networks.
    cosine: f64,
    /// From the networks' mean to a logit.
    slope: f64,
    offset: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    /// A row of weights for each hidden unit.
    first: Vec<Vec<f32>>,
    first_bias: Vec<f32>,
    second: Vec<f32>,
    second_bias: f32,
}

impl Model {
    fn read(text: &str) -> Option<Self> {
        let model: Self = serde_json::from_str(text).ok()?;
        let fits = |network: &Network| {
            let hidden = network.first.len();
            network.first.iter().all(|row| row.len() == COUNT)
                && network.first_bias.len() == hidden
                && network.second.len() == hidden
        };
        let whole = model.mean.len() == COUNT && model.scale.len() == COUNT && !model.networks.is_empty();
        (whole && model.networks.iter().all(fits)).then_some(model)
    }

    fn probability(&self, similarity: f32, numbers: &[f32; COUNT]) -> f64 {
        let normal: Vec<f32> = (0..COUNT).map(|at| (numbers[at] - self.mean[at]) / self.scale[at]).collect();
        let sum: f32 = self.networks.iter().map(|network| network.score(&normal)).sum();
        let score = f64::from(sum / self.networks.len() as f32) + self.cosine * (f64::from(similarity) - 1.0);
        let logit = self.slope * score + self.offset;
        let probability = 1.0 / (1.0 + (-logit).exp());
        // `min` would take what is no number for the bound.
        if probability.is_nan() { 0.0 } else { probability.min(MOST) }
    }
}

impl Network {
    fn score(&self, normal: &[f32]) -> f32 {
        let dot = |row: &[f32]| row.iter().zip(normal).map(|(weight, number)| weight * number).sum::<f32>();
        let units = self.first.iter().zip(&self.first_bias).map(|(row, bias)| (dot(row) + bias).tanh());
        units.zip(&self.second).map(|(unit, weight)| unit * weight).sum::<f32>() + self.second_bias
    }
}

/// The probability that a hit is right; 0 for what is no number, or if the weights cannot be read.
pub(crate) fn probability(similarity: f32, numbers: &[f32; COUNT]) -> f64 {
    MODEL.as_ref().map_or(0.0, |model| model.probability(similarity, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::second_look::{Features, numbers};

    fn of(similarity: f32, a: &str, b: &str) -> f64 {
        probability(similarity, &numbers(&Features::of(a), &Features::of(b)))
    }

    #[test]
    fn what_is_left_over_counts_more_than_the_cosine() {
        let same = of(0.94, "How do I boil an egg?", "What is the best way to boil an egg?");
        let other = of(0.92, "How do I boil an egg?", "How do I bake bread?");
        assert!(same > 0.8 && other < same, "{same} {other}");
        assert!(of(f32::NAN, "a", "b") == 0.0);
    }

    #[test]
    fn more_similarity_is_never_worse() {
        let (a, b) = ("How can I learn to swim?", "What is the easiest way to learn swimming?");
        let steps: Vec<f64> = (0..=30u8).map(|n| of(0.7 + f32::from(n) / 100.0, a, b)).collect();
        assert!(steps.windows(2).all(|two| two[0] <= two[1]), "{steps:?}");
        assert!(steps[30] <= MOST);
    }

    #[test]
    fn the_table_knows_words_that_are_close() {
        let close = numbers(&Features::of("How do I fix a car?"), &Features::of("How do I repair a car?"));
        let far = numbers(&Features::of("How do I fix a car?"), &Features::of("How do I paint a car?"));
        assert!(close[0] < far[0], "{close:?} {far:?}");
    }

    #[test]
    fn weights_of_other_inputs_are_refused() {
        assert!(MODEL.is_some());
        assert!(Model::read("{}").is_none());
        let other = include_str!("../../models/right.json").replacen("\"mean\": [", "\"mean\": [1.0, ", 1);
        assert!(Model::read(&other).is_none());
    }
}
