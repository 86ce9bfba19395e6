//! `glm-eval score`: a task's metrics from predictions made elsewhere, no model needed.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::data::{Jsonl, RowError};
use crate::metrics::external::{self, Answers, Given};
use crate::metrics::text::{self, wordnet::WordNet};
use crate::metrics::{self, Measured, Metric, Outcome, Prediction};
use crate::tasks::file::ascii_quotes;
use crate::tasks::{Sample, Split, Task, TaskData};

/// Score predictions made elsewhere, with a task's metrics or with named ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line of predictions is {\"id\": \"dev-0\", \"prediction\": \"entailment\"}, where `guid` or `idx` (the row's number) \
may stand for `id`, and `label` for `prediction`; null stands for a failed sample, which counts as wrong (by ROUGE, BLEU \
and METEOR as an empty text). A line of references is {id, label}, {id, reference} or {id, references: [..]}, of which \
the nearest counts, and for BLEU all; with --reference-key, the files of a data set are such files. Two files that end in .txt hold a text a line. Sentences within a text are parted by newlines, which \
matters to rougeLsum. Files as the SuperGLUE leaderboard takes them are such files, MultiRC's nested one too.

Examples:
  glm-eval score rte --predictions RTE.jsonl --data-dir superglue
  glm-eval score rte --predictions rte.jsonl --references right.jsonl --json
  glm-eval score --metrics rouge1,rouge2,rougeLsum --predictions said.txt --references right.txt
  glm-eval score --metrics rougeLsum_stem --predictions said.jsonl --references cnn_dm/test.jsonl --reference-key highlights")]
pub struct Score {
    /// The task, such as rte, or a task file
    #[arg(required_unless_present = "metrics")]
    task: Option<String>,
    /// Metrics instead of the task's own, as `glm-eval ls metrics` lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Predictions: one JSON object a line, or .txt with one text a line
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// The right answers, where they are not the task's own data
    #[arg(long, value_name = "FILE", required_unless_present = "task")]
    references: Option<PathBuf>,
    /// The key of the right text in the references' rows, such as highlights for the files of CNN/DailyMail
    #[arg(long, value_name = "KEY", requires = "references")]
    reference_key: Option<String>,
    /// A folder that holds the task's folder, directly or one level down, or is that folder
    #[arg(long, value_name = "DIR", conflicts_with = "references")]
    data_dir: Option<PathBuf>,
    /// Which part of the task's own data was predicted
    #[arg(long, value_enum, default_value_t = SplitArg::Val, conflicts_with = "references")]
    split: SplitArg,
    /// `WordNet`'s database folder (index.*, data.*, *.exc), for the synonyms of `meteor_nltk` [env: `GLM_EVAL_WORDNET`]
    #[arg(long, value_name = "DIR")]
    wordnet: Option<PathBuf>,
    /// Print JSON, scores in 0..=1
    #[arg(long)]
    json: bool,
}

/// What can be scored: rows to learn from are copied and sorted out, so that they aren't those of the file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitArg {
    #[value(alias = "dev", alias = "validation")]
    Val,
    Test,
}

