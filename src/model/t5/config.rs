//! Sizes of a T5, as its `config.json` has them.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Settings;
use crate::model::Family;
use crate::model::config::{ConfigError, check_ids, check_numbers, check_sizes};
use crate::nn::Buckets;

/// Sizes and settings, under their published names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Width `h`.
    pub d_model: usize,
    /// Head size `d`; the heads together may be narrower or wider than `h`.
    pub d_kv: usize,
    /// Width of the feed-forward layers.
    pub d_ff: usize,
    /// Layers of the encoder.
    pub num_layers: usize,
    /// Layers of the decoder; as many as the encoder's where the file does not say.
    #[serde(default)]
    pub num_decoder_layers: usize,
    /// Heads `n`.
    pub num_heads: usize,
    /// Rows of the table of relative positions.
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    /// From this distance on all share a bucket.
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    /// Dropout in training.
    #[serde(default = "dropout")]
    pub dropout_rate: f64,
    /// Added to the mean square in a norm.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// By which initial deviations are multiplied.
    #[serde(default = "one")]
    pub initializer_factor: f64,
    /// The feed-forward layers' form.
    #[serde(default)]
    pub feed_forward_proj: FeedForwardProj,
    /// Is the embedding also the output projection?
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Are the decoder's outputs divided by `√h`? Where the file does not say, a tied head is fed so.
    #[serde(default)]
    pub scale_decoder_outputs: bool,
    /// The token that pads, in the published code, and the one that the decoder begins with.
    #[serde(default)]
    pub pad_token_id: u32,
    /// The token that ends a text.
    #[serde(default = "end")]
    pub eos_token_id: u32,
    /// The token that the decoder begins with.
    #[serde(default)]
    pub decoder_start_token_id: u32,
}

/// The feed-forward layers' form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForwardProj {
    /// T5 v1.0.
    #[default]
    Relu,
    /// T5 v1.1 and Flan-T5: the GELU's tanh form, times a second projection.
    GatedGelu,
}

fn buckets() -> usize {
    32
}

fn max_distance() -> usize {
    128
}

fn dropout() -> f64 {
    0.1
}

