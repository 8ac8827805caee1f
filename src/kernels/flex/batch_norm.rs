use std::ops::Range;

use super::{Array, Kernel, buffer, parallel, simd};

/// The rows of one part of the work.
const ROWS: usize = 256;

/// The most partial sums.
const MAX_PARTS: usize = 64;

/// The mean μ and the biased variance σ² of each column of a matrix, `[2, d]`, outside autodiff.
#[derive(Debug)]
pub(crate) struct ColumnMoments;

/// γ x̂ + β with x̂ = (x − μ) / √(σ² + ε) of these moments, those of the rows themselves.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    pub(crate) moments: Array,
    pub(crate) epsilon: f64,
}

/// x (α + (1 − α) σ(x̂)), as [`BatchNorm`].
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) moments: Array,
    pub(crate) epsilon: f64,
}

/// `f` of the rows of each part, with `n_sums` sums for each column to add to; their totals, `[n_sums, d]`.
fn column_sums(x: &[f32], d: usize, n_sums: usize, f: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Vec<f64> {
    let n = x.len() / d;
    let size = n.div_ceil(MAX_PARTS).max(ROWS);
    let parts = (0..n).step_by(size).map(|start| start..n.min(start + size)).collect();
    let partial = parallel::each(parts, |rows: Range<usize>| {
        // Sums of few rows keep their last digits.
        let mut total = vec![0.0f64; n_sums * d];
        let mut sums = vec![0.0f32; n_sums * d];
        for start in rows.clone().step_by(ROWS) {
            sums.fill(0.0);
            f(start..rows.end.min(start + ROWS), &mut sums);
            total.iter_mut().zip(&sums).for_each(|(total, &sum)| *total += f64::from(sum));
        }
        total
    });
    let mut total = vec![0.0; n_sums * d];
    for part in partial {
        total.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    total
}

impl Kernel<1> for ColumnMoments {
    /// Sums of x − x₁ and of its square, so that a large mean takes no digits from the variance.
    fn forward(&self, [x]: [Array; 1], _tracked: bool) -> (Array, Vec<Array>) {
        let [n, d] = x.shape();
        let (values, first) = (x.values(), &x.values()[..d]);
        let sums = column_sums(values, d, 2, |rows, sums| {
            let (sums, squares) = sums.split_at_mut(d);
            let x = &values[rows.start * d..rows.end * d];
            simd::vectorized(
                #[inline(always)]
                move || {
                    for x in x.chunks_exact(d) {
                        for j in 0..d {
                            let distance = x[j] - first[j];
                            sums[j] += distance;
                            squares[j] = distance.mul_add(distance, squares[j]);
                        }
                    }
                },
            );
        });
        let (sums, squares) = sums.split_at(d);
        let mean = sums.iter().zip(first).map(|(sum, &first)| (f64::from(first) + sum / n as f64) as f32);
        let variance = sums.iter().zip(squares).map(|(sum, square)| {
            let mean = sum / n as f64;
            (square / n as f64 - mean * mean).max(0.0) as f32
        });
        (Array::new(mean.chain(variance).collect(), [2, d]), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, _: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        [None]
    }
}

/// μ and 1 / √(σ² + ε).
fn mean_and_inverse(moments: &Array, epsilon: f64) -> (Vec<f32>, Vec<f32>) {
    let (mean, variance) = moments.values().split_at(moments.width());
    let inverse = |&variance: &f32| (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32;
    (mean.to_vec(), variance.iter().map(inverse).collect())
}

/// The gradient of x from that of x̂, h, given Σ h and Σ h x̂ of each column: (h − Σ h / n − x̂ Σ h x̂ / n) / √(σ² + ε).
#[inline(always)]
fn through_moments(h: f32, normalized: f32, sum: f32, product: f32, inverse: f32) -> f32 {
    inverse * (h - sum - normalized * product)
}

impl Kernel<3> for BatchNorm {
    fn forward(&self, [x, gamma, beta]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let d = x.width();
        let (mean, inverse) = mean_and_inverse(&self.moments, self.epsilon);
        let mut y = buffer::take(x.values().len());
        parallel::rows(&mut y, d, ROWS, |rows, y| {
            let x = &x.values()[rows.start * d..rows.end * d];
            let (mean, inverse, gamma, beta) =
                (&mean[..d], &inverse[..d], &gamma.values()[..d], &beta.values()[..d]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                        for j in 0..d {
                            y[j] = ((x[j] - mean[j]) * inverse[j]).mul_add(gamma[j], beta[j]);
                        }
                    }
                },
            );
        });
        (x.with_values(y), if tracked { vec![x, gamma, beta] } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [n, d] = saved[0].shape();
        let [x, gamma] = [0, 1].map(|i| saved[i].values());
        let (mean, inverse) = mean_and_inverse(&self.moments, self.epsilon);
        let (mean, inverse, grad) = (&mean[..], &inverse[..], grad.values());
        // Σ g and Σ g x̂ of each column.
        let sums = column_sums(x, d, 2, |rows, sums| {
            let (sums, products) = sums.split_at_mut(d);
            let range = rows.start * d..rows.end * d;
            let (x, grad) = (&x[range.clone()], &grad[range]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (x, grad) in x.chunks_exact(d).zip(grad.chunks_exact(d)) {
                        for j in 0..d {
                            sums[j] += grad[j];
                            products[j] = grad[j].mul_add((x[j] - mean[j]) * inverse[j], products[j]);
                        }
                    }
                },
            );
        });
        let narrow = |sums: &[f64], by: f64| sums.iter().map(|sum| (sum / by) as f32).collect::<Vec<f32>>();
        let (means, products) = (narrow(&sums[..d], n as f64), narrow(&sums[d..], n as f64));
        let mut grad_x = buffer::take(n * d);
        parallel::rows(&mut grad_x, d, ROWS, |rows, grad_x| {
            let range = rows.start * d..rows.end * d;
            let (x, grad) = (&x[range.clone()], &grad[range]);
            let (means, products) = (&means[..d], &products[..d]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = grad_x.chunks_exact_mut(d).zip(x.chunks_exact(d).zip(grad.chunks_exact(d)));
                    for (grad_x, (x, grad)) in rows {
                        for j in 0..d {
                            let normalized = (x[j] - mean[j]) * inverse[j];
                            let through =
                                through_moments(grad[j], normalized, means[j], products[j], inverse[j]);
                            grad_x[j] = gamma[j] * through;
                        }
                    }
                },
            );
        });
        let [grad_gamma, grad_beta] = [narrow(&sums[d..], 1.0), narrow(&sums[..d], 1.0)];
        [
            Some(saved[0].with_values(grad_x)),
            Some(saved[1].with_values(grad_gamma)),
            Some(saved[2].with_values(grad_beta)),
        ]
    }
}

impl Kernel<2> for Dice {
    fn forward(&self, [x, alpha]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let d = x.width();
        let (mean, inverse) = mean_and_inverse(&self.moments, self.epsilon);
        let mut y = buffer::take(x.values().len());
        parallel::rows(&mut y, d, ROWS, |rows, y| {
            let x = &x.values()[rows.start * d..rows.end * d];
            let (mean, inverse, alpha) = (&mean[..d], &inverse[..d], &alpha.values()[..d]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                        for j in 0..d {
                            let p = simd::sigmoid((x[j] - mean[j]) * inverse[j]);
                            y[j] = x[j] * (1.0 - alpha[j]).mul_add(p, alpha[j]);
                        }
                    }
                },
            );
        });
        (x.with_values(y), if tracked { vec![x, alpha] } else { Vec::new() })
    }

    /// With p = σ(x̂) and h = g x (1 − α) p (1 − p), the gradient of x̂: ∂α = Σ g x (1 − p), and ∂x = g (α + (1 − α) p) beside
    /// what h gives through the moments.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let [n, d] = saved[0].shape();
        let [x, alpha] = [0, 1].map(|i| saved[i].values());
        let (mean, inverse) = mean_and_inverse(&self.moments, self.epsilon);
        let (mean, inverse, grad) = (&mean[..], &inverse[..], grad.values());
        // Σ h, Σ h x̂ and ∂α of each column.
        let sums = column_sums(x, d, 3, |rows, sums| {
            let (sums, rest) = sums.split_at_mut(d);
            let (products, grad_alpha) = rest.split_at_mut(d);
            let range = rows.start * d..rows.end * d;
            let (x, grad) = (&x[range.clone()], &grad[range]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (x, grad) in x.chunks_exact(d).zip(grad.chunks_exact(d)) {
                        for j in 0..d {
                            let normalized = (x[j] - mean[j]) * inverse[j];
                            let p = simd::sigmoid(normalized);
                            let to_alpha = grad[j] * x[j] * (1.0 - p);
                            let h = to_alpha * (1.0 - alpha[j]) * p;
                            sums[j] += h;
                            products[j] = h.mul_add(normalized, products[j]);
                            grad_alpha[j] += to_alpha;
                        }
                    }
                },
            );
        });
        let narrow = |sums: &[f64], by: f64| sums.iter().map(|sum| (sum / by) as f32).collect::<Vec<f32>>();
        let (means, products) = (narrow(&sums[..d], n as f64), narrow(&sums[d..2 * d], n as f64));
        let mut grad_x = buffer::take(n * d);
        parallel::rows(&mut grad_x, d, ROWS, |rows, grad_x| {
            let range = rows.start * d..rows.end * d;
            let (x, grad) = (&x[range.clone()], &grad[range]);
            let (means, products) = (&means[..d], &products[..d]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = grad_x.chunks_exact_mut(d).zip(x.chunks_exact(d).zip(grad.chunks_exact(d)));
                    for (grad_x, (x, grad)) in rows {
                        for j in 0..d {
                            let normalized = (x[j] - mean[j]) * inverse[j];
                            let p = simd::sigmoid(normalized);
                            let h = grad[j] * x[j] * (1.0 - alpha[j]) * p * (1.0 - p);
                            let through = through_moments(h, normalized, means[j], products[j], inverse[j]);
                            grad_x[j] = grad[j].mul_add((1.0 - alpha[j]).mul_add(p, alpha[j]), through);
                        }
                    }
                },
            );
        });
        [Some(saved[0].with_values(grad_x)), Some(saved[1].with_values(narrow(&sums[2 * d..], 1.0)))]
    }
}
