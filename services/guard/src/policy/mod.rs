//! What is done about findings: by tenant's policy, by source, by detector.

pub(crate) mod catalog;
mod config;
pub(crate) mod own;

use std::{collections::BTreeMap, sync::Arc};

use ring::digest;
use signalbox_proto::{common::v1::Source, guard::v1::Action};

pub use self::config::{
    ActionName, Base, Expression, Judge, Locale, Mask, Name, OnInvalid, PatternConfig, PolicyConfig,
    Requests, RuleConfig, Rules, Share, SourceName, TopicConfig, Unavailable, Validation, WholeAnswers,
    Written,
};
use self::{
    catalog::{CATALOG, family, group},
    own::{Patterns, Pieces, Whole},
};
use crate::{
    detect::{DETECTORS, Locales, needs_words},
    injection::LEARNED,
};

/// What is done about one detector's findings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    /// The least score.
    threshold: Option<f64>,
}

impl Rule {
    /// What is done about a finding of a score; `usual` is the detector's own threshold.
    pub(crate) fn of(self, score: f64, usual: f64) -> Action {
        if score < self.threshold.unwrap_or(usual) { Action::Allow } else { self.action }
    }
}

/// Places of text: user, system, tool, retrieval, answers.
const PLACES: usize = 5;
const ANSWERS: usize = 4;

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// By place, then by index into [`CATALOG`].
    rules: [Vec<Rule>; PLACES],
    patterns: Patterns,
    allow: Vec<Wildcard>,
    pub(crate) links: Vec<Wildcard>,
    allow_tools: Vec<Wildcard>,
    deny_tools: Vec<Wildcard>,
    pub(crate) topics: Vec<TopicConfig>,
    pub(crate) validate: Validation,
    pub(crate) mask: Mask,
    pub(crate) canary: bool,
    pub(crate) closed: bool,
    pub(crate) judge: Option<Judge>,
    requests: Requests,
    pub(crate) locales: Locales,
    pub(crate) whole_answers: WholeAnswers,
    reads_names: bool,
    digest: [u8; 16],
    /// Whether it does nothing at all about answers.
    pub(crate) ignores_output: bool,
}

impl Policy {
    /// Compiles a policy. Errors name the key.
    pub(crate) fn compile(name: &str, config: &Written) -> Result<Self, String> {
        Self::compile_as(name, config, config.shadow)
    }

    fn compile_as(name: &str, config: &Written, shadow: bool) -> Result<Self, String> {
        let act =
            |action: ActionName| Action::from(action).min(if shadow { Action::Flag } else { Action::Block });
        let place = |output: bool, first: &[(String, RuleConfig)], then: &[(String, RuleConfig)]| {
            let built_in = |known| act(catalog::built_in(config.base, known, output));
            let mut rules: Vec<Rule> =
                CATALOG.iter().map(|known| Rule { action: built_in(known), threshold: None }).collect();
            for (key, rule) in first.iter().chain(then) {
                for (slot, known) in rules.iter_mut().zip(&*CATALOG) {
                    if known.place.is_in(output) && (known.id == key || group(known.id) == key) {
                        // A group may hold what cannot be replaced; then it is reported.
                        let action =
                            if known.is_value { act(rule.action) } else { unreplaced(act(rule.action)) };
                        *slot = Rule { action, threshold: rule.threshold.map(|share| share.0) };
                    }
                }
            }
            rules
        };
        let prompt = |own: &[(String, RuleConfig)]| place(false, &config.prompt.0, own);
        let rules = [
            prompt(&config.user.0),
            prompt(&config.system.0),
            prompt(&config.tool.0),
            prompt(&config.retrieval.0),
            place(true, &config.output.0, &[]),
        ];
        check(config)?;
        let patterns = Patterns::compile(config, shadow)?;
        let validate = validation(config, shadow);
        let reads_names = (0..DETECTORS.len()).any(|at| {
            needs_words(at) && rules[..ANSWERS].iter().any(|rules| rules[at].action != Action::Allow)
        });
        let ignores_output = config.whole_answers == WholeAnswers::Off
            && rules[ANSWERS].iter().all(|rule| rule.action == Action::Allow)
            && patterns.output.is_none()
            && (validate.structured, validate.tools) == (OnInvalid::Off, OnInvalid::Off);
        let topic = |topic: &TopicConfig| TopicConfig {
            action: topic.action.min(if shadow { ActionName::Flag } else { ActionName::Block }),
            ..topic.clone()
        };
        Ok(Self {
            name: name.to_owned(),
            rules,
            patterns,
            allow: wildcards(&config.allow),
            links: wildcards(&config.link_hosts),
            allow_tools: wildcards(&config.allow_tools),
            deny_tools: wildcards(&config.deny_tools),
            topics: config.topics.iter().map(topic).collect(),
            validate,
            mask: config.mask,
            canary: config.canary && !shadow,
            closed: config.unavailable == Unavailable::Closed && !shadow,
            judge: config.judge.clone(),
            requests: config.requests.clone(),
            whole_answers: whole_answers(config, shadow),
            locales: Locales::of(config.locales.iter().map(|locale| locale.0.as_str())),
            reads_names,
            digest: digest_of(config, shadow),
            ignores_output,
        })
    }

