//! Scores and samples are the same bytes whatever the batch size and the number of threads, and with the same seed.

use std::path::{Path, PathBuf};

use common::{DATA, Left, TEXTS, command_on, done, left, write_bart};

#[path = "common/run.rs"]
mod common;

fn run(data: &Path, words: &str, threads: Option<&str>) -> Left {
    run_model("glm-tiny", data, words, threads)
}

/// A model's name, or the last part of its folder.
fn name_of(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

fn run_model(model: &str, data: &Path, words: &str, threads: Option<&str>) -> Left {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command_on(data, &format!("{words} --model {model}"), folder.path());
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads);
    }
    done(command);
    left(folder.path(), name_of(model))
}

/// Runs `words` with all batch sizes, on one thread, on two, and on more than most machines here have cores.
fn same_bytes(data: &Path, words: &str) {
    same_bytes_of("glm-tiny", data, words);
}

fn same_bytes_of(model: &str, data: &Path, words: &str) {
    let first = run_model(model, data, &format!("{words} -b 1 --threads 1"), None);
    for settings in ["-b 7 --threads 2", "-b 64 --threads 5", "-b auto --threads 2"] {
        let other = run_model(model, data, &format!("{words} {settings}"), None);
        first.assert_same(&other, &format!("{model} {words} {settings}"));
    }
}

/// Real rows; `None`, with a message, where they are not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn real() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from);
    let found = shared.join("data/superglue");
    if found.is_dir() {
        return Some(found);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", found.display());
    eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", found.display());
    None
}

#[test]
fn without_training_nothing_depends_on_batch_size_or_threads() {
    same_bytes(Path::new(DATA), "superglue --mode zero-shot --log-samples");
}

#[test]
fn after_training_nothing_depends_on_batch_size_or_threads() {
    same_bytes(Path::new(DATA), "superglue --epochs 1 --train-limit 4");
}

#[test]
fn of_written_texts_too_nothing_depends_on_batch_size_or_threads() {
    same_bytes(Path::new(TEXTS), "gigaword yahoo_infill --mode zero-shot --log-samples");
    same_bytes(Path::new(TEXTS), "gigaword squad_qg --epochs 1 --train-limit 3 --limit 2");
}

#[test]
fn of_texts_that_other_families_write_nothing_depends_on_batch_size_or_threads() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let bart = place.path().join("bart");
    write_bart(&bart);
    for model in ["t5-tiny", "gpt-tiny", bart.to_str().expect("UTF-8")] {
        let words = "gigaword squad_qg --epochs 1 --train-limit 3 --limit 2 --log-samples";
        same_bytes_of(model, Path::new(TEXTS), words);
    }
}

/// The bundled models of the other families, and tasks of every kind that they answer.
const RIVALS: &[(&str, &str)] =
    &[("bert-tiny", "superglue"), ("t5-tiny", "rte copa wic"), ("gpt-tiny", "rte copa record")];

#[test]
fn of_other_families_too_nothing_depends_on_batch_size_or_threads() {
    for (model, tasks) in RIVALS {
        let words = format!("{tasks} --mode zero-shot --multi-token --log-samples");
        same_bytes_of(model, Path::new(DATA), &words);
        same_bytes_of(model, Path::new(DATA), &format!("{tasks} --epochs 1 --train-limit 4"));
    }
}

#[test]
fn of_bart_too_nothing_depends_on_batch_size_or_threads() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let bart = place.path().join("bart");
    write_bart(&bart);
    let words = "rte copa wic --epochs 1 --train-limit 4";
    same_bytes_of(bart.to_str().expect("UTF-8"), Path::new(DATA), words);
}

#[test]
fn the_environment_sets_threads_too_and_changes_nothing() {
    let words = "cb copa --epochs 1 --train-limit 4";
    let [one, two] = ["1", "2"].map(|threads| run(Path::new(DATA), words, Some(threads)));
    let threads = |left: &Left| left.record.glm_eval.machine.threads;
    assert_eq!((threads(&one), threads(&two)), (Some(1), Some(2)));
    one.assert_same(&two, "RAYON_NUM_THREADS");
}

#[test]
fn on_real_rows_nothing_depends_on_batch_size_or_threads() {
    let Some(data) = real() else { return };
    same_bytes(&data, "copa wsc record cb multirc --mode zero-shot --limit 6");
    let trained = "copa wsc record --epochs 1 --train-limit 4 --limit 4";
    let one = run(&data, &format!("{trained} -b 1 --threads 1"), None);
    let other = run(&data, &format!("{trained} --threads 2"), None);
    one.assert_same(&other, trained);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let words = "cb copa --epochs 1 --train-limit 8";
    let [one, again, other] = [1, 1, 2]
        .map(|seed| run_model("glm-tiny-random", Path::new(DATA), &format!("{words} --seed {seed}"), None));
    one.assert_same(&again, "the same seed");
    for (name, bytes) in &one.files {
        assert!(*bytes != other.files[name], "{name} does not depend on the seed");
    }
}
