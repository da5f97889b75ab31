//! LiteLLM's names for providers, and how the same ones are reached here.

/// Where a provider's models are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Provider {
    /// The prefix of a model's name at LiteLLM.
    prefix: &'static str,
    /// Our name for it.
    pub(super) name: &'static str,
    pub(crate) dialect: &'static str,
    /// Empty: the configuration must say it.
    pub(crate) base_url: &'static str,
    /// The variable whose key is sent where none is given: the one that LiteLLM reads; at Vertex AI, which it signs for itself, one of ours.
    /// Empty: no key.
    pub(crate) key: &'static str,
}

const fn provider(
    prefix: &'static str,
    name: &'static str,
    dialect: &'static str,
    base_url: &'static str,
    key: &'static str,
) -> Provider {
    Provider { prefix, name, dialect, base_url, key }
}

impl Provider {
    /// The provider by its prefix at LiteLLM.
    pub(crate) fn named(prefix: &str) -> Option<Self> {
        PROVIDERS.iter().find(|provider| provider.prefix == prefix).copied()
    }
}

/// Addresses are those of the providers' own documentation.
const PROVIDERS: [Provider; 26] = [
    provider("openai", "openai", "openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    provider("azure", "azure", "azure", "", "AZURE_API_KEY"),
    provider("anthropic", "anthropic", "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    provider(
        "gemini",
        "gemini",
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "GEMINI_API_KEY",
    ),
    provider("vertex_ai", "vertex", "vertex", "", "VERTEX_ACCESS_TOKEN"),
    provider("bedrock", "bedrock", "bedrock", "", "AWS_BEARER_TOKEN_BEDROCK"),
    provider("cohere", "cohere", "cohere", "https://api.cohere.com/v2", "COHERE_API_KEY"),
    provider("cohere_chat", "cohere", "cohere", "https://api.cohere.com/v2", "COHERE_API_KEY"),
    provider("mistral", "mistral", "openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    provider("groq", "groq", "openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    provider("deepseek", "deepseek", "openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    provider("together_ai", "together", "openai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    provider("openrouter", "openrouter", "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    provider(
        "fireworks_ai",
        "fireworks",
        "openai",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_AI_API_KEY",
    ),
    provider("perplexity", "perplexity", "openai", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    provider("xai", "xai", "openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    provider("cerebras", "cerebras", "openai", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    provider("nvidia_nim", "nvidia", "openai", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    provider("moonshot", "moonshot", "openai", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    provider("ollama", "ollama", "openai", "http://127.0.0.1:11434/v1", ""),
    provider("ollama_chat", "ollama", "openai", "http://127.0.0.1:11434/v1", ""),
    provider("lm_studio", "lmstudio", "openai", "http://127.0.0.1:1234/v1", ""),
    provider("hosted_vllm", "vllm", "openai", "", ""),
    provider("vllm", "vllm", "openai", "", ""),
    LIKE_OPENAI,
    provider("litellm_proxy", "litellm", "openai", "", "LITELLM_PROXY_API_KEY"),
];

/// One whose API is like OpenAI's, and of which nothing else is known.
pub(super) const LIKE_OPENAI: Provider = provider("openai_like", "", "openai", "", "");

/// Prefixes of providers whose API is another one.
const OTHERS: [&str; 9] = [
    "sagemaker",
    "sagemaker_chat",
    "replicate",
    "watsonx",
    "watsonx_text",
    "auto_router",
    "predibase",
    "petals",
    "triton",
];

/// Whose model it is.
pub(super) enum Whose {
    Known(Provider),
    /// Not known here; perhaps its API is like OpenAI's.
    Unknown,
    /// Its API is another one.
    Other,
}

/// Takes a model's name apart: whose it is, LiteLLM's name for that provider, and the model as the provider calls it. `custom` is what
/// `custom_llm_provider` says.
pub(super) fn of<'m>(model: &'m str, custom: Option<&'m str>) -> (Whose, &'m str, &'m str) {
    let (prefix, rest) = match (custom, model.split_once('/')) {
        (Some(custom), Some((prefix, rest))) if prefix == custom => (custom, rest),
        (Some(custom), _) => (custom, model),
        (None, Some((prefix, rest))) => (prefix, rest),
        (None, None) => (guessed(model), model),
    };
    let whose = match Provider::named(prefix) {
        Some(provider) => Whose::Known(provider),
        None if OTHERS.contains(&prefix) => Whose::Other,
        None => Whose::Unknown,
    };
    // LiteLLM's routes within a provider.
    let rest = match (prefix, rest.split_once('/')) {
        ("bedrock", Some(("converse" | "converse_like" | "invoke", rest))) => rest,
        _ => rest,
    };
    (whose, prefix, rest)
}

/// Whose a model is by its name alone.
fn guessed(model: &str) -> &'static str {
    match model {
        _ if model.starts_with("claude") => "anthropic",
        _ if model.starts_with("gemini") => "vertex_ai",
        _ if model.starts_with("command") => "cohere",
        _ => "openai",
    }
}

/// Whether what a variable holds is sent to some provider unasked.
pub(super) fn is_sent_unasked(variable: &str) -> bool {
    PROVIDERS.iter().any(|provider| provider.key == variable)
}
