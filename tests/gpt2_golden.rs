//! GPT-2 held to a recording of transformers: logits, packed, with padding on the left, and in two steps over cached keys;
//! the loss and the norm of every gradient.
//!
//! The recording is in `$GLM_EVAL_SHARED` (default `../shared`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use glm_eval::checkpoint;
use glm_eval::model::causal::{Batch, Cache, Network};
use glm_eval::model::gpt2::{Config, Gpt2};
use glm_eval::model::{Parameters, weights};
use glm_eval::nn::{self, Dropout, Gradients, Layout, Precision, Sequence, Tape, Visibility};
use serde_json::Value;

/// Tokens of a recorded row.
const S: usize = 20;
const LOGITS: f32 = 1e-4;

/// The recording; `None`, with a message, where it is missing on a developer's machine.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn recording() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("GLM_EVAL_SHARED").map_or(default, PathBuf::from);
    let folder = shared.join("golden/hf/gpt2");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing in CI", folder.display());
    eprintln!("skipped: {} is not there; set GLM_EVAL_SHARED", folder.display());
    None
}

struct Recorded {
    network: Gpt2,
    parameters: Parameters,
    io: HashMap<String, Tensor>,
    folder: PathBuf,
}

impl Recorded {
    fn open() -> Option<Self> {
        let folder = recording()?;
        let read = checkpoint::read(&folder).expect("a checkpoint");
        let config = Config::from_json(read.config.as_ref().expect("a config.json")).expect("a GPT-2");
        let fitting = weights::fit(&config, read.tensors).expect("the weights fit");
        let parameters = Parameters::load(&fitting, DType::F32, &Device::Cpu).expect("weights");
        let network = Gpt2::new(&config, Precision::F32, parameters.var_builder()).expect("a network");
        let io =
            candle_core::safetensors::load(folder.join("io.safetensors"), &Device::Cpu).expect("tensors");
        Some(Self { network, parameters, io, folder })
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.io[name].flatten_all().expect("flat").to_vec1().expect("integers")
    }

    fn ids(&self) -> Vec<u32> {
        self.integers("input_ids").into_iter().map(|id| id as u32).collect()
    }

    fn logits(&self, hidden: &Tensor) -> Vec<Vec<f32>> {
        let logits = nn::logits(hidden, self.network.output_embeddings(), Precision::F32);
        logits.expect("logits").to_vec2().expect("rows")
    }

    /// Holds rows of logits against the recorded ones at these places among all tokens.
    fn assert_logits(&self, name: &str, ours: &[Vec<f32>], places: &[usize]) {
        let recorded: Vec<Vec<f32>> =
            self.io[name].reshape(((), 200)).expect("rows").to_vec2().expect("rows");
        assert_eq!(ours.len(), places.len());
        for (ours, &place) in ours.iter().zip(places) {
            let worst = ours.iter().zip(&recorded[place]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < LOGITS, "{name}, token {place}: {worst}");
        }
    }
}

#[test]
fn logits_are_those_of_the_library() {
    let Some(recorded) = Recorded::open() else { return };
    let ids = recorded.ids();
    let places: Vec<usize> = (0..ids.len()).collect();
    let rows = || ids.chunks(S).map(|row| (0, row));
    let hidden = recorded.network.forward(&Batch::texts(rows()), &Dropout::off()).expect("a pass");
    recorded.assert_logits("logits", &recorded.logits(&hidden), &places);
    // The first 13 tokens of every row, then the others over cached keys.
    let mut cache = Cache::new();
    for (from, to) in [(0, 13), (13, S)] {
        let batch = Batch::texts(ids.chunks(S).map(|row| (from, &row[from..to])));
        let hidden = recorded.network.extend(&batch, &mut cache).expect("a step");
        let places: Vec<usize> =
            places.iter().copied().filter(|place| (from..to).contains(&(place % S))).collect();
        recorded.assert_logits("logits", &recorded.logits(&hidden), &places);
    }
}

