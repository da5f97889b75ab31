//! The ledger as lines: NDJSON and CSV.

use std::{fmt::Write as _, sync::Arc};

use futures_util::{Stream, stream};
use signalbox_proto::metering::v1 as proto;
use tonic::Status;

use crate::{
    backend::Backend,
    ledger::{AttemptRecord, Page, Row},
    refusal::Refusal,
};

/// Requests that are read at a time.
const PAGE: usize = 1_000;

/// The columns. Those of the attempt are empty for a request that asked no provider.
const COLUMNS: [&str; 42] = [
    "request_id",
    "started_unix_ms",
    "tenant",
    "principal",
    "team",
    "user",
    "feature",
    "tags",
    "requested_model",
    "outcome",
    "cache",
    "saved_nanousd",
    "hit_input_tokens",
    "hit_output_tokens",
    "total_ms",
    "first_output_ms",
    "error_reason",
    "client_request_id",
    "on_allowance",
    "route",
    "attempt",
    "attempt_kind",
    "attempt_outcome",
    "target_id",
    "attempt_started_unix_ms",
    "attempt_duration_ms",
    "attempt_first_output_ms",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "usage_source",
    "cost_nanousd",
    "price_version",
    "http_status",
    "provider_request_id",
    "score",
    "score_kind",
];

/// Columns about the answer's score; they come last.
const SCORE: usize = 2;

/// A value of a column.
enum Cell<'a> {
    Nothing,
    Text(&'a str),
    Name(&'static str),
    Whole(i64),
    Real(f64),
    Yes(bool),
    Json(String),
}

/// What is exported, and how.
pub(crate) struct Export {
    page: Page,
    csv: bool,
    /// Whether the line with the names of the columns is still to come.
    head: bool,
    done: bool,
}

impl Export {
    /// Reads what is asked for.
    pub(crate) fn of(request: &proto::ExportUsageRequest, now: i64) -> Result<Self, Refusal> {
        let to_unix_ms = if request.to_unix_ms == 0 { now.saturating_add(1) } else { request.to_unix_ms };
        if to_unix_ms < request.from_unix_ms {
            return Err(Refusal::invalid("to_unix_ms", "must not be before from_unix_ms"));
        }
        let csv = request.format() == proto::ExportFormat::Csv;
        let page = Page {
            tenant: request.tenant.clone(),
            from_unix_ms: request.from_unix_ms,
            to_unix_ms,
            after: String::new(),
            limit: PAGE,
        };
        Ok(Self { page, csv, head: csv, done: false })
    }

    /// The lines, a page at a time: the next one is read when the one before was taken.
    pub(crate) fn stream(
        self,
        backend: Arc<dyn Backend>,
    ) -> impl Stream<Item = Result<proto::ExportUsageResponse, Status>> + Send {
        stream::unfold(self, move |mut export| {
            let backend = Arc::clone(&backend);
            async move {
                if export.done {
                    return None;
                }
                let lines = export.next(&*backend).await.map_err(Status::from);
                export.done |= lines.is_err();
                Some((lines.map(|lines| proto::ExportUsageResponse { lines: lines.into() }), export))
            }
        })
    }

    async fn next(&mut self, backend: &dyn Backend) -> Result<Vec<u8>, Refusal> {
        let leaf = backend.page(self.page.clone()).await?;
        let mut lines = String::new();
        if std::mem::take(&mut self.head) {
            lines.push_str(&COLUMNS.join(","));
            lines.push_str("\r\n");
        }
        for row in &leaf.rows {
            if self.csv { csv(row, &mut lines) } else { json(row, &mut lines) }
        }
        match leaf.next {
            Some(next) => self.page.after = next,
            None => self.done = true,
        }
        Ok(lines.into_bytes())
    }
}

fn cells(row: &Row) -> Vec<Cell<'_>> {
    let (subject, details) = (&row.subject, &row.details);
    let tags = match subject.tags.is_empty() {
        true => Cell::Nothing,
        false => Cell::Json(serde_json::to_string(&subject.tags).unwrap_or_default()),
    };
    let mut cells = vec![
        Cell::Text(&row.request_id),
        Cell::Whole(details.started_unix_ms),
        Cell::Text(&subject.tenant),
        Cell::Text(&subject.principal),
        known(subject.team.as_deref()),
        known(subject.user.as_deref()),
        known(subject.feature.as_deref()),
        tags,
        Cell::Text(&subject.model),
        Cell::Name(row.outcome.as_str_name().trim_start_matches("REQUEST_OUTCOME_")),
        Cell::Name(details.cache.as_str_name().trim_start_matches("CACHE_STATE_")),
        Cell::Whole(details.saved_nanousd),
        Cell::Whole(details.hit_tokens.0),
        Cell::Whole(details.hit_tokens.1),
        Cell::Whole(details.total_ms),
        details.first_output_ms.map_or(Cell::Nothing, Cell::Whole),
        known(details.error_reason.as_deref()),
        known(details.client_request_id.as_deref()),
        Cell::Yes(details.on_allowance),
        details.route.clone().map_or(Cell::Nothing, Cell::Json),
    ];
    match &row.attempt {
        Some(attempt) => attempt_cells(attempt, &mut cells),
        None => cells.resize_with(COLUMNS.len() - SCORE, || Cell::Nothing),
    }
    cells.extend([
        row.score.as_ref().map_or(Cell::Nothing, |score| Cell::Real(score.value)),
        known(row.score.as_ref().and_then(|score| score.kind.as_deref())),
    ]);
    cells
}

