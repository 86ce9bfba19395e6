//! Rotary positions: each pair of channels is turned by an angle that grows with the position.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::{cpu, tape};

/// The angles of all positions, for heads of one size.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// `d / 2`: radians a position, of each pair.
    speeds: Vec<f32>,
    max_positions: usize,
    /// Of the positions that were asked for so far: a model may have a million more than its texts.
    table: Arc<Mutex<Arc<Table>>>,
}

/// The angles of the first `p` positions.
#[derive(Debug, Default)]
struct Table {
    /// `[p, d / 2]` cosines, and sines.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotary {
    /// Pair `i` of a head of size `d` turns by `position / theta^(2 i / d)`.
    ///
    /// Source: Su et al. 2021, "`RoFormer`"; angles in f32, as transformers 5.23 computes them.
    ///
    /// # Errors
    /// When the head size is odd or 0.
    pub fn new(head_size: usize, theta: f64, max_positions: usize) -> Result<Self> {
        if head_size == 0 || !head_size.is_multiple_of(2) {
            bail!("rotary positions: heads of size {head_size} have no pairs of channels");
        }
        let speed = |i: usize| theta.powf(-(2.0 * i as f64) / head_size as f64) as f32;
        let speeds = (0..head_size / 2).map(speed).collect();
        Ok(Self { speeds, max_positions, table: Arc::default() })
    }

    /// `d / 2`.
    fn half(&self) -> usize {
        self.speeds.len()
    }

    /// A table with at least so many positions. It grows by doubling, so that a text that is written a token at a time
    /// makes few.
    fn table(&self, num_positions: usize) -> Arc<Table> {
        // A table is put there when it is whole, so that a thread that panicked left a whole one.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.cosines.len() < num_positions * self.half() {
            let longest = num_positions.next_power_of_two().min(self.max_positions);
            let angles = || {
                (0..longest).flat_map(|p| self.speeds.iter().map(move |speed| f64::from(p as f32 * speed)))
            };
            *table = Arc::new(Table {
                cosines: angles().map(|angle| angle.cos() as f32).collect(),
                sines: angles().map(|angle| angle.sin() as f32).collect(),
            });
        }
        table.clone()
    }

    /// Turns the heads of every token by its position. A pair is a channel and the one half a head further.
    ///
    /// # Shapes
    /// - `xs`: `[t, n * d]`; `positions`: `t`
    /// - output: `[t, n * d]`
    ///
    /// # Errors
    /// When a position is beyond the last.
    pub fn apply(&self, xs: &Tensor, positions: &[u32]) -> Result<Tensor> {
        let (t, width) = xs.dims2()?;
        let half = self.half();
        if t != positions.len() || !width.is_multiple_of(2 * half) {
            bail!("rotary positions: {} for {t} tokens of width {width}", positions.len());
        }
        let num_positions = self.max_positions;
        if let Some(position) = positions.iter().find(|&&p| p as usize >= num_positions) {
            bail!("position {position} is beyond the model's {num_positions} positions; shorten the input");
        }
        let table = self.table(positions.iter().max().map_or(0, |&longest| longest as usize + 1));
        if !super::is_fused(xs) {
            return table.composed(xs, positions, half);
        }
        let contiguous = xs.contiguous()?;
        let mut ys = cpu::values(&contiguous)?.to_vec();
        table.turn(&mut ys, positions, [width, half], 1.0);
        let (positions, kept) = (positions.to_vec(), xs.clone());
        tape::output(ys, (t, width), &[xs], move |dys, gradients| {
            // A rotation's transpose turns back. `dys` is nobody else's: the gradient is written over it.
            cpu::change(&dys, |dys| table.turn(dys, &positions, [width, half], -1.0))?;
            gradients.add(&kept, dys)
        })
    }
}

impl Table {
    /// Turns `[t, width]` values in place, forwards or, with `direction` -1, back.
    fn turn(&self, values: &mut [f32], positions: &[u32], [width, half]: [usize; 2], direction: f32) {
        values.par_chunks_mut(width).with_min_len(cpu::ROWS_PER_TASK).zip(positions).for_each(
            |(row, &position)| {
                let at = position as usize * half;
                let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
                for head in row.chunks_exact_mut(2 * half) {
                    let (first, second) = head.split_at_mut(half);
                    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines)) {
                        let sin = direction * sin;
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
            },
        );
    }

