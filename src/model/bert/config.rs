//! The sizes of a BERT or RoBERTa, under the field names of the published `config.json` files.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::Settings;
use crate::model::Family;
use crate::model::config::{ConfigError, check_heads, check_numbers, check_sizes};
use crate::nn;

/// Sizes and switches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// BERT or RoBERTa: they differ in positions, special tokens, heads and names.
    #[serde(skip, default = "bert")]
    pub family: Family,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width `h`.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads `n`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Non-linearity of the feed-forward layers.
    pub hidden_act: Activation,
    /// Rows of the position table; RoBERTa uses them from `pad_token_id + 1` on.
    pub max_position_embeddings: usize,
    /// Rows of the table that tells the two texts of a pair apart.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to the variance in every layer norm.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Standard deviation of the initial weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Dropout of embeddings, residual branches and pooled states, in training.
    #[serde(default = "default_dropout")]
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention probabilities, in training.
    #[serde(default = "default_dropout")]
    pub attention_probs_dropout_prob: f64,
    /// The padding token; here it only tells where RoBERTa's positions begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// Is the token embedding the output projection too?
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
}

/// A non-linearity, by its published name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `0.5 x (1 + erf(x / √2))`.
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    /// Its tanh form.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `max(x, 0)`.
    #[serde(rename = "relu")]
    Relu,
}

impl Activation {
    /// Applies it to a tensor of any shape.
    pub fn forward(self, xs: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Gelu => nn::gelu_erf(xs),
            Self::GeluTanh => nn::gelu(xs),
            Self::Relu => nn::relu(xs),
        }
    }
}

fn bert() -> Family {
    Family::Bert
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

fn default_initializer_range() -> f64 {
    0.02
}

fn default_dropout() -> f64 {
    0.1
}

impl Config {
    /// Reads a `config.json`; keys that change nothing about the network are ignored.
    ///
    /// # Errors
    /// When a size is absent or makes no sense, or a setting belongs to a variant that is not built here.
    pub fn from_json(family: Family, json: &Settings) -> Result<Self, ConfigError> {
        let is =
            |key: &str, value: &Value| json.get(key).is_none_or(|found| found == value || found.is_null());
        let off = Value::from(false);
        for (key, only, supported) in [
            ("position_embedding_type", Value::from("absolute"), "only absolute positions are"),
            ("is_decoder", off.clone(), "only encoders are"),
            ("add_cross_attention", off, "only encoders are"),
            ("pruned_heads", serde_json::json!({}), "only whole layers are"),
        ] {
            if !is(key, &only) {
                return Err(ConfigError::Unsupported { key, found: json[key].to_string(), supported });
            }
        }
        if let Some(found) = json.get("hidden_act")
            && serde_json::from_value::<Activation>(found.clone()).is_err()
        {
            let supported = "gelu, gelu_new and relu are";
            return Err(ConfigError::Unsupported { key: "hidden_act", found: found.to_string(), supported });
        }
        let config: Self = serde_json::from_value(json.clone().into())
            .map_err(|source| ConfigError::Json { family, source })?;
        let config = Self { family, ..config };
        config.check()?;
        Ok(config)
    }

    /// Can a model have these sizes?
    fn check(&self) -> Result<(), ConfigError> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("type_vocab_size", self.type_vocab_size, 1 << 10),
        ])?;
        check_heads(("hidden_size", self.hidden_size), ("num_attention_heads", self.num_attention_heads))?;
        check_numbers(
            &[("layer_norm_eps", self.layer_norm_eps), ("initializer_range", self.initializer_range)],
            &[
                ("hidden_dropout_prob", self.hidden_dropout_prob),
                ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ],
        )?;
        if self.first_position() >= self.max_position_embeddings {
            return Err(ConfigError::Invalid(format!(
                "max_position_embeddings {} leaves no position after pad_token_id {}",
                self.max_position_embeddings,
                self.pad_token_id()
            )));
        }
        Ok(())
    }

    /// The padding token's id, by default that of the published vocabularies.
    pub fn pad_token_id(&self) -> u32 {
        self.pad_token_id.unwrap_or(u32::from(self.family == Family::Roberta))
    }

    /// The row of the position table for the first token.
    ///
    /// Source: huggingface/transformers `modeling_roberta.py`, `create_position_ids_from_input_ids`: fairseq counts
    /// positions from `padding_idx + 1`.
    pub fn first_position(&self) -> usize {
        match self.family {
            Family::Roberta => self.pad_token_id() as usize + 1,
            _ => 0,
        }
    }

    /// The longest sequence.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// What published names begin with.
    pub fn prefix(&self) -> &'static str {
        match self.family {
            Family::Roberta => "roberta",
            _ => "bert",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
               "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
               "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
               "position_embedding_type": "absolute", "pad_token_id": 0})
    }

    fn read(family: Family, changes: Value) -> Result<Config, String> {
        let mut json = base();
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Config::from_json(family, json.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn robertas_positions_begin_behind_the_padding_token() {
        let bert = read(Family::Bert, json!({})).unwrap();
        assert_eq!((bert.first_position(), bert.max_tokens()), (0, 512));
        let sizes = json!({"pad_token_id": 1, "max_position_embeddings": 514});
        let roberta = read(Family::Roberta, sizes).unwrap();
        assert_eq!((roberta.first_position(), roberta.max_tokens()), (2, 512));
    }

    #[test]
    fn what_is_not_built_is_named_with_what_is() {
        for (key, value) in [
            ("hidden_act", json!("silu")),
            ("position_embedding_type", json!("relative_key")),
            ("is_decoder", json!(true)),
        ] {
            let message = read(Family::Bert, json!({key: value})).unwrap_err();
            assert!(message.contains(key) && message.contains("not supported"), "{message}");
        }
    }

    #[test]
    fn senseless_sizes_are_refused() {
        for changes in [
            json!({"hidden_size": 0}),
            json!({"num_attention_heads": 5}),
            json!({"layer_norm_eps": 0.0}),
            json!({"hidden_dropout_prob": 1.0}),
            json!({"vocab_size": -3}),
        ] {
            assert!(read(Family::Bert, changes.clone()).is_err(), "{changes}");
        }
        let sizes = json!({"pad_token_id": 600});
        assert!(read(Family::Roberta, sizes).unwrap_err().contains("no position"));
    }
}
