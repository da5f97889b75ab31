//! Figures about yes-or-no judgements.

/// One judged row.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// Whether it is an attack.
    pub(super) label: bool,
    pub(super) score: f64,
    /// The decision at the built-in threshold.
    pub(super) flagged: bool,
    /// Whether the learned tier was needed.
    pub(super) learned: bool,
    /// Whether it is harmless and has words that attacks are made of.
    pub(super) trigger: bool,
    pub(super) source: String,
    pub(super) lang: String,
    /// In bytes.
    pub(super) length: usize,
    /// What the judgement took.
    pub(super) micros: f64,
}

/// The least score that at most this share of harmless rows exceed.
pub(super) fn threshold(rows: &[Judged], share: f64) -> Option<f64> {
    let mut harmless: Vec<f64> = rows.iter().filter(|r| !r.label).map(|r| r.score).collect();
    harmless.sort_by(f64::total_cmp);
    let allowed = (0..=harmless.len()).take_while(|n| *n as f64 <= share * harmless.len() as f64).last()?;
    harmless.len().checked_sub(allowed + 1).map(|at| harmless[at])
}

/// The share of attacks above a score.
pub(super) fn recall<'a>(rows: impl Iterator<Item = &'a Judged>, above: f64) -> Option<(f64, usize)> {
    share(rows.filter(|r| r.label).map(|r| r.score > above))
}

/// The share that is true, and of how many.
pub(super) fn share(values: impl Iterator<Item = bool>) -> Option<(f64, usize)> {
    let (hits, n) = values.fold((0usize, 0usize), |(hits, n), hit| (hits + usize::from(hit), n + 1));
    (n > 0).then(|| (hits as f64 / n as f64, n))
}

/// The area under the curve: the chance that an attack scores higher than a harmless row, ties counting half.
pub(super) fn auc(rows: &[Judged]) -> Option<f64> {
    let mut sorted: Vec<&Judged> = rows.iter().collect();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let (mut below, mut won) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.score == b.score) {
        let attacks = tied.iter().filter(|r| r.label).count() as f64;
        let harmless = tied.len() as f64 - attacks;
        won += attacks * (below + harmless / 2.0);
        below += harmless;
    }
    let attacks = rows.len() as f64 - below;
    (attacks > 0.0 && below > 0.0).then(|| won / (attacks * below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: bool, score: f64) -> Judged {
        Judged {
            label,
            score,
            flagged: score > 0.5,
            learned: false,
            trigger: false,
            source: "s".into(),
            lang: "en".into(),
            length: 1,
            micros: 1.0,
        }
    }

    #[test]
    fn thresholds_leave_the_share_above() {
        let rows: Vec<Judged> = (0..100).map(|n| row(false, f64::from(n) / 100.0)).collect();
        assert_eq!(threshold(&rows, 0.01), Some(0.98), "one of a hundred is above");
        assert_eq!(threshold(&rows, 0.0), Some(0.99));
        assert_eq!(threshold(&[], 0.01), None);
    }

    #[test]
    fn the_area_is_one_when_all_attacks_are_above() {
        assert_eq!(auc(&[row(true, 0.9), row(false, 0.1), row(true, 0.8)]), Some(1.0));
        assert_eq!(auc(&[row(true, 0.5), row(false, 0.5)]), Some(0.5));
        assert_eq!(auc(&[row(true, 0.5)]), None);
        assert_eq!(recall([row(true, 0.5), row(true, 0.9)].iter(), 0.6), Some((0.5, 2)));
    }
}
