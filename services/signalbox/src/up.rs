//! `signalbox up`: all six services in this process.
//!
//! The composition root: each part is put behind a local channel, and only the gateway listens. Without provider credentials
//! a simulator on loopback stands in, clearly labelled.

use std::path::PathBuf;

use signalbox_config::{Document, Live, Reloader, Shared};
use signalbox_gateway::Parts;
use signalbox_launch::{Entry, Failure};
use signalbox_mesh::{Channel, ContextTrust, Discovery, Environment, Part, Server};
use signalbox_testkit::provider::{self, Provider};

use crate::{
    Ended, print,
    providers::{self, Found},
};

/// Arguments of `signalbox up`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The address of the public door; port 0 takes a free one. On any address but loopback, keys are required.
    /// [default: 127.0.0.1:8080, or as configured]
    #[arg(long)]
    pub listen: Option<String>,
    /// The configuration file. Default: $SIGNALBOX_CONFIG, else none is needed: the keys in the environment say whose models are served.
    #[arg(long, env = "SIGNALBOX_CONFIG")]
    pub config: Option<PathBuf>,
    /// The folder for state. Default: the user's data folder.
    #[arg(long, env = "SIGNALBOX_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// A server that speaks the OpenAI API (vLLM, Ollama, llama.cpp, …), for example http://127.0.0.1:11434/v1.
    #[arg(long)]
    pub openai_base_url: Option<String>,
    /// The model to ask there; clients call `org/name` by its last part. May be given several times. Default: all that it lists, over http://.
    #[arg(long = "openai-model", requires = "openai_base_url")]
    pub openai_models: Vec<String>,
    /// Serve the simulated models too, beside configured ones.
    #[arg(long)]
    pub simulate: bool,
}

/// A mesh in this process, ready to be served.
pub struct Running {
    /// The gateway, to be served.
    pub gateway: Part,
    /// The other five: guard, cache, router, executor, metering. Metering ends last, because the others' last words go there.
    pub behind: Vec<Part>,
    /// The simulator, while it stands in.
    pub simulator: Option<Provider>,
    /// Models and prices, as all of them see them.
    pub shared: Live<Shared>,
}

/// Builds the mesh.
///
/// # Errors
/// A configuration at fault, or state that cannot be opened.
pub async fn build(
    document: &Document,
    mut shared: Shared,
    gateway: signalbox_gateway::Config,
    mesh: &signalbox_mesh::Config,
    environment: Environment,
    simulate: bool,
) -> Result<Running, Failure> {
    let simulator = if simulate { Some(simulate_models(&mut shared).await?) } else { None };
    let shared = Live::new(shared);
    let live = shared.clone();
    let guard: signalbox_guard::Config = document.section(signalbox_guard::SECTION)?;
    let cache: signalbox_cache::Config = document.section(signalbox_cache::SECTION)?;
    let embed = document.section(signalbox_embed::SECTION)?;
    let router: signalbox_router::Config = document.section(signalbox_router::SECTION)?;
    // One model for all three; none where nobody wants it.
    let wanted = cache.semantic.enabled || guard.learned || router.wants_complexity();
    let embedding = signalbox_cache::embedder(wanted, embed).await;
    let routing = embedding.embedder().filter(|_| router.wants_complexity()).cloned();
    let model = embedding.embedder().filter(|_| guard.learned).cloned();
    let env = || environment.clone();
    let guard = signalbox_guard::build(shared.clone(), guard, model, env()).await?;
    let cache = signalbox_cache::build(shared.clone(), cache, embedding, env()).await?;
    let router = signalbox_router::build(shared.clone(), router, routing, env()).await?;
    let executor =
        signalbox_executor::build(shared.clone(), document.section(signalbox_executor::SECTION)?, env())
            .await?;
    let metering =
        signalbox_metering::build(shared.clone(), document.section(signalbox_metering::SECTION)?, env())
            .await?;
    let local = |part: &Part| Channel::local(part, mesh, &environment);
    let channels = Parts {
        guard: local(&guard),
        cache: local(&cache),
        router: local(&router),
        executor: local(&executor),
        metering: local(&metering),
    };
    let gateway = signalbox_gateway::build(shared, gateway, channels, env())?;
    Ok(Running { gateway, behind: vec![guard, cache, router, executor, metering], simulator, shared: live })
}

