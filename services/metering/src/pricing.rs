//! Prices: what a request may cost at most, and what an attempt did cost.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use signalbox_catalog::{Capability, Catalog, Price, Rates, TargetInfo, Tariff, Usage, tokens::Loaded};
use signalbox_config::{Dialect, Live, Shared, UnknownPrice};

use crate::{counting::Counted, ledger::Tokens, refusal::Refusal, reservation::Quote};

/// The version under which an unknown price is recorded.
const UNKNOWN: &str = "unknown";
/// The name that stands for every configured target.
const AUTO: &str = "auto";

/// What a request for a model may reach.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    /// By whose rules tokens are counted.
    pub(crate) vocabulary: Counted,
    /// The largest context window, in tokens; 0 where one is unknown.
    window: u64,
    /// The largest output limit, in tokens.
    max_output: u64,
    /// What each target may cost, at any time.
    prices: Vec<Price>,
    /// Whether requests are refused because nobody knows what a target costs.
    unpriced: Option<String>,
    /// Whether a target may think unseen, or gives its answers whole: whoever counts output on the way counts too little, or too late.
    pub(crate) hides: bool,
}

/// What an attempt cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) nanousd: i64,
    pub(crate) unknown: bool,
    /// The price itself, so that the ledger proves its own sums: see [`version`].
    pub(crate) version: Arc<str>,
}

/// The prices of one configuration.
#[derive(Debug, Default)]
struct Tariffs {
    configuration: u64,
    models: HashMap<String, Arc<Reach>>,
    targets: HashMap<String, Charged>,
    known: String,
    /// When the file of prices was last changed, if there is one.
    changed: Option<SystemTime>,
}

/// What a target costs.
#[derive(Debug)]
struct Charged {
    tariff: Tariff,
    /// Whether the price is one that the configuration assumes.
    assumed: bool,
    /// Each price with its words.
    versions: Vec<(Price, Arc<str>)>,
}

impl Charged {
    fn of(tariff: Tariff, assumed: bool) -> Self {
        let versions = tariff.prices().map(|price| (*price, version(price, assumed).into())).collect();
        Self { tariff, assumed, versions }
    }

    fn version(&self, price: &Price) -> Arc<str> {
        let known = self.versions.iter().find(|(known, _)| known == price);
        known.map_or_else(|| version(price, self.assumed).into(), |(_, words)| Arc::clone(words))
    }
}

/// The prices of the present configuration.
#[derive(Debug)]
pub(crate) struct Pricing {
    shared: Live<Shared>,
    tariffs: ArcSwap<Tariffs>,
    unknown: Arc<str>,
}

impl Pricing {
    /// Reads the prices of a configuration.
    pub(crate) fn new(shared: Live<Shared>) -> Self {
        let tariffs = ArcSwap::from_pointee(Tariffs::of(&shared));
        Self { shared, tariffs, unknown: UNKNOWN.into() }
    }

    /// What a request for a model may reach.
    pub(crate) fn reach(&self, model: &str) -> Result<Arc<Reach>, Refusal> {
        let tariffs = self.tariffs();
        tariffs.models.get(model).cloned().ok_or_else(|| Refusal::ModelUnknown {
            model: model.chars().take(256).collect(),
            known: tariffs.known.clone(),
        })
    }

    /// What an attempt at a target cost that began at a time, in milliseconds since 1970. Where the price is unknown the cost is
    /// 0 or what the configuration assumes, and marked.
    pub(crate) fn cost(&self, target: &str, tokens: &Tokens, began_unix_ms: i64) -> Priced {
        let used = tokens.input > 0 || tokens.output > 0;
        let tariffs = self.tariffs();
        let charged = tariffs.targets.get(target);
        match charged.and_then(|charged| Some((charged, charged.tariff.at(began_unix_ms)?))) {
            Some((charged, price)) => {
                let nanousd = price.cost(&usage(tokens));
                Priced { nanousd, unknown: charged.assumed && used, version: charged.version(&price) }
            }
            None => Priced { nanousd: 0, unknown: used, version: Arc::clone(&self.unknown) },
        }
    }

    /// The price of an output token at a target, in pico-dollars, rounded up: the dearest, whatever the time and the length of
    /// the prompt. `None`: not configured.
    pub(crate) fn output_picousd(&self, target: &str) -> Option<i64> {
        let tariffs = self.tariffs();
        tariffs.targets.get(target).map(|charged| {
            let rates = charged.tariff.prices().flat_map(|price| {
                std::iter::once(&price.rates).chain(price.long.as_ref().map(|(_, rates)| rates))
            });
            picousd(rates.map(Rates::dearest_output).max().unwrap_or(0))
        })
    }

