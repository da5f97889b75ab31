//! Configuration: one file for all services, every key checked, secrets by reference.
//!
//! A [`Document`] is the parsed file with the environment laid over it. Each binary reads the [`Shared`] parts and its own
//! section; the sections of other services are accepted by name, and every key that nobody knows is refused with its line.

mod changes;
mod document;
pub mod listen;
mod live;
mod money;
mod places;
mod prices;
mod reload;
mod secret;
mod shared;
mod telemetry;

pub use crate::{
    changes::Change,
    document::{ConfigError, Document, SECTIONS},
    live::{Live, Next, Ready},
    money::Usd,
    places::{cache_dir, data_dir},
    prices::{LongPrice, Price, Prices, UnknownPrice},
    reload::{Reloaded, Reloader, TookOver},
    secret::{Secret, SecretError},
    shared::{
        Budget, BudgetPeriod, Dialect, Guarding, ModelAlias, Only, RateLimit, RatePeriod, Redis, Shared,
        Target, Tenant,
    },
    telemetry::{LogFormat, Otlp, OtlpProtocol, Telemetry},
};
