//! From a request to the answer that its model's name asks for.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Answer;
use super::bench::{self, Prepared};
use super::body::Reply;
use super::connection::Wire;
use super::dice::{Dice, HEX, mix};
use super::embedding::Embed;
use super::fault::Fault;
use super::model::{Base, Model, Shape};
use super::problem::Problem;
use super::record::{Exchange, Ledger, Outcome, Usage};
use super::render::{self, Events, Identity};
use super::request::Chat;
use super::script::{Mishaps, Script, Stream};
use super::{Config, control};

/// Most bytes of a request's body: twice the mesh's own limit, so that the mesh's is the one that is met.
const MAX_BODY_BYTES: usize = 64 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SSE: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Headers that are the same on each answer.
const FIXED: [(HeaderName, HeaderValue); 7] = [
    (HeaderName::from_static("openai-organization"), HeaderValue::from_static("org-simulated")),
    (HeaderName::from_static("openai-version"), HeaderValue::from_static("2020-10-01")),
    (HeaderName::from_static("x-ratelimit-limit-requests"), HeaderValue::from_static("10000")),
    (HeaderName::from_static("x-ratelimit-limit-tokens"), HeaderValue::from_static("30000000")),
    (HeaderName::from_static("x-ratelimit-remaining-tokens"), HeaderValue::from_static("29999900")),
    (HeaderName::from_static("x-ratelimit-reset-requests"), HeaderValue::from_static("6ms")),
    (HeaderName::from_static("x-ratelimit-reset-tokens"), HeaderValue::from_static("0s")),
];

/// All that connections share.
#[derive(Debug)]
pub(super) struct Simulator {
    pub(super) config: Config,
    pub(super) ledger: Arc<Ledger>,
    pub(super) bench: Prepared,
}

/// The caller went away before its request was whole.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was not received")]
pub(super) struct Gone;

/// One recorded request on its way to an answer.
struct Call {
    simulator: Arc<Simulator>,
    wire: Arc<Wire>,
    exchange: Exchange,
    began: Instant,
}

impl Simulator {
    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`Gone`] where the body breaks off; the connection is closed then.
    pub(super) async fn answer(
        self: Arc<Self>,
        wire: Arc<Wire>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Gone> {
        let began = Instant::now();
        let (http::request::Parts { method, uri, headers, .. }, body) = request.into_parts();
        let path = uri.path();
        if path.starts_with("/sim/") {
            let query = uri.query().unwrap_or_default();
            let (status, body) = control::answer(&self.ledger, &method, path, query).await;
            let length = body.len() as u64;
            let reply = Reply::new(Script::plain(body), wire, None).of_length(Some(length));
            let mut response = Response::new(reply);
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            return Ok(response);
        }
        let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(MAX_BODY_BYTES)),
            Err(_) => return Err(Gone),
        };
        let authorized = self.authorize(&headers);
        let open = |model: &str, body: &Bytes| Call {
            exchange: self.ledger.open(model, path, headers, body.clone()),
            simulator: Arc::clone(&self),
            wire: Arc::clone(&wire),
            began,
        };
        let body = match body {
            Ok(body) => body,
            Err(problem) => return Ok(open("", &Bytes::new()).refuse(&problem)),
        };
        let chat = path == "/v1/chat/completions";
        if chat
            && method == Method::POST
            && authorized.is_ok()
            && let Some(probe) = bench::probe(&body)
        {
            return Ok(open(bench::NAME, &body).prepared(self.bench.script(&probe)));
        }
        let value = serde_json::from_slice::<Value>(&body);
        let name = value.as_ref().map(bench::model_name).unwrap_or_default();
        let call = open(name, &body);
        if let Err(problem) = authorized {
            return Ok(call.refuse(&problem));
        }
        Ok(match (method.as_str(), path) {
            ("POST", "/v1/chat/completions" | "/v1/embeddings") => match value {
                Ok(value) => call.inference(chat, &value).await,
                Err(_) => call.refuse(&Problem::unreadable()),
            },
            (_, "/v1/chat/completions" | "/v1/embeddings") => call.refuse(&Problem::wrong_method("POST")),
            ("GET", _) if path.starts_with("/v1/models") => call.models(path),
            (_, "/v1/models") => call.refuse(&Problem::wrong_method("GET")),
            _ => call.refuse(&Problem::no_such_url(&method, path)),
        })
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(key) = &self.config.require_key else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(given) if key.is(given) => Ok(()),
            given => Err(Problem::unauthorized(given.is_some())),
        }
    }

    /// Understands a model's name.
    fn model(&self, name: &str) -> Result<Model, Problem> {
        let names = || self.config.names().collect::<Vec<_>>().join(", ");
        match name.parse::<Model>() {
            Ok(model) => match &model.base {
                Base::Named(base) if !self.config.models.contains(base) => {
                    Err(Problem::no_such_model(name, &format!(" Simulated models: {}.", names())))
                }
                _ => Ok(model),
            },
            Err(error) => {
                let options = super::option_names().collect::<Vec<_>>().join(" ");
                Err(Problem::no_such_model(
                    name,
                    &format!(" {error}. Options: {options}. Simulated models: {}.", names()),
                ))
            }
        }
    }

    /// Leaves of a model's faults those that strike this time.
    fn strike(&self, name: &str, model: &mut Model) {
        let first = |fault: &Fault| match *fault {
            Fault::FailFirst { requests } | Fault::OnlyFirst { requests } => Some(requests),
            _ => None,
        };
        if !model.faults.iter().any(|fault| first(fault).is_some()) {
            return;
        }
        let before = self.ledger.count(name);
        let spent = |fault: &Fault| first(fault).is_some_and(|requests| before >= requests);
        if model.faults.iter().any(|fault| matches!(fault, Fault::OnlyFirst { .. }) && spent(fault)) {
            model.faults.clear();
        }
        model.faults.retain(|fault| !spent(fault));
    }
}

