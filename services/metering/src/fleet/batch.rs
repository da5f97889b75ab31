//! Calls of one tenant that go to Redis together, as `work.lua` reads them, and its answers.

use tokio::sync::oneshot;

use super::{
    Fleet,
    definitions::{Defined, Definitions, is_standing, pack_bucket, pack_budget, with_states},
    money::{Settling, told},
    pack::Pack,
    script::Reply,
};
use crate::{
    books::{Admitted, Ask, Books, Extension},
    budget::{Amount, Budget},
    config::Allowances,
    limit::{Bucket, Level, Limit},
    refusal::{Refusal, Shortage},
    reservation::Told,
    subject::Subject,
};

/// Where a caller waits.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// A call.
pub(super) enum Job {
    Admit(Ask, String, Answer<Admitted>),
    /// With the id of the reservation within its tenant.
    Extend(Extension, String, Answer<Told>),
    Settle(Settling, Answer<bool>),
}

impl Job {
    /// Refuses it. Whoever went away hears of nothing.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Self::Admit(.., answer) => drop(answer.send(Err(refusal))),
            Self::Extend(.., answer) => drop(answer.send(Err(refusal))),
            Self::Settle(_, answer) => drop(answer.send(Err(refusal))),
        }
    }
}

/// Budgets and buckets that calls have in common, as places in the batch's lists.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    budgets: Vec<usize>,
    buckets: Vec<usize>,
    /// The budgets of which an allowance takes.
    standing: Vec<usize>,
}

/// Calls of one tenant at one moment.
pub(super) struct Batch<'a> {
    known: &'a Definitions,
    now: i64,
    budgets: Vec<&'a Defined>,
    buckets: Vec<(&'a Limit, Bucket)>,
    groups: Vec<Group>,
    /// The group of each call.
    places: Vec<usize>,
    extends: bool,
}

fn place_of<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}

impl<'a> Batch<'a> {
    pub(super) fn of(known: &'a Definitions, jobs: &[Job], now: i64) -> Self {
        let (budgets, buckets) = (Vec::new(), Vec::new());
        let mut batch =
            Self { known, now, budgets, buckets, groups: Vec::new(), places: Vec::new(), extends: false };
        for job in jobs {
            let group = match job {
                Job::Admit(ask, ..) => batch.group(&ask.subject, !ask.gateway_id.is_empty()),
                Job::Settle(Settling { subject: Some(subject), .. }, _) => batch.group(subject, false),
                Job::Settle(..) => Group::default(),
                Job::Extend(..) => {
                    batch.extends = true;
                    Group::default()
                }
            };
            let place = place_of(&mut batch.groups, group);
            batch.places.push(place);
        }
        batch
    }

    fn group(&mut self, subject: &Subject, stands: bool) -> Group {
        let mut group = Group::default();
        for defined in self.known.covering(subject, self.now) {
            let known = self.budgets.iter().position(|(id, ..)| *id == defined.0);
            let place = known.unwrap_or_else(|| {
                self.budgets.push(defined);
                self.budgets.len() - 1
            });
            group.budgets.push(place);
            if stands && is_standing(&defined.2) {
                group.standing.push(place);
            }
        }
        group.buckets =
            self.known.through(subject).map(|bucket| place_of(&mut self.buckets, bucket)).collect();
        group
    }

