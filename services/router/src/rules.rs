//! Rules in CEL: compiled at load, evaluated for each request.

use std::collections::HashMap;

use cel::{Context, Program, Value};
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
#[derive(Debug)]
pub(crate) struct Rules(Vec<Program>);

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
            match constant.then(|| program.execute(&Context::default())) {
                Some(Ok(Value::Bool(false))) => {
                    Err(format!("{key}, line 1, column 1: `{}` never holds; remove the rule", rule.when))
                }
                Some(Ok(Value::Bool(true))) | None => Ok(program),
                Some(Ok(_)) => Err(format!("{key}, line 1, column 1: `{}` is not a condition", rule.when)),
                Some(Err(error)) => Err(format!("{key}, line 1, column 1: {error}")),
            }
        };
        Ok(Self(rules.iter().enumerate().map(one).collect::<Result<_, String>>()?))
    }

    /// The place of the first rule that holds.
    pub(crate) fn first(&self, facts: &Facts<'_>) -> Option<usize> {
        if self.0.is_empty() {
            return None;
        }
        let context = facts.context();
        self.0.iter().position(|program| matches!(program.execute(&context), Ok(Value::Bool(true))))
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

impl Facts<'_> {
    fn context(&self) -> Context<'static, 'static> {
        let mut context = Context::default();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let tags: HashMap<String, String> =
            self.attribution.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        context.add_variable_from_value("tenant", self.tenant.to_owned());
        context.add_variable_from_value("model", self.model.to_owned());
        context.add_variable_from_value("user", text(self.attribution.user.as_ref()));
        context.add_variable_from_value("feature", text(self.attribution.feature.as_ref()));
        context.add_variable_from_value("conversation", text(self.attribution.conversation_id.as_ref()));
        context.add_variable_from_value("tags", tags);
        context.add_variable_from_value("tokens", whole(self.tokens));
        context.add_variable_from_value("turns", whole(self.turns as u64));
        context.add_variable_from_value("tools", self.tools);
        context.add_variable_from_value("hour", self.unix_ms.div_euclid(HOUR_MS).rem_euclid(24));
        // The first of January 1970 was a Thursday.
        let day = self.unix_ms.div_euclid(24 * HOUR_MS);
        context.add_variable_from_value("weekday", (day + 3).rem_euclid(7) + 1);
        context
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
