//! One seed of a job: learn, score after every epoch, choose an epoch, score what comes afterwards.

use std::path::PathBuf;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::examples::training_examples;
use super::extent::Extent;
use super::few_shot::FewShot;
use super::scoring::{Scored, Totals};
use super::{EvalError, Job, Run, Settings};
use crate::data::RowFile;
use crate::model::{Build, Cost, LanguageModel};
use crate::nn::{self, Dropout};
use crate::request::Example;
use crate::results::hash::content_key;
use crate::results::ours::{Epoch, Mode, Rule, SeedRun};
use crate::tasks::TaskError;
use crate::train::{SavedState, TrainState, Trainer};

/// A batch is computed in parts of about so many tokens, which bounds the memory of an update.
const TOKENS_PER_PART: usize = 8192;
/// Each matrix product has two more in the backward pass.
const PASSES_OF_AN_UPDATE: u64 = 3;

/// What one seed of a job gave.
pub(super) struct SeedResult {
    pub seed: u64,
    /// After every epoch; one entry without training.
    pub epochs: Vec<(Option<Learned>, Scored)>,
    pub extent: Extent,
    /// Of the job's later evaluations, in order.
    pub afterwards: Vec<(Scored, Extent)>,
}

/// What an epoch of learning did; `updates` are all that were made since the first epoch began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Learned {
    pub updates: u64,
    pub train_loss: f64,
    pub learning_rate: f64,
    pub tokens: u64,
    /// Tokens cut from the examples.
    #[serde(default)]
    pub truncated: u64,
    pub flops: u64,
    pub secs: f64,
}

impl SeedResult {
    /// Index of the epoch that counts: the first of the best by the first metric, or the last.
    pub fn chosen(&self, rule: Rule, first_metric: &str) -> usize {
        let last = self.epochs.len() - 1;
        if rule == Rule::Last {
            return last;
        }
        let value = |(_, scored): &(Option<Learned>, Scored)| {
            scored.scores.get(first_metric).copied().flatten().map(|e| e.value)
        };
        let best = self.epochs.iter().filter_map(value).fold(f64::NEG_INFINITY, f64::max);
        self.epochs.iter().position(|epoch| value(epoch).is_some_and(|v| v >= best)).unwrap_or(last)
    }

    /// For the record of the selection's evaluation.
    pub fn seed_run(&self, rule: Rule, first_metric: &str) -> SeedRun {
        let epoch = |(number, (learned, scored)): (usize, &(Option<Learned>, Scored))| {
            let learned = (*learned)?;
            Some(Epoch {
                epoch: number + 1,
                updates: learned.updates,
                train_loss: Some(learned.train_loss),
                learning_rate: Some(learned.learning_rate),
                scores: scored.scores.clone(),
                secs: Some(learned.secs + scored.totals.secs),
            })
        };
        let epochs: Option<Vec<Epoch>> = self.epochs.iter().enumerate().map(epoch).collect();
        let last = &self.epochs[self.epochs.len() - 1].1;
        let mut run = match epochs {
            Some(epochs) => SeedRun::trained(self.seed, epochs, first_metric),
            None => SeedRun::untrained(self.seed, last.scores.clone()),
        };
        let counts = &self.epochs[self.chosen(rule, first_metric)].1;
        run.failed_samples = counts.totals.failed;
        run.normalized.clone_from(&counts.normalized);
        counts.keep_texts(&mut run);
        let mut totals = Totals::default();
        self.epochs.iter().for_each(|(_, scored)| totals.add(scored.totals));
        run.cost = totals.cost();
        let learned = || self.epochs.iter().filter_map(|(learned, _)| *learned);
        if learned().next().is_some() {
            run.cost.tokens_trained = Some(learned().map(|l| l.tokens).sum());
            run.cost.train_tokens_truncated = Some(learned().map(|l| l.truncated).sum());
            run.cost.flops = run.cost.flops.map(|flops| flops + learned().map(|l| l.flops).sum::<u64>());
            run.cost.train_secs = Some(learned().map(|l| l.secs).sum());
        }
        run
    }
}

