//! What the fused ops did in a forward pass, and the backward pass over it.
//!
//! candle's own backward pass starts every gradient as a tensor of zeros and adds to it, on one thread and in new
//! memory, which costs a quarter of a training step of a small model. So a fused op does not enter candle's graph:
//! while a [`Tape`] records, it notes how to pass gradients on, and writes or adds them where they belong. Its output
//! is a leaf to candle, and candle's ops may stand before, between and after fused ones.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Shape, Tensor, TensorId, Var, bail};

use super::cpu::{self, gemm::Into};

/// Passes the gradient of an op's output on to its inputs.
type Backward = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<()>>;

/// What one op did.
struct Step {
    output: TensorId,
    backward: Backward,
}

thread_local! {
    /// The steps of the tape that records on this thread, if one does.
    static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
}

/// Records the fused ops of this thread from its start to its end.
///
/// ```
/// # use candle_core::{Device, Result, Tensor, Var};
/// # use glm_eval::nn::{self, Gradients, Tape};
/// # fn main() -> Result<()> {
/// let xs = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let tape = Tape::start();
/// let loss = nn::gelu(&xs)?.sum_all()?;
/// let mut gradients = Gradients::default();
/// tape.backward(&loss, &mut gradients)?;
/// assert!(gradients.get(&xs).is_some());
/// # Ok(())
/// # }
/// ```
#[must_use = "a tape records until it is dropped"]
pub struct Tape(());

impl Tape {
    /// Starts to record.
    ///
    /// # Panics
    /// When another tape records on this thread.
    pub fn start() -> Self {
        let before = STEPS.with_borrow_mut(|steps| steps.replace(Vec::new()));
        assert!(before.is_none(), "only one tape records at a time");
        Self(())
    }

    /// Adds the gradient of `loss`, a scalar computed since the start, to that of every variable it depends on.
    ///
    /// # Errors
    /// When it depends on none.
    pub fn backward(self, loss: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let mut steps = STEPS.with_borrow_mut(|steps| steps.replace(Vec::new())).unwrap_or_default();
        if !is_tracked(loss) {
            bail!("the loss depends on no variable, or was computed before the tape was started");
        }
        gradients.take_leaves(loss, &loss.backward()?)?;
        while let Some(step) = steps.pop() {
            // Each step is dropped when it is done, and with it the activations that nobody else needs.
            if let Some(gradient) = gradients.by_id.remove(&step.output) {
                (step.backward)(gradient, gradients)?;
            }
        }
        Ok(())
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        STEPS.set(None);
    }
}

/// Does a gradient of this tensor lead anywhere?
fn is_tracked(tensor: &Tensor) -> bool {
    tensor.is_variable() || !tensor.sorted_nodes().is_empty()
}

/// Is a tape recording what happens to one of these?
pub(super) fn is_recorded(inputs: &[&Tensor]) -> bool {
    STEPS.with_borrow(Option::is_some) && inputs.iter().any(|input| is_tracked(input))
}

/// The output of a fused op with these inputs; `backward` takes the output's gradient to theirs.
pub(super) fn output(
    values: Vec<f32>,
    shape: impl std::convert::Into<Shape>,
    inputs: &[&Tensor],
    backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
) -> Result<Tensor> {
    if !is_recorded(inputs) {
        return cpu::tensor(values, shape);
    }
    let output = Var::from_vec(values, shape, &Device::Cpu)?.into_inner();
    let step = Step { output: output.id(), backward: Box::new(backward) };
    STEPS.with_borrow_mut(|steps| steps.get_or_insert_default().push(step));
    Ok(output)
}

/// Gradients of variables, of one backward pass or summed over several.
#[derive(Debug, Default)]
pub struct Gradients {
    by_id: HashMap<TensorId, Tensor>,
}

impl Gradients {
    /// The gradient of a variable; `None` when nothing depended on it.
    pub fn get(&self, variable: &Tensor) -> Option<&Tensor> {
        self.by_id.get(&variable.id())
    }

