use std::ops::Range;

use super::matrix::{Matrix, MatrixMut};
use super::{Array, Kernel, Mask, SequenceLayout, buffer, parallel, simd};

/// The queries scored together against the keys up to the last of them: few, so that their scores stay in the
/// cache and few of those lie above the diagonal.
const BLOCK: usize = 32;

/// The rows that make a part of the work, at least.
const PART: usize = 64;

/// Multi-head self-attention in which every item sees its own sequence up to itself: for each head
/// softmax(Q Kᵀ / √d_head) V from the rows `[q | k | v]` of width 3 d, with dropout on the probabilities.
///
/// Probabilities are computed a block of queries at a time and never kept: the way back computes them again
/// from the logarithms of the sums of exponentials, and Σ P ∂P of each row as ∂O · O (Dao et al. 2022,
/// "FlashAttention", algorithm 4).
#[derive(Debug)]
pub(crate) struct CausalAttention {
    pub(crate) layout: SequenceLayout,
    pub(crate) n_heads: usize,
    /// Probability (t, s) of head h of sequence i has the place ((i · n_heads + h) · l + t) · l + s, where l is
    /// the length of the longest sequence.
    pub(crate) mask: Option<Mask>,
}

impl CausalAttention {
    /// Runs `f` for every sequence, with its rows of `out` and with `n_scratch` numbers of any value; what it
    /// returns, one behind another.
    fn each_sequence(
        &self,
        out: &mut [f32],
        width: usize,
        n_scratch: usize,
        f: impl Fn(usize, &mut [f32], &mut [f32]) -> Vec<f32> + Sync,
    ) -> Vec<f32> {
        let parts = self.layout.parts(PART);
        let end = |part: &Range<usize>| self.layout.rows(part.end - 1).end * width;
        let bounds: Vec<usize> = [0].into_iter().chain(parts.iter().map(end)).collect();
        let found = parallel::segments(out, &bounds, |part, mut out| {
            let mut scratch = buffer::take(n_scratch);
            let mut found = Vec::new();
            for sequence in parts[part].clone() {
                let rows = out.split_off_mut(..self.layout.rows(sequence).len() * width);
                found.extend(f(sequence, rows.unwrap_or_default(), &mut scratch));
            }
            buffer::give(scratch);
            found
        });
        found.concat()
    }

    /// The numbers that the scores of a block take.
    fn n_scores(&self) -> usize {
        BLOCK * stride(self.layout.max_len())
    }

    /// The heads of a sequence.
    fn heads<'a>(&self, qkv: &'a Array, sequence: usize) -> impl Iterator<Item = Head<'a>> {
        let (rows, d, max_len) = (self.layout.rows(sequence), qkv.width() / 3, self.layout.max_len());
        let (n_heads, mask) = (self.n_heads, self.mask);
        let qkv = &qkv.values()[rows.start * 3 * d..rows.end * 3 * d];
        (0..n_heads).map(move |head| Head {
            qkv,
            n: rows.len(),
            d,
            d_head: d / n_heads,
            first: head * d / n_heads,
            mask,
            place: (sequence * n_heads + head) * max_len * max_len,
            max_len,
        })
    }
}

