//! What must hold for the rows: they are always the same, balanced, apart, and no field tells the answer alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{SETS, Set};
use crate::data::locate::sha256_bytes;
use serde_json::Value;

fn rows(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("it is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// What is asked in a file, one by one: the fields, and the label.
fn questions(task: &str, rows: &[Value]) -> Vec<(Vec<String>, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let plain = |row: &Value, keys: &[&str]| {
        (keys.iter().map(|key| text(&row[key])).collect(), row["label"].to_string())
    };
    let keys: &[&str] = match task {
        "boolq" => &["passage", "question"],
        "rte" | "cb" => &["premise", "hypothesis"],
        "copa" => &["premise", "choice1", "choice2"],
        "wic" => &["sentence1", "sentence2", "word"],
        _ => &[],
    };
    let asked = rows.iter().flat_map(|row| match task {
        "wsc" => {
            let place = row["target"]["span1_index"].to_string();
            let fields = vec![text(&row["text"]), text(&row["target"]["span1_text"]), place];
            vec![(fields, row["label"].to_string())]
        }
        "multirc" => {
            let passage = &row["passage"];
            let answer = |question: &Value, answer: &Value| {
                let fields = vec![text(&passage["text"]), text(&question["question"]), text(&answer["text"])];
                (fields, answer["label"].to_string())
            };
            let of = |question: &Value| -> Vec<_> {
                list(&question["answers"]).iter().map(|given| answer(question, given)).collect()
            };
            list(&passage["questions"]).iter().flat_map(of).collect()
        }
        _ if keys.is_empty() => vec![],
        _ => vec![plain(row, keys)],
    });
    asked.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The share of `val` that a naive Bayes classifier of the words of one field gets right.
fn share_right(train: &[(Vec<String>, String)], val: &[(Vec<String>, String)], field: usize) -> f64 {
    let mut counts: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
    let mut vocabulary = BTreeSet::new();
    for (fields, label) in train {
        for word in words(&fields[field]) {
            vocabulary.insert(word.clone());
            *counts.entry(label).or_default().entry(word).or_default() += 1.0;
        }
    }
    let score = |label: &str, text: &str| -> f64 {
        let of_label = &counts[label];
        let total: f64 = of_label.values().sum::<f64>() + vocabulary.len() as f64;
        words(text).iter().map(|word| ((of_label.get(word).unwrap_or(&0.0) + 1.0) / total).ln()).sum()
    };
    let is_right = |(fields, label): &&(Vec<String>, String)| {
        let best = counts.keys().max_by(|a, b| score(a, &fields[field]).total_cmp(&score(b, &fields[field])));
        best == Some(&label.as_str())
    };
    val.iter().filter(is_right).count() as f64 / val.len() as f64
}

#[test]
fn the_bytes_are_those_of_the_recorded_digests() {
    let found: Vec<[String; 2]> =
        SETS.iter().map(|set| set.files().map(|bytes| sha256_bytes(&bytes))).collect();
    let recorded: Vec<[&str; 2]> = SETS.iter().map(|set| set.sha256).collect();
    assert_eq!(found, recorded, "a change of rows raises VERSION and needs new digests");
}

#[test]
fn no_field_alone_tells_the_answer() {
    for set in SETS.iter().filter(|set| set.task != "record") {
        let [train, val] = set.files().map(|bytes| questions(set.task, &rows(&bytes)));
        let bound = if set.task == "cb" { 0.45 } else { 0.6 };
        for field in 0..train[0].0.len() {
            let share = share_right(&train, &val, field);
            assert!(share < bound, "{}: field {field} alone gives {share}", set.task);
        }
    }
}

#[test]
fn labels_are_balanced_and_guessing_scores_what_is_said() {
    for set in SETS.iter().filter(|set| set.task != "record") {
        for bytes in set.files() {
            let asked = questions(set.task, &rows(&bytes));
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (_, label) in &asked {
                *counts.entry(label).or_default() += 1;
            }
            let (least, most) =
                (counts.values().min().expect("labels"), counts.values().max().expect("labels"));
            assert_eq!(least, most, "{}: {counts:?}", set.task);
            let share = *most as f64 / asked.len() as f64;
            // F1 of taking everything as right is 2p / (p + 1).
            let guess = if set.task == "multirc" { 2.0 * share / (share + 1.0) } else { share };
            assert!((set.majority.expect("a guess") - guess).abs() < 1e-4, "{}: {guess}", set.task);
        }
    }
}

/// What must be in one file only: whatever the model reads as its text.
fn texts(set: &Set, bytes: &[u8]) -> BTreeSet<String> {
    let keys = ["passage", "premise", "text", "sentence1", "sentence2"];
    let of = |row: &Value| -> Vec<String> {
        let text = |value: &Value| value.as_str().or_else(|| value["text"].as_str()).map(str::to_owned);
        keys.iter().filter_map(|key| text(&row[key])).collect()
    };
    let texts: BTreeSet<String> = rows(bytes).iter().flat_map(of).collect();
    assert!(texts.len() > set.rows[1] / 2, "{}", set.task);
    texts
}

#[test]
fn no_text_of_the_training_file_is_in_the_validation_file() {
    for set in &SETS {
        let [train, val] = set.files().map(|bytes| texts(set, &bytes));
        assert_eq!(train.intersection(&val).next(), None, "{}", set.task);
    }
}

#[test]
fn marked_places_hold_what_they_should() {
    let val = |task: &str| rows(&super::find(task).expect("a task").files()[1]);
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    for row in val("record") {
        let text = row["passage"]["text"].as_str().expect("a text");
        assert!(text.is_ascii() && text.contains("\n@highlight\n"));
        let at = |place: &Value| &text[number(&place["start"])..=number(&place["end"])];
        let names: BTreeSet<&str> = list(&row["passage"]["entities"]).iter().map(at).collect();
        assert_eq!(names.len(), 5, "a guess is right one time in five: {text}");
        let query = &row["qas"][0];
        assert_eq!(query["query"].as_str().expect("a text").matches("@placeholder").count(), 1);
        assert!(list(&query["answers"]).iter().all(|answer| Some(at(answer)) == answer["text"].as_str()));
    }
    for row in val("wic") {
        for side in ["1", "2"] {
            let sentence = row[format!("sentence{side}")].as_str().expect("a text");
            let place = number(&row[format!("start{side}")])..number(&row[format!("end{side}")]);
            assert!(
                sentence[place].eq_ignore_ascii_case(row["word"].as_str().expect("a word")),
                "{sentence}"
            );
            assert!(!sentence.contains(['{', '[']), "{sentence}");
        }
    }
    for row in val("wsc") {
        let words: Vec<&str> = row["text"].as_str().expect("a text").split(' ').collect();
        let target = &row["target"];
        assert_eq!(Some(words[number(&target["span2_index"])]), target["span2_text"].as_str());
        let pronouns = words.iter().filter(|word| ["he", "she", "it", "they"].contains(word)).count();
        assert_eq!(pronouns, 1, "{words:?}");
    }
    for (i, row) in val("multirc").iter().enumerate() {
        let last = &list(&row["passage"]["questions"])[1];
        assert_eq!([number(&row["idx"]), number(&last["idx"])], [i, 2 * i + 1], "numbered through the file");
        assert_eq!(number(&last["answers"][3]["idx"]), 8 * i + 7);
    }
}