    /// The rule about a detector, by index into [`CATALOG`], in a prompt's text.
    pub(crate) fn prompt(&self, source: Source, at: usize) -> Rule {
        self.rules[place(source)][at]
    }

    /// The same in an answer.
    pub(crate) fn output(&self, at: usize) -> Rule {
        self.rules[ANSWERS][at]
    }

    /// Own patterns of a prompt's text.
    pub(crate) fn own(&self, source: Source) -> Option<&Arc<Whole>> {
        self.patterns.prompt[place(source)].as_ref()
    }

    /// Own patterns of answers.
    pub(crate) fn own_output(&self) -> Option<&Arc<Pieces>> {
        self.patterns.output.as_ref()
    }

    /// Whether a value is none that counts.
    pub(crate) fn allows(&self, value: &str) -> bool {
        !self.allow.is_empty() && self.allow.iter().any(|wildcard| wildcard.fits(value))
    }

    /// Whether answers may call a tool, and if not, which detector says so; `declared` are the request's.
    pub(crate) fn tool(&self, name: &str, declared: &[String]) -> Option<usize> {
        let denied = self.deny_tools.iter().any(|tool| tool.fits(name))
            || !self.allow_tools.is_empty() && !self.allow_tools.iter().any(|tool| tool.fits(name));
        if denied {
            return Some(catalog::DENIED);
        }
        (!declared.is_empty() && !declared.iter().any(|tool| tool == name)).then_some(catalog::UNDECLARED)
    }

    /// Whether names, places or addresses are looked for in prompts.
    pub(crate) fn reads_names(&self) -> bool {
        self.reads_names
    }

    /// Whether the learned tier is asked.
    pub(crate) fn learns(&self) -> bool {
        let learned = family(LEARNED);
        self.judge.is_some()
            || self.rules[..ANSWERS].iter().any(|rules| rules[learned].action != Action::Allow)
    }

    /// A digest of all that decides about a prompt and its answer.
    pub(crate) fn digest(&self) -> Vec<u8> {
        self.digest.to_vec()
    }
}

fn place(source: Source) -> usize {
    match source {
        Source::System => 1,
        Source::Tool => 2,
        Source::Retrieval => 3,
        // What a model said earlier comes back by the client's hand.
        Source::User | Source::Output | Source::Unspecified => 0,
    }
}

const fn unreplaced(action: Action) -> Action {
    match action {
        Action::Redact => Action::Flag,
        other => other,
    }
}

/// In shadow nothing is held back.
fn whole_answers(config: &Written, shadow: bool) -> WholeAnswers {
    match config.whole_answers {
        WholeAnswers::Hold if shadow => WholeAnswers::Flag,
        other => other,
    }
}

/// In shadow nothing is held back or refused.
fn validation(config: &Written, shadow: bool) -> Validation {
    let mut validate = config.validate.clone();
    if config.base == Base::Off && validate == Validation::default() {
        (validate.structured, validate.tools) = (OnInvalid::Off, OnInvalid::Off);
    }
    if shadow {
        validate.repair = false;
        for one in [&mut validate.structured, &mut validate.tools] {
            if *one != OnInvalid::Off {
                *one = OnInvalid::Flag;
            }
        }
    }
    validate
}

fn check(config: &Written) -> Result<(), String> {
    let lists = [
        ("allow", &config.allow),
        ("link_hosts", &config.link_hosts),
        ("allow_tools", &config.allow_tools),
        ("deny_tools", &config.deny_tools),
    ];
    for (key, list) in lists {
        if let Some(bad) = list.iter().find(|text| Wildcard::of(text).is_none()) {
            return Err(format!("{key} has `{bad}`; a `*` may stand at the ends only, and not alone"));
        }
    }
    for topic in &config.topics {
        let name = &topic.name.0;
        if topic.examples.is_empty() || topic.examples.len() > 64 {
            return Err(format!("topics.{name}.examples needs 1 to 64 sentences"));
        }
        if topic.action == ActionName::Redact {
            return Err(format!("topics.{name}: a subject cannot be redacted; block or flag it"));
        }
        if topic.sources.is_empty() || topic.sources.contains(&SourceName::System) {
            return Err(format!("topics.{name}.sources may name user, tool, retrieval and output"));
        }
        if topic.sources.contains(&SourceName::Output) && config.whole_answers == WholeAnswers::Off {
            let message = "has output, which needs `whole_answers = \"flag\"` or `\"hold\"`";
            return Err(format!("topics.{name}.sources {message}"));
        }
    }
    if let Some(judge) = config.judge.as_ref().filter(|judge| judge.above.0 >= judge.below.0) {
        return Err(format!("judge.above is {} and not below judge.below, {}", judge.above.0, judge.below.0));
    }
    Ok(())
}

