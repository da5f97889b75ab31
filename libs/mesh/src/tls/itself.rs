//! A process that calls its own listener.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Credentials, TlsError, connector::secured, credentials::provider, names};
use crate::Connector;

impl Credentials {
    /// Connects as another connector does, and speaks TLS with this very service under whatever address: believes who has the key to a
    /// certificate that names what the own one names. For questions over loopback that carry nothing secret, such as for health: no
    /// authority is asked, because the door's may be a public one that loopback has no name of.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn to_itself(&self, below: Connector) -> Result<Connector, TlsError> {
        let live = self.live();
        let own = live.own.cert.first().map(|own| own.clone().into_owned());
        let verifier = OwnVerifier { own, names: live.names.clone(), provider: provider() };
        let config =
            live.shows_itself(Arc::new(verifier)).map_err(|error| TlsError::Setup(error.to_string()))?;
        let config = Arc::new(config);
        // Whatever it is called, it is the same.
        Ok(secured(below, move |_| {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            Ok((Arc::clone(&config), name))
        }))
    }
}

/// Believes a certificate that names what the own one names: both are read from the same file, at two times.
#[derive(Debug)]
struct OwnVerifier {
    own: Option<CertificateDer<'static>>,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (same, shown) = (self.own.as_ref() == Some(end_entity), names::of(end_entity));
        if same || shown.iter().any(|name| names::is_named(name, &self.names)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
