//! A deployment of LiteLLM's `model_list` as a target of ours.

use serde_json::{Map, Value};

use super::{
    Imported,
    litellm::quoted,
    provider::{self, Provider, Whose},
};

/// Reads a variable of the environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What LiteLLM writes before the name of a variable.
const VARIABLE: &str = "os.environ/";

/// A deployment as a target of ours, in the words of the file.
pub(super) struct Target {
    pub(super) fields: Vec<(&'static str, String)>,
}

/// Reads deployments, one after the other.
pub(super) struct Reader<'a> {
    environment: Environment<'a>,
    imported: Imported,
    keys: Keys,
}

/// The variables that are to hold keys.
struct Keys {
    /// Those that the file names already.
    named: Vec<String>,
    /// Those for keys that stand in the file, with the key.
    made: Vec<(String, String)>,
}

impl Keys {
    fn of(list: &[Value]) -> Self {
        let key = |model: &Value| {
            let params = model.get("litellm_params")?.as_object()?;
            let Some(key) = given_key(params) else {
                // What a deployment without a key of its own is sent.
                let name = params.get("model")?.as_str()?;
                let (whose, ..) =
                    provider::of(name, params.get("custom_llm_provider").and_then(Value::as_str));
                let Whose::Known(provider) = whose else { return None };
                return Some(provider.key.to_owned());
            };
            Some(key.strip_prefix(VARIABLE)?.to_owned())
        };
        Self { named: list.iter().filter_map(key).collect(), made: Vec::new() }
    }

