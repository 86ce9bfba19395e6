//! What a pre-training run is told: a TOML file, with every default spelled out once it is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PretrainError;
use crate::objective::{
    BlankInfilling, BlankOptions, CausalLm, MIN_LENGTH, MaskedLm, MaskedLmOptions, Objective, SpanCorruption,
    SpanOptions, Vocabulary,
};
use crate::tokenizer::training::TrainingOptions;
use crate::train::{AdamWConfig, Decay, Schedule};

/// A run's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Of the weights, the rows and the blanks.
    #[serde(default = "one")]
    pub seed: u64,
    /// What is trained.
    pub model: ModelConfig,
    /// On which text.
    pub corpus: CorpusConfig,
    /// In which rows.
    #[serde(default)]
    pub rows: RowsConfig,
    /// To predict what.
    pub objective: ObjectiveConfig,
    /// How.
    pub training: TrainingConfig,
    /// Measured how often, on how much.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// Saved how often.
    #[serde(default)]
    pub checkpoints: CheckpointsConfig,
    /// What is left at the end.
    #[serde(default)]
    pub output: OutputConfig,
    /// How `--train-tokenizer` makes a vocabulary; a run does not look at it.
    #[serde(default, skip_serializing)]
    pub tokenizer: TrainingOptions,
}

fn one() -> u64 {
    1
}

/// The network: a known shape, and what is different in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// A name of `glm-eval ls models`.
    pub shape: String,
    /// A tokenizer's folder or file; the bundled one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Keys of `config.json` that are to be different.
    #[serde(flatten)]
    pub changes: serde_json::Map<String, serde_json::Value>,
}

/// The text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Files, folders and patterns.
    pub files: Vec<PathBuf>,
    /// The field of JSON rows that has the text.
    #[serde(default = "text_field")]
    pub text_field: String,
    /// Share of the documents that is held out, to measure on.
    #[serde(default = "held_out")]
    pub held_out: f64,
}

fn text_field() -> String {
    "text".into()
}

fn held_out() -> f64 {
    0.02
}

/// How rows are cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowsConfig {
    /// Most tokens of a row, before blanks are made.
    pub max_length: usize,
    /// Do short documents share a row?
    pub across_documents: bool,
    /// Share of the updates in which rows grow to that, doubling at a steady rate: short rows teach a network sooner to look at
    /// the words around a blank (`docs/pretraining.md`).
    pub warmup: f64,
    /// Most tokens of the first rows where they grow.
    pub first_length: usize,
}

impl Default for RowsConfig {
    fn default() -> Self {
        Self { max_length: 512, across_documents: true, warmup: 0.0, first_length: 16 }
    }
}

/// What is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "toml::Table")]
pub enum ObjectiveConfig {
    /// GLM's.
    BlankInfilling(BlankOptions),
    /// BERT's.
    MaskedLm(MaskedLmOptions),
    /// T5's.
    SpanCorruption(SpanOptions),
    /// GPT's.
    CausalLm,
}

const KINDS: &str = "blank_infilling, masked_lm, span_corruption or causal_lm";

impl TryFrom<toml::Table> for ObjectiveConfig {
    type Error = String;

    /// `kind`, the kind's options, and for blank infilling the `mix` that they change.
    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        fn options<T: for<'de> Deserialize<'de>>(table: toml::Table) -> Result<T, String> {
            // In full, which names the key.
            table.try_into().map_err(|error: toml::de::Error| error.to_string().trim().replace('\n', " "))
        }
        let kind = table.remove("kind");
        let (config, problem) = match kind.as_ref().and_then(toml::Value::as_str) {
            Some("blank_infilling") => {
                let mut all = match table.remove("mix").as_ref().map(toml::Value::as_str) {
                    None => toml::Table::new(),
                    Some(name) => name
                        .and_then(BlankOptions::named)
                        .and_then(|options| toml::Table::try_from(options).ok())
                        .ok_or_else(|| {
                            let known = BlankOptions::names().collect::<Vec<_>>().join(", ");
                            format!("there is no mix {}; there are {known}", name.unwrap_or("of that kind"))
                        })?,
                };
                all.extend(table);
                let options: BlankOptions = options(all)?;
                let problem = options.problem();
                (Self::BlankInfilling(options), problem)
            }
            Some("masked_lm") => {
                let options: MaskedLmOptions = options(table)?;
                let problem = options.problem();
                (Self::MaskedLm(options), problem)
            }
            Some("span_corruption") => {
                let options: SpanOptions = options(table)?;
                let problem = options.problem();
                (Self::SpanCorruption(options), problem)
            }
            Some("causal_lm") => {
                let unknown = table.keys().next().map(|key| format!("causal_lm has no option `{key}`"));
                (Self::CausalLm, unknown)
            }
            Some(other) => return Err(format!("there is no kind `{other}`; there are {KINDS}")),
            None => return Err(format!("`kind` is missing; it is {KINDS}")),
        };
        problem.map_or(Ok(config), Err)
    }
}

