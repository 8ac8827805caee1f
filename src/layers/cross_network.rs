use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_depth, check_size, check_weight};
use crate::kernels;
use crate::layers::linear::plus_row;
use crate::layers::{FieldVectors, Init, Linear};
use crate::rng::Rng;

/// How a [`CrossNetwork`] mixes a layer's input into the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cross {
    /// x_{l+1} = x₀ ⟨x_l, w_l⟩ + b_l + x_l (Wang et al. 2017, "Deep & Cross network for ad click predictions", eq. 3).
    Vector,
    /// x_{l+1} = x₀ ∘ (x_l W_l + b_l) + x_l (Wang et al. 2021, "DCN V2", eq. 1).
    Matrix,
    /// As [`Matrix`](Self::Matrix) with W_l = V_l U_lᵀ of this rank (eq. 2).
    LowRank {
        /// The rank r.
        rank: usize,
    },
}

/// Layers that multiply the input by a function of what was made of it so far: with l of them, interactions of up to
/// l + 1 fields.
#[derive(Module, Debug)]
pub struct CrossNetwork {
    /// w_l and b_l, each `[2, d]`.
    vectors: Vec<Param<Tensor<2>>>,
    /// V_l without a bias, each `[d, r]`.
    factors: Vec<Param<Tensor<2>>>,
    /// W_l, or U_lᵀ, and b_l.
    matrices: Vec<Linear>,
}

impl CrossNetwork {
    /// Fresh weights of `n_layers` layers over rows of width `d`.
    ///
    /// # Errors
    /// A rank outside 1 to 2²⁰.
    pub fn new(cross: Cross, n_layers: usize, d: usize, rng: &mut Rng, device: &Device) -> Result<Self> {
        check_depth("CrossNetwork::n_layers", n_layers)?;
        let (mut vectors, mut factors, mut matrices) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n_layers {
            match cross {
                Cross::Vector => {
                    let w = Init::Normal { std: (1.0 / d as f64).sqrt() }.param([1, d], rng, device).val();
                    vectors
                        .push(Param::from_tensor(Tensor::cat(vec![w.clone(), w.zeros_like()], 0).detach()));
                }
                Cross::Matrix => {
                    check_weight("CrossNetwork::d", [d, d])?;
                    matrices.push(Linear::new(d, d, rng, device));
                }
                Cross::LowRank { rank } => {
                    check_size("Cross::rank", rank)?;
                    check_weight("Cross::rank", [d, rank])?;
                    let init = Init::Uniform { bound: (6.0 / (d + rank) as f64).sqrt() };
                    factors.push(init.param([d, rank], rng, device));
                    matrices.push(Linear::new(rank, d, rng, device));
                }
            }
        }
        Ok(Self { vectors, factors, matrices })
    }

    /// The output of the last layer.
    ///
    /// # Shapes
    /// - x0: `[n, d]`
    /// - output: `[n, d]`
    pub fn forward(&self, x0: impl Into<FieldVectors>) -> Tensor<2> {
        let fields = x0.into();
        let x0 = fields.values();
        let mut x = x0.clone();
        for weights in &self.vectors {
            x = cross_vector(x0.clone(), x, weights.val());
        }
        for (factor, matrix) in self.factors.iter().zip(&self.matrices) {
            x = multiply_add(x0.clone(), matrix.forward(x.clone().matmul(factor.val())), x);
        }
        if self.factors.is_empty() { cross_matrices(fields, &self.matrices) } else { x }
    }

    /// ⟨x_L, w⟩, of the output x_L of the last layer, L of them, and weights w.
    ///
    /// The last matrix is then multiplied with x₀, whose products may be known, and not with x_{L−1}:
    /// ⟨x₀ ∘ (x W + b) + x, w⟩ = ⟨x, x₀ diag(w) Wᵀ + w⟩ + ⟨x₀, w ∘ b⟩.
    ///
    /// # Shapes
    /// - x0: `[n, d]`
    /// - w: `[d, 1]`
    /// - output: `[n, 1]`
    pub fn inner_products(&self, x0: impl Into<FieldVectors>, w: Tensor<2>) -> Tensor<2> {
        let fields = x0.into();
        let Some((last, others)) = self.matrices.split_last().filter(|_| self.factors.is_empty()) else {
            return self.forward(fields).matmul(w);
        };
        let (weight, bias) = (last.weight.val().transpose() * w.clone(), last.bias.val().unsqueeze_dim(1));
        let of_bias = fields.clone().multiply(w.clone() * bias, Tensor::zeros([1], &w.device()), None);
        let queries = fields.clone().multiply(weight, w.squeeze_dim(1), None);
        row_products(cross_matrices(fields, others), queries) + of_bias
    }
}

