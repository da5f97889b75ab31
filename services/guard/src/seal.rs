//! The way back: placeholders and values, sealed so that only the guard, for this tenant and request, can open it.
//!
//! Layout: `version: u8 = 1`, `expires: i64 LE`, `nonce: 12 bytes`, then ChaCha20-Poly1305 of the pairs, each length-prefixed
//! (`u32 LE`). The key is HKDF-SHA256 of the master key with the tenant as info; tenant, request id and expiry are authenticated.

use std::{collections::HashMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{aead, hkdf};
use signalbox_mesh::Random;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + aead::NONCE_LEN;

/// Placeholders and the values that they stand for.
pub(crate) type Values = HashMap<String, String>;

/// Why a seal cannot be opened: one reason for all, so that nothing can be learnt by trying.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// The master key.
pub(crate) struct Sealer {
    master: hkdf::Prk,
    random: Random,
}

impl Sealer {
    /// Reads the master key from a file: 32 bytes in base64. Without a file it is random, good for one process.
    pub(crate) fn new(file: Option<&Path>, random: Random) -> Result<Self, String> {
        let mut key = [0; 32];
        match file {
            None => random.fill(&mut key),
            Some(path) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("the seal key file {shown} cannot be read: {e}"))?;
                let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == key.len());
                key.copy_from_slice(&bytes.ok_or_else(|| {
                    format!("the seal key file {shown} does not hold 32 bytes in base64; make one with `openssl rand -base64 32`")
                })?);
            }
        }
        let master = hkdf::Salt::new(hkdf::HKDF_SHA256, b"signalbox seal 1").extract(&key);
        Ok(Self { master, random })
    }

    fn key(&self, tenant: &str) -> Result<aead::LessSafeKey, Broken> {
        let info = [tenant.as_bytes()];
        let key = self.master.expand(&info, &aead::CHACHA20_POLY1305).map_err(|_| Broken)?;
        Ok(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }

    /// Seals a map.
    pub(crate) fn seal(
        &self,
        tenant: &str,
        request: &str,
        expires_unix_ms: i64,
        values: &Values,
    ) -> Result<Vec<u8>, Broken> {
        let mut nonce = [0; aead::NONCE_LEN];
        self.random.fill(&mut nonce);
        let mut body = Vec::new();
        for text in values.iter().flat_map(|(placeholder, value)| [placeholder, value]) {
            body.extend_from_slice(&u32::try_from(text.len()).map_err(|_| Broken)?.to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        let nonce_used = aead::Nonce::assume_unique_for_key(nonce);
        let bound = bound(tenant, request, expires_unix_ms);
        self.key(tenant)?
            .seal_in_place_append_tag(nonce_used, aead::Aad::from(bound), &mut body)
            .map_err(|_| Broken)?;
        let mut sealed = Vec::with_capacity(HEAD + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&expires_unix_ms.to_le_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens a seal for the tenant and request that it was made for, while it is valid.
    pub(crate) fn open(
        &self,
        tenant: &str,
        request: &str,
        now_unix_ms: i64,
        sealed: &[u8],
    ) -> Result<Values, Broken> {
        if sealed.len() < HEAD || sealed[0] != VERSION {
            return Err(Broken);
        }
        let expires = i64::from_le_bytes(sealed[1..9].try_into().map_err(|_| Broken)?);
        let nonce: [u8; aead::NONCE_LEN] = sealed[9..HEAD].try_into().map_err(|_| Broken)?;
        let mut body = sealed[HEAD..].to_vec();
        let bound = bound(tenant, request, expires);
        let opened = self
            .key(tenant)?
            .open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(bound), &mut body)
            .map_err(|_| Broken)?;
        if now_unix_ms >= expires {
            return Err(Broken);
        }
        let mut rest: &[u8] = opened;
        let mut values = Values::new();
        while !rest.is_empty() {
            let placeholder = take(&mut rest)?;
            values.insert(placeholder, take(&mut rest)?);
        }
        Ok(values)
    }
}

fn bound(tenant: &str, request: &str, expires: i64) -> Vec<u8> {
    [tenant.as_bytes(), b"\0", request.as_bytes(), b"\0", &expires.to_le_bytes()].concat()
}

fn take(rest: &mut &[u8]) -> Result<String, Broken> {
    let (length, tail) = rest.split_first_chunk::<4>().ok_or(Broken)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Broken)?;
    let (text, tail) = tail.split_at_checked(length).ok_or(Broken)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_for_whom_it_was_made_and_in_time() {
        let sealer = Sealer::new(None, Random::seeded(1)).unwrap();
        let values: Values = [("<EMAIL_1>".to_owned(), "a@b.example".to_owned())].into();
        let sealed = sealer.seal("acme", "r-1", 1_000, &values).unwrap();
        assert_eq!(sealer.open("acme", "r-1", 999, &sealed), Ok(values));
        assert_eq!(sealer.open("acme", "r-1", 1_000, &sealed), Err(Broken), "expired");
        assert_eq!(sealer.open("other", "r-1", 0, &sealed), Err(Broken), "another tenant");
        assert_eq!(sealer.open("acme", "r-2", 0, &sealed), Err(Broken), "another request");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(sealer.open("acme", "r-1", 0, &altered), Err(Broken), "byte {at}");
            assert_eq!(sealer.open("acme", "r-1", 0, &sealed[..at]), Err(Broken), "cut at {at}");
        }
        assert!(!sealed.windows(5).any(|w| w == b"a@b.e"));
    }
}
