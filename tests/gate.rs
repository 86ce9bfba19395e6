//! `compare`, `check` and `recompute` as a user runs them: exit codes, messages, files; and a checkpoint that is damaged
//! on purpose, which the gate must catch.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::{command_on, done};
use glm_eval::checkpoint::write_safetensors;
use glm_eval::eval::training_examples;
use glm_eval::model::glm::Config;
use glm_eval::model::{Build, Head, ModelError, ModelSource};
use glm_eval::nn::Dropout;
use glm_eval::request::Example;
use glm_eval::tasks::{Split, Task, TaskData};
use glm_eval::train::{AdamWConfig, Decay, Schedule, Trainer};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

#[path = "common/run.rs"]
mod common;

const CB: &str = "results/runs/glm-tiny-random-cb";
const TASK: &str = "docs/example/feelings.toml";

/// Runs `glm-eval` with these words; its exit code, stdout and stderr.
fn glm_eval(words: &str) -> (i32, String, String) {
    let mut program = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    let output =
        program.env_remove("GITHUB_STEP_SUMMARY").args(words.split_whitespace()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it ends by itself"), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn fails(words: &str, code: i32, says: &str) {
    let (found, out, message) = glm_eval(words);
    assert_eq!(found, code, "{words}: {out}{message}");
    assert!(message.contains(says), "{words}: no {says:?} in {message}");
    assert!(!message.contains("panicked"), "{words}: {message}");
}

/// A copy of the committed run of CB, whose record may be changed.
fn copy(into: &Path, change: impl FnOnce(&mut Value)) {
    fs::create_dir_all(into).expect("a folder");
    for entry in fs::read_dir(CB).expect("the committed run") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        fs::copy(&path, into.join(&name)).expect("a copy");
    }
    let record = into.join("results_2026-11-23T22-38-06.560719.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    change(&mut value);
    fs::write(record, value.to_string()).expect("a record");
}

/// Changes every sample of a copy, whose record has no digests of them.
fn change_samples(folder: &Path, change: impl Fn(&mut Value)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            let mut text = String::new();
            for line in fs::read_to_string(&path).expect("samples").lines() {
                let mut line: Value = serde_json::from_str(line).expect("JSON");
                change(&mut line);
                let _ = writeln!(text, "{line}");
            }
            fs::write(&path, text).expect("samples");
        }
    }
}

#[test]
fn a_closed_stdout_ends_the_output_and_not_the_verdict() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(folder.path(), |_| {});
    change_samples(folder.path(), |line| line["prediction"] = json!("none"));
    let at = folder.path().display();
    for words in [
        format!("check --baseline {CB} --run {at}"),
        format!("compare {CB} {at}"),
        format!("compare {CB} {at} --json"),
        format!("recompute {at}"),
    ] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        program.env_remove("GITHUB_STEP_SUMMARY").args(words.split_whitespace());
        program.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = program.spawn().expect("it starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{words}");
    }
}

#[test]
fn values_that_the_second_run_lost_are_no_success() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let log_prob = json!({"log_prob": -9.0, "num_tokens": 3, "num_words": 2, "num_bytes": 9});
    for name in ["a", "b", "none"] {
        copy(&at(name), |record| {
            let metrics = record["glm_eval"]["tasks"][0]["metrics"].as_array_mut().expect("metrics");
            metrics.push(json!("word_perplexity"));
        });
    }
    change_samples(&at("a"), |line| line["log_prob"] = log_prob.clone());
    change_samples(&at("none"), |line| line["target"] = Value::Null);
    let words =
        |first: &str, second: &str| format!("compare {} {}", at(first).display(), at(second).display());
    let (code, table, message) = glm_eval(&words("a", "b"));
    assert_eq!(code, 1, "{table}{message}");
    assert!(table.contains("cb: word_perplexity has no value in "), "{table}");
    assert_eq!(glm_eval(&words("b", "a")).0, 0, "the first run lacks it");
    fails(&words("a", "none"), 2, "the runs can't be compared: cb: accuracy has no value in ");
}

#[test]
fn a_label_that_no_task_has_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, key, value) in [
        ("true", "target", json!(u64::MAX)),
        ("said", "prediction", json!({"label": 9_223_372_036_854_775_808_u64})),
        ("great", "target", json!(1_000_000_000_000_u64)),
    ] {
        let run = folder.path().join(name);
        copy(&run, |_| {});
        change_samples(&run, |line| {
            if line["doc_id"] == 2 {
                line[key] = value.clone();
            }
        });
        for command in ["recompute", "compare results/runs/glm-tiny-random-cb"] {
            fails(&format!("{command} {}", run.display()), 2, ".jsonl: line 3 has the label ");
        }
    }
}

