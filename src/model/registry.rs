//! From a model's name, folder or file to something that can be run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::architecture::{Architecture, Build, Head, Part};
use super::{ConfigError, Family, LanguageModel, ModelError, bart, bert, glm, gpt2, llama, t5, weights};
use crate::checkpoint::{self, CheckpointError, Settings};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// This project's own models, as `build.rs` found them in `models/`; their vocabulary is inside the program, too.
const BUNDLED: &[Bundled] = &include!(concat!(env!("OUT_DIR"), "/bundled.rs"));
/// Behind a name: the same model, but with weights that are drawn at random.
const RANDOM: &str = "-random";
/// The recipe's file in a model directory.
/// Folder that holds model directories by name.
pub const MODELS_VARIABLE: &str = "GLM_EVAL_MODELS";

/// A model that is inside the program.
struct Bundled {
    name: &'static str,
    /// How it is fine-tuned (TOML).
    recipe: &'static str,
    /// Its `config.json`.
    config: &'static str,
    /// Its weights, as a safetensors file has them.
    weights: &'static [u8],
}

/// A model, ready to be built as often as there are seeds.
pub struct ModelSource {
    /// Its name in tables and records, without a folder of this machine.
    pub name: String,
    /// Its family and sizes.
    pub architecture: Box<dyn Architecture>,
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
    /// A known name without its weights.
    #[error(
        "the weights of `{name}` are not here; {download}, and give their folder, or put it as `{name}` into one of:\n  - {}",
        looked_at.join("\n  - ")
    )]
    NotHere {
        /// What was asked for.
        name: String,
        /// Where they are.
        download: String,
        /// Where they were looked for.
        looked_at: Vec<String>,
    },
    /// A model whose layout is not shown.
    #[error("`{name}` is a {family} model; samples are shown as a GLM reads them only")]
    NotGlm {
        /// What was asked for.
        name: String,
        /// Its family.
        family: Family,
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
    /// A known model by name, or any readable checkpoint by its path. `tokenizer` replaces the model's own.
    ///
    /// # Errors
    /// When there is no such model, or its files are damaged or do not fit each other.
    pub fn open(name: &str, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let path = Path::new(name);
        // A folder of something else, such as the records of a run, does not hide a known model of its name.
        let is_known = || bundled(name).is_some() || found(name).is_some();
        if path.exists() && (!path.is_dir() || checkpoint::is_there(path) || !is_known()) {
            let name = path
                .canonicalize()
                .ok()
                .as_deref()
                .and_then(Path::file_name)
                .map_or_else(|| name.to_string(), |folder| folder.to_string_lossy().into_owned());
            return Self::read(name, path, tokenizer);
        }
        if let Some(trained) = name.strip_suffix(RANDOM) {
            return Self::open_random(trained, tokenizer);
        }
        if let Some(folder) = found(name) {
            return Self::read(name.into(), &folder, tokenizer);
        }
        match bundled(name) {
            Some(bundled) => Self::embedded(bundled, tokenizer),
            None => Err(unknown(name)),
        }
    }

    /// The sizes, the vocabulary and the recipe of a model, with weights that are drawn anew for each seed. `name` is that
    /// of the trained one; this one's ends in `-random`.
    ///
    /// # Errors
    /// As [`ModelSource::open`].
    pub fn open_random(name: &str, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let source = match bundled(name) {
            Some(_) => Self::without_weights(name, tokenizer)?,
            None => Self::open(name, tokenizer)?,
        };
        Ok(Self { name: source.name + RANDOM, weights_sha256: None, weights: None, ..source })
    }

    /// A model whose weights are inside the program.
    fn embedded(bundled: &Bundled, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let Bundled { name, config, weights, .. } = bundled;
        let path = Path::new(name);
        let in_checkpoint = |source| RegistryError::Checkpoint { path: path.into(), source };
        let config = checkpoint::parse_settings(path, config).map_err(in_checkpoint)?;
        let tensors = checkpoint::safetensors::parse(path, weights).map_err(in_checkpoint)?;
        let sha256 = checkpoint::sha256(&tensors);
        let architecture = architecture(Some(&config), &tensors)
            .map_err(|source| RegistryError::Config { path: path.into(), source })?;
        let weights = weights::fit(&*architecture, tensors).map_err(in_checkpoint)?;
        let source = Self::without_weights(name, tokenizer)?;
        Ok(Self { architecture, weights_sha256: Some(sha256), weights: Some(weights), ..source })
    }

    /// A checkpoint.
    fn read(name: String, path: &Path, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let in_checkpoint = |source| RegistryError::Checkpoint { path: path.into(), source };
        let in_config = |source| RegistryError::Config { path: path.into(), source };
        let read = checkpoint::read(path).map_err(in_checkpoint)?;
        let architecture = architecture(read.config.as_ref(), &read.tensors).map_err(in_config)?;
        let weights = weights::fit(&*architecture, read.tensors).map_err(in_checkpoint)?;
        // Of a single file, what belongs to it lies beside it.
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let misfit = |source| RegistryError::Tokenizer { path: path.into(), source };
        let tokenizer = match (tokenizer, read.own_tokenizer) {
            (None, Some(json)) => {
                let tokenizer = Tokenizer::parse_published(path, &json.map_err(in_checkpoint)?);
                tokenizer.and_then(|tokenizer| fitting(tokenizer, &*architecture)).map_err(misfit)?
            }
            (given, _) => {
                let vocabulary = given.or(read.tokenizer.as_deref()).unwrap_or(folder);
                open_tokenizer(vocabulary, &*architecture).map_err(misfit)?
            }
        };
        Ok(Self {
            name,
            architecture,
            tokenizer,
            recipe: own_recipe(folder)?,
            weights_sha256: Some(read.sha256),
            weights: Some(weights),
        })
    }

    /// A bundled model whose weights are drawn.
    fn without_weights(name: &str, tokenizer: Option<&Path>) -> Result<Self, RegistryError> {
        let (Some(bundled), Some(known)) = (bundled(name), known().find(|known| known.name == name)) else {
            return Err(unknown(name));
        };
        let tokenizer = match tokenizer {
            Some(path) => open_tokenizer(path, &*known.architecture)
                .map_err(|source| RegistryError::Tokenizer { path: path.into(), source })?,
            None => builtin_tokenizer(known.architecture.family()),
        };
        let recipe = Some(bundled.recipe.to_owned());
        let architecture = known.architecture;
        Ok(Self { name: name.into(), architecture, tokenizer, recipe, weights_sha256: None, weights: None })
    }

    /// Are the weights drawn at random, and why?
    pub fn random_weights(&self) -> Option<&'static str> {
        let why = "drawn at random from each run's seed: the name ends in `-random`";
        self.weights.is_none().then_some(why)
    }

    /// The parts of a head that are drawn at random to be trained: those that the checkpoint lacks.
    ///
    /// # Errors
    /// When one is absent and not going to be trained.
    pub fn drawn_parts(&self, head: Head, is_trained: bool) -> Result<Vec<Part>, ModelError> {
        weights::drawn(&*self.architecture, self.weights.as_ref(), head, is_trained)
    }

    /// A fresh model. Weights that are not loaded (all of them, or those of a head) are drawn from the seed.
    /// Dropout is the recipe's, for all kinds of it.
    ///
    /// # Errors
    /// When the checkpoint lacks what is asked for and it is not going to be trained.
    pub fn build(&self, build: &Build) -> Result<Box<dyn LanguageModel>, ModelError> {
        let parameters = weights::parameters(&*self.architecture, self.weights.as_ref(), build)?;
        self.architecture.build(parameters, self.tokenizer.clone(), build)
    }
}

