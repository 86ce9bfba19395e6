//! The runs that a report is made from: found, read, and one chosen where several ran the same.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::metrics::suite::{self, SUPERGLUE, SuiteScore};
use crate::results::ours::{Mode, Rule, SeedRun, TaskRecord};
use crate::results::run::records_in;
use crate::results::{Record, Run, RunError};

/// A run with its name in a report.
#[derive(Debug)]
pub struct ReadRun {
    /// The record's file, with the folder it lies in: the same on every machine.
    pub name: String,
    /// The run.
    pub run: Run,
}

impl ReadRun {
    /// The name of the folder it lies in.
    pub fn folder(&self) -> &str {
        self.name.split_once('/').map_or("", |(folder, _)| folder)
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Runs {
    /// By time, then by name.
    pub read: Vec<ReadRun>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// Why runs could not be found.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// A path that was asked for can't be read.
    #[error("{}: no run can be read there", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder without records.
    #[error("{0}: no results_*.json in it, nor in the folders in it; `glm-eval run TASK -o {0}` makes one", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of which no record can be read.
    #[error("{}: no record in it can be read: {}", path.display(), problems.join("; "))]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Which, and why.
        problems: Vec<String>,
    },
    /// A record that was asked for by name.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Runs {
    /// Reads records, and folders with records in them or one level down. A record that can't be read is an error when
    /// it was named, and a problem that the report states when it was found in a folder. A record counts once, by however
    /// many names it is found.
    ///
    /// # Errors
    /// If a path doesn't exist or holds no record that can be read, or if a named record can't be.
    pub fn read(paths: &[PathBuf]) -> Result<Self, RunsError> {
        let (mut runs, mut seen) = (Self::default(), BTreeSet::new());
        for path in paths {
            let metadata =
                fs::metadata(path).map_err(|source| RunsError::Io { path: path.clone(), source })?;
            if !metadata.is_dir() {
                runs.add(path, &mut seen)?;
                continue;
            }
            let records = records_in(path)?;
            if records.is_empty() {
                return Err(RunsError::Nothing { path: path.clone() });
            }
            let mut problems = Vec::new();
            for record in &records {
                if let Err(error) = runs.add(record, &mut seen) {
                    problems.push(format!("{} was left out: {}", short_name(record), reason(&error, record)));
                }
            }
            if problems.len() == records.len() {
                return Err(RunsError::Unreadable { path: path.clone(), problems });
            }
            problems.retain(|problem| !runs.problems.contains(problem));
            runs.problems.extend(problems);
        }
        let date = |run: &ReadRun| run.run.record.date;
        runs.read.sort_by(|a, b| date(a).total_cmp(&date(b)).then_with(|| a.run.path.cmp(&b.run.path)));
        Ok(runs)
    }

    /// Adds a record, unless it was `seen` by the path that it has without links.
    fn add(&mut self, path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<(), RunError> {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if seen.contains(&real) {
            return Ok(());
        }
        let run = Run::read(path)?;
        seen.insert(real);
        self.read.push(ReadRun { name: short_name(&run.path), run });
        Ok(())
    }

    /// The models of all runs, each task of a model once: where several runs scored the same, the newest complete
    /// one counts. The second list says so of each.
    pub fn models(&self) -> (Vec<ModelRuns<'_>>, Vec<String>) {
        let mut models: Vec<ModelRuns> = Vec::new();
        for run in &self.read {
            for task in &run.run.record.glm_eval.tasks {
                let scored = ScoredTask { run, task };
                let key = key(&run.run.record);
                let at = models.iter().position(|model| model.key == key).unwrap_or_else(|| {
                    models.push(ModelRuns { key, tasks: vec![] });
                    models.len() - 1
                });
                let model = &mut models[at];
                match model.tasks.iter_mut().find(|known| known[0].task.name == task.name) {
                    Some(same) => same.push(scored),
                    None => model.tasks.push(vec![scored]),
                }
            }
        }
        let mut chosen = Vec::new();
        for model in &mut models {
            for same in &mut model.tasks {
                // Runs are sorted by time, and a stable sort keeps the newer of equals behind.
                same.sort_by_key(ScoredTask::is_complete);
                let Some((best, others)) = same.split_last() else { continue };
                if !others.is_empty() {
                    let others: Vec<&str> = others.iter().map(|other| other.run.name.as_str()).collect();
                    let rule = if best.is_complete() {
                        "the newest complete one"
                    } else {
                        "the newest, as none is complete"
                    };
                    chosen.push(format!(
                        "{} was scored on {} by {} runs; {} counts, {rule} (left out: {}).",
                        best.run.run.record.model_name,
                        best.task.name,
                        others.len() + 1,
                        best.run.name,
                        others.join(", ")
                    ));
                }
            }
        }
        (models, chosen)
    }
}

/// What makes two runs the same row of a table.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    model: String,
    weights: Option<String>,
    config: Option<String>,
    mode: Mode,
    rule: Rule,
    num_fewshot: Option<usize>,
}

fn key(record: &Record) -> Key {
    let ours = &record.glm_eval;
    Key {
        model: ours.model.name.clone(),
        weights: ours.model.weights_sha256.clone(),
        config: ours.model.config_sha256.clone(),
        mode: ours.mode,
        rule: ours.selection.rule,
        num_fewshot: record.config.num_fewshot,
    }
}

/// A task of a run.
#[derive(Clone, Copy, Debug)]
pub struct ScoredTask<'a> {
    /// The run.
    pub run: &'a ReadRun,
    /// The task, in the run's record.
    pub task: &'a TaskRecord,
}

