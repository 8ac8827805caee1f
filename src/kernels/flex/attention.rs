use std::ops::Range;

use super::square::{SIDE, Square, add_transposed_product, fill, set_products, squares, transpose};
use super::{Array, Kernel, Mask, SequenceLayout, buffer, parallel, simd};

/// The rows that make a part of the work, at least.
const PART: usize = 64;

/// Multi-head self-attention in which every item sees its own sequence up to itself: for each head
/// softmax(Q Kᵀ / √d_head) V from the rows `[q | k | v]` of width 3 d, with dropout on the probabilities.
///
/// Probabilities are computed for 16 queries at a time and never kept: the way back computes them again from
/// their maxima and sums, and Σ P ∂P of each row as ∂O · O (Dao et al. 2022, "FlashAttention", algorithm 4).
#[derive(Debug)]
pub(crate) struct CausalAttention {
    pub(crate) layout: SequenceLayout,
    pub(crate) n_heads: usize,
    /// Probability (t, s) of head h of sequence i has the place ((i · n_heads + h) · l + t) · l + s, where l is
    /// the length of the longest sequence.
    pub(crate) mask: Option<Mask>,
}

impl Kernel<1> for CausalAttention {
    fn forward(&self, [qkv]: [Array; 1], tracked: bool) -> (Array, Vec<Array>) {
        let [n, width] = qkv.shape();
        let d = width / 3;
        assert!(
            n == self.layout.n_rows() && width == 3 * d && self.n_heads > 0 && d.is_multiple_of(self.n_heads),
            "attention of {} heads over {} rows from {qkv:?}",
            self.n_heads,
            self.layout.n_rows()
        );
        let mut output = buffer::take(n * d);
        let norms = self.each_head(&qkv, &mut output, d, |head, output, scratch| {
            let mut norms = vec![[0.0; 2]; head.n];
            let of_rows = &mut norms[..];
            simd::vectorized(
                #[inline(always)]
                move || head.forward(output, of_rows, scratch),
            );
            norms
        });
        let output = Array::new(output, [n, d]);
        if !tracked {
            return (output, Vec::new());
        }
        // The norms of a sequence lie head by head: `[n_heads, len, 2]`.
        let norms = Array::new(norms.into_flattened(), [n, self.n_heads, 2]);
        (output.clone(), vec![qkv, output, norms])
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let [qkv, output, norms] = &saved[..] else { unreachable!("saved by the forward pass") };
        let (output, norms, grad) = (output.values(), norms.values().as_chunks().0, grad.values());
        let mut grad_qkv = buffer::take(qkv.values().len());
        self.each_head(qkv, &mut grad_qkv, qkv.width(), |head, grad_qkv, scratch| {
            let rows = head.start * head.d..(head.start + head.n) * head.d;
            let norms = &norms[head.start * self.n_heads + head.number * head.n..][..head.n];
            let known = Known { output: &output[rows.clone()], norms, grad: &grad[rows] };
            simd::vectorized(
                #[inline(always)]
                move || head.backward(known, grad_qkv, scratch),
            );
            Vec::new()
        });
        [Some(qkv.with_values(grad_qkv))]
    }
}

