//! Where a training run stands, on disk: weights, optimizer, and how far it has come. One file, whole or absent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::Trainer;
use crate::checkpoint::{self, CheckpointError};
use crate::model::Parameters;

/// A state that could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file can't be written or read.
    #[error("the training state could not be kept")]
    File(#[from] CheckpointError),
    /// The state is of another run.
    #[error("{}: the training state does not fit this run; delete it to start over", file.display())]
    Misfit {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        source: candle_core::Error,
    },
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainState {
    /// Finished epochs.
    pub epochs: usize,
}

const PROGRESS: &str = "progress";
const WEIGHT: &str = "weight.";

impl TrainState {
    /// Writes the state; the file appears whole or not at all.
    pub fn save(self, file: &Path, parameters: &Parameters, trainer: &Trainer) -> Result<(), StateError> {
        let mut tensors = trainer.optimizer().state();
        let weights =
            parameters.iter().map(|(name, var)| (format!("{WEIGHT}{name}"), var.as_tensor().clone()));
        tensors.extend(weights);
        let progress = [(self.epochs as u64).cast_signed(), trainer.updates().cast_signed()];
        let misfit = |source| StateError::Misfit { file: file.into(), source };
        tensors.insert(PROGRESS.into(), Tensor::new(&progress, &Device::Cpu).map_err(misfit)?);
        Ok(checkpoint::write_safetensors(file, &tensors)?)
    }

    /// Reads a state; `None` when there is no such file. Nothing is changed until [`SavedState::restore`].
    pub fn read(file: &Path) -> Result<Option<SavedState>, StateError> {
        if !file.is_file() {
            return Ok(None);
        }
        let tensors = checkpoint::safetensors::read(file)?;
        let misfit = |source| StateError::Misfit { file: file.into(), source };
        let progress = tensors.get(PROGRESS).and_then(|progress| progress.to_vec1::<i64>().ok());
        let Some([epochs, updates]) = progress.as_deref() else {
            return Err(misfit(candle_core::Error::msg(format!("it has no `{PROGRESS}`"))));
        };
        let (state, updates) = (Self { epochs: *epochs as usize }, *updates as u64);
        Ok(Some(SavedState { file: file.into(), state, updates, tensors }))
    }
}

/// A state as read.
#[derive(Debug)]
pub struct SavedState {
    /// How far the run had come.
    pub state: TrainState,
    file: PathBuf,
    updates: u64,
    tensors: BTreeMap<String, Tensor>,
}

impl SavedState {
    /// Puts weights and optimizer back where they were.
    ///
    /// # Errors
    /// When they are of another model.
    pub fn restore(self, parameters: &Parameters, trainer: &mut Trainer) -> Result<TrainState, StateError> {
        let weight =
            |(name, t): (&String, &Tensor)| Some((name.strip_prefix(WEIGHT)?.to_string(), t.clone()));
        let weights = self.tensors.iter().filter_map(weight).collect();
        let restored = parameters
            .restore(&weights)
            .and_then(|()| trainer.optimizer_mut().restore(&self.tensors, self.updates));
        restored.map_err(|source| StateError::Misfit { file: self.file.clone(), source })?;
        Ok(self.state)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result};

    use super::*;
    use crate::model::Initial;
    use crate::train::{AdamWConfig, Decay, Schedule};

    fn fresh() -> Result<(Parameters, Trainer)> {
        let shapes = [("w".to_string(), vec![5, 3], Initial::Normal(1.0))];
        let parameters = Parameters::draw(shapes, 1, DType::F32, &Device::Cpu)?;
        let adam = AdamWConfig {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip_grad: 1.0,
            relative: false,
        };
        let schedule = Schedule {
            learning_rate: 0.1,
            total_updates: 10,
            warmup_fraction: 0.1,
            decay: Decay::Linear,
            decay_ratio: 0.1,
        };
        let trainer = Trainer::new(&parameters, adam, schedule)?;
        Ok((parameters, trainer))
    }

    fn learn(parameters: &Parameters, trainer: &mut Trainer, updates: usize) -> Result<Vec<f32>> {
        let weight = || parameters.iter().next().expect("one weight").1.as_tensor().clone();
        for _ in 0..updates {
            trainer
                .update(parameters, [|| Ok::<_, candle_core::Error>((weight().sqr()?.sum_all()?, 1.0))])?;
        }
        weight().flatten_all()?.to_vec1()
    }

    #[test]
    fn a_run_that_was_saved_and_restored_ends_in_the_same_bytes() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("state.safetensors");
        let (parameters, mut trainer) = fresh()?;
        let straight = learn(&parameters, &mut trainer, 6)?;

        let (parameters, mut trainer) = fresh()?;
        learn(&parameters, &mut trainer, 4)?;
        TrainState { epochs: 2 }.save(&file, &parameters, &trainer).expect("saved");
        let (parameters, mut trainer) = fresh()?;
        let saved = TrainState::read(&file).expect("whole").expect("there");
        let state = saved.restore(&parameters, &mut trainer).expect("restored");
        assert_eq!((state, trainer.updates()), (TrainState { epochs: 2 }, 4));
        assert_eq!(learn(&parameters, &mut trainer, 2)?, straight);
        Ok(())
    }

    #[test]
    fn a_loss_that_is_not_finite_changes_nothing() -> Result<()> {
        let (parameters, mut trainer) = fresh()?;
        let before = learn(&parameters, &mut trainer, 1)?;
        let nan = Tensor::new(f32::NAN, &Device::Cpu)?;
        let refused = trainer.update(&parameters, [|| Ok::<_, candle_core::Error>((nan, 1.0))]);
        assert!(refused.expect_err("NaN is refused").to_string().contains("update 2 is NaN"));
        assert_eq!(learn(&parameters, &mut trainer, 0)?, before);
        Ok(())
    }
}