    /// Takes up what candle's backward pass found, at the variables that `root` depends on.
    fn take_leaves(&mut self, root: &Tensor, found: &GradStore) -> Result<()> {
        for leaf in root.sorted_nodes().into_iter().filter(|node| node.is_variable()) {
            if let Some(gradient) = found.get(leaf) {
                self.add(leaf, gradient.detach().contiguous()?)?;
            }
        }
        Ok(())
    }

    /// Adds a gradient of a tensor, which nothing else may hold: later ones are added to it in place. That of a
    /// tensor which candle's ops made goes on to the variables behind it.
    pub(super) fn add(&mut self, to: &Tensor, gradient: Tensor) -> Result<()> {
        if !to.is_variable() {
            if !to.sorted_nodes().is_empty() {
                self.take_leaves(to, &(to * gradient)?.sum_all()?.backward()?)?;
            }
            return Ok(());
        }
        match self.by_id.get_mut(&to.id()) {
            None => {
                self.by_id.insert(to.id(), gradient);
            }
            Some(sum) if super::is_fused(sum) => {
                let gradient = gradient.contiguous()?;
                let gradient = cpu::values(&gradient)?;
                cpu::change(sum, |sum| cpu::add_assign(sum, &gradient))?;
            }
            Some(sum) => *sum = (&*sum + gradient)?.detach(),
        }
        Ok(())
    }

    /// Lets `write` compute a gradient where it belongs: over fresh memory, or added to what is there.
    pub(super) fn write(&mut self, to: &Tensor, write: impl FnOnce(&mut [f32], Into)) -> Result<()> {
        if let Some(sum) = self.by_id.get(&to.id()).filter(|_| to.is_variable()) {
            return cpu::change(sum, |values| write(values, Into::Add));
        }
        if !is_tracked(to) {
            return Ok(());
        }
        let mut values = cpu::uninitialized(to.elem_count());
        write(&mut values, Into::Overwrite);
        self.add(to, cpu::tensor(values, to.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{self, Precision, gradient_check::noise};

    fn gradient(of: &Var, loss: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f32>> {
        let tape = Tape::start();
        let loss = loss(of)?;
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients)?;
        gradients.get(of).expect("a gradient").flatten_all()?.to_vec1()
    }

    #[test]
    fn ops_of_candle_may_stand_before_between_and_after_fused_ones() -> Result<()> {
        let (xs, w, b) = (Var::from_tensor(&noise((3, 4), 1)?)?, noise((4, 4), 2)?, noise(4, 3)?);
        let fused = gradient(&xs, |xs| {
            let ys = nn::linear(&(xs * 2.0)?, &w, Some(&b), Precision::F32)?;
            (nn::gelu(&(ys + xs)?)? * 3.0)?.sum_all()
        })?;
        let ys = ((&*xs * 2.0)?.matmul(&w.t()?)?.broadcast_add(&b)? + &*xs)?;
        let candles = (ys.gelu()? * 3.0)?.sum_all()?.backward()?;
        let candles = candles.get(&xs).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert!(fused.iter().zip(&candles).all(|(a, b)| (a - b).abs() < 1e-5), "{fused:?}, not {candles:?}");
        Ok(())
    }

    #[test]
    fn a_tensor_that_is_used_twice_gets_the_sum() -> Result<()> {
        let xs = Var::from_tensor(&noise((2, 3), 4)?)?;
        let once = gradient(&xs, |xs| nn::gelu(xs)?.sum_all())?;
        let twice = gradient(&xs, |xs| (nn::gelu(xs)? + nn::gelu(xs)?)?.sum_all())?;
        assert!(once.iter().zip(&twice).all(|(a, b)| (2.0 * a - b).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn nothing_is_kept_without_a_tape_and_none_is_left_by_a_failed_pass() -> Result<()> {
        let xs = Var::from_tensor(&noise((2, 3), 5)?)?;
        assert!(!nn::gelu(&xs)?.is_variable());
        {
            let _tape = Tape::start();
            assert!(nn::gelu(&xs)?.is_variable());
            assert!(!nn::gelu(&noise((2, 3), 6)?)?.is_variable(), "a constant has no gradient");
        }
        assert!(!nn::gelu(&xs)?.is_variable());
        Ok(())
    }
}
