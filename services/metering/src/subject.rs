//! On whose behalf and what for: what budgets are scoped by and usage is grouped by.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// Who asks, what for, and for which model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SubjectForm", into = "SubjectForm")]
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

/// The stored form of a [`Subject`].
#[derive(Clone, Serialize, Deserialize)]
struct SubjectForm {
    tenant: String,
    principal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feature: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    model: String,
}

impl From<Subject> for SubjectForm {
    fn from(subject: Subject) -> Self {
        Self {
            tenant: subject.tenant.as_ref().to_owned(),
            principal: subject.principal.as_ref().to_owned(),
            team: subject.team.as_deref().map(str::to_owned),
            user: subject.user,
            feature: subject.feature,
            tags: subject.tags,
            model: subject.model,
        }
    }
}

impl From<SubjectForm> for Subject {
    fn from(form: SubjectForm) -> Self {
        Self {
            tenant: form.tenant.into(),
            principal: form.principal.into(),
            team: form.team.map(Arc::from),
            user: form.user,
            feature: form.feature,
            tags: form.tags,
            model: form.model,
        }
    }
}

/// Something of a request that is known before it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Facet {
    Principal,
    Team,
    User,
    Feature,
    Model,
    Tag(String),
}

impl Facet {
    /// What a request has there; `None` for nothing.
    pub(crate) fn of<'a>(&self, subject: &'a Subject) -> Option<&'a str> {
        match self {
            Self::Principal => Some(&subject.principal),
            Self::Team => subject.team.as_deref(),
            Self::User => subject.user.as_deref(),
            Self::Feature => subject.feature.as_deref(),
            Self::Model => Some(&subject.model),
            Self::Tag(key) => subject.tags.get(key).map(String::as_str),
        }
    }
}

/// The part of a tenant's traffic that counts against a budget or a limit: all of it, or what has all of these values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Scope(pub(crate) Vec<(Facet, String)>);

impl Scope {
    /// Whether a request counts.
    pub(crate) fn covers(&self, subject: &Subject) -> bool {
        self.0.iter().all(|(facet, value)| facet.of(subject) == Some(value))
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
    fn a_scope_covers_what_has_all_of_its_values_and_survives_its_stored_form() {
        let mut who = subject("acme", "k1");
        who.team = Some("search".into());
        who.user = Some("u".to_owned());
        who.feature = Some("summary".to_owned());
        who.tags.insert("env".to_owned(), "prod".to_owned());
        let one = |facet: Facet, value: &str| (facet, value.to_owned());
        let values = [
            one(Facet::Principal, "k1"),
            one(Facet::Team, "search"),
            one(Facet::User, "u"),
            one(Facet::Feature, "summary"),
            one(Facet::Tag("env".to_owned()), "prod"),
        ];
        let other = subject("acme", "k2");
        assert!(Scope::default().covers(&other));
        for value in &values {
            let scope = Scope(vec![value.clone()]);
            assert!(scope.covers(&who) && !scope.covers(&other), "{scope:?}");
        }
        let all = Scope(values.to_vec());
        assert!(all.covers(&who));
        who.user = None;
        assert!(!all.covers(&who), "all of them must hold");
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&text).unwrap(), all);
        let text = serde_json::to_string(&who).unwrap();
        assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), who);
    }
}
