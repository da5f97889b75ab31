//! The executor against the provider simulator over real sockets, and against a scripted provider in paused time.

mod course;
mod faults;
mod fleet;
mod race;
mod rescue;
mod scripted;
mod service;
mod world;