    /// All of it, as `work.lua` reads it.
    pub(super) fn pack(&self, fleet: &Fleet, jobs: &[Job]) -> Pack {
        let (grants, allowances) = (&fleet.0.config.grants, &fleet.0.config.allowance);
        let mut pack = Pack::default();
        pack.text(&self.known.version);
        pack.number(fleet.keep_ms());
        pack.number(self.known.newest);
        pack.list(7);
        pack.number(grants.ttl_ms);
        pack.number(i64::try_from(grants.max_reservations).unwrap_or(i64::MAX));
        pack.number(if allowances.enabled { allowances.ttl_ms } else { 0 });
        pack.number(allowances.share_percent);
        pack.number(allowances.total_share_percent);
        pack.number(allowances.max_nanousd);
        pack.number(allowances.unlimited_nanousd);
        // Only the reservation knows in which budgets it is held: an extension brings all.
        let spoken_of = |(id, ..): &&Defined| self.budgets.iter().any(|(known, ..)| known == id);
        let others = self.known.budgets.iter().filter(|_| self.extends);
        let others: Vec<&Defined> = others.filter(|defined| !spoken_of(defined)).collect();
        pack.list(self.budgets.len() + others.len());
        for defined in self.budgets.iter().copied().chain(others) {
            pack_budget(&mut pack, defined, self.now);
        }
        pack.list(self.buckets.len());
        for (limit, bucket) in &self.buckets {
            pack_bucket(&mut pack, limit, bucket);
        }
        pack.number(i64::try_from(self.budgets.len()).unwrap_or(i64::MAX));
        pack.list(self.groups.len());
        for Group { budgets, buckets, standing } in &self.groups {
            pack.list(3);
            pack.places(budgets);
            pack.places(buckets);
            pack.places(standing);
        }
        pack.list(jobs.len());
        for (job, place) in jobs.iter().zip(&self.places) {
            match job {
                Job::Admit(ask, subject, _) => {
                    admission(&mut pack, ask, *place, subject, grants.min_output_tokens);
                }
                Job::Extend(ask, id, _) => extension(&mut pack, ask, id),
                Job::Settle(record, _) => record.pack(&mut pack, *place),
            }
        }
        pack
    }

    /// Answers the calls with what `work.lua` returned after its verdict.
    pub(super) async fn answer(&self, fleet: &Fleet, jobs: Vec<Job>, mut reply: Reply) {
        let budgets = with_states(&self.budgets, reply.list());
        let levels = levels(reply.list());
        let mut answers = reply.list();
        let spent = self.spent(&jobs, &budgets);
        let mut looked = Ok(());
        for budget in spent {
            looked = looked.and(fleet.look_at(budget).await);
        }
        for (job, place) in jobs.into_iter().zip(&self.places) {
            let reply = answers.list();
            let none = Group::default();
            let group = self.groups.get(*place).unwrap_or(&none);
            match job {
                Job::Admit(ask, _, answer) => {
                    drop(answer.send(self.admitted(fleet, &ask, group, (&budgets, &levels), reply)));
                }
                Job::Extend(ask, _, answer) => drop(answer.send(self.extended(&ask, reply))),
                Job::Settle(record, answer) => {
                    let settled = record.settled(fleet, reply);
                    drop(answer.send(settled.and_then(|new| Ok(looked.map(|()| new)?))));
                }
            }
        }
    }

