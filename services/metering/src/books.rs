//! The books: every budget and every reservation, in memory, with the rules that keep budgets.
//!
//! One owner ([`crate::store`]) changes them, one call after the other, and writes down what changed; nothing here waits or
//! reads a clock. Admission checks *all* budgets that cover a request before it holds in any.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    budget::{Amount, Budget, Unit},
    config::{Allowances, Grants},
    limit::{Bucket, RateTold},
    meters::{Load, Meters},
    refusal::{Refusal, Shortage},
    reservation::{Purpose, Quote, Reservation, Told, cost},
    subject::Subject,
};

/// The share of a budget, in percent, from which callers are told that it is nearly used up.
const LOW_PERCENT: i64 = 80;

/// Asks for the admission of one request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) request_id: Arc<str>,
    /// Empty: no allowance is kept.
    pub(crate) gateway_id: Arc<str>,
    pub(crate) subject: Arc<Subject>,
    pub(crate) quote: Quote,
    /// Output tokens that are granted at first, where that is less than all; `None`: all.
    pub(crate) slice_tokens: Option<i64>,
}

/// An admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) reservation: Told,
    pub(crate) allowance: Option<Told>,
    pub(crate) low_budgets: Vec<String>,
    pub(crate) rates: Vec<RateTold>,
    /// Reservations that were made by this call and must be written down.
    pub(crate) made: Vec<Arc<str>>,
}

/// Asks for more.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub(crate) reservation_id: Arc<str>,
    /// Counts from 1; one that was granted already changes nothing.
    pub(crate) number: u32,
    pub(crate) nanousd: i64,
    pub(crate) output_tokens: i64,
    /// The price of an output token; `None` for the reservation's own.
    pub(crate) output_picousd: Option<i64>,
    /// Whether the input is sent once more.
    pub(crate) another_attempt: bool,
}

/// Tenant, principal and gateway: whose an allowance is.
type Holder = (Arc<str>, Arc<str>, Arc<str>);

/// Budgets and reservations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    budgets: BTreeMap<i64, Budget>,
    by_tenant: HashMap<Arc<str>, Vec<i64>>,
    reservations: HashMap<Arc<str>, Reservation>,
    expiries: BTreeSet<(i64, Arc<str>)>,
    /// The newest allowance of each tenant, principal and gateway.
    standing: HashMap<Holder, Arc<str>>,
    /// Budgets of which something changed that is written down, since [`Books::take_changed`]. What is reserved is not: it
    /// follows from the reservations.
    changed: BTreeSet<i64>,
    pub(crate) meters: Meters,
    grants: Grants,
    allowances: Allowances,
}

/// What a request is given.
struct Fit {
    budgets: Vec<i64>,
    buckets: Vec<Bucket>,
    output_tokens: i64,
    /// Up to where the grant may be extended; 0 where it is all.
    most_output_tokens: i64,
    /// Whether some budget could have refused it.
    bounded: bool,
}

impl Books {
    /// Creates empty books.
    pub(crate) fn new(grants: Grants, allowances: Allowances) -> Self {
        Self { grants, allowances, ..Self::default() }
    }

    /// Admits a request. Asking again for the same one changes nothing.
    pub(crate) fn admit(&mut self, ask: &Ask, now: i64) -> Result<Admitted, Refusal> {
        let mut made = Vec::new();
        let reservation = match self.reservations.get(&ask.request_id) {
            Some(known) if known.subject.tenant != ask.subject.tenant || known.is_standing() => {
                return Err(Refusal::RequestIdTaken);
            }
            Some(known) => known.told(),
            None => {
                if self.is_full(now) {
                    return Err(Refusal::Full);
                }
                let fit = self.fit(ask, now)?;
                let reservation = self.granted(ask, fit, now);
                let load = Load { requests: 1, concurrent: 0, tokens: reservation.held.tokens };
                self.meters.add(&reservation.buckets, load, now);
                made.push(Arc::clone(&reservation.id));
                let told = reservation.told();
                self.insert(reservation);
                told
            }
        };
        let buckets = self.reservations.get(&ask.request_id).map_or(&[][..], |known| &known.buckets);
        let rates = self.meters.told(buckets, now);
        let allowance = self.allowance(ask, now, &mut made);
        Ok(Admitted { reservation, allowance, low_budgets: self.low(&ask.subject, now), rates, made })
    }

