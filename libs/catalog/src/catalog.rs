//! Known models with the configuration laid over them.

use std::{borrow::Cow, path::PathBuf};

use signalbox_config::{Dialect, Secret, SecretError, Shared, Target, UnknownPrice, Usd};

use crate::{Book, Capability, Price, Tariff, capability, price::Rates};

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
    /// The vocabulary that the configuration names.
    pub tokenizer_file: Option<PathBuf>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// The price that is valid last; `None`: unknown.
    pub price: Option<Price>,
    /// The price at any time; `None`: unknown.
    pub tariff: Option<Tariff>,
    /// Whether the price is not known but the one that the configuration states for such models.
    pub price_assumed: bool,
    /// Whether a simulator answers.
    pub simulated: bool,
    /// The share of requests among deployments.
    pub weight: u32,
    /// Limits of its own on time.
    pub limits: TimeLimits,
    /// Requests under way at most; `None`: the executor's bound.
    pub max_in_flight: Option<usize>,
    /// Whether its answers are streamed.
    pub streams: bool,
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

    /// Whether every deployment is in one of the regions, because any of them may be asked; with none given, always.
    #[must_use]
    pub fn within(&self, regions: &[String]) -> bool {
        self.deployments().all(|deployment| deployment.target.within(regions))
    }

    /// Where it is, as configured.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.target.region.as_deref()
    }

    /// Names where the credential comes from: a variable or a file. Empty: none is needed. Holds nothing secret.
    #[must_use]
    pub fn credential_source(&self) -> String {
        let file = self.target.api_key_file.as_ref().map(|path| path.display().to_string());
        self.target.api_key_env.clone().or(file).unwrap_or_default()
    }

    fn new(target: &Target, book: &Book, unknown: &UnknownPrice) -> Self {
        let (provider, id) = (target.provider(), target.id());
        let known = book.find(&provider, &target.base_url, &target.model);
        let own = target.price.map(|price| Tariff::flat(configured(&price)));
        let assumed = match unknown {
            UnknownPrice::Assume(price) => Some(Tariff::flat(configured(price))),
            UnknownPrice::Zero | UnknownPrice::Refuse => None,
        };
        let sure = own.or_else(|| known.as_ref().and_then(|k| k.tariff.clone()));
        // A simulator is free, whatever is assumed of others.
        let assumed = assumed.filter(|_| provider != "simulated");
        let (price_assumed, tariff) = (sure.is_none() && assumed.is_some(), sure.or(assumed));
        let capabilities = match &target.capabilities {
            Some(names) => names.iter().filter_map(|name| Capability::named(name)).collect(),
            None => known
                .as_ref()
                .and_then(|k| k.capabilities.clone())
                .unwrap_or_else(|| capability::of_model(&target.model)),
        };
        Self {
            context_window: target
                .context_window_tokens
                .or_else(|| known.as_ref().and_then(|k| k.context_window))
                .unwrap_or(0),
            max_output: target
                .max_output_tokens
                .or_else(|| known.as_ref().and_then(|k| k.max_output))
                .unwrap_or(ASSUMED_MAX_OUTPUT),
            price: tariff.as_ref().and_then(Tariff::latest),
            tariff,
            price_assumed,
            simulated: provider == "simulated",
            weight: target.weight.unwrap_or(1),
            limits: TimeLimits {
                first_output_ms: target.first_output_ms,
                idle_ms: target.idle_ms,
                total_ms: target.total_ms,
            },
            max_in_flight: target.max_in_flight,
            streams: target.stream.unwrap_or(true),
            others: Vec::new(),
            tokenizer_file: target.tokenizer_file.clone(),
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

/// A price of the configuration.
fn configured(price: &signalbox_config::Price) -> Price {
    let rate = |usd: Option<Usd>| usd.map(Usd::nanousd);
    let rates = Rates {
        input_nanousd_per_mtok: price.input_usd_per_mtok.nanousd(),
        output_nanousd_per_mtok: price.output_usd_per_mtok.nanousd(),
        cached_input_nanousd_per_mtok: rate(price.cached_input_usd_per_mtok),
        cache_write_nanousd_per_mtok: rate(price.cache_write_usd_per_mtok),
        cache_write_1h_nanousd_per_mtok: rate(price.cache_write_1h_usd_per_mtok),
        reasoning_nanousd_per_mtok: rate(price.reasoning_usd_per_mtok),
        audio_input_nanousd_per_mtok: rate(price.audio_input_usd_per_mtok),
        cached_audio_nanousd_per_mtok: None,
        audio_output_nanousd_per_mtok: rate(price.audio_output_usd_per_mtok),
        image_input_nanousd_per_mtok: rate(price.image_input_usd_per_mtok),
        image_output_nanousd_per_mtok: rate(price.image_output_usd_per_mtok),
    };
    let long = price.long.map(|long| {
        let rates = Rates {
            input_nanousd_per_mtok: long.input_usd_per_mtok.nanousd(),
            output_nanousd_per_mtok: long.output_usd_per_mtok.nanousd(),
            cached_input_nanousd_per_mtok: rate(long.cached_input_usd_per_mtok)
                .or(rates.cached_input_nanousd_per_mtok),
            cache_write_nanousd_per_mtok: rate(long.cache_write_usd_per_mtok)
                .or(rates.cache_write_nanousd_per_mtok),
            ..rates
        };
        (long.above_input_tokens, rates)
    });
    Price {
        rates,
        long,
        request_nanousd: price.request_usd.map_or(0, Usd::nanousd),
        batch_percent: price.batch_percent.unwrap_or(0),
    }
}

/// The price book of a configuration. A file that cannot be read leaves the built-in book; metering refuses to start with it.
fn book(shared: &Shared) -> Cow<'static, Book> {
    match shared.prices.file.as_deref().map(Book::read) {
        Some(Ok(book)) => Cow::Owned(book),
        Some(Err(error)) => {
            tracing::warn!(%error, "the file of prices cannot be read; the built-in prices are used");
            Cow::Borrowed(Book::built_in())
        }
        None => Cow::Borrowed(Book::built_in()),
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
        let book = book(shared);
        let targets = |alias: &signalbox_config::ModelAlias| {
            let mut targets: Vec<TargetInfo> = Vec::with_capacity(alias.targets.len());
            for target in
                alias.targets.iter().map(|target| TargetInfo::new(target, &book, &shared.prices.unknown))
            {
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
    fn a_target_is_within_a_region_if_all_its_deployments_are() {
        let text = "[models.m]\ntargets = [
            { base_url = 'http://a/v1', model = 'm', provider = 'p', region = 'eu' },
            { base_url = 'http://b/v1', model = 'm', provider = 'p', region = 'us' },
            { base_url = 'http://c/v1', model = 'n', provider = 'p' }]";
        let catalog = Catalog::new(&Document::parse(text, "t").unwrap().shared().unwrap());
        let within = |id: &str, regions: &[&str]| {
            let regions: Vec<String> = regions.iter().map(|region| (*region).to_owned()).collect();
            catalog.target(id).unwrap().within(&regions)
        };
        assert!(within("p/m", &["eu", "us"]) && !within("p/m", &["eu"]) && within("p/m", &[]));
        assert!(!within("p/n", &["eu"]) && within("p/n", &[]), "what is unknown is nowhere");
    }

    #[test]
    fn the_configuration_goes_before_what_is_known() {
        let catalog = catalog();
        let mini = catalog.target("openai/gpt-4.1-mini").unwrap();
        assert_eq!(mini.context_window, 1_000_000);
        assert_eq!(mini.price.unwrap().rates.input_nanousd_per_mtok, 400_000_000);
        assert!(!mini.has_credential());
        let llama = catalog.target("lab/llama").unwrap();
        assert_eq!(llama.price.unwrap().rates.output_nanousd_per_mtok, 40_000_000);
        assert_eq!(llama.capabilities, [Capability::Vision]);
        assert!(llama.has_credential());
    }

    #[test]
    fn an_unknown_price_is_unknown_or_assumed_as_the_configuration_says() {
        let target = |prices: &str, target: &str| {
            let text = format!(
                "{prices}\n[models.m]\ntargets = [{{ base_url = 'http://127.0.0.1:1/v1', {target} }}]"
            );
            let catalog = Catalog::new(&Document::parse(&text, "t").unwrap().shared().unwrap());
            let target = catalog.targets().next().unwrap();
            (target.price.map(|price| price.rates.input_nanousd_per_mtok), target.price_assumed)
        };
        let assume = "[prices]\nunknown = { input_usd_per_mtok = '3', output_usd_per_mtok = '15' }";
        assert_eq!(target("", "model = 'x'"), (None, false));
        assert_eq!(target("[prices]\nunknown = 'refuse'", "model = 'x'"), (None, false));
        assert_eq!(target(assume, "model = 'x'"), (Some(3_000_000_000), true));
        assert_eq!(target(assume, "model = 'x', provider = 'simulated'"), (None, false));
        assert_eq!(target(assume, "model = 'gpt-4.1', provider = 'openai'"), (Some(2_000_000_000), false));
        let own = "model = 'x', price = { input_usd_per_mtok = '1', output_usd_per_mtok = '1' }";
        assert_eq!(target(assume, own), (Some(1_000_000_000), false));
    }
}
