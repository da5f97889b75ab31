//! The desk of the one writer: what can be done within a commit, on the books and on the disk together.
//!
//! Everything returns a result within a result: the outer error is the database's and undoes the whole commit; the inner one
//! is an answer to the caller.

use std::sync::Arc;

use rusqlite::Connection;
use signalbox_proto::metering::v1::RequestOutcome;

use super::{
    entries::{self, Entered, RequestRow},
    rows,
};
use crate::{
    alerts::Alert,
    books::{Admitted, Ask, Books, Extension},
    budget::{Amount, Budget, Origin, Terms},
    config::Bounds,
    counters::Violations,
    keys::{Key, Keys},
    ledger::{Details, Record, Settled},
    refusal::Refusal,
    reservation::{Reservation, Told},
    subject::Subject,
};

/// An answer of the desk.
pub(crate) type Answer<T> = rusqlite::Result<Result<T, Refusal>>;

/// What is told to others once the commit is written.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) keys: Vec<Arc<Key>>,
    pub(super) alerts: Vec<Alert>,
}

/// One commit's work.
pub(crate) struct Desk<'a> {
    pub(super) connection: &'a Connection,
    pub(super) books: &'a mut Books,
    pub(super) keys: &'a Keys,
    pub(super) bounds: &'a Bounds,
    pub(super) violations: &'a Violations,
    pub(super) now: i64,
    pub(super) news: News,
}

