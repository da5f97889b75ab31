//! What the channel promises, on both topologies: in process, and over HTTP/2 (on in-memory connections, so that time
//! can stand still).
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod balance;
mod cancel;
mod context;
mod drain;
mod handed;
mod heal;
mod limits;
mod listener;
mod panics;
mod scripted;
mod shed;
mod sizes;
mod spans;
mod tls;
mod world;
