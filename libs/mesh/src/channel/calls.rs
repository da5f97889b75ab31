//! The four kinds of calls, by path: straight to the method where it stands in this process and was named for that
//! ([`Part::method`](crate::Part::method)), over gRPC else. Who calls cannot tell.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, Stream, future::Either, stream::BoxStream};
use http::uri::PathAndQuery;
use prost::Message;
use signalbox_proto::codec::ProstCodec;
use tonic::{Request, Response, Status, Streaming, client::Grpc};

use super::{
    Channel,
    direct::{self, Answering, Direct},
};
use crate::part::Method;

/// The messages of an answer, as they come. Dropping it cancels the call.
pub struct Answers<A>(Kind<A>);

enum Kind<A> {
    Direct(Pin<Box<Answering<A>>>),
    Grpc(Box<Streaming<A>>),
}

impl<A: Message> Answers<A> {
    /// Waits for the next message; `None` at the end.
    ///
    /// # Errors
    /// What ended the answer before its time; nothing follows it.
    pub async fn message(&mut self) -> Result<Option<A>, Status> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }
}

impl<A: Message> Stream for Answers<A> {
    type Item = Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<A, Status>>> {
        match &mut self.0 {
            Kind::Direct(answers) => answers.as_mut().poll_next(cx),
            Kind::Grpc(answers) => Pin::new(answers).poll_next(cx),
        }
    }
}

/// A message of a call.
pub trait Sent: Message + Default + Send + Sync + 'static {}

impl<M: Message + Default + Send + Sync + 'static> Sent for M {}

/// What a call becomes.
pub type Called<A> = Result<Response<A>, Status>;

/// As a method gives them.
type Messages<A> = BoxStream<'static, Result<A, Status>>;

/// A method in this process.
type Found<'a, Q, A> = (&'a Arc<Direct>, Arc<Method<Q, A>>);

impl Channel {
    /// Asks with one message, for one.
    pub fn unary<Q: Sent, A: Sent>(
        &self,
        path: &'static str,
        request: Request<Q>,
    ) -> impl Future<Output = Called<A>> + Send + use<Q, A> {
        let Some((direct, method)) = self.direct::<Q, A>(path) else {
            let grpc = self.grpc();
            return Either::Right(
                async move { ask(grpc).await?.unary(request, at(path), ProstCodec::default()).await }.boxed(),
            );
        };
        let calling = direct.call(&self.shared, &method, request, direct::message);
        Either::Left(async move {
            let (answer, open) = calling?.await?;
            open.message(answer)
        })
    }

    /// Asks with one message, for many.
    pub fn server_streaming<Q: Sent, A: Sent>(
        &self,
        path: &'static str,
        request: Request<Q>,
    ) -> impl Future<Output = Called<Answers<A>>> + Send + use<Q, A> {
        let Some((direct, method)) = self.direct::<Q, Messages<A>>(path) else {
            let grpc = self.grpc();
            let asked = async move {
                ask(grpc)
                    .await?
                    .server_streaming(request, at(path), ProstCodec::default())
                    .await
                    .map(over_grpc)
            };
            return Either::Right(asked.boxed());
        };
        let calling = direct.call(&self.shared, &method, request, direct::message);
        Either::Left(async move {
            let (answer, open) = calling?.await?;
            Ok(open.messages(answer).map(directly))
        })
    }

    /// Asks with many messages, for one.
    pub fn client_streaming<S, Q: Sent, A: Sent>(
        &self,
        path: &'static str,
        request: Request<S>,
    ) -> impl Future<Output = Called<A>> + Send + use<S, Q, A>
    where
        S: Stream<Item = Q> + Send + 'static,
    {
        let Some((direct, method)) = self.direct::<Streaming<Q>, A>(path) else {
            let grpc = self.grpc();
            let asked = async move {
                ask(grpc).await?.client_streaming(request, at(path), ProstCodec::default()).await
            };
            return Either::Right(asked.boxed());
        };
        let calling = direct.call(&self.shared, &method, request, direct::messages);
        Either::Left(async move {
            let (answer, open) = calling?.await?;
            open.message(answer)
        })
    }

    /// Asks with many messages, for many.
    pub fn streaming<S, Q: Sent, A: Sent>(
        &self,
        path: &'static str,
        request: Request<S>,
    ) -> impl Future<Output = Called<Answers<A>>> + Send + use<S, Q, A>
    where
        S: Stream<Item = Q> + Send + 'static,
    {
        let Some((direct, method)) = self.direct::<Streaming<Q>, Messages<A>>(path) else {
            let grpc = self.grpc();
            let asked = async move {
                ask(grpc).await?.streaming(request, at(path), ProstCodec::default()).await.map(over_grpc)
            };
            return Either::Right(asked.boxed());
        };
        let calling = direct.call(&self.shared, &method, request, direct::messages);
        Either::Left(async move {
            let (answer, open) = calling?.await?;
            Ok(open.messages(answer).map(directly))
        })
    }

    /// Whether a method is called without gRPC.
    #[must_use]
    pub fn is_direct(&self, path: &str) -> bool {
        self.direct.as_ref().is_some_and(|direct| direct.methods.names(path))
    }

    fn direct<Q: 'static, A: 'static>(&self, path: &str) -> Option<Found<'_, Q, A>> {
        let direct = self.direct.as_ref()?;
        Some((direct, direct.methods.get(path)?))
    }

    fn grpc(&self) -> Grpc<Self> {
        let grpc = Grpc::new(self.for_client());
        grpc.max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
    }
}

async fn ask(mut grpc: Grpc<Channel>) -> Result<Grpc<Channel>, Status> {
    grpc.ready().await.map_err(Status::from_error)?;
    Ok(grpc)
}

fn at(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

fn over_grpc<A>(answer: Response<Streaming<A>>) -> Response<Answers<A>> {
    answer.map(|answers| Answers(Kind::Grpc(Box::new(answers))))
}

fn directly<A>(answers: Answering<A>) -> Answers<A> {
    Answers(Kind::Direct(Box::pin(answers)))
}
