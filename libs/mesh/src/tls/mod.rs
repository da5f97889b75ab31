//! TLS: between services with certificates on both sides, and at the door for clients.
//!
//! A process shows one certificate, as a server and as a client. It is believed for what it names: a SPIFFE id
//! (`spiffe://<trust domain>/<service>`), or DNS names and addresses where it has no such id. Files are read again when they change;
//! what is open goes on, what is new gets the new certificate.

mod acceptor;
mod config;
mod connector;
mod credentials;
mod error;
mod itself;
mod names;

pub use self::{
    acceptor::Acceptor,
    config::{ClientCertificates, DoorTls, MeshTls},
    connector::public,
    credentials::{Credentials, Outlook},
    error::TlsError,
};
pub(crate) use self::{acceptor::Stranger, connector::trusting, credentials::HTTP1};
