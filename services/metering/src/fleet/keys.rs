//! Keys over Redis: every replica has all of them in memory and hears of each change within a beat.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Fleet, TRIES,
    link::Away,
    script::{self, Call, Reply},
};
use crate::{
    audit::{Change, Look},
    credential::Hash,
    keys::{Key, KeyChange, KeyScope, OldSecret},
    refusal::Refusal,
};

/// Changes that are kept at least.
const CHANGES: &str = "1000000";

/// The stored form of a key.
#[derive(Serialize, Deserialize)]
struct Form {
    tenant: String,
    name: String,
    admin: bool,
    /// Salt and digest, in hexadecimal.
    hash: (String, String),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<((String, String), i64)>,
    models: Vec<String>,
    features: Vec<String>,
    networks: Vec<String>,
    policies: [Option<String>; 3],
    team: Option<String>,
    created_unix_ms: i64,
    expires_unix_ms: Option<i64>,
    revoked_unix_ms: Option<i64>,
}

fn hash_text(hash: &Hash) -> (String, String) {
    (hex::encode(hash.salt), hex::encode(hash.digest))
}

fn hash_of((salt, digest): &(String, String)) -> Option<Hash> {
    let (mut hash, decoded) = (Hash { salt: [0; 16], digest: [0; 32] }, hex::decode(digest).ok()?);
    hex::decode_to_slice(salt, &mut hash.salt).ok()?;
    hash.digest = decoded.try_into().ok()?;
    Some(hash)
}

fn text(key: &Key) -> Result<String, Refusal> {
    let scope = &key.scope;
    let form = Form {
        tenant: key.tenant.as_ref().to_owned(),
        name: key.name.clone(),
        admin: key.admin,
        hash: hash_text(&key.hash),
        old: key.old.as_ref().map(|old| (hash_text(&old.hash), old.until_unix_ms)),
        models: scope.models.clone(),
        features: scope.features.clone(),
        networks: scope.networks.clone(),
        policies: [scope.guard_policy.clone(), scope.cache_policy.clone(), scope.route_policy.clone()],
        team: scope.team.as_deref().map(str::to_owned),
        created_unix_ms: key.created_unix_ms,
        expires_unix_ms: key.expires_unix_ms,
        revoked_unix_ms: key.revoked_unix_ms,
    };
    serde_json::to_string(&form).map_err(|_| Refusal::Unreadable)
}

fn read(id: &str, text: &str) -> Option<Key> {
    let form: Form = serde_json::from_str(text).ok()?;
    let [guard_policy, cache_policy, route_policy] = form.policies;
    let old = match &form.old {
        Some((hash, until_unix_ms)) => {
            Some(OldSecret { hash: hash_of(hash)?, until_unix_ms: *until_unix_ms })
        }
        None => None,
    };
    Some(Key {
        id: id.into(),
        tenant: form.tenant.into(),
        name: form.name,
        admin: form.admin,
        hash: hash_of(&form.hash)?,
        old,
        scope: KeyScope {
            models: form.models,
            features: form.features,
            networks: form.networks,
            guard_policy,
            cache_policy,
            route_policy,
            team: form.team.map(Arc::from),
        },
        created_unix_ms: form.created_unix_ms,
        expires_unix_ms: form.expires_unix_ms,
        revoked_unix_ms: form.revoked_unix_ms,
    })
}

