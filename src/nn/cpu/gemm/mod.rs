//! Matrix products on slices.
//!
//! On processors with AVX-512 by our own kernel, elsewhere by the `gemm` crate. Every element is one sum over the
//! inner dimension in an order that depends on neither the number of rows nor of threads: scores are the same
//! bytes whatever the batch.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub use crate::nn::Precision;

/// A matrix inside a slice, whose rows or columns are contiguous.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Mat<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `[rows, cols]`, rows one after the other.
    pub fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(values, rows, cols, cols)
    }

    /// `[rows, cols]`, a row beginning every `row_stride` values.
    pub fn strided(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= values.len(),
            "a {rows} x {cols} matrix of row stride {row_stride} exceeds its {} values",
            values.len()
        );
        Self { values, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// What becomes of the values already in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Into {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

/// `scale * a b + bias + plus`, yet to be computed: `[a.rows, b.cols]`.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Product<'a> {
    a: Mat<'a>,
    b: Mat<'a>,
    /// Added to each row.
    bias: Option<&'a [f32]>,
    /// Added to the whole, of the same shape.
    plus: Option<&'a [f32]>,
    scale: f32,
    precision: Precision,
}

impl<'a> Product<'a> {
    /// `a b`.
    pub fn new(a: Mat<'a>, b: Mat<'a>) -> Self {
        assert_eq!(a.cols, b.rows, "inner dimensions differ");
        Self { a, b, bias: None, plus: None, scale: 1.0, precision: Precision::F32 }
    }

    /// With a row added to every row.
    pub fn bias(self, bias: &'a [f32]) -> Self {
        assert_eq!(bias.len(), self.b.cols, "one bias a column");
        Self { bias: Some(bias), ..self }
    }

    /// With a matrix of the product's shape added to it.
    pub fn plus(self, plus: &'a [f32]) -> Self {
        assert_eq!(plus.len(), self.a.rows * self.b.cols, "the addend has another size");
        Self { plus: Some(plus), ..self }
    }

    /// Times a number.
    pub fn scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// With factors rounded to a precision.
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The product, computed on all threads.
    pub fn to_vec(self) -> Vec<f32> {
        let mut out = super::uninitialized(self.a.rows * self.b.cols);
        self.write(&mut out, Into::Overwrite);
        out
    }

    /// Writes the product to a contiguous destination, or adds it; on all threads.
    pub fn write(self, out: &mut [f32], mode: Into) {
        assert_eq!(out.len(), self.a.rows * self.b.cols, "the destination has another size");
        // SAFETY: the destination has all values.
        unsafe { self.run(out.as_mut_ptr(), self.b.cols, mode, true) }
    }

    /// Writes the product to rows `stride` apart, or adds it; on the calling thread, for work that is already
    /// spread over threads.
    pub fn write_here(self, out: &mut [f32], stride: usize, mode: Into) {
        let (m, n) = (self.a.rows, self.b.cols);
        assert!(m == 0 || n == 0 || (m - 1) * stride + n <= out.len(), "the destination is too small");
        // SAFETY: the assertion.
        unsafe { self.run(out.as_mut_ptr(), stride, mode, false) }
    }

    /// # Safety
    /// All `[a.rows, b.cols]` values of `out`, in rows `stride` apart, may be written, and read where they are
    /// added to.
    unsafe fn run(self, out: *mut f32, stride: usize, mode: Into, on_all_threads: bool) {
        if self.a.rows == 0 || self.b.cols == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(words) = avx512::Words::of(self.precision) {
            // SAFETY: the caller's promise.
            return unsafe { avx512::product(out, stride, mode, &self, words, on_all_threads) };
        }
        // SAFETY: the caller's promise.
        unsafe { portable::product(out, stride, mode, &self, on_all_threads) }
    }
}

