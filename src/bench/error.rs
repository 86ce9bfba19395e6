//! Why nothing could be measured.

use std::path::PathBuf;

use crate::model::{ModelError, RegistryError};
use crate::tasks::TaskError;
use crate::tokenizer::TokenizerError;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Neither a known name nor sizes.
    #[error(
        "there is no shape `{name}`{hint}; others are given as layers x width x heads, as in 6x256x4 or 6x256x4x8192"
    )]
    UnknownShape {
        /// What was asked for.
        name: String,
        /// `: did you mean …?`, if something is near.
        hint: String,
    },
    /// The case makes no sense.
    #[error("{0}")]
    Case(String),
    /// A task, or its data.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The task's words can't be tokenized.
    #[error("the task's words can't be tokenized")]
    Tokenizer(#[from] Box<TokenizerError>),
    /// The model can't be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The model failed.
    #[error("the model failed")]
    Model(#[from] ModelError),
    /// A process could not be started.
    #[error("{} can't be started{hint}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// The way out.
        hint: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// A Python without the module that the script needs.
    #[error("{} has no module `{module}`; install it with `{} -m pip install {module}`", python.display(), python.display())]
    NoModule {
        /// The Python.
        python: PathBuf,
        /// The module.
        module: String,
    },
    /// A picture could not be drawn.
    #[error("the sweep can't be drawn: {0}")]
    Plot(String),
    /// Ctrl-C, or the system's request to end.
    #[error("interrupted; nothing was measured")]
    Interrupted,
    /// A process that was measured ended early.
    #[error("{side} ended early ({status}){}", last_lines(.stderr))]
    Died {
        /// Which.
        side: String,
        /// As in `exit status: 1`.
        status: String,
        /// The last it said.
        stderr: Vec<String>,
    },
    /// A process that was measured answered something else than it should.
    #[error("{side} answered {found:?}, where {wanted} was expected")]
    Protocol {
        /// Which.
        side: String,
        /// What it said.
        found: String,
        /// What it should have said.
        wanted: &'static str,
    },
    /// A file or pipe failed.
    #[error("talking to {side} failed")]
    Pipe {
        /// To whom.
        side: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl From<candle_core::Error> for BenchError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

fn last_lines(stderr: &[String]) -> String {
    match stderr {
        [] => "; it said nothing on stderr".into(),
        lines => format!("; its last words:\n  {}", lines.join("\n  ")),
    }
}
