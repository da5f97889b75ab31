//! Intervals that hold the true value with 95 % confidence.

/// The normal distribution's quantile for 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// An estimate with its interval. `None`: too little is known for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// From and to.
    pub interval: Option<(f64, f64)>,
}

/// A mean per request over units that stay together (users, conversations): requests of a unit are alike, so units are what is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mean {
    pub(super) value: f64,
    /// The variance of the mean.
    variance: f64,
    units: f64,
}

impl Mean {
    /// The mean of sums and counts by unit; `None`: there is nothing.
    pub(super) fn of(units: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let (sum, count, number) = units
            .clone()
            .fold((0.0, 0.0, 0.0), |(sum, count, number), (s, c)| (sum + s, count + c, number + 1.0));
        if count <= 0.0 {
            return None;
        }
        let value = sum / count;
        let squares: f64 = units.map(|(s, c)| (s - value * c).powi(2)).sum();
        let spread = if number > 1.0 { number / (number - 1.0) } else { f64::INFINITY };
        Some(Self { value, variance: spread * squares / (count * count), units: number })
    }

    /// The mean of values that each stand for themselves, from the sum of their squared distances to it. `None`: there is nothing.
    pub(super) fn measured(value: f64, squares: f64, count: f64) -> Option<Self> {
        let variance = if count > 1.0 { squares / (count - 1.0) / count } else { f64::INFINITY };
        (count > 0.0).then_some(Self { value, variance, units: count })
    }

    pub(super) fn estimate(&self) -> Estimate {
        let interval = (self.units > 1.0).then(|| {
            let half = t(self.units - 1.0) * self.variance.sqrt();
            (self.value - half, self.value + half)
        });
        Estimate { value: self.value, interval }
    }

    /// By how much this mean is above another (Welch).
    pub(super) fn above(&self, other: &Self) -> Estimate {
        let value = self.value - other.value;
        let variance = self.variance + other.variance;
        if self.units < 2.0 || other.units < 2.0 {
            return Estimate { value, interval: None };
        }
        let freedom = if variance > 0.0 {
            variance.powi(2)
                / (self.variance.powi(2) / (self.units - 1.0) + other.variance.powi(2) / (other.units - 1.0))
        } else {
            f64::INFINITY
        };
        let half = t(freedom) * variance.sqrt();
        Estimate { value, interval: Some((value - half, value + half)) }
    }

    /// As a share of requests (Wilson): stays within 0 and 1, and is open even where all or none succeeded.
    pub(super) fn share(&self) -> Estimate {
        let p = self.value.clamp(0.0, 1.0);
        Estimate { value: p, interval: Some(wilson(p, self.alike(p, self.variance))) }
    }

    /// As a mean of scores from -1 to 1: how far up it is, as a share. Most scores are one of the two ends (thumbs), and few answers have
    /// any: an interval as of a measured mean would be far too narrow, and none at all where the first few agree. Few units count for less,
    /// because how much they vary is not well known, either (Korn and Graubard).
    pub(super) fn score(&self) -> Estimate {
        let p = f64::midpoint(self.value, 1.0).clamp(0.0, 1.0);
        let interval = (self.units > 1.0).then(|| {
            let count = self.alike(p, self.variance / 4.0) * (Z / t(self.units - 1.0)).powi(2);
            let (low, high) = wilson(p, count);
            (2.0 * low - 1.0, 2.0 * high - 1.0)
        });
        Estimate { value: self.value, interval }
    }

    /// As many requests of their own as would vary so much around a share. What rounding leaves where all are alike is no variance.
    fn alike(&self, p: f64, variance: f64) -> f64 {
        if variance > f64::EPSILON && variance.is_finite() { p * (1.0 - p) / variance } else { self.units }
    }
}

