//! The pre-training loss and the gradient of every parameter.

use candle_core::{Result, Tensor};

use super::recording::{Recording, batch};
use super::{Check, Subject, largest, tolerance, values};
use crate::model::glm::Batch;
use crate::nn::{self, Dropout, Gradients, Precision, Tape};

/// The recorded batch: rows of tokens, their targets, and where the loss is.
pub struct LossBatch {
    batch: Batch,
    targets: Vec<u32>,
    loss_mask: Vec<f32>,
}

impl LossBatch {
    pub fn read(recording: &Recording) -> Result<Self> {
        let batch =
            batch(recording.get("input_ids")?, recording.get("position_ids")?, recording.get("sep")?, 0)?;
        let loss_mask = recording.integers("loss_mask")?.into_iter().map(|v| v as f32).collect();
        Ok(Self { batch, targets: recording.integers("targets")?, loss_mask })
    }

    /// `[t]` losses of all tokens.
    fn token_losses(&self, subject: &Subject, smoothing: f64) -> Result<Tensor> {
        let hidden = subject.glm.forward(&self.batch, &Dropout::off())?;
        nn::linear_cross_entropy(
            &hidden,
            subject.glm.word_embeddings(),
            &self.targets,
            smoothing,
            Precision::F32,
        )
    }

    /// The mean over the tokens whose mask is 1.
    pub fn loss(&self, subject: &Subject, smoothing: f64) -> Result<Tensor> {
        masked_mean(&self.token_losses(subject, smoothing)?, &self.loss_mask)
    }
}

fn masked_mean(losses: &Tensor, mask: &[f32]) -> Result<Tensor> {
    let weights = Tensor::new(mask, losses.device())?;
    (losses * weights)?.sum_all()? / f64::from(mask.iter().sum::<f32>())
}

/// Losses, and all recorded gradients.
pub fn check(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let batch = LossBatch::read(recording)?;
    let token_losses = batch.token_losses(subject, 0.0)?;
    let recorded = recording.get("token_losses")?;
    let scalar = |name: &str, what: &str, ours: &Tensor| {
        Check::tensors(&recording.case(name), what, ours, recording.get(what)?, tolerance::LOSS)
    };
    let mut checks = vec![Check::tensors(
        &recording.case("batch"),
        "token_losses",
        &token_losses.reshape(recorded.shape())?,
        recorded,
        tolerance::LOGITS,
    )?];
    let loss = masked_mean(&token_losses, &batch.loss_mask)?;
    checks.push(scalar("batch", "loss", &loss)?);
    checks.extend(gradient_checks(subject, recording, "grad.", || batch.loss(subject, 0.0))?);

    let mut without_row1 = batch.loss_mask.clone();
    let per_row = recorded.dim(1)?;
    without_row1[per_row..2 * per_row].fill(0.0);
    checks.push(scalar(
        "row1_masked_out",
        "row1_masked_out.loss",
        &masked_mean(&token_losses, &without_row1)?,
    )?);

    let smoothed = batch.loss(subject, 0.1)?;
    checks.push(scalar("label_smoothing_0.1", "label_smoothing_0.1.loss", &smoothed)?);
    let prefix = "label_smoothing_0.1.grad.";
    checks.extend(gradient_checks(subject, recording, prefix, || batch.loss(subject, 0.1))?);
    Ok(checks)
}

/// The gradients recorded as `{prefix}NAME` against those of the loss that `loss` computes.
pub fn gradient_checks(
    subject: &Subject,
    recording: &Recording,
    prefix: &str,
    loss: impl FnOnce() -> Result<Tensor>,
) -> Result<Vec<Check>> {
    let (tape, mut gradients) = (Tape::start(), Gradients::default());
    tape.backward(&loss()?, &mut gradients)?;
    let names = recording.names();
    let names = names.iter().filter_map(|n| n.strip_prefix(prefix));
    let check = |name: &str| {
        let recorded = recording.get(&format!("{prefix}{name}"))?;
        let Some(ours) = subject.parameters.get(name).and_then(|var| gradients.get(var)) else {
            candle_core::bail!("{}: no gradient reaches `{name}`", recording.file.display());
        };
        let excess = values(ours)?
            .into_iter()
            .zip(values(recorded)?)
            .map(|(a, b)| (a - b).abs() - tolerance::GRADIENT_RELATIVE * b.abs());
        let case = recording.case(prefix.trim_end_matches('.'));
        Ok(Check::new(&case, name, largest(excess), tolerance::GRADIENT))
    };
    names.map(check).collect()
}
