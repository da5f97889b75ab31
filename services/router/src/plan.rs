//! From a request to an ordered plan: resolve, filter, order. Pure.

use std::borrow::Cow;

use signalbox_catalog::{Capability, Catalog, Cost, Price, TargetInfo, Usage};
use signalbox_proto::{
    common::v1::RoutePolicy,
    router::v1::{Candidate, PlanResponse, Rejected},
};

use crate::{
    complexity::MODEL,
    config::{Config, Policy, Way},
    error::Error,
    experiment::{self, Assigned},
    learned::Learned,
    needs::Needs,
    order::{Basis, Front, order},
    pattern::{covers, covers_target},
    rules::Facts,
    setup::Setup,
    stats::Stats,
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
    /// The experiment and arm of a request that is planned again.
    pub(crate) recorded: Option<(&'a str, &'a str)>,
}

/// The policy that decides, before anything is known of its candidates.
pub(crate) struct Chosen<'a> {
    /// The policy that decides.
    pub(crate) name: &'a str,
    pub(crate) policy: Cow<'a, Policy>,
    /// The policy that would decide without an experiment, and who named it: `request`, `principal` or `alias`.
    pub(crate) base: &'a str,
    pub(crate) named_by: &'static str,
    /// The experiment's arm, and the digest of what fell into it.
    pub(crate) assigned: Option<(Assigned<'a>, String)>,
    /// Targets of an arm, or of the rule that holds.
    front: Option<Front<'a>>,
}

impl Chosen<'_> {
    /// Whether an arm or a rule named the targets, whatever the policy's way.
    pub(crate) fn is_by_rule(&self) -> bool {
        self.front.is_some()
    }

    /// Whether the order depends on how much the prompt needs a large model.
    pub(crate) fn by_complexity(&self) -> bool {
        self.front.is_none() && self.policy.way == Way::Complexity
    }
}

/// Who named a policy.
pub(crate) const BY_REQUEST: &str = "request";
/// The key or its tenant.
pub(crate) const BY_PRINCIPAL: &str = "principal";
/// The alias, or `auto`.
pub(crate) const BY_ALIAS: &str = "alias";

/// Chooses the policy, the arm of an experiment, and the rule that holds.
///
/// # Errors
/// A policy that does not exist.
pub(crate) fn choose<'a>(setup: &'a Setup, question: &'a Question<'_>) -> Result<Chosen<'a>, Error> {
    let (base, named_by) = policy_name(&setup.config, question);
    // Who names a policy or a target has chosen, and takes no part in a split.
    let assigned = if named_by == BY_REQUEST || question.model.contains('/') {
        None
    } else {
        experiment::assign(&setup.config.experiments, question.model, &question.facts, question.recorded)
    };
    let arm = assigned.as_ref().map(|(assigned, _)| *assigned);
    let name = arm.and_then(|assigned| assigned.arm.policy.as_deref()).unwrap_or(base);
    let configured = setup.config.policies.get(name);
    let policy = match configured {
        Some(policy) => Cow::Borrowed(policy),
        None => Cow::Owned(setup.config.policy(name).ok_or_else(|| Error::NoPolicy(name.to_owned()))?),
    };
    let by_arm = arm.filter(|assigned| !assigned.arm.targets.is_empty());
    let front = match by_arm {
        Some(assigned) => Some(Front { by: assigned.told(), targets: &assigned.arm.targets }),
        None => {
            let at = setup.rules.get(name).and_then(|rules| rules.first(&question.facts));
            let rule = at.zip(configured).and_then(|(at, policy)| Some((at, policy.rules.get(at)?)));
            rule.map(|(at, rule)| Front { by: format!("rule {}", at + 1), targets: &rule.targets })
        }
    };
    Ok(Chosen { name, policy, base, named_by, assigned, front })
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
    let Chosen { name, policy, front, assigned, .. } = chosen;
    let targets = resolve(&setup.catalog, &setup.config, question.model)?;
    let regions = setup.regions(question.facts.tenant);
    let judge = |target: &&TargetInfo| refusal(target, question, policy, regions);
    let (mut kept, filtered): (Vec<&TargetInfo>, Vec<&TargetInfo>) =
        targets.into_iter().partition(|t| judge(t).is_none());
    let mut rejected: Vec<Rejected> = filtered.iter().filter_map(judge).collect();
    // Whoever would hardly answer now is left out only while somebody else can.
    let hinders = |target: &&TargetInfo| hindrance(target, question, basis.stats);
    if kept.iter().any(|target| hinders(target).is_none()) {
        rejected.extend(kept.iter().filter_map(hinders));
        kept.retain(|target| hinders(target).is_none());
    }
    if kept.is_empty() {
        return Err(Error::none_left(question.model, question.needs.input_tokens, rejected));
    }
    let mut candidates: Vec<Candidate> =
        kept.into_iter().map(|target| candidate(target, &question.needs, &setup.config)).collect();
    order(&mut candidates, policy, front.as_ref(), basis);
    let reason = candidates.first().map(|first| first.reason.clone()).unwrap_or_default();
    let shadows = shadows(setup, question, policy, basis, &candidates);
    Ok(PlanResponse {
        candidates,
        rejected,
        policy: (*name).to_owned(),
        reason,
        shadows,
        experiment_arm: assigned.as_ref().map(|(a, _)| format!("{}/{}", a.experiment, a.arm.name)),
        ..PlanResponse::default()
    })
}

