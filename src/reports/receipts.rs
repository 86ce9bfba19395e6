//! What a page shows of every run: the receipt, and the samples that were logged.

use serde::Serialize;
use serde_json::Value;

use super::runs::{ReadRun, Runs};
use crate::metrics::Prediction;
use crate::results::ours::{Cost, DataFile, TaskRecord};
use crate::results::{RunError, SampleLine};
use crate::tasks::Task;

/// What exactly was run on what.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The run.
    pub name: String,
    /// The model.
    pub model: String,
    /// Names and values, in reading order; what is unknown is left out.
    pub facts: Vec<(&'static str, String)>,
    /// One a task.
    pub tasks: Vec<TaskReceipt>,
    /// What could not be verified.
    pub notes: Vec<String>,
}

/// A task of a run.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReceipt {
    /// The task.
    pub name: String,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// The data that was read.
    pub data: Vec<DataFile>,
    /// Setting, value and who decided it.
    pub recipe: Vec<(String, String, String)>,
    /// What to know about the scores.
    pub notes: Vec<String>,
}

/// The samples of a task and seed. Rows are kept short, as there may be tens of thousands.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// What they are of, as in `glm-tiny, cb, seed 1`.
    pub name: String,
    /// Names of the labels; empty for tasks without, and where the task has changed since.
    pub labels: Vec<String>,
    /// One a sample.
    pub rows: Vec<SampleRow>,
}

/// Number, name, target, answer, is it right, scores of the candidates, prompt, candidates.
pub type SampleRow =
    (usize, String, Value, Value, Option<bool>, Vec<Option<f64>>, Option<String>, Option<Vec<String>>);

/// The receipts of all runs.
pub fn all(runs: &Runs) -> Vec<Receipt> {
    runs.read.iter().map(receipt).collect()
}

fn receipt(run: &ReadRun) -> Receipt {
    let record = &run.run.record;
    let ours = &record.glm_eval;
    let mode = serde_json::to_value(ours.mode).ok().and_then(|mode| mode.as_str().map(String::from));
    let rule =
        serde_json::to_value(ours.selection.rule).ok().and_then(|rule| rule.as_str().map(String::from));
    let rule = rule.map(|rule| match &ours.selection.split {
        Some(split) => format!("{rule}, on {split}"),
        None => rule,
    });
    let known = [
        ("program", Some(format!("glm-eval {}", ours.program.version))),
        ("commit", ours.program.git_hash.clone()),
        ("program sha256", ours.program.sha256.clone()),
        ("command", Some(ours.program.arguments.join(" "))),
        ("parameters", ours.model.num_parameters.map(|count| count.to_string())),
        ("weights", ours.model.random_weights.clone()),
        ("weights sha256", ours.model.weights_sha256.clone()),
        ("config sha256", ours.model.config_sha256.clone()),
        ("tokenizer sha256", ours.model.tokenizer_sha256.clone()),
        ("device", Some(ours.machine.device_name.clone().unwrap_or_else(|| ours.machine.device.clone()))),
        ("type", Some(ours.machine.dtype.clone())),
        ("threads", ours.machine.threads.map(|threads| threads.to_string())),
        ("mode", mode),
        ("epoch", rule),
        ("bootstrap", Some(format!("{} draws, seed {}", ours.bootstrap.draws, ours.bootstrap.seed))),
    ];
    let mut facts: Vec<(&'static str, String)> =
        known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    facts.extend(costs(&ours.cost));
    // Notes name the file by its path here; the report doesn't.
    let notes = run.run.notes.iter().map(|note| note.replace(&format!("{}: ", run.run.path.display()), ""));
    Receipt {
        name: run.name.clone(),
        model: record.model_name.clone(),
        facts,
        tasks: ours.tasks.iter().map(task).collect(),
        notes: notes.collect(),
    }
}

fn task(task: &TaskRecord) -> TaskReceipt {
    let seeds: Vec<String> = task.runs.iter().map(|run| run.seed.to_string()).collect();
    let best: Vec<String> =
        task.runs.iter().filter_map(|run| run.best_epoch.map(|epoch| epoch.to_string())).collect();
    let mut facts = vec![
        ("version", task.version.to_string()),
        ("task file sha256", task.task_file_sha256.clone()),
        ("split", task.split.clone()),
        ("samples", format!("{} of {}", task.samples.effective, task.samples.original)),
        ("seeds", seeds.join(", ")),
    ];
    if !best.is_empty() {
        facts.push(("best epochs", best.join(", ")));
    }
    facts.extend(costs(&task.cost));
    let setting = |(name, setting): (&String, &crate::results::ours::Setting)| {
        let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), String::from);
        (name.replace('_', " "), value, setting.source.clone())
    };
    TaskReceipt {
        name: task.name.clone(),
        facts,
        data: task.data.clone(),
        recipe: task.recipe.iter().map(setting).collect(),
        notes: task.notes.clone(),
    }
}

