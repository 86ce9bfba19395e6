//! Every way to run a task, on the rows of `tests/data`: it runs, and its record makes sense.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device};
use common::{DATA, Left, TEXTS, command, command_on, done, left, write_bart};
use glm_eval::checkpoint;
use glm_eval::metrics::Prediction;
use glm_eval::model::glm::Config;
use glm_eval::model::{Initial, Parameters};
use glm_eval::results::SampleLine;
use glm_eval::results::ours::TaskRecord;
use serde_json::Value;

#[path = "common/run.rs"]
mod common;

/// Runs into a new folder; what glm-tiny left, and stdout.
fn run(words: &str) -> (Left, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = done(command(words, folder.path()));
    (left(folder.path(), "glm-tiny"), table)
}

fn names(left: &Left) -> Vec<&str> {
    left.record.glm_eval.tasks.iter().map(|task| task.name.as_str()).collect()
}

/// What holds for any record with scores.
fn assert_sane(left: &Left) {
    for task in &left.record.glm_eval.tasks {
        let name = &task.name;
        assert!(task.samples.effective > 0 && task.samples.effective <= task.samples.original, "{name}");
        assert_eq!(task.chance_level, None, "{name}: these are not the official rows");
        assert!(task.runs.iter().all(|run| run.failed_samples == 0), "{name}");
        for metric in &task.metrics {
            let score = task.scores[metric].selected.expect("a score");
            assert!((-1.0..=1.0).contains(&score.value), "{name} {metric}: {score:?}");
            assert!(score.n > 0 && score.n <= task.samples.effective, "{name} {metric}: {score:?}");
        }
        let cost = &task.cost;
        assert!(cost.tokens_computed.expect("counted") <= cost.tokens_if_padded_copies.expect("counted"));
        for run in &task.runs {
            let file = match task.runs.len() {
                1 => format!("samples_{name}.jsonl"),
                _ => format!("samples_{name}_seed{}.jsonl", run.seed),
            };
            assert_eq!(lines(left, &file).len(), task.samples.effective, "{file}");
        }
    }
}

fn lines(left: &Left, file: &str) -> Vec<SampleLine> {
    let text = String::from_utf8(left.files[file].clone()).expect("it is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a sample")).collect()
}

