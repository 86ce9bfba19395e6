//! Metrics as functions of counts that add up: what a bootstrap or a permutation test draws a thousand times.
//!
//! Each metric's value over a tally is its value over the outcomes (a test holds all of them to it).

use super::answers;
use super::classification::f1_of;
use super::text::TextMetric;
use super::{Computation, Metric, Outcome, Prediction, groups};
use crate::stats;

/// What each unit of samples adds to a metric, and what the sum says.
#[derive(Clone, Debug)]
pub struct Tally {
    /// One row of counts a unit, all of one length.
    pub rows: Vec<Vec<f64>>,
    /// The metric, of a sum of rows.
    pub value: fn(&[f64]) -> Option<f64>,
}

impl Metric {
    /// The metric's counts over units: sets of samples that are drawn together, such as single samples or the passages
    /// of `MultiRC`. A unit must hold whole groups. Tallies with the same `num_labels`, which is above every label and
    /// prediction, can be held against each other. `None` where the metric has no value.
    pub fn tally(&self, outcomes: &[Outcome], units: &[Vec<usize>], num_labels: usize) -> Option<Tally> {
        if let Computation::Texts(metric) = &self.computation {
            return TextMetric::tallies(&[*metric], outcomes, units).pop().flatten();
        }
        if let Computation::LogProbs(metric) = &self.computation {
            return metric.tally(outcomes, units);
        }
        self.compute(outcomes, num_labels)?;
        let of = |unit: &Vec<usize>| {
            let own: Vec<Outcome> = unit.iter().map(|&i| outcomes[i].clone()).collect();
            match self.name {
                "f1a" => f1a(&own),
                "em" => shares(&own, |group| group.iter().all(is_right)),
                "gender_parity" => shares_of_pairs(&own),
                "macro_f1" => own.iter().fold(vec![0.0; 3 * num_labels], macro_f1_row),
                "mcc" => {
                    own.iter().fold(vec![0.0; 2 * (num_labels + 1) + 2], |row, o| mcc_row(row, o, num_labels))
                }
                "squad_f1" => answers::squad_sum(&own, answers::f1_score),
                "squad_em" => answers::squad_sum(&own, answers::em_score),
                _ => {
                    let scores = own.iter().map(|outcome| self.score(outcome).unwrap_or(0.0));
                    vec![scores.sum(), own.len() as f64]
                }
            }
        };
        let value = match self.name {
            "f1a" => |t: &[f64]| Some(f1_of(t[0], t[1])),
            "macro_f1" => macro_f1,
            "mcc" => mcc,
            _ => share,
        };
        Some(Tally { rows: units.iter().map(of).collect(), value })
    }

    /// The tally of a metric that is a mean of sample scores, from those scores; a sample without one counts 0.
    pub fn tally_of_scores(scores: &[Option<f64>], units: &[Vec<usize>]) -> Tally {
        let of =
            |unit: &Vec<usize>| vec![unit.iter().map(|&i| scores[i].unwrap_or(0.0)).sum(), unit.len() as f64];
        Tally { rows: units.iter().map(of).collect(), value: share }
    }
}

pub(super) fn share(totals: &[f64]) -> Option<f64> {
    (totals[1] > 0.0).then(|| totals[0] / totals[1])
}

fn is_right(outcome: &Outcome) -> bool {
    matches!((&outcome.prediction, outcome.label), (Prediction::Label(said), Some(label)) if *said == label)
}

/// A sample's label, and what was said (its label again for a failed one).
fn label_and_said(outcome: &Outcome) -> Option<(usize, usize)> {
    let label = outcome.label?;
    Some((label, if let Prediction::Label(said) = outcome.prediction { said } else { label }))
}

/// Hits and misses of label 1; a failed sample is a miss.
fn f1a(outcomes: &[Outcome]) -> Vec<f64> {
    let mut row = vec![0.0; 2];
    for outcome in outcomes {
        let is = outcome.label == Some(1);
        let said = if outcome.prediction == Prediction::None {
            !is
        } else {
            outcome.prediction == Prediction::Label(1)
        };
        row[0] += f64::from(u8::from(is && said));
        row[1] += f64::from(u8::from(is != said));
    }
    row
}

/// Groups for which something holds, and groups.
fn shares(outcomes: &[Outcome], holds: impl Fn(&[Outcome]) -> bool) -> Vec<f64> {
    let groups = groups(outcomes);
    let own = |group: &Vec<usize>| group.iter().map(|&i| outcomes[i].clone()).collect::<Vec<_>>();
    vec![groups.iter().filter(|group| holds(&own(group))).count() as f64, groups.len() as f64]
}

