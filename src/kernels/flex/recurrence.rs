use std::ops::Range;

use super::matrix::{Matrix, MatrixMut};
use super::{Array, Kernel, RecurrentCell, SequenceLayout, buffer, parallel, simd};

/// The rows that make a part of the work, at least.
const PART: usize = 512;

/// The state after every item of every sequence, from the linear maps of the inputs, `[n, n_gates · d]`, and the
/// weights `[d, n_gates · d]` and biases of the state's.
///
/// The sequences of a part step together, the longest first, so that those which go on are always the first ones:
/// one matrix product a step, without padding. Kept for the way back are the gates of every row and, behind them, ĥ_n
/// of a GRU or c of an LSTM.
#[derive(Debug)]
pub(crate) struct Recurrence {
    pub(crate) cell: RecurrentCell,
    pub(crate) layout: SequenceLayout,
}

impl Kernel<3> for Recurrence {
    fn forward(&self, [gates, weight, bias]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, width], [d, _]) = (gates.shape(), weight.shape());
        assert!(
            n == self.layout.n_rows() && width == self.cell.n_gates() * d,
            "{:?} over {} rows from {gates:?} and {weight:?}",
            self.cell,
            self.layout.n_rows()
        );
        assert!(weight.width() == width && bias.values().len() == width, "{weight:?} and {bias:?}");
        let (mut y, mut kept) = (buffer::take(n * d), buffer::take(n * (width + d)));
        let (parts, bounds) = self.parts();
        let (input, bias) = (gates.values(), bias.values());
        parallel::segments_of_each([(&mut y, d), (&mut kept, width + d)], &bounds, |part, [y, kept]| {
            let input = &input[bounds[part] * width..bounds[part + 1] * width];
            self.run(
                &self.steps(&parts[part]),
                Weights { values: weight.values(), d, width },
                [input, bias],
                y,
                kept,
            );
        });
        let y = Array::new(y, [n, d]);
        let kept = Array::new(kept, [n, width + d]);
        (y.clone(), if tracked { vec![y, kept, weight] } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [y, kept, weight] = &saved[..] else { unreachable!("saved by the forward pass") };
        let ([n, d], [_, width]) = (y.shape(), weight.shape());
        let (states, gates, grad) = (y.values(), kept.values(), grad.values());
        let mut grad_gates = buffer::take(n * width);
        let (parts, bounds) = self.parts();
        let partial =
            parallel::segments_of_each([(&mut grad_gates, width)], &bounds, |part, [grad_gates]| {
                let of_part = |width: usize| bounds[part] * width..bounds[part + 1] * width;
                let known = Known {
                    states: &states[of_part(d)],
                    gates: &gates[of_part(width + d)],
                    grad: &grad[of_part(d)],
                };
                let weights = Weights { values: weight.values(), d, width };
                self.run_back(&self.steps(&parts[part]), weights, known, grad_gates)
            });
        let mut grad_weight = parallel::sum(partial);
        grad_weight.resize((d + 1) * width, 0.0);
        let grad_bias = grad_weight.split_off(d * width);
        let grads = [
            Array::new(grad_gates, [n, width]),
            weight.with_values(grad_weight),
            Array::new(grad_bias, [width]),
        ];
        grads.map(Some)
    }
}

/// W, `[d, width]`.
#[derive(Clone, Copy)]
struct Weights<'a> {
    values: &'a [f32],
    d: usize,
    width: usize,
}

impl<'a> Weights<'a> {
    fn matrix(self) -> Matrix<'a> {
        Matrix::new(self.values, self.d, self.width)
    }
}

/// What the way back knows of the rows of a part.
#[derive(Clone, Copy)]
struct Known<'a> {
    states: &'a [f32],
    gates: &'a [f32],
    grad: &'a [f32],
}

/// The sequences of a part that have an item, the longest first, and how many of them have a t-th.
struct Steps {
    /// The first row of each, counted from the first of the part.
    starts: Vec<usize>,
    n_active: Vec<usize>,
}

