//! What is pre-trained: a network with a loss over examples of its objective.

use candle_core::{Device, Result, Tensor};

use super::{Config, PretrainError};
use crate::checkpoint::Settings;
use crate::model::glm::{self, Glm};
use crate::model::{Architecture, Build, Family, Head, ModelError, Parameters, registry, weights};
use crate::nn::{self, Dropout, Layout, Precision, Sequence};
use crate::objective::Example;

/// A network that learns from examples.
pub trait Network {
    /// Its weights.
    fn parameters(&self) -> &Parameters;

    /// The mean loss over all targets, a scalar from which gradients flow to the weights.
    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor>;

    /// Floating-point operations of a forward pass.
    fn forward_flops(&self, examples: &[Example]) -> u64;

    /// Its `config.json`.
    fn settings(&self) -> Settings;

    /// Rows of its token embedding.
    fn vocab_size(&self) -> usize;

    /// Positions that its longest sequence can have; `None` where there is no end.
    fn max_positions(&self) -> Option<usize>;
}

/// A fresh network of the configuration's shape.
///
/// # Errors
/// When there is no such shape, or the changes to it make no sense.
pub fn build(config: &Config, device: &Device) -> std::result::Result<Box<dyn Network>, PretrainError> {
    let wrong = |key: &str, problem: String| PretrainError::Config { key: key.into(), problem };
    let shape = &config.model.shape;
    let known = registry::known().find(|known| known.name == shape).ok_or_else(|| {
        let known = registry::known().map(|known| known.name).collect::<Vec<_>>().join(", ");
        wrong("model.shape", format!("there is no shape `{shape}`; there are {known}"))
    })?;
    let mut settings = to_settings(&*known.architecture);
    for (key, value) in &config.model.changes {
        if settings.insert(key.clone(), value.clone()).is_none() {
            let known = settings.keys().filter(|known| *known != key).cloned().collect::<Vec<_>>().join(", ");
            return Err(wrong(&format!("model.{key}"), format!("there is no such size; there are {known}")));
        }
    }
    let build = Build {
        seed: config.seed,
        head: Head::Vocabulary,
        is_trained: true,
        dropout: config.training.dropout,
        dtype: config.training.dtype.dtype(),
        device: device.clone(),
    };
    match known.architecture.family() {
        Family::Glm => {
            let sizes =
                glm::Config::from_json(&settings).map_err(|error| wrong("model", with_cause(&error)))?;
            Ok(Box::new(GlmNetwork::new(sizes, &build).map_err(PretrainError::Network)?))
        }
        other => Err(wrong(
            "model.shape",
            format!("`{shape}` is of the family {other}, which can't be pre-trained yet"),
        )),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// The `config.json` of a model.
fn to_settings(architecture: &dyn Architecture) -> Settings {
    let mut settings = Settings::from_iter([("model_type".to_string(), architecture.family().name().into())]);
    if let serde_json::Value::Object(sizes) = architecture.to_json() {
        settings.extend(sizes);
    }
    settings
}

/// GLM.
struct GlmNetwork {
    glm: Glm,
    parameters: Parameters,
}

impl GlmNetwork {
    fn new(config: glm::Config, build: &Build) -> std::result::Result<Self, ModelError> {
        let parameters = weights::parameters(&config, None, build)?;
        let config = glm::Config {
            embedding_dropout_prob: build.dropout,
            attention_dropout_prob: build.dropout,
            output_dropout_prob: build.dropout,
            ..config
        };
        let precision = Precision::of(build.dtype, &build.device).1;
        Ok(Self { glm: Glm::new(&config, precision, parameters.var_builder())?, parameters })
    }
}

impl Network for GlmNetwork {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor> {
        let mut batch = glm::Batch::default();
        for example in examples {
            batch.ids.extend(&example.input_ids);
            batch.positions.extend(&example.positions);
            batch.block_positions.extend(&example.block_positions);
        }
        batch.layout = Layout::new(sequences(examples));
        let hidden = self.glm.forward(&batch, dropout)?; // [t, h]
        let (places, targets) = targets(examples);
        let rows = nn::embedding(&hidden, &places)?; // [m, h]
        nn::mean_linear_cross_entropy(&rows, self.glm.word_embeddings(), &targets, 0.0, self.glm.precision())
    }

    fn forward_flops(&self, examples: &[Example]) -> u64 {
        let rows = examples.iter().map(Example::num_targets).sum();
        self.glm.config().forward_flops(&sequences(examples), rows)
    }

    fn settings(&self) -> Settings {
        to_settings(self.glm.config())
    }

    fn vocab_size(&self) -> usize {
        self.glm.config().vocab_size
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.glm.config().max_sequence_length)
    }
}

/// A prefix whose tokens see each other, and what is read left to right.
fn sequences(examples: &[Example]) -> Vec<Sequence> {
    examples.iter().map(|example| Sequence::prefix_lm(example.len(), example.prefix_length)).collect()
}

/// Where targets are in a packed batch, and what they are.
fn targets(examples: &[Example]) -> (Vec<u32>, Vec<u32>) {
    let (mut places, mut targets, mut start) = (Vec::new(), Vec::new(), 0);
    for example in examples {
        for i in (0..example.len()).filter(|&i| example.loss_mask[i]) {
            places.push((start + i) as u32);
            targets.push(example.targets[i]);
        }
        start += example.len();
    }
    (places, targets)
}
