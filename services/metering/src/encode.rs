//! From our types to the contract's.

use signalbox_proto::common::v1::{Usage, UsageSource};
use signalbox_proto::metering::v1 as proto;

use crate::{
    alerts::Alert,
    budget::{Budget, Unit},
    keys::Key,
    ledger::Tokens,
    period::Period,
    query::Group,
    reservation::Told,
    subject::Scope,
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
    }
}

pub(crate) fn budget(budget: &Budget) -> proto::Budget {
    let terms = &budget.terms;
    let period = match terms.period {
        Period::Total => proto::BudgetPeriod::Total,
        Period::Hour => proto::BudgetPeriod::Hour,
        Period::Day => proto::BudgetPeriod::Day,
        Period::Week => proto::BudgetPeriod::Week,
        Period::Month => proto::BudgetPeriod::Month,
    };
    proto::Budget {
        id: budget.id.to_string(),
        tenant: terms.tenant.as_ref().to_owned(),
        name: terms.name.clone(),
        limit_nanousd: (terms.unit == Unit::Nanousd).then_some(terms.limit),
        limit_tokens: (terms.unit == Unit::Tokens).then_some(unsigned(terms.limit)),
        period: period.into(),
        hard: terms.hard,
        scope: scope(&terms.scope),
        time_zone: terms.zone_name.clone(),
        spent: budget.spent,
        reserved: budget.reserved,
        period_start_unix_ms: budget.window.start,
        shadow: terms.shadow,
        carry_over: false,
    }
}

fn scope(scope: &Scope) -> Option<proto::UsageFilter> {
    use proto::UsageDimension as D;
    let (dimension, value, tag_key) = match scope {
        Scope::All => return None,
        Scope::Principal(value) => (D::Principal, value, None),
        Scope::Team(value) => (D::Team, value, None),
        Scope::User(value) => (D::User, value, None),
        Scope::Feature(value) => (D::Feature, value, None),
        Scope::Model(value) => (D::RequestedModel, value, None),
        Scope::Tag { key, value } => (D::Tag, value, Some(key.clone())),
    };
    Some(proto::UsageFilter { dimension: dimension.into(), value: value.clone(), tag_key })
}

pub(crate) fn reservation(told: &Told) -> proto::Reservation {
    proto::Reservation {
        id: told.id.as_ref().to_owned(),
        amount_nanousd: told.amount_nanousd,
        granted_output_tokens: unsigned(told.granted_output_tokens),
        expires_unix_ms: told.expires_unix_ms,
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
    proto::UsageRow {
        group: group.values.clone(),
        step_unix_ms: group.step_unix_ms,
        requests: group.requests,
        succeeded: group.succeeded,
        cached: group.cached,
        usage: Some(usage(&group.tokens, group.estimated > 0)),
        cost_nanousd: group.cost_nanousd,
        saved_nanousd: group.saved_nanousd,
        mean_ms: group.mean_ms(),
        p50_ms: group.duration_ms(50),
        p95_ms: group.duration_ms(95),
        p99_ms: group.duration_ms(99),
        first_output_p50_ms: group.first_output_ms(),
        attempts: group.attempts,
        estimated_attempts: group.estimated,
        unpriced_attempts: group.unpriced,
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
    }
}

pub(crate) fn alert(alert: &Alert) -> proto::Alert {
    proto::Alert {
        id: alert.id.clone(),
        kind: proto::alert::Kind::Budget.into(),
        tenant: alert.tenant.clone(),
        subject: alert.budget.clone(),
        message: alert.message.clone(),
        raised_unix_ms: alert.raised_unix_ms,
        threshold: match alert.percent {
            50 => 0.5,
            80 => 0.8,
            _ => 1.0,
        },
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