impl Score {
    /// Prints the metrics.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let task = self.task.as_deref().map(Task::find).transpose()?;
        let metrics = self.metrics(task.as_ref())?;
        if let Some(metric) = metrics.iter().find(|metric| metric.reads_log_probs()) {
            bail!("{} is computed from a model's probabilities, which predictions don't have", metric.name);
        }
        // Answers are texts or labels, never both.
        let reads_texts = metrics[0].reads_texts;
        if let Some(other) = metrics.iter().find(|metric| metric.reads_texts != reads_texts) {
            bail!(
                "{} and {} can't be had of the same answers: one compares texts, the other labels",
                metrics[0].name,
                other.name
            );
        }
        let labels = match &task {
            Some(task) if !reads_texts => &task.labels[..],
            None if !reads_texts => {
                bail!("{} compares labels; name the task whose labels they are", metrics[0].name)
            }
            _ => &[],
        };
        if is_plain_text(&self.predictions) && self.references.is_none() {
            bail!(
                "{}: a text a line has no ids to find its samples by; give --references with a text a line, too, or \
                 lines of {{\"id\": .., \"prediction\": ..}}",
                self.predictions.display()
            );
        }
        let predictions = read_answers(&self.predictions, None)?;
        let references = match (&self.references, &task) {
            (Some(path), _) => {
                let references = read_answers(path, self.reference_key.as_deref())?.right_ones();
                same_lines(&self.predictions, &predictions, path, &references)?;
                references
            }
            (None, Some(task)) => self.own_answers(task, reads_texts)?,
            (None, None) => unreachable!("clap asks for --references without a task"),
        };
        // ReCoRD's own texts have their quotes in ASCII; those made elsewhere may be as in the raw files.
        let folds_quotes = task.as_ref().is_some_and(|task| task.data.adapter.as_deref() == Some("record"));
        let [predictions, references] = [predictions, references]
            .map(|file| if folds_quotes { file.map_texts(ascii_quotes) } else { file });
        // As in a run, texts are compared in the task's form.
        let compared = |file: Answers| match &task {
            Some(task) => file.map_texts(|text| task.scored_text(text.to_owned())),
            None => file,
        };
        let [predictions, references] = [predictions, references].map(compared);
        let outcomes = external::join(&predictions, &references, labels)?;
        let measured = metrics::measure_all(&metrics, &outcomes, labels.len());
        let scores: Scores = metrics.into_iter().zip(measured).collect();
        let num_empty = num_empty(&outcomes);
        let num_failed = num_failed(&outcomes);
        if !reads_texts && num_failed > 0 {
            tracing::warn!("{num_failed} of {} predictions are null and count as wrong", outcomes.len());
        }
        if reads_texts && num_empty > 0 {
            tracing::warn!(
                "{num_empty} of {} predictions are empty or null; none is left out of the scores",
                outcomes.len()
            );
        }
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", to_json(task.as_ref(), &outcomes, &scores))?;
        } else {
            writeln!(out, "{}", to_table(&scores))?;
            for (metric, signature) in signatures(&scores, &outcomes) {
                writeln!(out, "{}: {signature}", metric.name)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The metrics asked for, or the task's. METEOR with synonyms takes `WordNet`; without it, METEOR without synonyms
    /// takes its place, under its own name.
    fn metrics(&self, task: Option<&Task>) -> anyhow::Result<Vec<&'static Metric>> {
        let own = task.map(metrics_of).transpose()?.unwrap_or_default();
        let mut asked: Vec<&'static Metric> = Vec::new();
        for name in &self.metrics {
            let metric = metrics::find(name)?;
            if asked.iter().all(|other| other.name != metric.name) {
                asked.push(metric);
            }
        }
        // What a task measures besides its answers is left out, unless there is nothing else.
        let of_answers = |metric: &&&'static Metric| !metric.reads_log_probs();
        let own = match own.iter().any(|metric| of_answers(&metric)) {
            true => own.iter().filter(of_answers).copied().collect(),
            false => own,
        };
        let mut metrics = if asked.is_empty() { own } else { asked };
        let needs_wordnet = metrics.iter().any(|metric| metric.needs_wordnet());
        let variable =
            || std::env::var_os("GLM_EVAL_WORDNET").filter(|folder| needs_wordnet && !folder.is_empty());
        if let Some(folder) = self.wordnet.clone().or_else(|| variable().map(PathBuf::from)) {
            text::set_wordnet(WordNet::open(&folder)?);
        } else if needs_wordnet {
            tracing::warn!(
                "meteor_nltk needs WordNet (--wordnet DIR, or GLM_EVAL_WORDNET); \
                 here is {WITHOUT_SYNONYMS} instead"
            );
            metrics.retain(|metric| metric.name != WITHOUT_SYNONYMS);
            for metric in metrics.iter_mut().filter(|metric| metric.needs_wordnet()) {
                *metric = metrics::find(WITHOUT_SYNONYMS)?;
            }
        }
        Ok(metrics)
    }

    /// The right answers of the task's own data.
    fn own_answers(&self, task: &Task, reads_texts: bool) -> anyhow::Result<Answers> {
        let split = match self.split {
            SplitArg::Val => Split::Val,
            SplitArg::Test => Split::Test,
        };
        let data = TaskData::locate(task, self.data_dir.as_deref())?;
        let file = data.file(split)?;
        let mut answers = Answers::new(file);
        for sample in task.samples(&data, split, &task.form())? {
            let right = right_answer(&sample?, split, reads_texts);
            let id = right.id.clone();
            if answers.push(right).is_err() {
                bail!("{}: two samples are called `{id}`; give each row an id of its own", file.display());
            }
        }
        if answers.iter().all(|given| given.answer.is_null() && given.references.is_empty()) {
            bail!(
                "{}: no row has {} to score against; give them with --references FILE, or name other --metrics",
                file.display(),
                if reads_texts { "a right text" } else { "a right label" }
            );
        }
        Ok(answers)
    }
}

/// What is left of METEOR as NLTK computes it without `WordNet`.
const WITHOUT_SYNONYMS: &str = "meteor_nltk_no_synonyms";

