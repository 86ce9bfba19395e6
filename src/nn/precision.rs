//! What matrix products are computed with.

use candle_core::{DType, Device};

use super::cpu::gemm;

/// What the factors of matrix products on the CPU are rounded to. Sums, weights, gradients and everything else
/// stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// Factors have 8 significant bits, as under the autocast of `torch`.
    Bf16,
}

impl Precision {
    /// What tensors are stored as, and what products are computed with, where a number format is asked for on a device:
    /// on the CPU bf16 is a way to multiply.
    pub fn of(dtype: DType, device: &Device) -> (DType, Self) {
        match dtype {
            DType::BF16 if device.is_cpu() => (DType::F32, Self::Bf16),
            _ => (dtype, Self::F32),
        }
    }

    /// Can this processor multiply so? Products of bf16 need AVX-512 with its BF16 part.
    pub fn is_supported(self) -> bool {
        gemm::supports(self)
    }
}
