//! Causal models as a user runs them: the same bytes whatever the batch and the threads; `SmolLM2` beside
//! an independent computation; and what can't be done is said before any work.
//!
//! The trained weights are in `$GLM_EVAL_PUBLIC_WEIGHTS` (see `scripts/fetch-public-weights`).

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use common::{command, done, left};
use glm_eval::model::{Build, Head, LanguageModel, ModelSource};
use glm_eval::request::{Ask, Part, Prompt, Request};

#[path = "common/run.rs"]
mod common;

#[test]
fn nothing_depends_on_batch_size_or_threads() {
    for words in ["copa wsc boolq record --mode zero-shot", "copa cb --epochs 1 --train-limit 4"] {
        let run = |settings: &str| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            done(command(&format!("{words} -m gpt-tiny {settings}"), folder.path()));
            left(folder.path(), "gpt-tiny")
        };
        let first = run("-b 1 --threads 1");
        for settings in ["-b 7 --threads 2", "-b auto --threads 2"] {
            first.assert_same(&run(settings), &format!("{words} {settings}"));
        }
    }
}

#[test]
fn other_ways_to_rank_are_recorded_side_by_side() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    done(command("copa -m gpt-tiny --mode zero-shot", folder.path()));
    let left = left(folder.path(), "gpt-tiny");
    let run = &left.record.glm_eval.tasks[0].runs[0];
    let ways: Vec<&str> = run.normalized.keys().map(String::as_str).collect();
    assert_eq!(ways, ["less_unconditional", "per_byte", "per_token", "raw"]);
    assert_eq!(run.normalized["raw"], run.last, "the plain one is what counts");
    let samples = left.files.iter().find(|(name, _)| name.contains("samples")).expect("samples").1;
    let line: serde_json::Value =
        serde_json::from_slice(samples.split(|&b| b == b'\n').next().expect("a line")).expect("JSON");
    assert_eq!(line["normalized"][0]["raw"], line["filtered_resps"][0][0]);
    assert!(line["normalized"][1]["per_byte"].as_f64().expect("a score") < 0.0);
}

/// What the program says as it refuses.
fn refusal(words: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = command(words, folder.path()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{words}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_classification_head_on_a_causal_model_is_refused() {
    let message = refusal("rte -m gpt-tiny --head classifier");
    assert!(message.contains("gpt2 models have no classification head here"), "{message}");
}

#[test]
fn a_damaged_gguf_file_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.gguf");
    for (bytes, expected) in [
        (&b"GGUF\x03\0\0\0"[..], "cut short at byte 8, where 8 bytes of the number of tensors should be"),
        (b"PK\x03\x04 a zip archive", "not a GGUF file"),
        (b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0\0", "9223372036854775807 tensors"),
    ] {
        std::fs::write(&file, bytes).expect("a temporary file");
        let message = refusal(&format!("copa --mode zero-shot -m {}", file.display()));
        assert!(message.contains(expected) && message.contains("model.gguf"), "{message}");
    }
}

/// The file of `SmolLM2`; `None`, with a message, where it is not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn smollm2() -> Option<PathBuf> {
    let folder = std::env::var_os("GLM_EVAL_PUBLIC_WEIGHTS").map(PathBuf::from);
    let file =
        folder.map(|folder| folder.join("SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|file| file.is_file());
    if file.is_none() {
        eprintln!(
            "skipped: SmolLM2 is needed; run scripts/fetch-public-weights and set GLM_EVAL_PUBLIC_WEIGHTS"
        );
    }
    file
}

fn model(file: &Path) -> Box<dyn LanguageModel> {
    let source = ModelSource::open(file.to_str().expect("UTF-8"), None).expect("it can be loaded");
    let (dtype, device) = (DType::F32, Device::Cpu);
    let build = Build { seed: 1, head: Head::Vocabulary, is_trained: false, dropout: 0.0, dtype, device };
    source.build(&build).expect("the weights fit")
}

fn choice(before: &str, candidates: [&str; 2], after: &str) -> Request {
    let text = |text: &str| Part::Text { text: text.into(), shortenable: false };
    let candidates = candidates.map(str::to_owned).to_vec();
    Request {
        id: "test".into(),
        prompt: Prompt { side_a: vec![text(before), Part::Blank, text(after)], side_b: vec![] },
        ask: Ask::Choice { candidates, end_of_piece: false, length_penalty: 0.0, bidirectional: true },
        max_tokens: 64,
    }
}

/// The expected values are those of `scripts/torch_llama.py` on the same file.
#[test]
fn smollm2_scores_texts_as_a_restatement_in_pytorch_does() {
    let Some(file) = smollm2() else { return };
    let requests = [
        choice("The cat sat on the", [" mat", " old garden wall"], "."),
        choice("In 1969, two men walked on the", [" moon", " beach"], "."),
    ];
    let answers = model(&file).answer(&requests.iter().collect::<Vec<_>>()).expect("answers");
    let expected = [[(-6.267_373, 2), (-21.999_892, 4)], [(-1.625_214, 2), (-7.302_727, 2)]];
    for (answer, expected) in answers.iter().zip(expected) {
        for (found, (log_prob, num_tokens)) in answer.likelihoods.iter().zip(expected) {
            assert!((found.log_prob - log_prob).abs() < 1e-3, "{} for {log_prob}", found.log_prob);
            assert_eq!(found.num_tokens, num_tokens);
        }
    }
    for (answer, expected) in answers.iter().zip([-22.672_093, -19.161_401]) {
        assert!((answer.likelihoods[0].unconditional_log_prob - expected).abs() < 1e-3);
    }
}

#[test]
fn a_llama_is_not_trained() {
    let Some(file) = smollm2() else { return };
    let message = refusal(&format!("copa -m {} --epochs 1", file.display()));
    assert!(
        message.contains("llama models: they can't be trained here; use `--mode zero-shot`"),
        "{message}"
    );
}
