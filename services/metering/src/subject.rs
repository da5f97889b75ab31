//! On whose behalf and what for: what budgets are scoped by and usage is grouped by.

use std::{collections::BTreeMap, sync::Arc};

/// Who asks, what for, and for which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) tenant: Arc<str>,
    pub(crate) principal: Arc<str>,
    pub(crate) team: Option<Arc<str>>,
    pub(crate) user: Option<String>,
    pub(crate) feature: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The alias that was asked for.
    pub(crate) model: String,
}

/// The part of a tenant's traffic that counts against a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Principal(String),
    Team(String),
    User(String),
    Feature(String),
    Model(String),
    Tag { key: String, value: String },
}

impl Scope {
    /// Whether a request counts.
    pub(crate) fn covers(&self, subject: &Subject) -> bool {
        match self {
            Self::All => true,
            Self::Principal(value) => *value == *subject.principal,
            Self::Team(value) => subject.team.as_deref() == Some(value),
            Self::User(value) => subject.user.as_ref() == Some(value),
            Self::Feature(value) => subject.feature.as_ref() == Some(value),
            Self::Model(value) => *value == subject.model,
            Self::Tag { key, value } => subject.tags.get(key) == Some(value),
        }
    }

    /// The column that holds the dimension, the value, and the tag's key: the form in the database.
    pub(crate) fn parts(&self) -> (&'static str, &str, &str) {
        match self {
            Self::All => ("", "", ""),
            Self::Principal(value) => ("principal", value, ""),
            Self::Team(value) => ("team", value, ""),
            Self::User(value) => ("user", value, ""),
            Self::Feature(value) => ("feature", value, ""),
            Self::Model(value) => ("requested_model", value, ""),
            Self::Tag { key, value } => ("tag", value, key),
        }
    }

    /// Reads the form in the database.
    pub(crate) fn of(dimension: &str, value: String, key: String) -> Option<Self> {
        Some(match dimension {
            "" => Self::All,
            "principal" => Self::Principal(value),
            "team" => Self::Team(value),
            "user" => Self::User(value),
            "feature" => Self::Feature(value),
            "requested_model" => Self::Model(value),
            "tag" => Self::Tag { key, value },
            _ => return None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A subject for tests.
    pub(crate) fn subject(tenant: &str, principal: &str) -> Subject {
        Subject {
            tenant: tenant.into(),
            principal: principal.into(),
            team: None,
            user: None,
            feature: None,
            tags: BTreeMap::new(),
            model: "fast".to_owned(),
        }
    }

    #[test]
    fn scopes_survive_the_database_and_cover_only_their_own() {
        let mut who = subject("acme", "k1");
        who.team = Some("search".into());
        who.user = Some("u".to_owned());
        who.feature = Some("summary".to_owned());
        who.tags.insert("env".to_owned(), "prod".to_owned());
        let scopes = [
            Scope::All,
            Scope::Principal("k1".to_owned()),
            Scope::Team("search".to_owned()),
            Scope::User("u".to_owned()),
            Scope::Feature("summary".to_owned()),
            Scope::Model("fast".to_owned()),
            Scope::Tag { key: "env".to_owned(), value: "prod".to_owned() },
        ];
        let other = subject("acme", "k2");
        for scope in scopes {
            assert!(scope.covers(&who), "{scope:?}");
            let only_all = matches!(scope, Scope::All | Scope::Model(_));
            assert_eq!(scope.covers(&other), only_all, "{scope:?}");
            let (dimension, value, key) = scope.parts();
            assert_eq!(Scope::of(dimension, value.to_owned(), key.to_owned()), Some(scope));
        }
    }
}
