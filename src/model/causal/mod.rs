//! What models that read left to right have in common: how they lay out requests, answer and learn.
//!
//! A causal model knows a text only up to a token. A blank is therefore filled by likelihood: the prompt up to the
//! blank is the prefix, and each candidate, with what follows the blank, is a continuation of it. The prefix is read
//! once for all continuations, in evaluation and in training; that is exact, since no token sees what comes after it.

mod answering;
mod batch;
mod encoding;
mod ends;

pub use answering::CausalModel;
pub use batch::Batch;
pub use encoding::Encoding;
pub use ends::{Ends, Marks};

use candle_core::{Result, Tensor};

pub use super::glm::Cache;
use super::{Family, Head, ModelError};
use crate::nn::{Dropout, Precision, Sequence};

/// A network whose tokens see only themselves and what comes before them.
pub trait Network {
    /// Final hidden states of a batch, from which gradients flow if the network can be trained.
    ///
    /// # Shapes
    /// - output: `[t, h]`, after the final norm; logits are taken from the rows that need them
    fn forward(&self, batch: &Batch, dropout: &Dropout) -> Result<Tensor>;

    /// Final hidden states of tokens that follow those in `cache`, which takes up their keys and values.
    ///
    /// # Shapes
    /// - `batch`: the new tokens; each sequence's `cached` is what the cache holds for it
    /// - output: `[t, h]`, of the new tokens
    fn extend(&self, batch: &Batch, cache: &mut Cache) -> Result<Tensor>;

    /// `[v, h]`: logits are products of hidden states with its rows.
    fn output_embeddings(&self) -> &Tensor;

    /// What matrix products are computed with.
    fn precision(&self) -> Precision;

    /// The longest text.
    fn max_positions(&self) -> usize;

    /// Floating-point operations of the matrix products of a forward pass.
    fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64;
}

/// Causal models answer with their vocabulary alone.
///
/// # Errors
/// When a classification head is asked for.
pub fn check_head(family: Family, head: Head) -> std::result::Result<(), ModelError> {
    match head {
        Head::Vocabulary => Ok(()),
        Head::Classes { .. } => Err(ModelError::Unsupported {
            id: format!("{family} models"),
            what: "they have no classification head here; ask by filling the blank (`--head cloze`)".into(),
        }),
    }
}

/// Why a family that is only read can't learn.
pub fn untrainable(family: Family) -> ModelError {
    let what = "they can't be trained here; use `--mode zero-shot` or `few-shot`";
    ModelError::Unsupported { id: format!("{family} models"), what: what.into() }
}

/// A configuration as a `config.json` has it.
pub fn with_model_type(family: Family, config: &impl serde::Serialize) -> serde_json::Value {
    let mut json = serde_json::to_value(config).expect("a configuration is plain data");
    json.as_object_mut()
        .expect("a configuration is an object")
        .insert("model_type".into(), family.name().into());
    json
}
