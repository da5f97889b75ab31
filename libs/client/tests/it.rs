//! The client against a gateway that refuses first.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use signalbox_client::{
    Client,
    proto::{
        common::v1::{
            CacheInfo, Delta, Finished, GenerateEvent, Started, delta::Content, generate_event::Kind,
        },
        gateway::v1::{
            CompleteRequest, CompleteResponse, CountTokensRequest, CountTokensResponse, EmbedRequest,
            EmbedResponse, FeedbackRequest, FeedbackResponse, GenerateRequest, GenerateResponse,
            ListModelsRequest, ListModelsResponse,
            gateway_service_server::{GatewayService, GatewayServiceServer},
        },
    },
    question,
};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Refuses so many requests; says when to ask again, or does not.
struct Refusing {
    asked: Arc<AtomicU32>,
    refusals: u32,
    again: bool,
}

impl Refusing {
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer sb_a_b");
        if self.asked.fetch_add(1, Ordering::SeqCst) >= self.refusals {
            return Ok(());
        }
        let mut details = ErrorDetails::new();
        if self.again {
            details.set_retry_info(Some(Duration::from_millis(1)));
        }
        Err(Status::with_error_details(Code::Unavailable, "later", details))
    }
}

#[tonic::async_trait]
impl GatewayService for Refusing {
    type GenerateStream = tokio_stream::Iter<std::vec::IntoIter<Result<GenerateResponse, Status>>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        self.admit(&request)?;
        let text = |text: &str| Delta { content: Some(Content::Text(text.into())), ..Delta::default() };
        let kinds = [
            Kind::Started(Box::new(Started { model: "p/m".into(), ..Started::default() })),
            Kind::Delta(text("Hello ")),
            Kind::Delta(text("there.")),
            Kind::Finished(Box::new(Finished { cost_nanousd: 7, ..Finished::default() })),
        ];
        let events = kinds.map(|kind| {
            Ok(GenerateResponse { event: Some(GenerateEvent { sequence: 0, kind: Some(kind) }) })
        });
        Ok(Response::new(tokio_stream::iter(events.into_iter().collect::<Vec<_>>())))
    }

    async fn complete(
        &self,
        request: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        self.admit(&request)?;
        Ok(Response::new(CompleteResponse::default()))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackResponse>, Status> {
        self.admit(&request)?;
        let expected = FeedbackRequest {
            request_id: "r1".into(),
            score: -1.0,
            kind: Some("thumbs".into()),
            entry_id: Some("e1".into()),
        };
        assert_eq!(request.into_inner(), expected);
        Ok(Response::new(FeedbackResponse {}))
    }
}

async fn gateway(refusals: u32, again: bool) -> (Client, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let service = GatewayServiceServer::new(Refusing { asked: Arc::clone(&asked), refusals, again });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    (Client::new(&address, Some("sb_a_b")).unwrap(), asked)
}

#[tokio::test]
async fn asks_again_where_the_mesh_says_when() {
    let (client, asked) = gateway(2, true).await;
    let mut answer = client.ask("auto", "Hello?").await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "Hello there.");
    assert_eq!(answer.started().unwrap().model, "p/m");
    assert_eq!(answer.finished().unwrap().cost_nanousd, 7);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    client.complete(question("auto", "Hello?")).await.unwrap();
}

#[tokio::test]
async fn a_score_names_the_answer_and_what_it_came_from() {
    let (client, asked) = gateway(1, true).await;
    let cache = Some(CacheInfo { entry_id: Some("e1".into()), ..CacheInfo::default() });
    let started = Started { request_id: "r1".into(), cache, ..Started::default() };
    client.score(&started, -1.0, Some("thumbs")).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it comes again");
}

#[tokio::test]
async fn gives_up_after_a_few_times_and_at_once_where_nothing_says_when() {
    let (client, asked) = gateway(100, true).await;
    assert_eq!(client.complete(question("auto", "Hello?")).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    let (client, asked) = gateway(1, false).await;
    assert_eq!(client.ask("auto", "Hello?").await.unwrap_err().message(), "later");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn says_what_is_wrong_with_an_address_or_a_key() {
    assert!(Client::new("not an address", None).unwrap_err().to_string().contains("http://host:port"));
    for key in ["ключ", "two\nlines"] {
        assert!(Client::new("http://127.0.0.1:1", Some(key)).is_err(), "{key:?}");
    }
}