impl Kernel<1> for CausalAttention {
    fn forward(&self, [qkv]: [Array; 1], tracked: bool) -> (Array, Vec<Array>) {
        let [n, width] = qkv.shape();
        let d = width / 3;
        assert!(
            n == self.layout.n_rows() && width == 3 * d && self.n_heads > 0 && d % self.n_heads == 0,
            "attention of {} heads over {} rows from {qkv:?}",
            self.n_heads,
            self.layout.n_rows()
        );
        let mut output = buffer::take(n * d);
        let log_sums = self.each_sequence(&mut output, d, self.n_scores(), |sequence, output, scratch| {
            self.heads(&qkv, sequence).flat_map(|head| head.forward(output, scratch)).collect()
        });
        let output = Array::new(output, [n, d]);
        if !tracked {
            return (output, Vec::new());
        }
        // The sums of a sequence lie head by head: `[n_heads, len]`.
        let log_sums = Array::new(log_sums, [n, self.n_heads]);
        (output.clone(), vec![qkv, output, log_sums])
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let [qkv, output, log_sums] = &saved[..] else { unreachable!("saved by the forward pass") };
        let mut grad_qkv = buffer::take(qkv.values().len());
        let n_scratch = 2 * self.n_scores();
        self.each_sequence(&mut grad_qkv, qkv.width(), n_scratch, |sequence, grad_qkv, scratch| {
            let rows = self.layout.rows(sequence);
            let of_sequence = |x: &Array| rows.start * x.width()..rows.end * x.width();
            let log_sums = log_sums.values()[of_sequence(log_sums)].chunks(rows.len().max(1));
            let (output, grad) = (&output.values()[of_sequence(output)], &grad.values()[of_sequence(&grad)]);
            for (head, log_sums) in self.heads(qkv, sequence).zip(log_sums) {
                head.backward(output, log_sums, grad, grad_qkv, scratch);
            }
            Vec::new()
        });
        [Some(qkv.with_values(grad_qkv))]
    }
}

/// The numbers processed side by side in a row of scores.
const LANES: usize = 16;

/// The distance between rows of scores of `n_keys` keys.
fn stride(n_keys: usize) -> usize {
    n_keys.next_multiple_of(LANES)
}

/// One head over one sequence.
struct Head<'a> {
    /// The rows of the sequence, `[n, 3 d]`.
    qkv: &'a [f32],
    n: usize,
    d: usize,
    d_head: usize,
    /// The first of its columns among the d.
    first: usize,
    mask: Option<Mask>,
    /// The place of probability (0, 0) in the mask; rows are `max_len` apart.
    place: usize,
    max_len: usize,
}

impl<'a> Head<'a> {
    /// Writes the columns of this head of the output, `[n, d]`; log Σ exp of every row of scores.
    fn forward(&self, output: &mut [f32], scratch: &mut [f32]) -> Vec<f32> {
        let mut log_sums = vec![0.0; self.n];
        for block in self.blocks() {
            let scores = block.product(block.q(), block.k(), scratch);
            block.softmax(scores, &mut log_sums[block.queries.clone()]);
            let output = &mut output[block.queries.start * self.d + self.first..];
            MatrixMut::strided(output, block.queries.len(), self.d_head, self.d)
                .set(block.matrix(scores), block.v());
        }
        log_sums
    }

    /// Writes the columns of this head of the gradient of `[q | k | v]`.
    fn backward(
        &self,
        output: &[f32],
        log_sums: &[f32],
        grad: &[f32],
        grad_qkv: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (scores, grads) = scratch.split_at_mut(scratch.len() / 2);
        // From the last block, which has all keys and so writes where the others add.
        for block in self.blocks().rev() {
            let start = block.queries.start * self.d + self.first;
            let (output, grad) = (&output[start..], &grad[start..]);
            let grad_output = Matrix::strided(grad, block.queries.len(), self.d_head, self.d);
            let scores = block.product(block.q(), block.k(), scores);
            let grads = block.product(grad_output, block.v(), grads);
            block.softmax_backward(scores, grads, &log_sums[block.queries.clone()], output, grad);

            let (probabilities, grads) = (block.matrix(scores), block.matrix(grads));
            let mut write = |part: usize, rows: &Range<usize>, add: bool, a: Matrix<'_>, b: Matrix<'_>| {
                let columns = &mut grad_qkv[self.start(part, rows)..];
                let columns = MatrixMut::strided(columns, rows.len(), self.d_head, 3 * self.d);
                if add { columns.add(a, b) } else { columns.set(a, b) }
            };
            let (keys, add) = (0..block.queries.end, block.queries.end < self.n);
            write(0, &block.queries, false, grads, block.k());
            write(1, &keys, add, grads.t(), block.q());
            write(2, &keys, add, probabilities.t(), grad_output);
        }
    }

