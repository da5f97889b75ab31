//! Time: the caller's deadline and the channel's own limits, on headers and in the middle of a stream.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{Config, Environment, Limits, RequestContext, Server, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, InspectResponse, guard_service_client::GuardServiceClient},
};
use tokio::time::Instant;
use tonic::{Code, Request, Status, transport::Endpoint};

use crate::{
    scripted::{Scripted, ask, number, said, then_silence},
    world::{Network, World, dropped, environment, on_both, soon, take},
};

const SECOND: Duration = Duration::from_secs(1);

fn config(limits: Limits) -> Config {
    let mut config = Config::default();
    config.client.limits = limits;
    config
}

fn within(deadline: Duration) -> RequestContext {
    let mut context = RequestContext::background();
    context.set_deadline(Instant::now() + deadline);
    context
}

/// Timers have a resolution of a millisecond.
fn assert_took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    assert!(took >= expected && took <= expected + Duration::from_millis(5), "{took:?}, not {expected:?}");
}

on_both! {
    async fn a_unary_call_ends_at_its_deadline_and_so_does_its_handler(topology) {
        let (kept, gone) = dropped();
        let world = World::new(topology, Scripted::default().inspect(move |_| {
            let kept = take(&kept);
            async move {
                std::future::pending::<()>().await;
                drop(kept);
                Ok(InspectResponse::default())
            }
        }));
        let begin = Instant::now();
        let status = world.client().inspect(within(2 * SECOND).request(InspectRequest::default())).await.unwrap_err();
        assert_took(begin, 2 * SECOND);
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(error::reason_of(&status), Some(ErrorReason::DeadlineExceeded));
        soon(&gone).await;
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn a_stream_ends_at_its_deadline_in_the_middle(topology) {
        let (kept, gone) = dropped();
        let world = World::new(topology, Scripted::default().screen(move |_| then_silence([1, 2], take(&kept))));
        let begin = Instant::now();
        let request = within(3 * SECOND).request(stream::iter([ask()]));
        let mut answer = world.client().screen(request).await.unwrap().into_inner();
        assert_eq!(number(&answer.message().await.unwrap().unwrap()), 1);
        assert_eq!(number(&answer.message().await.unwrap().unwrap()), 2);
        assert_eq!(world.channel.in_flight(), 1, "a stream counts to its end");
        let status = answer.message().await.unwrap_err();
        assert_took(begin, 3 * SECOND);
        assert_eq!(error::reason_of(&status), Some(ErrorReason::DeadlineExceeded));
        // Upstream is free although the answer is still held here.
        soon(&gone).await;
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn the_nearer_of_context_and_grpc_timeout_counts(topology) {
        let world = World::new(topology, Scripted::default().inspect(|_| std::future::pending()));
        for (context, timeout) in [(9 * SECOND, 2 * SECOND), (2 * SECOND, 9 * SECOND)] {
            let begin = Instant::now();
            let mut request = within(context).request(InspectRequest::default());
            request.set_timeout(timeout);
            world.client().inspect(request).await.unwrap_err();
            assert_took(begin, 2 * SECOND);
        }
    }

    async fn a_call_after_its_deadline_is_not_begun(topology) {
        let world = World::new(topology, Scripted::default().inspect(|_| async { panic!("it was begun") }));
        let context = within(Duration::ZERO);
        let status = world.client().inspect(context.request(InspectRequest::default())).await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::DeadlineExceeded));
    }

    async fn a_handler_knows_its_deadline(topology) {
        let world = World::new(topology, Scripted::default().inspect(|request| async move {
            let left = RequestContext::from_request(&request).deadline().unwrap() - Instant::now();
            Err(Status::aborted(left.as_millis().to_string()))
        }));
        let request = within(5 * SECOND).request(InspectRequest::default());
        let status = world.client().inspect(request).await.unwrap_err();
        assert_eq!(status.message(), "5000");
    }

    async fn silence_before_the_first_message_is_limited(topology) {
        let limits = Limits { first_message_ms: 4_000, ..Limits::NONE };
        let script = Scripted::default().screen(|_| then_silence([], ())).inspect(|_| std::future::pending());
        let world = World::with(topology, &config(limits), script);
        let begin = Instant::now();
        let mut answer = world.client().screen(stream::iter([])).await.unwrap().into_inner();
        let status = answer.message().await.unwrap_err();
        assert_took(begin, 4 * SECOND);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(error::metadata_of(&status, "service").as_deref(), Some("guard"));
        assert!(error::retryable(&status));

        let begin = Instant::now();
        let status = world.client().inspect(InspectRequest::default()).await.unwrap_err();
        assert_took(begin, 4 * SECOND);
        assert!(status.message().contains("first_message_ms"), "{status:?}");
    }

    async fn silence_between_messages_is_limited_but_slowness_is_not(topology) {
        let limits = Limits { idle_ms: 2_000, first_message_ms: 60_000, total_ms: 0 };
        let script = Scripted::default().screen(|_| {
            let slow = stream::iter(1..=5).then(|n| async move {
                tokio::time::sleep(Duration::from_millis(1_900)).await;
                Ok(said(n))
            });
            slow.chain(then_silence([], ()))
        });
        let world = World::with(topology, &config(limits), script);
        let mut answer = world.client().screen(stream::iter([])).await.unwrap().into_inner();
        for n in 1..=5 {
            assert_eq!(number(&answer.message().await.unwrap().unwrap()), n);
        }
        let last = Instant::now();
        let status = answer.message().await.unwrap_err();
        assert_took(last, 2 * SECOND);
        assert!(status.message().contains("idle_ms"), "{status:?}");
    }

    async fn the_whole_of_a_call_is_limited(topology) {
        let limits = Limits { total_ms: 5_000, ..Limits::NONE };
        let script = Scripted::default().screen(|_| {
            stream::iter(1..).then(|n| async move {
                tokio::time::sleep(SECOND).await;
                Ok(said(n))
            })
        });
        let world = World::with(topology, &config(limits), script);
        let begin = Instant::now();
        let answer = world.client().screen(stream::iter([])).await.unwrap().into_inner();
        let got: Vec<_> = answer.collect().await;
        assert_took(begin, 5 * SECOND);
        let status = got.last().unwrap().as_ref().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("total_ms"), "{status:?}");
    }

    async fn nothing_is_owed_while_the_caller_still_speaks(topology) {
        let limits = Limits { idle_ms: 2_000, first_message_ms: 2_000, total_ms: 0 };
        let world = World::with(topology, &config(limits), Scripted::default());
        let (to, requests) = tokio::sync::mpsc::channel(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut answer = world.client().screen(requests).await.unwrap().into_inner();
        for _ in 0..3 {
            // The caller thinks for longer than any limit, and reads meanwhile.
            let thinking = async {
                tokio::time::sleep(10 * SECOND).await;
                to.send(ask()).await.unwrap();
            };
            let (message, ()) = tokio::join!(answer.message(), thinking);
            assert_eq!(number(&message.unwrap().unwrap()), 1);
        }
        drop(to);
        assert!(answer.message().await.unwrap().is_none());
    }

    async fn what_is_owed_is_counted_from_the_last_word(topology) {
        let limits = Limits { first_message_ms: 2_000, ..Limits::NONE };
        // The handler hears the end, and keeps the stream: only the end itself can start the clock.
        let world = World::with(topology, &config(limits), Scripted::default().screen(|request| {
            let mut words = request.into_inner();
            stream::once(async move {
                while let Ok(Some(_)) = words.message().await {}
                std::future::pending::<()>().await;
                drop(words);
                Ok(said(0))
            })
        }));
        let (to, requests) = tokio::sync::mpsc::channel(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut answer = world.client().screen(requests).await.unwrap().into_inner();
        let speaking = async {
            tokio::time::sleep(Duration::from_millis(9_500)).await;
            to.send(ask()).await.unwrap();
            drop(to);
            Instant::now()
        };
        let answered = tokio::time::timeout(60 * SECOND, answer.message());
        let (status, closed) = tokio::join!(answered, speaking);
        let status = status.expect("silence should have been noticed");
        assert_took(closed, 2 * SECOND);
        assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    }

    async fn a_call_can_bring_its_own_limits(topology) {
        let limits = Limits { first_message_ms: 1_000, ..Limits::NONE };
        let script = Scripted::default().inspect(|_| async {
            tokio::time::sleep(3 * SECOND).await;
            Ok(InspectResponse::default())
        });
        let world = World::with(topology, &config(limits), script);
        let mut request = Request::new(InspectRequest::default());
        request.extensions_mut().insert(Limits::NONE);
        world.client().inspect(request).await.unwrap();
    }
}

/// A foreign client keeps no deadline on a stream; the server does.
#[tokio::test(start_paused = true)]
async fn the_server_ends_a_stream_at_the_deadline_of_a_foreign_client() {
    let network = Network::default();
    let (kept, gone) = dropped();
    let script = Scripted::default().screen(move |_| then_silence([1], take(&kept)));
    let environment: Environment = environment();
    let server = Server::new(&Config::default().server, &environment).part(script.part());
    let serving = network.serve("guard:1", server);

    let connector = network.connector();
    let dial = tower::service_fn(move |uri| {
        let connector = connector.clone();
        async move { connector.connect(uri).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://guard:1").connect_with_connector(dial).await.unwrap();
    let mut request = Request::new(stream::iter([ask()]));
    request.set_timeout(2 * SECOND);
    let begin = Instant::now();
    let mut answer = GuardServiceClient::new(channel).screen(request).await.unwrap().into_inner();
    assert_eq!(number(&answer.message().await.unwrap().unwrap()), 1);
    let last = tokio::time::timeout(60 * SECOND, answer.message()).await;
    let status = last.expect("the server should have ended it").unwrap_err();
    assert_took(begin, 2 * SECOND);
    assert_eq!(error::reason_of(&status), Some(ErrorReason::DeadlineExceeded));
    soon(&gone).await;
    drop(answer);
    serving.stop().await;
}
