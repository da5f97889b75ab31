//! One answer under way: from the request's first byte to the last delta.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use signalbox_proto::common::v1::Delta;
use signalbox_wire::{Decoder, Dialect, ErrorClass, Limits, ProviderError, Summary, redact};
use tokio::time::Instant;

use crate::account::Seen;
use crate::client::Client;
use crate::config::Bounds;
use crate::driver::Reader;
use crate::failure::Failure;
use crate::stats::Stats;
use crate::watch::Watch;

/// How long to wait for usage and end marker once the finish reason came.
const GRACE: Duration = Duration::from_secs(2);

/// Is an answer whose headers said that it is one.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Pieces as they come.
    Stream(Box<Stream>),
    /// A whole answer, from a server that does not stream.
    Whole(VecDeque<Delta>, Box<Summary>),
}

/// Is a streamed answer.
#[derive(Debug)]
pub(crate) struct Stream {
    body: Reader,
    decoder: Decoder,
    /// The provider closed the body in order.
    closed: bool,
    /// The finish reason came; only usage and the end marker are awaited.
    finishing: bool,
    /// An error met while looking ahead.
    failed: Option<ProviderError>,
    /// The connection broke, as was seen while looking ahead.
    cut: Option<ProviderError>,
}

/// Is how long a piece is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The end of it while nothing comes.
    pub(crate) until: Instant,
    /// How much longer each keep-alive makes it.
    pub(crate) idle: Duration,
    /// Its end whatever comes.
    pub(crate) last: Instant,
}

impl Patience {
    /// Keep-alives change nothing.
    pub(crate) const fn until(at: Instant) -> Self {
        Self { until: at, idle: Duration::ZERO, last: at }
    }
}

/// Is what an answer gives next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A piece.
    Delta(Delta),
    /// The end, as the provider sees it; whether the answer is complete is in the summary.
    End,
    /// Nothing until the limit.
    Elapsed,
    /// The connection broke.
    Cut(ProviderError),
    /// An error in the provider's words, or what cannot be understood.
    Error(ProviderError),
}

/// Is why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Failed(Box<Failure>),
    /// Nothing until the limit.
    Elapsed,
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// Is what is needed to ask.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) client: &'a Client,
    pub(crate) dialect: Dialect,
    /// Whether a stream was asked for.
    pub(crate) streams: bool,
    pub(crate) bounds: Bounds,
    /// Masked in all that the provider says.
    pub(crate) secret: Option<&'a str>,
    /// The end of patience.
    pub(crate) until: Instant,
    /// For a `Retry-After` that names a date.
    pub(crate) now: SystemTime,
    /// Filled in as soon as headers come.
    pub(crate) seen: &'a OnceLock<Seen>,
    pub(crate) stats: &'a Stats,
}

impl Ask<'_> {
    /// Sends a request and reads the head of its answer, and of a failure all of it.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        watch: &mut Watch,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let response = match watch.until(self.until, self.client.send(request)).await {
            None => return Err(NoAnswer::Elapsed),
            Some(Err(error)) => return Err(Failure::new(transport(&error)).into()),
            Some(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        let seen = Seen { http_status: status, request_id: request_id(response.headers()) };
        self.seen.get_or_init(|| seen);
        self.stats.headroom(response.headers(), Instant::now());
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = match watch.until(self.until, collect(body, self.bounds.error_body_bytes)).await {
            None => Bytes::new(),
            // The status says enough, whatever became of the body.
            Some(Collected::Whole(bytes) | Collected::Part(bytes, _)) => bytes,
        };
        let mut error = self.dialect.error(status, &parts.headers, &body, self.now).without(self.secret);
        if self.streams && error.class == ErrorClass::Rejected && error.param.as_deref() == Some("stream") {
            // That was not the caller's wish: whoever comes next may grant it.
            error.class = ErrorClass::ModelMissing;
            error.message.push_str(" (to ask for whole answers, set `stream = false` at the target)");
        }
        Err(Failure::new(error).into())
    }

    /// Asks for an answer.
    pub(crate) async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        watch: &mut Watch,
    ) -> Result<Answer, NoAnswer> {
        let response = self.send(request, watch).await?;
        if let Some(coding) = response.headers().get(header::CONTENT_ENCODING).filter(|v| *v != "identity") {
            let words = format!("an answer compressed with {coding:?}, which was not asked for");
            return Err(Failure::seen(ErrorClass::Protocol, &words).accepted().into());
        }
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // Some servers name their streams oddly; where one was asked for, only what cannot be one is read whole.
        let whole = kind.starts_with("application/json") || kind.starts_with("text/html");
        if whole || (!self.streams && !kind.starts_with("text/event-stream")) {
            let body = self.whole(response, watch).await?;
            return match self.dialect.whole(&body) {
                Ok(answer) => Ok(Answer::Whole(answer.deltas.into(), Box::new(answer.summary))),
                Err(error) => Err(Failure::new(error.without(self.secret)).accepted().into()),
            };
        }
        let limits =
            Limits { event_bytes: self.bounds.event_bytes, malformed_chunks: self.bounds.malformed_chunks };
        let decoder = self.dialect.decoder(limits);
        Ok(Answer::Stream(Box::new(Stream {
            body: Reader::new(response),
            decoder,
            closed: false,
            finishing: false,
            failed: None,
            cut: None,
        })))
    }

    /// Reads a successful answer's whole body.
    pub(crate) async fn whole(
        &self,
        response: Response<Incoming>,
        watch: &mut Watch,
    ) -> Result<Bytes, NoAnswer> {
        let most = self.bounds.answer_bytes;
        match watch.until(self.until, collect(response.into_body(), most)).await {
            None => Err(NoAnswer::Elapsed),
            Some(Collected::Whole(bytes)) => Ok(bytes),
            Some(Collected::Part(_, Some(error))) => Err(Failure::new(body_error(&error)).accepted().into()),
            Some(Collected::Part(_, None)) => {
                let words = format!("an answer of more than {most} bytes");
                Err(Failure::seen(ErrorClass::Protocol, &words).accepted().into())
            }
        }
    }
}

