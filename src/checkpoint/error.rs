//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

use super::pickle::PickleError;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// No known layout.
    #[error("{}: no checkpoint found; looked for {looked_for}", path.display())]
    NotACheckpoint {
        /// Where.
        path: PathBuf,
        /// What would have been recognised.
        looked_for: String,
    },
    /// A file that is not what its place says it is, or contradicts itself.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The place in it, what was found, the way out.
        problem: String,
    },
    /// A PyTorch file whose pickle could not be read.
    #[error("{}: cannot read it as data", path.display())]
    Pickle {
        /// Which file.
        path: PathBuf,
        /// Where in the pickle, and why.
        source: PickleError,
    },
    /// A zip archive that is none, or a damaged one.
    #[error("{}: not a whole PyTorch archive; it may be cut short: download or copy it again", path.display())]
    Zip {
        /// Which file.
        path: PathBuf,
        /// What the archive reader said.
        source: zip::result::ZipError,
    },
    /// A file that is not whole safetensors.
    #[error("{}: not whole safetensors; it may be cut short: download or copy it again", path.display())]
    Safetensors {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        source: safetensors::SafeTensorError,
    },
    /// A JSON file that is none.
    #[error("{}: not the JSON that belongs there", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Line, column and problem.
        source: serde_json::Error,
    },
    /// Model-parallel ranks that cannot be put together.
    #[error("{}: cannot merge the model-parallel ranks: {problem}", path.display())]
    Ranks {
        /// The folder of the ranks.
        path: PathBuf,
        /// What differs or is absent.
        problem: String,
    },
    /// The weights are not those that the configuration asks for.
    #[error("{0}")]
    Weights(WeightMismatch),
    /// Two weights with one meaning.
    #[error("`{other}` and another weight both stand for `{name}`; which one counts is unclear")]
    TwoNames {
        /// The name today.
        name: String,
        /// The name there.
        other: String,
    },
    /// Two weights that are one in the network.
    #[error(
        "`{original}` and `{copy}` are one weight according to the configuration, but differ; use the config.json \
         published with the weights"
    )]
    NotTied {
        /// The weight that is kept.
        original: String,
        /// The one that should equal it.
        copy: String,
    },
    /// A tensor operation failed.
    #[error("cannot lay out the tensor `{name}`")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

impl CheckpointError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(super) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn pickle(path: &Path) -> impl FnOnce(PickleError) -> Self {
        let path = path.to_owned();
        move |source| Self::Pickle { path, source }
    }

    pub(super) fn zip(path: &Path) -> impl FnOnce(zip::result::ZipError) -> Self {
        let path = path.to_owned();
        move |source| Self::Zip { path, source }
    }

    pub(super) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Json { path, source }
    }

    pub(super) fn tensor(name: &str) -> impl FnOnce(candle_core::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Tensor { name, source }
    }
}

/// All differences between the weights a model needs and those found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightMismatch {
    /// Needed, but not there.
    pub missing: Vec<String>,
    /// There, but not needed.
    pub unexpected: Vec<String>,
    /// There with another shape: name, expected, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl WeightMismatch {
    /// Is there no difference?
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

impl std::fmt::Display for WeightMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the weights do not fit the configuration")?;
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                write!(f, "\n  {} {what}:", names.len())?;
            }
            names.iter().try_for_each(|name| write!(f, "\n    {name}"))?;
        }
        if !self.misshapen.is_empty() {
            write!(f, "\n  {} of another shape:", self.misshapen.len())?;
        }
        for (name, expected, found) in &self.misshapen {
            write!(f, "\n    {name}: {found:?} found, {expected:?} expected")?;
        }
        write!(f, "\n  use the config.json that was published with these weights")
    }
}
