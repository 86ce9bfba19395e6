//! What ops on single elements have in common: their kernels run over pieces of a fixed size on all threads.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{self, VALUES_PER_TASK};
use super::tape;

/// An op of one input, of any shape, on the CPU in f32: `forward` writes `y` of `x`, `backward` turns `dy` into `dx`.
pub(super) fn unary(
    xs: &Tensor,
    forward: fn(&mut [f32], &[f32]),
    backward: fn(&mut [f32], &[f32]),
) -> Result<Tensor> {
    let contiguous = xs.contiguous()?;
    let mut ys = cpu::uninitialized(xs.elem_count());
    {
        let x = cpu::values(&contiguous)?;
        let chunks = ys.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
        chunks.for_each(|(y, x)| forward(y, x));
    }
    let kept = xs.clone();
    tape::output(ys, xs.shape(), &[xs], move |dys, gradients| {
        // `dys` is nobody else's: the gradient is written over it.
        let x = cpu::values(&contiguous)?;
        cpu::change(&dys, |dy| {
            let chunks = dy.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
            chunks.for_each(|(dy, x)| backward(dy, x));
        })?;
        gradients.add(&kept, dys)
    })
}

/// Writes `y` of gate and value.
type Gated = fn(&mut [f32], &[f32], &[f32]);
/// Writes the gate's gradient and turns `dy` into the value's, given gate and value.
type GatedBackward = fn(&mut [f32], &mut [f32], &[f32], &[f32]);

/// An op of gates and values, both of the same shape.
pub(super) fn gated(gates: &Tensor, xs: &Tensor, forward: Gated, backward: GatedBackward) -> Result<Tensor> {
    if gates.dims() != xs.dims() {
        bail!("gates {:?} for values {:?}", gates.dims(), xs.dims());
    }
    let (gate, value) = (gates.contiguous()?, xs.contiguous()?);
    let mut ys = cpu::uninitialized(xs.elem_count());
    {
        let (gate, value) = (cpu::values(&gate)?, cpu::values(&value)?);
        let inputs = gate.par_chunks(VALUES_PER_TASK).zip(value.par_chunks(VALUES_PER_TASK));
        ys.par_chunks_mut(VALUES_PER_TASK).zip(inputs).for_each(|(y, (gate, x))| forward(y, gate, x));
    }
    let kept = (gates.clone(), xs.clone());
    tape::output(ys, xs.shape(), &[gates, xs], move |dys, gradients| {
        let mut dgates = cpu::uninitialized(dys.elem_count());
        {
            let (gate, value) = (cpu::values(&gate)?, cpu::values(&value)?);
            // `dys` is nobody else's: the gradient of the values is written over it.
            cpu::change(&dys, |dys| {
                let inputs = gate.par_chunks(VALUES_PER_TASK).zip(value.par_chunks(VALUES_PER_TASK));
                let outputs = dgates.par_chunks_mut(VALUES_PER_TASK).zip(dys.par_chunks_mut(VALUES_PER_TASK));
                outputs.zip(inputs).for_each(|((dgate, dy), (gate, x))| backward(dgate, dy, gate, x));
            })?;
        }
        gradients.add(&kept.0, cpu::tensor(dgates, dys.shape())?)?;
        gradients.add(&kept.1, dys)
    })
}
