//! What an order of prompts is worth: those that come first are asked of the large model.

use super::rows::Row;

/// A row, and how much it wants the large model: the higher, the sooner it is asked there.
pub(super) type Ranked<'a> = (f64, &'a Row);

/// The rows in the order of their scores, equal ones together.
fn ties<'a, 'b>(ranked: &'b mut [Ranked<'a>]) -> impl Iterator<Item = &'b [Ranked<'a>]> {
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.chunk_by(|a, b| a.0 == b.0)
}

fn average(rows: &[Ranked<'_>], value: impl Fn(&Row) -> f64) -> f64 {
    rows.iter().map(|(_, row)| value(row)).sum::<f64>() / rows.len().max(1) as f64
}

/// Quality of the large model alone less that of the small, averaged.
pub(super) fn gap(ranked: &[Ranked<'_>]) -> f64 {
    average(ranked, |row| row.large - row.small)
}

/// The area under the share of the quality gap that is recovered over the share of calls to the large model. A random mix has
/// 0.5. Rows of one score are taken in the average of all orders. `None` where the large model is no better.
pub(super) fn area(ranked: &mut [Ranked<'_>]) -> Option<f64> {
    let (gap, count) = (gap(ranked), ranked.len() as f64);
    if gap <= 0.0 {
        return None;
    }
    let (mut area, mut recovered) = (0.0, 0.0);
    for tie in ties(ranked) {
        let share = tie.len() as f64 / count;
        let more = average(tie, |row| row.large - row.small) * share / gap;
        area += share * (recovered + more / 2.0);
        recovered += more;
    }
    Some(area)
}

/// The probability that a prompt where the large model is better stands before one where it is not.
pub(super) fn auc(ranked: &mut [Ranked<'_>]) -> Option<f64> {
    let all = ranked.iter().filter(|(_, row)| !row.suffices()).count();
    let none = ranked.len() - all;
    if all == 0 || none == 0 {
        return None;
    }
    let (mut before, mut won) = (0.0, 0.0);
    for tie in ties(ranked) {
        let needs = tie.iter().filter(|(_, row)| !row.suffices()).count() as f64;
        let rest = tie.len() as f64 - needs;
        won += rest * (before + needs / 2.0);
        before += needs;
    }
    Some(won / (all as f64 * none as f64))
}

/// The least share of calls to the large model that keeps a share of its quality.
pub(super) fn calls_for(ranked: &mut [Ranked<'_>], quality: f64) -> Option<f64> {
    let count = ranked.len() as f64;
    let wanted = quality * average(ranked, |row| row.large);
    let mut reached = average(ranked, |row| row.small);
    if gap(ranked) <= 0.0 {
        return None;
    }
    let mut calls = 0.0;
    for tie in ties(ranked) {
        if reached >= wanted {
            break;
        }
        let share = tie.len() as f64 / count;
        let more = average(tie, |row| row.large - row.small) * share;
        let part = if more > 0.0 { ((wanted - reached) / more).min(1.0) } else { 1.0 };
        calls += share * part;
        reached += more * part;
    }
    Some(calls)
}

/// What is reached when those from a score on are asked of the large model: share of calls, and of the large model's quality.
pub(super) fn reached(ranked: &[Ranked<'_>], from: f64) -> Option<(f64, f64)> {
    let large = average(ranked, |row| row.large);
    let asked = ranked.iter().filter(|(score, _)| *score >= from).count() as f64;
    let got: f64 = ranked.iter().map(|(score, row)| if *score >= from { row.large } else { row.small }).sum();
    let count = ranked.len() as f64;
    (large > 0.0).then_some((asked / count, got / count / large))
}

/// Brier score of the probability that the large model is better: 0 is perfect.
pub(super) fn brier(ranked: &[Ranked<'_>]) -> f64 {
    let error = |(p, row): &Ranked<'_>| (p - f64::from(u8::from(!row.suffices()))).powi(2);
    ranked.iter().map(error).sum::<f64>() / ranked.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row =
            |small, large| Row { id: String::new(), text: String::new(), task: String::new(), small, large };
        vec![row(0.0, 1.0), row(1.0, 1.0), row(1.0, 1.0), row(0.0, 0.0)]
    }

    fn ranked(scores: [f64; 4], rows: &[Row]) -> Vec<Ranked<'_>> {
        scores.into_iter().zip(rows).collect()
    }

    #[test]
    fn areas_by_hand() {
        let rows = rows();
        let area_of = |scores| area(&mut ranked(scores, &rows)).unwrap();
        assert!((area_of([4.0, 3.0, 2.0, 1.0]) - 0.875).abs() < 1e-12, "a quarter of the calls recovers all");
        assert!((area_of([1.0, 2.0, 3.0, 4.0]) - 0.125).abs() < 1e-12);
        assert!((area_of([1.0; 4]) - 0.5).abs() < 1e-12, "no order is a random mix");
        assert!((area_of([1.0, 1.0, 0.0, 0.0]) - 0.75).abs() < 1e-12);
        assert_eq!(area(&mut ranked([1.0; 4], &rows[1..])), None, "no gap");
    }

    #[test]
    fn order_and_cost_by_hand() {
        let rows = rows();
        assert_eq!(auc(&mut ranked([4.0, 3.0, 2.0, 1.0], &rows)), Some(1.0));
        assert_eq!(auc(&mut ranked([1.0; 4], &rows)), Some(0.5));
        assert_eq!(calls_for(&mut ranked([4.0, 3.0, 2.0, 1.0], &rows), 1.0), Some(0.25));
        assert_eq!(calls_for(&mut ranked([1.0, 2.0, 3.0, 4.0], &rows), 1.0), Some(1.0));
        assert_eq!(calls_for(&mut ranked([1.0; 4], &rows), 0.5), Some(0.0), "the small one has two thirds");
        assert_eq!(reached(&ranked([1.0, 0.0, 0.0, 0.0], &rows), 0.5), Some((0.25, 1.0)));
        assert!((brier(&ranked([1.0, 0.0, 0.0, 0.5], &rows)) - 0.0625).abs() < 1e-12);
    }
}
