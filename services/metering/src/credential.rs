//! Credentials: `sb_<id>_<secret>`. The id is public; of the secret only a salted hash is kept.
//!
//! A secret has 256 random bits, so that one salted SHA-256 is enough: there is nothing to guess. It takes about a third of
//! a microsecond, less than a cache of verified credentials would; so there is none, and a revocation has nothing to outlive it.

use std::fmt;

use ring::digest::{Context, SHA256};
use signalbox_mesh::Random;
use subtle::ConstantTimeEq as _;

/// Id of the credential from the environment or a file.
pub(crate) const ADMIN_ID: &str = "admin";
const PREFIX: &str = "sb_";
const MAX_BYTES: usize = 512;
/// The least that is accepted from an administrator, who may have typed it.
const LEAST_SECRET: usize = 16;

/// A credential as a caller sent it. Its `Debug` shows the public id alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential<'a> {
    pub(crate) id: &'a str,
    secret: &'a str,
}

impl<'a> Credential<'a> {
    /// Reads a credential; `None` when it has not the form of one.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX).filter(|_| text.len() <= MAX_BYTES)?.split_once('_')?;
        let id_is_well = !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let secret_is_well = !secret.is_empty()
            && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        (id_is_well && secret_is_well).then_some(Self { id, secret })
    }

    /// Whether a secret of somebody's own choice is long enough.
    pub(crate) fn is_long_enough(&self) -> bool {
        self.secret.len() >= LEAST_SECRET
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

/// What is kept of a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) salt: [u8; 16],
    pub(crate) digest: [u8; 32],
}

impl Hash {
    /// Hashes a credential's secret with a fresh salt.
    pub(crate) fn new(credential: Credential<'_>, random: &Random) -> Self {
        let mut salt = [0; 16];
        random.fill(&mut salt);
        Self { salt, digest: digest(&salt, credential.secret) }
    }

    /// Whether the secret is the right one; in constant time.
    pub(crate) fn fits(&self, credential: Credential<'_>) -> bool {
        digest(&self.salt, credential.secret).ct_eq(&self.digest).into()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

fn digest(salt: &[u8], secret: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(secret.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// Makes a new credential: its public id and the whole text, which is shown once.
pub(crate) fn mint(random: &Random) -> (String, String) {
    let mut id = [0; 8];
    random.fill(&mut id);
    let id = hex::encode(id);
    let text = again(&id, random);
    (id, text)
}

/// Makes another credential for an id: the whole text, which is shown once.
pub(crate) fn again(id: &str, random: &Random) -> String {
    let mut secret = [0; 32];
    random.fill(&mut secret);
    format!("{PREFIX}{id}_{}", hex::encode(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_is_accepted_and_nothing_else_is() {
        let random = Random::seeded(1);
        let (id, text) = mint(&random);
        let credential = Credential::parse(&text).unwrap();
        assert_eq!(credential.id, id);
        let hash = Hash::new(credential, &random);
        assert!(hash.fits(credential));
        let mut wrong = text.clone();
        wrong.replace_range(text.len() - 1.., if text.ends_with('0') { "1" } else { "0" });
        assert!(!hash.fits(Credential::parse(&wrong).unwrap()));
        assert!(!hash.fits(Credential::parse(&text[..text.len() - 1]).unwrap()));
        assert_ne!(Hash::new(credential, &random).digest, hash.digest, "salts differ");
    }

    #[test]
    fn malformed_credentials_are_refused() {
        for text in [
            "",
            "sb_",
            "sb_a",
            "sb_a_",
            "sb__b",
            "sk-proj-abc",
            "sb_A_b",
            "sb_a_b c",
            "sb_a_ü",
            "Bearer sb_a_b",
        ] {
            assert_eq!(Credential::parse(text), None, "{text}");
        }
        assert_eq!(Credential::parse(&format!("sb_a_{}", "x".repeat(600))), None);
        assert_eq!(Credential::parse("sb_admin_a_b-c").map(|c| c.secret), Some("a_b-c"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("{:?}", Credential::parse("sb_admin_topsecret"));
        assert!(!text.contains("topsecret"), "{text}");
    }
}
