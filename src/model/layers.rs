//! Weights of a layer, found by their published names.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::{self, DropMask, Precision};

/// A projection, with a bias or without.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,       // [o, i]
    bias: Option<Tensor>, // [o]
    precision: Precision,
}

impl Linear {
    /// Finds `weight` and `bias`.
    pub fn new(inputs: usize, outputs: usize, precision: Precision, vb: VarBuilder) -> Result<Self> {
        let bias = Some(vb.get(outputs, "bias")?);
        Ok(Self { bias, ..Self::without_bias(inputs, outputs, precision, vb)? })
    }

    /// Finds `weight`.
    pub fn without_bias(inputs: usize, outputs: usize, precision: Precision, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get((outputs, inputs), "weight")?, bias: None, precision })
    }

    /// `[t, i]` to `[t, o]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        nn::linear(xs, &self.weight, self.bias.as_ref(), self.precision)
    }

    /// The end of a residual branch.
    pub fn forward_residual(&self, residual: &Tensor, xs: &Tensor, drop: Option<DropMask>) -> Result<Tensor> {
        nn::linear_residual(residual, xs, &self.weight, self.bias.as_ref(), drop, self.precision)
    }
}

/// A layer norm.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// Finds `weight` and `bias`.
    pub fn new(h: usize, epsilon: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get(h, "weight")?, bias: vb.get(h, "bias")?, epsilon })
    }

    /// `[t, h]` to `[t, h]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        nn::layer_norm(xs, &self.weight, &self.bias, self.epsilon)
    }
}

/// A norm by the root mean square.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// Finds `weight`.
    pub fn new(h: usize, epsilon: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get(h, "weight")?, epsilon })
    }

    /// `[t, h]` to `[t, h]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        nn::rms_norm(xs, &self.weight, self.epsilon)
    }
}
