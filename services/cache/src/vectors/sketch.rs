//! Vectors in few bytes: a byte per component to measure by, and a bit per random direction to leave most of them unmeasured.
//!
//! Two unit vectors at angle θ lie on different sides of a random hyperplane with probability θ/π (Charikar 2002,
//! "Similarity estimation techniques from rounding algorithms"). So the number of differing bits has a known spread, and what differs in
//! more bits than five standard deviations allow is not that close: one in three million is missed. The directions are the
//! rows of a randomised Hadamard transform, which costs microseconds.

/// Words of 64 bits per sketch.
pub(super) const WORDS: usize = 4;
/// By how much bytes may turn the cosine of two vectors: bits are of the bytes.
const ROUNDING: f32 = 0.002;
/// Vectors shorter than this are measured all.
const LEAST_WIDTH: usize = 64;

/// A vector as bytes, with its length in them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantised {
    pub(super) values: Vec<i8>,
    pub(super) norm: f32,
}

impl Quantised {
    /// Scales the largest component to 127. The cosine of two of them is off by about 0.001.
    pub(crate) fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "within ±127")]
        let values = vector.iter().map(|value| (value * scale).round() as i8).collect();
        Self::new(values)
    }

    pub(super) fn new(values: Vec<i8>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "16 million per thousand components")]
        let norm = (dot(&values, &values) as f32).sqrt();
        Self { values, norm }
    }
}

/// The product of two vectors of bytes, in a form that the compiler turns into vector instructions.
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// On which side of each direction a vector lies. `None` for short ones.
pub(super) fn sketch(vector: &Quantised) -> Option<[u64; WORDS]> {
    let width = vector.values.len();
    if width < LEAST_WIDTH {
        return None;
    }
    let mut values: Vec<f32> = vector.values.iter().map(|value| f32::from(*value)).collect();
    values.resize(width.next_power_of_two().max(64 * WORDS), 0.0);
    // Twice, so that vectors with few large components are spread as well.
    let mut seed = 0x7369_676e_616c_626f;
    for _ in 0..2 {
        for value in &mut values {
            if next(&mut seed) & 1 == 1 {
                *value = -*value;
            }
        }
        hadamard(&mut values);
    }
    let mut bits = [0; WORDS];
    for (word, values) in bits.iter_mut().zip(values.chunks(64)) {
        for (bit, value) in values.iter().enumerate() {
            *word |= u64::from(*value > 0.0) << bit;
        }
    }
    Some(bits)
}

/// How many bits may differ between vectors of at least that cosine.
pub(super) fn most_differing(cosine: f32) -> u32 {
    let bits = (64 * WORDS) as f64;
    let p = f64::from((cosine - ROUNDING).clamp(-1.0, 1.0)).acos() / std::f64::consts::PI;
    let most = bits * p + 5.0 * (bits * p * (1.0 - p)).sqrt() + 1.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and some hundred")]
    let most = most as u32;
    most
}

pub(super) fn differing(a: &[u64; WORDS], b: &[u64; WORDS]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// SplitMix64: the same directions in every process.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(values: Vec<f32>) -> Vec<f32> {
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
        values.into_iter().map(|v| v / length).collect()
    }

    proptest! {
        #[test]
        fn bytes_measure_as_floats_do(
            a in prop::collection::vec(-1f32..1.0, 384), b in prop::collection::vec(-1f32..1.0, 384), mix in 0f32..1.0,
        ) {
            let a = unit(a);
            let b = unit(a.iter().zip(unit(b)).map(|(a, b)| mix * a + (1.0 - mix) * b).collect());
            let exact: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let (qa, qb) = (Quantised::of(&a), Quantised::of(&b));
            let measured = dot(&qa.values, &qb.values) as f32 / (qa.norm * qb.norm);
            prop_assert!((exact - measured).abs() < 0.004, "{exact} {measured}");
            let differing = differing(&sketch(&qa).unwrap(), &sketch(&qb).unwrap());
            prop_assert!(differing <= most_differing(exact), "{exact}: {differing}");
        }
    }

    #[test]
    fn few_large_components_are_spread_too() {
        let mut close = vec![0.0; 384];
        (close[3], close[200]) = (0.9, 0.19f32.sqrt());
        let mut one = vec![0.0; 384];
        one[3] = 1.0;
        let differing =
            differing(&sketch(&Quantised::of(&one)).unwrap(), &sketch(&Quantised::of(&close)).unwrap());
        assert!((10..=most_differing(0.9)).contains(&differing), "{differing}");
        assert!(most_differing(0.75) < 100, "unrelated vectors differ in 128");
    }

    #[test]
    fn nothing_is_no_number_either() {
        assert_eq!(Quantised::of(&[0.0, 0.0]), Quantised { values: vec![0, 0], norm: 0.0 });
        assert_eq!(sketch(&Quantised::of(&[0.6, 0.8])), None);
    }
}