impl CausalAttention {
    /// Runs `f` for every head of every sequence, with the rows of the sequence in `out` and with scratch of any
    /// content; what it returns, one behind another.
    fn each_head(
        &self,
        qkv: &Array,
        out: &mut [f32],
        width: usize,
        f: impl Fn(Head<'_>, &mut [f32], &mut [Square]) -> Vec<Norm> + Sync,
    ) -> Vec<Norm> {
        let parts = self.layout.parts(PART);
        let ends = parts.iter().map(|part| self.layout.rows(part.end - 1).end * width);
        let bounds: Vec<usize> = [0].into_iter().chain(ends).collect();
        let d_head = qkv.width() / 3 / self.n_heads;
        let n_scratch = Head::n_scratch(self.layout.max_len(), d_head) * SIDE * SIDE;
        let found = parallel::segments(out, &bounds, |part, mut out| {
            let mut scratch = buffer::take(n_scratch);
            let mut found = Vec::new();
            for sequence in parts[part].clone() {
                let rows = out.split_off_mut(..self.layout.rows(sequence).len() * width).unwrap_or_default();
                for head in self.heads(qkv, sequence) {
                    found.extend(f(head, rows, squares(&mut scratch)));
                }
            }
            buffer::give(scratch);
            found
        });
        found.concat()
    }

    /// The heads of a sequence that has items.
    fn heads<'a>(&self, qkv: &'a Array, sequence: usize) -> impl Iterator<Item = Head<'a>> {
        let (rows, d, max_len) = (self.layout.rows(sequence), qkv.width() / 3, self.layout.max_len());
        let (n_heads, mask) = (self.n_heads, self.mask);
        let qkv = &qkv.values()[rows.start * 3 * d..rows.end * 3 * d];
        let heads = if rows.is_empty() { 0..0 } else { 0..n_heads };
        heads.map(move |number| Head {
            qkv,
            start: rows.start,
            n: rows.len(),
            number,
            d,
            d_head: d / n_heads,
            mask,
            place: (sequence * n_heads + number) * max_len * max_len,
            max_len,
        })
    }
}

/// Of a row of scores x: the shift m = max (scale · x) and 1 / Σ e^(scale · x − m).
type Norm = [f32; 2];

/// One head over one sequence.
///
/// Its matrices are worked on in squares, a block of 16 items by 16 columns, with zeros where there is no item
/// or no column; its scores in squares of 16 queries by 16 keys, of which those above the diagonal are left
/// out.
struct Head<'a> {
    /// The rows of the sequence, `[n, 3 d]`.
    qkv: &'a [f32],
    /// The first row of the sequence in its batch.
    start: usize,
    n: usize,
    /// The number of the head.
    number: usize,
    d: usize,
    d_head: usize,
    mask: Option<Mask>,
    /// The place of probability (0, 0) in the mask; rows are `max_len` apart.
    place: usize,
    max_len: usize,
}

