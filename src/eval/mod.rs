//! The run: plan (task x pattern x seed), fine-tune if asked, ask, score, record, resume.
//!
//! Every finished unit (a window of samples, an epoch) goes to a journal under a key made of everything its
//! result depends on, so that a run that was killed goes on where it stopped and ends in the same bytes.

mod baselines;
mod examples;
mod extent;
mod few_shot;
mod finetune;
mod plan;
mod recipe;
mod record;
mod scoring;
mod size;
mod submission;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device};
use serde_json::{Map, Value};

use crate::model::{ModelError, ModelSource};
use crate::results::ours::{Mode, Rule, TaskRecord};
use crate::results::time::UtcTime;
use crate::results::{Journal, JournalError};
use crate::tasks::{Head, Split, TaskError};
use crate::train::StateError;

pub use examples::training_examples;
pub use plan::{Evaluation, Job, Limit, Patterns, plan};
pub use recipe::FullRecipe;
pub use record::{Command, Finished, RunFiles};
pub use size::{Scoring, Size, probe};

/// What a user decides about a run; everything else follows from task files and the model.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the model meets the tasks.
    pub mode: Mode,
    /// Which epoch counts.
    pub rule: Rule,
    /// Blanks, or a classification head.
    pub head: Option<Head>,
    /// Which patterns.
    pub patterns: Patterns,
    /// Ask one-token words as texts too.
    pub multi_token: bool,
    /// One run of each task a seed.
    pub seeds: Vec<u64>,
    /// What is scored in the end.
    pub split: Split,
    /// Cap on the evaluation samples.
    pub limit: Option<Limit>,
    /// Samples a batch in evaluation; `None` fills batches by tokens. Changes no score.
    pub batch_size: Option<usize>,
    /// Examples in the prompt.
    pub num_fewshot: usize,
    /// Recipe settings given on the command line.
    pub overrides: Map<String, Value>,
    /// Where data is looked for first.
    pub data_dir: Option<PathBuf>,
    /// More training files for WSC, with candidates.
    pub wsc_candidates: Vec<PathBuf>,
    /// A training state is kept after an epoch when so much time has passed since the last one. Changes no
    /// score.
    pub save_every_secs: f64,
    /// Log texts with the samples?
    pub log_samples: bool,
    /// What weights are stored and computed as.
    pub dtype: DType,
    /// Where.
    pub device: Device,
}

/// Why a run ended early. What was finished before is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A task, or its data.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The model could not answer or learn.
    #[error("{task}: the model failed")]
    Model {
        /// The task.
        task: String,
        /// The cause.
        source: Box<ModelError>,
    },
    /// A record would look like a score.
    #[error(
        "{task}: none of its {samples} samples could be scored (the first failure stands above); where prompts don't fit, \
         raise `--max-length`"
    )]
    NothingScored {
        /// The task.
        task: String,
        /// How many it has.
        samples: usize,
    },
    /// Weights or optimizer could not be kept.
    #[error(transparent)]
    State(Box<StateError>),
    /// The journal could not be written or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A final file could not be written.
    #[error(transparent)]
    Write(#[from] crate::results::atomic::WriteError),
    /// A recipe makes no sense.
    #[error("the recipe is wrong: {0}")]
    Recipe(String),
    /// Something was asked for that can't be.
    #[error("{0}")]
    Impossible(String),
    /// Ctrl-C, or the system's request to end.
    #[error("interrupted; what is finished is kept, `--resume` goes on from there")]
    Interrupted,
}

impl EvalError {
    fn model(task: &str, source: ModelError) -> Self {
        Self::Model { task: task.into(), source: Box::new(source) }
    }
}

impl From<StateError> for EvalError {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

/// What a run shows while it works.
pub trait Progress {
    /// Work of so many steps begins.
    fn begin(&self, what: &str, steps: u64);
    /// Some steps are done; `detail` is shown beside the bar.
    fn advance(&self, steps: u64, detail: &str);
    /// The work that was begun is done.
    fn end(&self);
    /// A line worth keeping.
    fn note(&self, line: &str);
}

/// Set when the run should end between two batches.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Not asked yet.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks the run to end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Was it asked?
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), EvalError> {
        if self.is_asked() { Err(EvalError::Interrupted) } else { Ok(()) }
    }
}

/// A run under way: the model, the journal, and whom to tell.
pub struct Run<'a> {
    /// The model.
    pub model: &'a ModelSource,
    /// What the user decided.
    pub settings: &'a Settings,
    /// Where finished units go.
    pub journal: &'a mut Journal,
    /// The folder of the final files, of the journal and of training states.
    pub folder: PathBuf,
    /// When the run began; the names of its files. See [`start`].
    pub start: UtcTime,
    /// Done, and to be written in the end.
    pub finished: Vec<Finished>,
    /// Digest of this program.
    pub program_sha256: String,
    /// The machine's speed, for the shares of it in the record; `None` where it was not measured.
    pub peak_flops_per_sec: Option<f64>,
    /// Whom to tell.
    pub progress: &'a dyn Progress,
    /// Whether to go on.
    pub stop: &'a Stop,
}

/// When the run that a journal belongs to began: now, or what the journal says, so that a resumed run writes the
/// files that the killed one would have written, in place of any that it did write.
pub fn start(journal: &mut Journal) -> Result<UtcTime, JournalError> {
    const KEY: &str = "start";
    if let Some(start) = journal.get(KEY)? {
        return Ok(start);
    }
    let now = UtcTime::now();
    journal.append(KEY, KEY, &now)?;
    Ok(now)
}

impl Run<'_> {
    /// Does the jobs in order; one record an evaluation.
    ///
    /// # Errors
    /// At the first job that fails; what was finished before is in the journal.
    pub fn run(&mut self, jobs: &[Job]) -> Result<Vec<TaskRecord>, EvalError> {
        let mut records = Vec::new();
        for job in jobs {
            let mut seeds = Vec::with_capacity(self.settings.seeds.len());
            for &seed in &self.settings.seeds {
                seeds.push(self.run_seed(job, seed)?);
            }
            records.extend(self.records(job, &seeds)?);
        }
        Ok(records)
    }
}
