//! What the GPT-2 family says of itself.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::config::{self, NAMED};
use super::{Config, Gpt2};
use crate::checkpoint::CheckpointError;
use crate::model::causal::{self, CausalModel};
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes,
};
use crate::nn::Precision;
use crate::tokenizer::Tokenizer;

impl Architecture for Config {
    fn family(&self) -> Family {
        Family::Gpt2
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.n_layer,
            hidden_size: self.n_embd,
            vocab_size: self.vocab_size,
            max_positions: Some(self.n_positions),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        causal::with_model_type(Family::Gpt2, self)
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        self.weights()
    }

    fn head(&self, _: Head) -> Vec<Part> {
        Vec::new() // the token embedding is the output projection, and there is no other head
    }

    /// Normal weights, those that end a residual branch scaled down with the depth.
    ///
    /// Source: transformers 5.23 `models/gpt2/modeling_gpt2.py`, `GPT2PreTrainedModel._init_weights`.
    fn initial(&self, name: &str) -> Initial {
        match name {
            _ if name.rsplit('.').next() == Some("bias") => Initial::Zeros,
            _ if name.contains(".ln_") => Initial::Ones,
            _ if name.ends_with("c_proj.weight") => {
                Initial::Normal(self.initializer_range / (2.0 * self.n_layer as f64).sqrt())
            }
            _ => Initial::Normal(self.initializer_range),
        }
    }

    fn rename(&self, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        Config::rename(self, tensors)
    }

    fn published(&self, name: &str, weight: &Tensor) -> candle_core::Result<Tensor> {
        match config::is_projection(name, weight) {
            true => weight.t()?.contiguous(), // [in, out]
            false => Ok(weight.clone()),
        }
    }

    /// Old files keep the causal mask with the weights.
    fn is_unneeded(&self, name: &str) -> bool {
        name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        causal::check_head(Family::Gpt2, build.head)?;
        let dropout = build.dropout;
        let config = Self { embd_pdrop: dropout, attn_pdrop: dropout, resid_pdrop: dropout, ..self.clone() };
        let precision = Precision::of(build.dtype, &build.device).1;
        let network = Gpt2::new(&config, precision, parameters.var_builder())?;
        let ends = self.ends.resolve(&tokenizer, Family::Gpt2)?;
        Ok(Box::new(CausalModel::new(network, ends, parameters, tokenizer)))
    }
}

/// The published sizes, and this project's own.
pub fn published() -> impl Iterator<Item = Known> {
    NAMED.iter().map(|(name, _, hub)| Known {
        name,
        architecture: Box::new(Config::named(name).expect("a listed name")),
        hub: hub.map(|repository| (repository, None)),
    })
}
