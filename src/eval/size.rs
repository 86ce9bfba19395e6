//! How much work a job is, for `--dry-run`.

use std::time::Instant;

use super::extent::{Extent, first_units};
use super::{EvalError, Job, Settings};
use crate::model::{Build, Family, Head, LanguageModel, ModelSource};
use crate::request::{Ask, Part, Prompt, Request};
use crate::results::ours::Mode;
use crate::tasks::Split;

/// Samples and tokens of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Examples to learn from, in an epoch.
    pub train_samples: u64,
    /// Their tokens.
    pub train_tokens: u64,
    /// Samples to score.
    pub eval_samples: u64,
    /// Their tokens.
    pub eval_tokens: u64,
}

impl Job {
    /// Counts samples and tokens, without computing anything.
    pub fn size(&self, model: &ModelSource, settings: &Settings) -> Result<Size, EvalError> {
        let model = build(model, Head::Vocabulary, settings)?;
        let tokens = |request: &Request| model.cost(request).map_or(0, |cost| cost.computed as u64);
        let mut size = Size::default();
        let extent = Extent::measure(&self.selection, settings.limit)?;
        for sample in extent.take(self.task.samples(&self.data, self.selection.split, &self.form)?) {
            size.eval_samples += 1;
            size.eval_tokens += tokens(&sample?.request);
        }
        if settings.mode == Mode::Finetune {
            let samples = self.task.samples(&self.data, Split::Train, &self.form)?;
            for sample in first_units(samples, self.recipe.train_limit.unwrap_or(usize::MAX)) {
                size.train_samples += 1;
                let example = self.task.example(sample?, self.form.loss)?;
                size.train_tokens += model.learning_cost(&example).map_or(0, |cost| cost.computed as u64);
            }
        }
        Ok(size)
    }
}

fn build(model: &ModelSource, head: Head, settings: &Settings) -> Result<Box<dyn LanguageModel>, EvalError> {
    let build = Build {
        seed: 0,
        head,
        is_trained: settings.mode == Mode::Finetune,
        dropout: 0.0,
        dtype: settings.dtype,
        device: settings.device.clone(),
    };
    model.build(&build).map_err(|source| EvalError::model("planning", source))
}

/// Tokens a second that the model reads here and now: a few short batches, the fastest of them.
pub fn probe(model: &ModelSource, settings: &Settings) -> Result<f64, EvalError> {
    let failed = |source| EvalError::model("probing the speed", source);
    let text = "the quick brown fox jumps over the lazy dog . ".repeat(12);
    // A BART is not asked in clozes.
    let (head, ask) = if model.architecture.family() == Family::Bart {
        let pairs = vec![(text.clone(), None)];
        (Head::Classes { outputs: 2, spans: 0 }, Ask::Classify { pairs, spans: vec![], num_labels: 2 })
    } else {
        let candidates = vec![" yes".into()];
        (
            Head::Vocabulary,
            Ask::Choice { candidates, end_of_piece: true, length_penalty: 0.0, bidirectional: true },
        )
    };
    let model = build(model, head, settings)?;
    let text = Part::Text { text, shortenable: true };
    let request = Request {
        id: "probe".into(),
        prompt: Prompt { side_a: vec![text, Part::Blank], side_b: vec![] },
        ask,
        max_tokens: 128,
    };
    let batch = vec![&request; 8];
    let tokens = model.cost(&request).map_err(failed)?.computed * batch.len();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        model.answer(&batch).map_err(failed)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(tokens as f64 / best)
}
