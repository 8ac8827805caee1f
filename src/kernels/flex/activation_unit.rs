use std::ops::Range;

use burn::tensor::Tensor;
use pulp::{Arch, Simd, WithSimd};

use super::linear::gelu;
use super::target_attention::PART;
use super::{Activation, SequenceLayout, into_values, parallel, simd};

/// What is behind a hidden layer in inference.
#[derive(Clone, Debug)]
pub(crate) enum Nonlinearity {
    Plain(Activation),
    /// s (α + (1 − α) σ(z)) with z = `scale` s + `shift`; all three of a number for each unit.
    Dice {
        alpha: Vec<f32>,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
}

/// A linear layer, W `[d_input, d_output]` and b `[d_output]`, and what is behind it.
pub(crate) type LinearLayer = (Tensor<2>, Tensor<1>, Option<Nonlinearity>);

/// The columns of a layer whose sums are in registers at once.
const PANEL: usize = 16;

/// The most items that go through the layers at once.
const ROWS: usize = 6;

/// The weight a(k, q) of an item k for a candidate q in inference: a perceptron over [q, k, q ∘ k], whose hidden units never
/// leave the innermost cache.
///
/// The first layer is taken apart: [q, k, q ∘ k] W + b = k (W_k + diag(q) W_p) + (q W_q + b) is, to the items of a
/// candidate's history, a layer of d inputs, made once for each candidate.
#[derive(Debug)]
pub(crate) struct ActivationUnit {
    of_query: Layer,
    /// With the activation of the whole first layer.
    of_key: Layer,
    of_product: Layer,
    /// The other hidden layers.
    hidden: Vec<Layer>,
    /// The weights of the last layer, zero where the one before it is padded.
    w: Vec<f32>,
    b: f32,
    is_softmax: bool,
}

impl ActivationUnit {
    /// A unit of these layers, the last of width 1 with nothing behind it. Weights may go through a softmax over each history.
    pub(crate) fn new(layers: Vec<LinearLayer>, is_softmax: bool) -> Self {
        let mut layers: Vec<_> =
            layers.into_iter().map(|(w, b, behind)| (into_values(w), into_values(b), behind)).collect();
        // One layer alone has another behind it that changes nothing.
        let (mut w, b, _) = match layers.len() {
            0 | 1 => (vec![1.0], vec![0.0], None),
            n => layers.swap_remove(n - 1),
        };
        w.resize(w.len().next_multiple_of(PANEL), 0.0);
        let mut layers = layers.into_iter();
        let (first, bias, behind) = layers.next().expect("a perceptron has a layer");
        let part = |part: usize, behind| {
            let n = first.len() / 3;
            Layer::new(&first[part * n..][..n], &bias, behind)
        };
        Self {
            of_query: part(0, None),
            of_key: part(1, behind),
            of_product: part(2, None),
            hidden: layers.map(|(w, b, behind)| Layer::new(&w, &b, behind)).collect(),
            w,
            b: b[0],
            is_softmax,
        }
    }

    /// Σ_j a(k_j, q_i) k_j over the items j of `histories[i]` among all keys, `[n, d]` row-major.
    pub(crate) fn forward(
        &self,
        queries: Tensor<2>,
        keys: Tensor<2>,
        histories: &[Range<usize>],
    ) -> Vec<f32> {
        let d = self.of_query.d_input;
        assert_eq!([queries.dims()[1], keys.dims()[1]], [d, d], "queries and keys of the unit's width");
        let (q, k) = (into_values(queries), into_values(keys));
        let mut y = vec![0.0; q.len()];
        let parts = SequenceLayout::new(histories.iter().map(ExactSizeIterator::len)).parts(PART);
        let bounds: Vec<usize> = [0].into_iter().chain(parts.iter().map(|part| part.end)).collect();
        parallel::segments_of_each([(&mut y, d)], &bounds, |i, [y]| {
            let part = parts[i].clone();
            let queries = &q[part.start * d..part.end * d];
            let histories = &histories[part];
            Arch::new().dispatch(Interests { unit: self, queries, keys: &k, histories, y });
        });
        y
    }

