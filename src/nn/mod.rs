//! The layers every model is built from: differentiable, each existing once.
//!
//! Tokens are packed: activations are `[t, h]`, all sequences of a batch one after the other without
//! padding, and a [`Layout`] says where each begins and what its tokens may see.
//!
//! On the CPU in f32 each op is one fused kernel with its own backward, which a [`Tape`] records; elsewhere (CUDA,
//! half precision) the same op is composed of candle's kernels. Several candle-nn calls (`LayerNorm::forward`,
//! `softmax_last_dim`, `sdpa`) stop the gradient silently, so none of them is used here, and every op is
//! checked against finite differences and against its composed form.

mod attention;
mod beam_attention;
mod cpu;
mod cross_entropy;
mod dropout;
mod elementwise;
mod embedding;
mod finite;
mod gated_silu;
mod gelu;
#[cfg(test)]
mod gradient_check;
mod layer_norm;
mod layout;
mod linear;
mod optimizer_kernels;
mod precision;
mod relative_bias;
mod relu;
mod rms_norm;
mod rotary;
mod tape;

pub use attention::{Scores, attention, attention_over};
pub use beam_attention::{KeysValues, attention_of_beams};
pub use cpu::level::instructions;
pub use cross_entropy::{
    OutputLayer, TokenScore, linear_cross_entropy, logits, mean_linear_cross_entropy, score_tokens,
};
pub use dropout::{DropMask, Dropout};
pub use embedding::{embedding, embedding_sum};
pub use finite::check_finite;
pub use gated_silu::gated_silu;
pub use gelu::{gated_gelu, gelu, gelu_erf};
pub use layer_norm::layer_norm;
pub use layout::{Layout, Sequence, Visibility};
pub use linear::{linear, linear_residual};
pub use optimizer_kernels::{AdamStep, adamw_step, sum_of_squares};
pub use precision::Precision;
pub use relative_bias::{Buckets, RelativeBias};
pub use relu::relu;
pub use rms_norm::rms_norm;
pub use rotary::Rotary;
pub use tape::{Gradients, Tape};

use candle_core::{DType, Tensor};

/// `ln Σ e^x` of a row of logits: what turns them into log-probabilities.
pub fn log_sum_exp(row: &[f32]) -> f32 {
    cpu::simd::log_sum_exp(row)
}

/// Does the fused CPU kernel apply? Otherwise the op is composed of candle's.
fn is_fused(xs: &Tensor) -> bool {
    xs.device().is_cpu() && xs.dtype() == DType::F32
}
