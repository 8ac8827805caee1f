use burn::module::Module;
use burn::tensor::{Device, Tensor, activation, module};

use crate::kernels;
use crate::layers::{Init, Linear, RecurrentCell, SequenceLayout, id_tensor};
use crate::rng::Rng;

/// A recurrent layer over sequences: a state that every item changes, 0 before the first
/// ([`RecurrentCell`]).
///
/// The weights are those of PyTorch's `GRU` and `LSTM` of one layer, transposed: `input.weight` is the transpose
/// of `weight_ih_l0`, `input.bias` is `bias_ih_l0`, `state.weight` the transpose of `weight_hh_l0`, and
/// `state.bias` is `bias_hh_l0`; the gates stand in the same order.
#[derive(Module, Debug)]
pub struct Recurrent {
    /// `[d_input, n_gates · d_state]`
    input: Linear,
    /// `[d_state, n_gates · d_state]`
    state: Linear,
    #[module(skip)]
    cell: RecurrentCell,
}

impl Recurrent {
    /// Fresh weights and biases from U(−1/√d_state, 1/√d_state), as PyTorch draws them.
    pub fn new(cell: RecurrentCell, d_input: usize, d_state: usize, rng: &mut Rng, device: &Device) -> Self {
        let init = Init::Uniform { bound: (1.0 / d_state as f64).sqrt() };
        let width = cell.n_gates() * d_state;
        let mut linear = |d: usize| Linear {
            weight: init.param([d, width], rng, device),
            bias: init.param([width], rng, device),
        };
        Self { input: linear(d_input), state: linear(d_state), cell }
    }

    /// The width of the state.
    pub fn d_state(&self) -> usize {
        self.state.weight.shape().dims::<2>()[0]
    }

    /// The state after every item.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d_input]`
    /// - output: `[layout.n_rows(), d_state]`
    ///
    /// # Panics
    /// If `x` has another shape.
    pub fn forward(&self, x: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
        let gates = self.input.forward(x);
        recurrence(gates, self.state.weight.val(), self.state.bias.val(), self.cell, layout)
    }
}

/// The state after every item, from the linear maps x̂ of all inputs and the map ĥ = h W + b of the state
/// ([`RecurrentCell`]).
///
/// # Shapes
/// - gates: x̂, `[layout.n_rows(), n_gates · d]`
/// - weight: W, `[d, n_gates · d]`
/// - bias: b, `[n_gates · d]`
/// - output: `[layout.n_rows(), d]`
///
/// # Panics
/// If the shapes do not fit each other.
pub fn recurrence(
    gates: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    cell: RecurrentCell,
    layout: &SequenceLayout,
) -> Tensor<2> {
    let ([n, width], [d, _]) = (gates.dims(), weight.dims());
    assert_eq!(n, layout.n_rows(), "a row for each item");
    assert_eq!(width, cell.n_gates() * d, "the gates of a state of {d}");
    #[cfg(feature = "flex")]
    if kernels::fused(&gates) {
        return kernels::apply_3(kernels::Recurrence { cell, layout: layout.clone() }, gates, weight, bias);
    }
    composed(gates, weight, bias, cell, layout)
}

/// All sequences side by side, a step for each item of the longest.
fn composed(
    gates: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    cell: RecurrentCell,
    layout: &SequenceLayout,
) -> Tensor<2> {
    let ([n, width], [d, _], device) = (gates.dims(), weight.dims(), gates.device());
    if n == 0 {
        return gates.reshape([0, d]);
    }
    let (b, len) = (layout.n_sequences(), layout.max_len());
    // The slots behind a sequence hold whatever rows follow it: no state before sees them.
    let slots = (0..len).flat_map(|t| layout.iter().map(move |rows| (rows.start + t).min(n - 1) as u32));
    let padded = kernels::select_rows(gates, id_tensor(&slots.collect::<Vec<_>>(), &device));
    let mut state = [Tensor::zeros([b, d], &device), Tensor::zeros([b, d], &device)];
    let mut states = Vec::with_capacity(len);
    for t in 0..len {
        let input = padded.clone().slice([t * b..(t + 1) * b, 0..width]);
        state = step(cell, input, state, weight.clone(), bias.clone());
        states.push(state[0].clone());
    }
    let filled =
        layout.iter().enumerate().flat_map(|(i, rows)| (0..rows.len()).map(move |t| (t * b + i) as u32));
    kernels::select_rows(Tensor::cat(states, 0), id_tensor(&filled.collect::<Vec<_>>(), &device))
}

