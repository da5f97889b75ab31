//! Roll-ups: what the ledger says of an hour or a day, by everything that usage is grouped by.
//!
//! A cell is the sum of the records that have the same values. Cells exist for hours and for days, and for both with and
//! without the end user and the tags, which are many; for days also by user alone and by all but the user, because with both nearly
//! each request has a cell of its own. A question reads the coarsest that can answer it. They follow
//! the ledger record by record, corrections included, and can always be counted again from it.

use std::borrow::Cow;

use signalbox_proto::{
    common::v1::{CacheState, UsageSource},
    metering::v1::RequestOutcome,
};

use crate::{
    ledger::{AttemptRecord, Details, Tokens},
    query::Dimension,
    sketch::{Sketch, read_varint, varint},
    subject::Subject,
};

/// An hour in milliseconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// A day in milliseconds.
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// Between the parts of a key; it is taken out of what callers send.
pub(crate) const SEPARATOR: char = '\u{1f}';
/// The version of the stored form of cells.
const VERSION: u8 = 1;

/// How long a cell is, and how fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Grain {
    pub(crate) daily: bool,
    pub(crate) detail: Detail,
}

/// What a cell tells apart, beside tenant, cache and outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Detail {
    /// All but users and tags.
    Coarse,
    /// Everything.
    Fine,
    /// Users alone. Only for days.
    Users,
    /// All but users. Only for days.
    Tags,
}

impl Detail {
    /// By what name the stores remember from when on such cells are whole; `None`: they always are.
    pub(crate) const fn mark(self) -> Option<&'static str> {
        match self {
            Self::Coarse | Self::Fine => None,
            Self::Users => Some("users"),
            Self::Tags => Some("tags"),
        }
    }
}

/// All grains.
pub(crate) const GRAINS: [Grain; 6] = [
    Grain { daily: false, detail: Detail::Coarse },
    Grain { daily: false, detail: Detail::Fine },
    Grain { daily: true, detail: Detail::Coarse },
    Grain { daily: true, detail: Detail::Fine },
    Grain { daily: true, detail: Detail::Users },
    Grain { daily: true, detail: Detail::Tags },
];

impl Grain {
    /// Its length.
    pub(crate) const fn ms(self) -> i64 {
        if self.daily { DAY_MS } else { HOUR_MS }
    }

    /// Its number in the stores, each another.
    pub(crate) fn number(self) -> i64 {
        let detail = match self.detail {
            Detail::Coarse => 0,
            Detail::Fine => 1,
            Detail::Users => 2,
            Detail::Tags => 3,
        };
        i64::from(self.daily) * 2 + detail
    }

    /// When the cell begins that holds a time; Unix milliseconds.
    pub(crate) fn start(self, unix_ms: i64) -> i64 {
        unix_ms.div_euclid(self.ms()) * self.ms()
    }
}

