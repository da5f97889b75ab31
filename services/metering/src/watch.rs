//! Watching alerts.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{Stream, stream};
use signalbox_mesh::Shutdown;
use signalbox_proto::metering::v1 as proto;
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::Status;

use crate::{
    alerts::{Alert, Alerts},
    backend::Backend,
    encode,
    refusal::Refusal,
};

/// The alerts of a tenant, or of all, that are active now.
async fn active(backend: &dyn Backend, tenant: &str) -> Result<VecDeque<Alert>, Refusal> {
    let mut active: VecDeque<Alert> = backend.budgets(tenant).await?.iter().filter_map(Alert::of).collect();
    let known: HashSet<String> = active.iter().map(|alert| alert.id.clone()).collect();
    let others = backend.active().await?.into_iter().filter(|alert| !known.contains(&alert.id));
    active.extend(others.filter(|alert| tenant.is_empty() || alert.tenant == tenant));
    Ok(active)
}

/// Begins to watch: first what is active, then what is new.
pub(crate) async fn watch(
    tenant: String,
    alerts: &Alerts,
    backend: Arc<dyn Backend>,
    end: Shutdown,
) -> Result<impl Stream<Item = Result<proto::WatchAlertsResponse, Status>> + Send + use<>, Refusal> {
    // First listen, then look: nothing is missed in between.
    let news = alerts.watch();
    let active = active(&*backend, &tenant).await?;
    let told = active.iter().map(|alert| alert.id.clone()).collect();
    let watch = Watch { tenant, news, waiting: active, told, backend, end };
    Ok(stream::unfold(watch, |mut watch| async move {
        let alert = watch.next().await?;
        let message = proto::WatchAlertsResponse { alert: Some(encode::alert(&alert)) };
        Some((Ok(message), watch))
    }))
}

/// Somebody who watches alerts.
struct Watch {
    /// Empty: all.
    tenant: String,
    news: broadcast::Receiver<Alert>,
    waiting: VecDeque<Alert>,
    /// What was active when the watch began; it may be heard a second time as news.
    told: HashSet<String>,
    backend: Arc<dyn Backend>,
    end: Shutdown,
}

impl Watch {
    /// The next alert; `None` at the end of the service.
    async fn next(&mut self) -> Option<Alert> {
        loop {
            if let Some(alert) = self.waiting.pop_front() {
                return Some(alert);
            }
            let news = tokio::select! {
                () = self.end.started() => return None,
                news = self.news.recv() => news,
            };
            match news {
                Ok(alert) if self.tenant.is_empty() || self.tenant == alert.tenant => {
                    if !self.told.remove(&alert.id) {
                        return Some(alert);
                    }
                }
                Ok(_) => {}
                // It was too slow: what is still active is told again.
                Err(RecvError::Lagged(_)) => {
                    self.waiting = active(&*self.backend, &self.tenant).await.ok()?;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
