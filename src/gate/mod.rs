//! The gate: may this run replace the baseline?
//!
//! A verdict a metric (docs/ci.md has the reasons at length):
//!
//! - **fail**: there is evidence, not chance, that the run is worse, and the loss is larger than the smallest one that
//!   matters; or the value is significantly below a threshold; or the metric or its samples are missing;
//! - **pass**: no such evidence, and it would have been there: a loss that matters would have been found with the
//!   probability `power`; or no sample changed; or the run is significantly better; or it is worse, but a loss that
//!   matters is outside of the interval;
//! - **inconclusive**: no evidence, but there are too few samples or seeds to have any; with how many it would take.
//!
//! Each entry of a gate is judged on its own, and so is each of its keys; the worst verdict is the entry's, and the worst
//! entry's is the gate's.

pub mod file;
pub mod output;
mod verdict;

use std::collections::BTreeSet;

use serde::Serialize;

use self::verdict::{Finding, Measure};
use crate::compare::{CompareError, Measured, find_task, notes, obstacles};
use crate::metrics;
use crate::results::Run;
use crate::stats::Estimate;
use crate::stats::intervals::Interval;
use crate::stats::paired;
use crate::tasks::nearest;

pub use file::{Entry, GateError, GateFile};

/// The loss whose power is stated where a gate names none: five points; of a perplexity, five percent.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// What a metric's change amounts to; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not worse, and it would have been seen.
    Pass,
    /// Too little to tell.
    Inconclusive,
    /// Worse, or missing.
    Fail,
}

impl Verdict {
    /// As tables show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "FAIL",
        }
    }
}

/// An entry, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The task's name in the records.
    pub task: String,
    /// Our name of the metric.
    pub metric: String,
    /// The worst of its conditions.
    pub verdict: Verdict,
    /// Why, one sentence a condition.
    pub reasons: Vec<String>,
    /// In the baseline.
    pub baseline: Option<f64>,
    /// In the run, with its standard error and n.
    pub run: Option<Estimate>,
    /// Of the run's value.
    pub interval: Option<Interval>,
    /// The run against the baseline; `None` where only a threshold was asked for, or nothing could be compared.
    pub change: Option<Measured>,
    /// Corrected for the entries it shares its alpha with.
    pub corrected_p: Option<f64>,
    /// What it was held against.
    pub alpha: f64,
    /// The loss that power is stated for.
    pub margin: Option<f64>,
    /// Probability with which that loss would have been found.
    pub power: Option<f64>,
    /// Samples it would take, in all, to find it with the gate's power.
    pub samples_needed: Option<u64>,
    /// Seeds a run it would take, where seeds are drawn.
    pub seeds_needed: Option<u64>,
}

/// A gate, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The worst of all.
    pub verdict: Verdict,
    /// In the order of the gate file, or of the baseline.
    pub metrics: Vec<Judged>,
    /// What to know beside it.
    pub notes: Vec<String>,
}

/// Why a gate could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The runs can't be compared, or read.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The gate names what neither run has.
    #[error("the gate names `{name}`, which neither run has{}; they have {}", 
        near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default(), known.join(", "))]
    Unknown {
        /// As the gate has it: `task metric`.
        name: String,
        /// The nearest known one.
        near: Option<String>,
        /// All known ones.
        known: Vec<String>,
    },
    /// The baseline has nothing to hold a run against.
    #[error("the baseline has no metric with a value")]
    Nothing,
}

