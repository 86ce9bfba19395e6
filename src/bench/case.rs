//! What is measured: a model, what it works on, and how. As JSON it is all that a measured process is told.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::{BenchError, TaskWork};
use crate::model::glm::Config;
use crate::nn::Sequence;

/// One thing to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What a step does.
    pub mode: Mode,
    /// What it computes in.
    pub dtype: NumberFormat,
    /// Threads of the pool.
    pub threads: usize,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// On what.
    pub work: Work,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A forward pass, and the logits of the rows that have a target
    Eval,
    /// Forward, cross-entropy at the targets, backward, and an update by AdamW; no dropout, no clipping
    Train,
}

/// What a model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// Single precision
    F32,
    /// 8 bits of exponent, 7 of fraction
    Bf16,
}

impl Mode {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eval => "eval",
            Self::Train => "train",
        }
    }

    /// A step's arithmetic, in forward passes.
    pub fn passes(self) -> u64 {
        match self {
            Self::Eval => 1,
            Self::Train => 3,
        }
    }
}

impl NumberFormat {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// As candle calls it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// What a model works on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Random tokens, and random weights.
    Random(RandomWork),
    /// Samples of a task.
    Task(TaskWork),
}

/// What a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens that are computed.
    pub tokens: u64,
    /// Sequences, or samples of a task.
    pub samples: u64,
    /// Floating-point operations of its matrix products (see [`Config::forward_flops`]).
    pub flops: u64,
    /// Tokens that a padded copy of the context a candidate would take; `None` for random tokens.
    pub tokens_if_padded_copies: Option<u64>,
}

/// The same batch of random tokens at every step. Each sequence is a prefix that sees itself, and the rest, read
/// left to right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomWork {
    /// Sizes of the model.
    pub config: Config,
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub sequence: usize,
    /// Tokens of each that are prefix.
    pub prefix: usize,
    /// Tokens of the whole batch that have a target, evenly spread.
    pub num_targets: usize,
}

impl RandomWork {
    /// Half of each sequence is prefix; `targets` is the share of tokens that have one.
    ///
    /// # Errors
    /// When there is nothing to compute, or a sequence is longer than the model has positions.
    pub fn new(config: Config, batch: usize, sequence: usize, targets: f64) -> Result<Self, BenchError> {
        let refuse = |problem: String| Err(BenchError::Case(problem));
        if batch == 0 || sequence == 0 {
            let name = if batch == 0 { "batch" } else { "sequence" };
            return refuse(format!("--{name} 0: there is nothing to compute; give 1 or more"));
        }
        if !(targets > 0.0 && targets <= 1.0) {
            return refuse(format!("--targets {targets}: a share of tokens is above 0 and at most 1"));
        }
        let (prefix, tokens) = (sequence / 2, batch * sequence);
        let longest = Self::longest_sequence(&config);
        if sequence > longest {
            return refuse(format!(
                "--sequence {sequence}: with {} positions, half of them for the prefix, a sequence has at most \
                 {longest} tokens",
                config.position_table_rows()
            ));
        }
        let num_targets = ((tokens as f64 * targets).round() as usize).clamp(1, tokens);
        Ok(Self { config, batch, sequence, prefix, num_targets })
    }

    /// Tokens for which there are positions. Half of a sequence is numbered in the one table, half from 1 in the
    /// other, which has as many rows.
    pub fn longest_sequence(config: &Config) -> usize {
        2 * (config.position_table_rows() - 1)
    }

    /// Tokens of the batch.
    pub fn num_tokens(&self) -> usize {
        self.batch * self.sequence
    }

    /// The sequences of the batch.
    pub fn sequences(&self) -> Vec<Sequence> {
        vec![Sequence::prefix_lm(self.sequence, self.prefix); self.batch]
    }

    /// What a step takes.
    pub fn amount(&self, mode: Mode) -> Amount {
        let forward = self.config.forward_flops(&self.sequences(), self.num_targets);
        Amount {
            tokens: self.num_tokens() as u64,
            samples: self.batch as u64,
            flops: mode.passes() * forward,
            tokens_if_padded_copies: None,
        }
    }