/// What tells cells of one time apart. Read from a store it borrows: questions read many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CellKey<'a> {
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) principal: Cow<'a, str>,
    pub(crate) team: Cow<'a, str>,
    pub(crate) feature: Cow<'a, str>,
    pub(crate) model: Cow<'a, str>,
    pub(crate) target: Cow<'a, str>,
    pub(crate) cache: CacheState,
    pub(crate) outcome: RequestOutcome,
    /// Empty where cells do not tell users apart.
    pub(crate) user: Cow<'a, str>,
    /// None where they do not tell tags apart.
    pub(crate) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> CellKey<'a> {
    /// The key of a request.
    pub(crate) fn of(
        subject: &'a Subject,
        target: Option<&'a str>,
        cache: CacheState,
        outcome: RequestOutcome,
    ) -> Self {
        let text = |text: Option<&'a str>| match text.unwrap_or_default() {
            forged if forged.contains(SEPARATOR) => Cow::Owned(forged.replace(SEPARATOR, " ")),
            plain => Cow::Borrowed(plain),
        };
        Self {
            tenant: text(Some(&subject.tenant)),
            principal: text(Some(&subject.principal)),
            team: text(subject.team.as_deref()),
            feature: text(subject.feature.as_deref()),
            model: text(Some(&subject.model)),
            target: text(target),
            cache,
            outcome,
            user: text(subject.user.as_deref()),
            tags: subject.tags.iter().map(|(key, value)| (text(Some(key)), text(Some(value)))).collect(),
        }
    }

    /// Where in the stores a record with this key is summed: the grain, when its cell begins, and the stored form.
    pub(crate) fn places(&self, unix_ms: i64) -> impl Iterator<Item = (Grain, i64, String)> {
        GRAINS.into_iter().map(move |grain| (grain, grain.start(unix_ms), self.text(grain.detail)))
    }

    /// The stored form for cells of a detail.
    pub(crate) fn text(&self, detail: Detail) -> String {
        let parts = match detail {
            Detail::Users => [&self.tenant, "", "", "", "", ""],
            Detail::Coarse | Detail::Fine | Detail::Tags => {
                [&*self.tenant, &*self.principal, &*self.team, &*self.feature, &*self.model, &*self.target]
            }
        };
        let mut text = parts.join("\u{1f}");
        text.push_str(&format!("{SEPARATOR}{}{SEPARATOR}{}", i32::from(self.cache), i32::from(self.outcome)));
        let (user, tags) = match detail {
            Detail::Coarse => return text,
            Detail::Fine => (&*self.user, &*self.tags),
            Detail::Users => (&*self.user, [].as_slice()),
            Detail::Tags => ("", &*self.tags),
        };
        text.push(SEPARATOR);
        text.push_str(user);
        for (key, value) in tags {
            text.push_str(&format!("{SEPARATOR}{key}{SEPARATOR}{value}"));
        }
        text
    }

    /// Reads the stored form. `None`: it is something else.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(SEPARATOR);
        let mut next = || parts.next().map(Cow::Borrowed);
        let (tenant, principal, team) = (next()?, next()?, next()?);
        let (feature, model, target) = (next()?, next()?, next()?);
        let cache = CacheState::try_from(next()?.parse::<i32>().ok()?).unwrap_or_default();
        let outcome = RequestOutcome::try_from(next()?.parse::<i32>().ok()?).unwrap_or_default();
        let user = next().unwrap_or_default();
        let mut tags = Vec::new();
        while let (Some(key), Some(value)) = (next(), next()) {
            tags.push((key, value));
        }
        Some(Self { tenant, principal, team, feature, model, target, cache, outcome, user, tags })
    }

    /// Its value of a dimension; empty for none.
    pub(crate) fn value(&self, dimension: &Dimension) -> &str {
        match dimension {
            Dimension::Tenant => &self.tenant,
            Dimension::Principal => &self.principal,
            Dimension::Model => &self.model,
            Dimension::Target => &self.target,
            Dimension::Feature => &self.feature,
            Dimension::User => &self.user,
            Dimension::Team => &self.team,
            Dimension::Tag(key) => {
                self.tags.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_ref())
            }
            Dimension::Cache => self.cache.as_str_name().trim_start_matches("CACHE_STATE_"),
            Dimension::Outcome => self.outcome.as_str_name().trim_start_matches("REQUEST_OUTCOME_"),
        }
    }
}

/// Sums over records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) requests: i64,
    pub(crate) tokens: Tokens,
    pub(crate) cost_nanousd: i64,
    pub(crate) saved_nanousd: i64,
    pub(crate) attempts: i64,
    pub(crate) estimated: i64,
    pub(crate) unpriced: i64,
    /// Sum of the durations in milliseconds, of requests of which one is known.
    pub(crate) total_ms: i64,
    pub(crate) durations: Sketch,
    pub(crate) first_outputs: Sketch,
}

