//! The file, and the environment laid over it.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{ModelAlias, Prices, Redis, Shared, Telemetry, Tenant};

/// The sections that a file may have.
pub const SECTIONS: [&str; 13] = [
    "models",
    "tenants",
    "telemetry",
    "prices",
    "redis",
    "mesh",
    "embed",
    "gateway",
    "guard",
    "cache",
    "router",
    "executor",
    "metering",
];

const PREFIX: &str = "SIGNALBOX__";

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .place.as_ref().map(|p| format!("{p}: ")).unwrap_or_default())]
pub struct ConfigError {
    /// `file:line:column`, or the environment variable.
    pub place: Option<String>,
    /// What is wrong and what to change; names the key.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

/// A parsed file with the environment laid over it.
#[derive(Debug, Clone)]
pub struct Document {
    name: String,
    text: String,
    /// `SIGNALBOX__SECTION__KEY=value`, as (variable, path, TOML text of the value).
    overrides: Vec<(String, Vec<String>, String)>,
}

impl Document {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, a section that nobody knows, a variable that names none.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (text, name) = match path {
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
                    place: Some(name.clone()),
                    message: format!("cannot be read: {error}"),
                })?;
                (text, name)
            }
            None => (String::new(), "built-in defaults".to_owned()),
        };
        let variables =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::with_environment(&text, &name, variables)
    }

    /// Parses text; `name` stands for the file in errors. The environment is left out.
    ///
    /// # Errors
    /// Text that is no TOML, or a section that nobody knows.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::with_environment(text, name, std::iter::empty())
    }

    /// Parses text and lays variables over it.
    ///
    /// # Errors
    /// As [`Document::load`].
    pub fn with_environment(
        text: &str,
        name: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut overrides = Vec::new();
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let path: Vec<String> = rest.to_lowercase().split("__").map(str::to_owned).collect();
            if path.len() < 2 || !SECTIONS.contains(&path[0].as_str()) {
                return Err(ConfigError {
                    message: format!(
                        "is not of the form {PREFIX}<SECTION>__<KEY>; sections: {}",
                        SECTIONS.join(", ")
                    ),
                    place: Some(variable),
                });
            }
            // What is no TOML value is a string.
            let is_value = DeValue::parse(&value).is_ok();
            let value = if is_value { value } else { toml::Value::String(value).to_string() };
            overrides.push((variable, path, value));
        }
        let document = Self { name: name.to_owned(), text: text.to_owned(), overrides };
        let root = document.root()?;
        for key in root.get_ref().keys() {
            let known = SECTIONS.iter().copied();
            if !SECTIONS.contains(&key.get_ref().as_ref()) {
                let message =
                    format!("unknown section `{}`{}", key.get_ref(), suggestion(key.get_ref(), known));
                return Err(document.error(Some(key.span().start), message));
            }
        }
        Ok(document)
    }

    fn root(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(&self.text).map_err(|e| self.error(e.span().map(|s| s.start), e.message().to_owned()))
    }

    /// Reads a section; absent, its default. Variables go before the file.
    ///
    /// # Errors
    /// The line, column and key at fault, with a suggestion for a misspelt key; or the variable.
    pub fn section<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, ConfigError> {
        let mut root = self.root()?;
        let at_file = root.get_mut().remove(section);
        let has_file = at_file.is_some();
        let mut value = at_file.unwrap_or_else(|| Spanned::new(0..0, DeValue::Table(DeTable::default())));
        let overrides: Vec<_> = self.overrides.iter().filter(|(_, path, _)| path[0] == section).collect();
        if !has_file && overrides.is_empty() {
            return Ok(T::default());
        }
        // Each variable gets a position of its own behind the file, by which an error is told to be its.
        for (index, (variable, path, text)) in overrides.iter().enumerate() {
            let at = self.text.len() + 1 + index;
            let new = DeValue::parse(text).map_err(|e| ConfigError {
                place: Some(variable.clone()),
                message: e.message().to_owned(),
            })?;
            insert(&mut value, &path[1..], new.into_inner(), at)
                .map_err(|message| ConfigError { place: Some(variable.clone()), message })?;
        }
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
            let at = error.span().map(|span| span.start);
            let message = format!("[{section}] {}", explain(error.message()));
            match at.and_then(|at| at.checked_sub(self.text.len() + 1)).and_then(|index| overrides.get(index))
            {
                Some((variable, ..)) => ConfigError { place: Some(variable.clone()), message },
                None => self.error(at, message),
            }
        })
    }

    /// Reads what all services share.
    ///
    /// # Errors
    /// The first problem; see [`Document::shared_problems`] for all.
    pub fn shared(&self) -> Result<Shared, ConfigError> {
        let shared = self.shared_unchecked()?;
        match shared.problems().into_iter().next() {
            Some((key, problem)) => Err(self.at_key(&key, &problem)),
            None => Ok(shared),
        }
    }

    /// Lists what is wrong with the shared parts, one entry a problem.
    #[must_use]
    pub fn shared_problems(&self) -> Vec<ConfigError> {
        match self.shared_unchecked() {
            Ok(shared) => shared.problems().iter().map(|(key, problem)| self.at_key(key, problem)).collect(),
            Err(error) => vec![error],
        }
    }

    fn shared_unchecked(&self) -> Result<Shared, ConfigError> {
        self.refuse_inline_keys()?;
        Ok(Shared {
            models: self.section::<indexmap::IndexMap<String, ModelAlias>>("models")?,
            tenants: self.section::<indexmap::IndexMap<String, Tenant>>("tenants")?,
            telemetry: self.section::<Telemetry>("telemetry")?,
            prices: self.section::<Prices>("prices")?,
            redis: Some(self.section::<Redis>("redis")?).filter(|redis| *redis != Redis::default()),
        })
    }

    /// A key written into the file is refused with its remedy, and not repeated.
    fn refuse_inline_keys(&self) -> Result<(), ConfigError> {
        match self.text.find("api_key ").or_else(|| self.text.find("api_key=")) {
            Some(at) if !self.text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') => Err(self.error(
                Some(at),
                "api_key: secrets do not stand in the file; name a variable with api_key_env, or a file with api_key_file"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// An error about a key that the types accepted: shown at the first line that names its last but one segment.
    fn at_key(&self, key: &str, problem: &str) -> ConfigError {
        let name = key.split('.').nth(1).unwrap_or(key);
        let at = self.text.find(&format!(".{name}]")).or_else(|| self.text.find(&format!(".\"{name}\"]")));
        let at = at.or_else(|| self.text.find(&format!("[{name}]")));
        self.error(at.map(|at| at + 1), format!("{key} {problem}"))
    }

    fn error(&self, at: Option<usize>, message: String) -> ConfigError {
        let place = match at.filter(|at| *at <= self.text.len()) {
            Some(at) => {
                let before = self.text.get(..at).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{}:{line}:{column}", self.name)
            }
            None => self.name.clone(),
        };
        ConfigError { place: Some(place), message }
    }
}

fn insert<'i>(
    into: &mut Spanned<DeValue<'i>>,
    path: &[String],
    value: DeValue<'i>,
    at: usize,
) -> Result<(), String> {
    let DeValue::Table(table) = into.get_mut() else {
        return Err("a key on its way is no table in the file".into());
    };
    let Some((first, rest)) = path.split_first() else { return Err("names no key".into()) };
    let key = Spanned::new(at..at, std::borrow::Cow::Owned(first.clone()));
    if rest.is_empty() {
        // Removed first: a key that stays keeps its old position, which would blame the file.
        table.remove(first.as_str());
        table.insert(key, Spanned::new(at..at, value));
        return Ok(());
    }
    let inner = table.entry(key).or_insert_with(|| Spanned::new(at..at, DeValue::Table(DeTable::default())));
    insert(inner, rest, value, at)
}

