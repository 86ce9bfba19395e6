//! The rectified linear unit.

use candle_core::{Result, Tensor};

use super::cpu::simd;
use super::elementwise::unary;

/// `max(x, 0)`, of any shape.
pub fn relu(xs: &Tensor) -> Result<Tensor> {
    if super::is_fused(xs) { unary(xs, simd::relu, simd::relu_backward) } else { xs.relu() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_candles() -> Result<()> {
        let xs = noise((7, 33), 1)?;
        assert_close(&relu(&xs)?, &xs.relu()?, 0.0)
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() -> Result<()> {
        let xs = Tensor::new(&[f32::NAN, -1.0], &candle_core::Device::Cpu)?;
        let ys = relu(&xs)?.to_vec1::<f32>()?;
        assert!(ys[0].is_nan() && ys[1] == 0.0);
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        // Values away from the corner at 0, where a difference is no derivative.
        let xs = noise((3, 5), 2)?;
        let away = (&xs + (xs.ge(0f32)?.to_dtype(candle_core::DType::F32)? - 0.5)?)?;
        assert_gradients(&[away], |x| relu(&x[0]))
    }
}
