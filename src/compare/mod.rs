//! Two runs on the same samples: is the second better, worse, or can't one tell?
//!
//! Samples are paired, so that what makes a sample hard cancels. The difference of each metric comes with an interval
//! by the paired bootstrap and a p-value by an exact or permutation test ([`measure`] says which), all p-values are
//! corrected for being several (Holm), and runs that did not see the same samples are refused ([`pairing`]).

pub mod measure;
pub mod pairing;

use serde::Serialize;

use crate::metrics::MetricError;
use crate::results::logged::NotLogged;
use crate::results::{Run, RunError};
use crate::stats::paired;

pub use measure::{Measured, Settings, Test};
pub use pairing::{Flip, Pair, find_task, notes, obstacles};

/// Why two runs could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They did not do the same.
    #[error("the runs can't be compared: {}", reasons.join("; "))]
    NotComparable {
        /// One a difference that matters.
        reasons: Vec<String>,
    },
    /// They have no task in common.
    #[error("the runs have no task in common: one has {}, the other {}", first.join(", "), second.join(", "))]
    NothingShared {
        /// Tasks of the first.
        first: Vec<String>,
        /// Tasks of the second.
        second: Vec<String>,
    },
    /// Seeds can't be taken as drawn when there is one.
    #[error(
        "{task}: --seeds-as-clusters needs two seeds in each run or more, found {first} and {second}; \
        run with --seeds 1,2,3"
    )]
    Seeds {
        /// The task.
        task: String,
        /// Seeds of the first run.
        first: usize,
        /// Seeds of the second run.
        second: usize,
    },
    /// A run's samples can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run's samples don't tell enough.
    #[error("{task}: too little was logged to compare")]
    NotLogged {
        /// The task.
        task: String,
        /// The cause.
        source: NotLogged,
    },
    /// A record names a metric of another program.
    #[error("{task}: this program does not know one of its metrics")]
    Metric {
        /// The task.
        task: String,
        /// The cause.
        source: MetricError,
    },
}

/// What a difference amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Worse beyond what chance explains.
    Worse,
    /// Better beyond what chance explains.
    Better,
    /// Chance explains it.
    Unclear,
    /// No sample changed.
    Same,
}

/// One metric of one task.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The task's name in the records.
    pub task: String,
    /// Our name of the metric.
    pub metric: String,
    /// Values, interval and p-value.
    #[serde(flatten)]
    pub measured: Measured,
    /// The p-value, corrected for all rows.
    pub corrected_p: f64,
    /// What it amounts to.
    pub outcome: Outcome,
}

/// The samples of a task that came out differently.
#[derive(Clone, Debug, Serialize)]
pub struct Flips {
    /// The task's name in the records.
    pub task: String,
    /// Those that got worse, the greatest loss first.
    pub lost: Vec<Flip>,
    /// Those that got better, the greatest gain first.
    pub gained: Vec<Flip>,
}

/// A comparison of two runs, second minus first.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// One a task and metric that both have.
    pub rows: Vec<Row>,
    /// Metrics that the first run has a value of and the second does not, as in `cb accuracy`.
    pub lost: Vec<String>,
    /// One a task.
    pub flips: Vec<Flips>,
    /// What to know beside it: tasks of one run alone, settings that differ.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Did any metric get worse beyond what chance explains? Those that were lost don't count.
    pub fn any_worse(&self) -> bool {
        self.rows.iter().any(|row| row.outcome == Outcome::Worse)
    }
}

/// Compares the tasks that two runs have in common.
///
/// # Errors
/// If they have none, if they scored other samples or by another version of a task, if samples are missing, or if no
/// metric has a value in both runs.
pub fn compare(first: &Run, second: &Run, settings: Settings) -> Result<Comparison, CompareError> {
    let names =
        |run: &Run| run.record.glm_eval.tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>();
    let shared: Vec<String> =
        names(first).into_iter().filter(|name| find_task(second, name).is_some()).collect();
    if shared.is_empty() {
        return Err(CompareError::NothingShared { first: names(first), second: names(second) });
    }
    let tasks = |name: &String| find_task(first, name).zip(find_task(second, name));
    let mut reasons = Vec::new();
    for (a, b) in shared.iter().filter_map(tasks) {
        reasons.extend(obstacles(a, b));
        reasons.extend(pairing::other_count(a, b));
    }
    if !reasons.is_empty() {
        return Err(CompareError::NotComparable { reasons });
    }
    let (mut rows, mut flips) = (Vec::new(), Vec::new());
    let (mut lost, mut missing) = (Vec::new(), Vec::new());
    for name in &shared {
        let pair = Pair::read(first, second, name)?;
        for metric in pair.metrics() {
            let Some(measured) = measure::measure(&pair, metric, settings)? else {
                let first_has = measure::has_value(&pair, &pair.first, metric)?;
                let second_has = measure::has_value(&pair, &pair.second, metric)?;
                let lacks = match (first_has, second_has) {
                    (true, false) => second.path.display().to_string(),
                    (false, true) => first.path.display().to_string(),
                    _ => "either run".into(),
                };
                if first_has && !second_has {
                    lost.push(format!("{name} {metric}"));
                }
                missing.push(format!("{name}: {metric} has no value in {lacks}"));
                continue;
            };
            rows.push(Row {
                task: name.clone(),
                metric: metric.clone(),
                outcome: Outcome::Unclear,
                corrected_p: 1.0,
                measured,
            });
        }
        let (worse, better) = pair.flips();
        flips.push(Flips { task: name.clone(), lost: worse, gained: better });
    }
    if rows.is_empty() {
        if missing.is_empty() {
            missing.push("they have no metric in common".into());
        }
        return Err(CompareError::NotComparable { reasons: missing });
    }
    let p_values: Vec<f64> = rows.iter().map(|row| row.measured.p.unwrap_or(1.0)).collect();
    for (row, corrected) in rows.iter_mut().zip(paired::holm(&p_values)) {
        row.corrected_p = corrected;
        row.outcome = match row.measured.gain() {
            _ if row.measured.changed == Some(0) => Outcome::Same,
            _ if !paired::rejects(corrected, settings.alpha) => Outcome::Unclear,
            gain if gain < 0.0 => Outcome::Worse,
            _ => Outcome::Better,
        };
    }
    let notes = pairing::notes(first, second, |_| true).into_iter().chain(missing).collect();
    Ok(Comparison { rows, lost, flips, notes })
}
