//! A vector and the name of what made it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::EmbedError;

/// Allowed distance of a length from 1: well above f32 rounding over some thousand components.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// Holds the components of one embedding, of length 1. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Arc<[f32]>);

impl Vector {
    /// Takes components that came from elsewhere, for instance out of a message.
    ///
    /// # Errors
    /// [`EmbedError::Inference`] unless all are finite and their length is 1.
    pub fn from_unit(values: Vec<f32>) -> Result<Self, EmbedError> {
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if (length - 1.0).abs() <= LENGTH_TOLERANCE {
            Ok(Self(values.into()))
        } else {
            // A component that is not finite ends here too: it makes the length NaN or infinite.
            Err(EmbedError::Inference(format!("a vector of length {length} instead of 1")))
        }
    }

    /// Gives the cosine of the angle to another vector of the same model: 1 for the same direction.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        self.iter().zip(other.iter()).map(|(a, b)| a * b).sum()
    }
}

impl Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl From<Vector> for Vec<f32> {
    fn from(vector: Vector) -> Self {
        vector.0.to_vec()
    }
}

/// Names a model file by the BLAKE3 hash of its bytes; displayed as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelHash(pub(crate) [u8; 32]);

impl ModelHash {
    /// Gives the 32 bytes, as they travel in `signalbox.common.v1.Vector`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelHash, Vector};

    #[test]
    fn only_finite_vectors_of_length_one_are_taken() {
        assert!(Vector::from_unit(vec![0.6, 0.8]).is_ok());
        for wrong in [vec![], vec![0.6, 0.6], vec![f32::NAN, 1.0], vec![f32::INFINITY]] {
            assert!(Vector::from_unit(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_shows_as_hexadecimal_digits() {
        let mut bytes = [0; 32];
        bytes[0] = 0xab;
        assert_eq!(ModelHash(bytes).to_string(), format!("ab{}", "00".repeat(31)));
    }
}
