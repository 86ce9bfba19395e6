//! The task files: all load, each makes the expected first prompt of a row written here, and mistakes in a file or in
//! data are named with their place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use glm_eval::eval::training_examples;
use glm_eval::request::{Answer, Ask, CandidateScore, Loss, Part, Request};
use glm_eval::tasks::{self, Form, Head, Reading, Sample, Split, Task, TaskData, suite};
use insta::assert_snapshot;
use serde_json::{Value, json};

/// The tasks of `SuperGLUE`, diagnostics included.
fn names() -> impl Iterator<Item = &'static str> {
    let is_superglue =
        |name: &&str| Task::find(name).is_ok_and(|task| task.suite.as_deref() == Some("superglue"));
    tasks::names().filter(is_superglue)
}

/// Rows written for these tests, by task.
fn rows(task: &str) -> Vec<Value> {
    let nli = |premise: &str, hypothesis: &str, label: &str| json!({"premise": premise, "hypothesis": hypothesis, "label": label, "idx": 0});
    match task {
        "rte" => vec![nli("The “Lark” left Hull at noon.", "The Lark was in Hull.", "entailment")],
        "cb" => vec![nli("Ann thinks it will rain.", "it will rain", "neutral")],
        "ax_b" => vec![
            json!({"sentence1": "Some birds sing.", "sentence2": "Birds sing.", "label": "not_entailment", "idx": "0"}),
        ],
        "ax_g" => vec![json!({
            "premise": "The baker thanked the miller, for she was kind.", "hypothesis": "The miller was kind.",
            "label": "entailment", "pair_id": 17, "idx": 0,
        })],
        "boolq" => vec![json!({
            "passage": "Hull -- Hull is a port – and a city.", "question": "is hull a port", "label": true, "idx": 0,
        })],
        "wic" => vec![json!({
            "word": "bank", "sentence1": "The bank was closed.", "sentence2": "They sat on the bank.",
            "label": false, "idx": 0,
        })],
        "copa" => vec![
            json!({
                "premise": "The lamp went out.", "choice1": "The oil was used up.", "choice2": "It was noon.",
                "question": "cause", "label": 0, "idx": 0,
            }),
            json!({
                "premise": "The dog barked.", "choice1": "The cat ran.", "choice2": "The cat slept.",
                "question": "effect", "label": 0, "idx": 1,
            }),
        ],
        "multirc" => {
            vec![json!({"idx": 5, "passage": {"text": "Tom fed the hens. Then he slept. ", "questions": [
                {"idx": 9, "question": "What did Tom do?", "answers": [
                    {"idx": 20, "text": "He slept", "label": 1}, {"idx": 21, "text": "He sang", "label": 0},
                ]},
            ]}})]
        }
        "record" => vec![
            json!({
                "idx": 3,
                "passage": {"text": "Ann Lee met “Bo” in Hull.\n@highlight\nBo left Hull", "entities": [
                    {"start": 0, "end": 6}, {"start": 13, "end": 14}, {"start": 20, "end": 23},
                    {"start": 37, "end": 38}, {"start": 45, "end": 48},
                ]},
                "qas": [{"idx": 8, "query": "Then @placeholder went home.", "answers": [
                    {"start": 13, "end": 14, "text": "Bo"}, {"start": 0, "end": 6, "text": "Ann Lee"},
                ]}],
            }),
            json!({
                "idx": 4,
                "passage": {"text": "Di met Ed", "entities": [{"start": 0, "end": 1}, {"start": 7, "end": 8}]},
                "qas": [{"idx": 9, "query": "@placeholder smiled", "answers": [{"start": 0, "end": 1, "text": "Di"}]}],
            }),
        ],
        "wsc" => vec![
            json!({
                "text": "Ann thanked Bea because she had helped.", "label": false, "idx": 0,
                "target": {"span1_index": 0, "span1_text": "Ann", "span2_index": 4, "span2_text": "she"},
            }),
            json!({
                "text": "The cup fell off the shelf, so it broke.", "label": true, "idx": 1,
                "target": {"span1_index": 0, "span1_text": "The cup", "span2_index": 8, "span2_text": "it"},
            }),
            json!({
                "text": "Bo said he's ill.", "label": true, "idx": 2,
                "target": {"span1_index": 0, "span1_text": "Bo", "span2_index": 2, "span2_text": "he"},
            }),
        ],
        other => panic!("no rows for {other}"),
    }
}