    /// The tokens that have a target; `None` when all have.
    pub fn rows(&self) -> Option<Vec<u32>> {
        let (n, tokens) = (self.num_targets, self.num_tokens());
        (n < tokens).then(|| (0..n).map(|i| (i * tokens / n) as u32).collect())
    }
}

/// Vocabulary and positions of a shape that is given by its sizes without them: BERT's with GLM's own tokens, and
/// those of the models with most.
const DEFAULT_VOCABULARY: usize = 30592;
const DEFAULT_POSITIONS: usize = 1024;

/// A published shape by name, or `LAYERSxWIDTHxHEADS[xVOCABULARY]`.
///
/// # Errors
/// When it is neither; the message has the nearest name. When no model can have such sizes.
pub fn shape(name: &str) -> Result<Config, BenchError> {
    if let Some(config) = Config::named(name) {
        return Ok(config);
    }
    let sizes: Option<Vec<usize>> = name.split('x').map(|size| size.parse().ok()).collect();
    let (num_layers, hidden_size, num_attention_heads, vocab_size) = match sizes.as_deref() {
        Some(&[layers, width, heads]) => (layers, width, heads, DEFAULT_VOCABULARY),
        Some(&[layers, width, heads, vocabulary]) => (layers, width, heads, vocabulary),
        _ => return Err(unknown(name)),
    };
    let config = Config {
        num_layers,
        vocab_size,
        hidden_size,
        num_attention_heads,
        max_sequence_length: DEFAULT_POSITIONS,
        ..Config::named("glm-tiny").expect("a listed name")
    };
    config.check().map_err(|error| BenchError::Case(format!("--shape {name}: {error}")))?;
    Ok(config)
}

fn unknown(name: &str) -> BenchError {
    let likeness = |known: &&str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let nearest = Config::names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|nearest| likeness(nearest) > 0.8) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!(" (there are {})", Config::names().collect::<Vec<_>>().join(", ")),
    };
    BenchError::UnknownShape { name: name.into(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_a_name_or_sizes() {
        assert_eq!(shape("glm-base").expect("known").num_layers, 12);
        let config = shape("2x64x4").expect("sizes");
        assert_eq!((config.num_layers, config.hidden_size, config.num_attention_heads), (2, 64, 4));
        assert_eq!((config.vocab_size, shape("2x64x4x100").expect("sizes").vocab_size), (30592, 100));
    }

    #[test]
    fn a_wrong_shape_is_told_what_is_right() {
        let message = |name: &str| shape(name).expect_err("no shape").to_string();
        assert!(message("glm-bsae").contains("did you mean `glm-base`?"), "{}", message("glm-bsae"));
        assert!(message("zebra").contains("(there are glm-base, "), "{}", message("zebra"));
        assert!(message("2x65x4").contains("hidden_size 65 cannot be divided"), "{}", message("2x65x4"));
        assert!(message("0x64x4").contains("num_layers is 0"), "{}", message("0x64x4"));
    }

    #[test]
    fn targets_are_spread_evenly_and_all_of_them_need_no_list() {
        let config = shape("1x8x2x10").expect("sizes");
        let work = |targets| RandomWork::new(config.clone(), 2, 4, targets).expect("it makes sense");
        assert_eq!(work(1.0).rows(), None);
        assert_eq!(work(0.5).rows(), Some(vec![0, 2, 4, 6]));
        assert_eq!(work(1e-9).rows(), Some(vec![0])); // never nothing
    }

    #[test]
    fn a_case_that_makes_no_sense_is_an_error() {
        let config = shape("glm-base").expect("known");
        let message = |batch, sequence, targets| {
            RandomWork::new(config.clone(), batch, sequence, targets).expect_err("no sense").to_string()
        };
        assert!(message(0, 128, 1.0).contains("--batch 0"));
        assert!(message(8, 0, 1.0).contains("--sequence 0"));
        assert!(message(8, 1025, 1.0).contains("at most 1024 tokens")); // 512 positions, in two tables
        assert!(message(8, 128, 1.5).contains("--targets 1.5"));
        assert!(message(8, 128, f64::NAN).contains("--targets NaN"));
    }
}
