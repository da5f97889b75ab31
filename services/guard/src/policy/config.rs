//! A policy as it is written. What is written wrongly is refused where it stands: the reader of the file adds line and column.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use signalbox_proto::guard::v1::Action;

use super::catalog::{CATALOG, group};
use crate::detect::CODES;

/// A policy in the configuration, `[guard.policies.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "Written")]
pub struct PolicyConfig(Written);

impl std::ops::Deref for PolicyConfig {
    type Target = Written;

    fn deref(&self) -> &Written {
        &self.0
    }
}

impl TryFrom<Written> for PolicyConfig {
    type Error = String;

    /// Compiles it once, for its errors.
    fn try_from(written: Written) -> Result<Self, String> {
        super::Policy::compile("", &written).map(|_| Self(written))
    }
}

impl From<Base> for PolicyConfig {
    fn from(base: Base) -> Self {
        Self(Written { base, ..Written::default() })
    }
}

/// The keys of a policy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// The built-in policy that it starts from: `default`, `strict` or `off`. Default `default`.
    pub base: Base,
    /// What is done about prompts, whoever wrote them: a detector (`pii.email`) or a group (`pii`, `secret`, `injection`), and
    /// an action (`allow`, `flag`, `redact`, `block`), or `{ action = "block", threshold = 0.8 }`. The nearer name counts.
    pub prompt: Rules<false>,
    /// The same for what users write; goes before `prompt`.
    pub user: Rules<false>,
    /// The same for system and developer messages; goes before `prompt`. Attacks are not looked for in them.
    pub system: Rules<false>,
    /// The same for what tools return; goes before `prompt`.
    pub tool: Rules<false>,
    /// The same for what retrieval brings; goes before `prompt`.
    pub retrieval: Rules<false>,
    /// What is done about answers: values that the prompt did not contain, secrets, `leak`, `link`, `tool`.
    pub output: Rules<true>,
    /// Countries, by their two letters (`["de", "us"]`), whose own identity and tax numbers are looked for, and phone numbers as they
    /// are written there without a country's code. Fewer countries mean fewer false findings. Default: all that are known.
    pub locales: Vec<Locale>,
    /// What happens about what only a whole answer shows: names, places and street addresses, values in a disguise, topics.
    /// Default `off`: they are not looked for in answers, which stream.
    pub whole_answers: WholeAnswers,
    /// Values that are no finding, wherever they stand: whole values in any letter case; a `*` at either end stands for
    /// anything (`*@example.com`). Applies to `pii` and `secret`.
    pub allow: Vec<String>,
    /// Words and phrases that block, wherever they stand, in any letter case: the detector `own.deny`.
    pub deny: Vec<String>,
    /// Own patterns and word lists: detectors `own.NAME`.
    pub patterns: Vec<PatternConfig>,
    /// Subjects of prompts and answers, by examples: detectors `topic.NAME`. They need the embedding model.
    pub topics: Vec<TopicConfig>,
    /// Hosts that links in answers may lead to, also with data; `*.example.com` stands for all below. Default: none.
    pub link_hosts: Vec<String>,
    /// Tools that answers may call; `get_*` stands for all that begin so. Default: all that the request declares.
    pub allow_tools: Vec<String>,
    /// Tools that answers may not call; goes before `allow_tools`.
    pub deny_tools: Vec<String>,
    /// How the form of answers is checked.
    pub validate: Validation,
    /// What stands in for a value that is replaced. Default `placeholder`.
    pub mask: Mask,
    /// Whether a mark is hidden in the system prompt, by which a leak of it is known for sure. The model sees a line more.
    /// Default false.
    pub canary: bool,
    /// Whether findings are only reported: for trying a policy out. Default false.
    pub shadow: bool,
    /// What happens to a prompt that the learned tier, a topic, the classifier or the judge was to judge and could not.
    /// Default `open`: it passes on its patterns, and is flagged.
    pub unavailable: Unavailable,
    /// A model that is asked about prompts of which the learned tier is not sure. Default: none.
    pub judge: Option<Judge>,
    /// What requests may ask for by themselves.
    pub requests: Requests,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            base: Base::Default,
            prompt: Rules::default(),
            user: Rules::default(),
            system: Rules::default(),
            tool: Rules::default(),
            retrieval: Rules::default(),
            output: Rules::default(),
            locales: Vec::new(),
            whole_answers: WholeAnswers::Off,
            allow: Vec::new(),
            deny: Vec::new(),
            patterns: Vec::new(),
            topics: Vec::new(),
            link_hosts: Vec::new(),
            allow_tools: Vec::new(),
            deny_tools: Vec::new(),
            validate: Validation::default(),
            mask: Mask::default(),
            canary: false,
            shadow: false,
            unavailable: Unavailable::Open,
            judge: None,
            requests: Requests::default(),
        }
    }
}

