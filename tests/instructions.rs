//! Scores on processors without AVX-512 or AVX2, and with bf16: the same to rounding. `$GLM_EVAL_CPU` stands in for older
//! processors; `docs/performance.md` says how the program is tried on an emulated one.

use std::path::Path;
use std::process::Command;

use common::{DATA, command, command_on, done, left};
use serde_json::Value;

#[path = "common/run.rs"]
mod common;

/// All scores of all candidates, task by task; the run is with these words on a processor of this kind.
fn scores(words: &str, cpu: &str) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command_on(Path::new(DATA), words, folder.path());
    command.env("GLM_EVAL_CPU", cpu);
    done(command);
    let left = left(folder.path(), "glm-tiny");
    let mut scores = Vec::new();
    for line in left.files.values().flat_map(|file| file.split(|&byte| byte == b'\n')) {
        if line.is_empty() {
            continue;
        }
        let sample: Value = serde_json::from_slice(line).expect("a line is JSON");
        numbers(&sample["resps"], &mut scores);
    }
    assert!(scores.len() >= 4, "{} scores", scores.len());
    scores
}

/// Every number in a value, those in texts too.
fn numbers(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64()),
        Value::String(text) => found.extend(text.parse::<f64>().ok()),
        Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
        Value::Object(values) => values.values().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

/// The largest difference of two runs' scores.
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn older_processors_give_the_same_scores_to_rounding() {
    let words = "rte copa record --mode zero-shot --limit 6";
    let here = scores(words, "");
    for cpu in ["plain", "avx2", "avx512"] {
        let difference = largest_difference(&here, &scores(words, cpu));
        assert!(difference < 2e-4, "{cpu}: {difference}"); // sums of some ten log-probabilities
    }
}

#[test]
fn training_on_older_processors_gives_the_same_scores_to_rounding() {
    let words = "rte --epochs 1 --train-limit 4";
    let difference = largest_difference(&scores(words, ""), &scores(words, "plain"));
    assert!(difference < 2e-3, "{difference}"); // Adam makes a full step of the smallest gradient
}

#[test]
fn an_unknown_processor_is_an_error_that_names_the_known_ones() {
    let output = Command::new(env!("CARGO_BIN_EXE_glm-eval"))
        .args(["ls", "tasks"])
        .env("GLM_EVAL_CPU", "sse9")
        .output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(message.trim(), "error: GLM_EVAL_CPU=sse9: expected plain, avx2 or avx512");
}

#[test]
fn bf16_is_near_f32_or_refused() {
    let words = "rte copa record --mode zero-shot --limit 6";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut refused = command(&format!("{words} --dtype bf16"), folder.path());
    let output = refused.env("GLM_EVAL_CPU", "avx2").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--dtype bf16: this processor can't multiply bf16"), "{message}");
    if !glm_eval::nn::Precision::Bf16.is_supported() {
        return;
    }
    let rough = scores(&format!("{words} --dtype bf16"), "");
    let difference = largest_difference(&scores(words, ""), &rough);
    assert!(difference > 1e-4 && difference < 0.5, "{difference}");
    scores("rte --epochs 1 --train-limit 4 --dtype bf16", ""); // it learns, too
}
