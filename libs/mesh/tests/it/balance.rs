//! Several peers: load is what is open, and a peer that is away is left out.

use futures_util::stream;
use signalbox_mesh::{Config, Server, client};
use signalbox_proto::guard::v1::{InspectRequest, guard_service_client::GuardServiceClient};

use crate::{
    scripted::{Scripted, ask, then_silence},
    world::{Counter, Network, environment, remote},
};

fn counting(config: &Config, streams: &Counter) -> Server {
    let streams = streams.clone();
    let script = Scripted::default().screen(move |_| {
        streams.up();
        then_silence([1], ())
    });
    Server::new(&config.server, &environment()).part(script.part())
}

#[tokio::test(start_paused = true)]
async fn open_streams_are_spread_evenly_although_their_headers_came_at_once() {
    let (network, mut config) = (Network::default(), Config::default());
    config.client.connections_per_peer = 1;
    let (one, two) = (Counter::default(), Counter::default());
    let _one = network.serve("guard:1", counting(&config, &one));
    let _two = network.serve("guard:2", counting(&config, &two));
    let channel = remote(&network, &["guard:1", "guard:2"], &config);
    let mut open = Vec::new();
    for _ in 0..20 {
        let answer = client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap();
        open.push(answer);
    }
    assert_eq!((one.get(), two.get()), (10, 10));
    assert_eq!(channel.in_flight(), 20);
}

#[tokio::test(start_paused = true)]
async fn power_of_two_choices_keeps_many_connections_close() {
    let (network, mut config) = (Network::default(), Config::default());
    config.client.connections_per_peer = 2;
    let counters: Vec<_> = (0..4).map(|_| Counter::default()).collect();
    let names = ["guard:1", "guard:2", "guard:3", "guard:4"];
    let _serving: Vec<_> = names
        .iter()
        .zip(&counters)
        .map(|(name, counter)| network.serve(name, counting(&config, counter)))
        .collect();
    let channel = remote(&network, &names, &config);
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap());
    }
    let counts: Vec<_> = counters.iter().map(Counter::get).collect();
    assert!(counts.iter().all(|count| (40..=60).contains(count)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_away_costs_no_call() {
    let (network, config) = (Network::default(), Config::default());
    let counter = Counter::default();
    let _serving = network.serve("guard:3", counting(&config, &counter));
    let channel = remote(&network, &["guard:1", "guard:2", "guard:3"], &config);
    for _ in 0..50 {
        client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();
    }
}
