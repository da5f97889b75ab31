//! Admission, extension and settlement over Redis.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Fleet, TRIES,
    definitions::{Definitions, push_buckets, push_budgets, with_states},
    script::{self, Reply},
};
use crate::{
    books::{Admitted, Ask, Books, Extension},
    budget::{Amount, Budget, Origin, Terms},
    config::Allowances,
    ledger::{Record, Settled},
    limit::{Bucket, Level, Limit},
    refusal::{Refusal, Shortage},
    reservation::Told,
    subject::Subject,
};

/// Records of a batch that are under way at the same time.
const AT_ONCE: usize = 64;

type Defined = (i64, Origin, Terms);

/// What a reservation is called outside: its tenant goes before the request's id, so that whoever names it names the slot.
fn outside(tenant: &str, id: &str) -> String {
    format!("{tenant}:{id}")
}

fn told(tenant: &str, mut reply: Reply) -> Option<Told> {
    if reply.is_empty() {
        return None;
    }
    Some(Told {
        id: outside(tenant, &reply.text()).into(),
        amount_nanousd: reply.number(),
        granted_output_tokens: reply.number(),
        most_output_tokens: reply.number(),
        expires_unix_ms: reply.number(),
        output_picousd: reply.number(),
    })
}

/// Whether an allowance takes from a budget: it stands for all that a key does.
fn is_standing(subject: &Subject) -> impl Fn(&Terms) -> bool + use<> {
    let bare = Subject {
        user: None,
        feature: None,
        tags: std::collections::BTreeMap::new(),
        model: String::new(),
        ..subject.clone()
    };
    move |terms: &Terms| terms.scope.covers(&bare)
}

impl Fleet {
    pub(super) async fn admit(&self, ask: &Ask) -> Result<Admitted, Refusal> {
        let subject = &*ask.subject;
        let tenant = &subject.tenant;
        let subject_text = serde_json::to_string(subject).map_err(|_| Refusal::Unreadable)?;
        for _ in 0..TRIES {
            let known = self.definitions(tenant).await?;
            let now = self.now();
            let budgets: Vec<&Defined> = known.covering(subject, now).collect();
            let buckets: Vec<(&Limit, Bucket)> = known.through(subject).collect();
            let (grants, allowances, quote) = (&self.0.config.grants, &self.0.config.allowance, &ask.quote);
            let gateway = if ask.gateway_id.is_empty() {
                String::new()
            } else {
                format!("{} {}", ask.gateway_id, subject.principal)
            };
            let mut call = self.call(tenant).with(&known.version).with(self.keep_ms());
            call = call.with(&*ask.request_id).with(&subject_text).with(gateway);
            call = call.with(quote.input_tokens).with(quote.output_tokens).with(quote.fixed_nanousd);
            call = call.with(quote.output_picousd).with(quote.output_tokens.min(grants.min_output_tokens));
            call = call.with(ask.slice_tokens.unwrap_or(-1)).with(known.newest);
            call = call.with(grants.ttl_ms).with(grants.max_reservations);
            call = call.with(if allowances.enabled { allowances.ttl_ms } else { 0 });
            call = call.with(allowances.share_percent).with(allowances.total_share_percent);
            call = call.with(allowances.max_nanousd).with(allowances.unlimited_nanousd);
            push_budgets(&mut call, &budgets, now, is_standing(subject));
            push_buckets(&mut call, &buckets);
            let mut reply = Reply::of(call.run(&self.0.link, &script::ADMIT).await?);
            let verdict = reply.text();
            match verdict.as_str() {
                "stale" => {
                    self.forget(tenant);
                    continue;
                }
                "taken" => return Err(Refusal::RequestIdTaken),
                "full" => return Err(Refusal::Full),
                _ => {}
            }
            let (reservation, allowance) = (told(tenant, reply.list()), told(tenant, reply.list()));
            let budgets = with_states(&budgets, reply.list());
            let levels = levels(reply.list());
            return match (verdict.as_str(), reservation) {
                ("ok", Some(reservation)) => Ok(Admitted {
                    reservation,
                    allowance,
                    low_budgets: Books::low_of(budgets.iter()),
                    rates: buckets
                        .iter()
                        .zip(&levels)
                        .map(|((limit, _), level)| limit.told(*level, now))
                        .collect(),
                    made: Vec::new(),
                }),
                _ => Err(self.refusal(ask, budgets, &buckets, &levels, now)),
            };
        }
        Err(Refusal::Overloaded)
    }

