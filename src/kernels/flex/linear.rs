use std::ops::Range;

use super::matrix::{Matrix, MatrixMut};
use super::{Activation, Array, Bags, Kernel, buffer, parallel, simd};

/// Rows that stay in the cache from one step to the next.
const BLOCK: usize = 256;

/// The most partial sums of the weights' gradient.
const MAX_PARTS: usize = 8;

/// y = a(x W + b) for each row x, with the activation a if there is one.
///
/// Beside its inputs it keeps what gives the slope of a: the output of ReLU; of GELU the slope itself, which
/// costs little beside the value.
#[derive(Debug)]
pub(crate) struct Linear(pub(crate) Option<Activation>);

/// What is added to each row before the activation: a sum of weighted rows of a table that is as wide as the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summands<'a> {
    /// Of each row of the output a bag of rows of the table.
    pub(super) bags: &'a Bags,
    /// The rows of the table.
    pub(super) n_rows: usize,
    /// The table; not read backward.
    pub(super) table: &'a [f32],
}

impl Kernel<3> for Linear {
    fn forward(&self, [x, w, b]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let [d_input, d_output] = w.shape();
        let (y, kept) =
            self.forward_with(&x, &[Matrix::new(w.values(), d_input, d_output)], &b, None, tracked);
        (y, if tracked { [x, w].into_iter().chain(kept).collect() } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 3]) -> [Option<Array>; 3] {
        self.backward_with(&saved, &grad, needed, None).0
    }
}

impl Linear {
    /// a(x W + b + summands), and what of it the backward pass needs. W is given as the rows that meet the first columns of x,
    /// those that meet the next ones, and so on.
    pub(super) fn forward_with(
        &self,
        x: &Array,
        w: &[Matrix<'_>],
        b: &Array,
        summands: Option<Summands<'_>>,
        tracked: bool,
    ) -> (Array, Option<Array>) {
        let (d_input, [d_output]) = (w.iter().map(Matrix::n_rows).sum::<usize>(), b.shape());
        let width = x.width();
        assert!(width == d_input, "rows of {width} numbers meet weights of {d_input} inputs");
        let n = summands.map_or(x.values().len() / width.max(1), |summands| summands.bags.len());
        let keeps_slopes = tracked && self.0 == Some(Activation::Gelu);
        let mut y = buffer::take(n * d_output);
        let mut slopes = buffer::take(if keeps_slopes { y.len() } else { 0 });
        parallel::rows_of_each(n, BLOCK, [&mut y, &mut slopes], |rows, [y, slopes]| {
            let x = Matrix::new(of_rows(x.values(), d_input, &rows), rows.len(), d_input);
            if w.is_empty() {
                y.fill(0.0);
            }
            let mut end = 0;
            for w in w {
                let start = end;
                end += w.n_rows();
                let sum = MatrixMut::new(y, rows.len(), d_output);
                sum.begin_or_add(start == 0, x.columns(start..end), *w);
            }
            if let Some(Summands { bags, table, .. }) = summands {
                add_bags(bags, rows, table, d_output, y);
            }
            self.finish(b.values(), y, slopes);
        });
        let y = x.with_rows(d_output, y);
        let kept = match self.0 {
            Some(Activation::Relu) if tracked => Some(y.clone()),
            Some(Activation::Gelu) if tracked => Some(y.with_values(slopes)),
            _ => None,
        };
        (y, kept)
    }

    /// The gradients of x, W and b, as far as they are needed, and of the table of the summands.
    pub(super) fn backward_with(
        &self,
        saved: &[Array],
        grad: &Array,
        needed: [bool; 3],
        summands: Option<Summands<'_>>,
    ) -> ([Option<Array>; 3], Vec<f32>) {
        let (x, w, kept) = (&saved[0], &saved[1], saved.get(2));
        let ([d_input, d_output], [x_needed, w_needed, b_needed]) = (w.shape(), needed);
        let n = grad.values().len() / d_output.max(1);
        let weights = Matrix::new(w.values(), d_input, d_output).t();
        let mut grad_x = buffer::take(if x_needed { n * d_input } else { 0 });
        let size = n.div_ceil(MAX_PARTS).max(BLOCK);
        let n_summands = summands.map_or(0, |summands| summands.n_rows);
        let mut partial = parallel::rows_of_each(n, size, [&mut grad_x], |part, [grad_x]| {
            let mut grad_w = buffer::take(if w_needed { d_input * d_output } else { 0 });
            let mut grad_b = vec![0.0; if b_needed { d_output } else { 0 }];
            let mut grad_table = buffer::take_zeroed(n_summands * d_output);
            let mut scratch = buffer::take(if kept.is_some() { BLOCK * d_output } else { 0 });
            for start in part.clone().step_by(BLOCK) {
                let rows = start..part.end.min(start + BLOCK);
                let mut grad = of_rows(grad.values(), d_output, &rows);
                if let Some(kept) = kept {
                    let before = &mut scratch[..grad.len()];
                    self.before_activation(of_rows(kept.values(), d_output, &rows), grad, before);
                    grad = before;
                }
                let grad_rows = Matrix::new(grad, rows.len(), d_output);
                if x_needed {
                    let from = (start - part.start) * d_input;
                    let grad_x = &mut grad_x[from..from + rows.len() * d_input];
                    MatrixMut::new(grad_x, rows.len(), d_input).set(grad_rows, weights);
                }
                if w_needed {
                    let x = Matrix::new(of_rows(x.values(), d_input, &rows), rows.len(), d_input);
                    let sum = MatrixMut::new(&mut grad_w, d_input, d_output);
                    sum.begin_or_add(start == part.start, x.t(), grad_rows);
                }
                add_rows(&mut grad_b, grad);
                if let Some(Summands { bags, .. }) = summands {
                    add_to_bags(bags, rows, grad, d_output, &mut grad_table);
                }
            }
            buffer::give(scratch);
            [grad_w, grad_b, grad_table]
        });
        let mut total = |i: usize, len| {
            let parts = partial.iter_mut().map(|sums: &mut [Vec<f32>; 3]| std::mem::take(&mut sums[i]));
            let mut total = parallel::sum(parts.collect());
            // Without rows there are no parts to sum.
            total.resize(len, 0.0);
            total
        };
        let gradients = [
            x_needed.then(|| x.with_values(grad_x)),
            w_needed.then(|| w.with_values(total(0, d_input * d_output))),
            b_needed.then(|| Array::new(total(1, d_output), [d_output])),
        ];
        (gradients, total(2, n_summands * d_output))
    }

    /// y ← a(y + b) for each row y, and the slopes of a there if there is room for them.
    pub(super) fn finish(&self, b: &[f32], y: &mut [f32], slopes: &mut [f32]) {
        let activation = self.0;
        simd::vectorized(
            #[inline(always)]
            move || match activation {
                None => finish_rows(identity, b, y, slopes),
                Some(Activation::Relu) => finish_rows(relu, b, y, slopes),
                Some(Activation::Gelu) => finish_rows(gelu, b, y, slopes),
            },
        );
    }

    /// The gradient before the activation from what was kept and the gradient after it.
    fn before_activation(&self, kept: &[f32], after: &[f32], before: &mut [f32]) {
        let relu = self.0 == Some(Activation::Relu);
        simd::vectorized(
            #[inline(always)]
            move || {
                let all = before.iter_mut().zip(after.iter().zip(kept));
                if relu {
                    all.for_each(|(before, (after, kept))| *before = if *kept > 0.0 { *after } else { 0.0 });
                } else {
                    all.for_each(|(before, (after, kept))| *before = after * kept);
                }
            },
        );
    }
}

/// x and its slope.
#[inline(always)]
fn identity(x: f32) -> (f32, f32) {
    (x, 1.0)
}

/// max(x, 0) and its slope; not a number stays so.
#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
}

