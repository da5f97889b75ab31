//! Who asks, until when, and in which trace: the same in the handler as at the caller.

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{Channel, Config, ContextTrust, Random, RequestContext, Server, TraceContext, client};
use signalbox_proto::guard::v1::{InspectRequest, InspectResponse, guard_service_client::GuardServiceClient};
use tonic::{Request, Status};

use crate::{
    scripted::{Scripted, ask, number},
    world::{Network, Topology, World, environment, on_both, remote},
};

fn report(context: &RequestContext) -> Status {
    let trace = context.trace().expect("the server's layers give every call a trace");
    Status::aborted(format!(
        "{}|{}|{}|{:?}|{:032x}|{:016x}",
        context.request_id(),
        context.tenant(),
        context.principal(),
        context.retry_budget(),
        trace.trace_id(),
        trace.parent_id(),
    ))
}

fn reporting() -> Scripted {
    Scripted::default().inspect(|request| async move { Err(report(&RequestContext::from_request(&request))) })
}

fn context() -> RequestContext {
    let mut context = RequestContext::background().with_principal("acme", "key-1");
    context.set_request_id("0199-7");
    context.set_retry_budget(3);
    context
}

/// A part that asks the one behind it within the same request.
fn forwarding(to: Channel) -> Scripted {
    Scripted::default().inspect(move |request| {
        let mut next = client!(GuardServiceClient, to);
        async move {
            let context = RequestContext::from_request(&request);
            next.inspect(context.request(InspectRequest::default())).await.map(tonic::Response::into_inner)
        }
    })
}

on_both! {
    async fn all_of_it_arrives(topology) {
        let world = World::new(topology, reporting());
        let mut context = context();
        let trace = TraceContext::root(&Random::seeded(9), true);
        context.set_trace(trace.clone());
        let status = world.client().inspect(context.request(InspectRequest::default())).await.unwrap_err();
        // Within a process there is no hop: the caller's span goes on.
        let parent = if topology.is_in_process() { 0 } else { trace.span_id() };
        let expected = format!("0199-7|acme|key-1|Some(3)|{:032x}|{parent:016x}", trace.trace_id());
        assert_eq!(status.message(), expected);
    }

    async fn what_is_not_there_is_not_invented_but_the_trace(topology) {
        let world = World::new(topology, reporting());
        let status = world.client().inspect(InspectRequest::default()).await.unwrap_err();
        assert!(status.message().starts_with("|||None|"), "{status:?}");
        assert!(status.message().ends_with("|0000000000000000"), "a root has no parent: {status:?}");
    }

    async fn one_trace_spans_two_hops(topology) {
        let last = World::new(topology, reporting());
        let first = World::new(topology, forwarding(last.channel.clone()));
        let mut context = context();
        let trace = TraceContext::root(&Random::seeded(9), true);
        context.set_trace(trace.clone());
        let status = first.client().inspect(context.request(InspectRequest::default())).await.unwrap_err();
        let fields: Vec<_> = status.message().split('|').collect();
        assert_eq!(fields[..3], ["0199-7", "acme", "key-1"]);
        assert_eq!(fields[4], format!("{:032x}", trace.trace_id()));
        assert_ne!(fields[5], format!("{:016x}", trace.span_id()), "the parent is the hop between");
        let has_hops = !topology.is_in_process();
        assert_eq!(fields[5] != "0000000000000000", has_hops, "within a process there is none");
    }

    async fn both_directions_of_a_stream_flow_at_once(topology) {
        let world = World::new(topology, Scripted::default());
        let (to, requests) = tokio::sync::mpsc::channel(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut answer = world.client().screen(requests).await.unwrap().into_inner();
        for _ in 0..100 {
            to.send(ask()).await.unwrap();
            assert_eq!(number(&answer.message().await.unwrap().unwrap()), 1);
        }
        drop(to);
        assert!(answer.message().await.unwrap().is_none());
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn details_of_an_error_arrive(topology) {
        let world = World::new(topology, Scripted::default().inspect(|_| async {
            Err::<InspectResponse, _>(signalbox_mesh::error::invalid("chat.messages", "must not be empty"))
        }));
        let status = world.client().inspect(InspectRequest::default()).await.unwrap_err();
        let reason = signalbox_mesh::error::reason_of(&status);
        assert_eq!(reason, Some(signalbox_proto::common::v1::ErrorReason::InvalidRequest));
        assert_eq!(status.message(), "chat.messages: must not be empty");
    }
}

#[tokio::test(start_paused = true)]
async fn a_public_listener_believes_nobody_about_the_context_but_keeps_trace_and_deadline() {
    let network = Network::default();
    let script = Scripted::default().inspect(|request| async move {
        let private: Vec<_> =
            request.metadata().keys().filter(|key| format!("{key:?}").contains("sb-")).collect();
        assert!(private.is_empty(), "{private:?}");
        let context = RequestContext::from_request(&request);
        assert!(context.deadline().is_some());
        Err(report(&context))
    });
    let config = Config::default();
    let server = Server::new(&config.server, &environment()).trust(ContextTrust::Public).part(script.part());
    let serving = network.serve("guard:1", server);
    let channel = remote(&network, &["guard:1"], &config);

    let mut context = context();
    let trace = TraceContext::root(&Random::seeded(9), true);
    context.set_trace(trace.clone());
    let mut request: Request<InspectRequest> = context.request(InspectRequest::default());
    request.set_timeout(std::time::Duration::from_secs(5));
    request.metadata_mut().insert("sb-anything", "forged".parse().unwrap());
    let status = client!(GuardServiceClient, channel).inspect(request).await.unwrap_err();
    assert_eq!(status.message(), format!("|||None|{:032x}|{:016x}", trace.trace_id(), trace.span_id()));
    drop(channel);
    serving.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_request_stream_reaches_the_handler_on_both() {
    for topology in [Topology::Local, Topology::Direct, Topology::Remote] {
        let world = World::new(topology, Scripted::default());
        let answer = world.client().screen(stream::iter([ask(), ask()])).await.unwrap().into_inner();
        assert_eq!(answer.count().await, 2);
    }
}
