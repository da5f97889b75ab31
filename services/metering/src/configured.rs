//! Budgets and limits of the configuration file.

use signalbox_config::{BudgetPeriod, Only, RatePeriod, Shared};

use crate::{
    budget::{Terms, Unit},
    decode,
    limit::{LimitTerms, MOST, Metric, Per, Rate},
    period::{self, Period},
    store::Configured,
    subject::{Facet, Scope},
};

/// What a configuration says.
///
/// # Errors
/// The key at fault and what to change.
pub(crate) fn of(shared: &Shared) -> Result<Configured, String> {
    let mut configured = Configured::default();
    for (name, tenant) in &shared.tenants {
        for (n, budget) in tenant.budgets.iter().enumerate() {
            let terms = terms(name, budget).map_err(|what| format!("tenants.{name}.budgets[{n}]: {what}"))?;
            configured.budgets.push(terms);
        }
        for (n, limit) in tenant.limits.iter().enumerate() {
            let terms =
                limit_terms(name, limit).map_err(|what| format!("tenants.{name}.limits[{n}]: {what}"))?;
            configured.limits.push(terms);
        }
    }
    Ok(configured)
}

fn terms(tenant: &str, budget: &signalbox_config::Budget) -> Result<Terms, String> {
    let period = match budget.period {
        BudgetPeriod::Total => Period::Total,
        BudgetPeriod::Hour => Period::Hour,
        BudgetPeriod::Day => Period::Day,
        BudgetPeriod::Week => Period::Week,
        BudgetPeriod::Month => Period::Month,
    };
    let (unit, limit) = match (budget.limit_usd, budget.limit_tokens) {
        (Some(usd), None) => (Unit::Nanousd, usd.nanousd()),
        (None, Some(tokens)) => (Unit::Tokens, i64::try_from(tokens).unwrap_or(i64::MAX)),
        _ => return Err("give exactly one of limit_usd and limit_tokens".to_owned()),
    };
    if !(0..=decode::MOST_LIMIT).contains(&limit) {
        return Err(format!("the limit must be between 0 and {} nano-dollars or tokens", decode::MOST_LIMIT));
    }
    let mut alert_percents = budget.alert_percents.clone();
    alert_percents.sort_unstable();
    Ok(Terms {
        tenant: tenant.into(),
        name: budget.name.clone().unwrap_or_else(|| period.name().to_owned()),
        unit,
        limit,
        period,
        zone: period::zone(&budget.time_zone)
            .ok_or_else(|| format!("time_zone: `{}` is not known; give an IANA name", budget.time_zone))?,
        zone_name: budget.time_zone.clone(),
        hard: budget.hard,
        shadow: budget.shadow,
        carry_over: budget.carry_over && period != Period::Total,
        scope: scope(&budget.only),
        alert_percents,
    })
}

fn limit_terms(tenant: &str, limit: &signalbox_config::RateLimit) -> Result<LimitTerms, String> {
    let (metric, amount, per) = match (limit.requests, limit.tokens, limit.concurrent) {
        (Some(amount), None, None) => (Metric::Requests, amount, Some(limit.per)),
        (None, Some(amount), None) => (Metric::Tokens, amount, Some(limit.per)),
        (None, None, Some(amount)) => (Metric::Concurrent, amount, None),
        _ => return Err("give exactly one of requests, tokens and concurrent".to_owned()),
    };
    let whole = |key: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if (1..=MOST).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{key} must be between 1 and {MOST}"))
        }
    };
    let amount = whole("the amount", amount)?;
    let (per, usual) = match (metric, per) {
        (Metric::Concurrent, _) | (_, None) => (Per::Call, "concurrent".to_owned()),
        (metric, Some(per)) => {
            let of = if metric == Metric::Tokens { "tokens" } else { "requests" };
            match per {
                RatePeriod::Second => (Per::Second, format!("{of}_per_second")),
                RatePeriod::Minute => (Per::Minute, format!("{of}_per_minute")),
                RatePeriod::Day => (Per::Day, format!("{of}_per_day")),
            }
        }
    };
    let burst = match limit.burst {
        Some(burst) if metric != Metric::Concurrent => whole("burst", burst)?,
        _ => amount,
    };
    let each = limit.each.as_deref().map(facet).transpose()?;
    let rate = Rate { metric, amount, per, burst, scope: scope(&limit.only), each, shadow: limit.shadow };
    Ok(LimitTerms { tenant: tenant.into(), name: limit.name.clone().unwrap_or(usual), rate })
}

