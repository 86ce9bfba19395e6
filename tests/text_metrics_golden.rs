//! Metrics over texts against the values that `rouge-score`, `sacreBLEU`, NLTK and the official code gave
//! (`golden/metrics`; tolerance 1e-9).

use std::fmt::Write as _;

use glm_eval::metrics::text::bleu::{Bleu, Smoothing, Tokenizer};
use glm_eval::metrics::text::cleanup::{self, CleanUp};
use glm_eval::metrics::text::meteor::meteor;
use glm_eval::metrics::text::porter::stem;
use glm_eval::metrics::text::rouge::{Measure, Pair};
use glm_eval::metrics::text::wordnet::WordNet;
use glm_eval::metrics::{Outcome, Prediction, find};
use serde_json::Value;

#[path = "common/golden.rs"]
mod common;
use common::golden;

const TOLERANCE: f64 = 1e-9;

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn texts(value: &Value) -> Vec<&str> {
    array(value).iter().map(text).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn assert_near(ours: f64, golden: f64, what: &str) {
    assert!((ours - golden).abs() <= TOLERANCE, "{what}: {ours}, recorded {golden}");
}

/// Predictions with their references as a metric takes them.
fn outcomes(predictions: &[&str], references: &[Vec<&str>]) -> Vec<Outcome> {
    let outcome = |(prediction, references): (&&str, &Vec<&str>)| Outcome {
        id: String::new(),
        group: None,
        prediction: Prediction::Text((*prediction).to_owned()),
        label: None,
        references: references.iter().map(ToString::to_string).collect(),
        log_prob: None,
    };
    predictions.iter().zip(references).map(outcome).collect()
}

fn assert_metric(name: &str, outcomes: &[Outcome], recorded: f64) {
    let estimate = find(name).unwrap().compute(outcomes, 0).expect("it has a value");
    assert_near(estimate.value, recorded, name);
    assert!(
        estimate.stderr.is_some_and(|stderr| stderr > 0.0) && estimate.n == outcomes.len(),
        "{estimate:?}"
    );
}

fn measure(name: &str) -> Measure {
    match name.strip_prefix("rouge").expect("a name of rouge-score") {
        "L" => Measure::Lcs,
        "Lsum" => Measure::LcsOfLines,
        n => Measure::Ngrams(n.parse().expect("a length")),
    }
}

#[test]
fn rouge_is_the_recorded_one() {
    let Some(golden) = golden("metrics/rouge.json") else { return };
    let pairs = array(&golden["pairs"]);
    for (recorded, stemmed, suffix) in [("plain", false, ""), ("stemmer", true, "_stem")] {
        for pair in pairs {
            let (prediction, reference) = (text(&pair["prediction"]), text(&pair["reference"]));
            for (name, values) in pair[recorded].as_object().expect("a table") {
                let what = format!("{name} {recorded} of {prediction:?} against {reference:?}");
                let ours = Pair::new(prediction, reference, stemmed).score(measure(name));
                assert_near(ours.precision, number(&values[0]), &what);
                assert_near(ours.recall, number(&values[1]), &what);
                assert_near(ours.f1, number(&values[2]), &what);
            }
        }
        let predictions: Vec<&str> = pairs.iter().map(|pair| text(&pair["prediction"])).collect();
        let references: Vec<Vec<&str>> = pairs.iter().map(|pair| vec![text(&pair["reference"])]).collect();
        for name in ["rouge1", "rouge2", "rougeL", "rougeLsum"] {
            let recorded = pairs.iter().map(|pair| number(&pair[recorded][name][2])).sum::<f64>();
            let outcomes = outcomes(&predictions, &references);
            assert_metric(&format!("{name}{suffix}"), &outcomes, recorded / pairs.len() as f64);
        }
    }
}

#[test]
fn stems_are_the_recorded_ones() {
    let Some(golden) = golden("metrics/rouge.json") else { return };
    for (word, recorded) in golden["stems"].as_object().expect("a table") {
        // "Words of 3 letters or fewer are not stemmed by the scorer" (the recording's note).
        let ours = if word.len() > 3 { stem(word) } else { word.clone() };
        assert_eq!(ours, text(recorded), "{word}");
    }
}

fn smoothing(name: &str) -> Smoothing {
    match name {
        "none" => Smoothing::None,
        "floor" | "method1" => Smoothing::Floor(0.1),
        "add-k" | "method2" => Smoothing::AddK(1.0),
        "exp" | "method3" => Smoothing::Exp,
        "method4" => Smoothing::ExpByLength,
        other => panic!("no smoothing is called {other}"),
    }
}

fn tokenizer(name: &str) -> Tokenizer {
    match name {
        "none" => Tokenizer::None,
        "13a" => Tokenizer::V13a,
        "intl" => Tokenizer::International,
        "char" => Tokenizer::Characters,
        other => panic!("no tokenizer is called {other}"),
    }
}

/// The counts of all texts, added up.
fn totals(bleu: Bleu, outcomes: &[Outcome]) -> Vec<f64> {
    let counts = |outcome: &Outcome| match &outcome.prediction {
        Prediction::Text(text) => bleu.counts(text, &outcome.references),
        other => panic!("a text, not {other:?}"),
    };
    let all: Vec<Vec<f64>> = outcomes.iter().map(counts).collect();
    (0..all[0].len()).map(|column| all.iter().map(|counts| counts[column]).sum()).collect()
}

#[test]
fn bleu_is_the_recorded_one() {
    let Some(golden) = golden("metrics/bleu.json") else { return };
    let predictions = texts(&golden["hypotheses"]);
    let (first, second) = (texts(&golden["references"]), texts(&golden["second_references"]));
    let one: Vec<Vec<&str>> = first.iter().map(|text| vec![*text]).collect();
    let two: Vec<Vec<&str>> = first.iter().zip(&second).map(|(a, b)| vec![*a, *b]).collect();
    let with =
        |num_references: &str| outcomes(&predictions, if num_references == "refs2" { &two } else { &one });

    for (name, recorded) in golden["sacrebleu"].as_object().expect("a table") {
        let parts: Vec<&str> = name.split('|').collect();
        let [tokenizer_, case, smoothing_, references] = parts[..] else { continue }; // `swapped_first5`, below
        let (tokenizer, smoothing) = (tokenizer(tokenizer_), smoothing(smoothing_));
        let bleu = Bleu { tokenizer, smoothing, lowercase: case == "lc=1", ..Bleu::SACREBLEU };
        let totals = totals(bleu, &with(references));
        assert_near(100.0 * bleu.score(&totals), number(&recorded["score"]), name);
        assert_near(totals[0], number(&recorded["sys_len"]), name);
        assert_near(totals[1], number(&recorded["ref_len"]), name);
    }
    let swapped = outcomes(&first[..5], &predictions[..5].iter().map(|text| vec![*text]).collect::<Vec<_>>());
    let recorded = number(&golden["sacrebleu"]["swapped_first5"]["score"]);
    assert_metric("sacrebleu", &swapped, recorded / 100.0);
    assert_metric(
        "sacrebleu",
        &with("refs2"),
        number(&golden["sacrebleu"]["13a|lc=0|exp|refs2"]["score"]) / 100.0,
    );
    assert_metric(
        "sacrebleu_lc",
        &with(""),
        number(&golden["sacrebleu"]["13a|lc=1|exp|refs1"]["score"]) / 100.0,
    );

    let sentence = Bleu { effective_order: true, ..Bleu::SACREBLEU };
    for (outcome, recorded) in with("").iter().zip(array(&golden["sacrebleu_sentence"])) {
        let totals = totals(sentence, std::slice::from_ref(outcome));
        assert_near(100.0 * sentence.score(&totals), number(recorded), &format!("{outcome:?}"));
    }
}

#[test]
fn tokens_of_bleu_are_the_recorded_ones() {
    let Some(golden) = golden("metrics/bleu.json") else { return };
    for (name, recorded) in golden["sacrebleu_tokenized"]["by"].as_object().expect("a table") {
        for (input, recorded) in texts(&golden["sacrebleu_tokenized"]["texts"]).iter().zip(texts(recorded)) {
            let tokens = tokenizer(name).cut(input);
            assert_eq!(
                tokens.split_whitespace().collect::<Vec<_>>().join(" "),
                recorded,
                "{name} of {input:?}"
            );
        }
    }
}

#[test]
fn bleu_of_nltk_is_the_recorded_one() {
    let Some(golden) = golden("metrics/bleu.json") else { return };
    let predictions = texts(&golden["hypotheses"]);
    let (first, second) = (texts(&golden["references"]), texts(&golden["second_references"]));
    let one: Vec<Vec<&str>> = first.iter().map(|text| vec![*text]).collect();
    let two: Vec<Vec<&str>> = first.iter().zip(&second).map(|(a, b)| vec![*a, *b]).collect();
    for (name, recorded) in golden["nltk"].as_object().expect("a table") {
        let parts: Vec<&str> = name.split('|').collect();
        let order: usize =
            parts[0].trim_start_matches(char::is_alphabetic).trim_start_matches("_bleu").parse().unwrap();
        let bleu = Bleu { smoothing: smoothing(parts[1]), ..Bleu::nltk(order) };
        let outcomes = outcomes(&predictions, if parts.last() == Some(&"refs2") { &two } else { &one });
        if let Some(sentences) = recorded.as_array() {
            for (outcome, recorded) in outcomes.iter().zip(sentences) {
                let score = bleu.score(&totals(bleu, std::slice::from_ref(outcome)));
                if recorded.is_null() {
                    // NLTK has no score for an empty text; here it is 0.
                    assert_eq!(
                        (&outcome.prediction, score),
                        (&Prediction::Text(String::new()), 0.0),
                        "{name}"
                    );
                    continue;
                }
                assert_near(score, number(recorded), &format!("{name} of {outcome:?}"));
            }
        } else {
            assert_near(bleu.score(&totals(bleu, &outcomes)), number(recorded), name);
            if parts[1] == "none" {
                assert_metric(&format!("bleu{order}_nltk"), &outcomes, number(recorded));
            }
        }
    }
}

#[test]
fn meteor_without_synonyms_is_the_recorded_one() {
    let Some(golden) = golden("metrics/meteor.json") else { return };
    let (predictions, references) = (texts(&golden["hypotheses"]), texts(&golden["references"]));
    let recorded: Vec<f64> = array(&golden["without_synonyms"]).iter().map(number).collect();
    for ((prediction, reference), recorded) in predictions.iter().zip(&references).zip(&recorded) {
        let score = meteor(prediction, reference, None);
        assert_near(score, *recorded, &format!("{prediction:?} against {reference:?}"));
    }
    let references: Vec<Vec<&str>> = references.iter().map(|text| vec![*text]).collect();
    let mean = recorded.iter().sum::<f64>() / recorded.len() as f64;
    assert_metric("meteor_nltk_no_synonyms", &outcomes(&predictions, &references), mean);
}

/// A folder in `WordNet`'s format: one set of synonyms a word.
fn wordnet_folder(synonyms: &serde_json::Map<String, Value>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut data, mut index) = (String::new(), String::from("  1 a line of the licence\n"));
    for (word, names) in synonyms {
        let names = texts(names);
        let at = data.len();
        writeln!(index, "{word} n 1 0 1 0 {at:08}").expect("a string takes it");
        let words = names.join(" 0 ");
        writeln!(data, "{at:08} 03 n {:02x} {words} 0 000 | a meaning", names.len())
            .expect("a string takes it");
    }
    for part in ["noun", "verb", "adj", "adv"] {
        let (data, index) = if part == "noun" { (data.as_str(), index.as_str()) } else { ("", "") };
        for (name, text) in [(format!("data.{part}"), data), (format!("index.{part}"), index)] {
            std::fs::write(folder.path().join(name), text).expect("a temporary file");
        }
        std::fs::write(folder.path().join(format!("{part}.exc")), "").expect("a temporary file");
    }
    folder
}

