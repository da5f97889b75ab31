//! A client that sees every frame, and knows no OpenAI.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use signalbox_testkit::provider::{Config, Provider};
use tokio::net::TcpStream;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) frames: Vec<Bytes>,
    /// Whether the body ended as HTTP says it must.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    /// Returns what stands behind each `data:`.
    pub(crate) fn data(&self) -> Vec<String> {
        let text = self.text();
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ").map(str::to_owned)).collect()
    }

    /// Returns the events that are JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// Returns the texts of the content chunks, the opening one left out.
    pub(crate) fn chunks(&self) -> Vec<String> {
        let events = self.events();
        let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
        let content = deltas.filter(|delta| delta["role"].is_null());
        content.filter_map(|delta| delta["content"].as_str().map(str::to_owned)).collect()
    }
}

pub(crate) async fn provider() -> Provider {
    Provider::start(Config::default()).await.unwrap()
}

/// A streamed question.
pub(crate) fn ask(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}], "stream": true})
}

/// A question whose answer comes whole.
pub(crate) fn ask_whole(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "simulated")
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-test")
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "simulated").body(Full::default()).unwrap()
}

/// Sends over a connection of its own; the connection closes with the response.
pub(crate) async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The same over HTTP/2.
pub(crate) async fn send_h2(address: SocketAddr, body: &Value) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    let mut request = post(&format!("http://{address}/v1/chat/completions"), body.to_string());
    request.headers_mut().remove("host");
    sender.send_request(request).await
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let (mut frames, mut complete) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frames.extend(frame.into_data()),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Answer { status: head.status, headers: head.headers, frames, complete }
}

pub(crate) async fn chat(provider: &Provider, body: &Value) -> Answer {
    let request = post("/v1/chat/completions", body.to_string());
    read(send(provider.addr(), request).await.unwrap()).await
}
