//! Intervals: where a value may well lie, given the samples it was measured on.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::{Counts, add};

/// From `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Share of experiments in which such an interval holds the true value, as in `0.95`.
    pub level: f64,
}

/// Distribution function of the standard normal distribution.
pub fn normal_cdf(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// The `z` below which the standard normal distribution has the share `p`; infinite for 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    match p {
        p if p <= 0.0 => f64::NEG_INFINITY,
        p if p >= 1.0 => f64::INFINITY,
        p => Normal::standard().inverse_cdf(p),
    }
}

/// Interval of a share, `successes` of `n` independent samples; `None` without samples. It stays within `0..=1` and has
/// a width where no or every sample is a success.
///
/// Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
pub fn wilson(successes: usize, n: usize, level: f64) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let z = normal_quantile(0.5 + level / 2.0);
    let (share, n) = (successes as f64 / n as f64, n as f64);
    if z.is_infinite() {
        return Some(Interval { low: 0.0, high: 1.0, level });
    }
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    Some(Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0), level })
}

/// The interval that holds the middle `level` of some bootstrap draws, interpolated linearly between them; `None`
/// without draws.
///
/// Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3.
pub fn percentile(draws: &[f64], level: f64) -> Option<Interval> {
    let sorted = sorted(draws);
    let low = quantile(&sorted, (1.0 - level) / 2.0)?;
    Some(Interval { low, high: quantile(&sorted, 0.5 + level / 2.0)?, level })
}

/// The percentile interval, corrected for bias (draws that lie about another middle than the value) and for
/// acceleration (a spread that changes with the value), which matters near the ends of a scale. `jackknife` has the
/// statistic without one unit, and how many units there are of which it is so. `None` where it has no value: without
/// draws, or with all draws on one side of the value.
///
/// Source: Efron (1987), "Better bootstrap confidence intervals"; ties as in `scipy.stats.bootstrap`.
pub fn bca(draws: &[f64], value: f64, jackknife: &[(f64, u64)], level: f64) -> Option<Interval> {
    let sorted = sorted(draws);
    let below = sorted.partition_point(|&draw| draw < value);
    let up_to = sorted.partition_point(|&draw| draw <= value);
    let bias = normal_quantile((below + up_to) as f64 / (2 * sorted.len()) as f64);
    let count: f64 = jackknife.iter().map(|&(_, times)| times as f64).sum();
    let middle = jackknife.iter().map(|&(without, times)| without * times as f64).sum::<f64>() / count;
    let moment = |power: i32| -> f64 {
        jackknife.iter().map(|&(without, times)| (middle - without).powi(power) * times as f64).sum()
    };
    let acceleration = moment(3) / (6.0 * moment(2).powf(1.5));
    if !bias.is_finite() || !acceleration.is_finite() {
        return None;
    }
    let corrected = |p: f64| {
        let z = bias + normal_quantile(p);
        quantile(&sorted, normal_cdf(bias + z / (1.0 - acceleration * z)))
    };
    let low = corrected((1.0 - level) / 2.0)?;
    Some(Interval { low, high: corrected(0.5 + level / 2.0)?, level })
}

/// The bootstrap interval of a statistic of counts: [`bca`], and where it has no value [`percentile`]. Deterministic.
/// `None` for a single unit, of which every draw is the same.
pub fn bootstrap_interval<F>(
    counts: &Counts,
    draws: usize,
    seed: u64,
    level: f64,
    statistic: F,
) -> Option<Interval>
where
    F: Fn(&[f64]) -> Option<f64> + Sync,
{
    if counts.len() < 2 {
        return None;
    }
    let totals = counts.totals();
    let value = statistic(&totals)?;
    let without = |(row, times): (&[f64], u64)| {
        let mut others = totals.clone();
        add(&mut others, row, -1.0);
        Some((statistic(&others)?, times))
    };
    let drawn = counts.bootstrap(draws, seed, &statistic);
    let jackknife: Option<Vec<(f64, u64)>> = counts.kinds().map(without).collect();
    let corrected = jackknife.and_then(|jackknife| bca(&drawn, value, &jackknife, level));
    corrected.or_else(|| percentile(&drawn, level))
}

