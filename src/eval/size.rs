//! How much work a job is, for `--dry-run`.

use std::time::Instant;

use super::examples::training_examples;
use super::extent::Extent;
use super::few_shot::FewShot;
use super::{EvalError, Evaluation, Job, Settings};
use crate::model::{Build, Family, Head, LanguageModel, ModelSource};
use crate::request::{Ask, Cut, Decoding, Edges, Part, Prompt, Request};
use crate::results::ours::Mode;

/// Samples and tokens of one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Examples to learn from, in an epoch.
    pub train_samples: u64,
    /// Their tokens.
    pub train_tokens: u64,
    /// How often a seed scores the selection.
    pub num_scorings: u64,
    /// What is scored then.
    pub selection: Scoring,
    /// What a seed scores once afterwards, in the job's order.
    pub afterwards: Vec<Scoring>,
}

/// What scoring an evaluation once is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scoring {
    /// Samples to score.
    pub samples: u64,
    /// Their tokens, examples in front of them among these.
    pub tokens: u64,
}

impl Job {
    /// Counts samples and tokens, without computing anything. Examples in the prompt are those of the first seed.
    pub fn size(&self, model: &ModelSource, settings: &Settings) -> Result<Size, EvalError> {
        let model = build(model, self.head(), settings)?;
        let seed = settings.seeds.first().copied().unwrap_or_default();
        let few_shot = FewShot::draw(&self.selection, settings.num_fewshot, seed)?;
        let scoring = |evaluation: &Evaluation| {
            let mut found = Scoring::default();
            let extent = Extent::measure(evaluation, settings.limit)?;
            let samples = evaluation.task.samples(&evaluation.data, evaluation.split, &evaluation.form)?;
            for sample in extent.take(samples) {
                let sample = sample?;
                let (request, _) = few_shot.prepend(&*model, sample.request, &sample.guid);
                found.samples += 1;
                found.tokens += model.cost(&request).map_or(0, |cost| cost.computed as u64);
            }
            Ok::<_, EvalError>(found)
        };
        let mut size = Size {
            num_scorings: self.num_scorings(settings),
            selection: scoring(&self.selection)?,
            afterwards: self.afterwards.iter().map(scoring).collect::<Result<_, _>>()?,
            ..Size::default()
        };
        if settings.mode == Mode::Finetune {
            for example in training_examples(&self.task, &self.data, &self.form, self.recipe.train_limit)? {
                size.train_samples += 1;
                size.train_tokens += model.learning_cost(&example?).map_or(0, |cost| cost.computed as u64);
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

/// Tokens a second that the model reads here and now, with the head of a job: a few short batches, the fastest of them.
pub fn probe(model: &ModelSource, job: &Job, settings: &Settings) -> Result<f64, EvalError> {
    let failed = |source| EvalError::model("probing the speed", source);
    let text = "the quick brown fox jumps over the lazy dog . ".repeat(12);
    let prompt = |blank: Option<Part>| {
        let text = Part::Text { text: text.clone(), shortenable: true };
        Prompt { side_a: std::iter::once(text).chain(blank).collect(), side_b: vec![] }
    };
    let (head, prompt, ask) = match job.head() {
        Head::Classes { outputs, .. } => {
            let pairs = vec![(text.clone(), None)];
            let ask = Ask::Classify { pairs, spans: vec![], num_labels: outputs };
            (Head::Classes { outputs, spans: 0 }, prompt(None), ask)
        }
        // A BART is not asked in clozes, but writes.
        head @ Head::Vocabulary if model.architecture.family() == Family::Bart => {
            let decoding = Decoding::greedy(1);
            (head, prompt(None), Ask::Generate { decoding, edges: Edges::Both, cut: Cut::End })
        }
        head @ Head::Vocabulary => {
            let (candidates, length_penalty) = (vec![" yes".into()], 0.0);
            let ask = Ask::Choice { candidates, end_of_piece: true, length_penalty, bidirectional: true };
            (head, prompt(Some(Part::Blank)), ask)
        }
    };
    let model = build(model, head, settings)?;
    let request = Request { id: "probe".into(), prompt, ask, max_tokens: 128 };
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
