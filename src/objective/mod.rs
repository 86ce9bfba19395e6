//! Documents to training batches: which tokens a network reads, and which it learns to predict.
//!
//! [`Rows`] cuts rows of tokens out of documents; an [`Objective`] turns rows into [`Example`]s. All families read the
//! same form of example: a prefix whose tokens see each other, then tokens that are read left to right, with a target
//! wherever the loss mask is set. For a masked language model all is prefix, for a causal one nothing is, and for an
//! encoder and a decoder the prefix is what the encoder reads.

mod blank_infilling;
mod blank_options;
mod causal_lm;
mod draws;
mod masked_lm;
mod rows;
mod span_corruption;
mod token_cache;
mod vocabulary;

#[cfg(test)]
mod golden_tests;

pub use blank_infilling::BlankInfilling;
pub use blank_options::BlankOptions;
pub use causal_lm::CausalLm;
pub use draws::{Draws, shuffle};
pub use masked_lm::{MaskedLm, MaskedLmOptions};
pub use rows::{Documents, MIN_LENGTH, RowError, Rows};
pub use span_corruption::{SpanCorruption, SpanOptions};
pub use token_cache::{CacheError, Corpus, SourceFile, TokenCache, Tokens};
pub use vocabulary::{Vocabulary, VocabularyError};

use serde::Serialize;

/// One sequence to learn from. The vectors are of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    /// `[s]` what the network reads.
    pub input_ids: Vec<u32>,
    /// `[s]` what it should predict at each token.
    pub targets: Vec<u32>,
    /// `[s]` where that counts.
    pub loss_mask: Vec<bool>,
    /// `[s]` positions in the corrupted text.
    pub positions: Vec<u32>,
    /// `[s]` positions inside of the piece, from 1; 0 in the prefix.
    pub block_positions: Vec<u32>,
    /// Tokens, from the first, that see each other in both directions.
    pub prefix_length: usize,
}

impl Example {
    /// Tokens of the sequence.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// No tokens?
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Tokens that count in the loss.
    pub fn num_targets(&self) -> usize {
        self.loss_mask.iter().filter(|counts| **counts).count()
    }
}

/// A way to learn from text.
pub trait Objective: Send + Sync {
    /// Examples made from the rows of one batch. A row that there is nothing to learn from, being too short, makes
    /// none; some objectives make several from one.
    fn examples(&self, rows: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example>;

    /// The same from rows that have been cut into short parts: they are not cut again.
    fn examples_of_parts(&self, parts: &[Vec<u32>], draws: &mut dyn Draws) -> Vec<Example> {
        self.examples(parts, draws)
    }
}
