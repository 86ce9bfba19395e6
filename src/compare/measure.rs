//! How great a difference is, how far it can be trusted, and what chance would do.
//!
//! Which test, unless one is asked for:
//!
//! - *`McNemar`*, exact: accuracy, one seed in each run, no samples that belong together;
//! - *permutation*: any other metric or several seeds. It swaps the runs' answers sample by sample (passage by passage,
//!   for `MultiRC` and `ReCoRD`), is exact for any number of samples, and is `McNemar`'s test where both apply. The
//!   bootstrap's own p-value is only approximate: of equally good runs of CB's size (56 samples, macro F1) it calls 5.6 %
//!   different at alpha 5 %, and about twice as many as it should at the small alphas of corrected tests;
//! - *bootstrap*: runs with different numbers of seeds, whose answers can't be swapped;
//! - *seeds* (`--seeds-as-clusters`): Welch's test over seeds and samples. The others are about these very models, this
//!   one is about the training that made them: another seed gives another model.
//!
//! Intervals are always by the paired bootstrap over units, with seeds by Student's distribution.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::CompareError;
use super::pairing::Pair;
use crate::metrics::{self, Metric, Tally};
use crate::results::Logged;
use crate::stats::counts::Counts;
use crate::stats::intervals::{self, Interval};
use crate::stats::paired::{self, Paired};
use crate::stats::{BOOTSTRAP_SEED, mean, sample_std};

/// How runs are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Probability of a false alarm that is accepted, two-sided.
    pub alpha: f64,
    /// Are seeds drawn anew too?
    pub seeds_as_clusters: bool,
    /// A test in place of the usual one.
    pub test: Option<Test>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.05, seeds_as_clusters: false, test: None }
    }
}

/// A test of the difference of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Exact, of accuracies of single samples.
    Mcnemar,
    /// All swaps of the runs' answers, or 10,000 of them.
    Permutation,
    /// The bootstrap, moved to where there is no difference.
    Bootstrap,
    /// Welch's, over seeds and samples.
    Seeds,
    /// Of two numbers with their standard errors, where the samples of one run are not there.
    Unpaired,
}

impl Test {
    /// The smallest p-value that it can have of so many units; 0 where that is known from elsewhere.
    pub fn smallest_p(self, units: f64) -> f64 {
        match self {
            Self::Permutation | Self::Bootstrap => paired::smallest_p(units),
            Self::Unpaired => paired::smallest_unpaired_p(units),
            Self::Mcnemar | Self::Seeds => 0.0,
        }
    }
}

impl FromStr for Test {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }
}

/// A metric in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// In the first run: the mean over its seeds.
    pub first: f64,
    /// In the second run.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// Of the difference; `None` where there is too little to tell.
    pub stderr: Option<f64>,
    /// Of the difference.
    pub interval: Option<Interval>,
    /// Two-sided, not corrected; `None` where there is too little to tell.
    pub p: Option<f64>,
    /// The test it is from.
    pub test: Test,
    /// Samples.
    pub n: usize,
    /// What is drawn: samples, or passages.
    pub units: usize,
    /// Units that differ between the runs; `None` where they were not paired.
    pub changed: Option<u64>,
    /// Seeds of the first and of the second run.
    pub seeds: [usize; 2],
    /// Is a higher value better?
    pub higher_is_better: bool,
    /// What its values are multiplied by where they are shown (see `Metric::scale`).
    #[serde(skip)]
    pub scale: f64,
    /// What the standard error is made of, for power.
    #[serde(skip)]
    pub parts: Parts,
}

/// What a standard error is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// From the samples.
    pub samples: f64,
    /// Standard deviations over the seeds of both runs, where seeds are drawn.
    pub seeds: Option<[f64; 2]>,
}

impl Measured {
    /// The difference, turned so that more is better.
    pub fn gain(&self) -> f64 {
        if self.higher_is_better { self.difference } else { -self.difference }
    }

