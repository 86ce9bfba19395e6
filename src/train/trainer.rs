//! One update after the other, for fine-tuning and pre-training alike.

use candle_core::{Result, Tensor, bail};

use super::{AdamW, AdamWConfig, Schedule};
use crate::model::Parameters;
use crate::nn::{Gradients, Tape};

/// A model's optimizer with its schedule.
#[derive(Debug)]
pub struct Trainer {
    optimizer: AdamW,
    schedule: Schedule,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Mean loss of the batch, before the update.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate in force.
    pub learning_rate: f64,
}

impl Trainer {
    /// Has made no update yet.
    pub fn new(parameters: &Parameters, config: AdamWConfig, schedule: Schedule) -> Result<Self> {
        Ok(Self { optimizer: AdamW::new(parameters, config)?, schedule })
    }

    /// Updates made so far.
    pub fn updates(&self) -> u64 {
        self.optimizer.updates()
    }

    /// The optimizer, to be saved or restored.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// The optimizer, to be saved or restored.
    pub fn optimizer_mut(&mut self) -> &mut AdamW {
        &mut self.optimizer
    }

    /// One update from a batch that is computed in parts: each part, when it is called, gives its mean loss and its
    /// share of what the batch's loss is a mean over; the shares add up to 1.
    ///
    /// # Errors
    /// When a loss or the gradient is not finite; the weights have not been changed then.
    pub fn update<E: From<candle_core::Error>>(
        &mut self,
        parameters: &Parameters,
        parts: impl IntoIterator<Item = impl FnOnce() -> std::result::Result<(Tensor, f64), E>>,
    ) -> std::result::Result<Update, E> {
        let mut gradients = Gradients::default();
        let mut total = 0.0;
        for part in parts {
            let tape = Tape::start();
            let (loss, share) = part()?;
            let loss = (loss * share)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(not_finite(self.updates() + 1, value).into());
            }
            total += value;
            tape.backward(&loss, &mut gradients)?;
        }
        let learning_rate = self.schedule.at(self.updates());
        let gradient_norm = self.optimizer.step(parameters, &gradients, learning_rate)?;
        Ok(Update { loss: total, gradient_norm, learning_rate })
    }
}

fn not_finite(update: u64, loss: f64) -> candle_core::Error {
    let refused: Result<()> =
        (|| bail!("the loss of update {update} is {loss}; a lower learning rate may help"))();
    refused.expect_err("it was refused")
}
