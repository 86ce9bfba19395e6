//! Layer normalisation.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::gemm::Into;
use super::cpu::{self, ROWS_PER_TASK, simd};
use super::{Gradients, tape};

/// `(x - mean) / √(variance + ε) * weight + bias` of each row, with the biased variance.
///
/// # Shapes
/// - `xs`: `[t, h]`; `weight`, `bias`: `[h]`
/// - output: `[t, h]`
pub fn layer_norm(xs: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    if !super::is_fused(xs) {
        return composed(xs, weight, bias, epsilon);
    }
    let op = LayerNorm { xs: xs.contiguous()?, weight: weight.clone(), epsilon: epsilon as f32 };
    let ys = op.forward(bias)?;
    let bias_var = bias.clone();
    tape::output(ys, xs.shape(), &[xs, weight, bias], move |dys, gradients| {
        op.backward(&bias_var, &dys, gradients)
    })
}

/// The same of candle's kernels, with moments in f32.
fn composed(xs: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let dtype = xs.dtype();
    let xs = xs.to_dtype(DType::F32)?;
    let xs = xs.broadcast_sub(&xs.mean_keepdim(1)?)?;
    let variance = xs.sqr()?.mean_keepdim(1)?;
    let xs = xs.broadcast_div(&(variance + epsilon)?.sqrt()?)?.to_dtype(dtype)?;
    xs.broadcast_mul(weight)?.broadcast_add(bias)
}

/// What the norm keeps for its backward pass.
struct LayerNorm {
    xs: Tensor,
    weight: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    fn forward(&self, bias: &Tensor) -> Result<Vec<f32>> {
        let (x, weight, bias) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?, cpu::values(bias)?);
        let h = weight.len();
        let mut ys = cpu::uninitialized(x.len());
        let tasks = ys.par_chunks_mut(h * ROWS_PER_TASK).zip(x.par_chunks(h * ROWS_PER_TASK));
        tasks.for_each(|(ys, xs)| {
            for (y, x) in ys.chunks_exact_mut(h).zip(xs.chunks_exact(h)) {
                simd::layer_norm(y, x, &weight, &bias, self.epsilon);
            }
        });
        Ok(ys)
    }

    fn backward(&self, bias: &Tensor, dys: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let dys = dys.contiguous()?;
        let (x, w, dy) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?, cpu::values(&dys)?);
        let h = w.len();
        let rows = h * 4 * ROWS_PER_TASK;
        let mut partial: (Vec<Vec<f32>>, Vec<Vec<f32>>) = Default::default();
        gradients.write(&self.xs, |dx, mode| {
            let tasks = dx.par_chunks_mut(rows).zip(x.par_chunks(rows).zip(dy.par_chunks(rows)));
            let task = |(dx, (x, dy)): (&mut [f32], (&[f32], &[f32]))| {
                let (mut dw, mut db) = (vec![0.0; h], vec![0.0; h]);
                let mut scratch = (vec![0.0; h], vec![0.0; h]);
                for ((dx, x), dy) in dx.chunks_exact_mut(h).zip(x.chunks_exact(h)).zip(dy.chunks_exact(h)) {
                    let (grads, scratch) =
                        ((dx, &mut dw[..], &mut db[..]), (&mut scratch.0[..], &mut scratch.1[..]));
                    simd::layer_norm_backward(grads, (x, &w, dy), scratch, self.epsilon, mode == Into::Add);
                }
                (dw, db)
            };
            partial = tasks.map(task).unzip();
        })?;
        gradients.write(&self.weight, |dw, mode| cpu::sum_in_order(dw, mode, &partial.0))?;
        gradients.write(bias, |db, mode| cpu::sum_in_order(db, mode, &partial.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        for (t, h) in [(1, 1), (3, 7), (200, 64), (17, 256)] {
            let (xs, w, b) = ((noise((t, h), 1)? * 3.0)?, noise(h, 2)?, noise(h, 3)?);
            assert_close(&layer_norm(&xs, &w, &b, 1e-5)?, &composed(&xs, &w, &b, 1e-5)?, 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let inputs = [noise((4, 6), 4)?, noise(6, 5)?, noise(6, 6)?];
        assert_gradients(&inputs, |x| layer_norm(&x[0], &x[1], &x[2], 1e-5))
    }
}
