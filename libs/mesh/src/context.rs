//! Who asks, until when, and where in a trace: what travels with a request through the mesh.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tonic::Request;

use crate::{TraceContext, metadata, timeout};

const REQUEST_ID: HeaderName = HeaderName::from_static(metadata::REQUEST_ID);
const TENANT: HeaderName = HeaderName::from_static(metadata::TENANT);
const PRINCIPAL: HeaderName = HeaderName::from_static(metadata::PRINCIPAL);
const RETRY_BUDGET: HeaderName = HeaderName::from_static(metadata::RETRY_BUDGET);

/// The context of one request.
///
/// It travels as metadata between processes and as an extension of the request within one, so that no call pays for
/// text that nobody reads. Texts are kept as header values: cloning one copies nothing. A byte that may not stand in a
/// header (tenant names and ids have none) is percent-encoded when it is set, in both cases alike.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    request_id: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    principal: Option<HeaderValue>,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    retry_budget: Option<u32>,
}

impl RequestContext {
    /// Creates the context of work that belongs to no request: no tenant, no deadline, no trace.
    #[must_use]
    pub fn background() -> Self {
        Self::default()
    }

    /// Reads the context of an incoming request: what the server's layers left with it, else its metadata.
    #[must_use]
    pub fn from_request<T>(request: &Request<T>) -> Self {
        match request.extensions().get::<Self>() {
            Some(context) => context.clone(),
            None => Self::read(request.metadata().as_ref(), Instant::now),
        }
    }

    /// Makes an outgoing request that carries this context.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.apply(&mut request);
        request
    }

    /// Lets an outgoing request carry this context.
    pub fn apply<T>(&self, request: &mut Request<T>) {
        request.extensions_mut().insert(self.clone());
    }

    /// The request's id; empty when there is none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        text(self.request_id.as_ref())
    }

    /// Sets the request's id.
    pub fn set_request_id(&mut self, id: impl AsRef<str>) {
        self.request_id = value(id.as_ref());
    }

    /// The tenant's name; empty when nobody is identified.
    #[must_use]
    pub fn tenant(&self) -> &str {
        text(self.tenant.as_ref())
    }

    /// The principal's id; empty when nobody is identified.
    #[must_use]
    pub fn principal(&self) -> &str {
        text(self.principal.as_ref())
    }

    /// Adds who calls.
    #[must_use]
    pub fn with_principal(mut self, tenant: &str, principal: &str) -> Self {
        self.tenant = value(tenant);
        self.principal = value(principal);
        self
    }

    /// When the request ends, whatever has been reached by then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sets when the request ends.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Moves the end of the request nearer, never further.
    #[must_use]
    pub fn with_deadline_before(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        self
    }

    /// Where the request stands in its trace; always there in a handler behind the server's layers.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Sets where the request stands in a trace.
    pub fn set_trace(&mut self, trace: TraceContext) {
        self.trace = Some(trace);
    }

    /// How many retries are left to the request over all layers; `None` when nobody has limited them.
    #[must_use]
    pub fn retry_budget(&self) -> Option<u32> {
        self.retry_budget
    }

    /// Sets how many retries are left.
    pub fn set_retry_budget(&mut self, retries: u32) {
        self.retry_budget = Some(retries);
    }

    /// Takes one retry; false when none is left. Without a limit there always is one.
    pub fn take_retry(&mut self) -> bool {
        match &mut self.retry_budget {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    /// Reads metadata. `now` is asked only when there is a timeout to count from.
    pub(crate) fn read(headers: &HeaderMap, now: impl FnOnce() -> Instant) -> Self {
        Self {
            request_id: headers.get(&REQUEST_ID).cloned(),
            tenant: headers.get(&TENANT).cloned(),
            principal: headers.get(&PRINCIPAL).cloned(),
            deadline: timeout::read(headers).map(|left| now() + left),
            trace: TraceContext::read(headers),
            retry_budget: headers.get(&RETRY_BUDGET).and_then(|value| value.to_str().ok()?.parse().ok()),
        }
    }

    /// Writes metadata for another process.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let texts = [(REQUEST_ID, &self.request_id), (TENANT, &self.tenant), (PRINCIPAL, &self.principal)];
        for (name, value) in texts {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
        match self.retry_budget {
            Some(retries) => headers.insert(RETRY_BUDGET, HeaderValue::from(retries)),
            None => headers.remove(RETRY_BUDGET),
        };
        if let Some(trace) = &self.trace {
            trace.write(headers);
        }
        if let Some(deadline) = self.deadline {
            timeout::write(headers, deadline.saturating_duration_since(Instant::now()));
        }
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn value(text: &str) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    // Injective, so that two tenants can never become one.
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if text.bytes().all(plain) {
        return HeaderValue::from_str(text).ok();
    }
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&encoded).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Random;

    #[tokio::test(start_paused = true)]
    async fn survives_the_way_through_metadata() {
        let mut context = RequestContext::background().with_principal("acme", "key-1");
        context.set_request_id("0199-id");
        context.set_deadline(Instant::now() + Duration::from_secs(5));
        context.set_trace(TraceContext::root(&Random::seeded(1), true));
        context.set_retry_budget(2);

        let mut headers = HeaderMap::new();
        context.write(&mut headers);
        let back = RequestContext::read(&headers, Instant::now);

        assert_eq!(
            (back.request_id(), back.tenant(), back.principal(), back.retry_budget(), back.deadline()),
            ("0199-id", "acme", "key-1", Some(2), context.deadline())
        );
        assert_eq!(back.trace().map(ToString::to_string), context.trace().map(ToString::to_string));
    }

    #[test]
    fn absent_values_overwrite_stale_metadata() {
        let mut headers = HeaderMap::new();
        headers.insert(TENANT, HeaderValue::from_static("somebody-else"));
        RequestContext::background().write(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn foreign_bytes_are_encoded_without_making_two_names_one() {
        let tenant = |name: &str| RequestContext::background().with_principal(name, "").tenant().to_owned();
        assert_eq!(tenant("größe"), "gr%C3%B6%C3%9Fe");
        assert_ne!(tenant("a\nb"), tenant("a b"));
        assert_eq!(tenant("a\nb"), "a%0Ab");
        assert_eq!(tenant("a%0Ab"), "a%250Ab");
    }

    #[test]
    fn a_deadline_only_moves_nearer() {
        let now = Instant::now();
        let context = RequestContext::background().with_deadline_before(now + Duration::from_secs(1));
        let context = context.with_deadline_before(now + Duration::from_secs(9));
        assert_eq!(context.deadline(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn retries_run_out() {
        let mut context = RequestContext::background();
        assert!(context.take_retry(), "no limit");
        context.set_retry_budget(1);
        assert!(context.take_retry());
        assert!(!context.take_retry());
    }
}
