//! What administrators change at the desk: budgets, limits, keys. Each change is in the audit log.

use std::sync::Arc;

use super::{
    desk::{Answer, Desk},
    entries, rows,
};
use crate::{
    audit::{CONFIGURATION, Change},
    budget::{Budget, Origin, Terms},
    keys::{Key, KeyChange},
    limit::{Limit, LimitTerms},
    refusal::Refusal,
};

/// What the configuration file says of money and rates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configured {
    pub(crate) budgets: Vec<Terms>,
    pub(crate) limits: Vec<LimitTerms>,
}

impl Desk<'_> {
    /// Makes a budget, or changes one.
    pub(crate) fn put_budget(
        &mut self,
        id: Option<i64>,
        terms: Terms,
        origin: Origin,
        actor: &str,
    ) -> Answer<Budget> {
        match id {
            Some(id) => self.change_budget(id, terms, origin, actor),
            None => self.create_budget(terms, origin, actor),
        }
    }

    /// Makes a budget. What was spent in its period before counts.
    fn create_budget(&mut self, terms: Terms, origin: Origin, actor: &str) -> Answer<Budget> {
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
        self.note(&Change::of_budget("create", &budget, actor, self.now))?;
        Ok(Ok(budget))
    }

    /// Changes what a budget bounds.
    fn change_budget(&mut self, id: i64, terms: Terms, origin: Origin, actor: &str) -> Answer<Budget> {
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
        let unchanged = budget.origin == origin
            && budget.terms.to_json().ok() == terms.to_json().ok()
            && budget.terms.name == terms.name;
        if unchanged {
            return Ok(Ok(budget));
        }
        let recount = !budget.terms.same_count(&terms);
        budget.origin = origin;
        budget.change(terms, self.now);
        if recount {
            budget.spent = entries::spent(self.connection, &budget.terms, budget.window.start)?;
            budget.forgive();
        }
        rows::put_budget(self.connection, Some(id), &budget)?;
        self.books.put_budget(budget.clone());
        self.note(&Change::of_budget("update", &budget, actor, self.now))?;
        Ok(Ok(budget))
    }

    /// Removes a budget.
    pub(crate) fn delete_budget(&mut self, id: i64, actor: &str) -> Answer<()> {
        let known = self.books.budget(id).cloned();
        let gone = match known {
            None => return Ok(Err(Refusal::NotFound { kind: "budget", id: id.to_string() })),
            Some(budget) if budget.origin == Origin::Configuration => {
                let what = "this budget stands in the configuration file; remove it there";
                return Ok(Err(Refusal::invalid("id", what)));
            }
            Some(budget) => budget,
        };
        self.books.remove_budget(id);
        rows::delete_budget(self.connection, id)?;
        self.note(&Change::of_budget("delete", &gone, actor, self.now))?;
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

    /// Makes a limit, or changes one.
    pub(crate) fn put_limit(
        &mut self,
        id: Option<i64>,
        terms: LimitTerms,
        origin: Origin,
        actor: &str,
    ) -> Answer<Limit> {
        let mut action = "create";
        if let Some(id) = id {
            let Some(known) = self.books.meters.get(id) else {
                return Ok(Err(Refusal::NotFound { kind: "limit", id: id.to_string() }));
            };
            if let Err(refusal) = known.may_become(&terms, origin) {
                return Ok(Err(refusal));
            }
            if known.origin == origin && known.terms == terms {
                return Ok(Ok(known.clone()));
            }
            action = "update";
        } else if self.books.meters.all().count() >= self.bounds.max_budgets {
            let what = "there are too many; delete one, or raise metering.store.max_budgets";
            return Ok(Err(Refusal::invalid("limit", what)));
        }
        let same = |limit: &Limit| {
            (&limit.terms.tenant, &limit.terms.name) == (&terms.tenant, &terms.name) && Some(limit.id) != id
        };
        if self.books.meters.all().any(|(limit, _)| same(limit)) {
            return Ok(Err(Refusal::Exists { kind: "limit", name: terms.name }));
        }
        let id = rows::put_limit(self.connection, id, origin, &terms)?;
        let limit = Limit { id, origin, terms };
        self.books.meters.put(limit.clone());
        self.note(&Change::of_limit(action, &limit, actor, self.now))?;
        Ok(Ok(limit))
    }

    /// Removes a limit.
    pub(crate) fn delete_limit(&mut self, id: i64, actor: &str) -> Answer<()> {
        let gone = match self.books.meters.get(id).cloned() {
            None => return Ok(Err(Refusal::NotFound { kind: "limit", id: id.to_string() })),
            Some(limit) if limit.origin == Origin::Configuration && actor != CONFIGURATION => {
                let what = "this limit stands in the configuration file; remove it there";
                return Ok(Err(Refusal::invalid("id", what)));
            }
            Some(limit) => limit,
        };
        self.books.meters.remove(id);
        rows::delete_limit(self.connection, id)?;
        self.note(&Change::of_limit("delete", &gone, actor, self.now))?;
        Ok(Ok(()))
    }

    /// The limits of a tenant, or of all, by tenant and name.
    pub(crate) fn limits(&self, tenant: &str) -> Vec<Limit> {
        let all = self.books.meters.all().map(|(limit, _)| limit);
        let mut found: Vec<Limit> =
            all.filter(|limit| tenant.is_empty() || *limit.terms.tenant == *tenant).cloned().collect();
        found.sort_by(|a, b| (&a.terms.tenant, &a.terms.name).cmp(&(&b.terms.tenant, &b.terms.name)));
        found
    }

    /// Brings what stands in the configuration file up to date: makes, changes, and removes what is gone.
    pub(super) fn configure(&mut self, configured: Configured) -> Answer<()> {
        let of_file = |origin: Origin| origin == Origin::Configuration;
        for gone in self.budgets("").into_iter().filter(|b| of_file(b.origin)) {
            let kept = |t: &Terms| (&t.tenant, &t.name) == (&gone.terms.tenant, &gone.terms.name);
            if !configured.budgets.iter().any(kept) {
                self.books.remove_budget(gone.id);
                rows::delete_budget(self.connection, gone.id)?;
                self.note(&Change::of_budget("delete", &gone, CONFIGURATION, self.now))?;
            }
        }
        for gone in self.limits("").into_iter().filter(|l| of_file(l.origin)) {
            let kept = |t: &LimitTerms| (&t.tenant, &t.name) == (&gone.terms.tenant, &gone.terms.name);
            if !configured.limits.iter().any(kept)
                && let Err(refusal) = self.delete_limit(gone.id, CONFIGURATION)?
            {
                return Ok(Err(refusal));
            }
        }
        for terms in configured.budgets {
            let id = self.named(&terms, None);
            if let Err(refusal) = self.put_budget(id, terms, Origin::Configuration, CONFIGURATION)? {
                return Ok(Err(refusal));
            }
        }
        for terms in configured.limits {
            let same = |l: &&Limit| (&l.terms.tenant, &l.terms.name) == (&terms.tenant, &terms.name);
            let id = self.limits(&terms.tenant).iter().find(same).map(|limit| limit.id);
            if let Err(refusal) = self.put_limit(id, terms, Origin::Configuration, CONFIGURATION)? {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    /// Adds a key.
    pub(crate) fn create_key(&mut self, key: Key, actor: &str) -> Answer<Arc<Key>> {
        if self.keys.len() + self.news.keys.len() >= self.bounds.max_keys {
            return Ok(Err(Refusal::invalid("key", "there are too many; raise metering.store.max_keys")));
        }
        self.note(&Change::of_key("create", &key, actor, self.now))?;
        self.put_key(key).map(Ok)
    }

    /// Changes a key as it is now, whatever happened since the caller looked.
    pub(crate) fn change_key(&mut self, id: &str, change: KeyChange, actor: &str) -> Answer<Arc<Key>> {
        let unpublished = self.news.keys.iter().rev().find(|key| &*key.id == id).cloned();
        let Some(known) = unpublished.or_else(|| self.keys.get(id)) else {
            return Ok(Err(Refusal::NotFound { kind: "key", id: id.to_owned() }));
        };
        let (mut key, name) = (Key::clone(&known), change.name());
        if let Err(refusal) = change.apply(&mut key, self.now) {
            return Ok(Err(refusal));
        }
        self.note(&Change::of_key(name, &key, actor, self.now))?;
        self.put_key(key).map(Ok)
    }

    fn put_key(&mut self, key: Key) -> rusqlite::Result<Arc<Key>> {
        rows::put_key(self.connection, &key)?;
        let key = Arc::new(key);
        self.news.keys.push(Arc::clone(&key));
        Ok(key)
    }
}