impl Head<'_> {
    /// The squares of scratch for a head over `n` items.
    fn n_scratch(n: usize, d_head: usize) -> usize {
        let (n_blocks, n_columns) = (n.div_ceil(SIDE), d_head.div_ceil(SIDE));
        5 * n_blocks * n_columns + 2 * n_blocks + 2 * n_columns + 1
    }

    /// Writes the columns of this head of the output, `[n, d]`, and the norm of every row of scores.
    #[inline(always)]
    fn forward(&self, output: &mut [f32], norms: &mut [Norm], scratch: &mut [Square]) {
        let (n_blocks, n_columns) = (self.n.div_ceil(SIDE), self.d_head.div_ceil(SIDE));
        let n_squares = n_blocks * n_columns;
        let [keys, values, query, scores, square] =
            split(scratch, [n_squares, n_squares, n_columns, n_blocks, 1]);
        let ([q, k, v], out) = (self.qkv_columns(), self.columns(1, 0));
        for (block, column) in pairs(n_blocks, n_columns) {
            k.load(self.qkv, block, column, &mut square[0]);
            transpose(&mut keys[block * n_columns + column], &square[0]);
            v.load(self.qkv, block, column, &mut values[column * n_blocks + block]);
        }
        for block in 0..n_blocks {
            let n = self.block_len(block);
            let scores = &mut scores[..=block];
            q.load_block(self.qkv, block, query);
            for (scores, keys) in scores.iter_mut().zip(keys.chunks_exact(n_columns)) {
                set_products(scores, query, keys, n);
            }
            for (row, t) in (block * SIDE..block * SIDE + n).enumerate() {
                norms[t] = match self.mask_of_query(t) {
                    None => softmax(scores, row, self.scale(), |_| 1.0),
                    Some(mask) => softmax(scores, row, self.scale(), mask),
                };
            }
            for (column, values) in values.chunks_exact(n_blocks).enumerate() {
                set_products(&mut square[0], scores, values, n);
                out.store(&square[0], output, block, column);
            }
        }
    }

    /// Writes the columns of this head of the gradient of `[q | k | v]`.
    #[inline(always)]
    fn backward(&self, known: Known<'_>, grad_qkv: &mut [f32], scratch: &mut [Square]) {
        let (n_blocks, n_columns) = (self.n.div_ceil(SIDE), self.d_head.div_ceil(SIDE));
        let mut work = Backward::new(scratch, n_blocks, n_columns);
        let [_, k, v] = self.qkv_columns();
        for (block, column) in pairs(n_blocks, n_columns) {
            let (at, transposed) = (column * n_blocks + block, block * n_columns + column);
            k.load(self.qkv, block, column, &mut work.keys[at]);
            transpose(&mut work.keys_t[transposed], &work.keys[at]);
            v.load(self.qkv, block, column, &mut work.square[0]);
            transpose(&mut work.values_t[transposed], &work.square[0]);
        }
        for block in 0..n_blocks {
            self.recompute(block, &known, &mut work);
            self.add_gradients(block, grad_qkv, &mut work);
        }
        for (at, (block, column)) in pairs(n_blocks, n_columns).enumerate() {
            k.store(&work.grad_k[at], grad_qkv, block, column);
            v.store(&work.grad_v[at], grad_qkv, block, column);
        }
    }

    /// The probabilities · mask of a block of queries and the gradients of their scores.
    #[inline(always)]
    fn recompute(&self, block: usize, known: &Known<'_>, work: &mut Backward<'_>) {
        let (n, n_columns) = (self.block_len(block), work.query.len());
        let ([q, ..], out) = (self.qkv_columns(), self.columns(1, 0));
        q.load_block(self.qkv, block, work.query);
        out.load_block(known.grad, block, work.grad_out);
        let (scores, grads) = (&mut work.scores[..=block], &mut work.grads[..=block]);
        for (scores, keys) in scores.iter_mut().zip(work.keys_t.chunks_exact(n_columns)) {
            set_products(scores, work.query, keys, n);
        }
        for (grads, values) in grads.iter_mut().zip(work.values_t.chunks_exact(n_columns)) {
            set_products(grads, work.grad_out, values, n);
        }
        for row in 0..n {
            let t = block * SIDE + row;
            let own = out.of_row(t);
            let sum = simd::dot(&known.output[own.clone()], &known.grad[own]);
            let (norm, scale) = (known.norms[t], self.scale());
            match self.mask_of_query(t) {
                None => softmax_backward(scores, grads, row, scale, norm, sum, |_| 1.0),
                Some(mask) => softmax_backward(scores, grads, row, scale, norm, sum, mask),
            }
        }
    }

    /// Writes the gradient of a block of queries, and adds its part of those of keys and values.
    #[inline(always)]
    fn add_gradients(&self, block: usize, grad_qkv: &mut [f32], work: &mut Backward<'_>) {
        let (n, n_blocks, n_columns) = (self.block_len(block), work.scores.len(), work.query.len());
        let [q, ..] = self.qkv_columns();
        let (probabilities, grads) = (&work.scores[..=block], &work.grads[..=block]);
        for (column, keys) in work.keys.chunks_exact(n_blocks).enumerate() {
            set_products(&mut work.square[0], grads, keys, n);
            q.store(&work.square[0], grad_qkv, block, column);
        }
        for (grads, out) in grads.iter().zip(work.grad_k.chunks_exact_mut(n_columns)) {
            for (out, query) in out.iter_mut().zip(&*work.query) {
                add_transposed_product(out, grads, query, n);
            }
        }
        for (probabilities, out) in probabilities.iter().zip(work.grad_v.chunks_exact_mut(n_columns)) {
            for (out, grad) in out.iter_mut().zip(&*work.grad_out) {
                add_transposed_product(out, probabilities, grad, n);
            }
        }
    }

    /// The number of queries in a block.
    #[inline(always)]
    fn block_len(&self, block: usize) -> usize {
        SIDE.min(self.n - block * SIDE)
    }

    /// The mask of the probabilities of a query, by key.
    #[inline(always)]
    fn mask_of_query(&self, t: usize) -> Option<impl Fn(u32) -> f32 + Copy> {
        self.mask.map(
            #[inline(always)]
            |mask| mask.from(self.place + t * self.max_len),
        )
    }

    /// The columns of this head among `n_parts` parts of d columns, in part `part`.
    fn columns(&self, n_parts: usize, part: usize) -> Columns {
        let first = part * self.d + self.number * self.d_head;
        Columns { first, width: self.d_head, stride: n_parts * self.d }
    }

    fn qkv_columns(&self) -> [Columns; 3] {
        [0, 1, 2].map(|part| self.columns(3, part))
    }

    /// 1 / √d_head.
    #[inline(always)]
    fn scale(&self) -> f32 {
        1.0 / (self.d_head as f32).sqrt()
    }
}