    /// A variable for a key that stands in the file: one for each, so that none is sent to whom it does not belong.
    fn make(&mut self, key: &str, wanted: &str) -> String {
        if let Some((_, name)) = self.made.iter().find(|(made, _)| made == key) {
            return name.clone();
        }
        let is_free =
            |name: &String| !self.named.contains(name) && !self.made.iter().any(|(_, made)| made == name);
        let numbered = (2_u32..).map(|number| format!("{wanted}_{number}"));
        let name = std::iter::once(wanted.to_owned()).chain(numbered).find(is_free).unwrap_or_default();
        self.made.push((key.to_owned(), name.clone()));
        name
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(list: &[Value], environment: Environment<'a>) -> Self {
        Self { environment, imported: Imported::default(), keys: Keys::of(list) }
    }

    /// What was noted on the way.
    pub(super) fn end(self) -> Imported {
        self.imported
    }

    /// Reads a deployment: its group and the target. `None`: it is left out, which is noted.
    pub(super) fn deployment(&mut self, model: &Value, at: &str) -> Option<(String, Target)> {
        let Value::Object(model) = model else {
            self.imported.note(at, "is no mapping, and is left out");
            return None;
        };
        let (Some(alias), Some(Value::Object(params))) =
            (model.get("model_name").and_then(Value::as_str), model.get("litellm_params"))
        else {
            self.imported.note(at, "has no model_name or no litellm_params, and is left out");
            return None;
        };
        if alias.contains('*') {
            let what = "a pattern has no counterpart: name the models; `provider/model` of a configured provider may be asked as it is";
            self.imported.note(format!("{at}.model_name"), what);
            return None;
        }
        let target = self.target(alias, params, model.get("model_info"), &format!("{at}.litellm_params"))?;
        let read = ["model_name", "litellm_params", "model_info"];
        for key in model.keys().filter(|key| !read.contains(&key.as_str())) {
            self.imported.note(format!("{at}.{key}"), "has no counterpart");
        }
        Some((alias.to_owned(), target))
    }

    fn target(
        &mut self,
        alias: &str,
        params: &Map<String, Value>,
        info: Option<&Value>,
        at: &str,
    ) -> Option<Target> {
        let text = |key: &str| params.get(key).and_then(Value::as_str);
        let Some(name) = text("model") else {
            self.imported.note(format!("{at}.model"), "is missing, so that the deployment is left out");
            return None;
        };
        let (provider, model, called) =
            self.provider(name, text("custom_llm_provider"), text("api_base"), at)?;
        let base = self.base_url(params, model, &provider, at)?;
        let mut fields: Vec<(&'static str, String)> = vec![("base_url", quoted(&base))];
        if provider.dialect != "openai" {
            fields.push(("dialect", quoted(provider.dialect)));
        }
        fields.push(("model", quoted(model)));
        if !called.is_empty() && text("api_base").is_some() && called != "openai" {
            fields.push(("provider", quoted(called)));
        }
        let key = self.key(alias, given_key(params).as_deref(), &provider, &base, at);
        fields.extend(key.map(|variable| ("api_key_env", quoted(&variable))));
        self.price(params, info, at, &mut fields);
        for (key, ours) in [("timeout", "total_ms"), ("stream_timeout", "first_output_ms")] {
            if let Some(seconds) = params.get(key).and_then(Value::as_f64) {
                fields.push((ours, format!("{:.0}", seconds * 1_000.0)));
            }
        }
        for (key, ours) in [("weight", "weight"), ("max_parallel_requests", "max_in_flight")] {
            if let Some(number) = params.get(key).and_then(Value::as_u64) {
                fields.push((ours, number.to_string()));
            }
        }
        if let Some(region) = self.value(params, "region_name", at).ok()? {
            fields.push(("region", quoted(&region)));
        }
        let streams = info.and_then(|info| info["supports_native_streaming"].as_bool());
        if params.get("fake_stream").and_then(Value::as_bool) == Some(true) || streams == Some(false) {
            fields.push(("stream", "false".to_owned()));
        }
        if let Some(window) = info.and_then(|info| info["max_input_tokens"].as_u64()) {
            fields.push(("context_window_tokens", window.to_string()));
        }
        self.unsaid(params, at);
        Some(Target { fields })
    }

    /// The provider, the model as that calls it, and the provider's name here. One that is not known is taken to speak OpenAI's dialect
    /// where its address is given.
    fn provider<'m>(
        &mut self,
        name: &'m str,
        custom: Option<&'m str>,
        base: Option<&str>,
        at: &str,
    ) -> Option<(Provider, &'m str, &'m str)> {
        let (whose, prefix, model) = provider::of(name, custom);
        let at = format!("{at}.model");
        match whose {
            Whose::Known(provider) => return Some((provider, model, provider.name)),
            Whose::Unknown if base.is_some() => {
                let what = format!(
                    "the provider `{prefix}` is not known here; its API is taken to be like OpenAI's"
                );
                self.imported.note(at, what);
                return Some((provider::LIKE_OPENAI, model, prefix));
            }
            Whose::Unknown | Whose::Other => {}
        }
        let what = format!(
            "the provider `{prefix}` is not known here, so that the deployment is left out; if its API is like OpenAI's, write the target by hand"
        );
        self.imported.note(at, what);
        None
    }

    /// The variable of a target's key, if it needs one.
    fn key(
        &mut self,
        alias: &str,
        given: Option<&str>,
        provider: &Provider,
        base: &str,
        at: &str,
    ) -> Option<String> {
        // At an address of the provider's own, and where each has its own.
        let is_own = provider.base_url.is_empty() || provider.base_url.trim_end_matches('/') == base;
        let at = format!("{at}.api_key");
        let Some(given) = given else {
            let key = provider.key;
            if provider.dialect == "vertex" {
                self.imported.note(
                    at,
                    format!("put an access token into {key}, or into a file that api_key_file names"),
                );
            } else if !key.is_empty() && !is_own {
                let what = format!(
                    "{key} is sent to {base}, as LiteLLM does; name another variable if it does not belong there"
                );
                self.imported.note(at, what);
            }
            return (!key.is_empty()).then(|| key.to_owned());
        };
        if let Some(variable) = given.strip_prefix(VARIABLE) {
            return Some(variable.to_owned());
        }
        let wanted = if is_own && !provider.key.is_empty() {
            provider.key.to_owned()
        } else {
            let letters =
                alias.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
            let name: String = letters.collect();
            // A variable does not begin with a digit.
            let digit = name.starts_with(|c: char| c.is_ascii_digit());
            let name = format!("{}{name}_API_KEY", if digit { "_" } else { "" });
            // Not a name under which another key may be in the environment already.
            if provider::is_sent_unasked(&name) { format!("MY_{name}") } else { name }
        };
        let variable = self.keys.make(given, &wanted);
        let what = format!("a secret does not belong into the file: set the variable {variable}");
        self.imported.note(at, what);
        Some(variable)
    }

    /// A parameter's text, or the value of the variable that it names; `Err` where that is not set, which is noted.
    fn value(&mut self, params: &Map<String, Value>, key: &str, at: &str) -> Result<Option<String>, ()> {
        let Some(text) = params.get(key).and_then(Value::as_str) else { return Ok(None) };
        let Some(variable) = text.strip_prefix(VARIABLE) else { return Ok(Some(text.to_owned())) };
        let value = (self.environment)(variable);
        let what = match &value {
            Some(_) => format!("the value of {variable} is written into the file"),
            None => {
                format!(
                    "{variable} is not set here, so that the deployment is left out; set it and import again"
                )
            }
        };
        self.imported.note(format!("{at}.{key}"), what);
        value.map(Some).ok_or(())
    }

    fn base_url(
        &mut self,
        params: &Map<String, Value>,
        model: &str,
        provider: &Provider,
        at: &str,
    ) -> Option<String> {
        let given = match self.value(params, "api_base", at).ok()? {
            Some(base) => base,
            None if provider.dialect == "bedrock" => {
                let region = self.value(params, "aws_region_name", at).ok()?;
                format!("https://bedrock-runtime.{}.amazonaws.com", region.as_deref().unwrap_or("us-east-1"))
            }
            None if provider.dialect == "vertex" => self.vertex(params, model, at)?,
            None if provider.base_url.is_empty() => {
                let what = "has no api_base, so that the deployment is left out; write the target by hand";
                self.imported.note(at, what);
                return None;
            }
            None => provider.base_url.to_owned(),
        };
        let given = given.trim_end_matches('/').to_owned();
        // Ollama's own address is without the door that is like OpenAI's.
        let bare = provider.name == "ollama" && !given.ends_with("/v1");
        Some(if bare { given + "/v1" } else { given })
    }

    /// The address at Vertex AI.
    fn vertex(&mut self, params: &Map<String, Value>, model: &str, at: &str) -> Option<String> {
        let is_google = ["gemini", "text-embedding", "text-multilingual-embedding"]
            .iter()
            .any(|name| model.starts_with(name));
        if !is_google {
            let what =
                "at Vertex AI, models of other makers than Google are not asked: the deployment is left out";
            self.imported.note(format!("{at}.model"), what);
            return None;
        }
        let Some(project) = self.value(params, "vertex_project", at).ok()? else {
            let what = "has no vertex_project, so that the deployment is left out; name it and import again";
            self.imported.note(at, what);
            return None;
        };
        let region = self.value(params, "vertex_location", at).ok()?;
        let region = region.as_deref().unwrap_or("us-central1");
        let host = if region == "global" { String::new() } else { format!("{region}-") };
        Some(format!(
            "https://{host}aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google"
        ))
    }

    /// Prices per token, as prices per million.
    fn price(
        &mut self,
        params: &Map<String, Value>,
        info: Option<&Value>,
        at: &str,
        fields: &mut Vec<(&'static str, String)>,
    ) {
        let cost = |key: &str| {
            let value = params.get(key).or_else(|| info?.get(key));
            value.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
        };
        let (input, output) = (cost("input_cost_per_token"), cost("output_cost_per_token"));
        if let (Some(input), Some(output)) = (input, output) {
            let usd = |per_token: f64| {
                let text = format!("{:.9}", per_token * 1e6);
                quoted(text.trim_end_matches('0').trim_end_matches('.'))
            };
            let price =
                format!("{{ input_usd_per_mtok = {}, output_usd_per_mtok = {} }}", usd(input), usd(output));
            fields.push(("price", price));
        } else if input.is_some() || output.is_some() {
            let what = "a price takes both, of input and of output; the known one counts: signalbox targets";
            self.imported.note(at, what);
        }
    }

    /// Reports the parameters that were not read.
    fn unsaid(&mut self, params: &Map<String, Value>, at: &str) {
        const READ: [&str; 16] = [
            "model",
            "custom_llm_provider",
            "api_base",
            "api_key",
            "timeout",
            "stream_timeout",
            "weight",
            "max_parallel_requests",
            "input_cost_per_token",
            "output_cost_per_token",
            "aws_region_name",
            "vertex_project",
            "vertex_location",
            "region_name",
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
                "temperature" | "max_tokens" | "top_p" | "seed" | "extra_body" | "extra_headers"
                | "headers" => "requests say this themselves",
                "aws_access_key_id" | "aws_secret_access_key" | "aws_session_token" => {
                    "join them as ACCESS_KEY:SECRET in the variable that api_key_env names; see docs/providers.md"
                }
                "vertex_credentials" => "an access token takes their place: docs/providers.md",
                "organization" => "has no counterpart; use a key of that organisation",
                _ => "has no counterpart",
            };
            self.imported.note(format!("{at}.{key}"), what);
        }
    }
}

/// The key that a deployment names or holds. YAML reads one of digits as a number.
fn given_key(params: &Map<String, Value>) -> Option<String> {
    let key = params.get("api_key").filter(|key| !key.is_null())?;
    Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned))
}
