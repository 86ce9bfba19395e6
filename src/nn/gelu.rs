//! The tanh form of the Gaussian error linear unit.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, VALUES_PER_TASK, simd};
use super::tape;

/// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, of any shape.
///
/// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`, `gelu_impl`.
pub fn gelu(xs: &Tensor) -> Result<Tensor> {
    if !super::is_fused(xs) {
        return xs.gelu();
    }
    let contiguous = xs.contiguous()?;
    let mut ys = cpu::uninitialized(xs.elem_count());
    {
        let x = cpu::values(&contiguous)?;
        let chunks = ys.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
        chunks.for_each(|(y, x)| simd::gelu(y, x));
    }
    let kept = xs.clone();
    tape::output(ys, xs.shape(), &[xs], move |dys, gradients| {
        // `dys` is nobody else's: the gradient is written over it.
        let x = cpu::values(&contiguous)?;
        cpu::change(&dys, |dy| {
            let chunks = dy.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
            chunks.for_each(|(dy, x)| simd::gelu_backward(dy, x));
        })?;
        gradients.add(&kept, dys)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_candles() -> Result<()> {
        let xs = (noise((7, 33), 1)? * 5.0)?;
        assert_close(&gelu(&xs)?, &xs.gelu()?, 1e-6)
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        assert_gradients(&[(noise((3, 5), 2)? * 3.0)?], |x| gelu(&x[0]))
    }
}
