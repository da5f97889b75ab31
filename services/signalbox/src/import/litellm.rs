//! LiteLLM's `config.yaml`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Imported, provider};

/// Reads a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A deployment as a target of ours, in the words of the file.
struct Target {
    fields: Vec<(&'static str, String)>,
}

/// Model groups in the file's order, each with its targets.
type Groups = Vec<(String, Vec<Target>)>;

/// What of the settings needs nothing here, or something else; the longest beginning that fits counts.
const SETTINGS: [(&str, &str); 32] = [
    (
        "litellm_settings.num_retries",
        "retries are decided by the failure's class, within one budget: [executor]",
    ),
    ("litellm_settings.request_timeout", "set total_ms at a target, or [executor.limits]"),
    (
        "litellm_settings.drop_params",
        "fields that a dialect has no place for are left out or refused by name, dialect by dialect",
    ),
    ("litellm_settings.modify_params", "nothing is modified behind a caller's back"),
    ("litellm_settings.cache_params", "see [cache] in docs/cache.md; several replicas share [redis]"),
    ("litellm_settings.cache", "the cache is on by default: [cache]"),
    ("litellm_settings.set_verbose", "set the variable RUST_LOG"),
    ("litellm_settings.json_logs", "set telemetry.log_format"),
    ("litellm_settings.success_callback", "usage is in the ledger: signalbox usage; traces: [telemetry]"),
    ("litellm_settings.failure_callback", "usage is in the ledger: signalbox usage; traces: [telemetry]"),
    ("litellm_settings.callbacks", "usage is in the ledger: signalbox usage; guardrails: [guard]"),
    ("litellm_settings.max_budget", "make a budget: signalbox budgets"),
    ("litellm_settings.budget_duration", "make a budget: signalbox budgets"),
    (
        "litellm_settings.context_window_fallbacks",
        "targets whose window is too small are left out by themselves; add a larger one to the alias",
    ),
    (
        "litellm_settings.content_policy_fallbacks",
        "a refusal is not routed around unless a request asks for it",
    ),
    ("litellm_settings.redact_user_api_key_info", "keys are never logged"),
    ("litellm_settings.turn_off_message_logging", "prompts and answers are never logged"),
    (
        "router_settings.routing_strategy",
        "targets are tried in their order, and replicas of one model share by weight; other policies: [router]",
    ),
    (
        "router_settings.num_retries",
        "retries are decided by the failure's class, within one budget: [executor]",
    ),
    ("router_settings.timeout", "set total_ms at a target, or [executor.limits]"),
    ("router_settings.allowed_fails", "breakers are on by default: [executor.breaker]"),
    ("router_settings.cooldown_time", "breakers are on by default: [executor.breaker]"),
    ("router_settings.redis", "give [redis] url_env"),
    ("router_settings.enable_pre_call_checks", "is always so"),
    (
        "general_settings.master_key",
        "make keys: signalbox keys create; they are sb_..., and only their hash is kept",
    ),
    ("general_settings.database", "the ledger is built in; several replicas share [redis]"),
    ("general_settings.alerting", "see alerts in docs/metering.md"),
    ("general_settings.store_model_in_db", "models stand in the file"),
    ("general_settings.proxy_batch_write_at", "the ledger is written as it happens"),
    ("guardrails", "see [guard] in docs/guard.md"),
    ("mcp_servers", "tools of MCP servers are called by the client"),
    ("environment_variables", "set them in the environment; the file holds no secrets"),
];

/// Converts a file.
///
/// # Errors
/// It is no YAML, or no configuration of LiteLLM's.
pub(super) fn convert(yaml: &str, environment: Environment<'_>) -> Result<Imported, String> {
    let root: Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    let Value::Object(root) = root else {
        return Err("this is no mapping; give LiteLLM's config.yaml".into());
    };
    let Some(Value::Array(list)) = root.get("model_list") else {
        return Err("there is no model_list; give LiteLLM's config.yaml".into());
    };
    let mut imported = Imported::default();
    let mut groups = Groups::new();
    for (i, model) in list.iter().enumerate() {
        let at = format!("model_list[{i}]");
        let Value::Object(model) = model else {
            imported.note(at, "is no mapping, and is left out");
            continue;
        };
        deployment(model, &at, environment, &mut groups, &mut imported);
    }
    aliases(&root, &mut groups, &mut imported);
    let fallbacks = fallbacks(&root, &mut imported);
    settings(&root, &mut imported);
    imported.text = written(&groups, &fallbacks, &mut imported.report);
    Ok(imported)
}

fn deployment(
    model: &Map<String, Value>,
    at: &str,
    environment: Environment<'_>,
    groups: &mut Groups,
    imported: &mut Imported,
) {
    let (Some(alias), Some(Value::Object(params))) =
        (model.get("model_name").and_then(Value::as_str), model.get("litellm_params"))
    else {
        return imported.note(at, "has no model_name or no litellm_params, and is left out");
    };
    if alias.contains('*') {
        let what = "a pattern has no counterpart: name the models; `provider/model` of a configured provider may be asked as it is";
        return imported.note(format!("{at}.model_name"), what);
    }
    let Some(target) = target(params, model.get("model_info"), at, environment, imported) else { return };
    for key in
        model.keys().filter(|key| !matches!(key.as_str(), "model_name" | "litellm_params" | "model_info"))
    {
        imported.note(format!("{at}.{key}"), "has no counterpart");
    }
    match groups.iter_mut().find(|(name, _)| name == alias) {
        Some((_, targets)) => targets.push(target),
        None => groups.push((alias.to_owned(), vec![target])),
    }
}

fn target(
    params: &Map<String, Value>,
    info: Option<&Value>,
    at: &str,
    environment: Environment<'_>,
    imported: &mut Imported,
) -> Option<Target> {
    let at = format!("{at}.litellm_params");
    let text = |key: &str| params.get(key).and_then(Value::as_str);
    let Some(name) = text("model") else {
        imported.note(format!("{at}.model"), "is missing, so that the deployment is left out");
        return None;
    };
    let Some((provider, model)) = provider::of(name) else {
        let prefix = name.split('/').next().unwrap_or_default();
        let what = format!(
            "the provider `{prefix}` is not known here, so that the deployment is left out; if its API is like OpenAI's, write the target by hand"
        );
        imported.note(format!("{at}.model"), what);
        return None;
    };
    let mut fields: Vec<(&'static str, String)> = Vec::new();
    let base = base_url(params, &provider, &at, environment, imported)?;
    fields.push(("base_url", quoted(&base)));
    if provider.dialect != "openai" {
        fields.push(("dialect", quoted(provider.dialect)));
    }
    fields.push(("model", quoted(model)));
    if !provider.name.is_empty() && text("api_base").is_some() && provider.name != "openai" {
        fields.push(("provider", quoted(provider.name)));
    }
    match text("api_key").map(|key| key.strip_prefix("os.environ/").ok_or(())) {
        Some(Ok(variable)) => fields.push(("api_key_env", quoted(variable))),
        Some(Err(())) => {
            let variable = if provider.key.is_empty() { "PROVIDER_API_KEY" } else { provider.key };
            fields.push(("api_key_env", quoted(variable)));
            imported.note(
                format!("{at}.api_key"),
                format!("a secret does not belong into the file: set the variable {variable}"),
            );
        }
        None if provider.key.is_empty() => {}
        None => fields.push(("api_key_env", quoted(provider.key))),
    }
    costs(params, info, &mut fields);
    for (key, ours) in [("timeout", "total_ms"), ("stream_timeout", "first_output_ms")] {
        if let Some(seconds) = params.get(key).and_then(Value::as_f64) {
            fields.push((ours, format!("{:.0}", seconds * 1_000.0)));
        }
    }
    if let Some(weight) = params.get("weight").and_then(Value::as_u64) {
        fields.push(("weight", weight.to_string()));
    }
    if let Some(most) = params.get("max_parallel_requests").and_then(Value::as_u64) {
        fields.push(("max_in_flight", most.to_string()));
    }
    let streams = info.and_then(|info| info["supports_native_streaming"].as_bool());
    if params.get("fake_stream").and_then(Value::as_bool) == Some(true) || streams == Some(false) {
        fields.push(("stream", "false".to_owned()));
    }
    if let Some(window) = info.and_then(|info| info["max_input_tokens"].as_u64()) {
        fields.push(("context_window_tokens", window.to_string()));
    }
    unsaid(params, &at, imported);
    Some(Target { fields })
}

fn base_url(
    params: &Map<String, Value>,
    provider: &provider::Provider,
    at: &str,
    environment: Environment<'_>,
    imported: &mut Imported,
) -> Option<String> {
    let text = |key: &str| params.get(key).and_then(Value::as_str);
    let given = match text("api_base") {
        Some(base) => match base.strip_prefix("os.environ/") {
            Some(variable) => {
                let value = environment(variable);
                let what = match &value {
                    Some(_) => format!("the value of {variable} is written into the file"),
                    None => format!(
                        "{variable} is not set here, so that the deployment is left out; set it and import again"
                    ),
                };
                imported.note(format!("{at}.api_base"), what);
                value?
            }
            None => base.to_owned(),
        },
        None if provider.dialect == "bedrock" => {
            let region = text("aws_region_name").unwrap_or("us-east-1");
            format!("https://bedrock-runtime.{region}.amazonaws.com")
        }
        None if provider.base_url.is_empty() => {
            imported
                .note(at, "has no api_base, so that the deployment is left out; write the target by hand");
            return None;
        }
        None => provider.base_url.to_owned(),
    };
    let given = given.trim_end_matches('/').to_owned();
    // Ollama's own address is without the door that is like OpenAI's.
    let bare = provider.name == "ollama" && !given.ends_with("/v1");
    Some(if bare { given + "/v1" } else { given })
}

/// Prices per token, as prices per million.
fn costs(params: &Map<String, Value>, info: Option<&Value>, fields: &mut Vec<(&'static str, String)>) {
    let cost = |key: &str| {
        let value = params.get(key).or_else(|| info?.get(key));
        value.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
    };
    let (Some(input), Some(output)) = (cost("input_cost_per_token"), cost("output_cost_per_token")) else {
        return;
    };
    let usd = |per_token: f64| {
        let text = format!("{:.9}", per_token * 1e6);
        quoted(text.trim_end_matches('0').trim_end_matches('.'))
    };
    fields.push((
        "price",
        format!("{{ input_usd_per_mtok = {}, output_usd_per_mtok = {} }}", usd(input), usd(output)),
    ));
}

/// Reports the parameters that were not read.
fn unsaid(params: &Map<String, Value>, at: &str, imported: &mut Imported) {
    const READ: [&str; 12] = [
        "model",
        "api_base",
        "api_key",
        "timeout",
        "stream_timeout",
        "weight",
        "max_parallel_requests",
        "input_cost_per_token",
        "output_cost_per_token",
        "aws_region_name",
        "order",
        "fake_stream",
    ];
    for key in params.keys().filter(|key| !READ.contains(&key.as_str())) {
        let what = match key.as_str() {
            "rpm" | "tpm" => {
                "targets have no rates of their own: a provider's 429 is heeded, and max_in_flight bounds what is under way; limits of callers: signalbox keys"
            }
            "max_retries" | "num_retries" => {
                "retries are decided by the failure's class, within one budget: [executor]"
            }
            "api_version" => "the version is the dialect's own",
            "temperature" | "max_tokens" | "top_p" | "seed" | "extra_body" | "extra_headers" | "headers" => {
                "requests say this themselves"
            }
            "aws_access_key_id" | "aws_secret_access_key" | "aws_session_token" => {
                "set the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; see docs/providers.md"
            }
            "vertex_project" | "vertex_location" | "vertex_credentials" => {
                "stands in base_url, and the token in api_key_env: docs/providers.md"
            }
            "organization" => "has no counterpart; use a key of that organisation",
            _ => "has no counterpart",
        };
        imported.note(format!("{at}.{key}"), what);
    }
}

/// Reads `model_group_alias`: further names for a group.
fn aliases(root: &Map<String, Value>, groups: &mut Groups, imported: &mut Imported) {
    let given = root.get("router_settings").and_then(|settings| settings["model_group_alias"].as_object());
    for (alias, of) in given.into_iter().flatten() {
        let of = of.as_str().or_else(|| of["model"].as_str()).unwrap_or_default();
        match groups.iter().find(|(name, _)| name == of) {
            Some((_, targets)) => {
                let targets = targets.iter().map(|target| Target { fields: target.fields.clone() }).collect();
                groups.push((alias.clone(), targets));
            }
            None => imported.note(
                format!("router_settings.model_group_alias.{alias}"),
                format!("names `{of}`, which is no model here"),
            ),
        }
    }
}

/// Reads `fallbacks` of either section: for a group, the groups that are asked when it fails.
fn fallbacks(root: &Map<String, Value>, imported: &mut Imported) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for section in ["litellm_settings", "router_settings"] {
        let settings = root.get(section);
        if settings.is_some_and(|settings| !settings["default_fallbacks"].is_null()) {
            let what = "has no counterpart: add the targets to each alias";
            imported.note(format!("{section}.default_fallbacks"), what);
        }
        let list = settings.and_then(|settings| settings["fallbacks"].as_array());
        for (group, others) in list.into_iter().flatten().filter_map(Value::as_object).flatten() {
            let others = others.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            out.push((group.clone(), others.collect()));
        }
    }
    out
}

/// Reports the settings, each with what takes its place.
fn settings(root: &Map<String, Value>, imported: &mut Imported) {
    let mut tell = |key: String| {
        if matches!(key.rsplit('.').next(), Some("fallbacks" | "default_fallbacks" | "model_group_alias")) {
            return;
        }
        let known = SETTINGS.iter().filter(|(beginning, _)| key.starts_with(beginning));
        let what =
            known.max_by_key(|(beginning, _)| beginning.len()).map_or("has no counterpart", |(_, what)| what);
        imported.note(key, what);
    };
    for (section, value) in root.iter().filter(|(section, _)| *section != "model_list") {
        match value {
            Value::Object(settings) if section != "environment_variables" => {
                settings.keys().for_each(|key| tell(format!("{section}.{key}")));
            }
            _ => tell(section.clone()),
        }
    }
}

fn written(
    groups: &Groups,
    fallbacks: &[(String, Vec<String>)],
    report: &mut Vec<(String, String)>,
) -> String {
    let mut text = String::from(
        "# From a configuration of LiteLLM's. Retries, fallback, breakers, rescue, cache and ledger are on by default.\n",
    );
    for (alias, targets) in groups {
        let _ = write!(text, "\n[models.{}]\ntargets = [\n", quoted(alias));
        let mut all: Vec<(&Target, Option<&str>)> = targets.iter().map(|target| (target, None)).collect();
        for other in fallbacks.iter().filter(|(group, _)| group == alias).flat_map(|(_, others)| others) {
            match groups.iter().find(|(name, _)| name == other) {
                Some((_, more)) => all.extend(more.iter().map(|target| (target, Some(other.as_str())))),
                None => report
                    .push((format!("fallbacks.{alias}"), format!("names `{other}`, which is no model here"))),
            }
        }
        for (target, from) in all {
            let fields: Vec<String> =
                target.fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            let from = from.map(|other| format!("  # the fallback {other}")).unwrap_or_default();
            let _ = writeln!(text, "  {{ {} }},{from}", fields.join(", "));
        }
        text.push_str("]\n");
    }
    text
}

/// A TOML string, which may stand for a key, too.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, but for the slash and what JSON leaves as it is.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    const CONFIG: &str = r#"
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://eu.openai.azure.com/
      api_key: os.environ/AZURE_KEY
      rpm: 600
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, timeout: 30, stream_timeout: 7.5, weight: 2}
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_key: sk-ant-literal
  - model_name: local
    litellm_params: {model: ollama/llama3.2, api_base: "http://gpu:11434", fake_stream: true}
    model_info: {input_cost_per_token: 0.0000001, output_cost_per_token: 2.5e-6}
  - model_name: elsewhere
    litellm_params: {model: hosted_vllm/qwen, api_base: os.environ/VLLM}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*"}
  - model_name: odd
    litellm_params: {model: sagemaker/thing}
litellm_settings:
  fallbacks: [{"gpt-4o": ["claude", "nobody"]}]
  cache: true
  drop_params: true
router_settings:
  model_group_alias: {best: claude}
general_settings:
  master_key: os.environ/MASTER
"#;

