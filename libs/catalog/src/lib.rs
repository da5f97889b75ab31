//! Models, capabilities, prices and token counts: facts that router, executor and metering share.
//!
//! A [`Catalog`] is the embedded list of known models with the configuration laid over it. Aliases, `provider/model` and `auto`
//! resolve to [`TargetInfo`]s here, so that all services mean the same.

mod capability;
mod catalog;
mod models;
mod price;
pub mod tokens;

pub use crate::{
    capability::Capability,
    catalog::{Catalog, TargetInfo, TimeLimits},
    price::{Cost, Price, Usage},
};
