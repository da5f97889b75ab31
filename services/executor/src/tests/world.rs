//! A provider, an executor in front of it, and what is asked of them.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use signalbox_config::{Document, Live, Shared};
use signalbox_mesh::{Channel, Environment, ManualClock, RequestContext};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, ErrorReason, Finished, GenerateEvent, Message, Part as Piece, Role,
    Seam, Started, Text, generate_event, part,
};
use signalbox_proto::executor::v1::executor_service_client::ExecutorServiceClient;
use signalbox_proto::executor::v1::{
    ExecuteRequest, ExecuteResponse, ListTargetsRequest, PlannedTarget, Target, execute_response,
};
use signalbox_testkit::provider::{self, Provider};
use tonic::Status;

use crate::client::Connector;
use crate::config::{Config, Tls};

pub(super) type Executors = ExecutorServiceClient<Channel>;

/// The prompt of all tests.
pub(super) const PROMPT: &str =
    "Say that the signal box keeps trains apart, tokens counted, größte Mühe, and money safe.";

/// Configures models of one provider, `sim`. `key` is a file with the credential.
pub(super) fn models(base_url: &str, models: &[&str], key: Option<&Path>) -> Shared {
    let key = key.map_or_else(String::new, |path| format!(", api_key_file = '{}'", path.display()));
    let target =
        |m: &&str| format!("{{ base_url = '{base_url}', provider = 'sim', model = '{m}'{PRICE}{key} }}");
    let targets: Vec<String> = models.iter().map(target).collect();
    let text = format!("[models.test]\ntargets = [{}]", targets.join(", "));
    Document::parse(&text, "test").unwrap().shared().unwrap()
}

const PRICE: &str = ", price = { input_usd_per_mtok = '1', output_usd_per_mtok = '10' }";

/// Makes a client of an executor in this process.
pub(super) fn executor(config: Config, connector: Connector, shared: Shared) -> Executors {
    let environment = Environment::manual(ManualClock::new(784_111_777_000), 7, "/nonexistent");
    let part = crate::build_with(Live::new(shared), config, environment.clone(), connector).unwrap();
    let channel = Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
    signalbox_mesh::client!(ExecutorServiceClient, channel)
}

/// The simulator and an executor that knows some of its models.
pub(super) struct World {
    pub(super) provider: Provider,
    pub(super) executors: Executors,
}

impl World {
    pub(super) async fn new(models: &[&str]) -> Self {
        Self::with(quick(), models).await
    }

    pub(super) async fn with(config: Config, models: &[&str]) -> Self {
        Self::of(config, |base_url| self::models(base_url, models, None)).await
    }

    /// The same with models as they are configured there.
    pub(super) async fn of(config: Config, shared: impl FnOnce(&str) -> Shared) -> Self {
        let provider = Provider::start(provider::Config::default()).await.unwrap();
        let shared = shared(&provider.base_url());
        let executors =
            executor(config, Connector::system(Duration::from_secs(5), &Tls::default()).unwrap(), shared);
        Self { provider, executors }
    }

    pub(super) async fn run(&self, models: &[&str]) -> Ran {
        run(&self.executors, request(models)).await
    }

    /// What `ListTargets` says of one target.
    pub(super) async fn target(&self, id: &str) -> Target {
        let listed = self.executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
        listed.targets.into_iter().find(|target| target.target_id == id).unwrap()
    }

    /// Waits until the provider is idle, and checks that the executor holds nothing (L1).
    pub(super) async fn idle(&self) {
        self.provider.wait_for(|totals| totals.in_flight == 0).await;
        let listed = self.executors.clone().list_targets(ListTargetsRequest {}).await.unwrap().into_inner();
        assert!(listed.targets.iter().all(|t| t.in_flight == 0), "{listed:?}");
    }
}

/// Limits that are met soon, and waits that are short.
pub(super) fn quick() -> Config {
    let mut config = Config::default();
    config.limits.first_output_ms = 400;
    config.limits.idle_ms = 400;
    config.retry.base_ms = 1;
    config
}

pub(super) fn request(models: &[&str]) -> ExecuteRequest {
    let text = part::Kind::Text(Text { text: PROMPT.into() });
    let piece = Piece { kind: Some(text), ..Default::default() };
    let message = Message { role: Role::User.into(), parts: vec![piece], ..Default::default() };
    ExecuteRequest {
        chat: Some(ChatRequest { model: "test".into(), messages: vec![message], ..Default::default() }),
        plan: models
            .iter()
            .map(|m| PlannedTarget { target_id: format!("sim/{m}"), prefill: false })
            .collect(),
        input_tokens: 20,
        ..Default::default()
    }
}

/// What came of a request.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) started: Option<Started>,
    pub(super) text: String,
    pub(super) finished: Option<Finished>,
    pub(super) notices: usize,
    /// With the length of the text before each.
    pub(super) seams: Vec<(Seam, usize)>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) status: Option<Status>,
}

impl Ran {
    pub(super) fn outcomes(&self) -> Vec<AttemptOutcome> {
        self.attempts.iter().map(Attempt::outcome).collect()
    }

    pub(super) fn reason(&self) -> Option<ErrorReason> {
        signalbox_mesh::error::reason_of(self.status.as_ref()?)
    }

    pub(super) fn metadata(&self, key: &str) -> String {
        let status = self.status.as_ref();
        status.and_then(|s| signalbox_mesh::error::metadata_of(s, key)).unwrap_or_default()
    }

    /// Takes a message and checks its place (S1): one beginning, one end, nothing after it, numbers without a gap.
    fn take(&mut self, message: ExecuteResponse, last: &mut u64) {
        let event = match message.kind.unwrap() {
            execute_response::Kind::Attempt(attempt) => {
                assert!(self.attempts.iter().all(|before| before.number != attempt.number));
                assert!(self.finished.is_none());
                return self.attempts.push(*attempt);
            }
            execute_response::Kind::Event(event) => event,
        };
        let GenerateEvent { sequence, kind } = event;
        *last += 1;
        assert_eq!(sequence, *last);
        assert!(self.finished.is_none(), "nothing follows the end");
        match kind.unwrap() {
            generate_event::Kind::Started(started) => assert!(self.started.replace(*started).is_none()),
            generate_event::Kind::Delta(delta) => {
                assert!(self.started.is_some());
                if let Some(Content::Text(text)) = delta.content {
                    self.text.push_str(&text);
                }
            }
            generate_event::Kind::Notice(_) => self.notices += 1,
            generate_event::Kind::Finished(finished) => self.finished = Some(*finished),
            generate_event::Kind::Seam(seam) => self.seams.push((seam, self.text.len())),
        }
    }
}

pub(super) async fn run(executors: &Executors, request: ExecuteRequest) -> Ran {
    run_in(executors, request, RequestContext::background()).await
}

pub(super) async fn run_in(executors: &Executors, request: ExecuteRequest, context: RequestContext) -> Ran {
    let mut ran = Ran::default();
    let mut messages = match executors.clone().execute(context.request(only(request))).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            ran.status = Some(status);
            return ran;
        }
    };
    let mut last = 0;
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) => ran.take(message, &mut last),
            Err(status) => ran.status = Some(status),
        }
    }
    assert_ne!(ran.status.is_some(), ran.finished.is_some(), "a stream ends in one of two ways: {ran:?}");
    ran
}

/// A request that says nothing after its first message.
pub(super) fn only(
    request: ExecuteRequest,
) -> impl futures_util::Stream<Item = ExecuteRequest> + Send + 'static {
    futures_util::stream::iter([request])
}
