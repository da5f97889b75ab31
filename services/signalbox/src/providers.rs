//! Models for whom nothing is configured: of providers whose keys are in the environment, or of a server given by its address.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use signalbox_config::{Document, Shared};
use signalbox_launch::Failure;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::import::{Provider, quoted};

/// Providers by LiteLLM's prefix, and the models of each that are served, by their own names.
const MODELS: [(&str, &[&str]); 7] = [
    ("openai", &["gpt-4.1-mini", "gpt-4.1", "gpt-4.1-nano", "gpt-5-mini", "gpt-5"]),
    ("anthropic", &["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"]),
    ("gemini", &["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite"]),
    ("mistral", &["mistral-small-latest", "mistral-large-latest"]),
    ("deepseek", &["deepseek-chat", "deepseek-reasoner"]),
    ("groq", &["llama-3.3-70b-versatile", "llama-3.1-8b-instant"]),
    ("xai", &["grok-3-mini", "grok-3"]),
];

/// How long a server may take to list its models.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest list that is read, in bytes.
const MOST_BYTES: usize = 4 << 20;
/// The longest name that is taken of a list, in bytes.
const LONGEST: usize = 256;
/// The most models that are taken of a list.
const MOST_MODELS: usize = 100;

/// Models, and what to tell of them.
pub(crate) struct Found {
    pub(crate) shared: Shared,
    pub(crate) told: String,
}

