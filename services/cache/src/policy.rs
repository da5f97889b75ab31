//! What a request may do with the cache: its own wishes within its tenant's policy.

use std::sync::Arc;

use signalbox_proto::common::v1::{CachePolicy, cache_policy};

use crate::{
    config::{self, Config, DEFAULT_POLICY, TAG_BYTES, TAGS},
    error::Failure,
};

/// The outcome of policy and wishes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// A miss is an error.
    pub(crate) only_if_cached: bool,
    /// The oldest entry that may answer.
    pub(crate) max_age_ms: u64,
    /// How long the answer is kept.
    pub(crate) ttl_ms: u64,
    /// Whether an answer counts whose time to live is over.
    pub(crate) stale: bool,
    /// For how long after that the answer is kept.
    pub(crate) stale_ms: u64,
    pub(crate) replay_speed: f64,
    /// The alias of the model that is asked about doubtful candidates.
    pub(crate) judge: Option<Arc<str>>,
    pub(crate) shadow_share: f64,
    pub(crate) semantic: bool,
    /// The highest probability of being wrong that a hit by meaning may have.
    pub(crate) max_error: f64,
    /// The least similarity of a hit.
    pub(crate) min_similarity: f64,
    pub(crate) per_user: bool,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) high_temperature: bool,
    pub(crate) time_bound: bool,
    pub(crate) personal: bool,
}

impl Terms {
    /// Joins the policy of that name with a request's wishes, which only ever narrow it.
    ///
    /// # Errors
    /// A policy that is not configured, or a wish out of bounds.
    pub(crate) fn of(config: &Config, name: &str, wishes: Option<&CachePolicy>) -> Result<Self, Failure> {
        let fallback = config::Policy::default();
        let policy = find(config, name, &fallback)?;
        let none = CachePolicy::default();
        let wishes = wishes.unwrap_or(&none);
        let (may_read, may_write) = match policy.mode {
            config::Mode::On => (true, true),
            config::Mode::Off => (false, false),
            config::Mode::Read => (true, false),
            config::Mode::Write => (false, true),
        };
        let (read, write) = wanted(wishes)?;
        let ttl_ms = policy.ttl_ms.unwrap_or(config.exact.ttl_ms);
        let ttl_ms = wishes.ttl_ms.map_or(ttl_ms, |wish| wish.min(ttl_ms));
        let floor = policy.min_similarity.unwrap_or(0.0).max(config.semantic.threshold);
        let wish = fraction("policy.min_similarity", wishes.min_similarity)?.unwrap_or(0.0);
        let max_error = fraction("policy.max_error", wishes.max_error)?
            .unwrap_or(1.0)
            .min(policy.max_error.unwrap_or(config.semantic.max_error));
        Ok(Self {
            read: may_read && read,
            // What would be gone at once is not worth a lease.
            write: may_write && write && ttl_ms > 0,
            only_if_cached: wishes.mode() == cache_policy::Mode::OnlyIfCached,
            max_age_ms: wishes.max_age_ms.unwrap_or(u64::MAX),
            ttl_ms,
            stale: wishes.stale.unwrap_or(true),
            stale_ms: policy.stale_ms,
            replay_speed: speed(wishes.replay_speed)?.unwrap_or(policy.replay_speed),
            judge: policy.judge.as_deref().map(Into::into),
            shadow_share: policy.shadow_share,
            // Similarity is never certain.
            semantic: policy.semantic && wishes.semantic.unwrap_or(true) && max_error > 0.0,
            max_error,
            min_similarity: floor.max(wish),
            per_user: policy.per_user || wishes.per_user.unwrap_or(false),
            tags: merged_tags("policy.tags", policy.tags.iter().chain(&wishes.tags), wishes.tags.len())?,
            high_temperature: policy.semantic_high_temperature,
            time_bound: policy.semantic_time_bound,
            personal: policy.semantic_personal,
        })
    }
}

fn find<'a>(
    config: &'a Config,
    name: &str,
    fallback: &'a config::Policy,
) -> Result<&'a config::Policy, Failure> {
    let name = if name.is_empty() { DEFAULT_POLICY } else { name };
    match config.policies.get(name) {
        Some(policy) => Ok(policy),
        None if name == DEFAULT_POLICY => Ok(fallback),
        None => {
            let name: String = name.chars().take(64).collect();
            let what = format!("`{name}` is not configured; add [cache.policies.{name}] or name another");
            Err(Failure::invalid("policy_name", what))
        }
    }
}

/// Whether a request wants to read, and to write.
fn wanted(wishes: &CachePolicy) -> Result<(bool, bool), Failure> {
    use cache_policy::Mode;
    let Ok(mode) = Mode::try_from(wishes.mode) else {
        return Err(Failure::invalid("policy.mode", "is not a known mode"));
    };
    Ok(match mode {
        Mode::Unspecified | Mode::On => (true, true),
        Mode::Off => (false, false),
        Mode::Read | Mode::OnlyIfCached => (true, false),
        Mode::Write | Mode::Refresh => (false, true),
    })
}

