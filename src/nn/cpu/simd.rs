//! Element-wise kernels, compiled for AVX-512, AVX2 and the baseline and chosen when the program runs ([`level`](super::level)).
//!
//! Plain loops that the compiler vectorises. No fused multiply-add and a fixed number of partial sums
//! ([`LANES`]), so that every machine computes the same bytes.
#![expect(
    clippy::inline_always,
    reason = "a helper is compiled for the instructions of the kernel that calls it"
)]

use super::level::kernel;

/// Partial sums of a reduction: two AVX-512 registers.
const LANES: usize = 32;

/// `e^x` to about 1 ulp on `[-87, 88]`; clamped outside. Source: Cephes `expf`, as a polynomial without branches.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0; // rounded to an integer
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4; // x - n ln 2, in two steps
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// Takes every value into one of [`LANES`] partial results by `step`, then merges those in order.
#[inline(always)]
fn lanes(xs: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, merge: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [start; LANES];
    let chunks = xs.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (p, &x) in partial.iter_mut().zip(chunk) {
            *p = step(*p, x);
        }
    }
    for (p, &x) in partial.iter_mut().zip(rest) {
        *p = step(*p, x);
    }
    partial.into_iter().fold(start, merge)
}

#[inline(always)]
fn add(a: f32, b: f32) -> f32 {
    a + b
}

#[inline(always)]
fn sum(xs: &[f32]) -> f32 {
    lanes(xs, 0.0, add, add)
}

/// The largest value; NaN if a value is not finite, so that it is not hidden.
#[inline(always)]
fn max(xs: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (mut largest, mut poison) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            largest[i] = larger(largest[i], chunk[i]);
            poison[i] += chunk[i] * 0.0;
        }
    }
    for (i, &x) in rest.iter().enumerate() {
        largest[i] = larger(largest[i], x);
        poison[i] += x * 0.0;
    }
    if sum(&poison).is_nan() { f32::NAN } else { largest.into_iter().fold(f32::NEG_INFINITY, larger) }
}

#[inline(always)]
fn dot_lanes(xs: &[f32], ys: &[f32]) -> f32 {
    let mut partial = [0.0; LANES];
    let whole = xs.len() / LANES * LANES;
    for (x, y) in xs[..whole].chunks_exact(LANES).zip(ys[..whole].chunks_exact(LANES)) {
        for i in 0..LANES {
            partial[i] += x[i] * y[i];
        }
    }
    for (i, (x, y)) in xs[whole..].iter().zip(&ys[whole..]).enumerate() {
        partial[i] += x * y;
    }
    sum(&partial)
}