impl Recurrence {
    /// The sequences of each part, and the rows between which they lie.
    fn parts(&self) -> (Vec<Range<usize>>, Vec<usize>) {
        let parts = self.layout.parts(PART);
        let ends = parts.iter().map(|part| self.layout.rows(part.end - 1).end);
        let bounds = [0].into_iter().chain(ends).collect();
        (parts, bounds)
    }

    fn steps(&self, part: &Range<usize>) -> Steps {
        let first = self.layout.rows(part.start).start;
        let rows = part.clone().map(|sequence| self.layout.rows(sequence));
        let mut sequences: Vec<Range<usize>> = rows.filter(|rows| !rows.is_empty()).collect();
        sequences.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
        let len = sequences.first().map_or(0, ExactSizeIterator::len);
        Steps {
            starts: sequences.iter().map(|rows| rows.start - first).collect(),
            n_active: (0..len).map(|t| sequences.partition_point(|rows| rows.len() > t)).collect(),
        }
    }

    /// All steps of a part.
    fn run(
        &self,
        steps: &Steps,
        weights: Weights<'_>,
        [input, bias]: [&[f32]; 2],
        y: &mut [f32],
        kept: &mut [f32],
    ) {
        let Weights { d, width, .. } = weights;
        let b = steps.starts.len();
        let (mut h, mut c) = (vec![0.0; b * d], vec![0.0; b * d]);
        let mut hidden = vec![0.0; b * width];
        for (t, &n) in steps.n_active.iter().enumerate() {
            let hidden = &mut hidden[..n * width];
            if t > 0 {
                let states = Matrix::new(&h, n, d);
                MatrixMut::new(hidden, n, width).set(states, weights.matrix());
            }
            let (h, c, y, kept) = (&mut h[..n * d], &mut c[..n * d], &mut *y, &mut *kept);
            let (starts, hidden, cell) = (&steps.starts[..n], &*hidden, self.cell);
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (i, start) in starts.iter().enumerate() {
                        let row = start + t;
                        let maps = [&input[row * width..][..width], &hidden[i * width..][..width], bias];
                        let kept = &mut kept[row * (width + d)..][..width + d];
                        let (h, c) = (&mut h[i * d..][..d], &mut c[i * d..][..d]);
                        match cell {
                            RecurrentCell::Gru => gru(maps, h, kept),
                            RecurrentCell::Lstm => lstm(maps, h, c, kept),
                        }
                        y[row * d..][..d].copy_from_slice(h);
                    }
                },
            );
        }
    }

    /// All steps of a part from the last to the first; the gradients of weights and biases one behind the other.
    fn run_back(
        &self,
        steps: &Steps,
        weights: Weights<'_>,
        known: Known<'_>,
        grad_gates: &mut [f32],
    ) -> Vec<f32> {
        let Weights { d, width, .. } = weights;
        let b = steps.starts.len();
        let (mut grad_h, mut grad_c) = (vec![0.0; b * d], vec![0.0; b * d]);
        // Step by step: the gradients of ĥ, and of the rows that have a predecessor its state.
        let mut grad_hidden = buffer::take(grad_gates.len());
        let mut before = buffer::take(known.states.len() - b * d);
        let mut offset = known.states.len() / d.max(1);
        for (t, &n) in steps.n_active.iter().enumerate().rev() {
            offset -= n;
            let starts = &steps.starts[..n];
            if t > 0 {
                let before = &mut before[(offset - b) * d..];
                for (before, start) in before.chunks_exact_mut(d).zip(starts) {
                    before.copy_from_slice(&known.states[(start + t - 1) * d..][..d]);
                }
            }
            let hidden = &mut grad_hidden[offset * width..(offset + n) * width];
            let (grad_h, grad_c) = (&mut grad_h[..n * d], &mut grad_c[..n * d]);
            self.step_back(t, starts, known, [grad_h, grad_c, grad_gates, hidden], width);
            if t > 0 {
                let hidden = Matrix::new(hidden, n, width);
                MatrixMut::new(grad_h, n, d).add(hidden, weights.matrix().t());
            }
        }
        let grads = self.sums(&grad_hidden, &before, weights, b);
        buffer::give(grad_hidden);
        buffer::give(before);
        grads
    }

    /// Step t of the sequences that have it: ∂h and ∂c become those of the step before, but for what reaches h through
    /// the weights; ∂x̂ are written to their rows, ∂ĥ one behind the other.
    fn step_back(
        &self,
        t: usize,
        starts: &[usize],
        known: Known<'_>,
        [grad_h, grad_c, grad_gates, grad_hidden]: [&mut [f32]; 4],
        width: usize,
    ) {
        let (cell, d) = (self.cell, grad_h.len() / starts.len().max(1));
        let zeros = &vec![0.0; d][..];
        simd::vectorized(
            #[inline(always)]
            move || {
                for (i, start) in starts.iter().enumerate() {
                    let row = start + t;
                    let (h_before, c_before) = match t {
                        0 => (zeros, zeros),
                        _ => {
                            (&known.states[(row - 1) * d..][..d], &known.gates[row * (width + d) - d..][..d])
                        }
                    };
                    let kept = &known.gates[row * (width + d)..][..width + d];
                    let back = Back { kept, h_before, c_before, grad: &known.grad[row * d..][..d] };
                    let (grad_h, grad_c) = (&mut grad_h[i * d..][..d], &mut grad_c[i * d..][..d]);
                    let input = &mut grad_gates[row * width..][..width];
                    let hidden = &mut grad_hidden[i * width..][..width];
                    match cell {
                        RecurrentCell::Gru => back.gru(grad_h, input, hidden),
                        RecurrentCell::Lstm => back.lstm(grad_h, grad_c, input, hidden),
                    }
                }
            },
        );
    }

    /// Σ hᵀ ∂ĥ and Σ ∂ĥ; the first `b` rows have no state before them.
    fn sums(&self, grad_hidden: &[f32], before: &[f32], weights: Weights<'_>, b: usize) -> Vec<f32> {
        let Weights { d, width, .. } = weights;
        let mut grads = vec![0.0; (d + 1) * width];
        let (grad_weight, grad_bias) = grads.split_at_mut(d * width);
        let n = before.len() / d.max(1);
        let states = Matrix::new(before, n, d).t();
        MatrixMut::new(grad_weight, d, width).add(states, Matrix::new(&grad_hidden[b * width..], n, width));
        simd::vectorized(
            #[inline(always)]
            move || {
                for row in grad_hidden.chunks_exact(width.max(1)) {
                    simd::axpy(grad_bias, 1.0, row);
                }
            },
        );
        grads
    }
}