/// A built-in policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Blocks attacks, replaces values in prompts, reports or replaces them in answers.
    #[default]
    Default,
    /// Blocks and replaces what `default` reports.
    Strict,
    /// Does nothing.
    Off,
}

/// An action in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// Nothing.
    Allow,
    /// Report it.
    Flag,
    /// Replace the value. Attacks cannot be replaced.
    Redact,
    /// Stop the whole.
    Block,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Allow => Self::Allow,
            ActionName::Flag => Self::Flag,
            ActionName::Redact => Self::Redact,
            ActionName::Block => Self::Block,
        }
    }
}

/// What is done about a detector's findings, and from which score on.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// What is done.
    pub action: ActionName,
    /// The least score, 0 to 1. Default: what the detector thinks right.
    #[serde(default)]
    pub threshold: Option<Share>,
}

/// A number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(pub f64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err("must be between 0 and 1".into()) }
    }
}

/// Rules by detector or group, in the order in which they apply: groups first. `OUTPUT`: those of answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules<const OUTPUT: bool>(pub Vec<(String, RuleConfig)>);

impl<'de, const OUTPUT: bool> Deserialize<'de> for Rules<OUTPUT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<const OUTPUT: bool>;

        impl<'de, const OUTPUT: bool> Visitor<'de> for Map<OUTPUT> {
            type Value = Rules<OUTPUT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("detectors or groups with their actions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut rules = Vec::new();
                while let Some(Selector(key)) = map.next_key::<Selector<OUTPUT>>()? {
                    let rule = map.next_value_seed(RuleOf(&key))?;
                    rules.push((key, rule));
                }
                rules.sort_by_key(|(key, _)| key.contains('.'));
                Ok(Rules(rules))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

/// The name of a detector or group that applies to answers, or to prompts.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Selector<const OUTPUT: bool>(String);

impl<const OUTPUT: bool> TryFrom<String> for Selector<OUTPUT> {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        let here = || CATALOG.iter().filter(|known| known.place.is_in(OUTPUT)).map(|known| known.id);
        if here().any(|id| id == key || group(id) == key) {
            return Ok(Self(key));
        }
        let place = if OUTPUT { "answers" } else { "prompts" };
        let groups: BTreeSet<&str> = here().map(group).collect();
        let names: Vec<&str> = groups.into_iter().chain(here()).collect();
        Err(format!(
            "names the detector `{key}`, which does not exist for {place}; known: {}",
            names.join(", ")
        ))
    }
}

/// Reads an action alone, or with a threshold; refuses to replace what cannot be replaced.
struct RuleOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for RuleOf<'_> {
    type Value = RuleConfig;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RuleConfig, D::Error> {
        struct Either<'a>(PhantomData<&'a ()>);

        impl<'de> Visitor<'de> for Either<'_> {
            type Value = RuleConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action, or a table with action and threshold")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RuleConfig, E> {
                let action = ActionName::deserialize(serde::de::value::StrDeserializer::new(name))?;
                Ok(RuleConfig { action, threshold: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RuleConfig, A::Error> {
                RuleConfig::deserialize(MapAccessDeserializer::new(map))
            }
        }

        let rule = deserializer.deserialize_any(Either(PhantomData))?;
        let replaceable =
            CATALOG.iter().any(|known| known.is_value && (known.id == self.0 || group(known.id) == self.0));
        if rule.action == ActionName::Redact && !replaceable {
            let message =
                format!("`{}` cannot be redacted: it is no value in the text; block or flag it", self.0);
            return Err(D::Error::custom(message));
        }
        Ok(rule)
    }
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// Users.
    User,
    /// The application.
    System,
    /// Tools.
    Tool,
    /// Retrieval.
    Retrieval,
    /// Answers.
    Output,
}

/// An own pattern or word list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternConfig {
    /// Its name, `[a-z0-9_]{1,48}`; its detector is `own.NAME`.
    pub name: Name,
    /// A regular expression without look-around; a match in an answer may have 4,096 bytes.
    #[serde(default)]
    pub pattern: Option<Expression>,
    /// Words and phrases, found as whole words.
    #[serde(default)]
    pub words: Vec<String>,
    /// What is done. Default `redact`.
    #[serde(default = "redact")]
    pub action: ActionName,
    /// Where it is looked for. Default: everywhere.
    #[serde(default)]
    pub sources: BTreeSet<SourceName>,
    /// Whether letter case counts. Default false.
    #[serde(default)]
    pub case_sensitive: bool,
    /// The word of its placeholders, `[A-Z0-9_]{1,48}`. Default: the name in capitals.
    #[serde(default)]
    pub placeholder: Option<String>,
}

