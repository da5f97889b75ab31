//! Models, capabilities, prices and token counts: facts that router, executor and metering share.
//!
//! A [`Catalog`] is the price book of known models with the configuration laid over it. Aliases, `provider/model` and `auto`
//! resolve to [`TargetInfo`]s here, so that all services mean the same.

mod book;
mod capability;
mod catalog;
mod name;
mod price;
pub mod tokens;

pub use crate::{
    book::{Book, BookError, Known, Tariff},
    capability::Capability,
    catalog::{Catalog, TargetInfo, TimeLimits},
    price::{Cost, Price, Rates, Usage},
};
