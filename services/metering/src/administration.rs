//! What administrators ask for, in our words.

use signalbox_mesh::Random;
use signalbox_proto::metering::v1 as proto;

use crate::{
    credential::{self, Credential, Hash},
    decode,
    keys::{Key, KeyChange},
    refusal::Refusal,
};

/// The longest time for which a replaced secret may stay good: 30 days.
const MOST_OVERLAP_MS: i64 = 30 * 86_400_000;

/// A new key with its credential.
pub(crate) fn new_key(wanted: &proto::Key, random: &Random, now: i64) -> Result<(Key, String), Refusal> {
    if wanted.expires_unix_ms.is_some_and(|at| at <= now) {
        return Err(Refusal::invalid("key.expires_unix_ms", "is in the past; give a later time, or none"));
    }
    let (id, text) = credential::mint(random);
    let minted = Credential::parse(&text).ok_or(Refusal::CredentialInvalid)?;
    let key = Key {
        id: id.into(),
        tenant: decode::tenant("key.tenant", &wanted.tenant)?,
        name: decode::key_name(wanted)?,
        admin: wanted.admin,
        hash: Hash::new(minted, random),
        old: None,
        scope: decode::key_scope(wanted)?,
        created_unix_ms: now,
        expires_unix_ms: wanted.expires_unix_ms,
        revoked_unix_ms: None,
    };
    Ok((key, text))
}

/// A change of what a key may do.
pub(crate) fn key_update(wanted: &proto::Key) -> Result<KeyChange, Refusal> {
    Ok(KeyChange::Update {
        tenant: wanted.tenant.clone(),
        name: decode::key_name(wanted)?,
        admin: wanted.admin,
        expires_unix_ms: wanted.expires_unix_ms,
        scope: decode::key_scope(wanted)?,
    })
}

/// A new secret for a key, and the whole credential.
pub(crate) fn rotation(
    request: &proto::RotateKeyRequest,
    random: &Random,
) -> Result<(KeyChange, String), Refusal> {
    if !(0..=MOST_OVERLAP_MS).contains(&request.overlap_ms) {
        let what = format!("set it between 0 and {MOST_OVERLAP_MS}, which is 30 days");
        return Err(Refusal::invalid("overlap_ms", what));
    }
    let no_key = || Refusal::NotFound { kind: "key", id: request.id.chars().take(64).collect() };
    let text = credential::again(&request.id, random);
    let minted = Credential::parse(&text).ok_or_else(no_key)?;
    let hash = Hash::new(minted, random);
    Ok((KeyChange::Rotate { hash, overlap_ms: request.overlap_ms }, text))
}
