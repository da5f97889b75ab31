//! Many connections of clients that mean no good, or are just slow, and what becomes of everybody else meanwhile.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Topology,
    generator::{drive, float},
    latency::Quantiles,
    measure::calm,
    process::{self, Memory, cpu, memory_of_all},
    report::{BUILD, SCHEMA},
    workload::{Amount, Answer, Load, Prompts},
    world::{LONG_ALIAS, MODEL, Mesh, Plan, Simulator},
};
use crate::print;

/// How long a slow client waits from one byte to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How long is waited until the mesh has closed what sends no request; its default is 30 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ordinary requests, and those who ask them.
const REQUESTS: u64 = 4_000;
const ASKERS: usize = 8;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Says nothing.
    Silent,
    /// Sends its headers a byte a second (Slowloris).
    SlowHeaders,
    /// Asks for a long stream, and reads a byte a second.
    SlowReader,
}

impl Manner {
    const ALL: [Self; 3] = [Self::Silent, Self::SlowHeaders, Self::SlowReader];

    /// Whether the mesh should close it by itself.
    const fn is_cut(self) -> bool {
        !matches!(self, Self::SlowReader)
    }
}

/// What was measured. Memory in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    build: &'static str,
    topology: &'static str,
    /// Connections held at once, a third each: silent, slow in their headers, slow readers of long streams.
    connections: usize,
    /// Ordinary requests, without those connections and beside them.
    alone: Option<Quantiles>,
    beside: Option<Quantiles>,
    requests: u64,
    failed: u64,
    idle: Memory,
    held: Memory,
    bytes_per_connection: u64,
    /// Processor time in each second while they are held and nobody asks.
    cpu_us_per_second: f64,
    /// Of those that sent no request: closed by the mesh, and for how long it held one at most.
    closed: usize,
    closed_of: usize,
    closed_after_seconds: f64,
}

/// Holds so many connections, and measures what they take and what others get.
///
/// # Errors
/// A mesh that cannot be started; a connection that cannot be made; a system without `/proc`.
pub(super) async fn measure(connections: usize, topology: Topology, seed: u32) -> Result<Report, String> {
    if !process::available() {
        return Err(process::UNAVAILABLE.to_owned());
    }
    let simulator = Simulator::start().await?;
    let plan = Plan {
        topology,
        semantic: false,
        provider: simulator.base_url(),
        model: MODEL,
        at_once: connections,
    };
    let mesh = Mesh::start(plan).await?;
    let measured = measure_in(&mesh, connections, topology, seed).await;
    mesh.end().await;
    simulator.end().await;
    measured
}

async fn measure_in(
    mesh: &Mesh,
    connections: usize,
    topology: Topology,
    seed: u32,
) -> Result<Report, String> {
    let trees = mesh.trees();
    let address = address(&mesh.gateway.server)?;
    let prompts = Arc::new(Prompts::new(seed));
    let mut channels = Vec::new();
    for _ in 0..ASKERS {
        channels.push(mesh.gateway.connect().await?);
    }
    let ask = async || {
        let askers = mesh.gateway.askers(Answer::Whole, &channels, ASKERS);
        drive(askers, Load::Closed, Amount::Requests(REQUESTS), &prompts).await
    };
    // What is loaded at the first use is nobody's.
    ask().await?;
    let alone = ask().await?;
    let idle = calm(&trees).await?.ok_or(process::UNAVAILABLE)?;
    print::aside(&format!("opening {connections} connections"));
    let (end, mut held) = (CancellationToken::new(), JoinSet::new());
    let request = stream_request(mesh)?;
    for manner in Manner::ALL.into_iter().cycle().take(connections) {
        let made = TcpStream::connect(address).await;
        let socket = made.map_err(|error| format!("a connection cannot be made: {error}"))?;
        held.spawn(hold(socket, manner, Arc::clone(&request), end.clone()));
    }
    let calmed = calm(&trees).await?.ok_or(process::UNAVAILABLE)?;
    let quiet = Duration::from_secs(5);
    tokio::time::sleep(quiet).await;
    let full = process::used(&trees)?;
    print::aside("asking beside them");
    let beside = ask().await?;
    print::aside("waiting until those that send no request are closed");
    let closed_of =
        Manner::ALL.into_iter().cycle().take(connections).filter(|manner| manner.is_cut()).count();
    let (mut closed, mut longest, waiting) = (0, Duration::ZERO, Instant::now());
    while closed < closed_of {
        let next = tokio::time::timeout_at(waiting + PATIENCE, held.join_next()).await;
        let Ok(Some(ended)) = next else { break };
        let (manner, after) = ended.map_err(|error| error.to_string())?;
        if manner.is_cut() {
            (closed, longest) = (closed + 1, longest.max(after));
        }
    }
    end.cancel();
    held.join_all().await;
    let more = memory_of_all(&full).resident_bytes.saturating_sub(memory_of_all(&idle).resident_bytes);
    Ok(Report {
        schema: SCHEMA,
        build: BUILD,
        topology: topology.name(),
        connections,
        alone: alone.latency,
        beside: beside.latency,
        requests: REQUESTS,
        failed: beside.failed,
        idle: memory_of_all(&idle),
        held: memory_of_all(&full),
        bytes_per_connection: more / u64::try_from(connections.max(1)).unwrap_or(u64::MAX),
        cpu_us_per_second: cpu(&full).saturating_sub(cpu(&calmed)).as_secs_f64() * 1e6 / quiet.as_secs_f64(),
        closed,
        closed_of,
        closed_after_seconds: longest.as_secs_f64(),
    })
}