/// A folder with the rows as one split's file.
fn folder(rows: &[Value], file: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join(file), text).expect("a temporary file");
    folder
}

fn samples(task: &Task, rows: &[Value], split: Split, form: &Form) -> Vec<Sample> {
    let folder = folder(rows, "rows.jsonl");
    let files = BTreeMap::from([(split, folder.path().join("rows.jsonl"))]);
    let data = TaskData::from_files(task, folder.path(), files);
    let samples = task.samples(&data, split, form).unwrap_or_else(|error| panic!("{error}"));
    samples.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
}

/// A request on few lines: `|` parts the parts, `*` marks those that may be cut.
fn render(request: &Request) -> String {
    let part = |part: &Part| match part {
        Part::Text { text, shortenable: true } => format!("{text}*"),
        Part::Text { text, shortenable: false } => text.clone(),
        Part::Blank | Part::LongBlank(_) => "[MASK]".to_owned(),
    };
    let side = |parts: &[Part]| parts.iter().map(part).collect::<Vec<_>>().join("|");
    let ask = match &request.ask {
        Ask::Word { words } => format!("word: {}", words.join("|")),
        Ask::Choice { candidates, length_penalty, .. } => {
            format!("choice ^{length_penalty}: {}", candidates.join("|"))
        }
        Ask::Classify { pairs, num_labels, .. } => format!("classify {num_labels}: {pairs:?}"),
        Ask::LogProb { stride, .. } => format!("log_prob, stride {stride}"),
        Ask::Generate { decoding, .. } => format!("generate {decoding:?}"),
    };
    format!("{}\n{}\n{ask}", side(&request.prompt.side_a), side(&request.prompt.side_b))
}

/// Every pattern of a task on its first row, then the form for a classification head.
fn first_prompts(name: &str) -> String {
    let task = Task::find(name).expect("a known task");
    let rows = rows(name);
    let mut lines = Vec::new();
    for pattern in &task.patterns {
        let form = Form { pattern: pattern.id, ..task.form() };
        let sample = samples(&task, &rows, Split::Val, &form).remove(0);
        lines.push(format!("{} of {}: {}", pattern.id, sample.guid, sample.official_label));
        lines.push(render(&sample.request));
    }
    let form = Form { head: Head::Classifier, ..task.form() };
    let sample = samples(&task, &rows, Split::Val, &form).remove(0);
    lines.push(render(&sample.request).trim_start().to_owned());
    lines.join("\n")
}

#[test]
fn every_task_file_loads_under_its_own_name() {
    for name in names() {
        let task = Task::find(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(task.name, name);
        assert_eq!(task.suite.as_deref(), Some("superglue"));
        assert_eq!(task.sha256.len(), 64);
        assert!(task.chance.random.is_some(), "{name}");
    }
    assert_eq!(Task::find("AX-b").expect("the title works too").name, "ax_b");
}

#[test]
fn the_suite_has_eight_tasks_and_leaves_out_the_diagnostics() {
    let tasks = suite("superglue").expect("a known suite");
    assert_eq!(tasks.len(), 8);
    for name in names() {
        let diagnostic = Task::find(name).expect("a known task").diagnostic_of.is_some();
        assert_ne!(tasks.contains(&name), diagnostic, "{name}");
    }
    assert_eq!(suite("glue"), None);
}

#[test]
fn each_task_makes_the_expected_first_prompts() {
    for name in names() {
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            assert_snapshot!(format!("first_prompts_{name}"), first_prompts(name));
        });
    }
}

