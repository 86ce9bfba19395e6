//! Scoring: from the outcomes of samples to one number a metric, with its standard error and n.
//!
//! A *score* belongs to a sample, a *metric* to many samples. Every metric is a line of [`METRICS`]; the
//! protocol each follows stands at its function. Metrics are `0..=1` (Matthews correlation: `-1..=1`) and
//! become percent only when rendered; perplexities are the exception. A sample that failed (no prediction) counts as wrong, never as absent;
//! a metric over no samples, or over samples without labels, has no value.

mod answers;
mod classification;
pub mod external;
mod fold;
mod log_probs;
mod pairs;
pub mod suite;
mod tally;
pub mod text;

use serde::{Deserialize, Serialize};

pub use answers::{exact_match, normalize_answer, token_f1};
pub use log_probs::LogProb;
pub use tally::Tally;

use self::log_probs::{Per, Perplexity};
use self::text::bleu::Bleu;
use self::text::cleanup::CleanUp;
use self::text::rouge::Measure;
use self::text::{TextMetric, Words, rouge};
use crate::stats::counts::Counts;
use crate::stats::intervals::{Interval, bootstrap_interval};
use crate::stats::{self, Estimate};

/// What a model (or a file) answered to one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// Index of a label, in the order of the task's labels.
    Label(usize),
    /// A text, for tasks scored against reference texts.
    Text(String),
    /// There was nothing to choose or to write: the outcome's log-probability is the answer.
    LogProb,
    /// The sample failed; counts as wrong.
    None,
}

/// One scored sample: the only thing metrics see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// How probable its text is to the model, for tasks that ask that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_prob: Option<LogProb>,
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
    computation: Computation,
}

/// How a metric comes from outcomes.
#[derive(Debug)]
enum Computation {
    /// By a function of all of them; and of each, where it is a mean.
    Outcomes {
        compute: fn(&[Outcome], usize) -> Option<Estimate>,
        score: Option<fn(&Outcome) -> Option<f64>>,
    },
    /// From what each text adds to counts.
    Texts(TextMetric),
    /// From the log-probabilities of texts.
    LogProbs(Perplexity),
}

/// A metric's value with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The value, its standard error and n.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Where the value may well lie; `None` where there is too little to tell.
    pub interval: Option<Interval>,
}

/// Level of the intervals.
const LEVEL: f64 = 0.95;

impl Metric {
    /// The metric over `outcomes` of a task with `num_labels` labels (0 for tasks without).
    ///
    /// `None` without outcomes, where any label is unknown (a test split), and where predictions are of the
    /// wrong kind for it (texts for a metric on labels): a part is never shown as if it were the whole.
    pub fn compute(&self, outcomes: &[Outcome], num_labels: usize) -> Option<Estimate> {
        match &self.computation {
            Computation::Outcomes { compute, .. } => compute(outcomes, num_labels),
            Computation::Texts(metric) => {
                let tally = self.tally(outcomes, &groups(outcomes), num_labels)?;
                Some(metric.estimate(&tally, outcomes.len()))
            }
            Computation::LogProbs(metric) => metric.compute(outcomes),
        }
    }

    /// Does it read log-probabilities, and no answers?
    pub fn reads_log_probs(&self) -> bool {
        matches!(self.computation, Computation::LogProbs(_))
    }

    /// Does it take synonyms from `WordNet`, which has to be made known first?
    pub fn needs_wordnet(&self) -> bool {
        matches!(self.computation, Computation::Texts(TextMetric::Meteor { synonyms: true }))
    }

    /// What its value is multiplied by where it is shown: shares are shown in percent, perplexities as they are.
    pub fn scale(&self) -> f64 {
        if self.reads_log_probs() { 1.0 } else { 100.0 }
    }

    /// The metric with its 95 % bootstrap interval, in which a group of outcomes is drawn as one.
    pub fn measure(&self, outcomes: &[Outcome], num_labels: usize) -> Option<Measured> {
        measure_all(&[self], outcomes, num_labels).pop().flatten()
    }