impl Job {
    /// May the epoch's score count, or is it cheap? Writing the texts of an epoch takes as long as learning from many, so
    /// it is done for an epoch that could be chosen.
    fn is_scored(&self, epoch: usize, rule: Rule) -> bool {
        let is_last = epoch >= self.recipe.recipe.epochs;
        !self.task.is_written() || rule == Rule::Best || is_last && self.reports_selection
    }

    /// How often a seed scores the selection.
    pub(super) fn num_scorings(&self, settings: &Settings) -> u64 {
        if settings.mode != Mode::Finetune {
            return u64::from(self.reports_selection);
        }
        (1..=self.recipe.recipe.epochs).filter(|&epoch| self.is_scored(epoch, settings.rule)).count() as u64
    }
}

impl Run<'_> {
    /// One seed of a job. What the journal has is taken from it, the rest is computed.
    pub(super) fn run_seed(&mut self, job: &Job, seed: u64) -> Result<SeedResult, EvalError> {
        let key = self.seed_key(job, seed)?;
        let extent = Extent::measure(&job.selection, self.settings.limit)?;
        let few_shot = FewShot::draw(&job.selection, self.settings.num_fewshot, seed)?;
        let mut result = SeedResult { seed, epochs: Vec::new(), extent, afterwards: Vec::new() };
        let mut examples = Vec::new();
        let is_finished = self.journal.contains(&finished_key(&key));
        let mut samples = job.task.samples(&job.selection.data, job.selection.split, &job.form)?;
        if samples.next().transpose()?.is_none() {
            return Err(EvalError::Impossible(format!("{}: no samples to score", job.selection.name)));
        }
        let build = Build {
            seed,
            head: job.head(),
            is_trained: self.settings.mode == Mode::Finetune,
            dropout: job.recipe.recipe.dropout,
            dtype: self.settings.dtype,
            device: self.settings.device.clone(),
        };
        let failed = |source| EvalError::model(&job.task.name, source);
        let model = if is_finished { None } else { Some(self.model.build(&build).map_err(failed)?) };
        let model = model.as_deref();

        if self.settings.mode == Mode::Finetune {
            if model.is_some() {
                examples = all_examples(job)?;
            }
            self.learn(job, model, &examples, &key, &mut result)?;
        } else if job.reports_selection {
            let label = format!("{} seed {seed}", job.selection.name);
            let scored = self.score(model, &job.selection, extent, &few_shot, &key, &label)?;
            result.epochs.push((None, scored));
        }
        for evaluation in &job.afterwards {
            let extent = Extent::measure(evaluation, self.settings.limit)?;
            let label = format!("{} {} seed {seed}", evaluation.name, evaluation.split.name());
            let key = content_key([key.as_str(), "afterwards"]);
            let scored = self.score(model, evaluation, extent, &few_shot, &key, &label)?;
            result.afterwards.push((scored, extent));
        }
        if !is_finished {
            self.journal.append(
                &finished_key(&key),
                "seed",
                &json!({"task": job.selection.name, "seed": seed}),
            )?;
        }
        // The journal has everything now.
        let _ = std::fs::remove_file(self.state_file(&key, "state"));
        let _ = std::fs::remove_file(self.state_file(&key, "best"));
        Ok(result)
    }

    /// All epochs; afterwards the model has the weights of the chosen one.
    fn learn(
        &mut self,
        job: &Job,
        model: Option<&dyn LanguageModel>,
        examples: &[Example],
        key: &str,
        result: &mut SeedResult,
    ) -> Result<(), EvalError> {
        let recipe = &job.recipe.recipe;
        let first_metric = job.task.metrics.first().map_or("", |metric| metric.name.as_str());
        let updates_per_epoch = examples.len().div_ceil(recipe.batch_size) as u64;
        let num_updates = updates_per_epoch * recipe.epochs as u64;
        let schedule = job.recipe.schedule(num_updates);
        // The published schedules begin at 0, or end there: a single update does both.
        if num_updates > 0 && (0..num_updates).all(|update| schedule.at(update) <= 0.0) {
            self.progress.note(&format!(
                "{}: the learning rate of its {num_updates} update is 0, so nothing is learned; take more rows or epochs, or a \
                 smaller `--train-batch-size`",
                job.task.name
            ));
        }
        let compute = |source: candle_core::Error| EvalError::model(&job.task.name, source.into());
        let mut trainer = match model {
            Some(model) => {
                Some(Trainer::new(model.parameters(), job.recipe.adamw(), schedule).map_err(compute)?)
            }
            None => None,
        };
        let keeps_best = self.settings.rule == Rule::Best && !job.afterwards.is_empty();
        let state_file = self.state_file(key, "state");
        let mut resumed = 0;
        if let (Some(model), Some(trainer)) = (model, &mut trainer)
            && let Some(saved) = self.saved_state(key, keeps_best)
        {
            resumed = saved.restore(model.parameters(), trainer)?.epochs;
        }
        let mut best = None; // weights of the best epoch so far, where something is scored with them later
        let mut last_save = Instant::now();
        for epoch in 1..=recipe.epochs.max(1) {
            let epoch_key = epoch_key(key, epoch);
            let mut learned: Option<Learned> = self.journal.get(&epoch_key)?;
            let is_new = epoch > resumed;
            if let (Some(model), Some(trainer), true) = (model, &mut trainer, is_new && recipe.epochs > 0) {
                let now = self.epoch(job, model, trainer, examples, result.seed, epoch)?;
                learned = Some(learned.unwrap_or(now));
            }
            let few_shot = FewShot::default();
            let label = format!("{} seed {}, scoring epoch {epoch}", job.selection.name, result.seed);
            let scored = match job.is_scored(epoch, self.settings.rule) {
                true => self.score(model, &job.selection, result.extent, &few_shot, &epoch_key, &label)?,
                false => Scored::default(),
            };
            if let Some(learned) = &learned
                && !self.journal.contains(&epoch_key)
            {
                self.journal.append(&epoch_key, "epoch", learned)?;
            }
            result.epochs.push((learned, scored));
            let (Some(model), Some(trainer), true) = (model, &trainer, is_new) else { continue };
            if keeps_best && result.chosen(Rule::Best, first_metric) == epoch - 1 {
                best = Some(model.parameters().snapshot().map_err(compute)?);
            }
            if last_save.elapsed().as_secs_f64() >= self.settings.save_every_secs && epoch < recipe.epochs {
                if let Some(best) = &best {
                    let file = self.state_file(key, "best");
                    crate::checkpoint::write_safetensors(&file, best)
                        .map_err(crate::train::StateError::from)?;
                }
                TrainState { epochs: epoch }.save(&state_file, model.parameters(), trainer)?;
                last_save = Instant::now();
            }
        }
        if let (Some(model), true) = (model, keeps_best) {
            let best = match best {
                Some(best) => best,
                None => crate::checkpoint::safetensors::read(&self.state_file(key, "best"))
                    .map_err(crate::train::StateError::from)?,
            };
            model.parameters().restore(&best).map_err(compute)?;
        }
        Ok(())
    }

    /// The state that training can go on from, if there is one. A state whose epochs are not in the journal is of
    /// an older run, whose journal was set aside: the epochs before it could not be scored any more.
    fn saved_state(&self, key: &str, needs_best: bool) -> Option<SavedState> {
        let file = self.state_file(key, "state");
        let saved = TrainState::read(&file).unwrap_or_else(|error| {
            self.progress.note(&format!("training starts over: {error}"));
            None
        })?;
        let is_known = (1..=saved.state.epochs).all(|epoch| self.journal.contains(&epoch_key(key, epoch)));
        let has_best = !needs_best || self.state_file(key, "best").is_file();
        (is_known && has_best).then_some(saved)
    }

    /// One pass over the examples, in an order that follows from the seed and the epoch.
    fn epoch(
        &self,
        job: &Job,
        model: &dyn LanguageModel,
        trainer: &mut Trainer,
        examples: &[Example],
        seed: u64,
        epoch: usize,
    ) -> Result<Learned, EvalError> {
        let start = Instant::now();
        let failed = |source| EvalError::model(&job.task.name, source);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(seed, epoch as u64)));
        let label =
            format!("{} seed {seed}, epoch {epoch} of {}", job.selection.name, job.recipe.recipe.epochs);
        self.progress.begin(&label, examples.len() as u64);
        let mut learned = Learned::default();
        for batch in order.chunks(job.recipe.recipe.batch_size) {
            self.stop.check()?;
            let batch: Vec<&Example> = batch.iter().map(|&index| &examples[index]).collect();
            let (parts, cost) = parts(model, &batch, TOKENS_PER_PART).map_err(failed)?;
            let dropout = Dropout::new(mix(mix(seed, 0xD80), trainer.updates()));
            let losses =
                parts.iter().map(|Part { examples, share }| || Ok((model.loss(examples, &dropout)?, *share)));
            let update = trainer.update(model.parameters(), losses).map_err(failed)?;
            learned.train_loss += update.loss * batch.len() as f64 / examples.len() as f64;
            learned.learning_rate = update.learning_rate;
            learned.tokens += cost.computed as u64;
            learned.truncated += cost.truncated as u64;
            learned.flops += PASSES_OF_AN_UPDATE * cost.flops;
            let rate = learned.tokens as f64 / start.elapsed().as_secs_f64();
            self.progress
                .advance(batch.len() as u64, &format!("loss {:.3}, {rate:.0} tokens/s", update.loss));
        }
        self.progress.end();
        learned.updates = trainer.updates();
        learned.secs = start.elapsed().as_secs_f64();
        Ok(learned)
    }

    /// Everything that a seed's results depend on, as one key.
    fn seed_key(&self, job: &Job, seed: u64) -> Result<String, EvalError> {
        let settings = self.settings;
        let mut parts = vec![
            self.program_sha256.clone(),
            self.model.weights_sha256.clone().unwrap_or_else(|| "random".into()),
            self.model.tokenizer.sha256().to_string(),
            format!("{:?}", self.model.architecture),
            job.task.sha256.clone(),
            job.recipe.fingerprint(),
            format!("{:?} {:?} {:?}", job.form, settings.mode, settings.rule),
            // What is found under the key of a finished seed must be there: the windows of just these.
            format!("{} {} {}", job.selection.name, job.selection.split, job.reports_selection),
            format!("{seed} {} {:?} {}", settings.num_fewshot, settings.limit, settings.log_samples),
            format!("{:?} {:?} {:?}", settings.dtype, settings.device.location(), nn::instructions()),
        ];
        let mut files: Vec<RowFile> = job.data.files.values().cloned().collect();
        files.extend(job.data.extra_train.iter().cloned().map(RowFile::OnDisk));
        for evaluation in &job.afterwards {
            parts.push(format!(
                "{} {} {:?}",
                evaluation.task.sha256,
                evaluation.split.name(),
                evaluation.form
            ));
            files.extend(evaluation.data.files.values().cloned());
        }
        for file in files {
            let unreadable = |source| TaskError::Unreadable { file: file.path().to_path_buf(), source };
            parts.push(file.sha256().map_err(unreadable)?);
        }
        Ok(content_key(parts.iter().map(String::as_str)))
    }

    fn state_file(&self, key: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{kind}_{}.safetensors", &key[..16]))
    }
}