    fn is_full(&mut self, now: i64) -> bool {
        if self.meters.len() >= self.grants.max_reservations {
            self.meters.sweep(now);
        }
        self.reservations.len() >= self.grants.max_reservations
            || self.meters.len() >= self.grants.max_reservations
    }

    fn granted(&self, ask: &Ask, fit: Fit, now: i64) -> Reservation {
        Reservation {
            id: Arc::clone(&ask.request_id),
            purpose: Purpose::Request,
            subject: Arc::clone(&ask.subject),
            made_unix_ms: now,
            held: ask.quote.amount(fit.output_tokens),
            input_tokens: ask.quote.input_tokens,
            granted_output_tokens: if fit.bounded { fit.output_tokens } else { 0 },
            most_output_tokens: if fit.bounded { fit.most_output_tokens } else { 0 },
            output_picousd: ask.quote.output_picousd,
            budgets: fit.budgets,
            buckets: fit.buckets,
            extension: 0,
            expires_unix_ms: now.saturating_add(self.grants.ttl_ms),
        }
    }

    /// The most that all budgets together allow, if that is at least the least grant, and if all limits let it in.
    fn fit(&mut self, ask: &Ask, now: i64) -> Result<Fit, Refusal> {
        let (subject, quote) = (&*ask.subject, &ask.quote);
        let (budgets, buckets) = (self.covering(subject, now), self.meters.through(subject));
        let least = quote.output_tokens.min(self.grants.min_output_tokens);
        let (mut output_tokens, mut bounded, mut short) = (quote.output_tokens, false, Vec::new());
        if let Some(most) = self.meters.most_tokens(&buckets) {
            // What never fits at once is granted as far as it fits; where not even the least does, the limit refuses.
            output_tokens = output_tokens.min(most.saturating_sub(quote.input_tokens).max(least));
            bounded = true;
        }
        for id in &budgets {
            let Some(budget) = self.budgets.get_mut(id).filter(|b| b.terms.hard) else { continue };
            let most = match budget.terms.unit {
                Unit::Nanousd => quote.affordable(budget.room()),
                Unit::Tokens => budget.room().checked_sub(quote.input_tokens).filter(|left| *left >= 0),
            };
            match most.filter(|most| *most >= least) {
                None if budget.terms.shadow => {
                    budget.shadowed += 1;
                    self.changed.insert(*id);
                }
                _ if budget.terms.shadow => {}
                Some(most) => (output_tokens, bounded) = (output_tokens.min(most), true),
                None => short.push(Shortage::of(budget, quote.amount(least))),
            }
        }
        if !short.is_empty() {
            return Err(Refusal::Budgets(short));
        }
        // Less than a slice is no slice: the budget cannot give more.
        let slice = ask.slice_tokens.filter(|slice| *slice < output_tokens);
        let most_output_tokens = slice.map_or(0, |_| output_tokens);
        let output_tokens = slice.unwrap_or(output_tokens).max(least);
        let load = Load { requests: 1, concurrent: 1, tokens: quote.amount(output_tokens).tokens };
        match self.meters.check(&buckets, load, now) {
            passed if passed.is_empty() => {
                Ok(Fit { budgets, buckets, output_tokens, most_output_tokens, bounded })
            }
            passed => Err(Refusal::RateLimited(passed)),
        }
    }

