//! Metrics over minimal pairs.

use super::{Outcome, Prediction, groups};
use crate::stats::{self, Estimate};

/// Gender parity: the share of minimal pairs (a group: two sentences that differ in a pronoun's gender) that
/// get the same prediction, right or wrong, in `0..=1`; higher is better, and a constant prediction reaches
/// 1, so it means nothing without the accuracy beside it. A pair with a failed sample counts as different.
/// `n` counts pairs; a sample without its counterpart (under `--limit`) is no pair. `None` without pairs.
/// Labels are not looked at. Standard error: closed form over pairs.
///
/// Source: Wang et al. (2019), "`SuperGLUE`", section 3.3, after Rudinger et al. (2018) and Poliak et al. (2018).
pub(super) fn gender_parity(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    let same = |pair: &Vec<usize>| {
        let first = &outcomes[pair[0]].prediction;
        let agree = *first != Prediction::None && pair.iter().all(|&i| outcomes[i].prediction == *first);
        f64::from(u8::from(agree))
    };
    let pairs = groups(outcomes).into_iter().filter(|group| group.len() > 1);
    stats::mean_estimate(&pairs.map(|pair| same(&pair)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(group: &str, prediction: Prediction) -> Outcome {
        Outcome {
            id: String::new(),
            group: Some(group.into()),
            prediction,
            label: Some(0),
            references: vec![],
            log_prob: None,
        }
    }

    #[test]
    fn parity_counts_pairs_with_equal_predictions_right_or_wrong() {
        use Prediction::{Label, None};
        let all = [
            sentence("a", Label(0)),
            sentence("a", Label(0)), // the same: parity
            sentence("b", Label(1)),
            sentence("b", Label(1)), // the same, though wrong: parity
            sentence("c", Label(0)),
            sentence("c", Label(1)), // different
            sentence("d", None),
            sentence("d", None),     // both failed: nothing was shown
            sentence("e", Label(0)), // its counterpart is missing: no pair
        ];
        let estimate = gender_parity(&all, 2).unwrap();
        assert!((estimate.value - 0.5).abs() < 1e-15);
        assert_eq!(estimate.n, 4);
    }

    #[test]
    fn single_sentences_have_no_parity() {
        assert_eq!(gender_parity(&[sentence("a", Prediction::Label(0))], 2), None);
    }
}
