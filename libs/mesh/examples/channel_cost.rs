//! What a call and a stream message cost over the channel, in process and over loopback.
//!
//! `cargo run --release -p signalbox-mesh --example channel_cost`
#![expect(clippy::print_stdout, reason = "it prints its findings")]

use std::{error::Error, time::Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
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
use tonic::{Request, Response, Status, Streaming, body::Body, client::GrpcService, codegen::StdError};

const CALLS: u32 = 20_000;
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
    let bare = GuardServiceClient::new(GuardServiceServer::new(Echo));
    let floor = least(async || bare_unary(bare.clone()).await).await?;
    println!("bare tonic, in process    {floor:8.2} µs per unary call");

    let local = Channel::local(&part(), &config, &environment);
    measure("channel, in process", local).await?;

    let floor = bare_loopback().await?;
    println!("bare tonic, over loopback {floor:8.2} µs per unary call");

    let incoming = listen(([127, 0, 0, 1], 0).into())?;
    let addresses = [incoming.local_addr()?.to_string()];
    let stop = CancellationToken::new();
    let serving = Server::new(&config.server, &environment).part(part()).serve(incoming, stop.clone());
    let serving = tokio::spawn(serving);
    let remote = Channel::remote("guard", &addresses, &config.client, &environment, &Connector::tcp())?;
    measure("channel, over loopback", remote).await?;
    stop.cancel();
    serving.await??;
    Ok(())
}

async fn measure(name: &str, channel: Channel) -> Result<(), Failure> {
    let unary = least(async || unary(&channel).await).await?;
    let message = least(async || screen(&channel).await).await?;
    println!("{name:<25} {unary:8.2} µs per unary call {message:8.2} µs per stream message, there and back");
    Ok(())
}

async fn bare_loopback() -> Result<f64, Failure> {
    let incoming = listen(([127, 0, 0, 1], 0).into())?;
    let address = format!("http://{}", incoming.local_addr()?);
    let server = tonic::transport::Server::builder().add_service(GuardServiceServer::new(Echo));
    let serving = tokio::spawn(server.serve_with_incoming(incoming));
    let channel = tonic::transport::Endpoint::from_shared(address)?.connect().await?;
    let cost = least(async || bare_unary(GuardServiceClient::new(channel.clone())).await).await;
    serving.abort();
    cost
}

async fn least(round: impl AsyncFn() -> Result<f64, Failure>) -> Result<f64, Failure> {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        least = least.min(round().await?);
    }
    Ok(least)
}

async fn bare_unary<T>(mut client: GuardServiceClient<T>) -> Result<f64, Failure>
where
    T: GrpcService<Body> + Send,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
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

/// One message at a time, each answered before the next: what a token costs.
async fn screen(channel: &Channel) -> Result<f64, Failure> {
    let (to, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client!(GuardServiceClient, channel).screen(requests).await?.into_inner();
    let begin = Instant::now();
    for _ in 0..CALLS {
        to.send(ScreenRequest::default()).await?;
        answers.message().await?.ok_or("the stream ended early")?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}