    /// Raises a reservation, or renews it: all of it, or nothing.
    pub(crate) fn extend(&mut self, ask: &Extension, now: i64) -> Result<Told, Refusal> {
        let known = self.reservations.get(&ask.reservation_id).filter(|r| !r.is_standing());
        let known = known.ok_or(Refusal::NoReservation)?;
        if ask.number <= known.extension {
            return Ok(known.told());
        }
        let picousd = ask.output_picousd.unwrap_or(known.output_picousd);
        let more = Amount {
            nanousd: if ask.nanousd > 0 { ask.nanousd } else { cost(ask.output_tokens, picousd) },
            tokens: ask.output_tokens.saturating_add(if ask.another_attempt {
                known.input_tokens
            } else {
                0
            }),
        };
        let budgets = known.budgets.clone();
        let mut short = Vec::new();
        for id in &budgets {
            self.roll(*id, now);
            let Some(budget) = self.budgets.get(id).filter(|b| b.terms.refuses()) else { continue };
            let needed = more.of(budget.terms.unit);
            if needed > 0 && needed > budget.room() {
                short.push(Shortage::of(budget, more));
            }
        }
        if !short.is_empty() {
            return Err(Refusal::Budgets(short));
        }
        self.each(&budgets, |budget| budget.hold(more, false));
        let buckets = known_buckets(&self.reservations, &ask.reservation_id);
        self.meters.add(&buckets, Load { tokens: more.tokens, ..Load::default() }, now);
        let ttl = self.grants.ttl_ms;
        let Some(reservation) = self.reservations.get_mut(&ask.reservation_id) else {
            return Err(Refusal::NoReservation);
        };
        reservation.held += more;
        reservation.extension = ask.number;
        if reservation.granted_output_tokens > 0 && !ask.another_attempt {
            reservation.granted_output_tokens =
                reservation.granted_output_tokens.saturating_add(ask.output_tokens);
        }
        self.expiries.remove(&(reservation.expires_unix_ms, Arc::clone(&reservation.id)));
        reservation.expires_unix_ms = reservation.expires_unix_ms.max(now.saturating_add(ttl));
        self.expiries.insert((reservation.expires_unix_ms, Arc::clone(&reservation.id)));
        Ok(reservation.told())
    }

    /// Spends, out of a reservation as far as it reaches. What comes late or above it is spent all the same.
    /// Returns what had not been reserved.
    pub(crate) fn spend(
        &mut self,
        subject: &Subject,
        from: Option<&str>,
        amount: Amount,
        now: i64,
    ) -> Amount {
        let (mut covered, mut held_in) = (Amount::default(), Vec::new());
        let (mut buckets, mut standing) = (Vec::new(), false);
        if let Some(reservation) = from.and_then(|id| self.reservations.get_mut(id)) {
            covered = reservation.held.least(amount);
            reservation.held = reservation.held.minus(covered);
            standing = reservation.is_standing();
            held_in.clone_from(&reservation.budgets);
            buckets = if standing { self.meters.through(subject) } else { reservation.buckets.clone() };
            self.each(&held_in, |budget| budget.release(covered, standing));
        }
        let covering = self.covering(subject, now);
        self.each(&covering, |budget| {
            let covered = if held_in.contains(&budget.id) { covered } else { Amount::default() };
            budget.spend(amount, covered);
        });
        self.changed.extend(covering);
        let uncovered = amount.minus(covered);
        if buckets.is_empty() && from.is_none() {
            buckets = self.meters.through(subject);
        }
        // An allowance holds no tokens of a limit.
        let tokens = if standing { amount.tokens } else { uncovered.tokens };
        self.meters.add(&buckets, Load { tokens, ..Load::default() }, now);
        uncovered
    }

    /// Ends a reservation and gives back what is left of it.
    pub(crate) fn close(&mut self, id: &str, now: i64) -> Option<Reservation> {
        let reservation = self.reservations.remove(id)?;
        let load = Load { requests: 0, concurrent: -1, tokens: -reservation.held.tokens };
        self.meters.add(&reservation.buckets, load, now);
        self.expiries.remove(&(reservation.expires_unix_ms, Arc::clone(&reservation.id)));
        let standing = reservation.is_standing();
        self.each(&reservation.budgets, |budget| budget.release(reservation.held, standing));
        if let Purpose::Standing(gateway) = &reservation.purpose {
            let holder = holder(&reservation.subject, gateway);
            if self.standing.get(&holder).is_some_and(|newest| *newest == reservation.id) {
                self.standing.remove(&holder);
            }
        }
        Some(reservation)
    }