    /// Standard error and degrees of freedom with so many samples (in multiples of those there are) and seeds.
    pub fn with(&self, samples: f64, seeds: [usize; 2], more_samples_error: f64) -> (f64, f64) {
        let of_samples = (self.parts.samples.powi(2) + more_samples_error).sqrt() / samples.sqrt();
        let mut parts = vec![(of_samples, self.units as f64 * samples - 1.0)];
        for (deviation, seeds) in self.parts.seeds.iter().flatten().zip(seeds) {
            parts.push((deviation / (seeds as f64).sqrt(), seeds as f64 - 1.0));
        }
        paired::combine(&parts)
    }
}

/// A run's rows, its seeds side by side; the metric of a sum of them is the mean over the seeds.
struct Rows {
    rows: Vec<Vec<f64>>,
    tallies: Vec<Tally>,
}

fn rows(pair: &Pair, run: &[Logged], metric: &'static Metric) -> Result<Option<Rows>, CompareError> {
    let num_labels = pair.first.iter().chain(&pair.second).map(Logged::num_labels).max().unwrap_or(0);
    let not_logged = |source| CompareError::NotLogged { task: pair.task.clone(), source };
    let tallies = run.iter().map(|seed| seed.tally(metric, &pair.units, num_labels).map_err(not_logged));
    let tallies: Result<Vec<Option<Tally>>, _> = tallies.collect();
    let Some(tallies) = tallies?.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let row = |unit: usize| tallies.iter().flat_map(|tally| tally.rows[unit].iter().copied()).collect();
    Ok(Some(Rows { rows: (0..pair.units.len()).map(row).collect(), tallies }))
}

impl Rows {
    /// The value of a seed.
    fn seeds(&self) -> Option<Vec<f64>> {
        let value = |tally: &Tally| {
            let sum = |column: usize| tally.rows.iter().map(|row| row[column]).sum();
            (tally.value)(&(0..tally.rows.first()?.len()).map(sum).collect::<Vec<f64>>())
        };
        self.tallies.iter().map(value).collect()
    }
}

/// Measures a metric of a task in both runs. `None` where it has no value in one of them.
///
/// # Errors
/// If too little was logged, if the test does not fit, or if there is one seed where several are needed.
pub fn measure(pair: &Pair, metric: &str, settings: Settings) -> Result<Option<Measured>, CompareError> {
    let metric =
        metrics::find(metric).map_err(|source| CompareError::Metric { task: pair.task.clone(), source })?;
    let both = (rows(pair, &pair.first, metric)?, rows(pair, &pair.second, metric)?);
    let (Some(first), Some(second)) = both else { return Ok(None) };
    let Some(tally) = first.tallies.first() else { return Ok(None) };
    let (width, value) = (tally.rows.first().map_or(1, Vec::len), tally.value);
    let over_seeds = |totals: &[f64]| {
        let seeds = totals.chunks(width).map(value).collect::<Option<Vec<f64>>>()?;
        mean(&seeds)
    };
    let paired = Paired::new(&first.rows, &second.rows);
    let Some(drawn) = paired.bootstrap(paired::DRAWS, 1.0 - settings.alpha, over_seeds) else {
        return Ok(None);
    };
    let test = chosen(pair, metric, settings)?;
    let (p, seeds) = match test {
        Test::Mcnemar => {
            let (lost, gained) = changed_answers(&first.rows, &second.rows);
            (Some(paired::mcnemar(lost, gained)), None)
        }
        Test::Permutation => (paired.permutation(paired::DRAWS, over_seeds), None),
        Test::Bootstrap if paired.changed() == 0 => (Some(1.0), None),
        // A bootstrap of a few units that all changed alike has no spread; they are no more evidence for that.
        Test::Bootstrap => (Some(drawn.bootstrap_p.max(test.smallest_p(paired.len() as f64))), None),
        Test::Seeds | Test::Unpaired => (None, first.seeds().zip(second.seeds())),
    };
    let seeds = seeds.filter(|_| drawn.stderr.is_some());
    let deviations = seeds.and_then(|(a, b)| Some([sample_std(&a)?, sample_std(&b)?]));
    let mut measured = Measured {
        first: drawn.first,
        second: drawn.second,
        difference: drawn.difference(),
        stderr: drawn.stderr,
        interval: drawn.interval,
        p,
        test,
        n: pair.samples(),
        units: pair.units.len(),
        changed: Some(paired.changed()),
        seeds: [pair.first.len(), pair.second.len()],
        higher_is_better: metric.higher_is_better,
        scale: metric.scale(),
        parts: Parts { samples: drawn.stderr.unwrap_or(0.0), seeds: deviations },
    };
    if deviations.is_some() {
        by_seeds(&mut measured, settings.alpha);
    }
    Ok(Some(measured))
}