    /// The score of one sample, `0..=1`, where the metric is a mean of such; `None` for the others (F1 over
    /// answers, Matthews correlation), and where the right answer is unknown.
    pub fn score(&self, outcome: &Outcome) -> Option<f64> {
        match &self.computation {
            Computation::Outcomes { score, .. } => score.and_then(|score| score(outcome)),
            Computation::Texts(metric) => metric.score(outcome),
            Computation::LogProbs(_) => None,
        }
    }

    /// `sacreBLEU`'s description of how it was computed, given how many references each text has (`None` where that
    /// varies); none where `sacreBLEU` has no such BLEU.
    pub fn signature(&self, num_references: Option<usize>) -> Option<String> {
        match &self.computation {
            Computation::Texts(TextMetric::Bleu(bleu)) if !bleu.short_texts_count => {
                Some(bleu.signature(num_references))
            }
            _ => None,
        }
    }

    /// Is it the mean of a score a sample?
    pub fn has_sample_scores(&self) -> bool {
        match &self.computation {
            Computation::Outcomes { score, .. } => score.is_some(),
            Computation::Texts(metric) => metric.is_mean(),
            Computation::LogProbs(_) => false,
        }
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
        computation: Computation::Outcomes {
            compute: classification::accuracy,
            score: Some(classification::is_correct),
        },
    },
    Metric {
        name: "f1a",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "F1 of label 1 over all answers (MultiRC)",
        reads_texts: false,
        computation: Computation::Outcomes { compute: classification::binary_f1, score: None },
    },
    Metric {
        name: "em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of questions with all answers right (MultiRC)",
        reads_texts: false,
        computation: Computation::Outcomes { compute: classification::question_exact_match, score: None },
    },
    Metric {
        name: "macro_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "mean of the labels' F1, over the labels that occur (CB)",
        reads_texts: false,
        computation: Computation::Outcomes { compute: classification::macro_f1, score: None },
    },
    Metric {
        name: "record_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "token F1 with the nearest reference answer (ReCoRD)",
        reads_texts: true,
        computation: Computation::Outcomes { compute: answers::record_f1, score: Some(answers::f1_score) },
    },
    Metric {
        name: "record_em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of answers equal to a reference (ReCoRD)",
        reads_texts: true,
        computation: Computation::Outcomes { compute: answers::record_em, score: Some(answers::em_score) },
    },
    Metric {
        name: "squad_f1",
        lm_eval_name: "f1",
        higher_is_better: true,
        summary: "token F1 with the nearest reference (SQuAD)",
        reads_texts: true,
        computation: Computation::Outcomes { compute: answers::squad_f1, score: None },
    },
    Metric {
        name: "squad_em",
        lm_eval_name: "em",
        higher_is_better: true,
        summary: "share of answers equal to a reference (SQuAD)",
        reads_texts: true,
        computation: Computation::Outcomes { compute: answers::squad_em, score: None },
    },
    Metric {
        name: "mcc",
        lm_eval_name: "mcc",
        higher_is_better: true,
        summary: "Matthews correlation with the labels, -1 to 1 (AX-b)",
        reads_texts: false,
        computation: Computation::Outcomes { compute: classification::matthews, score: None },
    },
    Metric {
        name: "gender_parity",
        lm_eval_name: "gender_parity",
        higher_is_better: true,
        summary: "share of minimal pairs predicted alike (AX-g)",
        reads_texts: false,
        computation: Computation::Outcomes { compute: pairs::gender_parity, score: None },
    },
    text::metric("rouge1", "F1 of words, as rouge-score", rouge(Measure::Ngrams(1), Words::Plain)),
    text::metric("rouge2", "F1 of pairs of words, as rouge-score", rouge(Measure::Ngrams(2), Words::Plain)),
    text::metric(
        "rougeL",
        "F1 of the longest common subsequence, as rouge-score",
        rouge(Measure::Lcs, Words::Plain),
    ),
    text::metric(
        "rougeLsum",
        "F1 of common subsequences, line by line, as rouge-score",
        rouge(Measure::LcsOfLines, Words::Plain),
    ),
    text::metric(
        "rouge1_stem",
        "F1 of words, stemmed, as rouge-score",
        rouge(Measure::Ngrams(1), Words::Stemmed),
    ),
    text::metric(
        "rouge2_stem",
        "F1 of pairs of words, stemmed, as rouge-score",
        rouge(Measure::Ngrams(2), Words::Stemmed),
    ),
    text::metric(
        "rougeL_stem",
        "rougeL of stemmed words, as rouge-score",
        rouge(Measure::Lcs, Words::Stemmed),
    ),
    text::metric(
        "rougeLsum_stem",
        "rougeLsum of stemmed words, as rouge-score",
        rouge(Measure::LcsOfLines, Words::Stemmed),
    ),
    text::metric(
        "rouge1_glm",
        "rouge1_stem, GLM's clean-up (BERT's tokenizer)",
        rouge(Measure::Ngrams(1), Words::Official(CleanUp::CnnDm)),
    ),
    text::metric(
        "rouge2_glm",
        "rouge2_stem, GLM's clean-up (BERT's tokenizer)",
        rouge(Measure::Ngrams(2), Words::Official(CleanUp::CnnDm)),
    ),
    text::metric(
        "rougeLsum_glm",
        "rougeLsum_stem, GLM's clean-up (BERT's tokenizer)",
        rouge(Measure::LcsOfLines, Words::Official(CleanUp::CnnDm)),
    ),
    text::metric(
        "rouge1_glm_gigaword",
        "rouge1_stem, GLM's clean-up (Gigaword, not BERT's)",
        rouge(Measure::Ngrams(1), Words::Official(CleanUp::Gigaword)),
    ),
    text::metric(
        "rouge2_glm_gigaword",
        "rouge2_stem, GLM's clean-up (Gigaword, not BERT's)",
        rouge(Measure::Ngrams(2), Words::Official(CleanUp::Gigaword)),
    ),
    text::metric(
        "rougeLsum_glm_gigaword",
        "rougeLsum_stem, GLM's clean-up (Gigaword, not BERT's)",
        rouge(Measure::LcsOfLines, Words::Official(CleanUp::Gigaword)),
    ),
    text::metric(
        "rouge1_glm_original",
        "rouge1_stem, GLM's clean-up (others, not BERT's)",
        rouge(Measure::Ngrams(1), Words::Official(CleanUp::CnnDmOriginal)),
    ),
    text::metric(
        "rouge2_glm_original",
        "rouge2_stem, GLM's clean-up (others, not BERT's)",
        rouge(Measure::Ngrams(2), Words::Official(CleanUp::CnnDmOriginal)),
    ),
    text::metric(
        "rougeLsum_glm_original",
        "rougeLsum_stem, GLM's clean-up (others, not BERT's)",
        rouge(Measure::LcsOfLines, Words::Official(CleanUp::CnnDmOriginal)),
    ),
    text::metric("sacrebleu", "BLEU as sacreBLEU's default", TextMetric::Bleu(Bleu::SACREBLEU)),
    text::metric(
        "sacrebleu_lc",
        "BLEU as sacreBLEU's default, without regard to case",
        TextMetric::Bleu(Bleu { lowercase: true, ..Bleu::SACREBLEU }),
    ),
    text::metric("bleu4", "BLEU over words, unsmoothed, as multi-bleu.perl", TextMetric::Bleu(Bleu::PLAIN)),
    text::metric(
        "bleu1_nltk",
        "BLEU up to 1-grams, as NLTK's corpus_bleu, unsmoothed",
        TextMetric::Bleu(Bleu::nltk(1)),
    ),
    text::metric(
        "bleu2_nltk",
        "BLEU up to 2-grams, as NLTK's corpus_bleu, unsmoothed",
        TextMetric::Bleu(Bleu::nltk(2)),
    ),
    text::metric(
        "bleu3_nltk",
        "BLEU up to 3-grams, as NLTK's corpus_bleu, unsmoothed",
        TextMetric::Bleu(Bleu::nltk(3)),
    ),
    text::metric(
        "bleu4_nltk",
        "BLEU up to 4-grams, as NLTK's corpus_bleu, unsmoothed",
        TextMetric::Bleu(Bleu::nltk(4)),
    ),
    text::metric(
        "meteor_nltk",
        "METEOR as NLTK has it, with --wordnet; not Java's",
        TextMetric::Meteor { synonyms: true },
    ),
    text::metric(
        "meteor_nltk_no_synonyms",
        "the same without synonyms",
        TextMetric::Meteor { synonyms: false },
    ),
    perplexity("token_perplexity", "perplexity by tokens of the model's own vocabulary", Per::Token),
    perplexity("word_perplexity", "perplexity by words between spaces", Per::Word),
    perplexity("byte_perplexity", "perplexity by bytes", Per::Byte),
    Metric {
        computation: Computation::LogProbs(Perplexity { per: Per::Byte, in_bits: true }),
        ..perplexity("bits_per_byte", "log-probability by bytes, in bits", Per::Byte)
    },
];

