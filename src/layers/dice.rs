use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};

use crate::kernels;
use crate::layers::Init;
use crate::layers::batch_norm::BatchStatistics;
use crate::rng::Rng;

/// An activation that bends where the data are (Zhou et al. 2018, "Deep interest network for click-through rate
/// prediction", eq. 9):
///
/// f(s) = p(s) s + (1 − p(s)) α s,  p(s) = σ((s − E s) / √(Var s + ε))
///
/// with a learned α for each feature, and the mean and variance of [`BatchNorm`](super::BatchNorm): those of the batch in
/// training, those that ran along in inference.
#[derive(Module, Debug)]
pub struct Dice {
    /// α, `[d]`, fresh 0.
    alpha: Param<Tensor<1>>,
    statistics: BatchStatistics,
}

impl Dice {
    /// α = 0 and ε = 10⁻⁸, for rows of width `d`.
    pub fn new(d: usize, device: &Device) -> Self {
        Self {
            alpha: Init::Constant(0.0).param([d], &mut Rng::new(0), device),
            statistics: BatchStatistics::new(d, 1e-8, device),
        }
    }

    /// f of every number; `in_training` as of [`BatchNorm::forward`](super::BatchNorm::forward).
    ///
    /// # Shapes
    /// - x: s, `[n, d]`
    /// - output: `[n, d]`
    pub fn forward(&self, x: Tensor<2>, in_training: bool) -> Tensor<2> {
        dice(x, self.alpha.val(), &self.statistics, in_training)
    }

    /// What [`forward`](Self::forward) does in inference, in numbers.
    #[cfg(feature = "flex")]
    pub(super) fn in_inference(&self) -> kernels::Nonlinearity {
        let alpha = kernels::into_values(self.alpha.val().inner());
        let (scale, shift) = self.statistics.scale_and_shift();
        kernels::Nonlinearity::Dice { alpha, scale, shift }
    }
}

/// [`Dice`] with this α: s (α + (1 − α) p(s)).
fn dice(x: Tensor<2>, alpha: Tensor<1>, statistics: &BatchStatistics, in_training: bool) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if in_training && kernels::fused(&x) && x.dims()[0] > 0 {
        let (moments, epsilon) = (statistics.observe(&x), statistics.epsilon());
        return kernels::apply_2(kernels::Dice { moments, epsilon }, x, alpha);
    }
    let (gamma, beta) = (alpha.ones_like(), alpha.zeros_like());
    let p = activation::sigmoid(statistics.normalize(x.clone(), gamma, beta, in_training));
    let rest = alpha.clone().neg().add_scalar(1.0);
    let [rest, alpha] = [rest, alpha].map(|row| kernels::repeat_row(row, x.dims()[0]));
    x * (p * rest + alpha)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    fn exact(s: f64, mean: f64, variance: f64, alpha: f64) -> f64 {
        let p = 1.0 / (1.0 + (-(s - mean) / (variance + 1e-8).sqrt()).exp());
        p * s + (1.0 - p) * alpha * s
    }

    #[test]
    fn equals_its_float64_twin_in_training() {
        let (n, d) = (9, 4);
        twin::check(
            &[twin::normal(n * d, 1), twin::normal(d, 2)],
            1e-4,
            |x| {
                let statistics = BatchStatistics::new(d, 1e-8, &x[0].device());
                dice(x[0].clone().reshape([n, d]), x[1].clone(), &statistics, true).reshape([n * d])
            },
            |x| {
                let y = |i: usize| {
                    let column = || x[0].iter().skip(i % d).step_by(d);
                    let mean = column().sum::<f64>() / n as f64;
                    let variance = column().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
                    exact(x[0][i], mean, variance, x[1][i % d])
                };
                (0..n * d).map(y).collect()
            },
        );
    }

    #[test]
    fn its_numbers_in_inference_are_those_of_its_forward() {
        let (n, d) = (9, 4);
        let device = Device::flex();
        let input = |seed| Tensor::<1>::from_floats(&twin::normal(n * d, seed)[..], &device).reshape([n, d]);
        let layer = Dice {
            alpha: Param::from_tensor(Tensor::from_floats([0.0, 0.3, -0.5, 1.0], &device)),
            statistics: BatchStatistics::new(d, 1e-8, &device),
        };
        layer.forward(input(1).add_scalar(2.0), true);
        let kernels::Nonlinearity::Dice { alpha, scale, shift } = layer.in_inference() else {
            panic!("Dice is not plain")
        };
        let s = read(input(2)).unwrap();
        for (i, found) in read(layer.forward(input(2), false)).unwrap().into_iter().enumerate() {
            let (s, unit) = (s[i], i % d);
            let p = 1.0 / (1.0 + (-s * scale[unit] - shift[unit]).exp());
            assert!((found - s * (alpha[unit] + (1.0 - alpha[unit]) * p)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_fresh_one_bends_at_zero_in_inference() {
        let device = Device::flex();
        let x = [-3.0f32, -0.5, 0.0, 2.0];
        let input = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [2, 2]), &device);
        let found = read(Dice::new(2, &device).forward(input, false)).unwrap();
        for (found, s) in found.iter().zip(x) {
            assert!((f64::from(*found) - exact(s.into(), 0.0, 1.0, 0.0)).abs() < 1e-6);
        }
    }
}