const fn redact() -> ActionName {
    ActionName::Redact
}

/// A name of lower-case letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(pub String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > 48 || !name.bytes().all(legal) || name == "deny" {
            return Err("must have 1 to 48 of the characters a-z 0-9 _, and not be `deny`".into());
        }
        Ok(Self(name))
    }
}

/// A country whose numbers are known, by its ISO 3166 code.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Locale(pub String);

impl TryFrom<String> for Locale {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        let lower = code.to_ascii_lowercase();
        if CODES.contains(&lower.as_str()) {
            return Ok(Self(lower));
        }
        Err(format!("`{code}` is no country whose numbers are known; known: {}", CODES.join(", ")))
    }
}

/// A regular expression that compiles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Expression(pub String);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let compiled = regex::Regex::new(&text).map_err(|error| {
            let message = error.to_string();
            let last = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the pattern is not a regular expression: {last}")
        })?;
        if compiled.is_match("") {
            return Err("the pattern matches the empty text; have it need at least one character".into());
        }
        Ok(Self(text))
    }
}

/// A subject.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicConfig {
    /// Its name, as a pattern's; its detector is `topic.NAME`.
    pub name: Name,
    /// Sentences about it, as users would write them; 1 to 64.
    pub examples: Vec<String>,
    /// The least cosine similarity to an example. Default 0.55.
    #[serde(default = "close")]
    pub threshold: Share,
    /// What is done: `flag` or `block`. Default `block`.
    #[serde(default = "block")]
    pub action: ActionName,
    /// Whose texts it is looked for in: `user`, `tool`, `retrieval`, and `output` where `whole_answers` is not off.
    /// Default `["user"]`.
    #[serde(default = "users")]
    pub sources: BTreeSet<SourceName>,
}

fn users() -> BTreeSet<SourceName> {
    BTreeSet::from([SourceName::User])
}

const fn close() -> Share {
    Share(0.55)
}

const fn block() -> ActionName {
    ActionName::Block
}

/// How the form of an answer is checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// An answer that was to be JSON, or JSON of a schema, and is not. Default `flag`.
    pub structured: OnInvalid,
    /// Arguments of a tool call that do not fit the tool's declared parameters. Default `flag`.
    pub tools: OnInvalid,
    /// Whether small faults of JSON are mended: code fences, words around it, trailing commas, missing ends. The answer is held
    /// back until it is whole. Default false.
    pub repair: bool,
    /// Largest answer or arguments that are checked, in bytes. Default 1,048,576.
    pub max_bytes: usize,
}

impl Default for Validation {
    fn default() -> Self {
        Self { structured: OnInvalid::Flag, tools: OnInvalid::Flag, repair: false, max_bytes: 1 << 20 }
    }
}

/// What happens to an answer of the wrong form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// It is not checked.
    Off,
    /// It passes, with a notice.
    Flag,
    /// The request fails with OUTPUT_INVALID; what was released before stays with the client.
    Error,
    /// The model is asked once more, with what is wrong; then as `error`. The answer is held back until it is whole.
    Retry,
}

/// What happens about what only a whole answer shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WholeAnswers {
    /// It is not looked for.
    #[default]
    Off,
    /// The answer streams; what is found is reported before its end.
    Flag,
    /// The answer is held back until it is whole; what is found is reported, replaced or blocks, as `output` says.
    Hold,
}

/// What stands in for a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// `<EMAIL_1>`.
    #[default]
    Placeholder,
    /// Other letters and digits in the same places, where the value has a form of its own; else a placeholder.
    Format,
}

/// What happens when a check cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// The prompt passes, and is flagged.
    Open,
    /// The prompt is blocked.
    Closed,
}

/// A judge model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// The alias of the model.
    pub model: String,
    /// The learned tier's score from which on the judge is asked. Default 0.2.
    #[serde(default = "above")]
    pub above: Share,
    /// The score from which on there is no doubt. Default 0.95.
    #[serde(default = "below")]
    pub below: Share,
}

const fn above() -> Share {
    Share(0.2)
}

const fn below() -> Share {
    Share(0.95)
}

/// What requests may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requests {
    /// Policies that a request may name instead of this one. Default: none.
    pub policies: Vec<String>,
    /// Whether a request may have findings reported only. Default false.
    pub shadow: bool,
}