    /// Reads the prices again if their file was changed. Blocks while it reads.
    pub(crate) fn refresh(&self) {
        let current = self.tariffs.load();
        if current.changed != changed(&self.shared.load()) {
            self.tariffs.store(Arc::new(Tariffs::of(&self.shared)));
        }
    }

    fn tariffs(&self) -> Arc<Tariffs> {
        let current = self.tariffs.load_full();
        if current.configuration == self.shared.version() {
            return current;
        }
        let new = Arc::new(Tariffs::of(&self.shared));
        self.tariffs.store(Arc::clone(&new));
        new
    }
}

impl Tariffs {
    fn of(shared: &Live<Shared>) -> Self {
        // The version first: a swap in between is then noticed the next time.
        let configuration = shared.version();
        let shared = shared.load();
        let changed = changed(&shared);
        let refuses = shared.prices.unknown == UnknownPrice::Refuse;
        let catalog = Catalog::new(&shared);
        let (mut models, mut targets) = (HashMap::new(), HashMap::new());
        let aliases = catalog.aliases().map(|(name, _)| name);
        for name in aliases.chain(catalog.targets().map(|target| target.id.as_str())).chain([AUTO]) {
            if let Some(reached) = catalog.resolve(name) {
                models.insert(name.to_owned(), Arc::new(Reach::of(&reached, refuses)));
            }
        }
        for target in catalog.targets() {
            if let Some(tariff) = target.tariff.clone() {
                targets.insert(target.id.clone(), Charged::of(tariff, target.price_assumed));
            }
        }
        Self { configuration, models, targets, known: catalog.some_names(), changed }
    }
}

/// When the file of prices was last changed.
fn changed(shared: &Shared) -> Option<SystemTime> {
    shared.prices.file.as_ref().and_then(|file| std::fs::metadata(file).ok()?.modified().ok())
}

/// The first target's rules stand for all: most requests go there.
fn counted(target: &TargetInfo) -> Counted {
    let vocabulary = target.tokenizer_file.as_deref().map(Loaded::read);
    if let Some(Err(error)) = &vocabulary {
        tracing::warn!(model = %target.id, %error, "the tokenizer_file cannot be read; the model's family is counted by instead");
    }
    Counted {
        // Google's two doors have one host, and count differently.
        provider: match target.dialect {
            Dialect::Gemini => "gemini".to_owned(),
            Dialect::Vertex => "vertex".to_owned(),
            _ => target.provider.clone(),
        },
        model: target.model.clone(),
        responses: matches!(target.dialect, Dialect::OpenaiResponses | Dialect::AzureResponses),
        vocabulary: vocabulary.and_then(Result::ok),
    }
}

impl Reach {
    fn of(targets: &[&TargetInfo], refuses: bool) -> Self {
        let windows = || targets.iter().map(|target| target.context_window);
        let tariffs = targets.iter().filter_map(|target| target.tariff.as_ref());
        let unpriced = targets.iter().find(|target| target.tariff.is_none() && !target.simulated);
        Self {
            vocabulary: targets.first().map(|target| counted(target)).unwrap_or_default(),
            window: if windows().any(|window| window == 0) { 0 } else { windows().max().unwrap_or(0) },
            max_output: targets.iter().map(|target| target.max_output).max().unwrap_or(0),
            prices: tariffs.flat_map(|tariff| tariff.prices().copied()).collect(),
            unpriced: unpriced.filter(|_| refuses).map(|target| target.id.clone()),
            hides: targets.iter().any(|target| {
                target.capabilities.contains(&Capability::Reasoning)
                    || target.deployments().any(|deployment| !deployment.streams)
            }),
        }
    }

