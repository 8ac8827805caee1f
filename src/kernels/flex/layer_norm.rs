use super::{Array, Kernel, buffer, parallel, simd};

/// The rows that are worked on together, and whose partial gradients of γ and β are one sum.
const PART: usize = 256;

/// y = γ (x − μ) / √(σ² + ε) + β, with mean μ and variance σ² of each row.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f64,
}

impl Kernel<3> for LayerNorm {
    fn forward(&self, [x, gamma, beta]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let d = gamma.values().len();
        assert!(x.width() == d && beta.values().len() == d, "layer norm of {x:?} with {gamma:?}, {beta:?}");
        let mut y = buffer::take(x.values().len());
        let (input, gamma_values, beta_values) = (x.values(), gamma.values(), beta.values());
        let epsilon = self.epsilon as f32;
        let moments = parallel::rows(&mut y, d, PART, |rows, y| {
            let x = &input[rows.start * d..rows.end * d];
            let mut moments = vec![[0.0; 2]; rows.len()];
            let row_moments = &mut moments[..];
            simd::vectorized(
                #[inline(always)]
                move || {
                    for ((y, x), moments) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(row_moments) {
                        let [mean, inverse] = moments_of(x, epsilon);
                        normalize(y, x, gamma_values, beta_values, mean, inverse);
                        *moments = [mean, inverse];
                    }
                },
            );
            moments
        });
        let y = x.with_values(y);
        if !tracked {
            return (y, Vec::new());
        }
        let n = x.values().len() / d.max(1);
        let moments = Array::new(moments.concat().into_flattened(), [n, 2]);
        (y, vec![x, gamma, moments])
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [x, gamma, moments] = &saved[..] else { unreachable!("saved by the forward pass") };
        let d = gamma.values().len();
        let (input, grad_y, gamma_values, moments) =
            (x.values(), grad.values(), gamma.values(), moments.values());
        let mut grad_x = buffer::take(input.len());
        let parts = parallel::rows(&mut grad_x, d, PART, |rows, grad_x| {
            let span = rows.start * d..rows.end * d;
            let (x, grad_y) = (&input[span.clone()], &grad_y[span]);
            let moments = moments[2 * rows.start..2 * rows.end].as_chunks().0;
            let mut sums = vec![0.0; 2 * d];
            let (grad_gamma, grad_beta) = sums.split_at_mut(d);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = grad_x.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(grad_y.chunks_exact(d));
                    for (((grad_x, x), grad_y), &[mean, inverse]) in rows.zip(moments) {
                        let row = Row { x, grad_y, gamma: gamma_values, mean, inverse };
                        row.backward(grad_x, grad_gamma, grad_beta);
                    }
                },
            );
            sums
        });
        let mut grad_gamma = parallel::sum(parts);
        grad_gamma.resize(2 * d, 0.0);
        let grad_beta = grad_gamma.split_off(d);
        [x.with_values(grad_x), gamma.with_values(grad_gamma), gamma.with_values(grad_beta)].map(Some)
    }
}

/// The numbers summed side by side.
const LANES: usize = 16;

/// μ and 1 / √(σ² + ε).
#[inline(always)]
fn moments_of(x: &[f32], epsilon: f32) -> [f32; 2] {
    let n = x.len() as f32;
    let mean = simd::sum(x) / n;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut squares = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            let centered = chunk[lane] - mean;
            squares[lane] = centered.mul_add(centered, squares[lane]);
        }
    }
    let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (simd::total(squares) + rest) / n;
    [mean, 1.0 / (variance + epsilon).sqrt()]
}

#[inline(always)]
fn normalize(y: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32], mean: f32, inverse: f32) {
    for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
        *y = ((x - mean) * inverse).mul_add(*gamma, *beta);
    }
}

/// One row on the way back, x̂ = (x − μ) · inverse.
struct Row<'a> {
    x: &'a [f32],
    grad_y: &'a [f32],
    gamma: &'a [f32],
    mean: f32,
    inverse: f32,
}

