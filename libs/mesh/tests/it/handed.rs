//! Within a process messages are handed over as they are; over the network, and for whoever passes them on, they are bytes.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use signalbox_proto::guard::v1::{
    InspectRequest, InspectResponse, ScreenOpen, ScreenRequest, guard_service_client::GuardServiceClient,
    screen_request,
};

use crate::{
    scripted::{Scripted, ask, number, said},
    world::{World, on_both},
};

/// A service that answers with these bytes.
fn sealed(seal: &Bytes) -> Scripted {
    let seal = seal.clone();
    Scripted::default().inspect(move |_| {
        let seal = seal.clone();
        async move { Ok(InspectResponse { seal, ..InspectResponse::default() }) }
    })
}

/// A service that answers each `open` with 1 if its bytes are these, at the place where they were, and with 2 if they are equal.
fn compared(seal: &Bytes) -> Scripted {
    let seal = seal.clone();
    Scripted::default().screen(move |request| {
        let seal = seal.clone();
        request.into_inner().map(move |message| match message?.kind {
            Some(screen_request::Kind::Open(open)) if open.seal.as_ptr() == seal.as_ptr() => Ok(said(1)),
            Some(screen_request::Kind::Open(open)) if open.seal == seal => Ok(said(2)),
            _ => Ok(said(3)),
        })
    })
}

fn open(seal: &Bytes) -> ScreenRequest {
    let open = ScreenOpen { seal: seal.clone(), ..ScreenOpen::default() };
    ScreenRequest { kind: Some(screen_request::Kind::Open(open)) }
}

on_both! {
    async fn an_answer_is_copied_only_between_processes(topology) {
        let seal = Bytes::from(vec![7; 1_000]);
        let world = World::new(topology, sealed(&seal));
        let answer = world.client().inspect(InspectRequest::default()).await.unwrap().into_inner();
        assert_eq!(answer.seal, seal);
        assert_eq!(answer.seal.as_ptr() == seal.as_ptr(), topology.is_in_process());
    }

    async fn each_message_of_a_stream_is_copied_only_between_processes(topology) {
        let seal = Bytes::from(vec![7; 1_000]);
        let world = World::new(topology, compared(&seal));
        let requests = stream::iter([open(&seal), ask(), open(&seal)]);
        let answers = world.client().screen(requests).await.unwrap().into_inner();
        let numbers: Vec<u32> = answers.map(|answer| number(&answer.unwrap())).collect().await;
        let same = if topology.is_in_process() { 1 } else { 2 };
        assert_eq!(numbers, [same, 3, same]);
    }

    async fn who_does_not_decode_gets_bytes(topology) {
        let seal = Bytes::from(vec![7; 1_000]);
        let world = World::new(topology, sealed(&seal));
        let answer = GuardServiceClient::new(world.channel.clone()).inspect(InspectRequest::default()).await;
        let answer = answer.unwrap().into_inner();
        assert!(answer.seal == seal && answer.seal.as_ptr() != seal.as_ptr());
    }
}
