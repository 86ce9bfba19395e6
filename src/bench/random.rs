//! A network with random weights, doing the same step again and again.

use candle_core::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{BenchError, Mode, NumberFormat, RandomWork};
use crate::model::glm::{Batch, Glm};
use crate::model::{Architecture, Parameters};
use crate::nn::{self, Dropout, Layout, Precision};
use crate::train::{AdamWConfig, Decay, Schedule, Trainer};

const SEED: u64 = 1;

/// The network and its batch.
pub struct RandomModel {
    glm: Glm,
    parameters: Parameters,
    batch: Batch,
    rows: Option<Vec<u32>>,
    targets: Vec<u32>,
    /// In training.
    trainer: Option<Trainer>,
}

impl RandomModel {
    /// Draws weights and tokens.
    pub fn new(
        work: &RandomWork,
        mode: Mode,
        format: NumberFormat,
        device: &Device,
    ) -> Result<Self, BenchError> {
        let (dtype, precision) = Precision::of(format.dtype(), device);
        let initial = |name: &str| work.config.initial(name);
        let weights = work.config.parameters().into_iter();
        let mut drawn = weights.map(|(name, shape)| (name.clone(), shape, initial(&name)));
        let mut parameters = Parameters::draw(drawn.next(), SEED, dtype, device)?;
        // One by one: all at once, the values drawn and the weights made of them would be in memory together.
        for weight in drawn {
            parameters.extend(Parameters::draw([weight], SEED, dtype, device)?);
        }
        let trainer = match mode {
            Mode::Eval => None,
            Mode::Train => Some(trainer(&parameters)?),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut ids = |count: usize| -> Vec<u32> {
            (0..count).map(|_| rng.random_range(0..work.config.vocab_size as u32)).collect()
        };
        Ok(Self {
            glm: Glm::new(&work.config, precision, parameters.var_builder())?,
            batch: batch(work, ids(work.num_tokens())),
            rows: work.rows(),
            targets: ids(work.num_targets),
            parameters,
            trainer,
        })
    }

    /// One forward pass, or one update.
    pub fn step(&mut self) -> Result<(), BenchError> {
        let (table, precision) = (self.glm.word_embeddings(), self.glm.precision());
        let read = || {
            let hidden = self.glm.forward(&self.batch, &Dropout::off())?; // [t, h]
            match &self.rows {
                Some(rows) => nn::embedding(&hidden, rows), // [rows, h]
                None => Ok(hidden),
            }
        };
        let Some(trainer) = &mut self.trainer else {
            nn::logits(&read()?, table, precision)?; // [rows, v]
            return Ok(());
        };
        let loss = || {
            let loss = nn::mean_linear_cross_entropy(&read()?, table, &self.targets, 0.0, precision)?;
            Ok::<_, BenchError>((loss, 1.0))
        };
        trainer.update(&self.parameters, [loss])?;
        Ok(())
    }
}

/// AdamW at a constant rate, without clipping.
pub(super) fn trainer(parameters: &Parameters) -> Result<Trainer, BenchError> {
    let adamw = AdamWConfig {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        clip_grad: 0.0,
        relative: false,
    };
    let schedule = Schedule {
        learning_rate: 1e-4,
        total_updates: 1,
        warmup_fraction: 0.0,
        decay: Decay::None,
        decay_ratio: 1.0,
    };
    Ok(Trainer::new(parameters, adamw, schedule)?)
}

fn batch(work: &RandomWork, ids: Vec<u32>) -> Batch {
    let (prefix, sequence) = (work.prefix as u32, work.sequence as u32);
    let last = prefix.saturating_sub(1); // where the blank is
    Batch {
        ids,
        positions: (0..sequence).map(|place| place.min(last)).collect::<Vec<_>>().repeat(work.batch),
        block_positions: (0..sequence)
            .map(|place| (place + 1).saturating_sub(prefix))
            .collect::<Vec<_>>()
            .repeat(work.batch),
        layout: Layout::new(work.sequences()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape;

    #[test]
    fn positions_stop_at_the_blank_and_go_on_inside_the_piece() {
        let work = RandomWork::new(shape("1x8x2x10").expect("sizes"), 2, 5, 1.0).expect("it makes sense");
        let batch = batch(&work, vec![0; 10]);
        assert_eq!(batch.positions, [0, 1, 1, 1, 1].repeat(2));
        assert_eq!(batch.block_positions, [0, 0, 1, 2, 3].repeat(2));
        assert_eq!(batch.layout.num_tokens(), 10);
    }

    #[test]
    fn both_modes_step_on_odd_shapes_and_the_longest_sequence() -> Result<(), BenchError> {
        let config = shape("1x6x3x7")?;
        for (batch, sequence, targets) in [(1, 1, 1.0), (3, 5, 0.3), (1, 2048, 0.01)] {
            for mode in [Mode::Eval, Mode::Train] {
                let work = RandomWork::new(config.clone(), batch, sequence, targets)?;
                let mut model = RandomModel::new(&work, mode, NumberFormat::F32, &Device::Cpu)?;
                model.step()?;
                model.step()?;
            }
        }
        Ok(())
    }
}
