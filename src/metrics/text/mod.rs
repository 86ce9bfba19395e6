//! Metrics over generated texts: ROUGE, BLEU, METEOR, and the clean-ups that come before them.
//!
//! A variant is a metric of its own with a name of its own: scores of two variants can't be compared.

pub mod bleu;
pub mod cleanup;
mod lcs;
pub mod meteor;
pub mod porter;
pub mod rouge;
pub mod wordnet;
mod words;

use std::sync::OnceLock;

use rayon::prelude::*;

use self::bleu::{Bleu, Smoothing};
use self::cleanup::CleanUp;
use self::meteor::meteor;
use self::rouge::{Measure, Pair};
use self::wordnet::WordNet;
use super::tally::{Tally, share};
use super::{Computation, Metric, Outcome, Prediction};
use crate::stats::counts::Counts;
use crate::stats::{self, Estimate};

/// A metric over texts.
#[derive(Clone, Copy, Debug)]
pub enum TextMetric {
    /// Mean ROUGE F1 with the reference that gives the best.
    Rouge {
        /// What is compared.
        measure: Measure,
        /// Which words are the same.
        words: Words,
    },
    /// BLEU over all texts at once.
    Bleu(Bleu),
    /// Mean METEOR with the reference that gives the best.
    Meteor {
        /// Do synonyms match?
        synonyms: bool,
    },
}

/// What is done to texts before ROUGE compares their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Nothing.
    Plain,
    /// Words are stemmed.
    Stemmed,
    /// Texts are cleaned up and words stemmed; prediction and reference take each other's place, as the official code
    /// hands them over (which matters to the union of subsequences only).
    Official(CleanUp),
}

impl Words {
    fn pair(self, prediction: &str, reference: &str) -> Pair {
        match self {
            Self::Plain => Pair::new(prediction, reference, false),
            Self::Stemmed => Pair::new(prediction, reference, true),
            Self::Official(clean_up) => {
                Pair::new(&clean_up.reference(reference), &clean_up.prediction(prediction), true)
            }
        }
    }
}

static WORDNET: OnceLock<WordNet> = OnceLock::new();

/// Makes `WordNet` known to the metric that needs it. The first one stays.
pub fn set_wordnet(wordnet: WordNet) {
    _ = WORDNET.set(wordnet);
}

/// A prediction with its references, and their words once a metric has asked for them.
struct Texts<'a> {
    prediction: &'a str,
    references: &'a [String],
    pairs: Vec<(Words, Vec<Pair>)>,
}

impl<'a> Texts<'a> {
    /// A failed sample is an empty text; `None` for a label, or without references.
    fn new(outcome: &'a Outcome) -> Option<Self> {
        let prediction = match &outcome.prediction {
            Prediction::Text(text) => text.as_str(),
            Prediction::None => "",
            Prediction::Label(_) | Prediction::LogProb => return None,
        };
        let references = &outcome.references;
        (!references.is_empty()).then_some(Self { prediction, references, pairs: Vec::new() })
    }

    /// The prediction with each of the references.
    fn pairs(&mut self, words: Words) -> &[Pair] {
        let known = self.pairs.iter().position(|(known, _)| *known == words);
        let at = known.unwrap_or_else(|| {
            let pair = |reference: &String| words.pair(self.prediction, reference);
            self.pairs.push((words, self.references.iter().map(pair).collect()));
            self.pairs.len() - 1
        });
        &self.pairs[at].1
    }
}

impl TextMetric {
    /// A sample's score, in `0..=1`; `None` for BLEU, which isn't a mean, and where there is nothing to score or no
    /// `WordNet` to score it with.
    pub(super) fn score(&self, outcome: &Outcome) -> Option<f64> {
        self.score_of(&mut Texts::new(outcome)?)
    }

