//! More calls than the limit are refused, told when to come back, and cost nothing.

use futures_util::stream;
use signalbox_mesh::{Config, error};
use signalbox_proto::{common::v1::ErrorReason, guard::v1::InspectRequest};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    scripted::{Scripted, ask, then_silence},
    world::{World, dropped, on_both, soon, take},
};

on_both! {
    async fn beyond_the_limit_calls_are_refused_until_one_ends(topology) {
        let mut config = Config::default();
        config.server.concurrency = 1;
        let (kept, gone) = dropped();
        let script = Scripted::default().screen(move |_| then_silence([1], take(&kept)));
        let world = World::with(topology, &config, script);
        let mut open = world.client().screen(stream::iter([ask()])).await.unwrap().into_inner();
        open.message().await.unwrap().unwrap();

        let status = world.client().inspect(InspectRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(error::reason_of(&status), Some(ErrorReason::Overloaded));
        assert!(error::retry_after(&status).is_some());
        assert!(error::retryable(&status));

        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(world.channel.clone()).check(request).await.expect("health answers under overload");

        drop(open);
        soon(&gone).await;
        world.client().inspect(InspectRequest::default()).await.unwrap();
    }
}
