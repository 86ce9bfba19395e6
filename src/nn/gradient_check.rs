//! Gradients held against finite differences, for the tests of every op.

use candle_core::{Device, Result, Shape, Tensor, Var};
use rand::{Rng, SeedableRng};

use super::{Gradients, Tape};

/// Uniform values in `[-1, 1)`.
pub fn noise(shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Fails when two tensors differ by more than `tolerance` anywhere.
#[track_caller]
pub fn assert_close(a: &Tensor, b: &Tensor, tolerance: f32) -> Result<()> {
    assert_eq!(a.dims(), b.dims());
    if a.elem_count() > 0 {
        let worst = (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(worst <= tolerance, "differs by {worst}");
    }
    Ok(())
}

/// Holds the gradient of a random weighting of `op`'s output, towards every input, against central
/// differences.
#[track_caller]
pub fn assert_gradients(inputs: &[Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    const STEP: f32 = 1e-2;
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let weights = noise(op(inputs)?.shape(), 99)?;
    let value = |inputs: &[Tensor]| -> Result<f64> {
        let products = (op(inputs)? * &weights)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(products.into_iter().map(f64::from).sum())
    };
    let (tape, mut grads) = (Tape::start(), Gradients::default());
    let loss = (op(&tracked)? * &weights)?.sum_all()?;
    tape.backward(&loss, &mut grads)?;
    for (which, var) in vars.iter().enumerate() {
        let gradient = grads.get(var).unwrap_or_else(|| panic!("input {which} got no gradient"));
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        for (i, &found) in gradient.iter().enumerate() {
            let moved = |by: f32| -> Result<f64> {
                let mut moved = inputs.to_vec();
                let mut values = inputs[which].flatten_all()?.to_vec1::<f32>()?;
                values[i] += by;
                moved[which] = Tensor::from_vec(values, inputs[which].shape(), &Device::Cpu)?;
                value(&moved)
            };
            let expected = (moved(STEP)? - moved(-STEP)?) / (2.0 * f64::from(STEP));
            let error = (f64::from(found) - expected).abs();
            assert!(
                error < 2e-3 + 1e-2 * expected.abs(),
                "input {which}, element {i}: {found}, not {expected}"
            );
        }
    }
    Ok(())
}