    /// The budgets of which something may have been spent.
    fn spent<'b>(&self, jobs: &[Job], budgets: &'b [Budget]) -> Vec<&'b Budget> {
        let settled = jobs.iter().zip(&self.places).filter(|(job, _)| matches!(job, Job::Settle(..)));
        let groups = settled.filter_map(|(_, place)| self.groups.get(*place));
        let mut places: Vec<usize> = groups.flat_map(|group| group.budgets.iter().copied()).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| budgets.get(place)).collect()
    }

    fn admitted(
        &self,
        fleet: &Fleet,
        ask: &Ask,
        group: &Group,
        (budgets, now_full): (&[Budget], &[Level]),
        mut reply: Reply,
    ) -> Result<Admitted, Refusal> {
        let tenant = &ask.subject.tenant;
        let buckets = || group.buckets.iter().filter_map(|place| self.buckets.get(*place));
        match reply.text().as_str() {
            "ok" => {
                let reservation = told(tenant, &ask.request_id, reply.list());
                let mut allowance = reply.list();
                let allowance = match allowance.text() {
                    none if none.is_empty() => None,
                    id => Some(told(tenant, &id, allowance)),
                };
                let full = group.buckets.iter().filter_map(|place| now_full.get(*place));
                Ok(Admitted {
                    reservation,
                    allowance,
                    low_budgets: Books::low_of(group.budgets.iter().filter_map(|place| budgets.get(*place))),
                    rates: buckets()
                        .zip(full)
                        .map(|((limit, _), level)| limit.told(*level, self.now))
                        .collect(),
                    made: Vec::new(),
                })
            }
            "taken" => Err(Refusal::RequestIdTaken),
            "full" => Err(Refusal::Full),
            _ => {
                let list: Vec<&Defined> =
                    group.budgets.iter().filter_map(|place| self.budgets.get(*place)).copied().collect();
                let budgets = with_states(&list, reply.list());
                Err(self.refusal(fleet, ask, budgets, buckets().zip(levels(reply.list()))))
            }
        }
    }

    /// Why a request was refused: the rules are asked again with what the script saw.
    fn refusal<'b>(
        &self,
        fleet: &Fleet,
        ask: &Ask,
        budgets: Vec<Budget>,
        buckets: impl Iterator<Item = (&'b (&'a Limit, Bucket), Level)>,
    ) -> Refusal
    where
        'a: 'b,
    {
        let none = Allowances { enabled: false, ..Allowances::default() };
        let mut books = Books::new(fleet.0.config.grants.clone(), none);
        budgets.into_iter().for_each(|budget| books.put_budget(budget));
        for ((limit, bucket), level) in buckets {
            books.meters.put((*limit).clone());
            books.meters.put_level(bucket.clone(), level);
        }
        books.admit(ask, self.now).err().unwrap_or(Refusal::Overloaded)
    }

    fn extended(&self, ask: &Extension, mut reply: Reply) -> Result<Told, Refusal> {
        match reply.text().as_str() {
            "ok" => {
                let (tenant, id) = ask.reservation_id.split_once(':').ok_or(Refusal::NoReservation)?;
                Ok(told(tenant, id, reply.list()))
            }
            "no" => {
                let (states, ids, mut needed) = (reply.list(), reply.list().texts(), reply.list());
                let needed = Amount { nanousd: needed.number(), tokens: needed.number() };
                let of = |id: &String| self.known.budgets.iter().find(|(known, ..)| known.to_string() == *id);
                let mine: Vec<&Defined> = ids.iter().filter_map(of).collect();
                let short = with_states(&mine, states).into_iter().filter(|budget| {
                    let needed = needed.of(budget.terms.unit);
                    budget.terms.refuses() && needed > 0 && needed > budget.room()
                });
                Err(Refusal::Budgets(short.map(|budget| Shortage::of(&budget, needed)).collect()))
            }
            _ => Err(Refusal::NoReservation),
        }
    }
}

fn admission(pack: &mut Pack, ask: &Ask, place: usize, subject: &str, min_output_tokens: i64) {
    let quote = &ask.quote;
    pack.list(11);
    pack.number(1);
    pack.text(&ask.request_id);
    pack.place(place);
    pack.text(subject);
    if ask.gateway_id.is_empty() {
        pack.text("");
    } else {
        pack.text(&format!("{} {}", ask.gateway_id, ask.subject.principal));
    }
    pack.number(quote.input_tokens);
    pack.number(quote.output_tokens);
    pack.number(quote.fixed_nanousd);
    pack.number(quote.output_picousd);
    pack.number(quote.output_tokens.min(min_output_tokens));
    pack.number(ask.slice_tokens.unwrap_or(-1));
}

fn extension(pack: &mut Pack, ask: &Extension, id: &str) {
    pack.list(7);
    pack.number(2);
    pack.text(id);
    pack.number(ask.number.into());
    pack.number(ask.nanousd);
    pack.number(ask.output_tokens);
    pack.number(ask.output_picousd.unwrap_or(-1));
    pack.number(ask.another_attempt.into());
}

fn levels(mut reply: Reply) -> Vec<Level> {
    let mut levels = Vec::new();
    while !reply.is_empty() {
        levels.push(Level { level: reply.number(), at_unix_ms: reply.number() });
    }
    levels
}
