//! The audit log: who changed which key, budget or limit, and to what. It holds no secret.

use serde::Serialize;

use crate::{budget::Budget, keys::Key, limit::Limit};

/// Who changes something: an admin key's id, or this.
pub(crate) const CONFIGURATION: &str = "configuration";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at_unix_ms: i64,
    pub(crate) tenant: String,
    pub(crate) actor: String,
    /// For example `key.create`.
    pub(crate) action: String,
    pub(crate) subject: String,
    /// What it is now, as JSON.
    pub(crate) detail: String,
}

/// A question about changes, newest first.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Empty: all.
    pub(crate) tenant: String,
    pub(crate) before_unix_ms: i64,
    pub(crate) limit: usize,
}

impl Change {
    /// A change of a key.
    pub(crate) fn of_key(action: &str, key: &Key, actor: &str, now: i64) -> Self {
        #[derive(Serialize)]
        struct Detail<'a> {
            name: &'a str,
            admin: bool,
            models: &'a [String],
            features: &'a [String],
            networks: &'a [String],
            team: Option<&'a str>,
            expires_unix_ms: Option<i64>,
            revoked_unix_ms: Option<i64>,
        }
        let detail = Detail {
            name: &key.name,
            admin: key.admin,
            models: &key.scope.models,
            features: &key.scope.features,
            networks: &key.scope.networks,
            team: key.scope.team.as_deref(),
            expires_unix_ms: key.expires_unix_ms,
            revoked_unix_ms: key.revoked_unix_ms,
        };
        let detail = serde_json::to_string(&detail).unwrap_or_default();
        Self::new(&format!("key.{action}"), &key.tenant, actor, key.id.as_ref().to_owned(), detail, now)
    }

    /// A change of a budget.
    pub(crate) fn of_budget(action: &str, budget: &Budget, actor: &str, now: i64) -> Self {
        let terms = budget.terms.to_json().unwrap_or_default();
        let detail = format!("{{\"name\":\"{}\",\"terms\":{terms}}}", budget.terms.name);
        Self::new(
            &format!("budget.{action}"),
            &budget.terms.tenant,
            actor,
            budget.id.to_string(),
            detail,
            now,
        )
    }

    /// A change of a limit.
    pub(crate) fn of_limit(action: &str, limit: &Limit, actor: &str, now: i64) -> Self {
        let rate = serde_json::to_string(&limit.terms.rate).unwrap_or_default();
        let detail = format!("{{\"name\":\"{}\",\"rate\":{rate}}}", limit.terms.name);
        Self::new(&format!("limit.{action}"), &limit.terms.tenant, actor, limit.id.to_string(), detail, now)
    }

    fn new(action: &str, tenant: &str, actor: &str, subject: String, detail: String, now: i64) -> Self {
        Self {
            at_unix_ms: now,
            tenant: tenant.to_owned(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject,
            detail,
        }
    }
}
