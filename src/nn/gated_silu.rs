//! The gated form of the sigmoid linear unit.

use candle_core::{Result, Tensor};

use super::cpu::simd;
use super::elementwise::gated;

/// `silu(gate) * x`, with `silu(g) = g / (1 + e^-g)`.
///
/// # Shapes
/// - `gates`, `xs` and output: the same, of any shape
///
/// Source: Shazeer 2020, "GLU variants improve transformer", `SwiGLU`; as in Llama.
pub fn gated_silu(gates: &Tensor, xs: &Tensor) -> Result<Tensor> {
    if !super::is_fused(xs) {
        return gates.silu()? * xs;
    }
    gated(gates, xs, simd::gated_silu, simd::gated_silu_backward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_candles() -> Result<()> {
        let (gates, xs) = ((noise((7, 33), 1)? * 9.0)?, noise((7, 33), 2)?);
        assert_close(&gated_silu(&gates, &xs)?, &(gates.silu()? * &xs)?, 1e-6)
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let inputs = [(noise((3, 5), 3)? * 3.0)?, noise((3, 5), 4)?];
        assert_gradients(&inputs, |x| gated_silu(&x[0], &x[1]))
    }
}