/// The score of every epoch of every seed by the first metric.
fn epochs(task: &TaskRecord) -> Vec<Vec<f64>> {
    let value =
        |scores: &glm_eval::results::ours::Estimates| scores[&task.metrics[0]].expect("a score").value;
    let of_run =
        |run: &glm_eval::results::ours::SeedRun| run.epochs.iter().map(|e| value(&e.scores)).collect();
    task.runs.iter().map(of_run).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn seeds_give_a_mean_and_a_spread_and_the_rule_says_of_which_epoch() {
    let words = "cb rte ax_b ax_g --seeds 1,2,3 --epochs 3 --train-limit 8 --learning-rate 1e-3 --select";
    let (best, table) = run(&format!("{words} best"));
    let (last, _) = run(&format!("{words} last"));
    for (left, rule) in [(&best, "best"), (&last, "last")] {
        assert_eq!(names(left), ["cb", "rte", "ax_b", "ax_g"]);
        assert_sane(left);
        for task in &left.record.glm_eval.tasks[..2] {
            let chosen: Vec<f64> = epochs(task)
                .iter()
                .map(|run| match rule {
                    "best" => run.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    _ => *run.last().expect("an epoch"),
                })
                .collect();
            assert!(task.runs.iter().all(|run| run.epochs.len() == 3));
            let scores = &task.scores[&task.metrics[0]];
            let selected = scores.selected.expect("a score").value;
            assert!((selected - mean(&chosen)).abs() < 1e-12, "{}: {selected}, {chosen:?}", task.name);
            let spread = if rule == "best" { scores.best } else { scores.last };
            let spread = spread.expect("three seeds have one");
            assert_eq!(spread.n, 3);
            let variance = chosen.iter().map(|value| (value - mean(&chosen)).powi(2)).sum::<f64>() / 2.0;
            assert!((spread.std.expect("a spread") - variance.sqrt()).abs() < 1e-12);
        }
    }
    // The same models were trained; only the choice among their epochs differs.
    for (one, other) in best.record.glm_eval.tasks.iter().zip(&last.record.glm_eval.tasks).take(2) {
        assert_eq!(epochs(one), epochs(other));
    }
    let parity = best.record.glm_eval.tasks[3].scores["gender_parity"].selected.expect("there are pairs");
    assert_eq!(parity.n, 6);
    assert!(table.contains("3 seeds, s.d. "), "{table}");
    let note = "cb, rte: the train and val files are not the official ones.";
    assert!(table.contains(note), "{table}");
}

#[test]
fn patterns_and_examples_in_the_prompt() {
    let (left, _) = run("cb copa --mode few-shot -f 2 --patterns all --log-samples --limit 3");
    let expected: Vec<String> = (0..5)
        .map(|i| format!("cb_pattern_{i}"))
        .chain((0..2).map(|i| format!("copa_pattern_{i}")))
        .collect();
    assert_eq!(names(&left), expected);
    assert_sane(&left);
    assert!(left.record.n_shot.values().all(|n| *n == 2));
    for task in &left.record.glm_eval.tasks {
        assert!(task.runs.iter().all(|run| run.epochs.is_empty() && run.cost.train_secs.is_none()));
        assert_eq!(task.samples.effective, 3);
    }
    let zero = run("cb copa --mode zero-shot --patterns all --log-samples --limit 3").0;
    let side_a = |left: &Left| -> Vec<Value> {
        let lines = lines(left, "samples_copa_pattern_0.jsonl");
        lines[0].arguments.as_ref().expect("logged")["a"].as_array().expect("parts").clone()
    };
    let (few, none) = (side_a(&left), side_a(&zero));
    assert!(few.ends_with(&none) && few.len() == none.len() + 2, "two examples, then the sample: {few:?}");
    for (few, zero) in left.record.glm_eval.tasks.iter().zip(&zero.record.glm_eval.tasks) {
        assert!(few.cost.tokens_computed > zero.cost.tokens_computed, "{}", few.name);
    }
}

#[test]
fn a_classification_head_learns_every_task() {
    let (left, _) = run("superglue --head classifier --epochs 1 --train-limit 4 --limit 2");
    assert_eq!(left.record.glm_eval.tasks.len(), 8);
    assert_sane(&left);
}

#[test]
fn without_training_there_is_one_score_and_nothing_learned() {
    let (left, table) = run("superglue ax_b ax_g --mode zero-shot");
    assert_eq!(left.record.glm_eval.tasks.len(), 10);
    assert_sane(&left);
    for task in &left.record.glm_eval.tasks {
        assert!(task.runs.iter().all(|run| run.epochs.is_empty() && run.best_epoch.is_none()));
        assert_eq!(task.cost.tokens_trained, None);
    }
    assert!(left.record.glm_eval.suite.is_some_and(|suite| suite.average.is_some()));
    let notes = table.lines().filter(|line| line.contains("not the official")).count();
    assert_eq!(notes, 1, "one line names all tasks: {table}");
}

#[test]
fn diagnostics_alone_train_their_task_but_do_not_report_it() {
    let (left, _) = run("ax_b ax_g --epochs 1 --train-limit 8");
    assert_eq!(names(&left), ["ax_b", "ax_g"]);
    assert_sane(&left);
    let (beside, _) = run("rte ax_b ax_g --epochs 1 --train-limit 8");
    for file in ["samples_ax_b.jsonl", "samples_ax_g.jsonl"] {
        assert_eq!(left.files[file], beside.files[file], "the same model is asked, reported or not");
    }
}

#[test]
fn the_test_split_gives_the_leaderboards_files() {
    let (left, _) = run("superglue ax_b ax_g --split test --epochs 1 --train-limit 4");
    let files = [
        ("BoolQ", "BoolQ/test", vec!["false", "true"]),
        ("CB", "CB/test", vec!["entailment", "contradiction", "neutral"]),
        ("COPA", "COPA/test", vec!["0", "1"]),
        ("RTE", "RTE/test", vec!["entailment", "not_entailment"]),
        ("WiC", "WiC/test", vec!["false", "true"]),
        ("WSC", "WSC/test", vec!["False", "True"]),
        ("AX-b", "AX-b/AX-b", vec!["entailment", "not_entailment"]),
        ("AX-g", "AX-g/AX-g", vec!["entailment", "not_entailment"]),
    ];
    let rows = |path: &str| -> Vec<Value> {
        let text = fs::read_to_string(Path::new(DATA).join(format!("{path}.jsonl"))).expect("rows");
        text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
    };
    let submitted = |name: &str| -> Vec<Value> {
        let text = String::from_utf8(left.files[&format!("submission/{name}.jsonl")].clone());
        let text = text.expect("it is text");
        text.lines().map(|line| serde_json::from_str(line).expect("a prediction")).collect()
    };
    let number = |value: &Value| value.to_string().replace('"', "");
    for (name, path, labels) in files {
        let (rows, lines) = (rows(path), submitted(name));
        assert_eq!(rows.len(), lines.len(), "{name}");
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(number(&row["idx"]), number(&line["idx"]), "{name}");
            assert!(labels.contains(&number(&line["label"]).as_str()), "{name}: {line}");
        }
    }
    let mut answers = (0, 0);
    for (row, line) in rows("MultiRC/test").iter().zip(submitted("MultiRC")) {
        let questions = |of: &Value| of["passage"]["questions"].as_array().expect("questions").clone();
        for (asked, answered) in questions(row).iter().zip(questions(&line)) {
            answers.0 += asked["answers"].as_array().expect("answers").len();
            let labels = answered["answers"].as_array().expect("answers");
            answers.1 += labels.iter().filter(|answer| answer["label"] == 0 || answer["label"] == 1).count();
        }
    }
    assert_eq!(answers, (13, 13));
    let queries: BTreeSet<String> = rows("ReCoRD/test")
        .iter()
        .flat_map(|row| row["qas"].as_array().expect("queries").clone())
        .map(|query| query["idx"].to_string())
        .collect();
    let record = submitted("ReCoRD");
    assert_eq!(record.iter().map(|line| line["idx"].to_string()).collect::<BTreeSet<_>>(), queries);
    assert!(record.iter().all(|line| line["label"].as_str().is_some_and(|text| !text.is_empty())));
    for task in &left.record.glm_eval.tasks {
        let labelled = task.task.starts_with("ax_");
        assert_eq!(task.split, "test");
        let score = task.scores[&task.metrics[0]].selected;
        assert_eq!(score.is_some(), labelled, "{}: without labels there is no score", task.name);
    }
}