/// The parts of `x` that belong to the gates.
#[inline(always)]
fn gates<const N: usize>(x: &[f32], d: usize) -> [&[f32]; N] {
    std::array::from_fn(|gate| &x[gate * d..][..d])
}

#[inline(always)]
fn gates_mut<const N: usize>(mut x: &mut [f32], d: usize) -> [&mut [f32]; N] {
    std::array::from_fn(|_| {
        let (gate, rest) = std::mem::take(&mut x).split_at_mut(d);
        x = rest;
        gate
    })
}

/// h ← h' from x̂, ĥ without its bias, and the bias.
#[inline(always)]
fn gru([input, hidden, bias]: [&[f32]; 3], h: &mut [f32], kept: &mut [f32]) {
    let d = h.len();
    let [input_r, input_z, input_n] = gates(input, d);
    let [hidden_r, hidden_z, hidden_n] = gates(hidden, d);
    let [bias_r, bias_z, bias_n] = gates(bias, d);
    let [kept_r, kept_z, kept_n, kept_m] = gates_mut(kept, d);
    for j in 0..d {
        let r = simd::sigmoid(input_r[j] + hidden_r[j] + bias_r[j]);
        let z = simd::sigmoid(input_z[j] + hidden_z[j] + bias_z[j]);
        let m = hidden_n[j] + bias_n[j];
        let n = simd::tanh(r.mul_add(m, input_n[j]));
        (kept_r[j], kept_z[j], kept_n[j], kept_m[j]) = (r, z, n, m);
        h[j] = z.mul_add(h[j] - n, n);
    }
}

