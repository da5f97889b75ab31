//! Figures about judged pairs.

/// One judged pair.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) id: String,
    /// Whether one answer serves both.
    pub(super) same: bool,
    pub(super) kind: String,
    pub(super) source: String,
    /// Cosine.
    pub(super) similarity: f32,
    /// Whether both may be compared by meaning at all.
    pub(super) admitted: bool,
    /// Whether they stand the second look.
    pub(super) agreed: bool,
    /// The model's probability that a hit is right, whatever the rules say.
    pub(super) right: f64,
    /// Whether the service as it is configured by default would answer one with the other's answer.
    pub(super) hit: bool,
}

impl Judged {
    /// From 0 (no hit at any setting) to 1.
    pub(super) fn score(&self) -> f64 {
        if self.admitted && self.agreed { self.right } else { 0.0 }
    }
}

/// What one way to decide does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// Pairs that one answer serves: of them hit.
    pub(super) right: (usize, usize),
    /// Pairs that need two answers: of them hit.
    pub(super) wrong: (usize, usize),
}

impl Outcome {
    pub(super) fn of<'a>(pairs: impl Iterator<Item = &'a Judged>, hits: impl Fn(&Judged) -> bool) -> Self {
        let mut outcome = Self { right: (0, 0), wrong: (0, 0) };
        for pair in pairs {
            let counts = if pair.same { &mut outcome.right } else { &mut outcome.wrong };
            counts.0 += usize::from(hits(pair));
            counts.1 += 1;
        }
        outcome
    }

    /// The share of hits that are wrong, and of how many.
    pub(super) fn wrong_hits(&self) -> Option<(f64, usize)> {
        share(self.wrong.0, self.right.0 + self.wrong.0)
    }

    /// The share of pairs with one answer that are hit.
    pub(super) fn hit_rate(&self) -> Option<(f64, usize)> {
        share(self.right.0, self.right.1)
    }

    /// The share of pairs with two answers that are hit all the same.
    pub(super) fn false_hits(&self) -> Option<(f64, usize)> {
        share(self.wrong.0, self.wrong.1)
    }
}

/// A share and of how many it is; `None` of nothing.
pub(super) fn share(count: usize, of: usize) -> Option<(f64, usize)> {
    (of > 0).then(|| (count as f64 / of as f64, of))
}
