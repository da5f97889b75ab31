//! A metering service in process, behind a local channel, with a clock of its own.

use std::time::Duration;

use signalbox_config::{Document, Live};
use signalbox_mesh::{Channel, Environment, ManualClock, error};
use signalbox_metering::{Config, Metering, Violations, open};
use signalbox_proto::common::v1::{
    Attempt, AttemptOutcome, ChatRequest, ErrorReason, Message, Part, Role, Sampling, Text, Usage,
    UsageSource, part,
};
use signalbox_proto::metering::v1::{
    AdmitRequest, AdmitResponse, Budget, ListBudgetsRequest, RequestOutcome, SettleRequest, Settlement,
    metering_service_client::MeteringServiceClient,
};
use tempfile::TempDir;
use tonic::Status;

/// Monday, 1 June 2026, 12:00 UTC.
pub(crate) const NOON: i64 = 1_780_315_200_000;

/// One model at 1 USD per million input and 2 USD per million output tokens: 1,000 and 2,000 nano-dollars each.
pub(crate) const MODELS: &str = "
    [models.fast]
    targets = [{ base_url = 'http://127.0.0.1:1/v1', model = 'gpt-4o', provider = 'lab', context_window_tokens = 1000,
                 max_output_tokens = 500, price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2' } }]
";

pub(crate) type Client = MeteringServiceClient<Channel>;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) clock: ManualClock,
    pub(crate) violations: Violations,
    part: signalbox_mesh::Part,
    _folder: TempDir,
}

impl World {
    /// Starts metering with [`MODELS`] and more configuration.
    pub(crate) async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = Document::parse(&format!("{MODELS}\n{more}"), "test").unwrap();
        let shared = Live::new(document.shared().unwrap());
        let config: Config = document.section(signalbox_metering::SECTION).unwrap();
        let clock = ManualClock::new(NOON);
        let environment = Environment::manual(clock.clone(), 7, folder.path());
        let Metering { part, violations, .. } = open(shared, config, environment.clone()).await.unwrap();
        let channel = Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
        Self {
            client: signalbox_mesh::client!(MeteringServiceClient, channel),
            clock,
            violations,
            part,
            _folder: folder,
        }
    }

    pub(crate) async fn admit(&mut self, request: AdmitRequest) -> Result<AdmitResponse, Status> {
        Ok(self.client.admit(request).await?.into_inner())
    }

    pub(crate) async fn settle(&mut self, settlement: Settlement) -> Result<(u32, u32), Status> {
        let settled = self.client.settle(SettleRequest { settlements: vec![settlement] }).await?.into_inner();
        Ok((settled.recorded, settled.duplicates))
    }

    pub(crate) async fn budgets(&mut self) -> Vec<Budget> {
        self.client.list_budgets(ListBudgetsRequest::default()).await.unwrap().into_inner().budgets
    }

    /// Ends the service: whatever was promised is kept, and every reservation is gone after its time.
    pub(crate) async fn end(mut self) {
        self.clock.advance(Duration::from_secs(600));
        assert!(self.budgets().await.iter().all(|budget| budget.reserved == 0), "L1");
        let seen = &self.violations;
        assert_eq!((seen.m1(), seen.m2(), seen.b1()), (0, 0, 0));
        drop(self.client);
        self.part.drain().await;
    }
}

/// A request on loopback without a credential: 14 input tokens, 10 output tokens at most.
pub(crate) fn ask(request_id: &str) -> AdmitRequest {
    let text = Text { text: "What is the capital of France?".to_owned() };
    let part = Part { kind: Some(part::Kind::Text(text)), ..Part::default() };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    AdmitRequest {
        chat: Some(ChatRequest {
            model: "fast".to_owned(),
            messages: vec![message],
            sampling: Some(Sampling { max_output_tokens: Some(10), ..Sampling::default() }),
            ..ChatRequest::default()
        }),
        request_id: request_id.to_owned(),
        loopback: true,
        ..AdmitRequest::default()
    }
}

/// The settlement of an admitted request that used so many tokens.
pub(crate) fn used(request_id: &str, admitted: &AdmitResponse, input: u64, output: u64) -> Settlement {
    Settlement {
        request_id: request_id.to_owned(),
        reservation_id: admitted.reservation.as_ref().map(|r| r.id.clone()).unwrap_or_default(),
        principal: admitted.principal.clone(),
        requested_model: "fast".to_owned(),
        attempts: vec![attempt(1, input, output)],
        outcome: RequestOutcome::Ok.into(),
        started_unix_ms: NOON,
        r#final: true,
        ..Settlement::default()
    }
}

pub(crate) fn attempt(number: u32, input: u64, output: u64) -> Attempt {
    Attempt {
        number,
        target_id: "lab/gpt-4o".to_owned(),
        outcome: AttemptOutcome::Ok.into(),
        usage: Some(Usage {
            input_tokens: input,
            output_tokens: output,
            source: UsageSource::Reported.into(),
            ..Usage::default()
        }),
        ..Attempt::default()
    }
}

pub(crate) fn reason(status: &Status) -> ErrorReason {
    error::reason_of(status).unwrap()
}
