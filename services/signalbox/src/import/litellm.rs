//! LiteLLM's `config.yaml`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{
    Imported,
    deployment::{Environment, Reader, Target},
};

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
    let mut reader = Reader::new(list, environment);
    let mut groups = Groups::new();
    for (i, model) in list.iter().enumerate() {
        let Some((alias, target)) = reader.deployment(model, &format!("model_list[{i}]")) else { continue };
        match groups.iter_mut().find(|(name, _)| *name == alias) {
            Some((_, targets)) => targets.push(target),
            None => groups.push((alias, vec![target])),
        }
    }
    let mut imported = reader.end();
    aliases(&root, &mut groups, &mut imported);
    let fallbacks = fallbacks(&root, &mut imported);
    settings(&root, &mut imported);
    imported.text = written(&groups, &fallbacks, &mut imported.report);
    Ok(imported)
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
    for (group, _) in fallbacks.iter().filter(|(group, _)| !groups.iter().any(|(name, _)| name == group)) {
        report.push((format!("fallbacks.{group}"), "is of no model here".to_owned()));
    }
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
pub(crate) fn quoted(text: &str) -> String {
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

    fn of(deployments: &str) -> Imported {
        convert(&format!("model_list:\n{deployments}"), &|name| (name == "PROJECT").then(|| "p-1".to_owned()))
            .unwrap()
    }

    #[test]
    fn each_key_of_the_file_gets_a_variable_of_its_own_and_none_goes_to_somebody_else() {
        let imported = of(r#"
  - {model_name: gpt, litellm_params: {model: gpt-4o}}
  - {model_name: gpt, litellm_params: {model: gpt-4o, api_key: sk-second}}
  - {model_name: 7b-local, litellm_params: {model: openai/seven, api_base: "http://gpu:8000", api_key: fake}}
  - {model_name: eu, litellm_params: {model: azure/a, api_base: "https://a.openai.azure.com", api_key: one}}
  - {model_name: us, litellm_params: {model: azure/b, api_base: "https://b.openai.azure.com", api_key: two}}
  - {model_name: us, litellm_params: {model: azure/c, api_base: "https://c.openai.azure.com", api_key: one}}
  - {model_name: open, litellm_params: {model: openai/o, api_base: "http://elsewhere"}}
  - {model_name: openai, litellm_params: {model: hosted_vllm/x, api_base: "http://gpu", api_key: s}}
  - {model_name: digits, litellm_params: {model: hosted_vllm/y, api_base: "http://gpu", api_key: 1234}}
"#);
        let shared = signalbox_config::Document::parse(&imported.text, "f").unwrap().shared().unwrap();
        let keys = |alias: &str| -> Vec<String> {
            shared.models[alias].targets.iter().filter_map(|target| target.api_key_env.clone()).collect()
        };
        assert_eq!(keys("gpt"), ["OPENAI_API_KEY", "OPENAI_API_KEY_2"]);
        assert_eq!(keys("7b-local"), ["_7B_LOCAL_API_KEY"]);
        assert_eq!(keys("eu"), ["AZURE_API_KEY"]);
        assert_eq!((&*keys("openai")[0], &*keys("digits")[0]), ("MY_OPENAI_API_KEY", "DIGITS_API_KEY"));
        assert_eq!(keys("us"), ["AZURE_API_KEY_2", "AZURE_API_KEY"]);
        let told =
            imported.report.iter().find(|(key, _)| key == "model_list[6].litellm_params.api_key").unwrap();
        assert!(told.1.contains("OPENAI_API_KEY is sent to http://elsewhere"), "{told:?}");
    }

    #[test]
    fn other_ways_to_name_a_provider_are_read() {
        let imported = of(r#"
  - {model_name: flash, litellm_params: {model: zhipu/glm-4-flash, api_key: os.environ/ZHIPU, api_base: "https://open.example/v4"}}
  - {model_name: custom, litellm_params: {model: big/one, custom_llm_provider: groq, region_name: eu, input_cost_per_token: 1.0e-6}}
  - {model_name: vertex, litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: os.environ/PROJECT, vertex_location: global}}
  - {model_name: claude, litellm_params: {model: vertex_ai/claude-sonnet-4-5, vertex_project: p}}
  - {model_name: sage, litellm_params: {model: my-endpoint, custom_llm_provider: sagemaker}}
  - {model_name: granite, litellm_params: {model: ibm/granite, custom_llm_provider: watsonx, api_base: "http://w"}}
  - {model_name: nova, litellm_params: {model: bedrock/converse/amazon.nova, custom_llm_provider: bedrock, region_name: os.environ/PROJECT}}
  - {model_name: auto, litellm_params: {model: auto_router/x, api_base: "http://y"}}
router_settings: {fallbacks: [{nobody: [flash]}]}
"#);
        let shared = signalbox_config::Document::parse(&imported.text, "f").unwrap().shared().unwrap();
        assert_eq!(
            shared.models.keys().map(String::as_str).collect::<Vec<_>>(),
            ["flash", "custom", "vertex", "nova"]
        );
        let target = |alias: &str| &shared.models[alias].targets[0];
        let flash = target("flash");
        assert_eq!((flash.provider.as_deref(), flash.model.as_str()), (Some("zhipu"), "glm-4-flash"));
        let nova = target("nova");
        assert_eq!((nova.model.as_str(), nova.region.as_deref()), ("amazon.nova", Some("p-1")));
        let custom = target("custom");
        assert_eq!((custom.model.as_str(), custom.region.as_deref()), ("big/one", Some("eu")));
        assert_eq!(custom.base_url, "https://api.groq.com/openai/v1");
        assert_eq!(
            target("vertex").base_url,
            "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"
        );
        for key in ["model_list[0].litellm_params.model", "model_list[1].litellm_params", "fallbacks.nobody"]
        {
            assert!(imported.report.iter().any(|(told, _)| told == key), "{key}: {:?}", imported.report);
        }
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for text in ["", "a: [", "- a", "model_list: 7"] {
            assert!(convert(text, &|_| None).is_err(), "{text:?}");
        }
    }
}
