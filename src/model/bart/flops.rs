//! Floating-point operations of a BART's matrix products.

use super::Config;
use crate::nn::{Layout, Sequence};

impl Config {
    /// Of a forward pass over texts of these lengths, a decoder that looks at them, and logits of so many rows. A
    /// classification head is not counted.
    pub fn forward_flops(&self, texts: &[usize], decoder: &Layout, logit_rows: usize) -> u64 {
        let h = self.d_model as u64;
        let (read, written) = (texts.iter().sum::<usize>() as u64, decoder.num_tokens() as u64);
        let both_ways: u64 = texts.iter().map(|&s| (s * s) as u64).sum();
        let encoder = read * (4 * h * h + 2 * h * self.encoder_ffn_dim as u64) + 2 * h * both_ways;
        let own: u64 = decoder.sequences.iter().map(Sequence::visible_pairs).sum();
        let cross: u64 =
            decoder.sequences.iter().zip(texts).map(|(written, &read)| (written.len() * read) as u64).sum();
        let keys_and_values = read * 2 * h * h;
        let decoder = written * (6 * h * h + 2 * h * self.decoder_ffn_dim as u64)
            + keys_and_values
            + 2 * h * (own + cross);
        let logits = logit_rows as u64 * h * self.vocab_size as u64;
        2 * (self.encoder_layers as u64 * encoder + self.decoder_layers as u64 * decoder + logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_by_hand() {
        let (_, config) = Config::named().next().expect("bart-base");
        let config = Config {
            d_model: 4,
            encoder_ffn_dim: 8,
            decoder_ffn_dim: 8,
            encoder_layers: 1,
            decoder_layers: 1,
            vocab_size: 10,
            ..config
        };
        // 3 tokens. Encoder: 3 * (64 + 64) + 8 * 9 = 456. Decoder: 3 * (128 + 64) + 8 * (6 + 9) = 696.
        let classified = Layout::new(vec![Sequence::prefix_lm(3, 0)]);
        assert_eq!(config.forward_flops(&[3], &classified, 0), 2 * (456 + 696));
        // Pieces of 2 and 1: own 8 * (3 + 1) in place of 8 * 6; and 3 rows of logits, 3 * 4 * 10.
        let pieces = Layout::new(vec![Sequence::pieces(0, vec![2, 1])]);
        assert_eq!(config.forward_flops(&[3], &pieces, 3), 2 * (456 + 696 - 16 + 120));
    }
}