/// Adds a suggestion to serde's words about an unknown key.
fn explain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let Some((key, known)) = rest.split_once('`') else { return message.to_owned() };
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let listed = if known.is_empty() { String::new() } else { format!("; known: {}", known.join(", ")) };
    format!("unknown key `{key}`{}{listed}", suggestion(key, known.iter().copied()))
}

fn suggestion<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (distance(key, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

/// Edits between two words: insertions, deletions, substitutions, and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Guard {
        listen: String,
        limits: Limits,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        bytes: u64,
    }

    impl Default for Guard {
        fn default() -> Self {
            Self { listen: "default".into(), limits: Limits::default() }
        }
    }

    fn guard(text: &str, variables: &[(&str, &str)]) -> Result<Guard, String> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Document::with_environment(text, "f.toml", variables)
            .and_then(|d| d.section("guard"))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn reads_defaults_the_file_and_variables_in_this_order() {
        assert_eq!(guard("", &[]).unwrap().listen, "default");
        assert_eq!(guard("[guard]\nlisten = 'file'", &[]).unwrap().listen, "file");
        let over = [("SIGNALBOX__GUARD__LISTEN", "127.0.0.1:1"), ("SIGNALBOX__GUARD__LIMITS__BYTES", "7")];
        let read = guard("[guard]\nlisten = 'file'", &over).unwrap();
        assert_eq!(read, Guard { listen: "127.0.0.1:1".into(), limits: Limits { bytes: 7 } });
    }

    #[test]
    fn names_line_column_and_key_with_a_suggestion() {
        let error = guard("# c\n[guard]\nlisten = 'a'\nlimist = {}\n", &[]).unwrap_err();
        assert_eq!(
            error,
            "f.toml:4:1: [guard] unknown key `limist`; did you mean `limits`?; known: listen, limits"
        );
        let error = guard("[gaurd]\n", &[]).unwrap_err();
        assert_eq!(error, "f.toml:1:2: unknown section `gaurd`; did you mean `guard`?");
        let error = guard("[guard]\nlimits = { bytes = 'many' }", &[]).unwrap_err();
        assert!(error.starts_with("f.toml:2:20: [guard] invalid type"), "{error}");
        assert!(guard("[guard\n", &[]).unwrap_err().starts_with("f.toml:1:"));
    }

    #[test]
    fn names_the_variable_at_fault() {
        let error = guard("", &[("SIGNALBOX__GUARD__LIMITS__BYTES", "many")]).unwrap_err();
        assert!(error.starts_with("SIGNALBOX__GUARD__LIMITS__BYTES: [guard] invalid type"), "{error}");
        let error = guard("", &[("SIGNALBOX__GAURD__LISTEN", "x")]).unwrap_err();
        assert!(error.starts_with("SIGNALBOX__GAURD__LISTEN: is not of the form"), "{error}");
    }

    #[test]
    fn refuses_inline_secrets_without_repeating_them() {
        let text = "[models.a]\ntargets = [{ base_url = 'http://h/v1', model = 'm', api_key = 'sk-secret' }]";
        let error = Document::parse(text, "f.toml").unwrap().shared().unwrap_err().to_string();
        assert!(
            error.contains("f.toml:2:") && error.contains("api_key_env") && !error.contains("sk-secret"),
            "{error}"
        );
    }

    #[test]
    fn shared_parts_are_checked_beyond_their_types() {
        let problems = |text: &str| Document::parse(text, "f.toml").unwrap().shared_problems();
        let found =
            problems("[models.a]\ntargets = [{ base_url = 'ftp://h', model = 'm' }]\n[tenants.Acme]\n");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("f.toml:1:") && found[1].contains("tenants.Acme"), "{found:?}");
        assert!(problems("[models.a]\ntargets = [{ base_url = 'http://h/v1', model = 'm' }]").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}|(\\[(models|guard)(\\.[a-z]+)?\\]\n|[a-z]+ = [0-9'\\[{}]*\n){0,6}") {
            if let Ok(document) = Document::parse(&text, "f") {
                let _read: Result<Guard, _> = document.section("guard");
                let _problems = document.shared_problems();
            }
        }
    }
}
