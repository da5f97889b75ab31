//! The learned head: small networks over a window's embedding and signals, averaged.
//!
//! Weights come from `scripts/train_guard.py`; their card lies beside them.

use std::sync::LazyLock;

use super::signals::COUNT;

/// Numbers of an embedding of all-MiniLM-L6-v2.
const EMBEDDING: usize = 384;
const INPUTS: usize = EMBEDDING + COUNT;

/// For what users write. In what tools and files bring, a harmless task is an attack for its place, which its meaning does not tell.
pub(crate) static DIRECT: LazyLock<Option<Head>> =
    LazyLock::new(|| Head::read(include_bytes!("../../models/direct.bin")));

/// Networks with one hidden layer.
#[derive(Debug)]
pub(crate) struct Head {
    networks: Vec<Network>,
    hidden: usize,
    /// The logit above which one of a hundred harmless prompts lies.
    pub(crate) threshold: f32,
}

#[derive(Debug)]
struct Network {
    /// `hidden` rows of `INPUTS` weights and a bias.
    first: Vec<f32>,
    /// `hidden` weights and a bias.
    second: Vec<f32>,
}

impl Head {
    /// Reads `networks`, `hidden`, `inputs` (u32), the threshold, then the weights (f32), all little endian.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(4).map(|c| <[u8; 4]>::try_from(c).unwrap_or_default());
        let mut count = || numbers.next().map(u32::from_le_bytes).and_then(|n| usize::try_from(n).ok());
        let (networks, hidden, inputs) = (count()?, count()?, count()?);
        if inputs != INPUTS {
            return None;
        }
        let mut numbers = numbers.map(f32::from_le_bytes);
        let threshold = numbers.next()?;
        let mut take = |count: usize| {
            let taken: Vec<f32> = numbers.by_ref().take(count).collect();
            (taken.len() == count).then_some(taken)
        };
        let networks = (0..networks)
            .map(|_| Some(Network { first: take(hidden * (INPUTS + 1))?, second: take(hidden + 1)? }))
            .collect::<Option<Vec<_>>>()?;
        (!networks.is_empty()).then_some(Self { networks, hidden, threshold })
    }

    /// The logit of a window.
    pub(crate) fn logit(&self, embedding: &[f32], signals: &[f32; COUNT]) -> f32 {
        let sum: f32 =
            self.networks.iter().map(|network| network.logit(self.hidden, embedding, signals)).sum();
        sum / self.networks.len() as f32
    }
}

impl Network {
    fn logit(&self, hidden: usize, embedding: &[f32], signals: &[f32; COUNT]) -> f32 {
        let rows = self.first.chunks_exact(INPUTS + 1);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let units = rows.map(|row| {
            let (weights, rest) = row.split_at(EMBEDDING);
            (dot(weights, embedding) + dot(&rest[..COUNT], signals) + rest[COUNT]).max(0.0)
        });
        units.zip(&self.second).map(|(unit, weight)| unit * weight).sum::<f32>() + self.second[hidden]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_there_and_judges() {
        let head = DIRECT.as_ref().unwrap();
        assert!(head.threshold.is_finite());
        assert!(head.logit(&[0.0; EMBEDDING], &[0.0; COUNT]).is_finite());
    }

    #[test]
    fn weights_cut_short_or_of_other_inputs_are_refused() {
        let bytes = include_bytes!("../../models/direct.bin");
        assert!(Head::read(&bytes[..bytes.len() - 4]).is_none());
        let mut other = bytes.to_vec();
        other[8] ^= 1;
        assert!(Head::read(&other).is_none());
        assert!(Head::read(&[]).is_none());
    }
}
