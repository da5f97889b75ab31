//! Admission, extension and settlement over Redis.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{
    Fleet, TENANTS, TRIES,
    batch::{Answer, Batch, Job},
    lane::{Lane, Put},
    pack::Pack,
    script::{self, Reply, is_fault},
};
use crate::{
    books::{Admitted, Ask, Extension},
    ledger::{Record, Settled},
    refusal::Refusal,
    reservation::Told,
    subject::Subject,
};

/// Records of a batch that are under way at the same time.
const AT_ONCE: usize = 64;

/// What a reservation is called outside: its tenant goes before the request's id, so that whoever names it names the slot.
fn outside(tenant: &str, id: &str) -> String {
    format!("{tenant}:{id}")
}

pub(super) fn told(tenant: &str, id: &str, mut reply: Reply) -> Told {
    Told {
        id: outside(tenant, id).into(),
        amount_nanousd: reply.number(),
        granted_output_tokens: reply.number(),
        most_output_tokens: reply.number(),
        expires_unix_ms: reply.number(),
        output_picousd: reply.number(),
    }
}

fn nobody() -> Refusal {
    Refusal::invalid("principal", "give it, as no open reservation names the caller")
}

fn theirs() -> Refusal {
    Refusal::invalid("reservation_id", "it is another request's; give the one that admitted this request")
}

/// Sent again it would be refused again, and others would wait behind it.
fn broken() -> Refusal {
    Refusal::invalid(
        "request_id",
        "what Redis holds of this request cannot be read, so that nobody knows whether this was counted; its record is not",
    )
}

/// A record in the words in which it is kept.
pub(super) struct Settling {
    request_id: Arc<str>,
    /// The reservation that it names, within its tenant.
    named: String,
    pub(super) subject: Option<Arc<Subject>>,
    subject_text: String,
    closing: i32,
    details: String,
    attempts: Vec<Attempt>,
}

struct Attempt {
    number: u32,
    /// What it came to: the same attempt says the same again.
    print: String,
    nanousd: i64,
    tokens: i64,
    text: String,
}

impl Settling {
    fn of(record: &Record, named: &str) -> Result<Self, Refusal> {
        let unwritable = |_: serde_json::Error| Refusal::Unreadable;
        let subject_text = match record.subject.as_deref() {
            Some(subject) => serde_json::to_string(subject).map_err(unwritable)?,
            None => String::new(),
        };
        let attempts = record.attempts.iter().map(|attempt| {
            let (tokens, amount) = (&attempt.tokens, attempt.amount());
            let source = i32::from(attempt.source);
            let print = format!("{} {} {} {source}", attempt.target_id, tokens.input, tokens.output);
            let text = serde_json::to_string(attempt).map_err(unwritable)?;
            Ok(Attempt {
                number: attempt.number,
                print,
                nanousd: amount.nanousd,
                tokens: amount.tokens,
                text,
            })
        });
        Ok(Self {
            request_id: Arc::clone(&record.request_id),
            named: named.to_owned(),
            subject: record.subject.clone(),
            subject_text,
            closing: record.closing.map_or(0, i32::from),
            details: super::usage::details(record).map_err(unwritable)?,
            attempts: attempts.collect::<Result<_, Refusal>>()?,
        })
    }

    pub(super) fn pack(&self, pack: &mut Pack, place: usize) {
        pack.list(9);
        pack.number(3);
        pack.text(&self.request_id);
        pack.place(place);
        pack.text(&self.named);
        pack.text(self.subject.as_deref().map_or("", |subject| &subject.principal));
        pack.text(&self.subject_text);
        pack.number(self.closing.into());
        pack.text(&self.details);
        pack.list(self.attempts.len() * 5);
        for attempt in &self.attempts {
            pack.number(attempt.number.into());
            pack.text(&attempt.print);
            pack.number(attempt.nanousd);
            pack.number(attempt.tokens);
            pack.text(&attempt.text);
        }
    }

    /// Whether anything of it was new.
    pub(super) fn settled(&self, fleet: &Fleet, mut reply: Reply) -> Result<bool, Refusal> {
        match reply.text().as_str() {
            "ok" => {}
            "who" => return Err(nobody()),
            "theirs" => return Err(theirs()),
            "broken" => {
                fleet.0.violations.count_m2(&self.request_id);
                return Err(broken());
            }
            _ => return Err(Refusal::Unreadable),
        }
        let (new, differs) = (reply.number() == 1, reply.number() == 1);
        for attempt in reply.list().texts() {
            fleet.0.violations.count_m1(&self.request_id, attempt.parse().unwrap_or(0));
        }
        if differs {
            fleet.0.violations.count_m2(&self.request_id);
        }
        Ok(new)
    }
}

impl Fleet {
    pub(super) async fn admit(&self, ask: Ask) -> Result<Admitted, Refusal> {
        let tenant = Arc::clone(&ask.subject.tenant);
        let subject = serde_json::to_string(&*ask.subject).map_err(|_| Refusal::Unreadable)?;
        self.ask(&tenant, |answer| Job::Admit(ask, subject, answer)).await
    }

