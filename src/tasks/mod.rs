//! Tasks: task files in, requests with their answers out.
//!
//! Everything about a task that can be written down is in its file ([`file`]); what can't is a Rust adapter
//! ([`adapters`]). A [`Task`] turns located data into a stream of [`Sample`]s.

pub mod adapters;
mod check;
mod error;
pub mod file;
mod located;
mod making;
pub mod mini;
mod recipe;
mod sample;
mod stream;
pub mod submission;
mod task;
pub mod template;
mod texts;

pub use check::recipe_problem;
pub use error::TaskError;
pub(crate) use error::nearest;
pub use file::{Chance, GenerationSpec, Kind, MetricSpec};
pub use located::{Provenance, TaskData};
pub use recipe::{Decay, Recipe};
pub use sample::{Reading, Sample, Split};
pub use stream::Samples;
pub use task::{Form, Head, Task};

/// Names, paths and texts of the task files in these folders of `tasks/`.
macro_rules! files {
    ($($folder:literal: $($name:literal),+;)+) => {
        &[$($((
            $name,
            concat!("tasks/", $folder, "/", $name, ".toml"),
            include_str!(concat!("../../tasks/", $folder, "/", $name, ".toml")),
        ),)+)+]
    };
}

/// The task files inside the binary: name, path in the source tree, text.
pub const FILES: &[(&str, &str, &str)] = files! {
    "superglue": "boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc", "ax_b", "ax_g";
    "lm": "bookwiki", "lambada", "wikitext103";
    "nlg": "cnn_dm", "xsum", "gigaword", "squad_qg", "yahoo_infill";
};

/// The recipes of families other than GLM, whose recipes are in the task files: what differs from these, by suite or task.
pub const FAMILY_RECIPES: &[(&str, &str)] = &[
    ("bart", include_str!("../../recipes/bart.toml")),
    ("bert", include_str!("../../recipes/bert.toml")),
    ("gpt2", include_str!("../../recipes/gpt2.toml")),
    ("roberta", include_str!("../../recipes/roberta.toml")),
    ("t5", include_str!("../../recipes/t5.toml")),
];

/// The suites: groups of tasks. The scores of some are averaged (see [`is_averaged`]).
pub const SUITES: &[(&str, &[&str])] = &[
    // ReCoRD first, as in the GLM paper's table; the diagnostics aren't part of the average.
    ("superglue", &["record", "copa", "wsc", "rte", "boolq", "wic", "cb", "multirc"]),
    (
        "superglue-mini",
        &[
            "record_mini",
            "copa_mini",
            "wsc_mini",
            "rte_mini",
            "boolq_mini",
            "wic_mini",
            "cb_mini",
            "multirc_mini",
        ],
    ),
    ("summarization", &["cnn_dm", "xsum", "gigaword"]),
    ("lm", &["bookwiki", "bookwiki_uni", "wikitext103", "wikitext103_uni", "lambada", "lambada_uni"]),
    ("nlg", &["cnn_dm", "xsum", "gigaword", "squad_qg", "yahoo_infill"]),
];

/// Does a suite have an average?
pub fn is_averaged(suite: &str) -> bool {
    ["superglue", "superglue-mini"].iter().any(|averaged| suite.eq_ignore_ascii_case(averaged))
}

/// The names of the task files inside the binary; [`mini::names`] are tasks besides.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, ..)| *name)
}

/// The tasks of a suite.
pub fn suite(name: &str) -> Option<Vec<&'static str>> {
    let (_, tasks) = SUITES.iter().find(|(suite, _)| suite.eq_ignore_ascii_case(name))?;
    Some(tasks.to_vec())
}
