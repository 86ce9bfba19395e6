//! Why a pre-training run could not be made, or ended.

use std::io;
use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::model::ModelError;
use crate::objective::{CacheError, RowError, VocabularyError};
use crate::results::atomic::WriteError;
use crate::tokenizer::TokenizerError;

/// See the messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum PretrainError {
    /// A file can't be read.
    #[error("{}: can't be read", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The configuration is no TOML, or has unknown keys.
    #[error("{}: not a configuration of a pre-training run", file.display())]
    Toml { file: PathBuf, source: Box<toml::de::Error> },
    /// A setting can't be.
    #[error("{key}: {problem}")]
    Config { key: String, problem: String },
    /// The corpus, or its tokens.
    #[error(transparent)]
    Corpus(#[from] CacheError),
    /// Nothing to cut rows from.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// A token is missing.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The tokenizer can't be opened, or does not fit.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The network can't be built.
    #[error("the network can't be built")]
    Network(#[source] ModelError),
    /// A tensor of a fresh run can't be made.
    #[error("a tensor can't be made")]
    Tensor(#[source] candle_core::Error),
    /// The configuration, the corpus or the tokenizer is not that of the run that is to be resumed.
    #[error(
        "{}: the run that stopped here was another one:{}\n  take these back, give another `--output-path`, or pass \
         `--start-over`, which removes its checkpoints",
        folder.display(),
        differences.iter().map(|difference| format!("\n  - {difference}")).collect::<Vec<_>>().concat()
    )]
    Changed { folder: PathBuf, differences: Vec<String> },
    /// No checkpoint that is there can be read.
    #[error("{}: the checkpoint can't be used, and there is no other; pass `--start-over` to begin anew", file.display())]
    Checkpoint { file: PathBuf, source: Box<PretrainError> },
    /// A checkpoint can't be read or written.
    #[error("the training state could not be kept, or read again")]
    State(#[from] CheckpointError),
    /// A checkpoint that lacks something.
    #[error("{}: {problem}", file.display())]
    Damaged { file: PathBuf, problem: String },
    /// A file of an earlier run can't be removed.
    #[error("{}: can't be removed", file.display())]
    Remove { file: PathBuf, source: io::Error },
    /// There is something already.
    #[error(
        "{}: it is there already, without a checkpoint to go on from; give another `--output-path`, or pass \
         `--start-over`, which removes it",
        .0.display()
    )]
    Taken(PathBuf),
    /// There is a model of someone else.
    #[error("{}: it holds a model that no run of this program began; give another `--output-path`", .0.display())]
    OtherModel(PathBuf),
    /// The model can't be written.
    #[error(
        "training has ended, but the weights can't be written; the same command goes on from the last checkpoint"
    )]
    Weights(#[source] CheckpointError),
    /// An output file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An update could not be made.
    #[error(
        "update {update} could not be made; with a lower `training.learning_rate` start over, or look at the batch\
         \n  its batch (rows {first_row} to {last_row}): {batch}\n  the state before it: {state}"
    )]
    Update {
        update: u64,
        first_row: u64,
        last_row: u64,
        /// Its file, or why there is none.
        batch: String,
        /// Likewise.
        state: String,
        source: candle_core::Error,
    },
    /// The loss on held-out text could not be computed.
    #[error(
        "after update {update}, the held-out text could not be measured; did the loss grow before? Then start over with a lower `training.learning_rate`"
    )]
    Evaluation { update: u64, source: candle_core::Error },
    /// There is nothing to learn from.
    #[error(
        "no row of update {0} has anything to learn from: all are too short for their blanks, or, where whole sentences are \
         to be blanks, have no sentence that ends; give longer documents, a longer `rows.max_length`, or another `mix`"
    )]
    NoTargets(u64),
    /// It was asked to stop.
    #[error(
        "interrupted after update {update}; the state is in {}, the same command{} goes on from there",
        state.display(),
        if *start_over { " without `--start-over`" } else { "" }
    )]
    Interrupted { update: u64, state: PathBuf, start_over: bool },
    /// Another run writes there.
    #[error("{}: another run is writing here; wait for it, or give another `--output-path`", .0.display())]
    Locked(PathBuf),
    /// A weight is beyond the number format that ships.
    #[error(
        "`{weight}` has values that {format} can't hold; set `output.weights` to \"bf16\" or \"f32\" and run the command \
         again, or, if they are no numbers, start over with a lower `training.learning_rate`"
    )]
    TooLarge { weight: String, format: &'static str },
}
