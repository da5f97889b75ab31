//! Who goes away cancels everything upstream.

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::CancellationToken;
use signalbox_proto::guard::v1::{InspectRequest, InspectResponse};

use crate::{
    scripted::{Scripted, ask, then_silence},
    world::{World, dropped, on_both, soon, take},
};

on_both! {
    async fn dropping_an_answer_drops_the_stream_of_its_handler(topology) {
        let (kept, gone) = dropped();
        let world = World::new(topology, Scripted::default().screen(move |_| then_silence([1], take(&kept))));
        let mut answer = world.client().screen(stream::iter([ask()])).await.unwrap().into_inner();
        answer.message().await.unwrap().unwrap();
        assert!(!gone.is_cancelled());
        drop(answer);
        soon(&gone).await;
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn dropping_an_answer_drops_what_the_caller_still_had_to_say(topology) {
        let (kept, gone) = dropped();
        let (said, silent) = dropped();
        let world = World::new(topology, Scripted::default().screen(move |_| then_silence([1], take(&kept))));
        let rest = take(&said);
        let more = stream::once(async move {
            let _rest = rest;
            std::future::pending().await
        });
        let mut answer = world.client().screen(stream::iter([ask()]).chain(more)).await.unwrap().into_inner();
        answer.message().await.unwrap().unwrap();
        drop(answer);
        soon(&gone).await;
        soon(&silent).await;
        assert_eq!(world.channel.in_flight(), 0);
    }

    async fn dropping_a_call_drops_its_handler(topology) {
        let (kept, gone) = dropped();
        let begun = CancellationToken::new();
        let beginning = begun.clone();
        let world = World::new(topology, Scripted::default().inspect(move |_| {
            let kept = take(&kept);
            beginning.cancel();
            async move {
                std::future::pending::<()>().await;
                drop(kept);
                Ok(InspectResponse::default())
            }
        }));
        let mut client = world.client();
        tokio::select! {
            _ = client.inspect(InspectRequest::default()) => panic!("it has no answer"),
            () = begun.cancelled() => {}
        }
        soon(&gone).await;
        assert_eq!(world.channel.in_flight(), 0);
    }
}
