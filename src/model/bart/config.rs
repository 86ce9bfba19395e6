//! Sizes of a BART, as its `config.json` has them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::Settings;
use crate::model::Family;
use crate::model::config::{ConfigError, check_heads, check_ids, check_numbers, check_sizes};

/// The first rows of the position tables, which nothing uses: a position's row is so many further down.
pub const POSITION_OFFSET: usize = 2;

/// Sizes and settings, under their published names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width `h`.
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of the encoder.
    pub encoder_attention_heads: usize,
    /// Heads of the decoder.
    pub decoder_attention_heads: usize,
    /// Width of the encoder's feed-forward layers.
    pub encoder_ffn_dim: usize,
    /// Width of the decoder's feed-forward layers.
    pub decoder_ffn_dim: usize,
    /// Longest text, for encoder and decoder alike.
    pub max_position_embeddings: usize,
    /// Are token embeddings multiplied by `√h`?
    #[serde(default)]
    pub scale_embedding: bool,
    /// Dropout of embeddings and residual branches.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dropout of probabilities.
    #[serde(default)]
    pub attention_dropout: f64,
    /// Dropout inside the feed-forward layers.
    #[serde(default)]
    pub activation_dropout: f64,
    /// Dropout before the layers of a classification head.
    #[serde(default, alias = "classif_dropout")]
    pub classifier_dropout: f64,
    /// Standard deviation of initial weights.
    #[serde(default = "init_std")]
    pub init_std: f64,
    /// The token that begins a text.
    #[serde(default)]
    pub bos_token_id: u32,
    /// The token that ends one.
    #[serde(default = "end")]
    pub eos_token_id: u32,
    /// The token that the decoder begins with.
    #[serde(default = "end")]
    pub decoder_start_token_id: u32,
}

fn dropout() -> f64 {
    0.1
}

fn init_std() -> f64 {
    0.02
}

fn end() -> u32 {
    2
}

/// Published sizes: name, layers of encoder and decoder each, vocabulary, width, heads, positions.
///
/// Source: Lewis et al. 2020, section 4; the `config.json` of each repository.
const NAMED: &[(&str, [usize; 5])] =
    &[("bart-base", [6, 50265, 768, 12, 1024]), ("bart-large", [12, 50265, 1024, 16, 1024])];

/// Variants of fairseq's and of later models in the same class, which are not BART as it was published.
const VARIANTS: [(&str, bool); 5] = [
    ("is_encoder_decoder", true),
    ("normalize_before", false),
    ("normalize_embedding", true),
    ("add_final_layer_norm", false),
    ("static_position_embeddings", false),
];

impl Config {
    /// The published sizes by name.
    pub fn named() -> impl Iterator<Item = (&'static str, Self)> {
        NAMED.iter().map(|&(name, [layers, vocab_size, d_model, heads, max_position_embeddings])| {
            let config = Self {
                vocab_size,
                d_model,
                encoder_layers: layers,
                decoder_layers: layers,
                encoder_attention_heads: heads,
                decoder_attention_heads: heads,
                encoder_ffn_dim: 4 * d_model,
                decoder_ffn_dim: 4 * d_model,
                max_position_embeddings,
                scale_embedding: false,
                dropout: dropout(),
                attention_dropout: 0.1,
                activation_dropout: 0.1,
                classifier_dropout: 0.0,
                init_std: init_std(),
                bos_token_id: 0,
                eos_token_id: end(),
                decoder_start_token_id: end(),
            };
            (name, config)
        })
    }

    /// Reads a `config.json`; keys that are not about the network are ignored.
    ///
    /// # Errors
    /// When a size is absent or makes no sense, or a variant is not supported.
    pub fn from_json(json: &Settings) -> Result<Self, ConfigError> {
        let unsupported = |key, supported| {
            let found = json.get(key).cloned().unwrap_or_default().to_string();
            Err(ConfigError::Unsupported { key, found, supported })
        };
        for (key, expected) in VARIANTS {
            if json.get(key).is_some_and(|found| found.as_bool() != Some(expected)) {
                return unsupported(key, "no published BART has that");
            }
        }
        if json.get("activation_function").is_some_and(|found| found.as_str() != Some("gelu")) {
            return unsupported("activation_function", "known is `gelu`, its exact form");
        }
        if json.get("tie_word_embeddings").is_some_and(|found| found.as_bool() != Some(true)) {
            return unsupported("tie_word_embeddings", "a BART's embedding is its output projection");
        }
        for key in ["encoder_layerdrop", "decoder_layerdrop"] {
            if json.get(key).is_some_and(|found| found.as_f64() != Some(0.0)) {
                return unsupported(key, "layers can't be dropped; set it to 0");
            }
        }
        if json
            .get("extra_pos_embeddings")
            .is_some_and(|found| found.as_u64() != Some(POSITION_OFFSET as u64))
        {
            return unsupported("extra_pos_embeddings", "known is 2");
        }
        let mut json = json.clone();
        json.retain(|_, value: &mut Value| !value.is_null());
        let config: Self = serde_json::from_value(json.into())
            .map_err(|source| ConfigError::Json { family: Family::Bart, source })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, 10_000_000),
            ("d_model", self.d_model, 100_000),
            ("encoder_layers", self.encoder_layers, 1000),
            ("decoder_layers", self.decoder_layers, 1000),
            ("encoder_attention_heads", self.encoder_attention_heads, 10_000),
            ("decoder_attention_heads", self.decoder_attention_heads, 10_000),
            ("encoder_ffn_dim", self.encoder_ffn_dim, 1_000_000),
            ("decoder_ffn_dim", self.decoder_ffn_dim, 1_000_000),
            ("max_position_embeddings", self.max_position_embeddings, 10_000_000),
        ])?;
        check_heads(("d_model", self.d_model), ("encoder_attention_heads", self.encoder_attention_heads))?;
        check_heads(("d_model", self.d_model), ("decoder_attention_heads", self.decoder_attention_heads))?;
        let probabilities = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("activation_dropout", self.activation_dropout),
            ("classifier_dropout", self.classifier_dropout),
        ];
        check_numbers(&[("init_std", self.init_std)], &probabilities)?;
        let ids = [
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ];
        check_ids(&ids, self.vocab_size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(key: &str, value: Value) -> Result<Config, ConfigError> {
        let (_, config) = Config::named().next().expect("bart-base");
        let mut json = serde_json::to_value(config).expect("plain data");
        json[key] = value;
        Config::from_json(json.as_object().expect("an object"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(
            with("activation_function", json!("gelu")).expect("as published"),
            Config::named().next().expect("bart-base").1
        );
    }

    #[test]
    fn variants_and_sizes_that_are_not_a_barts_are_refused() {
        let message = |key, value| with(key, value).expect_err("it is refused").to_string();
        assert!(message("activation_function", json!("relu")).contains("exact form"));
        assert!(message("normalize_before", json!(true)).contains("no published BART"));
        assert!(message("encoder_layerdrop", json!(0.1)).contains("set it to 0"));
        assert!(message("decoder_attention_heads", json!(7)).contains("cannot be divided"));
        assert!(message("encoder_layers", json!(0)).contains("encoder_layers is 0"));
        assert!(message("d_model", json!(null)).contains("not that of a bart model"));
        assert!(message("eos_token_id", json!(60000)).contains("eos_token_id is 60000"));
    }
}
