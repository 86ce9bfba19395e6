//! The output projection and the softmax over the vocabulary, in chunks: log-probabilities are never
//! materialised for the whole batch.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::gemm::{Into, Mat, Product};
use super::cpu::{self, simd};
use super::{Gradients, Precision, tape};

/// From hidden states to logits over the vocabulary: `x wᵀ`, and `+ b` where a model has it.
#[derive(Clone, Copy, Debug)]
pub struct OutputLayer<'a> {
    /// `[v, h]`, most often the token embedding.
    pub weight: &'a Tensor,
    /// `[v]`.
    pub bias: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for OutputLayer<'a> {
    fn from(weight: &'a Tensor) -> Self {
        Self { weight, bias: None }
    }
}

impl OutputLayer<'_> {
    /// For a pass that no gradient follows.
    fn detach(&self) -> (Tensor, Option<Tensor>) {
        (self.weight.detach(), self.bias.map(Tensor::detach))
    }
}

/// The logits of rows; not differentiable. Training goes through [`linear_cross_entropy`].
///
/// # Shapes
/// - `xs`: `[m, h]`; output: `[m, v]`
pub fn logits<'a>(
    xs: &Tensor,
    layer: impl std::convert::Into<OutputLayer<'a>>,
    precision: Precision,
) -> Result<Tensor> {
    let (xs, (weight, bias)) = (xs.detach(), layer.into().detach());
    let ((m, h), v) = (xs.dims2()?, weight.dim(0)?);
    if m == 0 {
        return Tensor::zeros((0, v), xs.dtype(), xs.device()); // a GPU refuses to do nothing
    }
    if !super::is_fused(&xs) {
        let logits = xs.matmul(&weight.t()?)?;
        return bias.map_or(Ok(logits.clone()), |bias| logits.broadcast_add(&bias));
    }
    let xs = xs.contiguous()?;
    let (x, w) = (cpu::values(&xs)?, cpu::values(&weight)?);
    let bias = bias.as_ref().map(cpu::values).transpose()?;
    let product = Product::new(Mat::new(&x, m, h), Mat::new(&w, v, h).t()).precision(precision);
    cpu::tensor(bias.as_deref().map_or(product, |bias| product.bias(bias)).to_vec(), (m, v))
}

/// Logits that exist at one time, at most (64 MB), in chunks of rows that no sum depends on.
const VALUES_PER_CHUNK: usize = 16 << 20;

/// Rows of logits that exist at one time.
fn rows_per_chunk(vocab_size: usize) -> usize {
    (VALUES_PER_CHUNK / vocab_size.max(1)).max(8)
}

/// Cross-entropy of each row: `(1 - s) (-log p(target)) + s * mean over the vocabulary of -log p`.
///
/// # Shapes
/// - `xs`: `[m, h]`, only the rows that have a target; `targets`: `m` ids
/// - `smoothing`: `s`, in `0..1`
/// - output: `[m]`, nats
///
/// Source: THUDM/GLM@4f61ed7 `finetune_glm.py`, `seq2seq_forward_step`.
pub fn linear_cross_entropy<'a>(
    xs: &Tensor,
    layer: impl std::convert::Into<OutputLayer<'a>>,
    targets: &[u32],
    smoothing: f64,
    precision: Precision,
) -> Result<Tensor> {
    let layer = layer.into();
    check(xs, layer, targets)?;
    if !super::is_fused(xs) {
        return composed(xs, layer, targets, smoothing);
    }
    let op = CrossEntropy::new(xs, layer, targets, smoothing, precision)?;
    let losses = op.losses()?;
    tape::output(losses, targets.len(), &inputs(xs, layer), move |upstream, gradients| {
        let upstream = upstream.to_vec1::<f32>()?;
        op.differentiate(&upstream)?.pass_on(&op, 1.0, gradients)
    })
}

