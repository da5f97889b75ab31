//! Answers: one at a time, whole or as a stream of events.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures_util::{FutureExt as _, StreamExt as _};
use signalbox_mesh::error;
use signalbox_proto::{
    common::v1::{Attribution, ChatRequest, Notice, Started, generate_event::Kind, part},
    gateway::v1::GenerateRequest,
};
use signalbox_wire::{
    anthropic,
    door::{Door, Head, Writer, whole},
    json, openai, responses,
};
use tonic::Status;

use super::{
    ask,
    failure::{refused, unreadable},
    headers, options,
    sse::Sse,
};
use crate::{
    Mesh,
    caller::Caller,
    pipeline::Call,
    service::{Events, complete},
    validate,
};

/// The longest name of an end user that is taken over into the ledger.
const USER: usize = 256;

/// Answers a request at one of the doors.
pub(super) async fn answer(mesh: Arc<Mesh>, door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let caller = match ask::caller(&parts, &mesh) {
        Ok(caller) => caller,
        Err(status) => return refused(door, &status, ""),
    };
    let id = caller.context.request_id().to_owned();
    let answered = async {
        let wishes = options::read(&parts.headers)?;
        let body = ask::body(&parts.headers, body, &caller, &mesh).await?;
        let asked = read(door, &body, &mesh, &parts.headers)?;
        let user = asked.user;
        let attribution = match (wishes.attribution, user) {
            (Some(attribution), user) => Some(Attribution { user: attribution.user.or(user), ..attribution }),
            (None, Some(user)) => Some(Attribution { user: Some(user), ..Attribution::default() }),
            (None, None) => None,
        };
        let request = GenerateRequest {
            chat: Some(asked.chat),
            attribution,
            policies: wishes.policies,
            client_request_id: wishes.client_request_id,
            idempotency_key: wishes.idempotency_key,
        };
        validate::generate(&request)?;
        let head = Head {
            request_id: id.clone(),
            created: caller.started_unix_ms / 1_000,
            include_usage: asked.include_usage,
            echo: asked.echo,
        };
        let call = caller.call(request, &mesh);
        if asked.stream {
            stream(mesh, door, head, call).await
        } else {
            at_once(&mesh, door, head, call, &caller).await
        }
    };
    let mut response = answered.await.unwrap_or_else(|status| refused(door, &status, &id));
    headers::request_id(response.headers_mut(), &id);
    response
}

/// What a body says.
struct Asked {
    chat: ChatRequest,
    stream: bool,
    include_usage: bool,
    /// The end user, as the caller names them.
    user: Option<String>,
    echo: responses::Echo,
}

fn read(door: Door, body: &Bytes, mesh: &Mesh, given: &HeaderMap) -> Result<Asked, Status> {
    let mut asked = match door {
        Door::Chat => {
            let parsed = openai::parse(body, None).map_err(unreadable)?;
            let user = json::text(parsed.chat.extra.as_ref(), "user").map(str::to_owned);
            Asked {
                chat: parsed.chat,
                stream: parsed.stream == Some(true),
                include_usage: parsed.include_usage == Some(true),
                user,
                echo: responses::Echo::default(),
            }
        }
        Door::Responses => {
            let parsed = responses::parse(body, None).map_err(unreadable)?;
            let mut chat = parsed.chat;
            responses::forget(&mut chat);
            let user = json::text(chat.extra.as_ref(), "user").map(str::to_owned);
            let echo = responses::Echo::of(body);
            Asked { chat, stream: parsed.stream == Some(true), include_usage: true, user, echo }
        }
        Door::Messages => {
            let parsed = anthropic::parse(body, None).map_err(unreadable)?;
            let mut chat = parsed.chat;
            anthropic::forget(&mut chat);
            betas(&mut chat, given)?;
            let metadata = json::nested(chat.extra.as_ref(), "metadata");
            let user = json::text(metadata, "user_id").map(str::to_owned);
            let echo = responses::Echo::default();
            Asked { chat, stream: parsed.stream == Some(true), include_usage: true, user, echo }
        }
    };
    asked.user = asked.user.filter(|user| !user.is_empty() && user.len() <= USER);
    if let Some(provider) = mesh.only_provider(&asked.chat.model) {
        written_by(&mut asked.chat, &provider);
    }
    Ok(asked)
}

/// Says who wrote a conversation's reasoning, so that it may go back there.
fn written_by(chat: &mut ChatRequest, provider: &str) {
    for part in chat.messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let Some(part::Kind::Reasoning(thought)) = &mut part.kind {
            thought.provider.get_or_insert_with(|| provider.to_owned());
        }
    }
}

/// Takes over the betas that Anthropic's libraries ask for by a header.
fn betas(chat: &mut ChatRequest, headers: &HeaderMap) -> Result<(), Status> {
    let named = headers.get_all("anthropic-beta").iter();
    let mut names = Vec::new();
    for value in named {
        let text = value.to_str().map_err(|_| error::invalid("anthropic-beta", "is not ASCII text"))?;
        names.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    if !names.is_empty() {
        let list = serde_json::Value::from(names);
        let list = json::value(list).map_err(|error| error::invalid("anthropic-beta", error.to_string()))?;
        chat.extra.get_or_insert_default().fields.entry("betas".to_owned()).or_insert(list);
    }
    Ok(())
}

async fn at_once(
    mesh: &Arc<Mesh>,
    door: Door,
    head: Head,
    call: Arc<Call>,
    caller: &Caller,
) -> Result<Response, Status> {
    let answer = complete(mesh, call, caller.arrived).await?;
    let mut response = Response::new(Body::empty());
    let fields = response.headers_mut();
    if let Some(started) = &answer.started {
        headers::begun(fields, started, &answer.notices);
    }
    if let Some(finished) = &answer.finished {
        headers::ended(fields, finished, answer.seams.len());
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(whole(door, head, answer));
    Ok(response)
}

/// Begins a stream. Until the answer has begun, what fails has a status of its own.
async fn stream(mesh: Arc<Mesh>, door: Door, head: Head, call: Arc<Call>) -> Result<Response, Status> {
    let mut events = Events::new(mesh, call);
    let request_id = head.request_id.clone();
    let mut writer = Writer::new(door, head);
    let mut begun: (Box<Started>, Vec<Notice>) = Default::default();
    let mut first = Vec::new();
    // What was noticed before the answer follows its beginning at once, and belongs into the headers.
    let mut next = events.next().await;
    loop {
        match next.transpose()?.and_then(|response| response.event?.kind) {
            Some(Kind::Started(started)) => {
                begun.0 = started.clone();
                writer.event(Kind::Started(started), &mut first);
            }
            Some(Kind::Notice(notice)) => {
                begun.1.push(notice.clone());
                writer.event(Kind::Notice(notice), &mut first);
            }
            Some(kind) => {
                writer.event(kind, &mut first);
                break;
            }
            None => break,
        }
        match events.next().now_or_never() {
            Some(more @ (Some(Ok(_)) | None)) => next = more,
            Some(Some(Err(status))) => {
                return Ok(response(&begun, Sse::failed(writer, first, &status, request_id)));
            }
            None => break,
        }
    }
    Ok(response(&begun, Sse::new(events, writer, first, request_id)))
}

fn response(begun: &(Box<Started>, Vec<Notice>), body: Sse) -> Response {
    let mut response = Response::new(Body::new(body));
    let fields = response.headers_mut();
    headers::begun(fields, &begun.0, &begun.1);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies of nginx's kind would hold the stream back.
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
