//! A process' certificate, and the authorities that it believes.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use rustls::{
    RootCertStore, ServerConfig,
    client::WebPkiServerVerifier,
    client::danger::ServerCertVerifier as _,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    TlsError,
    config::{ClientCertificates, DoorTls, Files, MeshTls},
    names,
};

/// What both sides offer; HTTP/1.1 only at the door.
pub(super) const HTTP2: &[u8] = b"h2";
pub(crate) const HTTP1: &[u8] = b"http/1.1";
/// So long before its end a certificate is warned of.
const SOON: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A certificate with its key and the authorities that are believed; the newest that could be read. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    files: Files,
    live: RwLock<Arc<Live>>,
    seen: Mutex<Stamp>,
}

/// When the files were written, and how long they are.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// What was read at one time.
pub(super) struct Live {
    pub(super) own: Arc<CertifiedKey>,
    pub(super) roots: Option<Arc<RootCertStore>>,
    pub(super) server: Arc<ServerConfig>,
    /// What the certificate names.
    pub(super) names: Vec<String>,
}

/// How long a certificate still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// For a week at least, or nothing here can tell.
    Good,
    /// It ends within a week.
    EndsSoon,
    /// The others refuse it: it has ended, say, or is signed by somebody else.
    Refused(String),
}

impl Credentials {
    /// Reads what a service shows to the others. Blocks.
    ///
    /// # Errors
    /// The file at fault.
    pub fn of_service(config: &MeshTls, service: &str) -> Result<Self, TlsError> {
        Self::load(config.files(service))
    }

    /// Reads what clients are shown. Blocks.
    ///
    /// # Errors
    /// The file at fault.
    pub fn of_door(config: &DoorTls) -> Result<Self, TlsError> {
        Self::load(config.files())
    }

    fn load(files: Files) -> Result<Self, TlsError> {
        let (seen, live) = (stamp(&files), RwLock::new(Arc::new(read(&files)?)));
        Ok(Self(Arc::new(Inner { files, live, seen: Mutex::new(seen) })))
    }

    /// Reads the files again if they were changed; true: they were. Blocks.
    ///
    /// # Errors
    /// The file at fault, once for each change; what was read before stays.
    pub fn look(&self) -> Result<bool, TlsError> {
        let now = stamp(&self.0.files);
        if std::mem::replace(&mut *self.0.seen.lock(), now.clone()) == now {
            return Ok(false);
        }
        let fresh = Arc::new(read(&self.0.files)?);
        *self.0.live.write() = fresh;
        Ok(true)
    }

    /// Whether the others will go on believing the certificate, where the authorities are known.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        let (live, now) = (self.live(), UnixTime::now());
        let Some(roots) = &live.roots else { return Outlook::Good };
        let verified = |at: UnixTime| {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider()).build();
            let verifier = verifier.map_err(|error| error.to_string())?;
            let (own, others) = live.own.cert.split_first().ok_or("there is no certificate")?;
            let name = names::of(own).into_iter().find_map(|name| ServerName::try_from(name).ok());
            // Whatever is no DNS name passes: its chain is what is asked here.
            let name = name.unwrap_or(ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into()));
            match verifier.verify_server_cert(own, others, &name, &[], at) {
                Err(error) if !super::connector::is_about_the_name(&error) => Err(error.to_string()),
                _ => Ok(()),
            }
        };
        if let Err(why) = verified(now) {
            return Outlook::Refused(why);
        }
        match verified(UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON)) {
            Ok(()) => Outlook::Good,
            Err(_) => Outlook::EndsSoon,
        }
    }

    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.0.live.read())
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("names", &self.live().names).finish_non_exhaustive()
    }
}

/// *ring*, as everywhere in the mesh, whatever else a binary may have linked.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn stamp(files: &Files) -> Stamp {
    let of = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    [Some(&files.cert), Some(&files.key), files.ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| of(path))
        .collect()
}

fn read(files: &Files) -> Result<Live, TlsError> {
    let chain = certificates(&files.cert)?;
    let names = chain.first().map(names::of).unwrap_or_default();
    let own = Arc::new(certified(files, chain)?);
    let roots = files.ca.as_ref().map(|path| authorities(path)).transpose()?.map(Arc::new);
    let unusable = |path: &Path, why: String| TlsError::Unusable { path: path.to_owned(), why };
    let clients: Arc<dyn ClientCertVerifier> = match (files.clients, &roots) {
        (ClientCertificates::None, _) => Arc::new(NoClientAuth),
        (_, None) => return Err(TlsError::NoAuthority),
        (wanted, Some(roots)) => {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
            let builder = match wanted {
                ClientCertificates::Required => builder,
                _ => builder.allow_unauthenticated(),
            };
            let ca = files.ca.as_deref().unwrap_or(&files.cert);
            builder.build().map_err(|error| unusable(ca, error.to_string()))?
        }
    };
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, error.to_string()))?
        .with_client_cert_verifier(clients);
    let mut server = server.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own))));
    server.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(Live { own, roots, server: Arc::new(server), names })
}

fn certified(files: &Files, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| pem_error(&files.key, "private key", error))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
        }
        other => TlsError::Unusable { path: files.key.clone(), why: other.to_string() },
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |error| pem_error(path, "certificate", error);
    let all: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<_, _>>().map_err(error)?;
    if all.is_empty() { Err(TlsError::Empty { path: path.to_owned(), what: "certificate" }) } else { Ok(all) }
}

pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let why = |error: rustls::Error| TlsError::Unusable { path: path.to_owned(), why: error.to_string() };
        roots.add(certificate).map_err(why)?;
    }
    Ok(roots)
}

fn pem_error(path: &Path, what: &'static str, error: rustls::pki_types::pem::Error) -> TlsError {
    use rustls::pki_types::pem::Error;
    let path = path.to_owned();
    match error {
        Error::Io(source) => TlsError::File { path, source },
        Error::NoItemsFound => TlsError::Empty { path, what },
        other => TlsError::Unusable { path, why: other.to_string() },
    }
}
