//! A model answering a task's samples, or learning from them, again and again.

use std::path::PathBuf;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::random::trainer;
use super::{Amount, BenchError, Mode, NumberFormat};
use crate::model::{Build, Head, LanguageModel, ModelSource};
use crate::nn::Dropout;
use crate::request::{Example, Request};
use crate::tasks::{Form, Sample, Split, Task, TaskData};
use crate::train::Trainer;

const SEED: u64 = 1;

/// Real samples, in the form in which the task file asks them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWork {
    /// A task's name, or its file.
    pub task: String,
    /// A bundled model's name, or the path of a checkpoint.
    pub model: String,
    /// Where data is looked for first.
    pub data_dir: Option<PathBuf>,
    /// Samples of a forward pass or of an update.
    pub batch: usize,
    /// Samples of a step: the first ones of the validation set, or in training of the training set.
    pub limit: usize,
}

impl TaskWork {
    /// Are model and samples there?
    ///
    /// # Errors
    /// When they are not, or can't be read.
    pub fn check(&self, mode: Mode) -> Result<(), BenchError> {
        self.open(mode).map(drop)
    }

    /// The samples' split.
    fn split(mode: Mode) -> Split {
        match mode {
            Mode::Eval => Split::Val,
            Mode::Train => Split::Train,
        }
    }

    fn open(&self, mode: Mode) -> Result<(ModelSource, Task, Vec<Sample>), BenchError> {
        for (name, value) in [("batch", self.batch), ("limit", self.limit)] {
            if value == 0 {
                return Err(BenchError::Case(format!(
                    "--{name} 0: there is nothing to compute; give 1 or more"
                )));
            }
        }
        let task = Task::find(&self.task)?;
        let data = TaskData::locate(&task, self.data_dir.as_deref())?;
        let source = ModelSource::open(&self.model, None)?;
        let published = task.form();
        let multi_token =
            task.needs_multi_token(task.pattern(published.pattern)?, &source.tokenizer).map_err(Box::new)?;
        let form = Form { multi_token, ..published };
        let samples = task.samples(&data, Self::split(mode), &form)?.take(self.limit);
        let samples = samples.collect::<Result<Vec<_>, _>>()?;
        if samples.is_empty() {
            return Err(BenchError::Case(format!("{}: there are no samples", self.task)));
        }
        Ok((source, task, samples))
    }
}

/// A model with its samples.
pub(super) struct TaskModel {
    model: Box<dyn LanguageModel>,
    work: Samples,
    batch: usize,
}

enum Samples {
    Ask(Vec<Request>),
    Learn(Vec<Example>, Trainer),
}

impl TaskModel {
    /// Builds the model, and says what a step over the samples takes.
    pub fn new(
        work: &TaskWork,
        mode: Mode,
        format: NumberFormat,
        device: &Device,
    ) -> Result<(Self, Amount), BenchError> {
        let (source, task, samples) = work.open(mode)?;
        let build = Build {
            seed: SEED,
            head: Head::Vocabulary,
            is_trained: mode == Mode::Train,
            dropout: 0.0,
            dtype: format.dtype(),
            device: device.clone(),
        };
        let model = source.build(&build)?;
        let mut costs = Vec::with_capacity(samples.len());
        for sample in samples {
            costs.push((model.cost(&sample.request)?, sample));
        }
        let sum = |of: fn(&crate::model::Cost) -> u64| costs.iter().map(|(cost, _)| of(cost)).sum::<u64>();
        let amount = Amount {
            tokens: sum(|cost| cost.computed as u64),
            samples: costs.len() as u64,
            flops: mode.passes() * sum(|cost| cost.flops),
            tokens_if_padded_copies: Some(sum(|cost| cost.as_padded_copies as u64)),
        };
        let work_of = match mode {
            Mode::Eval => {
                // As a run asks them: those of one length together.
                costs.sort_by_key(|(cost, _)| cost.computed);
                Samples::Ask(costs.into_iter().map(|(_, sample)| sample.request).collect())
            }
            Mode::Train => {
                let examples = costs.into_iter().map(|(_, sample)| task.example(sample, task.recipe.loss));
                Samples::Learn(examples.collect::<Result<_, _>>()?, trainer(model.parameters())?)
            }
        };
        Ok((Self { model, work: work_of, batch: work.batch }, amount))
    }

    /// One pass over the samples.
    pub fn step(&mut self) -> Result<(), BenchError> {
        match &mut self.work {
            Samples::Ask(requests) => {
                for batch in requests.chunks(self.batch) {
                    self.model.answer(&batch.iter().collect::<Vec<_>>())?;
                }
            }
            Samples::Learn(examples, trainer) => {
                for batch in examples.chunks(self.batch) {
                    let batch: Vec<&Example> = batch.iter().collect();
                    let loss = || Ok::<_, BenchError>((self.model.loss(&batch, &Dropout::off())?, 1.0));
                    trainer.update(self.model.parameters(), [loss])?;
                }
            }
        }
        Ok(())
    }
}