fn known(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Nothing, Cell::Text)
}

fn attempt_cells<'a>(attempt: &'a AttemptRecord, cells: &mut Vec<Cell<'a>>) {
    let tokens = &attempt.tokens;
    cells.extend([
        Cell::Whole(attempt.number.into()),
        Cell::Name(attempt.kind.as_str_name().trim_start_matches("ATTEMPT_KIND_")),
        Cell::Name(attempt.outcome.as_str_name().trim_start_matches("ATTEMPT_OUTCOME_")),
        Cell::Text(&attempt.target_id),
        Cell::Whole(attempt.started_unix_ms),
        Cell::Whole(attempt.duration_ms),
        attempt.first_output_ms.map_or(Cell::Nothing, Cell::Whole),
        Cell::Whole(tokens.input),
        Cell::Whole(tokens.output),
        Cell::Whole(tokens.cached_input),
        Cell::Whole(tokens.cache_write),
        Cell::Whole(tokens.cache_write_1h),
        Cell::Whole(tokens.reasoning),
        Cell::Whole(tokens.audio_input),
        Cell::Whole(tokens.audio_output),
        Cell::Name(attempt.source.as_str_name().trim_start_matches("USAGE_SOURCE_")),
        Cell::Whole(attempt.cost_nanousd),
        Cell::Text(&attempt.price_version),
        attempt.http_status.map_or(Cell::Nothing, |status| Cell::Whole(status.into())),
        attempt.provider_request_id.as_deref().map_or(Cell::Nothing, Cell::Text),
    ]);
}

fn csv(row: &Row, out: &mut String) {
    for (n, cell) in cells(row).iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        match cell {
            Cell::Nothing => {}
            Cell::Whole(number) => drop(write!(out, "{number}")),
            Cell::Real(number) => drop(write!(out, "{number}")),
            Cell::Yes(yes) => out.push_str(if *yes { "true" } else { "false" }),
            Cell::Name(name) => out.push_str(name),
            Cell::Text(text) => quoted(text, out),
            Cell::Json(text) => quoted(text, out),
        }
    }
    out.push_str("\r\n");
}

/// A text as RFC 4180 wants it. One that a spreadsheet would take for a formula gets an apostrophe before it: users and tags
/// are whatever callers sent.
fn quoted(text: &str, out: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !text.contains([',', '"', '\n', '\r']) {
        return out.push_str(text);
    }
    out.push('"');
    if formula {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

fn json(row: &Row, out: &mut String) {
    out.push('{');
    let mut first = true;
    for (column, cell) in COLUMNS.iter().zip(cells(row)) {
        let value = match cell {
            Cell::Nothing => continue,
            Cell::Whole(number) => number.to_string(),
            Cell::Real(number) => number.to_string(),
            Cell::Yes(yes) => yes.to_string(),
            Cell::Json(value) => value,
            Cell::Name(name) => format!("\"{name}\""),
            Cell::Text(text) => serde_json::to_string(text).unwrap_or_default(),
        };
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        let _written = write!(out, "\"{column}\":{value}");
    }
    out.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use signalbox_proto::metering::v1::RequestOutcome;

    use super::*;
    use crate::{ledger::Details, subject::tests::subject};

    fn row() -> Row {
        let mut subject = subject("acme", "k");
        subject.user = Some("=HYPERLINK(\"x\")".to_owned());
        subject.feature = Some("a, b".to_owned());
        subject.tags.insert("env".to_owned(), "p".to_owned());
        let details = Details { started_unix_ms: 7, ..Details::default() };
        Row {
            request_id: "r".to_owned(),
            subject,
            target: None,
            outcome: RequestOutcome::Ok,
            details,
            score: None,
            attempt: None,
        }
    }

    #[test]
    fn a_line_of_csv_has_all_columns_and_is_no_formula() {
        let mut line = String::new();
        csv(&row(), &mut line);
        assert!(
            line.starts_with(
                "r,7,acme,k,,\"'=HYPERLINK(\"\"x\"\")\",\"a, b\",\"{\"\"env\"\":\"\"p\"\"}\",fast,OK,"
            ),
            "{line}"
        );
        assert!(line.ends_with(",,,\r\n"));
        let plain = Row { subject: subject("acme", "k"), ..row() };
        let mut line = String::new();
        csv(&plain, &mut line);
        assert_eq!(line.trim_end().split(',').count(), COLUMNS.len());
    }

    #[test]
    fn a_score_is_a_number_at_the_end_of_the_line() {
        let score = Some(crate::ledger::Score { value: -0.5, kind: Some("thumbs".to_owned()) });
        let row = Row { score, ..row() };
        let (mut line, mut object) = (String::new(), String::new());
        csv(&row, &mut line);
        json(&row, &mut object);
        assert!(line.ends_with(",,-0.5,thumbs\r\n"), "{line}");
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!((&object["score"], &object["score_kind"]), (&(-0.5).into(), &"thumbs".into()));
    }

    #[test]
    fn a_line_of_json_is_an_object_with_what_is_known() {
        let mut line = String::new();
        json(&row(), &mut line);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["tags"]["env"], "p");
        assert_eq!(object["user"], "=HYPERLINK(\"x\")");
        assert!(object.get("target_id").is_none());
    }
}