/// The configuration of a checkpoint, of the family that its `config.json` names.
///
/// # Errors
/// When the family is unknown, or the sizes make no sense or contradict the weights.
pub fn architecture(
    config: Option<&Settings>,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Box<dyn Architecture>, ConfigError> {
    let family = Family::of(config)?;
    match family {
        Family::Glm => Ok(Box::new(glm::Config::resolve(config, tensors, None)?)),
        Family::Bert | Family::Roberta => {
            Ok(Box::new(bert::Config::from_json(family, config.expect("it names its family"))?))
        }
        Family::Gpt2 => Ok(Box::new(gpt2::Config::from_json(config.expect("it names its family"))?)),
        Family::Llama => Ok(Box::new(llama::Config::from_json(config.expect("it names its family"))?)),
        Family::T5 => Ok(Box::new(t5::Config::resolve(config.expect("it names its family"), tensors)?)),
        Family::Bart => Ok(Box::new(bart::Config::from_json(config.expect("it names its family"))?)),
    }
}

/// A model known by its name.
pub struct Known {
    /// The name.
    pub name: &'static str,
    /// Family and sizes.
    pub architecture: Box<dyn Architecture>,
    /// Where its weights are published, if they are: the hub's repository, and the revision that is meant.
    pub hub: Option<(&'static str, Option<&'static str>)>,
}

impl Known {
    /// Does the name alone suffice to run it?
    pub fn is_bundled(&self) -> bool {
        bundled(self.name).is_some()
    }
}

/// The bundled models, then the published ones, family by family.
pub fn known() -> impl Iterator<Item = Known> {
    let all = glm::published().chain(bert::published()).chain(t5::published()).chain(bart::published());
    let all = all.chain(gpt2::published()).chain(llama::published());
    let (bundled, others): (Vec<Known>, Vec<Known>) = all.partition(Known::is_bundled);
    bundled.into_iter().chain(others)
}

fn bundled(name: &str) -> Option<&'static Bundled> {
    BUNDLED.iter().find(|bundled| bundled.name == name)
}

