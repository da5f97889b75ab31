//! Replicas found by name, with answers that change.

use std::net::{IpAddr, SocketAddr};

use signalbox_mesh::{AddressError, Channel, Config, Connector, DnsConfig, Environment, client, listen};
use signalbox_proto::guard::v1::{InspectRequest, guard_service_client::GuardServiceClient};

use crate::{
    name_server::{A, AAAA, NameServer, SRV, Says},
    replicas::{Load, Replica, discovered, is_called, is_left, reached},
};

fn config(server: &NameServer) -> Config {
    let dns = DnsConfig { server: Some(server.address), least_ms: 20, most_ms: 50, timeout_ms: 200 };
    let mut config = Config { dns, ..Config::default() };
    // Those who hear late: a look-up's pause, and much more for a busy machine.
    config.server.drain_grace_ms = Some(1_000);
    config
}

fn ips(last: &[u8]) -> Says {
    Says::Addresses(last.iter().map(|n| IpAddr::from([127, 0, 0, *n])).collect())
}

/// Replicas at one port of 127.0.0.1 to 127.0.0.3, as pods of a headless service have it.
fn headless(config: &Config) -> Option<([Replica; 3], u16)> {
    let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = first.local_addr().unwrap().port();
    let other = |n: u8| listen(SocketAddr::from(([127, 0, 0, n], port))).ok();
    match (other(2), other(3)) {
        (Some(second), Some(third)) => {
            Some(([first, second, third].map(|listener| Replica::start(listener, config)), port))
        }
        _ => {
            println!("SKIPPED: dns: this machine has no 127.0.0.2");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_headless_service_come_and_go_without_a_failed_call() {
    let server = NameServer::start().await;
    let config = config(&server);
    let Some(([one, two, three], port)) = headless(&config) else { return };
    server.say("guard.test", A, ips(&[1]));
    let channel = discovered(&format!("dns://guard.test.:{port}"), &config);
    let load = Load::start(&channel);
    is_called(&one).await;

    server.say("guard.test", A, ips(&[1, 2]));
    is_called(&two).await;
    is_called(&one).await;

    // As a rollout does it: out of the answer, SIGTERM, the end.
    server.say("guard.test", A, ips(&[2]));
    one.stop().await;
    load.goes_on(100).await;

    // Whatever the name server does now, the last known stay.
    for trouble in [Says::Failure, Says::Silence, ips(&[])] {
        server.say("guard.test", A, trouble);
        let before = server.asked();
        reached(|| server.asked() > before + 3).await;
        load.goes_on(100).await;
    }
    server.forget("guard.test", A);
    let before = server.asked();
    reached(|| server.asked() > before + 3).await;
    load.goes_on(100).await;

    server.say("guard.test", A, ips(&[2, 3]));
    is_called(&three).await;
    server.say("guard.test", A, ips(&[3]));
    is_left(&two, &load).await;
    let calls = load.stop().await;
    println!("{calls} calls while replicas came and went, none failed");
    drop(channel);
    two.stop().await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_records_give_the_port_and_the_lowest_priority_counts() {
    let server = NameServer::start().await;
    let config = config(&server);
    let (one, two, spare) =
        (Replica::on_loopback(&config), Replica::on_loopback(&config), Replica::on_loopback(&config));
    let port = |replica: &Replica| replica.address.port();
    server.say("one.test", A, ips(&[1]));
    server.say("spare.test", A, ips(&[1]));
    let name = "_grpc._tcp.guard.test";
    server.say(
        name,
        SRV,
        Says::Services(vec![
            (1, 10, port(&one), "one.test"),
            (1, 10, port(&two), "gone.test"),
            (2, 10, port(&spare), "spare.test"),
        ]),
    );
    let channel = discovered(&format!("dns+srv://{name}"), &config);
    let load = Load::start(&channel);
    is_called(&one).await;
    assert_eq!((two.answered.get(), spare.answered.get()), (0, 0), "no such target, and not needed");

    server.say(
        name,
        SRV,
        Says::Services(vec![(1, 0, port(&two), "one.test"), (1, 0, port(&one), "one.test")]),
    );
    is_called(&two).await;
    is_called(&one).await;
    server.say(name, SRV, Says::Services(vec![(1, 0, port(&two), "one.test")]));
    one.stop().await;
    load.goes_on(100).await;
    server.say(name, SRV, Says::Failure);
    let before = server.asked();
    reached(|| server.asked() > before + 3).await;
    load.goes_on(50).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_alone_is_found_too() {
    let server = NameServer::start().await;
    let config = config(&server);
    let Ok(listener) = listen("[::1]:0".parse().unwrap()) else {
        println!("SKIPPED: dns: this machine has no IPv6");
        return;
    };
    let replica = Replica::start(listener, &config);
    server.say("guard.test", A, ips(&[]));
    server.say("guard.test", AAAA, Says::Addresses(vec![replica.address.ip()]));
    let channel = discovered(&format!("dns://guard.test.:{}", replica.address.port()), &config);
    client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();
    assert_eq!(replica.answered.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_asked_for_when_its_channel_is_gone() {
    let server = NameServer::start().await;
    let config = config(&server);
    server.say("guard.test", A, ips(&[1]));
    let channel = discovered("dns://guard.test.:1", &config);
    reached(|| server.asked() > 2).await;
    drop(channel);
    // A question may still be on its way; after it there is none.
    let mut before = server.asked();
    reached(|| std::mem::replace(&mut before, server.asked()) == server.asked()).await;
    let settled = server.asked();
    let pauses = tokio::time::sleep(std::time::Duration::from_millis(10 * config.dns.most_ms));
    pauses.await;
    assert_eq!(server.asked(), settled);
}

#[tokio::test]
async fn calls_say_that_nobody_was_found() {
    let server = NameServer::start().await;
    let mut config = config(&server);
    config.client.connect_timeout_ms = 50;
    let channel = discovered("dns://guard.test.:1", &config);
    let status = client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err();
    assert!(status.message().contains("no replica of it is known"), "{status:?}");
}

#[test]
fn consul_must_be_configured() {
    let environment = Environment::system("");
    let made = Channel::remote(
        "guard",
        &["consul://signalbox-guard"],
        &Config::default().client,
        &environment,
        &Connector::tcp(),
    );
    assert!(matches!(made.unwrap_err(), AddressError::NoConsul { .. }));
}
