//! Experiments: which arm of a split a request falls into, and which copies are sent beside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use signalbox_proto::router::v1::Candidate;

use crate::{
    hash::{digest, rendezvous, uniform},
    pattern::covers,
    rules::Facts,
};

/// Copies of one request at most; the contract's bound.
pub(crate) const SHADOWS: usize = 2;

/// A split of requests among arms: an A/B test, or a canary with a small weight. Each key stays in its arm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The aliases that it is about, `auto` among them, as patterns with a trailing `*`. A request that names a target itself, or a policy
    /// of its own, takes no part.
    pub models: Vec<String>,
    /// The tenants that it is about. Empty: all.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// What falls into an arm as a whole. Default `request`.
    #[serde(default)]
    pub key: SplitBy,
    /// The arms, at least two. The first is what the others are compared with.
    pub arms: Vec<Arm>,
}

impl Experiment {
    /// Whether an arm uses a policy.
    pub(crate) fn names(&self, policy: &str) -> bool {
        self.arms.iter().any(|arm| arm.policy.as_deref() == Some(policy))
    }
}

/// An arm of an experiment. Without `policy` and `targets` it is what happens without the experiment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name, unique within the experiment, `[a-zA-Z0-9._-]{1,64}`.
    pub name: String,
    /// Its share of keys, in proportion to the others'. Changing it moves no more keys than it must.
    pub weight: f64,
    /// The policy in place of the one that would decide.
    pub policy: Option<String>,
    /// Targets that go first, as patterns; the others stay behind them as a way out.
    #[serde(default)]
    pub targets: Vec<String>,
}

/// What falls into an arm as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// Each request for itself.
    #[default]
    Request,
    /// The end user; requests without one take no part.
    User,
    /// The conversation; requests without one take no part.
    Conversation,
    /// The organisation.
    Tenant,
    /// The value of a tag: `{ tag = "plan" }`. Requests without it take no part.
    Tag(String),
}

/// A sampled copy of requests to another target, whose answer is recorded and priced, and seen by nobody. The tenant pays for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The aliases that are copied, `auto` among them, as patterns with a trailing `*`.
    pub models: Vec<String>,
    /// The tenants whose requests are copied. Empty: all.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Where the copy goes, as `provider/model` of a configured target.
    pub target: String,
    /// The share of requests that is copied, 0 to 1.
    pub share: f64,
}

/// The arm that a request fell into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned<'a> {
    pub(crate) experiment: &'a str,
    pub(crate) arm: &'a Arm,
}

/// Finds the experiment that a request is part of, by name the first, and its arm. `recorded` is the experiment, arm and unit of a request
/// that is planned again: it stays where it was, if that is still there.
pub(crate) fn assign<'a>(
    experiments: &'a BTreeMap<String, Experiment>,
    model: &str,
    facts: &Facts<'_>,
    recorded: Option<(&str, &str)>,
) -> Option<(Assigned<'a>, String)> {
    let concerned = |e: &&'a Experiment| {
        names(&e.models, model) && (e.tenants.is_empty() || names(&e.tenants, facts.tenant))
    };
    experiments.iter().filter(|(_, e)| concerned(e)).find_map(|(name, experiment)| {
        let unit = digest(facts.tenant, experiment.key.of(facts)?);
        let same = recorded.filter(|(known, _)| known == name).map(|(_, arm)| arm);
        let same = same.and_then(|arm| experiment.arms.iter().find(|a| a.name == arm));
        // The unit alone would put a user into like arms of all experiments.
        let key = format!("{name}\0{unit}");
        let score = |arm: &Arm| rendezvous(&key, &arm.name, arm.weight);
        let arms = experiment.arms.iter().filter(|arm| arm.weight > 0.0);
        let arm = same.or_else(|| arms.max_by(|a, b| score(a).total_cmp(&score(b))))?;
        Some((Assigned { experiment: name, arm }, unit))
    })
}

/// The shadows that a request is copied to: their names and targets.
pub(crate) fn shadows<'a>(
    shadows: &'a BTreeMap<String, Shadow>,
    model: &str,
    facts: &Facts<'_>,
) -> impl Iterator<Item = (&'a str, &'a Shadow)> {
    shadows
        .iter()
        .filter(move |(name, shadow)| {
            names(&shadow.models, model)
                && (shadow.tenants.is_empty() || names(&shadow.tenants, facts.tenant))
                && uniform(facts.request_id, name) < shadow.share
        })
        .map(|(name, shadow)| (name.as_str(), shadow))
        .take(SHADOWS)
}

fn names(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| covers(pattern, name))
}

impl SplitBy {
    /// The key of a request; `None`: it has none.
    fn of<'a>(&self, facts: &Facts<'a>) -> Option<&'a str> {
        let text = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        match self {
            Self::Request => Some(facts.request_id),
            Self::Tenant => Some(facts.tenant),
            Self::User => text(&facts.attribution.user),
            Self::Conversation => text(&facts.attribution.conversation_id),
            Self::Tag(name) => facts.attribution.tags.get(name).map(String::as_str),
        }
    }
}

impl Assigned<'_> {
    /// What puts its targets first, for a reason.
    pub(crate) fn told(&self) -> String {
        format!("arm {} of the experiment {}", self.arm.name, self.experiment)
    }
}

/// The reason of a copy.
pub(crate) fn explain(mut candidate: Candidate, name: &str, shadow: &Shadow) -> Candidate {
    candidate.reason = format!("shadow {name}: a copy of {:.2} % of requests", shadow.share * 100.0);
    candidate
}

