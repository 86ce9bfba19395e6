//! Projections.

use candle_core::{Result, Tensor};

use super::cpu::gemm::{Mat, Product};
use super::cpu::{self, Values};
use super::dropout::DropMask;
use super::{Gradients, Precision, tape};

/// `x wᵀ + b`; without `b` where there is none.
///
/// # Shapes
/// - `xs`: `[t, i]`; `weight`: `[o, i]`; `bias`: `[o]`
/// - output: `[t, o]`
pub fn linear(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, precision: Precision) -> Result<Tensor> {
    if !super::is_fused(xs) {
        let ys = xs.matmul(&weight.t()?)?;
        return bias.map_or(Ok(ys.clone()), |bias| ys.broadcast_add(bias));
    }
    let op = Linear::new(xs, weight, bias, precision)?;
    let ys = op.forward(None)?;
    let shape = (xs.dim(0)?, weight.dim(0)?);
    let inputs: Vec<&Tensor> = [xs, weight].into_iter().chain(bias).collect();
    tape::output(ys, shape, &inputs, move |dys, gradients| op.backward(&dys, gradients))
}

/// `residual + dropout(x wᵀ + b)`: the end of a residual branch; without `b` where there is none.
///
/// # Shapes
/// - `residual`: `[t, o]`; `xs`: `[t, i]`; `weight`: `[o, i]`; `bias`: `[o]`
/// - output: `[t, o]`
pub fn linear_residual(
    residual: &Tensor,
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    drop: Option<DropMask>,
    precision: Precision,
) -> Result<Tensor> {
    if !super::is_fused(xs) {
        let branch = linear(xs, weight, bias, precision)?;
        return residual + drop.map_or(Ok(branch.clone()), |drop| drop.apply(&branch));
    }
    let op = Linear::new(xs, weight, bias, precision)?;
    let contiguous = residual.contiguous()?;
    let ys = match &drop {
        None => op.forward(Some(&cpu::values(&contiguous)?))?,
        Some(drop) => {
            let mut ys = op.forward(None)?;
            drop.all_in_place(&mut ys);
            cpu::add_assign(&mut ys, &cpu::values(&contiguous)?);
            ys
        }
    };
    let kept = residual.clone();
    let inputs: Vec<&Tensor> = [residual, xs, weight].into_iter().chain(bias).collect();
    tape::output(ys, residual.shape(), &inputs, move |dys, gradients| {
        match &drop {
            None => op.backward(&dys, gradients)?,
            Some(drop) => op.backward(&drop.apply(&dys)?, gradients)?,
        }
        gradients.add(&kept, dys)
    })
}

/// What a projection keeps for its backward pass.
struct Linear {
    xs: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    precision: Precision,
}

impl Linear {
    fn new(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, precision: Precision) -> Result<Self> {
        Ok(Self { xs: xs.contiguous()?, weight: weight.clone(), bias: bias.cloned(), precision })
    }