/// Layers with a matrix each.
fn cross_matrices(fields: FieldVectors, matrices: &[Linear]) -> Tensor<2> {
    let x0 = fields.values();
    let [first, rest @ ..] = matrices else { return x0 };
    let z0 = fields.linear(first, None);
    #[cfg(feature = "flex")]
    if kernels::fused(&x0) && x0.is_autodiff() && !rest.is_empty() {
        let of_all = |f: fn(&Linear) -> Tensor<2>| Tensor::cat(rest.iter().map(f).collect(), 0);
        let (w, b) = (of_all(|layer| layer.weight.val()), of_all(|layer| layer.bias.val().unsqueeze()));
        return kernels::apply_4(kernels::CrossMatrices, x0, z0, w, b);
    }
    let next = |x: Tensor<2>, matrix: &Linear| multiply_add(x0.clone(), matrix.forward(x.clone()), x);
    rest.iter().fold(multiply_add(x0.clone(), z0, x0.clone()), next)
}

/// x₀ ⟨x, w⟩ + b + x, with w and b as the rows of `wb`.
fn cross_vector(x0: Tensor<2>, x: Tensor<2>, wb: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x0) {
        return kernels::apply_3(kernels::CrossVector, x0, x, wb);
    }
    let (w, b) = (wb.clone().narrow(0, 0, 1), wb.narrow(0, 1, 1));
    plus_row(x0 * x.clone().matmul(w.transpose()) + x, b.squeeze_dim(0))
}

/// ⟨x, y⟩ for each row x and the row y at its place, `[n, 1]`.
fn row_products(x: Tensor<2>, y: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_2(kernels::RowProducts, x, y);
    }
    (x * y).sum_dim(1)
}