    pub(super) async fn extend(&self, ask: Extension) -> Result<Told, Refusal> {
        let (tenant, id) = ask.reservation_id.split_once(':').ok_or(Refusal::NoReservation)?;
        let (tenant, id): (Arc<str>, _) = (tenant.into(), id.to_owned());
        self.ask(&tenant, |answer| Job::Extend(ask, id, answer)).await
    }

    pub(super) async fn settle_all(
        &self,
        records: &[Record],
    ) -> Result<(Settled, Vec<(usize, Refusal)>), Refusal> {
        let (mut settled, mut refused, mut failed) = (Settled::default(), Vec::new(), None);
        for (part, records) in records.chunks(AT_ONCE).enumerate() {
            // They are sent without waiting for each other, in their order.
            let calls: Vec<_> = records.iter().map(|record| self.settle(record)).collect();
            for (place, answer) in join_all(calls).await.into_iter().enumerate() {
                match answer {
                    Ok(true) => settled.recorded += 1,
                    Ok(false) => settled.duplicates += 1,
                    Err(refusal @ Refusal::Invalid { .. }) => refused.push((part * AT_ONCE + place, refusal)),
                    // The record is not at fault: whoever has it sends it again. The others are not to wait for that.
                    Err(refusal) => failed = Some(refusal),
                }
            }
        }
        failed.map_or(Ok((settled, refused)), Err)
    }

    /// Records one; whether anything of it was new.
    async fn settle(&self, record: &Record) -> Result<bool, Refusal> {
        let named = record.reservation_id.as_deref().and_then(|id| id.split_once(':'));
        let tenant: Arc<str> = match (&record.subject, named) {
            (Some(subject), Some((tenant, _))) if *subject.tenant != *tenant => return Err(theirs()),
            (Some(subject), _) => Arc::clone(&subject.tenant),
            (None, Some((tenant, _))) => tenant.into(),
            (None, None) => return Err(nobody()),
        };
        let settling = Settling::of(record, named.map_or("", |(_, id)| id))?;
        self.ask(&tenant, |answer| Job::Settle(settling, answer)).await
    }

    /// Puts a call on its tenant's lane and waits for the answer. Dropping it undoes nothing.
    async fn ask<T>(&self, tenant: &Arc<str>, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let lane = self.lane(tenant);
        match lane.put(job(answer)) {
            Put::Waits => {}
            Put::Start => {
                let (fleet, tenant) = (self.clone(), Arc::clone(tenant));
                self.0.shutdown.spawn(async move { fleet.work(&tenant, &lane).await });
            }
            Put::Full => return Err(Refusal::Overloaded),
        }
        answered.await.unwrap_or(Err(Refusal::StoreAway))
    }

    fn lane(&self, tenant: &Arc<str>) -> Arc<Lane<Job>> {
        let mut lanes = self.0.lanes.lock();
        if let Some(lane) = lanes.get(tenant) {
            return Arc::clone(lane);
        }
        if lanes.len() >= TENANTS {
            lanes.retain(|_, lane| !lane.is_idle());
        }
        Arc::clone(lanes.entry(Arc::clone(tenant)).or_default())
    }

    /// Sends what waits on a lane until nothing does.
    async fn work(&self, tenant: &Arc<str>, lane: &Lane<Job>) {
        loop {
            let jobs = lane.take();
            if jobs.is_empty() {
                return;
            }
            if let Some(jobs) = self.send(tenant, jobs).await {
                // One of them is at fault, or what is stored of it; the others are not to suffer.
                for job in jobs {
                    if let Some(alone) = self.send(tenant, vec![job]).await {
                        alone.into_iter().for_each(|job| job.refuse(Refusal::StoreAway));
                    }
                }
            }
        }
    }

    /// Sends calls together and answers them. Those that the script fails at, all of them, come back; it changed nothing then.
    async fn send(&self, tenant: &Arc<str>, jobs: Vec<Job>) -> Option<Vec<Job>> {
        let refuse =
            |jobs: Vec<Job>, refusal: &Refusal| jobs.into_iter().for_each(|job| job.refuse(refusal.clone()));
        for _ in 0..TRIES {
            let known = match self.definitions(tenant).await {
                Ok(known) => known,
                Err(refusal) => {
                    refuse(jobs, &refusal);
                    return None;
                }
            };
            let now = self.now();
            let batch = Batch::of(&known, &jobs, now);
            let call = script::Call::new(&self.of(tenant), now).with(batch.pack(self, &jobs).bytes());
            let mut reply = match call.try_run(&self.0.link, &script::WORK).await {
                Ok(value) => Reply::of(value),
                Err(error) if is_fault(&error) => {
                    script::warn(&error);
                    return Some(jobs);
                }
                Err(error) => {
                    script::warn(&error);
                    refuse(jobs, &Refusal::StoreAway);
                    return None;
                }
            };
            if reply.text() != "stale" {
                batch.answer(self, jobs, reply).await;
                return None;
            }
            self.forget(tenant);
        }
        refuse(jobs, &Refusal::Overloaded);
        None
    }
}
