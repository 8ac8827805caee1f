//! Matrix products on slices, by the `gemm` crate.
#![allow(unsafe_code)]

use std::ops::Range;

/// A matrix in a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A row-major matrix to write to.
#[derive(Debug)]
pub(super) struct MatrixMut<'a> {
    values: &'a mut [f32],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
}

/// The numbers that a matrix spans; `None` on overflow.
fn span(n_rows: usize, n_cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if n_rows == 0 || n_cols == 0 {
        return Some(0);
    }
    let rows = (n_rows - 1).checked_mul(row_stride)?;
    let cols = (n_cols - 1).checked_mul(col_stride)?;
    rows.checked_add(cols)?.checked_add(1).filter(|&span| span <= isize::MAX as usize)
}

impl<'a> Matrix<'a> {
    /// `[n_rows, n_cols]`, row-major.
    pub(super) fn new(values: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        Self::strided(values, n_rows, n_cols, n_cols)
    }

    /// `[n_rows, n_cols]`, each row `row_stride` numbers after the one before.
    ///
    /// # Panics
    /// If the slice is too short.
    pub(super) fn strided(values: &'a [f32], n_rows: usize, n_cols: usize, row_stride: usize) -> Self {
        let span = span(n_rows, n_cols, row_stride, 1);
        assert!(
            span.is_some_and(|span| span <= values.len()),
            "{n_rows} × {n_cols} with stride {row_stride} in {} numbers",
            values.len()
        );
        Self { values, n_rows, n_cols, row_stride, col_stride: 1 }
    }

    /// The number of rows.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub(super) fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.start <= columns.end && columns.end <= self.n_cols, "{columns:?} of {}", self.n_cols);
        let first = (columns.start * self.col_stride).min(self.values.len());
        Self { values: &self.values[first..], n_cols: columns.len(), ..self }
    }

    /// The transpose.
    pub(super) fn t(self) -> Self {
        Self {
            n_rows: self.n_cols,
            n_cols: self.n_rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// `[n_rows, n_cols]`.
    pub(super) fn new(values: &'a mut [f32], n_rows: usize, n_cols: usize) -> Self {
        Self::strided(values, n_rows, n_cols, n_cols)
    }

    /// `[n_rows, n_cols]`, each row `row_stride` numbers after the one before.
    ///
    /// # Panics
    /// If the slice is too short, or rows overlap.
    pub(super) fn strided(values: &'a mut [f32], n_rows: usize, n_cols: usize, row_stride: usize) -> Self {
        let span = span(n_rows, n_cols, row_stride, 1);
        assert!(
            span.is_some_and(|span| span <= values.len()) && (row_stride >= n_cols || n_rows < 2),
            "{n_rows} × {n_cols} with stride {row_stride} in {} numbers",
            values.len()
        );
        Self { values, n_rows, n_cols, row_stride }
    }

    /// self ← a b.
    pub(super) fn set(self, a: Matrix<'_>, b: Matrix<'_>) {
        self.product(a, b, false);
    }

    /// self ← self + a b.
    pub(super) fn add(self, a: Matrix<'_>, b: Matrix<'_>) {
        self.product(a, b, true);
    }

    /// As [`set`](Self::set) for the first term of a sum, as [`add`](Self::add) for the others.
    pub(super) fn begin_or_add(self, is_first: bool, a: Matrix<'_>, b: Matrix<'_>) {
        self.product(a, b, !is_first);
    }

    fn product(self, a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
        assert!(
            a.n_rows == self.n_rows && b.n_cols == self.n_cols && a.n_cols == b.n_rows,
            "{} × {} is not ({} × {}) · ({} × {})",
            self.n_rows,
            self.n_cols,
            a.n_rows,
            a.n_cols,
            b.n_rows,
            b.n_cols
        );
        // SAFETY: each view spans its slice at most (checked when it was made; transposing keeps the span),
        // the strides fit `isize` with it, the shapes agree, `self` is borrowed mutably and so overlaps
        // neither operand, and its rows do not overlap each other.
        unsafe {
            gemm::gemm(
                self.n_rows,
                self.n_cols,
                a.n_cols,
                self.values.as_mut_ptr(),
                1,
                self.row_stride as isize,
                accumulate,
                a.values.as_ptr(),
                a.col_stride as isize,
                a.row_stride as isize,
                b.values.as_ptr(),
                b.col_stride as isize,
                b.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn products_equal_their_float64_twin() {
        let mut rng = Rng::new(1);
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 64), (4, 4, 0)] {
            let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
            let (stride_a, stride_b, stride_c) = (k + 2, n + 3, n + 1);
            let (a, b, c) = (random(m * stride_a), random(n.max(k) * stride_b.max(k)), random(m * stride_c));
            for (transposed, accumulate) in [(false, false), (false, true), (true, false), (true, true)] {
                let b_at = |p: usize, j: usize| if transposed { b[j * k + p] } else { b[p * stride_b + j] };
                let mut found = c.clone();
                let b_matrix =
                    if transposed { Matrix::new(&b, n, k).t() } else { Matrix::strided(&b, k, n, stride_b) };
                let out = MatrixMut::strided(&mut found, m, n, stride_c);
                let a_matrix = Matrix::strided(&a, m, k, stride_a);
                if accumulate {
                    out.add(a_matrix, b_matrix)
                } else {
                    out.set(a_matrix, b_matrix)
                }
                for (at, (&found, &before)) in found.iter().zip(&c).enumerate() {
                    let (i, j) = (at / stride_c, at % stride_c);
                    let product = || {
                        (0..k).map(|p| f64::from(a[i * stride_a + p]) * f64::from(b_at(p, j))).sum::<f64>()
                    };
                    let expected = match (j < n, accumulate) {
                        (false, _) => before.into(),
                        (true, false) => product(),
                        (true, true) => f64::from(before) + product(),
                    };
                    assert!((f64::from(found) - expected).abs() < 1e-4, "[{i}, {j}]: {found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_beyond_its_slice_panics() {
        let x = [0.0; 7];
        let product = |n_rows, n_cols, stride| {
            let a = Matrix::strided(&x, n_rows, 2, stride);
            MatrixMut::new(&mut [0.0; 6], 3, n_cols).set(a, Matrix::new(&x, 2, 2));
        };
        product(3, 2, 2);
        for (n_rows, n_cols, stride) in
            [(3, 2, 3), (4, 2, 2), (3, 3, 2), (2, 2, 2), (usize::MAX, 2, usize::MAX)]
        {
            let attempt = std::panic::AssertUnwindSafe(|| product(n_rows, n_cols, stride));
            assert!(std::panic::catch_unwind(attempt).is_err(), "{n_rows} {n_cols} {stride}");
        }
        let overlapping = || MatrixMut::strided(&mut [0.0; 9], 2, 3, 2).values.len();
        assert!(std::panic::catch_unwind(overlapping).is_err());
    }
}
