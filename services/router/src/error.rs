//! Why there is no plan.

use signalbox_mesh::error;
use signalbox_proto::{common::v1::ErrorReason, router::v1::Rejected};
use tonic::{Code, Status};

/// Why a router cannot be built, or a plan not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `[router]` section is illegal; the text names the key.
    #[error("{0}")]
    Config(String),
    /// Nothing of that name is configured.
    #[error(
        "the model `{model}` is not configured; known: {known}, `provider/model` of a configured target, or `auto`"
    )]
    Unknown {
        /// What was asked for.
        model: String,
        /// Some names.
        known: String,
    },
    /// The policy does not exist.
    #[error(
        "the route policy `{0}` does not exist; configure it under [router.policies], or use one of {built_in}",
        built_in = crate::config::built_in_names()
    )]
    NoPolicy(String),
    /// No window is large enough.
    #[error(
        "the prompt of {tokens} tokens does not fit any candidate of `{model}`; shorten it or lower the output limit"
    )]
    TooLong {
        /// What was asked for.
        model: String,
        /// Input tokens.
        tokens: u64,
        /// The reasons.
        rejected: Vec<Rejected>,
    },
    /// The principal may use none of the targets.
    #[error("this key may not use `{0}`; ask for another model, or have its allowed models changed")]
    NotAllowed(String),
    /// Every candidate was filtered out.
    #[error("no candidate of `{model}` is left: {}", reasons(.rejected))]
    NoneLeft {
        /// What was asked for.
        model: String,
        /// The reasons.
        rejected: Vec<Rejected>,
    },
}

fn reasons(rejected: &[Rejected]) -> String {
    let each: Vec<String> =
        rejected.iter().take(8).map(|r| format!("{} ({})", r.target_id, r.detail)).collect();
    each.join("; ")
}

impl Error {
    /// No candidate is left: the most telling error for why.
    pub(crate) fn none_left(model: &str, tokens: u64, rejected: Vec<Rejected>) -> Self {
        let all = |reason: &str| !rejected.is_empty() && rejected.iter().all(|r| r.reason == reason);
        let model = model.to_owned();
        if all("context_window") {
            Self::TooLong { model, tokens, rejected }
        } else if all("not_allowed") {
            Self::NotAllowed(model)
        } else {
            Self::NoneLeft { model, rejected }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (code, reason) = match &error {
            Error::Config(_) | Error::NoPolicy(_) => (Code::FailedPrecondition, ErrorReason::PolicyInvalid),
            Error::Unknown { .. } => (Code::NotFound, ErrorReason::ModelUnknown),
            Error::TooLong { .. } => (Code::InvalidArgument, ErrorReason::ContextTooLong),
            Error::NotAllowed(_) => (Code::PermissionDenied, ErrorReason::NotAllowed),
            Error::NoneLeft { .. } => (Code::FailedPrecondition, ErrorReason::NoCandidate),
        };
        let mut status = error::status(code, reason, message);
        match error {
            Error::Unknown { model, known } => {
                status = status.with_metadata("model", model).with_metadata("known", known);
            }
            Error::NotAllowed(model) => status = status.with_metadata("model", model),
            Error::TooLong { rejected, .. } | Error::NoneLeft { rejected, .. } => {
                for one in rejected.into_iter().take(8) {
                    status = status.with_metadata(one.target_id, one.reason);
                }
            }
            Error::Config(_) | Error::NoPolicy(_) => {}
        }
        status.into()
    }
}
