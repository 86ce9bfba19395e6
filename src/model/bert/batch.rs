//! A packed batch, as the network reads it.

use super::Config;
use super::encoding::Encoding;
use crate::nn::{Layout, Sequence};

/// Tokens of all sequences of a batch, one after the other, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[t]` token ids.
    pub ids: Vec<u32>,
    /// `[t]` rows of the position table.
    pub positions: Vec<u32>,
    /// `[t]` 0 in the first text of a pair, 1 in the second (where the model has such a row).
    pub token_types: Vec<u32>,
    /// Where each sequence begins and who sees whom.
    pub layout: Layout,
}

impl Batch {
    /// Packs encodings in order; every token sees all of its sequence.
    pub(super) fn pack<'a>(config: &Config, encodings: impl IntoIterator<Item = &'a Encoding>) -> Self {
        let first = config.first_position();
        let mut batch = Self::default();
        for encoding in encodings {
            let s = encoding.input_ids.len();
            batch.ids.extend(&encoding.input_ids);
            batch.positions.extend((first..first + s).map(|position| position as u32));
            batch.token_types.extend(&encoding.token_types);
            batch.layout.sequences.push(Sequence::pieces(s, vec![]));
        }
        batch
    }
}