impl Call {
    /// Answers a request for a completion or for vectors.
    async fn inference(mut self, chat: bool, body: &Value) -> Response<Reply> {
        let name = match body.get("model") {
            Some(Value::String(name)) => name,
            None | Some(Value::Null) => {
                return self.refuse(&Problem::invalid("you must provide a model parameter"));
            }
            Some(_) => return self.refuse(&Problem::wrong_type("model", "a string")),
        };
        let mut model = match self.simulator.model(name) {
            Ok(model) => model,
            Err(problem) => return self.refuse(&problem),
        };
        self.simulator.strike(name, &mut model);
        if let Some(decided) = decisive(&model.faults) {
            return self.misbehave(decided, name).await;
        }
        let mishaps = Mishaps::of(&model.faults);
        let done = match (chat, &model.base) {
            (true, Base::Embed) => {
                let message = "This is not a chat model and thus not supported in the v1/chat/completions \
                               endpoint. Did you mean to use v1/embeddings?";
                Err(Problem::invalid(message).about("model"))
            }
            (true, _) => Chat::read(body).and_then(|chat| {
                if chat.stream && model.faults.contains(&Fault::WholeOnly) {
                    return Err(Problem::whole_only());
                }
                Ok(self.completion(name, &chat, &model, mishaps.clone()))
            }),
            (false, Base::Embed | Base::Named(_)) => {
                Embed::read(body).map(|embed| self.vectors(name, &embed, &mishaps))
            }
            (false, _) => {
                Err(Problem::invalid("You are not allowed to generate embeddings from this model.")
                    .about("model"))
            }
        };
        let (script, length) = match done {
            Ok(done) => done,
            Err(problem) => return self.refuse(&problem),
        };
        if length.is_some()
            && let Some(delay) = mishaps.slow_first
        {
            tokio::time::sleep(delay).await;
        }
        self.answer(script, length, mishaps.split)
    }

    /// Prepares a completion, and its length where it is not streamed.
    fn completion(
        &mut self,
        name: &str,
        chat: &Chat,
        model: &Model,
        mishaps: Mishaps,
    ) -> (Script, Option<u64>) {
        let seed = self.simulator.config.seed;
        // Options do not change what is rolled, only what they say they change.
        let base = model.base.to_string();
        let mut dice = Dice(mix(mix(seed, base.as_bytes()), chat.last_user.as_bytes()));
        let answer = Answer::compose(chat, model, &mut dice);
        let identity = Identity::roll(name.to_owned(), &mut dice);
        let tokens =
            |wanted: fn(&Shape) -> Option<u32>| u64::from(model.shapes.iter().find_map(wanted).unwrap_or(0));
        let cached = tokens(|shape| if let Shape::Cached(tokens) = shape { Some(*tokens) } else { None });
        let reasoning =
            tokens(|shape| if let Shape::Reasoning(tokens) = shape { Some(*tokens) } else { None });
        let bill = Usage {
            prompt_tokens: chat.prompt_tokens,
            completion_tokens: reasoning,
            cached_tokens: cached.min(chat.prompt_tokens),
            reasoning_tokens: reasoning,
        };
        self.exchange.accepted(bill);
        let usage = Usage { completion_tokens: reasoning + answer.tokens(), ..bill };
        if !chat.stream {
            let body = render::completion(&identity, &answer, &usage);
            let (script, length) = Script::whole(body, answer.tokens(), usage, &mishaps);
            return (script, Some(length));
        }
        let events = Events::new(&identity, chat.include_usage, chat.obfuscation.then_some(dice));
        let usage = chat.include_usage.then_some(usage);
        (Script::Stream(Box::new(Stream::new(answer, events, usage, mishaps))), None)
    }

