//! From the contract's types to ours: illegal values end here.

use std::{collections::BTreeMap, sync::Arc};

use signalbox_proto::common::v1::Attribution;
use signalbox_proto::metering::v1 as proto;

use crate::{
    budget::{Terms, Unit},
    keys::KeyScope,
    network::Network,
    period::{self, Period},
    query::{Dimension, Question},
    refusal::Refusal,
    subject::{Scope, Subject},
};

const NAME_BYTES: usize = 64;
const USER_BYTES: usize = 256;
const TAGS: usize = 16;
const LIST: usize = 256;
const GROUP_BY: usize = 4;
const FILTERS: usize = 16;
/// Rows of a question that does not say how many.
const ROWS: u32 = 1_000;
/// Rows at most.
const MAX_ROWS: u32 = 100_000;

/// A text that must be there and has at most so many bytes.
pub(crate) fn bounded<'a>(field: &str, text: &'a str, most: usize) -> Result<&'a str, Refusal> {
    match text.len() {
        0 => Err(Refusal::invalid(field, "is required")),
        bytes if bytes > most => {
            Err(Refusal::invalid(field, format!("has {bytes} bytes; at most {most} are allowed")))
        }
        _ => Ok(text),
    }
}

/// A tenant's name.
pub(crate) fn tenant(field: &str, text: &str) -> Result<Arc<str>, Refusal> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let legal = text.len() <= NAME_BYTES
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-'));
    if legal { Ok(text.into()) } else { Err(Refusal::invalid(field, "must match [a-z0-9][a-z0-9._-]{0,63}")) }
}

