//! Asks the provider itself, over plain HTTP/1.1: what the mesh is compared with.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{
    generator::{Answered, Ask},
    workload::Answer,
};

/// A piece of text in an event of a stream, unless it is empty.
const TEXT: &[u8] = b"\"content\":\"";

/// A server that speaks Chat Completions.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    /// Host and port.
    authority: String,
    /// Path up to and with the version.
    base: String,
    model: String,
}

impl Provider {
    /// # Errors
    /// An address that is not of the form `http://host:port/path`.
    pub(super) fn new(base_url: &str, model: &str) -> Result<Self, String> {
        let form = || {
            format!("{base_url} is not of the form http://host:port/v1; a provider is measured without TLS")
        };
        let rest = base_url.strip_prefix("http://").ok_or_else(form)?;
        let (authority, base) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        if authority.is_empty() {
            return Err(form());
        }
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self {
            authority,
            base: format!("/{base}").trim_end_matches('/').to_owned(),
            model: model.to_owned(),
        })
    }

    /// Connects so many askers, each over a connection of its own.
    ///
    /// # Errors
    /// A connection that cannot be made.
    pub(super) async fn askers(&self, answer: Answer, count: usize) -> Result<Vec<Direct>, String> {
        let mut askers = Vec::with_capacity(count);
        for _ in 0..count {
            askers.push(
                self.connect(answer).await.map_err(|error| {
                    format!("the provider at {} cannot be reached: {error}", self.authority)
                })?,
            );
        }
        Ok(askers)
    }

    async fn connect(&self, answer: Answer) -> Result<Direct, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // How it ended, its requests say.
            let _ended = connection.await;
        });
        Ok(Direct { provider: self.clone(), answer, sender, _connection: AbortOnDropHandle::new(connection) })
    }

    fn request(&self, prompt: &str, answer: Answer) -> Result<Request<Full<Bytes>>, String> {
        let mut body = serde_json::json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt }],
        });
        if answer != Answer::Whole {
            body["stream"] = true.into();
            body["stream_options"] = serde_json::json!({ "include_usage": true });
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/chat/completions", self.base))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        request
            .body(Full::from(body.to_string()))
            .map_err(|error| format!("the request cannot be made: {error}"))
    }
}

/// One asker with its connection.
pub(super) struct Direct {
    provider: Provider,
    answer: Answer,
    sender: http1::SendRequest<Full<Bytes>>,
    _connection: AbortOnDropHandle<()>,
}

impl Ask for Direct {
    async fn ask(&mut self, prompt: String) -> Result<Answered, String> {
        let request = self.provider.request(&prompt, self.answer)?;
        let failed = |error: hyper::Error| format!("provider: {error}");
        self.sender.ready().await.map_err(failed)?;
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let mut body = response.into_body();
        let (mut answered, mut pieces) = (Answered::default(), Pieces::default());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
            let chunks = if self.answer != Answer::Whole { pieces.count(&data) } else { 0 };
            if chunks > 0 {
                answered.chunks += chunks;
                answered.first.get_or_insert_with(Instant::now);
            }
        }
        if status.is_success() { Ok(answered) } else { Err(format!("provider: status {}", status.as_u16())) }
    }
}

/// Counts the pieces of text in a stream, wherever a read ends.
#[derive(Default)]
struct Pieces {
    /// The end of what was read before: where a piece begins may be cut in two.
    before: Vec<u8>,
}

impl Pieces {
    /// Takes what was read, and returns how many pieces begin in it.
    fn count(&mut self, data: &[u8]) -> u64 {
        self.before.extend_from_slice(data);
        let windows = self.before.windows(TEXT.len() + 1);
        let starts = windows.filter(|window| window.starts_with(TEXT) && !window.ends_with(b"\""));
        let count = u64::try_from(starts.count()).unwrap_or(u64::MAX);
        self.before.drain(..self.before.len().saturating_sub(TEXT.len()));
        count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use signalbox_testkit::provider::{Config, Provider as Simulator};

    use super::*;
    use crate::bench::{
        generator::drive,
        workload::{Amount, Load, Prompts},
    };

    #[test]
    fn an_address_is_taken_apart() {
        let of = |url| Provider::new(url, "m").map(|p| (p.authority, p.base));
        assert_eq!(of("http://127.0.0.1:9/v1/"), Ok(("127.0.0.1:9".into(), "/v1".into())));
        assert_eq!(of("http://host"), Ok(("host:80".into(), String::new())));
        assert!(of("https://host/v1").unwrap_err().contains("without TLS"));
        assert!(of("http:///v1").is_err());
    }

    #[test]
    fn pieces_of_text_are_counted_and_empty_ones_are_not() {
        let stream =
            br#"{"delta":{"content":""}} {"delta":{"content":"a"}} {"delta":{"content":"\""}} {"delta":{}}"#;
        for size in 1..=stream.len() {
            let mut pieces = Pieces::default();
            let count: u64 = stream.chunks(size).map(|read| pieces.count(read)).sum();
            assert_eq!(count, 2, "in reads of {size} bytes");
        }
    }

    #[tokio::test]
    async fn the_simulator_answers_in_sixteen_pieces() {
        let simulator = Simulator::start(Config::default()).await.unwrap();
        let prompts = Arc::new(Prompts::new(0));
        for (model, answer, expected) in [
            ("sim-bench", Answer::Whole, (40, 0, 0)),
            ("sim-bench", Answer::Stream, (40, 0, 640)),
            ("sim-bench+chunks=256", Answer::Long, (40, 0, 10_240)),
            ("sim-bench+status=503", Answer::Stream, (0, 40, 0)),
        ] {
            let provider = Provider::new(&simulator.base_url(), model).unwrap();
            let askers = provider.askers(answer, 4).await.unwrap();
            let outcome = drive(askers, Load::Closed, Amount::Requests(40), &prompts).await.unwrap();
            assert_eq!((outcome.answered, outcome.failed, outcome.chunks), expected, "{outcome:?}");
            assert_eq!(outcome.first.is_some(), outcome.chunks > 0);
        }
        simulator.shutdown().await;
    }
}
