//! Every process is restarted in turn under load: no request is lost, and no stream is cut that is shorter than the drain's bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use signalbox_mesh::Channel;
use signalbox_proto::{common::v1::notice, gateway::v1::gateway_service_client::GatewayServiceClient};
use signalbox_tests::{
    ask::{Seen, question},
    fleet::{Fleet, Lacking, Registry},
    invariants::{self, Expected},
    sandbox::SERVICES,
};
use tokio::task::JoinHandle;

/// Pause between two words of a streamed answer.
const DRIP_MS: u64 = 50;
const STREAMED: &str = "sim-echo+drip=50";
const SHORT: &str = "sim-echo";

/// How much of it.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// How often each process is restarted.
    rounds: usize,
    /// Words of the longest stream, a pause each.
    words: usize,
    /// Clients that ask for streams, and as many that ask for short answers.
    clients: usize,
}

impl Form {
    /// What every change must pass, or the long one (`scripts/full/rolling.sh`).
    fn asked_for() -> Self {
        match std::env::var_os("SIGNALBOX_LONG") {
            Some(_) => Self { rounds: 3, words: 200, clients: 16 },
            None => Self { rounds: 1, words: 40, clients: 6 },
        }
    }

    fn longest(self) -> Duration {
        Duration::from_millis(DRIP_MS * self.words as u64)
    }

    /// The drain's bound. Streams get five sixths of it: many times what they take, for a busy machine; a drain ends when they do.
    fn drain_ms(self) -> u128 {
        self.longest().as_millis() * 12
    }
}

#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    streams: AtomicU64,
    slowest_short_ms: AtomicU64,
    longest_stream_ms: AtomicU64,
}

struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(gateways: &GatewayServiceClient<Channel>, form: Form) -> Self {
        let (counts, stop): (Arc<Counts>, Arc<AtomicBool>) = Default::default();
        let client = |n: usize| {
            let (gateways, counts, stop) = (gateways.clone(), Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = counts.asked.fetch_add(1, Ordering::Relaxed);
                    if n.is_multiple_of(2) {
                        // From a tenth of the longest to all of it.
                        let words = form.words / 10 * (1 + usize::try_from(number).unwrap() % 10);
                        let took = ask(gateways.clone(), STREAMED, number, words).await;
                        counts.streams.fetch_add(1, Ordering::Relaxed);
                        counts.longest_stream_ms.fetch_max(took, Ordering::Relaxed);
                    } else {
                        let took = ask(gateways.clone(), SHORT, number, 5).await;
                        counts.slowest_short_ms.fetch_max(took, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        };
        let clients = (0..2 * form.clients).map(client).collect();
        Self { counts, stop, clients }
    }

    /// Waits for so many more requests, and that no client has failed.
    async fn goes_on(&self, more: u64) {
        let until = self.counts.asked.load(Ordering::Relaxed) + more;
        let failed = || self.clients.iter().any(JoinHandle::is_finished);
        signalbox_tests::reached(|| self.counts.asked.load(Ordering::Relaxed) >= until || failed()).await;
        assert!(!failed(), "a client has failed");
    }

    async fn stop(self) -> Arc<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.counts
    }
}

/// Asks and reads the answer, which must be whole and in one piece; how long it took, in milliseconds.
async fn ask(mut gateways: GatewayServiceClient<Channel>, model: &str, number: u64, words: usize) -> u64 {
    let text = format!("{number} {}", vec!["word"; words].join(" "));
    let begin = Instant::now();
    let seen = match gateways.generate(question(model, &text)).await {
        Ok(answer) => Seen::read(answer.into_inner()).await,
        Err(status) => Seen::refused(status),
    };
    let took = begin.elapsed();
    assert!(seen.error.is_none(), "request {number} of {words} words, after {took:?}: {:?}", seen.error);
    assert_eq!(seen.text, text, "nothing is lost of request {number}");
    assert!(seen.seams.is_empty(), "request {number} was cut and rescued: {:?}", seen.seams);
    // What the guard thinks of so many words is another matter.
    let missed = seen.notices.iter().any(|notice| notice.kind() == notice::Kind::Degraded);
    assert!(!missed, "request {number} missed a part: {:?}", seen.notices);
    u64::try_from(took.as_millis()).unwrap()
}

async fn restarts(registry: Registry) {
    let form = Form::asked_for();
    let config = format!("[mesh.server]\ndrain_ms = {}\ndrain_grace_ms = 500\n", form.drain_ms());
    let counts = SERVICES.map(|name| (name, 2));
    let mut fleet = match Fleet::start(registry, 2, &counts, &[STREAMED], &config).await {
        Ok(fleet) => fleet,
        Err(Lacking(what)) => return skipped("rolling restarts", &what),
    };
    fleet.registered().await;
    let load = Load::start(&fleet.gateways(), form);
    load.goes_on(50).await;
    let (begin, mut restarts) = (Instant::now(), 0);
    for _ in 0..form.rounds {
        for name in SERVICES.into_iter().chain(["gateway"]) {
            for n in 0..2 {
                fleet.restart(name, n).await;
                fleet.registered().await;
                restarts += 1;
                load.goes_on(20).await;
            }
        }
    }
    let took = begin.elapsed();
    let counts = load.stop().await;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (requests, streams) = (read(&counts.asked), read(&counts.streams));
    say(&format!(
        "{restarts} restarts of 12 processes in {took:.0?} ({registry:?}): {requests} requests, {streams} of them streams of up to {} ms; \
         none failed, none was cut, none missed a part; the slowest short answer took {} ms",
        read(&counts.longest_stream_ms),
        read(&counts.slowest_short_ms)
    ));
    let expected = Expected { requests, tenants: &["local"] };
    fleet.finish(async |behind| invariants::check(&behind, expected).await).await;
}

#[expect(clippy::print_stdout, reason = "tests say what they measured")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stdout, reason = "tests say what they leave out")]
pub(crate) fn skipped(test: &str, what: &str) {
    println!("SKIPPED: {test}: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lose_nothing_with_addresses_from_a_list() {
    restarts(Registry::List).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lose_nothing_with_addresses_from_consul() {
    restarts(Registry::Consul).await;
}
