//! Comparing the ledger with a provider's usage export.
//!
//! Read are what OpenAI and Anthropic hand out: the JSON of their usage interfaces (`/v1/organization/usage/completions`,
//! `/v1/organizations/usage_report/messages`) and the CSV of their consoles. Columns are found by their names, of which each
//! has several; lines without a day, a model or tokens are counted and left out. Both sides are summed by day (UTC) and model.

use std::collections::BTreeMap;

use serde_json::Value;

const DAY_MS: i64 = 86_400_000;

/// Day (Unix milliseconds of its start in UTC) and model.
pub type Place = (i64, String);

/// Tokens of a day and model. Input is all of it: read from and written to caches too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests; 0 where a provider does not say.
    pub requests: i64,
    /// Input tokens.
    pub input: i64,
    /// Output tokens.
    pub output: i64,
}

/// A provider's export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// The sums.
    pub sums: BTreeMap<Place, Sum>,
    /// Lines that say nothing of tokens.
    pub left_out: usize,
}

/// A day and model on which both sides do not agree, or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// When, and which model.
    pub place: Place,
    /// The ledger's sum.
    pub ours: Sum,
    /// The provider's.
    pub theirs: Sum,
}

impl Drift {
    /// What the provider counts more than the ledger, in tokens; negative: less.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.theirs.input + self.theirs.output - self.ours.input - self.ours.output
    }
}

/// What is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Neither form is recognised.
    #[error("it is neither the JSON of a usage interface nor a CSV with a line of column names")]
    Form,
    /// A column is missing.
    #[error("no column tells the {0}; export usage by model, with tokens")]
    Column(&'static str),
    /// Nothing was found.
    #[error("it holds no line with a day, a model and tokens")]
    Empty,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
    }
}

impl Statement {
    /// Reads an export.
    ///
    /// # Errors
    /// It is of another form, or holds nothing.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim_start_matches('\u{feff}');
        let statement = match text.trim_start().chars().next() {
            Some('{' | '[') => from_json(text)?,
            Some(_) => from_csv(text)?,
            None => return Err(Unreadable::Form),
        };
        if statement.sums.is_empty() { Err(Unreadable::Empty) } else { Ok(statement) }
    }

    fn add(&mut self, day: Option<i64>, model: Option<&str>, sum: Option<Sum>) {
        match (day, model, sum) {
            (Some(day), Some(model), Some(sum)) if !model.is_empty() => {
                self.sums.entry((day, model.to_owned())).or_default().add(sum);
            }
            _ => self.left_out += 1,
        }
    }
}

/// Adds a line of the ledger's own export (NDJSON) to its sums: where a provider is given, only what that one was asked for. What no
/// provider was asked for is left out.
pub fn add_line(sums: &mut BTreeMap<Place, Sum>, line: &str, provider: Option<&str>) {
    let Ok(row) = serde_json::from_str::<Value>(line) else { return };
    let (Some(target), Some(at)) = (row["target_id"].as_str(), row["attempt_started_unix_ms"].as_i64())
    else {
        return;
    };
    let at = if at > 0 { at } else { row["started_unix_ms"].as_i64().unwrap_or(0) };
    let (asked, model) = target.split_once('/').unwrap_or(("", target));
    if provider.is_some_and(|provider| provider != asked) {
        return;
    }
    let tokens = |name: &str| row[name].as_i64().unwrap_or(0);
    let sum = Sum { requests: 1, input: tokens("input_tokens"), output: tokens("output_tokens") };
    sums.entry((at.div_euclid(DAY_MS) * DAY_MS, model.to_owned())).or_default().add(sum);
}

/// Compares both sides, day by day, on the days that the statement covers. A provider names dated versions of a model
/// (`gpt-4.1-2025-04-14`) where the ledger has its alias (`gpt-4.1`): they are taken for the same.
#[must_use]
pub fn compare(ours: &BTreeMap<Place, Sum>, theirs: &Statement) -> Vec<Drift> {
    let days: Vec<i64> = theirs.sums.keys().map(|(day, _)| *day).collect();
    let mut found = BTreeMap::<Place, (Sum, Sum)>::new();
    for ((day, model), sum) in &theirs.sums {
        let known = |name: &str| ours.contains_key(&(*day, name.to_owned()));
        let name = if known(model) { model.as_str() } else { undated(model) };
        found.entry((*day, name.to_owned())).or_default().1.add(*sum);
    }
    for ((day, model), sum) in ours.iter().filter(|((day, _), _)| days.contains(day)) {
        let same = found.contains_key(&(*day, model.clone()));
        let name = if same { model.as_str() } else { undated(model) };
        found.entry((*day, name.to_owned())).or_default().0.add(*sum);
    }
    found.into_iter().map(|(place, (ours, theirs))| Drift { place, ours, theirs }).collect()
}

