//! The service as the gateway sees it, over a local channel.

mod beside;
mod bounds;
mod contract;
mod fills;
mod flights;
mod hostile;
mod lookups;
mod meaning;
mod pace;
mod qdrant_server;
mod quality;
mod removal;
mod sealed;
mod separation;
mod tls;
mod vector_stores;
mod world;