    /// The most that a request may cost; `limit` is its own limit on output, `an_hour` whether it asks for input to be kept in the
    /// provider's cache for so long.
    pub(crate) fn quote(
        &self,
        input_tokens: u64,
        limit: Option<u32>,
        an_hour: bool,
    ) -> Result<Quote, Refusal> {
        if let Some(target) = &self.unpriced {
            let remedy = "give the target a `price`, or set `[prices] unknown` to zero or a price";
            return Err(Refusal::invalid(
                "chat.model",
                format!("nobody knows what {target} costs; {remedy}"),
            ));
        }
        if self.window > 0 && input_tokens > self.window {
            return Err(Refusal::ContextTooLong { tokens: input_tokens, most: self.window });
        }
        let whole = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let dearest = |of: fn(&Rates) -> i64| {
            self.prices.iter().map(|price| of(price.rates_at(input_tokens))).max().unwrap_or(0)
        };
        let input_rate = if an_hour { Rates::dearest_input_kept } else { Rates::dearest_input };
        let input = i128::from(input_tokens) * i128::from(dearest(input_rate));
        let request = self.prices.iter().map(|price| price.request_nanousd).max().unwrap_or(0);
        Ok(Quote {
            input_tokens: whole(input_tokens),
            output_tokens: whole(limit.map_or(self.max_output, u64::from)),
            // Rounded up: the bill is rounded once, at its end, and must not exceed this.
            fixed_nanousd: i64::try_from((input + 999_999).div_euclid(1_000_000))
                .unwrap_or(i64::MAX)
                .saturating_add(request),
            output_picousd: picousd(dearest(Rates::dearest_output)),
        })
    }
}

/// Nano-dollars per million tokens are femto-dollars per token; a thousand of those are a pico-dollar.
fn picousd(nanousd_per_mtok: i64) -> i64 {
    nanousd_per_mtok.saturating_add(999).div_euclid(1_000)
}

/// The price in words: input, output, cached input and cache write, in nano-dollars per million tokens; then what else there is:
/// the price of long prompts, of other kinds of tokens, of a request.
fn version(price: &Price, assumed: bool) -> String {
    let mut text = rates(&price.rates);
    if let Some((above, long)) = &price.long {
        text.push_str(&format!(";long>{above}={}", rates(long)));
    }
    if price.request_nanousd != 0 {
        text.push_str(&format!(";request={}", price.request_nanousd));
    }
    if assumed {
        text.push_str(";assumed");
    }
    text
}

fn rates(rates: &Rates) -> String {
    let part = |price: Option<i64>| price.map_or_else(|| "-".to_owned(), |nanousd| nanousd.to_string());
    let (cached, written) =
        (part(rates.cached_input_nanousd_per_mtok), part(rates.cache_write_nanousd_per_mtok));
    let mut text =
        format!("{}/{}/{cached}/{written}", rates.input_nanousd_per_mtok, rates.output_nanousd_per_mtok);
    for (name, rate) in [
        ("cache_write_1h", rates.cache_write_1h_nanousd_per_mtok),
        ("reasoning", rates.reasoning_nanousd_per_mtok),
        ("audio_in", rates.audio_input_nanousd_per_mtok),
        ("audio_out", rates.audio_output_nanousd_per_mtok),
    ] {
        if let Some(rate) = rate {
            text.push_str(&format!(",{name}={rate}"));
        }
    }
    text
}