/// A model's name without the date at its end: `-20250514`, `-2025-04-14`.
fn undated(model: &str) -> &str {
    for form in ["-dddd-dd-dd", "-dddddddd"] {
        let fits = |end: &str| {
            end.bytes()
                .zip(form.bytes())
                .all(|(b, wanted)| if wanted == b'd' { b.is_ascii_digit() } else { b == wanted })
        };
        if let Some((name, end)) = model.split_at_checked(model.len().saturating_sub(form.len()))
            && !name.is_empty()
            && fits(end)
        {
            return name;
        }
    }
    model
}

/// The start of the day of a time: Unix seconds, a date, or a date with a time.
fn day(text: &str) -> Option<i64> {
    let ms = match text.trim().parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "bounded before")]
        Ok(seconds) if (0.0..1e11).contains(&seconds) => (seconds as i64) * 1_000,
        Ok(_) => return None,
        Err(_) => {
            let date: jiff::civil::Date = text.trim().get(..10)?.parse().ok()?;
            date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()
        }
    };
    Some(ms.div_euclid(DAY_MS) * DAY_MS)
}

fn from_json(text: &str) -> Result<Statement, Unreadable> {
    let value: Value = serde_json::from_str(text).map_err(|_| Unreadable::Form)?;
    let buckets = value.get("data").unwrap_or(&value).as_array().ok_or(Unreadable::Form)?;
    let mut statement = Statement::default();
    for bucket in buckets {
        let begins = ["start_time", "starting_at"].iter().find_map(|name| bucket.get(*name));
        let begins =
            begins.and_then(|at| day(at.as_str().map_or_else(|| at.to_string(), str::to_owned).as_str()));
        let results = ["results", "result"].iter().find_map(|name| bucket.get(*name)?.as_array());
        for result in results.into_iter().flatten() {
            statement.add(begins, result["model"].as_str(), tokens(result));
        }
    }
    Ok(statement)
}

/// The tokens of one result. OpenAI's input contains what its cache held; Anthropic's parts stand side by side.
fn tokens(result: &Value) -> Option<Sum> {
    let of = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|_| 0)).unwrap_or(0);
    let output = result.get("output_tokens").map(of)?;
    let requests = result.get("num_model_requests").map_or(0, of);
    let input = match result.get("uncached_input_tokens") {
        Some(uncached) => {
            let written = result["cache_creation"].as_object();
            let written: i64 = written.into_iter().flatten().map(|(_, count)| of(count)).sum();
            let read = result.get("cache_read_input_tokens").map_or(0, of);
            of(uncached).saturating_add(written).saturating_add(read)
        }
        None => result.get("input_tokens").map(of)?,
    };
    Some(Sum { requests, input, output })
}

const DAYS: [&str; 6] = ["start_time", "start_time_iso", "usage_date_utc", "date", "starting_at", "day"];
const MODELS: [&str; 3] = ["model", "model_version", "model_name"];
const REQUESTS: [&str; 3] = ["num_model_requests", "requests", "num_requests"];
/// All of the input in one.
const INPUT: [&str; 2] = ["input_tokens", "n_context_tokens_total"];
/// Parts of the input.
const INPUTS: [&str; 6] = [
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read",
    "uncached_input_tokens",
    "cache_read_input_tokens",
];
const OUTPUT: [&str; 3] = ["output_tokens", "usage_output_tokens", "n_generated_tokens_total"];

fn from_csv(text: &str) -> Result<Statement, Unreadable> {
    let mut lines = records(text).into_iter();
    let head: Vec<String> =
        lines.next().ok_or(Unreadable::Form)?.iter().map(|name| name.trim().to_lowercase()).collect();
    if head.len() < 2 {
        return Err(Unreadable::Form);
    }
    let at = |names: &[&str]| names.iter().find_map(|name| head.iter().position(|column| column == name));
    let all = |names: &[&str]| {
        names.iter().filter_map(|name| head.iter().position(|column| column == name)).collect()
    };
    let when = at(&DAYS).ok_or(Unreadable::Column("day"))?;
    let model = at(&MODELS).ok_or(Unreadable::Column("model"))?;
    let output = at(&OUTPUT).ok_or(Unreadable::Column("output tokens"))?;
    let parts: Vec<usize> = all(&INPUTS);
    let inputs =
        if parts.is_empty() { vec![at(&INPUT).ok_or(Unreadable::Column("input tokens"))?] } else { parts };
    let requests = at(&REQUESTS);
    let mut statement = Statement::default();
    for line in lines {
        let number = |at: usize| line.get(at).and_then(|text| text.trim().parse::<i64>().ok());
        let input = inputs.iter().filter_map(|at| number(*at)).reduce(i64::saturating_add);
        let sum = input.zip(number(output)).map(|(input, output)| Sum {
            requests: requests.and_then(number).unwrap_or(0),
            input,
            output,
        });
        statement.add(
            line.get(when).and_then(|text| day(text)),
            line.get(model).map(|text| text.trim()),
            sum,
        );
    }
    Ok(statement)
}