    fn imported() -> Imported {
        convert(CONFIG, &|name| (name == "VLLM").then(|| "http://vllm:8000/v1".to_owned())).unwrap()
    }

    #[test]
    fn what_comes_out_is_a_valid_configuration_with_all_models_and_their_order() {
        let text = imported().text;
        assert_eq!(
            check::problems(&text, "f").iter().map(ToString::to_string).collect::<Vec<_>>(),
            [""; 0],
            "{text}"
        );
        let shared = signalbox_config::Document::parse(&text, "f").unwrap().shared().unwrap();
        let names: Vec<&str> = shared.models.keys().map(String::as_str).collect();
        assert_eq!(names, ["gpt-4o", "claude", "local", "elsewhere", "best"]);
        let first = &shared.models["gpt-4o"].targets;
        assert_eq!(
            first.iter().map(|t| t.model.as_str()).collect::<Vec<_>>(),
            ["gpt-4o-eu", "gpt-4o", "claude-sonnet-4-5"]
        );
        assert_eq!(
            (first[0].base_url.as_str(), first[0].api_key_env.as_deref()),
            ("https://eu.openai.azure.com", Some("AZURE_KEY"))
        );
        assert_eq!(
            (first[1].total_ms, first[1].first_output_ms, first[1].weight),
            (Some(30_000), Some(7_500), Some(2))
        );
        let local = &shared.models["local"].targets[0];
        assert_eq!((local.base_url.as_str(), local.stream), ("http://gpu:11434/v1", Some(false)));
        assert!(
            text.contains(r#"price = { input_usd_per_mtok = "0.1", output_usd_per_mtok = "2.5" }"#),
            "{text}"
        );
    }

    #[test]
    fn no_secret_is_written_and_what_has_no_counterpart_is_told() {
        let imported = imported();
        assert!(
            !imported.text.contains("sk-ant-literal")
                && !format!("{:?}", imported.report).contains("sk-ant-literal")
        );
        let told =
            |key: &str| imported.report.iter().find(|(known, _)| known == key).map(|(_, what)| what.as_str());
        for key in [
            "model_list[0].litellm_params.rpm",
            "model_list[2].litellm_params.api_key",
            "model_list[4].litellm_params.api_base",
            "model_list[5].model_name",
            "model_list[6].litellm_params.model",
            "litellm_settings.drop_params",
            "litellm_settings.cache",
            "general_settings.master_key",
            "fallbacks.gpt-4o",
        ] {
            assert!(told(key).is_some_and(|what| !what.is_empty()), "{key}: {:?}", imported.report);
        }
        assert_eq!(told("litellm_settings.fallbacks"), None);
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for text in ["", "a: [", "- a", "model_list: 7"] {
            assert!(convert(text, &|_| None).is_err(), "{text:?}");
        }
    }
}
