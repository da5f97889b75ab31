//! The ledger over Redis: a stream for each tenant, counted into roll-ups of hours and days.
//!
//! Each entry is one settlement with the attempts that were new in it. Whoever counts entries into cells says up to which
//! entry it thinks that was done; if somebody else was faster, Redis refuses. So each entry counts once, whoever dies.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use signalbox_proto::{common::v1::CacheState, metering::v1::RequestOutcome};

use super::{
    Fleet,
    link::Away,
    script::{self, Reply},
};
use crate::{
    budget::{Terms, Unit},
    ledger::{AttemptRecord, Details, Leaf, Page, Record, Row, Score},
    period::Window,
    query::{Dimension, Group, Question, Sums},
    refusal::Refusal,
    rollup::{Cell, CellKey, DAY_MS, HOUR_MS},
    subject::{Facet, Subject},
};

/// Entries that are counted at a time.
const ENTRIES: usize = 500;
/// The last hour that questions reach: further than any ledger.
const LATEST_MS: i64 = (i64::MAX / 4 / HOUR_MS) * HOUR_MS;

/// What an entry says of its request.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(flatten)]
    details: Details,
}

/// An entry of the ledger.
struct Entry {
    mark: String,
    request_id: String,
    subject: Subject,
    said: Said,
    /// How the request ended, where this entry is the one that says it.
    closing: Option<RequestOutcome>,
    outcome: RequestOutcome,
    /// When the request was made that had been taken for abandoned.
    abandoned_unix_ms: Option<i64>,
    attempts: Vec<AttemptRecord>,
}

/// What is written of a record beside its attempts.
pub(super) fn details(record: &Record) -> serde_json::Result<String> {
    let said = Said { target: record.target().map(str::to_owned), details: record.details.clone() };
    serde_json::to_string(&said)
}

impl Entry {
    fn read(mut entry: Reply) -> Option<Self> {
        let mark = entry.text();
        let mut fields = entry.list();
        let mut read = Self {
            mark,
            request_id: String::new(),
            subject: serde_json::from_str(r#"{"tenant":"","principal":"","model":""}"#).ok()?,
            said: Said::default(),
            closing: None,
            outcome: RequestOutcome::Unspecified,
            abandoned_unix_ms: None,
            attempts: Vec::new(),
        };
        let outcome = |text: &str| text.parse::<i32>().ok().and_then(|n| RequestOutcome::try_from(n).ok());
        while !fields.is_empty() {
            let (name, value) = (fields.text(), fields.text());
            match name.as_str() {
                "e" => read.row(&value)?,
                // The first form.
                "id" => read.request_id = value,
                "s" => read.subject = serde_json::from_str(&value).ok()?,
                "d" => read.said = serde_json::from_str(&value).ok()?,
                "c" => read.closing = outcome(&value).filter(|o| *o != RequestOutcome::Unspecified),
                "o" => read.outcome = outcome(&value).unwrap_or_default(),
                "wm" => read.abandoned_unix_ms = value.parse().ok(),
                "a" => read.attempts.push(serde_json::from_str(&value).ok()?),
                _ => {}
            }
        }
        Some(read)
    }

    /// Reads a row: how the request ended here and at all, when it was made if it was taken for abandoned, the number of its
    /// attempts; then a line each for whose it is, what is said of it, and the attempts; then its id.
    fn row(&mut self, row: &str) -> Option<()> {
        let (head, mut rest) = row.split_once('\n')?;
        let mut line = || {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            Some(line)
        };
        let head: Vec<i64> = head.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[closing, outcome, abandoned, attempts] = head.as_slice() else { return None };
        let ended = |number: i64| RequestOutcome::try_from(i32::try_from(number).ok()?).ok();
        self.closing = ended(closing).filter(|outcome| *outcome != RequestOutcome::Unspecified);
        self.outcome = ended(outcome).unwrap_or_default();
        self.abandoned_unix_ms = Some(abandoned).filter(|at| *at > 0);
        self.subject = serde_json::from_str(line()?).ok()?;
        self.said = serde_json::from_str(line()?).ok()?;
        for _ in 0..attempts {
            self.attempts.push(serde_json::from_str(line()?).ok()?);
        }
        rest.clone_into(&mut self.request_id);
        Some(())
    }

    /// Counts it: the request where this entry ends it, and its attempts.
    fn count(&self, cells: &mut HashMap<(String, String), Cell>) {
        let details = &self.said.details;
        let key = CellKey::of(&self.subject, self.said.target.as_deref(), details.cache, self.outcome);
        let mut cell = Cell::default();
        if let Some(closing) = self.closing {
            cell.add_request(details, closing, 1);
        }
        self.attempts.iter().for_each(|attempt| cell.add_attempt(attempt, 1));
        put(cells, &key, details.started_unix_ms, &cell);
        if let Some(made) = self.abandoned_unix_ms {
            let outcome = RequestOutcome::Abandoned;
            let key = CellKey::of(&self.subject, None, CacheState::default(), outcome);
            let mut cell = Cell::default();
            cell.add_request(&Details::default(), outcome, -1);
            put(cells, &key, made, &cell);
        }
    }

    fn rows(self) -> Vec<Row> {
        let row = |attempt: Option<AttemptRecord>| Row {
            request_id: self.request_id.clone(),
            subject: self.subject.clone(),
            target: self.said.target.clone(),
            outcome: self.outcome,
            details: self.said.details.clone(),
            score: None,
            attempt,
        };
        if self.attempts.is_empty() {
            return vec![row(None)];
        }
        self.attempts.iter().map(|attempt| row(Some(attempt.clone()))).collect()
    }
}

fn score_key(of: &str, request_id: &str) -> String {
    format!("{of}f:{request_id}")
}

fn put(cells: &mut HashMap<(String, String), Cell>, key: &CellKey, started_unix_ms: i64, cell: &Cell) {
    for (grain, start, key) in key.places(started_unix_ms) {
        let name = format!("{}:{start}", grain.number());
        cells.entry((name, key)).or_default().merge(cell);
    }
}

impl Fleet {
    /// The entries behind a mark.
    async fn entries(&self, tenant: &str, after: &str, most: usize) -> Result<(Vec<Entry>, bool), Away> {
        let (key, after, most_text) =
            (format!("{}ledger", self.of(tenant)), format!("({after}"), most.to_string());
        let mut found = self.command("XRANGE", &key, &[&after, "+", "COUNT", &most_text]).await?;
        let (mut entries, mut seen) = (Vec::new(), 0);
        while !found.is_empty() {
            seen += 1;
            match Entry::read(found.list()) {
                Some(entry) => entries.push(entry),
                None => tracing::error!(tenant, "an entry of the ledger is unreadable and is not counted"),
            }
        }
        Ok((entries, seen >= most))
    }

