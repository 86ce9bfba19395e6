//! Scoring: from the outcomes of samples to one number a metric, with its standard error and n.
//!
//! A *score* belongs to a sample, a *metric* to many samples. Every metric is a line of [`METRICS`]; the
//! protocol each follows stands at its function. Metrics are `0..=1` (Matthews correlation: `-1..=1`) and
//! become percent only when rendered. A sample that failed (no prediction) counts as wrong, never as absent;
//! a metric over no samples, or over samples without labels, has no value.

mod answers;
mod classification;
pub mod external;
mod fold;
mod pairs;
pub mod suite;
mod tally;

use serde::{Deserialize, Serialize};

pub use answers::{exact_match, normalize_answer, token_f1};
pub use tally::Tally;

use crate::stats::{self, Estimate};

/// What a model (or a file) answered to one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// Index of a label, in the order of the task's labels.
    Label(usize),
    /// A text, for tasks scored against reference texts.
    Text(String),
    /// The sample failed; counts as wrong.
    None,
}

/// One scored sample: the only thing metrics see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Identifier of the sample, unique within its task and split.
    pub id: String,
    /// What it belongs to: the question of a `MultiRC` answer, the minimal pair of an AX-g sentence, the
    /// question of a `SQuAD` window. Standard errors treat a group as one observation.
    pub group: Option<String>,
    /// What was answered.
    pub prediction: Prediction,
    /// The right label, for tasks with labels; `None` where the split has none.
    pub label: Option<usize>,
    /// The right texts, for tasks scored against texts; any of them is right.
    pub references: Vec<String>,
}

/// A way of turning outcomes into a number.
#[derive(Debug)]
pub struct Metric {
    /// Our name, as in task files.
    pub name: &'static str,
    /// The name lm-evaluation-harness gives it, in the part of a record that follows its format.
    pub lm_eval_name: &'static str,
    /// Is more better?
    pub higher_is_better: bool,
    /// One line for `glm-eval ls metrics`.
    pub summary: &'static str,
    /// Does it compare texts, and not labels?
    pub reads_texts: bool,
    compute: fn(&[Outcome], usize) -> Option<Estimate>,
    score: Option<fn(&Outcome) -> Option<f64>>,
}

impl Metric {
    /// The metric over `outcomes` of a task with `num_labels` labels (0 for tasks without).
    ///
    /// `None` without outcomes, where any label is unknown (a test split), and where predictions are of the
    /// wrong kind for it (texts for a metric on labels): a part is never shown as if it were the whole.
    pub fn compute(&self, outcomes: &[Outcome], num_labels: usize) -> Option<Estimate> {
        (self.compute)(outcomes, num_labels)
    }

    /// The score of one sample, `0..=1`, where the metric is a mean of such; `None` for the others (F1 over
    /// answers, Matthews correlation), and where the right answer is unknown.
    pub fn score(&self, outcome: &Outcome) -> Option<f64> {
        self.score.and_then(|score| score(outcome))
    }

