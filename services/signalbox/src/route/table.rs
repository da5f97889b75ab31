//! A plan for people and for programs.

use serde_json::{Value, json};
use signalbox_proto::router::v1::{Candidate, PlanResponse, Rejected};

use crate::{cost::dollars, print};

/// A plan as a table: candidates in order, copies, and what was left out.
pub(super) fn table(plan: &PlanResponse) -> String {
    let head = ["#", "target", "score", "cost", "first output", "suffices", "why"];
    let right = [true, false, true, true, true, true, false];
    let dash = || "-".to_owned();
    let row = |place: String, candidate: &Candidate| {
        vec![
            place,
            candidate.target_id.clone(),
            score(candidate.score),
            candidate.predicted_cost_nanousd.map_or_else(dash, dollars),
            candidate.predicted_first_output_ms.map_or_else(dash, |ms| format!("{ms} ms")),
            candidate.predicted_quality.map_or_else(dash, |share| format!("{:.0}%", share * 100.0)),
            candidate.reason.clone(),
        ]
    };
    let candidates = plan.candidates.iter().enumerate().map(|(at, one)| row((at + 1).to_string(), one));
    let shadows = plan.shadows.iter().map(|one| {
        let mut row = row("copy".into(), one);
        row[2] = dash();
        row
    });
    let rejected = plan.rejected.iter().map(|Rejected { target_id, reason, detail }| {
        let why = format!("left out ({reason}): {detail}");
        vec!["x".into(), target_id.clone(), dash(), dash(), dash(), dash(), why]
    });
    print::table(&head, &right, &candidates.chain(shadows).chain(rejected).collect::<Vec<_>>())
}

/// What decided, in a line.
pub(super) fn decided(plan: &PlanResponse, model: &str, input_tokens: u64) -> String {
    let arm = plan.experiment_arm.as_ref().map(|arm| format!(" · experiment {arm}")).unwrap_or_default();
    format!("{model} · policy {} · {input_tokens} input tokens{arm}", plan.policy)
}

/// A plan as an object.
pub(super) fn object(plan: &PlanResponse, model: &str, input_tokens: u64) -> Value {
    json!({
        "model": model, "policy": plan.policy, "reason": plan.reason, "input_tokens": input_tokens,
        "experiment_arm": plan.experiment_arm,
        "candidates": plan.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "shadows": plan.shadows.iter().map(candidate).collect::<Vec<_>>(),
        "rejected": plan.rejected.iter().map(|one| {
            json!({ "target": one.target_id, "reason": one.reason, "detail": one.detail })
        }).collect::<Vec<_>>(),
    })
}

fn candidate(one: &Candidate) -> Value {
    json!({
        "target": one.target_id, "score": one.score, "predicted_cost_nanousd": one.predicted_cost_nanousd,
        "predicted_first_output_ms": one.predicted_first_output_ms, "predicted_quality": one.predicted_quality,
        "context_window_tokens": one.context_window_tokens, "reason": one.reason,
    })
}

/// A score in as few digits as tell it apart; what comes last whatever else is has none.
fn score(score: f64) -> String {
    match score {
        s if s < -1e17 => "last".to_owned(),
        s if s == s.trunc() && s.abs() < 1e6 => format!("{s:.0}"),
        s if s.abs() >= 0.01 && s.abs() < 1e6 => format!("{s:.3}"),
        s => format!("{s:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_order_copies_and_what_was_left_out() {
        let one = |target: &str, score, cost| Candidate {
            target_id: target.into(),
            score,
            predicted_cost_nanousd: cost,
            reason: "because".into(),
            ..Candidate::default()
        };
        let plan = PlanResponse {
            candidates: vec![one("p/a", -0.000_123, Some(123_000)), one("p/b", -1e18, None)],
            shadows: vec![one("p/c", 0.0, Some(1_000))],
            rejected: vec![Rejected {
                target_id: "p/d".into(),
                reason: "denied".into(),
                detail: "no".into(),
            }],
            policy: "frugal".into(),
            ..PlanResponse::default()
        };
        let table = table(&plan);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1", "p/a", "-1.23e-4", "$0.000123", "-", "-", "because"]);
        assert_eq!(lines[2][..3], ["2", "p/b", "last"]);
        assert_eq!(lines[3][..4], ["copy", "p/c", "-", "$0.000001"]);
        assert_eq!(lines[4][..2], ["x", "p/d"]);
        assert!(table.contains("left out (denied): no"));
        let object = object(&plan, "fast", 9);
        assert_eq!(
            (&object["candidates"][0]["target"], &object["rejected"][0]["reason"]),
            (&json!("p/a"), &json!("denied"))
        );
    }
}
