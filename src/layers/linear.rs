use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::kernels;
use crate::layers::{Activation, Init};
use crate::rng::Rng;

/// A linear layer y = x W + b, alone or with the activation behind it.
#[derive(Module, Debug)]
pub struct Linear {
    /// W, `[d_input, d_output]`
    pub weight: Param<Tensor<2>>,
    /// b, `[d_output]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Fresh weights: W ~ U(−√(6 / (d_input + d_output)), √(…)) (Glorot & Bengio 2010, eq. 16) and b = 0.
    pub fn new(d_input: usize, d_output: usize, rng: &mut Rng, device: &Device) -> Self {
        Self::grouped(d_input, 1, d_output, rng, device)
    }

    /// `n_groups` layers of the same input as one, their outputs one behind another; each is drawn as by
    /// [`new`](Self::new).
    pub fn grouped(d_input: usize, n_groups: usize, d_output: usize, rng: &mut Rng, device: &Device) -> Self {
        let bound = (6.0 / (d_input + d_output) as f64).sqrt();
        Self {
            weight: Init::Uniform { bound }.param([d_input, n_groups * d_output], rng, device),
            bias: Init::Constant(0.0).param([n_groups * d_output], rng, device),
        }
    }

    /// x W + b.
    ///
    /// # Shapes
    /// - x: `[…, d_input]`
    /// - output: `[…, d_output]`
    ///
    /// # Panics
    /// If the rows of `x` have another width.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.val(), None)
    }

    /// x W' + b for rows x that are some of the columns of the input, from `first` on; W' are the rows of W that meet them.
    ///
    /// # Shapes
    /// - x: `[n, d]` with first + d ≤ d_input
    /// - output: `[n, d_output]`
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn forward_columns(&self, first: usize, x: Tensor<2>) -> Tensor<2> {
        let [_, d] = x.dims();
        linear(x, self.weight.val().narrow(0, first, d), self.bias.val(), None)
    }

    /// a(x W + b), with the activation a.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_activated<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.val(), Some(activation))
    }
}

/// [`Linear`] with these weights.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    activation: Option<Activation>,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_3(kernels::Linear(activation), x, weight, bias);
    }
    let mut shape = x.dims();
    let (n, [d_input, d_output]) = (shape[..D - 1].iter().product::<usize>(), weight.dims());
    shape[D - 1] = d_output;
    let y = plus_row(kernels::rows_times(x.reshape([n, d_input]), weight), bias).reshape(shape);
    match activation {
        Some(activation) => activation.forward(y),
        None => y,
    }
}