impl Experiment {
    /// Checks what the types cannot say; `key` is its place in the configuration.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub(crate) fn validate(&self, key: &str) -> Result<(), String> {
        if self.models.is_empty() {
            return Err(format!(
                "{key}.models is empty; name the aliases that it is about, or [\"*\"] for all"
            ));
        }
        if self.arms.len() < 2 {
            return Err(format!("{key}.arms has fewer than two arms; nothing could be compared"));
        }
        for (at, arm) in self.arms.iter().enumerate() {
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if arm.name.is_empty() || arm.name.len() > 64 || !arm.name.bytes().all(legal) {
                return Err(format!("{key}.arms[{at}].name must have 1 to 64 of a-z A-Z 0-9 . _ -"));
            }
            if self.arms[..at].iter().any(|other| other.name == arm.name) {
                return Err(format!(
                    "{key}.arms[{at}].name `{}` is there twice; each arm needs its own",
                    arm.name
                ));
            }
            if !arm.weight.is_finite() || arm.weight < 0.0 {
                return Err(format!("{key}.arms[{at}].weight is {}; give 0 or more", arm.weight));
            }
            if arm.policy.is_some() && !arm.targets.is_empty() {
                return Err(format!("{key}.arms[{at}] has both policy and targets; keep one"));
            }
        }
        if !self.arms.iter().any(|arm| arm.weight > 0.0) {
            return Err(format!("{key}.arms have no weight above 0; give each arm its share"));
        }
        Ok(())
    }
}

impl Shadow {
    /// As [`Experiment::validate`].
    pub(crate) fn validate(&self, key: &str) -> Result<(), String> {
        if self.models.is_empty() {
            return Err(format!(
                "{key}.models is empty; name the aliases that are copied, or [\"*\"] for all"
            ));
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Err(format!("{key}.share is {}; give a share from 0 to 1, for example 0.02", self.share));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::Attribution;

    use super::*;

    fn arm(name: &str, weight: f64) -> Arm {
        Arm { name: name.into(), weight, policy: None, targets: Vec::new() }
    }

    fn experiment(key: SplitBy, weights: &[(&str, f64)]) -> BTreeMap<String, Experiment> {
        let arms = weights.iter().map(|(name, weight)| arm(name, *weight)).collect();
        let one = Experiment { models: vec!["fast".into()], tenants: Vec::new(), key, arms };
        BTreeMap::from([("x".to_owned(), one)])
    }

    fn arm_of(experiments: &BTreeMap<String, Experiment>, user: &str, request_id: &str) -> Option<String> {
        let user = Some(user.to_owned()).filter(|user| !user.is_empty());
        let attribution = Attribution { user, ..Attribution::default() };
        let facts = Facts { request_id, ..Facts::nothing(&attribution) };
        assign(experiments, "fast", &facts, None).map(|(assigned, _)| assigned.arm.name.clone())
    }

    #[test]
    fn a_user_stays_in_an_arm_and_the_shares_are_kept() {
        let by_user = experiment(SplitBy::User, &[("a", 9.0), ("b", 1.0)]);
        let users: Vec<String> = (0..10_000).map(|n: u32| n.to_string()).collect();
        let arms: Vec<String> = users.iter().map(|user| arm_of(&by_user, user, "r-1").unwrap()).collect();
        assert!(
            users.iter().zip(&arms).all(|(user, arm)| arm_of(&by_user, user, "r-2").as_ref() == Some(arm))
        );
        let canary = arms.iter().filter(|arm| *arm == "b").count();
        assert!((900..1_100).contains(&canary), "{canary} of 10,000, a tenth");
        assert_eq!(arm_of(&by_user, "", "r-1"), None, "who has no key takes no part");

        // A larger share takes users in, and gives none away.
        let grown = experiment(SplitBy::User, &[("a", 9.0), ("b", 3.0)]);
        assert!(
            users
                .iter()
                .zip(&arms)
                .all(|(user, arm)| arm == "a" || arm_of(&grown, user, "r").as_deref() == Some("b"))
        );
        // And another experiment cuts across.
        let other = BTreeMap::from([("y".to_owned(), by_user["x"].clone())]);
        let both = users
            .iter()
            .zip(&arms)
            .filter(|(u, arm)| *arm == "b" && arm_of(&other, u, "r").as_deref() == Some("b"));
        assert!(both.count() < 200, "a hundredth of 10,000, not a tenth");
    }

    #[test]
    fn a_request_that_is_planned_again_stays_in_its_arm() {
        let experiments = experiment(SplitBy::Request, &[("a", 1.0), ("b", 0.0)]);
        let attribution = Attribution::default();
        let facts = Facts { request_id: "r", ..Facts::nothing(&attribution) };
        let arm = |recorded| assign(&experiments, "fast", &facts, recorded).unwrap().0.arm.name.clone();
        assert_eq!(
            (arm(None), arm(Some(("x", "b"))), arm(Some(("x", "gone")))),
            ("a".into(), "b".into(), "a".into())
        );
        assert!(assign(&experiments, "slow", &facts, None).is_none());
    }

    #[test]
    fn the_sampled_share_is_kept() {
        let shadow =
            Shadow { models: vec!["*".into()], tenants: Vec::new(), target: "p/a".into(), share: 0.05 };
        let all = BTreeMap::from([("s".to_owned(), shadow)]);
        let attribution = Attribution::default();
        let copied = |n: u32| {
            let request_id = n.to_string();
            let facts = Facts { request_id: &request_id, ..Facts::nothing(&attribution) };
            shadows(&all, "fast", &facts).count()
        };
        let count: usize = (0..10_000).map(copied).sum();
        assert!((430..570).contains(&count), "{count} of 10,000, a twentieth");
    }
}
