//! Patterns over aliases and targets: a name, or a prefix with a trailing `*`.

/// Whether a pattern covers a name.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Whether a pattern covers a target: its id, its provider alone, or a prefix.
pub(crate) fn covers_target(pattern: &str, target_id: &str) -> bool {
    covers(pattern, target_id) || target_id.split_once('/').is_some_and(|(provider, _)| pattern == provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_names_providers_and_prefixes() {
        assert!(covers_target("openai", "openai/gpt-4.1"));
        assert!(covers_target("openai/gpt-4*", "openai/gpt-4.1"));
        assert!(covers_target("*", "a/b"));
        assert!(!covers_target("open", "openai/gpt-4.1"));
        assert!(!covers("fast", "faster"));
    }
}
