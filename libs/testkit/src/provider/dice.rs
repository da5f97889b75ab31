//! Deterministic randomness that stays the same across platforms and library versions.

/// Folds `bytes` and `seed` into one number (FNV-1a, then one step of SplitMix64).
pub(super) fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Dice(hash).roll()
}

/// A SplitMix64 generator (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Returns the next 64 bits.
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`; zero where `bound` is zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let wide = self.roll().checked_rem(bound as u64).unwrap_or(0);
        usize::try_from(wide).unwrap_or(0)
    }

    /// Returns `length` characters of `alphabet`.
    pub(super) fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| alphabet.get(self.below(alphabet.len())).map_or('0', |&byte| char::from(byte)))
            .collect()
    }
}

/// The alphabet of OpenAI's ids and of their stream padding.
pub(super) const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The alphabet of request ids and fingerprints.
pub(super) const HEX: &[u8] = b"0123456789abcdef";
