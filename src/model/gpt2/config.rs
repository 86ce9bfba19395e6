//! The sizes of a GPT-2, under the field names of the published `config.json` files.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, Settings};
use crate::model::causal::Ends;
use crate::model::config::{ConfigError, check_heads, check_numbers, check_sizes};
use crate::model::{Family, weights};
use crate::nn::Sequence;

/// Sizes and switches of a GPT-2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Rows of the position embedding: the longest text.
    pub n_positions: usize,
    /// Width `h`.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Heads `n`; `h / n` is the head size.
    pub n_head: usize,
    /// Width of the MLP; four times `h` where it is `null`.
    #[serde(default)]
    pub n_inner: Option<usize>,
    /// Added to the variance in every layer norm.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    #[serde(default = "deviation")]
    pub initializer_range: f64,
    /// Dropout after the embeddings, in training.
    #[serde(default = "dropout")]
    pub embd_pdrop: f64,
    /// Dropout of the attention probabilities, in training.
    #[serde(default = "dropout")]
    pub attn_pdrop: f64,
    /// Dropout of each residual branch, in training.
    #[serde(default = "dropout")]
    pub resid_pdrop: f64,
    /// Where texts begin and end.
    #[serde(flatten)]
    pub ends: Ends,
}

fn epsilon() -> f64 {
    1e-5
}

fn deviation() -> f64 {
    0.02
}

fn dropout() -> f64 {
    0.1
}

/// Published sizes: name, layers, width, heads, positions, and the hub's repository. `gpt-tiny` is this project's
/// own, over the built-in vocabulary.
///
/// Source: the `config.json` of each repository.
pub const NAMED: &[(&str, [usize; 4], Option<&str>)] = &[
    ("gpt2", [12, 768, 12, 1024], Some("openai-community/gpt2")),
    ("gpt2-medium", [24, 1024, 16, 1024], Some("openai-community/gpt2-medium")),
    ("gpt2-large", [36, 1280, 20, 1024], Some("openai-community/gpt2-large")),
    ("gpt2-xl", [48, 1600, 25, 1024], Some("openai-community/gpt2-xl")),
    (GPT_TINY, [4, 192, 3, 1024], None),
];

/// This project's own size.
pub const GPT_TINY: &str = "gpt-tiny";

impl Config {
    /// A published size by name; `None` for a name not among them.
    pub fn named(name: &str) -> Option<Self> {
        let (_, [n_layer, n_embd, n_head, n_positions], hub) =
            NAMED.iter().find(|(known, ..)| *known == name)?;
        // GPT-2's own vocabulary has one token for both ends; in the built-in one, rows are `[CLS]` text `[PAD]`.
        let (vocab_size, ends) = match hub {
            Some(_) => {
                (50257, Ends { bos_token_id: Some(50256), eos_token_id: Some(50256), add_bos_token: false })
            }
            None => (8192, Ends { bos_token_id: Some(2), eos_token_id: Some(0), add_bos_token: true }),
        };
        Some(Self {
            vocab_size,
            n_positions: *n_positions,
            n_embd: *n_embd,
            n_layer: *n_layer,
            n_head: *n_head,
            n_inner: None,
            layer_norm_epsilon: epsilon(),
            initializer_range: deviation(),
            embd_pdrop: dropout(),
            attn_pdrop: dropout(),
            resid_pdrop: dropout(),
            ends,
        })
    }

    /// Reads a `config.json`; keys that change nothing here are ignored.
    ///
    /// # Errors
    /// When a size is absent, makes no sense, or a variant is asked for that is not built here.
    pub fn from_json(json: &Settings) -> Result<Self, ConfigError> {
        let only = [
            ("activation_function", "gelu_new", "\"gelu_new\" is"),
            ("scale_attn_weights", "true", "true is"),
            ("scale_attn_by_inverse_layer_idx", "false", "false is"),
            ("add_cross_attention", "false", "false is"),
            ("tie_word_embeddings", "true", "true is"),
        ];
        for (key, expected, supported) in only {
            if let Some(found) = json.get(key).filter(|found| found.to_string().trim_matches('"') != expected)
            {
                return Err(ConfigError::Unsupported { key, found: found.to_string(), supported });
            }
        }
        let parsed = serde_json::from_value(json.clone().into());
        let config: Self = parsed.map_err(|source| ConfigError::Json { family: Family::Gpt2, source })?;
        check_sizes(&[
            ("vocab_size", config.vocab_size, 1 << 24),
            ("n_positions", config.n_positions, 1 << 20),
            ("n_embd", config.n_embd, 1 << 16),
            ("n_layer", config.n_layer, 1 << 10),
            ("n_head", config.n_head, 1 << 16),
            ("n_inner", config.inner(), 1 << 20),
        ])?;
        check_heads(("n_embd", config.n_embd), ("n_head", config.n_head))?;
        check_numbers(
            &[
                ("layer_norm_epsilon", config.layer_norm_epsilon),
                ("initializer_range", config.initializer_range),
            ],
            &[
                ("embd_pdrop", config.embd_pdrop),
                ("attn_pdrop", config.attn_pdrop),
                ("resid_pdrop", config.resid_pdrop),
            ],
        )?;
        config.ends.check(config.vocab_size)?;
        Ok(config)
    }

