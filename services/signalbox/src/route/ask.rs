//! `signalbox route PROMPT`: the plan that a request would be given.

use std::{collections::HashMap, path::PathBuf};

use signalbox_config::{Document, Live};
use signalbox_embed::{EmbedConfig, Embedder};
use signalbox_mesh::{Channel, Environment, RequestContext};
use signalbox_proto::{
    common::v1::{
        Attribution, ChatRequest, Media, Message, Part, ResponseFormat, Role, RoutePolicy, Sampling, Text,
        Tool, part, response_format,
    },
    gateway::v1::{CountTokensRequest, gateway_service_client::GatewayServiceClient},
    router::v1::{PlanRequest, PlanResponse, router_service_client::RouterServiceClient},
};

use super::table;
use crate::{Ended, client::Server, cost, print};

/// What the request would be.
#[derive(Debug, clap::Args)]
pub(super) struct Prompt {
    /// The prompt. `-` reads it from standard input.
    #[arg(required = true)]
    prompt: Option<String>,
    /// The alias, `provider/model`, or `auto`.
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions for the model.
    #[arg(long)]
    system: Option<String>,
    /// The routing policy that the request names. Default: the tenant's, else the alias's.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Names of tools that the request declares, with commas or repeated.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    tools: Vec<String>,
    /// What else a model must be able to do, with commas or repeated.
    #[arg(long, value_enum, value_delimiter = ',')]
    needs: Vec<Need>,
    /// What the call is for.
    #[arg(long)]
    feature: Option<String>,
    /// The end user.
    #[arg(long)]
    user: Option<String>,
    /// The conversation's id.
    #[arg(long)]
    conversation: Option<String>,
    /// A tag, as KEY=VALUE; may be repeated.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The output limit in tokens.
    #[arg(long, value_name = "TOKENS")]
    max_output_tokens: Option<u32>,
    /// The highest cost in dollars.
    #[arg(long, value_name = "DOLLARS", value_parser = cost::nanousd)]
    max_cost: Option<i64>,
    /// The share of the large model's quality to keep, 0 to 1.
    #[arg(long)]
    quality: Option<f64>,
    /// Input tokens, instead of counting the prompt's.
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<u64>,
    /// The tenant whose request it is. Default: the key's own; `local` with --config.
    #[arg(long)]
    tenant: Option<String>,
    /// Plan by this configuration file instead of a running mesh. Latencies are unknown then.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Need {
    /// An image in the prompt.
    Vision,
    /// Sound in the prompt.
    Audio,
    /// An answer that follows a schema.
    #[value(name = "json_schema")]
    JsonSchema,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it has no value; write it as plan=free")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Plans and prints.
pub(super) async fn run(mut args: Prompt) -> Ended {
    if args.prompt.as_deref() == Some("-") {
        let prompt = std::io::read_to_string(std::io::stdin())
            .map_err(|error| format!("standard input cannot be read: {error}"))?;
        args.prompt = Some(prompt);
    }
    let (plan, input_tokens) = match &args.config {
        Some(file) => by_file(&args, file).await?,
        None => by_mesh(&args).await?,
    };
    if args.json {
        print::line(&table::object(&plan, &args.model, input_tokens).to_string());
    } else {
        print::line(&table::decided(&plan, &args.model, input_tokens));
        print::line(&table::table(&plan));
    }
    Ok(())
}

/// Asks the running mesh: its gateway to count, its router to plan.
async fn by_mesh(args: &Prompt) -> Result<(PlanResponse, u64), String> {
    let client = args.server.connect()?;
    let mut request = args.request();
    if request.input_tokens == 0 {
        let mut gateway = signalbox_mesh::client!(GatewayServiceClient, client.channel);
        // An image that is not there has no tokens.
        let count = client.request(CountTokensRequest { chat: Some(args.chat(&[])) });
        request.input_tokens =
            gateway.count_tokens(count).await.map_err(|s| client.explain(&s))?.into_inner().input_tokens;
    }
    let input_tokens = request.input_tokens;
    let mut router = signalbox_mesh::client!(RouterServiceClient, client.channel);
    let planned = router.plan(client.request_for(args.tenant.as_deref(), request)?).await;
    Ok((planned.map_err(|status| client.explain(&status))?.into_inner(), input_tokens))
}

/// Plans by a router of its own, which knows a file and nothing that was reported.
async fn by_file(args: &Prompt, file: &std::path::Path) -> Result<(PlanResponse, u64), String> {
    let document = Document::load(Some(file)).map_err(|error| error.to_string())?;
    let shared = document.shared().map_err(|error| error.to_string())?;
    let config: signalbox_router::Config =
        document.section(signalbox_router::SECTION).map_err(|error| error.to_string())?;
    let mesh: signalbox_mesh::Config =
        document.section(signalbox_mesh::SECTION).map_err(|error| error.to_string())?;
    let embed: EmbedConfig = document.section(signalbox_embed::SECTION).map_err(|error| error.to_string())?;
    let tenant = args.tenant.clone().unwrap_or_else(|| "local".to_owned());
    let mut request = args.request();
    if let Some(known) = shared.tenants.get(&tenant) {
        request.policy_name = known.route_policy.clone().unwrap_or_default();
        request.allowed_models.clone_from(&known.allowed_models);
    }
    let embedder = if config.wants_complexity() {
        let loaded = tokio::task::spawn_blocking(move || Embedder::load(embed));
        loaded
            .await
            .map_err(|error| error.to_string())?
            .inspect_err(|error| {
                print::aside(&format!("no embedding model, the features decide alone: {error}"));
            })
            .ok()
    } else {
        None
    };
    let environment = Environment::system("");
    let router = signalbox_router::build(Live::new(shared), config, embedder, environment.clone())
        .await
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let channel = Channel::local(&router, &mesh, &environment);
    let mut router = signalbox_mesh::client!(RouterServiceClient, channel);
    let mut context = RequestContext::background().with_principal(&tenant, "command line");
    context.set_request_id(signalbox_mesh::request_id(environment.clock.as_ref(), &environment.random));
    // Nobody else hears of it, and its record tells the tokens that the router guessed where nothing was counted.
    request.dry_run = false;
    let planned =
        router.plan(context.request(request)).await.map_err(|status| status.message().to_owned())?;
    let plan = planned.into_inner();
    let input_tokens = plan.record.as_ref().map_or(0, |record| record.input_tokens);
    Ok((plan, input_tokens))
}

impl Prompt {
    fn request(&self) -> PlanRequest {
        let tags: HashMap<String, String> = self.tags.iter().cloned().collect();
        PlanRequest {
            chat: Some(self.chat(&self.needs)),
            input_tokens: self.tokens.unwrap_or(0),
            policy: Some(RoutePolicy {
                name: self.policy.clone(),
                max_cost_nanousd: self.max_cost,
                quality: self.quality,
                ..RoutePolicy::default()
            }),
            attribution: Some(Attribution {
                user: self.user.clone(),
                feature: self.feature.clone(),
                tags: tags.into_iter().collect(),
                conversation_id: self.conversation.clone(),
            }),
            dry_run: true,
            ..PlanRequest::default()
        }
    }

