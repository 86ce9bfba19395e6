//! The scores of a record again from the logged samples, without a model: those of the epoch that counts, and what is
//! derived from them. Left out are other epochs and `baselines`, whose samples aren't logged, `intervals` and `normalized`.

use serde::Serialize;
use serde_json::Value;

use super::logged::{Logged, NotLogged};
use super::ours::{GlmEval, TaskRecord};
use super::record::Record;
use super::run::{Run, RunError};
use super::time::UtcTime;
use crate::metrics::{self, MetricError, suite};

/// Numbers further apart than this differ: a record keeps every digit, but sums may be taken in another order one day.
const TOLERANCE: f64 = 1e-9;

/// A number of a record that was computed again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Where in the record: as in `cb seed 1 accuracy`.
    pub what: String,
    /// As in the record.
    pub recorded: Option<f64>,
    /// From the samples.
    pub recomputed: Option<f64>,
    /// Are they the same?
    pub same: bool,
}

/// What stopped it.
#[derive(Debug, thiserror::Error)]
pub enum RecomputeError {
    /// The run, or its samples, can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The record names a metric of another program.
    #[error("{task}: this program does not know one of its metrics")]
    Metric {
        /// The task.
        task: String,
        /// The cause.
        source: MetricError,
    },
    /// Too little was logged.
    #[error("{task}: too little was logged to compute its metrics again")]
    NotLogged {
        /// The task.
        task: String,
        /// The cause.
        source: NotLogged,
    },
}

impl Check {
    fn new(what: String, recorded: Option<f64>, recomputed: Option<f64>) -> Self {
        let same = match (recorded, recomputed) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE,
            (a, b) => a.is_none() && b.is_none(),
        };
        Self { what, recorded, recomputed, same }
    }
}

/// Computes every metric of every seed again, then what the record derives from them: means over seeds, the suite's
/// average, the tables for readers of lm-evaluation-harness.
///
/// # Errors
/// If samples are missing or were edited, or if too little was logged.
pub fn recompute(run: &Run) -> Result<Vec<Check>, RecomputeError> {
    let recorded = &run.record.glm_eval;
    let mut ours = recorded.clone();
    let mut checks = Vec::new();
    for (task, before) in ours.tasks.iter_mut().zip(&recorded.tasks) {
        recompute_task(run, recorded, task, &mut checks)?;
        compare(
            &serde_json::json!(before.scores),
            &serde_json::json!(task.scores),
            &before.name,
            &mut checks,
        );
    }
    if let Some(before) = &recorded.suite {
        let suite = ours.tasks.iter().find_map(|record| record.suite.as_deref());
        let score = suite::average(suite::members(suite), |task, metric| {
            let record = ours.tasks.iter().find(|record| record.task == task)?;
            record.scores.get(metric)?.selected
        });
        compare(&serde_json::json!(before), &serde_json::json!(score), "suite", &mut checks);
        ours.suite = Some(score);
    }
    let start = UtcTime::from_unix(std::time::Duration::ZERO);
    let again = Record::new(ours, run.record.config.clone(), start, start);
    let tables = |record: &Record| [record.results.clone(), record.groups.clone()].map(Value::Object);
    for (before, after) in tables(&run.record).iter().zip(&tables(&again)) {
        compare(before, after, "results", &mut checks);
    }
    Ok(checks)
}

fn recompute_task(
    run: &Run,
    recorded: &GlmEval,
    task: &mut TaskRecord,
    checks: &mut Vec<Check>,
) -> Result<(), RecomputeError> {
    let rule = recorded.selection.rule;
    let name = task.name.clone();
    let of = task.clone();
    for seed in &mut task.runs {
        let logged = Logged::new(run.samples(&of, seed)?);
        let (number, before) = (seed.seed, seed.selected(rule).clone());
        let chosen = seed.selected_mut(rule);
        for metric in &of.metrics {
            let known = metrics::find(metric);
            let known = known.map_err(|source| RecomputeError::Metric { task: name.clone(), source })?;
            let again = logged.estimate(known);
            let again = again.map_err(|source| RecomputeError::NotLogged { task: name.clone(), source })?;
            let recorded = before.get(metric).copied().flatten();
            let mut check = |of: &str, pick: fn(&crate::stats::Estimate) -> Option<f64>| {
                let what = format!("{name} seed {number} {metric}{of}");
                checks.push(Check::new(
                    what,
                    recorded.as_ref().and_then(pick),
                    again.as_ref().and_then(pick),
                ));
            };
            check("", |e| Some(e.value));
            check(" stderr", |e| e.stderr);
            check(" n", |e| Some(e.n as f64));
            chosen.insert(metric.clone(), again);
        }
    }
    task.summarize(rule);
    Ok(())
}

/// Compares two trees of JSON, number by number; only what differs becomes a check, and one for all that doesn't.
fn compare(before: &Value, after: &Value, place: &str, checks: &mut Vec<Check>) {
    let from = checks.len();
    differences(before, after, place, checks);
    if checks.len() == from {
        checks.push(Check {
            what: format!("{place}: what is derived"),
            recorded: None,
            recomputed: None,
            same: true,
        });
    }
}

fn differences(before: &Value, after: &Value, place: &str, checks: &mut Vec<Check>) {
    let mut differs = |place: &str| {
        checks.push(Check { same: false, ..Check::new(place.into(), before.as_f64(), after.as_f64()) });
    };
    let is_absent = |value: &Value| value.is_null() || value == "N/A"; // older records have null for it
    match (before, after) {
        (a, b) if is_absent(a) && is_absent(b) => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().filter(|key| !b.contains_key(*key)).chain(b.keys()) {
                let place = format!("{place} {key}");
                let absent = Value::Null;
                let pair = (a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent));
                differences(pair.0, pair.1, &place, checks);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(i, (a, b))| differences(a, b, &format!("{place} {i}"), checks));
        }
        (Value::Number(_), Value::Number(_)) => {
            let check = Check::new(place.into(), before.as_f64(), after.as_f64());
            if !check.same {
                checks.push(check);
            }
        }
        _ if before != after => differs(place),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn committed() -> Run {
        Run::read(Path::new("results/runs/glm-tiny-random-cb")).unwrap()
    }

    #[test]
    fn every_score_of_a_committed_record_follows_from_its_samples() {
        let checks = recompute(&committed()).unwrap();
        // 5 seeds, 2 metrics, value, stderr and n; the means over seeds, and the two tables.
        assert_eq!(checks.len(), 5 * 2 * 3 + 3);
        assert!(checks.iter().all(|check| check.same), "{checks:#?}");
    }

    #[test]
    fn a_number_that_does_not_follow_is_named_with_both_values() {
        let mut run = committed();
        run.record.results["cb"]["acc,none"] = serde_json::json!(0.99);
        let seed = &mut run.record.glm_eval.tasks[0].runs[2];
        seed.last.get_mut("accuracy").unwrap().as_mut().unwrap().n = 55;
        let wrong: Vec<Check> = recompute(&run).unwrap().into_iter().filter(|check| !check.same).collect();
        let named: Vec<(&str, Option<f64>)> = wrong.iter().map(|c| (c.what.as_str(), c.recorded)).collect();
        assert_eq!(named, [("cb seed 3 accuracy n", Some(55.0)), ("results cb acc,none", Some(0.99))]);
    }

    #[test]
    fn a_run_without_its_samples_says_which_file_is_missing() {
        let run = Run::read(Path::new("results/runs/glm-tiny-random")).unwrap();
        let message = recompute(&run).unwrap_err().to_string();
        assert!(message.contains("samples_") && message.contains("its samples are missing"), "{message}");
    }
}
