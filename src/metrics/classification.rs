//! Metrics over predicted labels.

use std::collections::BTreeSet;

use super::{Outcome, Prediction, bootstrapped, groups};
use crate::stats::{self, Estimate};

/// True and predicted label of every sample; the prediction is `None` for a failed one.
struct Labelled {
    labels: Vec<usize>,
    predictions: Vec<Option<usize>>,
}

/// `None` without samples, or if any has no label or answers with a text.
fn labelled(outcomes: &[Outcome]) -> Option<Labelled> {
    let prediction = |outcome: &Outcome| match outcome.prediction {
        Prediction::Label(label) => Some(Some(label)),
        Prediction::None => Some(None),
        Prediction::Text(_) | Prediction::LogProb => None,
    };
    let labels = outcomes.iter().map(|outcome| outcome.label).collect::<Option<Vec<_>>>()?;
    let predictions = outcomes.iter().map(prediction).collect::<Option<Vec<_>>>()?;
    (!labels.is_empty()).then_some(Labelled { labels, predictions })
}

impl Labelled {
    fn is_correct(&self, i: usize) -> bool {
        self.predictions[i] == Some(self.labels[i])
    }

    fn correct(&self) -> Vec<f64> {
        (0..self.labels.len()).map(|i| f64::from(u8::from(self.is_correct(i)))).collect()
    }

    /// F1 of one label over some samples: `2 tp / (2 tp + fp + fn)`; 0 where it is neither seen nor said.
    fn f1(&self, label: usize, indices: &[usize], failed_on: impl Fn(usize) -> bool) -> f64 {
        let (mut hits, mut misses) = (0_usize, 0_usize);
        for &i in indices {
            let is = self.labels[i] == label;
            let said = self.predictions[i].map_or_else(|| failed_on(i), |p| p == label);
            hits += usize::from(is && said);
            misses += usize::from(is != said);
        }
        f1_of(hits as f64, misses as f64)
    }
}

/// `2 tp / (2 tp + fp + fn)` of `tp` hits and `fp + fn` misses; 0 without a hit.
pub(super) fn f1_of(hits: f64, misses: f64) -> f64 {
    if hits > 0.0 { 2.0 * hits / (2.0 * hits + misses) } else { 0.0 }
}

/// 1 for a correct sample, 0 for a wrong or failed one; `None` without a label.
pub(super) fn is_correct(outcome: &Outcome) -> Option<f64> {
    labelled(std::slice::from_ref(outcome)).map(|one| one.correct()[0])
}

/// Share of correct samples, `correct / n`, in `0..=1`; higher is better. `None` without samples. The
/// standard error is the closed form, clustered by group.
pub(super) fn accuracy(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    stats::clustered_mean_estimate(&labelled(outcomes)?.correct(), &groups(outcomes))
}

/// F1 of label 1 over all samples at once (`MultiRC`'s F1a: over all answers of all questions),
/// `2 tp / (2 tp + fp + fn)`, in `0..=1`; higher is better. 0 where there is no true positive, as in the
/// official code; `None` without samples. A failed sample is a false positive or a false negative, whichever
/// its label allows: it must not pass for a true negative. Standard error: bootstrap, clustered by question.
///
/// Source: Khashabi et al. (2018), section 5; THUDM/GLM@4f61ed7 `tasks/superglue/evaluate.py`.
pub(super) fn binary_f1(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    let data = labelled(outcomes)?;
    let wrong = |i: usize| data.labels[i] != 1;
    bootstrapped(outcomes.len(), &groups(outcomes), |indices| Some(data.f1(1, indices, wrong)))
}

/// Share of groups (`MultiRC`: questions) all of whose samples are correct, in `0..=1`; higher is better.
/// `n` counts groups; `None` without samples. Standard error: closed form over groups.
///
/// Source: THUDM/GLM@4f61ed7 `tasks/superglue/evaluate.py`, `multirc_em`.
pub(super) fn question_exact_match(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    let data = labelled(outcomes)?;
    let exact = |group: &Vec<usize>| f64::from(u8::from(group.iter().all(|&i| data.is_correct(i))));
    stats::mean_estimate(&groups(outcomes).iter().map(exact).collect::<Vec<_>>())
}