/// The mean of [`linear_cross_entropy`] over all rows. Its gradient is made along with it, so that logits are computed
/// once: the loss of pre-training and of generation.
///
/// # Shapes
/// - as there; output: a scalar; 0 without rows
pub fn mean_linear_cross_entropy<'a>(
    xs: &Tensor,
    layer: impl std::convert::Into<OutputLayer<'a>>,
    targets: &[u32],
    smoothing: f64,
    precision: Precision,
) -> Result<Tensor> {
    let layer = layer.into();
    check(xs, layer, targets)?;
    let m = targets.len();
    if m == 0 {
        return Tensor::zeros((), DType::F32, xs.device());
    }
    if !super::is_fused(xs) {
        return composed(xs, layer, targets, smoothing)?.mean(0);
    }
    let op = CrossEntropy::new(xs, layer, targets, smoothing, precision)?;
    if !tape::is_recorded(&inputs(xs, layer)) {
        let losses = op.losses()?;
        return cpu::tensor(vec![mean(&losses)], ());
    }
    let found = op.differentiate(&vec![1.0 / m as f32; m])?;
    tape::output(vec![mean(&found.losses)], (), &inputs(xs, layer), move |upstream, gradients| {
        found.pass_on(&op, upstream.to_scalar::<f32>()?, gradients)
    })
}

fn inputs<'a>(xs: &'a Tensor, layer: OutputLayer<'a>) -> Vec<&'a Tensor> {
    [xs, layer.weight].into_iter().chain(layer.bias).collect()
}

fn mean(losses: &[f32]) -> f32 {
    (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64) as f32
}

/// How one target fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// `log p(target)`, in nats.
    pub log_prob: f32,
    /// Is the target the most probable token?
    pub is_greedy: bool,
}

/// Scores of given targets; not differentiable.
///
/// # Shapes
/// - `xs`: `[m, h]`; `targets`: `m` ids
/// - output: one score a row
pub fn score_tokens<'a>(
    xs: &Tensor,
    layer: impl std::convert::Into<OutputLayer<'a>>,
    targets: &[u32],
    precision: Precision,
) -> Result<Vec<TokenScore>> {
    let layer = layer.into();
    check(xs, layer, targets)?;
    let xs = xs.detach();
    let mut scores = Vec::with_capacity(targets.len());
    let rows_per_chunk = rows_per_chunk(layer.weight.dim(0)?);
    for (chunk, targets) in targets.chunks(rows_per_chunk).enumerate() {
        let rows = xs.narrow(0, chunk * rows_per_chunk, targets.len())?;
        let logits =
            logits(&rows, layer, precision)?.to_dtype(DType::F32)?.to_device(&candle_core::Device::Cpu)?;
        let logits = logits.contiguous()?;
        let (values, v) = (cpu::values(&logits)?, logits.dim(1)?);
        let score = |(row, &target): (&[f32], &u32)| TokenScore {
            log_prob: row[target as usize] - simd::log_sum_exp(row),
            is_greedy: simd::arg_max(row) == target as usize,
        };
        scores.par_extend(values.par_chunks_exact(v).zip(targets).map(score));
    }
    Ok(scores)
}

fn check(xs: &Tensor, layer: OutputLayer, targets: &[u32]) -> Result<()> {
    let ((m, _), (v, _)) = (xs.dims2()?, layer.weight.dims2()?);
    if m != targets.len() {
        bail!("cross-entropy: {m} rows, but {} targets", targets.len());
    }
    if let Some(bias) = layer.bias.filter(|bias| bias.dims() != [v]) {
        bail!("cross-entropy: a bias of shape {:?} for a vocabulary of {v}", bias.dims());
    }
    match targets.iter().find(|&&id| id as usize >= v) {
        Some(id) => bail!("cross-entropy: target {id} is not in a vocabulary of {v}"),
        None => Ok(()),
    }
}

/// The same of candle's kernels.
fn composed(xs: &Tensor, layer: OutputLayer, targets: &[u32], smoothing: f64) -> Result<Tensor> {
    let logits = xs.matmul(&layer.weight.t()?)?; // [m, v]
    let logits = layer.bias.map_or(Ok(logits.clone()), |bias| logits.broadcast_add(bias))?;
    let logits = logits.to_dtype(DType::F32)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_probs = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let ids = Tensor::new(targets, xs.device())?.unsqueeze(1)?;
    let right = log_probs.gather(&ids, 1)?.squeeze(1)?.neg()?; // [m]
    if smoothing == 0.0 {
        return Ok(right);
    }
    (right * (1.0 - smoothing))? - (log_probs.mean(D::Minus1)? * smoothing)?
}

