//! Did the second run do worse than the first on the same samples? Paired tests, and their correction for many.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, StudentsT};
use statrs::function::gamma::ln_gamma;

use super::counts::{Counts, add};
use super::intervals::{self, Interval};
use super::{BOOTSTRAP_SEED, sample_std};

/// Draws of a paired bootstrap, and of a permutation test that can't be enumerated.
pub const DRAWS: usize = 10_000;
/// Swaps that are enumerated, in place of drawn, if there are no more of them.
const ENUMERATED: u64 = 20_000;
const BLOCK: usize = 128;

/// The probability, if neither run is better, of an imbalance at least as great as that between the samples that
/// only the first got right (`lost`) and those that only the second did (`gained`); two-sided and exact. 1 where no
/// sample changed.
///
/// Source: `McNemar` (1947), "Note on the sampling error of the difference between correlated proportions or
/// percentages"; exact as a sign test.
pub fn mcnemar(lost: u64, gained: u64) -> f64 {
    let changed = lost + gained;
    if changed == 0 {
        return 1.0;
    }
    (2.0 * fair(changed).cdf(lost.min(gained))).min(1.0)
}

/// Does a test with this p-value reject at `alpha`? Exact tests may reach alpha itself, but for rounding.
pub fn rejects(p: f64, alpha: f64) -> bool {
    p <= alpha + 1e-12
}

/// The smallest p-value that a permutation test can have of so many units that are paired: that of all of them being
/// worse. Where swaps are drawn, none is below one of the draws.
pub fn smallest_p(units: f64) -> f64 {
    (1.0 - units).exp2().max(1.0 / (DRAWS + 1) as f64)
}

/// The same of two runs of so many units each that are not paired: of all ways to part them between the runs, the one
/// seen and its mirror image.
pub fn smallest_unpaired_p(units: f64) -> f64 {
    (2.0 * (2.0 * ln_gamma(units + 1.0) - ln_gamma(2.0 * units + 1.0)).exp()).min(1.0)
}

/// Values of a statistic that are as near as this are equal but for rounding, which grows with them.
fn rounding(first: f64, second: f64) -> f64 {
    1e-12 * first.abs().max(second.abs()).max(1.0)
}

/// The number of heads of so many fair coins.
fn fair(coins: u64) -> Binomial {
    Binomial::new(0.5, coins).expect("a half is a probability")
}

/// Two runs over the same units: each unit's row in the first run and in the second.
///
/// A statistic is a function of a run's total row (see [`Counts`]); differences are second minus first.
#[derive(Clone, Debug)]
pub struct Paired {
    joint: Counts,
    width: usize,
    can_swap: bool,
}

/// A difference, second run minus first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The statistic of the first run.
    pub first: f64,
    /// The statistic of the second run.
    pub second: f64,
    /// Standard error of the difference, by the paired bootstrap; `None` for a single unit.
    pub stderr: Option<f64>,
    /// Interval of the difference, by the paired bootstrap: [`intervals::percentile`]; `None` for a single unit.
    pub interval: Option<Interval>,
    /// The two-sided p-value by the bootstrap, moved to where there is no difference: the share of draws at least as
    /// far from the difference as that is from 0.
    pub bootstrap_p: f64,
}

impl Difference {
    /// Second minus first.
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

impl Paired {
    /// Pairs the rows of two runs, unit by unit.
    ///
    /// # Panics
    /// If one has more units than the other: runs that can't be paired are refused before.
    pub fn new(first: &[Vec<f64>], second: &[Vec<f64>]) -> Self {
        assert_eq!(first.len(), second.len(), "the runs have the same units");
        let width = first.first().map_or(0, Vec::len);
        let can_swap = second.first().map_or(0, Vec::len) == width;
        let rows = first.iter().zip(second).map(|(a, b)| [a.as_slice(), b.as_slice()].concat());
        Self { joint: Counts::new(rows), width, can_swap }
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.joint.len()
    }

    /// Are there no units?
    pub fn is_empty(&self) -> bool {
        self.joint.is_empty()
    }

    /// Number of units whose rows differ between the runs.
    pub fn changed(&self) -> u64 {
        self.changes().map(|(_, times)| times).sum()
    }

