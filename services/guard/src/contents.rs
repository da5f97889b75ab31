//! What is sealed, and short hashes of texts that are compared only under a seal.

use std::collections::{HashMap, HashSet};

use prost::Message;

/// Placeholders and the values that they stand for.
pub(crate) type Values = HashMap<String, String>;

/// The way back of a request: from `Inspect` to `Screen`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WayBack {
    #[prost(map = "string, string", tag = "1")]
    pub(crate) values: Values,
    /// Hashes of values that the prompt holds as they are.
    #[prost(fixed64, repeated, tag = "2")]
    pub(crate) known: Vec<u64>,
}

impl WayBack {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.known.is_empty()
    }

    /// Hashes of all values that the prompt held, replaced or not.
    pub(crate) fn known_all(&self) -> HashSet<u64> {
        self.values.values().map(|value| of_value(value)).chain(self.known.iter().copied()).collect()
    }
}

/// What of a system prompt a leak is known by.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SystemPrompt {
    /// Hashes of its triples of words, sorted.
    #[prost(fixed32, repeated, tag = "1")]
    pub(crate) triples: Vec<u32>,
    /// The mark hidden in it. Empty: none.
    #[prost(string, tag = "2")]
    pub(crate) canary: String,
}

/// What was known when the judge was asked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Doubt {
    /// Hash of the texts that it was asked about.
    #[prost(fixed64, tag = "1")]
    pub(crate) texts: u64,
    /// Scores of the learned tier and of the classifier, by text.
    #[prost(message, repeated, tag = "2")]
    pub(crate) scores: Vec<Scores>,
}

/// What the tiers say of one text. Absent: not asked, or no answer.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Scores {
    #[prost(double, optional, tag = "1")]
    pub(crate) learned: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub(crate) classifier: Option<f64>,
    /// Whether a tier was to judge and could not.
    #[prost(bool, tag = "3")]
    pub(crate) missing: bool,
}

/// FNV-1a, 64 bits. Source: Fowler, Noll, Vo; draft-eastlake-fnv.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |hash, byte| hash.byte(*byte))
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

/// A value's hash: letters and digits only, so that other groups and letter case are the same value.
pub(crate) fn of_value(value: &str) -> u64 {
    let plain = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
    let mut buffer = [0; 4];
    plain.fold(Fnv::new(), |hash, c| hash.bytes(c.encode_utf8(&mut buffer).as_bytes())).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_however_it_is_grouped() {
        assert_eq!(of_value("4111 1111-1111 1111"), of_value("4111111111111111"));
        assert_eq!(of_value("Ada@Example.com"), of_value("ada@example.com"));
        assert_ne!(of_value("4111"), of_value("4112"));
    }

    #[test]
    fn contents_survive_the_way() {
        let way = WayBack { values: [("<EMAIL_1>".into(), "a@b.co".into())].into(), known: vec![3, 4] };
        assert_eq!(WayBack::decode(way.encode_to_vec().as_slice()), Ok(way.clone()));
        assert!(way.known_all().contains(&of_value("A@b.co")));
    }
}
