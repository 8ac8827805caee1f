use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamState, AdamWState};
use burn::tensor::{Device, Tensor};

use super::AdamConfig;
#[cfg(feature = "flex")]
use crate::kernels;

/// Burn's Adam and AdamW, in one pass over memory on Flex; equal to the bit, with the same saved state.
#[derive(Clone)]
pub(super) struct Adam {
    burn: Burn,
    #[cfg(feature = "flex")]
    kernel: kernels::Adam,
}

#[derive(Clone)]
enum Burn {
    Adam(burn::optim::Adam),
    AdamW(burn::optim::AdamW),
}

impl Adam {
    pub(super) fn new(config: AdamConfig, decoupled: bool) -> Self {
        let AdamConfig { beta_1, beta_2, epsilon, weight_decay } = config;
        let burn = if decoupled {
            let adam = burn::optim::AdamWConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
            Burn::AdamW(adam.with_epsilon(epsilon).with_weight_decay(weight_decay).build())
        } else {
            let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay));
            let adam = burn::optim::AdamConfig::new().with_beta_1(beta_1).with_beta_2(beta_2);
            Burn::Adam(adam.with_epsilon(epsilon).with_weight_decay(decay).build())
        };
        Self {
            burn,
            #[cfg(feature = "flex")]
            kernel: kernels::Adam { beta_1, beta_2, epsilon, weight_decay, decoupled },
        }
    }

    /// The same rule as a kernel.
    #[cfg(feature = "flex")]
    pub(super) fn kernel(&self) -> kernels::Adam {
        self.kernel
    }
}

impl burn::optim::Optimizer for Adam {
    /// AdamW's state has the same parts under the same names.
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        #[cfg(feature = "flex")]
        if kernels::fused(&tensor) {
            let (tensor, state) = fused_step(self.kernel, learning_rate, tensor, grad, state);
            return (tensor, Some(state));
        }
        match &self.burn {
            Burn::Adam(adam) => adam.step(learning_rate, tensor, grad, state),
            Burn::AdamW(adam) => {
                let state = state.map(|state| AdamWState::new(state.momentum));
                let (tensor, state) = adam.step(learning_rate, tensor, grad, state);
                (tensor, state.map(|state| AdamState::new(state.momentum)))
            }
        }
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        burn::optim::Adam::to_device(state, device)
    }
}

#[cfg(feature = "flex")]
fn fused_step<const D: usize>(
    adam: kernels::Adam,
    learning_rate: f64,
    tensor: Tensor<D>,
    grad: Tensor<D>,
    state: Option<AdamState<D>>,
) -> (Tensor<D>, AdamState<D>) {
    use burn::optim::AdaptiveMomentumState;

    let (time, first, second) = match state {
        Some(AdamState { momentum }) => (momentum.time, momentum.moment_1, momentum.moment_2),
        None => {
            let start = || Tensor::full(tensor.shape(), kernels::Adam::NO_MOMENT, &tensor.device());
            (0, start(), start())
        }
    };
    let time = time + 1;
    let step = adam.step(learning_rate, time);
    let grad = kernels::into_values(grad);
    let [tensor, first, second] =
        kernels::in_place([tensor, first, second], |weights| step.apply(weights, &grad));
    kernels::recycle(grad);
    (tensor, AdamState::new(AdaptiveMomentumState::new(time, first, second)))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::optim::Optimizer as _;
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::{composed, twin};

    /// Weights and moments, as bits, after steps with gradients of all magnitudes and signs, zeros of both
    /// signs among them.
    fn steps(config: AdamConfig, decoupled: bool, n: usize) -> Vec<Vec<u32>> {
        let device = Device::flex();
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [n]), &device);
        let bits = |x: Tensor<1>| x.into_data().iter::<f32>().map(f32::to_bits).collect::<Vec<_>>();
        let adam = Adam::new(config, decoupled);
        let (mut weights, mut state) = (tensor(twin::normal(n, 1)), None);
        let mut seen = Vec::new();
        for step in 0..5 {
            let mut grads = twin::normal(n, 10 + step);
            for (i, g) in grads.iter_mut().enumerate() {
                *g *= [1.0, 1e-9, 0.0, 1e6, -0.0][(i + step as usize / 2) % 5];
            }
            (weights, state) = adam.step(0.01 / (1.0 + step as f64), weights, tensor(grads), state);
            let moments = state.clone().unwrap().momentum;
            assert_eq!(moments.time, step as usize + 1);
            seen.extend([bits(weights.clone()), bits(moments.moment_1), bits(moments.moment_2)]);
        }
        seen
    }

    #[test]
    fn equals_burn_to_the_bit() {
        let n = 100_003;
        for weight_decay in [0.0, 0.1] {
            let config = AdamConfig { weight_decay, ..AdamConfig::default() };
            for decoupled in [false, true] {
                let run = || steps(config, decoupled, n);
                assert!(run() == composed(run), "decay {weight_decay}, decoupled {decoupled}");
            }
        }
    }

    #[test]
    fn weights_and_moments_stay_where_they_are() {
        let device = Device::flex();
        let values = vec![1.0f32; 20_000];
        let address = values.as_ptr();
        let grad = || Tensor::<1>::ones([20_000], &device);
        let adam = Adam::new(AdamConfig::default(), false);
        let weights = Tensor::<1>::from_data(TensorData::new(values, [20_000]), &device);
        let (weights, state) = adam.step(0.1, weights, grad(), None);
        let (weights, _) = adam.step(0.1, weights, grad(), state);
        let weights = kernels::into_values(weights);
        assert_eq!(weights.as_ptr(), address);
    }
}
