//! Rows of tables by id.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::gemm::Into;
use super::cpu::{self, simd};
use super::tape;

/// The rows of `table` with these ids.
///
/// # Shapes
/// - `table`: `[v, h]`; `ids`: `[t]`
/// - output: `[t, h]`
///
/// # Errors
/// When an id has no row.
pub fn embedding(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    embedding_sum(&[(table, ids)])
}

/// The sum of the rows that each table has for its ids.
///
/// # Shapes
/// - each table: `[v, h]`, with as many rows as it likes; each `ids`: `[t]`
/// - output: `[t, h]`
///
/// # Errors
/// When an id has no row.
pub fn embedding_sum(tables: &[(&Tensor, &[u32])]) -> Result<Tensor> {
    let Some(&(first, ids)) = tables.first() else { bail!("embedding: no table") };
    let (t, h) = (ids.len(), first.dim(1)?);
    for (table, ids) in tables {
        let (rows, width) = table.dims2()?;
        if (ids.len(), width) != (t, h) {
            bail!("embedding: {} ids of width {width} beside {t} of width {h}", ids.len());
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            bail!("embedding: id {id} has no row in a table of {rows}");
        }
    }
    if t == 0 {
        return Tensor::zeros((0, h), first.dtype(), first.device()); // a GPU refuses to do nothing
    }
    if !super::is_fused(first) {
        let rows =
            |(table, ids): &(&Tensor, &[u32])| table.index_select(&Tensor::new(*ids, table.device())?, 0);
        let first = rows(&tables[0]);
        return tables[1..].iter().fold(first, |sum, table| sum? + rows(table)?);
    }
    let contiguous = tables.iter().map(|(table, _)| table.contiguous()).collect::<Result<Vec<_>>>()?;
    let values = contiguous.iter().map(cpu::values).collect::<Result<Vec<_>>>()?;
    let mut out = cpu::uninitialized(t * h);
    out.par_chunks_mut(h).with_min_len(64).enumerate().for_each(|(token, row)| {
        for (which, (table, (_, ids))) in values.iter().zip(tables).enumerate() {
            let found = &table[ids[token] as usize * h..][..h];
            if which == 0 { row.copy_from_slice(found) } else { simd::add_assign(row, found) }
        }
    });
    let inputs: Vec<&Tensor> = tables.iter().map(|(table, _)| *table).collect();
    let kept: Vec<(Tensor, Vec<u32>)> =
        tables.iter().map(|(table, ids)| ((*table).clone(), ids.to_vec())).collect();
    tape::output(out, (t, h), &inputs, move |dout, gradients| {
        let dout = dout.contiguous()?;
        let dout = cpu::values(&dout)?;
        kept.iter().try_for_each(|(table, ids)| {
            gradients.write(table, |grad, mode| add_rows(grad, mode, ids, &dout, h))
        })
    })
}

/// Adds each token's row of `dout` to the row of its id, after zeroing all of `grad` where it is to be overwritten.
fn add_rows(grad: &mut [f32], mode: Into, ids: &[u32], dout: &[f32], h: usize) {
    if mode == Into::Overwrite {
        grad.par_chunks_mut(cpu::VALUES_PER_TASK).for_each(|values| values.fill(0.0));
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&token| ids[token]); // stable: a row's gradients are added in token order
    let runs: Vec<&[usize]> = order.chunk_by(|&a, &b| ids[a] == ids[b]).collect();
    let mut rest = grad;
    let mut jobs = Vec::with_capacity(runs.len());
    let mut at = 0;
    for run in runs {
        let row = ids[run[0]] as usize;
        let (mine, others) = rest.split_at_mut((row + 1 - at) * h);
        jobs.push((run, &mut mine[(row - at) * h..]));
        (rest, at) = (others, row + 1);
    }
    jobs.into_par_iter().with_min_len(64).for_each(|(run, row)| {
        for &token in run {
            simd::add_assign(row, &dout[token * h..][..h]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_gradients, noise};

    #[test]
    fn rows_are_picked_in_order_and_may_repeat() -> Result<()> {
        let table = Tensor::new(&[[0f32, 1.0], [2.0, 3.0], [4.0, 5.0]], &candle_core::Device::Cpu)?;
        assert_eq!(embedding(&table, &[2, 0, 2])?.to_vec2::<f32>()?, [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]);
        Ok(())
    }

    #[test]
    fn an_id_without_a_row_is_an_error() -> Result<()> {
        let error = embedding(&noise((3, 2), 1)?, &[3]).expect_err("3 is out of range").to_string();
        assert!(error.contains("id 3 has no row in a table of 3"), "{error}");
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        assert_gradients(&[noise((6, 3), 2)?], |x| embedding(&x[0], &[1, 4, 1, 5, 0, 1]))?;
        let tables = [noise((6, 3), 2)?, noise((4, 3), 3)?];
        assert_gradients(&tables, |x| embedding_sum(&[(&x[0], &[1, 4, 1]), (&x[1], &[3, 3, 0])]))
    }
}
