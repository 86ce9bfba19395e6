//! The texts that are pursued side by side for one row.

use candle_core::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::logits::{self, TokenLogProb};
use super::{Row, Search};

/// A text that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its tokens so far.
    pub tokens: Vec<u32>,
    /// The sum of their log-probabilities.
    pub log_prob: f64,
    /// The place, among the row's beams before the step, of the one that it continues.
    pub parent: usize,
}

/// A text that has ended, or was cut at the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// The sum of the log-probabilities, the ending token's included.
    pub log_prob: f64,
    /// What ranks it: `log_prob` over a power of the length.
    pub score: f64,
    /// Did it end by itself?
    pub is_ended: bool,
}

/// A token that may follow one of the beams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The beam's place among the row's.
    pub beam: usize,
    /// The token.
    pub token: u32,
    /// Sum of the log-probabilities of the text with it.
    pub log_prob: f64,
}

/// The state of one row.
pub struct Beams<'a> {
    row: &'a Row,
    running: Vec<Running>,
    /// Best first, at most as many as there are beams.
    finished: Vec<Hypothesis>,
    is_done: bool,
    random: ChaCha8Rng,
}

impl<'a> Beams<'a> {
    pub fn new(row: &'a Row) -> Self {
        Self {
            row,
            running: vec![Running { tokens: vec![], log_prob: 0.0, parent: 0 }],
            finished: Vec::new(),
            is_done: false,
            random: ChaCha8Rng::seed_from_u64(row.seed),
        }
    }

    pub fn running(&self) -> &[Running] {
        &self.running
    }

    pub fn finished(&self) -> &[Hypothesis] {
        &self.finished
    }

    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Nothing is pursued any more.
    pub fn rest(&mut self) {
        self.running.clear();
    }

    pub fn into_hypotheses(self) -> Vec<Hypothesis> {
        self.finished
    }

    /// One step: from the logits after each running text to the next ones. Returns what was considered.
    ///
    /// # Errors
    /// When a logit is not finite.
    pub fn advance(&mut self, logits: &mut [Vec<f32>], search: Search) -> Result<Vec<Candidate>> {
        let Search { decoding, convention, ends } = search;
        let num_beams = decoding.num_beams;
        let candidates = self.candidates(logits, search)?;
        let mut next: Vec<Running> = Vec::with_capacity(num_beams);
        let mut ranks = Vec::with_capacity(num_beams);
        for (rank, &Candidate { beam, token, log_prob }) in candidates.iter().enumerate() {
            if !ends.contains(&token) {
                if next.len() < num_beams {
                    let tokens = [self.running[beam].tokens.as_slice(), &[token]].concat();
                    next.push(Running { tokens, log_prob, parent: beam });
                    ranks.push(rank);
                }
            } else if rank < num_beams {
                // One that ranks lower would not have been pursued either.
                let tokens = self.running[beam].tokens.clone();
                self.finish(tokens, log_prob, true, search);
            }
        }
        let num_tokens = self.running[0].tokens.len() + 1;
        let before = std::mem::replace(&mut self.running, next);
        let is_at_limit = num_tokens >= self.row.max_new_tokens;
        let best = candidates.first().map_or(f64::NEG_INFINITY, |candidate| candidate.log_prob);
        let is_final = |beams: &Self| {
            beams.finished.len() == num_beams
                && (decoding.early_stopping
                    || convention
                        .bound(best, &beams.running, num_tokens, decoding.length_penalty)
                        .is_none_or(|bound| beams.finished[num_beams - 1].score >= bound))
        };
        self.is_done = (!is_at_limit || convention.tests_before_limit()) && is_final(self);
        if !self.is_done && is_at_limit {
            for (rank, beam) in ranks.into_iter().zip(self.running.clone()) {
                if convention.is_kept_at_limit(rank, num_beams) {
                    self.finish(beam.tokens, beam.log_prob, false, search);
                }
            }
            self.is_done = true;
        }
        if self.running.is_empty() {
            self.is_done = true;
            // Every next token was banned: what there is has not ended, but is all there can be.
            if self.finished.is_empty() {
                for beam in before {
                    self.finish(beam.tokens, beam.log_prob, false, search);
                }
            }
        }
        Ok(candidates)
    }

    /// The best next tokens of all running texts, best first, enough that as many as there are beams do not end; or
    /// one drawn token.
    fn candidates(&mut self, logits: &mut [Vec<f32>], search: Search) -> Result<Vec<Candidate>> {
        let Search { decoding, ends, .. } = search;
        let count = decoding.num_beams * (1 + ends.len().max(1));
        let history = &self.row.history;
        let banned = |beam: &Running| logits::banned(history, &beam.tokens, decoding, ends);
        let banned: Vec<Vec<u32>> = self.running.iter().map(banned).collect();
        let found: Vec<Vec<TokenLogProb>> = if let Some(sampling) = &decoding.sampling {
            let draw = |(logits, banned): (&mut Vec<f32>, &Vec<u32>)| {
                let drawn = logits::draw(logits, decoding, sampling, banned, &mut self.random)?;
                Ok(drawn.into_iter().collect())
            };
            logits.iter_mut().zip(&banned).map(draw).collect::<Result<_>>()?
        } else {
            let best =
                |(logits, banned): (&mut Vec<f32>, &Vec<u32>)| logits::best(logits, decoding, banned, count);
            logits.par_iter_mut().zip(&banned).map(best).collect::<Result<_>>()?
        };
        let mut candidates = Vec::new();
        for (beam, (running, found)) in self.running.iter().zip(found).enumerate() {
            candidates.extend(found.into_iter().map(|TokenLogProb { token, log_prob }| Candidate {
                beam,
                token,
                log_prob: running.log_prob + log_prob,
            }));
        }
        candidates.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob)); // stable: the first among equals first
        candidates.truncate(count);
        Ok(candidates)
    }

    /// Takes a text among the finished ones, if it is good enough.
    fn finish(&mut self, tokens: Vec<u32>, log_prob: f64, is_ended: bool, search: Search) {
        let Search { decoding, convention, .. } = search;
        let length = convention.length(tokens.len(), is_ended);
        let score = log_prob / (length as f64).powf(decoding.length_penalty);
        let at = self.finished.partition_point(|better| better.score >= score);
        self.finished.insert(at, Hypothesis { tokens, log_prob, score, is_ended });
        self.finished.truncate(decoding.num_beams);
    }
}
