//! The prompt's check by the guard, before anything else sees it.

use bytes::Bytes;
use signalbox_mesh::error;
use signalbox_proto::{
    common::v1::{BlockedBy, ChatRequest, ErrorReason, Notice, notice},
    guard::v1::{Action, InspectRequest, InspectResponse, JudgeAnswer, JudgeQuestion, Verdict},
    metering::v1::Principal,
};
use tonic::{Code, Status};

use crate::{
    Mesh,
    parts::{self, is_away},
    pipeline::{Call, Log},
    trail::Step,
};

/// A prompt that may go on.
pub(crate) struct Inspected {
    /// The prompt: redacted where the guard said so.
    pub(crate) chat: ChatRequest,
    /// The guard's sealed map, for the way back.
    pub(crate) seal: Bytes,
    /// Part of the cache's key.
    pub(crate) policy_digest: Bytes,
    /// For seeing a leak of the system prompt.
    pub(crate) system_digest: Bytes,
    /// Values replaced.
    pub(crate) redacted: u32,
    /// Detectors that flagged without acting, each with a count.
    flagged: Vec<(String, u32)>,
    /// The guard is away and the tenant's policy lets requests pass: the answer is not screened either.
    pub(crate) unguarded: bool,
    /// What a judge model is to be asked before the prompt may go on.
    pub(crate) question: Option<Box<JudgeQuestion>>,
}

impl Inspected {
    /// Notes what the caller should know.
    pub(crate) fn tell(&self, log: &mut Log) {
        if self.unguarded {
            log.degraded("guard", "the guard is away; the request is not checked");
        }
        let notice = |kind: notice::Kind, message: String, count, what: &str| Notice {
            kind: kind.into(),
            part: "guard".into(),
            message,
            count,
            r#type: what.into(),
        };
        if self.redacted > 0 {
            let message = format!(
                "{} value(s) replaced by placeholders before the model saw the prompt",
                self.redacted
            );
            log.notices.push(notice(notice::Kind::Redacted, message, self.redacted, ""));
        }
        for (detector, count) in &self.flagged {
            let message = format!("{detector} was found; the policy lets it pass");
            log.notices.push(notice(notice::Kind::Flagged, message, *count, detector));
        }
    }
}

/// Checks a prompt.
///
/// # Errors
/// `PROMPT_BLOCKED`; `SERVICE_UNAVAILABLE` when the guard is away and the tenant's policy is closed; the guard's own errors.
pub(crate) async fn inspect(
    mesh: &Mesh,
    call: &Call,
    principal: &Principal,
) -> Result<Box<Inspected>, Status> {
    inspect_with(mesh, call, principal, None).await
}

/// The same with a judge's answer to an earlier question.
///
/// # Errors
/// As [`inspect`].
pub(crate) async fn inspect_with(
    mesh: &Mesh,
    call: &Call,
    principal: &Principal,
    judge_answer: Option<JudgeAnswer>,
) -> Result<Box<Inspected>, Status> {
    let chat = call.request.chat.clone().unwrap_or_default();
    let context = call.context.clone().with_principal(&principal.tenant, &principal.id);
    let request = call.trail.within(Step::Inspect, &context).request(InspectRequest {
        chat: Some(chat.clone()),
        policy: principal.guard_policy.clone(),
        wishes: call.request.policies.as_ref().and_then(|p| p.guard.clone()),
        conversation_id: call.request.attribution.as_ref().and_then(|a| a.conversation_id.clone()),
        judge_answer,
    });
    let limit_ms = mesh.config.load().steps.inspect_ms;
    let inspected = parts::step("guard", limit_ms, mesh.parts.inspect(request)).await;
    call.trail.ends(Step::Inspect);
    match inspected {
        Ok(answer) if answer.verdict() == Verdict::Block => Err(blocked(answer.blocked_by)),
        Ok(answer) => Ok(passed(chat, answer)),
        Err(status) if principal.guard_fail_open && is_away(&status) => Ok(Box::new(Inspected {
            chat,
            seal: Bytes::new(),
            policy_digest: Bytes::new(),
            system_digest: Bytes::new(),
            redacted: 0,
            flagged: Vec::new(),
            unguarded: true,
            question: None,
        })),
        Err(status) => Err(status),
    }
}

fn passed(chat: ChatRequest, answer: InspectResponse) -> Box<Inspected> {
    let redacted = answer.findings.iter().filter(|f| f.action() == Action::Redact).count();
    let mut flagged: Vec<(String, u32)> = Vec::new();
    for finding in answer.findings.iter().filter(|f| f.action() == Action::Flag) {
        match flagged.iter_mut().find(|(detector, _)| *detector == finding.detector) {
            Some((_, count)) => *count += 1,
            None => flagged.push((finding.detector.clone(), 1)),
        }
    }
    Box::new(Inspected {
        chat: answer.redacted.unwrap_or(chat),
        seal: answer.seal,
        policy_digest: answer.policy_digest,
        system_digest: answer.system_digest,
        redacted: u32::try_from(redacted).unwrap_or(u32::MAX).saturating_add(answer.findings_dropped),
        flagged,
        unguarded: false,
        question: answer.judge_needed,
    })
}

fn blocked(by: Option<BlockedBy>) -> Status {
    let BlockedBy { policy, detector } = by.unwrap_or_default();
    let message = format!(
        "the prompt was blocked by the guard policy `{policy}` ({detector}); change the prompt, or report a false alarm with the request id"
    );
    error::status(Code::PermissionDenied, ErrorReason::PromptBlocked, message)
        .with_metadata("policy", policy)
        .with_metadata("detector", detector)
        .into()
}