    /// Why a request was refused: the rules are asked again with what the script saw.
    fn refusal(
        &self,
        ask: &Ask,
        budgets: Vec<Budget>,
        buckets: &[(&Limit, Bucket)],
        levels: &[Level],
        now: i64,
    ) -> Refusal {
        let none = Allowances { enabled: false, ..Allowances::default() };
        let mut books = Books::new(self.0.config.grants.clone(), none);
        budgets.into_iter().for_each(|budget| books.put_budget(budget));
        for ((limit, bucket), level) in buckets.iter().zip(levels) {
            books.meters.put((*limit).clone());
            books.meters.put_level(bucket.clone(), *level);
        }
        books.admit(ask, now).err().unwrap_or(Refusal::Overloaded)
    }

    pub(super) async fn extend(&self, ask: &Extension) -> Result<Told, Refusal> {
        let (tenant, id) = ask.reservation_id.split_once(':').ok_or(Refusal::NoReservation)?;
        let tenant: Arc<str> = tenant.into();
        for _ in 0..TRIES {
            let known = self.definitions(&tenant).await?;
            let now = self.now();
            let budgets: Vec<&Defined> = known.budgets.iter().collect();
            let mut call = self.call(&tenant).with(&known.version).with(self.keep_ms());
            call = call.with(id).with(ask.number).with(ask.nanousd).with(ask.output_tokens);
            call = call.with(ask.output_picousd.unwrap_or(-1)).with(u8::from(ask.another_attempt));
            call = call.with(self.0.config.grants.ttl_ms);
            push_budgets(&mut call, &budgets, now, |_| false);
            let mut reply = Reply::of(call.run(&self.0.link, &script::EXTEND).await?);
            match reply.text().as_str() {
                "stale" => self.forget(&tenant),
                "ok" => return told(&tenant, reply.list()).ok_or(Refusal::NoReservation),
                "no" => {
                    let (_told, states, ids) = (reply.list(), reply.list(), reply.list().texts());
                    let mut needed = reply.list();
                    let needed = Amount { nanousd: needed.number(), tokens: needed.number() };
                    let mine: Vec<&Defined> =
                        budgets.into_iter().filter(|(id, ..)| ids.contains(&id.to_string())).collect();
                    let short = with_states(&mine, states).into_iter().filter(|budget| {
                        let needed = needed.of(budget.terms.unit);
                        budget.terms.refuses() && needed > 0 && needed > budget.room()
                    });
                    return Err(Refusal::Budgets(
                        short.map(|budget| Shortage::of(&budget, needed)).collect(),
                    ));
                }
                _ => return Err(Refusal::NoReservation),
            }
        }
        Err(Refusal::Overloaded)
    }

    pub(super) async fn settle_all(
        &self,
        records: &[Record],
    ) -> Result<(Settled, Vec<(usize, Refusal)>), Refusal> {
        let (mut settled, mut refused) = (Settled::default(), Vec::new());
        for (part, records) in records.chunks(AT_ONCE).enumerate() {
            // They are sent without waiting for each other, in their order.
            let calls: Vec<_> = records.iter().map(|record| self.settle(record)).collect();
            for (place, answer) in join_all(calls).await.into_iter().enumerate() {
                match answer {
                    Ok(true) => settled.recorded += 1,
                    Ok(false) => settled.duplicates += 1,
                    Err(Refusal::StoreAway) => return Err(Refusal::StoreAway),
                    Err(refusal) => refused.push((part * AT_ONCE + place, refusal)),
                }
            }
        }
        Ok((settled, refused))
    }

