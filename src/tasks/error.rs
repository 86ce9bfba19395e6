//! What can be wrong with a task file, with data held against it, or with a name.

use std::path::PathBuf;

use crate::data::{LocateError, RowError};

/// Why a task can't be loaded, or a row can't become a sample.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum TaskError {
    /// No task has this name.
    #[error("there is no task `{name}`{}; `glm-eval ls tasks` lists them, and a path to a .toml file works too", suggestion(near.as_ref()))]
    UnknownTask { name: String, near: Option<String> },
    /// The name is a suite's, where one task is wanted.
    #[error("`{name}` is a suite; name one of its tasks: {}", tasks.join(", "))]
    IsSuite { name: String, tasks: &'static [&'static str] },
    /// The task file can't be read.
    #[error("{}: can't be read", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    /// The task file isn't text.
    #[error("{file}:{line}: not UTF-8; a task file is a text in UTF-8")]
    NotUtf8 { file: String, line: usize },
    /// The task file isn't a task file.
    #[error("{file}:{line}: {what}{}", suggestion(near.as_ref()))]
    Malformed { file: String, line: usize, what: String, near: Option<String> },
    /// The task has no such pattern.
    #[error("{task}: there is no pattern {pattern}; it has {}", list(known))]
    UnknownPattern { task: String, pattern: usize, known: Vec<String> },
    /// A pattern names a field that the rows don't have.
    #[error("{place}: the pattern uses `{{{field}}}`, but its rows have only {}{}", list(known), suggestion(near.as_ref()))]
    UnknownField { place: String, field: String, known: Vec<String>, near: Option<String> },
    /// A row's label is none of the task's.
    #[error("{place}: the label {found} is none of {}{}", list(known), suggestion(near.as_ref()))]
    UnknownLabel { place: String, found: String, known: Vec<String>, near: Option<String> },
    /// A row of the training or validation set has no label.
    #[error("{place}: the row has no label to learn from or to be scored by; give it one, or take it out")]
    Unlabelled { place: String },
    /// The task has no such file.
    #[error("{task}: there is no {split} file{}", if looked_for.is_empty() {
        "; the task file names none".to_owned()
    } else {
        format!(" {looked_for}")
    })]
    NoFile { task: String, split: &'static str, looked_for: String },
    /// The task can't be asked that way.
    #[error("{task}: {what}")]
    Unsupported { task: String, what: String },
    /// The data isn't where it was looked for.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A row of the data is broken.
    #[error(transparent)]
    Row(#[from] RowError),
}

fn suggestion(near: Option<&String>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { format!("`{}`", known.join("`, `")) }
}

/// The known name nearest to `name`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let name = name.to_lowercase();
    let distance = |other: &&str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    let best = known.into_iter().min_by_key(distance)?;
    // A name with every letter replaced (`7` for `0`) is another name.
    let length = name.chars().count();
    let allowed = ((length / 3).max(1) + 1).min(length.saturating_sub(1));
    (distance(&best) <= allowed).then(|| best.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("boolqq", ["rte", "boolq"]).as_deref(), Some("boolq"));
        assert_eq!(nearest("ReCoRd", ["record", "rte"]).as_deref(), Some("record"));
        assert_eq!(nearest("squad", ["rte", "boolq"]), None);
        assert_eq!(nearest("7", ["0", "1"]), None);
        assert_eq!(nearest("", ["cb"]), None);
    }
}
