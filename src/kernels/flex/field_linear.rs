use std::ops::Range;
use std::sync::Arc;

use super::linear::Summands;
use super::matrix::{Matrix, MatrixMut};
use super::{Activation, Array, Kernel, Linear, RepeatedColumns, buffer, parallel, simd};

/// The rows of one part of the work of copying.
const ROWS: usize = 256;

/// y = a(x W + b) for rows x that are, in some columns, sums of few vectors v: the vectors are multiplied, and their
/// products summed.
///
/// Inputs are x `[n, d_input]`, W, b and the vectors `[m, d]`. The gradient of those columns goes to the vectors alone, and
/// that of x is 0 there.
#[derive(Debug)]
pub(crate) struct FieldLinear {
    activation: Option<Activation>,
    columns: Arc<RepeatedColumns>,
}

impl FieldLinear {
    pub(crate) fn new(activation: Option<Activation>, columns: Arc<RepeatedColumns>) -> Self {
        Self { activation, columns }
    }

    /// The products of vectors `[m, d]` and the rows of W that are their columns', `[m, d_output]`.
    fn products(&self, vectors: &[f32], w: &Array) -> Vec<f32> {
        let [_, d_output] = w.shape();
        let bounds = self.bounds();
        let d = vectors.len() / bounds.last().copied().unwrap_or(0).max(1);
        let mut products = buffer::take(bounds.last().copied().unwrap_or(0) * d_output);
        let outputs = [(&mut products[..], d_output)];
        parallel::segments_of_each(outputs, &bounds, |i, [products]| {
            let (columns, rows) = &self.columns.repeated[i];
            let vectors = Matrix::new(&vectors[rows.start * d..rows.end * d], rows.len(), d);
            let weights = Matrix::new(of_rows(w.values(), d_output, columns), d, d_output);
            MatrixMut::new(products, rows.len(), d_output).set(vectors, weights);
        });
        products
    }

    /// Where the vectors of each of the repeated columns begin, and where the last ones end.
    fn bounds(&self) -> Vec<usize> {
        [0].into_iter().chain(self.columns.repeated.iter().map(|(_, rows)| rows.end)).collect()
    }

    fn n_own(&self) -> usize {
        self.columns.own.iter().map(ExactSizeIterator::len).sum()
    }
}