    /// `[t, o]`: the projection, and `plus` added to it.
    fn forward(&self, plus: Option<&Values>) -> Result<Vec<f32>> {
        let ((t, i), o) = (self.xs.dims2()?, self.weight.dim(0)?);
        let (x, w) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?);
        let bias = self.bias.as_ref().map(cpu::values).transpose()?;
        let product = Product::new(Mat::new(&x, t, i), Mat::new(&w, o, i).t()).precision(self.precision);
        let product = bias.as_deref().map_or(product, |bias| product.bias(bias));
        Ok(plus.map_or(product, |plus| product.plus(plus)).to_vec())
    }

    fn backward(&self, dys: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let ((t, i), o) = (self.xs.dims2()?, self.weight.dim(0)?);
        let dys = dys.contiguous()?;
        let (x, w, dy) = (cpu::values(&self.xs)?, cpu::values(&self.weight)?, cpu::values(&dys)?);
        let dy_matrix = Mat::new(&dy, t, o);
        gradients.write(&self.weight, |dw, mode| {
            Product::new(dy_matrix.t(), Mat::new(&x, t, i)).precision(self.precision).write(dw, mode); // [o, i]
        })?;
        if let Some(bias) = &self.bias {
            gradients.write(bias, |db, mode| cpu::column_sums(db, mode, &dy))?;
        }
        gradients.write(&self.xs, |dx, mode| {
            Product::new(dy_matrix, Mat::new(&w, o, i)).precision(self.precision).write(dx, mode); // [t, i]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Dropout;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        for (t, i, o) in [(1, 1, 1), (1, 64, 7), (5, 3, 2), (130, 33, 65), (0, 4, 3)] {
            let (xs, w, b, residual) =
                (noise((t, i), 1)?, noise((o, i), 2)?, noise(o, 3)?, noise((t, o), 4)?);
            let composed = xs.matmul(&w.t()?)?.broadcast_add(&b)?;
            assert_close(&linear(&xs, &w, Some(&b), Precision::F32)?, &composed, 1e-5)?;
            let product = xs.matmul(&w.t()?)?;
            assert_close(&linear(&xs, &w, None, Precision::F32)?, &product, 1e-5)?;
            assert_close(&crate::nn::logits(&xs, &w, Precision::F32)?, &product, 1e-5)?;
            let added = linear_residual(&residual, &xs, &w, Some(&b), None, Precision::F32)?;
            assert_close(&added, &(&residual + &composed)?, 1e-5)?;
            let drop = || Dropout::new(5).mask(0.4);
            let added = linear_residual(&residual, &xs, &w, Some(&b), drop(), Precision::F32)?;
            assert_close(&added, &(&residual + drop().expect("it drops").apply(&composed)?)?, 1e-5)?;
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let inputs = [noise((3, 4), 4)?, noise((5, 4), 5)?, noise(5, 6)?];
        assert_gradients(&inputs, |x| linear(&x[0], &x[1], Some(&x[2]), Precision::F32))?;
        assert_gradients(&inputs[..2], |x| linear(&x[0], &x[1], None, Precision::F32))?;
        let inputs = [inputs.as_slice(), &[noise((3, 5), 7)?]].concat();
        for drop in [0.0, 0.3] {
            let mask = || Dropout::new(8).mask(drop);
            assert_gradients(&inputs, |x| {
                linear_residual(&x[3], &x[0], &x[1], Some(&x[2]), mask(), Precision::F32)
            })?;
        }
        Ok(())
    }

    #[test]
    fn bf16_stays_near_f32_forward_and_backward() -> Result<()> {
        if !Precision::Bf16.is_supported() {
            return Ok(());
        }
        let inputs = [noise((40, 70), 4)?, noise((50, 70), 5)?, noise(50, 6)?];
        let run = |precision| -> Result<Vec<Tensor>> {
            let vars: Vec<_> = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<_>>()?;
            let tape = tape::Tape::start();
            let ys = linear(&vars[0], &vars[1], Some(&vars[2]), precision)?;
            let mut gradients = Gradients::default();
            tape.backward(&ys.sqr()?.sum_all()?, &mut gradients)?;
            let found = vars.iter().map(|var| gradients.get(var).expect("a gradient").clone());
            Ok(std::iter::once(ys.detach()).chain(found).collect())
        };
        for (exact, rough) in run(Precision::F32)?.iter().zip(run(Precision::Bf16)?) {
            let scale = exact.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
            let error = (exact - rough)?.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()? / scale;
            assert!(error > 1e-5 && error < 5e-3, "{error}"); // bf16 rounds by up to 2^-9 = 2e-3
        }
        Ok(())
    }

    #[test]
    fn one_row_is_the_same_bytes_as_among_others() -> Result<()> {
        let (xs, w, b) = (noise((9, 256), 7)?, noise((768, 256), 8)?, noise(768, 9)?);
        let all = linear(&xs, &w, Some(&b), Precision::F32)?.to_vec2::<f32>()?;
        for (i, row) in all.iter().enumerate() {
            assert_eq!(
                &linear(&xs.narrow(0, i, 1)?, &w, Some(&b), Precision::F32)?.to_vec2::<f32>()?[0],
                row
            );
        }
        Ok(())
    }
}
