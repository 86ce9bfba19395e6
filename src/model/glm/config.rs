//! The sizes of a GLM, under the field names of the published `config.json` files.
//!
//! A configuration comes from a `config.json`, from the shapes of the weights, from both (then they must agree),
//! or from the list of published sizes.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::Family;
use crate::model::config::{ConfigError, check_heads, check_numbers, check_sizes};

/// Sizes and switches of a GLM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Transformer layers.
    pub num_layers: usize,
    /// Rows of the token embedding, padding rows included.
    pub vocab_size: usize,
    /// Width `h`.
    pub hidden_size: usize,
    /// Heads `n`; `h / n` is the head size.
    pub num_attention_heads: usize,
    /// Longest sequence of the positional table (see [`Config::position_table_rows`]).
    pub max_sequence_length: usize,
    /// 2D positions, or one position a token?
    pub block_position_encoding: bool,
    /// Added to the variance in every layer norm.
    #[serde(default = "default_layernorm_epsilon")]
    pub layernorm_epsilon: f64,
    /// Standard deviation of the initial weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Dropout after the embeddings, in training.
    #[serde(default = "default_dropout")]
    pub embedding_dropout_prob: f64,
    /// Dropout of the attention probabilities, in training.
    #[serde(default = "default_dropout")]
    pub attention_dropout_prob: f64,
    /// Dropout of each residual branch, in training.
    #[serde(default = "default_dropout")]
    pub output_dropout_prob: f64,
}

fn default_layernorm_epsilon() -> f64 {
    1e-5
}

fn default_initializer_range() -> f64 {
    0.02
}

fn default_dropout() -> f64 {
    0.1
}

/// Published sizes: name, layers, vocabulary, width, heads, positions. The vocabularies are BERT's and GPT-2's
/// with GLM's own tokens, padded to a multiple of 128.
///
/// Source: THUDM/GLM@4f61ed7 `config_tasks/model_blocklm_*.sh`. `glm-tiny` is this project's own.
const NAMED: &[(&str, [usize; 5])] = &[
    ("glm-base", [12, 30592, 768, 12, 512]),
    ("glm-large", [24, 30592, 1024, 16, 512]),
    ("glm-410m", [30, 30592, 1024, 16, 512]),
    ("glm-515m", [30, 30592, 1152, 18, 512]),
    ("glm-roberta-large", [24, 50304, 1024, 16, 512]),
    ("glm-2b", [36, 50304, 2048, 32, 1024]),
    ("glm-10b", [48, 50304, 4096, 64, 1024]),
    ("glm-tiny", [4, 8192, 192, 3, 1024]),
];

/// Head size of all published models.
const HEAD_SIZE: usize = 64;

impl Config {
    /// A published size by name; `None` for a name not among [`Config::names`].
    pub fn named(name: &str) -> Option<Self> {
        let (_, sizes) = NAMED.iter().find(|(known, _)| *known == name)?;
        let [num_layers, vocab_size, hidden_size, num_attention_heads, max_sequence_length] = *sizes;
        Some(Self {
            num_layers,
            vocab_size,
            hidden_size,
            num_attention_heads,
            max_sequence_length,
            block_position_encoding: true,
            layernorm_epsilon: default_layernorm_epsilon(),
            initializer_range: default_initializer_range(),
            embedding_dropout_prob: default_dropout(),
            attention_dropout_prob: default_dropout(),
            output_dropout_prob: default_dropout(),
        })
    }

