//! Updates of a parameter in place.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::cpu::{self, VALUES_PER_TASK, simd};

/// Constants of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// In force at this update.
    pub learning_rate: f64,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root of the squared mean.
    pub epsilon: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: u64,
    /// By which the gradient is multiplied first (clipping).
    pub gradient_scale: f64,
}

impl AdamStep {
    fn corrections(&self) -> (f64, f64) {
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        (1.0 / (1.0 - self.beta1.powi(step)), 1.0 / (1.0 - self.beta2.powi(step)))
    }

    fn constants(&self) -> simd::Adam {
        let (correction1, correction2) = self.corrections();
        simd::Adam {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            gradient_scale: self.gradient_scale as f32,
            correction1: correction1 as f32,
            correction2: correction2 as f32,
            learning_rate: self.learning_rate as f32,
            decay: (1.0 - self.learning_rate * self.weight_decay) as f32,
        }
    }
}

/// One AdamW update of a parameter and its two running means, all of one shape.
///
/// Source: Loshchilov & Hutter 2019, algorithm 2.
pub fn adamw_step(
    parameter: &Var,
    mean: &Var,
    square: &Var,
    gradient: &Tensor,
    adam: AdamStep,
) -> Result<()> {
    if super::is_fused(parameter) {
        let gradient = gradient.contiguous()?;
        let gradient = cpu::values(&gradient)?;
        let constants = adam.constants();
        let (mut on_mean, mut on_square) = (Ok(()), Ok(()));
        cpu::change(parameter, |p| {
            on_mean = cpu::change(mean, |m| {
                on_square = cpu::change(square, |v| update((p, m, v), &gradient, constants));
            });
        })?;
        return on_mean.and(on_square);
    }
    let gradient = (gradient.detach() * adam.gradient_scale)?;
    mean.set(&((mean.as_tensor() * adam.beta1)? + (&gradient * (1.0 - adam.beta1))?)?)?;
    square.set(&((square.as_tensor() * adam.beta2)? + (gradient.sqr()? * (1.0 - adam.beta2))?)?)?;
    let (correction1, correction2) = adam.corrections();
    let root = ((square.as_tensor() * correction2)?.sqrt()? + adam.epsilon)?;
    let step = ((mean.as_tensor() * correction1)? / root)?;
    let decayed = (parameter.as_tensor() * (1.0 - adam.learning_rate * adam.weight_decay))?;
    parameter.set(&(decayed - (step * adam.learning_rate)?)?)
}

/// Sum of the squares of all values, in f64 and in an order that does not depend on the number of threads.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    if !super::is_fused(tensor) {
        return Ok(f64::from(
            tensor.to_dtype(candle_core::DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?,
        ));
    }
    let tensor = tensor.contiguous()?;
    let values = cpu::values(&tensor)?;
    let partial: Vec<f64> = values.par_chunks(VALUES_PER_TASK).map(|x| f64::from(simd::dot(x, x))).collect();
    Ok(partial.iter().sum())
}

/// One update on all threads, in one pass over memory.
fn update((p, m, v): (&mut [f32], &mut [f32], &mut [f32]), g: &[f32], constants: simd::Adam) {
    let means = m.par_chunks_mut(VALUES_PER_TASK).zip(v.par_chunks_mut(VALUES_PER_TASK));
    let chunks = p.par_chunks_mut(VALUES_PER_TASK).zip(means).zip(g.par_chunks(VALUES_PER_TASK));
    chunks.for_each(|((p, (m, v)), g)| simd::adamw(p, m, v, g, constants));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, noise};

    #[test]
    fn three_updates_equal_those_written_out_in_f64() -> Result<()> {
        let (start, gradient) = (noise((40, 7), 1)?, noise((40, 7), 2)?);
        let [parameter, mean, square] =
            [start.clone(), start.zeros_like()?, start.zeros_like()?].map(|t| Var::from_tensor(&t));
        let (parameter, mean, square) = (parameter?, mean?, square?);
        let mut adam = AdamStep {
            learning_rate: 1e-2,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step: 0,
            gradient_scale: 0.5,
        };
        let values = |t: &Tensor| -> Result<Vec<f64>> {
            Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
        };
        let (mut expected, gradients) = (values(&start)?, values(&gradient)?);
        let mut moments = vec![(0.0, 0.0); expected.len()];
        for step in 1..=3 {
            adam.step = step;
            adamw_step(&parameter, &mean, &square, &gradient, adam)?;
            for ((p, g), (m, v)) in expected.iter_mut().zip(&gradients).zip(&mut moments) {
                let g = g * 0.5;
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let t = step as i32;
                let step = *m / (1.0 - 0.9f64.powi(t)) / ((*v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8);
                *p = *p * (1.0 - 1e-3) - 1e-2 * step;
            }
        }
        let expected: Vec<f32> = expected.into_iter().map(|x| x as f32).collect();
        assert_close(&parameter, &Tensor::from_vec(expected, (40, 7), parameter.device())?, 2e-6)
    }

    #[test]
    fn the_norm_of_a_gradient_is_that_of_its_values() -> Result<()> {
        let ones = Tensor::ones((300, 200), candle_core::DType::F32, &candle_core::Device::Cpu)?;
        assert!((sum_of_squares(&ones)? - 60_000.0).abs() < 1e-9);
        Ok(())
    }
}
