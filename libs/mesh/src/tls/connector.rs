//! The calling side of TLS.

use std::{io, path::Path, sync::Arc};

use http::Uri;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};
use tokio_rustls::TlsConnector;

use super::{
    Credentials, TlsError,
    credentials::{HTTP2, Live, authorities, provider},
    names,
};
use crate::Connector;

impl Credentials {
    /// Connects as another connector does, and speaks TLS with a service: shows this process' certificate, and believes one of that
    /// service's SPIFFE id in the own trust domain, or one without such an id for the address' host.
    #[must_use]
    pub fn connector(&self, service: &str, below: Connector) -> Connector {
        let (credentials, service) = (self.clone(), service.to_owned());
        // Made anew for each connection, with the certificate of then.
        secured(below, move |peer| {
            let config = credentials.client(&service).map_err(io::Error::other)?;
            Ok((Arc::new(config), server_name(peer)?))
        })
    }

    fn client(&self, service: &str) -> Result<ClientConfig, Error> {
        let live = self.live();
        let roots = live.roots.clone().unwrap_or_else(|| Arc::new(RootCertStore::empty()));
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let wanted = names::spiffe(&live.names).and_then(|own| names::neighbour(own, service));
        live.shows_itself(Arc::new(ServiceVerifier { inner, wanted }))
    }
}

impl Live {
    /// Settings that show this process' certificate, and believe whom the verifier does.
    pub(super) fn shows_itself(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.own))));
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(config)
    }
}

/// Connects as another connector does, and speaks TLS with a public door: believes the system's authorities, or those of a file alone. Blocks while it reads.
///
/// # Errors
/// The file at fault, or no authorities on this system.
pub fn public(ca_file: Option<&Path>, below: Connector) -> Result<Connector, TlsError> {
    trusting(ca_file, &[HTTP2], below)
}

/// The same for any of these protocols.
pub(crate) fn trusting(
    ca_file: Option<&Path>,
    protocols: &[&[u8]],
    below: Connector,
) -> Result<Connector, TlsError> {
    let roots = match ca_file {
        Some(path) => authorities(path)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemAuthorities);
            }
            roots
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    Ok(secured(below, move |peer| Ok((Arc::clone(&config), server_name(peer)?))))
}

/// Speaks TLS over what another connector makes; `prepare` says for a peer by which settings, and under which name.
pub(super) fn secured(
    below: Connector,
    prepare: impl Fn(&Uri) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> + Send + Sync + 'static,
) -> Connector {
    Connector::tls(move |peer: Uri| {
        let (prepared, below) = (prepare(&peer), below.clone());
        async move {
            let (config, name) = prepared?;
            let io = below.connect(peer).await?;
            TlsConnector::from(config).connect(name, io).await
        }
    })
}

fn server_name(peer: &Uri) -> io::Result<ServerName<'static>> {
    let host = peer.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

/// Verifies as the web does, but for a service's SPIFFE id where the certificate has one.
#[derive(Debug)]
struct ServiceVerifier {
    inner: Arc<WebPkiServerVerifier>,
    /// The id that the service has.
    wanted: Option<String>,
}

impl ServerCertVerifier for ServiceVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The chain is verified before the name.
        match verified {
            Err(error) if !is_about_the_name(&error) => return Err(error),
            _ => {}
        }
        let shown = names::of(end_entity);
        match (names::spiffe(&shown), &self.wanted) {
            (Some(id), Some(wanted)) if id == wanted => Ok(ServerCertVerified::assertion()),
            (Some(id), Some(wanted)) => {
                Err(Error::General(format!("the certificate is of {id}, not of {wanted}")))
            }
            (Some(_), None) | (None, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

pub(super) fn is_about_the_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}
