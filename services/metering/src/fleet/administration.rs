//! Budgets and limits over Redis: their definitions, and what they begin with.

use std::sync::Arc;

use super::{
    Fleet, TRIES,
    definitions::{Definitions, budget_text, limit_text, pack_budget, with_states},
    pack::Pack,
    script::{self, Reply},
};
use crate::{
    audit::{CONFIGURATION, Change},
    budget::{Budget, Origin, Terms},
    limit::{Limit, LimitTerms},
    refusal::Refusal,
    store::Configured,
};

impl Fleet {
    /// Brings what stands in the configuration file up to date. Replicas that start together may all do it.
    pub(super) async fn configure(&self, configured: Configured) -> Result<(), Refusal> {
        for gone in self.all_budgets("").await?.iter().filter(|b| b.origin == Origin::Configuration) {
            let kept = |t: &Terms| (&t.tenant, &t.name) == (&gone.terms.tenant, &gone.terms.name);
            if !configured.budgets.iter().any(kept) {
                self.remove(("budget", gone.id), Origin::Configuration, CONFIGURATION).await?;
            }
        }
        for gone in self.all_limits("").await?.iter().filter(|l| l.origin == Origin::Configuration) {
            let kept = |t: &LimitTerms| (&t.tenant, &t.name) == (&gone.terms.tenant, &gone.terms.name);
            if !configured.limits.iter().any(kept) {
                self.remove(("limit", gone.id), Origin::Configuration, CONFIGURATION).await?;
            }
        }
        for terms in configured.budgets {
            let known = self.load(&terms.tenant).await?;
            let id = known.budgets.iter().find(|(_, _, t)| t.name == terms.name).map(|(id, ..)| *id);
            match self.write_budget(id, terms, Origin::Configuration, CONFIGURATION).await {
                // Another replica was faster.
                Ok(_) | Err(Refusal::Exists { .. }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        for terms in configured.limits {
            let known = self.load(&terms.tenant).await?;
            let id = known.limits.iter().find(|limit| limit.terms.name == terms.name).map(|limit| limit.id);
            match self.write_limit(id, terms, Origin::Configuration, CONFIGURATION).await {
                Ok(_) | Err(Refusal::Exists { .. }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    pub(super) async fn all_budgets(&self, tenant: &str) -> Result<Vec<Budget>, Refusal> {
        let tenants = if tenant.is_empty() { self.tenants().await? } else { vec![Arc::from(tenant)] };
        let mut found = Vec::new();
        for tenant in tenants {
            let known = self.load(&tenant).await?;
            found.extend(self.look(&tenant, &known).await?);
        }
        found.sort_by(|a, b| (&a.terms.tenant, &a.terms.name).cmp(&(&b.terms.tenant, &b.terms.name)));
        Ok(found)
    }

    async fn look(&self, tenant: &str, known: &Definitions) -> Result<Vec<Budget>, Refusal> {
        let budgets: Vec<_> = known.budgets.iter().collect();
        let (mut pack, now) = (Pack::default(), self.now());
        pack.number(self.keep_ms());
        pack.list(budgets.len());
        budgets.iter().for_each(|budget| pack_budget(&mut pack, budget, now));
        let call = script::Call::new(&self.of(tenant), now).with(pack.bytes());
        Ok(with_states(&budgets, Reply::of(call.run(&self.0.link, &script::LOOK).await?)))
    }

    pub(super) async fn all_limits(&self, tenant: &str) -> Result<Vec<Limit>, Refusal> {
        let tenants = if tenant.is_empty() { self.tenants().await? } else { vec![Arc::from(tenant)] };
        let mut found = Vec::new();
        for tenant in tenants {
            found.extend(self.load(&tenant).await?.limits.iter().cloned());
        }
        found.sort_by(|a, b| (&a.terms.tenant, &a.terms.name).cmp(&(&b.terms.tenant, &b.terms.name)));
        Ok(found)
    }

    pub(super) async fn write_budget(
        &self,
        id: Option<i64>,
        terms: Terms,
        origin: Origin,
        actor: &str,
    ) -> Result<Budget, Refusal> {
        let tenant = Arc::clone(&terms.tenant);
        for _ in 0..TRIES {
            let known = self.load(&tenant).await?;
            if known.budgets.iter().any(|(other, _, t)| t.name == terms.name && Some(*other) != id) {
                return Err(Refusal::Exists { kind: "budget", name: terms.name });
            }
            let before = match id {
                Some(id) => Some(self.known_budget(&known, id, &terms, origin).await?),
                None if known.budgets.len() >= self.0.config.store.max_budgets => {
                    let what = "there are too many; delete one, or raise metering.store.max_budgets";
                    return Err(Refusal::invalid("budget", what));
                }
                None => None,
            };
            let same = |b: &Budget| {
                b.origin == origin
                    && b.terms.name == terms.name
                    && b.terms.to_json().ok() == terms.to_json().ok()
            };
            if let Some(before) = before.as_ref().filter(|before| same(before)) {
                return Ok(before.clone());
            }
            let recount = before.as_ref().is_none_or(|before| !before.terms.same_count(&terms));
            let mut budget = before.unwrap_or_else(|| Budget::new(0, origin, terms.clone(), self.now()));
            budget.origin = origin;
            budget.change(terms.clone(), self.now());
            if recount {
                budget.spent = self.spent(&terms, budget.window).await?;
                budget.forgive();
            }
            if budget.id == 0 {
                budget.id = self.new_id(&tenant).await?;
            }
            let definition = budget_text(origin, &terms).ok_or(Refusal::Unreadable)?;
            if self.define(&known, &tenant, budget.id, &definition, &begins(&budget, recount)).await? {
                let action = if id.is_some() { "update" } else { "create" };
                self.note(&Change::of_budget(action, &budget, actor, self.now())).await?;
                return Ok(budget);
            }
        }
        Err(Refusal::Overloaded)
    }

    async fn known_budget(
        &self,
        known: &Definitions,
        id: i64,
        terms: &Terms,
        origin: Origin,
    ) -> Result<Budget, Refusal> {
        let found = self.look(&terms.tenant, known).await?.into_iter().find(|budget| budget.id == id);
        let Some(found) = found else {
            // It may be another tenant's.
            return Err(match self.owner(id).await? {
                Some(_) => {
                    Refusal::invalid("budget.tenant", "a budget cannot change its tenant; make a new one")
                }
                None => Refusal::NotFound { kind: "budget", id: id.to_string() },
            });
        };
        if found.origin == Origin::Configuration && origin == Origin::Call {
            let what = "this budget stands in the configuration file; change it there";
            return Err(Refusal::invalid("budget.id", what));
        }
        Ok(found)
    }

    pub(super) async fn write_limit(
        &self,
        id: Option<i64>,
        terms: LimitTerms,
        origin: Origin,
        actor: &str,
    ) -> Result<Limit, Refusal> {
        let tenant = Arc::clone(&terms.tenant);
        for _ in 0..TRIES {
            let known = self.load(&tenant).await?;
            if known.limits.iter().any(|limit| limit.terms.name == terms.name && Some(limit.id) != id) {
                return Err(Refusal::Exists { kind: "limit", name: terms.name });
            }
            let number = match id {
                Some(id) => {
                    let Some(limit) = known.limits.iter().find(|limit| limit.id == id) else {
                        return Err(Refusal::NotFound { kind: "limit", id: id.to_string() });
                    };
                    limit.may_become(&terms, origin)?;
                    if limit.origin == origin && limit.terms == terms {
                        return Ok(limit.clone());
                    }
                    id
                }
                None => self.new_id(&tenant).await?,
            };
            let definition = limit_text(origin, &terms).ok_or(Refusal::Unreadable)?;
            if self.define(&known, &tenant, number, &definition, &[]).await? {
                let limit = Limit { id: number, origin, terms };
                let action = if id.is_some() { "update" } else { "create" };
                self.note(&Change::of_limit(action, &limit, actor, self.now())).await?;
                return Ok(limit);
            }
        }
        Err(Refusal::Overloaded)
    }

    /// Removes a budget or a limit.
    pub(super) async fn remove(
        &self,
        what: (&'static str, i64),
        origin: Origin,
        actor: &str,
    ) -> Result<(), Refusal> {
        let (kind, id) = what;
        let gone = || Refusal::NotFound { kind, id: id.to_string() };
        let tenant = self.owner(id).await?.ok_or_else(gone)?;
        for _ in 0..TRIES {
            let known = self.load(&tenant).await?;
            let (of, change) = if kind == "budget" {
                let (_, of, terms) =
                    known.budgets.iter().find(|(other, ..)| *other == id).ok_or_else(gone)?;
                let budget = Budget::new(id, *of, terms.clone(), self.now());
                (*of, Change::of_budget("delete", &budget, actor, self.now()))
            } else {
                let limit = known.limits.iter().find(|limit| limit.id == id).ok_or_else(gone)?;
                (limit.origin, Change::of_limit("delete", limit, actor, self.now()))
            };
            if of == Origin::Configuration && origin == Origin::Call {
                let what = format!("this {kind} stands in the configuration file; remove it there");
                return Err(Refusal::invalid("id", what));
            }
            if self.define(&known, &tenant, id, "", &[]).await? {
                self.command("HDEL", &format!("{}owners", self.all()), &[&id.to_string()]).await?;
                return Ok(self.note(&change).await?);
            }
        }
        Err(Refusal::Overloaded)
    }

    /// A number that no budget and no limit has.
    async fn new_id(&self, tenant: &str) -> Result<i64, Refusal> {
        let id = self.command("INCR", &format!("{}ids", self.all()), &[]).await?.number();
        self.command("HSET", &format!("{}owners", self.all()), &[&id.to_string(), tenant]).await?;
        Ok(id)
    }

    async fn owner(&self, id: i64) -> Result<Option<Arc<str>>, Refusal> {
        let tenant = self.command("HGET", &format!("{}owners", self.all()), &[&id.to_string()]).await?.text();
        Ok(Some(tenant).filter(|tenant| !tenant.is_empty()).map(Arc::from))
    }

    /// Writes a definition; false: the tenant's definitions are no longer those that are known.
    async fn define(
        &self,
        known: &Definitions,
        tenant: &Arc<str>,
        id: i64,
        definition: &str,
        state: &[(&str, i64)],
    ) -> Result<bool, Refusal> {
        let mut call = self.call(tenant).with(&known.version).with(id).with(definition).with(state.len());
        for (name, value) in state {
            call.push(*name);
            call.push(*value);
        }
        let done = Reply::of(call.run(&self.0.link, &script::DEFINE).await?).text() == "ok";
        self.forget(tenant);
        Ok(done)
    }
}

/// What of a budget's state a new or changed definition sets.
fn begins(budget: &Budget, recount: bool) -> Vec<(&'static str, i64)> {
    let mut state = vec![("un", budget.uncovered), ("ca", budget.carried), ("tp", 0)];
    if recount {
        let end = budget.window.end.min(1 << 53);
        state.extend([("sp", budget.spent), ("ws", budget.window.start), ("we", end)]);
    }
    state
}