    fn vectors(&mut self, name: &str, embed: &Embed, mishaps: &Mishaps) -> (Script, Option<u64>) {
        let usage = Usage { prompt_tokens: embed.tokens(), ..Usage::default() };
        self.exchange.accepted(usage);
        let body = embed.render(name, self.simulator.config.seed);
        let (script, length) = Script::whole(body, 0, usage, mishaps);
        (script, Some(length))
    }

    /// Answers with what was rendered beforehand.
    fn prepared(mut self, ready: bench::Ready) -> Response<Reply> {
        self.exchange.accepted(ready.bill);
        self.answer(ready.script, ready.length, None)
    }

    /// Sends a whole answer where its length is known, else a stream.
    fn answer(self, script: Script, length: Option<u64>, split: Option<usize>) -> Response<Reply> {
        let content_type = if length.is_some() { JSON } else { SSE };
        self.send(StatusCode::OK, content_type, |wire, exchange| {
            Reply::new(script, wire, Some(exchange)).of_length(length).split(split)
        })
    }

    fn models(self, path: &str) -> Response<Reply> {
        let simulator = Arc::clone(&self.simulator);
        match path.strip_prefix("/v1/models").unwrap_or_default() {
            "" => {
                let body = render::models(simulator.config.names());
                self.whole(StatusCode::OK, JSON, body, Outcome::Completed)
            }
            rest => {
                let name = rest.trim_start_matches('/');
                match simulator.model(name) {
                    Ok(_) => self.whole(StatusCode::OK, JSON, render::model(name), Outcome::Completed),
                    Err(problem) => self.refuse(&problem),
                }
            }
        }
    }

    /// Does what a fault that decides the answer's head says.
    async fn misbehave(mut self, fault: Fault, name: &str) -> Response<Reply> {
        match fault {
            Fault::RateLimited { retry_after_s } => self.refuse(&Problem::rate_limited(name, retry_after_s)),
            Fault::Status(status) => self.refuse(&Problem::of_status(status)),
            Fault::Html => self.whole(StatusCode::OK, HTML, render::HTML, Outcome::Error),
            Fault::Error200 => {
                let body = Problem::of_status(500).body();
                self.whole(StatusCode::OK, JSON, body, Outcome::Error)
            }
            Fault::Reset => {
                self.exchange.end(Outcome::Reset);
                self.wire.reset();
                std::future::pending().await
            }
            Fault::Silence => std::future::pending().await,
            _ => self.refuse(&Problem::of_status(503)),
        }
    }

    /// Answers with an error.
    fn refuse(self, problem: &Problem) -> Response<Reply> {
        let mut response = self.whole(problem.status, JSON, problem.body(), Outcome::Error);
        let headers = response.headers_mut();
        if problem.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("0"));
        }
        if let Some(seconds) = problem.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn whole(
        self,
        status: StatusCode,
        content_type: HeaderValue,
        body: Bytes,
        end: Outcome,
    ) -> Response<Reply> {
        let length = body.len() as u64;
        self.send(status, content_type, |wire, exchange| {
            Reply::new(Script::plain(body), wire, Some(exchange)).of_length(Some(length)).ending(end)
        })
    }

    /// Puts the provider's headers in front of a body.
    fn send(
        mut self,
        status: StatusCode,
        content_type: HeaderValue,
        reply: impl FnOnce(Arc<Wire>, Exchange) -> Reply,
    ) -> Response<Reply> {
        self.exchange.answered(status);
        let seed = mix(self.simulator.config.seed, &self.exchange.ordinal.to_le_bytes());
        let request_id = format!("req_{}", Dice(seed).text(HEX, 32));
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut response = Response::new(reply(self.wire, self.exchange));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(12);
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert("openai-processing-ms", elapsed_ms.into());
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("9999"));
        headers.extend(FIXED);
        if let Ok(id) = HeaderValue::try_from(request_id) {
            headers.insert("x-request-id", id);
        }
        response
    }
}

/// Returns the fault that decides the answer's head, if any; the grammar states the order.
fn decisive(faults: &[Fault]) -> Option<Fault> {
    let rank = |fault: &Fault| match fault {
        Fault::Reset => Some(0),
        Fault::Silence => Some(1),
        Fault::FailFirst { .. } => Some(2),
        Fault::RateLimited { .. } => Some(3),
        Fault::Status(_) => Some(4),
        Fault::Html => Some(5),
        Fault::Error200 => Some(6),
        _ => None,
    };
    faults
        .iter()
        .filter_map(|fault| Some((rank(fault)?, *fault)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, fault)| fault)
}
