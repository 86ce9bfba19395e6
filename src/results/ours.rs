//! Our part of a run record, under the key `glm_eval`: the complete receipt of a run.
//!
//! The parts that follow lm-evaluation-harness are made from this one (`record.rs`), so a number is stated
//! once. What is unknown is `None` (`null` in the file), never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics::suite::SuiteScore;
use crate::stats::intervals::Interval;
use crate::stats::{self, Estimate, Spread};

/// Raised when a reader of older records would misread a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// One estimate a metric, by our names; `None` where the metric has no value.
pub type Estimates = BTreeMap<String, Option<Estimate>>;

/// Everything lm-evaluation-harness has no key for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlmEval {
    /// Version of this schema.
    pub schema_version: u32,
    /// sha256 of the record itself, with `null` in this place (see `record::contents_sha256`), so that an edited
    /// record is noticed; `None` in records of older programs.
    #[serde(default)]
    pub record_sha256: Option<String>,
    /// What was run.
    pub program: Program,
    /// On which model.
    pub model: Model,
    /// On which machine.
    pub machine: Machine,
    /// How the model met the tasks.
    pub mode: Mode,
    /// Which epoch counts.
    pub selection: Selection,
    /// Seeds of the bootstrap and the number of its draws.
    pub bootstrap: Bootstrap,
    /// One a task and pattern.
    pub tasks: Vec<TaskRecord>,
    /// The suite's average, or what it lacks; `None` when no suite was asked for.
    pub suite: Option<SuiteScore>,
    /// Of the whole run.
    pub cost: Cost,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Version of the crate.
    pub version: String,
    /// sha256 of the binary.
    pub sha256: Option<String>,
    /// Commit it was built from.
    pub git_hash: Option<String>,
    /// The command line, word by word.
    pub arguments: Vec<String>,
}

/// The model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, without a folder of this machine.
    pub name: String,
    /// Its family, as in `glm`.
    pub family: Option<String>,
    /// Number of parameters.
    pub num_parameters: Option<u64>,
    /// sha256 of the weights.
    pub weights_sha256: Option<String>,
    /// sha256 of `config.json`.
    pub config_sha256: Option<String>,
    /// sha256 of the tokenizer.
    pub tokenizer_sha256: Option<String>,
    /// Set where weights were drawn at random and not loaded: the scores then say nothing about the model.
    pub random_weights: Option<String>,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As in `cpu` or `cuda:0`.
    pub device: String,
    /// Its name, as in `NVIDIA H200`.
    pub device_name: Option<String>,
    /// As in `f32`.
    pub dtype: String,
    /// Threads of the one pool.
    pub threads: Option<usize>,
    /// Instructions of the kernels on the CPU, as in `avx512`: other ones sum in another order.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Floating-point operations a second of its fastest large matrix product, measured when the run began.
    #[serde(default)]
    pub peak_flops_per_sec: Option<f64>,
}

/// How the model met the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Trained on the task first.
    Finetune,
    /// As it is.
    ZeroShot,
    /// With examples in the prompt.
    FewShot,
}

/// Which epoch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The one that is best by the task's first metric on the very split that is reported, as the official
    /// code does.
    Best,
    /// The last.
    Last,
}

/// The rule by which an epoch was chosen, spelt out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The rule.
    pub rule: Rule,
    /// The split it looked at; `None` when it looked at nothing.
    pub split: Option<String>,
}

/// How the bootstrapped standard errors were drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of draws.
    pub draws: usize,
    /// Seed of `ChaCha8`.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: stats::BOOTSTRAP_DRAWS, seed: stats::BOOTSTRAP_SEED }
    }
}

/// A file of data that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// As in `val`.
    pub split: String,
    /// Its name, without the folder of this machine.
    pub file: String,
    /// sha256 of its bytes.
    pub sha256: String,
    /// Rows in it.
    pub rows: usize,
}

/// A setting, and who decided it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its value.
    pub value: Value,
    /// Where it came from: `command line`, `model directory`, `task file` or `default`.
    pub source: String,
}

/// Samples of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleCount {
    /// In the split.
    pub original: usize,
    /// Evaluated, after `--limit`.
    pub effective: usize,
}

/// What was spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens the model computed, padding included if there was any.
    pub tokens_computed: Option<u64>,
    /// Tokens the model learned from, each as often as it was read.
    pub tokens_trained: Option<u64>,
    /// Tokens that a padded copy of the context a candidate would have taken.
    pub tokens_if_padded_copies: Option<u64>,
    /// Tokens that did not fit and were cut from prompts.
    pub tokens_truncated: Option<u64>,
    /// The same of what was learned from, texts to be written among it, each as often as it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_tokens_truncated: Option<u64>,
    /// Floating-point operations of the matrix products that scoring and learning need.
    #[serde(default)]
    pub flops: Option<u64>,
    /// Wall-clock seconds of training.
    pub train_secs: Option<f64>,
    /// Wall-clock seconds of evaluation.
    pub eval_secs: Option<f64>,
    /// `flops` a second, over the machine's peak. `None` where one of them is not known.
    #[serde(default)]
    pub share_of_peak: Option<f64>,
    /// Most memory in use at once.
    pub peak_memory_bytes: Option<u64>,
}