/// x Φ(x) and its slope Φ(x) + x φ(x).
#[inline(always)]
pub(super) fn gelu(x: f32) -> (f32, f32) {
    let (cdf, density) = simd::normal(x);
    (x * cdf, x.mul_add(density, cdf))
}

#[inline(always)]
fn finish_rows(f: impl Fn(f32) -> (f32, f32), b: &[f32], y: &mut [f32], slopes: &mut [f32]) {
    let width = b.len().max(1);
    if slopes.is_empty() {
        for y in y.chunks_exact_mut(width) {
            for (y, b) in y.iter_mut().zip(b) {
                *y = f(*y + b).0;
            }
        }
    } else {
        for (y, slopes) in y.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width)) {
            for ((y, slope), b) in y.iter_mut().zip(slopes).zip(b) {
                (*y, *slope) = f(*y + b);
            }
        }
    }
}

/// Adds every row to the sums; none are wanted if there is no room for them.
fn add_rows(sums: &mut [f32], rows: &[f32]) {
    if sums.is_empty() {
        return;
    }
    simd::vectorized(
        #[inline(always)]
        move || {
            for row in rows.chunks_exact(sums.len()) {
                simd::axpy(sums, 1.0, row);
            }
        },
    );
}

/// y ← y + Σ of its bag's rows of the table, for each of some rows y, `rows` of all.
fn add_bags(bags: &Bags, rows: Range<usize>, table: &[f32], width: usize, y: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        move || {
            for (bag, y) in rows.zip(y.chunks_exact_mut(width.max(1))) {
                let (rows, weights) = bags.bag(bag);
                let row = |row: u32| &table[row as usize * width..][..width];
                let ((fours, rest), (weights, rest_weights)) = (rows.as_chunks(), weights.as_chunks());
                for (&rows, weights) in fours.iter().zip(weights) {
                    simd::axpy_4(y, *weights, rows.map(row));
                }
                for (&at, &weight) in rest.iter().zip(rest_weights) {
                    simd::axpy(y, weight, row(at));
                }
            }
        },
    );
}

/// The transpose of [`add_bags`]: adds each row y to the rows of the table in its bag.
fn add_to_bags(bags: &Bags, rows: Range<usize>, y: &[f32], width: usize, table: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        move || {
            for (bag, y) in rows.zip(y.chunks_exact(width.max(1))) {
                let (rows, weights) = bags.bag(bag);
                for (&row, &weight) in rows.iter().zip(weights) {
                    simd::axpy(&mut table[row as usize * width..][..width], weight, y);
                }
            }
        },
    );
}

fn of_rows<'a>(values: &'a [f32], width: usize, rows: &Range<usize>) -> &'a [f32] {
    &values[rows.start * width..rows.end * width]
}
