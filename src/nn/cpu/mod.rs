//! What the fused CPU kernels share: tensors as slices, matrix products, element-wise kernels.
//!
//! No result depends on the number of threads: work is cut into pieces of a fixed size, and sums over the
//! pieces are taken in order.

pub(super) mod gemm;
pub(super) mod level;
pub(super) mod simd;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};
use parking_lot::{Mutex, RwLockReadGuard};
use rayon::prelude::*;

/// Hands the values of a contiguous f32 tensor on the CPU to `change`.
pub(super) fn change(tensor: &Tensor, change: impl FnOnce(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Change(Mutex::new(Some(change))))
}

/// An op in place; candle shares its ops, so the closure is taken out of a lock.
struct Change<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let change = self.0.lock().take().expect("an op runs once");
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => change(&mut values[start..end]),
            _ => bail!("a fused op needs contiguous f32 values, found {layout:?}"),
        }
        Ok(())
    }
}

/// A contiguous f32 tensor's values, read in place.
pub(super) struct Values<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked by `values`"),
        }
    }
}

/// Reads a contiguous f32 tensor on the CPU without copying it.
pub(super) fn values(tensor: &Tensor) -> Result<Values<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => start..end,
        _ => bail!("a fused op needs a contiguous f32 tensor on the CPU, found {tensor:?}"),
    };
    Ok(Values { storage, range })
}

/// A tensor on the CPU from its values.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Values to be written before they are read: zeroing them first would be a pass over memory.
#[expect(clippy::uninit_vec, reason = "every caller writes all of them")]
pub(super) fn uninitialized(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and nothing reads a value before it is written.
    unsafe {
        values.set_len(len);
    }
    values
}

/// `a += b` on all threads.
pub(super) fn add_assign(a: &mut [f32], b: &[f32]) {
    let chunks = a.par_chunks_mut(VALUES_PER_TASK).zip(b.par_chunks(VALUES_PER_TASK));
    chunks.for_each(|(a, b)| simd::add_assign(a, b));
}

/// Rows handled by one task; fixed, so that no sum depends on the number of threads.
pub(super) const ROWS_PER_TASK: usize = 16;

/// Values handled by one task of an element-wise kernel.
pub(super) const VALUES_PER_TASK: usize = 16 * 1024;

/// `out = sums` or `out += sums` of the columns of `[r, c]`, in an order that does not depend on the number of threads.
pub(super) fn column_sums(out: &mut [f32], mode: gemm::Into, rows: &[f32]) {
    let columns = out.len();
    let partial: Vec<Vec<f32>> = rows
        .par_chunks(columns.max(1) * 4 * ROWS_PER_TASK)
        .map(|rows| {
            let mut sums = vec![0.0; columns];
            rows.chunks_exact(columns).for_each(|row| simd::add_assign(&mut sums, row));
            sums
        })
        .collect();
    sum_in_order(out, mode, &partial);
}

/// `out = sum` or `out += sum` of equally long vectors, added first to last.
pub(super) fn sum_in_order(out: &mut [f32], mode: gemm::Into, partial: &[Vec<f32>]) {
    if mode == gemm::Into::Overwrite {
        out.fill(0.0);
    }
    for part in partial {
        simd::add_assign(out, part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sums_add_every_row_once() {
        let rows: Vec<f32> = (0..3 * 200).map(|i| (i % 3) as f32).collect();
        let mut sums = [7.0; 3];
        column_sums(&mut sums, gemm::Into::Overwrite, &rows);
        assert_eq!(sums.map(|x| x as i32), [0, 200, 400]); // small integers are exact
        column_sums(&mut sums, gemm::Into::Add, &rows);
        assert_eq!(sums.map(|x| x as i32), [0, 400, 800]);
        column_sums(&mut sums, gemm::Into::Overwrite, &[]);
        assert_eq!(sums.map(|x| x as i32), [0; 3]);
    }

    #[test]
    fn a_transposed_tensor_is_refused() -> Result<()> {
        let t = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu)?;
        assert!(values(&t).is_ok());
        assert!(values(&t.t()?).is_err());
        Ok(())
    }
}