impl ObjectiveConfig {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BlankInfilling(_) => "blank_infilling",
            Self::MaskedLm(_) => "masked_lm",
            Self::SpanCorruption(_) => "span_corruption",
            Self::CausalLm => "causal_lm",
        }
    }

    /// The objective over a vocabulary, for a network with so many rows of embeddings.
    ///
    /// # Errors
    /// When the vocabulary or the embeddings lack what it needs.
    pub fn build(
        &self,
        vocabulary: &Arc<Vocabulary>,
        max_length: usize,
        embedding_rows: usize,
    ) -> Result<Box<dyn Objective>, PretrainError> {
        let vocabulary = vocabulary.clone();
        let num_tokens = vocabulary.num_tokens;
        let too_few = |sentinels: usize| PretrainError::Config {
            key: "model.vocab_size".into(),
            problem: format!(
                "it is {embedding_rows}, too few for {num_tokens} tokens and {sentinels} sentinels"
            ),
        };
        Ok(match self {
            Self::BlankInfilling(options) => {
                let objective = BlankInfilling::new(options.clone(), vocabulary, max_length)?;
                if num_tokens + objective.num_sentinels() > embedding_rows {
                    return Err(too_few(objective.num_sentinels()));
                }
                Box::new(objective)
            }
            Self::MaskedLm(options) => Box::new(MaskedLm::new(options.clone(), vocabulary)),
            Self::SpanCorruption(options) => {
                let count = options.num_sentinels(max_length);
                let sentinels = vocabulary.sentinels(count, embedding_rows).ok_or_else(|| too_few(count))?;
                Box::new(SpanCorruption::new(options.clone(), vocabulary, sentinels))
            }
            Self::CausalLm => Box::new(CausalLm::new(vocabulary)),
        })
    }
}

/// The optimizer and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// How many.
    pub updates: u64,
    /// Rows of an update.
    pub batch_size: usize,
    /// The highest.
    pub learning_rate: f64,
    /// Share of the updates that warm up.
    #[serde(default = "warmup")]
    pub warmup: f64,
    /// The form of the decay.
    #[serde(default = "decay")]
    pub decay: Decay,
    /// What is left of the learning rate at the end, as a share.
    #[serde(default = "decay_ratio")]
    pub decay_ratio: f64,
    /// Of all weights but biases and norms.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// Of the gradient's mean.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// Of the squared gradient's mean.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// Added to its root.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Largest norm of the gradient; 0 does not clip.
    #[serde(default = "clip_grad")]
    pub clip_grad: f64,
    /// Is the learning rate a share of each weight's root mean square, as Adafactor's is?
    #[serde(default)]
    pub relative: bool,
    /// Of all three kinds.
    #[serde(default)]
    pub dropout: f64,
    /// A batch is computed in parts of at most so many tokens, which bounds the memory.
    #[serde(default = "tokens_per_part")]
    pub tokens_per_part: usize,
    /// Number format of matrix products; weights and sums are f32.
    #[serde(default)]
    pub dtype: NumberFormat,
}

fn warmup() -> f64 {
    0.05
}
fn decay() -> Decay {
    Decay::Cosine
}
fn decay_ratio() -> f64 {
    0.1
}
fn weight_decay() -> f64 {
    0.1
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.98
}
fn epsilon() -> f64 {
    1e-6
}
fn clip_grad() -> f64 {
    1.0
}
fn tokens_per_part() -> usize {
    8192
}

