//! Encryption at rest: what leaves this process for a disk or a Redis is sealed with a key of its tenant.
//!
//! Layout: `0`, version `1`, key id (4 bytes), nonce (12), length of the tenant's name (u16 LE), the name, then ChaCha20-Poly1305 of the
//! contents. The key is HKDF-SHA256 of a master key with the tenant as info; all that stands before the contents is authenticated, with what
//! they are and of which entry. Protocol Buffers never begin with a `0`, so that nothing sealed is taken for something open, nor, where keys
//! are configured, the other way round: what was put there without a key is not believed.
//!
//! Keys are rotated by a file of several: the first seals, all of them open. What the removed ones sealed is as if it were not there.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::bytes::Bytes;
use ring::{aead, hkdf};
use signalbox_mesh::Random;

const HEAD: [u8; 2] = [0, 1];
const ID: usize = 4;
const PREFIX: usize = 2 + ID + aead::NONCE_LEN + 2;
/// Keys in the file at most.
const KEYS: usize = 16;

/// What is sealed: one is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An entry, bound to its key.
    Entry = 1,
    /// What a fill needs to know, bound to its key.
    Pending = 2,
    /// Events of an answer in flight, bound to its key.
    Events = 3,
    /// A vector, bound to its entry's id.
    Vector = 4,
}

struct Master {
    id: [u8; ID],
    key: hkdf::Prk,
}

/// The master keys; without any nothing is sealed.
pub(crate) struct Vault {
    masters: Vec<Master>,
    random: Random,
}

impl Vault {
    /// A vault that leaves all as it is.
    pub(crate) fn open_to_all(random: Random) -> Self {
        Self { masters: Vec::new(), random }
    }

    /// Reads the master keys: 32 bytes in base64, one a line, the one that seals first; lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// What to change in the file. Nothing of a key.
    pub(crate) fn of(file: &Path, random: Random) -> Result<Self, String> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("the key file {shown} cannot be read: {error}"))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let masters: Option<Vec<Master>> = lines.map(Master::of).collect();
        match masters {
            Some(masters) if (1..=KEYS).contains(&masters.len()) => Ok(Self { masters, random }),
            _ => Err(format!(
                "the key file {shown} holds no list of 1 to {KEYS} keys of 32 bytes in base64, one a line; make one with `openssl rand -base64 32`"
            )),
        }
    }

    /// Seals contents of a tenant, if there is a key.
    pub(crate) fn seal(&self, kind: Kind, tenant: &str, about: &[u8], contents: Vec<u8>) -> Option<Vec<u8>> {
        let Some(master) = self.masters.first() else { return Some(contents) };
        let name = u16::try_from(tenant.len()).ok()?;
        let mut nonce = [0; aead::NONCE_LEN];
        self.random.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(PREFIX + tenant.len() + contents.len() + aead::MAX_TAG_LEN);
        sealed.extend(HEAD);
        sealed.extend(master.id);
        sealed.extend(nonce);
        sealed.extend(name.to_le_bytes());
        sealed.extend(tenant.as_bytes());
        let also = authenticated(&sealed, kind, about);
        let mut body = contents;
        let cipher = master.cipher(tenant)?;
        cipher
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(also),
                &mut body,
            )
            .ok()?;
        sealed.extend(body);
        Some(sealed)
    }

    /// Opens what was sealed. `None`: it was not, by none of the keys, for something else, or was changed.
    pub(crate) fn open(&self, kind: Kind, about: &[u8], sealed: Bytes) -> Option<Bytes> {
        if self.masters.is_empty() {
            return (sealed.first() != Some(&0)).then_some(sealed);
        }
        let head = sealed.get(..PREFIX)?;
        let id = head.strip_prefix(&HEAD)?.get(..ID)?;
        let nonce: [u8; aead::NONCE_LEN] = head[2 + ID..PREFIX - 2].try_into().ok()?;
        let name = usize::from(u16::from_le_bytes([head[PREFIX - 2], head[PREFIX - 1]]));
        let prefix = sealed.get(..PREFIX + name)?;
        let tenant = std::str::from_utf8(&prefix[PREFIX..]).ok()?;
        let master = self.masters.iter().find(|master| master.id == *id)?;
        let also = authenticated(prefix, kind, about);
        let mut body = sealed[prefix.len()..].to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened =
            master.cipher(tenant)?.open_in_place(nonce, aead::Aad::from(also), &mut body).ok()?.len();
        body.truncate(opened);
        Some(body.into())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} keys)", self.masters.len())
    }
}