/// Starts the simulator and adds its models.
async fn simulate_models(shared: &mut Shared) -> Result<Provider, Failure> {
    let simulator = Provider::start(provider::Config::default()).await?;
    let added: Shared = simulated(&simulator.base_url())?;
    for (alias, model) in added.models {
        shared.models.entry(alias).or_insert(model);
    }
    Ok(simulator)
}

/// The simulated models: a cheap one, a dear one, and one that repeats what it is told.
fn simulated(base_url: &str) -> Result<Shared, Failure> {
    let model = |name: &str, input: &str, output: &str| {
        format!(
            "[models.{name}]\ndescription = \"simulated: no model answers\"\ntargets = [{{ base_url = \"{base_url}\", model = \"{name}\", \
             provider = \"simulated\", price = {{ input_usd_per_mtok = \"{input}\", output_usd_per_mtok = \"{output}\" }} }}]\n"
        )
    };
    let text = [
        model("sim-small", "0.15", "0.60"),
        model("sim-large", "2.50", "10.00"),
        model("sim-echo", "0.05", "0.20"),
    ]
    .concat();
    Ok(Document::parse(&text, "built-in simulated models")?.shared()?)
}

/// Models that the configuration does not say: of a server on the command line, else, if nothing else is served, of providers whose keys
/// are in the environment.
async fn found_models(args: &Args, configured: bool) -> Result<Option<Found>, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    match &args.openai_base_url {
        Some(base_url) => {
            let key = variable("OPENAI_API_KEY").map(|key| key.trim().to_owned());
            let key = key.filter(|key| !key.is_empty());
            providers::at(base_url, &args.openai_models, key.as_deref()).await.map(Some)
        }
        None if configured || args.simulate => Ok(None),
        None => providers::by_keys(&variable),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Ended {
    start(args).await.map_err(|error| error.to_string())
}

async fn start(args: Args) -> Result<(), Failure> {
    let document = Document::load(args.config.as_deref())?;
    let mut shared = document.shared()?;
    let mesh: signalbox_mesh::Config = document.section(signalbox_mesh::SECTION)?;
    mesh.validate()?;
    let mut gateway: signalbox_gateway::Config = document.section(signalbox_gateway::SECTION)?;
    if let Some(listen) = &args.listen {
        gateway.listen.clone_from(listen);
    }
    let telemetry = signalbox_telemetry::start("signalbox", &shared.telemetry).await?;
    let found = found_models(&args, !shared.models.is_empty()).await?;
    let told = found.map(|found| {
        for (alias, model) in found.shared.models {
            shared.models.entry(alias).or_insert(model);
        }
        found.told
    });
    let simulate = args.simulate || shared.models.is_empty();
    let (acceptor, _door) =
        signalbox_launch::acceptor_for_clients(&mesh, gateway.tls.as_ref(), &gateway.listen)?;
    let listener = signalbox_launch::bind(&gateway.listen).await?;
    let environment = Environment::system(signalbox_config::data_dir(args.data_dir.clone())?);
    let entry = Entry::new(&mesh, Discovery::new(&mesh, &environment.random)?);
    let server = Server::new(&entry.server(), &environment).trust(ContextTrust::Public).tls(acceptor);
    let Running { gateway, behind, simulator, shared } =
        build(&document, shared, gateway, &mesh, environment, simulate).await?;
    let own = document.shared()?;
    let mut added = Shared::clone(&shared.load());
    added.models.retain(|alias, _| !own.models.contains_key(alias));
    let reloader = Reloader::new(args.config, document, shared, None).amend(move |next| {
        for (alias, model) in &added.models {
            next.models.entry(alias.clone()).or_insert_with(|| model.clone());
        }
    });
    let _followed = signalbox_launch::follow_configuration(reloader);
    greet(told, simulate && !args.simulate);
    let server = behind.into_iter().fold(server.part(gateway), Server::behind);
    let served = entry.serve("signalbox", server, listener).await;
    if let Some(simulator) = simulator {
        simulator.shutdown().await;
    }
    telemetry.end().await;
    served
}

fn greet(told: Option<String>, simulated: bool) {
    if let Some(told) = told {
        print::aside(&told);
    }
    if simulated {
        print::aside(
            "no model is configured: serving SIMULATED ones (sim-small, sim-large, sim-echo).\n\
             For real ones set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, MISTRAL_API_KEY, DEEPSEEK_API_KEY, GROQ_API_KEY or\n\
             XAI_API_KEY, or give --openai-base-url http://host:port/v1, or a --config file.",
        );
    }
    print::aside(
        "ask it in another terminal:  signalbox chat \"Why is the sky blue?\"    end it with Ctrl-C",
    );
}