/// Finds the providers whose keys are in the environment; `None`: there is none.
///
/// # Errors
/// Never but by a mistake in the table above.
pub(crate) fn by_keys(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Found>, Failure> {
    let known = MODELS.iter().filter_map(|(prefix, models)| Some((Provider::named(prefix)?, *models)));
    let with_key: Vec<(Provider, &[&str])> = known
        .filter(|(provider, _)| environment(provider.key).is_some_and(|key| !key.trim().is_empty()))
        .collect();
    if with_key.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    for (provider, models) in &with_key {
        for model in *models {
            write(&mut text, (model, model), provider.base_url, provider.dialect, Some(provider.key));
        }
    }
    let keys: Vec<&str> = with_key.iter().map(|(provider, _)| provider.key).collect();
    let names: Vec<&str> = with_key.iter().flat_map(|(_, models)| *models).copied().collect();
    let told =
        format!("serving {}, by the keys in {}; `auto` is any of them", names.join(", "), keys.join(", "));
    Ok(Some(Found { shared: Document::parse(&text, "the keys in the environment")?.shared()?, told }))
}

/// The models of a server that speaks the OpenAI API: those given, else those that it lists. The key is that of `OPENAI_API_KEY`.
///
/// # Errors
/// An address that cannot stand in a configuration.
pub(crate) async fn at(base_url: &str, given: &[String], key: Option<&str>) -> Result<Found, Failure> {
    let (models, of_whom) = if given.is_empty() {
        match listed(base_url, key).await {
            Ok(models) => (models, "what the server lists".to_owned()),
            Err(why) => (
                vec!["default".to_owned()],
                format!("`default` of a server that lists no models ({why}); name them with --openai-model"),
            ),
        }
    } else {
        (given.to_vec(), "what was named".to_owned())
    };
    let named = aliases(&models);
    if named.is_empty() {
        return Err("--openai-model names no model that can be served".into());
    }
    let mut text = String::new();
    for (alias, model) in &named {
        write(&mut text, (alias, model), base_url, "openai", key.map(|_| "OPENAI_API_KEY"));
    }
    let names: Vec<&str> = named.iter().map(|(alias, _)| alias.as_str()).collect();
    let sent = if key.is_some() { "; the key in OPENAI_API_KEY is sent there" } else { "" };
    let told = format!("serving {of_whom}: {}{sent}", names.join(", "));
    Ok(Found { shared: Document::parse(&text, "--openai-base-url")?.shared()?, told })
}

/// Names for models, which may have none with a stroke: of `meta-llama/Llama-3.1-8B` and of a file's path the last part, or all of them
/// joined where that is taken.
fn aliases(models: &[String]) -> Vec<(String, &str)> {
    let mut named: Vec<(String, &str)> = Vec::new();
    for model in models {
        let parts: Vec<&str> = model.split('/').filter(|part| !part.is_empty()).collect();
        let last = parts.last().copied().unwrap_or_default();
        let free = |alias: &String| {
            !alias.is_empty() && alias != "auto" && !named.iter().any(|(known, _)| known == alias)
        };
        if !named.iter().any(|(_, known)| known == model)
            && let Some(alias) = [last.to_owned(), parts.join("-")].into_iter().find(free)
        {
            named.push((alias, model));
        }
    }
    named
}

fn write(text: &mut String, (alias, model): (&str, &str), base_url: &str, dialect: &str, key: Option<&str>) {
    let (alias, model) = (quoted(alias), quoted(model));
    let (base_url, dialect) = (quoted(base_url), quoted(dialect));
    let key = key.map(|key| format!(", api_key_env = {}", quoted(key))).unwrap_or_default();
    let _ = writeln!(
        text,
        "[models.{alias}]\ntargets = [{{ base_url = {base_url}, dialect = {dialect}, model = {model}{key} }}]"
    );
}

/// What a server on plain HTTP lists under `/models`.
async fn listed(base_url: &str, key: Option<&str>) -> Result<Vec<String>, String> {
    let list = async {
        match list(base_url, None).await {
            // The key goes to whom it is asked for.
            Err(Unlisted::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) if key.is_some() => {
                list(base_url, key).await
            }
            answer => answer,
        }
    };
    let list = timeout(PATIENCE, list).await.map_err(|_| "it does not answer".to_owned())?;
    let list = list.map_err(|why| match why {
        Unlisted::Status(status) => format!("it answers {status}"),
        Unlisted::Other(why) => why,
    })?;
    let names = list["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str());
    let mut models: Vec<String> = Vec::new();
    let fits = |name: &&str| (1..=LONGEST).contains(&name.len()) && !name.contains(char::is_control);
    for name in names.filter(fits) {
        if models.len() < MOST_MODELS && !models.iter().any(|known| known == name) {
            models.push(name.to_owned());
        }
    }
    if models.is_empty() { Err("the list is empty".to_owned()) } else { Ok(models) }
}

/// Why there is no list.
enum Unlisted {
    Status(StatusCode),
    Other(String),
}

impl From<String> for Unlisted {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

async fn list(base_url: &str, key: Option<&str>) -> Result<serde_json::Value, Unlisted> {
    let url: hyper::Uri = format!("{}/models", base_url.trim_end_matches('/'))
        .parse()
        .map_err(|_| "the address cannot be read".to_owned())?;
    if url.scheme_str() != Some("http") {
        return Err("only servers on http:// are asked".to_owned().into());
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream =
        TcpStream::connect((host, url.port_u16().unwrap_or(80))).await.map_err(|error| error.to_string())?;
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let authority = url.authority().map(ToString::to_string).unwrap_or_default();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).header(header::HOST, authority);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "the key cannot be sent".to_owned())?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(Unlisted::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| "what it answers is no JSON".to_owned().into())
}

#[cfg(test)]
mod tests {
    use signalbox_testkit::provider;

    use super::*;

    #[test]
    fn a_key_brings_its_providers_models_with_their_prices() {
        assert!(by_keys(&|_| None).unwrap().is_none());
        assert!(by_keys(&|_| Some(" ".to_owned())).unwrap().is_none());
        let of_anthropic =
            by_keys(&|name| (name == "ANTHROPIC_API_KEY").then(|| "k".into())).unwrap().unwrap();
        let names: Vec<&str> = of_anthropic.shared.models.keys().map(String::as_str).collect();
        assert_eq!(names, MODELS[1].1);
        assert!(of_anthropic.told.contains("ANTHROPIC_API_KEY") && of_anthropic.told.contains(names[0]));
        let all = by_keys(&|_| Some("k".to_owned())).unwrap().unwrap().shared;
        assert_eq!(all.models.len(), MODELS.iter().map(|(_, models)| models.len()).sum::<usize>());
        let catalog = signalbox_catalog::Catalog::new(&all);
        for target in catalog.targets() {
            assert!(target.price.is_some() && !target.price_assumed, "{} has no price", target.id);
        }
    }

    #[tokio::test]
    async fn a_server_is_asked_what_it_has() {
        let server = provider::Provider::start(provider::Config::default()).await.unwrap();
        let found = at(&server.base_url(), &[], None).await.unwrap();
        let names: Vec<&str> = found.shared.models.keys().map(String::as_str).collect();
        assert!(names.contains(&"sim-small"), "{names:?}");
        let given = at(&server.base_url(), &["a".to_owned()], Some("k")).await.unwrap().shared;
        assert_eq!(given.models["a"].targets[0].api_key_env.as_deref(), Some("OPENAI_API_KEY"));
        server.shutdown().await;
        for nobody in ["http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1"] {
            let found = at(nobody, &[], None).await.unwrap();
            assert!(found.shared.models.contains_key("default") && found.told.contains("--openai-model"));
        }
    }

    #[tokio::test]
    async fn a_name_with_strokes_is_called_by_its_last_part() {
        let given = ["org/Llama-3", "/a/b/tiny.gguf", "other/Llama-3", "auto", "x:7b", "/", "x/auto", "x:7b"];
        let given = given.map(str::to_owned);
        let found = at("http://h/v1", &given, None).await.unwrap();
        let of: Vec<(&str, &str)> = (found.shared.models.iter())
            .map(|(alias, model)| (alias.as_str(), model.targets[0].model.as_str()))
            .collect();
        let named = [
            ("Llama-3", "org/Llama-3"),
            ("tiny.gguf", "/a/b/tiny.gguf"),
            ("other-Llama-3", "other/Llama-3"),
            ("x:7b", "x:7b"),
            ("x-auto", "x/auto"),
        ];
        assert_eq!(of, named);
        assert!(found.told.ends_with("x:7b, x-auto"), "{}", found.told);
        assert!(at("http://h/v1", &["auto".to_owned()], None).await.is_err());
    }
}
