//! What tests and demonstrations of the mesh stand on: real sockets, real bytes, faults on demand.
//!
//! [`provider`] is a model provider that speaks the OpenAI wire format and misbehaves when told to. It shares
//! no codec with the product: a fault in one of the two shows up as a disagreement between them.

pub mod consul;
mod program;
pub mod provider;
pub mod redis;

pub use program::{free_port, free_ports};