impl ScoredTask<'_> {
    /// Was every sample scored, and none of them failed?
    pub fn is_complete(&self) -> bool {
        let samples = self.task.samples;
        samples.effective == samples.original && self.task.runs.iter().all(|run| run.failed_samples == 0)
    }

    /// Which epoch counts, or that nothing was trained.
    pub fn selection(&self) -> &'static str {
        let ours = &self.run.run.record.glm_eval;
        match (ours.mode, ours.selection.rule) {
            (Mode::Finetune, Rule::Best) => "best on val",
            (Mode::Finetune, Rule::Last) => "last",
            (Mode::ZeroShot, _) => "zero-shot",
            (Mode::FewShot, _) => "few-shot",
        }
    }

    /// Spread of a metric over the seeds, by the selection rule.
    pub fn over_seeds(&self, metric: &str) -> Option<crate::stats::Spread> {
        let scores = self.task.scores.get(metric)?;
        if self.run.run.record.glm_eval.selection.rule == Rule::Best { scores.best } else { scores.last }
    }

    /// The seeds with an epoch's scores.
    pub fn trained_runs(&self) -> impl Iterator<Item = &SeedRun> {
        self.task.runs.iter().filter(|run| !run.epochs.is_empty())
    }
}

/// A model as it was asked (mode, selection rule), with its tasks.
#[derive(Debug)]
pub struct ModelRuns<'a> {
    key: Key,
    /// A task a list: all runs of it, the one that counts last.
    tasks: Vec<Vec<ScoredTask<'a>>>,
}

impl<'a> ModelRuns<'a> {
    /// The runs that count, in the order in which their tasks were first run.
    pub fn tasks(&self) -> impl Iterator<Item = ScoredTask<'a>> {
        self.tasks.iter().filter_map(|same| same.last().copied())
    }

    /// The run of a task that counts; of several patterns, the first.
    pub fn task(&self, task: &str) -> Option<ScoredTask<'a>> {
        self.tasks().find(|scored| scored.task.task == task)
    }

    /// Its name, whether its weights were random, and how it was asked where that isn't fine-tuning to the last epoch.
    pub fn label(&self) -> String {
        let how = match (self.key.mode, self.key.rule) {
            (Mode::Finetune, Rule::Last) => String::new(),
            (Mode::Finetune, Rule::Best) => ", best epoch".into(),
            (Mode::ZeroShot, _) => ", zero-shot".into(),
            (Mode::FewShot, _) => format!(", {}-shot", self.key.num_fewshot.unwrap_or(0)),
        };
        let is_told = self.key.model.ends_with("-random");
        let weights = if self.random_weights().is_some() && !is_told { ", random weights" } else { "" };
        format!("{}{weights}{how}", self.key.model)
    }

    /// How the model met the tasks.
    pub fn mode(&self) -> Mode {
        self.key.mode
    }

    /// Family of the model, as in `glm`.
    pub fn family(&self) -> Option<&'a str> {
        self.tasks().next()?.run.run.record.glm_eval.model.family.as_deref()
    }

    /// Number of its parameters.
    pub fn num_parameters(&self) -> Option<u64> {
        self.tasks().next()?.run.run.record.glm_eval.model.num_parameters
    }

    /// Why its scores say nothing about a model, where weights were drawn at random.
    pub fn random_weights(&self) -> Option<&'a str> {
        self.tasks().next()?.run.run.record.glm_eval.model.random_weights.as_deref()
    }

    /// The average over the suite of the runs that count.
    pub fn suite(&self) -> SuiteScore {
        suite::average(SUPERGLUE, |task, metric| self.task(task)?.task.scores.get(metric)?.selected)
    }
}

/// A file with the folder it lies in.
fn short_name(path: &Path) -> String {
    let part = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let parts = [path.parent().and_then(part), part(path)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// An error without its file, which has been named, and with its cause.
fn reason(error: &RunError, path: &Path) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_string();
    match std::error::Error::source(error) {
        Some(cause) => format!("{text} ({cause})"),
        None => text,
    }
}