    /// The blocks of its queries.
    fn blocks(&self) -> impl DoubleEndedIterator<Item = Block<'_>> {
        let block = |start| Block { head: self, queries: start..self.n.min(start + BLOCK) };
        (0..self.n).step_by(BLOCK).map(block)
    }

    /// Where `rows` of Q, K or V (part 0, 1 or 2) of this head begin.
    fn start(&self, part: usize, rows: &Range<usize>) -> usize {
        (3 * rows.start + part) * self.d + self.first
    }

    /// `rows` of Q, K or V (part 0, 1 or 2) of this head.
    fn rows(&self, part: usize, rows: &Range<usize>) -> Matrix<'a> {
        Matrix::strided(&self.qkv[self.start(part, rows)..], rows.len(), self.d_head, 3 * self.d)
    }
}

/// A block of the queries of a head, with the keys and values up to its last.
struct Block<'a> {
    head: &'a Head<'a>,
    queries: Range<usize>,
}

impl Block<'_> {
    fn q(&self) -> Matrix<'_> {
        self.head.rows(0, &self.queries)
    }

    fn k(&self) -> Matrix<'_> {
        self.head.rows(1, &(0..self.queries.end))
    }

    fn v(&self) -> Matrix<'_> {
        self.head.rows(2, &(0..self.queries.end))
    }

    /// a bᵀ, a number for each query and key, rows [`stride`] apart at the start of `out`.
    fn product<'a>(&self, a: Matrix<'_>, b: Matrix<'_>, out: &'a mut [f32]) -> &'a mut [f32] {
        let (n_queries, n_keys) = (self.queries.len(), self.queries.end);
        let out = &mut out[..n_queries * stride(n_keys)];
        MatrixMut::strided(out, n_queries, n_keys, stride(n_keys)).set(a, b.t());
        out
    }

    /// What [`product`](Self::product) wrote.
    fn matrix<'a>(&self, values: &'a [f32]) -> Matrix<'a> {
        Matrix::strided(values, self.queries.len(), self.queries.end, stride(self.queries.end))
    }

    /// Turns scores into probabilities · mask.
    fn softmax(&self, scores: &mut [f32], log_sums: &mut [f32]) {
        match self.head.mask {
            None => self.softmax_masked(scores, log_sums, |_| |_| 1.0),
            Some(mask) => self.softmax_masked(scores, log_sums, move |place| mask.from(place)),
        }
    }

    #[inline(always)]
    fn softmax_masked<M: Fn(u32) -> f32>(
        &self,
        scores: &mut [f32],
        log_sums: &mut [f32],
        mask: impl Fn(usize) -> M,
    ) {
        let (queries, stride, scale) = (self.queries.clone(), stride(self.queries.end), self.scale());
        let (place, max_len) = (self.head.place, self.head.max_len);
        simd::vectorized(
            #[inline(always)]
            move || {
                for ((t, row), log_sum) in queries.zip(scores.chunks_exact_mut(stride)).zip(log_sums) {
                    *log_sum = softmax(row, t + 1, scale, mask(place + t * max_len));
                }
            },
        );
    }

    /// Turns scores into probabilities · mask, and gradients of those into gradients of the scores.
    fn softmax_backward(
        &self,
        scores: &mut [f32],
        grads: &mut [f32],
        log_sums: &[f32],
        output: &[f32],
        grad_output: &[f32],
    ) {
        let sums = log_sums.iter().zip(output.chunks(self.head.d)).zip(grad_output.chunks(self.head.d));
        match self.head.mask {
            None => self.softmax_masked_backward(scores, grads, sums, |_| |_| 1.0),
            Some(mask) => self.softmax_masked_backward(scores, grads, sums, move |place| mask.from(place)),
        }
    }

    #[inline(always)]
    fn softmax_masked_backward<'a, M: Fn(u32) -> f32>(
        &self,
        scores: &mut [f32],
        grads: &mut [f32],
        sums: impl Iterator<Item = ((&'a f32, &'a [f32]), &'a [f32])>,
        mask: impl Fn(usize) -> M,
    ) {
        let (queries, stride, scale) = (self.queries.clone(), stride(self.queries.end), self.scale());
        let (place, max_len, d_head) = (self.head.place, self.head.max_len, self.head.d_head);
        simd::vectorized(
            #[inline(always)]
            move || {
                let rows = scores.chunks_exact_mut(stride).zip(grads.chunks_exact_mut(stride));
                for ((t, (scores, grads)), ((&log_sum, output), grad_output)) in queries.zip(rows).zip(sums) {
                    let sum = simd::dot(&output[..d_head], &grad_output[..d_head]);
                    softmax_backward(scores, grads, t + 1, scale, [log_sum, sum], mask(place + t * max_len));
                }
            },
        );
    }

    /// 1 / √d_head.
    fn scale(&self) -> f32 {
        1.0 / (self.head.d_head as f32).sqrt()
    }
}