impl TrainingConfig {
    /// For the optimizer.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            clip_grad: self.clip_grad,
            relative: self.relative,
        }
    }

    /// For the learning rate.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            learning_rate: self.learning_rate,
            total_updates: self.updates,
            warmup_fraction: self.warmup,
            decay: self.decay,
            decay_ratio: self.decay_ratio,
        }
    }
}

/// A number format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// Single precision.
    #[default]
    F32,
    /// Factors of matrix products are rounded to 8 bits.
    Bf16,
    /// Half precision, for weights that ship.
    F16,
}

impl NumberFormat {
    /// As candle knows it.
    pub fn dtype(self) -> candle_core::DType {
        match self {
            Self::F32 => candle_core::DType::F32,
            Self::Bf16 => candle_core::DType::BF16,
            Self::F16 => candle_core::DType::F16,
        }
    }
}

/// Measuring on held-out text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Updates from one to the next; the last update is always followed by one.
    pub every: u64,
    /// Rows that are measured.
    pub rows: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { every: 100, rows: 128 }
    }
}

/// Saving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointsConfig {
    /// Updates from one to the next.
    pub every: u64,
    /// How many are kept, the latest ones.
    pub keep: usize,
}

impl Default for CheckpointsConfig {
    fn default() -> Self {
        Self { every: 100, keep: 2 }
    }
}

/// The model directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Number format of the weights that ship.
    pub weights: NumberFormat,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { weights: NumberFormat::F16 }
    }
}

