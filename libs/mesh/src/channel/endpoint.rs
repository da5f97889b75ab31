//! One replica of a service: its connections, how it answers, and whether it is left out for a while.

use std::{sync::Arc, time::Duration};

use http::Uri;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{connection::Connection, connector::Connector, peak::Peak};
use crate::{Balance, ClientConfig};

/// A replica. It outlives its place in the set for as long as answers of it are open.
pub(crate) struct Endpoint {
    connections: Vec<Arc<Connection>>,
    gauge: Mutex<Gauge>,
}

/// What is known of how it answers.
struct Gauge {
    peak: Peak,
    /// Whether it ever answered.
    measured: bool,
    /// Failures of the connection since the last answer.
    failures: u32,
    /// How often it was left out since the last answer.
    ejections: u32,
    ejected: Option<Instant>,
}

impl Endpoint {
    /// `initial` stands for its time to answer until there is one.
    pub(crate) fn new(
        peer: &Uri,
        config: &ClientConfig,
        connector: &Connector,
        initial: Duration,
        now: Instant,
    ) -> Self {
        let connect = || Arc::new(Connection::new(peer.clone(), connector.clone(), config));
        let connections = std::iter::repeat_with(connect).take(config.connections_per_peer.max(1)).collect();
        let peak = Peak::new(initial, now);
        let gauge = Gauge { peak, measured: false, failures: 0, ejections: 0, ejected: None };
        Self { connections, gauge: Mutex::new(gauge) }
    }

    /// Calls that are open, each to the end of its answer.
    pub(crate) fn open(&self) -> usize {
        self.connections.iter().map(|connection| connection.open()).sum()
    }

    /// What one more call costs here: the time to answer, for each call that is open and the new one. Times below the floor are not
    /// told apart: they say more of the machine's scheduling than of the peer.
    #[expect(clippy::cast_precision_loss, reason = "open calls are few")]
    pub(crate) fn cost(&self, now: Instant, balance: &Balance) -> f64 {
        let average = self.gauge.lock().peak.read(now, balance.decay());
        average.max(balance.floor()).as_secs_f64() * (self.open() + 1) as f64
    }

    /// The average time to answer, of one that has answered.
    pub(crate) fn average(&self, now: Instant, balance: &Balance) -> Option<Duration> {
        let gauge = self.gauge.lock();
        gauge.measured.then(|| gauge.peak.read(now, balance.decay()))
    }

    /// The connection with the fewest open calls, of those that are not left alone if there is one.
    pub(crate) fn connection(&self, now: Instant) -> &Arc<Connection> {
        let lightest = self.connections.iter().min_by_key(|connection| connection.weight(now));
        lightest.unwrap_or(&self.connections[0])
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether every connection to it was refused lately.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.connections.iter().all(|connection| connection.weight(now) == usize::MAX)
    }

    /// Whether a call that began then may try it although it rests.
    pub(crate) fn may_be_back(&self, begun: Instant) -> bool {
        self.connections.iter().any(|connection| connection.may_be_back(begun))
    }

    /// Lets such a call try it.
    pub(crate) fn forgive(&self, begun: Instant) {
        let back = self.connections.iter().find(|connection| connection.may_be_back(begun));
        back.into_iter().for_each(|connection| connection.forgive());
    }

    /// Whether a call would wait for a connection that another one is making; with a peer that does not even refuse, that takes long.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connections.iter().any(|connection| connection.is_connecting())
            && !self.connections.iter().any(|connection| connection.is_ready())
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.gauge.lock().ejected.is_some_and(|until| now < until)
    }

    /// Until when it is left out.
    pub(crate) fn ejected(&self) -> Option<Instant> {
        self.gauge.lock().ejected
    }

    /// It answered.
    pub(crate) fn answered(&self, took: Duration, now: Instant, balance: &Balance) {
        let mut gauge = self.gauge.lock();
        // What it was thought to take is forgotten with the first time that it did take.
        if gauge.measured {
            gauge.peak.observe(took, now, balance.decay());
        } else {
            gauge.peak = Peak::new(took, now);
        }
        gauge.measured = true;
        (gauge.failures, gauge.ejections, gauge.ejected) = (0, 0, None);
    }

    /// Somebody waited that long for an answer and left.
    pub(crate) fn waited(&self, took: Duration, now: Instant, balance: &Balance) {
        self.gauge.lock().peak.at_least(took, now, balance.decay());
    }

    /// A connection could not be made, or broke; true when that was once too often in a row. One that was left out before is so again
    /// by its first failure.
    pub(crate) fn failed(&self, balance: &Balance) -> bool {
        let mut gauge = self.gauge.lock();
        gauge.failures = gauge.failures.saturating_add(1);
        balance.eject_after > 0 && (gauge.failures >= balance.eject_after || gauge.ejections > 0)
    }

    /// Leaves it out: each time in a row twice as long, up to the bound.
    pub(crate) fn eject(&self, now: Instant, balance: &Balance) -> Duration {
        let mut gauge = self.gauge.lock();
        let doubled = balance.eject_ms.saturating_mul(1 << gauge.ejections.min(20));
        let pause = Duration::from_millis(doubled.min(balance.eject_most_ms));
        gauge.ejections = gauge.ejections.saturating_add(1);
        gauge.ejected = Some(now + pause);
        pause
    }

    /// Takes it back.
    pub(crate) fn readmit(&self) {
        self.gauge.lock().ejected = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_left_out_for_longer_each_time_until_it_answers() {
        let config = ClientConfig::default();
        let balance = config.balance;
        let now = Instant::now();
        let peer = Uri::from_static("http://guard:1");
        let endpoint = Endpoint::new(&peer, &config, &Connector::tcp(), Duration::ZERO, now);
        for _ in 1..balance.eject_after {
            assert!(!endpoint.failed(&balance));
        }
        assert!(endpoint.failed(&balance));
        let pauses: Vec<_> = (0..7).map(|_| endpoint.eject(now, &balance).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(endpoint.is_ejected(now) && !endpoint.is_ejected(now + Duration::from_secs(30)));
        assert!(endpoint.failed(&balance), "back, and failed at once");
        endpoint.answered(Duration::ZERO, now, &balance);
        assert!(!endpoint.is_ejected(now) && !endpoint.failed(&balance));
    }
}