fn epoch_key(key: &str, epoch: usize) -> String {
    content_key([key, "epoch", &epoch.to_string()])
}

fn finished_key(key: &str) -> String {
    content_key([key, "finished"])
}

/// The training set, up to the recipe's cap.
fn all_examples(job: &Job) -> Result<Vec<Example>, EvalError> {
    let examples = training_examples(&job.task, &job.data, &job.form, job.recipe.train_limit)?;
    let label_smoothing = job.recipe.recipe.label_smoothing.unwrap_or(0.0);
    let smoothed = |example: Result<Example, TaskError>| Ok(Example { label_smoothing, ..example? });
    let examples = examples.map(smoothed).collect::<Result<Vec<_>, TaskError>>()?;
    if examples.is_empty() {
        return Err(EvalError::Impossible(format!("{}: no training examples", job.task.name)));
    }
    Ok(examples)
}

/// Examples of a batch that are computed at once.
struct Part<'a> {
    examples: Vec<&'a Example>,
    /// Of what the batch's loss is a mean over: examples, or the tokens of texts.
    share: f64,
}

/// A batch in parts that bound the memory of an update, and what answering it would take.
fn parts<'a>(
    model: &dyn LanguageModel,
    batch: &[&'a Example],
    tokens_per_part: usize,
) -> Result<(Vec<Part<'a>>, Cost), crate::model::ModelError> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut tokens, mut total) = (0, Cost::default());
    for example in batch {
        let cost = model.learning_cost(example)?;
        if parts.is_empty() || tokens > 0 && tokens + cost.computed > tokens_per_part {
            parts.push(Part { examples: Vec::new(), share: 0.0 });
            tokens = 0;
        }
        let part = parts.last_mut().expect("there is one");
        part.examples.push(example);
        part.share += cost.num_targets.max(1) as f64;
        tokens += cost.computed;
        total.computed += cost.computed;
        total.truncated += cost.truncated;
        total.flops += cost.flops;
    }
    let whole: f64 = parts.iter().map(|part| part.share).sum();
    for part in &mut parts {
        part.share /= whole;
    }
    Ok((parts, total))
}

