//! Updates of the optimizer on the recorded batch.

use std::path::Path;

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use super::gradients::LossBatch;
use super::recording::{Recording, missing, read_json};
use super::{Check, Subject, VerifyError, largest, tolerance, values};
use crate::model::Parameters;
use crate::model::glm::Glm;
use crate::nn::{Gradients, Precision, Tape};
use crate::train::{AdamW, AdamWConfig, gradient_norm};

/// Allowed error of a parameter after one update and after three.
const AFTER_ONE: f64 = 1e-6;
const AFTER_THREE: f64 = 5e-6;
/// Allowed error of the gradient's norm.
const GRADIENT_NORM: f64 = 1e-4;
/// Where the first gradient is smaller than this, Adam turns rounding noise into whole steps.
const NOISE: f64 = 1e-6;

/// The recorded runs, or `None` when there is none.
pub fn check(folder: &Path, subject: &Subject) -> std::result::Result<Option<Vec<Check>>, VerifyError> {
    let file = folder.join("adamw.json");
    let tensors = |name: &str| folder.join(format!("{name}.safetensors"));
    let runs = [("finetune", "adamw_finetune"), ("pretrain", "adamw_pretrain")];
    if !file.is_file() {
        let half = runs.map(|(_, name)| tensors(name)).into_iter().find(|half| half.is_file());
        return half.map_or(Ok(None), |half| Err(missing(file, &half)));
    }
    let notes = read_json(&file)?;
    let batch = Recording::open(folder, "loss_grad")?.ok_or_else(|| missing(tensors("loss_grad"), &file))?;
    let mut checks = Vec::new();
    for (run, name) in runs {
        match Recording::open(folder, name)? {
            Some(recording) => {
                checks.extend(check_run(subject, &LossBatch::read(&batch)?, &recording, &notes[run])?);
            }
            None if notes.get(run).is_some() => return Err(missing(tensors(name), &file)),
            None => {}
        }
    }
    Ok(Some(checks))
}

fn check_run(
    subject: &Subject,
    batch: &LossBatch,
    recording: &Recording,
    notes: &Value,
) -> Result<Vec<Check>> {
    let number = |name: &str| notes[name].as_f64().unwrap_or(f64::NAN);
    let beta = |i: usize| notes["betas"][i].as_f64().unwrap_or(f64::NAN);
    let config = AdamWConfig {
        beta1: beta(0),
        beta2: beta(1),
        epsilon: number("eps"),
        weight_decay: number("weight_decay"),
        clip_grad: number("clip_grad"),
        relative: false,
    };
    // A copy, so that the model under test is left alone.
    let weights = subject.parameters.snapshot()?;
    let parameters = Parameters::load(&weights, subject.parameters.dtype(), subject.parameters.device())?;
    let glm = Glm::new(subject.config, Precision::F32, parameters.var_builder())?;
    let subject = Subject { glm: &glm, parameters: &parameters, config: subject.config };
    let mut optimizer = AdamW::new(&parameters, config)?;
    let mut first = None;
    let mut checks = Vec::new();
    for logged in notes["log"].as_array().map_or(&[][..], Vec::as_slice) {
        let step = logged["step"].as_u64().unwrap_or(0);
        let case = recording.case(&format!("step{step}"));
        let (tape, mut gradients) = (Tape::start(), Gradients::default());
        let loss = batch.loss(&subject, 0.0)?;
        let recorded = Tensor::new(logged["loss"].as_f64().unwrap_or(f64::NAN) as f32, &Device::Cpu)?;
        checks.push(Check::tensors(&case, "loss before the update", &loss, &recorded, tolerance::LOSS)?);
        tape.backward(&loss, &mut gradients)?;
        if !gradient_norm(&parameters, &gradients)?.is_finite() {
            // The optimizer refuses such an update, so there is nothing more to compare.
            checks.push(Check::new(&case, "gradient norm", f64::NAN, GRADIENT_NORM));
            break;
        }
        let norm = optimizer.step(&parameters, &gradients, number("lr"))?;
        if let Some(recorded) = logged["grad_norm_before_clip"].as_f64() {
            checks.push(Check::new(&case, "gradient norm", (norm - recorded).abs(), GRADIENT_NORM));
        }
        let first = first.get_or_insert(gradients);
        let allowed = if step == 1 { AFTER_ONE } else { AFTER_THREE };
        checks.extend(check_parameters(&parameters, first, recording, &format!("step{step}."), allowed)?);
        checks.extend(check_state(&optimizer, recording, &format!("state{step}."))?);
    }
    Ok(checks)
}

/// Every recorded parameter, where the first gradient is more than noise.
fn check_parameters(
    parameters: &Parameters,
    first: &Gradients,
    recording: &Recording,
    prefix: &str,
    allowed: f64,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (name, var) in parameters.iter() {
        let Some(recorded) = recording.find(&format!("{prefix}{name}")) else { continue };
        let gradient = first.get(var).map(values).transpose()?;
        let counts = |i: usize| gradient.as_ref().is_none_or(|g| g[i].abs() > NOISE);
        let pairs = values(var)?.into_iter().zip(values(recorded)?).enumerate();
        let worst = largest(pairs.filter(|(i, _)| counts(*i)).map(|(_, (a, b))| (a - b).abs()));
        checks.push(Check::new(&recording.case(prefix.trim_end_matches('.')), name, worst, allowed));
    }
    Ok(checks)
}

fn check_state(optimizer: &AdamW, recording: &Recording, prefix: &str) -> Result<Vec<Check>> {
    let state = optimizer.state();
    let pairs = state
        .iter()
        .filter_map(|(name, ours)| Some((name, ours, recording.find(&format!("{prefix}{name}"))?)));
    let case = recording.case(prefix.trim_end_matches('.'));
    pairs.map(|(name, ours, recorded)| Check::tensors(&case, name, ours, recorded, AFTER_ONE)).collect()
}
