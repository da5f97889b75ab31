//! Known models with the configuration laid over them.

use signalbox_config::{Dialect, Secret, SecretError, Shared, Target};

use crate::{Capability, Price, capability, models};

/// Output limit assumed for a model whose own is unknown, in tokens.
const ASSUMED_MAX_OUTPUT: u64 = 4_096;

/// A model at a provider, with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetInfo {
    /// The stable id, `provider/model`.
    pub id: String,
    /// The provider.
    pub provider: String,
    /// The model as the provider calls it.
    pub model: String,
    /// The wire format.
    pub dialect: Dialect,
    /// The address up to and with the version.
    pub base_url: String,
    /// Tokens; 0: unknown.
    pub context_window: u64,
    /// The most output tokens; a cautious guess where unknown.
    pub max_output: u64,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// `None`: unknown.
    pub price: Option<Price>,
    /// Whether a simulator answers.
    pub simulated: bool,
    /// The share of requests among deployments.
    pub weight: u32,
    /// Limits of its own on time.
    pub limits: TimeLimits,
    /// Requests under way at most; `None`: the executor's bound.
    pub max_in_flight: Option<usize>,
    target: Target,
    /// Further deployments of the same model.
    others: Vec<TargetInfo>,
}

/// Limits of a target's own on time, in milliseconds; absent ones are the executor's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// From an attempt's start to its first output.
    pub first_output_ms: Option<u64>,
    /// Between two pieces of output.
    pub idle_ms: Option<u64>,
    /// From a request's arrival to its end.
    pub total_ms: Option<u64>,
}

impl TargetInfo {
    /// Reads the credential; `None` when the target needs none.
    ///
    /// # Errors
    /// When it is named but cannot be read.
    pub fn secret(&self) -> Result<Option<Secret>, SecretError> {
        self.target.secret()
    }

    /// Whether a credential is there, or none is needed, at any deployment.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.deployments().any(|deployment| deployment.secret().is_ok())
    }

    /// Returns this one and all other deployments of the same model: other addresses or credentials.
    pub fn deployments(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Names where the credential comes from: a variable or a file. Empty: none is needed. Holds nothing secret.
    #[must_use]
    pub fn credential_source(&self) -> String {
        let file = self.target.api_key_file.as_ref().map(|path| path.display().to_string());
        self.target.api_key_env.clone().or(file).unwrap_or_default()
    }

    fn new(target: &Target) -> Self {
        let (provider, id) = (target.provider(), target.id());
        let known = models::find(&provider, &target.model);
        let price = target.price.map(|p| Price {
            input_nanousd_per_mtok: p.input_usd_per_mtok.nanousd(),
            output_nanousd_per_mtok: p.output_usd_per_mtok.nanousd(),
            cached_input_nanousd_per_mtok: p.cached_input_usd_per_mtok.map(signalbox_config::Usd::nanousd),
            cache_write_nanousd_per_mtok: p.cache_write_usd_per_mtok.map(signalbox_config::Usd::nanousd),
        });
        let capabilities = match &target.capabilities {
            Some(names) => names.iter().filter_map(|name| Capability::named(name)).collect(),
            None => capability::of_model(&target.model),
        };
        Self {
            context_window: target
                .context_window_tokens
                .or_else(|| known.map(|k| k.context_window))
                .unwrap_or(0),
            max_output: target.max_output_tokens.unwrap_or(ASSUMED_MAX_OUTPUT),
            price: price.or_else(|| known.and_then(|k| k.price)),
            simulated: provider == "simulated",
            weight: target.weight.unwrap_or(1),
            limits: TimeLimits {
                first_output_ms: target.first_output_ms,
                idle_ms: target.idle_ms,
                total_ms: target.total_ms,
            },
            max_in_flight: target.max_in_flight,
            others: Vec::new(),
            model: target.model.clone(),
            dialect: target.dialect,
            base_url: target.base_url.clone(),
            target: target.clone(),
            id,
            provider,
            capabilities,
        }
    }
}

/// Aliases and targets of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    // Few enough that a list is fastest, and it keeps the file's order.
    aliases: Vec<(String, Vec<TargetInfo>)>,
}

impl Catalog {
    /// Lays a configuration over the known models.
    #[must_use]
    pub fn new(shared: &Shared) -> Self {
        let targets = |alias: &signalbox_config::ModelAlias| {
            let mut targets: Vec<TargetInfo> = Vec::with_capacity(alias.targets.len());
            for target in alias.targets.iter().map(TargetInfo::new) {
                match targets.iter_mut().find(|known| known.id == target.id) {
                    Some(known) => known.others.push(target),
                    None => targets.push(target),
                }
            }
            targets
        };
        Self { aliases: shared.models.iter().map(|(name, alias)| (name.clone(), targets(alias))).collect() }
    }

