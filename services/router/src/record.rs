//! What is kept of a request so that it can be planned again: names, numbers and digests, nothing of what was said.

use signalbox_catalog::Capability;
use signalbox_proto::{
    common::v1::{Attribution, RoutePolicy, RouteRecord},
    router::v1::PlanResponse,
};

use crate::{
    config::{StickTo, Way},
    error::Error,
    hash::digest,
    learned::Learned,
    needs::Needs,
    order::Basis,
    plan::{BY_PRINCIPAL, BY_REQUEST, Chosen, Question, choose, plan},
    rules::Facts,
    setup::Setup,
    stats::Stats,
};

/// Targets that a request itself allows or excludes and that are kept.
const PATTERNS: usize = 16;
/// Bytes of each.
const PATTERN_BYTES: usize = 128;

/// Makes the record of a request. `sticky` is the digest of what keeps it at one target.
pub(crate) fn of(
    question: &Question<'_>,
    chosen: &Chosen<'_>,
    needs_large: Option<f64>,
    sticky: String,
) -> RouteRecord {
    let wishes = &question.wishes;
    let fits = |list: &[String]| list.len() <= PATTERNS && list.iter().all(|one| one.len() <= PATTERN_BYTES);
    let incomplete = !fits(&wishes.allow) || !fits(&wishes.deny);
    let kept = |list: &[String]| if incomplete { Vec::new() } else { list.to_vec() };
    let conversation = || question.facts.attribution.conversation_id.as_deref().filter(|id| !id.is_empty());
    let sticky = match sticky.is_empty() {
        true => conversation().map(|id| digest(question.facts.tenant, id)).unwrap_or_default(),
        false => sticky,
    };
    let (experiment, arm, unit) = match &chosen.assigned {
        Some((assigned, unit)) => (assigned.experiment.to_owned(), assigned.arm.name.clone(), unit.clone()),
        None => Default::default(),
    };
    RouteRecord {
        policy: chosen.base.to_owned(),
        named_by: chosen.named_by.to_owned(),
        needs: question.needs.capabilities.iter().map(ToString::to_string).collect(),
        input_tokens: question.needs.input_tokens,
        max_output_tokens: question.needs.output_tokens,
        turns: u32::try_from(question.facts.turns).unwrap_or(u32::MAX),
        tools: question.facts.tools,
        needs_large,
        quality: wishes.quality,
        sticky,
        experiment,
        arm,
        unit,
        allow: kept(&wishes.allow),
        deny: kept(&wishes.deny),
        max_cost_nanousd: wishes.max_cost_nanousd,
        incomplete,
        learning: None,
    }
}

/// The needs of a recorded request.
fn needs(record: &RouteRecord) -> Needs {
    Needs {
        capabilities: record.needs.iter().filter_map(|name| Capability::named(name)).collect(),
        input_tokens: record.input_tokens,
        output_tokens: record.max_output_tokens,
    }
}

/// The wishes of a recorded request, but for its policy.
fn wishes(record: &RouteRecord) -> RoutePolicy {
    RoutePolicy {
        name: None,
        max_cost_nanousd: record.max_cost_nanousd,
        allow: record.allow.clone(),
        deny: record.deny.clone(),
        quality: record.quality,
        sticky_key: None,
    }
}

/// A request as it was asked, without what was said.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) request_id: String,
    pub(crate) tenant: String,
    /// What was asked for.
    pub(crate) model: String,
    /// On whose behalf; where only a digest of the conversation is known, that stands for it.
    pub(crate) attribution: Attribution,
    /// What the principal may use; empty: all.
    pub(crate) allowed: Vec<String>,
    pub(crate) unix_ms: i64,
    pub(crate) record: RouteRecord,
}

impl Asked {
    /// Plans it again.
    ///
    /// # Errors
    /// As [`plan`].
    pub(crate) fn plan(
        &self,
        setup: &Setup,
        stats: &Stats,
        learned: &Learned,
    ) -> Result<PlanResponse, Error> {
        let record = &self.record;
        let by = |who: &str| if record.named_by == who { record.policy.as_str() } else { "" };
        let facts = Facts {
            request_id: &self.request_id,
            tenant: &self.tenant,
            model: &self.model,
            attribution: &self.attribution,
            tokens: record.input_tokens,
            turns: usize::try_from(record.turns).unwrap_or(usize::MAX),
            tools: record.tools,
            unix_ms: self.unix_ms,
        };
        let question = Question {
            model: &self.model,
            needs: needs(record),
            wishes: RoutePolicy { name: Some(by(BY_REQUEST).to_owned()), ..wishes(record) },
            policy: by(BY_PRINCIPAL),
            allowed: &self.allowed,
            facts,
            recorded: (!record.experiment.is_empty()).then_some((&record.experiment, &record.arm)),
        };
        let chosen = choose(setup, &question)?;
        let user = || self.attribution.user.as_deref().filter(|user| !user.is_empty());
        let sticky = match (chosen.policy.way, chosen.policy.stick_to) {
            (Way::Sticky, StickTo::User) => user().map(|user| digest(&self.tenant, user)).unwrap_or_default(),
            _ => record.sticky.clone(),
        };
        let basis = Basis::of(&question, &chosen, stats, learned, record.needs_large, &sticky);
        plan(setup, &question, &chosen, &basis)
    }
}
