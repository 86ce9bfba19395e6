//! What is pre-trained: a network with a loss over examples of its objective.

mod bert;
mod glm;
mod gpt2;
mod t5;

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use super::{Config, PretrainError};
use crate::checkpoint::Settings;
use crate::model::{self, Architecture, Build, ConfigError, Family, Head, ModelError, Parameters, registry};
use crate::nn::Dropout;
use crate::objective::Example;
use crate::tokenizer::SpecialTokens;

/// A network that learns from examples.
pub trait Network {
    /// Its family and sizes.
    fn architecture(&self) -> &dyn Architecture;

    /// Its weights.
    fn parameters(&self) -> &Parameters;

    /// The mean loss over all targets, a scalar from which gradients flow to the weights.
    fn loss(&self, examples: &[Example], dropout: &Dropout) -> Result<Tensor>;

    /// Floating-point operations of a forward pass.
    fn forward_flops(&self, examples: &[Example]) -> u64;

    /// Tokens whose ids its `config.json` has: the key, the id there, and the id that its examples have.
    fn token_ids(&self, _special: &SpecialTokens) -> Vec<(&'static str, u32, u32)> {
        vec![]
    }
}

/// A fresh network of the configuration's shape.
///
/// # Errors
/// When there is no such shape, the changes to it make no sense, or it can't learn the objective.
pub fn build(config: &Config, device: &Device) -> std::result::Result<Box<dyn Network>, PretrainError> {
    let shape = &config.model.shape;
    let known = registry::known().find(|known| known.name == shape).ok_or_else(|| {
        let known = registry::known().map(|known| known.name).collect::<Vec<_>>().join(", ");
        wrong("model.shape", format!("there is no shape `{shape}`; there are {known}"))
    })?;
    let family = known.architecture.family();
    check_objective(shape, family, config.objective.name())?;
    let mut settings = to_settings(&*known.architecture);
    for (key, value) in &config.model.changes {
        if key == "model_type" {
            return Err(wrong(
                "model.model_type",
                "the family is that of `model.shape`; name another shape".into(),
            ));
        }
        if key.contains("dropout") {
            let problem = "dropout is the training's: set `training.dropout`";
            return Err(wrong(&format!("model.{key}"), problem.into()));
        }
        if let Some(shapes) = settings.get(key)
            && !is_alike(value, shapes)
        {
            let problem = format!("it is {value}; give a value such as {shapes}");
            return Err(wrong(&format!("model.{key}"), problem));
        }
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
    let sizes = |error: ConfigError| wrong("model", with_cause(&error));
    match family {
        Family::Glm => {
            let config = model::glm::Config::from_json(&settings).map_err(sizes)?;
            boxed(glm::GlmNetwork::new(config, &build))
        }
        Family::Bert | Family::Roberta => {
            let config = model::bert::Config::from_json(family, &settings).map_err(sizes)?;
            boxed(bert::BertNetwork::new(config, &build))
        }
        Family::T5 => {
            let config = model::t5::Config::resolve(&settings, &BTreeMap::new()).map_err(sizes)?;
            boxed(t5::T5Network::new(config, &build))
        }
        Family::Gpt2 => {
            let config = model::gpt2::Config::from_json(&settings).map_err(sizes)?;
            boxed(gpt2::Gpt2Network::new(config, &build))
        }
        Family::Bart | Family::Llama => unreachable!("they learn no objective"),
    }
}

/// Has a value the type of another one? Whole numbers may stand where numbers do, and none is below zero where the other is not.
fn is_alike(value: &Value, other: &Value) -> bool {
    match other {
        Value::Number(other) if other.is_u64() => value.is_u64(),
        Value::Number(_) => value.is_number(),
        Value::String(_) => value.is_string(),
        Value::Bool(_) => value.is_boolean(),
        _ => true,
    }
}

/// Can the family learn it? Which tokens it lets a token see decides.
fn check_objective(shape: &str, family: Family, kind: &str) -> std::result::Result<(), PretrainError> {
    let learns: &[&str] = match family {
        Family::Glm => &["blank_infilling", "masked_lm", "span_corruption", "causal_lm"],
        Family::Bert | Family::Roberta => &["masked_lm"],
        Family::T5 => &["span_corruption"],
        Family::Gpt2 => &["causal_lm"],
        Family::Bart | Family::Llama => &[],
    };
    if learns.is_empty() {
        let problem = format!("`{shape}` is of the family {family}, which can't be pre-trained here");
        return Err(wrong("model.shape", problem));
    }
    match learns.contains(&kind) {
        true => Ok(()),
        false => Err(wrong(
            "objective.kind",
            format!(
                "it is {kind}, but model.shape is `{shape}`, and a {family} network learns {}",
                learns.join(", ")
            ),
        )),
    }
}

fn wrong(key: &str, problem: String) -> PretrainError {
    PretrainError::Config { key: key.into(), problem }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn boxed(
    network: std::result::Result<impl Network + 'static, ModelError>,
) -> std::result::Result<Box<dyn Network>, PretrainError> {
    Ok(Box::new(network.map_err(PretrainError::Network)?))
}

/// The `config.json` of a model.
pub fn to_settings(architecture: &dyn Architecture) -> Settings {
    let mut settings = Settings::from_iter([("model_type".to_string(), architecture.family().name().into())]);
    if let Value::Object(sizes) = architecture.to_json() {
        settings.extend(sizes);
    }
    settings
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

fn num_targets(examples: &[Example]) -> usize {
    examples.iter().map(Example::num_targets).sum()
}
