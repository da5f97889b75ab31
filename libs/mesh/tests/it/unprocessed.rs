//! What a peer says that it has not processed goes to another; what it may have processed does not.

use std::{
    io,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use signalbox_mesh::{Channel, Config, Connector, Server, client, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    guard::v1::{InspectRequest, guard_service_client::GuardServiceClient},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tonic::Status;

use crate::{
    scripted::Scripted,
    world::{Network, environment},
};

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Streams up to 0 were read, no error.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// REFUSED_STREAM, of the stream that is put in.
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// The same with INTERNAL_ERROR.
const BROKEN: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// Reads a request's headers and then says only this.
async fn answer(mut io: DuplexStream, says: &'static [u8], asked: Arc<AtomicUsize>) -> io::Result<()> {
    io.read_exact(&mut [0; PREFACE]).await?;
    io.write_all(SETTINGS).await?;
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        io.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            asked.fetch_add(1, Ordering::SeqCst);
            let mut says = says.to_vec();
            // What is said of one stream names it; a GOAWAY is said of the connection.
            if says.len() < GOAWAY.len() {
                says[5..9].copy_from_slice(&head[5..9]);
            }
            io.write_all(&says).await?;
        }
    }
}

/// Calls until the odd one of two peers was asked; how that call ended, and how often it was asked.
async fn call(says: &'static [u8]) -> (Result<(), Status>, usize) {
    let (network, config) = (Network::default(), Config::default());
    let part = Scripted::default().part();
    let _serving = network.serve("guard:2", Server::new(&config.server, &environment()).part(part));
    let asked = Arc::new(AtomicUsize::new(0));
    let (usual, counted) = (network.connector(), Arc::clone(&asked));
    let connector = Connector::new(move |peer: http::Uri| {
        let (usual, counted) = (usual.clone(), Arc::clone(&counted));
        async move {
            if peer.host() == Some("odd") {
                let (ours, theirs) = tokio::io::duplex(64 << 10);
                tokio::spawn(answer(theirs, says, counted));
                return Ok(Box::new(ours) as Box<dyn signalbox_mesh::Io>);
            }
            usual.connect(peer).await
        }
    });
    let peers = ["odd:1", "guard:2"];
    let channel = Channel::remote("guard", &peers, &config.client, &environment(), &connector).unwrap();
    loop {
        let request = InspectRequest::default();
        let ended = client!(GuardServiceClient, channel).inspect(request).await.map(drop);
        let asked = asked.load(Ordering::SeqCst);
        if asked > 0 {
            return (ended, asked);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_crosses_the_goaway_of_a_peer_is_answered_by_another() {
    let (ended, _) = call(GOAWAY).await;
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_peer_refuses_is_answered_by_another() {
    let (ended, _) = call(REFUSED).await;
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_peer_broke_is_not_sent_again() {
    let (ended, asked) = call(BROKEN).await;
    let status = ended.unwrap_err();
    assert_eq!(error::reason_of(&status), Some(ErrorReason::ServiceUnavailable), "{status:?}");
    assert_eq!(asked, 1);
}