/// The folder of a model's weights, where models are looked for by name.
fn found(name: &str) -> Option<PathBuf> {
    let folders = places().into_iter().filter_map(|(folder, _)| Some(folder?.join(name)));
    folders.filter(|folder| folder.is_dir()).find(|folder| checkpoint::is_there(folder))
}

/// Where models are looked for by name, in order, with what a user calls the place.
fn places() -> Vec<(Option<PathBuf>, &'static str)> {
    let variable = std::env::var_os(MODELS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("models"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    vec![
        (variable, MODELS_VARIABLE),
        (beside, "beside the program"),
        (Some(source).filter(|folder| folder.is_dir()), "the source tree"),
    ]
}

/// A vocabulary in the form that the family needs, held against the sizes.
fn open_tokenizer(path: &Path, architecture: &dyn Architecture) -> Result<Tokenizer, TokenizerError> {
    let tokenizer = match architecture.family() {
        Family::Glm => Tokenizer::open(path)?,
        _ => Tokenizer::published(path)?,
    };
    fitting(tokenizer, architecture)
}

fn fitting(tokenizer: Tokenizer, architecture: &dyn Architecture) -> Result<Tokenizer, TokenizerError> {
    let (family, rows) = (architecture.family(), architecture.sizes().vocab_size);
    tokenizer.check_fits(rows)?;
    if family != Family::Glm {
        tokenizer.check_is_of(family.name(), rows, &architecture.required_tokens())?;
    }
    Ok(tokenizer)
}

/// The vocabulary of the bundled models.
fn builtin_tokenizer(family: Family) -> Tokenizer {
    match family {
        Family::Glm => Tokenizer::builtin(),
        _ => Tokenizer::builtin_published(),
    }
}

/// The tokenizer of a bundled GLM, or the one beside a GLM's checkpoint; no weights are read.
///
/// # Errors
/// When there is no such model, it has no tokenizer, or it is of another family.
pub fn glm_tokenizer_of(name: &str) -> Result<Tokenizer, RegistryError> {
    let path = Path::new(name);
    let other = |family: Family| RegistryError::NotGlm { name: name.into(), family };
    if !path.exists() {
        let trained = name.strip_suffix(RANDOM).unwrap_or(name);
        let known = known().find(|known| known.name == trained && known.is_bundled());
        return match known.map(|known| known.architecture.family()) {
            Some(Family::Glm) => Ok(Tokenizer::builtin()),
            Some(family) => Err(other(family)),
            None => Err(unknown(name)),
        };
    }
    let file = path.join("config.json");
    if file.is_file() {
        let settings = checkpoint::read_settings(&file)
            .map_err(|source| RegistryError::Checkpoint { path: path.into(), source })?;
        let family = Family::of(Some(&settings))
            .map_err(|source| RegistryError::Config { path: path.into(), source })?;
        if family != Family::Glm {
            return Err(other(family));
        }
    }
    Tokenizer::open(path).map_err(|source| RegistryError::Tokenizer { path: path.into(), source })
}

/// What to say about a name whose weights are not there.
fn unknown(name: &str) -> RegistryError {
    let known: Vec<Known> = known().collect();
    if let Some(known) = known.iter().find(|known| known.name == name) {
        let download = match known.hub {
            Some((repository, _)) => format!("download https://huggingface.co/{repository}"),
            None => "download them".to_owned(),
        };
        let looked_at = places().into_iter().map(|(place, name)| match place {
            Some(place) => format!("{} ({name})", place.display()),
            None => format!("{name} (not set)"),
        });
        return RegistryError::NotHere { name: name.into(), download, looked_at: looked_at.collect() };
    }
    let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let names = known.iter().map(|known| known.name);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|nearest| likeness(nearest) > 0.85) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!(
            "{} are bundled, others are given by their folder (`glm-eval ls models`)",
            BUNDLED.iter().map(|bundled| format!("`{}`", bundled.name)).collect::<Vec<_>>().join(", ")
        ),
    };
    RegistryError::Unknown { name: name.into(), hint }
}