impl Cost {
    /// Seconds of training and evaluation together.
    pub fn secs(&self) -> Option<f64> {
        self.train_secs.into_iter().chain(self.eval_secs).reduce(|a, b| a + b)
    }

    /// Fills `share_of_peak`, on a machine whose peak is known. A share above 1 says that the peak was measured while the
    /// machine had other work, and so is not known.
    #[must_use]
    pub fn with_share(self, peak_flops_per_sec: Option<f64>) -> Self {
        let speed =
            self.flops.zip(self.secs().filter(|&secs| secs > 0.0)).map(|(flops, secs)| flops as f64 / secs);
        let share = speed.zip(peak_flops_per_sec).map(|(speed, peak)| speed / peak);
        Self { share_of_peak: share.filter(|share| *share <= 1.0), ..self }
    }
}

/// What befell texts that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCounts {
    /// Samples whose source was cut because it was too long.
    pub cut_sources: usize,
    /// Blanks that were filled.
    pub blanks: usize,
    /// Those whose text did not end by itself, and was cut at the limit.
    pub unended_blanks: usize,
    /// Samples whose answer has no words, which are scored as that.
    pub empty: usize,
}

impl TextCounts {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.cut_sources += other.cut_sources;
        self.blanks += other.blanks;
        self.unended_blanks += other.unended_blanks;
        self.empty += other.empty;
    }
}

/// The state after an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Updates made so far.
    pub updates: u64,
    /// Mean training loss over the epoch.
    pub train_loss: Option<f64>,
    /// Learning rate of its last update.
    pub learning_rate: Option<f64>,
    /// Scores after it; none where it was not scored, as texts are only where an epoch may count.
    pub scores: Estimates,
    /// Wall-clock seconds.
    pub secs: Option<f64>,
}

/// A file of logged samples, beside the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplesFile {
    /// Its name.
    pub file: String,
    /// sha256 of its bytes.
    pub sha256: String,
    /// Lines in it.
    pub samples: usize,
}

/// What one seed gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// Every epoch; empty when nothing was trained.
    pub epochs: Vec<Epoch>,
    /// The epoch that is best by the first metric; `None` when nothing was trained.
    pub best_epoch: Option<usize>,
    /// Scores of the best epoch.
    pub best: Estimates,
    /// Scores of the last epoch.
    pub last: Estimates,
    /// What the scores of the epoch that counts would be by other ways to rank candidates, for families that rank them
    /// by likelihood: by the way's name (see `request::Likelihood`). `raw` is what the other scores are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub normalized: BTreeMap<String, Estimates>,
    /// 95 % bootstrap intervals of the scores of the epoch that counts, for tasks that are answered with texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, Interval>,
    /// What befell the texts of the epoch that counts, for tasks that are answered with texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<TextCounts>,
    /// Samples that failed; each counts as wrong.
    pub failed_samples: usize,
    /// The file of this seed's samples; `None` in records of older programs, which have them under the usual name.
    #[serde(default)]
    pub samples: Option<SamplesFile>,
    /// Of this seed.
    pub cost: Cost,
}

impl SeedRun {
    /// Scores of the epoch that counts.
    pub fn selected(&self, rule: Rule) -> &Estimates {
        match rule {
            Rule::Best => &self.best,
            Rule::Last => &self.last,
        }
    }

    /// The same, to be changed.
    pub fn selected_mut(&mut self, rule: Rule) -> &mut Estimates {
        match rule {
            Rule::Best => &mut self.best,
            Rule::Last => &mut self.last,
        }
    }

    /// A seed without training: what was measured is best and last at once.
    pub fn untrained(seed: u64, scores: Estimates) -> Self {
        let best = scores.clone();
        Self {
            seed,
            epochs: vec![],
            best_epoch: None,
            best,
            last: scores,
            normalized: BTreeMap::new(),
            intervals: BTreeMap::new(),
            texts: None,
            failed_samples: 0,
            samples: None,
            cost: Cost::default(),
        }
    }

    /// A seed with training. The best epoch is the first of those with the highest value of `first_metric`;
    /// without any value it is the last.
    pub fn trained(seed: u64, epochs: Vec<Epoch>, first_metric: &str) -> Self {
        let value = |epoch: &Epoch| epoch.scores.get(first_metric).copied().flatten().map(|e| e.value);
        let highest = epochs.iter().filter_map(value).fold(f64::NEG_INFINITY, f64::max);
        let best = epochs.iter().find(|epoch| value(epoch).is_some_and(|v| v >= highest)).or(epochs.last());
        let (best_epoch, best) = best.map(|epoch| (epoch.epoch, epoch.scores.clone())).unzip();
        let last = epochs.last().map(|epoch| epoch.scores.clone()).unwrap_or_default();
        let (best, cost) = (best.unwrap_or_default(), Cost::default());
        Self { epochs, best_epoch, best, cost, ..Self::untrained(seed, last) }
    }
}