/// The fused form, and what it keeps for the backward pass.
struct CrossEntropy {
    xs: Tensor,
    table: Tensor,
    bias: Option<Tensor>,
    targets: Vec<u32>,
    smoothing: f32,
    precision: Precision,
}

impl CrossEntropy {
    fn new(
        xs: &Tensor,
        layer: OutputLayer,
        targets: &[u32],
        smoothing: f64,
        precision: Precision,
    ) -> Result<Self> {
        let (xs, table, targets) = (xs.contiguous()?, layer.weight.contiguous()?, targets.to_vec());
        let bias = layer.bias.map(Tensor::contiguous).transpose()?;
        Ok(Self { xs, table, bias, targets, smoothing: smoothing as f32, precision })
    }

    /// From what a row of logits gives to its loss: the log of the normaliser, the target's logit, all logits' sum.
    fn loss(&self, log_normaliser: f32, target: f32, total: f32, vocab_size: usize) -> f32 {
        let right = log_normaliser - target;
        if self.smoothing == 0.0 {
            return right;
        }
        (1.0 - self.smoothing) * right + self.smoothing * (log_normaliser - total / vocab_size as f32)
    }

    /// `[m]` losses.
    fn losses(&self) -> Result<Vec<f32>> {
        let (v, h) = self.table.dims2()?;
        let (x, w) = (cpu::values(&self.xs)?, cpu::values(&self.table)?);
        let bias = self.bias.as_ref().map(cpu::values).transpose()?;
        let rows = rows_per_chunk(v);
        let mut losses = Vec::with_capacity(self.targets.len());
        for (x, targets) in x.chunks((rows * h).max(1)).zip(self.targets.chunks(rows)) {
            let product = Product::new(Mat::new(x, targets.len(), h), Mat::new(&w, v, h).t());
            let product = bias.as_deref().map_or(product, |bias| product.bias(bias));
            let logits = product.precision(self.precision).to_vec();
            let loss = |(row, &target): (&[f32], &u32)| {
                self.loss(simd::log_sum_exp(row), row[target as usize], self.total(row), v)
            };
            losses.par_extend(logits.par_chunks_exact(v).zip(targets).map(loss));
        }
        Ok(losses)
    }

    /// The sum of a row, where smoothing needs it.
    fn total(&self, row: &[f32]) -> f32 {
        if self.smoothing == 0.0 { 0.0 } else { simd::total(row) }
    }

    /// From logits to `upstream * ∂loss/∂logits`, in place. Returns the loss.
    fn gradient(&self, row: &mut [f32], target: u32, upstream: f32) -> f32 {
        let (logit, total) = (row[target as usize], self.total(row));
        let uniform = self.smoothing / row.len() as f32;
        let log_normaliser = simd::softmax_scaled(row, upstream, -uniform * upstream);
        row[target as usize] -= (1.0 - self.smoothing) * upstream;
        self.loss(log_normaliser, logit, total, row.len())
    }

    /// Losses, and their gradients with each row's loss weighted by `upstream`.
    fn differentiate(&self, upstream: &[f32]) -> Result<Differentiated> {
        let (v, h) = self.table.dims2()?;
        let (x, w) = (cpu::values(&self.xs)?, cpu::values(&self.table)?);
        let bias = self.bias.as_ref().map(cpu::values).transpose()?;
        let (mut all_dx, mut dw) = (cpu::uninitialized(x.len()), cpu::uninitialized(w.len()));
        let mut db = bias.as_ref().map(|bias| vec![0.0; bias.len()]);
        let mut losses = Vec::with_capacity(self.targets.len());
        let rows = rows_per_chunk(v);
        let inputs = x.chunks((rows * h).max(1)).zip(all_dx.chunks_mut((rows * h).max(1)));
        let labels = self.targets.chunks(rows).zip(upstream.chunks(rows));
        let mut mode = Into::Overwrite;
        for ((x, dx), (targets, upstream)) in inputs.zip(labels) {
            let (m, precision) = (targets.len(), self.precision);
            let x = Mat::new(x, m, h);
            let product = Product::new(x, Mat::new(&w, v, h).t()).precision(precision);
            let mut logits = bias.as_deref().map_or(product, |bias| product.bias(bias)).to_vec();
            let each = logits.par_chunks_exact_mut(v).zip(targets).zip(upstream);
            losses.par_extend(each.map(|((row, &target), &upstream)| self.gradient(row, target, upstream)));
            let dlogits = Mat::new(&logits, m, v);
            Product::new(dlogits, Mat::new(&w, v, h)).precision(precision).write(dx, Into::Overwrite);
            Product::new(dlogits.t(), x).precision(precision).write(&mut dw, mode);
            if let Some(db) = &mut db {
                cpu::column_sums(db, Into::Add, &logits);
            }
            mode = Into::Add;
        }
        if mode == Into::Overwrite {
            dw.fill(0.0); // there were no rows
        }
        Ok(Differentiated { losses, dx: all_dx, dw, db })
    }
}

