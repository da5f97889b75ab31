//! The way to a running mesh.

use clap::Args;
use signalbox_mesh::{Channel, ClientConfig, Connector, Environment};
use tonic::{Request, Status};

/// Where the mesh is, and with which key to call it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// The gateway's address; https:// where it speaks TLS.
    #[arg(long, env = "SIGNALBOX_SERVER", default_value = "http://127.0.0.1:8080", global = true)]
    pub(crate) server: String,
    /// The authorities by which the gateway's certificate is signed, PEM. Default: the system's.
    #[arg(long, env = "SIGNALBOX_CA_FILE", global = true)]
    ca_file: Option<std::path::PathBuf>,
    /// The file that holds the key (`sb_<id>_<secret>`). Default: the variable SIGNALBOX_KEY, else none.
    #[arg(long, env = "SIGNALBOX_KEY_FILE")]
    key_file: Option<std::path::PathBuf>,
}

/// A connection and its credential.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    credential: Option<tonic::metadata::AsciiMetadataValue>,
    server: String,
}

impl Server {
    /// Prepares a connection; it is made with the first call.
    ///
    /// # Errors
    /// An address or a key that cannot be used.
    pub(crate) fn connect(&self) -> Result<Client, String> {
        let server =
            if self.server.contains("://") { self.server.clone() } else { format!("http://{}", self.server) };
        let connector = if server.starts_with("https://") {
            signalbox_mesh::tls::public(self.ca_file.as_deref(), Connector::tcp())
                .map_err(|error| format!("--ca-file: {error}"))?
        } else {
            Connector::tcp()
        };
        let channel = Channel::remote(
            "gateway",
            std::slice::from_ref(&server),
            &ClientConfig::default(),
            &Environment::system(""),
            &connector,
        )
        .map_err(|error| format!("--server {}: {error}; give it as http://host:port", self.server))?;
        let key = match &self.key_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| format!("the key file {} cannot be read: {error}", file.display()))?,
            ),
            None => std::env::var("SIGNALBOX_KEY").ok(),
        };
        let credential = key
            .map(|key| format!("Bearer {}", key.trim()).parse())
            .transpose()
            .map_err(|_| "the key is not ASCII text; it has the form sb_<id>_<secret>".to_owned())?;
        Ok(Client { channel, credential, server })
    }
}

impl Client {
    /// A request that carries the credential.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = &self.credential {
            request.metadata_mut().insert("authorization", credential.clone());
        }
        request
    }

    /// A request about a tenant; `None`: the key's own.
    ///
    /// # Errors
    /// A name that no tenant has.
    pub(crate) fn request_for<T>(&self, tenant: Option<&str>, message: T) -> Result<Request<T>, String> {
        let mut request = self.request(message);
        if let Some(tenant) = tenant {
            let value =
                tenant.parse().map_err(|_| format!("--tenant {tenant}: a tenant's name is ASCII text"))?;
            request.metadata_mut().insert(signalbox_gateway::TENANT_HEADER, value);
        }
        Ok(request)
    }

    /// A status in words that say what to do next.
    pub(crate) fn explain(&self, status: &Status) -> String {
        use signalbox_proto::common::v1::ErrorReason;
        let reason = signalbox_mesh::error::reason_of(status);
        let hint = match reason {
            Some(ErrorReason::ServiceUnavailable) if status.message().contains("certificate") => {
                "\n  its certificate is signed by an authority that this system does not know? give the authority's: --ca-file".into()
            }
            Some(ErrorReason::ServiceUnavailable) | None if status.code() == tonic::Code::Unavailable => {
                format!(
                    "\n  is the mesh running at {}? start it with `signalbox up`, or name it with --server (https:// where it speaks TLS)",
                    self.server
                )
            }
            Some(ErrorReason::CredentialMissing | ErrorReason::CredentialInvalid) => {
                "\n  set SIGNALBOX_KEY or --key-file".into()
            }
            Some(ErrorReason::AdminRequired) => {
                "\n  set SIGNALBOX_KEY to an admin key; the first one is what the mesh was given in SIGNALBOX_ADMIN_KEY".into()
            }
            _ => String::new(),
        };
        let name = reason.map_or("", |r| r.as_str_name()).trim_start_matches("ERROR_REASON_");
        let name = if name.is_empty() { format!("{:?}", status.code()) } else { name.to_owned() };
        format!("{name}: {}{hint}", status.message())
    }
}
