//! What models cost, in configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::Usd;

/// A price in dollars per million tokens. Each kind that is not named costs what the kind costs that it is a part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    pub input_usd_per_mtok: Usd,
    /// Output.
    pub output_usd_per_mtok: Usd,
    /// Input read from the provider's cache. Default: as input.
    pub cached_input_usd_per_mtok: Option<Usd>,
    /// Input written to the provider's cache. Default: as input.
    pub cache_write_usd_per_mtok: Option<Usd>,
    /// Input written to the provider's cache for an hour. Default: as `cache_write_usd_per_mtok`.
    pub cache_write_1h_usd_per_mtok: Option<Usd>,
    /// Reasoning. Default: as output.
    pub reasoning_usd_per_mtok: Option<Usd>,
    /// Sound that is heard. Default: as input.
    pub audio_input_usd_per_mtok: Option<Usd>,
    /// Sound that is spoken. Default: as output.
    pub audio_output_usd_per_mtok: Option<Usd>,
    /// Images that are seen. Default: as input.
    pub image_input_usd_per_mtok: Option<Usd>,
    /// Images that are made. Default: as output.
    pub image_output_usd_per_mtok: Option<Usd>,
    /// Each request, in dollars. Default 0.
    pub request_usd: Option<Usd>,
    /// What a request in a batch costs less, in percent. Default 0.
    pub batch_percent: Option<u8>,
    /// What a request with a long prompt costs, as a whole. Default: the same.
    pub long: Option<LongPrice>,
}

/// A price of requests with long prompts, in dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrice {
    /// Prompts with more input tokens than these.
    pub above_input_tokens: u64,
    /// Input.
    pub input_usd_per_mtok: Usd,
    /// Output.
    pub output_usd_per_mtok: Usd,
    /// Input read from the provider's cache. Default: as for short prompts.
    pub cached_input_usd_per_mtok: Option<Usd>,
    /// Input written to the provider's cache. Default: as for short prompts.
    pub cache_write_usd_per_mtok: Option<Usd>,
}

/// `[prices]`: what models cost whose targets do not say it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// A file of prices that is laid over the built-in ones; `docs/prices.md` documents its form. It is read again when it
    /// changes. Default: none.
    pub file: Option<PathBuf>,
    /// What is done about a model whose price nobody knows: `zero`, it costs nothing and the ledger marks that; `refuse`,
    /// requests for it are refused; or a price, as a target's `price` is written, which the ledger marks too. Default `zero`.
    pub unknown: UnknownPrice,
}

/// What is done about a model whose price nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenUnknown")]
pub enum UnknownPrice {
    /// It costs nothing, and that is marked.
    #[default]
    Zero,
    /// It is not asked.
    Refuse,
    /// It costs so much, and that is marked.
    Assume(Box<Price>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum UnknownRule {
    Zero,
    Refuse,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenUnknown {
    Rule(UnknownRule),
    Price(Box<Price>),
}

impl From<WrittenUnknown> for UnknownPrice {
    fn from(written: WrittenUnknown) -> Self {
        match written {
            WrittenUnknown::Rule(UnknownRule::Zero) => Self::Zero,
            WrittenUnknown::Rule(UnknownRule::Refuse) => Self::Refuse,
            WrittenUnknown::Price(price) => Self::Assume(price),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(text: &str) -> Result<Prices, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_rule_for_unknown_prices_is_a_word_or_a_price() {
        assert_eq!(prices("").unwrap().unknown, UnknownPrice::Zero);
        assert_eq!(prices("unknown = 'refuse'").unwrap().unknown, UnknownPrice::Refuse);
        let assumed = prices("unknown = { input_usd_per_mtok = '3', output_usd_per_mtok = '15' }").unwrap();
        let UnknownPrice::Assume(price) = assumed.unknown else { panic!("{assumed:?}") };
        assert_eq!(price.input_usd_per_mtok.nanousd(), 3_000_000_000);
        for bad in ["unknown = 'guess'", "unknown = { input_usd = '3' }", "files = 'x'"] {
            assert!(prices(bad).is_err(), "{bad}");
        }
    }
}
