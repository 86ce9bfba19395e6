//! Published results as data: `results/published/*.csv`, one file a table of ours, inside the binary.
//!
//! A row is one number as it is printed, with its source: tables 1 to 6, 9 and 10 and figure 4 of the GLM paper
//! (arXiv:2103.10360v2), the README of its repository, and speeds that others measured. Nothing is taken but values.

use std::sync::LazyLock;

/// One published number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where it stands: `GLM-T1` is table 1 of the GLM paper, `GLM-F4` its figure 4.
    pub table: String,
    /// The model, as printed.
    pub model: String,
    /// Its size in words, as in `340M`; empty where nobody says.
    pub params: String,
    /// What it was pre-trained on; empty where nobody says.
    pub pretraining_data: String,
    /// The data it was scored on, as in `CNN/DailyMail test`.
    pub task: String,
    /// As in `F1`.
    pub metric: String,
    /// The value as printed, in the unit of the table (mostly percent): `66.0`, but also `>100`.
    pub value: String,
    /// Where it was read, and whether anywhere else.
    pub source: String,
}

impl Published {
    /// The value as a number; `None` where a bound is printed.
    pub fn number(&self) -> Option<f64> {
        self.value.parse().ok()
    }

    /// The number of parameters: of `340M` and `1.5B (unverified)`; a model of a size like another's counts as
    /// large as that (`similar to BERT_Large`). `None` where nobody says.
    pub fn num_parameters(&self) -> Option<f64> {
        let word = self.params.split(' ').next().unwrap_or("");
        let unit = |suffix: &str, factor: f64| {
            word.strip_suffix(suffix).and_then(|n| n.parse::<f64>().ok()).map(|n| n * factor)
        };
        let alike = ["similar to BERT_Large", "Large"].iter().any(|start| self.params.starts_with(start));
        unit("M", 1e6).or_else(|| unit("B", 1e9)).or(alike.then_some(340e6))
    }
}

macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../results/published/", $name, ".csv")))),*]
    };
}

/// The files, by name.
const FILES: &[(&str, &str)] = files!(
    "superglue",
    "summarization",
    "gigaword",
    "squad_qg",
    "infilling",
    "lm",
    "ablation",
    "glue",
    "squad",
    "speed"
);

static ROWS: LazyLock<Vec<(&str, Vec<Published>)>> = LazyLock::new(|| {
    let parse = |text: &str| csv::Reader::from_reader(text.as_bytes()).into_deserialize().collect();
    let file = |&(name, text): &(&'static str, &str)| {
        let rows: Result<Vec<Published>, csv::Error> = parse(text);
        (name, rows.expect("the files inside the binary are tested"))
    };
    FILES.iter().map(file).collect()
});

/// The numbers of a file of `results/published`, in the order of print; none for another name.
pub fn published(file: &str) -> &'static [Published] {
    ROWS.iter().find(|(name, _)| *name == file).map_or(&[], |(_, rows)| rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_every_value_is_a_number_or_a_bound() {
        assert_eq!(FILES.iter().map(|(name, _)| published(name).len()).sum::<usize>(), 468);
        for row in FILES.iter().flat_map(|(name, _)| published(name)) {
            let bound = row.value.strip_prefix('>').is_some_and(|rest| rest.parse::<f64>().is_ok());
            assert!(row.number().is_some() || bound, "{row:?}");
            assert!(!row.source.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn sizes_are_read_from_words() {
        let sized = |params: &str| {
            let mut row = published("superglue")[0].clone();
            row.params = params.into();
            row.num_parameters()
        };
        assert_eq!(sized("340M"), Some(340e6));
        assert_eq!(sized("1.5B (unverified)"), Some(1.5e9));
        assert_eq!(sized("similar to BERT_Large (paper sec. 3.2)"), Some(340e6));
        assert_eq!([sized(""), sized("unverified")], [None, None]);
    }
}