impl Kernel<4> for FieldLinear {
    fn forward(&self, [x, w, b, vectors]: [Array; 4], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, d_input], [_, d_output]) = (x.shape(), w.shape());
        assert_eq!(self.columns.bags.len(), n, "a bag for each row");
        let (n_own, own) = (self.n_own(), &self.columns.own);
        let mut own_x = buffer::take(n * n_own);
        parallel::rows_of_each(n, ROWS, [&mut own_x], |rows, [own_x]| {
            let x = of_rows(x.values(), d_input, &rows);
            for (own_x, x) in own_x.chunks_exact_mut(n_own.max(1)).zip(x.chunks_exact(d_input)) {
                copy_each(own, |at, columns| own_x[at].copy_from_slice(&x[columns]));
            }
        });
        let mut own_w = buffer::take(n_own * d_output);
        let own_rows = |at: Range<usize>| at.start * d_output..at.end * d_output;
        copy_each(own, |at, rows| own_w[own_rows(at)].copy_from_slice(&w.values()[own_rows(rows)]));
        let products = self.products(vectors.values(), &w);
        let ([m, _], n_shared) = (vectors.shape(), self.columns.n_shared);
        let b = b.map(|b| {
            let shared = products[(m - n_shared) * d_output..].chunks_exact(d_output.max(1));
            shared.for_each(|product| simd::axpy(b, 1.0, product));
        });
        let summands = Summands { bags: &self.columns.bags, n_rows: m - n_shared, table: &products };
        let inputs = [Array::new(own_x, [n, n_own]), Array::new(own_w, [n_own, d_output]), b];
        let (y, mut saved) = Linear(self.activation).forward_with(inputs, Some(summands), tracked);
        buffer::give(products);
        if tracked {
            saved.splice(0..0, [w, vectors]);
        }
        (y, saved)
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 4]) -> [Option<Array>; 4] {
        let (w, vectors, of_linear) = (&saved[0], &saved[1], &saved[2..]);
        let ([d_input, d_output], [m, d]) = (w.shape(), vectors.shape());
        let [x_needed, w_needed, b_needed, vectors_needed] = needed;
        let (n, n_own, own) = (self.columns.bags.len(), self.n_own(), &self.columns.own);
        let n_shared = self.columns.n_shared;
        let summands = Summands { bags: &self.columns.bags, n_rows: m - n_shared, table: &[] };
        let needed = [x_needed, w_needed, b_needed || n_shared > 0];
        let ([own_x, own_w, grad_b], mut products) =
            Linear(self.activation).backward_with(of_linear, &grad, needed, Some(summands));
        let of_shared = grad_b.iter().flat_map(|grad_b| std::iter::repeat_n(grad_b.values(), n_shared));
        of_shared.for_each(|grad_b| products.extend_from_slice(grad_b));
        let grad_x = own_x.map(|own_x| {
            let mut grad_x = buffer::take(n * d_input);
            parallel::rows_of_each(n, ROWS, [&mut grad_x], |rows, [grad_x]| {
                let own_x = of_rows(own_x.values(), n_own, &rows);
                grad_x.fill(0.0);
                for (x, own_x) in grad_x.chunks_exact_mut(d_input).zip(own_x.chunks_exact(n_own.max(1))) {
                    copy_each(own, |at, columns| x[columns].copy_from_slice(&own_x[at]));
                }
            });
            Array::new(grad_x, [n, d_input])
        });
        let of_repeated = |i: usize| {
            let (columns, rows) = &self.columns.repeated[i];
            (columns, rows, Matrix::new(of_rows(&products, d_output, rows), rows.len(), d_output))
        };
        let grad_w = own_w.map(|own_w| {
            let mut grad_w = buffer::take_zeroed(d_input * d_output);
            let of_rows_at = |at: Range<usize>| at.start * d_output..at.end * d_output;
            copy_each(own, |at, rows| {
                grad_w[of_rows_at(rows)].copy_from_slice(&own_w.values()[of_rows_at(at)]);
            });
            for i in 0..self.columns.repeated.len() {
                let (columns, rows, products) = of_repeated(i);
                let vectors = Matrix::new(of_rows(vectors.values(), d, rows), rows.len(), d);
                let grad_w = &mut grad_w[of_rows_at(columns.clone())];
                MatrixMut::new(grad_w, d, d_output).set(vectors.t(), products);
            }
            w.with_values(grad_w)
        });
        let grad_vectors = vectors_needed.then(|| {
            let mut grad_vectors = buffer::take(m * d);
            for i in 0..self.columns.repeated.len() {
                let (columns, rows, products) = of_repeated(i);
                let weights = Matrix::new(of_rows(w.values(), d_output, columns), d, d_output);
                let grad_vectors = &mut grad_vectors[rows.start * d..rows.end * d];
                MatrixMut::new(grad_vectors, rows.len(), d).set(products, weights.t());
            }
            vectors.with_values(grad_vectors)
        });
        buffer::give(products);
        [grad_x, grad_w, grad_b.filter(|_| b_needed), grad_vectors]
    }
}

/// `copy` of where each range stands when all are moved together, and the range.
fn copy_each(ranges: &[Range<usize>], mut copy: impl FnMut(Range<usize>, Range<usize>)) {
    let mut end = 0;
    for range in ranges {
        end += range.len();
        copy(end - range.len()..end, range.clone());
    }
}

fn of_rows<'a>(values: &'a [f32], width: usize, rows: &Range<usize>) -> &'a [f32] {
    &values[rows.start * width..rows.end * width]
}