#[test]
fn copa_learns_from_each_row_twice_with_choices_swapped() {
    let task = Task::find("copa").expect("a known task");
    let samples = samples(&task, &rows("copa"), Split::Train, &task.form());
    let told: Vec<_> =
        samples.iter().map(|s| (s.guid.as_str(), s.label, s.candidate(0).expect("two"))).collect();
    assert_eq!(
        told,
        [
            ("train-0", Some(0), "the oil was used up"),
            ("train-1", Some(0), "the cat ran"),
            ("train-0m", Some(1), "it was noon"),
            ("train-1m", Some(1), "the cat slept"),
        ]
    );
    assert_eq!(samples.iter().map(|sample| sample.doc_id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn record_is_ordered_by_candidates_and_learns_once_a_right_answer() {
    let task = Task::find("record").expect("a known task");
    let told = |split| -> Vec<String> {
        let samples = samples(&task, &rows("record"), split, &task.form());
        let tell = |s: &Sample| {
            let Ask::Choice { candidates, .. } = &s.request.ask else { panic!("a choice") };
            format!("{} {:?} {}", s.guid, s.label, candidates.join(","))
        };
        samples.iter().map(tell).collect()
    };
    assert_eq!(told(Split::Val), ["dev-p4-q9 Some(0)  Di, Ed", "dev-p3-q8 Some(0)  Ann Lee, Bo, Hull"]);
    assert_eq!(
        told(Split::Train),
        [
            "train-p3-q8-a0 Some(0)  Bo, Hull",
            "train-p3-q8-a1 Some(0)  Ann Lee, Hull",
            "train-p4-q9-a0 Some(0)  Di, Ed",
        ]
    );
}

#[test]
fn a_skipped_sample_is_the_one_that_is_read_in_order() {
    for (name, split) in [("record", Split::Train), ("record", Split::Val), ("copa", Split::Train)] {
        let task = Task::find(name).expect("a known task");
        let folder = folder(&rows(name), "rows.jsonl");
        let files = BTreeMap::from([(split, folder.path().join("rows.jsonl"))]);
        let data = TaskData::from_files(&task, folder.path(), files);
        let all = || task.samples(&data, split, &task.form()).expect("the rows are there");
        let in_order: Vec<Sample> = all().collect::<Result<_, _>>().expect("the rows are good");
        for (index, expected) in in_order.iter().enumerate() {
            let skipped = all().nth(index).expect("there").expect("good");
            assert_eq!((&skipped.guid, &skipped.request), (&expected.guid, &expected.request));
            assert_eq!(skipped.doc_id, index);
        }
        assert!(all().nth(in_order.len()).is_none());
    }
}

#[test]
fn many_wrong_entities_are_cut_to_nine_the_same_ones_however_they_are_read() {
    let names: Vec<String> = (0..14).map(|i| format!("E{i:02}")).collect();
    let text = names.join(" ");
    let entities: Vec<_> = (0..14).map(|i| json!({"start": 4 * i, "end": 4 * i + 2})).collect();
    let row = |idx: usize| {
        json!({
            "idx": idx, "passage": {"text": text, "entities": entities},
            "qas": [{"idx": idx, "query": "a @placeholder b", "answers": [{"text": "E03"}, {"text": "E07"}]}],
        })
    };
    let task = Task::find("record").expect("a known task");
    let samples = samples(&task, &[row(0), row(1)], Split::Train, &task.form());
    let sets: Vec<_> = samples
        .iter()
        .map(|sample| {
            let Ask::Choice { candidates, .. } = &sample.request.ask else { panic!("a choice") };
            assert_eq!(candidates.len(), 10);
            assert!(!candidates[1..].iter().any(|wrong| [" E03", " E07"].contains(&wrong.as_str())));
            candidates.clone()
        })
        .collect();
    assert_eq!(sets.len(), 4);
    // Python's random.Random(42).shuffle of the 12 wrong entities, drawn anew for each answer.
    assert_eq!(sets[0], [" E03", " E09", " E06", " E02", " E10", " E11", " E08", " E13", " E04", " E05"]);
    assert_ne!(sets[0][1..], sets[2][1..]);
}

#[test]
fn a_choice_is_read_in_both_directions_unless_the_form_says_otherwise() {
    let task = Task::find("copa").expect("a known task");
    for bidirectional in [true, false] {
        let form = Form { bidirectional, ..task.form() };
        assert!(task.form().bidirectional);
        for sample in samples(&task, &rows("copa"), Split::Val, &form) {
            let Ask::Choice { bidirectional: asked, .. } = sample.request.ask else { panic!("a choice") };
            assert_eq!(asked, bidirectional);
        }
    }
}

#[test]
fn wsc_marks_the_pronoun_and_learns_from_true_rows_only() {
    let task = Task::find("wsc").expect("a known task");
    let texts: Vec<String> = samples(&task, &rows("wsc"), Split::Val, &task.form())
        .iter()
        .map(|sample| match &sample.request.prompt.side_a[0] {
            Part::Text { text, .. } => text.clone(),
            _ => panic!("the text comes first"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "Ann thanked Bea because *she* had helped.",
            // The row's number of the pronoun was one too high,
            "The cup fell off the shelf, so *it* broke.",
            // and here something sticks to the pronoun.
            "Bo said *he* 's ill.",
        ]
    );
    let learned = samples(&task, &rows("wsc"), Split::Train, &task.form());
    assert_eq!(learned.iter().map(|s| s.guid.as_str()).collect::<Vec<_>>(), ["train-1", "train-2"]);
    let classifier = Form { head: Head::Classifier, ..task.form() };
    assert_eq!(samples(&task, &rows("wsc"), Split::Train, &classifier).len(), 3);
}

#[test]
fn wsc_rows_of_pronoun_pairs_have_one_wrong_candidate() {
    let task = Task::find("wsc").expect("a known task");
    let row = json!({
        "text": "The ball broke the vase because it was heavy.", "pronoun": "it",
        "candidates": ["The ball", "the vase"], "answer": "The ball",
    });
    let sample = samples(&task, &[row], Split::Train, &task.form()).remove(0);
    assert_eq!(sample.reading, Reading::FirstIsBest);
    assert_eq!((sample.candidate(0), sample.candidate(1)), (Some("The ball"), Some("the vase")));
}

#[test]
fn wsc_answers_are_read_off_the_scores() {
    let task = Task::find("wsc").expect("a known task");
    let candidate = |score, is_greedy| CandidateScore { score, num_tokens: 2, is_greedy };
    let sample = samples(&task, &rows("wsc"), Split::Val, &task.form()).remove(0);
    assert_eq!(sample.reading, Reading::Greedy);
    assert_eq!(
        sample.predict(&Answer { candidates: vec![candidate(-0.1, false)], ..Answer::default() }),
        Some(0)
    );
    assert_eq!(
        sample.predict(&Answer { candidates: vec![candidate(-9.0, true)], ..Answer::default() }),
        Some(1)
    );
    let mut row = rows("wsc").remove(0);
    row["candidates"] = json!([{"text": "Bea"}, {"text": "Bea"}]);
    let sample = samples(&task, &[row], Split::Val, &task.form()).remove(0);
    let scores =
        |a, b| Answer { candidates: vec![candidate(a, false), candidate(b, false)], ..Answer::default() };
    assert_eq!(sample.predict(&scores(-1.0, -2.0)), Some(1));
    assert_eq!(sample.predict(&scores(-2.0, -1.0)), Some(0));
    assert_eq!(sample.predict(&scores(-2.0, f64::NAN)), None);
}

/// A task that needs no code: the smallest file that loads.
const PLAIN: &str = r#"
name = "mood"
title = "Mood"
version = 1
description = "Is the mood good?"
kind = "word"
labels = ["bad", "good"]

[data]
reader = "jsonl"
folder = "Mood"
[data.files.val]
path = "val.jsonl"

[[patterns]]
id = 0
side_a = [{ shorten = "{review}" }, " It was", "[MASK]", "."]
words = { bad = " bad", good = " good" }

[[metrics]]
name = "accuracy"

[chance]
random = 0.5

[recipe]
pattern = 0
max_tokens = 64
epochs = 3
batch_size = 8
loss = "cross_entropy"
length_penalty = 0.0
learning_rate = 1e-5
warmup = 0.1
decay = "linear"
decay_to = 0.1
weight_decay = 0.1
adam_beta1 = 0.9
adam_beta2 = 0.999
adam_eps = 1e-8
clip_grad = 1.0
dropout = 0.1

[source]
paper = "none"
protocol = "this file"
"#;

#[test]
fn a_task_of_ones_own_needs_no_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mood.toml");
    fs::write(&file, PLAIN).expect("a temporary file");
    let task = Task::find(file.to_str().expect("a path")).unwrap_or_else(|error| panic!("{error}"));
    let rows = [json!({"review": "I smiled.", "label": "good"}), json!({"review": "I wept."})];
    let samples = samples(&task, &rows, Split::Test, &task.form());
    assert_eq!(render(&samples[0].request), "I smiled.*| It was|[MASK]|.\n\nword:  bad| good");
    assert_eq!(
        samples.iter().map(|s| (s.guid.as_str(), s.label)).collect::<Vec<_>>(),
        [("test-0", Some(1)), ("test-1", None)]
    );
}

#[test]
fn mistakes_in_a_task_file_are_named_with_line_and_remedy() {
    let broken = |from: &str, to: &str| {
        let text = PLAIN.replacen(from, to, 1);
        assert_ne!(text, PLAIN, "{from} is in the file");
        Task::parse(&text, "mood.toml").expect_err("it is broken").to_string()
    };
    let near = |error: String, line: &str, what: &str| {
        assert!(error.starts_with(&format!("mood.toml:{line}: ")) && error.contains(what), "{error}");
    };
    near(broken("epochs", "epoch"), "29", "unknown field `epoch`");
    near(broken("epochs", "epoch"), "29", "did you mean `epochs`?");
    near(broken("{ shorten =", "{ shortn ="), "17", "did you mean `shorten`?");
    near(broken("\"[MASK]\", ", ""), "16", "pattern 0 has 0 blanks");
    near(
        broken("good = \" good\"", "god = \" good\""),
        "18",
        "there is no label `god`; did you mean `good`?",
    );
    near(broken(", good = \" good\"", ""), "18", "no word for the label `good`");
    near(broken("epochs = 3", "epochs = 0"), "29", "the recipe's epochs is 0");
    near(broken("epochs = 3", "stride = 4\nepochs = 3"), "29", "stride is for tasks of kind \"log_prob\"");
    near(
        broken("epochs = 3", "bidirectional = false\nepochs = 3"),
        "29",
        "bidirectional is for tasks of kind \"log_prob\" or \"choice\"",
    );
    let commented = "# epochs = 3, as published\nmax_tokens = 64\nepochs = 0";
    near(broken("max_tokens = 64\nepochs = 3", commented), "30", "the recipe's epochs is 0");
    near(broken("good = \" good\"", "good = \" bad\""), "18", "`bad` and `good` have the same word");
    near(broken("\"bad\", \"good\"", "\"bad\", \"good\", \"bad\""), "7", "the label `bad` is there twice");
    near(broken("weight_decay = 0.1", "weight_decay = -5"), "37", "should be at least 0, not -5");
    near(broken("adam_beta1 = 0.9", "adam_beta1 = 1.5"), "38", "at least 0 and below 1, not 1.5");
    near(broken("adam_eps = 1e-8", "adam_eps = nan"), "40", "should be above 0, not NaN");
    near(broken("clip_grad = 1.0", "clip_grad = -1"), "41", "should be at least 0, not -1");
    near(broken("length_penalty = 0.0", "length_penalty = nan"), "32", "should be a number, not NaN");
    near(broken("warmup = 0.1", "warmup = 10"), "34", "warmup should be within 0 and 1, not 10");
    near(broken("learning_rate = 1e-5", "learning_rate = nan"), "33", "should be above 0, not NaN");
    near(broken("pattern = 0", "pattern = 4"), "27", "the recipe's pattern 4 isn't there");
    near(
        broken("reader = \"jsonl\"", "reader = \"jsonl\"\nadapter = \"copi\""),
        "11",
        "did you mean `copa`?",
    );
    near(broken("kind = \"word\"", "kind = \"wrod\""), "6", "did you mean `word`?");
    near(
        broken("[[patterns]]", "[fields]\nreviews = \"review\"\n\n[[patterns]]"),
        "20",
        "did you mean `reviews`?",
    );
}

#[test]
fn names_that_do_not_exist_come_with_a_suggestion() {
    let error = Task::find("boolqq").expect_err("no such task").to_string();
    assert!(error.contains("did you mean `boolq`?"), "{error}");
    let task = Task::find("rte").expect("a known task");
    let error = task.pattern(9).expect_err("no such pattern").to_string();
    assert_eq!(error, "rte: there is no pattern 9; it has `0`, `1`, `2`, `3`, `4`");
}

#[test]
fn a_row_that_does_not_fit_is_named_with_its_place() {
    let message = |task: &Task, row: Value| {
        let folder = folder(&[row], "rows.jsonl");
        let files = BTreeMap::from([(Split::Val, folder.path().join("rows.jsonl"))]);
        let data = TaskData::from_files(task, folder.path(), files);
        let mut samples = task.samples(&data, Split::Val, &task.form()).expect("it opens");
        let error = samples.next().expect("a sample or an error").expect_err("it doesn't fit").to_string();
        assert!(samples.next().is_none(), "nothing follows an error");
        error.rsplit_once('/').expect("a path").1.to_owned()
    };
    let rte = Task::find("rte").expect("a known task");
    assert_eq!(
        message(&rte, json!({"premise": "a", "hypothesis": "b", "label": "entailmnt", "idx": 0})),
        "rows.jsonl:1: the label \"entailmnt\" is none of `entailment`, `not_entailment`; did you mean `entailment`?"
    );
    assert_eq!(
        message(&rte, json!({"premise": "a", "idx": 0})),
        "rows.jsonl:1: there is no field `hypothesis`; the row has `premise`, `idx`"
    );
    let mood = Task::parse(PLAIN, "mood.toml").expect("a good file");
    assert_eq!(
        message(&mood, json!({"reviews": "a"})),
        "rows.jsonl:1: the pattern uses `{review}`, but its rows have only `reviews`; did you mean `reviews`?"
    );
    let record = Task::find("record").expect("a known task");
    let row = json!({"idx": 0, "passage": {"text": "ab", "entities": [{"start": 1, "end": 2}]}, "qas": []});
    let folder = folder(&[row], "rows.jsonl");
    let files = BTreeMap::from([(Split::Val, folder.path().join("rows.jsonl"))]);
    let data = TaskData::from_files(&record, folder.path(), files);
    let error = record.samples(&data, Split::Val, &record.form()).err().expect("outside").to_string();
    assert!(error.ends_with("the entity at 1 to 2 lies outside the passage of 2 characters"), "{error}");
}

fn run(arguments: &[&str], data_dir: &Path) -> (Output, String, String) {
    let mut command = Command::cargo_bin("glm-eval").expect("the binary");
    let output = command.args(arguments).arg("--data-dir").arg(data_dir).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn show_prints_a_sample_as_json_and_within_80_columns() {
    let folder = folder(&rows("copa"), "val.jsonl");
    let (output, stdout, stderr) = run(&["show", "copa", "--index", "0..9", "--json"], folder.path());
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[1]["guid"], &lines[1]["index"], &lines[1]["label"]),
        (&json!("dev-1"), &json!(1), &json!(0))
    );
    assert_eq!(lines[1]["answers"], json!([" the cat ran", " the cat slept"]));
    let encoding = &lines[1]["encodings"][0];
    let length = encoding["input_ids"].as_array().expect("ids").len() as u64;
    let pieces: u64 = encoding["pieces"].as_array().expect("pieces").iter().filter_map(Value::as_u64).sum();
    assert_eq!(length, encoding["prefix_length"].as_u64().expect("a length") + pieces);

    let (output, stdout, _) =
        run(&["show", "copa", "--guid", "dev-1", "--layout", "official"], folder.path());
    assert!(output.status.success());
    assert!(stdout.starts_with("COPA val 1  dev-1  (pattern 0)\n"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
}

#[test]
fn show_says_how_many_samples_there_are_when_it_is_asked_for_more() {
    let folder = folder(&rows("copa"), "val.jsonl");
    let (output, stdout, stderr) = run(&["show", "copa", "--index", "7..9"], folder.path());
    assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""));
    assert_eq!(stderr, "error: copa: there is no sample 7; the val set has 2\n");
}

#[test]
fn validate_names_what_is_wrong_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.toml"), PLAIN).expect("a temporary file");
    fs::write(folder.path().join("b.toml"), PLAIN.replace("epochs", "epoch")).expect("a temporary file");
    fs::create_dir(folder.path().join("Mood")).expect("a folder");
    let rows = "{\"review\": \"I smiled.\", \"label\": \"good\"}\n{\"review\": 3.5, \"label\": \"bad\"}\n{\"review\": [3]}\n";
    fs::write(folder.path().join("Mood/val.jsonl"), rows).expect("a temporary file");
    let tasks = folder.path().to_str().expect("a path");
    let (output, stdout, _) = run(&["validate", tasks], folder.path());
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert!(
        lines[0].starts_with("error  ")
            && lines[0].ends_with("val.jsonl:3: `review` should be a text, found a list of 1")
    );
    assert!(lines[1].contains("b.toml:29: unknown field `epoch`"), "{stdout}");
}

#[cfg(unix)]
#[test]
fn validate_reads_a_folder_once_where_a_link_leads_back_to_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("inner")).expect("a folder");
    fs::write(folder.path().join("inner/a.toml"), PLAIN).expect("a temporary file");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("inner/up")).expect("a link");
    let (output, stdout, _) = run(&["validate", folder.path().to_str().expect("a path")], folder.path());
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