/// h ← h' and c ← c'.
#[inline(always)]
fn lstm([input, hidden, bias]: [&[f32]; 3], h: &mut [f32], c: &mut [f32], kept: &mut [f32]) {
    let d = h.len();
    let [input_i, input_f, input_g, input_o] = gates(input, d);
    let [hidden_i, hidden_f, hidden_g, hidden_o] = gates(hidden, d);
    let [bias_i, bias_f, bias_g, bias_o] = gates(bias, d);
    let [kept_i, kept_f, kept_g, kept_o, kept_c] = gates_mut(kept, d);
    let c = &mut c[..d];
    for j in 0..d {
        let i = simd::sigmoid(input_i[j] + hidden_i[j] + bias_i[j]);
        let f = simd::sigmoid(input_f[j] + hidden_f[j] + bias_f[j]);
        let g = simd::tanh(input_g[j] + hidden_g[j] + bias_g[j]);
        let o = simd::sigmoid(input_o[j] + hidden_o[j] + bias_o[j]);
        c[j] = f.mul_add(c[j], i * g);
        (kept_i[j], kept_f[j], kept_g[j], kept_o[j], kept_c[j]) = (i, f, g, o, c[j]);
        h[j] = o * simd::tanh(c[j]);
    }
}

/// A row on the way back.
struct Back<'a> {
    kept: &'a [f32],
    h_before: &'a [f32],
    c_before: &'a [f32],
    /// The gradient of the output; that of the steps behind comes on top.
    grad: &'a [f32],
}

impl Back<'_> {
    /// ∂x̂ and ∂ĥ; ∂h becomes what reaches the state before without the weights.
    #[inline(always)]
    fn gru(&self, grad_h: &mut [f32], input: &mut [f32], hidden: &mut [f32]) {
        let d = grad_h.len();
        let [r, z, n, m] = gates(self.kept, d);
        let [input_r, input_z, input_n] = gates_mut(input, d);
        let [hidden_r, hidden_z, hidden_n] = gates_mut(hidden, d);
        let (h_before, grad) = (&self.h_before[..d], &self.grad[..d]);
        for j in 0..d {
            let grad = grad[j] + grad_h[j];
            let grad_n = grad * (1.0 - z[j]) * (1.0 - n[j] * n[j]);
            let grad_z = grad * (h_before[j] - n[j]) * z[j] * (1.0 - z[j]);
            let grad_r = grad_n * m[j] * r[j] * (1.0 - r[j]);
            (input_r[j], input_z[j], input_n[j]) = (grad_r, grad_z, grad_n);
            (hidden_r[j], hidden_z[j], hidden_n[j]) = (grad_r, grad_z, grad_n * r[j]);
            grad_h[j] = grad * z[j];
        }
    }

    /// As [`gru`](Self::gru), with ∂c too.
    #[inline(always)]
    fn lstm(&self, grad_h: &mut [f32], grad_c: &mut [f32], input: &mut [f32], hidden: &mut [f32]) {
        let d = grad_h.len();
        let [i, f, g, o, c] = gates(self.kept, d);
        let (c_before, grad, grad_c) = (&self.c_before[..d], &self.grad[..d], &mut grad_c[..d]);
        {
            let [input_i, input_f, input_g, input_o] = gates_mut(input, d);
            for j in 0..d {
                let (grad, tanh_c) = (grad[j] + grad_h[j], simd::tanh(c[j]));
                let of_c = (grad * o[j]).mul_add(1.0 - tanh_c * tanh_c, grad_c[j]);
                input_i[j] = of_c * g[j] * i[j] * (1.0 - i[j]);
                input_f[j] = of_c * c_before[j] * f[j] * (1.0 - f[j]);
                input_g[j] = of_c * i[j] * (1.0 - g[j] * g[j]);
                input_o[j] = grad * tanh_c * o[j] * (1.0 - o[j]);
                grad_c[j] = of_c * f[j];
                grad_h[j] = 0.0;
            }
        }
        hidden.copy_from_slice(input);
    }
}