fn sorted(draws: &[f64]) -> Vec<f64> {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let place = p.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + share * (sorted[above] - sorted[below]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wilson_interval_has_a_width_where_all_samples_agree() {
        // 0 of 10 at z = 1.96: middle 3.8415 / 20 / 1.38415 = 0.13877, half the same: 0 to 0.2775.
        let interval = wilson(0, 10, 0.95).unwrap();
        assert!(interval.low.abs() < 1e-15 && (interval.high - 0.277_53).abs() < 1e-5, "{interval:?}");
        assert_eq!(wilson(0, 0, 0.95), None);
        let point = wilson(3, 4, 0.0).unwrap();
        assert!((point.low - 0.75).abs() < 1e-12 && (point.high - 0.75).abs() < 1e-12);
    }

    #[test]
    fn the_percentile_interval_interpolates() {
        // 0, 1, .., 100: the middle 90 % is 5 to 95; of 0 and 1 alone 0.05 to 0.95.
        let draws: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let interval = percentile(&draws, 0.9).unwrap();
        assert!((interval.low - 5.0).abs() < 1e-9 && (interval.high - 95.0).abs() < 1e-9);
        assert!((percentile(&[1.0, 0.0], 0.9).unwrap().low - 0.05).abs() < 1e-12);
        assert_eq!(percentile(&[], 0.9), None);
    }

    #[test]
    fn one_unit_has_no_bootstrap_interval() {
        let of = |units: usize| {
            bootstrap_interval(&Counts::new(vec![vec![1.0]; units]), 9, 1, 0.9, |t| Some(t[0]))
        };
        assert!(of(1).is_none() && of(2).is_some());
    }

    #[test]
    fn without_bias_and_acceleration_the_correction_changes_nothing() {
        let draws: Vec<f64> = (0..=100).map(f64::from).collect();
        let corrected = bca(&draws, 50.0, &[(49.0, 1), (51.0, 1)], 0.9).unwrap();
        let plain = percentile(&draws, 0.9).unwrap();
        assert!((corrected.low - plain.low).abs() < 1e-6 && (corrected.high - plain.high).abs() < 1e-6);
        assert_eq!(bca(&draws, 500.0, &[(49.0, 1), (51.0, 1)], 0.9), None, "all draws are on one side");
        assert_eq!(bca(&draws, 50.0, &[(50.0, 2)], 0.9), None, "no unit matters");
    }

    proptest! {
        #[test]
        fn the_wilson_interval_holds_the_share_and_shrinks_with_the_level(n in 1_usize..400, part in 0.0..1.0_f64) {
            let successes = (part * n as f64) as usize;
            let (wide, narrow) = (wilson(successes, n, 0.95).unwrap(), wilson(successes, n, 0.5).unwrap());
            let share = successes as f64 / n as f64;
            prop_assert!(wide.low <= narrow.low + 1e-12 && narrow.high <= wide.high + 1e-12);
            prop_assert!(wide.low - 1e-12 <= share && share <= wide.high + 1e-12);
            prop_assert!((0.0..=1.0).contains(&wide.low) && (0.0..=1.0).contains(&wide.high));
        }

        #[test]
        fn a_bootstrap_interval_lies_within_what_the_statistic_can_be(hits in 0_usize..30, misses in 0_usize..30) {
            prop_assume!(hits + misses > 1);
            let rows = [vec![vec![1.0, 1.0]; hits], vec![vec![0.0, 1.0]; misses]].concat();
            let interval = bootstrap_interval(&Counts::new(rows), 200, 1, 0.95, |t| Some(t[0] / t[1])).unwrap();
            prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
        }
    }
}
