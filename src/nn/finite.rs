//! Activations that are no numbers, reported where they arise.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{self, simd};

/// Looks for values that are not finite in `[t, h]` activations; `place` names what made them.
///
/// Only on the CPU: elsewhere a look would wait for the device, and the loss tells later.
///
/// # Errors
/// When there is one: where it is, and what it is.
pub fn check_finite(xs: &Tensor, place: impl FnOnce() -> String) -> Result<()> {
    if !super::is_fused(xs) {
        return Ok(());
    }
    let values = cpu::values(xs)?;
    let width = xs.dims().last().copied().unwrap_or(1).max(1);
    let bad_row = values.par_chunks(width).position_first(|row| !simd::is_finite(row));
    let Some(row) = bad_row else { return Ok(()) };
    let bad = values[row * width..][..width].iter().enumerate().find(|(_, x)| !x.is_finite());
    let (channel, value) = bad.expect("the row has one");
    bail!(
        "{}: token {row}, channel {channel} of the output is {value}; the weights or the learning rate are too \
         large, or the weights are damaged",
        place()
    )
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_value_that_is_no_number_is_named_with_its_place() -> Result<()> {
        let mut values = vec![1f32; 12];
        assert!(
            check_finite(&Tensor::from_vec(values.clone(), (3, 4), &Device::Cpu)?, || "here".into()).is_ok()
        );
        for (bad, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            values[6] = bad;
            let xs = Tensor::from_vec(values.clone(), (3, 4), &Device::Cpu)?;
            let error = check_finite(&xs, || "layer 2".into()).expect_err("it is not finite").to_string();
            assert!(
                error.starts_with(&format!("layer 2: token 1, channel 2 of the output is {name};")),
                "{error}"
            );
        }
        Ok(())
    }
}