impl Row<'_> {
    /// With g = γ ∂y: ∂x = (g − mean(g) − x̂ mean(g x̂)) · inverse, ∂γ += x̂ ∂y, ∂β += ∂y.
    #[inline(always)]
    fn backward(&self, grad_x: &mut [f32], grad_gamma: &mut [f32], grad_beta: &mut [f32]) {
        let Self { x, grad_y, gamma, mean, inverse } = *self;
        for (((&x, &grad_y), grad_gamma), grad_beta) in x.iter().zip(grad_y).zip(grad_gamma).zip(grad_beta) {
            *grad_gamma = grad_y.mul_add((x - mean) * inverse, *grad_gamma);
            *grad_beta += grad_y;
        }
        let ((xs, x_rest), (grads, grad_rest)) = (x.as_chunks::<LANES>(), grad_y.as_chunks::<LANES>());
        let (gammas, gamma_rest) = gamma.as_chunks::<LANES>();
        let (mut sums, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for ((x, grad_y), gamma) in xs.iter().zip(grads).zip(gammas) {
            for lane in 0..LANES {
                let g = grad_y[lane] * gamma[lane];
                sums[lane] += g;
                products[lane] = g.mul_add(x[lane] - mean, products[lane]);
            }
        }
        let (mut sum, mut product) = (simd::total(sums), simd::total(products));
        for ((x, grad_y), gamma) in x_rest.iter().zip(grad_rest).zip(gamma_rest) {
            sum += grad_y * gamma;
            product += grad_y * gamma * (x - mean);
        }
        let n = x.len() as f32;
        let (mean_g, slope) = (sum / n, product / n * inverse * inverse);
        for (((grad_x, x), grad_y), gamma) in grad_x.iter_mut().zip(x).zip(grad_y).zip(gamma) {
            *grad_x = (x - mean).mul_add(-slope, grad_y.mul_add(*gamma, -mean_g)) * inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use crate::kernels::{composed, twin};
    use crate::layers::{layer_norm, read};
    use crate::rng::Rng;

    fn exact(x: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
        let d = gamma.len();
        let row = |x: &[f64]| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let deviation = (variance + epsilon).sqrt();
            (0..d).map(|i| gamma[i] * (x[i] - mean) / deviation + beta[i]).collect()
        };
        x.chunks(d).flat_map(row).collect()
    }

    #[test]
    fn equals_its_float64_twin() {
        // The widest part, rows that fill no vector, and ε as large as the variance.
        for (n, d, epsilon) in
            [(1, 1, 1e-2), (5, 3, 1e-5), (3, 17, 0.8), (2, 64, 1e-8), (0, 4, 1e-5), (300, 2, 1e-2)]
        {
            let inputs = [twin::normal(n * d, 1), twin::normal(d, 2), twin::normal(d, 3)];
            twin::check(
                &inputs,
                1e-4,
                |x| {
                    let y = layer_norm(x[0].clone().reshape([n, d]), x[1].clone(), x[2].clone(), epsilon);
                    y.reshape([n * d])
                },
                |x| exact(&x[0], &x[1], &x[2], epsilon),
            );
        }
    }

    #[test]
    fn a_constant_row_becomes_beta() {
        let device = Device::flex();
        let run = || {
            let x = Tensor::<2>::full([2, 3], 7.5, &device);
            let (gamma, beta) = (Tensor::ones([3], &device), Tensor::from_data([1.0, 2.0, 3.0], &device));
            read(layer_norm(x, gamma, beta, 1e-8)).unwrap()
        };
        assert_eq!(run(), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        assert_eq!(composed(run), run());
    }

    #[test]
    fn parameters_learn_from_inputs_that_do_not() {
        let device = Device::flex().autodiff();
        let run = || {
            let x = Tensor::<2>::from_data(TensorData::new(twin::normal(12, 7), [4, 3]), &device);
            let gamma = Tensor::<1>::ones([3], &device).require_grad();
            let y = layer_norm(x, gamma.clone(), Tensor::zeros([3], &device), 1e-5);
            let gradients = y.square().sum().backward();
            read(gamma.grad(&gradients).unwrap()).unwrap()
        };
        // γ̂ = 2 γ Σ x̂², and x̂ has mean square 1 in every row.
        assert!((run().iter().sum::<f32>() - 24.0).abs() < 1e-2, "{:?}", run());
        for (fused, composed) in run().iter().zip(composed(run)) {
            assert!((fused - composed).abs() < 1e-4, "{fused}, {composed}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (n, d) = (1_000, 24);
        let (x, weights) = (twin::normal(n * d, 4), twin::normal(n * d, 5));
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let tensor = |x: &[f32]| Tensor::<2>::from_data(TensorData::new(x.to_vec(), [n, d]), &device);
            let mut rng = Rng::new(6);
            let mut parameter = || {
                let values: Vec<f32> = (0..d).map(|_| rng.normal() as f32).collect();
                Tensor::<1>::from_data(TensorData::new(values, [d]), &device).require_grad()
            };
            let (x, gamma, beta) = (tensor(&x).require_grad(), parameter(), parameter());
            let y = layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5);
            let gradients = (y.clone() * tensor(&weights)).sum().backward();
            let flat = [y.inner().reshape([n * d]), x.grad(&gradients).unwrap().reshape([n * d])];
            let flat =
                flat.into_iter().chain([gamma.grad(&gradients).unwrap(), beta.grad(&gradients).unwrap()]);
            flat.flat_map(|t| read(t).unwrap()).collect()
        });
    }
}
