//! The provider simulator over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod client;
mod control;
mod faults;
mod recordings;
mod validation;
mod wire;
