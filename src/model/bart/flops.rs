//! Floating-point operations of a BART's matrix products.

use super::Config;

impl Config {
    /// Of classifying texts of these lengths, which encoder and decoder both read; the head is not counted.
    pub fn classify_flops(&self, texts: &[usize]) -> u64 {
        let h = self.d_model as u64;
        let tokens: u64 = texts.iter().map(|&s| s as u64).sum();
        let both_ways: u64 = texts.iter().map(|&s| (s * s) as u64).sum();
        let left_to_right: u64 = texts.iter().map(|&s| (s * (s + 1) / 2) as u64).sum();
        let encoder = tokens * (4 * h * h + 2 * h * self.encoder_ffn_dim as u64) + 2 * h * both_ways;
        let attention = 2 * h * (left_to_right + both_ways);
        let decoder = tokens * (8 * h * h + 2 * h * self.decoder_ffn_dim as u64) + attention;
        2 * (self.encoder_layers as u64 * encoder + self.decoder_layers as u64 * decoder)
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
            ..config
        };
        // 3 tokens. Encoder: 3 * (64 + 64) + 8 * 9 = 456. Decoder: 3 * (128 + 64) + 8 * (6 + 9) = 696.
        assert_eq!(config.classify_flops(&[3]), 2 * (456 + 696));
    }
}
