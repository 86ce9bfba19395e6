//! From a model's name or folder to something that can be run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::glm::config::ConfigError;
use super::glm::{Config, GlmModel};
use super::{Initial, LanguageModel, ModelError, Parameters};
use crate::checkpoint::{self, CheckpointError};
use crate::nn::Precision;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// A model that has no trained weights bundled yet: its recipe, and the vocabulary inside the binary.
const GLM_TINY: &str = "glm-tiny";
const GLM_TINY_RECIPE: &str = include_str!("../../models/glm-tiny/recipe.toml");
/// The recipe's file in a model directory.
const RECIPE: &str = "recipe.toml";

/// A model, ready to be built as often as there are seeds.
pub struct ModelSource {
    /// Its name in tables and records, without a folder of this machine.
    pub name: String,
    /// Sizes.
    pub config: Config,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Its own fine-tuning recipe, as text (TOML), if it has one.
    pub recipe: Option<String>,
    /// Digest of the weights; `None` where they are drawn at random.
    pub weights_sha256: Option<String>,
    weights: Option<BTreeMap<String, Tensor>>,
}

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Neither a known name nor a folder.
    #[error("there is no model `{name}`, and no folder or file of that name; {hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may help.
        hint: String,
    },
    /// The checkpoint can't be read or does not fit.
    #[error("the model in {} can't be loaded", path.display())]
    Checkpoint {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: CheckpointError,
    },
    /// The sizes make no sense, or contradict the weights.
    #[error("the model in {} can't be loaded", path.display())]
    Config {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: ConfigError,
    },
    /// There is no vocabulary, or not the model's.
    #[error("the model in {} has no tokenizer that fits; name one with `--tokenizer DIR`", path.display())]
    Tokenizer {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: TokenizerError,
    },
    /// A file that is there can't be read.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl ModelSource {
    /// A bundled model by name, or any readable checkpoint by its path. `tokenizer` replaces the model's own.
    ///
    /// # Errors
    /// When there is no such model, or its files are damaged or do not fit each other.
    pub fn open(name: &str, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let path = Path::new(name);
        if !path.exists() {
            return Self::bundled(name, tokenizer);
        }
        let in_checkpoint = |source| RegistryError::Checkpoint { path: path.into(), source };
        let in_config = |source| RegistryError::Config { path: path.into(), source };
        let read = checkpoint::read(path).map_err(in_checkpoint)?;
        let config = Config::resolve(read.config.as_ref(), &read.tensors, None).map_err(in_config)?;
        checkpoint::check_weights(&config.parameters(), &read.tensors).map_err(in_checkpoint)?;
        let in_tokenizer = |source| RegistryError::Tokenizer { path: path.into(), source };
        let vocabulary = tokenizer.or(read.tokenizer.as_deref()).unwrap_or(path);
        let tokenizer = Tokenizer::open(vocabulary).map_err(in_tokenizer)?;
        tokenizer.check_fits(config.vocab_size).map_err(in_tokenizer)?;
        Ok(Self {
            name: path
                .canonicalize()
                .ok()
                .as_deref()
                .and_then(Path::file_name)
                .map_or_else(|| name.to_string(), |folder| folder.to_string_lossy().into_owned()),
            config,
            tokenizer,
            recipe: own_recipe(path)?,
            weights_sha256: Some(read.sha256),
            weights: Some(read.tensors),
        })
    }

    fn bundled(name: &str, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        if name != GLM_TINY {
            return Err(unknown(name));
        }
        let config = Config::named(GLM_TINY).expect("a listed name");
        let tokenizer = match tokenizer {
            Some(path) => {
                let misfit = |source| RegistryError::Tokenizer { path: path.into(), source };
                let tokenizer = Tokenizer::open(path).map_err(misfit)?;
                tokenizer.check_fits(config.vocab_size).map_err(misfit)?;
                tokenizer
            }
            None => Tokenizer::builtin(),
        };
        let recipe = Some(GLM_TINY_RECIPE.to_string());
        Ok(Self { name: name.into(), config, tokenizer, recipe, weights_sha256: None, weights: None })
    }

    /// Are the weights drawn at random, because none are bundled?
    pub fn has_random_weights(&self) -> bool {
        self.weights.is_none()
    }

    /// A fresh model. Weights that are not loaded (all of them, or those of a head) are drawn from `seed`.
    /// Dropout is the recipe's, for all three kinds.
    pub fn build(&self, build: &Build) -> Result<Box<dyn LanguageModel>, ModelError> {
        let config = Config {
            embedding_dropout_prob: build.dropout,
            attention_dropout_prob: build.dropout,
            output_dropout_prob: build.dropout,
            ..self.config.clone()
        };
        let Build { seed, device, .. } = build;
        let (dtype, precision) = Precision::of(build.dtype, device);
        let dtype = &dtype;
        let mut parameters = match &self.weights {
            Some(weights) => Parameters::load(weights, *dtype, device)?,
            None => Parameters::draw(initial_weights(&config), *seed, *dtype, device)?,
        };
        if let Some(outputs) = build.head_outputs {
            let h = config.hidden_size;
            let normal = Initial::Normal(config.initializer_range);
            let head = [
                ("pool_layer.weight", vec![h, h], normal),
                ("pool_layer.bias", vec![h], Initial::Zeros),
                ("multichoice_head.weight", vec![outputs, h], normal),
                ("multichoice_head.bias", vec![outputs], Initial::Zeros),
            ];
            let head = head.map(|(name, shape, initial)| (name.to_string(), shape, initial));
            parameters.extend(Parameters::draw(head, *seed, *dtype, device)?);
        }
        Ok(Box::new(GlmModel::new(
            &config,
            parameters,
            self.tokenizer.clone(),
            build.head_outputs,
            precision,
        )?))
    }
}

