//! What the guard must know again, sealed so that only the guard, for this tenant and request, can open it.
//!
//! Layout: `version: u8 = 2`, `kind: u8`, `key id: 4 bytes`, `expires: i64 LE`, `nonce: 12 bytes`, then ChaCha20-Poly1305 of the
//! contents. The key is HKDF-SHA256 of a master key with the tenant as info. All that stands before the nonce is authenticated,
//! with tenant and request id.
//!
//! Keys are rotated by a file of several: the first seals, all of them open, each known by an id derived from it. So a new key is
//! appended on every replica, then moved to the top, and the old one removed once what it sealed has expired.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{aead, hkdf, hmac};
use signalbox_mesh::Random;

const VERSION: u8 = 2;
const ID: usize = 4;
const PREFIX: usize = 2 + ID + 8;
const HEAD: usize = PREFIX + aead::NONCE_LEN;
/// Keys in the file at most.
const KEYS: usize = 16;

/// What is sealed. One kind is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// [`crate::contents::WayBack`].
    WayBack = 1,
    /// [`crate::contents::SystemPrompt`].
    SystemPrompt = 2,
    /// [`crate::contents::Doubt`].
    Doubt = 3,
}

/// Whom and what a seal is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) request: &'a str,
}

/// Why a seal cannot be opened: one reason for all, so that nothing can be learnt by trying.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

struct Master {
    id: [u8; ID],
    key: hkdf::Prk,
}

/// The master keys.
pub(crate) struct Sealer {
    /// The first seals.
    masters: Vec<Master>,
    random: Random,
}

impl Sealer {
    /// Reads the master keys from a file: 32 bytes in base64, one a line, the one that seals first; lines that begin with `#` are
    /// remarks. Without a file there is a random one, good for one process.
    pub(crate) fn new(file: Option<&Path>, random: Random) -> Result<Self, String> {
        let masters = match file {
            None => {
                let mut key = [0; 32];
                random.fill(&mut key);
                vec![Master::of(&key)?]
            }
            Some(path) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("the seal key file {shown} cannot be read: {e}"))?;
                keys(&text).map_err(|what| {
                    format!("the seal key file {shown} {what}; make a key with `openssl rand -base64 32`")
                })?
            }
        };
        Ok(Self { masters, random })
    }

    /// Seals contents until a time.
    pub(crate) fn seal(
        &self,
        kind: Kind,
        bound: Bound<'_>,
        expires_unix_ms: i64,
        contents: Vec<u8>,
    ) -> Result<Vec<u8>, Broken> {
        let master = self.masters.first().ok_or(Broken)?;
        let mut nonce = [0; aead::NONCE_LEN];
        self.random.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(HEAD + contents.len() + aead::MAX_TAG_LEN);
        sealed.extend_from_slice(&[VERSION, kind as u8]);
        sealed.extend_from_slice(&master.id);
        sealed.extend_from_slice(&expires_unix_ms.to_le_bytes());
        let also = authenticated(&sealed, bound);
        let mut body = contents;
        let nonce_used = aead::Nonce::assume_unique_for_key(nonce);
        master
            .cipher(bound.tenant)?
            .seal_in_place_append_tag(nonce_used, aead::Aad::from(also), &mut body)
            .map_err(|_| Broken)?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens a seal of a kind for the tenant and request that it was made for, while it is valid.
    pub(crate) fn open(
        &self,
        kind: Kind,
        bound: Bound<'_>,
        now_unix_ms: i64,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Broken> {
        if sealed.len() < HEAD || sealed[..2] != [VERSION, kind as u8] {
            return Err(Broken);
        }
        let (prefix, rest) = sealed.split_at(PREFIX);
        let (nonce, body) = rest.split_at(aead::NONCE_LEN);
        let master = self.masters.iter().find(|master| master.id == prefix[2..2 + ID]).ok_or(Broken)?;
        let nonce: [u8; aead::NONCE_LEN] = nonce.try_into().map_err(|_| Broken)?;
        let mut body = body.to_vec();
        let opened = master
            .cipher(bound.tenant)?
            .open_in_place(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(authenticated(prefix, bound)),
                &mut body,
            )
            .map_err(|_| Broken)?
            .len();
        let expires = i64::from_le_bytes(prefix[2 + ID..].try_into().map_err(|_| Broken)?);
        if now_unix_ms >= expires {
            return Err(Broken);
        }
        body.truncate(opened);
        Ok(body)
    }

    /// A keyed hash of a tenant's, for a purpose: the same for the same parts, and nobody else can make or undo it.
    pub(crate) fn hash(&self, tenant: &str, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        let Some(master) = self.masters.first() else { return out };
        let info = [purpose.as_bytes(), b"\0", tenant.as_bytes()];
        if let Ok(key) = master.key.expand(&info, hmac::HMAC_SHA256) {
            let mut context = hmac::Context::with_key(&hmac::Key::from(key));
            for part in parts {
                context.update(&(part.len() as u64).to_le_bytes());
                context.update(part);
            }
            out.copy_from_slice(context.sign().as_ref());
        }
        out
    }
}

impl Master {
    fn of(bytes: &[u8; 32]) -> Result<Self, String> {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"signalbox seal 2").extract(bytes);
        let mut id = [0; ID];
        key.expand(&[b"id"], Short)
            .and_then(|okm| okm.fill(&mut id))
            .map_err(|_| "cannot be used".to_owned())?;
        Ok(Self { id, key })
    }

    fn cipher(&self, tenant: &str) -> Result<aead::LessSafeKey, Broken> {
        let info = [b"seal\0".as_slice(), tenant.as_bytes()];
        let key = self.key.expand(&info, &aead::CHACHA20_POLY1305).map_err(|_| Broken)?;
        Ok(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }
}

/// The length of a key's id.
struct Short;

impl hkdf::KeyType for Short {
    fn len(&self) -> usize {
        ID
    }
}

fn keys(text: &str) -> Result<Vec<Master>, String> {
    let mut masters: Vec<Master> = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let bytes = STANDARD.decode(line).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let bytes =
            bytes.ok_or_else(|| format!("does not hold 32 bytes in base64 in line {}", number + 1))?;
        let master = Master::of(&bytes)?;
        if masters.iter().any(|known| known.id == master.id) {
            return Err(format!("has the key of line {} twice", number + 1));
        }
        masters.push(master);
    }
    match masters.len() {
        0 => Err("holds no key".into()),
        count if count > KEYS => Err(format!("holds {count} keys; at most {KEYS} are read")),
        _ => Ok(masters),
    }
}