impl Cell {
    /// Adds a request, or takes it out again where `times` is -1.
    pub(crate) fn add_request(&mut self, details: &Details, outcome: RequestOutcome, times: i64) {
        self.requests += times;
        self.saved_nanousd = self.saved_nanousd.saturating_add(details.saved_nanousd.saturating_mul(times));
        // Nobody knows how long an open or abandoned request took.
        if !matches!(outcome, RequestOutcome::Unspecified | RequestOutcome::Abandoned) {
            self.total_ms = self.total_ms.saturating_add(details.total_ms.saturating_mul(times));
            self.durations.add(details.total_ms, times);
        }
        if let Some(first) = details.first_output_ms {
            self.first_outputs.add(first, times);
        }
    }

    /// Adds an attempt, or takes it out again.
    pub(crate) fn add_attempt(&mut self, attempt: &AttemptRecord, times: i64) {
        self.attempts += times;
        let guessed = matches!(attempt.source, UsageSource::Estimated | UsageSource::Partial);
        self.estimated += if guessed { times } else { 0 };
        self.unpriced += if attempt.price_unknown { times } else { 0 };
        self.cost_nanousd = self.cost_nanousd.saturating_add(attempt.cost_nanousd.saturating_mul(times));
        for (sum, part) in self.tokens.parts_mut().into_iter().zip(attempt.tokens.parts()) {
            *sum = sum.saturating_add(part.saturating_mul(times));
        }
    }

    /// Adds another cell.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, part) in self.numbers_mut().into_iter().zip(other.numbers()) {
            *sum = sum.saturating_add(part);
        }
        self.durations.merge(&other.durations);
        self.first_outputs.merge(&other.first_outputs);
    }

    /// Adds what [`Cell::to_bytes`] wrote; returns its requests. `None`: it is something else, and the sum is of no use any more.
    pub(crate) fn merge_stored(&mut self, bytes: &[u8]) -> Option<i64> {
        let (version, mut rest) = bytes.split_first()?;
        let requests = self.requests;
        for sum in self.numbers_mut() {
            let part = read_varint(&mut rest).filter(|_| *version == VERSION)?;
            *sum = sum.saturating_add(part);
        }
        self.durations.merge_stored(&mut rest)?;
        self.first_outputs.merge_stored(&mut rest)?;
        Some(self.requests - requests)
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn numbers(&self) -> [i64; 14] {
        let [a, b, c, d, e, f, g] = self.tokens.parts();
        let Self { requests, cost_nanousd, saved_nanousd, attempts, estimated, unpriced, total_ms, .. } =
            *self;
        [requests, a, b, c, d, e, f, g, cost_nanousd, saved_nanousd, attempts, estimated, unpriced, total_ms]
    }

    fn numbers_mut(&mut self) -> [&mut i64; 14] {
        let [a, b, c, d, e, f, g] = self.tokens.parts_mut();
        let Self { requests, cost_nanousd, saved_nanousd, attempts, estimated, unpriced, total_ms, .. } =
            self;
        [requests, a, b, c, d, e, f, g, cost_nanousd, saved_nanousd, attempts, estimated, unpriced, total_ms]
    }

    /// The stored form.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        self.numbers().iter().for_each(|number| varint(*number, &mut bytes));
        self.durations.write(&mut bytes);
        self.first_outputs.write(&mut bytes);
        bytes
    }

    /// Reads the stored form. `None`: it is something else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        let mut cell = Self::default();
        for number in cell.numbers_mut() {
            *number = read_varint(&mut rest).filter(|_| *version == VERSION)?;
        }
        cell.durations = Sketch::read(&mut rest)?;
        cell.first_outputs = Sketch::read(&mut rest)?;
        Some(cell)
    }
}

impl Tokens {
    /// The counts, in a fixed order.
    pub(crate) const fn parts(&self) -> [i64; 7] {
        let Self { input, output, cached_input, cache_write, reasoning, audio_input, audio_output, .. } =
            *self;
        [input, output, cached_input, cache_write, reasoning, audio_input, audio_output]
    }

