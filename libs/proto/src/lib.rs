//! Generated gRPC types of all Signalbox services.
//!
//! The contract is in `proto/signalbox/<part>/v1/<part>.proto`; its comments are the documentation of these types.
//! The types stay at the edge: services turn them into their own where illegal values must be impossible.

pub mod codec;
pub mod paths;
pub mod slice;
mod usage;

/// What a record's JSON leaves out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1 of the contract.
            pub mod v1 {
                #![allow(
                    missing_docs,
                    unused_qualifications,
                    unreachable_pub,
                    clippy::all,
                    clippy::allow_attributes,
                    clippy::allow_attributes_without_reason,
                    clippy::cast_possible_truncation,
                    clippy::needless_pass_by_value,
                    clippy::semicolon_if_nothing_returned,
                    rustdoc::all,
                    reason = "generated code"
                )]
                include!(concat!(env!("OUT_DIR"), "/signalbox.", stringify!($name), ".v1.rs"));
            }
        }
    };
}

part!(
    /// Requests, events, policies and error reasons that all parts share.
    common
);
part!(
    /// The public door.
    gateway
);
part!(
    /// Checks of prompts and answers.
    guard
);
part!(
    /// Answers seen before.
    cache
);
part!(
    /// Plans of targets.
    router
);
part!(
    /// Answers from providers.
    executor
);
part!(
    /// Keys, budgets and the ledger.
    metering
);

/// The encoded `FileDescriptorSet` of all contracts, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
