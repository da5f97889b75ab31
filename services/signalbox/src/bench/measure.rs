//! The way through a benchmark: which mesh, which loop, in which order.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tonic::transport::Channel;

use super::{
    Args, Loops, Semantic,
    gateway::{Gateway, credential},
    generator::{Outcome, drive},
    process::{self, Tree, Used},
    provider::Provider,
    report::{Report, Run, Site, Workload},
    workload::{Amount, Answer, Load, Prompts},
    world::{LONG_ALIAS, LONG_MODEL, MODEL, Mesh, NO_MODEL, Plan, Simulator},
};
use crate::print;

/// How long processes are watched for the end of what they do after an answer, and how often.
const CALM: (u32, Duration) = (30, Duration::from_millis(100));
/// Processor time within one of these intervals below which they have ended: one tick of the kernel's count.
const IDLE: Duration = Duration::from_millis(10);

/// Measures all that was asked for.
///
/// # Errors
/// A mesh or a provider that cannot be reached or started, or that answers nothing at all.
pub(super) async fn all(args: &Args) -> Result<Report, String> {
    let mut bench = Bench::new(args);
    match &args.server {
        Some(server) => bench.running(server).await?,
        None => bench.started().await?,
    }
    Ok(bench.report())
}

struct Bench<'a> {
    args: &'a Args,
    prompts: Arc<Prompts>,
    seed: u32,
    amount: Amount,
    /// The provider alone in the closed loop, whole and streamed: the same for every mesh.
    alone: Vec<(Answer, Arc<Outcome>)>,
    runs: Vec<Run>,
    notes: Vec<String>,
}

/// What is measured.
struct Target {
    site: Site,
    gateway: Gateway,
    provider: Option<Provider>,
    /// The model that writes long answers, there and here. Absent: they are not measured.
    long: Option<(Gateway, Provider)>,
    trees: Vec<Tree>,
}

impl Target {
    fn gateway(&self, answer: Answer) -> &Gateway {
        match (&self.long, answer) {
            (Some((gateway, _)), Answer::Long) => gateway,
            _ => &self.gateway,
        }
    }

