//! A peer that goes and comes back.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream;
use signalbox_mesh::{Channel, Config, Connector, Part, Server, client, error, listen};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
};
use tokio::time::Instant;
use tonic::{body::Body, server::NamedService};

use crate::{
    scripted::{Scripted, ask, then_silence},
    world::{Network, environment, remote},
};

fn server(config: &Config) -> Server {
    Server::new(&config.server, &environment()).part(Scripted::default().part())
}

#[tokio::test(start_paused = true)]
async fn calls_fail_at_once_while_a_peer_is_away_and_succeed_when_it_is_back() {
    let (network, config) = (Network::default(), Config::default());
    let channel = remote(&network, &["guard:1"], &config);
    let mut client = client!(GuardServiceClient, channel);

    for _ in 0..3 {
        let begin = Instant::now();
        let status = client.inspect(InspectRequest::default()).await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable));
        assert_eq!(error::metadata_of(&status, "service").as_deref(), Some("guard"));
        assert!(error::retry_after(&status).unwrap() > Duration::ZERO);
        assert_eq!(begin.elapsed(), Duration::ZERO);

        let serving = network.serve("guard:1", server(&config));
        tokio::time::advance(Duration::from_millis(config.client.reconnect_ms + 1)).await;
        client.inspect(InspectRequest::default()).await.unwrap();
        client.inspect(InspectRequest::default()).await.unwrap();
        serving.stop().await;
    }
}

/// As in a rolling restart: what was known of the first is older than that the second has gone.
#[tokio::test(start_paused = true)]
async fn a_peer_that_has_just_come_back_is_asked_when_the_other_one_has_just_gone() {
    let (network, config) = (Network::default(), Config::default());
    let channel = remote(&network, &["guard:1", "guard:2"], &config);
    let mut client = client!(GuardServiceClient, channel);
    let mut other = network.serve("guard:2", server(&config));
    // Often enough that it is left out, too.
    for round in 0..10 {
        for _ in 0..5 {
            tokio::time::advance(Duration::from_millis(config.client.reconnect_ms)).await;
            client.inspect(InspectRequest::default()).await.unwrap();
        }
        let (back, gone) = if round % 2 == 0 { ("guard:1", "guard:2") } else { ("guard:2", "guard:1") };
        let serving = network.serve(back, server(&config));
        std::mem::replace(&mut other, serving).stop().await;
        tokio::time::advance(Duration::from_millis(1)).await;
        client
            .inspect(InspectRequest::default())
            .await
            .unwrap_or_else(|status| panic!("{gone} went: {status}"));
    }
}

#[tokio::test]
async fn a_channel_over_tcp_heals_after_a_restart_on_the_same_port() {
    let mut config = Config::default();
    config.client.reconnect_ms = 0;
    let incoming = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let addresses = [address.to_string()];
    let channel =
        Channel::remote("guard", &addresses, &config.client, &environment(), &Connector::tcp()).unwrap();
    let mut client = client!(GuardServiceClient, channel);

    let stop = signalbox_mesh::CancellationToken::new();
    let serving = tokio::spawn(server(&config).serve(incoming, stop.clone()));
    client.inspect(InspectRequest::default()).await.unwrap();
    stop.cancel();
    serving.await.unwrap().unwrap();
    let status = client.inspect(InspectRequest::default()).await.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable));
    assert!(status.message().contains(&address.to_string()), "{status:?}");

    let stop = signalbox_mesh::CancellationToken::new();
    let serving = tokio::spawn(server(&config).serve(listen(address).unwrap(), stop.clone()));
    client.inspect(InspectRequest::default()).await.unwrap();
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_in_mid_stream_is_unavailable_and_not_an_end() {
    let (network, mut config) = (Network::default(), Config::default());
    config.server.drain_ms = 0;
    let script = Scripted::default().screen(|_| then_silence([1], ()));
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(script.part()));
    let channel = remote(&network, &["guard:1"], &config);
    let mut answer =
        client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap().into_inner();
    answer.message().await.unwrap().unwrap();
    serving.stop().await;
    let status = answer.message().await.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable));
    assert_eq!(channel.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_a_connection_costs_the_connect_timeout_once() {
    let config = Config::default();
    let connector = Connector::new(|_| std::future::pending::<std::io::Result<tokio::io::DuplexStream>>());
    let channel = Channel::remote("guard", &["guard:1"], &config.client, &environment(), &connector).unwrap();
    let begin = Instant::now();
    let calls = (0..10).map(|_| {
        let mut client = client!(GuardServiceClient, channel);
        async move { client.inspect(InspectRequest::default()).await.unwrap_err() }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(statuses.iter().all(|s| error::reason_of(s) == Some(ErrorReason::ServiceUnavailable)));
    // Two connections, tried one after the other by some, but never once per call.
    assert!(begin.elapsed() <= Duration::from_secs(7), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_ends_without_a_status_is_unavailable_and_not_an_end() {
    let (network, config) = (Network::default(), Config::default());
    let server = Server::new(&config.server, &environment()).part(Part::new(Mute));
    let _serving = network.serve("guard:1", server);
    let channel = remote(&network, &["guard:1"], &config);
    let status = client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable), "{status:?}");
    assert!(status.message().contains("without a status"), "{status:?}");
}

/// Answers without trailers.
#[derive(Clone)]
struct Mute;

impl NamedService for Mute {
    const NAME: &'static str = "signalbox.guard.v1.GuardService";
}

impl tower::Service<http::Request<Body>> for Mute {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let response = http::Response::builder().header("content-type", "application/grpc");
        ready(Ok(response.body(Body::empty()).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_swallows_connections_holds_up_few_calls() {
    let (network, mut config) = (Network::default(), Config::default());
    config.client.connections_per_peer = 1;
    let _serving = network.serve("guard:2", server(&config));
    let usual = network.connector();
    let connector = Connector::new(move |peer: http::Uri| {
        let usual = usual.clone();
        async move {
            if peer.host() == Some("gone") {
                std::future::pending::<()>().await;
            }
            usual.connect(peer).await
        }
    });
    let peers = ["gone:1", "guard:2"];
    let channel = Channel::remote("guard", &peers, &config.client, &environment(), &connector).unwrap();
    // Who calls first may find out; a connection to the other one is there then.
    client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();
    let calls = (0..100).map(|_| {
        let mut client = client!(GuardServiceClient, channel);
        async move {
            let begin = Instant::now();
            client.inspect(InspectRequest::default()).await.unwrap();
            begin.elapsed() > Duration::from_secs(1)
        }
    });
    let late = futures_util::future::join_all(calls).await.into_iter().filter(|late| *late).count();
    assert!(late <= 1, "{late} of 100 waited for a connection that never came");
}