    /// Counts what came since the last time into roll-ups.
    pub(super) async fn roll(&self, tenant: &str) -> Result<(), Away> {
        let of = self.of(tenant);
        loop {
            let before = match self.command("GET", &format!("{of}rolled"), &[]).await?.text() {
                none if none.is_empty() => "0".to_owned(),
                known => known,
            };
            let (entries, more) = self.entries(tenant, &before, ENTRIES).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            let mut cells = HashMap::new();
            entries.iter().for_each(|entry| entry.count(&mut cells));
            for ((name, key), cell) in &mut cells {
                let stored = self.command("HGET", &format!("{of}c:{name}"), &[key]).await?.bytes();
                if let Some(stored) = Cell::read(&stored) {
                    cell.merge(&stored);
                }
            }
            let whole_from = (self.now().div_euclid(DAY_MS) + 2) * DAY_MS;
            let call = self.call(tenant).with(&before).with(&last.mark).with(whole_from);
            let mut call = call.with(cells.len());
            for ((name, key), cell) in cells {
                call = call.with(name).with(key).with(cell.to_bytes());
            }
            // 0: another replica counted the same entries. Both go on from there.
            call.run(&self.0.link, &script::ROLL).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Forgets entries of the ledger that are too old, once they are counted.
    pub(super) async fn trim(&self, tenant: &str) -> Result<(), Away> {
        let days = self.0.config.retention.ledger_days;
        if days > 0 {
            let oldest = self.now().saturating_sub(days.saturating_mul(86_400_000)).max(0).to_string();
            self.command("XTRIM", &format!("{}ledger", self.of(tenant)), &["MINID", "~", &oldest]).await?;
        }
        Ok(())
    }

    pub(super) async fn answer(&self, question: Question) -> Result<(Vec<Group>, bool), Refusal> {
        if question.step_ms % HOUR_MS != 0 {
            return Err(Refusal::invalid(
                "step_ms",
                "must be whole hours, 3,600,000 ms each, with the shared backend",
            ));
        }
        let up = |at: i64| at.min(LATEST_MS).saturating_add(HOUR_MS - 1).div_euclid(HOUR_MS) * HOUR_MS;
        let whole = Question {
            from_unix_ms: question.from_unix_ms.max(0).div_euclid(HOUR_MS) * HOUR_MS,
            to_unix_ms: up(question.to_unix_ms),
            ..question.clone()
        };
        let one = question.filters.iter().find(|(dimension, _)| *dimension == Dimension::Tenant);
        let tenants = match one {
            Some((_, tenant)) => vec![Arc::from(tenant.as_str())],
            None => self.tenants().await?,
        };
        let mut sums = Sums::new(&question, self.0.config.store.max_groups);
        for tenant in tenants {
            self.add_cells(&tenant, &whole, &mut sums).await?;
        }
        Ok(sums.ranked())
    }

    async fn add_cells(&self, tenant: &str, question: &Question, sums: &mut Sums<'_>) -> Result<(), Refusal> {
        self.roll(tenant).await?;
        let of = self.of(tenant);
        let names = self.command("SMEMBERS", &format!("{of}cells"), &[]).await?.texts();
        let whole_from = match question.daily_detail().mark() {
            Some(mark) => self.whole_from(&of, mark).await?,
            None => 0,
        };
        let segments = question.segments(whole_from);
        for name in names {
            let Some((grain, start)) = name.split_once(':') else { continue };
            let (Ok(number), Ok(start)) = (grain.parse::<i64>(), start.parse::<i64>()) else { continue };
            let asked = segments.iter().any(|segment| {
                let within = (segment.from_unix_ms..segment.to_unix_ms).contains(&start);
                within && segment.grain.is_some_and(|grain| grain.number() == number)
            });
            if !asked {
                continue;
            }
            let mut cells = self.command("HGETALL", &format!("{of}c:{name}"), &[]).await?;
            while !cells.is_empty() {
                if !sums.add_stored(&cells.text(), start, &cells.bytes())? {
                    return Err(Refusal::Unreadable);
                }
            }
        }
        Ok(())
    }

    /// From when on days of less detail are whole; never, where a release that makes none counted last.
    async fn whole_from(&self, of: &str, mark: &str) -> Result<i64, Away> {
        let (from, to, rolled) =
            (format!("{of}{mark}_from"), format!("{of}{mark}_to"), format!("{of}rolled"));
        let mut known = self.command("MGET", &from, &[&to, &rolled]).await?;
        let (from, to, rolled) = (known.text(), known.text(), known.text());
        Ok(from.parse().ok().filter(|_| to == rolled).unwrap_or(i64::MAX))
    }

    /// What the ledger knows to be spent in a period by the requests that count against a budget, to whole hours.
    pub(super) async fn spent(&self, terms: &Terms, window: Window) -> Result<i64, Refusal> {
        let mut filters = vec![(Dimension::Tenant, terms.tenant.as_ref().to_owned())];
        filters.extend(terms.scope.0.iter().map(|(facet, value)| {
            let dimension = match facet {
                Facet::Principal => Dimension::Principal,
                Facet::Team => Dimension::Team,
                Facet::User => Dimension::User,
                Facet::Feature => Dimension::Feature,
                Facet::Model => Dimension::Model,
                Facet::Tag(key) => Dimension::Tag(key.clone()),
            };
            (dimension, value.clone())
        }));
        let question = Question {
            from_unix_ms: window.start,
            to_unix_ms: window.end,
            filters,
            limit: 1,
            ..Question::default()
        };
        let (groups, _) = self.answer(question).await?;
        Ok(groups.first().map_or(0, |group| match terms.unit {
            Unit::Nanousd => group.sum.cost_nanousd,
            Unit::Tokens => group.sum.tokens.input.saturating_add(group.sum.tokens.output),
        }))
    }

    /// Keeps how good the answer to a tenant's request was, as long as the ledger keeps the request.
    pub(super) async fn score(&self, tenant: &str, id: &str, score: &Score) -> Result<(), Refusal> {
        let of = self.of(tenant);
        let mut known = self.command("EXISTS", &format!("{of}q:{id}"), &[&format!("{of}r:{id}")]).await?;
        if known.number() == 0 {
            return Err(Refusal::NotFound { kind: "request", id: id.to_owned() });
        }
        let (key, text) =
            (score_key(&of, id), serde_json::to_string(score).map_err(|_| Refusal::Unreadable)?);
        let kept = self.0.config.retention.ledger_days.saturating_mul(DAY_MS).to_string();
        let lasting: &[&str] =
            if self.0.config.retention.ledger_days > 0 { &[&text, "PX", &kept] } else { &[&text] };
        self.command("SET", &key, lasting).await?;
        Ok(())
    }

    /// Adds the scores of requests to their rows.
    async fn read_scores(&self, tenant: &str, rows: &mut [Row]) -> Result<(), Away> {
        let of = self.of(tenant);
        let keys: Vec<String> = rows.iter().map(|row| score_key(&of, &row.request_id)).collect();
        let Some((first, others)) = keys.split_first() else { return Ok(()) };
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let mut found = self.command("MGET", first, &others).await?;
        for row in rows {
            // One that somebody broke is none.
            row.score = serde_json::from_str(&found.text()).ok();
        }
        Ok(())
    }

    /// The next entries, tenant by tenant, by the time at which they were settled. The mark is `tenant entry`.
    pub(super) async fn page(&self, page: Page) -> Result<Leaf, Refusal> {
        let tenants = match page.tenant.as_str() {
            "" => self.tenants().await?,
            tenant => vec![Arc::from(tenant)],
        };
        let (current, mut mark) = match page.after.split_once(' ') {
            Some((tenant, mark)) => (tenant.to_owned(), mark.to_owned()),
            None => (String::new(), "0".to_owned()),
        };
        for tenant in tenants.iter().filter(|tenant| ***tenant >= *current) {
            if **tenant != *current {
                "0".clone_into(&mut mark);
            }
            let (entries, _) = self.entries(tenant, &mark, page.limit).await?;
            let Some(last) = entries.last() else { continue };
            let next = Some(format!("{tenant} {}", last.mark));
            let wanted = |entry: &Entry| {
                (page.from_unix_ms..page.to_unix_ms).contains(&entry.said.details.started_unix_ms)
            };
            let mut rows: Vec<Row> = entries.into_iter().filter(wanted).flat_map(Entry::rows).collect();
            self.read_scores(tenant, &mut rows).await?;
            return Ok(Leaf { rows, next });
        }
        Ok(Leaf::default())
    }
}
