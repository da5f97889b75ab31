//! What a call and a stream message cost over the channel, in process and over loopback.
//!
//! `cargo run --release -p signalbox-mesh --example channel_cost`
#![expect(clippy::print_stdout, reason = "it prints its findings")]

use std::{error::Error, time::Instant};

use futures_util::{Stream, StreamExt as _, stream};
use signalbox_mesh::{
    CancellationToken, Channel, Config, Connector, Environment, Part, RequestContext, Server, client, listen,
    server,
};
use signalbox_proto::guard::v1::{
    InspectRequest, InspectResponse, ListDetectorsRequest, ListDetectorsResponse, ScreenRequest,
    ScreenResponse,
    guard_service_client::GuardServiceClient,
    guard_service_server::{GuardService, GuardServiceServer},
};
use tonic::{Request, Response, Status, Streaming};

const CALLS: u32 = 20_000;
const MESSAGES: u32 = 200_000;
/// The least of several rounds: what it costs, rather than what the machine was doing besides.
const ROUNDS: u32 = 5;

type Failure = Box<dyn Error + Send + Sync>;

struct Echo;

#[tonic::async_trait]
impl GuardService for Echo {
    type ScreenStream = std::pin::Pin<Box<dyn Stream<Item = Result<ScreenResponse, Status>> + Send>>;

    async fn inspect(&self, _: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        Ok(Response::new(InspectResponse::default()))
    }

    async fn screen(
        &self,
        request: Request<Streaming<ScreenRequest>>,
    ) -> Result<Response<Self::ScreenStream>, Status> {
        let answers = request.into_inner().map(|message| message.map(|_| ScreenResponse::default()));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_detectors(
        &self,
        _: Request<ListDetectorsRequest>,
    ) -> Result<Response<ListDetectorsResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (config, environment) = (Config::default(), Environment::system(""));
    let part = || Part::new(server!(GuardServiceServer, Echo));

    // The floor: a generated client straight on a generated server.
    let raw = GuardServiceClient::new(GuardServiceServer::new(Echo));
    let floor = least(async || raw_unary(raw.clone()).await).await?;
    println!("bare tonic in process   {floor:8.2} µs per unary call");

    let local = Channel::local(&part(), &config, &environment);
    measure("in process", local).await?;

    let incoming = listen(([127, 0, 0, 1], 0).into())?;
    let addresses = [incoming.local_addr()?.to_string()];
    let stop = CancellationToken::new();
    let serving = Server::new(&config.server, &environment).part(part()).serve(incoming, stop.clone());
    let serving = tokio::spawn(serving);
    let remote = Channel::remote("guard", &addresses, &config.client, &environment, &Connector::tcp())?;
    measure("over loopback", remote).await?;
    stop.cancel();
    serving.await??;
    Ok(())
}

async fn measure(name: &str, channel: Channel) -> Result<(), Failure> {
    let unary = least(async || unary(&channel).await).await?;
    let message = least(async || screen(&channel).await).await?;
    println!("{name:<14} {unary:8.2} µs per unary call {message:8.2} µs per stream message, there and back");
    Ok(())
}

async fn least(round: impl AsyncFn() -> Result<f64, Failure>) -> Result<f64, Failure> {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        least = least.min(round().await?);
    }
    Ok(least)
}

async fn raw_unary(mut client: GuardServiceClient<GuardServiceServer<Echo>>) -> Result<f64, Failure> {
    let begin = Instant::now();
    for _ in 0..CALLS {
        client.inspect(InspectRequest::default()).await?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

/// Calls as the gateway makes them: a client for each, with a full context.
async fn unary(channel: &Channel) -> Result<f64, Failure> {
    let mut context = RequestContext::background().with_principal("acme", "key-1");
    context.set_request_id("0199a0b2-0000-7000-8000-000000000000");
    context.set_deadline(tokio::time::Instant::now() + std::time::Duration::from_secs(600));
    let begin = Instant::now();
    for _ in 0..CALLS {
        let request = context.request(InspectRequest::default());
        client!(GuardServiceClient, channel).inspect(request).await?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

async fn screen(channel: &Channel) -> Result<f64, Failure> {
    let requests = stream::iter((0..MESSAGES).map(|_| ScreenRequest::default()));
    let begin = Instant::now();
    let mut answers = client!(GuardServiceClient, channel).screen(requests).await?.into_inner();
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, MESSAGES, "nothing may be lost");
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(MESSAGES))
}