/// `x` with a row added to each of its rows.
pub(super) fn plus_row(x: Tensor<2>, row: Tensor<1>) -> Tensor<2> {
    let [n, _] = x.dims();
    x + kernels::repeat_row(row, n)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::twin::{self, gelu, is_deterministic, normal};

    const ACTIVATIONS: [Option<Activation>; 3] = [None, Some(Activation::Relu), Some(Activation::Gelu)];

    #[test]
    fn equals_its_float64_twin() {
        for (n, d_input, d_output) in [(1, 1, 1), (3, 7, 5), (2, 33, 18), (5, 8, 64)] {
            let inputs = [normal(n * d_input, 1), normal(d_input * d_output, 2), normal(d_output, 3)];
            for activation in ACTIVATIONS {
                twin::check(
                    &inputs,
                    2e-6,
                    |inputs| {
                        let x = inputs[0].clone().reshape([n, 1, d_input]);
                        let w = inputs[1].clone().reshape([d_input, d_output]);
                        linear(x, w, inputs[2].clone(), activation).reshape([n * d_output])
                    },
                    |inputs| {
                        let output = |at: usize| {
                            let (row, column) = (at / d_output, at % d_output);
                            let products = (0..d_input)
                                .map(|i| inputs[0][row * d_input + i] * inputs[1][i * d_output + column]);
                            let y = products.sum::<f64>() + inputs[2][column];
                            match activation {
                                None => y,
                                Some(Activation::Relu) => y.max(0.0),
                                Some(Activation::Gelu) => gelu(y),
                            }
                        };
                        (0..n * d_output).map(output).collect()
                    },
                );
            }
        }
    }

    #[test]
    fn some_columns_alone_are_all_with_zeros_for_the_others() {
        let device = Device::flex();
        let layer = Linear::new(5, 3, &mut Rng::new(1), &device);
        let x = Tensor::<2>::from_data(TensorData::new(normal(8, 2), [4, 2]), &device);
        let found = layer.forward_columns(1, x.clone());
        let zeros = |width| Tensor::zeros([4, width], &device);
        let expected = layer.forward(Tensor::cat(vec![zeros(1), x, zeros(2)], 1));
        let [found, expected] = [found, expected].map(|y| crate::layers::read(y).unwrap());
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }

    /// The gradients of x, W and b over several parts, only as many as `tracked` asks for.
    fn gradients(n: usize, activation: Option<Activation>, tracked: [bool; 3]) -> [Option<Vec<f32>>; 3] {
        let (d_input, d_output) = (9, 20);
        let device = Device::flex().autodiff();
        let leaf = |n: usize, seed, tracked| {
            let x = Tensor::<1>::from_data(TensorData::new(normal(n, seed), [n]), &device);
            if tracked { x.require_grad() } else { x }
        };
        let x = leaf(n * d_input, 1, tracked[0]);
        let w = leaf(d_input * d_output, 2, tracked[1]);
        let b = leaf(d_output, 3, tracked[2]);
        let y = linear(
            x.clone().reshape([n, d_input]),
            w.clone().reshape([d_input, d_output]),
            b.clone(),
            activation,
        );
        let found = (y.clone() * y).sum().backward();
        [x, w, b].map(|input| input.grad(&found).map(|grad| grad.try_into_vec_as().unwrap()))
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        for activation in ACTIVATIONS {
            is_deterministic(|| {
                gradients(2_500, activation, [true; 3]).into_iter().flatten().flatten().collect()
            });
        }
    }

    #[test]
    fn many_rows_equal_the_composed_operation() {
        for activation in ACTIVATIONS {
            let run = || gradients(2_500, activation, [true; 3]).map(Option::unwrap);
            let expected = kernels::composed(run);
            for (found, expected) in run().iter().zip(&expected) {
                let scale = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5 * scale, "{found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_gradient_that_is_not_needed_changes_no_other() {
        let all = gradients(300, Some(Activation::Gelu), [true; 3]);
        for only in 0..3 {
            let tracked = [0, 1, 2].map(|input| input == only);
            let found = gradients(300, Some(Activation::Gelu), tracked);
            for input in 0..3 {
                assert_eq!(found[input], if input == only { all[input].clone() } else { None });
            }
        }
    }

    #[test]
    fn a_strided_input_is_read_in_its_order() {
        let layer = Linear::new(9, 20, &mut Rng::new(1), &Device::flex());
        let x = TensorData::new(normal(300 * 9, 2), [9, 300]);
        let strided = Tensor::<2>::from_data(x, &Device::flex()).transpose();
        let contiguous = Tensor::<2>::from_data(strided.clone().into_data(), &Device::flex());
        assert_eq!(layer.forward(strided).into_data(), layer.forward(contiguous).into_data());

        let wide = TensorData::new(normal(300 * 11, 3), [300, 11]);
        let columns = Tensor::<2>::from_data(wide, &Device::flex()).narrow(1, 2, 9).narrow(0, 7, 200);
        let contiguous = Tensor::<2>::from_data(columns.clone().into_data(), &Device::flex());
        assert_eq!(layer.forward(columns).into_data(), layer.forward(contiguous).into_data());
    }

    #[test]
    fn no_rows_give_no_output_and_zero_gradients() {
        let [x, w, b] = gradients(0, Some(Activation::Relu), [true; 3]).map(Option::unwrap);
        assert!(x.is_empty() && w.len() == 180 && b.len() == 20);
        assert!(w.iter().chain(&b).all(|&x| x == 0.0));
    }
}
