//! Choices that are the same for the same key, on every replica and after every restart.

/// A number in (0, 1) that a key and a salt always give.
pub(crate) fn uniform(key: &str, salt: &str) -> f64 {
    ((first_bits(key, salt) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// A score that is highest for one item of a key, for each with a probability as its weight. When an item goes, or weights change, only
/// the keys move that must (weighted rendezvous hashing).
pub(crate) fn rendezvous(key: &str, item: &str, weight: f64) -> f64 {
    -weight / uniform(key, item).ln()
}

/// A digest that stands for a text of a tenant where the text itself may not be kept: equal texts have equal ones.
pub(crate) fn digest(tenant: &str, text: &str) -> String {
    format!("{:016x}", first_bits(text, tenant))
}

fn first_bits(key: &str, salt: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes()).update(&[0]).update(salt.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}
