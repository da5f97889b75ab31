//! From a path to the service that has it: a handful of names, so no router stands on the way of a call.

use std::{convert::Infallible, future::ready, pin::Pin, sync::Arc};

use http::{Request, Response};
use signalbox_proto::common::v1::ErrorReason;
use tonic::{Code, body::Body, service::Routes};
use tower::Service as _;

use super::refusal;
use crate::{error, part::Handler};

/// An answer in the making.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The services of a listener or of a part, and what answers everything else.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Arc<[(&'static str, Handler)]>,
    fallback: Option<Routes>,
}

impl Dispatch {
    pub(crate) fn new(services: Vec<(&'static str, Handler)>, fallback: Option<Routes>) -> Self {
        Self { services: services.into(), fallback: fallback.map(Routes::prepare) }
    }

    pub(crate) fn call(&self, request: Request<Body>) -> Answering {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        if let Some((_, handler)) = self.services.iter().find(|(service, _)| *service == name) {
            // Generated servers are always ready and keep nothing between calls.
            return handler.clone().call(request);
        }
        match &self.fallback {
            Some(routes) => Box::pin(routes.clone().call(request)),
            None => {
                let message = format!("no service of the name {:?} is served here", printable(name));
                let status = error::status(Code::Unimplemented, ErrorReason::NotSupported, message)
                    .with_metadata("service", printable(name));
                Box::pin(ready(Ok(refusal::response(refusal::speaks_grpc(request.headers()), status.into()))))
            }
        }
    }
}

/// A name from outside, cut to what a message can bear.
fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(100).collect()
}
