use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::kernels;
use crate::layers::Init;
use crate::rng::Rng;

/// y = γ (x − μ) / √(σ² + ε) + β, with μ and σ² the mean and the (biased) variance over the last dimension
/// (Ba, Kiros & Hinton 2016, "Layer normalization", eqs. 3–4).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// γ, `[d]`, fresh 1.
    gamma: Param<Tensor<1>>,
    /// β, `[d]`, fresh 0.
    beta: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// γ = 1, β = 0 and ε = 10⁻⁵, for rows of width `d`.
    pub fn new(d: usize, device: &Device) -> Self {
        let constant = |value| Init::Constant(value).param([d], &mut Rng::new(0), device);
        Self { gamma: constant(1.0), beta: constant(0.0), epsilon: 1e-5 }
    }

    /// Sets ε, which is added to the variance inside the root.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Every row normalised.
    ///
    /// # Shapes
    /// - x: `[…, d]`
    /// - output: `[…, d]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.gamma.val(), self.beta.val(), self.epsilon)
    }
}

/// [`LayerNorm`] with these γ, β `[d]` and ε.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_3(kernels::LayerNorm { epsilon }, x, gamma, beta);
    }
    let (shape, d) = (x.dims(), gamma.dims()[0]);
    let n = shape[..D - 1].iter().product();
    let x = x.reshape([n, d]);
    let centered = x.clone().sub(x.mean_dim(1));
    let deviation = centered.clone().square().mean_dim(1).add_scalar(epsilon).sqrt();
    let [gamma, beta] = [gamma, beta].map(|row| kernels::repeat_row(row, n));
    centered.div(deviation).mul(gamma).add(beta).reshape(shape)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::layers::read;

    #[test]
    fn epsilon_is_added_to_the_variance() {
        let device = Device::flex();
        let x = || Tensor::<3>::from_data(TensorData::new(vec![1.0f32, -1.0, 3.0, 1.0], [2, 1, 2]), &device);
        // Both rows have deviations ±1 from their means and variance 1: ±1 / √(1 + 3).
        let run = || read(LayerNorm::new(2, &device).with_epsilon(3.0).forward(x())).unwrap();
        assert_eq!(run(), [0.5, -0.5, 0.5, -0.5]);
        assert_eq!(kernels::composed(run), [0.5, -0.5, 0.5, -0.5]);
    }
}
