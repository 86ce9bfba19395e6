//! The gate file: what a run must keep to.
//!
//! ```toml
//! alpha = 0.05                  # over all metrics that don't state their own, corrected for their number (Holm)
//! power = 0.8                   # a pass takes this probability of having seen the loss that matters
//!
//! [[metrics]]
//! task = "cb"
//! metric = "accuracy"
//! threshold = 0.6               # not significantly below this
//! min_absolute_change = 0.05    # the smallest loss that matters
//! min_relative_change = 0.1     # the same, as a share of the baseline's value
//! direction = "higher"          # which way is better
//! alpha = 0.01                  # for this entry alone, not corrected for others
//! test = "permutation"          # mcnemar, permutation, bootstrap or seeds
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use crate::compare::Test;
use crate::tasks::nearest;

/// A gate file. The default has no entries: every metric of the baseline counts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFile {
    /// Probability of any false alarm among the entries that don't state their own.
    #[serde(default = "default_alpha", deserialize_with = "probability")]
    pub alpha: f64,
    /// Probability with which a loss that matters must be found for a pass.
    #[serde(default = "default_power", deserialize_with = "probability")]
    pub power: f64,
    /// What is judged.
    #[serde(default)]
    pub metrics: Vec<Entry>,
}

/// One entry: each of its keys is a condition of its own, and several entries may be about one metric.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The task's name in the records.
    pub task: String,
    /// Our name of the metric.
    pub metric: String,
    /// The value must not be significantly below this (above, where lower is better).
    #[serde(default, deserialize_with = "finite")]
    pub threshold: Option<f64>,
    /// The smallest loss that matters, in `0..=1`.
    #[serde(default, deserialize_with = "not_negative")]
    pub min_absolute_change: Option<f64>,
    /// The same, as a share of the baseline's value.
    #[serde(default, deserialize_with = "not_negative")]
    pub min_relative_change: Option<f64>,
    /// Which way is better; the metric's own by default.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// For this entry alone; not corrected for others.
    #[serde(default, deserialize_with = "some_probability")]
    pub alpha: Option<f64>,
    /// A test in place of the usual one.
    #[serde(default, deserialize_with = "known_test")]
    pub test: Option<Test>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A higher value.
    Higher,
    /// A lower value.
    Lower,
}

/// A gate file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It can't be read.
    #[error("{}: the gate file could not be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It isn't a gate file.
    #[error("{file}:{line}: {what}{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Malformed {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// The known name nearest to it.
        near: Option<String>,
    },
    /// It has no entries.
    #[error(
        "{file}: the gate has no [[metrics]]; name what is to be judged, or leave --gate out to judge all"
    )]
    Empty {
        /// The file.
        file: String,
    },
}

fn default_alpha() -> f64 {
    0.05
}

fn default_power() -> f64 {
    0.8
}

impl Default for GateFile {
    fn default() -> Self {
        Self { alpha: default_alpha(), power: default_power(), metrics: Vec::new() }
    }
}

impl Entry {
    /// Is the run held against the baseline? It is unless there is nothing but a threshold.
    pub fn asks_for_change(&self) -> bool {
        let asks = self.min_absolute_change.is_some() || self.min_relative_change.is_some();
        asks || self.test.is_some() || self.threshold.is_none()
    }

    /// The smallest loss that matters: where both keys are given each is honoured, so that the smaller decides.
    pub fn margin(&self, baseline: f64) -> Option<f64> {
        let relative = self.min_relative_change.map(|share| share * baseline.abs());
        [self.min_absolute_change, relative].into_iter().flatten().reduce(f64::min)
    }
}

