//! What a backend promises. Two ship: the embedded one ([`crate::store`]) and the shared one ([`crate::fleet`]); one suite of
//! tests runs against both.
//!
//! Whatever a backend answered is kept: it survives the death of every process of the mesh. Calls may come from any
//! number of tasks, and with the shared backend from any number of replicas. Dropping a call undoes nothing of what
//! was done.

use std::sync::Arc;

use crate::{
    alerts::Alert,
    audit::{Change, Look},
    books::{Admitted, Ask, Extension},
    budget::{Budget, Origin, Terms},
    keys::{Key, KeyChange},
    ledger::{Leaf, Page, Record, Score, Settled},
    limit::{Limit, LimitTerms},
    query::{Group, Question},
    refusal::Refusal,
    reservation::Told,
    store::Configured,
};

/// Where budgets, limits, keys and the ledger are kept.
#[tonic::async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// Checks all budgets and limits that cover a request and holds what it may cost, atomically. Idempotent by request id.
    async fn admit(&self, ask: Ask) -> Result<Admitted, Refusal>;
    /// Raises a reservation or renews it: all of it, or nothing. Idempotent by its number.
    async fn extend(&self, extension: Extension) -> Result<Told, Refusal>;
    /// Records what was used. Each attempt and each request counts once. A record that is refused leaves the others alone;
    /// the refusals come with their places.
    async fn settle(&self, records: Vec<Record>) -> Result<(Settled, Vec<(usize, Refusal)>), Refusal>;

    /// Keeps how good the answer to a tenant's request was, beside its records; the last word counts. The request is open or on record.
    async fn score(&self, tenant: &str, request_id: &str, score: Score) -> Result<(), Refusal>;

    /// The budgets of a tenant, or of all, by tenant and name.
    async fn budgets(&self, tenant: &str) -> Result<Vec<Budget>, Refusal>;
    /// Makes a budget (`id` is `None`), or changes one. What was spent in its period before counts.
    async fn put_budget(
        &self,
        id: Option<i64>,
        terms: Terms,
        origin: Origin,
        actor: &str,
    ) -> Result<Budget, Refusal>;
    /// Removes a budget.
    async fn delete_budget(&self, id: i64, actor: &str) -> Result<(), Refusal>;

    /// The limits of a tenant, or of all, by tenant and name.
    async fn limits(&self, tenant: &str) -> Result<Vec<Limit>, Refusal>;
    /// Makes a limit (`id` is `None`), or changes one.
    async fn put_limit(
        &self,
        id: Option<i64>,
        terms: LimitTerms,
        origin: Origin,
        actor: &str,
    ) -> Result<Limit, Refusal>;
    /// Removes a limit.
    async fn delete_limit(&self, id: i64, actor: &str) -> Result<(), Refusal>;

    /// Brings budgets and limits of the configuration file up to date: makes, changes, and removes what is gone.
    async fn configure(&self, configured: Configured) -> Result<(), Refusal>;

    /// Adds a key.
    async fn create_key(&self, key: Key, actor: &str) -> Result<Arc<Key>, Refusal>;
    /// Changes a key as it is now, whatever happened since the caller looked.
    async fn change_key(&self, id: &str, change: KeyChange, actor: &str) -> Result<Arc<Key>, Refusal>;
    /// Changes of keys, budgets and limits, newest first.
    async fn audit(&self, look: Look) -> Result<Vec<Change>, Refusal>;

    /// Answers a question about usage: the groups, dearest first, and whether some were left out.
    async fn answer(&self, question: Question) -> Result<(Vec<Group>, bool), Refusal>;
    /// The next records of the ledger, oldest first.
    async fn page(&self, page: Page) -> Result<Leaf, Refusal>;

    /// Notes that an alert is told; false: it was told before.
    async fn tell_once(&self, alert: &Alert) -> Result<bool, Refusal>;
    /// The alerts that were noted and are active.
    async fn active(&self) -> Result<Vec<Alert>, Refusal>;

    /// Looks at the clock: gives back what has expired, forgets what is too old.
    async fn tick(&self);
    /// Ends what runs by itself.
    async fn close(&self);
}
