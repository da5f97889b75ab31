//! Prices and costs, in integers.

/// What one request used. All counts but the first two are parts of those.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, whatever they are and wherever they were read.
    pub input_tokens: u64,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// Input read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Input written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Of that, what is kept for an hour.
    pub cache_write_1h_tokens: u64,
    /// Output that is reasoning.
    pub reasoning_tokens: u64,
    /// Input that is sound.
    pub audio_input_tokens: u64,
    /// Of that, what was read from the provider's cache.
    pub cached_audio_tokens: u64,
    /// Output that is sound.
    pub audio_output_tokens: u64,
    /// Input that is images.
    pub image_input_tokens: u64,
    /// Output that is images.
    pub image_output_tokens: u64,
    /// Whether the request was one of a batch, at the provider's discount.
    pub batch: bool,
}

/// Prices of each kind of token, in nano-dollars per million; `None`: as the kind that it is a part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input.
    pub input_nanousd_per_mtok: i64,
    /// Output.
    pub output_nanousd_per_mtok: i64,
    /// Input read from the provider's cache.
    pub cached_input_nanousd_per_mtok: Option<i64>,
    /// Input written to the provider's cache.
    pub cache_write_nanousd_per_mtok: Option<i64>,
    /// Input written to the cache for an hour; `None`: as for less.
    pub cache_write_1h_nanousd_per_mtok: Option<i64>,
    /// Reasoning.
    pub reasoning_nanousd_per_mtok: Option<i64>,
    /// Sound that is heard.
    pub audio_input_nanousd_per_mtok: Option<i64>,
    /// Sound read from the cache; `None`: as other input read there.
    pub cached_audio_nanousd_per_mtok: Option<i64>,
    /// Sound that is spoken.
    pub audio_output_nanousd_per_mtok: Option<i64>,
    /// Images that are seen.
    pub image_input_nanousd_per_mtok: Option<i64>,
    /// Images that are made.
    pub image_output_nanousd_per_mtok: Option<i64>,
}

/// A price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Of each kind of token.
    pub rates: Rates,
    /// The rates of prompts with more input tokens than these; they hold for the whole request.
    pub long: Option<(u64, Rates)>,
    /// Of each request, whatever it used, in nano-dollars.
    pub request_nanousd: i64,
    /// What a request in a batch costs less, in percent.
    pub batch_percent: u8,
}

/// What something costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// The amount in nano-dollars.
    pub nanousd: i64,
    /// Whether the price is unknown, and the amount therefore 0.
    pub unknown: bool,
}

impl Rates {
    /// The dearest way in which a token of text may be billed as input.
    #[must_use]
    pub fn dearest_input(&self) -> i64 {
        let ways = [self.cached_input_nanousd_per_mtok, self.cache_write_nanousd_per_mtok];
        ways.into_iter().flatten().fold(self.input_nanousd_per_mtok, i64::max)
    }

    /// The same, where the request asks for input to be kept in the provider's cache for an hour.
    #[must_use]
    pub fn dearest_input_kept(&self) -> i64 {
        self.cache_write_1h_nanousd_per_mtok.unwrap_or(0).max(self.dearest_input())
    }

    /// The dearest way in which a token of text may be billed as output.
    #[must_use]
    pub fn dearest_output(&self) -> i64 {
        self.reasoning_nanousd_per_mtok.unwrap_or(0).max(self.output_nanousd_per_mtok)
    }

    /// Nano-dollars times a million.
    fn sum(&self, usage: &Usage) -> i128 {
        let (input, output) = (self.input_nanousd_per_mtok, self.output_nanousd_per_mtok);
        let cached_rate = self.cached_input_nanousd_per_mtok.unwrap_or(input);
        let write_rate = self.cache_write_nanousd_per_mtok.unwrap_or(input);
        // Each part is bounded by what is left, so that absurd reports cost at most what their sums do.
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let fresh = usage.input_tokens - cached - written;
        let written_1h = usage.cache_write_1h_tokens.min(written);
        let cached_audio = usage.cached_audio_tokens.min(cached);
        let audio = usage.audio_input_tokens.saturating_sub(cached_audio).min(fresh);
        let images = usage.image_input_tokens.min(fresh - audio);
        let reasoning = usage.reasoning_tokens.min(usage.output_tokens);
        let spoken = usage.audio_output_tokens.min(usage.output_tokens - reasoning);
        let made = usage.image_output_tokens.min(usage.output_tokens - reasoning - spoken);
        [
            (fresh - audio - images, input),
            (audio, self.audio_input_nanousd_per_mtok.unwrap_or(input)),
            (images, self.image_input_nanousd_per_mtok.unwrap_or(input)),
            (cached - cached_audio, cached_rate),
            (cached_audio, self.cached_audio_nanousd_per_mtok.unwrap_or(cached_rate)),
            (written - written_1h, write_rate),
            (written_1h, self.cache_write_1h_nanousd_per_mtok.unwrap_or(write_rate)),
            (usage.output_tokens - reasoning - spoken - made, output),
            (reasoning, self.reasoning_nanousd_per_mtok.unwrap_or(output)),
            (spoken, self.audio_output_nanousd_per_mtok.unwrap_or(output)),
            (made, self.image_output_nanousd_per_mtok.unwrap_or(output)),
        ]
        .iter()
        .map(|(tokens, rate)| i128::from(*tokens) * i128::from(*rate))
        .sum()
    }
}