    /// Records one; whether anything of it was new.
    async fn settle(&self, record: &Record) -> Result<bool, Refusal> {
        let nobody = || Refusal::invalid("principal", "give it, as no open reservation names the caller");
        let theirs = || {
            Refusal::invalid(
                "reservation_id",
                "it is another request's; give the one that admitted this request",
            )
        };
        let named = record.reservation_id.as_deref().and_then(|id| id.split_once(':'));
        let tenant: Arc<str> = match (&record.subject, named) {
            (Some(subject), Some((tenant, _))) if *subject.tenant != *tenant => return Err(theirs()),
            (Some(subject), _) => Arc::clone(&subject.tenant),
            (None, Some((tenant, _))) => tenant.into(),
            (None, None) => return Err(nobody()),
        };
        for _ in 0..TRIES {
            let known = self.definitions(&tenant).await?;
            let now = self.now();
            let subject = record.subject.as_deref();
            let budgets: Vec<&Defined> =
                subject.map_or_else(Vec::new, |subject| known.covering(subject, now).collect());
            let call = self.settlement(&tenant, &known, record, &budgets, named.map_or("", |(_, id)| id))?;
            let mut reply = Reply::of(call.run(&self.0.link, &script::SETTLE).await?);
            match reply.text().as_str() {
                "stale" => self.forget(&tenant),
                "who" => return Err(nobody()),
                "theirs" => return Err(theirs()),
                _ => {
                    let new = reply.number() == 1;
                    for attempt in reply.list().texts() {
                        self.0.violations.count_m1(&record.request_id, attempt.parse().unwrap_or(0));
                    }
                    if reply.number() == 1 {
                        self.0.violations.count_m2(&record.request_id);
                    }
                    for budget in with_states(&budgets, reply.list()) {
                        self.look_at(&budget).await?;
                    }
                    return Ok(new);
                }
            }
        }
        Err(Refusal::Overloaded)
    }

    fn settlement(
        &self,
        tenant: &str,
        known: &Definitions,
        record: &Record,
        budgets: &[&Defined],
        named: &str,
    ) -> Result<script::Call, Refusal> {
        let unwritable = |_| Refusal::Unreadable;
        let subject = record.subject.as_deref();
        let text = match subject {
            Some(subject) => serde_json::to_string(subject).map_err(unwritable)?,
            None => String::new(),
        };
        let details = super::usage::details(record).map_err(unwritable)?;
        let mut call = self.call(tenant).with(&known.version).with(self.keep_ms());
        call =
            call.with(&*record.request_id).with(named).with(subject.map_or("", |subject| &subject.principal));
        call = call.with(text).with(record.closing.map_or_else(String::new, |o| i32::from(o).to_string()));
        call = call.with(details).with(record.attempts.len());
        for attempt in &record.attempts {
            let tokens = &attempt.tokens;
            let print = format!(
                "{} {} {} {}",
                attempt.target_id,
                tokens.input,
                tokens.output,
                i32::from(attempt.source)
            );
            let amount = attempt.amount();
            call = call.with(attempt.number).with(print).with(amount.nanousd).with(amount.tokens);
            call = call.with(serde_json::to_string(attempt).map_err(unwritable)?);
        }
        push_budgets(&mut call, budgets, self.now(), |_| false);
        let buckets: Vec<_> = subject.map_or_else(Vec::new, |subject| known.through(subject).collect());
        push_buckets(&mut call, &buckets);
        Ok(call)
    }
}

fn levels(mut reply: Reply) -> Vec<Level> {
    let mut levels = Vec::new();
    while !reply.is_empty() {
        levels.push(Level { level: reply.number(), at_unix_ms: reply.number() });
    }
    levels
}