/// Can this processor multiply with this precision?
pub(in crate::nn) fn supports(precision: Precision) -> bool {
    match precision {
        Precision::F32 => true,
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => avx512::Words::of(precision).is_some(),
        #[cfg(not(target_arch = "x86_64"))]
        Precision::Bf16 => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What computes a product: every way that this processor has.
    type Way = Box<dyn Fn(Product, &mut [f32], usize, Into, bool)>;

    fn ways(precision: Precision) -> Vec<(String, Way)> {
        let mut ways: Vec<(String, Way)> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        for words in avx512::Words::all(precision) {
            let way: Way = Box::new(move |product, out, stride, mode, on_all| {
                // SAFETY: the tests give room for all rows.
                unsafe { avx512::product(out.as_mut_ptr(), stride, mode, &product, words, on_all) }
            });
            ways.push((format!("{words:?}"), way));
        }
        if precision == Precision::F32 {
            let way: Way = Box::new(|product, out, stride, mode, on_all| {
                // SAFETY: the tests give room for all rows.
                unsafe { portable::product(out.as_mut_ptr(), stride, mode, &product, on_all) }
            });
            ways.push(("portable".into(), way));
        }
        ways
    }

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        use rand::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// Element by element, in f64, of factors rounded to the precision.
    fn by_hand(product: &Product) -> Vec<f64> {
        let round = |x: f32| match product.precision {
            Precision::F32 => f64::from(x),
            Precision::Bf16 => half::bf16::from_f32(x).to_f64(),
        };
        let at = |mat: &Mat, i: usize, j: usize| round(mat.values[i * mat.row_stride + j * mat.col_stride]);
        let (m, n, k) = (product.a.rows, product.b.cols, product.a.cols);
        let element = |i: usize, j: usize| {
            let sum: f64 = (0..k).map(|p| at(&product.a, i, p) * at(&product.b, p, j)).sum();
            let added =
                |values: Option<&[f32]>, at: usize| values.map_or(0.0, |values| f64::from(values[at]));
            sum * f64::from(product.scale) + added(product.bias, j) + added(product.plus, i * n + j)
        };
        (0..m * n).map(|i| element(i / n, i % n)).collect()
    }

    #[test]
    fn a_transposed_product_equals_the_sum_by_hand() {
        // [[1,2],[3,4]] [[5,6],[7,8]]ᵀ = [[17,23],[39,53]]
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let product = Product::new(Mat::new(&a, 2, 2), Mat::new(&b, 2, 2).t());
        assert_eq!(product.to_vec(), [17.0, 23.0, 39.0, 53.0]); // small integers are exact
    }

    #[test]
    fn every_way_equals_the_sum_by_hand_in_odd_sizes_and_all_orientations() {
        let sizes = [
            (1, 1, 1),
            (2, 3, 5),
            (8, 48, 16),
            (9, 17, 33),
            (7, 49, 1),
            (30, 64, 40),
            (65, 115, 70),
            (3, 50, 1600),
        ];
        for precision in [Precision::F32, Precision::Bf16] {
            for (name, way) in ways(precision) {
                for (m, n, k) in sizes {
                    let (a, b, bias, start) =
                        (noise(m * k, 1), noise(k * n, 2), noise(n, 3), noise(m * (n + 3), 4));
                    let plus = noise(m * n, 5);
                    let (a_t, b_t) = (Mat::new(&a, k, m).t(), Mat::new(&b, n, k).t());
                    for (a, b) in [
                        (Mat::new(&a, m, k), Mat::new(&b, k, n)),
                        (Mat::new(&a, m, k), b_t),
                        (a_t, Mat::new(&b, k, n)),
                        (a_t, b_t),
                    ] {
                        let product =
                            Product::new(a, b).bias(&bias).plus(&plus).scale(0.5).precision(precision);
                        let expected = by_hand(&product);
                        for (mode, on_all) in [(Into::Overwrite, true), (Into::Add, false)] {
                            let mut out = start.clone();
                            way(product, &mut out, n + 3, mode, on_all);
                            for (i, (out, start)) in out.iter().zip(&start).enumerate() {
                                let (row, column) = (i / (n + 3), i % (n + 3));
                                let expected = match (column < n, mode) {
                                    (false, _) => f64::from(*start), // between the rows nothing is touched
                                    (true, Into::Overwrite) => expected[row * n + column],
                                    (true, Into::Add) => expected[row * n + column] + f64::from(*start),
                                };
                                let error = (f64::from(*out) - expected).abs();
                                assert!(
                                    error < 1e-6 * (k as f64).sqrt() + 1e-6,
                                    "{name} {m}x{n}x{k}, {mode:?}: {error} at {row}, {column}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_over_nothing_is_the_bias() {
        let product = Product::new(Mat::new(&[], 2, 0), Mat::new(&[], 0, 3));
        assert_eq!(product.bias(&[1.0, 2.0, 3.0]).to_vec(), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_row_is_the_same_bytes_among_any_number_of_rows() {
        let shapes =
            [(64, 2), (64, 64), (64, 1000), (256, 256), (256, 768), (256, 1024), (1024, 256), (768, 2304)];
        for precision in [Precision::F32, Precision::Bf16] {
            for (name, way) in ways(precision) {
                for (k, n) in shapes {
                    let (x, w) = (noise(300 * k, 1), noise(n * k, 2));
                    let product = |first: usize, rows: usize| {
                        let x = Mat::new(&x[first * k..(first + rows) * k], rows, k);
                        let mut out = vec![0.0; rows * n];
                        let product = Product::new(x, Mat::new(&w, n, k).t()).precision(precision);
                        way(product, &mut out, n, Into::Overwrite, true);
                        out
                    };
                    let whole = product(0, 300);
                    for (first, rows) in
                        [(0, 1), (5, 1), (7, 2), (11, 3), (20, 5), (31, 17), (100, 64), (120, 180), (299, 1)]
                    {
                        let rows_of_whole = &whole[first * n..(first + rows) * n];
                        assert!(
                            product(first, rows) == rows_of_whole,
                            "{name}: {rows} rows of {k} x {n} at {first}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rounding_to_bf16_equals_that_of_a_library_and_keeps_nan() {
        let values = [1.0, 1.003_906_2, 1.011_718_8, -2.71, 1e-40, 3.4e38, f32::INFINITY, f32::NEG_INFINITY];
        for (name, way) in ways(Precision::Bf16) {
            for value in values {
                let (a, mut out) = ([value], [0.0]);
                way(
                    Product::new(Mat::new(&a, 1, 1), Mat::new(&[1.0], 1, 1)).precision(Precision::Bf16),
                    &mut out,
                    1,
                    Into::Overwrite,
                    false,
                );
                let expected = half::bf16::from_f32(value).to_f32();
                let is_flushed = name == "Pairs" && expected.is_subnormal() && out[0] == 0.0; // as the instruction does
                assert!(
                    out[0].to_bits() == expected.to_bits() || is_flushed,
                    "{name}: {value} became {}",
                    out[0]
                );
            }
            let mut out = [0.0];
            way(
                Product::new(Mat::new(&[f32::NAN], 1, 1), Mat::new(&[1.0], 1, 1)).precision(Precision::Bf16),
                &mut out,
                1,
                Into::Overwrite,
                false,
            );
            assert!(out[0].is_nan(), "{name}");
        }
    }
}