#[cfg(unix)]
#[test]
fn what_a_check_writes_goes_through_a_pipe_and_a_link() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
    if !made.is_ok_and(|status| status.success()) {
        return; // a machine without named pipes
    }
    std::os::unix::fs::symlink("check.json", at("link")).expect("a link");
    let pipe = at("pipe");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("it is written into"));
    let (code, _, message) = glm_eval(&format!(
        "check --baseline {CB} --run {CB} --json {} --metrics {}",
        at("link").display(),
        at("pipe").display()
    ));
    assert_eq!(code, 0, "{message}");
    assert!(reader.join().expect("it ends").contains("\"cb.accuracy\""));
    assert!(at("link").is_symlink() && fs::read_to_string(at("check.json")).is_ok());
}

#[test]
fn a_committed_run_compared_with_itself_is_the_same_and_passes() {
    let (code, table, _) = glm_eval(&format!("compare {CB} {CB}"));
    assert_eq!(code, 0, "{table}");
    // The first two lines name the files.
    assert!(
        table.contains("same") && table.lines().skip(2).all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let (code, table, _) =
        glm_eval(&format!("check --baseline {CB} --run {CB} --strict --seeds_as_clusters"));
    assert_eq!(code, 0, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.ends_with("pass: 2 passed, 0 inconclusive, 0 failed\n"), "{table}");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path().display().to_string();
    copy(&folder.path().join("data"), |record| {
        record["glm_eval"]["tasks"][0]["data"][1]["sha256"] = json!("ff".repeat(32));
    });
    copy(&folder.path().join("version"), |record| record["glm_eval"]["tasks"][0]["version"] = json!(2));
    copy(&folder.path().join("schema"), |record| record["glm_eval"]["schema_version"] = json!(99));
    for (other, says) in [
        ("data", "cb: scored on different data: val.jsonl with sha256 c6125587e960"),
        ("version", "cb: version 1 of the task in one, 2 in the other"),
        ("schema", "use a newer program"),
    ] {
        fails(&format!("compare {CB} {at}/{other}"), 2, says);
        fails(&format!("check --baseline {CB} --run {at}/{other}"), 2, says);
    }
    fails(&format!("compare {CB} results/runs/glm-tiny-random"), 2, "its samples are missing");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    fails(&format!("check --baseline {at}/empty --run {CB}"), 2, "there is no results_*.json");
    fails(&format!("compare {CB} {CB} --alpha 0"), 2, "above 0 and at most 1");
    fs::write(folder.path().join("gate.toml"), "[[metrics]]\ntask = \"cb\"\nmetric = \"acc\"\n")
        .expect("a file");
    let gate = format!("check --baseline {CB} --run {CB} --gate {at}/gate.toml");
    fails(&gate, 2, "the gate names `cb acc`, which neither run has (did you mean `cb accuracy`?)");
}

#[test]
fn a_committed_run_is_computed_again_and_an_edited_one_is_not_what_it_says() {
    let (code, text, _) = glm_eval(&format!("recompute {CB}"));
    assert_eq!((code, text.as_str()), (0, "33 of 33 follow from the samples\n"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(folder.path(), |record| record["results"]["cb"]["acc,none"] = json!(0.9));
    let (code, text, _) = glm_eval(&format!("recompute {}", folder.path().display()));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("DIFFERS results cb acc,none: 0.9 in the record, 0.67"), "{text}");
    fails("recompute results/runs/glm-tiny-random", 2, "its samples are missing");
}

/// Rows of an easy task: a speaker whose weather is good is glad.
fn rows(count: usize, seed: u64) -> String {
    let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    let (good, bad) = (words("sun spring music"), words("rain fog dust"));
    let other = words("the house of my old friend near that long road by the sea and its small green boat");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut text = String::new();
    for _ in 0..count {
        let glad = rng.random_bool(0.5);
        let mut row: Vec<&str> = (0..6).map(|_| other[rng.random_range(0..other.len())]).collect();
        row.push(if glad { good[rng.random_range(0..3)] } else { bad[rng.random_range(0..3)] });
        row.shuffle(&mut rng);
        let row = json!({"text": row.join(" "), "label": if glad { "glad" } else { "sad" }});
        let _ = writeln!(text, "{row}");
    }
    text
}

/// A small GLM that has learned the rows.
fn learned(data: &Path) -> (ModelSource, BTreeMap<String, Tensor>) {
    let mut source = ModelSource::open_random("glm-tiny", None).expect("it is bundled");
    let mut config = Config::named("glm-tiny").expect("a listed name");
    (config.num_layers, config.hidden_size, config.num_attention_heads) = (2, 64, 4);
    source.architecture = Box::new(config);
    let build = Build {
        seed: 1,
        head: Head::Vocabulary,
        is_trained: false,
        dropout: 0.0,
        dtype: DType::F32,
        device: Device::Cpu,
    };
    let model = source.build(&build).expect("a model");
    let task = Task::find(TASK).expect("the example");
    let files = BTreeMap::from([(Split::Train, data.join("feelings/train.jsonl"))]);
    let data = TaskData::from_files(&task, data, files);
    let examples = training_examples(&task, &data, &task.form(), None).expect("rows");
    let examples: Vec<Example> = examples.collect::<Result<_, _>>().expect("rows");
    let schedule = Schedule {
        learning_rate: 2e-3,
        total_updates: 160,
        warmup_fraction: 0.1,
        decay: Decay::Linear,
        decay_ratio: 0.1,
    };
    let config = AdamWConfig {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        clip_grad: 1.0,
        relative: false,
    };
    let mut trainer = Trainer::new(model.parameters(), config, schedule).expect("an optimizer");
    for update in 0..160 {
        let batch: Vec<&Example> = examples.iter().cycle().skip(16 * update).take(16).collect();
        let loss = || model.loss(&batch, &Dropout::off()).map(|loss| (loss, 1.0));
        trainer.update::<ModelError>(model.parameters(), [loss]).expect("an update");
    }
    let weights = model.parameters().snapshot().expect("weights");
    (source, weights)
}

fn write_model(folder: &Path, source: &ModelSource, weights: &BTreeMap<String, Tensor>) {
    fs::create_dir_all(folder).expect("a folder");
    write_safetensors(&folder.join("model.safetensors"), weights).expect("weights");
    fs::write(folder.join("config.json"), source.architecture.to_json().to_string())
        .expect("a configuration");
    fs::copy("models/glm-tiny/tokenizer.json", folder.join("tokenizer.json")).expect("a tokenizer");
}

/// The weights with those of one layer in random order, each matrix within itself.
fn damaged(weights: &BTreeMap<String, Tensor>, layer: &str) -> BTreeMap<String, Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut shuffled = |tensor: &Tensor| {
        let mut values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        values.shuffle(&mut rng);
        Tensor::from_vec(values, tensor.shape(), tensor.device())
    };
    let mut damaged = weights.clone();
    let mut count = 0;
    for (name, tensor) in damaged.iter_mut().filter(|(name, _)| name.contains(layer)) {
        assert!(name.starts_with("transformer."), "{name}");
        *tensor = shuffled(tensor).expect("a tensor");
        count += 1;
    }
    assert!(count > 8, "a layer has more weights than {count}");
    damaged
}

#[test]
fn a_checkpoint_damaged_on_purpose_fails_and_the_same_one_run_twice_passes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::create_dir_all(at("data/feelings")).expect("a folder");
    fs::write(at("data/feelings/train.jsonl"), rows(512, 1)).expect("rows");
    fs::write(at("data/feelings/val.jsonl"), rows(300, 2)).expect("rows");
    let (source, weights) = learned(&at("data"));
    write_model(&at("healthy"), &source, &weights);
    write_model(&at("damaged"), &source, &damaged(&weights, "layers.0."));
    for (model, out) in [("healthy", "first"), ("healthy", "second"), ("damaged", "third")] {
        let words = format!("{TASK} --mode zero-shot --model {}", at(model).display());
        done(command_on(&at("data"), &words, &at(out)));
    }
    let run = |name: &str| at(name).display().to_string();
    let record = glm_eval::results::Run::read(&at("first")).expect("a run").record;
    let accuracy = record.results["feelings"]["acc,none"].as_f64().expect("a score");
    assert!(accuracy > 0.95, "the healthy model has learned the task: {accuracy}");

    let (code, table, _) =
        glm_eval(&format!("check --strict --baseline {} --run {}", run("first"), run("second")));
    assert_eq!(code, 0, "{table}");
    let outputs = folder.path().display();
    let files = format!(
        "--junit {outputs}/check.xml --json {outputs}/check.json --markdown {outputs}/check.md \
         --benchmark {outputs}/benchmark.json --metrics {outputs}/metrics.json"
    );
    let (code, table, _) =
        glm_eval(&format!("check --baseline {} --run {} {files}", run("first"), run("third")));
    assert_eq!(code, 1, "{table}");
    assert!(table.contains("FAIL"), "{table}");
    let read = |name: &str| fs::read_to_string(at(name)).expect("it was written");
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).expect("JSON");
    assert!(read("check.xml").contains("<failure type=\"fail\" message=\"worse by"), "{}", read("check.xml"));
    assert_eq!(json("check.json")["report"]["verdict"], "fail");
    assert!(read("check.md").starts_with("### glm-eval check: FAIL"));
    assert_eq!(json("benchmark.json")[0]["value"], json("metrics.json")["feelings.accuracy"]);

    let (code, table, _) = glm_eval(&format!("compare {} {} --flips 2", run("first"), run("third")));
    assert_eq!(code, 1, "{table}");
    assert!(table.contains("samples got worse: dev-"), "{table}");
    let (code, text, _) = glm_eval(&format!("recompute {}", run("third")));
    assert_eq!(code, 0, "{text}");
    // What a run wrote is sealed: a better number in the record is noticed by every command.
    let record = glm_eval::results::Run::read(&at("third")).expect("a run").path;
    let edited =
        fs::read_to_string(&record).expect("a record").replacen("\"value\": 0.", "\"value\": 0.9", 1);
    fs::write(&record, edited).expect("a record");
    fails(
        &format!("compare {} {}", run("first"), run("third")),
        2,
        "the record was changed after it was written",
    );
}

