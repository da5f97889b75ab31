//! Bytes that can be read in one way only.

use std::{fmt, str::FromStr};

use crate::entry::{EntryId, NoEntryId};

/// A BLAKE3 hash of something in canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl fmt::LowerHex for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As two numbers: formatting costs by the number of pieces.
        let mut halves = [[0; 16]; 2];
        halves.as_flattened_mut().copy_from_slice(&self.0);
        halves.into_iter().try_for_each(|half| write!(f, "{:032x}", u128::from_be_bytes(half)))
    }
}

impl FromStr for Digest {
    type Err = NoEntryId;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let (high, low) = text.split_at_checked(32).ok_or(NoEntryId)?;
        let halves: [EntryId; 2] = [high.parse()?, low.parse()?];
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&halves[0].0.to_be_bytes());
        bytes[16..].copy_from_slice(&halves[1].0.to_be_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Writes values one after the other so that no two sequences of values give the same bytes: everything of variable
/// length is preceded by its length, everything optional by a mark.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(1_024) }
    }

    /// The hash of all that was written; `purpose` keeps hashes of different meaning apart.
    pub(super) fn digest(&self, purpose: &'static str) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.bytes);
        Digest(*hasher.finalize().as_bytes())
    }

    pub(super) fn tag(&mut self, tag: u8) {
        self.bytes.push(tag);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.tag(u8::from(flag));
    }

    pub(super) fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn integer(&mut self, number: i64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// −0 is 0, and every NaN is the same.
    pub(super) fn float(&mut self, number: f64) {
        let number = if number.is_nan() { f64::NAN } else { number + 0.0 };
        self.number(number.to_bits());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn digest_of(&mut self, digest: Digest) {
        self.bytes.extend_from_slice(&digest.0);
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn list<T>(&mut self, values: impl ExactSizeIterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.number(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }
}
