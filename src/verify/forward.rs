//! One forward pass in each form of the mask.

use candle_core::{Result, Tensor, bail};

use super::recording::{Recording, batch, integers};
use super::{Check, Subject, tolerance, values};
use crate::model::glm::Cache;
use crate::nn::{self, Precision};

/// Logits of every case; hidden states, and for large vocabularies columns and log-sum-exp, where recorded.
pub fn check(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for case in &recording.cases()? {
        let part = |name: &str| format!("{case}.{name}");
        let input_ids = recording.get(&part("input_ids"))?;
        let (b, s) = input_ids.dims2()?;
        let mask = recording.get(&part("attention_mask"))?;
        let batch = batch(input_ids, recording.get(&part("position_ids"))?, mask, 0)?;
        let mut states = Vec::new();
        let hidden = subject.glm.extend_watched(&batch, &mut Cache::new(), |xs| states.push(xs.clone()))?;
        let logits = nn::logits(&hidden, subject.glm.word_embeddings(), Precision::F32)?; // [b * s, v]
        let name = recording.case(case);
        if let Some(recorded) = recording.find(&part("logits")) {
            let logits = logits.reshape((b, s, ()))?;
            checks.push(Check::tensors(&name, "logits", &logits, recorded, tolerance::LOGITS)?);
            // The differentiable pass is another path through the code: hold it to the same numbers.
            let trained = subject.glm.forward(&batch, &nn::Dropout::off())?;
            let logits =
                nn::logits(&trained, subject.glm.word_embeddings(), Precision::F32)?.reshape((b, s, ()))?;
            checks.push(Check::tensors(
                &name,
                "logits (training pass)",
                &logits,
                recorded,
                tolerance::LOGITS,
            )?);
        }
        for (layer, state) in states.iter().enumerate() {
            if let Some(recorded) = recording.find(&part(&format!("mem{layer}"))) {
                let state = state.reshape((b, s, ()))?;
                checks.push(Check::tensors(
                    &name,
                    &format!("mem{layer}"),
                    &state,
                    recorded,
                    tolerance::LOGITS,
                )?);
            }
        }
        checks.extend(large_vocabulary(recording, case, &logits.reshape((b, s, ()))?)?);
        if !checks.iter().any(|check| check.case == name) {
            bail!("{}: nothing is recorded to compare `{case}` with", recording.file.display());
        }
    }
    Ok(checks)
}

/// Some columns, the log-sum-exp and the five largest logits.
fn large_vocabulary(recording: &Recording, case: &str, logits: &Tensor) -> Result<Vec<Check>> {
    let part = |name: &str| recording.find(&format!("{case}.{name}"));
    let name = recording.case(case);
    let mut checks = Vec::new();
    if let (Some(recorded), Ok(columns)) = (part("logits_cols"), recording.integers("columns")) {
        let columns = Tensor::new(columns, logits.device())?;
        let ours = logits.index_select(&columns, 2)?;
        checks.push(Check::tensors(&name, "logits_cols", &ours, recorded, tolerance::LOGITS)?);
    }
    if let Some(recorded) = part("logsumexp") {
        let ours = logits.log_sum_exp(2)?;
        checks.push(Check::tensors(&name, "logsumexp", &ours, recorded, tolerance::LOGITS)?);
    }
    if let (Some(ids), Some(recorded)) = (part("top5_ids"), part("top5_values")) {
        let (sorted, order) = logits.contiguous()?.sort_last_dim(false)?;
        checks.push(Check::tensors(
            &name,
            "top5_values",
            &sorted.narrow(2, 0, 5)?,
            recorded,
            tolerance::LOGITS,
        )?);
        let ours = values(&order.narrow(2, 0, 5)?)?;
        let wrong = ours.iter().zip(integers(ids)?).filter(|(a, b)| **a as u32 != *b).count();
        checks.push(Check::new(&name, "top5_ids that differ", wrong as f64, 0.0));
    }
    Ok(checks)
}