fn facet(name: &str) -> Result<Facet, String> {
    Ok(match name {
        "key" => Facet::Principal,
        "team" => Facet::Team,
        "user" => Facet::User,
        "feature" => Facet::Feature,
        "model" => Facet::Model,
        other => match other.strip_prefix("tag:").filter(|key| !key.is_empty()) {
            Some(key) => Facet::Tag(key.to_owned()),
            None => {
                return Err(format!("each: `{other}` is not key, team, user, feature, model or tag:NAME"));
            }
        },
    })
}

fn scope(only: &Only) -> Scope {
    let single = [
        (Facet::Principal, &only.key),
        (Facet::Team, &only.team),
        (Facet::User, &only.user),
        (Facet::Feature, &only.feature),
        (Facet::Model, &only.model),
    ];
    let single = single.into_iter().filter_map(|(facet, value)| Some((facet, value.clone()?)));
    let tags = only.tags.iter().map(|(key, value)| (Facet::Tag(key.clone()), value.clone()));
    Scope(single.chain(tags).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Configured, String> {
        of(&signalbox_config::Document::parse(text, "test").unwrap().shared().unwrap())
    }

    #[test]
    fn budgets_of_the_file_are_named_by_their_period() {
        let text = "[tenants.acme]\nbudgets = [{ limit_usd = '1.5' }, { name = 'x', limit_tokens = 2, period = 'day', hard = false, \
                    carry_over = true, time_zone = 'Europe/Berlin', only = { team = 't', tags = { env = 'p' } } }]";
        let found = read(text).unwrap().budgets;
        let (first, second) = (&found[0], &found[1]);
        assert_eq!(
            (first.name.as_str(), first.limit, first.period, first.hard),
            ("month", 1_500_000_000, Period::Month, true)
        );
        assert_eq!(
            (second.unit, second.limit, second.period, second.hard),
            (Unit::Tokens, 2, Period::Day, false)
        );
        assert!(second.carry_over && second.scope.0.len() == 2);
    }

    #[test]
    fn limits_of_the_file_are_named_by_what_they_count() {
        let text = "[tenants.acme]\nlimits = [{ requests = 60 }, { tokens = 9, per = 'day', burst = 3, each = 'tag:env' }, { concurrent = 4, each = 'key' }]";
        let found = read(text).unwrap().limits;
        let names: Vec<_> = found.iter().map(|limit| limit.name.as_str()).collect();
        assert_eq!(names, ["requests_per_minute", "tokens_per_day", "concurrent"]);
        let rates: Vec<_> =
            found.into_iter().map(|limit| (limit.rate.amount, limit.rate.burst, limit.rate.per)).collect();
        assert_eq!(rates, [(60, 60, Per::Minute), (9, 3, Per::Day), (4, 4, Per::Call)]);
    }

    #[test]
    fn each_fault_names_its_key() {
        let at = |what: &str| read(&format!("[tenants.acme]\n{what}")).unwrap_err();
        assert!(at("budgets = [{ }]").starts_with("tenants.acme.budgets[0]: give exactly one"));
        assert!(at("budgets = [{ limit_usd = '1', time_zone = 'Mars' }]").contains("time_zone"));
        assert!(at("limits = [{ requests = 1, tokens = 1 }]").contains("exactly one"));
        assert!(at("limits = [{ requests = 0 }]").contains("between 1"));
        assert!(at("limits = [{ requests = 1, each = 'day' }]").contains("each"));
    }
}
