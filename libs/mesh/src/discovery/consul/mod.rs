//! Consul: the agent's HTTP interface (<https://developer.hashicorp.com/consul/api-docs>), as little of it as is needed.

mod agent;
mod registration;
mod watch;

pub(super) use self::agent::{Agent, address};
pub use self::registration::{AdvertiseError, Advertised, Registration};
pub(super) use self::watch::watch;
