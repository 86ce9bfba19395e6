//! Matrix products by the `gemm` crate, for processors without AVX-512.

use gemm::Parallelism;

use super::{Into, Mat, Precision, Product};

/// Largest product that the `gemm` crate computes by its kernel for small ones (gemm-common 0.19, `gemm.rs`).
const SMALL: usize = 16 * 16;

/// Computes a product into `out`, whose rows are `stride` values apart; on all threads, or on the calling one.
///
/// The crate sums one-row products, and products of up to [`SMALL`] elements, in another order than others; those
/// are padded with rows that are thrown away.
///
/// # Safety
/// All `[a.rows, b.cols]` values of `out` may be written, and read where `mode` adds to them.
pub unsafe fn product(out: *mut f32, stride: usize, mode: Into, product: &Product, on_all_threads: bool) {
    assert!(product.precision == Precision::F32, "bf16 was asked for on a processor that can't multiply it");
    let threads = match rayon::current_num_threads() {
        n if n > 1 && on_all_threads => Parallelism::Rayon(n),
        _ => Parallelism::None,
    };
    let Product { a, b, scale, .. } = *product;
    let (m, n) = (a.rows, b.cols);
    let rows = m.max(2).max(SMALL / n + 1);
    // SAFETY: the caller's promise; where rows are padded, the sums have room of their own.
    unsafe {
        if rows == m {
            sums(out, stride, mode == Into::Add, scale, a, b, threads);
        } else {
            let padded: Vec<f32> = (0..rows * a.cols)
                .map(|i| (i / a.cols, i % a.cols))
                .map(|(i, p)| if i < m { a.values[i * a.row_stride + p * a.col_stride] } else { 0.0 })
                .collect();
            let mut padded_sums = vec![0.0; rows * n];
            let padded = Mat::new(&padded, rows, a.cols);
            sums(padded_sums.as_mut_ptr(), n, false, scale, padded, b, threads);
            for (i, &sum) in padded_sums[..m * n].iter().enumerate() {
                let place = out.add(i / n * stride + i % n);
                *place = if mode == Into::Add { *place + sum } else { sum };
            }
        }
        for row in 0..m {
            let row_sums = std::slice::from_raw_parts_mut(out.add(row * stride), n);
            let plus = product.plus.map(|plus| &plus[row * n..][..n]);
            match (product.bias, plus) {
                (Some(bias), Some(plus)) => {
                    for ((sum, bias), plus) in row_sums.iter_mut().zip(bias).zip(plus) {
                        *sum += bias + plus;
                    }
                }
                (Some(more), None) | (None, Some(more)) => {
                    row_sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                }
                (None, None) => {}
            }
        }
    }
}

/// # Safety
/// As for [`product`].
unsafe fn sums(out: *mut f32, stride: usize, adds: bool, scale: f32, a: Mat, b: Mat, threads: Parallelism) {
    let signed = |stride: usize| stride.cast_signed();
    // SAFETY: the factors are inside their slices (`Mat::strided`), the destination by the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            signed(stride),
            adds,
            a.values.as_ptr(),
            signed(a.col_stride),
            signed(a.row_stride),
            b.values.as_ptr(),
            signed(b.col_stride),
            signed(b.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}
