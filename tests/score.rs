//! `glm-eval score` on the rows of `tests/data`: a whole circle from references to predictions to scores.

use std::path::{Path, PathBuf};

use glm_eval::tasks::{self, Sample, Split, Task, TaskData, submission};
use serde_json::{Value, json};

/// The tasks of `SuperGLUE`, diagnostics included.
fn names() -> impl Iterator<Item = &'static str> {
    let is_superglue =
        |name: &&str| Task::find(name).is_ok_and(|task| task.suite.as_deref() == Some("superglue"));
    tasks::names().filter(is_superglue)
}

const DATA: &str = "tests/data/superglue";

fn samples(task: &Task) -> Vec<Sample> {
    let data = TaskData::locate(task, Some(Path::new(DATA))).expect("rows are in tests/data");
    let samples = task.samples(&data, Split::Val, &task.form()).expect("there is a validation set");
    samples.map(|sample| sample.expect("the rows are right")).collect()
}

/// The right answer, as a file of predictions has it.
fn right(sample: &Sample) -> Value {
    if sample.has_own_candidates() && sample.group.is_some() {
        return Value::from(sample.references[0].as_str()); // ReCoRD
    }
    sample.official_label.clone()
}

/// Lines `{guid, prediction}` with the right answers, the first one replaced by `wrong`.
fn by_guid(samples: &[Sample], wrong: Option<Value>) -> Vec<Value> {
    let line = |sample: &Sample| json!({"guid": sample.guid, "prediction": right(sample)});
    let mut lines: Vec<Value> = samples.iter().map(line).collect();
    if let Some(wrong) = wrong {
        lines[0]["prediction"] = wrong;
    }
    lines
}

/// A folder with a file of predictions in it.
struct Predictions {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Predictions {
    fn new(lines: impl IntoIterator<Item = impl ToString>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("predictions.jsonl");
        let lines: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
        std::fs::write(&file, lines.join("\n")).expect("a temporary file");
        Self { _folder: folder, file }
    }

    fn score(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command.arg("score").args(arguments).arg("--predictions").arg(&self.file).assert()
    }

    /// The values of a task's metrics on its own data, in order.
    fn values(&self, task: &str) -> Vec<(String, Option<f64>)> {
        let done = self.score(&[task, "--data-dir", DATA, "--json"]).success();
        let json: Value = serde_json::from_slice(&done.get_output().stdout).expect("it prints JSON");
        let metrics = json["metrics"].as_object().expect("it has metrics");
        metrics.iter().map(|(name, estimate)| (name.clone(), estimate["value"].as_f64())).collect()
    }

    /// The one message of a run that could not be made.
    fn error(&self, arguments: &[&str]) -> String {
        let failed = self.score(arguments).code(2);
        let output = failed.get_output();
        assert!(output.stdout.is_empty(), "a result beside an error");
        let message = String::from_utf8(output.stderr.clone()).expect("it is text");
        assert_eq!(message.lines().count(), 1, "{message}");
        let folder = self.file.parent().expect("a folder").display();
        message.trim_end().replace(&format!("{folder}/"), "")
    }
}

fn assert_perfect(task: &str, scores: &[(String, Option<f64>)]) {
    assert!(!scores.is_empty(), "{task}");
    for (metric, value) in scores {
        assert!(value.is_some_and(|value| (value - 1.0).abs() < 1e-12), "{task} {metric}: {value:?}");
    }
}

#[test]
fn right_answers_score_one_in_every_task_and_form() {
    for name in names() {
        let task = Task::find(name).expect("a known task");
        let samples = samples(&task);
        let guids = Predictions::new(by_guid(&samples, None));
        assert_perfect(name, &guids.values(name));
        let leaderboard = submission::lines(
            name,
            samples.iter().map(|sample| submission::Prediction {
                guid: &sample.guid,
                doc: &sample.doc,
                label: right(sample),
            }),
        );
        let leaderboard = Predictions::new(leaderboard.expect("the leaderboard takes all of them"));
        assert_eq!(leaderboard.values(name), guids.values(name), "{name}");
    }
}

/// A task, a wrong answer to its first sample, and what that leaves of its metrics.
type Case<'a> = (&'a str, Value, &'a [(&'a str, f64)]);

