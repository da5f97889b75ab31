//! What is done about findings.

use std::collections::BTreeMap;

use ring::digest;
use serde::Deserialize;
use signalbox_proto::guard::v1::Action;

use crate::{
    detect::{DETECTORS, needs_words},
    injection::{FAMILIES, LEARNED},
};

/// A policy in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// The policy that it starts from: `default`, `strict` or `off`. Default `default`.
    pub base: Option<String>,
    /// What is done about prompts: a detector (`pii.email`) or a group (`pii`, `secret`, `injection`) and its action.
    pub prompt: BTreeMap<String, ActionName>,
    /// The same about answers. Injection does not apply.
    pub output: BTreeMap<String, ActionName>,
}

/// An action in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// Nothing.
    Allow,
    /// Report it.
    Flag,
    /// Replace the value. Injections cannot be replaced.
    Redact,
    /// Stop the whole.
    Block,
}

impl ActionName {
    const fn action(self) -> Action {
        match self {
            Self::Allow => Action::Allow,
            Self::Flag => Action::Flag,
            Self::Redact => Action::Redact,
            Self::Block => Action::Block,
        }
    }
}

/// A compiled policy: an action for each detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// By index into [`FAMILIES`].
    pub(crate) injection: Vec<Action>,
    /// By index into [`DETECTORS`].
    pub(crate) prompt: Vec<Action>,
    /// By index into [`DETECTORS`].
    pub(crate) output: Vec<Action>,
}

impl Policy {
    fn built_in(name: &str) -> Option<Self> {
        let (injection, prompt, secret_out, pii_out) = match name {
            "default" => (Action::Block, Action::Redact, Action::Redact, Action::Flag),
            "strict" => (Action::Block, Action::Redact, Action::Block, Action::Redact),
            "off" => (Action::Allow, Action::Allow, Action::Allow, Action::Allow),
            _ => return None,
        };
        let output = |id: &str| if id.starts_with("secret.") { secret_out } else { pii_out };
        let strict = name == "strict";
        // Names are what questions are about: replacing them by default would spoil the answers.
        let asked = |id: &str| match id {
            "pii.organization" | "pii.location" if prompt == Action::Redact => Action::Allow,
            "pii.person" if prompt == Action::Redact && !strict => Action::Allow,
            _ => prompt,
        };
        // One of a hundred harmless prompts looks like an attack to the learned head: it blocks where asked to.
        let learned = if injection == Action::Block && !strict { Action::Flag } else { injection };
        let attacks = |id: &str| if id == "injection.learned" { learned } else { injection };
        Some(Self {
            name: name.to_owned(),
            injection: FAMILIES.iter().map(|f| attacks(f.id)).collect(),
            prompt: DETECTORS.iter().map(|d| asked(d.id)).collect(),
            output: DETECTORS.iter().map(|d| output(d.id)).collect(),
        })
    }

    fn compile(name: &str, config: &PolicyConfig) -> Result<Self, String> {
        let base = config.base.as_deref().unwrap_or("default");
        let mut policy = Self::built_in(base).ok_or_else(|| {
            format!("guard.policies.{name}.base is `{base}`; it must be default, strict or off")
        })?;
        policy.name = name.to_owned();
        for (key, action) in &config.prompt {
            let mut known = apply(&mut policy.prompt, DETECTORS.iter().map(|d| d.id), key, action.action());
            let injections =
                apply(&mut policy.injection, FAMILIES.iter().map(|f| f.id), key, action.action());
            if injections && *action == ActionName::Redact {
                return Err(format!(
                    "guard.policies.{name}.prompt.\"{key}\": an injection cannot be redacted; block or flag it"
                ));
            }
            known |= injections;
            if !known {
                return Err(unknown(name, "prompt", key));
            }
        }
        for (key, action) in &config.output {
            if !apply(&mut policy.output, DETECTORS.iter().map(|d| d.id), key, action.action()) {
                return Err(unknown(name, "output", key));
            }
        }
        Ok(policy)
    }

    /// Whether nothing is looked for in answers.
    pub(crate) fn ignores_output(&self) -> bool {
        self.output.iter().all(|action| *action == Action::Allow)
    }

    /// Whether names, places or addresses are looked for in prompts.
    pub(crate) fn reads_names(&self) -> bool {
        self.prompt.iter().enumerate().any(|(at, action)| needs_words(at) && *action != Action::Allow)
    }

    /// Whether the learned tier is asked.
    pub(crate) fn learns(&self) -> bool {
        self.injection[LEARNED] != Action::Allow
    }

    /// A digest of all that decides about a prompt and its answer.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(env!("CARGO_PKG_VERSION").as_bytes());
        for action in self.injection.iter().chain(&self.prompt).chain(&self.output) {
            context.update(&i32::from(*action).to_le_bytes());
        }
        context.finish().as_ref()[..16].to_vec()
    }
}

fn apply<'a>(actions: &mut [Action], ids: impl Iterator<Item = &'a str>, key: &str, action: Action) -> bool {
    let mut known = false;
    for (slot, id) in actions.iter_mut().zip(ids) {
        if id == key || id.split('.').next() == Some(key) {
            *slot = action;
            known = true;
        }
    }
    known
}

fn unknown(policy: &str, place: &str, key: &str) -> String {
    let ids: Vec<&str> = DETECTORS.iter().map(|d| d.id).chain(FAMILIES.iter().map(|f| f.id)).collect();
    format!(
        "guard.policies.{policy}.{place} names the detector `{key}`, which does not exist; known: pii, secret, injection, {}",
        ids.join(", ")
    )
}

/// All policies by name.
#[derive(Debug)]
pub(crate) struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Compiles configured policies beside the built-in ones.
    pub(crate) fn compile(configured: &BTreeMap<String, PolicyConfig>) -> Result<Self, String> {
        let built_in = ["default", "strict", "off"].into_iter().filter_map(Policy::built_in);
        let mut policies: BTreeMap<String, Policy> = built_in.map(|p| (p.name.clone(), p)).collect();
        for (name, config) in configured {
            policies.insert(name.clone(), Policy::compile(name, config)?);
        }
        Ok(Self(policies))
    }

    /// Finds a policy; an empty name is `default`.
    pub(crate) fn get(&self, name: &str) -> Option<&Policy> {
        self.0.get(if name.is_empty() { "default" } else { name })
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Policies, String> {
        let config: BTreeMap<String, PolicyConfig> = [("own".to_owned(), toml(text))].into();
        Policies::compile(&config)
    }

    fn toml(text: &str) -> PolicyConfig {
        signalbox_config::Document::parse(&format!("[guard]\n{text}"), "t").unwrap().section("guard").unwrap()
    }

    #[test]
    fn groups_and_single_detectors_are_set() {
        let policies = compile("prompt = { pii = 'allow', 'pii.email' = 'block' }").unwrap();
        let own = policies.get("own").unwrap();
        let action = |id: &str| own.prompt[DETECTORS.iter().position(|d| d.id == id).unwrap()];
        assert_eq!((action("pii.email"), action("pii.phone")), (Action::Block, Action::Allow));
        assert_eq!(action("secret.jwt"), Action::Redact);
        assert_ne!(own.digest(), policies.get("").unwrap().digest());
    }

    #[test]
    fn names_that_do_not_exist_are_refused() {
        assert!(compile("prompt = { 'pii.mail' = 'block' }").unwrap_err().contains("`pii.mail`"));
        assert!(compile("base = 'lax'").unwrap_err().contains("`lax`"));
        assert!(compile("prompt = { injection = 'redact' }").unwrap_err().contains("cannot be redacted"));
    }
}
