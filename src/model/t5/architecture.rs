//! What the T5 family says of itself.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::config::{FeedForwardProj, LM_HEAD, SHARED};
use super::{Config, T5Model};
use crate::checkpoint::CheckpointError;
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes, weights,
};
use crate::nn::Precision;
use crate::tokenizer::Tokenizer;

impl Architecture for Config {
    fn family(&self) -> Family {
        Family::T5
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.num_layers + self.num_decoder_layers,
            hidden_size: self.d_model,
            vocab_size: self.vocab_size,
            max_positions: None,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("a configuration is plain data");
        json["model_type"] = self.family().name().into();
        json
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        let (h, inner, f) = (self.d_model, self.num_heads * self.d_kv, self.d_ff);
        let mut body = vec![(SHARED.to_owned(), vec![self.vocab_size, h])];
        for (stack, num_layers) in [("encoder", self.num_layers), ("decoder", self.num_decoder_layers)] {
            for block in 0..num_layers {
                let mut layer = 0;
                let attentions: &[&str] = match stack {
                    "encoder" => &["SelfAttention"],
                    _ => &["SelfAttention", "EncDecAttention"],
                };
                for attention in attentions {
                    let at = format!("{stack}.block.{block}.layer.{layer}");
                    let projection = |name: &str| (format!("{at}.{attention}.{name}.weight"), vec![inner, h]);
                    body.extend(["q", "k", "v"].map(projection));
                    body.push((format!("{at}.{attention}.o.weight"), vec![h, inner]));
                    if (block, layer) == (0, 0) {
                        let table = format!("{at}.{attention}.relative_attention_bias.weight");
                        body.push((table, vec![self.relative_attention_num_buckets, self.num_heads]));
                    }
                    body.push((format!("{at}.layer_norm.weight"), vec![h]));
                    layer += 1;
                }
                let at = format!("{stack}.block.{block}.layer.{layer}");
                let inner: &[&str] = match self.feed_forward_proj {
                    FeedForwardProj::Relu => &["wi"],
                    FeedForwardProj::GatedGelu => &["wi_0", "wi_1"],
                };
                let wi = |name: &&str| (format!("{at}.DenseReluDense.{name}.weight"), vec![f, h]);
                body.extend(inner.iter().map(wi));
                body.push((format!("{at}.DenseReluDense.wo.weight"), vec![h, f]));
                body.push((format!("{at}.layer_norm.weight"), vec![h]));
            }
            body.push((format!("{stack}.final_layer_norm.weight"), vec![h]));
        }
        if self.has_lm_head() {
            body.push((LM_HEAD.to_owned(), vec![self.vocab_size, h]));
        }
        body
    }

    fn head(&self, _head: Head) -> Vec<Part> {
        vec![] // T5 answers in words, with what it was pre-trained with
    }

    /// Normal weights whose deviations keep scores and sums near 1, since nothing else divides them.
    ///
    /// Source: huggingface/transformers `modeling_t5.py`, `_init_weights`, after mesh-tensorflow.
    fn initial(&self, name: &str) -> Initial {
        let (h, d) = (self.d_model as f64, self.d_kv as f64);
        let variance = match name {
            _ if name.ends_with("layer_norm.weight") => return Initial::Ones,
            SHARED | LM_HEAD => 1.0,
            _ if name.ends_with(".q.weight") => 1.0 / (h * d),
            _ if name.ends_with(".o.weight") => 1.0 / (self.num_heads as f64 * d),
            _ if name.ends_with(".wo.weight") => 1.0 / self.d_ff as f64,
            _ => 1.0 / h,
        };
        Initial::Normal(self.initializer_factor * variance.sqrt())
    }

    fn rename(
        &self,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        for copy in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
            weights::tie(&mut tensors, SHARED, copy)?;
        }
        if !self.has_lm_head() {
            weights::tie(&mut tensors, SHARED, LM_HEAD)?;
        }
        Ok(tensors)
    }

    /// The first published checkpoints have a table of relative positions for cross attention, which nothing reads.
    fn is_unneeded(&self, name: &str) -> bool {
        name == "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        let config = Self { dropout_rate: build.dropout, ..self.clone() };
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Box::new(T5Model::new(&config, parameters, tokenizer, precision)?))
    }
}

/// The published sizes, and this project's own.
pub fn published() -> impl Iterator<Item = Known> {
    let repository = |name: &str| match name {
        "t5-small" => Some("google-t5/t5-small"),
        "t5-base" => Some("google-t5/t5-base"),
        "t5-large" => Some("google-t5/t5-large"),
        "t5-3b" => Some("google-t5/t5-3b"),
        "t5-v1_1-small" => Some("google/t5-v1_1-small"),
        "t5-v1_1-base" => Some("google/t5-v1_1-base"),
        "t5-v1_1-large" => Some("google/t5-v1_1-large"),
        "flan-t5-small" => Some("google/flan-t5-small"),
        "flan-t5-base" => Some("google/flan-t5-base"),
        "flan-t5-large" => Some("google/flan-t5-large"),
        _ => None,
    };
    Config::named().map(move |(name, config)| Known {
        name,
        architecture: Box::new(config),
        hub: repository(name).map(|repository| (repository, None)),
    })
}
