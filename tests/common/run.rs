//! Runs of the program on the rows of `tests/data`, and what they leave behind.
#![allow(dead_code, reason = "every test that includes this file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device};
use glm_eval::checkpoint;
use glm_eval::model::{Architecture, Parameters, bart};
use glm_eval::results::Record;
use serde_json::{Value, json};

pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/superglue");

/// Rows of the generation tasks.
pub const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nlg");

/// `glm-eval run` with these words (separated by white space) on `data`, into `out`.
pub fn command_on(data: &Path, words: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("run").args(words.split_whitespace()).arg("--data-dir").arg(data).arg("-o").arg(out);
    command.env_remove("RAYON_NUM_THREADS").env_remove("GLM_EVAL_DATA");
    command
}

/// The same on the rows of `tests/data`.
pub fn command(words: &str, out: &Path) -> Command {
    command_on(Path::new(DATA), words, out)
}

/// Runs to the end; stdout.
pub fn done(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// A small BART of random weights in a folder, with the bundled vocabulary: no BART is known by its name alone.
pub fn write_bart(folder: &Path) {
    let config = json!({
        "model_type": "bart", "vocab_size": 8192, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
        "max_position_embeddings": 512, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
    });
    let Value::Object(settings) = &config else { panic!("an object") };
    let bart = bart::Config::from_json(settings).expect("sizes");
    let weights = bart.body().into_iter().map(|(name, shape)| {
        let initial = bart.initial(&name);
        (name, shape, initial)
    });
    let weights = Parameters::draw(weights, 7, DType::F32, &Device::Cpu).expect("weights");
    let weights = weights.snapshot().expect("a copy");
    let vocabulary = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/glm-tiny/tokenizer.json");
    let vocabulary = std::fs::read_to_string(vocabulary).expect("the bundled vocabulary");
    let vocabulary = vocabulary.replace("[CLS]", "<s>").replace("[SEP]", "</s>"); // BART's names for them
    checkpoint::write_model_dir(folder, settings, &weights, &[("tokenizer.json", vocabulary.into_bytes())])
        .expect("a folder");
}

/// What a run left in one model's folder.
#[derive(Debug)]
pub struct Left {
    pub record: Record,
    /// Samples and submissions by name without the time.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Left {
    /// The record as bytes, without times and without the settings that may change no score.
    pub fn record_bytes(&self) -> Vec<u8> {
        let mut record = self.record.clone().without_times();
        record.config.batch_size = None;
        record.glm_eval.machine.threads = None;
        record.glm_eval.program.arguments.clear();
        record.to_bytes()
    }

    /// Are files and record the same?
    pub fn assert_same(&self, other: &Self, context: &str) {
        assert_eq!(
            self.files.keys().collect::<Vec<_>>(),
            other.files.keys().collect::<Vec<_>>(),
            "{context}"
        );
        for (name, bytes) in &self.files {
            assert!(*bytes == other.files[name], "{context}: {name} differs");
        }
        let text = |left: &Self| String::from_utf8(left.record_bytes()).expect("JSON is text");
        let (ours, theirs) = (text(self), text(other));
        let different = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
        assert!(ours == theirs, "{context}: the records differ, first in {different:?}");
    }
}

/// Reads what is in `<out>/<model>`, which must be what a finished run leaves and nothing else.
pub fn left(out: &Path, model: &str) -> Left {
    let folder = out.join(model);
    let mut files = BTreeMap::new();
    let mut records = Vec::new();
    for path in paths(&folder) {
        let name = path.strip_prefix(&folder).expect("it is inside").to_string_lossy().into_owned();
        // Times are `2026-01-31T23-59-59.123456`.
        let time = name.find("_20").expect("every file has the time of the run in its name");
        let plain = format!("{}{}", &name[..time], &name[time + 27..]);
        match plain.as_str() {
            "results.json" => records.push(Record::read(&path).expect("a record")),
            _ => drop(files.insert(plain, std::fs::read(&path).expect("a file"))),
        }
    }
    assert_eq!(records.len(), 1, "one record in {}", folder.display());
    Left { record: records.remove(0), files }
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(paths(&path)) } else { found.push(path) }
    }
    found
}