#[test]
fn one_wrong_answer_costs_what_it_should() {
    let expected: &[Case] = &[
        ("boolq", json!(false), &[("accuracy", 7.0 / 8.0)]),
        // Of three rows each, an entailment becomes a contradiction: F1 2*2/(2*2+1), 2*3/(2*3+1) and 1.
        (
            "cb",
            json!("contradiction"),
            &[("accuracy", 8.0 / 9.0), ("macro_f1", (4.0 / 5.0 + 6.0 / 7.0 + 1.0) / 3.0)],
        ),
        ("copa", json!(1), &[("accuracy", 7.0 / 8.0)]),
        // 31 answers to 9 questions, 15 of them right, one of which is missed: 2*14/(2*14+1).
        ("multirc", json!(0), &[("f1a", 28.0 / 29.0), ("em", 8.0 / 9.0), ("accuracy", 30.0 / 31.0)]),
        ("record", json!("nobody"), &[("record_em", 7.0 / 8.0), ("record_f1", 7.0 / 8.0)]),
        ("rte", json!("not_entailment"), &[("accuracy", 7.0 / 8.0)]),
        ("wic", json!(true), &[("accuracy", 7.0 / 8.0)]),
        ("wsc", json!("True"), &[("accuracy", 7.0 / 8.0)]),
        // Six of each label, one of which goes over: (6*5 - 1*0) / sqrt(7 * 6 * 6 * 5).
        ("ax_b", json!("entailment"), &[("mcc", 30.0 / 1260f64.sqrt())]),
        // One of the twelve rows, and so one of the six pairs, is answered differently.
        ("ax_g", json!("not_entailment"), &[("accuracy", 11.0 / 12.0), ("gender_parity", 5.0 / 6.0)]),
    ];
    for (name, wrong, metrics) in expected {
        let task = Task::find(name).expect("a known task");
        let samples = samples(&task);
        let spelt = |value: &Value| value.to_string().replace('"', "").to_lowercase();
        assert_ne!(spelt(&right(&samples[0])), spelt(wrong), "{name}: that would be right");
        let scores = Predictions::new(by_guid(&samples, Some(wrong.clone()))).values(name);
        for (metric, expected) in *metrics {
            let found = scores.iter().find(|(name, _)| name == metric).and_then(|(_, value)| *value);
            let near = found.is_some_and(|found| (found - expected).abs() < 1e-12);
            assert!(near, "{name} {metric}: {found:?} instead of {expected}");
        }
    }
}

#[test]
fn a_failed_sample_counts_as_wrong() {
    let task = Task::find("rte").expect("a known task");
    let scores = Predictions::new(by_guid(&samples(&task), Some(Value::Null))).values("rte");
    assert_eq!(scores, [("accuracy".to_owned(), Some(7.0 / 8.0))]);
}

#[test]
fn references_may_come_from_a_file() {
    let lines = [json!({"idx": 0, "label": "entailment"}), json!({"idx": 1, "label": "not_entailment"})];
    let right = Predictions::new(&lines);
    let file = right.file.to_str().expect("a path of text");
    let table = right.score(&["rte", "--references", file]).success();
    let table = String::from_utf8(table.get_output().stdout.clone()).expect("it is text");
    let row: Vec<&str> = table.lines().nth(1).expect("a metric").split_whitespace().collect();
    assert_eq!(row, ["accuracy", "100.00", "0.00", "100.00", "to", "100.00", "2"]);
}

#[test]
fn of_a_line_with_a_prediction_and_a_label_the_side_decides_which_counts() {
    let lines = [json!({"id": 0, "prediction": "entailment", "label": "not_entailment"})];
    let both = Predictions::new(&lines);
    let file = both.file.to_str().expect("a path of text");
    let table = both.score(&["rte", "--references", file]).success();
    let table = String::from_utf8(table.get_output().stdout.clone()).expect("it is text");
    assert_eq!(table.lines().nth(1).expect("a metric").split_whitespace().nth(1), Some("0.00"));
}

