//! Keys, and who a credential belongs to.
//!
//! All keys are in memory, so that identifying a caller never reads the disk. The store publishes each change as soon as it is
//! written, and every call looks at the key itself: a revoked key stops with the next call.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::RwLock;

use crate::{
    credential::{ADMIN_ID, Credential, Hash},
    network::Network,
    refusal::Refusal,
};

/// The tenant and the principal of callers on loopback while there is no key, and the tenant of the first admin key.
pub(crate) const LOCAL: &str = "local";

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: Arc<str>,
    pub(crate) tenant: Arc<str>,
    pub(crate) name: String,
    pub(crate) admin: bool,
    pub(crate) hash: Hash,
    /// The secret before the last rotation.
    pub(crate) old: Option<OldSecret>,
    pub(crate) scope: KeyScope,
    pub(crate) created_unix_ms: i64,
    pub(crate) expires_unix_ms: Option<i64>,
    pub(crate) revoked_unix_ms: Option<i64>,
}

/// A secret that was replaced and is still good for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldSecret {
    pub(crate) hash: Hash,
    pub(crate) until_unix_ms: i64,
}

/// A change of a key.
#[derive(Debug, Clone)]
pub(crate) enum KeyChange {
    Update {
        /// Empty: unchanged; it cannot become another.
        tenant: String,
        name: String,
        admin: bool,
        expires_unix_ms: Option<i64>,
        scope: KeyScope,
    },
    Revoke,
    /// A new secret; the old one is good for so long.
    Rotate {
        hash: Hash,
        overlap_ms: i64,
    },
}

impl KeyChange {
    /// What is done, for the audit log.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Update { .. } => "update",
            Self::Revoke => "revoke",
            Self::Rotate { .. } => "rotate",
        }
    }

    /// Does it.
    pub(crate) fn apply(self, key: &mut Key, now: i64) -> Result<(), Refusal> {
        match self {
            Self::Update { tenant, .. } if !tenant.is_empty() && *key.tenant != *tenant => {
                return Err(Refusal::invalid("key.tenant", "a key cannot change its tenant; make a new one"));
            }
            Self::Update { name, admin, expires_unix_ms, scope, .. } => {
                (key.name, key.admin, key.expires_unix_ms, key.scope) = (name, admin, expires_unix_ms, scope);
            }
            // Revoking again keeps the first time.
            Self::Revoke => drop(key.revoked_unix_ms.get_or_insert(now)),
            Self::Rotate { .. } if key.has_ended(now) => {
                return Err(Refusal::invalid("id", "the key has ended; make a new one"));
            }
            Self::Rotate { hash, overlap_ms } => {
                let hash = std::mem::replace(&mut key.hash, hash);
                let until_unix_ms = now.saturating_add(overlap_ms);
                key.old = (overlap_ms > 0).then_some(OldSecret { hash, until_unix_ms });
            }
        }
        Ok(())
    }
}

/// What a key may be used for, and how its requests are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyScope {
    /// Patterns with a trailing `*`; empty: the tenant's.
    pub(crate) models: Vec<String>,
    pub(crate) features: Vec<String>,
    /// In CIDR form; empty: all.
    pub(crate) networks: Vec<String>,
    pub(crate) guard_policy: Option<String>,
    pub(crate) cache_policy: Option<String>,
    pub(crate) route_policy: Option<String>,
    pub(crate) team: Option<Arc<str>>,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) credential: &'a str,
    /// The listener is on loopback.
    pub(crate) loopback: bool,
    /// Empty: unknown.
    pub(crate) peer_ip: &'a str,
}

/// All keys. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    by_id: Arc<RwLock<HashMap<Arc<str>, Arc<Key>>>>,
    /// Whoever calls while no key exists.
    local: Arc<Key>,
}

impl Keys {
    /// Creates the index; `admin` is the hash of the first admin credential.
    pub(crate) fn new(stored: Vec<Key>, admin: Option<Hash>) -> Self {
        let built_in = |id: &str, hash| {
            Arc::new(Key {
                id: id.into(),
                tenant: LOCAL.into(),
                name: id.to_owned(),
                admin: true,
                hash,
                old: None,
                scope: KeyScope::default(),
                created_unix_ms: 0,
                expires_unix_ms: None,
                revoked_unix_ms: None,
            })
        };
        let nobody = Hash { salt: [0; 16], digest: [0; 32] };
        let admin = admin.map(|hash| built_in(ADMIN_ID, hash));
        let all = stored.into_iter().map(Arc::new).chain(admin).map(|key| (Arc::clone(&key.id), key));
        Self { by_id: Arc::new(RwLock::new(all.collect())), local: built_in(LOCAL, nobody) }
    }

