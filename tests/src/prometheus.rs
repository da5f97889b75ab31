//! A real Prometheus over a mesh, where `scripts/setup.sh prometheus` has brought it, and what an expression asks of it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::plain;

/// Finds a program of Prometheus': on the path, or where the setup lays it.
pub fn program(cache: &Path, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([cache.join("prometheus")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A running server; killed when dropped.
pub struct Prometheus {
    _child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one that scrapes `targets` (job, address) every second, with `rules`.
    pub async fn start(
        program: &Path,
        folder: &Path,
        targets: &[(String, SocketAddr)],
        rules: &Path,
    ) -> Self {
        let mut config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n"
        );
        for (job, address) in targets {
            config.push_str(&format!(
                "  - job_name: {job}\n    static_configs: [{{ targets: [\"{address}\"] }}]\n"
            ));
        }
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("prometheus.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = Self { _child: child, address };
        let ready = async {
            loop {
                // It listens before it can answer.
                if tokio::net::TcpStream::connect(address).await.is_ok()
                    && plain::get(address, "/-/ready", &[]).await.status == 200
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("Prometheus starts");
        started
    }

    /// Asks its API: the `data` of the answer.
    ///
    /// # Errors
    /// What it says is wrong with the question.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let answer = plain::get(self.address, &format!("/api/v1/{path}?{}", query.join("&")), &[]).await;
        let said = answer.json();
        if said["status"] == "success" { Ok(said["data"].clone()) } else { Err(said["error"].to_string()) }
    }

    /// Evaluates an expression now: its series.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub async fn evaluate(&self, expression: &str) -> Result<Vec<Value>, String> {
        let said = self.ask("query", &[("query", expression)]).await?;
        Ok(said["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until an expression has a result.
    pub async fn wait_for(&self, expression: &str) {
        let waited = async {
            while self.evaluate(expression).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
        assert!(waited.is_ok(), "Prometheus never has {expression}");
    }

    /// Names of labels that the series of a metric have.
    pub async fn labels(&self, metric: &str) -> BTreeSet<String> {
        let said = self.ask("series", &[("match[]", metric)]).await.unwrap();
        let series = said.as_array().cloned().unwrap_or_default();
        series.iter().filter_map(Value::as_object).flat_map(|one| one.keys().cloned()).collect()
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What an expression asks for: metrics with the labels that they are selected by, and the labels it groups or joins by.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Each metric, with the labels in its braces.
    pub metrics: Vec<(String, Vec<String>)>,
    /// Labels in `by (…)` and `on (…)`.
    pub groups: BTreeSet<String>,
}

/// Reads what an expression asks for. It knows as much of the language as rules and dashboards here use.
pub fn asked(expression: &str) -> Asked {
    const WORDS: [&str; 12] = [
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "group_left",
        "group_right",
        "le",
        "inf",
        "nan",
        "by",
        "on",
    ];
    let mut asked = Asked::default();
    let text: Vec<char> = expression.chars().collect();
    let mut at = 0;
    let word = |from: usize| {
        let ends = |c: &char| !(c.is_ascii_alphanumeric() || *c == '_' || *c == ':');
        let end = text[from..].iter().position(ends).map_or(text.len(), |length| from + length);
        (text[from..end].iter().collect::<String>(), end)
    };
    let next = |from: usize| text[from..].iter().position(|c| !c.is_whitespace()).map(|skip| from + skip);
    let close = |from: usize, bracket: char| {
        let mut quoted = false;
        let end = text[from..].iter().position(|c| {
            quoted ^= *c == '"';
            !quoted && *c == bracket
        });
        from + end.expect("a bracket is closed")
    };
    while at < text.len() {
        match text[at] {
            '"' => at += 2 + text[at + 1..].iter().position(|c| *c == '"').expect("a text is closed"),
            '[' => at = close(at, ']'),
            '{' => at = close(at, '}'),
            c if c.is_ascii_digit() => at = word(at).1,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let (name, end) = word(at);
                let follows = next(end).map(|at| (text[at], at));
                at = end;
                match (name.as_str(), follows) {
                    ("by" | "on" | "without" | "ignoring", Some(('(', open))) => {
                        let end = close(open, ')');
                        let list: String = text[open + 1..end].iter().collect();
                        asked.groups.extend(list.split(',').map(|label| label.trim().to_owned()));
                        at = end;
                    }
                    // A function, or `sum by`.
                    (_, Some(('(', _))) => {}
                    (name, _) if WORDS.contains(&name) => {}
                    (_, Some(('b', by))) if word(by).0 == "by" => {}
                    (_, Some(('{', open))) => {
                        let end = close(open, '}');
                        let braces: String = text[open + 1..end].iter().collect();
                        asked.metrics.push((name, selected(&braces)));
                        at = end;
                    }
                    _ => asked.metrics.push((name, Vec::new())),
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    asked
}

/// Labels that are selected by, of the inside of braces.
fn selected(braces: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut quoted = false;
    for c in braces.chars() {
        quoted ^= c == '"';
        if !quoted && c != '"' {
            outside.push(c);
        }
    }
    let labels = outside.split(',').map(|part| part.trim_end_matches(['=', '~', '!', ' ']).trim().to_owned());
    labels.filter(|label| !label.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_expression_asks_for_is_read() {
        let read = asked(
            "histogram_quantile(0.95, sum by (le, step) (rate(a_bucket{x=~\"b{1,2}\", y!=\"\"}[5m]))) > on (job) c or vector(0)",
        );
        let metrics = [("a_bucket", vec!["x", "y"]), ("c", vec![])];
        let metrics =
            metrics.map(|(name, labels)| (name.to_owned(), labels.into_iter().map(str::to_owned).collect()));
        assert_eq!(read.metrics, metrics);
        assert_eq!(read.groups, ["le", "step", "job"].map(str::to_owned).into());
        assert_eq!(asked("sum(up) * 3600 and topk(10, up{job=\"a\"})").metrics.len(), 2);
    }
}
