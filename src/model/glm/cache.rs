//! Keys and values of tokens already read.
//!
//! The official code keeps un-normalised hidden states and projects them again at each step; keeping keys and
//! values gives the same numbers for less work.

use candle_core::{Result, Tensor, bail};

use crate::nn::Layout;

/// Keys and values of every layer, a sequence at a time.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// `[layer][sequence]`: keys and values `[s, h]`.
    layers: Vec<Vec<(Tensor, Tensor)>>,
}

impl Cache {
    /// Holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps only the last `limit` tokens of each sequence, as a bounded memory does.
    pub fn keep_last(&mut self, limit: usize) -> Result<()> {
        for (keys, values) in self.layers.iter_mut().flatten() {
            let len = keys.dim(0)?;
            let kept = len.min(limit);
            *keys = keys.narrow(0, len - kept, kept)?;
            *values = values.narrow(0, len - kept, kept)?;
        }
        Ok(())
    }

    /// Takes up the new tokens of a layer; returns all its keys and values, each sequence's cached ones first.
    ///
    /// # Shapes
    /// - `keys`, `values`: `[t, h]`, new; outputs: `[keys, h]`
    pub(in crate::model) fn append(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
        layout: &Layout,
    ) -> Result<(Tensor, Tensor)> {
        if layer == self.layers.len() {
            let none = (keys.narrow(0, 0, 0)?, values.narrow(0, 0, 0)?);
            self.layers.push(vec![none; layout.sequences.len()]);
        }
        let held = &mut self.layers[layer];
        if held.len() != layout.sequences.len() {
            bail!("the cache holds {} sequences, the batch has {}", held.len(), layout.sequences.len());
        }
        let mut start = 0;
        for (held, sequence) in held.iter_mut().zip(&layout.sequences) {
            let len = sequence.len();
            if held.0.dim(0)? != sequence.cached {
                bail!(
                    "the cache holds {} tokens where the batch expects {}",
                    held.0.dim(0)?,
                    sequence.cached
                );
            }
            held.0 = Tensor::cat(&[held.0.clone(), keys.narrow(0, start, len)?], 0)?;
            held.1 = Tensor::cat(&[held.1.clone(), values.narrow(0, start, len)?], 0)?;
            start += len;
        }
        let (keys, values): (Vec<_>, Vec<_>) = held.iter().cloned().unzip();
        Ok((Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?))
    }
}
