//! How much arithmetic a forward pass is.

use super::Config;
use crate::nn::Sequence;

impl Config {
    /// Floating-point operations of the matrix products of a forward pass, a multiplication and an addition
    /// counting as two:
    ///
    /// `2 · (t · 12 h² · layers + 2 · pairs · h · layers + logit_rows · h · v)`
    ///
    /// The four projections of a layer have 12 h² weights; `pairs` are the queries and keys that see each other (a
    /// score and a part of a context each); `logit_rows` are the rows whose logits are taken. Norms, GELU, softmax
    /// and the embeddings are not counted, nor is what a kernel computes beyond need (hidden pairs, anything twice).
    ///
    /// A training step takes three times that: each product has two more in the backward pass.
    pub fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64 {
        let (h, v, layers) = (self.hidden_size as u64, self.vocab_size as u64, self.num_layers as u64);
        let tokens: usize = sequences.iter().map(Sequence::len).sum();
        let pairs: u64 = sequences.iter().map(Sequence::visible_pairs).sum();
        2 * (tokens as u64 * 12 * h * h * layers + 2 * pairs * h * layers + logit_rows as u64 * h * v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_by_hand() {
        let config = Config {
            num_layers: 2,
            vocab_size: 100,
            hidden_size: 8,
            num_attention_heads: 2,
            ..Config::named("glm-tiny").expect("a listed name")
        };
        // Prefix 3, pieces of 2 and 1: 6 tokens; 9 + (2·3 + 3) + (1·3 + 1) = 22 pairs.
        // 6 · 12 · 64 · 2 = 9216; 2 · 22 · 8 · 2 = 704; 3 · 8 · 100 = 2400; twice their sum is 24640.
        assert_eq!(config.forward_flops(&[Sequence::pieces(3, vec![2, 1])], 3), 24_640);
        assert_eq!(config.forward_flops(&[], 0), 0);
    }

    #[test]
    fn glm_base_takes_227_gflop_for_eight_times_128_tokens() {
        // 1024 · 12 · 768² · 12 · 2 = 174 G, and 1024 · 768 · 30592 · 2 = 48 G of logits; the rest is attention.
        let config = Config::named("glm-base").expect("a listed name");
        let flops = config.forward_flops(&vec![Sequence::prefix_lm(128, 64); 8], 1024);
        assert!((222..=227).contains(&(flops / 1_000_000_000)), "{flops}");
    }

    #[test]
    fn tokens_in_a_cache_are_seen_but_not_computed() {
        let config = Config::named("glm-tiny").expect("a listed name");
        let fresh = Sequence::prefix_lm(1, 0);
        let after_ten = Sequence { cached: 10, ..fresh.clone() };
        let more = config.forward_flops(&[after_ten], 0) - config.forward_flops(&[fresh], 0);
        assert_eq!(more, 2 * 2 * 10 * 192 * 4); // ten pairs more, a score and a context each, in four layers
    }
}
