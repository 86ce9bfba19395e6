//! The Gaussian error linear unit: its tanh form, the same with a gate, and its exact form.

use candle_core::{Result, Tensor};

use super::cpu::simd;
use super::elementwise::{gated, unary};

/// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, of any shape.
///
/// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`, `gelu_impl`.
pub fn gelu(xs: &Tensor) -> Result<Tensor> {
    if super::is_fused(xs) { unary(xs, simd::gelu, simd::gelu_backward) } else { xs.gelu() }
}

/// `0.5 x (1 + erf(x / √2))`, of any shape.
///
/// Source: Hendrycks & Gimpel 2016.
pub fn gelu_erf(xs: &Tensor) -> Result<Tensor> {
    if super::is_fused(xs) { unary(xs, simd::gelu_erf, simd::gelu_erf_backward) } else { xs.gelu_erf() }
}

/// `gelu(gate) * x`, with the tanh form.
///
/// # Shapes
/// - `gates`, `xs` and output: the same, of any shape
///
/// Source: Shazeer 2020, "GLU variants improve transformer", `GEGLU`.
pub fn gated_gelu(gates: &Tensor, xs: &Tensor) -> Result<Tensor> {
    if !super::is_fused(xs) {
        return gates.gelu()? * xs;
    }
    gated(gates, xs, simd::gated_gelu, simd::gated_gelu_backward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_ops_equal_candles() -> Result<()> {
        let (xs, ys) = ((noise((7, 33), 1)? * 5.0)?, noise((7, 33), 2)?);
        assert_close(&gelu(&xs)?, &xs.gelu()?, 1e-6)?;
        assert_close(&gelu_erf(&xs)?, &xs.gelu_erf()?, 1e-6)?;
        assert_close(&gated_gelu(&xs, &ys)?, &(xs.gelu()? * ys)?, 2e-6)
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let inputs = [(noise((3, 5), 3)? * 3.0)?, noise((3, 5), 4)?];
        assert_gradients(&inputs[..1], |x| gelu(&x[0]))?;
        assert_gradients(&inputs[..1], |x| gelu_erf(&x[0]))?;
        assert_gradients(&inputs, |x| gated_gelu(&x[0], &x[1]))
    }

    #[test]
    fn gates_of_another_shape_are_an_error() -> Result<()> {
        let error = gated_gelu(&noise((2, 3), 5)?, &noise((3, 2), 6)?).expect_err("they do not fit");
        assert!(error.to_string().contains("gates [2, 3] for values [3, 2]"), "{error}");
        Ok(())
    }
}
