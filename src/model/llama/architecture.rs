//! What the Llama family says of itself.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Config, Llama};
use crate::checkpoint::CheckpointError;
use crate::model::causal::{self, CausalModel};
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes, weights,
};
use crate::nn::Precision;
use crate::tokenizer::Tokenizer;

impl Architecture for Config {
    fn family(&self) -> Family {
        Family::Llama
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_positions: Some(self.max_position_embeddings),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        causal::with_model_type(Family::Llama, self)
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        self.weights()
    }

    fn head(&self, head: Head) -> Vec<Part> {
        if head != Head::Vocabulary || self.tie_word_embeddings {
            return Vec::new();
        }
        let weights = vec![("lm_head.weight".to_owned(), vec![self.vocab_size, self.hidden_size])];
        vec![Part { name: "the output projection", weights }]
    }

    fn initial(&self, name: &str) -> Initial {
        match name {
            _ if name.ends_with("norm.weight") => Initial::Ones,
            _ => Initial::Normal(0.02),
        }
    }

    fn rename(
        &self,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        if self.tie_word_embeddings {
            weights::tie(&mut tensors, "model.embed_tokens.weight", "lm_head.weight")?;
        }
        Ok(tensors)
    }

    /// Old files keep the wave lengths, which follow from the configuration.
    fn is_unneeded(&self, name: &str) -> bool {
        name.ends_with(".rotary_emb.inv_freq")
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        causal::check_head(Family::Llama, build.head)?;
        if build.is_trained {
            return Err(causal::untrainable(Family::Llama));
        }
        let precision = Precision::of(build.dtype, &build.device).1;
        let network = Llama::new(self, precision, parameters.var_builder())?;
        let ends = self.ends.resolve(&tokenizer, Family::Llama)?;
        Ok(Box::new(CausalModel::new(network, ends, parameters, tokenizer)))
    }
}

/// The published sizes that are known by name.
pub fn published() -> impl Iterator<Item = Known> {
    let smollm2 = Config {
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: Some(3),
        head_dim: None,
        max_position_embeddings: 8192,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        tie_word_embeddings: true,
        ends: causal::Ends { bos_token_id: Some(1), eos_token_id: Some(2), add_bos_token: false },
    };
    let hub = Some(("HuggingFaceTB/SmolLM2-135M-Instruct", None));
    std::iter::once(Known { name: "smollm2-135m-instruct", architecture: Box::new(smollm2), hub })
}
