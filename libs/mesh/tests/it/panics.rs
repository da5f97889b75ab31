//! A panic ends the call in which it happened.

use futures_util::stream;
use signalbox_mesh::error;
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, ListDetectorsRequest},
};
use tonic::Code;

use crate::{
    scripted::{Scripted, ask, number, said},
    world::{World, on_both},
};

on_both! {
    async fn a_panic_in_a_handler_is_internal_and_the_next_call_succeeds(topology) {
        let world = World::new(topology, Scripted::default());
        let status = world.client().list_detectors(ListDetectorsRequest {}).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(error::reason_of(&status), Some(ErrorReason::Internal));
        assert!(!status.message().contains("on purpose"), "a panic's text may hold anything");
        world.client().inspect(InspectRequest::default()).await.unwrap();
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn a_panic_in_a_stream_ends_it_with_internal(topology) {
        let world = World::new(topology, Scripted::default().screen(|_| {
            stream::iter(1..).map_while_panicking()
        }));
        let mut answer = world.client().screen(stream::iter([ask()])).await.unwrap().into_inner();
        assert_eq!(number(&answer.message().await.unwrap().unwrap()), 1);
        let status = answer.message().await.unwrap_err();
        assert_eq!(error::reason_of(&status), Some(ErrorReason::Internal));
        world.client().inspect(InspectRequest::default()).await.unwrap();
    }
}

/// The number 1, then a panic once the first message is on its way.
trait MapWhilePanicking: futures_util::Stream<Item = u32> + Sized {
    fn map_while_panicking(
        self,
    ) -> impl futures_util::Stream<Item = Result<signalbox_proto::guard::v1::ScreenResponse, tonic::Status>>
    {
        use futures_util::StreamExt as _;
        self.then(|n| async move {
            if n > 1 {
                // Lets the first message out before the stream breaks.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                panic!("on purpose");
            }
            Ok(said(n))
        })
    }
}

impl<S: futures_util::Stream<Item = u32>> MapWhilePanicking for S {}
