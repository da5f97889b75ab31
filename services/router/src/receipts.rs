//! Plans as they were given, kept for a while, in bounded number.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use signalbox_proto::router::v1::ExplainResponse;

/// A plan as it was given, and to whom.
#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) tenant: Arc<str>,
    pub(crate) explained: Arc<ExplainResponse>,
}

/// Receipts by the request's id.
pub(crate) struct Receipts(Cache<String, Receipt>);

impl Receipts {
    pub(crate) fn new(most: u64, kept: Duration) -> Self {
        Self(Cache::builder().max_capacity(most).time_to_live(kept).build())
    }

    pub(crate) fn keep(&self, request_id: String, receipt: Receipt) {
        self.0.insert(request_id, receipt);
    }

    pub(crate) fn get(&self, request_id: &str) -> Option<Receipt> {
        self.0.get(request_id)
    }

    /// The plan of a tenant's request; that of another's is none.
    pub(crate) fn of(&self, tenant: &str, request_id: &str) -> Option<Arc<ExplainResponse>> {
        self.get(request_id).filter(|receipt| *receipt.tenant == *tenant).map(|receipt| receipt.explained)
    }
}
