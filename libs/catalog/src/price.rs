//! Prices and costs, in integers.

/// Tokens of one request, by kind. All fields but the first two are parts of those.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Input written to the provider's cache.
    pub cache_write_tokens: u64,
}

/// A price in nano-dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Input.
    pub input_nanousd_per_mtok: i64,
    /// Output.
    pub output_nanousd_per_mtok: i64,
    /// Input read from the provider's cache. `None`: as input.
    pub cached_input_nanousd_per_mtok: Option<i64>,
    /// Input written to the provider's cache. `None`: as input.
    pub cache_write_nanousd_per_mtok: Option<i64>,
}

/// What something costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// The amount in nano-dollars.
    pub nanousd: i64,
    /// Whether the price is unknown, and the amount therefore 0.
    pub unknown: bool,
}

impl Price {
    /// Returns the cost of a usage in nano-dollars, rounded half up once, at the end.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> i64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let plain = usage.input_tokens - cached - written;
        let input = self.input_nanousd_per_mtok;
        let sum: i128 = [
            (plain, input),
            (cached, self.cached_input_nanousd_per_mtok.unwrap_or(input)),
            (written, self.cache_write_nanousd_per_mtok.unwrap_or(input)),
            (usage.output_tokens, self.output_nanousd_per_mtok),
        ]
        .iter()
        .map(|(tokens, price)| i128::from(*tokens) * i128::from(*price))
        .sum();
        i64::try_from((sum + 500_000).div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }

    /// Returns the cost, or zero and flagged where the price is unknown.
    #[must_use]
    pub fn cost_or_unknown(price: Option<&Self>, usage: &Usage) -> Cost {
        price.map_or(Cost { nanousd: 0, unknown: true }, |p| Cost { nanousd: p.cost(usage), unknown: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINI: Price = Price {
        input_nanousd_per_mtok: 400_000_000,
        output_nanousd_per_mtok: 1_600_000_000,
        cached_input_nanousd_per_mtok: Some(100_000_000),
        cache_write_nanousd_per_mtok: None,
    };

    #[test]
    fn cached_input_is_part_of_the_input() {
        let usage =
            Usage { input_tokens: 1_000, cached_input_tokens: 600, output_tokens: 10, ..Usage::default() };
        // 400 × $0.40 + 600 × $0.10 + 10 × $1.60, per million.
        assert_eq!(MINI.cost(&usage), 160_000 + 60_000 + 16_000);
    }

    #[test]
    fn rounds_once_and_bears_absurd_usage() {
        let price = Price { input_nanousd_per_mtok: 1, ..Price::default() };
        assert_eq!(price.cost(&Usage { input_tokens: 499_999, ..Usage::default() }), 0);
        assert_eq!(price.cost(&Usage { input_tokens: 500_000, ..Usage::default() }), 1);
        let absurd = Usage {
            input_tokens: 5,
            cached_input_tokens: u64::MAX,
            cache_write_tokens: 9,
            ..Usage::default()
        };
        assert_eq!(MINI.cost(&absurd), 500);
        assert_eq!(MINI.cost(&Usage { output_tokens: u64::MAX, ..Usage::default() }), i64::MAX);
    }
}