/// One metric over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The number to quote, by the selection rule: mean over the seeds. Its standard error is that of the
    /// samples (all seeds share them, so more seeds don't shrink it); its `n` is that of one seed.
    pub selected: Option<Estimate>,
    /// Over the seeds, each at its best epoch.
    pub best: Option<Spread>,
    /// Over the seeds, each at its last epoch.
    pub last: Option<Spread>,
}

/// One task with one pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Unique in the record: the task's name, with the pattern's where there are several (see [`unit_name`]).
    pub name: String,
    /// The task.
    pub task: String,
    /// Version of the task file.
    pub version: u32,
    /// sha256 of the task file.
    pub task_file_sha256: String,
    /// The suite it belongs to.
    pub suite: Option<String>,
    /// The pattern's id.
    pub pattern: Option<String>,
    /// The split that was scored.
    pub split: String,
    /// The data it was read from.
    pub data: Vec<DataFile>,
    /// How many samples.
    pub samples: SampleCount,
    /// The metrics in the task file's order; the first selects.
    pub metrics: Vec<String>,
    /// Score of guessing.
    pub chance_level: Option<f64>,
    /// The whole recipe, every default spelt out.
    pub recipe: BTreeMap<String, Setting>,
    /// What to know when reading the scores, as that a data set is a sample only.
    pub notes: Vec<String>,
    /// One a seed.
    pub runs: Vec<SeedRun>,
    /// One a metric, over the seeds. See [`TaskRecord::summarize`].
    pub scores: BTreeMap<String, Scores>,
    /// What needs no model, scored by the same metrics on the same samples: by its name. For tasks that are answered
    /// with texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baselines: BTreeMap<String, Estimates>,
    /// Of this task.
    pub cost: Cost,
}

impl TaskRecord {
    /// Fills `scores` from `runs`.
    pub fn summarize(&mut self, rule: Rule) {
        let score = |metric: &String| {
            let over = |pick: fn(&SeedRun) -> &Estimates| -> Vec<Estimate> {
                self.runs.iter().filter_map(|run| pick(run).get(metric).copied().flatten()).collect()
            };
            let (best, last) = (over(|run| &run.best), over(|run| &run.last));
            let selected = same_samples_mean(if rule == Rule::Best { &best } else { &last });
            let spread =
                |all: &[Estimate]| stats::over_seeds(&all.iter().map(|e| e.value).collect::<Vec<_>>());
            (metric.clone(), Scores { selected, best: spread(&best), last: spread(&last) })
        };
        self.scores = self.metrics.iter().map(score).collect();
    }
}

/// Mean of estimates made on the same samples: standard errors are averaged, as they don't shrink.
fn same_samples_mean(estimates: &[Estimate]) -> Option<Estimate> {
    let values: Vec<f64> = estimates.iter().map(|e| e.value).collect();
    let stderrs: Option<Vec<f64>> = estimates.iter().map(|e| e.stderr).collect();
    let n = estimates.first()?.n;
    Some(Estimate { value: stats::mean(&values)?, stderr: stderrs.and_then(|all| stats::mean(&all)), n })
}

/// Name of a task's result: the task's own, and with the pattern when several were run.
pub fn unit_name(task: &str, pattern: &str, num_patterns: usize) -> String {
    if num_patterns > 1 { format!("{task}_pattern_{pattern}") } else { task.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, accuracy: f64) -> Epoch {
        let estimate = Estimate { value: accuracy, stderr: Some(0.1), n: 25 };
        let scores = BTreeMap::from([("accuracy".to_string(), Some(estimate))]);
        Epoch { epoch, updates: epoch as u64, train_loss: None, learning_rate: None, scores, secs: None }
    }

    #[test]
    fn the_first_of_equally_good_epochs_is_the_best() {
        let run = SeedRun::trained(1, vec![epoch(1, 0.5), epoch(2, 0.75), epoch(3, 0.75)], "accuracy");
        assert_eq!(run.best_epoch, Some(2));
        assert_eq!(run.last, epoch(3, 0.75).scores);
    }

    #[test]
    fn without_a_score_the_last_epoch_is_the_best_there_is() {
        assert_eq!(SeedRun::trained(1, vec![epoch(1, 0.5), epoch(2, 0.6)], "em").best_epoch, Some(2));
        assert_eq!(SeedRun::trained(1, vec![], "em").best_epoch, None);
    }

    #[test]
    fn more_seeds_show_a_spread_but_do_not_shrink_the_error_of_the_samples() {
        let estimate = |value| Estimate { value, stderr: Some(0.1), n: 25 };
        let mean = same_samples_mean(&[estimate(0.5), estimate(0.7)]).unwrap();
        assert!((mean.value - 0.6).abs() < 1e-15 && (mean.stderr.unwrap() - 0.1).abs() < 1e-15);
        assert_eq!(mean.n, 25);
        assert_eq!(same_samples_mean(&[]), None);
    }
}