    /// Width of the MLP.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Names and shapes of all weights, by their published names; the output projection is the token embedding.
    ///
    /// Published files have projections as `[in, out]`; here they are `[out, in]`, as in all other families, and
    /// [`Config::rename`] transposes them.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let (h, inner) = (self.n_embd, self.inner());
        let mut weights = vec![
            ("transformer.wte.weight".to_owned(), vec![self.vocab_size, h]),
            ("transformer.wpe.weight".to_owned(), vec![self.n_positions, h]),
        ];
        // A projection [out, in] has its bias [out]; a layer norm is [h] and [h].
        let in_layer: [(&str, &[usize]); 6] = [
            ("ln_1", &[h]),
            ("attn.c_attn", &[3 * h, h]),
            ("attn.c_proj", &[h, h]),
            ("ln_2", &[h]),
            ("mlp.c_fc", &[inner, h]),
            ("mlp.c_proj", &[h, inner]),
        ];
        let layers =
            (0..self.n_layer).flat_map(|i| in_layer.map(|(name, shape)| (format!("h.{i}.{name}"), shape)));
        for (name, shape) in layers.chain([("ln_f".to_owned(), &[h][..])]) {
            weights.push((format!("transformer.{name}.weight"), shape.to_vec()));
            weights.push((format!("transformer.{name}.bias"), shape[..1].to_vec()));
        }
        weights
    }

    /// The weights of a checkpoint under the names of the model with its head, projections as `[out, in]`. The oldest
    /// published files are of the bare model, whose names lack `transformer.`.
    ///
    /// # Errors
    /// When the output projection is there and is not the token embedding.
    pub fn rename(
        &self,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let is_bare = tensors.contains_key("wte.weight");
        let mut renamed = BTreeMap::new();
        for (name, tensor) in tensors {
            let name = if is_bare && name != "lm_head.weight" { format!("transformer.{name}") } else { name };
            let tensor = match is_projection(&name, &tensor) {
                true => tensor.t().and_then(|tensor| tensor.contiguous()),
                false => Ok(tensor),
            };
            let tensor = tensor.map_err(|source| CheckpointError::Tensor { name: name.clone(), source })?;
            renamed.insert(name, tensor);
        }
        weights::tie(&mut renamed, "transformer.wte.weight", "lm_head.weight")?;
        Ok(renamed)
    }

    /// Floating-point operations of the matrix products of a forward pass; see
    /// [`glm::Config::forward_flops`](crate::model::glm::Config::forward_flops).
    pub fn forward_flops(&self, sequences: &[Sequence], logit_rows: usize) -> u64 {
        let (h, v, layers) = (self.n_embd as u64, self.vocab_size as u64, self.n_layer as u64);
        let tokens: usize = sequences.iter().map(Sequence::len).sum();
        let pairs: u64 = sequences.iter().map(Sequence::visible_pairs).sum();
        let projections = 4 * h * h + 2 * h * self.inner() as u64;
        2 * (tokens as u64 * projections * layers + 2 * pairs * h * layers + logit_rows as u64 * h * v)
    }
}

/// Is it one of the weights that published files have as `[in, out]`?
pub(super) fn is_projection(name: &str, weight: &Tensor) -> bool {
    name.contains(".c_") && weight.rank() == 2
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use serde_json::json;

    use super::*;

    fn config(changes: serde_json::Value) -> Result<Config, ConfigError> {
        let mut json = json!({
            "model_type": "gpt2", "vocab_size": 10, "n_positions": 6, "n_embd": 8, "n_layer": 1, "n_head": 2,
            "activation_function": "gelu_new", "n_inner": null, "eos_token_id": 9,
        });
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Config::from_json(json.as_object().unwrap())
    }

    #[test]
    fn published_sizes_have_the_number_of_parameters_they_are_known_for() {
        // In millions: Radford et al. 2019 print 117, 345, 762 and 1542; the corrected figures are the hub's.
        for (name, millions) in
            [("gpt2", 124.4), ("gpt2-medium", 354.8), ("gpt2-large", 774.0), ("gpt2-xl", 1557.6)]
        {
            let weights = Config::named(name).unwrap().weights();
            let found: usize = weights.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert!((found as f64 / 1e6 - millions).abs() < 0.1, "{name}: {found}");
        }
    }

    #[test]
    fn what_a_gpt2_cannot_be_is_named() {
        let message = |changes| config(changes).unwrap_err().to_string();
        assert!(message(json!({"n_head": 3})).contains("n_embd 8 cannot be divided among n_head 3"));
        assert!(
            message(json!({"activation_function": "relu"})).contains("`activation_function` is \"relu\"")
        );
        assert!(message(json!({"vocab_size": 0})).contains("vocab_size is 0"));
        assert!(message(json!({"tie_word_embeddings": false})).contains("`tie_word_embeddings` is false"));
        assert!(message(json!({"eos_token_id": 10})).contains("eos_token_id is 10, but the last token is 9"));
        assert!(message(json!({"n_embd": "x"})).contains("gpt2"));
        assert_eq!(config(json!({})).unwrap().inner(), 32);
    }

    #[test]
    fn weights_of_the_bare_model_get_their_names_and_projections_are_transposed() {
        let config = config(json!({})).unwrap();
        let published: BTreeMap<String, Tensor> = config
            .weights()
            .into_iter()
            .map(|(name, mut shape)| {
                if name.contains(".c_") {
                    shape.reverse();
                }
                let zeros = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
                (name.trim_start_matches("transformer.").to_owned(), zeros)
            })
            .collect();
        let mut with_head = published.clone();
        with_head.insert("lm_head.weight".into(), published["wte.weight"].clone());
        for tensors in [published.clone(), with_head] {
            let renamed = config.rename(tensors).unwrap();
            crate::checkpoint::check_weights(&config.weights(), &renamed).unwrap();
        }
        let mut other_head = published;
        other_head.insert("lm_head.weight".into(), Tensor::ones((10, 8), DType::F32, &Device::Cpu).unwrap());
        assert!(config.rename(other_head).unwrap_err().to_string().contains("lm_head.weight"));
    }
}