#[test]
fn every_pattern_of_every_task_reads_every_row_written_for_tests() {
    for name in names() {
        let task = Task::find(name).expect("a known task");
        let data =
            TaskData::locate(&task, Some(Path::new("tests/data"))).unwrap_or_else(|error| panic!("{error}"));
        for &split in data.files.keys() {
            for pattern in &task.patterns {
                for head in [Head::Cloze, Head::Classifier] {
                    let form = Form { pattern: pattern.id, head, ..task.form() };
                    let samples = task.samples(&data, split, &form).unwrap_or_else(|error| panic!("{error}"));
                    let samples: Vec<Sample> =
                        samples.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{e}"));
                    assert!(!samples.is_empty(), "{name} {split}");
                    let ids: std::collections::BTreeSet<_> = samples.iter().map(|s| &s.request.id).collect();
                    assert_eq!(ids.len(), samples.len(), "{name} {split}: ids are unique");
                    assert!(
                        split == Split::Test || samples.iter().all(|sample| sample.label.is_some()),
                        "{name}"
                    );
                    let in_range = |sample: &Sample| match &sample.label {
                        Some(label) if sample.has_own_candidates() => *label < sample.candidates.len(),
                        Some(label) => *label < task.labels.len(),
                        None => true,
                    };
                    assert!(samples.iter().all(in_range), "{name} {split}: labels are in range");
                }
            }
        }
    }
}

