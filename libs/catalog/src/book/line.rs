//! A line of the file: a provider or a model.
//!
//! ```json
//! {"provider": "openai", "name": "OpenAI", "match": "*openai", "hosts": ["https://api\\.openai\\.com"], "batch_percent": 50}
//! {"of": "openai", "model": "gpt-4.1", "match": "^gpt-4.1", "context_window": 1000000, "prices": [{"input": "2", "output": "8"}]}
//! ```

use jiff::{
    civil::{Date, Time},
    tz::TimeZone,
};
use serde::Deserialize;
use signalbox_config::Usd;

use super::{Term, rule::Rule};
use crate::{Price, price::Rates};

/// A provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) provider: String,
    /// For people.
    #[serde(default)]
    #[expect(dead_code, reason = "for whoever reads the file")]
    name: String,
    /// Other names of the provider.
    #[serde(rename = "match")]
    pub(crate) names: Option<Rule>,
    /// Regular expressions on its addresses.
    #[serde(default)]
    pub(crate) hosts: Vec<Host>,
    /// Providers whose models it serves at their prices.
    #[serde(default)]
    pub(crate) fallback: Vec<String>,
    /// What a request in a batch costs less.
    #[serde(default)]
    pub(crate) batch_percent: u8,
}

/// A regular expression on an address.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Host(pub(crate) regex::Regex);

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        regex::Regex::new(&text).map(Self).map_err(|error| format!("`{text}`: {error}"))
    }
}

/// A model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Its provider.
    pub(crate) of: String,
    pub(crate) model: String,
    /// Its other names.
    #[serde(rename = "match")]
    pub(crate) names: Option<Rule>,
    pub(crate) context_window: Option<u64>,
    pub(crate) max_output: Option<u64>,
    pub(crate) capabilities: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) prices: Vec<Written>,
}

/// A price as it is written, in dollars per million tokens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// The first day on which it is valid, in UTC.
    from: Option<Date>,
    /// The hours between which it is valid each day, in UTC.
    daily: Option<(Time, Time)>,
    #[serde(flatten)]
    kinds: Kinds,
    /// Of each request, in dollars.
    request: Option<Usd>,
    long: Option<Long>,
}

/// What prompts of more than so many tokens cost; what is not named stays as it is.
#[derive(Debug, Clone, Deserialize)]
struct Long {
    above: u64,
    #[serde(flatten)]
    kinds: Kinds,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Kinds {
    input: Option<Usd>,
    output: Option<Usd>,
    cached: Option<Usd>,
    cache_write: Option<Usd>,
    cache_write_1h: Option<Usd>,
    reasoning: Option<Usd>,
    audio_input: Option<Usd>,
    cached_audio: Option<Usd>,
    audio_output: Option<Usd>,
    image_input: Option<Usd>,
    image_output: Option<Usd>,
}

impl Kinds {
    /// The rates, with others where they say nothing.
    fn over(&self, below: &Rates) -> Rates {
        let some = |usd: Option<Usd>, below: Option<i64>| usd.map(Usd::nanousd).or(below);
        Rates {
            input_nanousd_per_mtok: self.input.map_or(below.input_nanousd_per_mtok, Usd::nanousd),
            output_nanousd_per_mtok: self.output.map_or(below.output_nanousd_per_mtok, Usd::nanousd),
            cached_input_nanousd_per_mtok: some(self.cached, below.cached_input_nanousd_per_mtok),
            cache_write_nanousd_per_mtok: some(self.cache_write, below.cache_write_nanousd_per_mtok),
            cache_write_1h_nanousd_per_mtok: some(self.cache_write_1h, below.cache_write_1h_nanousd_per_mtok),
            reasoning_nanousd_per_mtok: some(self.reasoning, below.reasoning_nanousd_per_mtok),
            audio_input_nanousd_per_mtok: some(self.audio_input, below.audio_input_nanousd_per_mtok),
            cached_audio_nanousd_per_mtok: some(self.cached_audio, below.cached_audio_nanousd_per_mtok),
            audio_output_nanousd_per_mtok: some(self.audio_output, below.audio_output_nanousd_per_mtok),
            image_input_nanousd_per_mtok: some(self.image_input, below.image_input_nanousd_per_mtok),
            image_output_nanousd_per_mtok: some(self.image_output, below.image_output_nanousd_per_mtok),
        }
    }
}

impl Written {
    pub(crate) fn term(&self, batch_percent: u8) -> Term {
        let rates = self.kinds.over(&Rates::default());
        let minute = |time: Time| i64::from(time.hour()) * 60 + i64::from(time.minute());
        let start = self.from.and_then(|date| date.to_zoned_datetime(TimeZone::UTC).ok());
        Term {
            from_unix_ms: start.map(|zoned| zoned.timestamp().as_millisecond()),
            daily_minutes: self.daily.map(|(from, to)| (minute(from), minute(to))),
            price: Price {
                rates,
                long: self.long.as_ref().map(|long| (long.above, long.kinds.over(&rates))),
                request_nanousd: self.request.map_or(0, Usd::nanousd),
                batch_percent,
            },
        }
    }
}
