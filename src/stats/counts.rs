//! Observations as counts that add up.
//!
//! Accuracy, F1 and Matthews correlation depend on a confusion table alone, a mean on a sum and a number: what each
//! unit (a sample, or a cluster of them) adds to such a table is its row, and a statistic is a function of the sum of
//! rows. Units with equal rows are interchangeable, so that only the number of each kind matters: a resample of a
//! thousand samples is a draw of four numbers.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use rayon::prelude::*;

/// Draws that share a stream of random numbers: the unit of work of a thread, so that the number of threads changes
/// nothing.
const BLOCK: usize = 128;

/// Rows of counts, one a unit of resampling.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    width: usize,
    /// The kinds of rows, in order of first appearance.
    kinds: Vec<Vec<f64>>,
    /// How many units are of each kind.
    times: Vec<u64>,
    /// The kind of each unit.
    units: Vec<u32>,
}

impl Counts {
    /// Counts the rows, which must all have the same length.
    pub fn new(rows: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let mut counts = Self { width: 0, kinds: Vec::new(), times: Vec::new(), units: Vec::new() };
        let mut seen: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
        for row in rows {
            let kind = *seen.entry(row.iter().map(|x| x.to_bits()).collect()).or_insert(counts.kinds.len());
            if kind == counts.kinds.len() {
                counts.width = row.len();
                counts.kinds.push(row);
                counts.times.push(0);
            }
            counts.times[kind] += 1;
            counts.units.push(kind as u32);
        }
        counts
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Are there no units?
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The kinds of rows, each with the number of its units.
    pub fn kinds(&self) -> impl Iterator<Item = (&[f64], u64)> {
        self.kinds.iter().map(Vec::as_slice).zip(self.times.iter().copied())
    }

    /// The sum of all rows.
    pub fn totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.width];
        for (row, times) in self.kinds() {
            add(&mut totals, row, times as f64);
        }
        totals
    }

    /// The statistic of `draws` bootstrap resamples of the units, in the order of the draws; those for which it is
    /// undefined are left out. Few kinds are drawn from the multinomial distribution of their numbers, many unit by
    /// unit; both are the same bootstrap. The same for any number of threads.
    ///
    /// Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 6.
    pub fn bootstrap<F>(&self, draws: usize, seed: u64, statistic: F) -> Vec<f64>
    where
        F: Fn(&[f64]) -> Option<f64> + Sync,
    {
        if self.is_empty() {
            return Vec::new();
        }
        let by_kinds = self.kinds.len() * 8 <= self.units.len();
        let block = |block: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(block as u64);
            let mut totals = vec![0.0; self.width];
            let in_block = BLOCK.min(draws - block * BLOCK);
            let mut values = Vec::with_capacity(in_block);
            for _ in 0..in_block {
                totals.fill(0.0);
                if by_kinds {
                    self.draw_kinds(&mut rng, &mut totals);
                } else {
                    self.draw_units(&mut rng, &mut totals);
                }
                values.extend(statistic(&totals));
            }
            values
        };
        let blocks: Vec<Vec<f64>> = (0..draws.div_ceil(BLOCK)).into_par_iter().map(block).collect();
        blocks.concat()
    }

    fn draw_units(&self, rng: &mut ChaCha8Rng, totals: &mut [f64]) {
        for _ in 0..self.units.len() {
            let kind = self.units[rng.random_range(0..self.units.len())];
            add(totals, &self.kinds[kind as usize], 1.0);
        }
    }

    /// A multinomial draw, kind by kind: each is binomial, given those before it.
    fn draw_kinds(&self, rng: &mut ChaCha8Rng, totals: &mut [f64]) {
        let (mut to_draw, mut weight) = (self.units.len() as u64, self.units.len() as u64);
        for (row, times) in self.kinds() {
            let drawn = if times == weight {
                to_draw
            } else {
                let share = times as f64 / weight as f64;
                Binomial::new(to_draw, share).expect("a share is a probability").sample(rng)
            };
            add(totals, row, drawn as f64);
            (to_draw, weight) = (to_draw - drawn, weight - times);
            if to_draw == 0 {
                break;
            }
        }
    }
}

