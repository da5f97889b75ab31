//! From our types to the contract's.

use signalbox_proto::common::v1::{Usage, UsageSource};
use signalbox_proto::metering::v1 as proto;

use crate::{
    alerts::{Alert, Kind},
    audit::Change,
    budget::{Budget, Unit},
    keys::Key,
    ledger::Tokens,
    limit::{Limit, Metric, Per, RateTold},
    period::Period,
    query::Group,
    reservation::Told,
    subject::Facet,
};

pub(crate) fn key(key: &Key) -> proto::Key {
    let scope = &key.scope;
    proto::Key {
        id: key.id.as_ref().to_owned(),
        tenant: key.tenant.as_ref().to_owned(),
        name: key.name.clone(),
        admin: key.admin,
        allowed_models: scope.models.clone(),
        allowed_features: scope.features.clone(),
        guard_policy: scope.guard_policy.clone(),
        cache_policy: scope.cache_policy.clone(),
        route_policy: scope.route_policy.clone(),
        allowed_networks: scope.networks.clone(),
        created_unix_ms: key.created_unix_ms,
        expires_unix_ms: key.expires_unix_ms,
        revoked_unix_ms: key.revoked_unix_ms,
        team: scope.team.as_deref().map(str::to_owned),
        old_secret_until_unix_ms: key.old.as_ref().map(|old| old.until_unix_ms),
    }
}

pub(crate) fn budget(budget: &Budget) -> proto::Budget {
    let terms = &budget.terms;
    let mut scopes = terms.scope.0.iter().map(filter);
    let mut span = None;
    let period = match terms.period {
        Period::Total => proto::BudgetPeriod::Total,
        Period::Hour => proto::BudgetPeriod::Hour,
        Period::Day => proto::BudgetPeriod::Day,
        Period::Week => proto::BudgetPeriod::Week,
        Period::Month => proto::BudgetPeriod::Month,
        Period::Span { start_unix_ms, length_ms, repeats } => {
            span = Some(proto::BudgetSpan { start_unix_ms, length_ms, repeats });
            proto::BudgetPeriod::Span
        }
    };
    proto::Budget {
        id: budget.id.to_string(),
        tenant: terms.tenant.as_ref().to_owned(),
        name: terms.name.clone(),
        limit_nanousd: (terms.unit == Unit::Nanousd).then_some(terms.limit),
        limit_tokens: (terms.unit == Unit::Tokens).then_some(unsigned(terms.limit)),
        period: period.into(),
        hard: terms.hard,
        scope: scopes.next(),
        scopes: scopes.collect(),
        time_zone: terms.zone_name.clone(),
        spent: budget.spent,
        reserved: budget.reserved,
        period_start_unix_ms: budget.window.start,
        shadow: terms.shadow,
        carry_over: terms.carry_over,
        span,
        carried: budget.carried,
        period_end_unix_ms: if budget.window.end == i64::MAX { 0 } else { budget.window.end },
        alert_percents: terms.alert_percents.clone(),
        shadow_refusals: unsigned(budget.shadowed),
    }
}

fn filter((facet, value): &(Facet, String)) -> proto::UsageFilter {
    let (dimension, tag_key) = dimension(facet);
    proto::UsageFilter { dimension: dimension.into(), value: value.clone(), tag_key }
}

fn dimension(facet: &Facet) -> (proto::UsageDimension, Option<String>) {
    use proto::UsageDimension as D;
    match facet {
        Facet::Principal => (D::Principal, None),
        Facet::Team => (D::Team, None),
        Facet::User => (D::User, None),
        Facet::Feature => (D::Feature, None),
        Facet::Model => (D::RequestedModel, None),
        Facet::Tag(key) => (D::Tag, Some(key.clone())),
    }
}

fn metric(metric: Metric) -> proto::LimitMetric {
    match metric {
        Metric::Requests => proto::LimitMetric::Requests,
        Metric::Tokens => proto::LimitMetric::Tokens,
        Metric::Concurrent => proto::LimitMetric::Concurrent,
    }
}