impl Config {
    /// That of `glm-tiny`.
    ///
    /// # Panics
    /// When `models/glm-tiny/pretrain.toml` was broken as the program was built.
    pub fn builtin() -> Self {
        toml::from_str(include_str!("../../models/glm-tiny/pretrain.toml")).expect("a test reads it")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or says what can't be.
    pub fn read(file: &Path) -> Result<Self, PretrainError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| PretrainError::Read { file: file.into(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| PretrainError::Toml { file: file.into(), source: Box::new(source) })?;
        Ok(config)
    }

    /// Are all settings such that a run can end well?
    ///
    /// # Errors
    /// The first that is not, by its key.
    pub fn check(&self) -> Result<(), PretrainError> {
        let t = &self.training;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let below_one = |x: f64| (0.0..1.0).contains(&x);
        // It counts where rows grow.
        let longest = if self.rows.warmup > 0.0 { self.rows.max_length } else { usize::MAX };
        let first_lengths = MIN_LENGTH..=longest;
        let rules = [
            ("training.updates", t.updates > 0, "at least 1"),
            ("training.batch_size", (1..=1 << 20).contains(&t.batch_size), "from 1 to 1048576"),
            ("training.learning_rate", t.learning_rate > 0.0 && t.learning_rate.is_finite(), "above 0"),
            ("training.warmup", share(t.warmup), "from 0 to 1"),
            ("training.decay_ratio", share(t.decay_ratio), "from 0 to 1"),
            ("training.weight_decay", t.weight_decay >= 0.0 && t.weight_decay.is_finite(), "at least 0"),
            ("training.beta1", below_one(t.beta1), "from 0 to below 1"),
            ("training.beta2", below_one(t.beta2), "from 0 to below 1"),
            ("training.epsilon", t.epsilon > 0.0 && t.epsilon.is_finite(), "above 0"),
            ("training.clip_grad", t.clip_grad >= 0.0 && t.clip_grad.is_finite(), "at least 0"),
            ("training.dropout", below_one(t.dropout), "from 0 to below 1"),
            ("training.tokens_per_part", t.tokens_per_part > 0, "at least 1"),
            ("training.dtype", t.dtype != NumberFormat::F16, "f32 or bf16"),
            ("corpus.files", !self.corpus.files.is_empty(), "at least one file, folder or pattern"),
            ("corpus.held_out", below_one(self.corpus.held_out), "from 0 to below 1"),
            ("rows.max_length", self.rows.max_length >= MIN_LENGTH, "at least 8"),
            ("rows.warmup", share(self.rows.warmup), "from 0 to 1"),
            (
                "rows.first_length",
                first_lengths.contains(&self.rows.first_length),
                "from 8 to rows.max_length",
            ),
            ("evaluation.every", self.evaluation.every > 0, "at least 1"),
            ("evaluation.rows", self.evaluation.rows > 0, "at least 1"),
            ("checkpoints.every", self.checkpoints.every > 0, "at least 1"),
            ("checkpoints.keep", self.checkpoints.keep > 0, "at least 1"),
            ("tokenizer.max_document_bytes", self.tokenizer.max_document_bytes > 0, "at least 1"),
            ("tokenizer.max_file_bytes", self.tokenizer.max_file_bytes > 0, "at least 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((key, _, rule)) => {
                Err(PretrainError::Config { key: key.into(), problem: format!("it must be {rule}") })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        model.shape = "glm-tiny"
        corpus.files = ["a.txt"]
        training = { updates = 10, batch_size = 4, learning_rate = 1e-3 }
    "#;

    fn read(more: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("pretrain.toml");
        std::fs::write(&file, format!("{LEAST}\n{more}")).expect("a temporary file");
        let config = Config::read(&file).and_then(|config| config.check().map(|()| config));
        config.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }

    #[test]
    fn a_mix_may_be_changed_and_every_default_is_spelled_out() {
        let config =
            read("[objective]\nkind = \"blank_infilling\"\nmix = \"glm-doc\"\ngpt_min_ratio = 0.25\n")
                .unwrap();
        let ObjectiveConfig::BlankInfilling(options) = &config.objective else { panic!("blank infilling") };
        let expected = BlankOptions { gpt_min_ratio: 0.25, ..BlankOptions::named("glm-doc").unwrap() };
        assert_eq!(*options, expected);
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["objective"]["kind"], "blank_infilling");
        assert_eq!(json["objective"]["average_block_length"], 3.0);
        assert_eq!(json["training"]["decay"], "cosine");
    }

    #[test]
    fn the_page_about_the_configuration_has_every_key_and_its_default() {
        let page = include_str!("../../docs/pretraining.md");
        let (_, rest) = page.split_once("```toml\n").expect("a configuration");
        let (shown, _) = rest.split_once("```").expect("its end");
        let documented: Config = toml::from_str(shown).expect("it is a configuration");
        let mut least = read("[objective]\nkind = \"blank_infilling\"\n").expect("it is a configuration");
        // What has to be there.
        least.corpus.files.clone_from(&documented.corpus.files);
        least.training.updates = documented.training.updates;
        assert_eq!(documented, least);
        let mut tables = toml::Table::try_from(&least).expect("it was read from TOML");
        tables.insert("tokenizer".into(), toml::Value::try_from(&least.tokenizer).expect("likewise"));
        let keys = tables.values().filter_map(toml::Value::as_table).flat_map(toml::Table::keys);
        for key in keys {
            assert!(shown.contains(&format!("\n{key} = ")), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |more: &str| read(more).expect_err("it is wrong");
        let objective = |more: &str| error(&format!("[objective]\n{more}"));
        assert!(objective("kind = \"blanks\"").contains("no kind `blanks`; there are blank_infilling"));
        assert!(objective("mix = \"glm-doc\"").contains("`kind` is missing"));
        assert!(
            objective("kind = \"blank_infilling\"\nmix = \"glm-huge\"")
                .contains("no mix glm-huge; there are glm-base")
        );
        assert!(objective("kind = \"blank_infilling\"\nbert_porb = 1.0").contains("bert_porb"));
        assert!(objective("kind = \"blank_infilling\"\nbert_prob = \"x\"").contains("in `bert_prob`"));
        assert!(objective("kind = \"masked_lm\"\nmask_share = 2.0").contains("mask_share is 2"));
        assert!(objective("kind = \"causal_lm\"\nmask_share = 0.5").contains("no option `mask_share`"));
        let causal = "[objective]\nkind = \"causal_lm\"\n";
        assert!(
            error(&format!("{causal}[evaluation]\nevery = 0"))
                .contains("evaluation.every: it must be at least 1")
        );
        assert!(error(&format!("{causal}[rows]\nlength = 4")).contains("length"));
        assert!(
            error(&format!("{causal}[rows]\nwarmup = 0.5\nfirst_length = 600"))
                .contains("to rows.max_length")
        );
        assert!(read(causal).is_ok());
    }
}
