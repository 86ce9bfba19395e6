//! Checkpoints: weights on disk to named tensors, and back.
//!
//! [`read`] recognises the layout: a model directory or any folder of the Hugging Face hub (`hub.rs`), the
//! official GLM checkpoints with their model-parallel ranks (`megatron.rs`), a GGUF file (`gguf/`), or a single weight
//! file. PyTorch
//! files are parsed as data, never executed (`pickle/`, `torch/`). [`write_model_dir`] writes the one layout that
//! everything else here reads. Which weights a model needs is the model's business ([`check_weights`]).
#![allow(clippy::doc_markdown, reason = "PyTorch and DeepSpeed are names, not code")]

mod digest;
mod error;
pub mod gguf;
mod hub;
mod mapped;
mod megatron;
mod model_dir;
pub mod pickle;
pub mod safetensors;
pub mod torch;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

pub use digest::sha256;
pub use error::{CheckpointError, WeightMismatch};
pub use model_dir::{RECIPE, is_empty_dir, write_model_dir, write_safetensors};

/// Settings as `config.json` has them.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// How it lay on disk.
    pub layout: Layout,
    /// The `config.json` beside the weights, if there is one; a GGUF file brings its own.
    pub config: Option<Settings>,
    /// All weights by name (a GLM's by their official names), in CPU memory and in their stored type; those of a
    /// GGUF file by their published names, dequantized.
    pub tensors: BTreeMap<String, Tensor>,
    /// The `tokenizer.json` beside the weights, if there is one.
    pub tokenizer: Option<PathBuf>,
    /// The model's own way of being fine-tuned beside the weights, [`RECIPE`], if there is one.
    pub recipe: Option<PathBuf>,
    /// The text of the `tokenizer.json` that a GGUF file's vocabulary amounts to. One that can't be used is an error
    /// only where it is: the user may name another.
    pub own_tokenizer: Option<Result<String, CheckpointError>>,
    /// Digest of the weights, independent of the layout: see [`sha256`].
    pub sha256: String,
    /// The weight files.
    pub files: Vec<PathBuf>,
}

/// How a checkpoint lay on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One safetensors file.
    Safetensors,
    /// One PyTorch file.
    Torch,
    /// An index and its shards.
    Sharded {
        /// Number of shards.
        shards: usize,
    },
    /// One GGUF file.
    Gguf,
    /// The official layout.
    Megatron {
        /// Number of model-parallel ranks.
        ranks: usize,
    },
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors => write!(f, "safetensors"),
            Self::Torch => write!(f, "PyTorch file"),
            Self::Sharded { shards } => write!(f, "{shards} shards"),
            Self::Gguf => write!(f, "GGUF"),
            Self::Megatron { ranks: 1 } => write!(f, "official layout, 1 rank"),
            Self::Megatron { ranks } => write!(f, "official layout, {ranks} ranks"),
        }
    }
}

/// Are there weights of a known layout in this folder?
pub fn is_there(folder: &Path) -> bool {
    locate_in(folder).is_ok()
}

/// Reads a checkpoint of any known layout: a folder, a tag folder, an index or a weight file.
///
/// # Errors
/// When nothing is recognised (the message lists what was looked for), or a file is damaged or incomplete.
pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    if path.is_file() && gguf::is_gguf(path) {
        return read_gguf(path);
    }
    let found = locate(path)?;
    let (tensors, files) = match &found.weights {
        Weights::File(file) => (hub::read_file(file)?, vec![file.clone()]),
        Weights::Index(index) => hub::read_index(index)?,
        Weights::Ranks(folder, files) => (megatron::read(folder, files)?, files.clone()),
    };
    let layout = match &found.weights {
        Weights::File(file) if file.extension().is_some_and(|e| e == "safetensors") => Layout::Safetensors,
        Weights::File(_) => Layout::Torch,
        Weights::Index(_) => Layout::Sharded { shards: files.len() },
        Weights::Ranks(..) => Layout::Megatron { ranks: files.len() },
    };
    let tensors = hub::official_names(path, tensors)?;
    let beside = |name| found.folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    let config = beside("config.json").map(|file| read_settings(&file)).transpose()?;
    Ok(Checkpoint {
        layout,
        config,
        sha256: sha256(&tensors),
        tensors,
        tokenizer: beside("tokenizer.json"),
        recipe: beside(RECIPE),
        own_tokenizer: None,
        files,
    })
}

fn read_gguf(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let file = gguf::Gguf::open(path)?;
    let config = gguf::llama::config(&file)?; // another architecture is known before its weights are read
    let tensors = gguf::llama::weights(&file)?;
    Ok(Checkpoint {
        layout: Layout::Gguf,
        config: Some(config),
        sha256: sha256(&tensors),
        tensors,
        tokenizer: None,
        recipe: None,
        own_tokenizer: Some(gguf::vocabulary::tokenizer_json(&file)),
        files: vec![path.to_owned()],
    })
}

