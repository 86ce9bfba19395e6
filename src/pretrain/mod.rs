//! Pre-training: a corpus and a configuration in, a model directory out.
//!
//! Text becomes tokens once ([`crate::objective::Corpus`]), tokens become rows and rows examples, on a thread beside the
//! updates ([`Batches`]); [`Pretraining::run`] is the loop. Everything that an update depends on follows from the
//! configuration and the update's number, so that a run that was killed ends in the bytes of one that was not.

mod batches;
mod checkpoint;
mod config;
mod error;
mod log;
mod model_dir;
mod network;
mod plot;
mod vocabulary;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use serde_json::{Value, json};

pub use batches::{Batch, Batches, LengthWarmup, Shard};
pub use checkpoint::{Checkpoints, Progress as Position};
pub use config::{
    CheckpointsConfig, Config, CorpusConfig, EvaluationConfig, ModelConfig, NumberFormat, ObjectiveConfig,
    OutputConfig, RowsConfig, TrainingConfig,
};
pub use error::PretrainError;
pub use log::{Line, Log};
pub use model_dir::About;
pub use network::{Network, build};
pub use vocabulary::train_tokenizer;

use crate::eval::{Progress, Stop};
use crate::machine;
use crate::nn::Dropout;
use crate::objective::{Documents, Example, Objective, Rows, SourceFile, TokenCache, Tokens, Vocabulary};
use crate::results::atomic::{self, WriteError};
use crate::tokenizer::Tokenizer;
use crate::train::{Trainer, Update};

/// Each matrix product has two more in the backward pass.
const PASSES_OF_AN_UPDATE: u64 = 3;
/// The held-out rows and their blanks are the same for all runs on a corpus, whatever their seed.
const HELD_OUT_SEED: u64 = 0;
/// Kinds of blanks are drawn for each batch; small ones mix them well.
const HELD_OUT_BATCH: usize = 8;
/// Spent on the machine's peak.
const PEAK_SECS: f64 = 0.5;
/// Where nobody watches a bar, a line is written so often.
const SECS_BETWEEN_LINES: f64 = 60.0;

/// A run, ready to begin or to go on.
pub struct Pretraining<'a> {
    /// What it was told.
    pub config: Config,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// The corpus.
    pub tokens: Tokens,
    /// What is trained.
    pub network: Box<dyn Network>,
    /// What it learns from.
    pub objective: Box<dyn Objective>,
    /// Where the configuration was read: a file of the user's, which is left as it is.
    pub config_file: Option<PathBuf>,
    /// Where the model directory is made.
    pub folder: PathBuf,
    /// Where it is computed.
    pub device: Device,
    /// For the model's README.
    pub about: About,
    /// Whom to tell.
    pub progress: &'a dyn Progress,
    /// Asked between two updates.
    pub stop: &'a Stop,
}

/// What is decided before a corpus is read.
pub struct Parts {
    /// What is trained.
    pub network: Box<dyn Network>,
    /// What it learns from.
    pub objective: Box<dyn Objective>,
    /// What rows are cut by.
    pub vocabulary: Arc<Vocabulary>,
}

impl Parts {
    /// The network and the objective of a configuration.
    ///
    /// # Errors
    /// When they do not fit each other or the tokenizer.
    pub fn new(config: &Config, tokenizer: &Tokenizer, device: &Device) -> Result<Self, PretrainError> {
        config.check()?;
        let network = build(config, device)?;
        let sizes = network.architecture().sizes();
        tokenizer.check_fits(sizes.vocab_size)?;
        let special = tokenizer.special()?;
        if let Some((key, id, expected)) =
            network.token_ids(special).into_iter().find(|(_, id, expected)| id != expected)
        {
            let problem = format!("it is {id}, but in the tokenizer it is token {expected}; set it so");
            return Err(PretrainError::Config { key: format!("model.{key}"), problem });
        }
        let max_length = config.rows.max_length;
        if let Some(positions) = sizes.max_positions.filter(|&positions| positions < max_length) {
            let problem = format!("it is {max_length}, but the network has {positions} positions");
            return Err(PretrainError::Config { key: "rows.max_length".into(), problem });
        }
        let vocabulary = Arc::new(Vocabulary::new(tokenizer)?);
        let objective = config.objective.build(&vocabulary, max_length, sizes.vocab_size)?;
        Ok(Self { network, objective, vocabulary })
    }
}