    /// The same, to be changed.
    pub(crate) const fn parts_mut(&mut self) -> [&mut i64; 7] {
        let Self { input, output, cached_input, cache_write, reasoning, audio_input, audio_output, .. } =
            self;
        [input, output, cached_input, cache_write, reasoning, audio_input, audio_output]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use signalbox_proto::common::v1::{AttemptKind, AttemptOutcome};

    use super::*;

    /// An attempt for tests.
    pub(crate) fn attempt(number: u32, cost_nanousd: i64) -> AttemptRecord {
        AttemptRecord {
            number,
            target_id: "lab/small".to_owned(),
            outcome: AttemptOutcome::Ok,
            kind: AttemptKind::First,
            tokens: Tokens { input: 3, output: cost_nanousd, ..Tokens::default() },
            source: UsageSource::Estimated,
            cost_nanousd,
            price_unknown: false,
            price_version: "1".into(),
            started_unix_ms: 0,
            duration_ms: 5,
            first_output_ms: None,
            http_status: Some(200),
            error: None,
            provider_request_id: None,
        }
    }

    #[test]
    fn keys_survive_and_callers_cannot_forge_parts() {
        let mut who = crate::subject::tests::subject("acme", "k");
        who.user = Some("u\u{1f}x".to_owned());
        who.tags.insert("env".to_owned(), "prod".to_owned());
        let key = CellKey::of(&who, Some("lab/small"), CacheState::Miss, RequestOutcome::Ok);
        assert_eq!(CellKey::read(&key.text(Detail::Fine)).as_ref(), Some(&key));
        let text = key.text(Detail::Coarse);
        let less = CellKey::read(&text).unwrap();
        assert_eq!((less.user.as_ref(), less.tags.len(), less.target.as_ref()), ("", 0, "lab/small"));
        let text = key.text(Detail::Tags);
        let tags = CellKey::read(&text).unwrap();
        assert_eq!((&*tags.user, &tags.tags, &*tags.target), ("", &key.tags, "lab/small"));
        let text = key.text(Detail::Users);
        let users = CellKey::read(&text).unwrap();
        assert_eq!((&*users.user, &*users.tenant, &*users.model, users.tags.len()), ("u x", "acme", "", 0));
        assert_eq!(key.value(&Dimension::Tag("env".to_owned())), "prod");
        assert_eq!((key.value(&Dimension::User), key.value(&Dimension::Outcome)), ("u x", "OK"));
        assert_eq!(CellKey::read("one"), None);
    }

    #[test]
    fn each_grain_has_a_number_of_its_own() {
        let numbers = GRAINS.map(Grain::number);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "as the schema's comments have them");
    }

    #[test]
    fn cells_add_up_and_what_is_taken_out_leaves_nothing() {
        let details =
            Details { total_ms: 400, first_output_ms: Some(90), saved_nanousd: 7, ..Details::default() };
        let mut cell = Cell::default();
        cell.add_request(&details, RequestOutcome::Ok, 1);
        cell.add_attempt(&attempt(1, 50), 1);
        assert_eq!(Cell::read(&cell.to_bytes()).as_ref(), Some(&cell));
        let mut twice = cell.clone();
        twice.merge(&cell);
        assert_eq!((twice.requests, twice.cost_nanousd, twice.estimated, twice.tokens.input), (2, 100, 2, 6));
        assert_eq!((twice.durations.count(), twice.total_ms), (2, 800));
        let mut stored = cell.clone();
        assert_eq!(stored.merge_stored(&cell.to_bytes()), Some(1));
        assert_eq!(stored, twice);
        cell.add_attempt(&attempt(1, 50), -1);
        cell.add_request(&details, RequestOutcome::Ok, -1);
        assert!(cell.is_empty());
        assert_eq!(Cell::read(&[]), None);
        assert_eq!(Cell::read(&[9, 0]), None);
    }
}
