use std::ops::Range;
use std::sync::Arc;

use super::linear::Summands;
use super::matrix::{Matrix, MatrixMut};
use super::{Activation, Array, Kernel, Linear, RepeatedColumns, buffer, parallel, simd};

/// y = a(x W + b) for rows x that are, in some columns, sums of few vectors v: the vectors are multiplied, and their
/// products summed.
///
/// Inputs are the other columns of x, `[n, n_own]`, W, b, and the vectors `[m, d]`, of which narrower columns read the head.
#[derive(Debug)]
pub(crate) struct FieldLinear {
    activation: Option<Activation>,
    columns: Arc<RepeatedColumns>,
}

impl FieldLinear {
    pub(crate) fn new(activation: Option<Activation>, columns: Arc<RepeatedColumns>) -> Self {
        Self { activation, columns }
    }

    /// The products of the vectors and the rows of W that meet their columns, `[m, d_output]`.
    fn products(&self, vectors: &Array, w: &Array) -> Vec<f32> {
        let ([m, d], [_, d_output]) = (vectors.shape(), w.shape());
        let ends = self.columns.repeated.iter().map(|(_, rows)| rows.end);
        let bounds: Vec<usize> = [0].into_iter().chain(ends).collect();
        let mut products = buffer::take(m * d_output);
        let outputs = [(&mut products[..], d_output)];
        parallel::segments_of_each(outputs, &bounds, |i, [products]| {
            let (columns, rows) = &self.columns.repeated[i];
            let weights = rows_of(w.values(), d_output, columns);
            let vectors = rows_of(vectors.values(), d, rows).columns(0..columns.len());
            MatrixMut::new(products, rows.len(), d_output).set(vectors, weights);
        });
        products
    }

    /// The rows of W that meet the other columns: `copy` of where they stand in W, and among themselves.
    fn own_rows(&self, d_output: usize, mut copy: impl FnMut(Range<usize>, Range<usize>)) {
        let mut end = 0;
        for Range { start: from, end: to } in self.columns.own.iter().cloned() {
            let start = end;
            end += (to - from) * d_output;
            copy(from * d_output..to * d_output, start..end);
        }
    }
}

impl Kernel<4> for FieldLinear {
    fn forward(&self, [x, w, b, vectors]: [Array; 4], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, n_own], [_, d_output], [m, _]) = (x.shape(), w.shape(), vectors.shape());
        assert_eq!(self.columns.bags.len(), n, "a bag for each row");
        let (products, n_shared) = (self.products(&vectors, &w), self.columns.n_shared);
        let b = b.map(|b| {
            let shared = products[(m - n_shared) * d_output..].chunks_exact(d_output.max(1));
            shared.for_each(|product| simd::axpy(b, 1.0, product));
        });
        let summands = Summands { bags: &self.columns.bags, n_rows: m - n_shared, table: &products };
        let linear = Linear(self.activation);
        let (y, saved) = if tracked {
            let mut own_w = buffer::take(n_own * d_output);
            self.own_rows(d_output, |whole, part| own_w[part].copy_from_slice(&w.values()[whole]));
            let own = [Matrix::new(&own_w, n_own, d_output)];
            let (y, kept) = linear.forward_with(&x, &own, &b, Some(summands), true);
            let own_w = Array::new(own_w, [n_own, d_output]);
            (y, [w, vectors, x, own_w].into_iter().chain(kept).collect())
        } else {
            let own = self.columns.own.iter().map(|rows| rows_of(w.values(), d_output, rows));
            let (y, _) = linear.forward_with(&x, &own.collect::<Vec<_>>(), &b, Some(summands), false);
            (y, Vec::new())
        };
        buffer::give(products);
        (y, saved)
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 4]) -> [Option<Array>; 4] {
        let (w, vectors, of_linear) = (&saved[0], &saved[1], &saved[2..]);
        let ([_, d_output], [m, d], n_shared) = (w.shape(), vectors.shape(), self.columns.n_shared);
        let [x_needed, w_needed, b_needed, vectors_needed] = needed;
        let summands = Summands { bags: &self.columns.bags, n_rows: m - n_shared, table: &[] };
        let needed = [x_needed, w_needed, b_needed || n_shared > 0];
        let ([grad_x, own_w, grad_b], mut products) =
            Linear(self.activation).backward_with(of_linear, &grad, needed, Some(summands));
        let of_shared = grad_b.iter().flat_map(|grad_b| std::iter::repeat_n(grad_b.values(), n_shared));
        of_shared.for_each(|grad_b| products.extend_from_slice(grad_b));
        let grad_w = own_w.map(|own_w| {
            let mut grad_w = buffer::take(w.values().len());
            self.own_rows(d_output, |whole, part| grad_w[whole].copy_from_slice(&own_w.values()[part]));
            for (columns, rows) in &self.columns.repeated {
                let grad_w = &mut grad_w[columns.start * d_output..columns.end * d_output];
                let vectors = rows_of(vectors.values(), d, rows).columns(0..columns.len());
                let products = rows_of(&products, d_output, rows);
                MatrixMut::new(grad_w, columns.len(), d_output).set(vectors.t(), products);
            }
            w.with_values(grad_w)
        });
        let grad_vectors = vectors_needed.then(|| {
            let mut grad_vectors = buffer::take(m * d);
            for (columns, rows) in &self.columns.repeated {
                let (grad_vectors, width) = (&mut grad_vectors[rows.start * d..rows.end * d], columns.len());
                if width < d {
                    grad_vectors.fill(0.0);
                }
                let weights = rows_of(w.values(), d_output, columns).t();
                let products = rows_of(&products, d_output, rows);
                MatrixMut::strided(grad_vectors, rows.len(), width, d).set(products, weights);
            }
            vectors.with_values(grad_vectors)
        });
        buffer::give(products);
        [grad_x, grad_w, grad_b.filter(|_| b_needed), grad_vectors]
    }
}

/// Some rows of a matrix of this width.
fn rows_of<'a>(values: &'a [f32], width: usize, rows: &Range<usize>) -> Matrix<'a> {
    Matrix::new(&values[rows.start * width..rows.end * width], rows.len(), width)
}