/// A digest of the policy as it is written: no key can be forgotten.
fn digest_of(config: &Written, shadow: bool) -> [u8; 16] {
    let written = format!("{} {shadow} {config:?}", env!("CARGO_PKG_VERSION"));
    let mut short = [0; 16];
    short.copy_from_slice(&digest::digest(&digest::SHA256, written.as_bytes()).as_ref()[..16]);
    short
}

/// A text in which a `*` at either end stands for anything. Letter case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wildcard {
    text: String,
    open_start: bool,
    open_end: bool,
}

impl Wildcard {
    fn of(text: &str) -> Option<Self> {
        let (open_start, rest) = text.strip_prefix('*').map_or((false, text), |rest| (true, rest));
        let (open_end, rest) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
        (!rest.is_empty() && !rest.contains('*')).then(|| Self {
            text: rest.to_lowercase(),
            open_start,
            open_end,
        })
    }

    /// Whether a text is meant.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        match (self.open_start, self.open_end) {
            (false, false) => text == self.text,
            (true, false) => text.ends_with(&self.text),
            (false, true) => text.starts_with(&self.text),
            (true, true) => text.contains(&self.text),
        }
    }
}

fn wildcards(texts: &[String]) -> Vec<Wildcard> {
    texts.iter().filter_map(|text| Wildcard::of(text)).collect()
}

/// Why a policy is not given out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No policy has that name.
    Unknown(String),
    /// The tenant's policy does not let requests ask for that.
    NotAllowed(&'static str),
}

/// All policies by name, as they are and in shadow.
#[derive(Debug)]
pub(crate) struct Policies(BTreeMap<String, [Arc<Policy>; 2]>);

impl Policies {
    /// Compiles configured policies beside the built-in ones.
    pub(crate) fn compile(configured: &BTreeMap<String, PolicyConfig>) -> Result<Self, String> {
        let built_in = [("default", Base::Default), ("strict", Base::Strict), ("off", Base::Off)];
        let mut written: BTreeMap<String, PolicyConfig> =
            built_in.into_iter().map(|(name, base)| (name.to_owned(), base.into())).collect();
        written.extend(configured.iter().map(|(name, config)| (name.clone(), config.clone())));
        let mut policies = BTreeMap::new();
        for (name, config) in &written {
            if let Some(missing) = config.requests.policies.iter().find(|other| !written.contains_key(*other))
            {
                return Err(format!(
                    "guard.policies.{name}.requests.policies names `{missing}`, which does not exist"
                ));
            }
            let compile = |shadow| {
                let policy = Policy::compile_as(name, config, shadow);
                policy.map(Arc::new).map_err(|error| format!("guard.policies.{name}: {error}"))
            };
            policies.insert(name.clone(), [compile(config.shadow)?, compile(true)?]);
        }
        Ok(Self(policies))
    }

    /// Finds a policy; an empty name is `default`.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.0.get(if name.is_empty() { "default" } else { name }).map(|[policy, _]| policy)
    }

    /// The policy of a request: the tenant's, or what the request asks for where that one allows it.
    pub(crate) fn of(
        &self,
        tenants: &str,
        wished: Option<&signalbox_proto::common::v1::GuardPolicy>,
    ) -> Result<&Arc<Policy>, Refused> {
        let own = self.get(tenants).ok_or_else(|| Refused::Unknown(tenants.to_owned()))?;
        let Some(wished) = wished else { return Ok(own) };
        let name = match wished.name.as_deref().filter(|name| !name.is_empty() && *name != own.name) {
            Some(name) if own.requests.policies.iter().any(|allowed| allowed == name) => name,
            Some(_) => return Err(Refused::NotAllowed("another guard policy")),
            None => own.name.as_str(),
        };
        if wished.shadow && !own.requests.shadow {
            return Err(Refused::NotAllowed("findings that are reported only"));
        }
        let [policy, shadowed] = self.0.get(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        Ok(if wished.shadow { shadowed } else { policy })
    }

    /// Every policy as it is.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.values().map(|[policy, _]| policy)
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