fn own_recipe(model: &Path) -> Result<Option<String>, RegistryError> {
    let file = model.join(checkpoint::RECIPE);
    if !file.is_file() {
        return Ok(None);
    }
    std::fs::read_to_string(&file).map(Some).map_err(|source| RegistryError::Read { path: file, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_ends_in_random_is_the_same_model_without_its_weights() {
        for name in BUNDLED.iter().map(|bundled| bundled.name) {
            let random = ModelSource::open(&format!("{name}-random"), None).expect("it is bundled");
            assert_eq!(random.name, format!("{name}-random"));
            assert!(random.weights_sha256.is_none());
            assert!(random.random_weights().expect("they are random").contains("ends in `-random`"));
            let plain = ModelSource::open(name, None).expect("it is bundled");
            assert_eq!(random.tokenizer.sha256(), plain.tokenizer.sha256());
            assert_eq!(random.recipe, plain.recipe);
            assert_eq!(random.architecture.body(), plain.architecture.body());
            assert!(plain.random_weights().is_none() && plain.weights_sha256.is_some());
        }
        let error = ModelSource::open("glm-tinny-random", None).err().expect("there is none");
        assert!(error.to_string().contains("no model `glm-tinny`"), "{error}");
    }

    #[test]
    fn the_weights_inside_the_program_are_those_of_the_folder() {
        for bundled in BUNDLED {
            let inside = ModelSource::embedded(bundled, None).expect("they fit");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(bundled.name);
            let outside = ModelSource::read(bundled.name.into(), &folder, None).expect("they fit");
            assert_eq!(inside.weights_sha256, outside.weights_sha256);
            assert_eq!(inside.tokenizer.sha256(), outside.tokenizer.sha256());
            assert_eq!(inside.recipe, outside.recipe);
            let sizes = |source: &ModelSource| format!("{:?}", source.architecture);
            assert_eq!(sizes(&inside), sizes(&outside));
        }
    }
}