    /// Finds out who calls. While there is no key, not even an ended one, every caller on loopback is `local`, whatever
    /// credential its software sends by habit.
    pub(crate) fn identify(&self, caller: Caller<'_>, now: i64) -> Result<Arc<Key>, Refusal> {
        let found = {
            let keys = self.by_id.read();
            if keys.is_empty() && caller.loopback {
                return Ok(Arc::clone(&self.local));
            }
            if caller.credential.is_empty() {
                return Err(Refusal::CredentialMissing);
            }
            let credential = Credential::parse(caller.credential).ok_or(Refusal::CredentialInvalid)?;
            keys.get(credential.id).cloned().map(|key| (key, credential))
        };
        let (key, credential) = found.ok_or(Refusal::CredentialInvalid)?;
        // The secret first: who has not got it learns nothing about the key.
        if !key.fits(credential, now) {
            return Err(Refusal::CredentialInvalid);
        }
        if key.revoked_unix_ms.is_some() {
            return Err(Refusal::CredentialRevoked(key.id.as_ref().to_owned()));
        }
        if key.expires_unix_ms.is_some_and(|at| at <= now) {
            return Err(Refusal::CredentialExpired(key.id.as_ref().to_owned()));
        }
        if !key.allows_peer(caller.peer_ip) {
            return Err(Refusal::NetworkNotAllowed);
        }
        Ok(key)
    }

    /// Adds or replaces a key.
    pub(crate) fn put(&self, key: Arc<Key>) {
        self.by_id.write().insert(Arc::clone(&key.id), key);
    }

    /// A key made by an administrator.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Key>> {
        self.by_id.read().get(id).filter(|key| &*key.id != ADMIN_ID).cloned()
    }

    /// The keys made by administrators, by creation.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> =
            self.by_id.read().values().filter(|key| &*key.id != ADMIN_ID).cloned().collect();
        keys.sort_by(|a, b| (a.created_unix_ms, &a.id).cmp(&(b.created_unix_ms, &b.id)));
        keys
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.read().len()
    }
}

impl Key {
    /// Whether it has ended, by itself or by an administrator.
    pub(crate) fn has_ended(&self, now: i64) -> bool {
        self.revoked_unix_ms.is_some() || self.expires_unix_ms.is_some_and(|at| at <= now)
    }

    fn fits(&self, credential: Credential<'_>, now: i64) -> bool {
        let old = self.old.as_ref().filter(|old| now < old.until_unix_ms);
        self.hash.fits(credential) || old.is_some_and(|old| old.hash.fits(credential))
    }

    fn allows_peer(&self, peer: &str) -> bool {
        if self.scope.networks.is_empty() {
            return true;
        }
        let Ok(peer) = peer.parse::<IpAddr>() else { return false };
        self.scope.networks.iter().any(|network| network.parse::<Network>().is_ok_and(|n| n.contains(peer)))
    }
}

/// Whether a list of patterns allows a name; an empty list allows all.
pub(crate) fn allows(patterns: &[String], name: &str) -> bool {
    let covers = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    };
    patterns.is_empty() || patterns.iter().any(covers)
}

#[cfg(test)]
mod tests {
    use signalbox_mesh::Random;

    use super::*;
    use crate::credential;

    fn key(random: &Random) -> (Key, String) {
        let (id, text) = credential::mint(random);
        let key = Key {
            id: id.into(),
            tenant: "acme".into(),
            name: "test".to_owned(),
            admin: false,
            hash: Hash::new(Credential::parse(&text).unwrap(), random),
            old: None,
            scope: KeyScope::default(),
            created_unix_ms: 1,
            expires_unix_ms: None,
            revoked_unix_ms: None,
        };
        (key, text)
    }