    /// The first layer as the items meet it whose candidate is q.
    #[inline(always)]
    fn meet<S: Simd, const V: usize>(&self, simd: S, q: &[f32], layer: &mut Layer) {
        self.of_query.forward::<S, V, 1>(simd, q, q.len(), &mut layer.b);
        let n = q.len() * PANEL;
        let parts = self.of_key.w.chunks_exact(n).zip(self.of_product.w.chunks_exact(n));
        for (w, (of_key, of_product)) in layer.w.chunks_exact_mut(n).zip(parts) {
            let w = S::as_mut_simd_f32s(w).0.as_chunks_mut::<V>().0;
            let of_key = S::as_simd_f32s(of_key).0.as_chunks::<V>().0;
            let of_product = S::as_simd_f32s(of_product).0.as_chunks::<V>().0;
            for (((w, of_key), of_product), &q) in w.iter_mut().zip(of_key).zip(of_product).zip(q) {
                let q = simd.splat_f32s(q);
                for v in 0..V {
                    w[v] = simd.mul_add_e_f32s(q, of_product[v], of_key[v]);
                }
            }
        }
    }
}

/// a(x W + b).
#[derive(Clone, Debug)]
struct Layer {
    d_input: usize,
    /// [`PANEL`] columns of W, then the next ones; zeros fill the last.
    w: Vec<f32>,
    /// As long as W is wide.
    b: Vec<f32>,
    behind: Option<Nonlinearity>,
}

impl Layer {
    fn new(w: &[f32], b: &[f32], mut behind: Option<Nonlinearity>) -> Self {
        let (d_input, d_output) = (w.len() / b.len(), b.len());
        let mut b = b.to_vec();
        let width = d_output.next_multiple_of(PANEL);
        b.resize(width, 0.0);
        if let Some(Nonlinearity::Dice { alpha, scale, shift }) = &mut behind {
            for x in [alpha, scale, shift] {
                x.resize(width, 0.0);
            }
        }
        let mut panels = vec![0.0; d_input * b.len()];
        for (i, row) in w.chunks_exact(d_output).enumerate() {
            for (p, part) in row.chunks(PANEL).enumerate() {
                panels[(p * d_input + i) * PANEL..][..part.len()].copy_from_slice(part);
            }
        }
        Self { d_input, w: panels, b, behind }
    }

    /// y ← a(x W + b) for `R` rows x, each `stride` numbers behind the one before, with `V` vectors to a panel.
    ///
    /// Loops over arrays, not their methods: those are not always inlined, and sums leave the registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn forward<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        x: &[f32],
        stride: usize,
        y: &mut [f32],
    ) {
        let (d_input, width) = (self.d_input, self.b.len());
        let mut rows: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            rows[r] = &x[r * stride..][..d_input];
        }
        let y = &mut y[..R * width];
        let is_relu = matches!(self.behind, Some(Nonlinearity::Plain(Activation::Relu)));
        let zero = simd.splat_f32s(0.0);
        let panels = self.w.chunks_exact(d_input * PANEL).zip(self.b.chunks_exact(PANEL));
        for (p, (w, b)) in panels.enumerate() {
            let (w, b) = (S::as_simd_f32s(w).0.as_chunks::<V>().0, S::as_simd_f32s(b).0);
            let mut first = [zero; V];
            first.copy_from_slice(&b[..V]);
            let mut sums = [first; R];
            for r in 0..R {
                rows[r] = &rows[r][..w.len()];
            }
            for (i, w) in w.iter().enumerate() {
                for r in 0..R {
                    let x = simd.splat_f32s(rows[r][i]);
                    for v in 0..V {
                        sums[r][v] = simd.mul_add_e_f32s(x, w[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                if is_relu {
                    for v in 0..V {
                        // In this order, what is not a number stays so on x86.
                        sums[r][v] = simd.max_f32s(zero, sums[r][v]);
                    }
                }
                let y = S::as_mut_simd_f32s(&mut y[r * width + p * PANEL..][..PANEL]).0;
                y[..V].copy_from_slice(&sums[r]);
            }
        }
        match &self.behind {
            None | Some(Nonlinearity::Plain(Activation::Relu)) => {}
            Some(Nonlinearity::Plain(Activation::Gelu)) => y.iter_mut().for_each(|y| *y = gelu(*y).0),
            Some(Nonlinearity::Dice { alpha, scale, shift }) => {
                let (alpha, scale, shift) = (&alpha[..width], &scale[..width], &shift[..width]);
                for y in y.chunks_exact_mut(width) {
                    for i in 0..width {
                        let p = simd::sigmoid(y[i].mul_add(scale[i], shift[i]));
                        y[i] *= (1.0 - alpha[i]).mul_add(p, alpha[i]);
                    }
                }
            }
        }
    }
}

/// y ← Σ_j a(k_j, q) k_j for some candidates q.
struct Interests<'a> {
    unit: &'a ActivationUnit,
    queries: &'a [f32],
    keys: &'a [f32],
    histories: &'a [Range<usize>],
    y: &'a mut [f32],
}

impl WithSimd for Interests<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match PANEL / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, PANEL>(simd),
        }
    }
}

