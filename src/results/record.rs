//! The run record, `<output>/<model>/results_<UTC time>.json`: the keys of lm-evaluation-harness, made from
//! our own part under `glm_eval`.
//!
//! Format: EleutherAI/lm-evaluation-harness, `lm_eval/loggers/evaluation_tracker.py` and `lm_eval/evaluator.py`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::atomic::{self, WriteError};
use super::hash::sha256_hex;
use super::ours::{GlmEval, SCHEMA_VERSION, TaskRecord};
use super::time::UtcTime;
use crate::metrics;
use crate::stats::Estimate;

/// The settings of a run, by the names of lm-evaluation-harness.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Kind of model, as in `glm`.
    pub model: String,
    /// As in `pretrained=glm-tiny,dtype=f32`.
    pub model_args: String,
    /// Number of parameters.
    pub model_num_parameters: Option<u64>,
    /// As in `f32`.
    pub model_dtype: Option<String>,
    /// Samples a batch; `None` when the program chose.
    pub batch_size: Option<usize>,
    /// As in `cpu`.
    pub device: String,
    /// `--limit`.
    pub limit: Option<f64>,
    /// Draws of the bootstrap.
    pub bootstrap_iters: usize,
    /// The first seed.
    pub random_seed: Option<u64>,
    /// Examples in the prompt.
    pub num_fewshot: Option<usize>,
}

/// A run record. Made by [`Record::new`]; the fields are those of the file, in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `{task: {"alias", "acc,none", "acc_stderr,none", ...}}`.
    pub results: Map<String, Value>,
    /// The suite's average, where there is one.
    pub groups: Map<String, Value>,
    /// `{suite: [task, ...]}`.
    pub group_subtasks: Map<String, Value>,
    /// The settings of each task.
    pub configs: Map<String, Value>,
    /// Versions of the task files.
    pub versions: Map<String, Value>,
    /// Examples in the prompt, a task.
    #[serde(rename = "n-shot")]
    pub n_shot: Map<String, Value>,
    /// `{task: {metric: bool}}`.
    pub higher_is_better: Map<String, Value>,
    /// `{task: {"original", "effective"}}`.
    #[serde(rename = "n-samples")]
    pub n_samples: Map<String, Value>,
    /// The settings of the run.
    pub config: RunConfig,
    /// Commit of the program.
    pub git_hash: Option<String>,
    /// Unix seconds.
    pub date: f64,
    /// `{task: sha256 of its task file}`.
    pub task_hashes: Map<String, Value>,
    /// The model's name.
    pub model_name: String,
    /// The model's name as a folder.
    pub model_name_sanitized: String,
    /// Unix seconds.
    pub start_time: f64,
    /// Unix seconds.
    pub end_time: f64,
    /// Seconds, spelt out, as lm-evaluation-harness has them.
    pub total_evaluation_time_seconds: String,
    /// Everything of ours.
    pub glm_eval: GlmEval,
}

/// A record that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be read.
    #[error("{}: the record could not be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("{}: the record is cut short, it ends at line {line}; run again, or fetch it again", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        line: usize,
    },
    /// The file is no JSON, or lacks something that every record has.
    #[error("{}: not a run record", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file isn't what the program wrote.
    #[error("{}: the record was changed after it was written: its contents have sha256 {found}, it says {stated}; \
        fetch it again, or run again", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        stated: String,
        /// What it is.
        found: String,
    },
    /// The file is JSON, but not of ours.
    #[error("{}: has no `glm_eval.schema_version`: not a record of glm-eval", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("{}: the record has schema {found}, this program reads {SCHEMA_VERSION}; use {}", path.display(),
        if *found > u64::from(SCHEMA_VERSION) { "a newer program" } else { "the program it was written with" })]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
}