/// Losses `[m]` with their gradients `[m, h]` towards the rows, `[v, h]` towards the table and `[v]` towards the bias.
struct Differentiated {
    losses: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Option<Vec<f32>>,
}

impl Differentiated {
    /// Passes the gradients on, times `scale`.
    fn pass_on(self, op: &CrossEntropy, scale: f32, gradients: &mut Gradients) -> Result<()> {
        let bias = op.bias.as_ref().zip(self.db);
        for (to, mut values) in [(&op.table, self.dw), (&op.xs, self.dx)].into_iter().chain(bias) {
            if (scale - 1.0).abs() > 0.0 {
                values.par_chunks_mut(cpu::VALUES_PER_TASK).for_each(|values| simd::scale(values, scale));
            }
            gradients.add(to, cpu::tensor(values, to.shape())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        for (m, v, h) in [(1, 3, 2), (5, 40, 7), (300, 65, 9)] {
            let (xs, table) = (noise((m, h), 1)?, noise((v, h), 2)?);
            let targets: Vec<u32> = (0..m as u32).map(|i| i * 7 % v as u32).collect();
            for smoothing in [0.0, 0.1] {
                let bias = noise(v, 3)?;
                for bias in [None, Some(&bias)] {
                    let layer = OutputLayer { weight: &table, bias };
                    let fused = linear_cross_entropy(&xs, layer, &targets, smoothing, Precision::F32)?;
                    assert_close(&fused, &composed(&xs, layer, &targets, smoothing)?, 1e-5)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        for smoothing in [0.0, 0.1] {
            let inputs = [noise((3, 4), 3)?, noise((5, 4), 4)?, noise(5, 5)?];
            let targets = [4, 0, 4];
            for inputs in [&inputs[..2], &inputs] {
                let layer = |x: &[Tensor]| (x[0].clone(), x[1].clone(), x.get(2).cloned());
                assert_gradients(inputs, |x| {
                    let (xs, weight, bias) = layer(x);
                    let layer = OutputLayer { weight: &weight, bias: bias.as_ref() };
                    linear_cross_entropy(&xs, layer, &targets, smoothing, Precision::F32)
                })?;
                assert_gradients(inputs, |x| {
                    let (xs, weight, bias) = layer(x);
                    let layer = OutputLayer { weight: &weight, bias: bias.as_ref() };
                    mean_linear_cross_entropy(&xs, layer, &targets, smoothing, Precision::F32)? * 2.0
                })?;
            }
        }
        Ok(())
    }

    #[test]
    fn scores_are_minus_the_losses_and_name_the_most_probable_token() -> Result<()> {
        let (xs, table) = (noise((4, 8), 5)?, noise((6, 8), 6)?);
        let best: Vec<u32> = xs.matmul(&table.t()?)?.argmax(1)?.to_vec1()?;
        let scores = score_tokens(&xs, &table, &best, Precision::F32)?;
        assert!(scores.iter().all(|s| s.is_greedy));
        let losses = linear_cross_entropy(&xs, &table, &best, 0.0, Precision::F32)?.to_vec1::<f32>()?;
        for (score, loss) in scores.iter().zip(losses) {
            assert!((score.log_prob + loss).abs() < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_an_error() -> Result<()> {
        let error = score_tokens(&noise((1, 2), 7)?, &noise((3, 2), 8)?, &[3], Precision::F32);
        let error = error.expect_err("3 is outside");
        assert!(error.to_string().contains("target 3 is not in a vocabulary of 3"), "{error}");
        Ok(())
    }
}
