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
    tally::Tally,
};
use crate::{
    alerts::Alert,
    audit::Change,
    books::{Admitted, Ask, Books, Extension},
    budget::{Amount, Budget},
    config::Bounds,
    counters::Violations,
    keys::{Key, Keys},
    ledger::{Details, Record, Score, Settled},
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
    /// How long records are kept; 0: for ever.
    pub(super) ledger_days: i64,
    pub(super) now: i64,
    pub(super) news: News,
    /// What this commit adds to roll-ups, and what earlier ones added that is not written.
    pub(super) tally: Tally,
    pub(super) pending: &'a Tally,
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
        let row = RequestRow {
            id: &record.request_id,
            subject: &subject,
            target: record.target(),
            details: &record.details,
            outcome: record.closing,
        };
        let fresh = entries::insert_request(self.connection, &row, self.now)?;
        if !fresh {
            self.tally.fold(self.connection, &record.request_id, -1)?;
        }
        let mut new = Vec::with_capacity(record.attempts.len());
        for attempt in &record.attempts {
            match entries::insert_attempt(self.connection, &record.request_id, attempt, self.now)? {
                Entered::New => new.push(attempt),
                Entered::Again => {}
                Entered::Differs => self.violations.count_m1(&record.request_id, attempt.number),
            }
        }
        let mut amount = Amount::default();
        new.iter().for_each(|attempt| amount += attempt.amount());
        let mut news = fresh || !new.is_empty();
        if fresh {
            let outcome = record.closing.unwrap_or_default();
            self.tally.add(
                &record.request_id,
                &subject,
                record.target(),
                &record.details,
                outcome,
                new.into_iter(),
            );
        } else {
            match entries::replace_request(self.connection, &row, self.now)? {
                Entered::New => news = true,
                Entered::Again => {}
                Entered::Differs => self.violations.count_m2(&record.request_id),
            }
            self.tally.fold(self.connection, &record.request_id, 1)?;
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

    /// Keeps how good the answer to a tenant's request was.
    pub(crate) fn score(&mut self, tenant: &str, id: &str, score: &Score) -> Answer<()> {
        let open = self.books.reservation(id).filter(|r| !r.is_standing());
        let of = match open.map(|r| r.subject.tenant.as_ref().to_owned()) {
            // It will be on record, whatever becomes of it.
            Some(tenant) => Some(tenant),
            None => entries::tenant_of(self.connection, id)?,
        };
        if of.is_none_or(|of| of != tenant) {
            return Ok(Err(Refusal::NotFound { kind: "request", id: id.to_owned() }));
        }
        entries::put_score(self.connection, id, score).map(Ok)
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
            && let Some(own) = self.books.close(&record.request_id, self.now)
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

    fn abandon(&mut self, reservation: &Reservation) -> rusqlite::Result<()> {
        let details = Details { started_unix_ms: reservation.made_unix_ms, ..Details::default() };
        let row = RequestRow {
            id: &reservation.id,
            subject: &reservation.subject,
            target: None,
            details: &details,
            outcome: Some(RequestOutcome::Abandoned),
        };
        if entries::insert_request(self.connection, &row, self.now)? {
            let outcome = RequestOutcome::Abandoned;
            self.tally.add(&reservation.id, &reservation.subject, None, &details, outcome, [].into_iter());
        } else {
            self.tally.fold(self.connection, &reservation.id, -1)?;
            entries::replace_request(self.connection, &row, self.now)?;
            self.tally.fold(self.connection, &reservation.id, 1)?;
        }
        Ok(())
    }

    /// Has roll-ups written with this commit, for somebody who wants to read them.
    pub(crate) fn sum_up(&mut self) {
        if !self.pending.is_empty() {
            self.tally.hurry();
        }
    }

    /// Sums what was recorded and not summed when the process ended.
    pub(super) fn recount(&mut self) -> rusqlite::Result<()> {
        self.tally.recount(self.connection)
    }

    /// Writes the budgets and buckets that changed, and looks at the budgets: is B1 kept, is there something to tell? What
    /// becomes pending for the roll-ups; `None`: all is written.
    pub(super) fn close_day(&mut self) -> rusqlite::Result<Option<Tally>> {
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
        for (bucket, level) in self.books.meters.take_changed() {
            rows::put_level(self.connection, &bucket, level)?;
        }
        std::mem::take(&mut self.tally).close(self.pending, self.connection)
    }

    /// All budgets of a tenant, or of all, by tenant and name.
    pub(crate) fn budgets(&mut self, tenant: &str) -> Vec<Budget> {
        let all = self.books.budgets(self.now);
        let mut found: Vec<Budget> =
            all.filter(|b| tenant.is_empty() || *b.terms.tenant == *tenant).cloned().collect();
        found.sort_by(|a, b| (&a.terms.tenant, &a.terms.name).cmp(&(&b.terms.tenant, &b.terms.name)));
        found
    }

    /// Notes that an alert is told; false: it was told before.
    pub(crate) fn tell_once(&self, alert: &Alert) -> Answer<bool> {
        rows::insert_alert(self.connection, alert).map(Ok)
    }

    /// The alerts that were noted and are active.
    pub(crate) fn active(&self, now: i64) -> Answer<Vec<Alert>> {
        rows::alerts(self.connection, now).map(Ok)
    }

    /// Forgets buckets that have drained, alerts that are over, and records that are too old; some of them.
    pub(crate) fn forget(&mut self, now: i64) -> Answer<()> {
        self.books.meters.sweep(now);
        rows::delete_alerts(self.connection, now)?;
        if self.ledger_days > 0 {
            let oldest = now.saturating_sub(self.ledger_days.saturating_mul(86_400_000));
            entries::delete_before(self.connection, oldest)?;
        }
        self.sum_up();
        Ok(Ok(()))
    }

    pub(super) fn note(&self, change: &Change) -> rusqlite::Result<()> {
        rows::insert_change(self.connection, change)
    }
}