impl Record {
    /// Makes the record of a run from our part of it.
    pub fn new(ours: GlmEval, config: RunConfig, start: UtcTime, end: UtcTime) -> Self {
        let tasks = &ours.tasks;
        let per_task = |of: &dyn Fn(&TaskRecord) -> Value| -> Map<String, Value> {
            tasks.iter().map(|task| (task.name.clone(), of(task))).collect()
        };
        let n_shot = config.num_fewshot.unwrap_or(0);
        let seconds = end.unix_secs() - start.unix_secs();
        let mut record = Self {
            results: per_task(&result_of),
            groups: groups_of(&ours),
            group_subtasks: subtasks_of(&ours),
            configs: per_task(&config_of),
            versions: per_task(&|task| json!(task.version)),
            n_shot: per_task(&|_| json!(n_shot)),
            higher_is_better: per_task(&directions_of),
            n_samples: per_task(&|task| json!(task.samples)),
            config,
            git_hash: ours.program.git_hash.clone(),
            date: start.unix_secs(),
            task_hashes: per_task(&|task| json!(task.task_file_sha256)),
            model_name_sanitized: sanitize(&ours.model.name),
            model_name: ours.model.name.clone(),
            start_time: start.unix_secs(),
            end_time: end.unix_secs(),
            total_evaluation_time_seconds: seconds.to_string(),
            glm_eval: ours,
        };
        record.seal();
        record
    }

    /// Writes the record's own digest into it.
    fn seal(&mut self) {
        let mut value = serde_json::to_value(&*self).expect("a record can be written");
        self.glm_eval.record_sha256 = Some(contents_sha256(&mut value));
    }

    /// The bytes of the file: indented JSON, keys in a fixed order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record can be written");
        bytes.push(b'\n');
        bytes
    }

    /// Writes the record under the run folder's name for it; it appears whole or not at all.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        atomic::write(path, &self.to_bytes())
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// If the file can't be read, is cut short, is none of ours, or is of another schema.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let path = path.to_path_buf();
        let text =
            fs::read_to_string(&path).map_err(|source| RecordError::Io { path: path.clone(), source })?;
        let mut value: Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) if error.is_eof() => return Err(RecordError::CutShort { path, line: error.line() }),
            Err(source) => return Err(RecordError::Malformed { path, source }),
        };
        match value.pointer("/glm_eval/schema_version").and_then(Value::as_u64) {
            None => Err(RecordError::NotOurs { path }),
            Some(found) if found != u64::from(SCHEMA_VERSION) => Err(RecordError::Schema { path, found }),
            Some(_) => {
                let stated = value.pointer(OWN_SHA256).and_then(Value::as_str).map(String::from);
                let record: Self = serde_json::from_value(value.clone())
                    .map_err(|source| RecordError::Malformed { path: path.clone(), source })?;
                let Some(stated) = stated else { return Ok(record) };
                let found = contents_sha256(&mut value);
                if found == stated { Ok(record) } else { Err(RecordError::Edited { path, stated, found }) }
            }
        }
    }

    /// The record without what differs between two equal runs: times, and memory. Two runs of the same
    /// inputs, one of them resumed, agree in the rest to the byte.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        (self.date, self.start_time, self.end_time) = (0.0, 0.0, 0.0);
        self.total_evaluation_time_seconds = String::new();
        self.glm_eval.record_sha256 = None;
        let clear = |cost: &mut super::ours::Cost| {
            (cost.train_secs, cost.eval_secs) = (None, None);
            (cost.share_of_peak, cost.peak_memory_bytes) = (None, None);
        };
        self.glm_eval.machine.peak_flops_per_sec = None;
        clear(&mut self.glm_eval.cost);
        for task in &mut self.glm_eval.tasks {
            clear(&mut task.cost);
            for run in &mut task.runs {
                clear(&mut run.cost);
                run.samples.iter_mut().for_each(|samples| samples.file.clear()); // the time is in its name
                run.epochs.iter_mut().for_each(|epoch| epoch.secs = None);
            }
        }
        self
    }
}

/// Where a record's own digest stands.
const OWN_SHA256: &str = "/glm_eval/record_sha256";

/// sha256 of a record as JSON without white space, in the file's order of keys, with `null` for its own digest:
/// another indentation leaves it the same, another digit doesn't.
fn contents_sha256(record: &mut Value) -> String {
    if let Some(own) = record.pointer_mut(OWN_SHA256) {
        *own = Value::Null;
    }
    sha256_hex(record.to_string())
}

/// `<output>/<model>`: the folder of a model's runs.
pub fn run_folder(output: &Path, model_name: &str) -> PathBuf {
    output.join(sanitize(model_name))
}

/// The record's place in a run folder.
pub fn record_path(run_folder: &Path, time: UtcTime) -> PathBuf {
    run_folder.join(format!("results_{}.json", time.stamp()))
}

/// The place of a task's samples in a run folder.
pub fn samples_path(run_folder: &Path, task: &str, time: UtcTime) -> PathBuf {
    run_folder.join(samples_name(task, &time.stamp()))
}

