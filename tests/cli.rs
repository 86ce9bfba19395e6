//! The command line as a user meets it: help, lists, spellings of flags, closed pipes.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::assert::Assert;
use serde_json::Value;

const DATA: &str = "tests/data/superglue";
const COMMANDS: [&str; 12] = [
    "run",
    "ls",
    "show",
    "validate",
    "score",
    "convert",
    "verify",
    "bench",
    "report",
    "compare",
    "check",
    "recompute",
];

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.env_remove("GLM_EVAL_DATA").env_remove("COLUMNS").env("RUST_BACKTRACE", "1");
    command
}

fn run(arguments: &[&str]) -> Assert {
    let mut command = program();
    command.args(arguments);
    assert_cmd::Command::from_std(command).timeout(Duration::from_mins(1)).assert()
}

fn stdout(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments).success().get_output().stdout.clone()).expect("it prints text")
}

/// The objects that `--json` prints, one a line.
fn objects(arguments: &[&str]) -> Vec<Value> {
    stdout(arguments).lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

#[test]
fn every_help_fits_the_screen_and_has_examples() {
    assert!(stdout(&["--help"]).contains("Exit codes:"));
    for command in COMMANDS {
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("Examples:\n"), "{command}: no example");
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{command}: a line of {widest:?} columns");
        let summary = help.lines().next().expect("a summary");
        let verb = summary.split([' ', '-']).next().expect("a verb");
        assert!(!verb.ends_with('s'), "{command}: summaries are imperative, not {verb:?}");
    }
}

#[test]
fn long_flags_may_have_underscores() {
    let dashes = stdout(&["show", "rte", "--data-dir", DATA, "--max-length", "40"]);
    let underscores = stdout(&["show", "rte", &format!("--data_dir={DATA}"), "--max_length", "40"]);
    assert_eq!(dashes, underscores);
    let message = run(&["show", "rte", "--data_dir=no_such_folder"]).code(2).get_output().stderr.clone();
    assert!(
        String::from_utf8_lossy(&message).contains("no_such_folder (--data-dir)"),
        "values are left alone"
    );
}

#[test]
fn the_short_letters_of_lm_evaluation_harness_mean_the_same_here() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let folder = output.path().to_str().expect("a plain name");
    let arguments =
        ["run", "-m", "glm-tiny", "-t", "cb", "-f", "1", "-b", "2", "-L", "2", "-o", folder, "-s"];
    run(&[&arguments[..], &["--mode", "few-shot", "--data-dir", DATA]].concat()).success();
    let names: Vec<String> = std::fs::read_dir(output.path().join("glm-tiny"))
        .expect("the model's folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for start in ["results_", "samples_cb_"] {
        assert!(names.iter().any(|name| name.starts_with(start)), "no {start}… among {names:?}");
    }
}

#[test]
fn every_list_is_filled_and_its_json_has_the_same_names() {
    for (list, some) in [
        ("tasks", ["boolq", "rte_mini", "lambada_uni"]),
        ("suites", ["superglue", "superglue-mini", "nlg"]),
        ("models", ["glm-tiny", "t5-base", "bert-base-uncased"]),
        ("metrics", ["accuracy", "squad_f1", "gender_parity"]),
    ] {
        let text = stdout(&["ls", list]);
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let json = objects(&["ls", list, "--json"]);
        assert_eq!(
            json.iter().map(|o| o["name"].as_str()).collect::<Vec<_>>(),
            names.iter().map(|n| Some(*n)).collect::<Vec<_>>()
        );
        assert!(some.iter().all(|name| names.contains(name)), "{list}: {names:?}");
        // The name of a repository may stick out.
        let wide = |line: &&str| line.chars().count() > 80 && !line.contains('/');
        assert!(!["models", "metrics"].contains(&list) || !text.lines().any(|line| wide(&line)), "{text}");
    }
    let models = objects(&["ls", "models", "--json"]);
    let bundled: Vec<_> =
        models.iter().filter(|model| model["bundled"] == true).map(|m| &m["name"]).collect();
    assert_eq!(bundled, ["glm-tiny", "bert-tiny", "t5-tiny", "gpt-tiny"]);
    let large = models.iter().find(|model| model["name"] == "roberta-large").expect("it is published");
    assert_eq!((&large["family"], &large["hub"]), (&"roberta".into(), &"FacebookAI/roberta-large".into()));
}

