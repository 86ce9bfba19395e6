//! Dropout whose draws depend on a seed and the element's place alone.

use std::cell::Cell;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, VALUES_PER_TASK, simd};
use super::tape;

/// A source of dropout masks for one forward pass. Each use draws the next mask, so that the same seed gives
/// the same pass on any number of threads.
#[derive(Debug)]
pub struct Dropout {
    state: Option<Cell<u64>>,
}

impl Dropout {
    /// Training: masks that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Some(Cell::new(seed)) }
    }

    /// Evaluation: nothing is dropped.
    pub fn off() -> Self {
        Self { state: None }
    }

    /// The next mask, which drops each element with `probability` and scales the others up; `None` when
    /// nothing is dropped.
    pub fn mask(&self, probability: f64) -> Option<DropMask> {
        let state = self.state.as_ref()?;
        state.set(state.get().wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F));
        (probability > 0.0).then(|| DropMask {
            seed: (state.get() >> 32) as u32,
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        })
    }

    /// Drops values of a tensor of any shape.
    pub fn apply(&self, xs: &Tensor, probability: f64) -> Result<Tensor> {
        self.mask(probability).map_or_else(|| Ok(xs.clone()), |drop| drop.apply(xs))
    }
}

/// One mask over any number of elements: each is kept or dropped by a hash of the seed and its number.
#[derive(Clone, Copy, Debug)]
pub struct DropMask {
    seed: u32,
    threshold: u32,
    scale: f32,
}

impl DropMask {
    /// Another mask, for the `index`-th part of what this one is for.
    pub(super) fn part(self, index: u32) -> Self {
        Self { seed: self.seed ^ index.wrapping_add(1).wrapping_mul(0x2545_F491), ..self }
    }

    /// Drops the elements `first..`, in place.
    pub(super) fn in_place(&self, xs: &mut [f32], first: u32) {
        simd::dropout_in_place(xs, self.seed, first, self.threshold, self.scale);
    }

    /// The factors of the elements `0..n`: 0, or the scale of what is kept.
    pub(super) fn multipliers(&self, n: usize) -> Vec<f32> {
        let mut factors = vec![1.0; n];
        self.in_place(&mut factors, 0);
        factors
    }

    /// Drops values of a tensor of any shape.
    pub fn apply(&self, xs: &Tensor) -> Result<Tensor> {
        if !super::is_fused(xs) {
            let mask = Tensor::from_vec(self.multipliers(xs.elem_count()), xs.shape(), xs.device())?;
            return xs * mask.to_dtype(xs.dtype())?;
        }
        let contiguous = xs.contiguous()?;
        let mut ys = cpu::values(&contiguous)?.to_vec();
        self.all_in_place(&mut ys);
        let (kept, drop) = (xs.clone(), *self);
        tape::output(ys, xs.shape(), &[xs], move |dys, gradients| {
            cpu::change(&dys, |dys| drop.all_in_place(dys))?;
            gradients.add(&kept, dys)
        })
    }

    /// Drops the elements of a whole tensor, in place and on all threads.
    pub(super) fn all_in_place(&self, xs: &mut [f32]) {
        let chunks = xs.par_chunks_mut(VALUES_PER_TASK).enumerate();
        chunks.for_each(|(i, xs)| self.in_place(xs, (i * VALUES_PER_TASK) as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_gradients, noise};

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        assert_gradients(&[noise((5, 7), 1)?], |x| Dropout::new(3).apply(&x[0], 0.4))
    }

    #[test]
    fn the_same_seed_drops_the_same_values_and_the_next_use_others() -> Result<()> {
        let xs = noise((40, 50), 2)?;
        let (a, b) = (Dropout::new(4), Dropout::new(4));
        let first = a.apply(&xs, 0.5)?.to_vec2::<f32>()?;
        assert_eq!(first, b.apply(&xs, 0.5)?.to_vec2::<f32>()?);
        assert_ne!(first, a.apply(&xs, 0.5)?.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn off_changes_nothing() -> Result<()> {
        let xs = noise((3, 3), 5)?;
        assert_eq!(Dropout::off().apply(&xs, 0.5)?.to_vec2::<f32>()?, xs.to_vec2::<f32>()?);
        Ok(())
    }
}