/// Adds `times` copies of a row.
pub(super) fn add(totals: &mut [f64], row: &[f64], times: f64) {
    totals.iter_mut().zip(row).for_each(|(total, x)| *total += times * x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{BOOTSTRAP_SEED, mean, sample_std};
    use proptest::prelude::*;
    use std::time::Instant;

    fn share(totals: &[f64]) -> Option<f64> {
        (totals[1] > 0.0).then(|| totals[0] / totals[1])
    }

    #[test]
    fn equal_rows_are_one_kind_and_the_totals_are_the_sum() {
        let counts = Counts::new([vec![1.0, 1.0], vec![0.0, 1.0], vec![1.0, 1.0]]);
        assert_eq!(counts.kinds().collect::<Vec<_>>(), [(&[1.0, 1.0][..], 2), (&[0.0, 1.0][..], 1)]);
        assert_eq!((counts.totals(), counts.len()), (vec![2.0, 3.0], 3));
        assert!(Counts::new([]).is_empty() && Counts::new([]).bootstrap(3, 1, share).is_empty());
    }

    #[test]
    fn a_hundred_thousand_draws_of_an_f1_take_well_under_a_second() {
        // 900 hits, 150 misses, 3,798 samples that F1 does not see.
        let kinds = [(vec![1.0, 0.0], 900), (vec![0.0, 1.0], 150), (vec![0.0, 0.0], 3798)];
        let counts = Counts::new(kinds.iter().flat_map(|(row, times)| vec![row.clone(); *times]));
        let f1 = |t: &[f64]| (t[0] > 0.0).then(|| 2.0 * t[0] / (2.0 * t[0] + t[1]));
        let start = Instant::now();
        let draws = counts.bootstrap(100_000, BOOTSTRAP_SEED, f1);
        assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
        // Delta method: F1 = 2h / (2h + m); its standard error here is 0.00578.
        let (h, m) = (900.0_f64, 150.0_f64);
        let total = 2.0 * h + m;
        let closed = 2.0 / total.powi(2) * (m * m * h + h * h * m).sqrt();
        let drawn = sample_std(&draws).unwrap();
        assert!((drawn / closed - 1.0).abs() < 0.02, "{drawn} against {closed}");
        assert!((mean(&draws).unwrap() - 2.0 * h / total).abs() < 2e-4);
    }

    #[test]
    fn drawing_kinds_and_drawing_units_are_the_same_bootstrap() {
        let rows = |n: usize| (0..n).map(|i| vec![f64::from(u8::from(i % 3 == 0)), 1.0]);
        let counts = Counts::new(rows(60)); // 2 kinds of 60 units: by kinds
        let mut listed = counts.clone();
        listed.kinds = rows(60).collect(); // the same, every unit a kind of its own: by units
        (listed.units, listed.times) = ((0..60).collect(), vec![1; 60]);
        let [by_kinds, by_units] = [&counts, &listed].map(|c| c.bootstrap(20_000, 1, share));
        let (a, b) = (sample_std(&by_kinds).unwrap(), sample_std(&by_units).unwrap());
        // sqrt(1/3 * 2/3 / 60) = 0.06086; the standard deviation of 20,000 draws is known to 0.5 %.
        assert!((a / 0.060_86 - 1.0).abs() < 0.02 && (b / 0.060_86 - 1.0).abs() < 0.02, "{a} {b}");
    }

    proptest! {
        #[test]
        fn draws_are_the_same_with_any_number_of_threads(
            rows in prop::collection::vec(0_u8..3, 2..60), seed in any::<u64>(),
        ) {
            let counts = Counts::new(rows.iter().map(|&x| vec![f64::from(x), 1.0]));
            let run = || counts.bootstrap(300, seed, share);
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(one.install(run), run());
        }

        #[test]
        fn a_resample_has_as_many_units_as_there_are(rows in prop::collection::vec(0_u8..4, 1..80)) {
            let counts = Counts::new(rows.iter().map(|&x| vec![f64::from(x), 1.0]));
            let sizes = counts.bootstrap(50, 7, |totals| Some(totals[1]));
            prop_assert!(sizes.iter().all(|&size| (size - rows.len() as f64).abs() < 1e-9));
        }
    }
}
