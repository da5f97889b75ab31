//! From a request to an ordered plan: resolve, filter, order. Pure.

use std::borrow::Cow;

use signalbox_catalog::{Capability, Catalog, Cost, Price, TargetInfo, Usage};
use signalbox_proto::{
    common::v1::RoutePolicy,
    router::v1::{Candidate, PlanResponse, Rejected},
};

use crate::{
    config::{Config, Policy, Way},
    error::Error,
    needs::Needs,
    order::{Basis, order},
    pattern::{covers, covers_target},
    rules::Facts,
    setup::Setup,
};

/// What is asked of the router.
pub(crate) struct Question<'a> {
    /// The alias, `provider/model`, or `auto`.
    pub(crate) model: &'a str,
    pub(crate) needs: Needs,
    /// The request's own wishes.
    pub(crate) wishes: RoutePolicy,
    /// The tenant's policy; empty: the alias's own.
    pub(crate) policy: &'a str,
    /// What the principal may use; empty: all.
    pub(crate) allowed: &'a [String],
    /// What rules may ask for.
    pub(crate) facts: Facts<'a>,
}

/// The policy that decides, before anything is known of its candidates.
pub(crate) struct Chosen<'a> {
    pub(crate) name: &'a str,
    pub(crate) policy: Cow<'a, Policy>,
    /// The rule that holds, by its place.
    rule: Option<usize>,
}

impl Chosen<'_> {
    /// Whether the order depends on how much the prompt needs a large model.
    pub(crate) fn by_complexity(&self) -> bool {
        self.rule.is_none() && self.policy.way == Way::Complexity
    }
}

/// Chooses the policy, and the rule of it that holds.
///
/// # Errors
/// A policy that does not exist.
pub(crate) fn choose<'a>(setup: &'a Setup, question: &'a Question<'_>) -> Result<Chosen<'a>, Error> {
    let name = policy_name(&setup.config, question);
    let policy = match setup.config.policies.get(name) {
        Some(policy) => Cow::Borrowed(policy),
        None => Cow::Owned(setup.config.policy(name).ok_or_else(|| Error::NoPolicy(name.to_owned()))?),
    };
    let rule = setup.rules.get(name).and_then(|rules| rules.first(&question.facts));
    Ok(Chosen { name, policy, rule })
}

/// Makes the plan.
///
/// # Errors
/// Nothing of that name, or no candidate left, with the reason for each.
pub(crate) fn plan(
    setup: &Setup,
    question: &Question<'_>,
    chosen: &Chosen<'_>,
    basis: &Basis<'_>,
) -> Result<PlanResponse, Error> {
    let Chosen { name, policy, rule } = chosen;
    let targets = resolve(&setup.catalog, &setup.config, question.model)?;
    let judge = |target: &&TargetInfo| refusal(target, question, policy);
    let (mut kept, filtered): (Vec<&TargetInfo>, Vec<&TargetInfo>) =
        targets.into_iter().partition(|t| judge(t).is_none());
    let mut rejected: Vec<Rejected> = filtered.iter().filter_map(judge).collect();
    // Whoever's breaker is open is left out only while somebody else can answer.
    let is_open = |target: &&TargetInfo| basis.stats.is_open(&target.id, question.facts.unix_ms);
    if kept.iter().any(|target| !is_open(target)) {
        kept.retain(|target| {
            let open = is_open(target);
            if open {
                let detail = "its breaker was reported open a moment ago".to_owned();
                rejected.push(Rejected {
                    target_id: target.id.clone(),
                    reason: "breaker_open".into(),
                    detail,
                });
            }
            !open
        });
    }
    if kept.is_empty() {
        return Err(Error::none_left(question.model, question.needs.input_tokens, rejected));
    }
    let mut candidates: Vec<Candidate> =
        kept.into_iter().map(|target| candidate(target, &question.needs, &setup.config)).collect();
    let rule = rule.and_then(|at| Some((at + 1, &*policy.rules.get(at)?.targets)));
    order(&mut candidates, policy, rule, basis);
    let reason = candidates.first().map(|first| first.reason.clone()).unwrap_or_default();
    Ok(PlanResponse { candidates, rejected, policy: (*name).to_owned(), reason, ..PlanResponse::default() })
}

