//! From the contract's types to ours: illegal values end here.

use std::{collections::BTreeMap, sync::Arc};

use signalbox_proto::common::v1::Attribution;
use signalbox_proto::metering::v1 as proto;

use crate::{
    audit::Look,
    budget::{Terms, Unit},
    keys::KeyScope,
    ledger::Score,
    limit::{LimitTerms, MOST, Metric, Per, Rate},
    network::Network,
    period::{self, Period},
    query::{Dimension, Question},
    refusal::Refusal,
    subject::{Facet, Scope, Subject},
};

const NAME_BYTES: usize = 64;
const USER_BYTES: usize = 256;
const TAGS: usize = 16;
const LIST: usize = 256;
const GROUP_BY: usize = 4;
const FILTERS: usize = 16;
const SCOPES: usize = 5;
const ALERTS: usize = 8;
/// Changes that are listed where nobody says how many, and at most.
const CHANGES: (u32, u32) = (100, 1_000);
/// The largest limit of a budget, in nano-dollars or tokens: 9 million dollars. What stands for it in Redis is exact up to 2^53.
pub(crate) const MOST_LIMIT: i64 = 9_000_000_000_000_000;
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

/// How good an answer was.
pub(crate) fn score(request: &proto::ScoreRequest) -> Result<Score, Refusal> {
    if !(-1.0..=1.0).contains(&request.score) {
        return Err(Refusal::invalid("score", "must be between -1 and 1"));
    }
    let kind = request.kind.as_deref().map(|kind| name("kind", kind)).transpose()?;
    Ok(Score { value: request.score, kind })
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
    if !(0..=MOST_LIMIT).contains(&limit) {
        return Err(Refusal::invalid("budget.limit_nanousd", format!("set it between 0 and {MOST_LIMIT}")));
    }
    let period = match budget.period() {
        proto::BudgetPeriod::Unspecified => return Err(Refusal::invalid("budget.period", "is required")),
        proto::BudgetPeriod::Total => Period::Total,
        proto::BudgetPeriod::Hour => Period::Hour,
        proto::BudgetPeriod::Day => Period::Day,
        proto::BudgetPeriod::Week => Period::Week,
        proto::BudgetPeriod::Month => Period::Month,
        proto::BudgetPeriod::Span => span(budget.span.as_ref())?,
    };
    if budget.carry_over && period == Period::Total {
        return Err(Refusal::invalid(
            "budget.carry_over",
            "a budget that never starts anew has nothing to carry over",
        ));
    }
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
        carry_over: budget.carry_over,
        scope: scope("budget", budget.scope.iter().chain(&budget.scopes))?,
        alert_percents: alert_percents(&budget.alert_percents)?,
    })
}

fn span(span: Option<&proto::BudgetSpan>) -> Result<Period, Refusal> {
    let span = span.ok_or_else(|| Refusal::invalid("budget.span", "is required with the period SPAN"))?;
    if span.length_ms < 1_000 || span.start_unix_ms < 0 {
        return Err(Refusal::invalid("budget.span", "must begin after 1970 and last at least 1,000 ms"));
    }
    let proto::BudgetSpan { start_unix_ms, length_ms, repeats } = *span;
    Ok(Period::Span { start_unix_ms, length_ms, repeats })
}

fn alert_percents(percents: &[u32]) -> Result<Vec<u32>, Refusal> {
    if percents.len() > ALERTS || !percents.iter().all(|percent| (1..=1_000).contains(percent)) {
        let what = format!("give at most {ALERTS} shares between 1 and 1,000 percent");
        return Err(Refusal::invalid("budget.alert_percents", what));
    }
    let mut percents = percents.to_vec();
    percents.sort_unstable();
    percents.dedup();
    Ok(percents)
}

