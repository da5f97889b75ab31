//! The price book: providers, their models, what each costs, and from when.
//!
//! The built-in book is `data/prices.jsonl`, made by `scripts/build_catalog.py`; a file of the same form, named by
//! `[prices] file`, is laid over it. `docs/prices.md` documents the form.

mod line;
mod rule;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

use self::line::{Model, Provider};
use crate::{Capability, Price, name};

/// Largest file of prices that is read, in bytes.
const MOST_BYTES: u64 = 16 << 20;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Why a book cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct BookError {
    /// The file.
    pub file: String,
    /// The line at fault, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// A price and when it is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Term {
    /// Absent: always.
    pub(crate) from_unix_ms: Option<i64>,
    /// Minutes of each day, UTC; the second may be before the first, over midnight.
    pub(crate) daily_minutes: Option<(i64, i64)>,
    pub(crate) price: Price,
}

impl Term {
    fn holds(&self, unix_ms: i64) -> bool {
        let minute = unix_ms.rem_euclid(DAY_MS) / MINUTE_MS;
        let daily = self.daily_minutes.is_none_or(|(from, to)| match from <= to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        });
        daily && self.from_unix_ms.is_none_or(|from| unix_ms >= from)
    }
}

/// What a model costs, now and before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tariff {
    /// The oldest first; the last that holds counts.
    terms: Arc<[Term]>,
}

impl Tariff {
    /// Creates a tariff that always holds.
    #[must_use]
    pub fn flat(price: Price) -> Self {
        Self { terms: [Term { price, ..Term::default() }].into() }
    }

    /// Returns the price at a time, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self, unix_ms: i64) -> Option<Price> {
        let holds = self.terms.iter().rev().find(|term| term.holds(unix_ms));
        holds.or_else(|| self.terms.first()).map(|term| term.price)
    }

    /// Returns the price that is valid last, of those that hold the whole day.
    #[must_use]
    pub fn latest(&self) -> Option<Price> {
        let whole_day = self.terms.iter().rev().find(|term| term.daily_minutes.is_none());
        whole_day.or_else(|| self.terms.first()).map(|term| term.price)
    }

    /// Returns all prices.
    pub fn prices(&self) -> impl Iterator<Item = &Price> {
        self.terms.iter().map(|term| &term.price)
    }
}

/// A known model.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its name in the book.
    pub model: String,
    /// Tokens.
    pub context_window: Option<u64>,
    /// Tokens.
    pub max_output: Option<u64>,
    /// What it can do, where the book says so.
    pub capabilities: Option<Vec<Capability>>,
    /// `None`: unknown.
    pub tariff: Option<Tariff>,
}

/// A price book.
#[derive(Debug, Clone, Default)]
pub struct Book {
    providers: Vec<Provider>,
    models: HashMap<String, Vec<Model>>,
}

static BUILT_IN: LazyLock<Book> = LazyLock::new(|| {
    Book::parse("data/prices.jsonl", include_str!("../../data/prices.jsonl")).unwrap_or_default()
});

impl Book {
    /// Returns the book that is built in.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a file and lays it over the built-in book.
    ///
    /// # Errors
    /// A file that cannot be read, is larger than 16 MiB, or has a line at fault.
    pub fn read(path: &Path) -> Result<Self, BookError> {
        let file = path.display().to_string();
        let fault = |reason: String| BookError { file: file.clone(), line: None, reason };
        let size = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
        if size > MOST_BYTES {
            return Err(fault(format!("has {size} bytes; at most {MOST_BYTES} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        Ok(Self::parse(&file, &text)?.over(Self::built_in()))
    }

    /// Reads lines of JSON; empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line at fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, BookError> {
        let mut book = Self::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            book.add(line).map_err(|reason| BookError {
                file: file.to_owned(),
                line: Some(place + 1),
                reason,
            })?;
        }
        Ok(book)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if value.get("model").is_some() {
            let model: Model = serde_json::from_value(value).map_err(|error| error.to_string())?;
            if let Some(unknown) =
                model.capabilities.iter().flatten().find(|name| Capability::named(name).is_none())
            {
                return Err(format!("`{unknown}` is no capability"));
            }
            self.models.entry(model.of.clone()).or_default().push(model);
        } else {
            self.providers.push(serde_json::from_value(value).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Lays this book over another: its lines are looked at first.
    fn over(mut self, below: &Self) -> Self {
        let own: Vec<String> = self.providers.iter().map(|provider| provider.provider.clone()).collect();
        self.providers.extend(below.providers.iter().filter(|p| !own.contains(&p.provider)).cloned());
        for (provider, models) in &below.models {
            self.models.entry(provider.clone()).or_default().extend(models.iter().cloned());
        }
        self
    }

    /// Returns how many models it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.values().map(Vec::len).sum()
    }

    /// Returns whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Finds the provider that a configured name or address means, by its id in the book.
    #[must_use]
    pub fn provider(&self, name: &str, base_url: &str) -> Option<&str> {
        self.find_provider(name, base_url).map(|provider| provider.provider.as_str())
    }

    fn find_provider(&self, name: &str, base_url: &str) -> Option<&Provider> {
        let name = name.to_lowercase();
        let by = |is: &dyn Fn(&Provider) -> bool| self.providers.iter().find(|provider| is(provider));
        by(&|provider| provider.provider == name)
            .or_else(|| by(&|provider| provider.hosts.iter().any(|host| host.0.is_match(base_url))))
            .or_else(|| by(&|provider| provider.names.as_ref().is_some_and(|rule| rule.covers(&name))))
    }

    /// Finds a model of a provider, by all names that it may go by.
    #[must_use]
    pub fn find(&self, provider: &str, base_url: &str, model: &str) -> Option<Known> {
        let provider = self.find_provider(provider, base_url)?;
        let names = name::candidates(model);
        let served = std::iter::once(&provider.provider).chain(&provider.fallback);
        let found = served.flat_map(|of| names.iter().filter_map(move |name| self.of(of, name))).next()?;
        let terms: Arc<[Term]> =
            found.prices.iter().map(|price| price.term(provider.batch_percent)).collect();
        Some(Known {
            model: found.model.clone(),
            context_window: found.context_window,
            max_output: found.max_output,
            capabilities: found
                .capabilities
                .as_ref()
                .map(|names| names.iter().filter_map(|name| Capability::named(name)).collect()),
            tariff: (!terms.is_empty()).then_some(Tariff { terms }),
        })
    }

    fn of(&self, provider: &str, name: &str) -> Option<&Model> {
        let models = self.models.get(provider)?;
        let own = models.iter().find(|known| known.model.eq_ignore_ascii_case(name));
        own.or_else(|| models.iter().find(|known| known.names.as_ref().is_some_and(|rule| rule.covers(name))))
    }
}

#[cfg(test)]
mod tests;