/// Reads a JSON file that holds one object, such as `config.json`.
pub fn read_settings(file: &Path) -> Result<Settings, CheckpointError> {
    parse_settings(file, &fs::read_to_string(file).map_err(CheckpointError::io(file, "read"))?)
}

/// The object that a JSON text holds; `file` is what errors call it.
pub fn parse_settings(file: &Path, text: &str) -> Result<Settings, CheckpointError> {
    serde_json::from_str(text).map_err(CheckpointError::json(file))
}

/// Where the weights are, and the folders where their `config.json` may be.
struct Found {
    weights: Weights,
    folders: Vec<PathBuf>,
}

enum Weights {
    File(PathBuf),
    Index(PathBuf),
    Ranks(PathBuf, Vec<PathBuf>),
}

fn locate(path: &Path) -> Result<Found, CheckpointError> {
    if path.is_dir() {
        return locate_in(path);
    }
    if !path.exists() {
        let looked_for = "a folder or a file of that name".into();
        return Err(CheckpointError::NotACheckpoint { path: path.to_owned(), looked_for });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let weights = if megatron::rank_of(path).is_some() {
        // One rank's part is no model: the others are read with it.
        Weights::Ranks(folder.to_owned(), megatron::rank_files(folder)?)
    } else if path.extension().is_some_and(|extension| extension == "json") {
        Weights::Index(path.to_owned())
    } else {
        Weights::File(path.to_owned())
    };
    Ok(Found { weights, folders: vec![folder.to_owned()] })
}

fn locate_in(dir: &Path) -> Result<Found, CheckpointError> {
    let there = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|file| file.is_file());
    let mut folders = vec![dir.to_owned()];
    let weights = if let Some(file) = there(hub::SINGLE) {
        Weights::File(file)
    } else if let Some(index) = there(hub::INDEXED) {
        Weights::Index(index)
    } else {
        let ranks_in = megatron::tag_folder(dir)?.unwrap_or_else(|| dir.to_owned());
        let files = megatron::rank_files(&ranks_in)?;
        if files.is_empty() {
            return Err(not_a_checkpoint(&ranks_in));
        }
        folders.push(ranks_in.clone());
        Weights::Ranks(ranks_in, files)
    };
    Ok(Found { weights, folders })
}

fn not_a_checkpoint(dir: &Path) -> CheckpointError {
    let names = [hub::SINGLE, hub::INDEXED, megatron::TAG_FILES, &["mp_rank_00_model_states.pt"]].concat();
    CheckpointError::NotACheckpoint { path: dir.to_owned(), looked_for: names.join(", ") }
}

/// Holds weights against what a model needs.
///
/// # Errors
/// When any is missing, unexpected or of another shape; the error lists all of them.
pub fn check_weights(
    expected: &[(String, Vec<usize>)],
    found: &BTreeMap<String, Tensor>,
) -> Result<(), CheckpointError> {
    let needed: BTreeMap<&str, &[usize]> = expected.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
    let mut mismatch = WeightMismatch::default();
    for (name, shape) in expected {
        match found.get(name).map(Tensor::dims) {
            None => mismatch.missing.push(name.clone()),
            Some(dims) if dims != shape => {
                mismatch.misshapen.push((name.clone(), shape.clone(), dims.to_vec()));
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected = found.keys().filter(|name| !needed.contains_key(name.as_str())).cloned().collect();
    if mismatch.is_empty() { Ok(()) } else { Err(CheckpointError::Weights(mismatch)) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn every_missing_unexpected_and_misshapen_weight_is_listed() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let found = BTreeMap::from([("a".to_owned(), zeros(&[2])), ("x".to_owned(), zeros(&[1]))]);
        let expected = [("a", vec![3]), ("b", vec![1]), ("c", vec![1])].map(|(n, s)| (n.to_owned(), s));
        let message = check_weights(&expected, &found).unwrap_err().to_string();
        for line in ["2 missing:\n    b\n    c", "1 unexpected:\n    x", "a: [2] found, [3] expected"] {
            assert!(message.contains(line), "{message}");
        }
        assert!(check_weights(&expected[..0], &BTreeMap::new()).is_ok());
    }

    #[test]
    fn an_unknown_layout_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let message = read(dir.path()).unwrap_err().to_string();
        for name in
            ["model.safetensors", "pytorch_model.bin.index.json", "latest", "mp_rank_00_model_states.pt"]
        {
            assert!(message.contains(name), "{message}");
        }
    }
}