fn shares_of_pairs(outcomes: &[Outcome]) -> Vec<f64> {
    let pairs: Vec<Vec<usize>> = groups(outcomes).into_iter().filter(|group| group.len() > 1).collect();
    let agrees = |pair: &&Vec<usize>| {
        let first = &outcomes[pair[0]].prediction;
        *first != Prediction::None && pair.iter().all(|&i| outcomes[i].prediction == *first)
    };
    vec![pairs.iter().filter(agrees).count() as f64, pairs.len() as f64]
}

/// Hits, misses and occurrences of each label; a failed sample is a miss of its own label.
fn macro_f1_row(mut row: Vec<f64>, outcome: &Outcome) -> Vec<f64> {
    let Some((label, said)) = label_and_said(outcome) else { return row };
    let right = is_right(outcome);
    row[3 * label] += f64::from(u8::from(right));
    row[3 * label + 1] += f64::from(u8::from(!right));
    row[3 * label + 2] += 1.0;
    if outcome.prediction != Prediction::None {
        row[3 * said + 1] += f64::from(u8::from(!right));
        row[3 * said + 2] += 1.0;
    }
    row
}

fn macro_f1(totals: &[f64]) -> Option<f64> {
    let occurring = totals.chunks(3).filter(|label| label[2] > 0.0);
    stats::mean(&occurring.map(|label| f1_of(label[0], label[1])).collect::<Vec<_>>())
}

/// How often each label is true and how often it is said, the last standing for failed samples; right ones, and all.
fn mcc_row(mut row: Vec<f64>, outcome: &Outcome, num_labels: usize) -> Vec<f64> {
    let Some((label, said)) = label_and_said(outcome) else { return row };
    let said = if outcome.prediction == Prediction::None { num_labels } else { said };
    row[2 * label] += 1.0;
    row[2 * said + 1] += 1.0;
    row[2 * num_labels + 2] += f64::from(u8::from(is_right(outcome)));
    row[2 * num_labels + 3] += 1.0;
    row
}

fn mcc(totals: &[f64]) -> Option<f64> {
    let (labels, rest) = totals.split_at(totals.len() - 2);
    let (right, all) = (rest[0], rest[1]);
    let sum = |of: fn(&[f64]) -> f64| labels.chunks(2).map(of).sum::<f64>();
    let (truly, said) = (sum(|label| label[0] * label[0]), sum(|label| label[1] * label[1]));
    let scale = (all * all - said) * (all * all - truly);
    let value =
        if scale > 0.0 { (right * all - sum(|label| label[0] * label[1])) / scale.sqrt() } else { 0.0 };
    (all > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::METRICS;
    use super::*;
    use crate::stats::counts::Counts;
    use proptest::prelude::*;

    fn outcomes(reads_texts: bool, rows: &[(u8, Option<u8>, u8)]) -> Vec<Outcome> {
        let one = |(label, said, group): &(u8, Option<u8>, u8)| Outcome {
            id: String::new(),
            group: Some(format!("p{}-q{group}", group / 3)),
            prediction: match said {
                None => Prediction::None,
                Some(said) if reads_texts => {
                    Prediction::Text(["x", "x y", "N/A", "z"][usize::from(*said)].into())
                }
                Some(said) => Prediction::Label(usize::from(*said)),
            },
            label: (!reads_texts).then_some(usize::from(*label)),
            references: if reads_texts {
                vec![["x", "y", "z", "x y"][usize::from(*label)].into()]
            } else {
                vec![]
            },
            log_prob: None,
        };
        rows.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_metric_is_the_value_of_its_tally(
            rows in prop::collection::vec((0_u8..4, prop::option::weighted(0.9, 0_u8..4), 0_u8..9), 1..40),
        ) {
            for metric in METRICS {
                let outcomes = outcomes(metric.reads_texts, &rows);
                let passages: Vec<String> = rows.iter().map(|row| (row.2 / 3).to_string()).collect();
                let units = stats::clusters_of(passages.iter().map(|passage| Some(passage.as_str())));
                let expected = metric.compute(&outcomes, 4).map(|estimate| estimate.value);
                let tally = metric.tally(&outcomes, &units, 4);
                let found = tally.and_then(|tally| (tally.value)(&Counts::new(tally.rows).totals()));
                prop_assert_eq!(found.is_some(), expected.is_some(), "{}", metric.name);
                let apart = found.zip(expected).map_or(0.0, |(found, expected)| (found - expected).abs());
                prop_assert!(apart < 1e-12, "{}", metric.name);
            }
        }
    }

    #[test]
    fn scores_alone_give_the_mean_and_a_missing_one_counts_zero() {
        let tally = Metric::tally_of_scores(&[Some(0.5), None, Some(1.0)], &[vec![0, 1], vec![2]]);
        assert_eq!(tally.rows, [[0.5, 2.0], [1.0, 1.0]]);
        assert_eq!((tally.value)(&[1.5, 3.0]), Some(0.5));
    }
}
