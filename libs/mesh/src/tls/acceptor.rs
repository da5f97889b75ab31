//! The serving side of TLS.

use std::{io, sync::Arc};

use rustls::pki_types::CertificateDer;
use signalbox_proto::common::v1::ErrorReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{Code, Status};

use super::{Credentials, MeshTls, names};
use crate::error;

/// Accepts TLS, and tells who may call.
#[derive(Debug, Clone)]
pub struct Acceptor {
    credentials: Credentials,
    /// Absent: everybody may.
    callers: Option<Arc<[String]>>,
}

/// Marks calls of a peer that may ask for nothing but health; says why.
#[derive(Debug, Clone)]
pub(crate) struct Stranger(Arc<str>);

impl Acceptor {
    /// Accepts clients; whether they show certificates is the credentials'.
    #[must_use]
    pub fn door(credentials: Credentials) -> Self {
        Self { credentials, callers: None }
    }

    /// Accepts the callers that the configuration names.
    #[must_use]
    pub fn service(credentials: Credentials, config: &MeshTls) -> Self {
        Self { credentials, callers: Some(config.callers.as_slice().into()) }
    }

    /// Shakes hands. Not cancel safe: the connection is of no use afterwards.
    pub(crate) async fn accept<IO>(&self, io: IO) -> io::Result<(TlsStream<IO>, Option<Stranger>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let live = self.credentials.live();
        let stream = TlsAcceptor::from(Arc::clone(&live.server)).accept(io).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let stranger = self.stranger(shown, &live.names);
        Ok((stream, stranger))
    }

    fn stranger(&self, shown: Option<&CertificateDer<'_>>, own: &[String]) -> Option<Stranger> {
        let callers = self.callers.as_ref()?;
        let Some(shown) = shown else { return Some(Stranger("no certificate was shown".into())) };
        let shown = names::of(shown);
        let itself = names::spiffe(own).is_some_and(|own| names::is_named(own, &shown));
        if itself || callers.iter().any(|caller| names::is_named(caller, &shown)) {
            return None;
        }
        let who = names::spiffe(&shown).map_or_else(|| shown.join(", "), str::to_owned);
        tracing::warn!(
            caller = who,
            "a caller whose certificate is good but not allowed here; see mesh.tls.callers"
        );
        Some(Stranger(format!("the certificate shown is of {who}").into()))
    }
}

impl Stranger {
    /// What the peer is told.
    pub(crate) fn refusal(&self) -> Status {
        let message =
            format!("this caller may not call this service: {}; mesh.tls.callers says who may", self.0);
        error::status(Code::PermissionDenied, ErrorReason::CallerRefused, message).into()
    }
}
