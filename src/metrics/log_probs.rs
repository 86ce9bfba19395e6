//! Metrics over log-probabilities of texts: perplexity by token, word and byte.

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use super::{Outcome, groups};
use crate::stats::Estimate;

/// The log-probability of a text, and the counts over which it is spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogProb {
    /// Sum over its tokens, in nats.
    pub log_prob: f64,
    /// Tokens in that sum.
    pub num_tokens: u64,
    /// Words between spaces.
    pub num_words: u64,
    /// Bytes in UTF-8.
    pub num_bytes: u64,
}

/// What a log-probability is spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Tokens of the model's own vocabulary, so that only models with the same one can be compared.
    Token,
    /// Words between spaces, whatever the vocabulary.
    Word,
    /// Bytes of the text as it was read.
    Byte,
}

/// Perplexity, `exp(-sum of log-probabilities / sum of units)`, from 1; or the same in bits, `log2` of it, from 0. Lower
/// is better. Sums are over all samples, so that a long one counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perplexity {
    /// Over what.
    pub per: Per,
    /// As its logarithm to the base of 2?
    pub in_bits: bool,
}

impl Perplexity {
    fn units(self, of: &LogProb) -> u64 {
        match self.per {
            Per::Token => of.num_tokens,
            Per::Word => of.num_words,
            Per::Byte => of.num_bytes,
        }
    }

    /// What each unit of samples adds. `None` without samples, or where any has no log-probability: what failed can't be
    /// counted as wrong here.
    pub(super) fn tally(self, outcomes: &[Outcome], units: &[Vec<usize>]) -> Option<Tally> {
        let all: Vec<LogProb> = outcomes.iter().map(|outcome| outcome.log_prob).collect::<Option<_>>()?;
        let sum = |unit: &Vec<usize>| {
            let of = |i: &usize| (all[*i].log_prob, self.units(&all[*i]) as f64);
            let (log_prob, count) = unit.iter().map(of).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            vec![log_prob, count]
        };
        let value = if self.in_bits { bits } else { perplexity };
        (!all.is_empty()).then(|| Tally { rows: units.iter().map(sum).collect(), value })
    }

    /// The value over all samples. Its standard error is that of a ratio of sums, by the delta method, with the groups of
    /// outcomes as observations; `None` for one.
    ///
    /// Source: Cochran (1977), "Sampling Techniques", section 6.4.
    pub(super) fn compute(self, outcomes: &[Outcome]) -> Option<Estimate> {
        let tally = self.tally(outcomes, &groups(outcomes))?;
        let totals: Vec<f64> = (0..2).map(|column| tally.rows.iter().map(|row| row[column]).sum()).collect();
        let value = (tally.value)(&totals)?;
        let (ratio, g) = (totals[0] / totals[1], tally.rows.len() as f64);
        let residuals: f64 = tally.rows.iter().map(|row| (row[0] - ratio * row[1]).powi(2)).sum();
        let of_ratio = (g / (g - 1.0) * residuals).sqrt() / totals[1];
        let slope = if self.in_bits { std::f64::consts::LN_2.recip() } else { value };
        Some(Estimate { value, stderr: (g > 1.0).then_some(slope * of_ratio), n: outcomes.len() })
    }
}

fn perplexity(totals: &[f64]) -> Option<f64> {
    (totals[1] > 0.0).then(|| (-totals[0] / totals[1]).exp())
}

fn bits(totals: &[f64]) -> Option<f64> {
    (totals[1] > 0.0).then(|| -totals[0] / totals[1] / std::f64::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{self, Prediction};

    fn outcome(log_prob: Option<(f64, u64, u64, u64)>) -> Outcome {
        let log_prob = log_prob.map(|(log_prob, num_tokens, num_words, num_bytes)| LogProb {
            log_prob,
            num_tokens,
            num_words,
            num_bytes,
        });
        let (id, prediction) = (String::new(), Prediction::Label(0));
        Outcome { id, group: None, prediction, label: Some(0), references: vec![], log_prob }
    }

    #[test]
    fn sums_are_over_all_samples_and_not_means_of_means() {
        // 8 ln 2 nats over 4 tokens, 2 words, 16 bytes: 2 nats-in-bits a token, 4 a word, half a bit a byte.
        let ln2 = std::f64::consts::LN_2;
        let outcomes = [outcome(Some((-2.0 * ln2, 3, 1, 4))), outcome(Some((-6.0 * ln2, 1, 1, 12)))];
        let value =
            |name: &str| metrics::find(name).unwrap().compute(&outcomes, 2).map(|estimate| estimate.value);
        let expected = [
            ("token_perplexity", 4.0),
            ("word_perplexity", 16.0),
            ("byte_perplexity", 2.0_f64.sqrt()),
            ("bits_per_byte", 0.5),
        ];
        for (name, expected) in expected {
            assert!((value(name).unwrap() - expected).abs() < 1e-12, "{name}");
        }
    }

    #[test]
    fn the_standard_error_is_that_of_the_ratio() {
        // Words 1 and 1, nats 1 and 3: ratio 2, residuals -1 and 1: sqrt(2 / 1 * 2) / 2 = 1; times the slope e^2.
        let outcomes = [outcome(Some((-1.0, 1, 1, 1))), outcome(Some((-3.0, 1, 1, 1)))];
        let estimate = metrics::find("word_perplexity").unwrap().compute(&outcomes, 2).unwrap();
        assert!((estimate.stderr.unwrap() - 2.0_f64.exp()).abs() < 1e-12);
        let one = metrics::find("word_perplexity").unwrap().compute(&outcomes[..1], 2).unwrap();
        assert_eq!(one.stderr, None);
    }

    #[test]
    fn a_failed_sample_leaves_no_value() {
        let outcomes = [outcome(Some((-1.0, 1, 1, 1))), outcome(None)];
        assert_eq!(metrics::find("word_perplexity").unwrap().compute(&outcomes, 2), None);
    }
}
