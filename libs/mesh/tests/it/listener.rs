//! What a listener serves besides the parts.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use signalbox_mesh::{CancellationToken, Channel, Config, Connector, Http, Server, client, error, listen};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
    router::v1::{PlanRequest, router_service_client::RouterServiceClient},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, service::Routes};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    scripted::Scripted,
    world::{Network, environment, remote},
};

#[tokio::test]
async fn accepted_sockets_have_tcp_nodelay() {
    let mut incoming = listen("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (_client, accepted) = tokio::join!(TcpStream::connect(address), incoming.next());
    assert!(accepted.unwrap().unwrap().nodelay().unwrap());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let incoming = listen("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let error = listen(address).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn reflection_lists_what_is_served_and_nothing_else() {
    let (network, config) = (Network::default(), Config::default());
    let serving = network
        .serve("guard:1", Server::new(&config.server, &environment()).part(Scripted::default().part()));
    let mut reflection = ServerReflectionClient::new(remote(&network, &["guard:1"], &config));
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut answers = reflection.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("not a list");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let expected =
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "signalbox.guard.v1.GuardService"];
    assert_eq!(names, expected);
    drop((answers, reflection));
    serving.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_served_here_is_unimplemented_with_its_name() {
    let (network, config) = (Network::default(), Config::default());
    let _serving = network
        .serve("guard:1", Server::new(&config.server, &environment()).part(Scripted::default().part()));
    let channel = remote(&network, &["guard:1"], &config);
    let status = client!(RouterServiceClient, channel).plan(PlanRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(error::reason_of(&status), Some(ErrorReason::NotSupported));
    assert!(status.message().contains("signalbox.router.v1.RouterService"), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn an_axum_router_answers_http_1_beside_grpc_and_its_panics_are_500() {
    let (network, config) = (Network::default(), Config::default());
    let router = axum::Router::new()
        .route("/hello", axum::routing::get(async || "hello"))
        .route("/panic", axum::routing::get(async || -> &'static str { panic!("on purpose") }));
    let part = Scripted::default().part().with_http(Http::plain(Routes::from(router)));
    let health = part.health();
    let server = Server::new(&config.server, &environment()).part(part);
    let _serving = network.serve("guard:1", server);

    let channel = remote(&network, &["guard:1"], &config);
    client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();

    let io = network.connector().connect("http://guard:1/".parse().unwrap()).await.unwrap();
    let (mut http, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    for (path, status, text) in [("/hello", 200, "hello"), ("/panic", 500, ""), ("/nothing", 404, "")] {
        let request = http::Request::get(path).header("host", "guard").body(Empty::<Bytes>::new()).unwrap();
        let response = http.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(text.is_empty() || body == text, "{body:?}");
    }
    let mut probe = async |path: &str| {
        let request = http::Request::get(path).header("host", "guard").body(Empty::<Bytes>::new()).unwrap();
        let response = http.send_request(request).await.unwrap();
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
    };
    health.set_detail("disk", "nearly full");
    assert_eq!(probe("/healthz").await, (200, "ok\n".into()));
    assert_eq!(probe("/readyz").await, (200, "ready\ndisk: nearly full\n".into()));
    health.set_serving(false);
    assert_eq!(probe("/healthz").await.0, 200);
    assert_eq!(probe("/readyz").await, (503, "not ready\ndisk: nearly full\n".into()));
}

/// A connection to a server of HTTP, as bytes.
async fn raw(network: &Network, config: &Config) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let router = axum::Router::new().route("/much", axum::routing::get(async || vec![b'x'; 1 << 20]));
    let part = Scripted::default().part().with_http(Http::plain(Routes::from(router)));
    network.serve("guard:1", Server::new(&config.server, &environment()).part(part));
    network.connector().connect("http://guard:1/".parse().unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_in_time() {
    let config = Config::default();
    for beginning in ["", "PRI * HTTP/2", "GET /hello HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let network = Network::default();
        let mut io = raw(&network, &config).await;
        io.write_all(beginning.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        let limit = config.server.header_timeout_ms;
        assert!((limit..limit + 100).contains(&took), "{beginning:?} was kept for {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_let_go() {
    let (network, config) = (Network::default(), Config::default());
    let mut io = raw(&network, &config).await;
    io.write_all(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(config.server.write_stall_ms + 100)).await;
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.len());
    assert!(answer.len() < 1 << 20, "the rest was not sent");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_headers_is_refused() {
    let config = Config::default();
    let network = Network::default();
    for headers in ["x-a: b\r\n".repeat(200), format!("x-a: {}\r\n", "b".repeat(1 << 18))] {
        let mut io = raw(&network, &config).await;
        let request = format!("GET /much HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        // The server may hang up before all is written.
        let _cut = io.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_connections_wait_until_one_ends() {
    let (network, mut config) = (Network::default(), Config::default());
    config.server.max_connections = 1;
    config.client.connections_per_peer = 1;
    let _serving = network
        .serve("guard:1", Server::new(&config.server, &environment()).part(Scripted::default().part()));
    let first = remote(&network, &["guard:1"], &config);
    client!(GuardServiceClient, first).inspect(InspectRequest::default()).await.unwrap();

    let second = remote(&network, &["guard:1"], &config);
    let mut client = client!(GuardServiceClient, second);
    let mut waiting = std::pin::pin!(client.inspect(InspectRequest::default()));
    let early = tokio::time::timeout(std::time::Duration::from_secs(5), waiting.as_mut()).await;
    assert!(early.is_err(), "it had to wait");
    drop(first);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_handler_knows_the_address_of_its_caller() {
    let config = Config::default();
    let script = Scripted::default().inspect(|request| {
        let address = request.remote_addr();
        async move { Err(tonic::Status::aborted(format!("{}", address.unwrap().ip()))) }
    });
    let incoming = listen("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let addresses = [incoming.local_addr().unwrap().to_string()];
    let stop = CancellationToken::new();
    let server = Server::new(&config.server, &environment()).part(script.part());
    let serving = tokio::spawn(server.serve(incoming, stop.clone()));
    let channel =
        Channel::remote("guard", &addresses, &config.client, &environment(), &Connector::tcp()).unwrap();
    let status = client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err();
    assert_eq!(status.message(), "127.0.0.1");
    stop.cancel();
    serving.await.unwrap().unwrap();
}