fn authenticated(prefix: &[u8], kind: Kind, about: &[u8]) -> Vec<u8> {
    [prefix, &[kind as u8], about].concat()
}

impl Master {
    fn of(line: &str) -> Option<Self> {
        let bytes: [u8; 32] = STANDARD.decode(line).ok()?.try_into().ok()?;
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"signalbox cache 1").extract(&bytes);
        let mut id = [0; ID];
        key.expand(&[b"id"], Short).and_then(|okm| okm.fill(&mut id)).ok()?;
        Some(Self { id, key })
    }

    fn cipher(&self, tenant: &str) -> Option<aead::LessSafeKey> {
        let info = [b"rest\0".as_slice(), tenant.as_bytes()];
        let key = self.key.expand(&info, &aead::CHACHA20_POLY1305).ok()?;
        Some(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }
}

/// The length of a key's id.
struct Short;

impl hkdf::KeyType for Short {
    fn len(&self) -> usize {
        ID
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file of keys, each of that byte.
    pub(crate) fn keys(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
        let path = folder.join("keys");
        let lines: Vec<_> = bytes.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
        std::fs::write(&path, format!("# the first seals\n{}\n", lines.join("\n"))).unwrap();
        path
    }

    fn vault(bytes: &[u8]) -> Vault {
        let folder = tempfile::tempdir().unwrap();
        Vault::of(&keys(folder.path(), bytes), Random::seeded(1)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_thing_only() {
        let vault = vault(&[1]);
        let sealed: Bytes = vault.seal(Kind::Entry, "acme", b"k", b"an answer".to_vec()).unwrap().into();
        assert_eq!(vault.open(Kind::Entry, b"k", sealed.clone()).unwrap(), "an answer");
        assert!(!sealed.windows(6).any(|part| part == b"answer"));
        assert!(vault.open(Kind::Events, b"k", sealed.clone()).is_none());
        assert!(vault.open(Kind::Entry, b"l", sealed.clone()).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(vault.open(Kind::Entry, b"k", changed.into()).is_none(), "{at}");
            assert!(vault.open(Kind::Entry, b"k", sealed.slice(..at)).is_none(), "{at}");
        }
        let again = vault.seal(Kind::Entry, "acme", b"k", b"an answer".to_vec()).unwrap();
        assert_ne!(again, sealed, "another nonce");
    }

    #[test]
    fn keys_are_rotated_and_what_nobody_sealed_is_not_believed() {
        let (old, both, new) = (vault(&[1]), vault(&[2, 1]), vault(&[2]));
        let sealed: Bytes = old.seal(Kind::Entry, "a", b"", b"x".to_vec()).unwrap().into();
        assert!(both.open(Kind::Entry, b"", sealed.clone()).is_some());
        assert!(new.open(Kind::Entry, b"", sealed.clone()).is_none());
        let fresh: Bytes = both.seal(Kind::Entry, "a", b"", b"x".to_vec()).unwrap().into();
        assert!(new.open(Kind::Entry, b"", fresh).is_some());
        let none = Vault::open_to_all(Random::seeded(1));
        let open: Bytes = none.seal(Kind::Entry, "a", b"", b"\x0ax".to_vec()).unwrap().into();
        assert_eq!(none.open(Kind::Entry, b"", open.clone()), Some(open.clone()));
        assert!(new.open(Kind::Entry, b"", open).is_none());
        assert!(none.open(Kind::Entry, b"", sealed).is_none());
    }

    #[test]
    fn a_file_that_is_no_list_of_keys_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for text in ["", "# nothing", "c2hvcnQ=", &"a".repeat(44)] {
            std::fs::write(&path, text).unwrap();
            let error = Vault::of(&path, Random::seeded(1)).unwrap_err();
            assert!(error.contains("openssl rand") && !error.contains("c2hv"), "{error}");
        }
        assert!(
            Vault::of(&folder.path().join("none"), Random::seeded(1)).unwrap_err().contains("cannot be read")
        );
    }
}