    /// The names that [`Config::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Reads a `config.json`; keys that are not about sizes are ignored.
    ///
    /// # Errors
    /// When a size is absent, makes no sense, or belongs to a variant that is not supported.
    pub fn from_json(json: &serde_json::Map<String, serde_json::Value>) -> Result<Self, ConfigError> {
        if json.get("relative_encoding").and_then(serde_json::Value::as_bool) == Some(true) {
            let supported = "no published GLM checkpoint sets it";
            return Err(ConfigError::Unsupported {
                key: "relative_encoding",
                found: "true".into(),
                supported,
            });
        }
        let mut json = json.clone();
        // The published class has block positions unless told otherwise.
        json.entry("block_position_encoding").or_insert(true.into());
        let config: Self = serde_json::from_value(json.into())
            .map_err(|source| ConfigError::Json { family: Family::Glm, source })?;
        config.check()?;
        Ok(config)
    }

    /// Sizes as the shapes of the weights tell them. The number of heads leaves no trace in a weight: without
    /// `num_attention_heads`, heads of 64 are assumed, as in all published models.
    pub fn infer(
        tensors: &BTreeMap<String, Tensor>,
        num_attention_heads: Option<usize>,
    ) -> Result<Self, ConfigError> {
        let table = |name: &str| match tensors.get(name).map(Tensor::dims) {
            Some(&[rows, width]) => Ok((rows, width)),
            Some(dims) => {
                Err(ConfigError::NotGlm(format!("`{name}` has the shape {dims:?}, not rows by columns")))
            }
            None => Err(ConfigError::NotGlm(format!("`{name}` is not there"))),
        };
        let (vocab_size, hidden_size) = table("word_embeddings.weight")?;
        let (position_rows, _) = table("transformer.position_embeddings.weight")?;
        let block_position_encoding = tensors.contains_key("transformer.block_position_embeddings.weight");
        let heads = num_attention_heads.or((hidden_size % HEAD_SIZE == 0).then_some(hidden_size / HEAD_SIZE));
        let config = Self {
            num_layers: tensors.keys().filter_map(|name| layer_of(name)).max().map_or(0, |last| last + 1),
            vocab_size,
            hidden_size,
            num_attention_heads: heads.ok_or(ConfigError::UnknownHeads { hidden_size })?,
            max_sequence_length: position_rows.saturating_sub(usize::from(block_position_encoding)),
            block_position_encoding,
            ..Self::named("glm-base").expect("a listed name")
        };
        config.check()?;
        Ok(config)
    }

