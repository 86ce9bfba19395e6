//! Tasks: task files in, requests with their answers out.
//!
//! Everything about a task that can be written down is in its file ([`file`]); what can't is a Rust adapter
//! ([`adapters`]). A [`Task`] turns located data into a stream of [`Sample`]s.

pub mod adapters;
mod check;
mod error;
pub mod file;
mod located;
mod sample;
mod stream;
pub mod submission;
mod task;
pub mod template;

pub use check::recipe_problem;
pub use error::TaskError;
pub(crate) use error::nearest;
pub use file::{Chance, Decay, Kind, MetricSpec, Recipe};
pub use located::{Provenance, TaskData};
pub use sample::{Reading, Sample, Split};
pub use stream::Samples;
pub use task::{Form, Head, Task};

/// The task files inside the binary, by name.
pub const FILES: &[(&str, &str)] = &[
    ("boolq", include_str!("../../tasks/superglue/boolq.toml")),
    ("cb", include_str!("../../tasks/superglue/cb.toml")),
    ("copa", include_str!("../../tasks/superglue/copa.toml")),
    ("multirc", include_str!("../../tasks/superglue/multirc.toml")),
    ("record", include_str!("../../tasks/superglue/record.toml")),
    ("rte", include_str!("../../tasks/superglue/rte.toml")),
    ("wic", include_str!("../../tasks/superglue/wic.toml")),
    ("wsc", include_str!("../../tasks/superglue/wsc.toml")),
    ("ax_b", include_str!("../../tasks/superglue/ax_b.toml")),
    ("ax_g", include_str!("../../tasks/superglue/ax_g.toml")),
];

/// The suites: groups of tasks whose scores are averaged.
pub const SUITES: &[(&str, &[&str])] = &[(
    // ReCoRD first, as in the GLM paper's table; the diagnostics aren't part of the average.
    "superglue",
    &["record", "copa", "wsc", "rte", "boolq", "wic", "cb", "multirc"],
)];

/// The names of the tasks inside the binary.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The tasks of a suite, whose scores are averaged.
pub fn suite(name: &str) -> Option<Vec<&'static str>> {
    let (_, tasks) = SUITES.iter().find(|(suite, _)| suite.eq_ignore_ascii_case(name))?;
    Some(tasks.to_vec())
}
