//! Loops over slices, compiled for the widest instructions of the machine that runs them.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use pulp::Simd;

struct Closure<F>(F);

impl<R, F: FnOnce() -> R> pulp::WithSimd for Closure<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> R {
        (self.0)()
    }
}

/// Runs `f` compiled for the widest instructions of this machine. Write it `#[inline(always)] move || …`:
/// without `move`, what it captures is reached through pointers that defeat vectorisation.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(Closure(f))
}

/// eˣ with a relative error below 3 · 10⁻⁷; 0 below −87, e⁸⁸ above 88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| ≤ ½ ln 2; adding 1.5 · 2²³ rounds n into the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_2e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_6e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r + 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < -87.0 { 0.0 } else { p * power }
}

/// Φ(x), the distribution function of the standard normal, and φ(x), its density; absolute errors below
/// 3 · 10⁻⁷ (Abramowitz & Stegun 1964, 7.1.26).
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let p = 1.061_405_4_f32;
    let p = p.mul_add(t, -1.453_152);
    let p = p.mul_add(t, 1.421_413_7);
    let p = p.mul_add(t, -0.284_496_74);
    let p = p.mul_add(t, 0.254_829_6);
    let gauss = exp(-0.5 * x * x);
    let tail = 0.5 * p * t * gauss;
    (if x < 0.0 { tail } else { 1.0 - tail }, gauss * 0.398_942_3)
}

/// ln(1 + x) for x in [0, 1] with a relative error below 3 · 10⁻⁷.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    // ln(1 + x) = 2 artanh(z) = 2 (z + z³/3 + z⁵/5 + …) with z = x / (2 + x) ≤ 1/3.
    let z = x / (2.0 + x);
    let z2 = z * z;
    let p = 1.0 / 13.0_f32;
    let p = p.mul_add(z2, 1.0 / 11.0);
    let p = p.mul_add(z2, 1.0 / 9.0);
    let p = p.mul_add(z2, 1.0 / 7.0);
    let p = p.mul_add(z2, 1.0 / 5.0);
    let p = p.mul_add(z2, 1.0 / 3.0);
    let p = p.mul_add(z2, 1.0);
    2.0 * z * p
}

/// σ(x) = 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x with an absolute error below 3 · 10⁻⁷.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    2.0f32.mul_add(sigmoid(2.0 * x), -1.0)
}

/// softplus(x) = ln(1 + eˣ), and its slope.
#[inline(always)]
fn softplus(x: f32) -> (f32, f32) {
    let e = exp(-x.abs());
    let larger = 1.0 / (1.0 + e);
    (x.max(0.0) + ln_1p(e), if x < 0.0 { e * larger } else { larger })
}

/// The numbers summed side by side; wide enough to hide the latency of an addition.
const LANES: usize = 32;

/// All lanes, a multiple of eight, folded into one number: eight at a time, then in pairs.
#[inline(always)]
pub(super) fn fold<const N: usize>(lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, _) = lanes.as_chunks::<8>();
    let mut eight = chunks[0];
    for chunk in &chunks[1..] {
        for lane in 0..8 {
            eight[lane] = f(eight[lane], chunk[lane]);
        }
    }
    let [a, b, c, d, e, g, h, i] = eight;
    f(f(f(a, e), f(c, h)), f(f(b, g), f(d, i)))
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn total<const N: usize>(sums: [f32; N]) -> f32 {
    fold(sums, |a, b| a + b)
}

/// The larger number.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Σ xᵢ.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
    total(sums) + rest.iter().sum::<f32>()
}

/// Σ xᵢ yᵢ over the shorter of both.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            sums[lane] = x[lane].mul_add(y[lane], sums[lane]);
        }
    }
    total(sums) + x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum::<f32>()
}

/// Σ xᵢ yᵢ for each of some rows y, as long as x.
#[inline(always)]
pub(super) fn dots<S: Simd, const R: usize>(simd: S, x: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let (x, x_rest) = S::as_simd_f32s(x);
    let rows = rows.map(S::as_simd_f32s);
    let wholes = rows.map(|row| &row.0[..x.len()]);
    let mut sums = [simd.splat_f32s(0.0); R];
    for (at, &x) in x.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(wholes) {
            *sum = simd.mul_add_e_f32s(x, row[at], *sum);
        }
    }
    std::array::from_fn(|r| {
        let rest = x_rest.iter().zip(rows[r].1).map(|(x, y)| x * y).sum::<f32>();
        simd.reduce_sum_f32s(sums[r]) + rest
    })
}

/// out ← out + Σ aᵣ xᵣ over some rows x, as long as out.
#[inline(always)]
pub(super) fn add_rows<S: Simd, const R: usize>(simd: S, out: &mut [f32], rows: [&[f32]; R], a: [f32; R]) {
    let (out, out_rest) = S::as_mut_simd_f32s(out);
    let rows = rows.map(S::as_simd_f32s);
    let wholes = rows.map(|row| &row.0[..out.len()]);
    let factors = a.map(|a| simd.splat_f32s(a));
    for (at, out) in out.iter_mut().enumerate() {
        for (row, &a) in wholes.iter().zip(&factors) {
            *out = simd.mul_add_e_f32s(a, row[at], *out);
        }
    }
    for (row, a) in rows.into_iter().zip(a) {
        out_rest.iter_mut().zip(row.1).for_each(|(out, x)| *out += a * x);
    }
}

