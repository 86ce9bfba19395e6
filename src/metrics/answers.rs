//! Metrics over answer texts: `ReCoRD` and `SQuAD`.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/superglue/evaluate.py`, after the official `ReCoRD` and `SQuAD` scripts;
//! the folding to ASCII is GLM's addition to them.

use std::collections::BTreeMap;

use super::{Outcome, Prediction, fold, groups};
use crate::stats::{self, Estimate};

/// An answer as it is compared: lowercased, folded to ASCII, without ASCII punctuation, without the words
/// `a`, `an` and `the`, its words joined by single spaces.
pub fn normalize_answer(text: &str) -> String {
    let folded = fold::to_ascii(&text.to_lowercase());
    let bare: String = folded.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = bare.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

/// Are two answers the same once normalised? Two answers of nothing but articles are.
pub fn exact_match(prediction: &str, reference: &str) -> bool {
    normalize_answer(prediction) == normalize_answer(reference)
}

/// F1 of the words two normalised answers share, each as often as it occurs in both: `2 p r / (p + r)`, in
/// `0..=1`; 0 where they share none, so also where both are empty.
pub fn token_f1(prediction: &str, reference: &str) -> f64 {
    let (prediction, reference) = (normalize_answer(prediction), normalize_answer(reference));
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    reference.split(' ').filter(|word| !word.is_empty()).for_each(|word| *left.entry(word).or_default() += 1);
    let num_reference: usize = left.values().sum();
    let (mut num_prediction, mut shared) = (0, 0);
    for word in prediction.split(' ').filter(|word| !word.is_empty()) {
        num_prediction += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / num_prediction as f64, shared as f64 / num_reference as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Best over the references; 0 without references or for a failed sample. `None` for a predicted label.
fn best(outcome: &Outcome, score: fn(&str, &str) -> f64) -> Option<f64> {
    match &outcome.prediction {
        Prediction::Label(_) | Prediction::LogProb => None,
        Prediction::None => Some(0.0),
        Prediction::Text(text) => {
            Some(outcome.references.iter().map(|reference| score(text, reference)).fold(0.0, f64::max))
        }
    }
}

fn exact(prediction: &str, reference: &str) -> f64 {
    f64::from(u8::from(exact_match(prediction, reference)))
}

/// Exact match with any reference, 0 or 1.
pub(super) fn em_score(outcome: &Outcome) -> Option<f64> {
    best(outcome, exact).filter(|_| !outcome.references.is_empty())
}

/// F1 with the nearest reference, in `0..=1`.
pub(super) fn f1_score(outcome: &Outcome) -> Option<f64> {
    best(outcome, token_f1).filter(|_| !outcome.references.is_empty())
}

/// Mean score of the chosen outcomes. A query without references counts 0, as in the official code; a split
/// that has none at all (a test split) has no value.
fn mean_of_best(
    outcomes: &[Outcome],
    chosen: &[usize],
    clusters: &[Vec<usize>],
    score: fn(&str, &str) -> f64,
) -> Option<Estimate> {
    outcomes.iter().find(|outcome| !outcome.references.is_empty())?;
    let scores = chosen.iter().map(|&i| best(&outcomes[i], score)).collect::<Option<Vec<_>>>()?;
    stats::clustered_mean_estimate(&scores, clusters)
}

fn record(outcomes: &[Outcome], score: fn(&str, &str) -> f64) -> Option<Estimate> {
    let all: Vec<usize> = (0..outcomes.len()).collect();
    mean_of_best(outcomes, &all, &groups(outcomes), score)
}

/// Mean over queries of the best [`token_f1`] over a query's references, in `0..=1`; higher is better. `n`
/// counts queries; `None` without queries. Standard error: closed form, clustered by group.
pub(super) fn record_f1(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    record(outcomes, token_f1)
}

/// Share of queries whose answer is one of the references once normalised, in `0..=1`; higher is better.
/// `n` counts queries; `None` without queries. Standard error: closed form, clustered by group.
pub(super) fn record_em(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    record(outcomes, exact)
}

/// Which outcome answers for its question: a long passage is read in several windows, and those without the
/// answer say `N/A`. The last that says something else counts, against its own references; if none does, the
/// first. (The recordings of the official code decide "the last"; descriptions of it say "the first".)
fn speaker(outcomes: &[Outcome], windows: &[usize]) -> usize {
    let answers = |i: &usize| matches!(&outcomes[*i].prediction, Prediction::Text(text) if text != "N/A");
    windows.iter().copied().rfind(answers).unwrap_or(windows[0])
}

/// Sum of the scores of some questions, and their number.
pub(super) fn squad_sum(outcomes: &[Outcome], score: fn(&Outcome) -> Option<f64>) -> Vec<f64> {
    let chosen = groups(outcomes).into_iter().map(|windows| speaker(outcomes, &windows));
    let scores: Vec<f64> = chosen.map(|i| score(&outcomes[i]).unwrap_or(0.0)).collect();
    vec![scores.iter().sum(), scores.len() as f64]
}

fn squad(outcomes: &[Outcome], score: fn(&str, &str) -> f64) -> Option<Estimate> {
    let chosen: Vec<usize> = groups(outcomes).iter().map(|windows| speaker(outcomes, windows)).collect();
    let alone: Vec<Vec<usize>> = (0..chosen.len()).map(|i| vec![i]).collect();
    mean_of_best(outcomes, &chosen, &alone, score)
}

/// Mean over questions (groups) of the best [`token_f1`] over the references, in `0..=1`; higher is better.
/// `n` counts questions; `None` without questions. Standard error: closed form over questions.
pub(super) fn squad_f1(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    squad(outcomes, token_f1)
}

/// Share of questions (groups) answered exactly like a reference, in `0..=1`; higher is better. `n` counts
/// questions; `None` without questions. Standard error: closed form over questions.
pub(super) fn squad_em(outcomes: &[Outcome], _num_labels: usize) -> Option<Estimate> {
    squad(outcomes, exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(group: &str, prediction: &str, references: &[&str]) -> Outcome {
        Outcome {
            id: String::new(),
            group: Some(group.into()),
            prediction: Prediction::Text(prediction.into()),
            label: None,
            references: references.iter().map(ToString::to_string).collect(),
            log_prob: None,
        }
    }

    #[test]
    fn case_accents_punctuation_articles_and_spaces_do_not_count() {
        assert_eq!(normalize_answer("  The Café-Bar,   an “Inn” "), "cafebar inn");
        assert!(exact_match("U.S.A.", "the USA"));
        assert!(!exact_match("theatre", "atre"));
    }

    #[test]
    fn words_count_as_often_as_both_have_them() {
        // red green blue blue against blue red red: shared red, blue: p 2/4, r 2/3: 2 * 1/3 / (7/6) = 4/7
        assert!((token_f1("red green blue blue", "blue red red") - 4.0 / 7.0).abs() < 1e-15);
    }

    #[test]
    fn two_empty_answers_match_but_share_no_word() {
        assert!(exact_match("the", "a"));
        assert!(token_f1("the", "a").abs() < 1e-15);
    }

    #[test]
    fn the_best_reference_counts() {
        let all = [answer("q", "old stone bridge", &["river", "the stone bridge"])];
        // p 2/3, r 2/2: 2 * 2/3 / (5/3) = 0.8
        assert!((record_f1(&all, 0).unwrap().value - 0.8).abs() < 1e-15);
        assert!(record_em(&all, 0).unwrap().value.abs() < 1e-15);
    }

    #[test]
    fn a_window_without_the_answer_leaves_the_word_to_the_others() {
        let all =
            [answer("q", "N/A", &["x"]), answer("q", "stone", &["stone"]), answer("r", "N/A", &["N/A"])];
        let estimate = squad_em(&all, 0).unwrap();
        assert!((estimate.value - 1.0).abs() < 1e-15);
        assert_eq!(estimate.n, 2);
    }

    #[test]
    fn a_query_without_references_counts_zero_but_a_split_without_any_has_no_value() {
        let all = [answer("q", "x", &[]), answer("r", "x", &["x"])];
        assert!((record_em(&all, 0).unwrap().value - 0.5).abs() < 1e-15);
        assert_eq!(record_em(&all[..1], 0), None);
    }

    #[test]
    fn a_label_is_not_an_answer_text() {
        let mut all = [answer("q", "x", &["x"]), answer("r", "x", &["x"])];
        all[1].prediction = Prediction::Label(0);
        assert_eq!(record_em(&all, 0), None);
        all[1].prediction = Prediction::None;
        assert!((record_em(&all, 0).unwrap().value - 0.5).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn f1_is_symmetric_and_one_for_equal_answers(a in "[a-e ]{0,12}", b in "[a-e ]{0,12}") {
            prop_assert!((token_f1(&a, &b) - token_f1(&b, &a)).abs() < 1e-12);
            let own = token_f1(&a, &a);
            let expected = f64::from(u8::from(!normalize_answer(&a).is_empty()));
            prop_assert!((own - expected).abs() < 1e-12);
        }

        #[test]
        fn an_exact_match_with_words_has_full_f1(a in "\\PC{0,16}", b in "\\PC{0,16}") {
            if exact_match(&a, &b) && !normalize_answer(&a).is_empty() {
                prop_assert!((token_f1(&a, &b) - 1.0).abs() < 1e-12);
            }
            prop_assert!((0.0..=1.0).contains(&token_f1(&a, &b)));
        }

        #[test]
        fn normalising_twice_changes_nothing(a in "[ -~]{0,24}") {
            let once = normalize_answer(&a);
            prop_assert_eq!(normalize_answer(&once), once);
        }
    }
}
