//! A packed batch, as a causal network reads it.

use super::Encoding;
use crate::nn::{Layout, Sequence};

/// Tokens of all sequences of a batch, one after the other, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[t]` token ids.
    pub ids: Vec<u32>,
    /// `[t]` positions; every continuation goes on where the prefix ends.
    pub positions: Vec<u32>,
    /// Where each sequence begins and who sees whom.
    pub layout: Layout,
}

impl Batch {
    /// Packs encodings in order. The last token of a continuation is only predicted, so it is not read.
    pub fn pack<'a>(encodings: impl IntoIterator<Item = &'a Encoding>) -> Self {
        let mut batch = Self::default();
        for Encoding { prefix, continuations, .. } in encodings {
            let start = prefix.len() as u32;
            batch.ids.extend(prefix);
            batch.positions.extend(0..start);
            for continuation in continuations {
                let read = continuation.len() - 1;
                batch.ids.extend(&continuation[..read]);
                batch.positions.extend(start..start + read as u32);
            }
            let lengths = continuations.iter().map(|continuation| continuation.len() - 1).collect();
            batch.layout.sequences.push(Sequence::causal(prefix.len(), lengths));
        }
        batch
    }

    /// Plain texts, each after the `cached` tokens of its own that a cache holds.
    pub fn texts<'a>(texts: impl IntoIterator<Item = (usize, &'a [u32])>) -> Self {
        let mut batch = Self::default();
        for (cached, ids) in texts {
            batch.ids.extend(ids);
            batch.positions.extend(cached as u32..(cached + ids.len()) as u32);
            batch.layout.sequences.push(Sequence { cached, ..Sequence::causal(ids.len(), vec![]) });
        }
        batch
    }
}