/// Has a run of the pair a value of the metric?
///
/// # Errors
/// If too little was logged.
pub fn has_value(pair: &Pair, run: &[Logged], metric: &str) -> Result<bool, CompareError> {
    let metric =
        metrics::find(metric).map_err(|source| CompareError::Metric { task: pair.task.clone(), source })?;
    Ok(rows(pair, run, metric)?.and_then(|found| found.seeds()).is_some())
}

/// The interval of a metric in the second run: Wilson's for an accuracy of single samples, else by the bootstrap.
///
/// # Errors
/// If too little was logged.
pub fn value_interval(pair: &Pair, metric: &str, level: f64) -> Result<Option<Interval>, CompareError> {
    let metric =
        metrics::find(metric).map_err(|source| CompareError::Metric { task: pair.task.clone(), source })?;
    let Some(found) = rows(pair, &pair.second, metric)? else { return Ok(None) };
    let Some(tally) = found.tallies.first() else { return Ok(None) };
    if metric.name == "accuracy" && pair.is_unclustered() && pair.second.len() == 1 {
        let right = found.rows.iter().filter(|row| row[0] > 0.5).count();
        return Ok(intervals::wilson(right, found.rows.len(), level));
    }
    let (width, value) = (tally.rows.first().map_or(1, Vec::len), tally.value);
    let over_seeds = |totals: &[f64]| mean(&totals.chunks(width).map(value).collect::<Option<Vec<f64>>>()?);
    let counts = Counts::new(found.rows);
    Ok(intervals::bootstrap_interval(&counts, paired::DRAWS, BOOTSTRAP_SEED, level, over_seeds))
}

/// Standard error, interval and p-value with the spread of the seeds in them.
pub fn by_seeds(measured: &mut Measured, alpha: f64) {
    let (stderr, freedom) = measured.with(1.0, measured.seeds, 0.0);
    let reach = paired::t_quantile(1.0 - alpha / 2.0, freedom) * stderr;
    let (low, high) = (measured.difference - reach, measured.difference + reach);
    measured.stderr = Some(stderr);
    measured.interval = Some(Interval { low, high, level: 1.0 - alpha });
    measured.p = paired::t_test(measured.difference, stderr, freedom);
}

fn chosen(pair: &Pair, metric: &Metric, settings: Settings) -> Result<Test, CompareError> {
    let [first, second] = [pair.first.len(), pair.second.len()];
    let refused = |what: &str| {
        Err(CompareError::NotComparable { reasons: vec![format!("{} {}: {what}", pair.task, metric.name)] })
    };
    let is_simple = metric.name == "accuracy" && pair.is_unclustered() && first == 1 && second == 1;
    match settings.test {
        _ if settings.seeds_as_clusters || settings.test == Some(Test::Seeds) => {
            if first < 2 || second < 2 {
                return Err(CompareError::Seeds { task: pair.task.clone(), first, second });
            }
            Ok(Test::Seeds)
        }
        Some(Test::Mcnemar) if !is_simple => {
            refused("the test `mcnemar` is for accuracies of single samples with one seed; use `permutation`")
        }
        Some(Test::Permutation) if first != second => {
            refused("the test `permutation` needs as many seeds in both runs; use `bootstrap`")
        }
        Some(test) => Ok(test),
        None if is_simple => Ok(Test::Mcnemar),
        None if first == second => Ok(Test::Permutation),
        None => Ok(Test::Bootstrap),
    }
}

/// Samples that only the first run got right, and samples that only the second did.
fn changed_answers(first: &[Vec<f64>], second: &[Vec<f64>]) -> (u64, u64) {
    let count =
        |is: fn(f64, f64) -> bool| first.iter().zip(second).filter(|(a, b)| is(a[0], b[0])).count() as u64;
    (count(|a, b| a > b), count(|a, b| a < b))
}