type Scores = Vec<(&'static Metric, Option<Measured>)>;

fn metrics_of(task: &Task) -> anyhow::Result<Vec<&'static Metric>> {
    Ok(task.metrics.iter().map(|metric| metrics::find(&metric.name)).collect::<Result<_, _>>()?)
}

/// Reads a file of answers line by line; only ids and answers are kept. `key` is that of the right text, where it isn't
/// one of the usual ones.
fn read_answers(path: &Path, key: Option<&str>) -> anyhow::Result<Answers> {
    match (is_plain_text(path), key) {
        (true, None) => return read_texts(path),
        (true, Some(key)) => bail!("{}: a text a line has no key {key:?}", path.display()),
        (false, _) => {}
    }
    let mut answers = Answers::new(path);
    for row in Jsonl::open(path)? {
        let row = match row {
            Err(RowError::Empty { .. }) => bail!("{}: the file is empty", path.display()),
            row => row?,
        };
        match key {
            None => answers.push_line(row.line, &row.object)?,
            Some(key) => {
                let id = row.object.iter().filter(|(name, _)| matches!(name.as_str(), "id" | "guid" | "idx"));
                let mut renamed: Map<_, _> = id.map(|(name, id)| (name.clone(), id.clone())).collect();
                renamed.insert("reference".into(), row.value(key)?.clone());
                answers.push_line(row.line, &renamed)?;
            }
        }
    }
    Ok(answers)
}

fn is_plain_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
}

/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a file with a text a line. A sample's id is the number of its line.
fn read_texts(path: &Path) -> anyhow::Result<Answers> {
    let file = std::fs::File::open(path).with_context(|| format!("{}: can't be read", path.display()))?;
    let mut answers = Answers::new(path);
    for (i, text) in BufReader::new(file).split(b'\n').enumerate() {
        let (line, mut text) = (i + 1, text.with_context(|| format!("{}: can't be read", path.display()))?);
        text.pop_if(|byte| *byte == b'\r');
        if line == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let Ok(text) = String::from_utf8(text) else {
            bail!("{}:{line}: not UTF-8; convert the file to UTF-8", path.display());
        };
        answers.push(Given { id: line.to_string(), answer: text.into(), line, ..Given::default() })?;
    }
    if answers.iter().next().is_none() {
        bail!("{}: the file is empty", path.display());
    }
    Ok(answers)
}

/// Two files with a text a line must have as many lines; ids can't say which one is missing.
fn same_lines(a: &Path, predictions: &Answers, b: &Path, references: &Answers) -> anyhow::Result<()> {
    match (is_plain_text(a), is_plain_text(b)) {
        (true, true) => {
            let [n, m] = [predictions, references].map(|answers| answers.iter().count());
            if n != m {
                bail!(
                    "{} has {n} lines and {} has {m}; line {} is the first without a partner",
                    a.display(),
                    b.display(),
                    n.min(m) + 1
                );
            }
            Ok(())
        }
        (false, false) => Ok(()),
        _ => bail!(
            "{} and {}: one has ids and the other a text a line; make both .txt or both .jsonl",
            a.display(),
            b.display()
        ),
    }
}

/// Samples without a prediction.
fn num_failed(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.prediction == Prediction::None).count()
}

/// Predicted texts with nothing but white space in them, failed samples too.
fn num_empty(outcomes: &[Outcome]) -> usize {
    let is_empty = |outcome: &&Outcome| match &outcome.prediction {
        Prediction::Text(text) => text.trim().is_empty(),
        Prediction::None => true,
        Prediction::Label(_) | Prediction::LogProb => false,
    };
    outcomes.iter().filter(is_empty).count()
}

