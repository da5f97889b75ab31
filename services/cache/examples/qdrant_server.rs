//! The tests' Qdrant server as a process, for a mesh that is composed where no real one can be had: Qdrant's gRPC over Qdrant's own
//! engine. Nothing outlives it.
//!
//! `cargo run -p signalbox-cache --features qdrant-edge --example qdrant_server -- 127.0.0.1:6334`

#[expect(dead_code, reason = "the tests use all of it")]
#[expect(clippy::unwrap_used, clippy::panic, reason = "written for tests, which fail by panicking")]
#[path = "../src/tests/qdrant_server/mod.rs"]
mod qdrant_server;

use qdrant_server::QdrantServer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6334".to_owned());
    let server = QdrantServer::at(&address).await;
    #[expect(clippy::print_stdout, reason = "who started it reads this")]
    {
        println!("listening on {}", server.url);
    }
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    ended.recv().await;
    Ok(())
}