#[test]
fn typographic_quotes_do_not_make_an_answer_wrong() {
    let right = Predictions::new([json!({"idx": 0, "references": ["O'Brien", "Mr O'Brien"]})]);
    let file = right.file.to_str().expect("a path of text");
    let given = Predictions::new([json!({"idx": 0, "prediction": "O’Brien"})]);
    let done = given.score(&["record", "--references", file, "--json"]).success();
    let json: Value = serde_json::from_slice(&done.get_output().stdout).expect("it prints JSON");
    assert_eq!(json["metrics"]["record_em"]["value"], json!(1.0));
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let task = Task::find("rte").expect("a known task");
    let lines = by_guid(&samples(&task), None);
    let of = |lines: &[Value]| Predictions::new(lines);
    let own = ["rte", "--data-dir", DATA];

    let error = of(&lines).error(&["rtee", "--data-dir", DATA]);
    assert!(error.starts_with("error: there is no task `rtee`; did you mean `rte`?"), "{error}");

    let mut none = of(&lines);
    none.file.set_file_name("absent.jsonl");
    assert!(none.error(&own).starts_with("error: absent.jsonl: can't be read"));

    assert_eq!(
        of(&lines[1..]).error(&own),
        "error: predictions.jsonl: 1 of 8 samples have no prediction, the first is `dev-0`"
    );

    let with = |line: Value| of(&[&lines[..], &[line]].concat()).error(&own);
    assert_eq!(
        with(json!({"guid": "dev-8", "prediction": "entailment"})),
        "error: predictions.jsonl:9: `dev-8` is none of the 8 samples, whose ids are like `dev-0`"
    );
    assert_eq!(
        with(json!({"guid": "dev-3", "prediction": "entailment"})),
        "error: predictions.jsonl:9: `dev-3` has an answer in line 4 already"
    );
    assert_eq!(
        with(json!({"idx": 3, "label": "entailment"})),
        "error: predictions.jsonl:9: `3` has an answer in line 4 already"
    );
    assert_eq!(
        of(&by_guid(&samples(&task), Some(json!("maybe")))).error(&own),
        "error: predictions.jsonl:1: `dev-0` has the label \"maybe\"; the task has entailment, not_entailment"
    );
    assert_eq!(
        Predictions::new(["{\"idx\": 0, \"label\": \"entailment\"}", "entailment"]).error(&own),
        "error: predictions.jsonl:2:1: not valid JSON: expected value"
    );
    assert_eq!(
        Predictions::new(["[0]"]).error(&own),
        "error: predictions.jsonl:1: expected a JSON object, found a list"
    );
    assert_eq!(Predictions::new([""]).error(&own), "error: predictions.jsonl: the file is empty");

    let error = of(&lines).error(&["rte", "--data-dir", DATA, "--split", "test"]);
    assert!(error.contains("no row has a right label to score against"), "{error}");
}

/// A folder with files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a temporary file");
    }
    folder
}

/// `glm-eval score` in a folder.
fn score_in(folder: &tempfile::TempDir, words: &str) -> assert_cmd::assert::Assert {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.current_dir(folder.path()).env_remove("GLM_EVAL_WORDNET").arg("score");
    command.args(words.split_whitespace()).assert()
}

fn json_of(done: &assert_cmd::assert::Assert) -> Value {
    serde_json::from_slice(&done.get_output().stdout).expect("it prints JSON")
}