#[test]
fn more_rows_can_be_learned_from() {
    let task = Task::find("wsc").expect("a known task");
    let folder = folder(&rows("wsc"), "train.jsonl");
    let more = folder.path().join("pairs.jsonl");
    let row = json!({"text": "Al hid Bo's hat so he ran.", "pronoun": "he", "candidates": ["Al", "Bo"], "answer": "Bo"});
    fs::write(&more, row.to_string()).expect("a temporary file");
    let mut data = TaskData::locate(&task, Some(folder.path())).expect("the rows are there");
    data.extra_train.push(more);
    let examples = training_examples(&task, &data, &task.form(), None).expect("the rows are there");
    let examples: Vec<_> = examples.collect::<Result<_, _>>().expect("the rows are good");
    let ids: Vec<&str> = examples.iter().map(|example| example.request.id.as_str()).collect();
    assert_eq!(ids, ["train-1", "train-2", "train-wscr-0"]);
    // A family's recipe may name another loss.
    let form = glm_eval::tasks::Form { loss: Loss::Hinge, ..task.form() };
    let others = training_examples(&task, &data, &form, None).expect("the rows are there");
    assert_eq!(others.last().expect("three").expect("a good row").loss, Loss::Hinge);
    // A single candidate can't be compared with others: only its own score is learned from.
    assert_eq!(
        examples.iter().map(|e| e.loss).collect::<Vec<_>>(),
        [Loss::Generative, Loss::Generative, Loss::Mix]
    );
}