/// Judges a run against a baseline. Without entries in the gate, every metric of the baseline counts.
///
/// # Errors
/// If the runs scored other data or by other versions of a task, if samples were edited, or if the gate names a metric
/// that neither run has.
pub fn check(
    baseline: &Run,
    run: &Run,
    gate: &GateFile,
    seeds_as_clusters: bool,
) -> Result<Report, CheckError> {
    let entries = if gate.metrics.is_empty() { all_of(baseline) } else { gate.metrics.clone() };
    if entries.is_empty() {
        return Err(CheckError::Nothing);
    }
    known_names(baseline, run, &entries)?;
    let tasks: BTreeSet<&str> = entries.iter().map(|entry| entry.task.as_str()).collect();
    let reasons: Vec<String> = tasks
        .iter()
        .filter_map(|name| find_task(baseline, name).zip(find_task(run, name)))
        .flat_map(|(a, b)| obstacles(a, b))
        .collect();
    if !reasons.is_empty() {
        return Err(CompareError::NotComparable { reasons }.into());
    }
    let mut measure = Measure::new(baseline, run, gate, seeds_as_clusters, &entries);
    let mut findings = entries.iter().map(|entry| measure.find(entry)).collect::<Result<Vec<_>, _>>()?;
    correct(&mut findings, &entries);
    let metrics: Vec<Judged> =
        findings.into_iter().zip(&entries).map(|(finding, entry)| finding.judge(entry, gate)).collect();
    let verdict = metrics.iter().map(|judged| judged.verdict).max().unwrap_or(Verdict::Inconclusive);
    let notes = notes(baseline, run, |task| tasks.contains(task)).into_iter().chain(measure.notes).collect();
    Ok(Report { verdict, metrics, notes })
}

/// An entry a metric of the baseline that has a value.
fn all_of(baseline: &Run) -> Vec<Entry> {
    let entry = |task: &crate::results::ours::TaskRecord| {
        let has_value =
            |metric: &&String| task.scores.get(*metric).is_some_and(|scores| scores.selected.is_some());
        let entry =
            |metric: &String| Entry { task: task.name.clone(), metric: metric.clone(), ..Entry::default() };
        task.metrics.iter().filter(has_value).map(entry).collect::<Vec<_>>()
    };
    baseline.record.glm_eval.tasks.iter().flat_map(entry).collect()
}

/// Every entry must name what a run has: else it would never be judged.
fn known_names(baseline: &Run, run: &Run, entries: &[Entry]) -> Result<(), CheckError> {
    let names = |run: &Run| -> Vec<String> {
        let tasks = run.record.glm_eval.tasks.iter();
        tasks.flat_map(|t| t.metrics.iter().map(|metric| format!("{} {metric}", t.name))).collect()
    };
    let known: BTreeSet<String> = names(baseline).into_iter().chain(names(run)).collect();
    for entry in entries {
        let name = format!("{} {}", entry.task, entry.metric);
        if !known.contains(&name) {
            // The harness's own name for a metric (`acc`) is nearer than any misspelling.
            let translated = metrics::METRICS.iter().filter(|metric| metric.lm_eval_name == entry.metric);
            let near = translated
                .map(|metric| format!("{} {}", entry.task, metric.name))
                .find(|name| known.contains(name))
                .or_else(|| nearest(&name, known.iter().map(String::as_str)));
            return Err(CheckError::Unknown { name, near, known: known.into_iter().collect() });
        }
    }
    Ok(())
}

/// Entries without an alpha of their own share the gate's (Holm); the others stand alone.
fn correct(findings: &mut [Finding], entries: &[Entry]) {
    let p = |finding: &Finding| finding.change.as_ref().and_then(|change| change.p);
    let shared: Vec<usize> = (0..entries.len()).filter(|&i| entries[i].alpha.is_none()).collect();
    let p_values: Vec<Option<f64>> = shared.iter().map(|&i| p(&findings[i])).collect();
    let known: Vec<f64> = p_values.iter().copied().flatten().collect();
    let mut corrected = paired::holm(&known).into_iter();
    for finding in findings.iter_mut() {
        finding.corrected_p = p(finding);
    }
    for (&i, p) in shared.iter().zip(&p_values) {
        findings[i].corrected_p = p.and_then(|_| corrected.next());
    }
}

#[cfg(test)]
mod tests;