#[test]
fn runs_of_all_tasks_are_computed_again_and_compared_by_passage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for seed in ["1", "2"] {
        let words = format!("superglue ax_b ax_g --mode zero-shot --model glm-tiny-random --seed {seed}");
        done(command_on(Path::new(common::DATA), &words, &folder.path().join(seed)));
        let (code, text, _) = glm_eval(&format!("recompute {}", folder.path().join(seed).display()));
        assert_eq!(code, 0, "{text}");
    }
    let at = folder.path().display();
    let (code, json, message) = glm_eval(&format!("compare {at}/1 {at}/2 --json"));
    assert!(code < 2, "{message}");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let rows = json["comparison"]["rows"].as_array().expect("rows");
    let of = |task: &str, metric: &str| {
        let row = rows.iter().find(|row| row["task"] == task && row["metric"] == metric);
        let row = row.unwrap_or_else(|| panic!("{task} {metric} in {rows:#?}"));
        (row["n"].as_u64().expect("a number"), row["units"].as_u64().expect("a number"), row["test"].clone())
    };
    // tests/data: 9 questions with 31 answers on 4 passages; 8 queries on 5; 12 sentences in 6 pairs.
    assert_eq!(of("multirc", "f1a"), (31, 4, json!("permutation")));
    assert_eq!(of("multirc", "em"), (31, 4, json!("permutation")));
    assert_eq!(of("record", "record_f1"), (8, 5, json!("permutation")));
    assert_eq!(of("ax_g", "accuracy"), (12, 6, json!("permutation")));
    assert_eq!(of("rte", "accuracy"), (8, 8, json!("mcnemar")));
    assert_eq!(of("ax_b", "mcc"), (12, 12, json!("permutation")));
    let (code, table, message) = glm_eval(&format!("check --baseline {at}/1 --run {at}/2 --strict"));
    assert!(code == 1 || code == 3, "so few rows settle nothing: {table}{message}");
    assert!(table.lines().take(15).all(|line| line.chars().count() <= 80), "{table}");
    let (code, _, message) = glm_eval(&format!("compare {at}/1 {at}/2 --seeds-as-clusters"));
    assert_eq!(code, 2);
    assert!(message.contains("needs two seeds in each run or more, found 1 and 1"), "{message}");
}

#[test]
fn the_gate_file_in_the_manual_is_one() {
    let manual = fs::read_to_string("docs/ci.md").expect("the manual");
    let gate =
        manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a gate file");
    let gate = glm_eval::gate::GateFile::parse(gate, "docs/ci.md").expect("it can be used");
    assert_eq!(gate.metrics.len(), 2);
    assert!(!gate.metrics[0].asks_for_change() && gate.metrics[1].asks_for_change());
}

#[test]
fn the_summary_of_a_job_is_appended_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "before\n").expect("a file");
    let mut program = assert_cmd::Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    program
        .env("GITHUB_STEP_SUMMARY", &summary)
        .args(["check", "--baseline", CB, "--run", CB])
        .assert()
        .success();
    let text = fs::read_to_string(&summary).expect("the summary");
    assert!(text.starts_with("before\n### glm-eval check: pass\n"), "{text}");
}
