//! Who is at the door: what a request's metadata says, before anybody vouches for it.

use std::{sync::Arc, time::Duration};

use signalbox_mesh::{RequestContext, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    gateway::v1::GenerateRequest,
    metering::v1::{AdmitRequest, Principal},
};
use tokio::time::Instant;
use tonic::{Code, Request, Status, metadata::MetadataMap};

use crate::{Mesh, parts, pipeline::Call, trail::Trail};

/// A caller that nobody has identified yet.
pub(crate) struct Caller {
    pub(crate) context: RequestContext,
    pub(crate) credential: String,
    pub(crate) peer_ip: String,
    pub(crate) arrived: Instant,
    pub(crate) started_unix_ms: i64,
}

impl Caller {
    /// Reads a request's metadata, and mints its id.
    ///
    /// # Errors
    /// `CREDENTIAL_INVALID` for an authorization header that is no bearer credential.
    pub(crate) fn of<T>(request: &Request<T>, mesh: &Mesh) -> Result<Self, Status> {
        let arrived = Instant::now();
        let mut context = RequestContext::from_request(request);
        context.set_request_id(mesh.new_request_id());
        Ok(Self {
            context,
            credential: credential(request.metadata())?,
            peer_ip: request.remote_addr().map(|a| a.ip().to_string()).unwrap_or_default(),
            arrived,
            started_unix_ms: mesh.clock.unix_ms(),
        })
    }

    /// A request of this caller.
    pub(crate) fn call(&self, request: GenerateRequest, mesh: &Mesh) -> Arc<Call> {
        let longest = mesh.config.load().deadline_ms;
        let asked = request.policies.as_ref().and_then(|p| p.limits.as_ref()).and_then(|l| l.total_ms);
        let own = self.arrived + Duration::from_millis(asked.map_or(longest, |asked| asked.min(longest)));
        let deadline = self.context.deadline().map_or(own, |client| client.min(own));
        let mut context = self.context.clone();
        context.set_deadline(deadline);
        let trail = Trail::begin(&mut context, &mesh.random, self.arrived);
        Arc::new(Call {
            context,
            trail,
            credential: self.credential.clone(),
            peer_ip: self.peer_ip.clone(),
            request,
            arrived: self.arrived,
            started_unix_ms: self.started_unix_ms,
            deadline,
            beside: None,
        })
    }

    /// Identifies the caller without reserving anything.
    ///
    /// # Errors
    /// Metering's refusal; `SERVICE_UNAVAILABLE` when it is away: administration and questions wait for it.
    pub(crate) async fn identify(&self, mesh: &Mesh, require_admin: bool) -> Result<Principal, Status> {
        let request = self.context.request(AdmitRequest {
            credential: self.credential.clone(),
            request_id: self.context.request_id().to_owned(),
            gateway_id: mesh.replica.to_string(),
            peer_ip: self.peer_ip.clone(),
            loopback: mesh.loopback,
            identify_only: true,
            require_admin,
            ..AdmitRequest::default()
        });
        let limit_ms = mesh.config.load().steps.admit_ms;
        let answer = parts::step("metering", limit_ms, mesh.parts.admit(request)).await?;
        answer.principal.ok_or_else(|| parts::away("metering", "metering answered without a principal"))
    }
}

/// The bearer credential of a request; empty when there is none.
///
/// # Errors
/// `CREDENTIAL_INVALID` when the header is not of that form.
pub(crate) fn credential(metadata: &MetadataMap) -> Result<String, Status> {
    let Some(value) = metadata.get("authorization") else { return Ok(String::new()) };
    let bearer = value.to_str().ok().and_then(|value| {
        let (scheme, credential) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim().to_owned())
    });
    bearer.ok_or_else(|| {
        let message = "the authorization header is not `Bearer sb_<id>_<secret>`";
        error::status(Code::Unauthenticated, ErrorReason::CredentialInvalid, message).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bearer_credentials_and_refuses_other_schemes() {
        let with = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("authorization", value.parse().unwrap());
            credential(&metadata)
        };
        assert_eq!(with("Bearer sb_a_b").unwrap(), "sb_a_b");
        assert_eq!(with("bearer  sb_a_b ").unwrap(), "sb_a_b");
        assert_eq!(credential(&MetadataMap::new()).unwrap(), "");
        let refused = with("Basic c2VjcmV0").unwrap_err();
        assert_eq!(error::reason_of(&refused), Some(ErrorReason::CredentialInvalid));
        assert!(!refused.message().contains("c2VjcmV0"));
    }
}
