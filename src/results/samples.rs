//! Logged samples, `samples_<task>_<UTC time>.jsonl`: one line a sample, in the order of the data, with the
//! keys of lm-evaluation-harness and ours (`guid`, `group`, `prediction`, `references`) beside them.
//!
//! Texts of a data set (`doc`, `arguments`, `target`, `references`, a predicted text) are written only with
//! `--log-samples`; without it they are `null`, and what is left may be published: ids, hashes, scores,
//! labels. The same samples give the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::atomic::{AtomicFile, WriteError};
use super::hash::{Hasher, sha256_hex};
use super::ours::SamplesFile;
use crate::metrics::{self, LogProb, Outcome, Prediction};
use crate::request::{CandidateScore, Likelihood};

/// The texts of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTexts {
    /// The row of the data set.
    pub doc: Value,
    /// What the model was asked: the prompt and the candidates.
    pub arguments: Value,
    /// The right answer, as text.
    pub target: String,
}

/// One line. The order of the fields is that of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleLine {
    /// Position in the split.
    pub doc_id: usize,
    /// The row; `null` without `--log-samples`.
    pub doc: Option<Value>,
    /// The right label, or the right text (with `--log-samples`).
    pub target: Value,
    /// What was asked; `null` without `--log-samples`.
    pub arguments: Option<Value>,
    /// One list a candidate, of one response: its score, and whether greedy decoding would give it. Of a text that was
    /// written: its log-probability, and whether it ended by itself.
    pub resps: Vec<Vec<(Option<f64>, bool)>>,
    /// The responses that count: the first of each candidate.
    pub filtered_resps: Vec<(Option<f64>, bool)>,
    /// Name of the filter: `none`.
    pub filter: String,
    /// The harness's names of the metrics.
    pub metrics: Vec<String>,
    /// sha256 of the row.
    pub doc_hash: String,
    /// sha256 of what was asked.
    pub prompt_hash: String,
    /// sha256 of the right answer.
    pub target_hash: String,
    /// Identifier within the task and split.
    pub guid: String,
    /// What it belongs to.
    pub group: Option<String>,
    /// What was answered: `{"label"}`, `{"text"}` (with `--log-samples`), `"none"` for a failed sample, or
    /// `null` for a text that is not written.
    pub prediction: Option<Prediction>,
    /// The right texts; `null` without `--log-samples`.
    pub references: Option<Vec<String>>,
    /// How probable its text is, for tasks that ask that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_prob: Option<LogProb>,
    /// Of each candidate, its scores by every way to rank, where the model's family has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normalized: Vec<BTreeMap<String, f64>>,
    /// The sample's own score by the harness's name of each metric that has one.
    #[serde(flatten)]
    pub scores: Map<String, Value>,
}

impl SampleLine {
    /// The line of a scored sample, by our names of the task's metrics.
    pub fn new(
        doc_id: usize,
        outcome: &Outcome,
        candidates: &[CandidateScore],
        metrics: &[String],
        texts: &SampleTexts,
        log_samples: bool,
    ) -> Self {
        let response = |c: &CandidateScore| (c.score.is_finite().then_some(c.score), c.is_greedy);
        let filtered_resps: Vec<_> = candidates.iter().map(response).collect();
        let known: Vec<_> = metrics.iter().filter_map(|metric| metrics::find(metric).ok()).collect();
        let score = |metric: &&metrics::Metric| {
            metric.score(outcome).map(|score| (metric.lm_eval_name.to_string(), json!(score)))
        };
        let target = match outcome.label {
            Some(label) => json!(label),
            None if log_samples => json!(texts.target),
            None => Value::Null,
        };
        let is_text = matches!(outcome.prediction, Prediction::Text(_));
        Self {
            doc_id,
            doc: log_samples.then(|| texts.doc.clone()),
            target,
            arguments: log_samples.then(|| texts.arguments.clone()),
            resps: filtered_resps.iter().map(|&response| vec![response]).collect(),
            filtered_resps,
            filter: "none".into(),
            metrics: known.iter().map(|metric| metric.lm_eval_name.to_string()).collect(),
            doc_hash: sha256_hex(texts.doc.to_string()),
            prompt_hash: sha256_hex(texts.arguments.to_string()),
            target_hash: sha256_hex(&texts.target),
            guid: outcome.id.clone(),
            group: outcome.group.clone(),
            prediction: (log_samples || !is_text).then(|| outcome.prediction.clone()),
            references: log_samples.then(|| outcome.references.clone()),
            log_prob: outcome.log_prob,
            normalized: Vec::new(),
            scores: known.iter().filter_map(score).collect(),
        }
    }