impl GateFile {
    /// Reads a gate file.
    ///
    /// # Errors
    /// If it can't be read, or has an unknown key or a value that makes no sense; with its line.
    pub fn read(path: &Path) -> Result<Self, GateError> {
        let text =
            fs::read_to_string(path).map_err(|source| GateError::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The same from a text; `file` names it in errors.
    ///
    /// # Errors
    /// As [`GateFile::read`].
    pub fn parse(text: &str, file: &str) -> Result<Self, GateError> {
        let gate: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(text, |span| text.get(..span.start).unwrap_or(text));
            let (line, near) = (before.matches('\n').count() + 1, near_key(error.message()));
            GateError::Malformed { file: file.to_owned(), line, what: error.message().to_owned(), near }
        })?;
        if gate.metrics.is_empty() { Err(GateError::Empty { file: file.to_owned() }) } else { Ok(gate) }
    }
}

/// The nearest name in a message such as "unknown field `treshold`, expected one of `threshold`, ...".
fn near_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ").then(|| quoted.next()).flatten()?;
    nearest(unknown, quoted)
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    fits: fn(f64) -> bool,
    expected: &str,
) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if fits(number) { Ok(number) } else { Err(de::Error::custom(format!("{number} is not {expected}"))) }
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |x| x > 0.0 && x <= 1.0, "above 0 and at most 1")
}

fn some_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    probability(deserializer).map(Some)
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    checked(deserializer, |x| (-1.0..=1.0).contains(&x), "a score: they are fractions of 1, not percent")
        .map(Some)
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    checked(
        deserializer,
        |x| (0.0..=1.0).contains(&x),
        "a change from 0 to 1: they are fractions, not percent",
    )
    .map(Some)
}

fn known_test<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Test>, D::Error> {
    match Test::deserialize(deserializer)? {
        Test::Unpaired => {
            Err(de::Error::custom("the test `unpaired` can't be chosen: it is used without samples"))
        }
        test => Ok(Some(test)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        GateFile::parse(text, "gate.toml").unwrap_err().to_string()
    }

    const HEAD: &str = "[[metrics]]\ntask = \"cb\"\nmetric = \"accuracy\"\n";

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let message = wrong(&format!("{HEAD}treshold = 0.5\n"));
        assert!(message.starts_with("gate.toml:4: unknown field `treshold`"), "{message}");
        assert!(message.ends_with("did you mean `threshold`?"), "{message}");
        let message = wrong(&format!("alhpa = 0.1\n{HEAD}"));
        assert!(
            message.starts_with("gate.toml:1: ") && message.ends_with("did you mean `alpha`?"),
            "{message}"
        );
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_their_line() {
        for (line, says) in [
            ("threshold = 60", "gate.toml:4: 60 is not a score"),
            ("min_absolute_change = -0.1", "gate.toml:4: -0.1 is not a change from 0 to 1"),
            ("alpha = 0", "gate.toml:4: 0 is not above 0"),
            ("direction = \"up\"", "gate.toml:4: unknown variant `up`"),
            ("test = \"mcnemr\"", "did you mean `mcnemar`?"),
            ("test = \"unpaired\"", "can't be chosen"),
        ] {
            let message = wrong(&format!("{HEAD}{line}\n"));
            assert!(message.contains(says), "{line}: {message}");
        }
        assert!(wrong("alpha = 0.1\n").contains("has no [[metrics]]"));
        assert!(wrong("[[metrics]]\ntask = \"cb\"\n").contains("missing field `metric`"));
    }

    #[test]
    fn of_two_margins_the_smaller_decides_and_without_any_there_is_none() {
        let gate = |more: &str| GateFile::parse(&format!("{HEAD}{more}"), "x").unwrap().metrics.remove(0);
        let both = gate("min_absolute_change = 0.05\nmin_relative_change = 0.05\n");
        assert!((both.margin(0.8).unwrap() - 0.04).abs() < 1e-12);
        assert_eq!(gate("min_absolute_change = 0.05\n").margin(0.8), Some(0.05));
        assert_eq!(gate("").margin(0.8), None);
        assert!(gate("").asks_for_change() && !gate("threshold = 0.5\n").asks_for_change());
        assert!(gate("threshold = 0.5\nmin_absolute_change = 0.1\n").asks_for_change());
    }
}
