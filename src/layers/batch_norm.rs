use burn::module::{Module, Param, RunningState};
use burn::tensor::{Device, Tensor, module};

use crate::kernels;
use crate::layers::Init;
use crate::rng::Rng;

/// What each new batch has of the running statistics.
const MOMENTUM: f64 = 0.1;

/// y = γ x̂ + β with x̂ = (x − E x) / √(Var x + ε), feature by feature (Ioffe & Szegedy 2015, "Batch normalization:
/// accelerating deep network training by reducing internal covariate shift", algorithms 1 and 2).
///
/// In training the mean and the (biased) variance are those of the batch; in inference those that ran along in training,
/// so that a row's output does not depend on the rows beside it. They are part of the saved weights.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ, `[d]`, fresh 1.
    gamma: Param<Tensor<1>>,
    /// β, `[d]`, fresh 0.
    beta: Param<Tensor<1>>,
    statistics: BatchStatistics,
}

impl BatchNorm {
    /// γ = 1, β = 0 and ε = 10⁻⁵, for rows of width `d`.
    pub fn new(d: usize, device: &Device) -> Self {
        let constant = |value| Init::Constant(value).param([d], &mut Rng::new(0), device);
        Self { gamma: constant(1.0), beta: constant(0.0), statistics: BatchStatistics::new(d, 1e-5, device) }
    }

    /// Every feature normalised: with the statistics of the batch, which enter the running ones, `in_training`, and with
    /// the running ones otherwise.
    ///
    /// # Shapes
    /// - x: `[n, d]`
    /// - output: `[n, d]`
    pub fn forward(&self, x: Tensor<2>, in_training: bool) -> Tensor<2> {
        self.statistics.normalize(x, self.gamma.val(), self.beta.val(), in_training)
    }
}

/// The mean and the variance of each feature over the batches so far: in step t
/// E ← 0.9 E + 0.1 μ_t and Var ← 0.9 Var + 0.1 n / (n − 1) σ²_t, from 0 and 1.
#[derive(Module, Debug)]
pub(super) struct BatchStatistics {
    /// E, `[d]`
    mean: RunningState<Tensor<1>>,
    /// Var, `[d]`
    variance: RunningState<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl BatchStatistics {
    pub(super) fn new(d: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            mean: RunningState::new(Tensor::zeros([d], device)),
            variance: RunningState::new(Tensor::ones([d], device)),
            epsilon,
        }
    }

    /// γ x̂ + β, as [`BatchNorm::forward`].
    pub(super) fn normalize(
        &self,
        x: Tensor<2>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        in_training: bool,
    ) -> Tensor<2> {
        let [n, _] = x.dims();
        if n == 0 {
            return x;
        }
        if !in_training {
            let (mean, variance) = (self.mean.value(), self.variance.value());
            return module::batch_norm(x, gamma, beta, mean, variance, self.epsilon);
        }
        #[cfg(feature = "flex")]
        if kernels::fused(&x) {
            let (moments, epsilon) = (self.observe(&x), self.epsilon);
            return kernels::apply_3(kernels::BatchNorm { moments, epsilon }, x, gamma, beta);
        }
        let mean_of_rows = |x| kernels::sum_of_rows(x).div_scalar(n as f64);
        let repeated = |row| kernels::repeat_row(row, n);
        let mean = mean_of_rows(x.clone());
        let centered = x - repeated(mean.clone());
        let variance = mean_of_rows(centered.clone().square());
        self.run_along(n, mean.detach(), variance.clone().detach());
        let scale = gamma / variance.add_scalar(self.epsilon).sqrt();
        centered * repeated(scale) + repeated(beta)
    }

    /// The mean and the biased variance of each column of a batch, `[2, d]`, which enter the running ones.
    #[cfg(feature = "flex")]
    pub(super) fn observe(&self, x: &Tensor<2>) -> kernels::Array {
        let [n, d] = x.dims();
        let moments: Tensor<2> = kernels::apply_1(kernels::ColumnMoments, x.clone().inner());
        let moments = kernels::into_values(moments);
        let row = |row: usize| Tensor::from_floats(&moments[row * d..][..d], &x.device());
        self.run_along(n, row(0), row(1));
        kernels::Array::new(moments, [2, d])
    }

    /// x̂ in inference, of each feature its scale 1 / √(Var + ε) and shift −E / √(Var + ε).
    #[cfg(feature = "flex")]
    pub(super) fn scale_and_shift(&self) -> (Vec<f32>, Vec<f32>) {
        let [mean, variance] =
            [&self.mean, &self.variance].map(|state| kernels::into_values(state.value().inner()));
        let scale: Vec<f32> =
            variance.iter().map(|variance| 1.0 / (variance + self.epsilon as f32).sqrt()).collect();
        let shift = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
        (scale, shift)
    }

    /// ε
    #[cfg(feature = "flex")]
    pub(super) fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Enters the moments of a batch of `n` rows.
    fn run_along(&self, n: usize, mean: Tensor<1>, variance: Tensor<1>) {
        let unbiased = n as f64 / (n as f64 - 1.0).max(1.0);
        run_along(&self.mean, mean);
        run_along(&self.variance, variance.mul_scalar(unbiased));
    }
}