/// One number from two, well mixed. Source: `SplitMix64`.
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Head, ModelSource};
    use crate::request::{Ask, BlankLength, Cut, Decoding, Edges, Loss, Part as PromptPart, Prompt, Request};

    fn example(id: &str, blank: bool, ask: Ask, texts: Vec<String>) -> Example {
        let text = PromptPart::Text { text: format!("the {id} sat on"), shortenable: true };
        let blank = blank.then_some(PromptPart::LongBlank(BlankLength::Rest));
        let prompt = Prompt { side_a: std::iter::once(text).chain(blank).collect(), side_b: vec![] };
        let request = Request { id: id.into(), prompt, ask, max_tokens: 64 };
        Example { texts, label_smoothing: 0.1, ..Example::of_candidates(request, 0, Loss::Mix) }
    }

    #[test]
    fn the_loss_of_a_batch_does_not_depend_on_where_it_is_cut() {
        for (name, blank) in [("glm-tiny", true), ("t5-tiny", false), ("gpt-tiny", true)] {
            let source = ModelSource::open_random(name, None).expect("it is known");
            let (head, dtype, device) = (Head::Vocabulary, DType::F32, Device::Cpu);
            let build = Build { seed: 1, head, is_trained: true, dropout: 0.0, dtype, device };
            let model = source.build(&build).expect("it can be built");
            let texts = [("cat", " a"), ("dog", " one two three four five six"), ("cow", " so it is")];
            let generate =
                Ask::Generate { decoding: Decoding::greedy(20), edges: Edges::Start, cut: Cut::End };
            let choose = |text: &str| Ask::Choice {
                candidates: vec![text.into(), " no".into()],
                end_of_piece: true,
                length_penalty: 0.0,
                bidirectional: true,
            };
            let written = texts.map(|(id, text)| example(id, blank, generate.clone(), vec![text.into()]));
            let chosen = texts.map(|(id, text)| example(id, blank, choose(text), vec![]));
            for examples in [written, chosen] {
                let batch: Vec<&Example> = examples.iter().collect();
                let loss = |examples: &[&Example]| {
                    let loss = model.loss(examples, &Dropout::off()).expect("a loss");
                    f64::from(loss.to_scalar::<f32>().expect("a scalar"))
                };
                let (parts, _) = parts(&*model, &batch, 1).expect("they fit");
                assert_eq!(parts.len(), 3);
                let cut: f64 = parts.iter().map(|part| part.share * loss(&part.examples)).sum();
                assert!((cut - loss(&batch)).abs() < 1e-5 * cut, "{name}: {cut} for {}", loss(&batch));
            }
        }
    }
}
