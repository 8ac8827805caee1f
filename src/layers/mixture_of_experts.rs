use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

use crate::layers::{Activation, FieldVectors, Linear};
use crate::rng::Rng;

/// Experts over one input, and gates that each mix them in another way (Ma et al. 2018, "Modeling task relationships in
/// multi-task learning with multi-gate mixture-of-experts", eqs. 5–6):
///
/// f^k(x) = Σ_i g^k(x)_i f_i(x),  g^k(x) = softmax(W_gk x),  f_i(x) = ReLU(W_i x + b_i)
///
/// All experts are one linear layer, and so are all gates.
#[derive(Module, Debug)]
pub struct MixtureOfExperts {
    /// W_i and b_i, `[d_input, n_experts · d_expert]`
    experts: Linear,
    /// W_gk, `[d_input, n_gates · n_experts]`, and a bias
    gates: Linear,
    #[module(skip)]
    n_experts: usize,
}

impl MixtureOfExperts {
    /// Fresh weights of `n_experts` experts of width `d_expert` and `n_gates` gates, over inputs of width `d_input`.
    pub fn new(
        d_input: usize,
        n_experts: usize,
        d_expert: usize,
        n_gates: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Self {
            experts: Linear::grouped(d_input, n_experts, d_expert, rng, device),
            gates: Linear::grouped(d_input, n_gates, n_experts, rng, device),
            n_experts,
        }
    }

    /// What each gate makes of each row.
    ///
    /// # Shapes
    /// - x: `[n, d_input]`
    /// - output: `[n, n_gates, d_expert]`
    pub fn forward(&self, x: impl Into<FieldVectors>) -> Tensor<3> {
        let x = x.into();
        let experts = x.clone().linear(&self.experts, Some(Activation::Relu));
        let [n, width] = experts.dims();
        let experts = experts.reshape([n, self.n_experts, width / self.n_experts]);
        mix_experts(x.linear(&self.gates, None), experts)
    }
}

/// Σ_i softmax(z_k)_i f_i for every gate k.
///
/// # Shapes
/// - gates: the logits z, `[n, n_gates · n_experts]`
/// - experts: f, `[n, n_experts, d_expert]`
/// - output: `[n, n_gates, d_expert]`
pub fn mix_experts(gates: Tensor<2>, experts: Tensor<3>) -> Tensor<3> {
    let ([n, width], [_, n_experts, _]) = (gates.dims(), experts.dims());
    let gates = gates.reshape([n, width / n_experts, n_experts]);
    activation::softmax(gates, 2).matmul(experts)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin::{self, normal};
    use crate::layers::read;

    #[test]
    fn equals_its_float64_twin() {
        for (n, n_gates, n_experts, d) in [(1, 1, 1, 1), (4, 2, 3, 5), (3, 3, 2, 17)] {
            twin::check(
                &[normal(n * n_gates * n_experts, 1), normal(n * n_experts * d, 2)],
                1e-5,
                |x| {
                    let gates = x[0].clone().reshape([n, n_gates * n_experts]);
                    let experts = x[1].clone().reshape([n, n_experts, d]);
                    mix_experts(gates, experts).reshape([n * n_gates * d])
                },
                |x| {
                    let y = |i: usize| {
                        let (row, gate, j) = (i / (n_gates * d), i / d % n_gates, i % d);
                        let logits = &x[0][(row * n_gates + gate) * n_experts..][..n_experts];
                        let total: f64 = logits.iter().map(|z| z.exp()).sum();
                        let term =
                            |(e, z): (usize, &f64)| z.exp() / total * x[1][(row * n_experts + e) * d + j];
                        logits.iter().enumerate().map(term).sum()
                    };
                    (0..n * n_gates * d).map(y).collect()
                },
            );
        }
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let layer = MixtureOfExperts::new(9, 4, 16, 2, &mut Rng::new(1), &device);
            let x = burn::tensor::TensorData::new(normal(3_000 * 9, 1), [3_000, 9]);
            let x = Tensor::<2>::from_data(x, &device).require_grad();
            let y = layer.forward(x.clone());
            let gradient = x.grad(&y.clone().square().sum().backward()).unwrap();
            [read(y.inner()).unwrap(), read(gradient).unwrap()].concat()
        });
    }

    #[test]
    fn experts_and_gates_lie_one_behind_another() {
        let device = Device::flex();
        let layer = MixtureOfExperts::new(3, 2, 4, 2, &mut Rng::new(1), &device);
        let x = Tensor::<2>::from_floats([[0.5, -1.0, 2.0]], &device);
        let experts = read(layer.experts.forward_activated(x.clone(), Activation::Relu)).unwrap();
        let gates = read(layer.gates.forward(x.clone())).unwrap();
        let found = read(layer.forward(x)).unwrap();
        for gate in 0..2 {
            let [a, b] = [0, 1].map(|expert| gates[gate * 2 + expert].exp());
            for j in 0..4 {
                let expected = (a * experts[j] + b * experts[4 + j]) / (a + b);
                assert!((found[gate * 4 + j] - expected).abs() < 1e-6);
            }
        }
    }
}
