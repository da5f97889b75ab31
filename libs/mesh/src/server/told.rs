//! The span of a call that came in, told when its answer is over.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, request::Parts};
use http_body::Frame;
use signalbox_telemetry::{
    semconv,
    trace::{self, KeyValue, Kind, Span},
};
use tonic::{Code, Status};

use crate::{RequestContext, TraceContext};

/// A call that is traced, and what is known of its end.
pub(super) struct Told {
    trace: TraceContext,
    grpc: bool,
    method: http::Method,
    path: String,
    tenant: String,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    /// Whoever asked left before.
    Left,
    Http(u16),
    Grpc(i32),
}

impl Told {
    /// `None` for a call that is not traced.
    pub(super) fn of(parts: &Parts, context: &RequestContext, grpc: bool) -> Option<Box<Self>> {
        let trace = context.trace().filter(|trace| trace.sampled() && trace::is_on())?;
        Some(Box::new(Self {
            trace: trace.clone(),
            grpc,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            tenant: context.tenant().to_owned(),
            ending: Ending::Left,
        }))
    }

    /// Notes the head of the answer.
    pub(super) fn head<B>(&mut self, response: &Response<B>) {
        if !self.grpc {
            self.ending = Ending::Http(response.status().as_u16());
        } else if let Some(code) = code(response.headers()) {
            self.ending = Ending::Grpc(code);
        }
    }

    /// Notes the last of its body.
    pub(super) fn end(&mut self, last: Option<&Result<Frame<bytes::Bytes>, Status>>) {
        match last {
            Some(Ok(frame)) if self.grpc => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.ending = Ending::Grpc(code);
                }
            }
            Some(Err(status)) if self.grpc => self.ending = Ending::Grpc(status.code().into()),
            _ => {}
        }
    }

    /// Tells the span. The name is the method's, so that there are few.
    pub(super) fn tell(self, took: Duration) {
        let Self { trace, grpc, method, path, tenant, ending } = self;
        let mut attributes = Vec::with_capacity(5);
        let name = if grpc {
            let name = path.trim_start_matches('/').to_owned();
            attributes.push(KeyValue::new(semconv::RPC_SYSTEM, "grpc"));
            if let Some((service, method)) = name.split_once('/') {
                attributes.push(KeyValue::new(semconv::RPC_SERVICE, service.to_owned()));
                attributes.push(KeyValue::new(semconv::RPC_METHOD, method.to_owned()));
            }
            name
        } else {
            attributes.push(KeyValue::new(semconv::HTTP_REQUEST_METHOD, method.to_string()));
            // Only paths that exist: there are few.
            let name = match ending {
                Ending::Http(404) | Ending::Left => method.to_string(),
                _ => format!("{method} {path}"),
            };
            attributes.push(KeyValue::new(semconv::URL_PATH, path));
            name
        };
        if !tenant.is_empty() {
            attributes.push(KeyValue::new(semconv::TENANT, tenant));
        }
        let error = match ending {
            Ending::Left if grpc => {
                attributes
                    .push(KeyValue::new(semconv::RPC_GRPC_STATUS, i64::from(i32::from(Code::Cancelled))));
                None
            }
            Ending::Left => None,
            Ending::Http(status) => {
                attributes.push(KeyValue::new(semconv::HTTP_STATUS, i64::from(status)));
                (status >= 500).then(|| status.to_string().into())
            }
            Ending::Grpc(code) => {
                attributes.push(KeyValue::new(semconv::RPC_GRPC_STATUS, i64::from(code)));
                let code = Code::from(code);
                is_ours(code).then(|| format!("{code:?}").into())
            }
        };
        trace::emit(Span {
            name: name.into(),
            kind: Kind::Server,
            trace_id: trace.trace_id(),
            id: trace.span_id(),
            parent: trace.parent_id(),
            remote_parent: true,
            took,
            end: SystemTime::now(),
            attributes,
            events: Vec::new(),
            error,
        });
    }
}

/// Whether a status is the server's fault, as the conventions have it: what the caller did wrong is no error of this side.
const fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn code(headers: &HeaderMap) -> Option<i32> {
    headers.get(Status::GRPC_STATUS)?.to_str().ok()?.parse().ok()
}
