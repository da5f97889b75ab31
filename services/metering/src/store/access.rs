//! The embedded store as a [`Backend`].

use std::sync::Arc;

use super::{Desk, Store};
use crate::{
    alerts::Alert,
    audit::{Change, Look},
    backend::Backend,
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

#[tonic::async_trait]
impl Backend for Store {
    async fn admit(&self, ask: Ask) -> Result<Admitted, Refusal> {
        self.ask_now(move |desk| desk.admit(&ask)).await
    }

    async fn extend(&self, extension: Extension) -> Result<Told, Refusal> {
        self.ask(move |desk| desk.extend(&extension)).await
    }

    async fn settle(&self, records: Vec<Record>) -> Result<(Settled, Vec<(usize, Refusal)>), Refusal> {
        self.ask(move |desk| desk.settle(&records)).await
    }

    async fn score(&self, tenant: &str, request_id: &str, score: Score) -> Result<(), Refusal> {
        let (tenant, id) = (tenant.to_owned(), request_id.to_owned());
        self.ask(move |desk| desk.score(&tenant, &id, &score)).await
    }

    async fn budgets(&self, tenant: &str) -> Result<Vec<Budget>, Refusal> {
        let tenant = tenant.to_owned();
        self.ask(move |desk| Ok(Ok(desk.budgets(&tenant)))).await
    }

    async fn put_budget(
        &self,
        id: Option<i64>,
        terms: Terms,
        origin: Origin,
        actor: &str,
    ) -> Result<Budget, Refusal> {
        let actor = actor.to_owned();
        self.ask(move |desk| desk.put_budget(id, terms, origin, &actor)).await
    }

    async fn delete_budget(&self, id: i64, actor: &str) -> Result<(), Refusal> {
        let actor = actor.to_owned();
        self.ask(move |desk| desk.delete_budget(id, &actor)).await
    }

    async fn configure(&self, configured: Configured) -> Result<(), Refusal> {
        self.ask(move |desk| desk.configure(configured)).await
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<Limit>, Refusal> {
        let tenant = tenant.to_owned();
        self.ask(move |desk| Ok(Ok(desk.limits(&tenant)))).await
    }

    async fn put_limit(
        &self,
        id: Option<i64>,
        terms: LimitTerms,
        origin: Origin,
        actor: &str,
    ) -> Result<Limit, Refusal> {
        let actor = actor.to_owned();
        self.ask(move |desk| desk.put_limit(id, terms, origin, &actor)).await
    }

    async fn delete_limit(&self, id: i64, actor: &str) -> Result<(), Refusal> {
        let actor = actor.to_owned();
        self.ask(move |desk| desk.delete_limit(id, &actor)).await
    }

    async fn create_key(&self, key: Key, actor: &str) -> Result<Arc<Key>, Refusal> {
        let actor = actor.to_owned();
        self.ask(move |desk| desk.create_key(key, &actor)).await
    }

    async fn change_key(&self, id: &str, change: KeyChange, actor: &str) -> Result<Arc<Key>, Refusal> {
        let (id, actor) = (id.to_owned(), actor.to_owned());
        self.ask(move |desk| desk.change_key(&id, change, &actor)).await
    }

    async fn audit(&self, look: Look) -> Result<Vec<Change>, Refusal> {
        self.reader.changes(look).await
    }

    async fn answer(&self, question: Question) -> Result<(Vec<Group>, bool), Refusal> {
        let summed = |desk: &mut Desk<'_>| {
            desk.sum_up();
            Ok(Ok(()))
        };
        self.ask(summed).await?;
        self.reader.answer(question).await
    }

    async fn page(&self, page: Page) -> Result<Leaf, Refusal> {
        self.reader.page(page).await
    }

    async fn tell_once(&self, alert: &Alert) -> Result<bool, Refusal> {
        let alert = alert.clone();
        self.ask(move |desk| desk.tell_once(&alert)).await
    }

    async fn active(&self) -> Result<Vec<Alert>, Refusal> {
        self.ask(|desk| desk.active(desk.now)).await
    }

    async fn tick(&self) {
        // Every commit begins with giving back what has expired.
        let _away = self.ask(|desk| desk.forget(desk.now)).await;
    }

    async fn close(&self) {
        Store::close(self).await;
    }
}
