//! What a run leaves behind: the journal while it is under way, the record and the samples when it is done.
//!
//! Keys follow lm-evaluation-harness, so that its readers work unchanged; all of ours is under `glm_eval`.
//! Final files appear whole or not at all ([`atomic`]); what a run has finished survives a kill ([`journal`]).

pub mod atomic;
pub mod hash;
pub mod journal;
pub mod logged;
pub mod ours;
pub mod published;
pub mod recompute;
pub mod record;
pub mod run;
pub mod samples;
pub mod time;

pub use journal::{Journal, JournalError};
pub use logged::Logged;
pub use ours::GlmEval;
pub use record::{Record, RecordError};
pub use run::{Run, RunError};
pub use samples::SampleLine;