/// Enters the value of a batch. A [`RunningState`] keeps a value for each thread until that thread asks for it; it is
/// asked for at once, as the next step may be another thread's.
fn run_along(state: &RunningState<Tensor<1>>, batch: Tensor<1>) {
    let before = state.value();
    state.update((before.mul_scalar(1.0 - MOMENTUM) + batch.mul_scalar(MOMENTUM)).detach());
    state.value_sync();
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    fn matrix(values: &[f32], d: usize, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / d, d]), device)
    }

    /// Mean and biased variance of column `j`.
    fn moments(x: &[f64], d: usize, j: usize) -> (f64, f64) {
        let column = || x.iter().skip(j).step_by(d);
        let n = column().count() as f64;
        let mean = column().sum::<f64>() / n;
        (mean, column().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn equals_its_float64_twin_in_training() {
        for (n, d) in [(2, 1), (7, 3), (33, 5)] {
            let inputs = [twin::normal(n * d, 1), twin::normal(d, 2), twin::normal(d, 3)];
            twin::check(
                &inputs,
                1e-4,
                |x| {
                    let statistics = BatchStatistics::new(d, 1e-5, &x[0].device());
                    let rows = x[0].clone().reshape([n, d]);
                    statistics.normalize(rows, x[1].clone(), x[2].clone(), true).reshape([n * d])
                },
                |x| {
                    let y = |i: usize| {
                        let (mean, variance) = moments(&x[0], d, i % d);
                        x[1][i % d] * (x[0][i] - mean) / (variance + 1e-5).sqrt() + x[2][i % d]
                    };
                    (0..n * d).map(y).collect()
                },
            );
        }
    }

    #[test]
    fn inference_uses_what_ran_along() {
        let device = Device::flex();
        let norm = BatchNorm::new(2, &device);
        let batches = [[1.0f32, 0.0, 3.0, 4.0], [0.0, 1.0, 2.0, -5.0]];
        let (mut mean, mut variance) = ([0.0; 2], [1.0; 2]);
        for batch in batches {
            norm.forward(matrix(&batch, 2, &device), true);
            for j in 0..2 {
                let (batch_mean, biased) = moments(&batch.map(f64::from), 2, j);
                mean[j] = 0.9 * mean[j] + 0.1 * batch_mean;
                variance[j] = 0.9 * variance[j] + 0.1 * 2.0 * biased;
            }
        }
        let x = [0.5f32, -1.5];
        let alone = read(norm.forward(matrix(&x, 2, &device), false)).unwrap();
        for j in 0..2 {
            let expected = (f64::from(x[j]) - mean[j]) / (variance[j] + 1e-5).sqrt();
            assert!((f64::from(alone[j]) - expected).abs() < 1e-6, "{} {expected}", alone[j]);
        }
        let together = matrix(&[x[0], x[1], 9.0, 9.0], 2, &device);
        assert_eq!(read(norm.forward(together, false)).unwrap()[..2], alone);
    }

    #[test]
    fn the_statistics_do_not_depend_on_the_thread_of_a_step() {
        let device = Device::flex().autodiff();
        let run = |threads: bool| {
            let norm = BatchNorm::new(3, &device);
            for step in 0..6 {
                let forward = || norm.forward(matrix(&twin::normal(12, step), 3, &device), true);
                if threads {
                    std::thread::scope(|scope| scope.spawn(forward).join().unwrap());
                } else {
                    forward();
                }
            }
            [read(norm.statistics.mean.value()).unwrap(), read(norm.statistics.variance.value()).unwrap()]
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let norm = BatchNorm::new(20, &device);
            let x = matrix(&twin::normal(3_000 * 20, 1), 20, &device).require_grad();
            let y = norm.forward(x.clone(), true);
            let gradients = y.clone().powi_scalar(3).sum().backward();
            let found = [y.inner(), x.grad(&gradients).unwrap()].map(|x| read(x).unwrap());
            [&found.concat()[..], &read(norm.statistics.variance.value()).unwrap()].concat()
        });
    }

    #[test]
    fn saved_weights_hold_the_statistics() {
        let device = Device::flex();
        let norm = BatchNorm::new(2, &device);
        norm.forward(matrix(&[1.0, 0.0, 3.0, 4.0], 2, &device), true);
        let bytes = norm.clone().into_record().into_bytes().unwrap();
        let record = burn::store::ModuleRecord::from_bytes(bytes).unwrap();
        let loaded = BatchNorm::new(2, &device).try_load_record(record).unwrap();
        let y = |norm: &BatchNorm| read(norm.forward(matrix(&[0.5, 2.0], 2, &device), false)).unwrap();
        assert_eq!(y(&loaded), y(&norm));
        assert_ne!(y(&loaded), y(&BatchNorm::new(2, &device)));
    }

    #[test]
    fn no_rows_change_nothing_and_one_row_is_beta() {
        let device = Device::flex();
        let norm = BatchNorm::new(2, &device);
        assert_eq!(norm.forward(Tensor::zeros([0, 2], &device), true).dims(), [0, 2]);
        assert_eq!(read(norm.statistics.variance.value()).unwrap(), [1.0; 2]);
        assert_eq!(read(norm.forward(matrix(&[3.0, -7.0], 2, &device), true)).unwrap(), [0.0; 2]);
    }
}