/// What sacreBLEU and its like say about how they were computed.
fn signatures<'a>(
    scores: &'a Scores,
    outcomes: &[Outcome],
) -> impl Iterator<Item = (&'static Metric, String)> + use<'a> {
    let counts: Vec<usize> = outcomes.iter().map(|outcome| outcome.references.len()).collect();
    let same = counts.first().copied().filter(|first| counts.iter().all(|count| count == first));
    scores.iter().filter_map(move |(metric, _)| Some((*metric, metric.signature(same)?)))
}

/// A sample's right answer, with the names by which predictions may call it.
fn right_answer(sample: &Sample, split: Split, reads_texts: bool) -> Given {
    let answer = if reads_texts { Value::Null } else { sample.official_label.clone() };
    let references = if reads_texts { sample.references.clone() } else { Vec::new() };
    Given {
        id: sample.guid.clone(),
        aliases: aliases(sample, split),
        group: sample.group.clone(),
        answer,
        references,
        ..Given::default() // without a line, which is not needed: an official label is one of the task's
    }
}

/// For `dev-p0-q1-a2` the leaderboard says `p0-q1-a2` (spelt out, nested or not), for `ReCoRD`'s `dev-p0-q1` it
/// says `1`, and for others the row's number.
fn aliases(sample: &Sample, split: Split) -> Vec<String> {
    let Some(number) = sample.guid.strip_prefix(&format!("{}-", split.guid_prefix())) else { return vec![] };
    let of_passage = number.strip_prefix('p').and_then(|rest| rest.split_once("-q"));
    let own_id = sample.doc.get("idx").or_else(|| sample.doc.get("id"));
    let own = match (of_passage, own_id) {
        (Some((_, query)), _) => query.parse::<u64>().ok().map(|query| query.to_string()),
        (None, Some(Value::String(idx))) => Some(idx.clone()),
        (None, Some(Value::Number(idx))) => Some(idx.to_string()),
        (None, _) => None,
    };
    let mut aliases = vec![number.to_owned()];
    aliases.extend(own.filter(|own| own != number));
    aliases
}

fn to_json(task: Option<&Task>, outcomes: &[Outcome], scores: &Scores) -> Value {
    let mut metrics: Map<_, _> =
        scores.iter().map(|(m, measured)| (m.name.into(), json!(measured))).collect();
    for (metric, signature) in signatures(scores, outcomes) {
        if let Some(Value::Object(measured)) = metrics.get_mut(metric.name) {
            measured.insert("signature".into(), signature.into());
        }
    }
    let mut json = json!({
        "task": task.map(|task| &task.name),
        "version": task.map(|task| task.version),
        "samples": outcomes.len(),
        "failed": num_failed(outcomes),
    });
    if scores.iter().any(|(metric, _)| metric.reads_texts) {
        json["empty"] = num_empty(outcomes).into();
    }
    json["metrics"] = metrics.into();
    json
}

/// One line a metric, in percent (a perplexity as it is); a dash where there is no value.
fn to_table(scores: &Scores) -> Table {
    let dash = || "-".to_string();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["metric", "score (%)", "stderr", "95 % interval", "n"]);
    for (metric, measured) in scores {
        let percent = |x: f64| format!("{:.2}", metric.scale() * x);
        let estimate = measured.map(|measured| measured.estimate);
        let interval = measured.and_then(|measured| measured.interval);
        table.add_row([
            metric.name.to_string(),
            estimate.map_or_else(dash, |e| percent(e.value)),
            estimate.and_then(|e| e.stderr).map_or_else(dash, percent),
            interval.map_or_else(dash, |i| format!("{} to {}", percent(i.low), percent(i.high))),
            estimate.map_or_else(dash, |e| e.n.to_string()),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(prediction: Prediction, label: usize) -> Outcome {
        let (id, label) = (String::new(), Some(label));
        Outcome { id, group: None, prediction, label, references: vec![], log_prob: None }
    }

    fn scores(task: &Task, outcomes: &[Outcome]) -> Scores {
        let metrics = metrics_of(task).expect("task files name known metrics");
        metrics.into_iter().map(|m| (m, m.measure(outcomes, task.labels.len()))).collect()
    }

    #[test]
    fn scores_are_percent_in_the_table_and_fractions_in_json() {
        let task = Task::find("CB").expect("a known task");
        let outcomes = [outcome(Prediction::Label(2), 2), outcome(Prediction::None, 0)];
        let scores = scores(&task, &outcomes);
        // Two samples, one right: 50 %, sqrt(0.5 * 0.5 / 1) = 50 points.
        let table = to_table(&scores).to_string();
        let row: Vec<&str> = table.lines().nth(1).expect("a metric").split_whitespace().collect();
        assert_eq!([row[0], row[1], row[2], row[row.len() - 1]], ["accuracy", "50.00", "50.00", "2"]);
        let json = to_json(Some(&task), &outcomes, &scores);
        assert_eq!((&json["metrics"]["accuracy"]["value"], &json["failed"]), (&json!(0.5), &json!(1)));
    }

    #[test]
    fn what_cannot_be_scored_is_a_dash_and_not_zero() {
        let task = Task::find("ax_g").expect("a known task");
        let table = to_table(&scores(&task, &[outcome(Prediction::Label(0), 0)])).to_string();
        let row: Vec<&str> = table.lines().nth(2).expect("a metric").split_whitespace().collect();
        assert_eq!(row, ["gender_parity", "-", "-", "-", "-"]);
    }
}