/// Joins labels, each once. `given` is how many of them the request brought.
pub(crate) fn merged_tags<'a>(
    field: &'static str,
    tags: impl Iterator<Item = &'a String>,
    given: usize,
) -> Result<Vec<Arc<str>>, Failure> {
    if given > TAGS {
        return Err(Failure::invalid(field, format!("give at most {TAGS} labels, not {given}")));
    }
    let mut merged: Vec<Arc<str>> = Vec::new();
    for tag in tags {
        if tag.is_empty() || tag.len() > TAG_BYTES {
            return Err(Failure::invalid(field, format!("a label has 1 to {TAG_BYTES} bytes")));
        }
        if !merged.iter().any(|known| **known == **tag) {
            merged.push(tag.as_str().into());
        }
    }
    Ok(merged)
}

fn speed(value: Option<f64>) -> Result<Option<f64>, Failure> {
    if value.is_some_and(|value| !config::is_speed(value)) {
        return Err(Failure::invalid("policy.replay_speed", "must be 0, or between 0.01 and 1,000"));
    }
    Ok(value)
}

fn fraction(field: &'static str, value: Option<f64>) -> Result<Option<f64>, Failure> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Failure::invalid(field, "must be between 0 and 1"))
        }
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "[policies.strict]\nmode = \"read\"\nttl_ms = 1000\nmin_similarity = 0.97\nmax_error = 0.01\n\
                    per_user = true\ntags = [\"all\"]\n[policies.plain]\nsemantic = false";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn wishes_only_narrow() {
        let wide = CachePolicy {
            mode: cache_policy::Mode::On.into(),
            ttl_ms: Some(9_999),
            semantic: Some(true),
            min_similarity: Some(0.5),
            per_user: Some(false),
            tags: vec!["all".into(), "mine".into()],
            ..CachePolicy::default()
        };
        let terms = Terms::of(&config(), "strict", Some(&wide)).unwrap();
        assert!(terms.read && !terms.write && terms.per_user && terms.semantic);
        assert_eq!((terms.ttl_ms, terms.min_similarity), (1_000, 0.97));
        assert_eq!(terms.tags.len(), 2);
        assert!(!Terms::of(&config(), "plain", Some(&wide)).unwrap().semantic);

        let narrow = CachePolicy {
            ttl_ms: Some(5),
            min_similarity: Some(0.99),
            max_error: Some(0.0),
            ..CachePolicy::default()
        };
        let terms = Terms::of(&config(), "", Some(&narrow)).unwrap();
        assert!(terms.read && terms.write && !terms.semantic);
        assert_eq!((terms.ttl_ms, terms.min_similarity), (5, 0.99));
    }

    #[test]
    fn modes() {
        use cache_policy::Mode;
        let of = |mode: Mode| {
            let wishes = CachePolicy { mode: mode.into(), ..CachePolicy::default() };
            let terms = Terms::of(&Config::default(), "", Some(&wishes)).unwrap();
            (terms.read, terms.write, terms.only_if_cached)
        };
        assert_eq!(of(Mode::Unspecified), (true, true, false));
        assert_eq!(of(Mode::On), (true, true, false));
        assert_eq!(of(Mode::Off), (false, false, false));
        assert_eq!(of(Mode::Read), (true, false, false));
        assert_eq!(of(Mode::Write), (false, true, false));
        assert_eq!(of(Mode::Refresh), (false, true, false));
        assert_eq!(of(Mode::OnlyIfCached), (true, false, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |wishes: CachePolicy| match Terms::of(&Config::default(), "", Some(&wishes)) {
            Err(Failure::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            wrong(CachePolicy { min_similarity: Some(f64::NAN), ..CachePolicy::default() }),
            "policy.min_similarity"
        );
        assert_eq!(
            wrong(CachePolicy { max_error: Some(-0.1), ..CachePolicy::default() }),
            "policy.max_error"
        );
        assert_eq!(
            wrong(CachePolicy { tags: vec!["x".repeat(65)], ..CachePolicy::default() }),
            "policy.tags"
        );
        assert_eq!(
            wrong(CachePolicy { tags: vec!["x".into(); 17], ..CachePolicy::default() }),
            "policy.tags"
        );
        assert_eq!(
            wrong(CachePolicy { replay_speed: Some(f64::NAN), ..CachePolicy::default() }),
            "policy.replay_speed"
        );
        assert_eq!(wrong(CachePolicy { mode: 99, ..CachePolicy::default() }), "policy.mode");
        let unknown = Terms::of(&Config::default(), "gold", None).unwrap_err().to_string();
        assert!(unknown.contains("[cache.policies.gold]"), "{unknown}");
    }
}