/// A model of random weights in a folder, with the bundled vocabulary.
fn write_model(folder: &Path) {
    let sizes = Config {
        num_layers: 1,
        hidden_size: 32,
        num_attention_heads: 2,
        ..Config::named("glm-tiny").expect("a known size")
    };
    let weights = sizes.parameters().into_iter().map(|(name, shape)| (name, shape, Initial::Normal(0.02)));
    let weights = Parameters::draw(weights, 7, DType::F32, &Device::Cpu).expect("weights");
    fs::create_dir(folder).expect("a temporary folder");
    fs::write(folder.join("config.json"), serde_json::to_string(&sizes).expect("JSON")).expect("a file");
    let weights = weights.snapshot().expect("a copy");
    checkpoint::write_safetensors(&folder.join("model.safetensors"), &weights).expect("a file");
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/glm-tiny/tokenizer.json");
    fs::copy(vocabulary, folder.join("tokenizer.json")).expect("a file");
}

/// A user's task in a file of its own: BoolQ's rows, asked in other words.
fn write_task(file: &Path) {
    let text = r#"
name = "is_it_so"
title = "Is it so?"
version = 1
description = "A task of one's own."
kind = "word"
labels = ["false", "true"]
[data]
reader = "jsonl"
folder = "BoolQ"
[data.files.train]
path = "train.jsonl"
[data.files.val]
path = "val.jsonl"
[[patterns]]
id = 0
side_a = ["is it so that", { shorten = " {question}" }, "?", "[MASK]", ".", { shorten = " {passage}" }]
words = { false = " no", true = " yes" }
[[metrics]]
name = "accuracy"
[chance]
majority = 0.5
[recipe]
pattern = 0
max_tokens = 128
epochs = 1
batch_size = 4
loss = "cross_entropy"
length_penalty = 0.0
learning_rate = 1e-4
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
protocol = "none"
"#;
    fs::write(file, text).expect("a temporary file");
}

