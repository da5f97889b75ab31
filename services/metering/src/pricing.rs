//! Prices: what a request may cost at most, and what an attempt did cost.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use signalbox_catalog::{Catalog, Price, TargetInfo, Usage};
use signalbox_config::{Live, Shared};

use crate::{ledger::Tokens, refusal::Refusal, reservation::Quote};

/// The version under which an unknown price is recorded.
const UNKNOWN: &str = "unknown";
/// The name that stands for every configured target.
const AUTO: &str = "auto";

/// What a request for a model may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whose vocabulary counts.
    pub(crate) vocabulary: String,
    /// The largest context window, in tokens; 0 where one is unknown.
    window: u64,
    /// The largest output limit, in tokens.
    max_output: u64,
    /// The dearest price of input, however it is billed, in nano-dollars per million tokens.
    input: i64,
    /// The dearest price of output, in nano-dollars per million tokens.
    output: i64,
}

/// What an attempt cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) nanousd: i64,
    pub(crate) unknown: bool,
    /// The price itself, so that the ledger proves its own sums: input, output, cached input and cache write, in nano-dollars
    /// per million tokens.
    pub(crate) version: Arc<str>,
}

/// The prices of one configuration.
#[derive(Debug, Default)]
struct Tariffs {
    configuration: u64,
    models: HashMap<String, Arc<Reach>>,
    targets: HashMap<String, (Price, Arc<str>)>,
    known: String,
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

    /// What an attempt at a target cost. Where the price is unknown the cost is 0, and marked.
    pub(crate) fn cost(&self, target: &str, tokens: &Tokens) -> Priced {
        let used = tokens.input > 0 || tokens.output > 0;
        match self.tariffs().targets.get(target) {
            Some((price, version)) => {
                Priced { nanousd: price.cost(&usage(tokens)), unknown: false, version: Arc::clone(version) }
            }
            None => Priced { nanousd: 0, unknown: used, version: Arc::clone(&self.unknown) },
        }
    }

    /// The price of an output token at a target, in pico-dollars, rounded up. `None`: not configured.
    pub(crate) fn output_picousd(&self, target: &str) -> Option<i64> {
        self.tariffs().targets.get(target).map(|(price, _)| picousd(price.output_nanousd_per_mtok))
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
        let catalog = Catalog::new(&shared.load());
        let (mut models, mut targets) = (HashMap::new(), HashMap::new());
        let aliases = catalog.aliases().map(|(name, _)| name);
        for name in aliases.chain(catalog.targets().map(|target| target.id.as_str())).chain([AUTO]) {
            if let Some(reached) = catalog.resolve(name) {
                models.insert(name.to_owned(), Arc::new(Reach::of(&reached)));
            }
        }
        for target in catalog.targets() {
            if let Some(price) = target.price {
                targets.insert(target.id.clone(), (price, version(&price).into()));
            }
        }
        Self { configuration, models, targets, known: catalog.some_names() }
    }
}

impl Reach {
    fn of(targets: &[&TargetInfo]) -> Self {
        let windows = || targets.iter().map(|target| target.context_window);
        let prices = || targets.iter().filter_map(|target| target.price);
        let dearest_input =
            |price: Price| price.input_nanousd_per_mtok.max(price.cache_write_nanousd_per_mtok.unwrap_or(0));
        Self {
            vocabulary: targets.first().map(|target| target.model.clone()).unwrap_or_default(),
            window: if windows().any(|window| window == 0) { 0 } else { windows().max().unwrap_or(0) },
            max_output: targets.iter().map(|target| target.max_output).max().unwrap_or(0),
            input: prices().map(dearest_input).max().unwrap_or(0),
            output: prices().map(|price| price.output_nanousd_per_mtok).max().unwrap_or(0),
        }
    }