/// x₀ ∘ z + x.
fn multiply_add(x0: Tensor<2>, z: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x0) {
        return kernels::apply_3(kernels::MultiplyAdd, x0, z, x);
    }
    x0 * z + x
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin::{self, normal};

    #[test]
    fn equal_their_float64_twins() {
        for (n, d) in [(1, 1), (5, 7), (3, 33)] {
            let inputs = [normal(n * d, 1), normal(n * d, 2), normal(2 * d, 3)];
            let matrix = |x: &Tensor<1>, rows| x.clone().reshape([rows, d]);
            twin::check(
                &inputs,
                1e-5,
                |x| cross_vector(matrix(&x[0], n), matrix(&x[1], n), matrix(&x[2], 2)).reshape([n * d]),
                |x| {
                    let product = |row| (0..d).map(|j| x[1][row * d + j] * x[2][j]).sum::<f64>();
                    (0..n * d).map(|i| x[0][i] * product(i / d) + x[2][d + i % d] + x[1][i]).collect()
                },
            );
            twin::check(
                &[normal(n * d, 1), normal(n * d, 2)],
                1e-5,
                |x| row_products(matrix(&x[0], n), matrix(&x[1], n)).reshape([n]),
                |x| (0..n).map(|row| (0..d).map(|j| x[0][row * d + j] * x[1][row * d + j]).sum()).collect(),
            );
            let inputs = [normal(n * d, 1), normal(n * d, 2), normal(n * d, 3)];
            twin::check(
                &inputs,
                1e-6,
                |x| multiply_add(matrix(&x[0], n), matrix(&x[1], n), matrix(&x[2], n)).reshape([n * d]),
                |x| (0..n * d).map(|i| x[0][i] * x[1][i] + x[2][i]).collect(),
            );
        }
    }

    #[test]
    fn matrices_in_one_kernel_are_layer_after_layer() {
        let device = Device::flex().autodiff();
        for (n, d, n_layers) in [(1, 1, 1), (5, 7, 2), (300, 20, 3), (0, 4, 2)] {
            let network = CrossNetwork::new(Cross::Matrix, n_layers, d, &mut Rng::new(1), &device).unwrap();
            let run = || {
                let x = burn::tensor::TensorData::new(normal(n * d, 1), [n, d]);
                let x = Tensor::<2>::from_data(x, &device).require_grad();
                let y = network.forward(x.clone());
                let gradients = y.clone().square().sum().backward();
                let of_weights = network.matrices.iter().flat_map(|layer| {
                    [
                        layer.weight.val().grad(&gradients).unwrap().flatten::<1>(0, 1),
                        layer.bias.val().grad(&gradients).unwrap(),
                    ]
                });
                let mut all = vec![y.inner().flatten::<1>(0, 1), x.grad(&gradients).unwrap().flatten(0, 1)];
                all.extend(of_weights);
                all.into_iter().map(|x| crate::layers::read(x).unwrap()).collect::<Vec<_>>()
            };
            for (fused, composed) in run().iter().zip(kernels::composed(run)) {
                assert_eq!(fused.len(), composed.len());
                let largest = composed.iter().fold(1.0f32, |largest, y| largest.max(y.abs()));
                let distance = fused.iter().zip(&composed).fold(0.0f32, |d, (x, y)| d.max((x - y).abs()));
                assert!(distance <= 1e-5 * largest, "{n} {d} {n_layers}: {distance} of {largest}");
            }
        }
    }

    #[test]
    fn inner_products_are_those_of_the_output() {
        let device = Device::flex().autodiff();
        let (n, d) = (30, 7);
        let leaf = |shape: [usize; 2], seed| {
            let numbers = normal(shape[0] * shape[1], seed);
            Tensor::<2>::from_data(burn::tensor::TensorData::new(numbers, shape), &device).require_grad()
        };
        for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 3 }] {
            for n_layers in 0..4 {
                let mut network = CrossNetwork::new(cross, n_layers, d, &mut Rng::new(1), &device).unwrap();
                for matrix in &mut network.matrices {
                    matrix.bias = Init::Normal { std: 1.0 }.param([d], &mut Rng::new(2), &device);
                }
                let run = |products: fn(&CrossNetwork, Tensor<2>, Tensor<2>) -> Tensor<2>| {
                    let (x, w) = (leaf([n, d], 3), leaf([d, 1], 4));
                    let y = products(&network, x.clone(), w.clone());
                    let gradients = y.clone().square().sum().backward();
                    let of_matrices = network.matrices.iter().map(|layer| layer.weight.val());
                    let mut all: Vec<_> = of_matrices.chain([x, w]).collect();
                    all.iter_mut()
                        .for_each(|leaf| *leaf = Tensor::from_inner(leaf.grad(&gradients).unwrap()));
                    all.push(y);
                    all.into_iter().flat_map(|x| crate::layers::read(x.inner()).unwrap()).collect::<Vec<_>>()
                };
                let found = run(|network, x, w| network.inner_products(x, w));
                let expected = run(|network, x, w| network.forward(x).matmul(w));
                assert_eq!(found.len(), expected.len());
                let scale = expected.iter().fold(1.0f32, |max, x| max.max(x.abs()));
                let distance = found.iter().zip(&expected).fold(0.0f32, |d, (x, y)| d.max((x - y).abs()));
                assert!(distance < 1e-5 * scale, "{cross:?} {n_layers}: {distance} of {scale}");
            }
        }
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 3 }] {
            twin::is_deterministic(|| {
                let device = Device::flex().autodiff();
                let network = CrossNetwork::new(cross, 2, 20, &mut Rng::new(1), &device).unwrap();
                let x = burn::tensor::TensorData::new(normal(3_000 * 20, 1), [3_000, 20]);
                let x = Tensor::<2>::from_data(x, &device).require_grad();
                let y = network.forward(x.clone());
                let gradient = x.grad(&y.clone().square().sum().backward()).unwrap();
                [y.into_data(), gradient.into_data()].iter().flat_map(|data| data.iter::<f32>()).collect()
            });
        }
    }

    #[test]
    fn a_rank_of_zero_is_refused() {
        let low_rank = Cross::LowRank { rank: 0 };
        assert!(CrossNetwork::new(low_rank, 1, 4, &mut Rng::new(1), &Device::flex()).is_err());
    }
}