fn usage(tokens: &Tokens) -> Usage {
    let whole = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    Usage {
        input_tokens: whole(tokens.input),
        output_tokens: whole(tokens.output),
        cached_input_tokens: whole(tokens.cached_input),
        cache_write_tokens: whole(tokens.cache_write),
        cache_write_1h_tokens: whole(tokens.cache_write_1h),
        reasoning_tokens: whole(tokens.reasoning),
        audio_input_tokens: whole(tokens.audio_input),
        audio_output_tokens: whole(tokens.audio_output),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signalbox_config::Document;

    use super::*;

    fn shared(text: &str) -> Shared {
        Document::parse(text, "test").unwrap().shared().unwrap()
    }

    fn pricing() -> Pricing {
        Pricing::new(Live::new(shared(
            "[models.both]
            targets = [
              { base_url = 'http://a/v1', model = 'small', provider = 'lab', context_window_tokens = 1000,
                price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2.0005', cache_write_usd_per_mtok = '1.25' } },
              { base_url = 'http://a/v1', model = 'large', provider = 'lab', context_window_tokens = 9000,
                max_output_tokens = 8000, price = { input_usd_per_mtok = '0.5', output_usd_per_mtok = '4' } },
            ]
            [models.free]
            targets = [{ base_url = 'http://b/v1', model = 'unpriced', provider = 'home' }]",
        )))
    }

    #[test]
    fn a_quote_is_the_dearest_of_all_that_may_answer() {
        let pricing = pricing();
        let quote = pricing.reach("both").unwrap().quote(1_000, Some(100), false).unwrap();
        assert_eq!((quote.fixed_nanousd, quote.output_picousd), (1_250_000, 4_000_000));
        assert_eq!(quote.amount(100).nanousd, 1_250_000 + 400_000);
        assert_eq!(pricing.reach("both").unwrap().quote(1, None, false).unwrap().output_tokens, 8_000);
        let output =
            |model: &str| pricing.reach(model).unwrap().quote(1, None, false).unwrap().output_picousd;
        assert_eq!((output("auto"), output("lab/small")), (4_000_000, 2_000_500));
        assert!(matches!(pricing.reach("gpt-9"), Err(Refusal::ModelUnknown { .. })));
    }

    #[test]
    fn a_prompt_that_fits_no_window_is_refused_and_unknown_windows_fit_all() {
        let pricing = pricing();
        assert!(pricing.reach("both").unwrap().quote(9_000, None, false).is_ok());
        assert!(matches!(
            pricing.reach("both").unwrap().quote(9_001, None, false),
            Err(Refusal::ContextTooLong { .. })
        ));
        assert!(pricing.reach("free").unwrap().quote(1 << 40, None, false).is_ok());
    }

    #[test]
    fn output_is_counted_on_its_way_only_where_all_of_it_is_seen() {
        let hides = |more: &str| {
            let target = format!("{{ base_url = 'http://a/v1', model = 'm', provider = 'lab'{more} }}");
            let shared = shared(&format!(
                "[models.some]\ntargets = [{{ base_url = 'http://a/v1', model = 'n', provider = 'lab' }}, {target}]"
            ));
            Pricing::new(Live::new(shared)).reach("some").unwrap().hides
        };
        assert!(!hides("") && !hides(", stream = true"));
        assert!(hides(", stream = false") && hides(", capabilities = ['reasoning']"));
    }

    #[test]
    fn costs_say_by_which_price() {
        let pricing = pricing();
        let tokens = Tokens { input: 1_000, output: 10, cache_write: 400, ..Tokens::default() };
        let priced = pricing.cost("lab/small", &tokens, 0);
        assert_eq!((priced.nanousd, priced.unknown), (600_000 + 500_000 + 20_005, false));
        assert_eq!(&*priced.version, "1000000000/2000500000/-/1250000000");
        let unknown = pricing.cost("home/unpriced", &tokens, 0);
        assert_eq!((unknown.nanousd, unknown.unknown, &*unknown.version), (0, true, "unknown"));
        assert!(!pricing.cost("home/unpriced", &Tokens::default(), 0).unknown, "nothing was used");
    }

    #[test]
    fn a_long_prompt_and_each_request_are_reserved_and_billed() {
        let pricing = Pricing::new(Live::new(shared(
            "[models.long]
            targets = [{ base_url = 'http://a/v1', model = 'm', provider = 'lab', price = {
              input_usd_per_mtok = '1', output_usd_per_mtok = '2', request_usd = '0.001',
              long = { above_input_tokens = 100, input_usd_per_mtok = '3', output_usd_per_mtok = '4' } } }]",
        )));
        let quote = |tokens| {
            pricing.reach("long").unwrap().quote(tokens, Some(10), false).unwrap().amount(10).nanousd
        };
        let cost =
            |input| pricing.cost("lab/m", &Tokens { input, output: 10, ..Tokens::default() }, 0).nanousd;
        assert_eq!((quote(100), cost(100)), (1_000_000 + 100_000 + 20_000, 1_000_000 + 100_000 + 20_000));
        assert_eq!((quote(101), cost(101)), (1_000_000 + 303_000 + 40_000, 1_000_000 + 303_000 + 40_000));
        assert_eq!(pricing.output_picousd("lab/m"), Some(4_000_000));
        let version = pricing.cost("lab/m", &Tokens { input: 1, ..Tokens::default() }, 0).version;
        assert_eq!(&*version, "1000000000/2000000000/-/-;long>100=3000000000/4000000000/-/-;request=1000000");
    }

    #[test]
    fn what_is_kept_for_an_hour_is_reserved_and_billed_so() {
        let pricing = Pricing::new(Live::new(shared(
            "[models.kept]
            targets = [{ base_url = 'http://a/v1', model = 'm', provider = 'lab', price = { input_usd_per_mtok = '1',
              output_usd_per_mtok = '2', cache_write_usd_per_mtok = '1.25', cache_write_1h_usd_per_mtok = '2' } }]",
        )));
        let quote =
            |an_hour| pricing.reach("kept").unwrap().quote(100, Some(0), an_hour).unwrap().fixed_nanousd;
        assert_eq!((quote(false), quote(true)), (125_000, 200_000));
        let tokens = Tokens { input: 100, cache_write: 60, cache_write_1h: 50, ..Tokens::default() };
        let priced = pricing.cost("lab/m", &tokens, 0);
        assert_eq!(priced.nanousd, 40_000 + 12_500 + 100_000);
        assert_eq!(&*priced.version, "1000000000/2000000000/-/1250000000,cache_write_1h=2000000000");
    }

    #[test]
    fn an_unknown_price_is_refused_or_assumed_as_configured() {
        let model = "[models.m]\ntargets = [{ base_url = 'http://b/v1', model = 'm', provider = 'home' }]";
        let with = |prices: &str| Pricing::new(Live::new(shared(&format!("[prices]\n{prices}\n{model}"))));
        let refused = with("unknown = 'refuse'").reach("m").unwrap().quote(1, None, false);
        assert!(
            matches!(refused, Err(Refusal::Invalid { ref what, .. }) if what.contains("home/m")),
            "{refused:?}"
        );
        let assumed = with("unknown = { input_usd_per_mtok = '3', output_usd_per_mtok = '15' }");
        assert_eq!(assumed.reach("m").unwrap().quote(10, Some(1), false).unwrap().fixed_nanousd, 30_000);
        let priced = assumed.cost("home/m", &Tokens { input: 10, ..Tokens::default() }, 0);
        assert_eq!((priced.nanousd, priced.unknown), (30_000, true));
        assert_eq!(&*priced.version, "3000000000/15000000000/-/-;assumed");
    }

    #[test]
    fn a_changed_file_of_prices_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |input: &str, age_s: u64| {
            let line = format!(
                "{{\"of\": \"openai\", \"model\": \"gpt-4o\", \"prices\": [{{\"input\": \"{input}\"}}]}}"
            );
            std::fs::write(file.path(), line).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + age_s);
            file.as_file().set_modified(at).unwrap();
        };
        write("1", 0);
        let target = "{ base_url = 'http://b/v1', model = 'gpt-4o', provider = 'openai' }";
        let text = format!("[prices]\nfile = '{}'\n[models.m]\ntargets = [{target}]", file.path().display());
        let pricing = Pricing::new(Live::new(shared(&text)));
        let cost =
            || pricing.cost("openai/gpt-4o", &Tokens { input: 1_000_000, ..Tokens::default() }, 0).nanousd;
        assert_eq!(cost(), 1_000_000_000);
        write("7", 1);
        assert_eq!(cost(), 1_000_000_000, "not before it is looked at");
        pricing.refresh();
        assert_eq!(cost(), 7_000_000_000);
    }

    #[test]
    fn an_attempt_costs_what_was_valid_when_it_began() {
        let target = "{ base_url = 'http://b/v1', model = 'o3', provider = 'openai' }";
        let pricing = Pricing::new(Live::new(shared(&format!("[models.m]\ntargets = [{target}]"))));
        let cost =
            |at| pricing.cost("openai/o3", &Tokens { input: 1_000_000, ..Tokens::default() }, at).nanousd;
        // OpenAI cut the price of o3 on 10 June 2025.
        assert_eq!((cost(1_749_513_599_999), cost(1_749_513_600_000)), (10_000_000_000, 2_000_000_000));
    }

    #[test]
    fn a_new_configuration_is_noticed() {
        let live = Live::new(shared(""));
        let pricing = Pricing::new(live.clone());
        assert!(pricing.reach("fast").is_err());
        live.swap(shared(
            "[models.fast]\ntargets = [{ base_url = 'http://b/v1', model = 'm', provider = 'p' }]",
        ));
        assert!(pricing.reach("fast").is_ok());
    }

    proptest! {
        #[test]
        fn no_bill_exceeds_the_quote(input in 0u64..100_000, output in 0u64..100_000, cached in 0u64..100_000, written in 0u64..100_000) {
            let pricing = pricing();
            // Without windows, as only money matters here.
            let reach = Reach { window: 0, ..Reach::clone(&pricing.reach("both").unwrap()) };
            let quote = reach.quote(input, Some(u32::try_from(output).unwrap()), false).unwrap();
            let whole = |tokens: u64| i64::try_from(tokens).unwrap();
            let tokens = Tokens {
                input: whole(input), output: whole(output), cached_input: whole(cached), cache_write: whole(written),
                ..Tokens::default()
            };
            for target in ["lab/small", "lab/large"] {
                prop_assert!(pricing.cost(target, &tokens, 0).nanousd <= quote.amount(whole(output)).nanousd);
            }
        }
    }
}
