//! Keys and values of tokens already read.
//!
//! The official code keeps un-normalised hidden states and projects them again at each step; keeping keys and
//! values gives the same numbers for less work.

use candle_core::{Result, Tensor, bail};

use crate::nn::{self, KeysValues, Layout};

/// Keys and values of every layer, a sequence at a time.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// `[layer][sequence]`: keys and values `[s, h]`.
    layers: Vec<Vec<KeysValues>>,
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

    /// Goes on with these sequences, of which one may be there several times: the beams that continue it. Nothing is
    /// copied until they take up different tokens.
    pub fn select(&mut self, parents: &[usize]) -> Result<()> {
        for layer in &mut self.layers {
            let held = |&parent: &usize| layer.get(parent).cloned();
            let Some(selected) = parents.iter().map(held).collect::<Option<Vec<_>>>() else {
                bail!("the cache holds {} sequences, not all of {parents:?}", layer.len());
            };
            *layer = selected;
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
            if len == 0 {
                continue; // a view of nothing at the end of a tensor is one that candle can't concatenate
            }
            held.0 = Tensor::cat(&[held.0.clone(), keys.narrow(0, start, len)?], 0)?;
            held.1 = Tensor::cat(&[held.1.clone(), values.narrow(0, start, len)?], 0)?;
            start += len;
        }
        let (keys, values): (Vec<_>, Vec<_>) = held.iter().cloned().unzip();
        Ok((Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?))
    }
    /// Bytes that the keys and values take.
    pub fn num_bytes(&self) -> usize {
        self.layers.iter().flatten().map(num_bytes).sum()
    }
}

/// Keys and values of the beams that grow from the sequences of a [`Cache`]: each beam's own tokens only. What the
/// cache holds is shared by all beams of a sequence and never copied, so that it does not grow with their number.
#[derive(Debug)]
pub struct BeamCache<'a> {
    contexts: &'a Cache,
    /// Beams of each sequence.
    counts: Vec<usize>,
    /// `[layer]`: keys and values `[b, len, h]`.
    own: Vec<KeysValues>,
}

impl<'a> BeamCache<'a> {
    /// One beam a sequence, which has read nothing of its own.
    pub fn new(contexts: &'a Cache) -> Self {
        let sequences = contexts.layers.first().map_or(0, Vec::len);
        Self { contexts, counts: vec![1; sequences], own: Vec::new() }
    }

    /// Goes on with these beams, of which each sequence has `counts`: those of before that they continue.
    pub fn select(&mut self, parents: &[u32], counts: Vec<usize>) -> Result<()> {
        self.counts = counts;
        for (keys, values) in &mut self.own {
            if (0..keys.dim(0)? as u32).eq(parents.iter().copied()) {
                continue;
            }
            let parents = Tensor::new(parents, keys.device())?;
            *keys = keys.index_select(&parents, 0)?;
            *values = values.index_select(&parents, 0)?;
        }
        Ok(())
    }

    /// Takes up one new token a beam of a layer, and attends from it.
    ///
    /// # Shapes
    /// - `q`, `keys`, `values`: `[b, h]`; output: `[b, h]`
    pub(super) fn attend(
        &mut self,
        layer: usize,
        q: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        num_heads: usize,
    ) -> Result<Tensor> {
        let (keys, values) = (keys.unsqueeze(1)?, values.unsqueeze(1)?); // [b, 1, h]
        match self.own.get_mut(layer) {
            Some(own) => {
                own.0 = Tensor::cat(&[own.0.clone(), keys], 1)?; // [b, len, h]
                own.1 = Tensor::cat(&[own.1.clone(), values], 1)?;
            }
            None => self.own.push((keys, values)),
        }
        nn::attention_of_beams(q, &self.contexts.layers[layer], &self.own[layer], &self.counts, num_heads)
    }

    /// Bytes that the beams' own keys and values take.
    pub fn num_bytes(&self) -> usize {
        self.own.iter().map(num_bytes).sum()
    }
}

fn num_bytes((keys, values): &KeysValues) -> usize {
    [keys, values].map(|xs| xs.elem_count() * xs.dtype().size_in_bytes()).iter().sum()
}