    /// Returns the aliases with their targets, in configured order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &[TargetInfo])> {
        self.aliases.iter().map(|(name, targets)| (name.as_str(), targets.as_slice()))
    }

    /// Returns the targets behind what a request asks for: an alias's in order, all of them for `auto`, one for
    /// `provider/model`. `None`: nothing of that name is configured.
    #[must_use]
    pub fn resolve(&self, model: &str) -> Option<Vec<&TargetInfo>> {
        if model == "auto" {
            return (!self.aliases.is_empty()).then(|| self.targets().collect());
        }
        if let Some((_, targets)) = self.aliases.iter().find(|(name, _)| name == model) {
            return Some(targets.iter().collect());
        }
        self.target(model).map(|target| vec![target])
    }

    /// Returns a target by its id.
    #[must_use]
    pub fn target(&self, id: &str) -> Option<&TargetInfo> {
        self.targets().find(|target| target.id == id)
    }

    /// Returns all targets, each id once, in configured order.
    pub fn targets(&self) -> impl Iterator<Item = &TargetInfo> {
        let all = || self.aliases.iter().flat_map(|(_, targets)| targets);
        let mut seen = std::collections::HashSet::new();
        all().filter(move |target| seen.insert(target.id.as_str()))
    }

    /// Returns some names that can be asked for, for an error message.
    #[must_use]
    pub fn some_names(&self) -> String {
        let names: Vec<&str> = self.aliases.iter().map(|(name, _)| name.as_str()).take(10).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use signalbox_config::Document;

    use super::*;

    fn catalog() -> Catalog {
        let text = "
            [models.fast]
            targets = [
              { base_url = 'https://api.openai.com/v1', model = 'gpt-4.1-mini', api_key_env = 'SURELY_UNSET_KEY' },
              { base_url = 'http://127.0.0.1:1/v1', model = 'llama', provider = 'lab',
                price = { input_usd_per_mtok = '0.02', output_usd_per_mtok = '0.04' }, capabilities = ['vision'] },
            ]
            [models.twice]
            targets = [
              { base_url = 'http://127.0.0.1:1/v1', model = 'm', provider = 'two', api_key_env = 'UNSET_ONE' },
              { base_url = 'http://127.0.0.1:2/v1', model = 'm', provider = 'two', weight = 3, idle_ms = 7 },
            ]
            [models.again]
            targets = [{ base_url = 'https://api.openai.com/v1', model = 'gpt-4.1-mini', api_key_env = 'SURELY_UNSET_KEY' }]";
        Catalog::new(&Document::parse(text, "t").unwrap().shared().unwrap())
    }

    #[test]
    fn resolves_aliases_targets_and_auto() {
        let catalog = catalog();
        let ids =
            |model: &str| catalog.resolve(model).map(|t| t.iter().map(|t| t.id.clone()).collect::<Vec<_>>());
        assert_eq!(ids("fast").unwrap(), ["openai/gpt-4.1-mini", "lab/llama"]);
        assert_eq!(ids("lab/llama").unwrap(), ["lab/llama"]);
        assert_eq!(ids("auto").unwrap().len(), 3, "each target once");
        let twice = catalog.resolve("twice").unwrap();
        assert_eq!(twice.len(), 1, "two deployments are one target");
        let deployments: Vec<_> = twice[0].deployments().map(|d| (d.weight, d.limits.idle_ms)).collect();
        assert_eq!(deployments, [(1, None), (3, Some(7))]);
        assert!(twice[0].has_credential(), "one of them can be asked");
        assert_eq!(ids("slow"), None);
        assert_eq!(ids("openai/gpt-9"), None);
    }

    #[test]
    fn the_configuration_goes_before_what_is_known() {
        let catalog = catalog();
        let mini = catalog.target("openai/gpt-4.1-mini").unwrap();
        assert_eq!(mini.context_window, 1_000_000);
        assert_eq!(mini.price.unwrap().input_nanousd_per_mtok, 400_000_000);
        assert!(!mini.has_credential());
        let llama = catalog.target("lab/llama").unwrap();
        assert_eq!(llama.price.unwrap().output_nanousd_per_mtok, 40_000_000);
        assert_eq!(llama.capabilities, [Capability::Vision]);
        assert!(llama.has_credential());
    }
}
