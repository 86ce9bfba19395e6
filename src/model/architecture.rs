//! What a model family says of itself, so that its models can be found, loaded, initialised and built like any other.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::{Family, Initial, LanguageModel, ModelError, Parameters};
use crate::checkpoint::CheckpointError;
use crate::tokenizer::Tokenizer;

/// A model's configuration, of whatever family. Debug output is its fingerprint: it must show every field.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// Its family.
    fn family(&self) -> Family;

    /// The sizes that all families have.
    fn sizes(&self) -> Sizes;

    /// As in a `config.json`.
    fn to_json(&self) -> serde_json::Value;

    /// Names and shapes of the weights that every model of the family has, by their published names, in the order of
    /// the network. Tied weights are listed once, under the name of the first.
    fn body(&self) -> Vec<(String, Vec<usize>)>;

    /// What a head needs besides.
    fn head(&self, head: Head) -> Vec<Part>;

    /// How a weight of the body or of a head is drawn.
    fn initial(&self, name: &str) -> Initial;

    /// Brings the weights of a checkpoint under the published names, without copies of tied weights.
    ///
    /// # Errors
    /// When two weights lay claim to one name, or copies that should be tied differ.
    fn rename(&self, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        Ok(tensors)
    }

    /// A weight as published files have it: what [`Architecture::rename`] reads.
    fn published(&self, _name: &str, weight: &Tensor) -> candle_core::Result<Tensor> {
        Ok(weight.clone())
    }

    /// Is this one of the weights that published checkpoints have and that nothing here needs?
    fn is_unneeded(&self, _name: &str) -> bool {
        false
    }

    /// Special tokens that its vocabulary must have, with the ids that the configuration gives them, if it does.
    fn required_tokens(&self) -> Vec<(&'static str, Option<u32>)> {
        vec![]
    }

    /// The network over weights, with its tokenizer.
    ///
    /// # Errors
    /// When a weight is missing, or the tokenizer lacks a token that the family needs.
    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError>;
}

/// The sizes that all families have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Layers, of encoder and decoder together.
    pub num_layers: usize,
    /// Width `h`.
    pub hidden_size: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Longest sequence; `None` where positions have no end.
    pub max_positions: Option<usize>,
}

/// What a model answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Tokens of its vocabulary, as it was pre-trained.
    Vocabulary,
    /// A classification head over pooled hidden states.
    Classes {
        /// Outputs for each input.
        outputs: usize,
        /// Marked spans in each input whose hidden states are pooled too.
        spans: usize,
    },
}

/// A part of a head: there or absent as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In words, as in `the pooler`.
    pub name: &'static str,
    /// Names and shapes.
    pub weights: Vec<(String, Vec<usize>)>,
}

/// How a model is to be built.
#[derive(Clone, Debug)]
pub struct Build {
    /// For weights that are drawn.
    pub seed: u64,
    /// What it answers with.
    pub head: Head,
    /// Will it be trained? Then a part of the head that the checkpoint lacks is drawn at random; else that is an error.
    pub is_trained: bool,
    /// Dropout in training.
    pub dropout: f64,
    /// What weights are stored and computed as; bf16 on the CPU only rounds what is multiplied.
    pub dtype: DType,
    /// Where.
    pub device: Device,
}