#[test]
fn texts_are_scored_by_named_metrics_line_by_line() {
    let folder = folder(&[
        ("said.txt", "The cats sat.\n\na b c\n"),
        ("right.txt", "the cat sat\nsome words\na b d\n"),
    ]);
    let words = "--metrics rouge1,rouge1_stem,sacrebleu --predictions said.txt --references right.txt";
    let done = score_in(&folder, &format!("{words} --json")).success();
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("1 of 3 predictions are empty or null; none is left out"), "{stderr}");
    let json = json_of(&done);
    assert_eq!((&json["samples"], &json["empty"], &json["failed"]), (&json!(3), &json!(1), &json!(0)));
    // Two of three words, none of none, two of three; `cats` has the stem `cat` (longer than three letters).
    let value = |name: &str| json["metrics"][name]["value"].as_f64().expect("a value");
    assert!((value("rouge1") - (2.0 / 3.0 + 0.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12, "{json}");
    assert!((value("rouge1_stem") - (1.0 + 0.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12, "{json}");
    for name in ["rouge1", "rouge1_stem", "sacrebleu"] {
        let metric = &json["metrics"][name];
        let end = |end: &str| metric["interval"][end].as_f64().expect("an end");
        assert!(end("low") <= value(name) && value(name) <= end("high"), "{metric}");
        assert_eq!((&metric["n"], &metric["interval"]["level"]), (&json!(3), &json!(0.95)));
    }
    let signature = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0";
    assert_eq!(json["metrics"]["sacrebleu"]["signature"], json!(signature));
    let table = score_in(&folder, words).success();
    let table = String::from_utf8_lossy(&table.get_output().stdout).into_owned();
    assert!(table.contains("95 % interval") && table.contains(&format!("sacrebleu: {signature}")), "{table}");
}

#[test]
fn intervals_do_not_depend_on_the_number_of_threads() {
    let text = |salt: usize| -> String {
        let lines = (0..40).map(|i| format!("w{} w{} w{}", i % 7, i * salt % 5, i * salt % 3));
        lines.collect::<Vec<String>>().join("\n")
    };
    let folder = folder(&[("said.txt", &text(3)), ("right.txt", &text(4))]);
    let with = |threads: &str| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        let words = "score --metrics rouge2,rougeLsum_stem,sacrebleu,meteor_nltk_no_synonyms --json \
                     --predictions said.txt --references right.txt";
        command.current_dir(folder.path()).env("RAYON_NUM_THREADS", threads).args(words.split_whitespace());
        command.assert().success().get_output().stdout.clone()
    };
    assert_eq!(with("1"), with("2"));
}

#[test]
fn several_references_and_lines_within_a_text_are_read_from_json() {
    let folder = folder(&[
        (
            "said.jsonl",
            "{\"id\": \"b\", \"prediction\": null}\n{\"id\": \"a\", \"prediction\": \"d e\\na c\"}\n",
        ),
        (
            "right.jsonl",
            "{\"id\": \"a\", \"references\": [\"x\", \"a b c\\nd e\"]}\n{\"id\": \"b\", \"reference\": \"y\"}\n",
        ),
    ]);
    let words = "--metrics rougeL,rougeLsum,bleu4 --predictions said.jsonl --references right.jsonl --json";
    let json = json_of(&score_in(&folder, words).success());
    // In order 2 of 4 and 5 words, line by line 4: 2 p r / (p + r) = 4 / 9 and 8 / 9; the failed text scores 0.
    let value = |name: &str| json["metrics"][name]["value"].as_f64().expect("a value");
    assert!((value("rougeL") - 2.0 / 9.0).abs() < 1e-12, "{json}");
    assert!((value("rougeLsum") - 4.0 / 9.0).abs() < 1e-12, "{json}");
    assert_eq!(json["failed"], json!(1));
    let signature = json["metrics"]["bleu4"]["signature"].as_str().expect("a signature");
    assert!(signature.starts_with("nrefs:var|"), "{signature}");
}

#[test]
fn without_wordnet_meteor_has_no_synonyms_and_another_name() {
    let folder = folder(&[("said.txt", "a b\n"), ("right.txt", "a b\n")]);
    let words = "--metrics meteor_nltk --predictions said.txt --references right.txt --json";
    let done = score_in(&folder, words).success();
    let metrics = json_of(&done)["metrics"].as_object().expect("metrics").clone();
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["meteor_nltk_no_synonyms"]);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("meteor_nltk needs WordNet (--wordnet DIR, or GLM_EVAL_WORDNET)"), "{stderr}");
    // A folder that no metric asks for is not opened.
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.current_dir(folder.path()).env("GLM_EVAL_WORDNET", "nowhere").arg("score");
    command
        .args("--metrics rouge1 --predictions said.txt --references right.txt".split(' '))
        .assert()
        .success();
}