/// What the way back knows of a sequence.
struct Known<'a> {
    /// The output, `[n, d]`.
    output: &'a [f32],
    /// The norms of the rows of scores of the head.
    norms: &'a [Norm],
    /// The gradient of the output, `[n, d]`.
    grad: &'a [f32],
}

/// The matrices of the way back.
struct Backward<'a> {
    /// By column, then by block.
    keys: &'a mut [Square],
    /// These by block, then by column.
    keys_t: &'a mut [Square],
    values_t: &'a mut [Square],
    grad_k: &'a mut [Square],
    grad_v: &'a mut [Square],
    /// Of one block of queries, by column.
    query: &'a mut [Square],
    grad_out: &'a mut [Square],
    /// Of one block of queries, by block of keys.
    scores: &'a mut [Square],
    grads: &'a mut [Square],
    square: &'a mut [Square],
}

impl<'a> Backward<'a> {
    #[inline(always)]
    fn new(scratch: &'a mut [Square], n_blocks: usize, n_columns: usize) -> Self {
        let (matrices, scratch) = scratch.split_at_mut(5 * n_blocks * n_columns);
        let [keys, keys_t, values_t, grad_k, grad_v] = split(matrices, [n_blocks * n_columns; 5]);
        let [query, grad_out, scores, grads, square] =
            split(scratch, [n_columns, n_columns, n_blocks, n_blocks, 1]);
        grad_k.fill([[0.0; SIDE]; SIDE]);
        grad_v.fill([[0.0; SIDE]; SIDE]);
        Self { keys, keys_t, values_t, grad_k, grad_v, query, grad_out, scores, grads, square }
    }
}

/// Some columns of a row-major matrix.
struct Columns {
    first: usize,
    width: usize,
    stride: usize,
}

impl Columns {
    /// Where they stand in a row.
    #[inline(always)]
    fn of_row(&self, row: usize) -> Range<usize> {
        row * self.stride + self.first..row * self.stride + self.first + self.width
    }

    /// Reads the rows of a block, as many as there are, in the columns of a square.
    #[inline(always)]
    fn load(&self, matrix: &[f32], block: usize, column: usize, square: &mut Square) {
        let columns = self.first + column * SIDE..self.first + self.width.min((column + 1) * SIDE);
        let rows = matrix[block * SIDE * self.stride..].chunks_exact(self.stride);
        fill(square, rows.map(|row| &row[columns.clone()]));
    }

    /// Reads all columns of a block.
    #[inline(always)]
    fn load_block(&self, matrix: &[f32], block: usize, squares: &mut [Square]) {
        for (column, square) in squares.iter_mut().enumerate() {
            self.load(matrix, block, column, square);
        }
    }

    /// Writes what [`load`](Self::load) reads.
    #[inline(always)]
    fn store(&self, square: &Square, matrix: &mut [f32], block: usize, column: usize) {
        let columns = self.first + column * SIDE..self.first + self.width.min((column + 1) * SIDE);
        let rows = matrix[block * SIDE * self.stride..].chunks_exact_mut(self.stride);
        for (row, values) in rows.zip(square) {
            row[columns.clone()].copy_from_slice(&values[..columns.len()]);
        }
    }
}

/// Every pair below these bounds.
fn pairs(n_blocks: usize, n_columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_blocks).flat_map(move |block| (0..n_columns).map(move |column| (block, column)))
}

