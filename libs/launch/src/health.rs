//! `--health`: asks the service that runs here whether it serves, for supervisors of images that hold no other program.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use signalbox_config::{Document, listen};
use signalbox_mesh::{
    Channel, Connector, Environment, client,
    tls::{Credentials, DoorTls},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::Failure;

/// How long everything may take: supervisors ask every few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is of interest of a service's section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listening {
    listen: Option<String>,
}

/// The same of the gateway's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Door {
    tls: Option<DoorTls>,
}

/// Asks; `listen` is the command line's address, which goes before the configured one.
///
/// # Errors
/// It cannot be reached, or says that it does not serve.
pub(crate) async fn ask(name: &str, document: &Document, listen: Option<String>) -> Result<(), Failure> {
    let configured = || Ok::<_, Failure>(document.section::<Listening>(name)?.listen);
    let listen = match listen {
        Some(listen) => listen,
        None => configured()?.unwrap_or_else(|| listen::of(name).to_owned()),
    };
    let address = reachable(crate::resolve(&listen).await?);
    let mesh: signalbox_mesh::Config = document.section(signalbox_mesh::SECTION)?;
    let connector = match credentials(name, document, &mesh)? {
        Some(own) => own.to_itself(Connector::tcp())?,
        None => Connector::tcp(),
    };
    let environment = Environment::system("");
    let channel = Channel::remote(name, &[address.to_string()], &mesh.client, &environment, &connector)?;
    let mut health = client!(HealthClient, channel);
    match tokio::time::timeout(PATIENCE, health.check(HealthCheckRequest::default())).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(Ok(_)) => Err(format!("{address} does not serve").into()),
        Ok(Err(status)) => Err(format!("{address} cannot be asked: {}", status.message()).into()),
        Err(_) => Err(format!("{address} does not answer within {} s", PATIENCE.as_secs()).into()),
    }
}

/// What the service shows to who connects to it.
fn credentials(
    name: &str,
    document: &Document,
    mesh: &signalbox_mesh::Config,
) -> Result<Option<Credentials>, Failure> {
    if name == "gateway" {
        let door = document.section::<Door>(name)?.tls;
        return Ok(door.as_ref().map(Credentials::of_door).transpose()?);
    }
    Ok(mesh.tls.as_ref().map(|tls| Credentials::of_service(tls, name)).transpose()?)
}

/// Who listens everywhere is asked over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback: std::net::IpAddr = match listen {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if listen.ip().is_unspecified() { SocketAddr::new(loopback, listen.port()) } else { listen }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use signalbox_mesh::listen;
    use tokio_util::sync::CancellationToken;
    use tonic::{Request, Response, Status};
    use tonic_health::pb::{
        HealthCheckResponse,
        health_server::{Health, HealthServer},
    };

    use super::*;

    /// Serves while it is told to.
    #[derive(Clone, Default)]
    struct Moody(Arc<AtomicBool>);

    #[tonic::async_trait]
    impl Health for Moody {
        type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

        async fn check(
            &self,
            _: Request<HealthCheckRequest>,
        ) -> Result<Response<HealthCheckResponse>, Status> {
            let serves = self.0.load(Ordering::Relaxed);
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            Ok(Response::new(HealthCheckResponse { status: status.into() }))
        }

        async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented("nobody watches here"))
        }
    }

    async fn ask_at(listen: &str) -> Result<(), String> {
        let text = format!("[guard]\nlisten = \"{listen}\"\nlearned = false\n");
        let document = Document::parse(&text, "test.toml").unwrap();
        ask("guard", &document, None).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_service_is_asked_where_its_section_says() {
        let incoming = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = incoming.local_addr().unwrap().port();
        let (mood, end) = (Moody::default(), CancellationToken::new());
        let server = tonic::transport::Server::builder().add_service(HealthServer::new(mood.clone()));
        let serving =
            tokio::spawn(server.serve_with_incoming_shutdown(incoming, end.clone().cancelled_owned()));

        let refused = ask_at(&format!("127.0.0.1:{port}")).await.unwrap_err();
        assert!(refused.ends_with("does not serve"), "{refused}");
        mood.0.store(true, Ordering::Relaxed);
        assert_eq!(
            ask_at(&format!("0.0.0.0:{port}")).await,
            Ok(()),
            "who listens everywhere is asked over loopback"
        );
        end.cancel();
        serving.await.unwrap().unwrap();
        let gone = ask_at(&format!("127.0.0.1:{port}")).await.unwrap_err();
        assert!(gone.contains("cannot be asked"), "{gone}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_connections_and_says_nothing_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let error = ask_at(&address.to_string()).await.unwrap_err();
        assert!(error.contains("does not answer"), "{error}");
    }
}
