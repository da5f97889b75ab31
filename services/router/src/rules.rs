//! Rules in CEL: compiled at load, evaluated for each request.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, Env, Program, Value,
    common::{
        types::{CelBool, CelInt, CelMap, CelMapKey, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use signalbox_proto::common::v1::Attribution;

use crate::config::Rule;

/// What rules may ask for.
const NAMES: [&str; 11] = [
    "tenant",
    "user",
    "feature",
    "conversation",
    "model",
    "tags",
    "tokens",
    "turns",
    "tools",
    "hour",
    "weekday",
];

/// The compiled rules of a policy, in its order.
pub(crate) struct Rules {
    programs: Vec<Program>,
    /// CEL's own functions and types: making them anew for each request would cost more than the rules.
    language: Arc<Env>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rules").field(&self.programs).finish()
    }
}

/// What is known of a request, for rules.
pub(crate) struct Facts<'a> {
    /// What makes requests equal for shares and splits.
    pub(crate) request_id: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) model: &'a str,
    pub(crate) attribution: &'a Attribution,
    pub(crate) tokens: u64,
    pub(crate) turns: usize,
    pub(crate) tools: bool,
    pub(crate) unix_ms: i64,
}

impl Rules {
    /// Compiles the rules of a policy, whose key in the configuration is `key`.
    ///
    /// # Errors
    /// The rule with line and column, and what is wrong: syntax, an unknown name, or that it never holds.
    pub(crate) fn compile(key: &str, rules: &[Rule]) -> Result<Self, String> {
        let language = Arc::new(Env::stdlib());
        let one = |(at, rule): (usize, &Rule)| {
            let key = format!("{key}.rules[{at}].when");
            let program = Program::compile(&rule.when).map_err(|errors| match errors.errors.first() {
                Some(error) => {
                    format!("{key}, line {}, column {}: {}", error.pos.0, error.pos.1, error.msg)
                }
                None => format!("{key} is not a CEL expression"),
            })?;
            let references = program.references();
            let unknown = references.variables().into_iter().find(|name| {
                // The variables of macros stand in the expression; what is not introduced there is unknown.
                !NAMES.contains(name) && !introduced(&rule.when, name)
            });
            if let Some(name) = unknown {
                let (line, column) = place(&rule.when, name);
                return Err(format!(
                    "{key}, line {line}, column {column}: `{name}` is not known; rules may ask for {}",
                    NAMES.join(", ")
                ));
            }
            let constant = references.variables().is_empty();
            drop(references);
            match constant.then(|| program.execute(&Context::with_env(Arc::clone(&language)))) {
                Some(Ok(Value::Bool(false))) => {
                    Err(format!("{key}, line 1, column 1: `{}` never holds; remove the rule", rule.when))
                }
                Some(Ok(Value::Bool(true))) | None => Ok(program),
                Some(Ok(_)) => Err(format!("{key}, line 1, column 1: `{}` is not a condition", rule.when)),
                Some(Err(error)) => Err(format!("{key}, line 1, column 1: {error}")),
            }
        };
        let programs = rules.iter().enumerate().map(one).collect::<Result<_, String>>()?;
        Ok(Self { programs, language })
    }

    /// The place of the first rule that holds.
    pub(crate) fn first(&self, facts: &Facts<'_>) -> Option<usize> {
        if self.programs.is_empty() {
            return None;
        }
        let mut context = Context::with_env(Arc::clone(&self.language));
        context.set_variable_resolver(facts);
        self.programs.iter().position(|program| matches!(program.execute(&context), Ok(Value::Bool(true))))
    }
}

/// Whether an expression itself brings a name in, as `tags.exists(t, …)` does.
fn introduced(text: &str, name: &str) -> bool {
    name.starts_with('@') || text.replace(' ', "").contains(&format!("({name},"))
}

/// Line and column of a word, from 1.
fn place(text: &str, word: &str) -> (usize, usize) {
    let before = text.find(word).map_or("", |at| &text[..at]);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
}

const HOUR_MS: i64 = 3_600_000;

#[cfg(test)]
impl<'a> Facts<'a> {
    /// A request of which nothing is known but this.
    pub(crate) fn nothing(attribution: &'a Attribution) -> Self {
        Self {
            request_id: "",
            tenant: "",
            model: "",
            attribution,
            tokens: 0,
            turns: 0,
            tools: false,
            unix_ms: 0,
        }
    }
}

/// What a rule does not ask for is not made.
impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| Some(CowVal::owned(CelString::from(text)));
        let or_none = |value: &'b Option<String>| text(value.as_deref().unwrap_or_default());
        let number = |number: i64| Some(CowVal::owned(CelInt::from(number)));
        let whole = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
        match name {
            "tenant" => text(self.tenant),
            "model" => text(self.model),
            "user" => or_none(&self.attribution.user),
            "feature" => or_none(&self.attribution.feature),
            "conversation" => or_none(&self.attribution.conversation_id),
            "tags" => {
                let tags = self.attribution.tags.iter().map(|(key, value)| {
                    let value: Box<dyn Val + 'b> = Box::new(CelString::from(value.as_str()));
                    (CelMapKey::from(key.as_str()), value)
                });
                Some(CowVal::owned(CelMap::from(tags.collect::<HashMap<_, _>>())))
            }
            "tokens" => whole(self.tokens),
            "turns" => whole(self.turns as u64),
            "tools" => Some(CowVal::owned(CelBool::from(self.tools))),
            "hour" => number(self.unix_ms.div_euclid(HOUR_MS).rem_euclid(24)),
            // The first of January 1970 was a Thursday.
            "weekday" => number((self.unix_ms.div_euclid(24 * HOUR_MS) + 3).rem_euclid(7) + 1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(when: &str) -> Result<Rules, String> {
        Rules::compile("router.policies.p", &[Rule { when: when.into(), targets: vec!["a/*".into()] }])
    }

    fn holds(when: &str) -> bool {
        let attribution = Attribution {
            feature: Some("search".into()),
            tags: [("plan".to_owned(), "free".to_owned())].into_iter().collect(),
            ..Attribution::default()
        };
        // Saturday, the first of January 2000, 13:00.
        let facts = Facts {
            request_id: "r",
            tenant: "acme",
            model: "auto",
            attribution: &attribution,
            tokens: 900,
            turns: 3,
            tools: true,
            unix_ms: 946_731_600_000,
        };
        rules(when).unwrap().first(&facts).is_some()
    }

    #[test]
    fn conditions_see_the_request() {
        for when in [
            "tenant == 'acme' && feature == 'search'",
            "tags.plan == 'free'",
            "tokens > 800 && turns >= 3 && tools",
            "hour == 13 && weekday == 6",
            "model in ['auto', 'fast']",
            "['free', 'trial'].exists(p, p == tags.plan)",
            "true",
        ] {
            assert!(holds(when), "{when}");
        }
        for when in ["tags.tier == 'gold'", "tokens > 1000", "user != ''", "tokens"] {
            assert!(!holds(when), "{when}");
        }
    }

    #[test]
    fn what_cannot_hold_is_refused_at_load_with_its_place() {
        for (when, told) in [
            ("tenant ==", "rules[0].when, line 1, column"),
            ("tenant == 'a' &&\n  organisation == 'b'", "line 2, column 3: `organisation` is not known"),
            ("1 > 2", "never holds"),
            ("'text'", "is not a condition"),
            ("1 / 0 > 1", "line 1, column 1"),
        ] {
            let error = rules(when).unwrap_err();
            assert!(error.contains(told), "{when}: {error}");
        }
    }
}