    /// Is it the mean of a score a sample?
    pub fn has_sample_scores(&self) -> bool {
        self.score.is_some()
    }
}

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "accuracy",
        lm_eval_name: "acc",
        higher_is_better: true,
        summary: "share of correct samples",
        reads_texts: false,
        compute: classification::accuracy,
        score: Some(classification::is_correct),
    },
    Metric {
        name: "f1a",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "F1 of label 1 over all answers of all questions (MultiRC)",
        reads_texts: false,
        compute: classification::binary_f1,
        score: None,
    },
    Metric {
        name: "em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of questions whose answers are all labelled correctly (MultiRC)",
        reads_texts: false,
        compute: classification::question_exact_match,
        score: None,
    },
    Metric {
        name: "macro_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "mean of the labels' F1, over the labels that occur (CB)",
        reads_texts: false,
        compute: classification::macro_f1,
        score: None,
    },
    Metric {
        name: "record_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "token F1 with the nearest reference answer (ReCoRD)",
        reads_texts: true,
        compute: answers::record_f1,
        score: Some(answers::f1_score),
    },
    Metric {
        name: "record_em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of queries answered exactly like a reference (ReCoRD)",
        reads_texts: true,
        compute: answers::record_em,
        score: Some(answers::em_score),
    },
    Metric {
        name: "squad_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "token F1 with the nearest reference, one answer a question (SQuAD)",
        reads_texts: true,
        compute: answers::squad_f1,
        score: None,
    },
    Metric {
        name: "squad_em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of questions answered exactly like a reference (SQuAD)",
        reads_texts: true,
        compute: answers::squad_em,
        score: None,
    },
    Metric {
        name: "mcc",
        lm_eval_name: "mcc",
        higher_is_better: true,
        summary: "Matthews correlation of predictions and labels, -1 to 1 (AX-b)",
        reads_texts: false,
        compute: classification::matthews,
        score: None,
    },
    Metric {
        name: "gender_parity",
        lm_eval_name: "gender_parity",
        higher_is_better: true,
        summary: "share of minimal pairs with the same prediction, right or wrong (AX-g)",
        reads_texts: false,
        compute: pairs::gender_parity,
        score: None,
    },
];

/// A metric that could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetricError {
    /// No metric has this name.
    #[error("no metric is called `{name}`{}; there are {}", did_you_mean(*nearest), known.join(", "))]
    Unknown {
        /// The name as given.
        name: String,
        /// The known name nearest to it, if any is near.
        nearest: Option<&'static str>,
        /// All known names.
        known: Vec<&'static str>,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"))
}

/// The metric of this name (ours).
///
/// # Errors
/// If there is none; the error names the nearest.
pub fn find(name: &str) -> Result<&'static Metric, MetricError> {
    let unknown = || {
        // The harness's own name for it (`acc`) is nearer than any misspelling.
        let distance = |metric: &&Metric| {
            if metric.lm_eval_name == name { 0 } else { strsim::damerau_levenshtein(metric.name, name) }
        };
        let near = |metric: &&Metric| distance(metric) <= 1 + metric.name.len() / 3;
        let nearest = METRICS.iter().filter(near).min_by_key(distance).map(|metric| metric.name);
        MetricError::Unknown { name: name.into(), nearest, known: METRICS.iter().map(|m| m.name).collect() }
    };
    METRICS.iter().find(|metric| metric.name == name).ok_or_else(unknown)
}

/// Outcomes that belong together, in order of first appearance.
fn groups(outcomes: &[Outcome]) -> Vec<Vec<usize>> {
    stats::clusters_of(outcomes.iter().map(|outcome| outcome.group.as_deref()))
}

/// A statistic over all outcomes, with its bootstrap standard error, clustered by group.
fn bootstrapped(
    n: usize,
    clusters: &[Vec<usize>],
    of: impl Fn(&[usize]) -> Option<f64> + Sync,
) -> Option<Estimate> {
    let all: Vec<usize> = (0..n).collect();
    let value = of(&all)?;
    let stderr = stats::bootstrap_stderr(clusters, stats::BOOTSTRAP_DRAWS, stats::BOOTSTRAP_SEED, of);
    Some(Estimate { value, stderr, n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_found_by_its_name_and_names_are_unique() {
        for metric in METRICS {
            assert_eq!(find(metric.name).unwrap().summary, metric.summary);
        }
    }

    #[test]
    fn a_misspelt_metric_is_answered_with_the_nearest() {
        let message = find("acuracy").unwrap_err().to_string();
        assert!(message.starts_with(
            "no metric is called `acuracy` (did you mean `accuracy`?); there are accuracy, f1a"
        ));
        assert!(find("acc").unwrap_err().to_string().contains("`accuracy`?"));
        assert!(!find("rouge-l-sum-of-all").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn no_metric_has_a_value_without_samples() {
        for metric in METRICS {
            assert_eq!(metric.compute(&[], 2), None, "{}", metric.name);
        }
    }
}