    /// The same with the candidates' scores by every way to rank.
    #[must_use]
    pub fn with_likelihoods(mut self, likelihoods: &[Likelihood]) -> Self {
        let scores = |likelihood: &Likelihood| {
            likelihood.scores().into_iter().map(|(name, score)| (name.to_owned(), score)).collect()
        };
        self.normalized = likelihoods.iter().map(scores).collect();
        self
    }

    /// The outcome it was made from, for scoring again; `None` where its texts were not written.
    pub fn outcome(&self) -> Option<Outcome> {
        let label = self.target.as_u64().map(|label| label as usize);
        let references = match &self.references {
            Some(references) => references.clone(),
            None if label.is_some() => Vec::new(),
            None => return None,
        };
        let (id, group) = (self.guid.clone(), self.group.clone());
        let prediction = self.prediction.clone()?;
        Some(Outcome { id, group, prediction, label, references, log_prob: self.log_prob })
    }
}

/// Writes a file of samples as they come; it appears whole or not at all. Returns its receipt.
///
/// # Errors
/// If it can't be written.
pub fn write(path: &Path, lines: impl IntoIterator<Item = SampleLine>) -> Result<SamplesFile, WriteError> {
    let mut file = AtomicFile::create(path)?;
    let (mut hasher, mut count) = (Hasher::default(), 0);
    for line in lines {
        let mut bytes = serde_json::to_vec(&line).expect("a sample can be written");
        bytes.push(b'\n');
        hasher.update(&bytes);
        count += 1;
        file.write_all(&bytes).map_err(|source| file.failed(source))?;
    }
    file.commit()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(SamplesFile { file: name, sha256: hasher.hex(), samples: count })
}

/// A file of samples that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file can't be read.
    #[error("{}: the samples could not be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line isn't a sample.
    #[error("{}: line {line} is not a sample, or is cut short", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// A label that no task has, for which there would be no room in a table of labels.
    #[error("{}: line {line} has the label {label}; labels are below {MAX_LABELS}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The label, true or predicted.
        label: u64,
    },
}

/// More labels than any task has.
const MAX_LABELS: u64 = 4096;

/// The higher of a line's labels, true and predicted.
fn highest_label(sample: &SampleLine) -> Option<u64> {
    let said = match sample.prediction {
        Some(Prediction::Label(said)) => Some(said as u64),
        _ => None,
    };
    sample.target.as_u64().max(said)
}

/// Reads a file of samples line by line.
///
/// # Errors
/// If the file can't be opened; each item, if its line can't be read.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<SampleLine, SamplesError>>, SamplesError> {
    let path = path.to_path_buf();
    let file = File::open(&path).map_err(|source| SamplesError::Io { path: path.clone(), source })?;
    Ok(BufReader::new(file).lines().enumerate().map(move |(i, line)| {
        let line = line.map_err(|source| SamplesError::Io { path: path.clone(), source })?;
        let sample: SampleLine = serde_json::from_str(&line).map_err(|source| SamplesError::Line {
            path: path.clone(),
            line: i + 1,
            source,
        })?;
        match highest_label(&sample).filter(|&label| label >= MAX_LABELS) {
            Some(label) => Err(SamplesError::Label { path: path.clone(), line: i + 1, label }),
            None => Ok(sample),
        }
    }))
}