    /// Ends every reservation whose time is over.
    pub(crate) fn expire(&mut self, now: i64) -> Vec<Reservation> {
        let mut ended = Vec::new();
        while let Some((_, id)) = self.expiries.first().filter(|(at, _)| *at <= now).cloned() {
            match self.close(&id, now) {
                Some(reservation) => ended.push(reservation),
                None => drop(self.expiries.pop_first()),
            }
        }
        ended
    }

    /// The allowance of the asking gateway: the one it has, or, when half of its life is over, a new one beside it. The old
    /// one stays reserved until its end, because the gateway may have spent from it.
    fn allowance(&mut self, ask: &Ask, now: i64, made: &mut Vec<Arc<str>>) -> Option<Told> {
        if !self.allowances.enabled || ask.gateway_id.is_empty() {
            return None;
        }
        let holder = holder(&ask.subject, &ask.gateway_id);
        let current =
            self.standing.get(&holder).and_then(|id| self.reservations.get(id)).map(Reservation::told);
        let fresh = |told: &Told| told.expires_unix_ms.saturating_sub(now) > self.allowances.ttl_ms / 2;
        if current.as_ref().is_some_and(fresh) || self.reservations.len() >= self.grants.max_reservations {
            return current;
        }
        let subject = Subject {
            user: None,
            feature: None,
            tags: BTreeMap::new(),
            model: String::new(),
            ..Subject::clone(&ask.subject)
        };
        let budgets = self.covering(&subject, now);
        let held = self.standing_amount(&budgets);
        if held.nanousd <= 0 || held.tokens < 0 {
            return current;
        }
        // A request may be admitted again after it expired: its id alone does not tell two allowances apart.
        let ids = (0..).map(|n: u32| Arc::from(format!("standing-{now}-{n}-{}", ask.request_id)));
        let reservation = Reservation {
            id: ids.into_iter().find(|id| !self.reservations.contains_key(id))?,
            purpose: Purpose::Standing(Arc::clone(&ask.gateway_id)),
            subject: Arc::new(subject),
            made_unix_ms: now,
            held,
            input_tokens: 0,
            granted_output_tokens: 0,
            most_output_tokens: 0,
            output_picousd: 0,
            budgets,
            buckets: Vec::new(),
            extension: 0,
            expires_unix_ms: now.saturating_add(self.allowances.ttl_ms),
        };
        let told = reservation.told();
        made.push(Arc::clone(&reservation.id));
        self.insert(reservation);
        Some(told)
    }

    /// A share of the tightest limit; together with the others of that budget never more than a larger share.
    fn standing_amount(&self, budgets: &[i64]) -> Amount {
        let (mut money, mut tokens) = (None::<i64>, None::<i64>);
        for budget in budgets.iter().filter_map(|id| self.budgets.get(id)).filter(|b| b.terms.refuses()) {
            let percent =
                |share: i64| budget.terms.limit / 100 * share + budget.terms.limit % 100 * share / 100;
            let own = percent(self.allowances.share_percent);
            let others = percent(self.allowances.total_share_percent).saturating_sub(budget.standing);
            let share = own.min(others).min(budget.room());
            let tightest = match budget.terms.unit {
                Unit::Nanousd => &mut money,
                Unit::Tokens => &mut tokens,
            };
            *tightest = Some(tightest.map_or(share, |least| least.min(share)));
        }
        let money = money.map_or(self.allowances.unlimited_nanousd, |m| m.min(self.allowances.max_nanousd));
        // A token budget without room must refuse; one that does not exist must not.
        Amount { nanousd: money, tokens: tokens.map_or(0, |t| if t > 0 { t } else { -1 }) }
    }

    fn low(&self, subject: &Subject, now: i64) -> Vec<String> {
        let ids = self.by_tenant.get(&subject.tenant).map_or(&[][..], Vec::as_slice);
        Self::low_of(ids.iter().filter_map(|id| self.budgets.get(id)).filter(|b| b.covers(subject, now)))
    }