/// The first `n` scores x become softmax(scale · x) · mask and the others 0; log Σ e^(scale · x).
#[inline(always)]
fn softmax(row: &mut [f32], n: usize, scale: f32, mask: impl Fn(u32) -> f32) -> f32 {
    row[n..].fill(f32::NEG_INFINITY);
    let (seen, hidden) = row.as_chunks_mut::<LANES>().0.split_at_mut(n.div_ceil(LANES));
    hidden.fill([0.0; LANES]);
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in &*seen {
        for lane in 0..LANES {
            maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] };
        }
    }
    let shift = scale * maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    for (at, chunk) in (0u32..).zip(&mut *seen) {
        for lane in 0..LANES {
            let exponential = simd::exp(chunk[lane].mul_add(scale, -shift));
            sums[lane] += exponential;
            chunk[lane] = exponential * mask(at * LANES as u32 + lane as u32);
        }
    }
    let sum: f32 = sums.iter().sum();
    let inverse = 1.0 / sum;
    seen.as_flattened_mut().iter_mut().for_each(|x| *x *= inverse);
    shift + sum.ln()
}

/// With p = softmax(scale · x): the first `n` scores x become p · mask, the gradients g of p · mask become
/// those of x, p (g · mask − Σ p g · mask) · scale; the others 0. `sums` are log Σ e^(scale · x) and
/// Σ p g · mask.
#[inline(always)]
fn softmax_backward(
    scores: &mut [f32],
    grads: &mut [f32],
    n: usize,
    scale: f32,
    [log_sum, sum]: [f32; 2],
    mask: impl Fn(u32) -> f32,
) {
    let chunks = scores.as_chunks_mut::<LANES>().0.iter_mut().zip(grads.as_chunks_mut::<LANES>().0);
    for (at, (scores, grads)) in (0u32..).zip(chunks.take(n.div_ceil(LANES))) {
        for lane in 0..LANES {
            let p = simd::exp(scores[lane].mul_add(scale, -log_sum));
            let mask = mask(at * LANES as u32 + lane as u32);
            grads[lane] = p * scale * grads[lane].mul_add(mask, -sum);
            scores[lane] = p * mask;
        }
    }
    scores[n..].fill(0.0);
    grads[n..].fill(0.0);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use crate::kernels::{Mask, SequenceLayout, composed, twin};
    use crate::layers::{causal_attention, read};
    use crate::rng::Rng;

    const SEED: u64 = 5;

    /// A sequence at a time, a head at a time, a query at a time.
    fn exact(qkv: &[f64], lengths: &[usize], d: usize, n_heads: usize, dropout: f64) -> Vec<f64> {
        let mask = Mask::new(dropout, Rng::new(SEED).next_u64());
        let (d_head, max_len) = (d / n_heads, lengths.iter().copied().max().unwrap_or(0));
        let mut out = vec![0.0; qkv.len() / 3];
        let mut start = 0;
        for (i, &n) in lengths.iter().enumerate() {
            for (h, t) in (0..n_heads).flat_map(|h| (0..n).map(move |t| (h, t))) {
                let row = |part: usize, t: usize| {
                    let at = (start + t) * 3 * d + part * d + h * d_head;
                    &qkv[at..at + d_head]
                };
                let dot = |s| row(0, t).iter().zip(row(1, s)).map(|(q, k)| q * k).sum::<f64>();
                let weights: Vec<f64> = (0..=t).map(|s| (dot(s) / (d_head as f64).sqrt()).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let mask = mask.from(((i * n_heads + h) * max_len + t) * max_len);
                for (s, weight) in weights.iter().enumerate() {
                    let probability =
                        weight / sum * if dropout > 0.0 { f64::from(mask(s as u32)) } else { 1.0 };
                    for (j, v) in row(2, s).iter().enumerate() {
                        out[(start + t) * d + h * d_head + j] += probability * v;
                    }
                }
            }
            start += n;
        }
        out
    }

    fn attend(qkv: Tensor<2>, lengths: &[usize], n_heads: usize, dropout: f64) -> Tensor<2> {
        let layout = SequenceLayout::new(lengths.iter().copied());
        causal_attention(qkv, &layout, n_heads, dropout, Some(&mut Rng::new(SEED)))
    }

    #[test]
    fn equals_its_float64_twin() {
        let cases: [(&[usize], usize, usize); 6] = [
            (&[3, 0, 1, 5], 4, 2),
            (&[1], 1, 1),
            (&[0, 0], 2, 1),
            (&[], 2, 2),
            (&[70, 2, 33, 32, 31, 0], 2, 2),
            (&[17, 16], 36, 1),
        ];
        for (lengths, d, n_heads) in cases {
            let n: usize = lengths.iter().sum();
            for dropout in [0.0, 0.4] {
                twin::check(
                    &[twin::normal(n * 3 * d, 1)],
                    2e-5,
                    |x| attend(x[0].clone().reshape([n, 3 * d]), lengths, n_heads, dropout).reshape([n * d]),
                    |x| exact(&x[0], lengths, d, n_heads, dropout),
                );
            }
        }
    }

    #[test]
    fn large_scores_neither_overflow_nor_vanish() {
        let device = Device::flex().autodiff();
        let run = || {
            let qkv: Vec<f32> = twin::normal(40 * 6, 8).iter().map(|x| 100.0 * x).collect();
            let qkv = Tensor::<2>::from_data(TensorData::new(qkv, [40, 6]), &device).require_grad();
            let output = attend(qkv.clone(), &[40], 1, 0.0);
            let gradient = qkv.grad(&output.clone().sum().backward()).unwrap();
            [output.inner(), gradient].map(|x| read(x).unwrap()).concat()
        };
        for (fused, composed) in run().into_iter().zip(composed(run)) {
            assert!((fused - composed).abs() < 1e-2 * composed.abs().max(1.0), "{fused}, {composed}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let lengths = [40, 3, 0, 75, 64, 1, 50, 50, 9];
        let (n, d): (usize, usize) = (lengths.iter().sum(), 8);
        let (qkv, weights) = (twin::normal(n * 3 * d, 2), twin::normal(n * d, 3));
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let qkv = TensorData::new(qkv.clone(), [n, 3 * d]);
            let qkv = Tensor::<2>::from_data(qkv, &device).require_grad();
            let weights = Tensor::<2>::from_data(TensorData::new(weights.clone(), [n, d]), &device);
            let output = attend(qkv.clone(), &lengths, 2, 0.2);
            let gradient = qkv.grad(&(output.clone() * weights).sum().backward()).unwrap();
            [output.inner(), gradient].map(|x| read(x).unwrap()).concat()
        });
    }
}