/// Holds a connection in its manner until it is closed or all is over; returns how long that was.
async fn hold(
    mut socket: TcpStream,
    manner: Manner,
    request: Arc<str>,
    end: CancellationToken,
) -> (Manner, Duration) {
    let made = Instant::now();
    let held = async {
        match manner {
            Manner::Silent => {}
            Manner::SlowHeaders => socket.write_all(b"GET /v1/models HTTP/1.1\r\nx-slow: ").await?,
            Manner::SlowReader => socket.write_all(request.as_bytes()).await?,
        }
        let mut byte = [0; 1];
        loop {
            let read = match manner {
                Manner::SlowHeaders => {
                    // Whether the other side has closed shows in what it sends, or in a byte that it does not take.
                    let read = tokio::time::timeout(PAUSE, socket.read(&mut byte)).await;
                    if read.is_err() {
                        socket.write_all(b"x").await?;
                    }
                    read.unwrap_or(Ok(1))?
                }
                Manner::Silent | Manner::SlowReader => socket.read(&mut byte).await?,
            };
            if read == 0 {
                return Ok::<_, std::io::Error>(());
            }
            if manner == Manner::SlowReader {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        // Closed or reset is the same.
        _ended = held => {}
        () = end.cancelled() => {}
    }
    (manner, made.elapsed())
}

/// A request for a long stream, over HTTP/1.1. All ask the same: what they take is theirs, not the provider's.
fn stream_request(mesh: &Mesh) -> Result<Arc<str>, String> {
    let body = serde_json::json!({
        "model": LONG_ALIAS, "stream": true, "messages": [{ "role": "user", "content": "A long answer, please." }],
    })
    .to_string();
    let key = mesh.gateway.credential.as_ref().and_then(|key| key.to_str().ok()).ok_or("there is no key")?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mesh\r\nauthorization: {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    Ok((head + &body).into())
}

fn address(server: &str) -> Result<SocketAddr, String> {
    let at = server.trim_start_matches("http://").trim_end_matches('/');
    at.parse().map_err(|error| format!("{server} is no address: {error}"))
}

/// Lays out the report for people.
pub(super) fn render(report: &Report) -> String {
    let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
    let times = |quantiles: Option<Quantiles>| {
        let of = quantiles.unwrap_or(Quantiles::ZERO);
        format!("p50 {:.0} µs, p99 {:.0} µs", of.p50_us, of.p99_us)
    };
    format!(
        "{} connections held, a third each silent, slow in their headers, slow readers of a stream; {} process(es) ({} build)\n\n\
         memory of the mesh    without {:.0} MiB, with them {:.0} MiB: {:.1} KiB a connection\n\
         processor time        {:.0} µs in each second while nobody else asks\n\
         others alone          {}\n\
         others beside them    {}; {} of {} failed\n\
         closed by the mesh    {} of {} that sent no request, each within {:.1} s",
        report.connections,
        report.topology,
        report.build,
        mib(report.idle.resident_bytes),
        mib(report.held.resident_bytes),
        float(report.bytes_per_connection) / 1024.0,
        report.cpu_us_per_second,
        times(report.alone),
        times(report.beside),
        report.failed,
        report.requests,
        report.closed,
        report.closed_of,
        report.closed_after_seconds,
    )
}