fn resolve<'a>(catalog: &'a Catalog, config: &Config, model: &str) -> Result<Vec<&'a TargetInfo>, Error> {
    let unknown = || Error::Unknown { model: model.to_owned(), known: catalog.some_names() };
    match (&config.auto, model) {
        (Some(aliases), "auto") => {
            let mut targets: Vec<&TargetInfo> = Vec::new();
            for target in aliases.iter().filter_map(|alias| catalog.resolve(alias)).flatten() {
                if !targets.iter().any(|t| t.id == target.id) {
                    targets.push(target);
                }
            }
            Ok(targets)
        }
        _ => catalog.resolve(model).ok_or_else(unknown),
    }
}

/// The request's policy, else the tenant's, else the alias's, else the way of `auto`, else as configured.
fn policy_name<'a>(config: &'a Config, question: &'a Question<'_>) -> &'a str {
    let own = question.wishes.name.as_deref().filter(|name| !name.is_empty());
    own.or_else(|| Some(question.policy).filter(|name| !name.is_empty())).unwrap_or_else(|| {
        match (config.aliases.get(question.model), question.model) {
            (Some(policy), _) => policy,
            (None, "auto") => &config.auto_policy,
            (None, _) => Way::Fixed.name(),
        }
    })
}

/// Why a target cannot answer; the first reason found.
fn refusal(target: &TargetInfo, question: &Question<'_>, policy: &Policy) -> Option<Rejected> {
    let rejected = |reason: &str, detail: String| {
        Some(Rejected { target_id: target.id.clone(), reason: reason.to_owned(), detail })
    };
    let listed = |patterns: &[String]| patterns.iter().any(|pattern| covers_target(pattern, &target.id));
    let may = |allowed: &[String]| allowed.is_empty() || listed(allowed);
    let principal_may = question.allowed.is_empty()
        || listed(question.allowed)
        || question.allowed.iter().any(|p| covers(p, question.model));
    if !principal_may {
        return rejected("not_allowed", "the principal may not use it".into());
    }
    if !may(&policy.allow)
        || !may(&question.wishes.allow)
        || listed(&policy.deny)
        || listed(&question.wishes.deny)
    {
        return rejected("denied", "the policy or the request excludes it".into());
    }
    let needs = &question.needs;
    if let Some(missing) = needs.capabilities.iter().find(|c| !target.capabilities.contains(c)) {
        return rejected("capability", format!("it is not known to have `{missing}`"));
    }
    let wanted = needs.input_tokens.saturating_add(needs.output_tokens.unwrap_or(1));
    if target.context_window > 0 && wanted > target.context_window {
        let window = target.context_window;
        return rejected("context_window", format!("{wanted} tokens do not fit its window of {window}"));
    }
    if !target.has_credential() {
        return rejected("no_credential", "its credential is not set; see api_key_env of the target".into());
    }
    if let (Some(most), Some(cost)) = (question.wishes.max_cost_nanousd, predicted_cost(target, needs, 1))
        && cost > most
    {
        return rejected(
            "too_dear",
            format!("it would cost at least {cost} nano-dollars; at most {most} are allowed"),
        );
    }
    None
}

fn predicted_cost(target: &TargetInfo, needs: &Needs, assumed_output: u64) -> Option<i64> {
    let output_tokens = needs.output_tokens.map_or(assumed_output, |limit| limit.min(assumed_output));
    let usage = Usage { input_tokens: needs.input_tokens, output_tokens, ..Usage::default() };
    match Price::cost_or_unknown(target.price.as_ref(), &usage) {
        Cost { unknown: true, .. } => None,
        Cost { nanousd, .. } => Some(nanousd),
    }
}

fn candidate(target: &TargetInfo, needs: &Needs, config: &Config) -> Candidate {
    Candidate {
        target_id: target.id.clone(),
        provider: target.provider.clone(),
        model: target.model.clone(),
        predicted_cost_nanousd: predicted_cost(target, needs, config.assumed_output_tokens),
        context_window_tokens: target.context_window,
        prefill: target.capabilities.contains(&Capability::Prefill),
        ..Candidate::default()
    }
}
