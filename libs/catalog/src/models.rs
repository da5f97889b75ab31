//! The embedded list of known models; see `scripts/build_catalog.py` for its form.

use std::sync::LazyLock;

use crate::Price;

/// A known model.
pub(crate) struct Known {
    provider: &'static str,
    id: &'static str,
    names: &'static str,
    /// Tokens; 0: unknown.
    pub(crate) context_window: u64,
    /// `None`: unknown.
    pub(crate) price: Option<Price>,
}

static MODELS: LazyLock<Vec<Known>> =
    LazyLock::new(|| include_str!("../data/models.tsv").lines().filter_map(parse).collect());

fn parse(line: &'static str) -> Option<Known> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [provider, id, names, window, input, cached, write, output] = cells[..] else { return None };
    let price = |cell: &str| cell.parse::<i64>().ok();
    Some(Known {
        provider,
        id,
        names,
        context_window: window.parse().unwrap_or(0),
        price: price(input).map(|input| Price {
            input_nanousd_per_mtok: input,
            // Embedding models have no output.
            output_nanousd_per_mtok: price(output).unwrap_or(0),
            cached_input_nanousd_per_mtok: price(cached),
            cache_write_nanousd_per_mtok: price(write),
        }),
    })
}

impl Known {
    fn covers(&self, model: &str) -> bool {
        self.names.split('|').any(|name| {
            let (sign, text) = name.split_at(1);
            match sign {
                "=" => model == text,
                "^" => model.starts_with(text),
                "$" => model.ends_with(text),
                _ => model.contains(text),
            }
        })
    }
}

/// Finds a model of a provider: by its id, else by its other names.
pub(crate) fn find(provider: &str, model: &str) -> Option<&'static Known> {
    let model = model.to_lowercase();
    let of_provider = || MODELS.iter().filter(|known| known.provider == provider);
    of_provider().find(|known| known.id == model).or_else(|| of_provider().find(|known| known.covers(&model)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_model() {
        let lines = include_str!("../data/models.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(MODELS.len(), lines);
        assert!(lines > 1_000);
    }

    #[test]
    fn finds_models_by_id_and_by_other_names() {
        let mini = find("openai", "gpt-4.1-mini-2025-04-14").and_then(|m| m.price).unwrap();
        assert_eq!((mini.input_nanousd_per_mtok, mini.output_nanousd_per_mtok), (400_000_000, 1_600_000_000));
        assert_eq!(find("anthropic", "claude-3-7-sonnet-20250219").map(|m| m.context_window), Some(200_000));
        assert!(find("openai", "no-such-model").is_none());
    }
}
