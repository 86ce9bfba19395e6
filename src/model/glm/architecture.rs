//! What the GLM family says of itself.

use super::{Config, GlmModel};
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes,
};
use crate::nn::Precision;
use crate::tokenizer::Tokenizer;

impl Architecture for Config {
    fn family(&self) -> Family {
        Family::Glm
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.num_layers,
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_positions: Some(self.max_sequence_length),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a configuration is plain data")
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        self.parameters()
    }

    fn head(&self, head: Head) -> Vec<Part> {
        let Head::Classes { outputs, .. } = head else { return vec![] }; // the token embedding is the output projection
        let h = self.hidden_size;
        let layer = |name, prefix: &str, outputs| Part {
            name,
            weights: vec![
                (format!("{prefix}.weight"), vec![outputs, h]),
                (format!("{prefix}.bias"), vec![outputs]),
            ],
        };
        vec![layer("the pooler", "pool_layer", h), layer("the classifier", "multichoice_head", outputs)]
    }

    /// Normal weights, those that end a residual branch scaled down with the depth.
    ///
    /// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`, `unscaled_init_method`, `scaled_init_method`.
    fn initial(&self, name: &str) -> Initial {
        let deviation = self.initializer_range;
        match name {
            _ if name.rsplit('.').next() == Some("bias") => Initial::Zeros,
            _ if name.contains("layernorm") => Initial::Ones,
            _ if name.ends_with("attention.dense.weight") || name.ends_with("dense_4h_to_h.weight") => {
                Initial::Normal(deviation / (2.0 * self.num_layers as f64).sqrt())
            }
            _ => Initial::Normal(deviation),
        }
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        let config = Self {
            embedding_dropout_prob: build.dropout,
            attention_dropout_prob: build.dropout,
            output_dropout_prob: build.dropout,
            ..self.clone()
        };
        let head_outputs = match build.head {
            Head::Vocabulary => None,
            Head::Classes { outputs, .. } => Some(outputs),
        };
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Box::new(GlmModel::new(&config, parameters, tokenizer, head_outputs, precision)?))
    }
}

/// The published sizes, and this project's own.
pub fn published() -> impl Iterator<Item = Known> {
    let hub = |name: &str| match name {
        "glm-large" => Some("THUDM/glm-large"),
        "glm-roberta-large" => Some("THUDM/glm-roberta-large"),
        "glm-2b" => Some("THUDM/glm-2b"),
        "glm-10b" => Some("THUDM/glm-10b"),
        _ => None,
    };
    let known = move |name| {
        let config = Config::named(name).expect("a listed name");
        Known { name, architecture: Box::new(config), hub: hub(name).map(|repository| (repository, None)) }
    };
    Config::names().map(known)
}