/// Wilson's interval of a share of so many.
fn wilson(p: f64, count: f64) -> (f64, f64) {
    let (z2, n) = (Z * Z, count.max(1.0));
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// By how much one share is above another.
pub(super) fn share_above(one: &Mean, other: &Mean) -> Estimate {
    newcombe(one.share(), other.share())
}

/// By how much one mean score is above another.
pub(super) fn score_above(one: &Mean, other: &Mean) -> Estimate {
    newcombe(one.score(), other.score())
}

/// By how much one share is above another (Newcombe), or what is proportional to shares.
fn newcombe(a: Estimate, b: Estimate) -> Estimate {
    let value = a.value - b.value;
    let interval = a.interval.zip(b.interval).map(|((a_low, a_high), (b_low, b_high))| {
        let below = ((a.value - a_low).powi(2) + (b_high - b.value).powi(2)).sqrt();
        let above = ((a_high - a.value).powi(2) + (b.value - b_low).powi(2)).sqrt();
        (value - below, value + above)
    });
    Estimate { value, interval }
}

/// The quantile of Student's distribution for 95 %, by its expansion around the normal one.
fn t(freedom: f64) -> f64 {
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    Z + (z3 + Z) / (4.0 * freedom)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * freedom.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use signalbox_mesh::Random;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, table) in [(4.0, 2.776), (10.0, 2.228), (30.0, 2.042), (1_000.0, 1.962)] {
            assert!((t(freedom) - table).abs() < 0.01, "{freedom}: {}", t(freedom));
        }
    }

    #[test]
    fn a_share_has_wilsons_interval() {
        let mean = Mean::of((0..100).map(|n| (f64::from(u8::from(n < 90)), 1.0))).unwrap();
        let (low, high) = mean.share().interval.unwrap();
        assert!((low - 0.825).abs() < 0.002 && (high - 0.945).abs() < 0.002, "{low} {high}");
        let all = Mean::of((0..10).map(|_| (1.0, 1.0))).unwrap().share();
        assert!(all.interval.unwrap().0 < 0.75, "ten of ten is no certainty: {all:?}");
    }

    /// Thumbs of so many, of which so many are up.
    fn thumbs(up: usize, all: usize) -> Mean {
        Mean::of((0..all).map(|n| (if n < up { 1.0 } else { -1.0 }, 1.0))).unwrap()
    }

    #[test]
    fn a_score_stays_within_its_bounds_and_is_open_where_all_agree() {
        let (low, high) = thumbs(90, 100).score().interval.unwrap();
        assert!((low - 0.64).abs() < 0.02 && (high - 0.89).abs() < 0.02, "as Wilson's share: {low} {high}");
        let (low, high) = thumbs(5, 5).score().interval.unwrap();
        assert!(
            (-0.5..0.0).contains(&low) && (high - 1.0).abs() < 1e-9,
            "five thumbs are little: {low} {high}"
        );
        assert_eq!(thumbs(1, 1).score(), Estimate { value: 1.0, interval: None });
        let (low, high) = score_above(&thumbs(5, 5), &thumbs(0, 5)).interval.unwrap();
        assert!(low > 0.0 && high <= 2.0, "{low} {high}");
        assert_eq!(score_above(&thumbs(5, 5), &thumbs(1, 1)).interval, None);
    }

    /// How often the intervals of a mean score and of a difference that is 0 hold what is true, where so many rate.
    fn held_scores(raters: usize, truth: f64, one: impl Fn(&Random) -> f64) -> (f64, f64) {
        let random = Random::seeded(7);
        let mean = || {
            let scores: Vec<_> = (0..raters).map(|_| (one(&random), 1.0)).collect();
            Mean::of(scores.into_iter()).unwrap()
        };
        let holds = |estimate: Estimate, truth: f64| {
            let (low, high) = estimate.interval.unwrap();
            (low - 1e-9..=high + 1e-9).contains(&truth)
        };
        let (mut own, mut above) = (0, 0);
        for _ in 0..2_000 {
            let (a, b) = (mean(), mean());
            own += u32::from(holds(a.score(), truth));
            above += u32::from(holds(score_above(&a, &b), 0.0));
        }
        (f64::from(own) / 2_000.0, f64::from(above) / 2_000.0)
    }

    #[test]
    fn intervals_of_scores_hold_as_often_as_they_say_also_where_few_rate() {
        for raters in [5, 10, 30, 100] {
            for up in [0.5, 0.8, 0.95] {
                let thumb = |random: &Random| if random.f64() < up { 1.0 } else { -1.0 };
                let (own, above) = held_scores(raters, 2.0 * up - 1.0, thumb);
                assert!(own > 0.92 && above > 0.92, "{raters} thumbs, {up} up: {own} {above}");
            }
            // Stars: each of five as often.
            let star = |random: &Random| random.below(5) as f64 / 2.0 - 1.0;
            let (own, above) = held_scores(raters, 0.0, star);
            assert!(own > 0.92 && above > 0.92, "{raters} stars: {own} {above}");
        }
        // As of a measured mean they would hold far less: here where ten rate, of which nearly all are pleased.
        let random = Random::seeded(7);
        let holds = (0..2_000).filter(|_| {
            let scores: Vec<_> =
                (0..10).map(|_| (if random.f64() < 0.95 { 1.0 } else { -1.0 }, 1.0)).collect();
            let (low, high) = Mean::of(scores.into_iter()).unwrap().estimate().interval.unwrap();
            (low..=high).contains(&0.9)
        });
        assert!(holds.count() < 1_200);
    }

    /// How often the interval of a difference that is 0 holds 0, where `units` of what was drawn are taken for units.
    fn held(units: impl Fn(&[(f64, usize)]) -> Vec<(f64, f64)>) -> f64 {
        let random = Random::seeded(5);
        // Users with a level of their own, and one to ten requests each.
        let users = || -> Vec<(f64, usize)> {
            (0..80).map(|_| (random.f64() * 100.0, 1 + random.below(10))).collect()
        };
        let mean = |users: &[(f64, usize)]| Mean::of(units(users).into_iter()).unwrap();
        let holds = (0..1_000).filter(|_| {
            let (low, high) = mean(&users()).above(&mean(&users())).interval.unwrap();
            low <= 0.0 && 0.0 <= high
        });
        holds.count() as f64 / 1_000.0
    }

    #[test]
    fn intervals_hold_as_often_as_they_say_where_units_stay_together() {
        let rate = held(|users| users.iter().map(|(level, n)| (level * *n as f64, *n as f64)).collect());
        assert!((0.92..0.975).contains(&rate), "{rate}");
        // Each request by itself would pretend to know far more.
        let each = |(level, n): &(f64, usize)| vec![(*level, 1.0); *n];
        let apart = held(|users| users.iter().flat_map(each).collect());
        assert!(apart < 0.8, "{apart}");
    }
}
