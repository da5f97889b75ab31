//! From a path to the service that has it: a handful of names, so no router stands on the way of a call.

use std::{convert::Infallible, future::ready, pin::Pin, sync::Arc};

use http::{Request, Response};
use signalbox_proto::common::v1::ErrorReason;
use tonic::{Code, body::Body, service::Routes};
use tower::Service as _;

use super::{Http, Manner, probe, refusal};
use crate::{error, health::Health, part::Handler};

/// An answer in the making.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The services of a listener or of a part, and what answers everything else.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Arc<[(&'static str, Handler)]>,
    http: Option<Http>,
    /// Answers probes, where HTTP is served.
    health: Option<Health>,
}

impl Dispatch {
    pub(crate) fn new(
        services: Vec<(&'static str, Handler)>,
        http: Option<Http>,
        health: Option<Health>,
    ) -> Self {
        let http = http.map(|http| Http { routes: Routes::prepare(http.routes), ..http });
        Self { services: services.into(), http, health }
    }

    /// How a caller is told that something went wrong before its request was understood.
    pub(crate) fn manner(&self, request: &http::request::Parts) -> Manner {
        match &self.http {
            _ if refusal::speaks_grpc(&request.headers) => refusal::grpc,
            Some(http) => (http.manner)(request),
            None => refusal::plain,
        }
    }

    pub(crate) fn call(&self, request: Request<Body>) -> Answering {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        if let Some((_, handler)) = self.services.iter().find(|(service, _)| *service == name) {
            // Generated servers are always ready and keep nothing between calls.
            return handler.clone().call(request);
        }
        if let Some(health) = self.health.as_ref().filter(|_| probe::is_probe(request.uri().path())) {
            return Box::pin(ready(Ok(probe::answer(health, &request))));
        }
        let grpc = refusal::speaks_grpc(request.headers());
        match &self.http {
            Some(http) if !grpc => Box::pin(http.routes.clone().call(request)),
            _ => {
                let message = format!("no service of the name {:?} is served here", printable(name));
                let status = error::status(Code::Unimplemented, ErrorReason::NotSupported, message)
                    .with_metadata("service", printable(name));
                let manner = if grpc { refusal::grpc } else { refusal::plain };
                Box::pin(ready(Ok(manner(&status.into()))))
            }
        }
    }
}

/// A name from outside, cut to what a message can bear.
fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(100).collect()
}