/// Pieces of these sizes.
#[inline(always)]
fn split<const N: usize>(mut scratch: &mut [Square], sizes: [usize; N]) -> [&mut [Square]; N] {
    sizes.map(|size| {
        let (piece, rest) = std::mem::take(&mut scratch).split_at_mut(size);
        scratch = rest;
        piece
    })
}

/// Scores x of one query, row `row` of each square, become softmax(scale · x) · mask, and 0 behind the diagonal
/// of the last square.
#[inline(always)]
fn softmax(scores: &mut [Square], row: usize, scale: f32, mask: impl Fn(u32) -> f32) -> Norm {
    if let Some(last) = scores.last_mut() {
        hide(&mut last[row], row, f32::NEG_INFINITY);
    }
    let mut maxima = [f32::NEG_INFINITY; SIDE];
    for square in &*scores {
        for lane in 0..SIDE {
            maxima[lane] = simd::larger(maxima[lane], square[row][lane]);
        }
    }
    let shift = scale * simd::fold(maxima, simd::larger);
    let mut sums = [0.0; SIDE];
    for (square, place) in scores.iter_mut().zip((0..).step_by(SIDE)) {
        for lane in 0..SIDE {
            let exponential = simd::exp(square[row][lane].mul_add(scale, -shift));
            sums[lane] += exponential;
            square[row][lane] = exponential * mask(place + lane as u32);
        }
    }
    let inverse = 1.0 / simd::total(sums);
    for square in scores {
        square[row].iter_mut().for_each(|x| *x *= inverse);
    }
    [shift, inverse]
}

/// With p = softmax(scale · x): scores x of one query, row `row` of each square, become p · mask, and the
/// gradients g of p · mask become those of x, p (g · mask − Σ p g · mask) · scale; 0 behind the diagonal of the
/// last square. `sum` is Σ p g · mask.
#[inline(always)]
fn softmax_backward(
    scores: &mut [Square],
    grads: &mut [Square],
    row: usize,
    scale: f32,
    [shift, inverse]: Norm,
    sum: f32,
    mask: impl Fn(u32) -> f32,
) {
    for ((scores, grads), place) in scores.iter_mut().zip(&mut *grads).zip((0..).step_by(SIDE)) {
        for lane in 0..SIDE {
            let p = inverse * simd::exp(scores[row][lane].mul_add(scale, -shift));
            let mask = mask(place + lane as u32);
            grads[row][lane] = p * scale * grads[row][lane].mul_add(mask, -sum);
            scores[row][lane] = p * mask;
        }
    }
    if let (Some(scores), Some(grads)) = (scores.last_mut(), grads.last_mut()) {
        hide(&mut scores[row], row, 0.0);
        hide(&mut grads[row], row, 0.0);
    }
}

/// Sets all behind number `n`.
#[inline(always)]
fn hide(row: &mut [f32; SIDE], n: usize, value: f32) {
    for (lane, x) in row.iter_mut().enumerate() {
        *x = if lane > n { value } else { *x };
    }
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
    fn what_is_not_tracked_has_the_same_output() {
        let run = |device: &Device, tracked: bool| {
            let qkv = Tensor::<2>::from_data(TensorData::new(twin::normal(21 * 12, 6), [21, 12]), device);
            let qkv = if tracked { qkv.require_grad() } else { qkv };
            read(attend(qkv, &[20, 1], 2, 0.3)).unwrap()
        };
        let (plain, autodiff) = (Device::flex(), Device::flex().autodiff());
        assert_eq!(run(&plain, false), run(&autodiff, true));
        assert_eq!(run(&autodiff, false), run(&autodiff, true));
    }

    /// As from a transposition or a slice of a wider matrix.
    #[test]
    fn strided_rows_equal_contiguous_ones() {
        let device = Device::flex();
        let wide = Tensor::<2>::from_data(TensorData::new(twin::normal(9 * 20, 7), [9, 20]), &device);
        let strided = wide.clone().slice([0..9, 4..16]);
        let contiguous = Tensor::<2>::from_data(strided.clone().into_data(), &device);
        let run = |qkv| read(attend(qkv, &[4, 5], 2, 0.0)).unwrap();
        assert_eq!(run(strided), run(contiguous));
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
