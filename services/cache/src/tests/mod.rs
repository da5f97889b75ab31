//! The service as the gateway sees it, over a local channel.

mod bounds;
mod fills;
mod flights;
mod hostile;
mod lookups;
mod meaning;
mod quality;
mod removal;
mod separation;
mod world;