#[test]
fn several_models_and_a_task_of_ones_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, task) = (folder.path().join("my-model"), folder.path().join("is_it_so.toml"));
    write_model(&model);
    write_task(&task);
    let words = format!(
        "cb {} --model glm-tiny-random --model {} --epochs 1 --train-limit 8",
        task.display(),
        model.display()
    );
    let out = folder.path().join("out");
    let table = done(command(&words, &out));
    let (tiny, mine) = (left(&out, "glm-tiny-random"), left(&out, "my-model"));
    for left in [&tiny, &mine] {
        assert_eq!(names(left), ["cb", "is_it_so"]);
        let own = &left.record.glm_eval.tasks[1];
        assert_eq!(own.chance_level, Some(0.5), "its file knows no other rows than these");
        assert!(own.notes.is_empty(), "{:?}", own.notes);
        assert_eq!((own.suite.as_ref(), own.samples.effective), (None, 8));
    }
    let ours = |left: &Left| left.record.glm_eval.model.clone();
    assert!(ours(&tiny).random_weights.is_some() && ours(&mine).random_weights.is_none());
    assert!(ours(&mine).weights_sha256.is_some());
    assert!(table.contains("2 models (fine-tuned, last epoch)"), "{table}");
    let row =
        |model: &str| table.lines().filter(|line| line.split_whitespace().any(|word| word == model)).count();
    assert!(row("glm-tiny-random") >= 3 && row("glm-tiny-random") == row("my-model"), "{table}");
    assert_eq!(table.matches("Record: ").count(), 2);
    let text = String::from_utf8(mine.record_bytes()).expect("JSON");
    assert!(!text.contains(&folder.path().display().to_string()), "no folder of this machine is recorded");
}

/// Runs where there is no data; what glm-tiny left, stdout and stderr.
fn run_without_data(words: &str) -> (Left, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("run").args(words.split_whitespace()).arg("-o").arg(folder.path());
    command.env_remove("GLM_EVAL_DATA").env("XDG_CACHE_HOME", folder.path().join("cache"));
    let output = command.output().expect("the program starts");
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it is text"));
    assert_eq!(output.status.code(), Some(0), "{err}");
    (left(folder.path(), "glm-tiny"), out, err)
}

