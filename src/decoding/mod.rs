//! From single steps of a model to whole texts: greedy, beam search and sampling over any step function.
//!
//! Knows no model. A row is one text to be found; rows share nothing but the calls of the step function, so a text
//! does not depend on its batch. A finished row takes part in no further step: nothing is padded.
//!
//! Greedy decoding is beam search with one beam, sampling is the same with a drawn candidate in place of the best.
//! GLM's code and Hugging Face's differ in three points, which [`Convention`] names.

mod beams;
mod convention;
mod logits;

pub use beams::{Candidate, Hypothesis, Running};
pub use convention::Convention;
pub use logits::REMOVED;

use crate::request::Decoding;
use beams::Beams;

/// A text to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Tokens before the text that count as part of it where n-grams must not be repeated: the prompt of a causal
    /// model in Hugging Face's convention.
    pub history: Vec<u32>,
    /// The text is cut here; in place of the settings' own limit.
    pub max_new_tokens: usize,
    /// For drawn tokens.
    pub seed: u64,
}

/// How all rows are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The settings.
    pub decoding: &'a Decoding,
    /// Whose beam search.
    pub convention: Convention,
    /// Any of these ends a text, and is not part of it.
    pub ends: &'a [u32],
}

/// A beam that a step extends by one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The text's row.
    pub row: usize,
    /// The beam's place in the call before, whose keys and values it continues; in the first call, its row.
    pub parent: usize,
    /// The beam's last token, to be read now.
    pub token: u32,
}

/// Where a row is after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The row.
    pub row: usize,
    /// What was considered, best first.
    pub candidates: &'a [Candidate],
    /// What is pursued, best first.
    pub running: &'a [Running],
    /// What has ended, best first.
    pub finished: &'a [Hypothesis],
    /// Nothing better can come.
    pub is_done: bool,
}

impl Progress<'_> {
    /// The tokens that whatever text is chosen in the end begins with.
    pub fn settled(&self) -> &[u32] {
        if self.is_done {
            return self.finished.first().map_or(&[], |best| &best.tokens);
        }
        let running = self.running.iter().map(|beam| beam.tokens.as_slice());
        let mut all = running.chain(self.finished.iter().map(|hypothesis| hypothesis.tokens.as_slice()));
        let first = all.next().unwrap_or(&[]);
        let common =
            |len: usize, other: &[u32]| first[..len].iter().zip(other).take_while(|(a, b)| a == b).count();
        &first[..all.fold(first.len(), common)]
    }
}

/// Finds a text for every row: its hypotheses, best first, never none.
///
/// - `first`: the logits `[v]` after each row's prompt
/// - `step`: reads one token a beam and gives the logits `[v]` after each, in order
/// - `watch`: is told of every row after every step
///
/// # Errors
/// Those of `step`; and when a logit is not finite.
pub fn decode<E: From<candle_core::Error>>(
    rows: &[Row],
    search: Search,
    first: Vec<Vec<f32>>,
    mut step: impl FnMut(&[Extension]) -> Result<Vec<Vec<f32>>, E>,
    mut watch: impl FnMut(&Progress),
) -> Result<Vec<Vec<Hypothesis>>, E> {
    let mut beams: Vec<Beams> = rows.iter().map(Beams::new).collect();
    let mut logits = first;
    loop {
        let mut extensions = Vec::new();
        let mut rest = logits.as_mut_slice();
        let mut start = 0; // of the row's beams in the last call
        for (row, beams) in beams.iter_mut().enumerate() {
            let (mine, others) = rest.split_at_mut(beams.running().len());
            rest = others;
            if mine.is_empty() {
                continue;
            }
            let candidates = beams.advance(mine, search)?;
            let (running, finished, is_done) = (beams.running(), beams.finished(), beams.is_done());
            watch(&Progress { row, candidates: &candidates, running, finished, is_done });
            if is_done {
                beams.rest();
            }
            extensions.extend(beams.running().iter().map(|beam| Extension {
                row,
                parent: start + beam.parent,
                token: beam.tokens.last().copied().unwrap_or_default(),
            }));
            start += mine.len();
        }
        if extensions.is_empty() {
            return Ok(beams.into_iter().map(Beams::into_hypotheses).collect());
        }
        logits = step(&extensions)?;
    }
}

#[cfg(test)]
mod tests;