    /// The most that a request may cost; `limit` is its own limit on output.
    pub(crate) fn quote(&self, input_tokens: u64, limit: Option<u32>) -> Result<Quote, Refusal> {
        if self.window > 0 && input_tokens > self.window {
            return Err(Refusal::ContextTooLong { tokens: input_tokens, most: self.window });
        }
        let whole = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let input = i128::from(input_tokens) * i128::from(self.input);
        Ok(Quote {
            input_tokens: whole(input_tokens),
            output_tokens: whole(limit.map_or(self.max_output, u64::from)),
            // Rounded up: the bill is rounded once, at its end, and must not exceed this.
            fixed_nanousd: i64::try_from((input + 999_999).div_euclid(1_000_000)).unwrap_or(i64::MAX),
            output_picousd: picousd(self.output),
        })
    }
}

/// Nano-dollars per million tokens are femto-dollars per token; a thousand of those are a pico-dollar.
fn picousd(nanousd_per_mtok: i64) -> i64 {
    nanousd_per_mtok.saturating_add(999).div_euclid(1_000)
}

fn version(price: &Price) -> String {
    let part = |price: Option<i64>| price.map_or_else(|| "-".to_owned(), |nanousd| nanousd.to_string());
    let (cached, written) =
        (part(price.cached_input_nanousd_per_mtok), part(price.cache_write_nanousd_per_mtok));
    format!("{}/{}/{cached}/{written}", price.input_nanousd_per_mtok, price.output_nanousd_per_mtok)
}

fn usage(tokens: &Tokens) -> Usage {
    let whole = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    Usage {
        input_tokens: whole(tokens.input),
        output_tokens: whole(tokens.output),
        cached_input_tokens: whole(tokens.cached_input),
        cache_write_tokens: whole(tokens.cache_write),
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
        let quote = pricing.reach("both").unwrap().quote(1_000, Some(100)).unwrap();
        assert_eq!((quote.fixed_nanousd, quote.output_picousd), (1_250_000, 4_000_000));
        assert_eq!(quote.amount(100).nanousd, 1_250_000 + 400_000);
        assert_eq!(pricing.reach("both").unwrap().quote(1, None).unwrap().output_tokens, 8_000);
        assert_eq!(pricing.reach("auto").unwrap().output, 4_000_000_000);
        assert_eq!(pricing.reach("lab/small").unwrap().output, 2_000_500_000);
        assert!(matches!(pricing.reach("gpt-9"), Err(Refusal::ModelUnknown { .. })));
    }

    #[test]
    fn a_prompt_that_fits_no_window_is_refused_and_unknown_windows_fit_all() {
        let pricing = pricing();
        assert!(pricing.reach("both").unwrap().quote(9_000, None).is_ok());
        assert!(matches!(
            pricing.reach("both").unwrap().quote(9_001, None),
            Err(Refusal::ContextTooLong { .. })
        ));
        assert!(pricing.reach("free").unwrap().quote(1 << 40, None).is_ok());
    }

    #[test]
    fn costs_say_by_which_price() {
        let pricing = pricing();
        let tokens = Tokens { input: 1_000, output: 10, cache_write: 400, ..Tokens::default() };
        let priced = pricing.cost("lab/small", &tokens);
        assert_eq!((priced.nanousd, priced.unknown), (600_000 + 500_000 + 20_005, false));
        assert_eq!(&*priced.version, "1000000000/2000500000/-/1250000000");
        let unknown = pricing.cost("home/unpriced", &tokens);
        assert_eq!((unknown.nanousd, unknown.unknown, &*unknown.version), (0, true, "unknown"));
        assert!(!pricing.cost("home/unpriced", &Tokens::default()).unknown, "nothing was used");
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
            let quote = reach.quote(input, Some(u32::try_from(output).unwrap())).unwrap();
            let whole = |tokens: u64| i64::try_from(tokens).unwrap();
            let tokens = Tokens {
                input: whole(input), output: whole(output), cached_input: whole(cached), cache_write: whole(written),
                ..Tokens::default()
            };
            for target in ["lab/small", "lab/large"] {
                prop_assert!(pricing.cost(target, &tokens).nanousd <= quote.amount(whole(output)).nanousd);
            }
        }
    }
}