#[test]
fn without_data_superglue_is_the_mini_suite_and_nothing_says_that_it_were_superglue() {
    let words = "--epochs 1 --train-limit 4 --limit 4";
    let (fallen_back, table, notes) = run_without_data(&format!("superglue {words}"));
    let suite = ["record", "copa", "wsc", "rte", "boolq", "wic", "cb", "multirc"];
    assert_eq!(names(&fallen_back), suite.map(|name| format!("{name}_mini")));
    for task in &fallen_back.record.glm_eval.tasks {
        assert_eq!(task.suite.as_deref(), Some("superglue-mini"));
        assert!(task.notes.iter().any(|note| note.contains("not comparable")), "{:?}", task.notes);
        assert!(task.data.iter().all(|file| file.file.ends_with("-mini.jsonl") && file.rows >= 100));
        assert!(task.runs.iter().all(|run| run.failed_samples == 0), "{}", task.name);
    }
    assert_eq!(fallen_back.record.groups.keys().collect::<Vec<_>>(), ["superglue-mini"]);
    assert!(fallen_back.record.glm_eval.suite.as_ref().is_some_and(|suite| suite.average.is_some()));
    assert!(table.contains("of superglue-mini"), "{table}");
    let note = notes.lines().find(|line| line.contains("no data of SuperGLUE")).expect("it says so");
    for what in ["GLM_EVAL_DATA (not set)", "(the cache)", "superglue-mini", "not SuperGLUE", "--data-dir"] {
        assert!(note.contains(what), "{note}");
    }
    // Asked for by name it is the same, without the note.
    let (asked, _, notes) = run_without_data(&format!("superglue-mini {words}"));
    assert!(!notes.contains("no data"), "{notes}");
    asked.assert_same(&fallen_back, "by name");
    let (one, ..) = run_without_data("rte --mode zero-shot --limit 4");
    assert_eq!(names(&one), ["rte_mini"]);
    // No table of SuperGLUE has a cell for it.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = folder.path().join("results_2026-01-31T23-59-59.123456.json");
    fs::write(&record, fallen_back.record.clone().to_bytes()).expect("a file");
    let mut report = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    report.args(["report", "--table", "superglue,ablation", "--format", "csv"]).arg(&record);
    report.arg("--out").arg(folder.path());
    done(report);
    for table in ["superglue.csv", "ablation.csv"] {
        let table = fs::read_to_string(folder.path().join(table)).expect("a table");
        assert!(table.contains("GLM") && !table.contains("glm-tiny") && !table.contains("mini"), "{table}");
    }
}

#[test]
fn the_rows_of_the_mini_suite_can_be_shown_and_written_for_reading() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command.env_remove("GLM_EVAL_DATA").env("XDG_CACHE_HOME", folder.path().join("cache"));
        command
    };
    let mut show = program();
    show.args(["show", "rte"]);
    assert!(done(show).starts_with("RTE-mini val 0  dev-0"));
    let mut data = program();
    data.args(["data", "mini", "--out"]).arg(folder.path().join("rows"));
    let lines = done(data);
    assert_eq!(lines.lines().count(), 16);
    for line in lines.lines() {
        let (sha256, file) = line.split_once("  ").expect("a digest and a file");
        assert_eq!(glm_eval::data::sha256_file(Path::new(file)).expect("it is there"), sha256);
    }
    // What is written can't be taken for SuperGLUE's.
    let mut real = program();
    real.args(["show", "rte", "--data-dir"]).arg(folder.path().join("rows"));
    assert_eq!(real.output().expect("the program starts").status.code(), Some(2));
}

#[test]
fn models_of_several_families_share_one_table_of_80_columns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let words =
        "superglue --model glm-tiny-random --model bert-tiny-random --epochs 1 --train-limit 4 --limit 4";
    let table = done(command(words, &out));
    let lines: Vec<&str> = table.lines().take_while(|line| !line.starts_with("Record")).collect();
    let tables = lines.iter().filter(|line| line.contains("± s.e.")).count();
    assert_eq!(tables, 1, "{table}");
    let in_table = lines.iter().filter(|line| line.contains("-tiny-random  ") || line.contains('─'));
    assert!(in_table.clone().all(|line| line.chars().count() <= 80), "{table}");
    assert!(in_table.count() > 24, "{table}");
    for model in ["glm-tiny-random", "bert-tiny-random"] {
        let average = lines.iter().any(|line| line.contains(model) && line.contains("of 8 tasks"))
            || lines.iter().skip_while(|line| !line.contains("of 8 tasks")).any(|line| line.contains(model));
        assert!(average, "{table}");
    }
    assert_eq!(table.matches("Weights drawn at random").count(), 2, "{table}");
    let bert = left(&out, "bert-tiny-random").record;
    assert_eq!(bert.glm_eval.model.family.as_deref(), Some("bert"));
    let task = |name: &str| bert.glm_eval.tasks.iter().find(|task| task.task == name).expect("it was asked");
    assert_eq!(task("cb").recipe["warmup"].source, "recipes/bert.toml");
    assert!(task("cb").notes.iter().any(|note| note.contains("the pooler and the classifier")));
    assert!(task("wic").notes.iter().any(|note| note.contains("and the marked words")));
    assert_eq!(task("cb").pattern, None);
}

