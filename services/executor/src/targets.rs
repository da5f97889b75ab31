//! The targets that can be asked, by id.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::target::Target;

#[derive(Debug)]
pub(crate) struct Targets {
    known: ArcSwap<BTreeMap<String, Arc<Target>>>,
}

impl Targets {
    pub(crate) fn of(targets: Vec<Target>) -> Self {
        let known = targets.into_iter().map(|t| (t.id.clone(), Arc::new(t))).collect();
        Self { known: ArcSwap::from_pointee(known) }
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Target>> {
        self.known.load().get(id).cloned()
    }

    pub(crate) fn all(&self) -> Arc<BTreeMap<String, Arc<Target>>> {
        self.known.load_full()
    }
}