impl Price {
    /// Returns the rates for a prompt of so many tokens.
    #[must_use]
    pub fn rates_at(&self, input_tokens: u64) -> &Rates {
        match &self.long {
            Some((above, rates)) if input_tokens > *above => rates,
            _ => &self.rates,
        }
    }

    /// Returns the cost of a usage in nano-dollars, rounded half up once, at the end.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> i64 {
        let used = usage.input_tokens > 0 || usage.output_tokens > 0;
        let request = if used { i128::from(self.request_nanousd) * 1_000_000 } else { 0 };
        let sum = self.rates_at(usage.input_tokens).sum(usage) + request;
        let percent = if usage.batch { 100 - i128::from(self.batch_percent.min(100)) } else { 100 };
        i64::try_from((sum.saturating_mul(percent) + 50_000_000).div_euclid(100_000_000)).unwrap_or(i64::MAX)
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
        rates: Rates {
            input_nanousd_per_mtok: 400_000_000,
            output_nanousd_per_mtok: 1_600_000_000,
            cached_input_nanousd_per_mtok: Some(100_000_000),
            ..NONE
        },
        long: None,
        request_nanousd: 0,
        batch_percent: 50,
    };
    const NONE: Rates = Rates {
        input_nanousd_per_mtok: 0,
        output_nanousd_per_mtok: 0,
        cached_input_nanousd_per_mtok: None,
        cache_write_nanousd_per_mtok: None,
        cache_write_1h_nanousd_per_mtok: None,
        reasoning_nanousd_per_mtok: None,
        audio_input_nanousd_per_mtok: None,
        cached_audio_nanousd_per_mtok: None,
        audio_output_nanousd_per_mtok: None,
        image_input_nanousd_per_mtok: None,
        image_output_nanousd_per_mtok: None,
    };

    fn used(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    #[test]
    fn cached_input_is_part_of_the_input() {
        let usage = Usage { cached_input_tokens: 600, ..used(1_000, 10) };
        // 400 × $0.40 + 600 × $0.10 + 10 × $1.60, per million.
        assert_eq!(MINI.cost(&usage), 160_000 + 60_000 + 16_000);
        assert_eq!(MINI.cost(&Usage { batch: true, ..usage }), (160_000 + 60_000 + 16_000) / 2);
    }

    #[test]
    fn each_kind_has_its_own_price() {
        let each = |rate: i64| Some(rate * 1_000_000);
        let rates = Rates {
            input_nanousd_per_mtok: 1_000_000,
            output_nanousd_per_mtok: 10_000_000,
            cached_input_nanousd_per_mtok: each(2),
            cache_write_nanousd_per_mtok: each(3),
            cache_write_1h_nanousd_per_mtok: each(4),
            reasoning_nanousd_per_mtok: each(11),
            audio_input_nanousd_per_mtok: each(5),
            cached_audio_nanousd_per_mtok: each(6),
            audio_output_nanousd_per_mtok: each(12),
            image_input_nanousd_per_mtok: each(7),
            image_output_nanousd_per_mtok: each(13),
        };
        let price = Price { rates, request_nanousd: 1_000_000, ..Price::default() };
        let usage = Usage {
            cached_input_tokens: 30,
            cache_write_tokens: 20,
            cache_write_1h_tokens: 5,
            audio_input_tokens: 14,
            cached_audio_tokens: 10,
            image_input_tokens: 6,
            reasoning_tokens: 7,
            audio_output_tokens: 8,
            image_output_tokens: 9,
            ..used(100, 50)
        };
        let input: i64 = 40 + 4 * 5 + 6 * 7 + 20 * 2 + 10 * 6 + 15 * 3 + 5 * 4;
        let output: i64 = 26 * 10 + 7 * 11 + 8 * 12 + 9 * 13;
        assert_eq!(price.cost(&usage), 1_000_000 + input + output);
        assert_eq!(price.cost(&Usage::default()), 0, "what was not used is no request");
    }

    #[test]
    fn a_long_prompt_is_dearer_as_a_whole() {
        let long = Rates { input_nanousd_per_mtok: 800_000_000, ..MINI.rates };
        let price = Price { long: Some((200_000, long)), ..MINI };
        assert_eq!(price.cost(&used(200_000, 0)), 200_000 * 400);
        assert_eq!(price.cost(&used(200_001, 0)), 200_001 * 800);
    }

    #[test]
    fn rounds_once_and_bears_absurd_usage() {
        let price = Price { rates: Rates { input_nanousd_per_mtok: 1, ..NONE }, ..Price::default() };
        assert_eq!(price.cost(&used(499_999, 0)), 0);
        assert_eq!(price.cost(&used(500_000, 0)), 1);
        let absurd = Usage { cached_input_tokens: u64::MAX, cache_write_tokens: 9, ..used(5, 0) };
        assert_eq!(MINI.cost(&absurd), 500);
        assert_eq!(MINI.cost(&used(0, u64::MAX)), i64::MAX);
        let all = Usage {
            audio_input_tokens: u64::MAX,
            image_input_tokens: u64::MAX,
            reasoning_tokens: u64::MAX,
            ..used(5, 5)
        };
        assert_eq!(MINI.cost(&all), 5 * 400 + 5 * 1_600);
    }
}
