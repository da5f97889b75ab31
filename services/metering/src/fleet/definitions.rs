//! What a tenant's budgets and limits are, as a replica knows it. Scripts refuse to work on a version that is not the
//! present one, so that what is known here can be old but never wrong.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{pack::Pack, script::Reply};
use crate::{
    budget::{Budget, Origin, Terms, Unit},
    limit::{Bucket, Limit, LimitTerms, Metric, Rate},
    period::Window,
    subject::{Facet, Subject},
};

/// A budget as it is defined: its id, where it comes from, its terms.
pub(super) type Defined = (i64, Origin, Terms);

/// Numbers of a budget's state.
const STATE: usize = 10;

/// Budgets and limits of a tenant.
#[derive(Debug, Clone)]
pub(super) struct Definitions {
    pub(super) version: String,
    pub(super) budgets: Vec<Defined>,
    pub(super) limits: Vec<Limit>,
    /// The highest id of a budget.
    pub(super) newest: i64,
}

/// The stored form of a definition.
#[derive(Serialize, Deserialize)]
struct Form {
    origin: Origin,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
}

/// The stored form of a budget's definition.
pub(super) fn budget_text(origin: Origin, terms: &Terms) -> Option<String> {
    let value = serde_json::from_str(&terms.to_json().ok()?).ok()?;
    serde_json::to_string(&Form { origin, name: terms.name.clone(), terms: Some(value), rate: None }).ok()
}

/// The stored form of a limit's definition.
pub(super) fn limit_text(origin: Origin, terms: &LimitTerms) -> Option<String> {
    let form = Form { origin, name: terms.name.clone(), terms: None, rate: Some(terms.rate.clone()) };
    serde_json::to_string(&form).ok()
}

impl Definitions {
    /// Reads what `load.lua` returned. `None`: something in it is not known to this build.
    pub(super) fn read(tenant: &Arc<str>, mut reply: Reply) -> Option<Self> {
        let version = reply.text();
        let mut found = Self { version, budgets: Vec::new(), limits: Vec::new(), newest: 0 };
        let mut pairs = reply.list();
        while !pairs.is_empty() {
            let (id, text) = (pairs.number(), pairs.text());
            let form: Form = serde_json::from_str(&text).ok()?;
            if let Some(terms) = form.terms {
                let terms = Terms::from_json(Arc::clone(tenant), form.name, &terms.to_string()).ok()?;
                found.budgets.push((id, form.origin, terms));
                found.newest = found.newest.max(id);
            } else if let Some(rate) = form.rate {
                let terms = LimitTerms { tenant: Arc::clone(tenant), name: form.name, rate };
                found.limits.push(Limit { id, origin: form.origin, terms });
            }
        }
        found.budgets.sort_by_key(|(id, ..)| *id);
        found.limits.sort_by_key(|limit| limit.id);
        Some(found)
    }

    /// The budgets that cover a request.
    pub(super) fn covering(&self, subject: &Subject, now: i64) -> impl Iterator<Item = &Defined> {
        let covers = move |terms: &Terms| terms.period.applies(now) && terms.scope.covers(subject);
        self.budgets.iter().filter(move |(_, _, terms)| covers(terms))
    }

    /// The buckets that a request goes through.
    pub(super) fn through<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = (&'a Limit, Bucket)> {
        let bucket =
            |limit: &'a Limit| Some((limit, (limit.id, Arc::from(limit.terms.rate.value(subject)?))));
        self.limits.iter().filter_map(bucket)
    }
}

/// Whether an allowance, which stands for all that a key does, takes from a budget that covers one of its requests.
pub(super) fn is_standing(terms: &Terms) -> bool {
    terms.scope.0.iter().all(|(facet, _)| matches!(facet, Facet::Principal | Facet::Team))
}

/// Adds a budget's terms as `prelude.lua` reads them.
pub(super) fn pack_budget(pack: &mut Pack, (id, _, terms): &Defined, now: i64) {
    let window = terms.period.window(&terms.zone, now);
    pack.list(7);
    pack.number(*id);
    pack.text(if terms.unit == Unit::Nanousd { "n" } else { "t" });
    pack.number(terms.limit);
    pack.text(match (terms.hard, terms.shadow) {
        (true, false) => "r",
        (true, true) => "s",
        (false, _) => "c",
    });
    pack.number(window.start);
    // For ever is as far as doubles count.
    pack.number(window.end.min(1 << 53));
    pack.number(terms.carry_over.into());
}

/// Adds a bucket's terms as `work.lua` reads them.
pub(super) fn pack_bucket(pack: &mut Pack, limit: &Limit, (id, value): &Bucket) {
    let rate = &limit.terms.rate;
    pack.list(6);
    pack.text(&format!("{id}:{value}"));
    pack.text(match rate.metric {
        Metric::Requests => "r",
        Metric::Tokens => "t",
        Metric::Concurrent => "c",
    });
    pack.number(rate.per_ms());
    pack.number(rate.drain());
    pack.number(rate.burst.saturating_mul(rate.per_ms()));
    pack.number(rate.shadow.into());
}

/// Budgets with the states that a script returned, in the same order.
pub(super) fn with_states(budgets: &[&Defined], states: Reply) -> Vec<Budget> {
    let numbers: Vec<i64> = states.texts().iter().map(|text| text.parse().unwrap_or(0)).collect();
    let state = |(known, state): (&&Defined, &[i64])| {
        let (id, origin, terms) = known;
        let &[
            spent,
            reserved,
            standing,
            uncovered,
            start,
            end,
            carried,
            shadowed,
            told_percent,
            told_unix_ms,
        ] = state
        else {
            return None;
        };
        let end = if end >= 1 << 53 { i64::MAX } else { end };
        Some(Budget {
            id: *id,
            origin: *origin,
            terms: terms.clone(),
            window: Window { start, end },
            spent,
            reserved,
            standing,
            uncovered,
            carried,
            shadowed,
            told_percent,
            told_unix_ms,
        })
    };
    budgets.iter().zip(numbers.chunks(STATE)).filter_map(state).collect()
}