/// What a rate limit bounds.
pub(crate) fn limit(limit: &proto::Limit) -> Result<LimitTerms, Refusal> {
    let metric = match limit.metric() {
        proto::LimitMetric::Unspecified => return Err(Refusal::invalid("limit.metric", "is required")),
        proto::LimitMetric::Requests => Metric::Requests,
        proto::LimitMetric::Tokens => Metric::Tokens,
        proto::LimitMetric::Concurrent => Metric::Concurrent,
    };
    let per = match (metric, limit.per()) {
        (Metric::Concurrent, proto::LimitPeriod::Unspecified) => Per::Call,
        (Metric::Concurrent, _) => {
            return Err(Refusal::invalid("limit.per", "leave it out: requests under way have no period"));
        }
        (_, proto::LimitPeriod::Unspecified) => return Err(Refusal::invalid("limit.per", "is required")),
        (_, proto::LimitPeriod::Second) => Per::Second,
        (_, proto::LimitPeriod::Minute) => Per::Minute,
        (_, proto::LimitPeriod::Day) => Per::Day,
    };
    let whole = |field: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        match value {
            1..=MOST => Ok(value),
            _ => Err(Refusal::invalid(field, format!("set it between 1 and {MOST}"))),
        }
    };
    let amount = whole("limit.amount", limit.amount)?;
    let burst = match limit.burst {
        0 => amount,
        _ if metric == Metric::Concurrent => {
            return Err(Refusal::invalid("limit.burst", "leave it out: the amount is what may come at once"));
        }
        burst => whole("limit.burst", burst)?,
    };
    let each = match limit.each() {
        proto::UsageDimension::Unspecified => None,
        each => Some(facet("limit.each", each, limit.each_tag_key.as_deref())?),
    };
    let scope = scope("limit", limit.scopes.iter())?;
    let rate = Rate { metric, amount, per, burst, scope, each, shadow: limit.shadow };
    Ok(LimitTerms {
        tenant: tenant("limit.tenant", &limit.tenant)?,
        name: name("limit.name", &limit.name)?,
        rate,
    })
}

fn scope<'a>(of: &str, filters: impl Iterator<Item = &'a proto::UsageFilter>) -> Result<Scope, Refusal> {
    let mut scope = Scope::default();
    for filter in filters {
        let value = bounded(&format!("{of}.scope.value"), &filter.value, USER_BYTES)?.to_owned();
        let field = format!("{of}.scope.dimension");
        scope.0.push((facet(&field, filter.dimension(), filter.tag_key.as_deref())?, value));
    }
    if scope.0.len() > SCOPES {
        return Err(Refusal::invalid(format!("{of}.scopes"), format!("at most {SCOPES} are allowed")));
    }
    Ok(scope)
}

fn facet(field: &str, dimension: proto::UsageDimension, tag_key: Option<&str>) -> Result<Facet, Refusal> {
    use proto::UsageDimension as D;
    Ok(match dimension {
        D::Principal => Facet::Principal,
        D::Team => Facet::Team,
        D::User => Facet::User,
        D::Feature => Facet::Feature,
        D::RequestedModel => Facet::Model,
        D::Tag => {
            let field = field.replace("dimension", "tag_key");
            Facet::Tag(bounded(&field, tag_key.unwrap_or_default(), NAME_BYTES)?.to_owned())
        }
        D::Unspecified | D::Tenant | D::Target | D::Cache | D::Outcome => {
            let what = "it can be a principal, team, user, feature, requested model or tag: what is known before \
                        the request";
            return Err(Refusal::invalid(field, what));
        }
    })
}

/// A question about the audit log.
pub(crate) fn look(request: proto::ListAuditRequest) -> Look {
    let limit = if request.limit == 0 { CHANGES.0 } else { request.limit.min(CHANGES.1) };
    Look {
        tenant: request.tenant,
        before_unix_ms: if request.before_unix_ms == 0 { i64::MAX } else { request.before_unix_ms },
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    }
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
        assert_eq!(at(|b| b.period = proto::BudgetPeriod::Span.into()), "budget.span");
        assert_eq!(at(|b| b.alert_percents = vec![0]), "budget.alert_percents");
        assert_eq!(
            at(|b| {
                b.carry_over = true;
                b.period = proto::BudgetPeriod::Total.into();
            }),
            "budget.carry_over"
        );
    }

    #[test]
    fn each_fault_of_a_limit_is_named() {
        let good = proto::Limit {
            tenant: "acme".to_owned(),
            name: "rpm".to_owned(),
            metric: proto::LimitMetric::Requests.into(),
            amount: 60,
            per: proto::LimitPeriod::Minute.into(),
            ..proto::Limit::default()
        };
        assert_eq!(limit(&good).unwrap().rate.burst, 60);
        let at = |change: fn(&mut proto::Limit)| {
            let mut limit_ = good.clone();
            change(&mut limit_);
            field(limit(&limit_).unwrap_err())
        };
        assert_eq!(at(|l| l.metric = 0), "limit.metric");
        assert_eq!(at(|l| l.per = 0), "limit.per");
        assert_eq!(at(|l| l.amount = 0), "limit.amount");
        assert_eq!(at(|l| l.burst = u64::MAX), "limit.burst");
        assert_eq!(at(|l| l.metric = proto::LimitMetric::Concurrent.into()), "limit.per");
        assert_eq!(at(|l| l.each = proto::UsageDimension::Outcome.into()), "limit.each");
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
