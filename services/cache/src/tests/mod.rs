//! The service as the gateway sees it, over a local channel.

mod bounds;
mod contract;
mod fills;
mod flights;
mod hostile;
mod lookups;
mod meaning;
mod qdrant_server;
mod quality;
mod removal;
mod separation;
mod vector_stores;
mod world;