fn name(field: &str, text: &str) -> Result<String, Refusal> {
    let legal = (1..=NAME_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if legal { Ok(text.to_owned()) } else { Err(Refusal::invalid(field, "must match [a-zA-Z0-9._-]{1,64}")) }
}

/// Who asks, as the request names them beside its key.
pub(crate) fn subject(
    tenant: Arc<str>,
    principal: Arc<str>,
    team: Option<Arc<str>>,
    attribution: Option<Attribution>,
    model: String,
) -> Result<Subject, Refusal> {
    let Attribution { user, feature, tags, .. } = attribution.unwrap_or_default();
    if let Some(user) = &user {
        bounded("attribution.user", user, USER_BYTES)?;
    }
    let feature = feature.map(|feature| name("attribution.feature", &feature)).transpose()?;
    if tags.len() > TAGS {
        return Err(Refusal::invalid(
            "attribution.tags",
            format!("has {} tags; at most {TAGS} are allowed", tags.len()),
        ));
    }
    for (key, value) in &tags {
        bounded("attribution.tags", key, NAME_BYTES)?;
        if value.len() > USER_BYTES {
            return Err(Refusal::invalid(
                "attribution.tags",
                format!("a value is longer than {USER_BYTES} bytes"),
            ));
        }
    }
    let tags: BTreeMap<String, String> = tags.into_iter().collect();
    Ok(Subject { tenant, principal, team, user, feature, tags, model })
}

/// What a key may be used for.
pub(crate) fn key_scope(key: &proto::Key) -> Result<KeyScope, Refusal> {
    let list = |field: &str, values: &[String]| {
        if values.len() > LIST {
            return Err(Refusal::invalid(
                field,
                format!("has {} entries; at most {LIST} are allowed", values.len()),
            ));
        }
        values.iter().try_for_each(|value| bounded(field, value, USER_BYTES).map(drop))?;
        Ok(values.to_vec())
    };
    let policy = |field: &str, value: &Option<String>| {
        value.as_ref().map(|value| bounded(field, value, NAME_BYTES).map(str::to_owned)).transpose()
    };
    let networks = list("key.allowed_networks", &key.allowed_networks)?;
    if let Some(wrong) = networks.iter().find(|network| network.parse::<Network>().is_err()) {
        return Err(Refusal::invalid(
            "key.allowed_networks",
            format!("`{wrong}` is no network; write 10.0.0.0/8"),
        ));
    }
    Ok(KeyScope {
        models: list("key.allowed_models", &key.allowed_models)?,
        features: list("key.allowed_features", &key.allowed_features)?,
        networks,
        guard_policy: policy("key.guard_policy", &key.guard_policy)?,
        cache_policy: policy("key.cache_policy", &key.cache_policy)?,
        route_policy: policy("key.route_policy", &key.route_policy)?,
        team: key.team.as_ref().map(|team| name("key.team", team).map(Arc::from)).transpose()?,
    })
}

/// A key's name for people.
pub(crate) fn key_name(key: &proto::Key) -> Result<String, Refusal> {
    bounded("key.name", &key.name, 128).map(str::to_owned)
}

/// What a budget bounds.
pub(crate) fn terms(budget: &proto::Budget) -> Result<Terms, Refusal> {
    let (unit, limit) = match (budget.limit_nanousd, budget.limit_tokens) {
        (Some(nanousd), None) => (Unit::Nanousd, nanousd),
        (None, Some(tokens)) => (Unit::Tokens, i64::try_from(tokens).unwrap_or(-1)),
        _ => {
            return Err(Refusal::invalid(
                "budget.limit_nanousd",
                "set exactly one of limit_nanousd and limit_tokens",
            ));
        }
    };
    if !(0..=i64::MAX / 1_000).contains(&limit) {
        return Err(Refusal::invalid(
            "budget.limit_nanousd",
            format!("set it between 0 and {}", i64::MAX / 1_000),
        ));
    }
    if budget.carry_over {
        return Err(Refusal::NotSupported(
            "budget.carry_over is not supported by this build; leave it out".to_owned(),
        ));
    }
    let period = match budget.period() {
        proto::BudgetPeriod::Unspecified => return Err(Refusal::invalid("budget.period", "is required")),
        proto::BudgetPeriod::Total => Period::Total,
        proto::BudgetPeriod::Hour => Period::Hour,
        proto::BudgetPeriod::Day => Period::Day,
        proto::BudgetPeriod::Week => Period::Week,
        proto::BudgetPeriod::Month => Period::Month,
    };
    let zone = period::zone(&budget.time_zone);
    let what = "is not a known time zone; give an IANA name such as Europe/Berlin";
    Ok(Terms {
        tenant: tenant("budget.tenant", &budget.tenant)?,
        name: name("budget.name", &budget.name)?,
        unit,
        limit,
        period,
        zone: zone.ok_or_else(|| Refusal::invalid("budget.time_zone", what))?,
        zone_name: budget.time_zone.clone(),
        hard: budget.hard,
        shadow: budget.shadow,
        scope: budget.scope.as_ref().map_or(Ok(Scope::All), scope)?,
    })
}

fn scope(filter: &proto::UsageFilter) -> Result<Scope, Refusal> {
    use proto::UsageDimension as D;
    let value = bounded("budget.scope.value", &filter.value, USER_BYTES)?.to_owned();
    Ok(match filter.dimension() {
        D::Principal => Scope::Principal(value),
        D::Team => Scope::Team(value),
        D::User => Scope::User(value),
        D::Feature => Scope::Feature(value),
        D::RequestedModel => Scope::Model(value),
        D::Tag => {
            let key = filter.tag_key.as_deref().unwrap_or_default();
            Scope::Tag { key: bounded("budget.scope.tag_key", key, NAME_BYTES)?.to_owned(), value }
        }
        D::Unspecified | D::Tenant | D::Target | D::Cache | D::Outcome => {
            let what = "a budget can be scoped to a principal, team, user, feature, requested model or tag: \
                        what is known before the request";
            return Err(Refusal::invalid("budget.scope.dimension", what));
        }
    })
}

/// A question about usage.
pub(crate) fn question(request: &proto::QueryUsageRequest, now: i64) -> Result<Question, Refusal> {
    if request.group_by.len() > GROUP_BY {
        return Err(Refusal::invalid("group_by", format!("at most {GROUP_BY} dimensions are allowed")));
    }
    if request.filters.len() > FILTERS {
        return Err(Refusal::invalid("filters", format!("at most {FILTERS} filters are allowed")));
    }
    if request.step_ms < 0 {
        return Err(Refusal::invalid("step_ms", "must not be negative"));
    }
    let to_unix_ms = if request.to_unix_ms == 0 { now.saturating_add(1) } else { request.to_unix_ms };
    if to_unix_ms < request.from_unix_ms {
        return Err(Refusal::invalid("to_unix_ms", "must not be before from_unix_ms"));
    }
    let group = |number: &i32| dimension("group_by", *number, request.tag_key.as_deref());
    let filter = |f: &proto::UsageFilter| {
        Ok((dimension("filters", f.dimension, f.tag_key.as_deref())?, f.value.clone()))
    };
    let limit = if request.limit == 0 { ROWS } else { request.limit.min(MAX_ROWS) };
    Ok(Question {
        from_unix_ms: request.from_unix_ms,
        to_unix_ms,
        group_by: request.group_by.iter().map(group).collect::<Result<_, _>>()?,
        filters: request.filters.iter().map(filter).collect::<Result<_, Refusal>>()?,
        step_ms: request.step_ms,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    })
}

fn dimension(field: &str, number: i32, tag_key: Option<&str>) -> Result<Dimension, Refusal> {
    use proto::UsageDimension as D;
    Ok(match D::try_from(number).unwrap_or_default() {
        D::Unspecified => return Err(Refusal::invalid(field, "names a dimension that is not known")),
        D::Tenant => Dimension::Tenant,
        D::Principal => Dimension::Principal,
        D::RequestedModel => Dimension::Model,
        D::Target => Dimension::Target,
        D::Feature => Dimension::Feature,
        D::User => Dimension::User,
        D::Team => Dimension::Team,
        D::Tag => Dimension::Tag(bounded("tag_key", tag_key.unwrap_or_default(), NAME_BYTES)?.to_owned()),
        D::Cache => Dimension::Cache,
        D::Outcome => Dimension::Outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> proto::Budget {
        proto::Budget {
            tenant: "acme".to_owned(),
            name: "month".to_owned(),
            limit_nanousd: Some(5),
            period: proto::BudgetPeriod::Month.into(),
            ..proto::Budget::default()
        }
    }

    fn field(refusal: Refusal) -> String {
        match refusal {
            Refusal::Invalid { field, .. } => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_fault_of_a_budget_is_named() {
        assert!(terms(&budget()).is_ok());
        let at = |change: fn(&mut proto::Budget)| {
            let mut budget = budget();
            change(&mut budget);
            field(terms(&budget).unwrap_err())
        };
        assert_eq!(at(|b| b.limit_tokens = Some(1)), "budget.limit_nanousd");
        assert_eq!(at(|b| b.limit_nanousd = Some(-1)), "budget.limit_nanousd");
        assert_eq!(at(|b| b.period = 0), "budget.period");
        assert_eq!(at(|b| b.tenant = "Acme".to_owned()), "budget.tenant");
        assert_eq!(at(|b| b.name = "a b".to_owned()), "budget.name");
        assert_eq!(at(|b| b.time_zone = "Nowhere".to_owned()), "budget.time_zone");
        assert_eq!(at(|b| b.scope = Some(proto::UsageFilter::default())), "budget.scope.value");
        let target = proto::UsageFilter { dimension: 4, value: "a/b".to_owned(), tag_key: None };
        let scoped = proto::Budget { scope: Some(target), ..budget() };
        assert_eq!(field(terms(&scoped).unwrap_err()), "budget.scope.dimension");
        let carried = proto::Budget { carry_over: true, ..budget() };
        assert!(matches!(terms(&carried), Err(Refusal::NotSupported(_))));
    }

    #[test]
    fn a_question_is_bounded() {
        let request = proto::QueryUsageRequest { group_by: vec![1, 2, 3, 4, 5], ..Default::default() };
        assert_eq!(field(question(&request, 0).unwrap_err()), "group_by");
        let request = proto::QueryUsageRequest { group_by: vec![8], ..Default::default() };
        assert_eq!(field(question(&request, 0).unwrap_err()), "tag_key");
        assert_eq!(question(&proto::QueryUsageRequest::default(), 5).unwrap().limit, 1_000);
    }
}