impl Desk<'_> {
    /// Admits a request.
    pub(crate) fn admit(&mut self, ask: &Ask) -> Answer<Admitted> {
        let admitted = self.books.admit(ask, self.now);
        for reservation in admitted.iter().flat_map(|a| &a.made).filter_map(|id| self.books.reservation(id)) {
            rows::insert_reservation(self.connection, reservation)?;
        }
        Ok(admitted)
    }

    /// Raises or renews a reservation.
    pub(crate) fn extend(&mut self, ask: &Extension) -> Answer<Told> {
        let extended = self.books.extend(ask, self.now);
        if let (Ok(_), Some(reservation)) = (&extended, self.books.reservation(&ask.reservation_id)) {
            rows::update_reservation(self.connection, reservation)?;
        }
        Ok(extended)
    }

    /// Records what was used. A record that is refused leaves the others alone.
    pub(crate) fn settle(&mut self, records: &[Record]) -> Answer<(Settled, Vec<(usize, Refusal)>)> {
        let (mut settled, mut refused) = (Settled::default(), Vec::new());
        for (index, record) in records.iter().enumerate() {
            match self.record(record)? {
                Ok(true) => settled.recorded += 1,
                Ok(false) => settled.duplicates += 1,
                Err(refusal) => refused.push((index, refusal)),
            }
        }
        Ok(Ok((settled, refused)))
    }

    /// Records one; whether anything of it was new.
    fn record(&mut self, record: &Record) -> Answer<bool> {
        let own = self.books.reservation(&record.request_id).filter(|r| !r.is_standing());
        let Some(subject) = own.map(|r| Arc::clone(&r.subject)).or_else(|| record.subject.clone()) else {
            return Ok(Err(Refusal::invalid(
                "principal",
                "give it, as no open reservation names the caller",
            )));
        };
        let from = match self.source(record, &subject) {
            Ok(from) => from,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (mut amount, mut news) = (Amount::default(), false);
        for attempt in &record.attempts {
            match entries::insert_attempt(self.connection, &record.request_id, attempt, self.now)? {
                Entered::New => {
                    amount += attempt.amount();
                    news = true;
                }
                Entered::Again => {}
                Entered::Differs => self.violations.count_m1(&record.request_id, attempt.number),
            }
        }
        let row = RequestRow {
            id: &record.request_id,
            subject: &subject,
            target: record.target(),
            details: &record.details,
            outcome: record.closing,
        };
        match entries::put_request(self.connection, &row, self.now)? {
            Entered::New => news = true,
            Entered::Again => {}
            Entered::Differs => self.violations.count_m2(&record.request_id),
        }
        self.pay(record, &subject, from.as_deref(), amount)?;
        Ok(Ok(news))
    }

    /// Where a record is paid from: an allowance that it names, else the request's own reservation, as far as it is open.
    fn source(&self, record: &Record, subject: &Subject) -> Result<Option<Arc<str>>, Refusal> {
        let named = record.reservation_id.as_deref().filter(|id| *id != &*record.request_id);
        let Some(named) = named.and_then(|id| self.books.reservation(id)) else {
            let own = self.books.reservation(&record.request_id).filter(|r| !r.is_standing());
            return Ok(own.map(|r| Arc::clone(&r.id)));
        };
        let holder = (&named.subject.tenant, &named.subject.principal);
        if named.is_standing() && holder == (&subject.tenant, &subject.principal) {
            return Ok(Some(Arc::clone(&named.id)));
        }
        Err(Refusal::invalid(
            "reservation_id",
            "it is another request's; give the one that admitted this request",
        ))
    }

    /// Takes the money from the budgets and closes what is closed.
    fn pay(
        &mut self,
        record: &Record,
        subject: &Subject,
        from: Option<&str>,
        amount: Amount,
    ) -> rusqlite::Result<()> {
        if amount != Amount::default() {
            self.books.spend(subject, from, amount, self.now);
        }
        if record.closing.is_some()
            && self.books.reservation(&record.request_id).is_some_and(|own| !own.is_standing())
            && let Some(own) = self.books.close(&record.request_id)
        {
            rows::delete_reservation(self.connection, &own.id)?;
        }
        match from.and_then(|id| self.books.reservation(id)) {
            Some(open) if amount != Amount::default() => rows::update_reservation(self.connection, open),
            _ => Ok(()),
        }
    }

    /// Gives back what has expired. A request that nobody settled until now is recorded as abandoned.
    pub(super) fn expire(&mut self) -> rusqlite::Result<()> {
        for reservation in self.books.expire(self.now) {
            rows::delete_reservation(self.connection, &reservation.id)?;
            if !reservation.is_standing() {
                self.abandon(&reservation)?;
            }
        }
        Ok(())
    }

    fn abandon(&self, reservation: &Reservation) -> rusqlite::Result<()> {
        let details = Details { started_unix_ms: reservation.made_unix_ms, ..Details::default() };
        let row = RequestRow {
            id: &reservation.id,
            subject: &reservation.subject,
            target: None,
            details: &details,
            outcome: Some(RequestOutcome::Abandoned),
        };
        entries::put_request(self.connection, &row, self.now)?;
        Ok(())
    }

    /// Writes the budgets that changed, and looks at them: is B1 kept, is there something to tell?
    pub(super) fn close_day(&mut self) -> rusqlite::Result<()> {
        for id in self.books.take_changed() {
            let Some(budget) = self.books.budget(id) else { continue };
            let passed = budget.passed_percent();
            if !budget.is_kept() {
                let past = budget.spent.saturating_add(budget.reserved).saturating_sub(budget.terms.limit);
                self.violations.count_b1(&budget.terms.tenant, &budget.terms.name, past);
            }
            if passed > budget.told_percent
                && let Some(budget) = self.books.budget_mut(id)
            {
                (budget.told_percent, budget.told_unix_ms) = (passed, self.now);
                self.news.alerts.extend(Alert::of(budget));
            }
            if let Some(budget) = self.books.budget(id) {
                rows::update_budget(self.connection, budget)?;
            }
        }
        self.books.take_changed();
        Ok(())
    }

    /// All budgets of a tenant, or of all, by tenant and name.
    pub(crate) fn budgets(&mut self, tenant: &str) -> Vec<Budget> {
        let all = self.books.budgets(self.now);
        let mut found: Vec<Budget> =
            all.filter(|b| tenant.is_empty() || *b.terms.tenant == *tenant).cloned().collect();
        found.sort_by(|a, b| (&a.terms.tenant, &a.terms.name).cmp(&(&b.terms.tenant, &b.terms.name)));
        found
    }

    /// Makes a budget. What was spent in its period before counts.
    pub(crate) fn create_budget(&mut self, terms: Terms, origin: Origin) -> Answer<Budget> {
        if self.named(&terms, None).is_some() {
            return Ok(Err(Refusal::Exists { kind: "budget", name: terms.name }));
        }
        if self.books.budgets(self.now).count() >= self.bounds.max_budgets {
            return Ok(Err(Refusal::invalid(
                "budget",
                "there are too many; delete one, or raise metering.store.max_budgets",
            )));
        }
        let mut budget = Budget::new(0, origin, terms, self.now);
        budget.spent = entries::spent(self.connection, &budget.terms, budget.window.start)?;
        budget.forgive();
        budget.id = rows::put_budget(self.connection, None, &budget)?;
        self.books.put_budget(budget.clone());
        Ok(Ok(budget))
    }

    /// Changes what a budget bounds.
    pub(crate) fn change_budget(&mut self, id: i64, terms: Terms, origin: Origin) -> Answer<Budget> {
        let Some(known) = self.books.budget(id).cloned() else {
            return Ok(Err(Refusal::NotFound { kind: "budget", id: id.to_string() }));
        };
        if known.origin == Origin::Configuration && origin == Origin::Call {
            return Ok(Err(Refusal::invalid(
                "budget.id",
                "this budget stands in the configuration file; change it there",
            )));
        }
        if known.terms.tenant != terms.tenant {
            return Ok(Err(Refusal::invalid(
                "budget.tenant",
                "a budget cannot change its tenant; make a new one",
            )));
        }
        if self.named(&terms, Some(id)).is_some() {
            return Ok(Err(Refusal::Exists { kind: "budget", name: terms.name }));
        }
        let mut budget = known;
        let recount = !budget.terms.same_count(&terms);
        budget.origin = origin;
        budget.change(terms, self.now);
        if recount {
            budget.spent = entries::spent(self.connection, &budget.terms, budget.window.start)?;
            budget.forgive();
        }
        rows::put_budget(self.connection, Some(id), &budget)?;
        self.books.put_budget(budget.clone());
        Ok(Ok(budget))
    }

    /// Removes a budget.
    pub(crate) fn delete_budget(&mut self, id: i64) -> Answer<()> {
        match self.books.budget(id) {
            None => return Ok(Err(Refusal::NotFound { kind: "budget", id: id.to_string() })),
            Some(budget) if budget.origin == Origin::Configuration => {
                let what = "this budget stands in the configuration file; remove it there";
                return Ok(Err(Refusal::invalid("id", what)));
            }
            Some(_) => {}
        }
        self.books.remove_budget(id);
        rows::delete_budget(self.connection, id)?;
        Ok(Ok(()))
    }

    /// Brings the budgets of the configuration file up to date: makes, changes, and removes those that are gone.
    pub(super) fn configure(&mut self, configured: Vec<Terms>) -> Answer<()> {
        let old = self.budgets("");
        let kept =
            |b: &Budget| configured.iter().any(|t| t.tenant == b.terms.tenant && t.name == b.terms.name);
        for gone in old.iter().filter(|b| b.origin == Origin::Configuration && !kept(b)) {
            self.books.remove_budget(gone.id);
            rows::delete_budget(self.connection, gone.id)?;
        }
        for terms in configured {
            let done = match self.named(&terms, None) {
                Some(id) => self.change_budget(id, terms, Origin::Configuration)?,
                None => self.create_budget(terms, Origin::Configuration)?,
            };
            if let Err(refusal) = done {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    /// The budget of a tenant that has this name already.
    fn named(&mut self, terms: &Terms, except: Option<i64>) -> Option<i64> {
        let mut all = self.books.budgets(self.now);
        let same = |b: &&Budget| {
            b.terms.tenant == terms.tenant && b.terms.name == terms.name && Some(b.id) != except
        };
        all.find(same).map(|b| b.id)
    }

    /// Adds a key.
    pub(crate) fn create_key(&mut self, key: Key) -> Answer<Arc<Key>> {
        if self.keys.len() + self.news.keys.len() >= self.bounds.max_keys {
            return Ok(Err(Refusal::invalid("key", "there are too many; raise metering.store.max_keys")));
        }
        self.put_key(key).map(Ok)
    }

    /// Changes a key as it is now, whatever happened since the caller looked.
    pub(crate) fn change_key(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Key) -> Result<(), Refusal>,
    ) -> Answer<Arc<Key>> {
        let unpublished = self.news.keys.iter().rev().find(|key| &*key.id == id).cloned();
        let Some(known) = unpublished.or_else(|| self.keys.get(id)) else {
            return Ok(Err(Refusal::NotFound { kind: "key", id: id.to_owned() }));
        };
        let mut key = Key::clone(&known);
        if let Err(refusal) = change(&mut key) {
            return Ok(Err(refusal));
        }
        self.put_key(key).map(Ok)
    }

    /// The time of this commit; Unix milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    fn put_key(&mut self, key: Key) -> rusqlite::Result<Arc<Key>> {
        rows::put_key(self.connection, &key)?;
        let key = Arc::new(key);
        self.news.keys.push(Arc::clone(&key));
        Ok(key)
    }
}