fn costs(cost: &Cost) -> Vec<(&'static str, String)> {
    let secs = |secs: Option<f64>| secs.map(|secs| format!("{secs:.0} s"));
    let known = [
        ("tokens scored", cost.tokens_computed.map(|n| n.to_string())),
        ("tokens trained", cost.tokens_trained.map(|n| n.to_string())),
        ("tokens in padded copies", cost.tokens_if_padded_copies.map(|n| n.to_string())),
        ("tokens cut off", cost.tokens_truncated.map(|n| n.to_string())),
        ("training", secs(cost.train_secs)),
        ("scoring", secs(cost.eval_secs)),
        (
            "peak memory",
            cost.peak_memory_bytes.map(|bytes| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))),
        ),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// All samples that were kept, and which can't be read, and why. A run without samples is no problem.
pub fn samples(runs: &Runs) -> (Vec<Samples>, Vec<String>) {
    let (mut sets, mut problems) = (Vec::new(), Vec::new());
    for run in &runs.read {
        for task in &run.run.record.glm_eval.tasks {
            for seed in &task.runs {
                let name = format!(
                    "{}, {}, seed {} ({})",
                    run.run.record.model_name,
                    task.name,
                    seed.seed,
                    run.folder()
                );
                match run.run.samples(task, seed) {
                    Ok(lines) => {
                        let labels = labels(task);
                        let rows = lines.into_iter().map(row).collect();
                        sets.push(Samples { name, labels, rows });
                    }
                    Err(RunError::NoSamples { .. }) => {}
                    Err(error) => {
                        let folder = run
                            .run
                            .path
                            .parent()
                            .map_or_else(String::new, |folder| format!("{}/", folder.display()));
                        let text = error.to_string().replace(&folder, "");
                        problems.push(format!("Samples of {name} were left out: {text}"));
                    }
                }
            }
        }
    }
    (sets, problems)
}

/// The names of a task's labels, if the task is still the one that was run: a version is raised whenever a score could
/// move, while its file may have gained other things.
fn labels(task: &TaskRecord) -> Vec<String> {
    let known = Task::find(&task.task).ok().filter(|known| known.version == task.version);
    known.map(|known| known.labels).unwrap_or_default()
}

fn row(line: SampleLine) -> SampleRow {
    let label = line.target.as_u64();
    let right = match (&line.prediction, label) {
        (Some(Prediction::Label(answer)), Some(label)) => Some(*answer as u64 == label),
        (Some(Prediction::None), _) => Some(false),
        _ => line.scores.get("em").and_then(Value::as_f64).map(|em| em >= 1.0),
    };
    let answer = match line.prediction {
        Some(Prediction::Label(label)) => Value::from(label),
        Some(Prediction::Text(text)) => Value::from(text),
        Some(Prediction::None) => Value::from("failed"),
        Some(Prediction::LogProb) | None => Value::Null,
    };
    // The references, where there are any, are what the target's text was made of.
    let target = line
        .references
        .filter(|_| label.is_none())
        .map_or(line.target, |texts| Value::from(texts.join(" / ")));
    let scores =
        line.filtered_resps.iter().map(|(score, _)| score.map(|score| (score * 1e4).round() / 1e4)).collect();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(String::from)).collect()
    };
    let asked = line.arguments.as_ref();
    let prompt = asked.map(|asked| {
        let side =
            |name| asked.get(name).map(texts).unwrap_or_default().concat().replace("[MASK]", " [MASK]");
        let sides = ["a", "b"].map(side);
        if sides[1].is_empty() { sides[0].clone() } else { sides.join(" | ") }
    });
    let candidates =
        asked.and_then(|asked| asked.get("candidates").or_else(|| asked.get("words"))).map(texts);
    (line.doc_id, line.guid, target, answer, right, scores, prompt, candidates)
}