/// A run on the generation tasks' rows; what glm-tiny left, and stdout.
fn write_texts(words: &str) -> (Left, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = done(command_on(Path::new(TEXTS), words, folder.path()));
    (left(folder.path(), "glm-tiny"), table)
}

#[test]
fn texts_are_learned_written_and_scored_beside_two_baselines() {
    let words = "gigaword squad_qg_paper yahoo_infill --epochs 2 --train-batch-size 1 --learning-rate 1e-3 --log-samples";
    let (left, table) = write_texts(words);
    assert_sane(&left);
    assert_eq!(names(&left), ["gigaword", "squad_qg_paper", "yahoo_infill"]);
    for task in &left.record.glm_eval.tasks {
        let run = &task.runs[0];
        let scored: Vec<bool> = run.epochs.iter().map(|epoch| !epoch.scores.is_empty()).collect();
        assert_eq!(
            scored,
            [false, true],
            "{}: the last epoch counts, so it is the one that is scored",
            task.name
        );
        assert!(run.epochs[1].train_loss < run.epochs[0].train_loss, "{}: nothing is learned", task.name);
        assert!(task.metrics.iter().all(|metric| run.intervals.contains_key(metric)), "{}", task.name);
        assert!(run.texts.expect("texts are counted").blanks >= task.samples.effective);
        for baseline in ["first 8 words", "whole source"] {
            let first = task.baselines[baseline][&task.metrics[0]].expect("a score");
            assert!(
                first.n == task.samples.effective && table.contains(baseline),
                "{}: {baseline}",
                task.name
            );
        }
    }
    let gigaword = &left.record.glm_eval.tasks[0];
    // By hand, words in common, of the headline's and of the first eight's (`#` and `.` are no words, `[UNK]` is one):
    // "in" of 6 and 8; "ferry between ormhaven and tollby" of 6 and 8; "judge on" of 5 and 8; "timber prices percent" of
    // 4 and 7.
    let f1 = [(1.0, 6.0, 8.0), (5.0, 6.0, 8.0), (2.0, 5.0, 8.0), (3.0, 4.0, 7.0)]
        .map(|(c, a, b)| 2.0 * c / (a + b));
    let lead = gigaword.baselines["first 8 words"]["rouge1_stem"].expect("a score").value;
    assert!((lead - f1.iter().sum::<f64>() / 4.0).abs() < 1e-9, "{lead}, by hand {f1:?}");
    assert_eq!(gigaword.recipe["num_beams"].value, 5);
    assert_eq!(gigaword.recipe["epochs"].source, "command line");
    for line in lines(&left, "samples_gigaword.jsonl") {
        assert!(matches!(line.prediction, Some(Prediction::Text(_))), "{line:?}");
        assert_eq!(line.resps.len(), 1, "the only blank");
    }
    assert!(table.contains("had their source cut"), "{table}");
}

#[test]
fn without_log_samples_no_text_is_written_down() {
    let (left, _) = write_texts("gigaword --mode zero-shot --split test");
    assert_eq!(left.record.glm_eval.tasks[0].split, "test");
    let text = String::from_utf8(left.files["samples_gigaword.jsonl"].clone()).expect("text");
    assert!(!text.contains("clock") && !text.contains("goat"), "{text}");
    assert!(text.contains("rouge1_stem") && text.contains("test-g-0"), "{text}");
}