    /// The difference with what the paired bootstrap says of it: units are drawn with replacement, both runs' rows
    /// together. `None` where the statistic is undefined.
    ///
    /// Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapters 8 and 16.
    pub fn bootstrap<F>(&self, draws: usize, level: f64, statistic: F) -> Option<Difference>
    where
        F: Fn(&[f64]) -> Option<f64> + Sync,
    {
        let both = |totals: &[f64]| {
            let (first, second) = totals.split_at(self.width);
            Some((statistic(first)?, statistic(second)?))
        };
        let (first, second) = both(&self.joint.totals())?;
        let difference = second - first;
        let drawn = self.joint.bootstrap(draws, BOOTSTRAP_SEED, |totals| both(totals).map(|(a, b)| b - a));
        let seen = difference.abs() - rounding(first, second);
        let far = drawn.iter().filter(|&&draw| (draw - difference).abs() >= seen).count();
        let interval = intervals::percentile(&drawn, level)?;
        let has_spread = self.len() > 1;
        Some(Difference {
            first,
            second,
            stderr: sample_std(&drawn).filter(|_| has_spread),
            interval: has_spread.then_some(interval),
            bootstrap_p: (far + 1) as f64 / (drawn.len() + 1) as f64,
        })
    }

    /// The probability, if it does not matter which run a row came from, of a difference at least as great as the one
    /// seen; two-sided. All swaps of changed units are enumerated where they are few, else drawn. For the accuracy of
    /// single samples it is [`mcnemar`]. `None` where runs have no common scale (different numbers of seeds), or the
    /// statistic is undefined.
    ///
    /// Source: Noreen (1989), "Computer-intensive methods for testing hypotheses", section 2.
    pub fn permutation<F>(&self, draws: usize, statistic: F) -> Option<f64>
    where
        F: Fn(&[f64]) -> Option<f64> + Sync,
    {
        let totals = self.joint.totals();
        let (first, second) = totals.split_at(self.width);
        let values = (statistic(first)?, statistic(second)?);
        let seen = (values.1 - values.0).abs() - rounding(values.0, values.1);
        if !self.can_swap {
            return None;
        }
        let changes: Vec<(Vec<f64>, u64)> = self.changes().collect();
        let is_far = |swapped: &[f64]| {
            let (mut a, mut b) = (first.to_vec(), second.to_vec());
            add(&mut a, swapped, 1.0);
            add(&mut b, swapped, -1.0);
            // Where a swap leaves no value, it must not make the difference look rare.
            statistic(&b).zip(statistic(&a)).is_none_or(|(b, a)| (b - a).abs() >= seen)
        };
        let ways = changes.iter().try_fold(1_u64, |ways, (_, times)| {
            ways.checked_mul(times + 1).filter(|&ways| ways <= ENUMERATED)
        });
        if ways.is_some() {
            return Some(enumerate(&changes, &mut vec![0.0; self.width], 1.0, &is_far).min(1.0));
        }
        let block = |block: usize| -> usize {
            let mut rng = ChaCha8Rng::seed_from_u64(BOOTSTRAP_SEED);
            rng.set_stream(block as u64);
            let mut swapped = vec![0.0; self.width];
            let draw = |_: &usize| {
                swapped.fill(0.0);
                for (row, times) in &changes {
                    add(&mut swapped, row, heads(&mut rng, *times));
                }
                is_far(&swapped)
            };
            (0..BLOCK.min(draws - block * BLOCK)).filter(draw).count()
        };
        let far: usize = (0..draws.div_ceil(BLOCK)).into_par_iter().map(block).sum();
        Some((far + 1) as f64 / (draws + 1) as f64)
    }

    /// What swapping one unit adds to the first run and takes from the second, and how many units there are of which
    /// it is so; only units that changed.
    fn changes(&self) -> impl Iterator<Item = (Vec<f64>, u64)> {
        let change = |(row, times): (&[f64], u64)| {
            let (first, second) = row.split_at(self.width);
            let change = || first.iter().zip(second).map(|(a, b)| b - a).collect();
            (first != second).then(|| (change(), times))
        };
        self.joint.kinds().filter_map(change)
    }
}

/// Probability of the swaps for which `is_far` holds, over all of them.
fn enumerate(
    changes: &[(Vec<f64>, u64)],
    swapped: &mut Vec<f64>,
    probability: f64,
    is_far: &impl Fn(&[f64]) -> bool,
) -> f64 {
    let Some(((row, times), others)) = changes.split_first() else {
        return if is_far(swapped) { probability } else { 0.0 };
    };
    let before = swapped.clone();
    let mut sum = 0.0;
    for count in 0..=*times {
        swapped.clone_from(&before);
        add(swapped, row, count as f64);
        sum += enumerate(others, swapped, probability * fair(*times).pmf(count), is_far);
    }
    *swapped = before;
    sum
}

/// Heads of so many fair coins: the ones of random words.
fn heads(rng: &mut ChaCha8Rng, coins: u64) -> f64 {
    let mut heads = 0;
    let mut left = coins;
    while left > 0 {
        let bits = left.min(64);
        heads += (rng.next_u64() >> (64 - bits)).count_ones();
        left -= bits;
    }
    f64::from(heads)
}

/// Two-sided p-value of a difference of `stderr`, by Student's distribution with so many degrees of freedom (infinite:
/// the normal one). 1 for no difference; `None` for a difference without any spread to judge it by.
pub fn t_test(difference: f64, stderr: f64, freedom: f64) -> Option<f64> {
    if difference == 0.0 {
        return Some(1.0);
    }
    let t = difference.abs() / stderr;
    (stderr > 0.0).then(|| 2.0 * (1.0 - t_cdf(t, freedom)))
}

/// Distribution function of Student's distribution.
pub fn t_cdf(t: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(student) if freedom < 1e6 => student.cdf(t),
        _ => intervals::normal_cdf(t),
    }
}