/// A model known by its name.
pub struct Known {
    /// The name.
    pub name: &'static str,
    /// Sizes.
    pub config: Config,
    /// Does the name alone suffice to run it?
    pub bundled: bool,
    /// Are trained weights to be had?
    pub trained: bool,
}

/// The bundled model, then the published ones by size.
pub fn known() -> impl Iterator<Item = Known> {
    let known = |name| {
        let bundled = name == GLM_TINY;
        Known { name, config: Config::named(name).expect("a listed name"), bundled, trained: !bundled }
    };
    let published = Config::names().filter(|name| *name != GLM_TINY);
    std::iter::once(GLM_TINY).chain(published).map(known)
}

/// The tokenizer of a bundled model, or the one beside a checkpoint; no weights are read.
///
/// # Errors
/// When there is no such model, or it has no tokenizer.
pub fn tokenizer_of(name: &str) -> Result<Tokenizer, RegistryError> {
    let path = Path::new(name);
    match path.exists() {
        true => {
            Tokenizer::open(path).map_err(|source| RegistryError::Tokenizer { path: path.into(), source })
        }
        false if name == GLM_TINY => Ok(Tokenizer::builtin()),
        false => Err(unknown(name)),
    }
}

/// What to say about a name that nothing has.
fn unknown(name: &str) -> RegistryError {
    let likeness = |known: &&str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let nearest = Config::names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|nearest| likeness(nearest) > 0.85) {
        Some(nearest) if nearest == name => {
            "its weights are not bundled: download them and give their folder".to_owned()
        }
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("`{GLM_TINY}` is bundled, others are given by their folder (`glm-eval ls models`)"),
    };
    RegistryError::Unknown { name: name.into(), hint }
}

/// How a model is to be built.
#[derive(Clone, Debug)]
pub struct Build {
    /// For weights that are drawn.
    pub seed: u64,
    /// Outputs of a classification head, if there is to be one.
    pub head_outputs: Option<usize>,
    /// Dropout in training.
    pub dropout: f64,
    /// What weights are stored and computed as; bf16 on the CPU only rounds what is multiplied.
    pub dtype: DType,
    /// Where.
    pub device: Device,
}

/// The official initialisation: normal weights, those that end a residual branch scaled down with the depth.
///
/// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`, `unscaled_init_method`, `scaled_init_method`.
pub fn initial_weights(config: &Config) -> Vec<(String, Vec<usize>, Initial)> {
    let deviation = config.initializer_range;
    let scaled = deviation / (2.0 * config.num_layers as f64).sqrt();
    let initial = |name: &str| match name {
        _ if name.rsplit('.').next() == Some("bias") => Initial::Zeros,
        _ if name.contains("layernorm") => Initial::Ones,
        _ if name.ends_with("attention.dense.weight") || name.ends_with("dense_4h_to_h.weight") => {
            Initial::Normal(scaled)
        }
        _ => Initial::Normal(deviation),
    };
    config.parameters().into_iter().map(|(name, shape)| (name.clone(), shape, initial(&name))).collect()
}

fn own_recipe(model: &Path) -> Result<Option<String>, RegistryError> {
    let file = model.join(RECIPE);
    if !file.is_file() {
        return Ok(None);
    }
    std::fs::read_to_string(&file).map(Some).map_err(|source| RegistryError::Read { path: file, source })
}