#[test]
fn padding_on_the_left_is_seen_by_none() {
    let Some(recorded) = Recorded::open() else { return };
    let shown: Vec<bool> =
        recorded.integers("leftpad.attention_mask").iter().map(|&shown| shown == 1).collect();
    let positions: Vec<u32> = recorded.integers("leftpad.position_ids").iter().map(|&p| p as u32).collect();
    let ids = recorded.ids();
    let kept: Vec<usize> = (0..ids.len()).filter(|&place| shown[place]).collect();
    let sequence = |row: usize| {
        let visible = (0..S * S).map(|i| i % S <= i / S && shown[row * S + i % S]).collect();
        Sequence { cached: 0, visibility: Visibility::Matrix { visible, keys: S } }
    };
    let layout = Layout::new((0..ids.len() / S).map(sequence).collect());
    let padded = Batch { ids: ids.clone(), positions: positions.clone(), layout };
    let hidden = recorded.network.forward(&padded, &Dropout::off()).expect("a pass");
    let all = recorded.logits(&hidden);
    let ours: Vec<Vec<f32>> = kept.iter().map(|&place| all[place].clone()).collect();
    recorded.assert_logits("leftpad.logits", &ours, &kept);
    // Without the padding, positions begin at 0 in every row.
    let starts = |row: usize| (0..S).find(|at| shown[row * S + at]).expect("some token");
    let rows = (0..ids.len() / S).map(|row| (0, &ids[row * S + starts(row)..(row + 1) * S]));
    let packed = Batch::texts(rows);
    assert_eq!(packed.positions, kept.iter().map(|&place| positions[place]).collect::<Vec<_>>());
    let hidden = recorded.network.forward(&packed, &Dropout::off()).expect("a pass");
    recorded.assert_logits("leftpad.logits", &recorded.logits(&hidden), &kept);
}

#[test]
fn the_loss_and_the_norms_of_its_gradients_are_those_of_the_library() {
    let Some(recorded) = Recorded::open() else { return };
    let (ids, labels) = (recorded.ids(), recorded.integers("labels"));
    let (tape, mut gradients) = (Tape::start(), Gradients::default());
    let hidden = recorded.network.forward(&Batch::texts(ids.chunks(S).map(|row| (0, row))), &Dropout::off());
    // Every token predicts the label of the next one in its row; -100 is ignored.
    let predicting: Vec<u32> = (0..ids.len())
        .filter(|place| place % S + 1 < S && labels[place + 1] >= 0)
        .map(|place| place as u32)
        .collect();
    let targets: Vec<u32> = predicting.iter().map(|&place| labels[place as usize + 1] as u32).collect();
    let rows = nn::embedding(&hidden.expect("a pass"), &predicting).expect("rows");
    let table = recorded.network.output_embeddings();
    let loss = nn::mean_linear_cross_entropy(&rows, table, &targets, 0.0, Precision::F32).expect("a loss");
    let expected: f32 = recorded.io["loss"].to_scalar().expect("a scalar");
    assert!((loss.to_scalar::<f32>().expect("a scalar") - expected).abs() < 2e-5);
    tape.backward(&loss, &mut gradients).expect("gradients");
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(recorded.folder.join("io.json")).expect("a file"))
            .expect("it is JSON");
    let norms = json["grad_l2"].as_object().expect("norms");
    assert_eq!(norms.len(), recorded.parameters.iter().count());
    for (name, norm) in norms {
        let norm = norm.as_f64().expect("a number");
        let gradient = recorded.parameters.get(name).and_then(|var| gradients.get(var)).expect("a gradient");
        let values: Vec<f32> = gradient.flatten_all().expect("flat").to_vec1().expect("values");
        let ours = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        assert!((ours - norm).abs() < 2e-5 + 1e-3 * norm, "{name}: {ours} for {norm}");
    }
}
