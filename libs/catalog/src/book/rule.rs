//! Which names mean a model.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// A rule on names, in lower case. In the file a text: `=equal`, `^beginning`, `$end`, `*part` or `~regular expression`; a list
/// of which one holds; or an object whose list `all` holds altogether.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Rule {
    Equals(String),
    Begins(String),
    Ends(String),
    Contains(String),
    Matches(Box<Regex>),
    Any(Vec<Rule>),
    All(Vec<Rule>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Any(Vec<Rule>),
    All { all: Vec<Rule> },
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Any(rules) => return Ok(Self::Any(rules)),
            Written::All { all } => return Ok(Self::All(all)),
            Written::One(text) => text,
        };
        let Some((sign, rest)) = text.split_at_checked(1).filter(|(_, rest)| !rest.is_empty()) else {
            return Err(format!("`{text}` is no rule; write a sign of = ^ $ * ~ and a text"));
        };
        let lower = || rest.to_lowercase();
        Ok(match sign {
            "=" => Self::Equals(lower()),
            "^" => Self::Begins(lower()),
            "$" => Self::Ends(lower()),
            "*" => Self::Contains(lower()),
            "~" => {
                let regex = RegexBuilder::new(rest).case_insensitive(true).size_limit(1 << 20).build();
                Self::Matches(Box::new(regex.map_err(|error| format!("`{rest}`: {error}"))?))
            }
            _ => return Err(format!("`{text}` is no rule; write a sign of = ^ $ * ~ and a text")),
        })
    }
}

impl Rule {
    /// Whether a name, in lower case, is meant.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match self {
            Self::Equals(text) => name == text,
            Self::Begins(text) => name.starts_with(text.as_str()),
            Self::Ends(text) => name.ends_with(text.as_str()),
            Self::Contains(text) => name.contains(text.as_str()),
            Self::Matches(regex) => regex.is_match(name),
            Self::Any(rules) => rules.iter().any(|rule| rule.covers(name)),
            Self::All(rules) => rules.iter().all(|rule| rule.covers(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<Rule, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn each_sign_means_something() {
        for (json, yes, no) in [
            (r#""=GPT-4""#, "gpt-4", "gpt-4o"),
            (r#""^gpt-4""#, "gpt-4o", "a-gpt-4"),
            (r#""$-mini""#, "gpt-4o-mini", "mini-1"),
            (r#""*claude""#, "us.anthropic.claude-x", "clau"),
            (r#""~^o[134]$""#, "o3", "o2"),
            (r#"["=a", "=b"]"#, "b", "c"),
            (r#"{"all": ["^a", "$z"]}"#, "a-z", "a-y"),
        ] {
            let rule = rule(json).unwrap();
            assert!(rule.covers(yes) && !rule.covers(no), "{json}");
        }
        for bad in [r#""gpt-4""#, r#""=""#, r#""""#, r#""~(""#, "7"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