#[test]
fn what_is_wrong_with_texts_is_said_in_one_line() {
    let folder = folder(&[
        ("two.txt", "a\nb\n"),
        ("three.txt", "a\nb\nc\n"),
        ("two.jsonl", "{\"id\": 1, \"reference\": \"a\"}\n{\"id\": 2, \"reference\": \"b\"}\n"),
        ("other.jsonl", "{\"id\": 1, \"prediction\": \"a\"}\n{\"id\": 3, \"prediction\": \"b\"}\n"),
        ("twice.jsonl", "{\"id\": 1, \"prediction\": \"a\"}\n{\"id\": 1, \"prediction\": \"b\"}\n"),
        ("null.jsonl", "{\"id\": 1, \"label\": \"a\"}\n{\"id\": 3, \"label\": null}\n"),
        ("none.txt", ""),
    ]);
    let error = |words: &str| {
        let failed = score_in(&folder, words).code(2);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert_eq!(message.lines().count(), 1, "{message}");
        message.trim_end().to_owned()
    };
    let rouge = |predictions: &str, references: &str| {
        error(&format!("--metrics rouge1 --predictions {predictions} --references {references}"))
    };
    assert_eq!(
        rouge("two.txt", "three.txt"),
        "error: two.txt has 2 lines and three.txt has 3; line 3 is the first without a partner"
    );
    assert_eq!(
        rouge("two.txt", "two.jsonl"),
        "error: two.txt and two.jsonl: one has ids and the other a text a line; make both .txt or both .jsonl"
    );
    assert_eq!(
        rouge("other.jsonl", "two.jsonl"),
        "error: other.jsonl:2: `3` is none of the 2 samples, whose ids are like `1`"
    );
    assert_eq!(
        rouge("twice.jsonl", "two.jsonl"),
        "error: twice.jsonl:2: `1` has an answer in line 1 already"
    );
    assert_eq!(rouge("none.txt", "two.txt"), "error: none.txt: the file is empty");
    assert_eq!(
        rouge("other.jsonl", "null.jsonl"),
        "error: null.jsonl:2: the line has no right text: it is null"
    );
    assert_eq!(
        error("--metrics word_perplexity --predictions two.txt --references two.txt"),
        "error: word_perplexity is computed from a model's probabilities, which predictions don't have"
    );
    assert_eq!(
        error("--metrics accuracy --predictions two.txt --references two.txt"),
        "error: accuracy compares labels; name the task whose labels they are"
    );
    assert!(
        error("--metrics rouge1 --predictions two.txt --references two.txt --wordnet nowhere")
            .starts_with("error: nowhere/data.noun: can't be read; the folder should be WordNet's `dict`")
    );
    assert!(
        error("--metrics rouge1,accuracy --predictions two.txt --references two.txt")
            .starts_with("error: rouge1 and accuracy can't be had of the same answers")
    );
}

#[test]
fn of_a_task_with_a_perplexity_the_answers_are_scored() {
    let line = |id: u32, label: &str| format!("{{\"id\": {id}, \"label\": \"{label}\"}}\n");
    let folder = folder(&[
        ("said.jsonl", &(line(1, "right") + &line(2, "wrong"))),
        ("right.jsonl", &(line(1, "right") + &line(2, "right"))),
    ]);
    let words = "lambada --predictions said.jsonl --references right.jsonl --json";
    let metrics = json_of(&score_in(&folder, words).success())["metrics"].clone();
    assert_eq!(metrics["accuracy"]["value"], json!(0.5));
    assert_eq!(metrics.as_object().expect("metrics").len(), 1, "{metrics}");
}