    /// The names of those budgets that are nearly used up.
    pub(crate) fn low_of<'a>(budgets: impl Iterator<Item = &'a Budget>) -> Vec<String> {
        budgets.filter(|b| b.has_passed(LOW_PERCENT)).map(|b| b.terms.name.clone()).collect()
    }

    /// The budgets that cover a request, rolled to the current period.
    fn covering(&mut self, subject: &Subject, now: i64) -> Vec<i64> {
        let Some(ids) = self.by_tenant.get(&subject.tenant) else { return Vec::new() };
        let covers = |id: &&i64| self.budgets.get(id).is_some_and(|b| b.covers(subject, now));
        let covering: Vec<i64> = ids.iter().filter(covers).copied().collect();
        for id in &covering {
            self.roll(*id, now);
        }
        covering
    }

    fn roll(&mut self, id: i64, now: i64) {
        if self.budgets.get_mut(&id).is_some_and(|budget| budget.roll(now)) {
            self.changed.insert(id);
        }
    }

    fn each(&mut self, ids: &[i64], change: impl Fn(&mut Budget)) {
        for id in ids {
            if let Some(budget) = self.budgets.get_mut(id) {
                change(budget);
            }
        }
    }

    /// Adds a reservation and holds it in its budgets.
    pub(crate) fn insert(&mut self, reservation: Reservation) {
        let (held, standing) = (reservation.held, reservation.is_standing());
        self.each(&reservation.budgets, |budget| budget.hold(held, standing));
        let under_way = Load { concurrent: 1, ..Load::default() };
        self.meters.add(&reservation.buckets, under_way, reservation.made_unix_ms);
        self.expiries.insert((reservation.expires_unix_ms, Arc::clone(&reservation.id)));
        if let Purpose::Standing(gateway) = &reservation.purpose {
            // The newest ends last; they come in any order when they are read back.
            let newest = self
                .standing
                .entry(holder(&reservation.subject, gateway))
                .or_insert_with(|| Arc::clone(&reservation.id));
            if self
                .reservations
                .get(newest)
                .is_none_or(|other| other.expires_unix_ms <= reservation.expires_unix_ms)
            {
                *newest = Arc::clone(&reservation.id);
            }
        }
        self.reservations.insert(Arc::clone(&reservation.id), reservation);
    }

    /// A reservation.
    pub(crate) fn reservation(&self, id: &str) -> Option<&Reservation> {
        self.reservations.get(id)
    }

    /// How many reservations are open, allowances included.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.reservations.len()
    }

    /// Adds or replaces a budget.
    pub(crate) fn put_budget(&mut self, budget: Budget) {
        let ids = self.by_tenant.entry(Arc::clone(&budget.terms.tenant)).or_default();
        if !ids.contains(&budget.id) {
            ids.push(budget.id);
        }
        self.changed.insert(budget.id);
        self.budgets.insert(budget.id, budget);
    }

    /// Removes a budget. Reservations that were held in it stay; the others' budgets still bound them.
    pub(crate) fn remove_budget(&mut self, id: i64) -> Option<Budget> {
        let budget = self.budgets.remove(&id)?;
        if let Some(ids) = self.by_tenant.get_mut(&budget.terms.tenant) {
            ids.retain(|other| *other != id);
        }
        self.changed.remove(&id);
        Some(budget)
    }

    /// A budget.
    pub(crate) fn budget(&self, id: i64) -> Option<&Budget> {
        self.budgets.get(&id)
    }

    /// A budget, to be changed; it counts as changed.
    pub(crate) fn budget_mut(&mut self, id: i64) -> Option<&mut Budget> {
        self.changed.insert(id);
        self.budgets.get_mut(&id)
    }

    /// All budgets, rolled to the current period.
    pub(crate) fn budgets(&mut self, now: i64) -> impl Iterator<Item = &Budget> {
        let ids: Vec<i64> = self.budgets.keys().copied().collect();
        for id in ids {
            self.roll(id, now);
        }
        self.budgets.values()
    }

    /// The budgets that changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.changed)
    }
}

fn known_buckets(reservations: &HashMap<Arc<str>, Reservation>, id: &str) -> Vec<Bucket> {
    reservations.get(id).map(|known| known.buckets.clone()).unwrap_or_default()
}

fn holder(subject: &Subject, gateway: &Arc<str>) -> Holder {
    (Arc::clone(&subject.tenant), Arc::clone(&subject.principal), Arc::clone(gateway))
}

#[cfg(test)]
mod tests;