/// Unweighted mean of the labels' F1, over the labels that occur among the true or the predicted ones (not
/// over all the task has), in `0..=1`; higher is better. `None` without samples. A failed sample is a false
/// negative of its label. Standard error: bootstrap, clustered by group.
///
/// Source: scikit-learn's `f1_score(average="macro")`, which the official code calls.
pub(super) fn macro_f1(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    let data = labelled(outcomes)?;
    let of = |indices: &[usize]| {
        let said = indices.iter().filter_map(|&i| data.predictions[i]);
        let occurring: BTreeSet<usize> = said.chain(indices.iter().map(|&i| data.labels[i])).collect();
        stats::mean(&occurring.iter().map(|&label| data.f1(label, indices, |_| false)).collect::<Vec<_>>())
    };
    bootstrapped(outcomes.len(), &groups(outcomes), of)
}

/// Matthews correlation of labels and predictions, in `-1..=1`; higher is better, 0 is chance. With `c`
/// correct of `s` samples, `t_k` true and `p_k` predicted ones of label `k`:
/// `(c s - sum t_k p_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2))`. 0 by convention where all labels or
/// all predictions are the same (nothing correlates with a constant); `None` without samples. Failed samples
/// are predictions of a label of their own, which is never right. Standard error: bootstrap.
///
/// Source: Gorodkin (2004); for two labels it is Matthews (1975), the metric of AX-b.
pub(super) fn matthews(outcomes: &[Outcome], num_labels: usize) -> Option<Estimate> {
    let data = labelled(outcomes)?;
    let highest = data.labels.iter().chain(data.predictions.iter().flatten()).max()?;
    let failed = num_labels.max(highest + 1);
    let of = |indices: &[usize]| {
        let (mut truly, mut said) = (vec![0.0; failed + 1], vec![0.0; failed + 1]);
        for &i in indices {
            truly[data.labels[i]] += 1.0;
            said[data.predictions[i].unwrap_or(failed)] += 1.0;
        }
        let correct = indices.iter().filter(|&&i| data.is_correct(i)).count() as f64;
        let total = indices.len() as f64;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = (total * total - dot(&said, &said)) * (total * total - dot(&truly, &truly));
        Some(if scale > 0.0 { (correct * total - dot(&truly, &said)) / scale.sqrt() } else { 0.0 })
    };
    bootstrapped(outcomes.len(), &groups(outcomes), of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcomes(labels: &[usize], predictions: &[usize]) -> Vec<Outcome> {
        let one = |(i, (&label, &prediction)): (usize, (&usize, &usize))| Outcome {
            id: i.to_string(),
            group: None,
            prediction: Prediction::Label(prediction),
            label: Some(label),
            references: Vec::new(),
            log_prob: None,
        };
        labels.iter().zip(predictions).enumerate().map(one).collect()
    }

    fn grouped(rows: &[(&str, usize, usize)]) -> Vec<Outcome> {
        let labels: Vec<usize> = rows.iter().map(|row| row.1).collect();
        let mut all = outcomes(&labels, &rows.iter().map(|row| row.2).collect::<Vec<_>>());
        all.iter_mut().zip(rows).for_each(|(outcome, row)| outcome.group = Some(row.0.into()));
        all
    }

    fn value(metric: fn(&[Outcome], usize) -> Option<Estimate>, outcomes: &[Outcome]) -> f64 {
        metric(outcomes, 2).unwrap().value
    }

    #[test]
    fn accuracy_has_the_standard_error_of_a_proportion() {
        // 3 of 4: 0.75; sqrt(0.75 * 0.25 / 3) = 0.25
        let estimate = accuracy(&outcomes(&[0, 1, 1, 0], &[0, 1, 1, 1]), 2).unwrap();
        assert!((estimate.value - 0.75).abs() < 1e-15 && (estimate.stderr.unwrap() - 0.25).abs() < 1e-15);
        assert_eq!(estimate.n, 4);
    }

    #[test]
    fn a_failed_sample_is_wrong_under_every_metric_and_never_left_out() {
        let mut all = outcomes(&[1, 1, 0, 0], &[1, 1, 0, 0]);
        all[3].prediction = Prediction::None;
        assert!((value(accuracy, &all) - 0.75).abs() < 1e-15);
        // F1a: 2 hits, the failed one a false positive: 4 / 5. Left as a true negative it would be 1.
        assert!((value(binary_f1, &all) - 0.8).abs() < 1e-15);
        // Macro F1: label 1 is perfect, label 0 has 1 hit and 1 miss: (1 + 2/3) / 2
        assert!((value(macro_f1, &all) - 5.0 / 6.0).abs() < 1e-15);
        assert!(value(matthews, &all) < 1.0);
        assert!((value(question_exact_match, &all) - 0.75).abs() < 1e-15);
    }

    #[test]
    fn a_question_counts_only_when_all_its_answers_are_right() {
        let all = grouped(&[("q1", 1, 1), ("q2", 0, 0), ("q1", 0, 1), ("q2", 1, 1), ("q3", 0, 0)]);
        let estimate = question_exact_match(&all, 2).unwrap();
        assert!((estimate.value - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(estimate.n, 3); // questions, not answers
    }

    #[test]
    fn f1a_of_predictions_that_never_say_yes_is_zero() {
        assert!(value(binary_f1, &outcomes(&[1, 1, 0], &[0, 0, 0])).abs() < 1e-15);
    }

    #[test]
    fn macro_f1_agrees_with_scikit_learn() {
        // Labels 0,0,1,1,2,2 said 0,1,1,1,0,2: F1 of 0: 1 hit, 2 misses: 2/4; of 1: 2 hits, 1 miss: 4/5;
        // of 2: 1 hit, 1 miss: 2/3; mean 0.655555..., scikit-learn 1.9.1: 0.6555555555555556
        let all = outcomes(&[0, 0, 1, 1, 2, 2], &[0, 1, 1, 1, 0, 2]);
        assert!((value(macro_f1, &all) - 0.655_555_555_555_555_6).abs() < 1e-12);
    }

    #[test]
    fn matthews_agrees_with_scikit_learn() {
        // tp 3, tn 3, fp 1, fn 1: (9 - 1) / sqrt(4 * 4 * 4 * 4) = 0.5
        let even = outcomes(&[1, 1, 1, 0, 0, 0, 1, 0], &[1, 0, 1, 0, 0, 1, 1, 0]);
        assert!((value(matthews, &even) - 0.5).abs() < 1e-12);
        // tp 3, tn 1, fp 1, fn 1: (3 - 1) / sqrt(4 * 4 * 2 * 2) = 0.25
        let uneven = outcomes(&[1, 1, 1, 1, 0, 0], &[1, 1, 1, 0, 0, 1]);
        assert!((value(matthews, &uneven) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn nothing_correlates_with_a_constant() {
        assert!(value(matthews, &outcomes(&[0, 1, 1], &[1, 1, 1])).abs() < 1e-15);
        assert!(value(matthews, &outcomes(&[1, 1, 1], &[1, 1, 1])).abs() < 1e-15);
    }

    #[test]
    fn samples_without_labels_have_no_metric() {
        let mut all = outcomes(&[0, 1], &[0, 1]);
        all[1].label = None;
        for metric in [accuracy, binary_f1, macro_f1, matthews, question_exact_match] {
            assert_eq!(metric(&all, 2), None);
        }
    }

    #[test]
    fn answers_to_one_question_are_not_independent_evidence() {
        let rows = [("q1", 1, 1), ("q1", 1, 1), ("q1", 0, 0), ("q2", 1, 0), ("q2", 0, 1), ("q2", 1, 0)];
        let alone: Vec<Outcome> = grouped(&rows).into_iter().map(|o| Outcome { group: None, ..o }).collect();
        let stderr = |outcomes: &[Outcome]| accuracy(outcomes, 2).unwrap().stderr.unwrap();
        assert!(stderr(&grouped(&rows)) > stderr(&alone));
    }

    proptest! {
        #[test]
        fn order_changes_nothing_and_ranges_hold(
            rows in prop::collection::vec((0..3_usize, 0..3_usize), 1..30), turn in 0..30_usize,
        ) {
            let (labels, predictions): (Vec<usize>, Vec<usize>) = rows.into_iter().unzip();
            let all = outcomes(&labels, &predictions);
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            for (metric, low) in [(accuracy as fn(&[Outcome], usize) -> Option<Estimate>, 0.0),
                (binary_f1, 0.0), (macro_f1, 0.0), (matthews, -1.0), (question_exact_match, 0.0)] {
                let (a, b) = (value(metric, &all), value(metric, &turned));
                prop_assert!((a - b).abs() < 1e-12);
                prop_assert!((low - 1e-12..=1.0 + 1e-12).contains(&a));
            }
        }

        #[test]
        fn perfect_predictions_score_one(labels in prop::collection::vec(0..2_usize, 1..30)) {
            let all = outcomes(&labels, &labels);
            prop_assert!((value(accuracy, &all) - 1.0).abs() < 1e-15);
            prop_assert!((value(macro_f1, &all) - 1.0).abs() < 1e-15);
        }
    }
}