    fn chat(&self, needs: &[Need]) -> ChatRequest {
        let part = |kind| Part { kind: Some(kind), ..Part::default() };
        let text = |text: &String| part(part::Kind::Text(Text { text: text.clone() }));
        let message = |role: Role, parts| Message { role: role.into(), parts, ..Message::default() };
        let mut asked: Vec<Part> = self.prompt.iter().map(text).collect();
        let mut response_format = None;
        for need in needs {
            match need {
                Need::Vision => asked.push(part(part::Kind::Image(Media::default()))),
                Need::Audio => asked.push(part(part::Kind::Audio(Media::default()))),
                Need::JsonSchema => {
                    response_format = Some(ResponseFormat {
                        kind: Some(response_format::Kind::JsonSchema(Default::default())),
                    });
                }
            }
        }
        let system = self.system.iter().map(|system| message(Role::System, vec![text(system)]));
        ChatRequest {
            model: self.model.clone(),
            messages: system.chain([message(Role::User, asked)]).collect(),
            tools: self.tools.iter().map(|name| Tool { name: name.clone(), ..Tool::default() }).collect(),
            response_format,
            sampling: self
                .max_output_tokens
                .map(|limit| Sampling { max_output_tokens: Some(limit), ..Sampling::default() }),
            ..ChatRequest::default()
        }
    }
}