fn authenticated(prefix: &[u8], bound: Bound<'_>) -> Vec<u8> {
    let length = (bound.tenant.len() as u64).to_le_bytes();
    [prefix, &length, bound.tenant.as_bytes(), bound.request.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: Bound<'_> = Bound { tenant: "acme", request: "r-1" };

    fn with(lines: &[[u8; 32]]) -> Sealer {
        let text: Vec<String> = lines.iter().map(|key| STANDARD.encode(key)).collect();
        Sealer { masters: keys(&text.join("\n")).unwrap(), random: Random::seeded(1) }
    }

    #[test]
    fn opens_only_for_whom_it_was_made_and_in_time() {
        let sealer = Sealer::new(None, Random::seeded(1)).unwrap();
        let sealed = sealer.seal(Kind::WayBack, ACME, 1_000, b"a@b.example".to_vec()).unwrap();
        assert_eq!(sealer.open(Kind::WayBack, ACME, 999, &sealed), Ok(b"a@b.example".to_vec()));
        assert_eq!(sealer.open(Kind::WayBack, ACME, 1_000, &sealed), Err(Broken), "expired");
        assert_eq!(sealer.open(Kind::SystemPrompt, ACME, 0, &sealed), Err(Broken), "another kind");
        for other in [
            Bound { tenant: "other", ..ACME },
            Bound { request: "r-2", ..ACME },
            Bound { tenant: "acmer", request: "-1" },
        ] {
            assert_eq!(sealer.open(Kind::WayBack, other, 0, &sealed), Err(Broken), "{other:?}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(sealer.open(Kind::WayBack, ACME, 0, &altered), Err(Broken), "byte {at}");
            assert_eq!(sealer.open(Kind::WayBack, ACME, 0, &sealed[..at]), Err(Broken), "cut at {at}");
        }
        assert!(!sealed.windows(5).any(|w| w == b"a@b.e"));
    }

    #[test]
    fn keys_are_rotated_without_losing_what_is_under_way() {
        let (old, new) = ([1; 32], [2; 32]);
        let sealed = with(&[old]).seal(Kind::WayBack, ACME, 1_000, b"x".to_vec()).unwrap();
        assert_eq!(with(&[new, old]).open(Kind::WayBack, ACME, 0, &sealed), Ok(b"x".to_vec()));
        assert_eq!(with(&[new]).open(Kind::WayBack, ACME, 0, &sealed), Err(Broken));
        let sealed = with(&[new, old]).seal(Kind::WayBack, ACME, 1_000, b"y".to_vec()).unwrap();
        assert_eq!(with(&[new]).open(Kind::WayBack, ACME, 0, &sealed), Ok(b"y".to_vec()), "the first seals");
    }

    #[test]
    fn a_file_that_holds_no_keys_is_refused_with_its_line_and_without_its_text() {
        for (text, words) in [
            ("", "holds no key"),
            ("# only a remark\n", "holds no key"),
            ("c2hvcnQ=", "in line 1"),
            ("# old\nnot base64 at all", "in line 2"),
        ] {
            let error = keys(text).err().unwrap();
            assert!(error.contains(words) && !error.contains("c2hv"), "{error}");
        }
        let twice = format!("{0}\n{0}\n", STANDARD.encode([7; 32]));
        assert!(keys(&twice).err().unwrap().contains("twice"));
    }

    #[test]
    fn hashes_differ_by_tenant_purpose_and_part() {
        let sealer = with(&[[1; 32]]);
        let one = sealer.hash("acme", "p", &[b"a", b"b"]);
        assert_eq!(one, sealer.hash("acme", "p", &[b"a", b"b"]));
        for other in [
            sealer.hash("other", "p", &[b"a", b"b"]),
            sealer.hash("acme", "q", &[b"a", b"b"]),
            sealer.hash("acme", "p", &[b"ab", b""]),
        ] {
            assert_ne!(one, other);
        }
    }
}
