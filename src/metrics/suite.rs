//! `SuperGLUE` as a whole: which metrics a task counts with, and the average over tasks.
//!
//! As in the GLM paper (table 1): a task's two metrics are averaged first, then the eight tasks. The two
//! diagnostics stand outside.

use serde::{Deserialize, Serialize};

use crate::stats::Estimate;

/// What a task contributes to the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The task's name.
    pub task: &'static str,
    /// The metrics that are averaged into the task's score.
    pub metrics: &'static [&'static str],
}

/// The eight tasks of the average, in the paper's order.
pub const SUPERGLUE: &[Member] = &[
    Member { task: "record", metrics: &["record_f1", "record_em"] },
    Member { task: "copa", metrics: &["accuracy"] },
    Member { task: "wsc", metrics: &["accuracy"] },
    Member { task: "rte", metrics: &["accuracy"] },
    Member { task: "boolq", metrics: &["accuracy"] },
    Member { task: "wic", metrics: &["accuracy"] },
    Member { task: "cb", metrics: &["macro_f1", "accuracy"] },
    Member { task: "multirc", metrics: &["f1a", "em"] },
];

/// The tasks of `superglue-mini`, which count with the same metrics.
const SUPERGLUE_MINI: &[Member] = &[
    Member { task: "record_mini", ..SUPERGLUE[0] },
    Member { task: "copa_mini", ..SUPERGLUE[1] },
    Member { task: "wsc_mini", ..SUPERGLUE[2] },
    Member { task: "rte_mini", ..SUPERGLUE[3] },
    Member { task: "boolq_mini", ..SUPERGLUE[4] },
    Member { task: "wic_mini", ..SUPERGLUE[5] },
    Member { task: "cb_mini", ..SUPERGLUE[6] },
    Member { task: "multirc_mini", ..SUPERGLUE[7] },
];

/// The members of a suite by its name; of `SUPERGLUE` where there is none.
pub fn members(suite: Option<&str>) -> &'static [Member] {
    if suite == Some("superglue-mini") { SUPERGLUE_MINI } else { SUPERGLUE }
}

/// The average of a suite, or what it lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteScore {
    /// Mean over the tasks, `0..=1`, `n` being the number of tasks; `None` unless all are there. The
    /// standard error is an upper bound: a task's two metrics, which rest on the same samples, are taken as
    /// fully correlated; tasks are independent.
    pub average: Option<Estimate>,
    /// Score of every task that is complete, in the suite's order.
    pub tasks: Vec<(String, f64)>,
    /// What is missing for an average, as `task` or `task (metric)`.
    pub missing: Vec<String>,
}

/// Averages a suite from a look-up of `(task, metric)`.
pub fn average(suite: &[Member], find: impl Fn(&str, &str) -> Option<Estimate>) -> SuiteScore {
    let (mut tasks, mut missing) = (Vec::new(), Vec::new());
    let mut variances: Option<Vec<f64>> = Some(Vec::new());
    for Member { task, metrics } in suite {
        let found: Vec<Option<Estimate>> = metrics.iter().map(|metric| find(task, metric)).collect();
        if found.iter().all(Option::is_none) {
            missing.push((*task).to_string());
            continue;
        }
        let absent = metrics.iter().zip(&found).filter(|(_, estimate)| estimate.is_none());
        missing.extend(absent.map(|(metric, _)| format!("{task} ({metric})")));
        let Some(found) = found.into_iter().collect::<Option<Vec<_>>>() else { continue };
        let count = found.len() as f64;
        tasks.push(((*task).to_string(), found.iter().map(|e| e.value).sum::<f64>() / count));
        let stderr = found.iter().map(|e| e.stderr).sum::<Option<f64>>().map(|sum| sum / count);
        variances = variances.zip(stderr).map(|(mut all, stderr)| {
            all.push(stderr * stderr);
            all
        });
    }
    let n = tasks.len();
    let average = (missing.is_empty() && n > 0).then(|| Estimate {
        value: tasks.iter().map(|(_, score)| score).sum::<f64>() / n as f64,
        stderr: variances.map(|all| all.iter().sum::<f64>().sqrt() / n as f64),
        n,
    });
    SuiteScore { average, tasks, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `GLM_Base`, GLM paper (arXiv:2103.10360v2), table 1.
    const GLM_BASE: &[(&str, &str, f64)] = &[
        ("record", "record_f1", 0.735),
        ("record", "record_em", 0.728),
        ("copa", "accuracy", 0.710),
        ("wsc", "accuracy", 0.721),
        ("rte", "accuracy", 0.712),
        ("boolq", "accuracy", 0.770),
        ("wic", "accuracy", 0.647),
        ("cb", "macro_f1", 0.895),
        ("cb", "accuracy", 0.857),
        ("multirc", "f1a", 0.721),
        ("multirc", "em", 0.261),
    ];

    fn published(task: &str, metric: &str) -> Option<Estimate> {
        let cell = GLM_BASE.iter().find(|cell| (cell.0, cell.1) == (task, metric))?;
        Some(Estimate { value: cell.2, stderr: Some(0.01), n: 100 })
    }

    #[test]
    fn the_papers_cells_give_the_papers_average() {
        // 73.15 + 71 + 72.1 + 71.2 + 77 + 64.7 + 87.6 + 49.1 = 565.85; / 8 = 70.73; the paper prints 70.7
        let average = average(SUPERGLUE, published).average.unwrap();
        assert!((average.value - 0.565_85 * 10.0 / 8.0).abs() < 1e-12);
        assert!((average.stderr.unwrap() - 0.01 / 8.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(average.n, 8);
    }

    #[test]
    fn an_incomplete_suite_has_no_average_and_says_what_is_missing() {
        let find =
            |task: &str, metric: &str| published(task, metric).filter(|_| task != "wsc" && metric != "em");
        let score = average(SUPERGLUE, find);
        assert_eq!(score.average, None);
        assert_eq!(score.missing, ["wsc", "multirc (em)"]);
        assert_eq!(score.tasks.len(), 6);
    }

    #[test]
    fn the_mini_suite_counts_as_superglue_does_and_has_no_task_of_it() {
        for (real, mini) in SUPERGLUE.iter().zip(SUPERGLUE_MINI) {
            assert_eq!((format!("{}_mini", real.task).as_str(), real.metrics), (mini.task, mini.metrics));
        }
        assert_eq!((members(Some("superglue-mini")), members(None)), (SUPERGLUE_MINI, SUPERGLUE));
        assert_eq!(average(SUPERGLUE_MINI, published).average, None);
    }

    #[test]
    fn a_suite_names_only_metrics_that_exist() {
        for metric in SUPERGLUE.iter().flat_map(|member| member.metrics) {
            crate::metrics::find(metric).unwrap();
        }
    }
}
