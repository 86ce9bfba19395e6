//! Floating-point operations of a T5's matrix products.

use super::Config;
use super::config::FeedForwardProj;
use crate::nn::{Layout, Sequence};

impl Config {
    /// Of a forward pass over texts of these lengths, a decoder that looks at them, and logits of so many rows.
    pub fn forward_flops(&self, texts: &[usize], decoder: &Layout, logit_rows: usize) -> u64 {
        let (h, inner) = (self.d_model as u64, (self.num_heads * self.d_kv) as u64);
        let matrices = match self.feed_forward_proj {
            FeedForwardProj::Relu => 2,
            FeedForwardProj::GatedGelu => 3,
        };
        let feed_forward = matrices * h * self.d_ff as u64;
        let (read, written) = (texts.iter().sum::<usize>() as u64, decoder.num_tokens() as u64);
        let encoder =
            read * (4 * h * inner + feed_forward) + 2 * inner * pairs(texts.iter().map(|&s| (s, s)));
        let own = 2 * inner * decoder.sequences.iter().map(Sequence::visible_pairs).sum::<u64>();
        let cross = decoder.sequences.iter().map(Sequence::len).zip(texts.iter().copied());
        let cross = 2 * inner * pairs(cross) + read * 2 * h * inner; // and the texts' keys and values
        let decoder = written * (6 * h * inner + feed_forward) + own + cross;
        let logits = logit_rows as u64 * h * self.vocab_size as u64;
        2 * (self.num_layers as u64 * encoder + self.num_decoder_layers as u64 * decoder + logits)
    }
}

fn pairs(lengths: impl Iterator<Item = (usize, usize)>) -> u64 {
    lengths.map(|(queries, keys)| (queries * keys) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_by_hand() {
        let (_, config) = Config::named().next().expect("t5-tiny");
        let config = Config {
            d_model: 4,
            d_kv: 2,
            num_heads: 1,
            d_ff: 8,
            num_layers: 1,
            num_decoder_layers: 1,
            vocab_size: 10,
            ..config
        };
        // Encoder, 3 tokens: 3 * (4*4*2 + 2*4*8) = 288; attention 2 * 2 * 9 = 36.
        // Decoder, pieces of 2 and 1: 3 * (6*4*2 + 64) = 336; own 2 * 2 * (3 + 1) = 16; cross 2 * 2 * 9 = 36 and
        // 3 * 2*4*2 = 48. Logits of 2 rows: 80. In all 840 products and sums.
        let decoder = Layout::new(vec![Sequence::pieces(0, vec![2, 1])]);
        assert_eq!(config.forward_flops(&[3], &decoder, 2), 2 * 840);
    }
}
