//! Shadow checks: a stated share of hits by meaning is also asked of the model, and the two answers are compared.

use std::sync::atomic::Ordering;

use crate::{
    backend::Shadow,
    cache::Cache,
    embedding::LIKE_TIMEOUT,
    recording::Answer,
    second_look::{self, Features},
    tenant::Tenant,
};

/// Answers as close as this say the same: models word one answer differently each time.
const AGREE: f32 = 0.85;
/// Answers farther apart than this say something else. What lies between cannot be told.
const DIFFER: f32 = 0.5;
/// Bytes of an answer that are compared: what the encoder reads.
const COMPARED: usize = 1_024;
/// In answers as short as this, in bytes, one number or negation is the answer.
const SHORT: usize = 200;

/// What two answers to what should be one question say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Agree,
    Differ,
    Unknown,
}

impl Cache {
    /// Compares the answer that a hit gave with the model's own, and remembers what came of it.
    pub(crate) async fn check(&self, tenant: &Tenant, shadow: &Shadow, own: &Answer) {
        // An entry that is gone needs no history.
        let Ok(Some(entry)) = self.backend.find(&tenant.name, shadow.of).await else { return };
        let figures = &tenant.figures;
        let wrong = match self.compare(&entry.answer, own).await {
            Told::Unknown => return,
            Told::Agree => {
                figures.shadow_agreed.fetch_add(1, Ordering::Relaxed);
                false
            }
            Told::Differ => {
                figures.shadow_differed.fetch_add(1, Ordering::Relaxed);
                true
            }
        };
        // The hit may have been given by another replica.
        entry.standing.hit_once(&shadow.request_id, shadow.model);
        self.judge_hit(tenant, &entry, &shadow.request_id, wrong).await;
    }

    async fn compare(&self, given: &Answer, own: &Answer) -> Told {
        let (given, own) = (given.text(COMPARED), own.text(COMPARED));
        if given.trim().is_empty() || own.trim().is_empty() {
            return Told::Unknown;
        }
        if plain(&given) == plain(&own) {
            return Told::Agree;
        }
        let given_vector = self.embedding.embed(&given, LIKE_TIMEOUT).await;
        let own_vector = self.embedding.embed(&own, LIKE_TIMEOUT).await;
        let (Ok(a), Ok(b)) = (given_vector, own_vector) else { return Told::Unknown };
        told(a.cosine(&b), &given, &own)
    }
}

fn told(similarity: f32, given: &str, own: &str) -> Told {
    let short = given.len().max(own.len()) <= SHORT;
    let facts = !short || second_look::facts_agree(&Features::of(given), &Features::of(own));
    if similarity < DIFFER {
        Told::Differ
    } else if similarity >= AGREE {
        // Alike but for a number: the one thing that was asked for.
        if facts { Told::Agree } else { Told::Differ }
    } else {
        Told::Unknown
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clear_is_told() {
        let (a, b) = ("It boils at 100 degrees.", "Water boils at 100 degrees.");
        assert_eq!(told(0.9, a, b), Told::Agree);
        assert_eq!(told(0.7, a, b), Told::Unknown);
        assert_eq!(told(0.3, a, b), Told::Differ);
        assert_eq!(told(0.95, a, "It boils at 90 degrees."), Told::Differ);
        assert_eq!(told(0.95, a, "It does not boil at 100 degrees."), Told::Differ);
        let long =
            |number: u32| format!("{} {number}", "A long answer says a thing in many words.".repeat(8));
        assert_eq!(told(0.95, &long(3), &long(4)), Told::Agree, "in a long one a number is no answer");
    }
}
