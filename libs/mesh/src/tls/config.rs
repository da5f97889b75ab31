//! `[mesh.tls]` and `[gateway.tls]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// In a file's path, the name of the service that reads it.
const SERVICE: &str = "{service}";

/// `[mesh.tls]`: certificates on both sides of every call between services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshTls {
    /// This process' certificate and what it is signed by, PEM. `{service}` in it stands for `guard`, `gateway` and so on, so that
    /// processes can share a configuration file. Read again when it changes, as the other two.
    pub cert_file: PathBuf,
    /// The certificate's private key, PEM: PKCS #8, SEC 1 or PKCS #1.
    pub key_file: PathBuf,
    /// The authorities by which the certificates of the others must be signed, PEM.
    pub ca_file: PathBuf,
    /// Who may call services: SPIFFE ids or DNS names that stand in a caller's certificate. Default `["spiffe://signalbox/gateway"]`. A
    /// service may always call itself, and health is answered to everybody.
    #[serde(default = "gateway_alone")]
    pub callers: Vec<String>,
}

fn gateway_alone() -> Vec<String> {
    vec!["spiffe://signalbox/gateway".into()]
}

/// `[gateway.tls]`: TLS for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorTls {
    /// The gateway's certificate and what it is signed by, PEM. Read again when it changes, as the others.
    pub cert_file: PathBuf,
    /// The certificate's private key, PEM.
    pub key_file: PathBuf,
    /// The authorities by which clients' certificates must be signed, PEM. Needed unless none are asked for.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate, beside their key. Default `none`.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
}

/// Whether who connects shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    None,
    /// One that is shown must be good.
    Optional,
    /// Nobody connects without.
    Required,
}

/// The files of one identity.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) clients: ClientCertificates,
}

impl MeshTls {
    pub(crate) fn files(&self, service: &str) -> Files {
        let of = |path: &Path| match path.to_str() {
            Some(text) => text.replace(SERVICE, service).into(),
            None => path.to_owned(),
        };
        Files {
            cert: of(&self.cert_file),
            key: of(&self.key_file),
            ca: Some(of(&self.ca_file)),
            // Health is answered without; what else is asked needs one.
            clients: ClientCertificates::Optional,
        }
    }
}

impl DoorTls {
    pub(crate) fn files(&self) -> Files {
        Files {
            cert: self.cert_file.clone(),
            key: self.key_file.clone(),
            ca: self.client_ca_file.clone(),
            clients: self.client_certificates,
        }
    }
}