impl Answer {
    /// Waits for the next piece. What has come already is given first.
    pub(crate) async fn next(&mut self, watch: &mut Watch, patience: Patience) -> Next {
        match self {
            Self::Whole(deltas, _) => deltas.pop_front().map_or(Next::End, Next::Delta),
            Self::Stream(stream) => stream.next(watch, patience).await,
        }
    }

    /// Gives a piece that has come already, without waiting.
    pub(crate) fn ready(&mut self) -> Option<Delta> {
        match self {
            Self::Whole(deltas, _) => deltas.pop_front(),
            Self::Stream(stream) => stream.ready(),
        }
    }

    pub(crate) fn summary(&self) -> &Summary {
        match self {
            Self::Whole(_, summary) => summary,
            Self::Stream(stream) => stream.decoder.summary(),
        }
    }

    /// Returns what came instead of an answer, if anything did.
    pub(crate) fn stray(&self) -> &[u8] {
        match self {
            Self::Whole(..) => &[],
            Self::Stream(stream) => stream.decoder.stray(),
        }
    }

    /// Reads a stream's last bytes after its end marker, so that the connection can be used again.
    pub(crate) async fn drain(&mut self, watch: &mut Watch, at: Instant) {
        if let Self::Stream(stream) = self {
            while !stream.closed && matches!(watch.until(at, stream.body.frame()).await, Some(Some(Ok(_)))) {}
        }
    }
}

impl Stream {
    fn ready(&mut self) -> Option<Delta> {
        while !self.closed && self.failed.is_none() && self.cut.is_none() {
            match self.decoder.next_delta() {
                Ok(Some(delta)) => return Some(delta),
                Ok(None) if self.decoder.summary().done => return None,
                Ok(None) => {}
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
            match self.body.ready() {
                Poll::Pending => return None,
                Poll::Ready(None) => self.closed = true,
                Poll::Ready(Some(Err(error))) => self.cut = Some(body_error(&error)),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.push(data);
                    }
                }
            }
        }
        None
    }

    async fn next(&mut self, watch: &mut Watch, patience: Patience) -> Next {
        if let Some(error) = self.failed.take() {
            return Next::Error(error);
        }
        if let Some(error) = self.cut.take() {
            return Next::Cut(error);
        }
        let Patience { until: mut at, idle, mut last } = patience;
        loop {
            let delta = if self.closed { self.decoder.end() } else { self.decoder.next_delta() };
            match delta {
                Ok(Some(delta)) => return Next::Delta(delta),
                Err(error) => return Next::Error(error),
                Ok(None) if self.closed || self.decoder.summary().done => return Next::End,
                Ok(None) => {}
            }
            if self.decoder.summary().finish_reason.is_some() && !self.finishing {
                self.finishing = true;
                last = last.min(Instant::now() + GRACE);
                at = at.min(last);
            }
            match watch.until(at, self.body.frame()).await {
                None => return Next::Elapsed,
                Some(None) => self.closed = true,
                Some(Some(Err(error))) => return Next::Cut(body_error(&error)),
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.push(data);
                        if !idle.is_zero() {
                            at = (Instant::now() + idle).min(last);
                        }
                    }
                }
            }
        }
    }
}

enum Collected {
    Whole(Bytes),
    /// Cut off at the limit, or by an error.
    Part(Bytes, Option<hyper::Error>),
}

async fn collect(mut body: Incoming, most: usize) -> Collected {
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => return Collected::Part(out.freeze(), Some(error)),
        };
        if out.len() + data.len() > most {
            out.extend_from_slice(&data[..most - out.len()]);
            return Collected::Part(out.freeze(), None);
        }
        out.extend_from_slice(&data);
    }
    Collected::Whole(out.freeze())
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let names = ["x-request-id", "request-id", "apim-request-id", "cf-ray"];
    let value = names.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    Some(redact::clip(value, 128).to_owned())
}

/// Says why no headers came.
fn transport(error: &legacy::Error) -> ProviderError {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let class = match deepest.downcast_ref::<std::io::Error>() {
        Some(io) if io.kind() == std::io::ErrorKind::TimedOut => ErrorClass::Timeout,
        _ if error
            .source()
            .and_then(|e| e.downcast_ref::<hyper::Error>())
            .is_some_and(hyper::Error::is_parse) =>
        {
            ErrorClass::Protocol
        }
        _ => ErrorClass::Transport,
    };
    let what = if error.is_connect() { "no connection" } else { "the connection broke before an answer" };
    ProviderError::new(class, &format!("{what}: {deepest}"))
}

fn body_error(error: &hyper::Error) -> ProviderError {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    ProviderError::new(ErrorClass::Transport, &format!("the connection broke in mid-answer: {deepest}"))
}