/// The name of a file of samples: of a task, or of one of several seeds of it (see [`seed_name`]).
pub fn samples_name(task: &str, stamp: &str) -> String {
    format!("samples_{}_{stamp}.jsonl", sanitize(task))
}

/// A task's result with one of `num_seeds` seeds.
pub fn seed_name(task: &str, seed: u64, num_seeds: usize) -> String {
    if num_seeds > 1 { format!("{task}_seed{seed}") } else { task.to_string() }
}

/// A name as part of a path: runs of characters that a file system could take amiss become `__`, as in
/// lm-evaluation-harness; a name of dots alone would leave the folder.
pub fn sanitize(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars() {
        let bad = c.is_control() || "\"<>:/\\|?*[]".contains(c);
        if !bad {
            clean.push(c);
        } else if !clean.ends_with("__") {
            clean.push_str("__");
        }
    }
    if clean.chars().all(|c| c == '.') { format!("__{clean}") } else { clean }
}

/// The harness's name for a metric of a task; ours where two of the task's would share one.
fn lm_eval_name<'a>(task: &'a TaskRecord, metric: &'a str) -> &'a str {
    let name = |metric: &'a str| metrics::find(metric).map_or(metric, |known| known.lm_eval_name);
    let sharing = task.metrics.iter().filter(|other| name(other) == name(metric)).count();
    if sharing > 1 { metric } else { name(metric) }
}

fn result_of(task: &TaskRecord) -> Value {
    let mut result = Map::from_iter([("alias".to_string(), json!(task.name))]);
    for metric in &task.metrics {
        let estimate = task.scores.get(metric).and_then(|scores| scores.selected);
        insert_estimate(&mut result, lm_eval_name(task, metric), estimate);
    }
    Value::Object(result)
}

fn insert_estimate(result: &mut Map<String, Value>, metric: &str, estimate: Option<Estimate>) {
    result.insert(format!("{metric},none"), json!(estimate.map(|e| e.value)));
    // The harness's own spelling of a standard error that there is none of; its table code takes no `null` here.
    let stderr = estimate.and_then(|e| e.stderr).map_or_else(|| json!("N/A"), |stderr| json!(stderr));
    result.insert(format!("{metric}_stderr,none"), stderr);
}

fn directions_of(task: &TaskRecord) -> Value {
    let direction = |metric: &String| {
        let known = metrics::find(metric).ok().map(|known| known.higher_is_better);
        (lm_eval_name(task, metric).to_string(), json!(known))
    };
    Value::Object(task.metrics.iter().map(direction).collect())
}

fn config_of(task: &TaskRecord) -> Value {
    json!({
        "task": task.name,
        "tag": task.suite,
        "pattern": task.pattern,
        "split": task.split,
        "metric_list": task.metrics.iter().map(|metric| json!({
            "metric": lm_eval_name(task, metric), "glm_eval_metric": metric,
        })).collect::<Vec<_>>(),
        "recipe": task.recipe,
        "metadata": {"version": task.version},
    })
}

/// Names of the suites, in order of first appearance, with their tasks.
fn subtasks_of(ours: &GlmEval) -> Map<String, Value> {
    let mut subtasks: Map<String, Value> = Map::new();
    for task in &ours.tasks {
        if let Some(suite) = &task.suite {
            let entry = subtasks.entry(suite.clone()).or_insert_with(|| json!([]));
            entry.as_array_mut().expect("made as an array").push(json!(task.name));
        }
    }
    subtasks
}

/// The average of the suite that was asked for; nothing where it is incomplete.
fn groups_of(ours: &GlmEval) -> Map<String, Value> {
    let Some(average) = ours.suite.as_ref().and_then(|suite| suite.average) else { return Map::new() };
    let Some((suite, _)) = subtasks_of(ours).into_iter().next() else { return Map::new() };
    let mut group = Map::from_iter([("alias".to_string(), json!(suite))]);
    insert_estimate(&mut group, "average", Some(average));
    Map::from_iter([(suite, Value::Object(group))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_stays_inside_the_output_folder() {
        assert_eq!(sanitize("THUDM/glm-large"), "THUDM__glm-large");
        assert_eq!(sanitize("../../x:\\y"), "..__..__x__y");
        assert_eq!(sanitize(".."), "__..");
        assert_eq!(sanitize(""), "__");
    }
}