impl Fleet {
    /// Reads what changed since the last time.
    pub(super) async fn follow_keys(&self) -> Result<(), Away> {
        let all = self.all();
        let known = *self.0.keys_version.lock();
        let version = self.command("GET", &format!("{all}keys-version"), &[]).await?.number();
        if version == known {
            return Ok(());
        }
        // A version before ours: Redis lost what it had, or is another one. All is read then.
        let since = if version < known { "-inf".to_owned() } else { format!("({known}") };
        let changed =
            self.command("ZRANGEBYSCORE", &format!("{all}keys-changed"), &[&since, "+inf"]).await?.texts();
        for ids in changed.chunks(1_000) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let texts = self.command("HMGET", &format!("{all}keys"), &ids).await?.texts();
            for (id, text) in ids.into_iter().zip(texts) {
                match read(id, &text) {
                    Some(key) => self.0.keys.put(Arc::new(key)),
                    None => tracing::error!(key = id, "a key is unreadable and is left as it was"),
                }
            }
        }
        *self.0.keys_version.lock() = version;
        Ok(())
    }

    pub(super) async fn add_key(&self, key: Key, actor: &str) -> Result<Arc<Key>, Refusal> {
        match self.write_key(&key, "").await?.as_str() {
            "ok" => {}
            "full" => {
                return Err(Refusal::invalid("key", "there are too many; raise metering.store.max_keys"));
            }
            _ => return Err(Refusal::Exists { kind: "key", name: key.id.as_ref().to_owned() }),
        }
        self.note(&Change::of_key("create", &key, actor, self.now())).await?;
        let key = Arc::new(key);
        self.0.keys.put(Arc::clone(&key));
        Ok(key)
    }

    pub(super) async fn alter_key(
        &self,
        id: &str,
        change: &KeyChange,
        actor: &str,
    ) -> Result<Arc<Key>, Refusal> {
        for _ in 0..TRIES {
            let before = self.command("HGET", &format!("{}keys", self.all()), &[id]).await?.text();
            if before.is_empty() {
                return Err(Refusal::NotFound { kind: "key", id: id.chars().take(64).collect() });
            }
            let mut key = read(id, &before).ok_or(Refusal::Unreadable)?;
            change.clone().apply(&mut key, self.now())?;
            if self.write_key(&key, &before).await? != "ok" {
                continue;
            }
            self.note(&Change::of_key(change.name(), &key, actor, self.now())).await?;
            let key = Arc::new(key);
            self.0.keys.put(Arc::clone(&key));
            return Ok(key);
        }
        Err(Refusal::Overloaded)
    }

    async fn write_key(&self, key: &Key, before: &str) -> Result<String, Refusal> {
        let call = Call::new(&self.all(), self.now()).with(&*key.id).with(before).with(text(key)?);
        let call = call.with(self.0.config.store.max_keys);
        Ok(Reply::of(call.run(&self.0.link, &script::PUT_KEY).await?).text())
    }

    /// Adds a change to the audit log.
    pub(super) async fn note(&self, change: &Change) -> Result<(), Away> {
        let Change { at_unix_ms, tenant, actor, action, subject, detail } = change;
        let at = at_unix_ms.to_string();
        let fields = [
            "at", &at, "tenant", tenant, "actor", actor, "action", action, "subject", subject, "detail",
            detail,
        ];
        let arguments = [&["MAXLEN", "~", CHANGES, "*"][..], &fields[..]].concat();
        self.command("XADD", &format!("{}audit", self.all()), &arguments).await.map(drop)
    }

    pub(super) async fn changes(&self, look: Look) -> Result<Vec<Change>, Refusal> {
        let key = format!("{}audit", self.all());
        let (mut found, mut end) = (Vec::new(), "+".to_owned());
        loop {
            let mut entries = self.command("XREVRANGE", &key, &[&end, "-", "COUNT", "500"]).await?;
            if entries.is_empty() {
                return Ok(found);
            }
            while !entries.is_empty() {
                let mut entry = entries.list();
                end = format!("({}", entry.text());
                let mut fields = entry.list();
                let mut next = || {
                    let _name = fields.text();
                    fields.text()
                };
                let at_unix_ms = next().parse().unwrap_or(0);
                let (tenant, actor, action, subject, detail) = (next(), next(), next(), next(), next());
                let wanted = look.tenant.is_empty() || look.tenant == tenant;
                if wanted && at_unix_ms < look.before_unix_ms {
                    found.push(Change { at_unix_ms, tenant, actor, action, subject, detail });
                }
                if found.len() >= look.limit {
                    return Ok(found);
                }
            }
        }
    }
}
