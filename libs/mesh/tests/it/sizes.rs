//! One message limit, in both directions.

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{Config, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, InspectResponse, ScreenOpen, ScreenRequest, screen_request},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    scripted::{Scripted, ask, number},
    world::{World, on_both},
};

const LIMIT: usize = 2 << 20;

fn config() -> Config {
    let mut config = Config::default();
    config.client.max_message_bytes = LIMIT;
    config.server.max_message_bytes = LIMIT;
    config
}

fn assert_too_large(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(error::reason_of(status), Some(ErrorReason::MessageTooLarge));
    let violation = &status.get_details_bad_request().unwrap().field_violations[0];
    assert!(violation.description.contains("2097152"), "{violation:?}");
    assert!(!error::retryable(status));
}

fn large(bytes: usize) -> InspectRequest {
    InspectRequest { policy: "x".repeat(bytes), ..InspectRequest::default() }
}

fn large_open(bytes: usize) -> ScreenRequest {
    let open = ScreenOpen { policy: "x".repeat(bytes), ..ScreenOpen::default() };
    ScreenRequest { kind: Some(screen_request::Kind::Open(open)) }
}

on_both! {
    async fn a_request_over_the_limit_is_refused_and_one_below_passes(topology) {
        let world = World::with(topology, &config(), Scripted::default());
        world.client().inspect(large(LIMIT - 100)).await.unwrap();
        assert_too_large(&world.client().inspect(large(LIMIT)).await.unwrap_err());
        world.client().inspect(large(0)).await.unwrap();
    }

    async fn the_default_limit_is_32_mib(topology) {
        let world = World::new(topology, Scripted::default());
        world.client().inspect(large((32 << 20) - 100)).await.unwrap();
        let status = world.client().inspect(large(32 << 20)).await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::MessageTooLarge));
    }

    async fn a_message_over_the_limit_within_a_stream_of_requests_is_refused(topology) {
        let world = World::with(topology, &config(), Scripted::default());
        let requests = stream::iter([ask(), large_open(LIMIT), ask()]);
        let mut answer = world.client().screen(requests).await.unwrap().into_inner();
        assert_eq!(number(&answer.message().await.unwrap().unwrap()), 1);
        assert_too_large(&answer.message().await.unwrap_err());
    }

    async fn an_answer_over_the_limit_is_refused_by_the_caller(topology) {
        let world = World::with(topology, &config(), Scripted::default().inspect(|_| async {
            Ok(InspectResponse { seal: vec![7; LIMIT].into(), ..InspectResponse::default() })
        }));
        assert_too_large(&world.client().inspect(InspectRequest::default()).await.unwrap_err());
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn many_messages_that_are_large_together_pass(topology) {
        let world = World::with(topology, &config(), Scripted::default());
        let requests = stream::iter((0..5).map(|_| large_open(LIMIT - 100)));
        let answer = world.client().screen(requests).await.unwrap().into_inner();
        assert_eq!(answer.filter(|m| std::future::ready(m.is_ok())).count().await, 5);
    }
}