    fn from(credential: &str) -> Caller<'_> {
        Caller { credential, loopback: true, peer_ip: "" }
    }

    #[test]
    fn without_any_key_a_caller_on_loopback_is_local_and_nobody_else_is() {
        let keys = Keys::new(Vec::new(), None);
        let local = keys.identify(from(""), 0).unwrap();
        assert_eq!((&*local.tenant, &*local.id, local.admin), ("local", "local", true));
        assert!(keys.identify(from("sk-by-habit"), 0).is_ok());
        let away = Caller { loopback: false, ..from("") };
        assert_eq!(keys.identify(away, 0), Err(Refusal::CredentialMissing));

        let (key, _) = key(&Random::seeded(1));
        keys.put(Arc::new(Key { revoked_unix_ms: Some(1), ..key }));
        assert_eq!(
            keys.identify(from(""), 0),
            Err(Refusal::CredentialMissing),
            "a revoked key keeps the door shut"
        );
    }

    #[test]
    fn a_key_ends_at_once_and_only_its_owner_learns_why() {
        let random = Random::seeded(2);
        let (key, text) = key(&random);
        let keys = Keys::new(vec![key.clone()], None);
        assert_eq!(&*keys.identify(from(&text), 0).unwrap().tenant, "acme");
        keys.put(Arc::new(Key { expires_unix_ms: Some(10), ..key.clone() }));
        assert!(keys.identify(from(&text), 9).is_ok());
        assert!(matches!(keys.identify(from(&text), 10), Err(Refusal::CredentialExpired(_))));
        keys.put(Arc::new(Key { revoked_unix_ms: Some(1), ..key.clone() }));
        assert!(matches!(keys.identify(from(&text), 0), Err(Refusal::CredentialRevoked(_))));
        let wrong = format!("sb_{}_wrong", key.id);
        assert_eq!(keys.identify(from(&wrong), 0), Err(Refusal::CredentialInvalid));
    }

    #[test]
    fn a_rotated_key_has_both_secrets_for_a_while() {
        let random = Random::seeded(5);
        let (mut key, old) = key(&random);
        let (_, new) = credential::mint(&random);
        let new = format!("sb_{}_{}", key.id, new.rsplit('_').next().unwrap());
        let hash = Hash::new(Credential::parse(&new).unwrap(), &random);
        let rotate = |overlap_ms| KeyChange::Rotate { hash: hash.clone(), overlap_ms };
        rotate(100).apply(&mut key, 1_000).unwrap();
        let keys = Keys::new(vec![key.clone()], None);
        assert!(keys.identify(from(&new), 1_000).is_ok() && keys.identify(from(&old), 1_099).is_ok());
        assert_eq!(keys.identify(from(&old), 1_100), Err(Refusal::CredentialInvalid));
        KeyChange::Revoke.apply(&mut key, 7).unwrap();
        assert!(rotate(0).apply(&mut key, 8).is_err());
    }

    #[test]
    fn the_first_admin_key_is_a_key_but_not_listed() {
        let random = Random::seeded(3);
        let credential = Credential::parse("sb_admin_0123456789abcdef").unwrap();
        let keys = Keys::new(Vec::new(), Some(Hash::new(credential, &random)));
        assert_eq!(keys.identify(from(""), 0), Err(Refusal::CredentialMissing));
        assert!(keys.identify(from("sb_admin_0123456789abcdef"), 0).unwrap().admin);
        assert!(keys.all().is_empty() && keys.get("admin").is_none());
    }

    #[test]
    fn a_key_bound_to_networks_needs_a_known_peer() {
        let random = Random::seeded(4);
        let (mut key, text) = key(&random);
        key.scope.networks = vec!["10.0.0.0/8".to_owned()];
        let keys = Keys::new(vec![key], None);
        let at = |peer_ip| keys.identify(Caller { peer_ip, ..from(&text) }, 0).is_ok();
        assert!(at("10.1.1.1") && !at("11.1.1.1") && !at(""));
    }

    #[test]
    fn patterns_allow_names_and_prefixes() {
        let patterns = ["fast".to_owned(), "openai/*".to_owned()];
        assert!(allows(&patterns, "fast") && allows(&patterns, "openai/gpt-4.1") && allows(&[], "any"));
        assert!(!allows(&patterns, "faster") && !allows(&patterns, "auto"));
    }
}