    fn score_of(&self, texts: &mut Texts) -> Option<f64> {
        let wordnet = match self {
            Self::Bleu(_) => return None,
            Self::Rouge { measure, words } => {
                return Some(
                    texts.pairs(*words).iter().map(|pair| pair.score(*measure).f1).fold(0.0, f64::max),
                );
            }
            Self::Meteor { synonyms: true } => Some(WORDNET.get()?),
            Self::Meteor { synonyms: false } => None,
        };
        let score = |reference: &String| meteor(texts.prediction, reference, wordnet);
        Some(texts.references.iter().map(score).fold(0.0, f64::max))
    }

    pub(super) fn is_mean(&self) -> bool {
        !matches!(self, Self::Bleu(_))
    }

    /// What a sample adds: its score and 1, or the counts of BLEU.
    fn counts(&self, texts: &mut Texts) -> Option<Vec<f64>> {
        match self {
            Self::Bleu(bleu) => Some(bleu.counts(texts.prediction, texts.references)),
            _ => self.score_of(texts).map(|score| vec![score, 1.0]),
        }
    }

    /// What each unit of samples adds, for several metrics at once. `None` for a metric without samples, or for which
    /// any can't be scored.
    pub(super) fn tallies(
        metrics: &[TextMetric],
        outcomes: &[Outcome],
        units: &[Vec<usize>],
    ) -> Vec<Option<Tally>> {
        let counts = |outcome: &Outcome| -> Vec<Option<Vec<f64>>> {
            let mut texts = Texts::new(outcome);
            metrics.iter().map(|metric| metric.counts(texts.as_mut()?)).collect()
        };
        let counts: Vec<Vec<Option<Vec<f64>>>> = outcomes.par_iter().map(counts).collect();
        let of = |(place, metric): (usize, &TextMetric)| {
            let counts: Vec<&[f64]> =
                counts.iter().map(|all| all[place].as_deref()).collect::<Option<_>>()?;
            let width = counts.first()?.len();
            let sum = |unit: &Vec<usize>| {
                (0..width).map(|column| unit.iter().map(|&i| counts[i][column]).sum()).collect()
            };
            Some(Tally { rows: units.iter().map(sum).collect(), value: metric.value() })
        };
        metrics.iter().enumerate().map(of).collect()
    }

    /// The metric, of counts added up.
    fn value(&self) -> fn(&[f64]) -> Option<f64> {
        match self {
            Self::Bleu(bleu) if bleu.smoothing == Smoothing::None => |t: &[f64]| Some(Bleu::PLAIN.score(t)),
            Self::Bleu(_) => |t: &[f64]| Some(Bleu::SACREBLEU.score(t)),
            _ => share,
        }
    }

    /// The value of a tally over `n` samples. Standard error: closed form for means, bootstrap for BLEU.
    pub(super) fn estimate(&self, tally: &Tally, n: usize) -> Estimate {
        let counts = Counts::new(tally.rows.iter().cloned());
        let value = (tally.value)(&counts.totals()).unwrap_or_default();
        let g = tally.rows.len() as f64;
        let stderr = if self.is_mean() {
            let residuals = tally.rows.iter().map(|row| (row[0] - value * row[1]).powi(2));
            (tally.rows.len() > 1).then(|| (g / (g - 1.0) * residuals.sum::<f64>()).sqrt() / n as f64)
        } else {
            let draws = || counts.bootstrap(stats::BOOTSTRAP_DRAWS, stats::BOOTSTRAP_SEED, tally.value);
            (tally.rows.len() > 1).then(|| stats::sample_std(&draws())).flatten()
        };
        Estimate { value, stderr, n }
    }
}

/// A line of the list of metrics.
pub(super) const fn metric(name: &'static str, summary: &'static str, metric: TextMetric) -> Metric {
    Metric {
        name,
        lm_eval_name: name,
        higher_is_better: true,
        summary,
        reads_texts: true,
        computation: Computation::Texts(metric),
    }
}

pub(super) const fn rouge(measure: Measure, words: Words) -> TextMetric {
    TextMetric::Rouge { measure, words }
}