impl Interests<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let Self { unit, queries, keys, histories, y } = self;
        let d = unit.of_query.d_input;
        let mut first = unit.of_key.clone();
        let widest = unit.hidden.iter().map(|layer| layer.b.len()).fold(first.b.len(), usize::max);
        let mut scratch = [0, 1].map(|_| vec![0.0; ROWS * widest]);
        let longest = histories.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut weights = vec![0.0; longest];
        for ((q, history), y) in queries.chunks_exact(d).zip(histories).zip(y.chunks_exact_mut(d)) {
            unit.meet::<S, V>(simd, q, &mut first);
            let (n, keys) = (history.len(), &keys[history.start * d..history.end * d]);
            let n_parts = n.div_ceil(ROWS);
            for part in 0..n_parts {
                // Parts of equal size, as far as that goes: few rows leave the arithmetic waiting.
                let (start, end) = (n * part / n_parts, n * (part + 1) / n_parts);
                let (x, y) = (&keys[start * d..end * d], &mut weights[start..end]);
                let (first, scratch) = (&first, &mut scratch);
                match end - start {
                    1 => simd.vectorize(Weights::<V, 1> { unit, first, x, scratch, y }),
                    2 => simd.vectorize(Weights::<V, 2> { unit, first, x, scratch, y }),
                    3 => simd.vectorize(Weights::<V, 3> { unit, first, x, scratch, y }),
                    4 => simd.vectorize(Weights::<V, 4> { unit, first, x, scratch, y }),
                    5 => simd.vectorize(Weights::<V, 5> { unit, first, x, scratch, y }),
                    _ => simd.vectorize(Weights::<V, ROWS> { unit, first, x, scratch, y }),
                }
            }
            let weights = &mut weights[..n];
            if unit.is_softmax {
                let sum = simd::exp_sum(weights, simd::max(weights));
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            for (&weight, key) in weights.iter().zip(keys.chunks_exact(d)) {
                simd::add_rows(simd, y, [key], [weight]);
            }
        }
    }
}

/// y ← a(x, q) for `R` rows x, with the first layer as they meet it.
struct Weights<'a, const V: usize, const R: usize> {
    unit: &'a ActivationUnit,
    first: &'a Layer,
    x: &'a [f32],
    scratch: &'a mut [Vec<f32>; 2],
    y: &'a mut [f32],
}

impl<const V: usize, const R: usize> WithSimd for Weights<'_, V, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { unit, first, x, scratch: [input, output], y } = self;
        let (mut input, mut output) = (&mut input[..], &mut output[..]);
        first.forward::<S, V, R>(simd, x, first.d_input, output);
        let mut width = first.b.len();
        for layer in &unit.hidden {
            std::mem::swap(&mut input, &mut output);
            layer.forward::<S, V, R>(simd, input, width, output);
            width = layer.b.len();
        }
        for (y, row) in y.iter_mut().zip(output.chunks_exact(width)) {
            let mut sum = simd.splat_f32s(0.0);
            for (&x, &w) in S::as_simd_f32s(row).0.iter().zip(S::as_simd_f32s(&unit.w).0) {
                sum = simd.mul_add_e_f32s(x, w, sum);
            }
            *y = simd.reduce_sum_f32s(sum) + unit.b;
        }
    }
}
