//! What the BART family says of itself.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::POSITION_OFFSET;
use super::{BartModel, Config};
use crate::checkpoint::CheckpointError;
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes, weights,
};
use crate::nn::Precision;
use crate::tokenizer::Tokenizer;

/// The embedding of both stacks, and the output projection.
const SHARED: &str = "model.shared.weight";
/// What is added to the logits: zeros in all that is published.
const LOGITS_BIAS: &str = "final_logits_bias";

impl Architecture for Config {
    fn family(&self) -> Family {
        Family::Bart
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.encoder_layers + self.decoder_layers,
            hidden_size: self.d_model,
            vocab_size: self.vocab_size,
            max_positions: Some(self.max_position_embeddings),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("a configuration is plain data");
        json["model_type"] = self.family().name().into();
        json
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        let h = self.d_model;
        let mut body = vec![(SHARED.to_owned(), vec![self.vocab_size, h])];
        let stacks = [
            ("encoder", self.encoder_layers, self.encoder_ffn_dim, &["self_attn"][..]),
            ("decoder", self.decoder_layers, self.decoder_ffn_dim, &["self_attn", "encoder_attn"]),
        ];
        for (stack, num_layers, f, attentions) in stacks {
            let at = format!("model.{stack}");
            let rows = self.max_position_embeddings + POSITION_OFFSET;
            body.push((format!("{at}.embed_positions.weight"), vec![rows, h]));
            body.extend(layer(format!("{at}.layernorm_embedding"), vec![h]));
            for index in 0..num_layers {
                let at = format!("{at}.layers.{index}");
                for attention in attentions {
                    for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        body.extend(layer(format!("{at}.{attention}.{projection}"), vec![h, h]));
                    }
                    body.extend(layer(format!("{at}.{attention}_layer_norm"), vec![h]));
                }
                body.extend(layer(format!("{at}.fc1"), vec![f, h]));
                body.extend(layer(format!("{at}.fc2"), vec![h, f]));
                body.extend(layer(format!("{at}.final_layer_norm"), vec![h]));
            }
        }
        body
    }

    fn head(&self, head: Head) -> Vec<Part> {
        let h = self.d_model;
        match head {
            Head::Vocabulary => vec![Part {
                name: "the bias of the logits",
                weights: vec![(LOGITS_BIAS.to_owned(), vec![1, self.vocab_size])],
            }],
            Head::Classes { outputs, .. } => [("dense", h), ("out_proj", outputs)]
                .map(|(name, outputs)| Part {
                    name: if name == "dense" {
                        "the classification head's first layer"
                    } else {
                        "the classifier"
                    },
                    weights: layer(format!("classification_head.{name}"), vec![outputs, h]).to_vec(),
                })
                .to_vec(),
        }
    }

    fn initial(&self, name: &str) -> Initial {
        match name {
            _ if name.ends_with("bias") => Initial::Zeros,
            _ if name.contains("layer_norm") || name.contains("layernorm") => Initial::Ones,
            _ => Initial::Normal(self.init_std),
        }
    }

    /// Checkpoints without a head have no `model.` before their names, and some have no bias of the logits.
    fn rename(&self, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let has_prefix = tensors.keys().any(|name| name.starts_with("model."));
        let is_body =
            |name: &str| ["shared.", "encoder.", "decoder."].iter().any(|start| name.starts_with(start));
        let renamed = |(name, tensor): (String, Tensor)| match !has_prefix && is_body(&name) {
            true => (format!("model.{name}"), tensor),
            false => (name, tensor),
        };
        let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().map(renamed).collect();
        for copy in
            ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"]
        {
            weights::tie(&mut tensors, SHARED, copy)?;
        }
        if !tensors.contains_key(LOGITS_BIAS) {
            let zeros = Tensor::zeros((1, self.vocab_size), DType::F32, &Device::Cpu);
            let failed = |source| CheckpointError::Tensor { name: LOGITS_BIAS.to_owned(), source };
            tensors.insert(LOGITS_BIAS.to_owned(), zeros.map_err(failed)?);
        }
        Ok(tensors)
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        let dropout = build.dropout;
        let config = Self {
            dropout,
            attention_dropout: dropout,
            activation_dropout: dropout,
            classifier_dropout: dropout,
            ..self.clone()
        };
        let head_outputs = match build.head {
            Head::Vocabulary => None,
            Head::Classes { outputs, .. } => Some(outputs),
        };
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Box::new(BartModel::new(&config, parameters, tokenizer, head_outputs, precision)?))
    }
}

/// Weight and bias of a layer.
fn layer(name: String, shape: Vec<usize>) -> [(String, Vec<usize>); 2] {
    let outputs = shape[0];
    [(format!("{name}.weight"), shape), (format!("{name}.bias"), vec![outputs])]
}

/// The published sizes.
pub fn published() -> impl Iterator<Item = Known> {
    let repository = |name: &str| match name {
        "bart-base" => Some("facebook/bart-base"),
        "bart-large" => Some("facebook/bart-large"),
        _ => None,
    };
    Config::named().map(move |(name, config)| Known {
        name,
        architecture: Box::new(config),
        hub: repository(name).map(|repository| (repository, None)),
    })
}