/// The next state h and, of an LSTM, the next c.
fn step(
    cell: RecurrentCell,
    input: Tensor<2>,
    [h, c]: [Tensor<2>; 2],
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> [Tensor<2>; 2] {
    let [b, d] = h.dims();
    let hidden = module::linear(h.clone(), weight, Some(bias));
    let gate = |of: &Tensor<2>, gate: usize| of.clone().slice([0..b, gate * d..(gate + 1) * d]);
    match cell {
        RecurrentCell::Gru => {
            let both = |k| activation::sigmoid(gate(&input, k) + gate(&hidden, k));
            let (r, z) = (both(0), both(1));
            let candidate = (gate(&input, 2) + r * gate(&hidden, 2)).tanh();
            [candidate.clone() + z * (h - candidate), c]
        }
        RecurrentCell::Lstm => {
            let sum = input + hidden;
            let [i, f, o] = [0, 1, 3].map(|k| activation::sigmoid(gate(&sum, k)));
            let c = f * c + i * gate(&sum, 2).tanh();
            [o * c.clone().tanh(), c]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    const CELLS: [RecurrentCell; 2] = [RecurrentCell::Gru, RecurrentCell::Lstm];

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// The states of sequences of these lengths, one after the other.
    fn exact(cell: RecurrentCell, lengths: &[usize], d: usize, x: &[Vec<f64>]) -> Vec<f64> {
        let (width, mut row, mut states) = (cell.n_gates() * d, 0, Vec::new());
        for &length in lengths {
            let (mut h, mut c) = (vec![0.0; d], vec![0.0; d]);
            for _ in 0..length {
                let input = &x[0][row * width..(row + 1) * width];
                let map = |k: usize| x[2][k] + (0..d).map(|j| h[j] * x[1][j * width + k]).sum::<f64>();
                let hidden: Vec<f64> = (0..width).map(map).collect();
                for j in 0..d {
                    let sum = |gate: usize| input[gate * d + j] + hidden[gate * d + j];
                    match cell {
                        RecurrentCell::Gru => {
                            let (r, z) = (sigmoid(sum(0)), sigmoid(sum(1)));
                            let n = (input[2 * d + j] + r * hidden[2 * d + j]).tanh();
                            h[j] = (1.0 - z) * n + z * h[j];
                        }
                        RecurrentCell::Lstm => {
                            c[j] = sigmoid(sum(1)) * c[j] + sigmoid(sum(0)) * sum(2).tanh();
                            h[j] = sigmoid(sum(3)) * c[j].tanh();
                        }
                    }
                }
                states.extend(&h);
                row += 1;
            }
        }
        states
    }

    #[test]
    fn equals_its_float64_twin() {
        for cell in CELLS {
            for (lengths, d) in [(&[1][..], 1), (&[3, 0, 5, 1], 3), (&[2, 4], 17)] {
                let layout = SequenceLayout::new(lengths.iter().copied());
                let (n, width) = (layout.n_rows(), cell.n_gates() * d);
                let inputs = [twin::normal(n * width, 1), twin::normal(d * width, 2), twin::normal(width, 3)];
                twin::check(
                    &inputs,
                    1e-5,
                    |x| {
                        let gates = x[0].clone().reshape([n, width]);
                        let weight = x[1].clone().reshape([d, width]);
                        recurrence(gates, weight, x[2].clone(), cell, &layout).reshape([n * d])
                    },
                    |x| exact(cell, lengths, d, x),
                );
            }
        }
    }

    #[test]
    fn without_an_item_there_is_no_state() {
        let device = Device::flex().autodiff();
        for (cell, lengths) in CELLS.into_iter().flat_map(|cell| [(cell, &[][..]), (cell, &[0, 0])]) {
            let layout = SequenceLayout::new(lengths.iter().copied());
            let layer = Recurrent::new(cell, 4, 3, &mut Rng::new(1), &device);
            let run = || layer.forward(Tensor::zeros([0, 4], &device), &layout).dims();
            assert_eq!((run(), kernels::composed(run)), ([0, 3], [0, 3]));
        }
    }

    #[test]
    fn many_parts_equal_the_composed_operation_on_any_number_of_threads() {
        let (lengths, d) = ((0..90).map(|i| i * 7 % 41), 12);
        let layout = SequenceLayout::new(lengths);
        for cell in CELLS {
            let (n, width) = (layout.n_rows(), cell.n_gates() * d);
            let run = || {
                let device = Device::flex().autodiff();
                let leaf = |shape: [usize; 2], seed| {
                    let x = TensorData::new(twin::normal(shape[0] * shape[1], seed), shape);
                    Tensor::<2>::from_data(x, &device).mul_scalar(0.5).detach().require_grad()
                };
                let inputs = [leaf([n, width], 1), leaf([d, width], 2), leaf([1, width], 3)];
                let [gates, weight, bias] = inputs.clone();
                let y = recurrence(gates, weight, bias.reshape([width]), cell, &layout);
                let gradients = y.clone().square().sum().backward();
                let gradients = inputs.map(|input| read(input.grad(&gradients).unwrap()).unwrap());
                [vec![read(y.inner()).unwrap()], gradients.to_vec()].concat()
            };
            for (found, expected) in run().iter().zip(kernels::composed(run)) {
                let scale = expected.iter().fold(1e-2f32, |max, x| max.max(x.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-4 * scale, "{cell:?}: {found} {expected}");
                }
            }
            twin::is_deterministic(|| run().concat());
        }
    }

    #[test]
    fn a_sequence_is_alone_in_its_batch_and_looks_back_only() {
        let device = Device::flex();
        for cell in CELLS {
            let layer = Recurrent::new(cell, 4, 3, &mut Rng::new(1), &device);
            let run = |lengths: &[usize], from: usize| {
                let layout = SequenceLayout::new(lengths.iter().copied());
                let n = layout.n_rows();
                let x = twin::normal(7 * 4, 5)[from * 4..(from + n) * 4].to_vec();
                read(layer.forward(Tensor::from_data(TensorData::new(x, [n, 4]), &device), &layout)).unwrap()
            };
            let together = run(&[4, 3], 0);
            for (found, expected) in [run(&[4], 0), run(&[3], 4)].concat().iter().zip(&together) {
                assert!((found - expected).abs() < 1e-6, "{cell:?}: {found} {expected}");
            }
            for (found, expected) in run(&[2], 0).iter().zip(&together) {
                assert!((found - expected).abs() < 1e-6, "{cell:?}: {found} {expected}");
            }
        }
    }
}