/// A line of the list of metrics.
const fn perplexity(name: &'static str, summary: &'static str, per: Per) -> Metric {
    Metric {
        name,
        lm_eval_name: name,
        higher_is_better: false,
        summary,
        reads_texts: false,
        computation: Computation::LogProbs(Perplexity { per, in_bits: false }),
    }
}

/// What a metric's value is multiplied by where it is shown (see [`Metric::scale`]).
pub fn scale(metric: &str) -> f64 {
    find(metric).map_or(100.0, Metric::scale)
}

/// Decimals of a value as it is shown, after scaling: perplexities and bits are told apart by more of them than shares.
pub fn decimals(shown: f64, scale: f64) -> usize {
    if scale > 1.0 || shown.abs() >= 100.0 { 1 } else { 3 }
}

/// A value as it is shown: scaled, with its decimals.
pub fn shown(value: f64, scale: f64) -> String {
    let shown = value * scale;
    format!("{shown:.0$}", decimals(shown, scale))
}

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

/// Several metrics with their 95 % bootstrap intervals, in which a group of outcomes is drawn as one. Metrics over texts
/// take their words only once.
pub fn measure_all(metrics: &[&Metric], outcomes: &[Outcome], num_labels: usize) -> Vec<Option<Measured>> {
    let units = groups(outcomes);
    let over_texts = |metric: &&Metric| match metric.computation {
        Computation::Texts(metric) => Some(metric),
        Computation::Outcomes { .. } | Computation::LogProbs(_) => None,
    };
    let texts: Vec<TextMetric> = metrics.iter().filter_map(over_texts).collect();
    let mut tallies = TextMetric::tallies(&texts, outcomes, &units).into_iter();
    let measure = |metric: &&Metric| {
        let (estimate, tally) = match &metric.computation {
            Computation::Outcomes { compute, .. } => {
                (compute(outcomes, num_labels)?, metric.tally(outcomes, &units, num_labels)?)
            }
            Computation::Texts(metric) => {
                let tally = tallies.next().expect("there is one for each")?;
                (metric.estimate(&tally, outcomes.len()), tally)
            }
            Computation::LogProbs(metric) => (metric.compute(outcomes)?, metric.tally(outcomes, &units)?),
        };
        let interval = (units.len() > 1).then(|| {
            let (draws, seed) = (stats::BOOTSTRAP_DRAWS, stats::BOOTSTRAP_SEED);
            bootstrap_interval(&Counts::new(tally.rows), draws, seed, LEVEL, tally.value)
        });
        Some(Measured { estimate, interval: interval.flatten() })
    };
    metrics.iter().map(measure).collect()
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
