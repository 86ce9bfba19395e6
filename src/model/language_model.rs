//! What tasks see of a model.

use candle_core::Tensor;

use super::prompt::EncodingError;
use super::{Family, Parameters};
use crate::checkpoint::CheckpointError;
use crate::nn::{Dropout, TokenScore};
use crate::request::{Answer, CandidateScore, Example, Request};

/// A model that answers requests and learns from examples. Only how a request is laid out in tokens differs
/// between families.
pub trait LanguageModel {
    /// What answering would take.
    ///
    /// # Errors
    /// When this model cannot answer the request: it is too long, or of a kind the family has no form for.
    fn cost(&self, request: &Request) -> Result<Cost, ModelError>;

    /// What reading an example would take, to learn from it. [`Cost::flops`] is that of the forward pass.
    ///
    /// # Errors
    /// Those of [`LanguageModel::cost`].
    fn learning_cost(&self, example: &Example) -> Result<Cost, ModelError> {
        self.cost(&example.request)
    }

    /// Answers, in the order of the requests. An answer does not depend on what else is in the batch.
    fn answer(&self, requests: &[&Request]) -> Result<Vec<Answer>, ModelError>;

    /// Answers a request for texts, telling `watch` the number of the blank under way and the text that it will begin
    /// with, whenever more of it is known. A family that decodes without being watched is told of nothing.
    ///
    /// # Errors
    /// Those of [`LanguageModel::answer`].
    fn generate(&self, request: &Request, _watch: &mut dyn FnMut(usize, &str)) -> Result<Answer, ModelError> {
        Ok(self.answer(&[request])?.pop().unwrap_or_default())
    }

    /// The mean loss of some examples, a scalar from which gradients flow to [`LanguageModel::parameters`].
    fn loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError>;

    /// The weights.
    fn parameters(&self) -> &Parameters;
}

/// What answering a request takes, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens that the model computes; where texts are written, the most that it may have to compute.
    pub computed: usize,
    /// Tokens of a copy of the context for each candidate, each padded to the longest that is allowed: what
    /// the official code computes.
    pub as_padded_copies: usize,
    /// Tokens cut from the prompt.
    pub truncated: usize,
    /// Floating-point operations of the matrix products. Learning takes three times as many (a little less where
    /// only a few words are learned from: answering takes the logits of the whole vocabulary there).
    pub flops: u64,
    /// Tokens of the right texts that are learned, which the loss is a mean over; 0 where it is one over examples.
    pub num_targets: usize,
}

/// Tokens of a batch of windows.
const WINDOW_BATCH_TOKENS: usize = 4096;

/// Windows of a text in batches that bound the memory. No score depends on them.
pub(super) fn window_batches<T>(windows: &[T], len: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let longest = windows.iter().map(len).max().unwrap_or(1).max(1);
    windows.chunks((WINDOW_BATCH_TOKENS / longest).max(1))
}

impl CandidateScore {
    /// Counts more tokens in.
    pub(super) fn add(&mut self, tokens: &[TokenScore]) {
        self.score += tokens.iter().map(|token| f64::from(token.log_prob)).sum::<f64>();
        self.num_tokens += tokens.len();
        self.is_greedy &= tokens.iter().all(|token| token.is_greedy);
    }
}

/// Why a model could not answer or learn.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The request has no layout in tokens.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The computation failed.
    #[error("the computation failed")]
    Compute(#[from] candle_core::Error),
    /// A head that is not in the checkpoint.
    #[error(
        "the checkpoint lacks {part} ({weights}), and without training there is nothing to learn it from; use a \
         checkpoint that has it, or fine-tune"
    )]
    MissingHead {
        /// The part of the head.
        part: &'static str,
        /// Its weights.
        weights: String,
    },
    /// Weights do not fit.
    #[error(transparent)]
    Weights(#[from] Box<CheckpointError>),
    /// The tokenizer is another family's.
    #[error(
        "{vocabulary} lacks {token}, which a {family} model needs; use the tokenizer published with the weights"
    )]
    Tokenizer {
        /// The vocabulary.
        vocabulary: String,
        /// What it lacks.
        token: &'static str,
        /// The model's family.
        family: Family,
    },
    /// The family has no form for this.
    #[error("{id}: {what}")]
    Unsupported {
        /// The request.
        id: String,
        /// What was asked, and the way out.
        what: String,
    },
}