kernel! {
    /// `a += b`.
    fn add_assign(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}

kernel! {
    /// `a *= scale`.
    fn scale(a: &mut [f32], scale: f32) {
        for a in a {
            *a *= scale;
        }
    }
}

kernel! {
    /// Sum of the products.
    fn dot(xs: &[f32], ys: &[f32]) -> f32 {
        dot_lanes(xs, ys)
    }
}

kernel! {
    /// Softmax of a row in place. NaN anywhere makes all of it NaN.
    fn softmax(row: &mut [f32]) {
        let largest = max(row);
        if largest.is_nan() {
            row.fill(f32::NAN);
            return;
        }
        for x in row.iter_mut() {
            *x = exp(*x - largest);
        }
        let inverse = 1.0 / sum(row);
        for x in row.iter_mut() {
            *x *= inverse;
        }
    }
}

kernel! {
    /// `ln Σ e^x` of a row; NaN if a value is not finite.
    fn log_sum_exp(row: &[f32]) -> f32 {
        let largest = max(row);
        largest + lanes(row, 0.0, |a, x| a + exp(x - largest), add).ln()
    }
}

kernel! {
    /// Is every value a number, and none infinite?
    fn is_finite(row: &[f32]) -> bool {
        !lanes(row, 0.0, |a, x| a + x * 0.0, add).is_nan()
    }
}

kernel! {
    /// Sum of the values.
    fn total(row: &[f32]) -> f32 {
        sum(row)
    }
}

kernel! {
    /// Index of the first of the largest values. The row has no NaN.
    fn arg_max(row: &[f32]) -> usize {
        let largest = max(row);
        row.iter().position(|&x| x >= largest).unwrap_or(0)
    }
}

kernel! {
    /// `row = softmax(row) * scale + offset`; returns `ln Σ e^x` of the row as it was. NaN if a value is not finite.
    fn softmax_scaled(row: &mut [f32], scale: f32, offset: f32) -> f32 {
        let largest = max(row);
        for x in row.iter_mut() {
            *x = exp(*x - largest);
        }
        let total = sum(row);
        let factor = scale / total;
        for x in row.iter_mut() {
            *x = *x * factor + offset;
        }
        largest + total.ln()
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const INVERSE_SQRT_2_PI: f32 = 0.398_942_3;

kernel! {
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, written with the logistic function.
    fn gelu(ys: &mut [f32], xs: &[f32]) {
        for (y, &x) in ys.iter_mut().zip(xs) {
            let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
            *y = x / (1.0 + exp(-2.0 * u));
        }
    }
}

kernel! {
    /// `dy = dy * gelu'(x)`.
    fn gelu_backward(dys: &mut [f32], xs: &[f32]) {
        for (dy, &x) in dys.iter_mut().zip(xs) {
            let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
            let s = 1.0 / (1.0 + exp(-2.0 * u));
            *dy *= s + x * s * (1.0 - s) * 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        }
    }
}

/// The error function, to 3e-7. Source: Eigen, `generic_fast_erf_float`.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-3.832_507, 3.832_507); // beyond, it is 1 to rounding
    let z = x * x;
    let p = 2.290_506_6e-4_f32;
    let p = p * z + 3.408_291e-3;
    let p = p * z + 5.095_569_5e-2;
    let p = p * z + 1.852_083_2e-1;
    let p = p * z + std::f32::consts::FRAC_2_SQRT_PI;
    let q = -1.179_160_3e-7_f32;
    let q = q * z + 2.354_796_6e-5;
    let q = q * z + 1.017_962_5e-3;
    let q = q * z + 1.407_047e-2;
    let q = q * z + 1.109_850_5e-1;
    let q = q * z + 4.974_692_5e-1;
    let q = q * z + 1.0;
    x * p / q
}

kernel! {
    /// `0.5 x (1 + erf(x / √2))`.
    fn gelu_erf(ys: &mut [f32], xs: &[f32]) {
        for (y, &x) in ys.iter_mut().zip(xs) {
            *y = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

kernel! {
    /// `dy = dy * gelu_erf'(x)`.
    fn gelu_erf_backward(dys: &mut [f32], xs: &[f32]) {
        for (dy, &x) in dys.iter_mut().zip(xs) {
            let density = INVERSE_SQRT_2_PI * exp(-0.5 * x * x);
            *dy *= 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density;
        }
    }
}

kernel! {
    /// `max(x, 0)`, and NaN where x is.
    fn relu(ys: &mut [f32], xs: &[f32]) {
        for (y, &x) in ys.iter_mut().zip(xs) {
            *y = if x < 0.0 { 0.0 } else { x };
        }
    }
}

kernel! {
    /// `dy = 0` where `x` is not positive.
    fn relu_backward(dys: &mut [f32], xs: &[f32]) {
        for (dy, &x) in dys.iter_mut().zip(xs) {
            *dy = if x > 0.0 { *dy } else { 0.0 };
        }
    }
}

kernel! {
    /// `gelu(gate) * x`, with the GELU of [`gelu`].
    fn gated_gelu(ys: &mut [f32], gates: &[f32], xs: &[f32]) {
        for ((y, &gate), &x) in ys.iter_mut().zip(gates).zip(xs) {
            let u = SQRT_2_OVER_PI * (gate + CUBIC * gate * gate * gate);
            *y = gate / (1.0 + exp(-2.0 * u)) * x;
        }
    }
}

kernel! {
    /// Backward of [`gated_gelu`]: writes the gates' gradient, and turns `dy` into that of `x`.
    fn gated_gelu_backward(dgates: &mut [f32], dys: &mut [f32], gates: &[f32], xs: &[f32]) {
        for (((dgate, dy), &gate), &x) in dgates.iter_mut().zip(dys).zip(gates).zip(xs) {
            let u = SQRT_2_OVER_PI * (gate + CUBIC * gate * gate * gate);
            let s = 1.0 / (1.0 + exp(-2.0 * u));
            let slope = s + gate * s * (1.0 - s) * 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * gate * gate);
            *dgate = *dy * x * slope;
            *dy *= gate * s;
        }
    }
}

/// The inverse of a row's root mean square.
#[inline(always)]
fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (lanes(x, 0.0, |a, x| a + x * x, add) / x.len() as f32 + epsilon).sqrt()
}

kernel! {
    /// `y = x / √(mean of x² + ε) * weight`, for one row.
    fn rms_norm(y: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        let inverse = inverse_rms(x, epsilon);
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * inverse * w;
        }
    }
}

kernel! {
    /// Backward of [`rms_norm`] for one row: writes `dx`, or adds to it, and adds to the gradient of the weight.
    fn rms_norm_backward(
        gradients: (&mut [f32], &mut [f32]),
        given: (&[f32], &[f32], &[f32]),
        scratch: &mut [f32],
        epsilon: f32,
        adds: bool,
    ) {
        let ((dx, dweight), (x, weight, dy), weighted) = (gradients, given, scratch);
        let inverse = inverse_rms(x, epsilon);
        for i in 0..x.len() {
            weighted[i] = dy[i] * weight[i];
            dweight[i] += dy[i] * x[i] * inverse;
        }
        let along = dot_lanes(weighted, x) * inverse * inverse / x.len() as f32;
        let value = |i: usize| inverse * (weighted[i] - x[i] * along);
        match adds {
            true => dx.iter_mut().enumerate().for_each(|(i, dx)| *dx += value(i)),
            false => dx.iter_mut().enumerate().for_each(|(i, dx)| *dx = value(i)),
        }
    }
}

/// Mean of a row and the inverse of its standard deviation.
#[inline(always)]
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let variance = lanes(x, 0.0, |a, x| a + (x - mean) * (x - mean), add) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

kernel! {
    /// `y = (x - mean) / √(variance + ε) * weight + bias`, for one row.
    fn layer_norm(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let (mean, inverse) = moments(x, epsilon);
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = (x - mean) * inverse * w + b;
        }
    }
}

kernel! {
    /// Backward of [`layer_norm`] for one row: writes `dx`, or adds to it, and adds to the gradients of weight and bias.
    fn layer_norm_backward(
        gradients: (&mut [f32], &mut [f32], &mut [f32]),
        given: (&[f32], &[f32], &[f32]),
        scratch: (&mut [f32], &mut [f32]),
        epsilon: f32,
        adds: bool,
    ) {
        let ((dx, dweight, dbias), (x, weight, dy), (normal, weighted)) = (gradients, given, scratch);
        let (mean, inverse) = moments(x, epsilon);
        let n = x.len() as f32;
        for i in 0..x.len() {
            normal[i] = (x[i] - mean) * inverse;
            weighted[i] = dy[i] * weight[i];
            dweight[i] += dy[i] * normal[i];
            dbias[i] += dy[i];
        }
        let (a, b) = (sum(weighted) / n, dot_lanes(weighted, normal) / n);
        let value = |i: usize| inverse * (weighted[i] - a - normal[i] * b);
        match adds {
            true => dx.iter_mut().enumerate().for_each(|(i, dx)| *dx += value(i)),
            false => dx.iter_mut().enumerate().for_each(|(i, dx)| *dx = value(i)),
        }
    }
}

/// Does dropout keep the element `index`? A hash of seed and index, so that no order of threads matters.
///
/// Source: the finaliser of `MurmurHash3`.
#[inline(always)]
fn is_kept(seed: u32, index: u32, threshold: u32) -> bool {
    let mut x = index.wrapping_mul(0x9E37_79B1) ^ seed;
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    (x ^ (x >> 16)) >= threshold
}

kernel! {
    /// Multiplies the elements that are kept by `scale` and clears the others; the first is element number `first`.
    fn dropout_in_place(xs: &mut [f32], seed: u32, first: u32, threshold: u32, scale: f32) {
        for (i, x) in xs.iter_mut().enumerate() {
            let kept = is_kept(seed, first.wrapping_add(i as u32), threshold);
            *x = if kept { *x * scale } else { 0.0 };
        }
    }
}

kernel! {
    /// Backward of a softmax row: `ds = p * (dp - Σ p dp) * scale`, written over `dp`.
    fn softmax_backward(dp: &mut [f32], p: &[f32], scale: f32) {
        let inner = dot_lanes(dp, p);
        for (d, p) in dp.iter_mut().zip(p) {
            *d = p * (*d - inner) * scale;
        }
    }
}

kernel! {
    /// `silu(gate) * x`, with `silu(g) = g / (1 + e^-g)`.
    fn gated_silu(ys: &mut [f32], gates: &[f32], xs: &[f32]) {
        for ((y, &gate), &x) in ys.iter_mut().zip(gates).zip(xs) {
            *y = gate / (1.0 + exp(-gate)) * x;
        }
    }
}

kernel! {
    /// Gradients of [`gated_silu`]: to the gates, and to the values in place of that of the output.
    fn gated_silu_backward(dgates: &mut [f32], dys: &mut [f32], gates: &[f32], xs: &[f32]) {
        for (((dgate, dy), &gate), &x) in dgates.iter_mut().zip(dys).zip(gates).zip(xs) {
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            *dgate = *dy * x * sigmoid * (1.0 + gate * (1.0 - sigmoid));
            *dy *= gate * sigmoid;
        }
    }
}

/// What one AdamW update needs beside the parameter and its running means.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct Adam {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// By which the gradient is multiplied first.
    pub gradient_scale: f32,
    /// `1 / (1 - β₁ᵗ)`
    pub correction1: f32,
    /// `1 / (1 - β₂ᵗ)`
    pub correction2: f32,
    pub learning_rate: f32,
    /// `1 - learning rate * weight decay`
    pub decay: f32,
}

