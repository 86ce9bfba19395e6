//! The sizes of a Llama, under the field names of the published `config.json` files.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::Settings;
use crate::model::Family;
use crate::model::causal::Ends;
use crate::model::config::{ConfigError, check_heads, check_numbers, check_sizes};
use crate::nn::Sequence;

/// Sizes and switches of a Llama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width `h`.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads `n` of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values, each shared by as many query heads; as many as there are of these, if absent.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Size `d` of a head; `h / n` if absent.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// The longest text.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    #[serde(default = "epsilon")]
    pub rms_norm_eps: f64,
    /// The base of the rotary embedding's wave lengths.
    #[serde(default = "theta")]
    pub rope_theta: f64,
    /// Is the token embedding the output projection too?
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Where texts begin and end.
    #[serde(flatten)]
    pub ends: Ends,
}

fn epsilon() -> f64 {
    1e-6
}

fn theta() -> f64 {
    10_000.0
}

impl Config {
    /// Reads a `config.json`; keys that change nothing here are ignored.
    ///
    /// # Errors
    /// When a size is absent, makes no sense, or a variant is asked for that is not built here.
    pub fn from_json(json: &Settings) -> Result<Self, ConfigError> {
        let mut json = json.clone();
        // Since transformers 5, the rotary settings are one object.
        if let Some(Value::Object(rope)) = json.remove("rope_parameters") {
            for (new, old) in [("rope_theta", "rope_theta"), ("rope_type", "rope_scaling")] {
                if let Some(value) = rope.get(new) {
                    json.insert(old.into(), value.clone());
                }
            }
        }
        let is = |key: &'static str, allowed: &[Value], supported: &'static str| match json.get(key) {
            Some(found) if !allowed.contains(found) => {
                Err(ConfigError::Unsupported { key, found: found.to_string(), supported })
            }
            _ => Ok(()),
        };
        is("hidden_act", &["silu".into()], "\"silu\" is")?;
        is("attention_bias", &[false.into()], "false is")?;
        is("mlp_bias", &[false.into()], "false is")?;
        is(
            "rope_scaling",
            &[Value::Null, "default".into()],
            "null is: texts are not longer than in training",
        )?;
        let parsed = serde_json::from_value(json.into());
        let config: Self = parsed.map_err(|source| ConfigError::Json { family: Family::Llama, source })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("num_key_value_heads", self.key_value_heads(), 1 << 16),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 24),
        ])?;
        if self.head_dim.is_none() {
            check_heads(
                ("hidden_size", self.hidden_size),
                ("num_attention_heads", self.num_attention_heads),
            )?;
        }
        check_heads(
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.key_value_heads()),
        )?;
        check_sizes(&[("head_dim", self.head_dim(), 1 << 16)])?;
        if !self.head_dim().is_multiple_of(2) {
            return Err(ConfigError::Invalid(format!("head_dim is {}; it must be even", self.head_dim())));
        }
        check_numbers(&[("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)], &[])?;
        self.ends.check(self.vocab_size)
    }

    /// Heads of keys and values.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Size of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Names and shapes of all weights but the output projection's, by their published names.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let (h, inner) = (self.hidden_size, self.intermediate_size);
        let (queries, keys) =
            (self.num_attention_heads * self.head_dim(), self.key_value_heads() * self.head_dim());
        let mut weights = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, h])];
        let in_layer: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[h]),
            ("self_attn.q_proj", &[queries, h]),
            ("self_attn.k_proj", &[keys, h]),
            ("self_attn.v_proj", &[keys, h]),
            ("self_attn.o_proj", &[h, queries]),
            ("post_attention_layernorm", &[h]),
            ("mlp.gate_proj", &[inner, h]),
            ("mlp.up_proj", &[inner, h]),
            ("mlp.down_proj", &[h, inner]),
        ];
        for layer in 0..self.num_hidden_layers {
            let name = |name: &str| format!("model.layers.{layer}.{name}.weight");
            weights.extend(in_layer.map(|(module, shape)| (name(module), shape.to_vec())));
        }
        weights.push(("model.norm.weight".into(), vec![h]));
        weights
    }

    /// Floating-point operations of the matrix products of a forward pass; see
    /// [`glm::Config::forward_flops`](crate::model::glm::Config::forward_flops).
    pub fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64 {
        let (h, v, layers) = (self.hidden_size as u64, self.vocab_size as u64, self.num_hidden_layers as u64);
        let d = self.head_dim() as u64;
        let (queries, keys) = (self.num_attention_heads as u64 * d, self.key_value_heads() as u64 * d);
        let tokens: usize = sequences.iter().map(Sequence::len).sum();
        let pairs: u64 = sequences.iter().map(Sequence::visible_pairs).sum();
        let projections = 2 * h * queries + 2 * h * keys + 3 * h * self.intermediate_size as u64;
        2 * (tokens as u64 * projections * layers + 2 * pairs * queries * layers + logit_rows as u64 * h * v)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(changes: Value) -> Result<Config, ConfigError> {
        let mut json = json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "max_position_embeddings": 8192, "hidden_act": "silu", "rope_scaling": null, "tie_word_embeddings": true,
        });
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Config::from_json(json.as_object().unwrap())
    }

    #[test]
    fn smollm2_has_135_million_parameters() {
        let weights = config(json!({})).unwrap().weights();
        let found: usize = weights.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(found, 134_515_008); // as its page on the hub says
    }

    #[test]
    fn rotary_settings_may_be_an_object_of_their_own() {
        let new = config(json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})).unwrap();
        assert_eq!(new, config(json!({"rope_theta": 5e5})).unwrap());
        let message = config(json!({"rope_parameters": {"rope_type": "yarn"}})).unwrap_err().to_string();
        assert!(message.contains("`rope_scaling` is \"yarn\", which is not supported"), "{message}");
    }

    #[test]
    fn what_a_llama_cannot_be_is_named() {
        let message = |changes| config(changes).unwrap_err().to_string();
        assert!(
            message(json!({"num_key_value_heads": 2}))
                .contains("num_attention_heads 9 cannot be divided among num_key_value_heads 2")
        );
        assert!(message(json!({"head_dim": 63})).contains("head_dim is 63; it must be even"));
        assert!(message(json!({"hidden_act": "gelu"})).contains("`hidden_act` is \"gelu\""));
        assert!(message(json!({"hidden_size": 0})).contains("hidden_size is 0"));
        assert!(message(json!({"rope_theta": -1.0})).contains("rope_theta cannot be -1"));
        assert!(message(json!({"attention_bias": true})).contains("`attention_bias` is true"));
    }
}
