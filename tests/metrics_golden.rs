//! Metrics against the values that the official code and scikit-learn gave (`golden/metrics`, and
//! `golden/README.md` for the tolerance: 1e-9).

use glm_eval::metrics::{Outcome, Prediction, exact_match, find, normalize_answer, token_f1};
use serde_json::Value;

#[path = "common/golden.rs"]
mod common;

const TOLERANCE: f64 = 1e-9;

fn golden() -> Option<Value> {
    common::golden("metrics/qa_and_classification.json")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_string()
}

fn texts(value: &Value) -> Vec<String> {
    array(value).iter().map(text).collect()
}

fn label(value: &Value) -> usize {
    value.as_u64().expect("a label") as usize
}

fn assert_near(ours: f64, golden: f64, what: &str) {
    assert!((ours - golden).abs() <= TOLERANCE, "{what}: {ours}, recorded {golden}");
}

/// `recorded` is in `0..=1`.
fn assert_metric(name: &str, outcomes: &[Outcome], num_labels: usize, recorded: f64) {
    let estimate = find(name).unwrap().compute(outcomes, num_labels).unwrap();
    assert_near(estimate.value, recorded, name);
    assert!(estimate.stderr.is_some_and(|stderr| stderr >= 0.0), "{name}: {estimate:?}");
}

fn percent(value: &Value) -> f64 {
    value.as_f64().expect("a number") / 100.0
}

fn fraction(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn labelled(group: Option<String>, label_: &Value, prediction: &Value) -> Outcome {
    let (label, prediction) = (Some(label(label_)), Prediction::Label(label(prediction)));
    let (id, references) = (String::new(), Vec::new());
    Outcome { id, group, prediction, label, references, log_prob: None }
}

fn answered(group: Option<String>, prediction: String, references: Vec<String>) -> Outcome {
    let (id, prediction) = (String::new(), Prediction::Text(prediction));
    Outcome { id, group, prediction, label: None, references, log_prob: None }
}

#[test]
fn answers_are_normalised_matched_and_compared_as_recorded() {
    let Some(golden) = golden() else { return };
    for pair in array(&golden["answer_pairs"]) {
        let prediction = text(&pair["prediction"]);
        if prediction.is_ascii() || !prediction.chars().any(|c| c >= '\u{3400}') {
            assert_eq!(normalize_answer(&prediction), text(&pair["normalized"]));
        } // Ideographs stay as they are, where Unidecode spells them; the scores below are the same.
        for (i, truth) in texts(&pair["ground_truths"]).iter().enumerate() {
            let what = format!("{prediction:?} against {truth:?}");
            let em = f64::from(u8::from(exact_match(&prediction, truth)));
            assert_near(em, fraction(&pair["em"][i]), &what);
            assert_near(token_f1(&prediction, truth), fraction(&pair["f1"][i]), &what);
        }
    }
}

#[test]
fn squad_scores_are_the_recorded_ones() {
    let Some(golden) = golden() else { return };
    let item =
        |item: &Value| answered(Some(text(&item["idx"])), text(&item["prediction"]), texts(&item["answers"]));
    let outcomes: Vec<Outcome> = array(&golden["squad"]["items"]).iter().map(item).collect();
    assert_metric("squad_em", &outcomes, 0, percent(&golden["squad"]["em"]));
    assert_metric("squad_f1", &outcomes, 0, percent(&golden["squad"]["f1"]));
}

#[test]
fn record_scores_are_the_recorded_ones() {
    let Some(golden) = golden() else { return };
    let item = |item: &Value| {
        let prediction = text(&item["candidates"][label(&item["prediction_index"])]);
        answered(None, prediction, texts(&item["answers"]))
    };
    let outcomes: Vec<Outcome> = array(&golden["record"]["items"]).iter().map(item).collect();
    assert_metric("record_em", &outcomes, 0, percent(&golden["record"]["em"]));
    assert_metric("record_f1", &outcomes, 0, percent(&golden["record"]["f1"]));
}

#[test]
fn multirc_scores_are_the_recorded_ones() {
    let Some(golden) = golden() else { return };
    let multirc = &golden["multirc"];
    let item =
        |item: &Value| labelled(Some(item["question_idx"].to_string()), &item["label"], &item["prediction"]);
    let mut outcomes: Vec<Outcome> = array(&multirc["items"]).iter().map(item).collect();
    assert_metric("f1a", &outcomes, 2, fraction(&multirc["f1a"]));
    assert_metric("em", &outcomes, 2, fraction(&multirc["em"]));
    assert_metric("accuracy", &outcomes, 2, percent(&multirc["accuracy"]));
    for outcome in &mut outcomes {
        outcome.prediction = Prediction::Label(0);
    }
    assert_metric("f1a", &outcomes, 2, fraction(&multirc["f1a_all_zero_predictions"]));
}

#[test]
fn cb_scores_are_the_recorded_ones() {
    let Some(golden) = golden() else { return };
    for case in array(&golden["cb"]) {
        let pairs = array(&case["labels"]).iter().zip(array(&case["predictions"]));
        let outcomes: Vec<Outcome> = pairs.map(|(label, said)| labelled(None, label, said)).collect();
        assert_metric("macro_f1", &outcomes, 3, fraction(&case["f1_macro"]));
        assert_metric("accuracy", &outcomes, 3, percent(&case["accuracy"]));
    }
}