    /// The same of candle's kernels.
    fn composed(&self, xs: &Tensor, positions: &[u32], half: usize) -> Result<Tensor> {
        let ((t, width), device) = (xs.dims2()?, xs.device());
        let rows = |table: &[f32]| {
            let rows: Vec<f32> =
                positions.iter().flat_map(|&p| &table[p as usize * half..][..half]).copied().collect();
            Tensor::from_vec(rows, (t, 1, half), device)
        };
        let (cos, sin) = (rows(&self.cosines)?, rows(&self.sines)?);
        let heads = xs.to_dtype(DType::F32)?.reshape((t, width / (2 * half), 2 * half))?; // [t, n, d]
        let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, second], 2)?.reshape((t, width))?.to_dtype(xs.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    #[test]
    fn by_hand() -> Result<()> {
        // Heads of 2: one pair, whose speed is 1. At position 2, (1, 0) turns to (cos 2, sin 2).
        let xs = Tensor::new(&[[1f32, 0.0, 0.0, 1.0]], &candle_core::Device::Cpu)?;
        let ys = Rotary::new(2, 10_000.0, 3)?.apply(&xs, &[2])?.to_vec2::<f32>()?;
        let (cos, sin) = (2f32.cos(), 2f32.sin());
        for (y, expected) in ys[0].iter().zip([cos, sin, -sin, cos]) {
            assert!((y - expected).abs() < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn the_product_of_a_query_and_a_key_depends_on_their_distance_alone() -> Result<()> {
        let rotary = Rotary::new(8, 100.0, 60)?;
        let (q, k) = (noise((1, 8), 1)?, noise((1, 8), 2)?);
        let product = |at: u32, to: u32| -> Result<f32> {
            (rotary.apply(&q, &[at])? * rotary.apply(&k, &[to])?)?.sum_all()?.to_scalar()
        };
        assert!((product(7, 3)? - product(54, 50)?).abs() < 1e-5);
        assert!((product(7, 3)? - product(7, 4)?).abs() > 1e-3);
        Ok(())
    }

    #[test]
    fn the_fused_op_equals_the_composed_one_and_position_0_changes_nothing() -> Result<()> {
        let rotary = Rotary::new(6, 1000.0, 90)?;
        let (xs, positions) = (noise((40, 18), 3)?, (0..40).map(|i| i * 7 % 90).collect::<Vec<_>>());
        let composed = rotary.table(90).composed(&xs, &positions, 3)?;
        assert_close(&rotary.apply(&xs, &positions)?, &composed, 1e-6)?;
        assert_close(&rotary.apply(&xs, &[0; 40])?, &xs, 0.0)
    }

    #[test]
    fn angles_are_made_for_the_positions_that_are_used_and_stay_the_same_as_more_come() -> Result<()> {
        let rotary = Rotary::new(4, 10.0, 1 << 24)?;
        let xs = noise((1, 4), 6)?;
        let first = rotary.apply(&xs, &[5])?.to_vec2::<f32>()?;
        assert_eq!(rotary.table(0).cosines.len(), 8 * 2);
        rotary.clone().apply(&xs, &[100])?;
        assert_eq!(rotary.table(0).cosines.len(), 128 * 2, "a copy of the model has the same table");
        assert_eq!(rotary.apply(&xs, &[5])?.to_vec2::<f32>()?, first);
        let few = Rotary::new(4, 10.0, 100)?;
        few.apply(&xs, &[99])?;
        assert_eq!(few.table(0).sines.len(), 100 * 2);
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let rotary = Rotary::new(4, 10.0, 9)?;
        assert_gradients(&[noise((3, 8), 4)?], |x| rotary.apply(&x[0], &[0, 8, 3]))
    }

    #[test]
    fn what_it_cannot_turn_is_an_error() -> Result<()> {
        assert!(Rotary::new(3, 10.0, 9).is_err());
        let error =
            Rotary::new(4, 10.0, 9)?.apply(&noise((1, 4), 5)?, &[9]).expect_err("9 is beyond").to_string();
        assert!(error.contains("position 9 is beyond the model's 9 positions"), "{error}");
        Ok(())
    }
}
