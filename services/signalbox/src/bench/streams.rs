//! Many slow streams at once: what each takes while it is open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use signalbox_proto::{
    common::v1::generate_event::Kind, gateway::v1::gateway_service_client::GatewayServiceClient,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{Status, transport::Channel};

use super::{
    Topology,
    gateway::{Gateway, explain},
    generator::float,
    measure::calm,
    process::{self, Memory, cpu, memory_of_all},
    report::{BUILD, SCHEMA},
    workload::Prompts,
    world::{Mesh, Plan, Simulator},
};
use crate::print;

/// Connections that the streams share, as those of many clients behind a balancer would.
const CONNECTIONS: usize = 64;
/// Streams that are being opened at a time. Each takes [`PAUSE`] until its first text comes; all must be open before the first
/// ends.
const OPENING: usize = 512;
/// Pieces of text of each answer, and the time between two of them.
const CHUNKS: u64 = 60;
const PAUSE: Duration = Duration::from_secs(2);

/// What was measured. Memory in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    build: &'static str,
    topology: &'static str,
    streams: usize,
    /// Streams that had begun and not ended when memory was read.
    open_at_once: usize,
    failed: usize,
    /// Before the first stream, and with all of them open.
    idle: Memory,
    open: Memory,
    bytes_per_stream: u64,
    /// Pieces that came while processor time was read, and the time of each.
    chunks: u64,
    cpu_us_per_chunk: f64,
    /// The error that came first, if any did.
    error: Option<String>,
}

/// Opens so many streams, and measures while they are open.
///
/// # Errors
/// A mesh that cannot be started; a system without `/proc`.
pub(super) async fn measure(streams: usize, topology: Topology, seed: u32) -> Result<Report, String> {
    if !process::available() {
        return Err(process::UNAVAILABLE.to_owned());
    }
    let simulator = Simulator::start().await?;
    let model = format!("sim-small+chunks={CHUNKS}+drip={}", PAUSE.as_millis());
    let plan =
        Plan { topology, semantic: false, provider: simulator.base_url(), model: &model, at_once: streams };
    let mesh = Mesh::start(plan).await?;
    let measured = measure_in(&mesh, streams, topology, seed).await;
    mesh.end().await;
    simulator.end().await;
    measured
}

async fn measure_in(mesh: &Mesh, streams: usize, topology: Topology, seed: u32) -> Result<Report, String> {
    let trees = mesh.trees();
    let prompts = Arc::new(Prompts::new(seed));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(mesh.gateway.connect().await?);
    }
    warm_up(mesh, &connections, &prompts).await?;
    let idle = calm(&trees).await?.ok_or(process::UNAVAILABLE)?;
    print::aside(&format!("opening {streams} streams"));
    let opening = Arc::new(Semaphore::new(OPENING));
    // Pieces that came on all streams.
    let seen = Arc::new(AtomicU64::new(0));
    let mut reading = JoinSet::new();
    let (begun, mut beginnings) = tokio::sync::mpsc::channel(OPENING);
    for channel in connections.iter().cycle().take(streams) {
        let (gateway, channel, prompts) = (mesh.gateway.clone(), channel.clone(), Arc::clone(&prompts));
        let (opening, begun, seen) = (Arc::clone(&opening), begun.clone(), Arc::clone(&seen));
        reading.spawn(async move { read(&gateway, channel, prompts.next(), &opening, begun, &seen).await });
    }
    drop(begun);
    // Each says once that it has begun, or ends.
    let (mut open, mut ended) = (0, Vec::new());
    while open + ended.len() < streams {
        tokio::select! {
            Some(()) = beginnings.recv() => open += 1,
            Some(end) = reading.join_next() => {
                let end = end.map_err(|error| error.to_string())?;
                open -= usize::from(end.begun);
                ended.push(end);
            }
        }
    }
    print::aside(&format!("{open} are open; measuring for ten seconds"));
    let before = process::used(&trees)?;
    let chunks_before = seen.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = process::used(&trees)?;
    let chunks = seen.load(Ordering::Relaxed) - chunks_before;
    print::aside("waiting for the end of all");
    while let Some(end) = reading.join_next().await {
        ended.push(end.map_err(|error| error.to_string())?);
    }
    let (idle, full) = (memory_of_all(&idle), memory_of_all(&after));
    let more = full.resident_bytes.saturating_sub(idle.resident_bytes);
    Ok(Report {
        schema: SCHEMA,
        build: BUILD,
        topology: topology.name(),
        streams,
        open_at_once: open,
        failed: ended.iter().filter(|end| end.error.is_some()).count(),
        idle,
        open: full,
        bytes_per_stream: more / u64::try_from(open.max(1)).unwrap_or(u64::MAX),
        chunks,
        cpu_us_per_chunk: (cpu(&after).saturating_sub(cpu(&before))).as_secs_f64() * 1e6
            / float(chunks.max(1)),
        error: ended.into_iter().find_map(|end| end.error),
    })
}

/// Begins an answer over each connection and leaves: what is loaded at the first use, vocabularies for example, is no stream's.
async fn warm_up(mesh: &Mesh, connections: &[Channel], prompts: &Prompts) -> Result<(), String> {
    for channel in connections {
        let request = mesh.gateway.request(mesh.gateway.chat(prompts.next()));
        let answer = GatewayServiceClient::new(channel.clone()).generate(request).await;
        let mut events = answer.map_err(|status| explain(&status))?.into_inner();
        events.message().await.map_err(|status| explain(&status))?;
    }
    Ok(())
}

struct End {
    begun: bool,
    error: Option<String>,
}

/// Reads one stream to its end.
async fn read(
    gateway: &Gateway,
    channel: Channel,
    prompt: String,
    opening: &Semaphore,
    begun: tokio::sync::mpsc::Sender<()>,
    seen: &AtomicU64,
) -> End {
    let mut has_begun = false;
    let read = async {
        let mut place = opening.acquire().await.ok();
        let request = gateway.request(gateway.chat(prompt));
        let mut events = GatewayServiceClient::new(channel).generate(request).await?.into_inner();
        while let Some(response) = events.message().await? {
            match response.event.and_then(|event| event.kind) {
                Some(Kind::Delta(_)) => {
                    seen.fetch_add(1, Ordering::Relaxed);
                    if place.take().is_some() {
                        has_begun = begun.send(()).await.is_ok();
                    }
                }
                Some(Kind::Finished(_)) => return Ok(()),
                _ => {}
            }
        }
        Err(Status::data_loss("an answer that is not finished"))
    };
    let ended: Result<(), Status> = read.await;
    End { begun: has_begun, error: ended.err().map(|status| explain(&status)) }
}

/// Lays out the report for people.
pub(super) fn render(report: &Report) -> String {
    let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
    let mut text = format!(
        "{} of {} slow streams open at once, {} process(es) ({} build)\n\n\
         memory of the mesh    idle {:.0} MiB, with all open {:.0} MiB (goal for 10,000: ≤ 1,024), peak {:.0} MiB\n\
         a stream              {:.1} KiB (goal: ≤ 64)\n\
         a chunk               {:.1} µs of processor time, each chunk by itself ({} chunks in 10 s)\n\
         failed                {}",
        report.open_at_once,
        report.streams,
        report.topology,
        report.build,
        mib(report.idle.resident_bytes),
        mib(report.open.resident_bytes),
        mib(report.open.peak_bytes),
        float(report.bytes_per_stream) / 1024.0,
        report.cpu_us_per_chunk,
        report.chunks,
        report.failed,
    );
    if let Some(error) = &report.error {
        text.push_str(&format!("\nnote: the first error: {error}"));
    }
    text
}
