//! A published encoder with its real weights: all-MiniLM-L6-v2 gives the sentence vectors that an independent
//! computation gives (`scripts/sentence-vectors`, numpy in float64).
//!
//! The weights are those of `scripts/fetch-public-weights FOLDER`, found through `GLM_EVAL_PUBLIC_WEIGHTS=FOLDER`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glm_eval::checkpoint;
use glm_eval::model::bert::{Batch, Bert, Config};
use glm_eval::model::{Family, Parameters, weights};
use glm_eval::nn::{Dropout, Layout, Precision, Sequence};
use glm_eval::tokenizer::Tokenizer;
use serde_json::Value;

/// The model's folder; `None`, with a message, where it is not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn folder() -> Option<PathBuf> {
    let found =
        std::env::var_os("GLM_EVAL_PUBLIC_WEIGHTS").map(|cache| Path::new(&cache).join("all-MiniLM-L6-v2"));
    let found = found.filter(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!(
            "skipped: no all-MiniLM-L6-v2; run scripts/fetch-public-weights and set GLM_EVAL_PUBLIC_WEIGHTS"
        );
    }
    found
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn sentence_vectors_equal_the_reference() {
    let Some(folder) = folder() else { return };
    let reference: Value = serde_json::from_str(include_str!("data/minilm_vectors.json")).expect("JSON");
    let sentences = reference["sentences"].as_array().expect("a list");

    let checkpoint = checkpoint::read(&folder).expect("the weights are whole");
    let settings = checkpoint.config.expect("a configuration");
    let config = Config::from_json(Family::Bert, &settings).expect("a BERT");
    let tensors = weights::fit(&config, checkpoint.tensors).expect("the weights fit");
    let parameters = Parameters::load(&tensors, DType::F32, &Device::Cpu).expect("weights");
    let bert = Bert::new(&config, Precision::F32, parameters.var_builder()).expect("a network");
    let tokenizer = Tokenizer::published(&folder).expect("its vocabulary");

    // All sentences in one batch, none of them padded.
    let mut batch = Batch::default();
    let mut lengths = Vec::new();
    for sentence in sentences {
        let text = sentence["text"].as_str().expect("a text");
        let mut ids = vec![tokenizer.id("[CLS]").expect("BERT has it")];
        ids.extend(tokenizer.encode(text).expect("it is text"));
        ids.push(tokenizer.id("[SEP]").expect("BERT has it"));
        assert_eq!(
            ids.iter().map(|&id| f64::from(id)).collect::<Vec<_>>(),
            numbers(&sentence["ids"]),
            "{text}"
        );
        batch.positions.extend(0..ids.len() as u32);
        batch.token_types.extend(vec![0; ids.len()]);
        lengths.push(ids.len());
        batch.ids.extend(ids);
    }
    batch.layout = Layout::new(lengths.iter().map(|&s| Sequence::pieces(s, vec![])).collect());
    let hidden = bert.forward(&batch, &Dropout::off()).expect("hidden states");

    let mut start = 0;
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    for &length in &lengths {
        let mean = hidden.narrow(0, start, length).and_then(|rows| rows.mean(0)).expect("a mean");
        let norm = mean.sqr().and_then(|x| x.sum_all()).and_then(|x| x.sqrt()).expect("a norm");
        vectors.push(mean.broadcast_div(&norm).and_then(|x: Tensor| x.to_vec1()).expect("a vector"));
        start += length;
    }
    for (i, (vector, sentence)) in vectors.iter().zip(sentences).enumerate() {
        for (ours, theirs) in vector.iter().zip(numbers(&sentence["first"])) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{sentence}: {ours}, not {theirs}");
        }
        for (other, theirs) in vectors.iter().zip(numbers(&reference["cosines"][i])) {
            let cosine: f32 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
            assert!((f64::from(cosine) - theirs).abs() < 1e-5, "{cosine}, not {theirs}");
        }
    }
}