    fn provider(&self, answer: Answer) -> Option<&Provider> {
        match (&self.long, answer) {
            (Some((_, provider)), Answer::Long) => Some(provider),
            _ => self.provider.as_ref(),
        }
    }
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args) -> Self {
        let seed = seed(args);
        let amount = args.requests.map_or(Amount::Time(args.seconds), Amount::Requests);
        let prompts = Arc::new(Prompts::new(seed));
        Self { args, prompts, seed, amount, alone: Vec::new(), runs: Vec::new(), notes: Vec::new() }
    }

    /// A mesh that runs already.
    async fn running(&mut self, server: &str) -> Result<(), String> {
        let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let gateway = Gateway { server, credential: key(self.args)?, model: self.args.model.clone() };
        let provider = match (&self.args.provider_url, &self.args.provider_model) {
            (Some(url), Some(model)) => Some(Provider::new(url, model)?),
            _ => {
                self.notes
                    .push("what is added is unknown without the provider: give --provider-url".to_owned());
                None
            }
        };
        let trees: Vec<Tree> =
            self.args.pids.iter().map(|pid| Tree { name: format!("pid {pid}"), pid: *pid }).collect();
        if trees.is_empty() {
            self.notes.push(
                "processor time and memory are unknown without the mesh's processes: give --pid".to_owned(),
            );
        }
        let site = Site { topology: "running", semantic: None };
        self.site(&Target { site, gateway, provider, long: None, trees }).await
    }

    /// Meshes of our own, one after the other.
    async fn started(&mut self) -> Result<(), String> {
        let simulator = Simulator::start().await?;
        let rounds: &[bool] = match self.args.semantic {
            Semantic::Off => &[false],
            Semantic::On => &[true],
            Semantic::Both => &[false, true],
        };
        for &semantic in rounds {
            let plan = Plan {
                topology: self.args.topology,
                semantic,
                provider: simulator.base_url(),
                model: MODEL,
                at_once: 0,
            };
            let mesh = match Mesh::start(plan).await {
                Err(error) if self.args.semantic == Semantic::Both && error.starts_with(NO_MODEL) => {
                    self.notes.push(error);
                    continue;
                }
                started => started?,
            };
            let topology = self.args.topology.name();
            let target = Target {
                site: Site { topology, semantic: Some(semantic) },
                gateway: mesh.gateway.clone(),
                provider: Some(Provider::new(simulator.base_url(), MODEL)?),
                long: Some((
                    Gateway { model: LONG_ALIAS.to_owned(), ..mesh.gateway.clone() },
                    Provider::new(simulator.base_url(), LONG_MODEL)?,
                )),
                trees: mesh.trees(),
            };
            let measured = self.site(&target).await;
            mesh.end().await;
            measured?;
        }
        simulator.end().await;
        Ok(())
    }

    /// All measurements of one mesh.
    async fn site(&mut self, target: &Target) -> Result<(), String> {
        let mut connections = Vec::new();
        for _ in 0..self.args.connections {
            connections.push(target.gateway.connect().await?);
        }
        for answer in Answer::ALL {
            if answer == Answer::Long && (target.long.is_none() || self.args.loops == Loops::Open) {
                continue;
            }
            let mut rate = self.args.rate;
            if self.args.loops != Loops::Open {
                let reached = self.measure(target, &connections, answer, Load::Closed).await?;
                rate = rate.or_else(|| Some((reached / 2.0).max(0.01)));
            }
            if let Some(rate) = rate.filter(|_| self.args.loops != Loops::Closed && answer != Answer::Long) {
                self.measure(target, &connections, answer, Load::Open(rate)).await?;
            }
        }
        Ok(())
    }

    /// One measurement; gives the rate that was reached.
    async fn measure(
        &mut self,
        target: &Target,
        connections: &[Channel],
        answer: Answer,
        load: Load,
    ) -> Result<f64, String> {
        let alone = self.alone(target, answer, load).await?;
        self.say(target, answer, load);
        let askers = |load| target.gateway(answer).askers(answer, connections, self.askers(load));
        let warm = drive(askers(Load::Closed), Load::Closed, self.warm_up(), &self.prompts).await?;
        if warm.answered == 0 {
            return Err(format!(
                "the mesh answers nothing: {}",
                warm.usual_error().unwrap_or("no request was sent")
            ));
        }
        let before = calm(&target.trees).await?;
        let outcome = drive(askers(load), load, self.amount, &self.prompts).await?;
        let after = calm(&target.trees).await?;
        let rate = outcome.rate();
        let used = before.zip(after);
        self.runs.push(Run::new(target.site.clone(), answer, load, outcome, alone.as_deref(), used.as_ref()));
        Ok(rate)
    }

    /// The provider under the same load, without the mesh.
    async fn alone(
        &mut self,
        target: &Target,
        answer: Answer,
        load: Load,
    ) -> Result<Option<Arc<Outcome>>, String> {
        let Some(provider) = target.provider(answer) else { return Ok(None) };
        let known = self.alone.iter().find(|(of, _)| *of == answer && load == Load::Closed);
        if let Some((_, outcome)) = known {
            return Ok(Some(Arc::clone(outcome)));
        }
        let warm = provider.askers(answer, self.askers(Load::Closed)).await?;
        drive(warm, Load::Closed, self.warm_up(), &self.prompts).await?;
        let askers = provider.askers(answer, self.askers(load)).await?;
        let outcome = drive(askers, load, self.amount, &self.prompts).await?;
        if outcome.answered == 0 {
            let error = outcome.usual_error().unwrap_or("no request was sent");
            return Err(format!("the provider alone answers nothing: {error}"));
        }
        let outcome = Arc::new(outcome);
        if load == Load::Closed {
            self.alone.push((answer, Arc::clone(&outcome)));
        }
        Ok(Some(outcome))
    }

    /// How many requests may be under way.
    fn askers(&self, load: Load) -> usize {
        usize::from(match load {
            Load::Closed => self.args.connections,
            Load::Open(_) => self.args.in_flight,
        })
    }

    const fn warm_up(&self) -> Amount {
        Amount::Requests(self.args.warm_up)
    }

    fn say(&self, target: &Target, answer: Answer, load: Load) {
        let semantic = match target.site.semantic {
            Some(true) => ", semantic tier on",
            Some(false) => ", semantic tier off",
            None => "",
        };
        let load = match load {
            Load::Closed => format!("closed loop, {} connections", self.args.connections),
            Load::Open(rate) => format!("open loop, {rate:.0} requests/s"),
        };
        print::aside(&format!(
            "measuring {}{semantic}: {} answers, {load}",
            target.site.topology,
            answer.name()
        ));
    }

    fn report(self) -> Report {
        let mut notes = self.notes;
        if !process::available() {
            notes.push(process::UNAVAILABLE.to_owned());
        }
        let workload = Workload {
            connections: self.args.connections.into(),
            in_flight: self.args.in_flight.into(),
            warm_up_requests: self.args.warm_up,
            seed: self.seed,
        };
        Report::new(workload, self.runs, notes)
    }
}

/// What prompts follow from.
pub(super) fn seed(args: &Args) -> u32 {
    args.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Far from the next second's, so that two runs share no prompt.
        now.subsec_micros() ^ u32::try_from(now.as_secs() & 0xffff).unwrap_or_default() << 16
    })
}

/// Waits until the processes have done what they do after an answer (settling, filling caches), and reads what they have used.
/// `None` without processes, or where the system does not tell.
pub(super) async fn calm(trees: &[Tree]) -> Result<Option<Vec<Used>>, String> {
    if trees.is_empty() || !process::available() {
        return Ok(None);
    }
    let mut used = process::used(trees)?;
    for _ in 0..CALM.0 {
        tokio::time::sleep(CALM.1).await;
        let now = process::used(trees)?;
        let spent = process::cpu(&now).saturating_sub(process::cpu(&used));
        used = now;
        if spent <= IDLE {
            break;
        }
    }
    Ok(Some(used))
}

fn key(args: &Args) -> Result<Option<tonic::metadata::AsciiMetadataValue>, String> {
    let key = match &args.key_file {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|error| format!("the key file {} cannot be read: {error}", file.display()))?,
        ),
        None => std::env::var("SIGNALBOX_KEY").ok(),
    };
    key.as_deref().map(credential).transpose()
}