#[test]
fn built_in_task_files_are_valid_with_and_without_data() {
    assert_eq!(stdout(&["validate"]).lines().filter(|line| line.starts_with("ok ")).count(), 26);
    assert_eq!(stdout(&["validate", "wsc-mini"]).lines().count(), 1);
    let with_data = stdout(&["validate", "tasks/superglue", "--data-dir", DATA]);
    assert!(
        with_data.lines().all(|line| line.starts_with("ok ") && line.contains(" samples")),
        "{with_data}"
    );
}

#[test]
fn a_variable_that_names_no_folder_is_an_error_and_no_mini_suite() {
    let output = program().args(["run", "cb", "--dry-run"]).env("GLM_EVAL_DATA", "nowhere").output();
    let output = output.expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("`GLM_EVAL_DATA` names nowhere, which is no folder"), "{message}");
}

#[test]
fn a_split_without_its_file_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy("docs/example/feelings.toml", folder.path().join("feelings.toml")).expect("a file");
    std::fs::copy("docs/example/feelings/val.jsonl", folder.path().join("val.jsonl")).expect("a file");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let valid = stdout(&["validate", &path("feelings.toml"), "--data-dir", &path("")]);
    assert!(valid.ends_with(": 1 pattern; no train file (train.jsonl); val 4 samples\n"), "{valid}");
}

#[test]
fn the_example_of_the_readme_is_valid_and_can_be_shown() {
    let example = ["docs/example/feelings.toml", "--data-dir", "docs/example"];
    let line = "ok     docs/example/feelings.toml: 1 pattern; train 8 samples; val 4 samples\n";
    let valid = stdout(&[&["validate"], &example[..]].concat());
    assert_eq!(valid, line);
    let readme = std::fs::read_to_string("README.md").expect("the README");
    assert!(readme.contains(&valid), "the README shows what it prints");
    assert!(readme.contains(&stdout(&[&["show"], &example[..]].concat())), "the README shows what it prints");
    let out = tempfile::tempdir().expect("a temporary folder");
    let more = ["--epochs", "10", "-o", out.path().to_str().expect("a path")];
    let run = stdout(&[&["run"], &example[..], &more].concat());
    let (table, _) = run.split_once("Record: ").expect("a record");
    let table: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    assert!(readme.contains(&table), "the README shows what it prints: {table}");
}

/// Runs a command whose reader closes the pipe after the first bytes.
fn with_a_closed_pipe(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = program()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("it prints something");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closed_pipe_is_no_failure_and_no_message() {
    // More than a pipe holds (64 KiB), so that it must notice.
    let all = ["show", "multirc", "--index", "0..", "--json", "--layout", "official", "--data-dir", DATA];
    assert_eq!(with_a_closed_pipe(&all), (Some(0), String::new()));
    assert_eq!(with_a_closed_pipe(&["ls", "tasks", "--json"]), (Some(0), String::new()));
    assert_eq!(with_a_closed_pipe(&["validate", "--data-dir", DATA]), (Some(0), String::new()));
    // Whoever reads, a verification's exit code is its result.
    assert_eq!(with_a_closed_pipe(&["verify", "tests/golden/block_v1000", "--json"]).0, Some(0));
}

#[test]
fn all_tasks_are_shown_in_every_form_within_80_columns() {
    let all = objects(&["ls", "tasks", "--json"]);
    for task in all.iter().filter(|task| task["suite"] == "nlg") {
        let name = task["name"].as_str().expect("a name");
        let arguments = ["show", name, "--data-dir", "tests/data/nlg"];
        let widest = stdout(&arguments).lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{name}: {widest:?} columns");
        let json = &objects(&[&arguments[..], &["--json"]].concat())[0];
        assert!(json["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{name}: {json}");
    }
    // There are no rows of LAMBADA among those written for the tests.
    for task in all.iter().filter(|task| task["suite"] == "superglue") {
        let name = task["name"].as_str().expect("a name");
        for pattern in task["patterns"].as_array().expect("a list") {
            let pattern = pattern.to_string();
            let arguments = ["show", name, "--pattern", &pattern, "--data-dir", DATA];
            let text = stdout(&arguments);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(80), "{name} {pattern}: {widest:?} columns");
            let json = objects(&[&arguments[..], &["--json", "--layout", "official"]].concat());
            assert_eq!((&json[0]["task"], json[0]["pattern"].to_string()), (&Value::from(name), pattern));
        }
        let classified = objects(&["show", name, "--head", "classifier", "--data-dir", DATA, "--json"]);
        assert!(classified[0]["texts"].is_array(), "{name}");
        let guid = classified[0]["guid"].as_str().expect("an id");
        let found = objects(&["show", name, "--guid", guid, "--data-dir", DATA, "--json"]);
        assert_eq!(found[0]["guid"], guid);
    }
}