    /// The configuration of a checkpoint: its `config.json`, held against its weights, or without one what the
    /// weights tell.
    ///
    /// # Errors
    /// When they contradict each other; the message gives both sides of every difference.
    pub fn resolve(
        json: Option<&serde_json::Map<String, serde_json::Value>>,
        tensors: &BTreeMap<String, Tensor>,
        num_attention_heads: Option<usize>,
    ) -> Result<Self, ConfigError> {
        let Some(json) = json else { return Self::infer(tensors, num_attention_heads) };
        let config = Self::from_json(json)?;
        if let Some(heads) = num_attention_heads.filter(|&heads| heads != config.num_attention_heads) {
            let found = format!("num_attention_heads is {} there, {heads} here", config.num_attention_heads);
            return Err(ConfigError::Contradiction {
                against: "`--num-attention-heads`",
                differences: vec![found],
            });
        }
        let inferred = Self::infer(tensors, Some(config.num_attention_heads))?;
        let differences = config.differences(&inferred);
        if differences.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Contradiction { against: "the weights", differences })
        }
    }

    /// Sizes of `self` that `other` has different.
    fn differences(&self, other: &Self) -> Vec<String> {
        let sizes = |c: &Self| {
            [
                ("num_layers", c.num_layers),
                ("vocab_size", c.vocab_size),
                ("hidden_size", c.hidden_size),
                ("max_sequence_length", c.max_sequence_length),
                ("block_position_encoding", usize::from(c.block_position_encoding)),
            ]
        };
        let pairs = sizes(self).into_iter().zip(sizes(other)).filter(|(a, b)| a != b);
        pairs.map(|((name, a), (_, b))| format!("{name} is {a} there, {b} here")).collect()
    }

    /// Can a model have these sizes?
    pub fn check(&self) -> Result<(), ConfigError> {
        check_sizes(&[
            ("num_layers", self.num_layers, 1 << 10),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("max_sequence_length", self.max_sequence_length, 1 << 20),
        ])?;
        check_heads(("hidden_size", self.hidden_size), ("num_attention_heads", self.num_attention_heads))?;
        check_numbers(
            &[("layernorm_epsilon", self.layernorm_epsilon), ("initializer_range", self.initializer_range)],
            &[
                ("embedding_dropout_prob", self.embedding_dropout_prob),
                ("attention_dropout_prob", self.attention_dropout_prob),
                ("output_dropout_prob", self.output_dropout_prob),
            ],
        )
    }

    /// Rows of each position table: one more than the longest sequence with block positions.
    ///
    /// Source: THUDM/GLM@4f61ed7 `model/modeling_glm.py`, `mpu/transformer.py`.
    pub fn position_table_rows(&self) -> usize {
        self.max_sequence_length + usize::from(self.block_position_encoding)
    }

    /// Names and shapes of all weights, by their official names; the output projection is the token embedding.
    ///
    /// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (h, positions) = (self.hidden_size, self.position_table_rows());
        let mut parameters = vec![("word_embeddings.weight".to_owned(), vec![self.vocab_size, h])];
        let mut add = |name: String, shape: &[usize]| parameters.push((name, shape.to_vec()));
        add("transformer.position_embeddings.weight".into(), &[positions, h]);
        if self.block_position_encoding {
            add("transformer.block_position_embeddings.weight".into(), &[positions, h]);
        }
        // A projection [out, in] has its bias [out]; a layer norm is [h] and [h].
        let in_layer: [(&str, &[usize]); 6] = [
            ("input_layernorm", &[h]),
            ("attention.query_key_value", &[3 * h, h]),
            ("attention.dense", &[h, h]),
            ("post_attention_layernorm", &[h]),
            ("mlp.dense_h_to_4h", &[4 * h, h]),
            ("mlp.dense_4h_to_h", &[h, 4 * h]),
        ];
        for layer in 0..self.num_layers {
            for (name, shape) in in_layer {
                add(format!("transformer.layers.{layer}.{name}.weight"), shape);
                add(format!("transformer.layers.{layer}.{name}.bias"), &shape[..1]);
            }
        }
        add("transformer.final_layernorm.weight".into(), &[h]);
        add("transformer.final_layernorm.bias".into(), &[h]);
        parameters
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// The 7 of `transformer.layers.7.…`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("transformer.layers.")?.split_once('.')?.0.parse().ok().filter(|&layer| layer < 1 << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn json(text: &str) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(text).unwrap()
    }

    /// A model small enough to be made in a test.
    fn small() -> Config {
        let sizes = r#"{"num_layers": 2, "vocab_size": 10, "hidden_size": 64, "num_attention_heads": 4,
                        "max_sequence_length": 6, "relative_encoding": false, "tied_lm_head": true}"#;
        Config::from_json(&json(sizes)).unwrap()
    }

    fn weights(config: &Config) -> BTreeMap<String, Tensor> {
        let zeros = |shape: Vec<usize>| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        config.parameters().into_iter().map(|(name, shape)| (name, zeros(shape))).collect()
    }

    #[test]
    fn published_sizes_have_the_number_of_parameters_their_names_say() {
        // In millions, as the official repository's table rounds them.
        for (name, millions, rounding) in [
            ("glm-base", 110.0, 5.0),
            ("glm-large", 335.0, 0.5),
            ("glm-410m", 410.0, 0.5),
            ("glm-515m", 515.0, 0.5),
            ("glm-2b", 2_000.0, 100.0),
            ("glm-10b", 10_000.0, 500.0),
        ] {
            let config = Config::named(name).unwrap();
            let found = config.num_parameters() as f64 / 1e6;
            assert!((found - millions).abs() < rounding, "{name}: {found} M");
        }
    }

    #[test]
    fn the_parameters_of_a_layer_are_twelve_widths_squared_and_thirteen_widths() {
        // 3 + 1 + 4 + 4 squares; biases 3 + 1 + 4 + 1, layer norms 2 + 2.
        let [one, two] = [1, 2].map(|num_layers| Config { num_layers, ..small() }.num_parameters());
        assert_eq!(two - one, 12 * 64 * 64 + 13 * 64);
    }

    #[test]
    fn all_published_sizes_are_valid_and_have_heads_of_64() {
        for config in Config::names().filter_map(Config::named) {
            config.check().unwrap();
            assert_eq!(config.hidden_size, config.num_attention_heads * HEAD_SIZE);
        }
        assert!(Config::named("glm-enormous").is_none());
    }

    #[test]
    fn weights_tell_all_sizes_but_the_heads() {
        for block_position_encoding in [true, false] {
            let config = Config { block_position_encoding, ..small() };
            let weights = weights(&config);
            assert_eq!(Config::infer(&weights, Some(4)).unwrap(), config);
            assert_eq!(Config::infer(&weights, None).unwrap().num_attention_heads, 1);
        }
    }

    #[test]
    fn a_width_without_heads_of_64_asks_for_the_number_of_heads() {
        let odd = weights(&Config { hidden_size: 48, ..small() });
        let message = Config::infer(&odd, None).unwrap_err().to_string();
        assert!(message.contains("48") && message.contains("--num-attention-heads"), "{message}");
        assert_eq!(Config::infer(&odd, Some(4)).unwrap().hidden_size, 48);
    }

    #[test]
    fn a_configuration_that_contradicts_the_weights_is_named_with_both_sides() {
        let weights = weights(&small());
        let sizes = r#"{"num_layers": 3, "vocab_size": 10, "hidden_size": 64, "num_attention_heads": 4,
                        "max_sequence_length": 7, "block_position_encoding": true}"#;
        let message = Config::resolve(Some(&json(sizes)), &weights, None).unwrap_err().to_string();
        assert!(message.contains("num_layers is 3 there, 2 here"), "{message}");
        assert!(message.contains("max_sequence_length is 7 there, 6 here"), "{message}");
    }

    #[test]
    fn senseless_sizes_are_refused() {
        for broken in [
            Config { num_layers: 0, ..small() },
            Config { hidden_size: usize::MAX, ..small() },
            Config { num_attention_heads: 5, ..small() },
            Config { num_attention_heads: 0, ..small() },
            Config { layernorm_epsilon: f64::NAN, ..small() },
            Config { output_dropout_prob: 1.0, ..small() },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }

    #[test]
    fn the_published_configuration_is_read_and_other_models_are_not() {
        let published = r#"{"architectures": ["GLMModel"], "model_type": "glm", "num_layers": 24,
            "vocab_size": 30592, "hidden_size": 1024, "num_attention_heads": 16, "max_sequence_length": 512,
            "embedding_dropout_prob": 0.1, "attention_dropout_prob": 0.1, "output_dropout_prob": 0.1,
            "checkpoint_activations": false, "checkpoint_num_layers": 1, "parallel_output": true,
            "relative_encoding": false, "block_position_encoding": true, "output_predict": false,
            "spell_length": null, "spell_func": "lstm", "attention_scale": 1.0, "initializer_range": 0.02,
            "pool_token": "cls", "max_memory_length": 0, "bf16": true}"#;
        assert_eq!(Some(Config::from_json(&json(published)).unwrap()), Config::named("glm-large"));
        assert!(Config::from_json(&json(r#"{"model_type": "bert", "hidden_size": 768}"#)).is_err());
        let relative = r#"{"relative_encoding": true}"#;
        assert!(matches!(Config::from_json(&json(relative)), Err(ConfigError::Unsupported { .. })));
    }
}