pub(crate) fn limit(limit: &Limit) -> proto::Limit {
    let rate = &limit.terms.rate;
    let per = match rate.per {
        Per::Call => proto::LimitPeriod::Unspecified,
        Per::Second => proto::LimitPeriod::Second,
        Per::Minute => proto::LimitPeriod::Minute,
        Per::Day => proto::LimitPeriod::Day,
    };
    let (each, each_tag_key) =
        rate.each.as_ref().map_or((proto::UsageDimension::Unspecified, None), dimension);
    proto::Limit {
        id: limit.id.to_string(),
        tenant: limit.terms.tenant.as_ref().to_owned(),
        name: limit.terms.name.clone(),
        metric: metric(rate.metric).into(),
        amount: unsigned(rate.amount),
        per: per.into(),
        burst: if rate.metric == Metric::Concurrent { 0 } else { unsigned(rate.burst) },
        scopes: rate.scope.0.iter().map(filter).collect(),
        each: each.into(),
        each_tag_key,
        shadow: rate.shadow,
    }
}

pub(crate) fn rate(rate: &RateTold) -> proto::RateStatus {
    proto::RateStatus {
        name: rate.name.clone(),
        limit: unsigned(rate.limit),
        remaining: unsigned(rate.remaining),
        reset_ms: unsigned(rate.reset_ms),
        metric: metric(rate.metric).into(),
    }
}

pub(crate) fn change(change: Change) -> proto::AuditEntry {
    let Change { at_unix_ms, tenant, actor, action, subject, detail } = change;
    proto::AuditEntry { at_unix_ms, tenant, actor, action, subject, detail }
}

pub(crate) fn reservation(told: &Told) -> proto::Reservation {
    proto::Reservation {
        id: told.id.as_ref().to_owned(),
        amount_nanousd: told.amount_nanousd,
        granted_output_tokens: unsigned(told.granted_output_tokens),
        expires_unix_ms: told.expires_unix_ms,
        most_output_tokens: unsigned(told.most_output_tokens),
        output_picousd: told.output_picousd,
    }
}

pub(crate) fn allowance(told: &Told) -> proto::Allowance {
    proto::Allowance {
        reservation_id: told.id.as_ref().to_owned(),
        amount_nanousd: told.amount_nanousd,
        expires_unix_ms: told.expires_unix_ms,
    }
}

pub(crate) fn usage_row(group: &Group) -> proto::UsageRow {
    let sum = &group.sum;
    let [p50_ms, p95_ms, p99_ms] = sum.durations.percentiles([50, 95, 99]).unwrap_or_default();
    let first_outputs = sum.first_outputs.percentiles([50, 95]);
    proto::UsageRow {
        group: group.values.clone(),
        step_unix_ms: group.step_unix_ms,
        requests: unsigned(sum.requests),
        succeeded: unsigned(group.succeeded),
        cached: unsigned(group.cached),
        usage: Some(usage(&sum.tokens, sum.estimated > 0)),
        cost_nanousd: sum.cost_nanousd,
        saved_nanousd: sum.saved_nanousd,
        mean_ms: group.mean_ms(),
        p50_ms,
        p95_ms,
        p99_ms,
        first_output_p50_ms: first_outputs.map(|[p50, _]| p50),
        first_output_p95_ms: first_outputs.map(|[_, p95]| p95),
        attempts: unsigned(sum.attempts),
        estimated_attempts: unsigned(sum.estimated),
        unpriced_attempts: unsigned(sum.unpriced),
    }
}

fn usage(tokens: &Tokens, estimated: bool) -> Usage {
    let source = if estimated { UsageSource::Estimated } else { UsageSource::Reported };
    Usage {
        input_tokens: unsigned(tokens.input),
        output_tokens: unsigned(tokens.output),
        cached_input_tokens: unsigned(tokens.cached_input),
        cache_write_tokens: unsigned(tokens.cache_write),
        reasoning_tokens: unsigned(tokens.reasoning),
        audio_input_tokens: unsigned(tokens.audio_input),
        audio_output_tokens: unsigned(tokens.audio_output),
        source: source.into(),
        // The ledger keeps the cost, not which tokens it was for.
        ..Usage::default()
    }
}

pub(crate) fn alert(alert: &Alert) -> proto::Alert {
    let kind = match alert.kind {
        Kind::Budget => proto::alert::Kind::Budget,
        Kind::Forecast => proto::alert::Kind::Forecast,
        Kind::ErrorRate => proto::alert::Kind::ErrorRate,
        Kind::Slow => proto::alert::Kind::Slow,
        Kind::Change => proto::alert::Kind::Change,
    };
    proto::Alert {
        id: alert.id.clone(),
        kind: kind.into(),
        tenant: alert.tenant.clone(),
        subject: alert.subject.clone(),
        message: alert.message.clone(),
        raised_unix_ms: alert.raised_unix_ms,
        // Exact for whole percents.
        threshold: f64::from(u32::try_from(alert.percent).unwrap_or(0)) / 100.0,
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