/// The records of a CSV (RFC 4180), empty lines left out.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            other => field.push(other),
        }
    }
    record.push(field);
    records.push(record);
    records.retain(|record| record.len() > 1 || record.first().is_some_and(|field| !field.trim().is_empty()));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 20_300 * DAY_MS;

    fn sum(requests: i64, input: i64, output: i64) -> Sum {
        Sum { requests, input, output }
    }

    fn only(statement: &Statement) -> (&str, Sum) {
        assert_eq!(statement.sums.len(), 1, "{statement:?}");
        let ((day, model), sum) = statement.sums.first_key_value().unwrap();
        assert_eq!(*day, DAY);
        (model, *sum)
    }

    #[test]
    fn both_providers_json_is_read() {
        let openai = format!(
            r#"{{"object":"page","data":[{{"object":"bucket","start_time":{},"end_time":0,"results":[
            {{"model":"gpt-4.1-2025-04-14","input_tokens":100,"output_tokens":20,"input_cached_tokens":40,"num_model_requests":3}},
            {{"model":null,"input_tokens":1,"output_tokens":1}}]}}]}}"#,
            DAY / 1_000 + 7
        );
        let read = Statement::read(&openai).unwrap();
        assert_eq!((only(&read), read.left_out), (("gpt-4.1-2025-04-14", sum(3, 100, 20)), 1));
        let anthropic = r#"{"data":[{"starting_at":"2025-07-31T00:00:00Z","ending_at":"2025-08-01T00:00:00Z","results":[
            {"uncached_input_tokens":10,"cache_creation":{"ephemeral_1h_input_tokens":5,"ephemeral_5m_input_tokens":6},
             "cache_read_input_tokens":7,"output_tokens":8,"model":"claude-sonnet-4-20250514"}]}],"has_more":false}"#;
        assert_eq!(only(&Statement::read(anthropic).unwrap()), ("claude-sonnet-4-20250514", sum(0, 28, 8)));
    }

    #[test]
    fn both_providers_csv_is_read() {
        let openai = format!(
            "\u{feff}start_time,model,num_model_requests,input_tokens,output_tokens\r\n{},\"gpt-4.1\",2,10,3\r\n{},gpt-4.1,1,5,1\r\n,,,,\r\n",
            DAY / 1_000,
            DAY / 1_000 + 3_600
        );
        let read = Statement::read(&openai).unwrap();
        assert_eq!((only(&read), read.left_out), (("gpt-4.1", sum(3, 15, 4)), 1));
        let anthropic = "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_read,usage_output_tokens\n\
                         2025-07-31,claude-x,\"a, b\",10,1,2,4\n";
        assert_eq!(only(&Statement::read(anthropic).unwrap()), ("claude-x", sum(0, 13, 4)));
    }

    #[test]
    fn what_is_no_export_is_told_so() {
        assert_eq!(Statement::read(""), Err(Unreadable::Form));
        assert_eq!(Statement::read("{}"), Err(Unreadable::Form));
        assert_eq!(Statement::read("hello"), Err(Unreadable::Form));
        assert_eq!(Statement::read("date,cost\n2025-07-31,1\n"), Err(Unreadable::Column("model")));
        assert_eq!(Statement::read("date,model,output_tokens,input_tokens\n"), Err(Unreadable::Empty));
    }

    #[test]
    fn drift_is_shown_day_by_day_and_dated_names_are_the_same_model() {
        let mut ours = BTreeMap::new();
        let line = |target: &str, at: i64, input: i64| {
            format!(
                r#"{{"request_id":"r","started_unix_ms":{at},"target_id":"{target}","attempt_started_unix_ms":{at},"input_tokens":{input},"output_tokens":1}}"#
            )
        };
        add_line(&mut ours, &line("openai/gpt-4.1", DAY + 5, 10), None);
        add_line(&mut ours, &line("openai/gpt-4.1", DAY + 6, 10), None);
        add_line(&mut ours, &line("openai/gpt-4.1", DAY + DAY_MS, 10), None);
        add_line(&mut ours, &line("openai/o3", DAY, 4), None);
        add_line(&mut ours, r#"{"request_id":"hit","started_unix_ms":1}"#, None);
        add_line(&mut ours, &line("other/gpt-4.1", DAY, 99), Some("openai"));
        let text =
            format!("start_time,model,input_tokens,output_tokens\n{},gpt-4.1-2025-04-14,25,2\n", DAY / 1_000);
        let drift = compare(&ours, &Statement::read(&text).unwrap());
        let found: Vec<_> =
            drift.iter().map(|d| (d.place.1.as_str(), d.ours.input, d.theirs.input, d.tokens())).collect();
        assert_eq!(
            found,
            [("gpt-4.1", 20, 25, 5), ("o3", 4, 0, -5)],
            "the day after is not on the statement"
        );
        assert_eq!(undated("claude-sonnet-4-20250514"), "claude-sonnet-4");
        assert_eq!((undated("gpt-4"), undated("o3")), ("gpt-4", "o3"));
    }
}