/// Copies of the request: to targets that could answer it, and are not asked first anyway.
fn shadows(
    setup: &Setup,
    question: &Question<'_>,
    policy: &Policy,
    basis: &Basis<'_>,
    candidates: &[Candidate],
) -> Vec<Candidate> {
    if question.model.contains('/') || setup.config.shadows.is_empty() {
        return Vec::new();
    }
    let first = candidates.first().map_or("", |first| &*first.target_id);
    let copies = experiment::shadows(&setup.config.shadows, question.model, &question.facts);
    copies
        .filter_map(|(name, shadow)| {
            let target = setup.catalog.target(&shadow.target).filter(|target| target.id != first)?;
            let regions = setup.regions(question.facts.tenant);
            let may = hindrance(target, question, basis.stats).is_none()
                && refusal(target, question, policy, regions).is_none();
            may.then(|| experiment::explain(candidate(target, &question.needs, &setup.config), name, shadow))
        })
        .collect()
}

impl<'a> Basis<'a> {
    /// What the order of a question's candidates depends on. `sticky_key` keeps requests together.
    pub(crate) fn of(
        question: &'a Question<'_>,
        chosen: &'a Chosen<'_>,
        stats: &'a Stats,
        learned: &'a Learned,
        needs_large: Option<f64>,
        sticky_key: &'a str,
    ) -> Self {
        let quality = question.wishes.quality.unwrap_or(chosen.policy.quality);
        Self {
            stats,
            learned,
            policy: chosen.name,
            model: question.model,
            request_key: question.facts.request_id,
            sticky_key,
            needs_large,
            threshold: if needs_large.is_some() { MODEL.threshold(quality) } else { 1.0 },
            quality,
        }
    }
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
fn policy_name<'a>(config: &'a Config, question: &'a Question<'_>) -> (&'a str, &'static str) {
    if let Some(own) = question.wishes.name.as_deref().filter(|name| !name.is_empty()) {
        return (own, BY_REQUEST);
    }
    if !question.policy.is_empty() {
        return (question.policy, BY_PRINCIPAL);
    }
    let name = match (config.aliases.get(question.model), question.model) {
        (Some(policy), _) => policy,
        (None, "auto") => &config.auto_policy,
        (None, _) => Way::Fixed.name(),
    };
    (name, BY_ALIAS)
}

/// Why a target cannot answer; the first reason found.
fn refusal(
    target: &TargetInfo,
    question: &Question<'_>,
    policy: &Policy,
    regions: &[String],
) -> Option<Rejected> {
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
    if !target.within(regions) {
        let is = target
            .region()
            .map_or_else(|| "its region is unknown".into(), |region| format!("it is in {region}"));
        return rejected("region", format!("{is}; the tenant's requests stay in {}", regions.join(", ")));
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

/// Why a target would hardly answer now, as reported a moment ago.
fn hindrance(target: &TargetInfo, question: &Question<'_>, stats: &Stats) -> Option<Rejected> {
    let now_ms = question.facts.unix_ms;
    let rejected = |reason: &str, detail: &str| {
        Some(Rejected { target_id: target.id.clone(), reason: reason.to_owned(), detail: detail.to_owned() })
    };
    if stats.is_open(&target.id, now_ms) {
        return rejected("breaker_open", "its breaker was reported open a moment ago");
    }
    // Of several deployments one may have room while another has none: the executor knows which.
    if target.deployments().nth(1).is_none()
        && stats.is_short(&target.id, question.needs.input_tokens, now_ms)
    {
        return rejected(
            "headroom",
            "its provider said a moment ago that its rate limit leaves no room for this",
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