/// max xᵢ; −∞ for none.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            maxima[lane] = larger(maxima[lane], chunk[lane]);
        }
    }
    rest.iter().fold(fold(maxima, larger), |max, &x| larger(max, x))
}

/// x ← e^(x − shift); Σ of them.
#[inline(always)]
pub(super) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - shift);
            sums[lane] += chunk[lane];
        }
    }
    let mut rest_sum = 0.0;
    for x in rest {
        *x = exp(*x - shift);
        rest_sum += *x;
    }
    rest_sum + total(sums)
}

/// x ← the slope of softplus at x; Σ softplus(x).
#[inline(always)]
pub(super) fn softplus_sum(x: &mut [f32]) -> f64 {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            let (value, slope) = softplus(chunk[lane]);
            chunk[lane] = slope;
            sums[lane] += f64::from(value);
        }
    }
    for x in rest {
        let (value, slope) = softplus(*x);
        *x = slope;
        sums[0] += f64::from(value);
    }
    sums.iter().sum()
}

/// y ← y + a x.
#[inline(always)]
pub(crate) fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x.mul_add(a, *y);
    }
}

/// y ← y + Σ aᵢ xᵢ of four x in one pass.
#[inline(always)]
pub(super) fn axpy_4(y: &mut [f32], a: [f32; 4], x: [&[f32]; 4]) {
    let [x0, x1, x2, x3] = x.map(|x| &x[..y.len()]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = x0[i].mul_add(a[0], x1[i].mul_add(a[1], x2[i].mul_add(a[2], x3[i].mul_add(a[3], *y))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_its_error() {
        for i in -8_700..8_800 {
            let x = i as f32 / 100.0;
            let (found, expected) = (
                f64::from(vectorized(
                    #[inline(always)]
                    move || exp(x),
                )),
                f64::from(x).exp(),
            );
            assert!((found / expected - 1.0).abs() < 3e-7, "exp({x}) = {found}, not {expected}");
        }
        assert_eq!((exp(-1e30), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }

    /// Φ by Simpson's rule over the density.
    #[test]
    fn normal_is_within_its_error() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = 1e-2;
        let (mut cdf, mut x) = (0.0, -9.0_f64);
        while x < 9.0 {
            let (found, found_density) = normal(x as f32);
            assert!((f64::from(found) - cdf).abs() < 3e-7, "Φ({x}) = {found}, not {cdf}");
            assert!((f64::from(found_density) - density(x)).abs() < 3e-7);
            cdf += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
            x += step;
        }
    }

    #[test]
    fn sigmoid_and_tanh_are_within_their_errors() {
        for i in -9_000..9_000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x);
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-exact).exp())).abs() < 2e-7, "σ({x})");
            assert!((f64::from(tanh(x)) - exact.tanh()).abs() < 3e-7, "tanh({x}) = {}", tanh(x));
        }
        assert_eq!((sigmoid(1e30), tanh(-1e30), tanh(1e30)), (1.0, -1.0, 1.0));
        assert!(sigmoid(-1e30) < 1e-37 && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_is_within_its_error() {
        for i in -9_000..9_000 {
            let x = i as f32 / 100.0;
            let (exact, e) = (f64::from(x).exp().ln_1p(), f64::from(-x).exp());
            let mut slope = [x];
            let found = softplus_sum(&mut slope);
            // Below −87 both are 0.
            assert!((found - exact).abs() <= 3e-7 * exact + 1e-37, "softplus({x}) = {found}, not {exact}");
            let (found, exact) = (f64::from(slope[0]), 1.0 / (1.0 + e));
            assert!((found - exact).abs() <= 5e-7 * exact + 1e-37, "σ({x}) = {found}, not {exact}");
        }
        let mut many: Vec<f32> = (0..100).map(|i| 0.1 * i as f32 - 5.0).collect();
        let exact: f64 = many.iter().map(|&x| f64::from(x).exp().ln_1p()).sum();
        assert!((softplus_sum(&mut many) - exact).abs() < 1e-5);
        let mut extremes = [f32::NEG_INFINITY, 200.0];
        assert_eq!((softplus_sum(&mut extremes), extremes), (200.0, [0.0, 1.0]));
        assert!(softplus_sum(&mut [f32::NAN]).is_nan());
    }

    #[test]
    fn reductions_equal_their_scalar_twins() {
        for n in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let y: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).cos()).collect();
            let twin = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                x.iter().zip(&y).map(|(&x, &y)| f(x.into(), y.into())).sum()
            };
            assert!((f64::from(sum(&x)) - twin(&|x, _| x)).abs() < 1e-5);
            assert!((f64::from(dot(&x, &y)) - twin(&|x, y| x * y)).abs() < 1e-5);
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut e = x.clone();
            assert!((f64::from(exp_sum(&mut e, 0.5)) - twin(&|x, _| (x - 0.5).exp())).abs() < 1e-5);
            assert!(e.iter().zip(&x).all(|(e, x)| (e - (x - 0.5).exp()).abs() < 1e-6));
            let mut z = y.clone();
            axpy(&mut z, 2.0, &x);
            assert!(z.iter().zip(x.iter().zip(&y)).all(|(z, (x, y))| (z - (2.0 * x + y)).abs() < 1e-6));
        }
    }
}