#[test]
fn meteor_with_synonyms_is_the_recorded_one() {
    let Some(golden) = golden("metrics/meteor.json") else { return };
    let synonyms = golden["wordnet_lemma_names_of_hypothesis_words"].as_object().expect("a table");
    let wordnet = WordNet::open(wordnet_folder(synonyms).path()).expect("it is in the format");
    let (predictions, references) = (texts(&golden["hypotheses"]), texts(&golden["references"]));
    let (with, without) = (array(&golden["with_wordnet"]), array(&golden["without_synonyms"]));
    assert_ne!(with, without, "a synonym matches");
    for ((prediction, reference), recorded) in predictions.iter().zip(&references).zip(with) {
        let score = meteor(prediction, reference, Some(&wordnet));
        assert_near(score, number(recorded), &format!("{prediction:?} against {reference:?}"));
    }
}

#[test]
fn the_official_clean_up_is_the_recorded_one() {
    let Some(golden) = golden("metrics/official_postprocess.json") else { return };
    let variants = [
        ("cnn_dm", CleanUp::CnnDm, ""),
        ("gigaword", CleanUp::Gigaword, "_gigaword"),
        ("cnn_dm_org", CleanUp::CnnDmOriginal, "_original"),
    ];
    let rouge = &golden["rouge_metric"];
    let (predictions, references) = (texts(&rouge["predictions"]), texts(&rouge["references"]));
    for (name, clean_up, suffix) in variants {
        let words = &golden["fix_tokenization"];
        for (input, recorded) in texts(&words["inputs"]).iter().zip(texts(&words["outputs"][name])) {
            assert_eq!(clean_up.words(input), recorded, "{name} of {input:?}");
        }
        for (i, recorded) in array(&rouge["results"][format!("{name}|texts")]).iter().enumerate() {
            assert_eq!(clean_up.prediction(predictions[i]), text(&recorded["pred"]));
            assert_eq!(clean_up.reference(references[i]), text(&recorded["ref"]));
        }
        let references: Vec<Vec<&str>> = references.iter().map(|text| vec![*text]).collect();
        let outcomes = outcomes(&predictions, &references);
        for (measure, ours) in [("rouge-1", "rouge1"), ("rouge-2", "rouge2"), ("rouge-l", "rougeLsum")] {
            let recorded = number(&rouge["results"][format!("{name}|{measure}")]);
            assert_metric(&format!("{ours}_glm{suffix}"), &outcomes, recorded);
        }
    }
    // A rule of the official code drops sentences whose F1 with an earlier one is above 1.
    assert!(array(&golden["token_f1"]).iter().all(|case| number(&case[2]) <= 1.0));
}

#[test]
fn answers_and_filled_blanks_are_put_together_as_recorded() {
    let Some(golden) = golden("metrics/official_postprocess.json") else { return };
    for (name, put_together) in
        [("squad", cleanup::squad as fn(&str) -> String), ("blanklm", cleanup::blanks)]
    {
        let cases = &golden[format!("{name}_fix_tokenization")];
        for (input, recorded) in texts(&cases["inputs"]).iter().zip(texts(&cases["outputs"])) {
            assert_eq!(put_together(input), recorded, "{name} of {input:?}");
        }
    }
}