fn epsilon() -> f64 {
    1e-6
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn end() -> u32 {
    1
}

/// Published sizes: name, layers of encoder and decoder each, width, head size, feed-forward width, heads.
///
/// Source: Raffel et al. 2020, section 3.7; the `config.json` of each repository.
const V1_0: &[(&str, [usize; 5])] = &[
    ("t5-small", [6, 512, 64, 2048, 8]),
    ("t5-base", [12, 768, 64, 3072, 12]),
    ("t5-large", [24, 1024, 64, 4096, 16]),
    ("t5-3b", [24, 1024, 128, 16384, 32]),
];
const V1_1: &[(&str, [usize; 5])] = &[
    ("t5-v1_1-small", [8, 512, 64, 1024, 6]),
    ("t5-v1_1-base", [12, 768, 64, 2048, 12]),
    ("t5-v1_1-large", [24, 1024, 64, 2816, 16]),
    ("flan-t5-small", [8, 512, 64, 1024, 6]),
    ("flan-t5-base", [12, 768, 64, 2048, 12]),
    ("flan-t5-large", [24, 1024, 64, 2816, 16]),
];
/// As many weights as `glm-tiny` has, within half a per cent, with three layers in the encoder and two in the decoder.
const TINY: [usize; 5] = [3, 192, 64, 576, 3];

impl Config {
    fn of(
        [num_layers, d_model, d_kv, d_ff, num_heads]: [usize; 5],
        vocab_size: usize,
        is_v1_1: bool,
    ) -> Self {
        Self {
            vocab_size,
            d_model,
            d_kv,
            d_ff,
            num_layers,
            num_decoder_layers: num_layers,
            num_heads,
            relative_attention_num_buckets: buckets(),
            relative_attention_max_distance: max_distance(),
            dropout_rate: dropout(),
            layer_norm_epsilon: epsilon(),
            initializer_factor: one(),
            feed_forward_proj: if is_v1_1 { FeedForwardProj::GatedGelu } else { FeedForwardProj::Relu },
            tie_word_embeddings: !is_v1_1,
            scale_decoder_outputs: !is_v1_1,
            pad_token_id: 0,
            eos_token_id: end(),
            decoder_start_token_id: 0,
        }
    }

    /// The published sizes by name, and this project's own (`t5-tiny`, first).
    pub fn named() -> impl Iterator<Item = (&'static str, Self)> {
        let sizes =
            |is_v1_1| move |&(name, sizes): &(&'static str, _)| (name, Self::of(sizes, 32128, is_v1_1));
        let published = V1_0.iter().map(sizes(false)).chain(V1_1.iter().map(sizes(true)));
        std::iter::once(("t5-tiny", Self::tiny())).chain(published)
    }

    /// With the vocabulary of `glm-tiny`, whose `[SEP]` ends a text: 8,192 tokens, and rows for the sentinels that stand
    /// for spans in pre-training.
    fn tiny() -> Self {
        Self { num_decoder_layers: 2, eos_token_id: 3, ..Self::of(TINY, 8192 + 128, false) }
    }

    /// Is there an output projection besides the embedding?
    pub fn has_lm_head(&self) -> bool {
        !self.tie_word_embeddings
    }

    /// Reads a `config.json` beside these weights. Whether the head is tied, the weights have the last word: newer
    /// versions of the published code write `tie_word_embeddings: true` for every T5, and leave out a head that is tied.
    ///
    /// # Errors
    /// When a size is absent or makes no sense, a variant is not supported, or a tied head has weights of its own.
    pub fn resolve(json: &Settings, tensors: &BTreeMap<String, Tensor>) -> Result<Self, ConfigError> {
        let mut config = Self::from_json(json)?;
        let says_scaled = json.contains_key("scale_decoder_outputs");
        if let (true, true, Some(head), Some(shared)) =
            (config.tie_word_embeddings, says_scaled, tensors.get(LM_HEAD), tensors.get(SHARED))
        {
            config.tie_word_embeddings = is_same(head, shared);
        }
        Ok(config)
    }

    /// Reads a `config.json`; keys that are not about the network are ignored.
    fn from_json(json: &Settings) -> Result<Self, ConfigError> {
        let mut json = json.clone();
        let is =
            |key: &str, expected: bool| json.get(key).is_none_or(|found| found.as_bool() == Some(expected));
        if !is("is_encoder_decoder", true) {
            return Err(unsupported(
                "is_encoder_decoder",
                &json,
                "a T5 without its decoder answers no question",
            ));
        }
        let forms = "known are `relu` (v1.0) and `gated-gelu` (v1.1)";
        let form = json.get("feed_forward_proj").and_then(serde_json::Value::as_str).unwrap_or("relu");
        let (is_gated, activation) = match form {
            "relu" => (false, "relu"),
            "gated-gelu" => (true, "gelu_new"),
            _ => return Err(unsupported("feed_forward_proj", &json, forms)),
        };
        if !is("is_gated_act", is_gated) {
            return Err(unsupported("is_gated_act", &json, "it contradicts `feed_forward_proj`"));
        }
        if json.get("dense_act_fn").is_some_and(|found| found.as_str() != Some(activation)) {
            return Err(unsupported("dense_act_fn", &json, forms));
        }
        let tied = json.get("tie_word_embeddings").and_then(serde_json::Value::as_bool).unwrap_or(true);
        json.retain(|_, value| !value.is_null());
        json.entry("scale_decoder_outputs").or_insert(tied.into());
        let encoder_layers = json.get("num_layers").cloned().unwrap_or_default();
        json.entry("num_decoder_layers").or_insert(encoder_layers);
        let config: Self = serde_json::from_value(json.into())
            .map_err(|source| ConfigError::Json { family: Family::T5, source })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, 10_000_000),
            ("d_model", self.d_model, 100_000),
            ("d_kv", self.d_kv, 10_000),
            ("d_ff", self.d_ff, 1_000_000),
            ("num_layers", self.num_layers, 1000),
            ("num_decoder_layers", self.num_decoder_layers, 1000),
            ("num_heads", self.num_heads, 10_000),
            ("relative_attention_num_buckets", self.relative_attention_num_buckets, 1_000_000),
            ("relative_attention_max_distance", self.relative_attention_max_distance, 10_000_000),
        ])?;
        let (num, max_distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        for bidirectional in [true, false] {
            let buckets = Buckets { num, max_distance, bidirectional };
            buckets.check().map_err(|error| ConfigError::Invalid(error.to_string()))?;
        }
        let positive = [
            ("layer_norm_epsilon", self.layer_norm_epsilon),
            ("initializer_factor", self.initializer_factor),
        ];
        check_numbers(&positive, &[("dropout_rate", self.dropout_rate)])?;
        let ids = [
            ("pad_token_id", self.pad_token_id),
            ("eos_token_id", self.eos_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ];
        check_ids(&ids, self.vocab_size)
    }
}

/// The embedding of both stacks.
pub(super) const SHARED: &str = "shared.weight";
/// The output projection, where it is not tied.
pub(super) const LM_HEAD: &str = "lm_head.weight";

fn unsupported(key: &'static str, json: &Settings, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported { key, found: json.get(key).cloned().unwrap_or_default().to_string(), supported }
}

/// Do two tensors hold the same values? Not when they can't be compared.
fn is_same(a: &Tensor, b: &Tensor) -> bool {
    let same = || -> candle_core::Result<bool> {
        Ok(a.dims() == b.dims()
            && a.ne(b)?.to_dtype(candle_core::DType::F32)?.sum_all()?.to_scalar::<f32>()? == 0.0)
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> Settings {
        let config = serde_json::to_value(Config::named().next().expect("t5-tiny").1).expect("plain data");
        config.as_object().expect("an object").clone()
    }

    fn with(key: &str, value: serde_json::Value) -> Result<Config, ConfigError> {
        let mut settings = settings();
        settings.insert(key.into(), value);
        Config::resolve(&settings, &BTreeMap::new())
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (name, config) in Config::named() {
            let json = serde_json::to_value(&config).expect("plain data");
            let read = Config::resolve(json.as_object().expect("an object"), &BTreeMap::new()).expect(name);
            assert_eq!(read, config, "{name}");
        }
    }

    #[test]
    fn an_old_file_leaves_out_what_was_not_a_setting_yet() {
        let old = json!({"model_type": "t5", "vocab_size": 100, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 3,
            "num_heads": 2, "n_positions": 512, "relative_attention_num_buckets": 32});
        let config = Config::resolve(old.as_object().expect("an object"), &BTreeMap::new()).expect("v1.0");
        assert_eq!((config.num_decoder_layers, config.feed_forward_proj), (3, FeedForwardProj::Relu));
        assert!(config.scale_decoder_outputs && !config.has_lm_head());
        let mut untied = old.as_object().expect("an object").clone();
        untied.insert("tie_word_embeddings".into(), false.into());
        let config = Config::resolve(&untied, &BTreeMap::new()).expect("v1.1");
        assert!(!config.scale_decoder_outputs && config.has_lm_head());
    }

    #[test]
    fn a_head_of_its_own_is_found_where_the_file_says_tied() {
        let tensors = |head: f32| {
            let full = |value: f32| Tensor::full(value, (2, 2), &candle_core::Device::Cpu).expect("a tensor");
            BTreeMap::from([(SHARED.to_owned(), full(1.0)), (LM_HEAD.to_owned(), full(head))])
        };
        let config = |head: f32| Config::resolve(&settings(), &tensors(head)).expect("both are forms of T5");
        assert!(!config(1.0).has_lm_head() && config(2.0).has_lm_head());
    }

    #[test]
    fn variants_and_sizes_that_are_not_a_t5s_are_refused() {
        let message = |key, value| with(key, value).expect_err("it is refused").to_string();
        assert!(message("feed_forward_proj", json!("gated-silu")).contains("known are `relu`"));
        assert!(message("dense_act_fn", json!("silu")).contains("\"silu\""));
        assert!(message("is_gated_act", json!(true)).contains("contradicts"));
        assert!(message("is_encoder_decoder", json!(false)).contains("without its decoder"));
        assert!(message("num_heads", json!(0)).contains("num_heads is 0"));
        assert!(message("num_heads", json!("four")).contains("config.json is not that of a t5 model"));
        assert!(message("relative_attention_max_distance", json!(8)).contains("buckets do not fit"));
        assert!(message("eos_token_id", json!(9000)).contains("eos_token_id is 9000"));
    }
}
