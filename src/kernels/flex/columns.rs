use std::ops::Range;

use super::{Array, Kernel, buffer, parallel};

/// The rows of one part of the work.
const ROWS: usize = 256;

/// Some columns of a matrix, one range behind another.
#[derive(Debug)]
pub(crate) struct Columns {
    ranges: Vec<Range<usize>>,
    /// The columns of the whole matrix.
    width: usize,
}

impl Columns {
    /// Ranges of the columns of matrices of this width.
    pub(crate) fn new(ranges: Vec<Range<usize>>, width: usize) -> Self {
        Self { ranges, width }
    }

    /// `copy` of each column's place in the whole and in the part, for every row.
    fn of_each_row(&self, mut copy: impl FnMut(Range<usize>, Range<usize>)) {
        let mut end = 0;
        for range in &self.ranges {
            end += range.len();
            copy(range.clone(), end - range.len()..end);
        }
    }

    fn n(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}

impl Kernel<1> for Columns {
    fn forward(&self, [x]: [Array; 1], _: bool) -> (Array, Vec<Array>) {
        let ([n, width], n_columns) = (x.shape(), self.n());
        assert_eq!(width, self.width, "columns of the matrix");
        let mut y = buffer::take(n * n_columns);
        parallel::rows(&mut y, n_columns, ROWS, |rows, y| {
            let x = &x.values()[rows.start * width..rows.end * width];
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(n_columns)) {
                self.of_each_row(|whole, part| y[part].copy_from_slice(&x[whole]));
            }
        });
        (Array::new(y, [n, n_columns]), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let ([n, n_columns], width) = (grad.shape(), self.width);
        let mut grad_x = buffer::take(n * width);
        parallel::rows(&mut grad_x, width, ROWS, |rows, grad_x| {
            let grad = &grad.values()[rows.start * n_columns..rows.end * n_columns];
            grad_x.fill(0.0);
            for (x, y) in grad_x.chunks_exact_mut(width).zip(grad.chunks_exact(n_columns.max(1))) {
                self.of_each_row(|whole, part| x[whole].copy_from_slice(&y[part]));
            }
        });
        [Some(Array::new(grad_x, [n, width]))]
    }
}