kernel! {
    /// One AdamW update of parameters and of the running means of their gradient and its square, in place.
    fn adamw(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], adam: Adam) {
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * adam.gradient_scale;
            *m = adam.beta1 * *m + (1.0 - adam.beta1) * g;
            *v = adam.beta2 * *v + (1.0 - adam.beta2) * g * g;
            let step = *m * adam.correction1 / ((*v * adam.correction2).sqrt() + adam.epsilon);
            *p = *p * adam.decay - adam.learning_rate * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::cpu::level::tests::at_every_level;

    #[test]
    fn exp_is_accurate_to_two_units_in_the_last_place() {
        for i in -8600..8700 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}) is off by {error}");
        }
    }

    #[test]
    fn erf_is_that_of_tables() {
        // Abramowitz & Stegun, table 7.1.
        for (x, expected) in
            [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (9.0, 1.0)]
        {
            assert!((erf(x) - expected).abs() < 4e-7 && (erf(-x) + expected).abs() < 4e-7, "erf({x})");
        }
    }

    #[test]
    fn softmax_of_a_row_sums_to_one_and_keeps_the_order() {
        let mut row: Vec<f32> = (0..37).map(|i| (i % 7) as f32).collect();
        softmax(&mut row);
        assert!((total(&row) - 1.0).abs() < 1e-6);
        assert!((row[6] / row[0] - 6f32.exp()).abs() < 1e-2); // e^6 = 403.43
    }

    #[test]
    fn a_value_that_is_not_a_number_is_not_hidden() {
        let mut row = vec![0.0; 40];
        row[33] = f32::NAN;
        assert!(log_sum_exp(&row).is_nan());
        softmax(&mut row);
        assert!(row.iter().all(|x| x.is_nan()));
    }

    #[test]
    fn log_sum_exp_of_equal_values_is_their_value_plus_the_log_of_their_number() {
        assert!((log_sum_exp(&[2.0; 100]) - (2.0 + 100f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn dropout_keeps_the_stated_share() {
        let mut ys = vec![1.0; 100_000];
        dropout_in_place(&mut ys, 7, 0, (0.1 * 2f64.powi(32)) as u32, 1.0);
        let kept = f64::from(total(&ys)) / 1e5;
        assert!((kept - 0.9).abs() < 0.004, "{kept}"); // four standard errors of 0.00095
    }

    #[test]
    fn every_level_computes_the_same_bytes() {
        let row = |seed: u32, n: usize| -> Vec<f32> {
            (0..n as u32).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0).collect()
        };
        for n in [1, 15, 16, 31, 64, 257] {
            let results = at_every_level(|| {
                let (x, y, w, b) = (row(1, n), row(2, n), row(3, n), row(4, n));
                let mut found =
                    vec![dot(&x, &y), total(&x), log_sum_exp(&x), f32::from(u8::from(is_finite(&x)))];
                found.push(arg_max(&x) as f32);
                let mut change = |kernel: &dyn Fn(&mut [f32])| {
                    let mut values = x.clone();
                    kernel(&mut values);
                    found.extend(values);
                };
                change(&|v| add_assign(v, &y));
                change(&|v| scale(v, 0.3));
                change(&|v| softmax(v));
                change(&|v| {
                    softmax_scaled(v, 0.7, -0.01);
                });
                change(&|v| gelu(v, &y));
                change(&|v| gelu_backward(v, &y));
                change(&|v| gelu_erf(v, &y));
                change(&|v| gelu_erf_backward(v, &y));
                change(&|v| relu(v, &y));
                change(&|v| relu_backward(v, &y));
                change(&|v| gated_gelu(v, &y, &w));
                change(&|v| gated_gelu_backward(v, &mut y.clone(), &w, &b));
                change(&|v| gated_gelu_backward(&mut y.clone(), v, &w, &b));
                change(&|v| rms_norm(v, &y, &w, 1e-6));
                change(&|v| rms_norm_backward((v, &mut w.clone()), (&y, &w, &b), &mut b.clone(), 1e-6, true));
                change(&|v| gated_silu(v, &y, &w));
                change(&|v| gated_silu_backward(&mut y.clone(), v, &w, &b));
                change(&|v| gated_silu_backward(v, &mut y.clone(), &w, &b));
                change(&|v| layer_norm(v, &y, &w, &b, 1e-5));
                change(&|v| dropout_in_place(v, 5, 2, 1 << 30, 1.3));
                change(&|v| softmax_backward(v, &y, 0.2));
                let (mut dw, mut db, mut normal, mut weighted) = (w.clone(), b.clone(), x.clone(), x.clone());
                let mut dx = y.clone();
                let scratch = (&mut normal[..], &mut weighted[..]);
                layer_norm_backward((&mut dx, &mut dw, &mut db), (&x, &w, &y), scratch, 1e-5, true);
                let (mut p, mut m, mut v) = (x.clone(), y.clone(), vec![0.1; n]);
                let adam = Adam {
                    beta1: 0.9,
                    beta2: 0.99,
                    epsilon: 1e-8,
                    gradient_scale: 0.5,
                    correction1: 1.5,
                    correction2: 1.2,
                    learning_rate: 0.1,
                    decay: 0.99,
                };
                adamw(&mut p, &mut m, &mut v, &w, adam);
                [found, dx, dw, db, p, m, v].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            for (level, found) in &results {
                assert_eq!(found, &results[0].1, "{level:?} and {:?}, {n} values", results[0].0);
            }
        }
    }
}
