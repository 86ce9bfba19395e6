//! Pure statistics on numbers: means with their standard errors, the spread over seeds, and what it takes to compare
//! two runs: intervals ([`intervals`]), paired tests ([`paired`]) and their power ([`power`]), over observations that
//! are counted and not listed ([`counts`]).
//!
//! Everything here is a function of its arguments alone: the same numbers give the same bytes on every
//! machine and with any number of threads.

pub mod counts;
pub mod intervals;
pub mod paired;
pub mod power;

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Seed of every bootstrap in a record, unless a record says otherwise.
pub const BOOTSTRAP_SEED: u64 = 1234;
/// Resamples of every bootstrap in a record: its standard error is then itself known to about 2 %.
pub const BOOTSTRAP_DRAWS: usize = 1000;

/// A value with how far it can be trusted. Never a mean without its standard error and n.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value itself, in the unit of what was measured.
    pub value: f64,
    /// Standard error of the value; `None` where there is too little to tell (one observation).
    pub stderr: Option<f64>,
    /// Number of observations behind it; the metric says what it counts (samples, questions, pairs).
    pub n: usize,
}

/// What several seeds gave: the mean, and how far apart they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation over the seeds (not of their mean); `None` for one seed.
    pub std: Option<f64>,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Number of seeds.
    pub n: usize,
}

/// Arithmetic mean; `None` without values.
pub fn mean(xs: &[f64]) -> Option<f64> {
    (!xs.is_empty()).then(|| xs.iter().sum::<f64>() / xs.len() as f64)
}

/// Sample standard deviation, `sqrt(sum (x - mean)^2 / (n - 1))`; `None` for fewer than two values.
pub fn sample_std(xs: &[f64]) -> Option<f64> {
    let mean = mean(xs).filter(|_| xs.len() > 1)?;
    let squares: f64 = xs.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (xs.len() - 1) as f64).sqrt())
}

/// Mean of independent values, with standard error `sample_std / sqrt(n)`. `None` without values.
pub fn mean_estimate(xs: &[f64]) -> Option<Estimate> {
    let n = xs.len();
    mean(xs).map(|value| Estimate { value, stderr: sample_std(xs).map(|s| s / (n as f64).sqrt()), n })
}

/// Mean over all values, whose standard error allows for values of one cluster resembling each other:
/// `sqrt(g / (g - 1) * sum over clusters of (sum of x - mean)^2) / n`, with `g` clusters. With one value
/// a cluster it is that of [`mean_estimate`]. `None` without values.
///
/// Source: Cameron and Miller (2015), "A practitioner's guide to cluster-robust inference", section II.B.
pub fn clustered_mean_estimate(xs: &[f64], clusters: &[Vec<usize>]) -> Option<Estimate> {
    let value = mean(xs)?;
    let (n, g) = (xs.len() as f64, clusters.len() as f64);
    let residual = |cluster: &Vec<usize>| cluster.iter().map(|&i| xs[i] - value).sum::<f64>().powi(2);
    let stderr = || (g / (g - 1.0) * clusters.iter().map(residual).sum::<f64>()).sqrt() / n;
    Some(Estimate { value, stderr: (clusters.len() > 1).then(stderr), n: xs.len() })
}

/// Standard error of any statistic by the bootstrap: whole clusters are drawn with replacement, as many as
/// there are, and the sample standard deviation over the draws is taken. Draw `i` reads stream `i` of
/// `ChaCha8` under `seed`, so the result doesn't depend on the number of threads.
///
/// Draws whose statistic is undefined are left out. `None` for fewer than two clusters or defined draws.
pub fn bootstrap_stderr<F>(clusters: &[Vec<usize>], draws: usize, seed: u64, statistic: F) -> Option<f64>
where
    F: Fn(&[usize]) -> Option<f64> + Sync,
{
    if clusters.len() < 2 {
        return None;
    }
    let draw = |stream: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        let mut indices = Vec::new();
        for _ in 0..clusters.len() {
            indices.extend_from_slice(&clusters[rng.random_range(0..clusters.len())]);
        }
        statistic(&indices)
    };
    let values: Vec<Option<f64>> = (0..draws).into_par_iter().map(draw).collect();
    sample_std(&values.into_iter().flatten().collect::<Vec<_>>())
}

/// Indices of equal keys, in the order in which the keys first appear; an item without a key is a cluster
/// of its own.
pub fn clusters_of<'a>(keys: impl IntoIterator<Item = Option<&'a str>>) -> Vec<Vec<usize>> {
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    let mut seen = BTreeMap::new();
    for (i, key) in keys.into_iter().enumerate() {
        let next = clusters.len();
        let slot = key.map_or(next, |key| *seen.entry(key).or_insert(next));
        if slot == next {
            clusters.push(Vec::new());
        }
        clusters[slot].push(i);
    }
    clusters
}

