//! What the channel promises, on both topologies: in process, and over HTTP/2 (on in-memory connections, so that time
//! can stand still).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say what they leave out"
)]

mod balance;
mod cancel;
mod consul;
mod context;
mod dns;
mod drain;
mod handed;
mod heal;
mod limits;
mod listener;
mod name_server;
mod panics;
mod replicas;
mod scripted;
mod shed;
mod sizes;
mod spans;
mod tls;
mod unprocessed;
mod world;