/// The batches that a configuration means, of one part of a corpus.
///
/// # Errors
/// When there is nothing to cut rows from.
pub fn train_batches<'a, D: Documents>(
    config: &Config,
    documents: D,
    vocabulary: Arc<Vocabulary>,
    objective: &'a dyn Objective,
) -> Result<Batches<'a, D>, PretrainError> {
    let rows = Rows::new(documents, vocabulary, config.rows.max_length, config.rows.across_documents)?;
    let (seed, batch_size) = (config.seed, config.training.batch_size);
    let warmup = LengthWarmup {
        first: config.rows.first_length.min(config.rows.max_length),
        whole: config.rows.max_length,
        batches: (config.rows.warmup * config.training.updates as f64).round() as u64,
    };
    Ok(Batches { rows, warmup, objective, seed, batch_size, shard: Shard::WHOLE })
}

/// How the file of a batch begins that could not be learned from.
const FAILED_BATCH: &str = "failed_batch_";

impl Pretraining<'_> {
    /// Batches that ended an earlier attempt are text of the corpus, which has no place beside a model.
    fn remove_failed_batches(&self) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FAILED_BATCH)) {
            // One that stays takes room, and hinders nothing.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// Trains to the end, and writes the model directory. `start_over` begins anew where a run stopped.
    ///
    /// # Errors
    /// See [`PretrainError`]; what was reached is kept.
    pub fn run(&self, start_over: bool) -> Result<Position, PretrainError> {
        let config = &self.config;
        let folder = self.folder.join("checkpoints");
        let _lock = lock(&folder)?;
        let checkpoints = Checkpoints::new(folder, config.checkpoints.keep, self.identity());
        // What can't be is found before anything is removed.
        let vocabulary = Arc::new(Vocabulary::new(&self.tokenizer)?);
        let batches = train_batches(config, self.tokens.train.clone(), vocabulary.clone(), &*self.objective)?;
        let held_out = self.held_out(vocabulary)?;
        if start_over {
            checkpoints.remove_all()?;
            self.remove_model()?;
            self.remove_failed_batches();
        }
        let parameters = self.network.parameters();
        let mut trainer = Trainer::new(parameters, config.training.adamw(), config.training.schedule())
            .map_err(PretrainError::Tensor)?;
        let tell = |line: &str| self.progress.note(line);
        let resumed = checkpoints.resume(parameters, &mut trainer, &tell)?;
        match resumed {
            None => self.check_free()?,
            Some(position) => tell(&format!("going on after update {}", position.updates)),
        }
        let mut position = resumed.unwrap_or_default();
        atomic::remove_leftovers(&self.folder);
        let (mut log, num_lacking) = Log::resume(&self.log_file(), position.updates)?;
        if num_lacking > 0 {
            tell(&format!(
                "{}: it lacks {num_lacking} of the {} updates so far, and the loss curve will, too",
                self.log_file().display(),
                position.updates
            ));
        }
        // For the log's shares; a machine that can't be measured is no reason not to train.
        let peak = machine::peak_flops_per_sec(config.training.dtype.dtype(), &self.device, PEAK_SECS).ok();

        self.progress.begin("training", config.training.updates);
        self.progress.advance(position.updates, "");
        let numbers = position.updates..config.training.updates;
        let trained: Result<(), PretrainError> = batches.beside(numbers, |receiver| {
            let (mut told, mut clock) = (Instant::now(), Instant::now());
            let (mut is_saved, mut is_log_cut) = (position.updates > 0, false);
            for batch in receiver {
                if self.stop.is_asked() {
                    let state = match is_saved {
                        true => checkpoints.file(position.updates),
                        false => checkpoints.save(position, parameters, &trainer)?,
                    };
                    return Err(PretrainError::Interrupted { update: position.updates, state, start_over });
                }
                let start = Instant::now();
                let update = self.update(&batch, &mut trainer, position, &checkpoints)?;
                let mut line = self.line(&batch, update, &mut position, start.elapsed().as_secs_f64(), peak);
                let is_last = position.updates == config.training.updates;
                if is_last || position.updates.is_multiple_of(config.evaluation.every) {
                    let rows = held_out.as_ref();
                    line.held_out_loss = rows.map_or(Ok(None), |rows| self.measure(rows, position))?;
                }
                if let Err(error) = log.add(line) {
                    let failed =
                        format!("warning: {error}{}; the log lacks update {}", causes(&error), line.update);
                    // Once: a disk that is full stays so for a while.
                    if !std::mem::replace(&mut is_log_cut, true) {
                        self.progress.note(&failed);
                    }
                }
                // Waiting for the batch and the last checkpoint are part of it.
                position.secs += clock.elapsed().as_secs_f64();
                clock = Instant::now();
                is_saved = is_last || position.updates.is_multiple_of(config.checkpoints.every);
                if is_saved {
                    log.sync()?;
                    is_saved = self.save(&checkpoints, position, &trainer, is_last);
                }
                let detail = self.detail(&line, position);
                self.progress.advance(1, &detail);
                if line.held_out_loss.is_some() || told.elapsed().as_secs_f64() > SECS_BETWEEN_LINES {
                    self.progress
                        .note(&format!("update {} of {}: {detail}", line.update, config.training.updates));
                    told = Instant::now();
                }
            }
            Ok(())
        });
        self.progress.end();
        trained?;
        self.write_model(position, peak)?;
        self.remove_failed_batches();
        Ok(position)
    }

    /// What a run that goes on must have in common with the one that stopped.
    fn identity(&self) -> Value {
        let mut config = serde_json::to_value(self.shown_config()).expect("numbers and texts");
        // These change no weight; the files' contents and kinds count, not their names.
        for (table, key) in [
            ("", "evaluation"),
            ("", "checkpoints"),
            ("", "output"),
            ("corpus", "files"),
            ("model", "tokenizer"),
        ] {
            let table = if table.is_empty() { Some(&mut config) } else { config.get_mut(table) };
            if let Some(Value::Object(object)) = table {
                object.remove(key);
            }
        }
        if let Value::Object(object) = &mut config {
            let contents = |source: &SourceFile| json!({"sha256": source.sha256, "kind": source.kind.name()});
            object.insert("corpus_files".into(), self.tokens.sources.iter().map(contents).collect());
            object.insert("tokenizer_sha256".into(), json!(self.tokenizer.sha256()));
        }
        config
    }

    /// The configuration without folders of this machine.
    fn shown_config(&self) -> Config {
        let mut config = self.config.clone();
        config.corpus.files = self.tokens.sources.iter().map(|source| source.name.clone().into()).collect();
        config.model.tokenizer = config.model.tokenizer.map(|_| "tokenizer.json".into());
        config
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("train_log.csv")
    }

    fn held_out(
        &self,
        vocabulary: Arc<Vocabulary>,
    ) -> Result<Option<Batches<'_, TokenCache>>, PretrainError> {
        let Some(documents) = self.tokens.held_out.clone() else { return Ok(None) };
        let batches = train_batches(&self.config, documents, vocabulary, &*self.objective)?;
        let warmup = LengthWarmup::NONE; // models are measured on whole rows, whatever they learn from
        Ok(Some(Batches { warmup, seed: HELD_OUT_SEED, batch_size: HELD_OUT_BATCH, ..batches }))
    }

    /// Learns from a batch. Where that fails, the batch and the state before it are kept.
    fn update(
        &self,
        batch: &Batch,
        trainer: &mut Trainer,
        position: Position,
        checkpoints: &Checkpoints,
    ) -> Result<Update, PretrainError> {
        let number = position.updates + 1;
        let num_targets = batch.num_targets();
        if num_targets == 0 {
            return Err(PretrainError::NoTargets(number));
        }
        let dropout = Dropout::new(self.config.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
        let parts = batch.parts(self.config.training.tokens_per_part);
        let losses = parts.into_iter().filter_map(|part| {
            let here: usize = part.iter().map(Example::num_targets).sum();
            let (network, dropout, share) = (&self.network, &dropout, here as f64 / num_targets as f64);
            (here > 0).then_some(move || Ok::<_, candle_core::Error>((network.loss(part, dropout)?, share)))
        });
        let parameters = self.network.parameters();
        match trainer.update(parameters, losses) {
            Ok(update) => Ok(update),
            Err(source) => {
                let file = self.folder.join(format!("{FAILED_BATCH}{number}.json"));
                let contents = json!({
                    "update": number,
                    "rows": [batch.rows.start, batch.rows.end],
                    "examples": batch.examples,
                    "text": batch.examples.iter().map(|e| self.tokenizer.decode(&e.targets).ok()).collect::<Vec<_>>(),
                });
                let bytes = serde_json::to_vec(&contents).expect("numbers and texts");
                // What can't be kept is told, and hides nothing of why the update failed.
                let batch_file = atomic::write(&file, &bytes).map(|()| file);
                let state = checkpoints.save(position, parameters, trainer);
                Err(PretrainError::Update {
                    update: number,
                    first_row: batch.rows.start,
                    last_row: batch.rows.end - 1,
                    batch: batch_file
                        .map_or_else(|error| error.to_string(), |file| file.display().to_string()),
                    state: state.map_or_else(|error| error.to_string(), |file| file.display().to_string()),
                    source,
                })
            }
        }
    }

    /// Counts an update, and what the log says of it.
    fn line(
        &self,
        batch: &Batch,
        update: Update,
        position: &mut Position,
        secs: f64,
        peak_flops_per_sec: Option<f64>,
    ) -> Line {
        position.updates += 1;
        position.row_tokens += batch.num_row_tokens;
        position.tokens += batch.num_tokens() as u64;
        position.targets += batch.num_targets() as u64;
        position.skipped_rows += batch.num_skipped;
        let flops = PASSES_OF_AN_UPDATE * self.network.forward_flops(&batch.examples);
        Line {
            update: position.updates,
            tokens: position.tokens,
            loss: update.loss,
            gradient_norm: update.gradient_norm,
            learning_rate: update.learning_rate,
            held_out_loss: None,
            tokens_per_sec: batch.num_tokens() as f64 / secs,
            share_of_peak: peak_flops_per_sec.map(|peak| flops as f64 / secs / peak),
        }
    }

    /// The mean loss over the targets of held-out rows; `None` where these have none.
    fn measure(
        &self,
        held_out: &Batches<'_, TokenCache>,
        position: Position,
    ) -> Result<Option<f64>, PretrainError> {
        let failed = |source| PretrainError::Evaluation { update: position.updates, source };
        let num_batches = self.config.evaluation.rows.div_ceil(HELD_OUT_BATCH) as u64;
        let (mut sum, mut count) = (0.0, 0);
        for number in 0..num_batches {
            let batch = held_out.get(number);
            for part in batch.parts(self.config.training.tokens_per_part) {
                let num_targets: usize = part.iter().map(Example::num_targets).sum();
                if num_targets == 0 {
                    continue;
                }
                let loss = self.network.loss(part, &Dropout::off()).and_then(|loss| loss.to_scalar::<f32>());
                sum += f64::from(loss.map_err(failed)?) * num_targets as f64;
                count += num_targets;
            }
        }
        if count == 0 {
            self.progress
                .note("warning: the held-out rows have nothing to predict; more `evaluation.rows` may have");
            return Ok(None);
        }
        Ok(Some(sum / count as f64))
    }

    /// Saves, if it can; a disk that is full costs the checkpoint, and not the run. Was it saved?
    fn save(&self, checkpoints: &Checkpoints, position: Position, trainer: &Trainer, is_last: bool) -> bool {
        let saved = checkpoints.save(position, self.network.parameters(), trainer);
        if let Err(error) = &saved {
            let next = match is_last {
                true => "the model is written without it".to_owned(),
                false => format!(
                    "training goes on, and the next checkpoint is tried after {} more",
                    self.config.checkpoints.every
                ),
            };
            let (update, causes) = (position.updates, causes(error));
            self.progress.note(&format!("warning: after update {update} {error}{causes}; {next}"));
        }
        saved.is_ok()
    }

    fn detail(&self, line: &Line, position: Position) -> String {
        let held_out =
            line.held_out_loss.map(|loss| format!(", held out {loss:.3} (perplexity {:.1})", loss.exp()));
        let share = line.share_of_peak.map(|share| format!(" ({:.0} % of peak)", 100.0 * share));
        let left = (self.config.training.updates - line.update) as f64 * position.secs / line.update as f64;
        format!(
            "loss {:.3}{}, {:.0} tokens/s{}, {} left",
            line.loss,
            held_out.unwrap_or_default(),
            line.tokens_per_sec,
            share.unwrap_or_default(),
            duration(left),
        )
    }
}

/// `: cause: its cause`.
fn causes(error: &PretrainError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.map(|cause| format!(": {cause}")).collect::<Vec<_>>().concat()
}

/// `2 h 05 min`, `7 min`, `12 s`.
fn duration(secs: f64) -> String {
    let secs = secs.round() as u64;
    match (secs / 3600, secs / 60 % 60) {
        (0, 0) => format!("{secs} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

/// Keeps other runs out of a folder until it is dropped.
fn lock(folder: &Path) -> Result<File, PretrainError> {
    let path = folder.join("lock");
    let failed = |source| PretrainError::Write(WriteError::Write { path: path.clone(), source });
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(PretrainError::Locked(folder.into())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_told_as_one_would() {
        let spelled = [12.4, 61.0, 7.0 * 60.0, 7500.0].map(super::duration);
        assert_eq!(spelled, ["12 s", "1 min", "7 min", "2 h 05 min"]);
    }
}