#[test]
fn a_dry_run_counts_examples_in_the_prompt_and_what_is_scored_afterwards() {
    let dry = |words: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = done(command(&format!("{words} --dry-run"), folder.path()));
        let (before, _) = plan.split_once(" to score").expect("a sum");
        let tokens = before.rsplit(' ').next().and_then(|tokens| tokens.parse::<u64>().ok());
        (tokens.expect("a number of tokens"), plan)
    };
    let (left, _) = run("cb --mode few-shot -f 3 --limit 5");
    assert_eq!(Some(dry("cb --mode few-shot -f 3 --limit 5").0), left.record.glm_eval.cost.tokens_computed);
    let words = "rte ax_b --epochs 3 --train-limit 4 --limit 5";
    let ((val, _), (test, plan)) = (dry(words), dry(&format!("{words} --split test")));
    assert!(test > val, "{test}, {val}");
    for name in ["rte test", "ax_b test"] {
        assert!(plan.lines().any(|line| line.trim_start().starts_with(name)), "{plan}");
    }
    assert!(plan.lines().all(|line| line.chars().count() <= 80 || line.contains("tokens/s")), "{plan}");
}

#[test]
fn a_dry_run_of_a_bart_that_writes_needs_no_classification_head() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let bart = place.path().join("bart");
    write_bart(&bart);
    let words = format!("gigaword --model {} --mode zero-shot --dry-run", bart.display());
    let plan = done(command_on(Path::new(TEXTS), &words, place.path()));
    assert!(plan.contains("tokens/s forward"), "{plan}");
    let words = format!("rte --model {} --dry-run", bart.display());
    assert!(done(command(&words, place.path())).contains("tokens/s forward"));
}

#[test]
fn a_record_says_how_much_was_cut_of_what_was_learned_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = |words: &str| {
        let out = folder.path().join(words.replace(' ', "_"));
        done(command(&format!("cb --epochs 2 --train-limit 4 --limit 2 {words}"), &out));
        left(&out, "glm-tiny").record.glm_eval.tasks[0].cost.train_tokens_truncated
    };
    assert_eq!(cut("--max-length 512"), Some(0));
    assert!(cut("--max-length 24") > Some(0));
}

/// The program refuses to run with these words, says why, and leaves nothing.
fn assert_refused_before_any_work(data: &str, words: &str, says: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = command_on(Path::new(data), words, folder.path()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{words}");
    let message = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(message.contains(says), "{words}: {message}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{words}: something was begun");
}

#[test]
fn a_form_that_a_family_has_no_answer_in_is_refused_before_any_work() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let bart = place.path().join("bart");
    write_bart(&bart);
    let bart = |words: &str| format!("rte --model {} {words}", bart.display());
    assert_refused_before_any_work(
        DATA,
        "rte --model t5-tiny --head classifier",
        "t5 models have no classification head",
    );
    assert_refused_before_any_work(
        DATA,
        "rte --model t5-tiny --mode few-shot",
        "no blank that examples could show filled",
    );
    for (words, says) in [
        ("--mode zero-shot", "a classification head, which must be trained"),
        ("--mode few-shot", "a classification head, which must be trained"),
        ("--head cloze", "a BART fills no blanks"),
        ("--head text-to-text", "a BART fills no blanks"),
    ] {
        assert_refused_before_any_work(DATA, &bart(words), says);
    }
}

#[test]
fn a_model_that_writes_no_texts_is_refused_before_any_work() {
    for (words, says) in [
        ("gigaword --model bert-tiny", "a bert model does not write here"),
        ("yahoo_infill --model t5-tiny", "several blanks in one text, which a t5 model does not fill here"),
        ("gigaword --mode few-shot", "examples in the prompt are for tasks with candidates only"),
    ] {
        assert_refused_before_any_work(TEXTS, words, says);
    }
}
