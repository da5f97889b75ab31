//! What is told to the metrics of the replicas that channels know.

use std::sync::{Arc, Once, Weak};

use parking_lot::Mutex;
use signalbox_telemetry::{metrics, semconv, trace::KeyValue};
use tokio::time::Instant;

use super::peers::Peers;

/// What a channel knows of its replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// In the own zone, or in one that is not known.
    pub(crate) near: usize,
    /// In other zones.
    pub(crate) far: usize,
    /// Of both: left out because they fail.
    pub(crate) ejected: usize,
}

/// Channels of this process whose replicas are counted.
static COUNTED: Mutex<Vec<Weak<Peers>>> = Mutex::new(Vec::new());
static TOLD: Once = Once::new();

/// Has a channel's replicas counted as long as it is there.
pub(crate) fn count(peers: &Arc<Peers>) {
    if !metrics::is_on() {
        return;
    }
    let mut counted = COUNTED.lock();
    counted.retain(|peers| peers.strong_count() > 0);
    counted.push(Arc::downgrade(peers));
    drop(counted);
    TOLD.call_once(|| {
        metrics::meter()
            .u64_observable_gauge("signalbox.replicas")
            .with_description("Replicas of a service that this process knows; ejected are those that fail")
            .with_callback(|told| {
                let now = Instant::now();
                let known: Vec<Arc<Peers>> = COUNTED.lock().iter().filter_map(Weak::upgrade).collect();
                for peers in known {
                    let Census { near, far, ejected } = peers.census(now);
                    for (state, count) in [("near", near), ("far", far), ("ejected", ejected)] {
                        let about = [
                            KeyValue::new(semconv::PART, peers.label().to_owned()),
                            KeyValue::new(semconv::REPLICA_STATE, state),
                        ];
                        told.observe(count as u64, &about);
                    }
                }
            })
            .build();
    });
}
