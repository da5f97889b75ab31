//! The end: what is open may finish, what is new is refused, what is stuck is cut, and the parts come last.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{Config, Server, Shutdown, client, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
};
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    scripted::{Scripted, ask, number, said, then_silence},
    world::{Network, dropped, environment, remote, soon, take},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn open_streams_finish_new_calls_are_refused_and_the_parts_come_last() {
    let (network, config) = (Network::default(), Config::default());
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let (streamed, flushed, tasked) = (Arc::clone(&order), Arc::clone(&order), Arc::clone(&order));
    let script = Scripted::default().screen(move |_| {
        let streamed = Arc::clone(&streamed);
        stream::iter(1..=3).then(move |n| {
            let streamed = Arc::clone(&streamed);
            async move {
                tokio::time::sleep(5 * SECOND).await;
                streamed.lock().unwrap().push("message");
                Ok(said(n))
            }
        })
    });
    let shutdown = Shutdown::new();
    let started = shutdown.started();
    shutdown.spawn(async move {
        started.await;
        tasked.lock().unwrap().push("task");
    });
    let part = script.part().with_shutdown(shutdown).on_drain(move || async move {
        flushed.lock().unwrap().push("flush");
    });
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(part));
    let channel = remote(&network, &["guard:1"], &config);
    let mut answer =
        client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap().into_inner();

    let begin = Instant::now();
    serving.shutdown.cancel();
    tokio::time::sleep(SECOND).await;
    let status = client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable));
    assert!(error::retryable(&status));

    for n in 1..=3 {
        assert_eq!(number(&answer.message().await.unwrap().unwrap()), n);
    }
    assert!(answer.message().await.unwrap().is_none(), "it ends with its own status");
    serving.task.await.unwrap().unwrap();
    assert!(begin.elapsed() < 16 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(*order.lock().unwrap(), ["message", "message", "message", "task", "flush"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_stuck_is_cut_at_five_sixths_of_the_bound() {
    let (network, config) = (Network::default(), Config::default());
    let (kept, gone) = dropped();
    let script = Scripted::default().screen(move |_| then_silence([1], take(&kept)));
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(script.part()));
    let channel = remote(&network, &["guard:1"], &config);
    let mut answer =
        client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap().into_inner();
    answer.message().await.unwrap().unwrap();

    let begin = Instant::now();
    serving.shutdown.cancel();
    let status = answer.message().await.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 25, "of 30");
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable), "{status:?}");
    serving.task.await.unwrap().unwrap();
    soon(&gone).await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_never_ends_does_not_hold_up_the_process() {
    let (network, config) = (Network::default(), Config::default());
    let part = Scripted::default().part().on_drain(std::future::pending);
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(part));
    let begin = Instant::now();
    serving.stop().await;
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_health_hears_of_the_end_and_does_not_hold_it_up() {
    let (network, config) = (Network::default(), Config::default());
    let part = Scripted::default().part();
    let name = part.name();
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(part));
    let channel = remote(&network, &["guard:1"], &config);
    let request = HealthCheckRequest { service: name.into() };
    let mut watch = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let begin = Instant::now();
    serving.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let status = watch.message().await.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::Draining));
    serving.task.await.unwrap().unwrap();
    assert!(begin.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_drains_costs_no_call_while_another_is_there() {
    let (network, config) = (Network::default(), Config::default());
    let replica = |name| {
        let script = Scripted::default().screen(|_| then_silence([1], ()));
        network.serve(name, Server::new(&config.server, &environment()).part(script.part()))
    };
    let (one, _two) = (replica("guard:1"), replica("guard:2"));
    let channel = remote(&network, &["guard:1", "guard:2"], &config);
    let mut open = Vec::new();
    for _ in 0..8 {
        // Open streams keep the connections of the one that drains.
        let answer = client!(GuardServiceClient, channel).screen(stream::iter([ask()])).await.unwrap();
        open.push(answer);
    }
    one.shutdown.cancel();
    for _ in 0..200 {
        client!(GuardServiceClient, channel).inspect(InspectRequest::default()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_the_end_late_is_answered_within_the_grace() {
    let (network, mut config) = (Network::default(), Config::default());
    config.server.drain_grace_ms = Some(2_000);
    let part = Scripted::default().part();
    let name = part.name();
    let serving = network.serve("guard:1", Server::new(&config.server, &environment()).part(part));
    let channel = remote(&network, &["guard:1"], &config);
    let inspect = || {
        let mut client = client!(GuardServiceClient, channel);
        async move { client.inspect(InspectRequest::default()).await }
    };
    inspect().await.unwrap();
    let begin = Instant::now();
    serving.shutdown.cancel();
    tokio::time::sleep(SECOND).await;
    let request = HealthCheckRequest { service: name.into() };
    let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::NotServing, "nobody should call any more");
    inspect().await.unwrap();
    serving.task.await.unwrap().unwrap();
    assert_eq!(begin.elapsed().as_secs(), 2);
    inspect().await.unwrap_err();
}