/// Mean and spread over seeds; `None` without seeds.
pub fn over_seeds(values: &[f64]) -> Option<Spread> {
    let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
    mean(values).map(|mean| Spread {
        mean,
        std: sample_std(values),
        min: values.iter().copied().fold(min, f64::min),
        max: values.iter().copied().fold(max, f64::max),
        n: values.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn singletons(n: usize) -> Vec<Vec<usize>> {
        (0..n).map(|i| vec![i]).collect()
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean_estimate(&[]), None);
        assert_eq!(over_seeds(&[]), None);
        assert_eq!(clustered_mean_estimate(&[], &[]), None);
    }

    #[test]
    fn one_value_has_a_mean_but_no_standard_error() {
        assert_eq!(mean_estimate(&[0.5]), Some(Estimate { value: 0.5, stderr: None, n: 1 }));
        assert_eq!(over_seeds(&[0.5]).unwrap().std, None);
    }

    #[test]
    fn the_standard_error_is_the_deviation_over_the_root_of_n() {
        // mean 3; squares 4 + 1 + 1 + 4 = 10; 10 / 3 = 3.333; std 1.8257; / sqrt(4) = 0.91287
        let estimate = mean_estimate(&[1.0, 2.0, 4.0, 5.0]).unwrap();
        assert!((estimate.value - 3.0).abs() < 1e-15);
        assert!((estimate.stderr.unwrap() - (10.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-15);
    }

    #[test]
    fn copies_of_a_cluster_carry_no_new_evidence() {
        // Two clusters of two equal values are worth two values: mean 0.5, residual sums (2 * 0.5)^2 = 1 each,
        // sqrt(2 / 1 * 2) / 4 = 0.5; and two values 0 and 1 alone: std sqrt(0.5) / sqrt(2) = 0.5.
        let paired = clustered_mean_estimate(&[0.0, 0.0, 1.0, 1.0], &[vec![0, 1], vec![2, 3]]).unwrap();
        assert!((paired.stderr.unwrap() - 0.5).abs() < 1e-15);
        assert!((mean_estimate(&[0.0, 1.0]).unwrap().stderr.unwrap() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn the_bootstrap_of_a_mean_is_near_its_closed_form() {
        let xs: Vec<f64> = (0..400).map(|i| f64::from(i % 3 == 0)).collect();
        let closed = mean_estimate(&xs).unwrap().stderr.unwrap();
        let of = |indices: &[usize]| mean(&indices.iter().map(|&i| xs[i]).collect::<Vec<_>>());
        let drawn = bootstrap_stderr(&singletons(xs.len()), 2000, BOOTSTRAP_SEED, of).unwrap();
        assert!((drawn / closed - 1.0).abs() < 0.05, "{drawn} against {closed}"); // 3 standard errors
    }

    #[test]
    fn clusters_keep_the_order_of_first_appearance() {
        let keys = [Some("b"), None, Some("a"), Some("b"), None];
        assert_eq!(clusters_of(keys), [vec![0, 3], vec![1], vec![2], vec![4]]);
    }

    proptest! {
        #[test]
        fn shifting_and_scaling_moves_the_mean_and_scales_the_error(
            xs in prop::collection::vec(-1e3..1e3_f64, 2..40), shift in -1e3..1e3_f64, scale in 0.1..10.0_f64,
        ) {
            let moved: Vec<f64> = xs.iter().map(|x| x * scale + shift).collect();
            let (a, b) = (mean_estimate(&xs).unwrap(), mean_estimate(&moved).unwrap());
            prop_assert!((a.value * scale + shift - b.value).abs() < 1e-8);
            prop_assert!((a.stderr.unwrap() * scale - b.stderr.unwrap()).abs() < 1e-8);
        }

        #[test]
        fn singleton_clusters_give_the_ordinary_standard_error(xs in prop::collection::vec(0.0..1.0_f64, 2..40)) {
            let clustered = clustered_mean_estimate(&xs, &singletons(xs.len())).unwrap();
            let plain = mean_estimate(&xs).unwrap();
            prop_assert!((clustered.stderr.unwrap() - plain.stderr.unwrap()).abs() < 1e-12);
        }

        #[test]
        fn the_bootstrap_gives_the_same_bytes_with_any_number_of_threads(
            xs in prop::collection::vec(0.0..1.0_f64, 2..20), seed in any::<u64>(),
        ) {
            let of = |indices: &[usize]| mean(&indices.iter().map(|&i| xs[i]).collect::<Vec<_>>());
            let run = || bootstrap_stderr(&singletons(xs.len()), 20, seed, of).map(f64::to_bits);
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(one.install(run), run());
        }

        #[test]
        fn the_mean_over_seeds_lies_between_the_extremes(xs in prop::collection::vec(0.0..1.0_f64, 1..9)) {
            let spread = over_seeds(&xs).unwrap();
            prop_assert!(spread.min <= spread.mean + 1e-12 && spread.mean <= spread.max + 1e-12);
        }
    }
}