/// Quantile of Student's distribution.
pub fn t_quantile(p: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(student) if freedom < 1e6 && p > 0.0 && p < 1.0 => student.inverse_cdf(p),
        _ => intervals::normal_quantile(p),
    }
}

/// A standard error made of independent parts, each with its degrees of freedom, and the freedom of the whole.
///
/// Source: Satterthwaite (1946), "An approximate distribution of estimates of variance components".
pub fn combine(parts: &[(f64, f64)]) -> (f64, f64) {
    let variance: f64 = parts.iter().map(|(stderr, _)| stderr * stderr).sum();
    let shares = parts.iter().filter(|(stderr, _)| *stderr > 0.0).map(|(s, freedom)| s.powi(4) / freedom);
    (variance.sqrt(), variance * variance / shares.sum::<f64>())
}

/// P-values corrected for being several, in their order: each may be held against the one alpha, and the probability
/// of any false alarm among them stays at it, however they depend on each other.
///
/// Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        highest = highest.max(p_values[i] * (p_values.len() - rank) as f64).min(1.0);
        corrected[i] = highest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(totals: &[f64]) -> Option<f64> {
        (totals[1] > 0.0).then(|| totals[0] / totals[1])
    }

    /// Right in both, only in the first, only in the second, in none.
    fn accuracies(both: usize, lost: usize, gained: usize, none: usize) -> Paired {
        let rows = |right: [usize; 4]| -> Vec<Vec<f64>> {
            let times = [both, lost, gained, none];
            times.iter().zip(right).flat_map(|(&n, right)| vec![vec![right as f64, 1.0]; n]).collect()
        };
        Paired::new(&rows([1, 1, 0, 0]), &rows([1, 0, 1, 0]))
    }

    #[test]
    fn mcnemar_is_a_sign_test_of_what_changed() {
        // 5 of 5: 2 / 32; 1 of 6: 2 * (1 + 6) / 64; a tie and nothing at all: 1.
        assert!((mcnemar(5, 0) - 0.0625).abs() < 1e-12);
        assert!((mcnemar(1, 5) - 0.218_75).abs() < 1e-12);
        assert!((mcnemar(3, 3) - 1.0).abs() < 1e-12 && (mcnemar(0, 0) - 1.0).abs() < 1e-12);
        assert!((mcnemar(1, 0) - 1.0).abs() < 1e-12, "one sample is never evidence");
    }

    #[test]
    fn one_changed_sample_is_no_evidence_by_any_test() {
        let one = accuracies(40, 1, 0, 15);
        assert!((one.permutation(DRAWS, share).unwrap() - 1.0).abs() < 1e-12);
        let difference = one.bootstrap(DRAWS, 0.95, share).unwrap();
        assert!(difference.bootstrap_p > 0.5, "{difference:?}");
        assert!(difference.interval.unwrap().high >= 0.0, "{difference:?}");
        assert!((difference.difference() + 1.0 / 56.0).abs() < 1e-12);
    }

    #[test]
    fn one_unit_has_no_interval_and_so_few_have_no_small_p_value() {
        let one = Paired::new(&[vec![1.0, 1.0]], &[vec![0.0, 1.0]]);
        let difference = one.bootstrap(DRAWS, 0.95, share).unwrap();
        assert_eq!((difference.stderr, difference.interval), (None, None));
        // 2 / 2^5, and one of 10,001 draws; unpaired 2 / C(2, 1) and 2 / C(10, 5).
        assert!((smallest_p(1.0) - 1.0).abs() < 1e-12 && (smallest_p(5.0) - 0.0625).abs() < 1e-12);
        assert!((smallest_p(99.0) - 1.0 / 10_001.0).abs() < 1e-12);
        for (units, p) in [(1.0, 1.0), (5.0, 2.0 / 252.0)] {
            assert!((smallest_unpaired_p(units) - p).abs() < 1e-12, "{units}");
        }
    }

    #[test]
    fn the_mirror_image_of_a_great_perplexity_is_as_far() {
        // Log-probabilities and words of five texts that all got worse: of 2^5 swaps none and all are as far, 2 / 32.
        let perplexity = |totals: &[f64]| Some((-totals[0] / totals[1]).exp());
        for (nats, worse) in [(2.2, 0.7), (2.5, 0.1), (2.5, 0.7)] {
            let texts = |worse: f64| -> Vec<Vec<f64>> {
                (1..=5).map(f64::from).map(|i| vec![-(nats + worse) * (3.1 * i + 0.9), 1.3 * i]).collect()
            };
            let p = Paired::new(&texts(0.0), &texts(worse)).permutation(DRAWS, perplexity).unwrap();
            assert!((p - 0.0625).abs() < 1e-12, "{nats} and {worse} more: {p}");
        }
    }

    #[test]
    fn runs_with_different_numbers_of_seeds_have_no_permutation() {
        let paired = Paired::new(&[vec![1.0, 1.0, 1.0, 1.0]], &[vec![1.0, 1.0]]);
        assert_eq!(paired.permutation(DRAWS, share), None);
    }

    #[test]
    fn the_drawn_permutation_test_is_near_the_enumerated_one() {
        // Values 1 to 14 in place of 0 and 1: fourteen kinds of changes, 2^14 ways, which are enumerated.
        let first: Vec<Vec<f64>> = (1..=14).map(|x| vec![f64::from(x), 1.0]).collect();
        let second: Vec<Vec<f64>> =
            (1..=14).map(|x| vec![if x % 4 == 0 { 1.3 * f64::from(x) } else { 0.0 }, 1.0]).collect();
        let exact = Paired::new(&first, &second).permutation(DRAWS, share).unwrap();
        // One change more of the smallest kind: 2^15 ways, which are drawn.
        let with = |rows: &[Vec<f64>], x: f64| [rows, &[vec![x, 1.0]]].concat();
        let drawn = Paired::new(&with(&first, 0.001), &with(&second, 0.0)).permutation(DRAWS, share).unwrap();
        assert!((exact - drawn).abs() < 4.0 * (exact * (1.0 - exact) / 1e4).sqrt() + 1e-3, "{exact} {drawn}");
    }

    #[test]
    fn holm_multiplies_the_smallest_most_and_keeps_the_order() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        // 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1, but not below 0.06.
        for (found, expected) in corrected.iter().zip([0.06, 0.03, 0.06]) {
            assert!((found - expected).abs() < 1e-12, "{corrected:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn combined_parts_are_as_free_as_welch_says() {
        // Two equal parts with 4 degrees each: 8 in all; a part without spread changes nothing.
        let (stderr, freedom) = combine(&[(3.0, 4.0), (3.0, 4.0), (0.0, 1.0)]);
        assert!((stderr - 18.0_f64.sqrt()).abs() < 1e-12 && (freedom - 8.0).abs() < 1e-12);
        assert_eq!(t_test(0.1, 0.0, 3.0), None);
        assert_eq!(t_test(0.0, 0.0, 3.0), Some(1.0));
    }

    proptest! {
        #[test]
        fn for_single_accuracies_the_permutation_test_is_mcnemars(
            both in 0_usize..30, lost in 0_usize..30, gained in 0_usize..30, none in 0_usize..30,
        ) {
            prop_assume!(both + lost + gained + none > 0);
            let p = accuracies(both, lost, gained, none).permutation(DRAWS, share).unwrap();
            prop_assert!((p - mcnemar(lost as u64, gained as u64)).abs() < 1e-9, "{p}");
        }

        #[test]
        fn swapping_the_runs_turns_the_difference_and_keeps_the_p_value(lost in 0_usize..9, gained in 0_usize..9) {
            let [one, other] = [accuracies(20, lost, gained, 9), accuracies(20, gained, lost, 9)];
            let value = |paired: &Paired| paired.bootstrap(50, 0.95, share).unwrap().difference();
            prop_assert!((value(&one) + value(&other)).abs() < 1e-12);
            let [p, q] = [one, other].map(|paired| paired.permutation(DRAWS, share).unwrap());
            prop_assert!((p - q).abs() < 1e-12);
        }

        #[test]
        fn a_corrected_p_value_is_never_smaller_and_at_most_one(ps in prop::collection::vec(0.0..1.0_f64, 1..12)) {
            for (p, corrected) in ps.iter().zip(holm(&ps)) {
                prop_assert!(corrected >= *p && corrected <= 1.0);
            }
        }

        #[test]
        fn paired_draws_are_the_same_with_any_number_of_threads(xs in prop::collection::vec(-3_i8..4, 18..30)) {
            let first: Vec<Vec<f64>> = xs.iter().enumerate().map(|(i, _)| vec![i as f64, 1.0]).collect();
            let second: Vec<Vec<f64>> =
                xs.iter().enumerate().map(|(i, x)| vec![i as f64 + f64::from(*x) * 0.1 * (i + 1) as f64, 1.0]).collect();
            let paired = Paired::new(&first, &second);
            let run = || (paired.permutation(300, share), paired.bootstrap(300, 0.9, share));
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(one.install(run), run());
        }
    }
}
