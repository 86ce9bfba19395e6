//! Normalisation by the root mean square.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::gemm::Into;
use super::cpu::{self, ROWS_PER_TASK, simd};
use super::{Gradients, tape};

/// `x / √(mean of x² + ε) * weight` of each row: no mean is taken off, and there is no bias.
///
/// # Shapes
/// - `xs`: `[t, h]`; `weight`: `[h]`
/// - output: `[t, h]`
///
/// Source: Zhang & Sennrich 2019; as in T5 and Llama.
pub fn rms_norm(xs: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    if !super::is_fused(xs) {
        return composed(xs, weight, epsilon);
    }
    let op = RmsNorm { xs: xs.contiguous()?, weight: weight.clone(), epsilon: epsilon as f32 };
    tape::output(op.forward()?, xs.shape(), &[xs, weight], move |dys, gradients| op.backward(&dys, gradients))
}

/// The same of candle's kernels, with the mean in f32.
fn composed(xs: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let dtype = xs.dtype();
    let xs = xs.to_dtype(DType::F32)?;
    let mean_square = xs.sqr()?.mean_keepdim(1)?;
    xs.broadcast_div(&(mean_square + epsilon)?.sqrt()?)?.to_dtype(dtype)?.broadcast_mul(weight)
}

/// What the norm keeps for its backward pass.
struct RmsNorm {
    xs: Tensor,
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    fn forward(&self) -> Result<Vec<f32>> {
        let (x, weight) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?);
        let h = weight.len();
        let mut ys = cpu::uninitialized(x.len());
        let tasks = ys.par_chunks_mut(h * ROWS_PER_TASK).zip(x.par_chunks(h * ROWS_PER_TASK));
        tasks.for_each(|(ys, xs)| {
            for (y, x) in ys.chunks_exact_mut(h).zip(xs.chunks_exact(h)) {
                simd::rms_norm(y, x, &weight, self.epsilon);
            }
        });
        Ok(ys)
    }

    fn backward(&self, dys: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let dys = dys.contiguous()?;
        let (x, w, dy) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?, cpu::values(&dys)?);
        let h = w.len();
        let rows = h * 4 * ROWS_PER_TASK;
        let mut partial: Vec<Vec<f32>> = Vec::new();
        gradients.write(&self.xs, |dx, mode| {
            let tasks = dx.par_chunks_mut(rows).zip(x.par_chunks(rows).zip(dy.par_chunks(rows)));
            let task = |(dx, (x, dy)): (&mut [f32], (&[f32], &[f32]))| {
                let (mut dw, mut scratch) = (vec![0.0; h], vec![0.0; h]);
                for ((dx, x), dy) in dx.chunks_exact_mut(h).zip(x.chunks_exact(h)).zip(dy.chunks_exact(h)) {
                    let adds = mode == Into::Add;
                    simd::rms_norm_backward((dx, &mut dw), (x, &w, dy), &mut scratch, self.epsilon, adds);
                }
                dw
            };
            partial = tasks.map(task).collect();
        })?;
        gradients.write(&self.weight, |dw, mode| cpu::sum_in_order(dw, mode, &partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        for (t, h) in [(1, 1), (3, 7), (200, 64), (17, 256)] {
            let (xs, w) = ((noise((t, h), 1)? * 3.0)?, noise(h, 2)?);
            assert_close(&rms_norm(&xs, &w, 1e-6)?, &composed(&xs, &w, 1e-6)?, 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        assert_gradients(&[noise((4, 6), 4)?, noise(6, 5)?], |x| rms_norm(&x[0], &x[1], 1e-6))
    }

    #[test]
    fn a_row_is_the_same_bytes_among_others() -> Result<()> {
        let (xs, w) = (noise((40, 33), 6)?, noise(33, 7)?);
        let all = rms_norm(&xs, &w, 1e-6)?.to_vec2::<f32>()?;
        assert_eq!(rms_norm(&xs.narrow(0, 37, 1)?, &w, 1e-6)?.to_vec2::<f32>()?[0], all[37]);
        Ok(())
    }
}
