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

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use crate::compare::Test;
use crate::metrics;
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
    #[serde(default)]
    pub threshold: Option<f64>,
    /// The smallest loss that matters: in `0..=1`, of perplexities and bits in their own unit.
    #[serde(default)]
    pub min_absolute_change: Option<f64>,
    /// The same, as a share of the baseline's value.
    #[serde(default)]
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

    /// A number that makes no sense for the entry's metric: its key, and why. Of a metric that this program does not know
    /// only that it is a number is asked.
    fn wrong_number(&self) -> Option<(&'static str, String)> {
        let scale = metrics::find(&self.metric).ok().map(metrics::Metric::scale);
        let change = [
            ("min_absolute_change", self.min_absolute_change),
            ("min_relative_change", self.min_relative_change),
        ];
        let wrong = |(key, number): (&'static str, Option<f64>)| {
            let number = number?;
            let (fits, expected) = match scale {
                None => (number.is_finite(), "a number"),
                Some(scale) if scale <= 1.0 => (
                    number.is_finite() && number >= 0.0,
                    "a perplexity or a number of bits: they are 0 or more",
                ),
                Some(_) if key == "threshold" => {
                    ((-1.0..=1.0).contains(&number), "a score: they are fractions of 1, not percent")
                }
                Some(_) => {
                    ((0.0..=1.0).contains(&number), "a change from 0 to 1: they are fractions, not percent")
                }
            };
            (!fits).then(|| (key, format!("{number} is not {expected}")))
        };
        [("threshold", self.threshold)].into_iter().chain(change).find_map(wrong)
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
        if gate.metrics.is_empty() {
            return Err(GateError::Empty { file: file.to_owned() });
        }
        let wrong = |(index, entry): (usize, &Entry)| Some((index, entry.wrong_number()?));
        match gate.metrics.iter().enumerate().find_map(wrong) {
            Some((index, (key, what))) => {
                let line = line_of(text, index, key).unwrap_or(1);
                Err(GateError::Malformed { file: file.to_owned(), line, what, near: None })
            }
            None => Ok(gate),
        }
    }
}

/// The line on which an entry, counted from 0, has a key.
fn line_of(text: &str, entry: usize, key: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Places {
        metrics: Vec<BTreeMap<String, Spanned<toml::Value>>>,
    }
    let places: Places = toml::from_str(text).ok()?;
    let start = places.metrics.get(entry)?.get(key)?.span().start;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

/// The nearest name in a message such as "unknown field `treshold`, expected one of `threshold`, ...".
fn near_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ").then(|| quoted.next()).flatten()?;
    nearest(unknown, quoted)
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err(de::Error::custom(format!("{number} is not above 0 and at most 1")))
    }
}

fn some_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    probability(deserializer).map(Some)
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
    fn perplexities_and_bits_have_a_scale_of_their_own() {
        let parse = |metric: &str, line: &str| {
            GateFile::parse(&format!("{HEAD}{line}\n").replace("accuracy", metric), "gate.toml")
        };
        let gate = parse("word_perplexity", "threshold = 500\nmin_absolute_change = 20").unwrap();
        assert_eq!(gate.metrics[0].threshold, Some(500.0));
        assert!(parse("bits_per_byte", "threshold = 1.2\nmin_relative_change = 1.5").is_ok());
        for (line, says) in [
            ("threshold = -3", "gate.toml:4: -3 is not a perplexity or a number of bits"),
            ("test = \"permutation\"\nmin_absolute_change = inf", "gate.toml:5: inf is not a perplexity"),
        ] {
            let message = parse("word_perplexity", line).unwrap_err().to_string();
            assert!(message.starts_with(says), "{message}");
        }
        // Of several entries, the line of the one that is meant.
        let message = wrong(&format!("{HEAD}threshold = 0.5\n{HEAD}threshold = nan\n"));
        assert!(message.starts_with("gate.toml:8: NaN is not a score"), "{message}");
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
